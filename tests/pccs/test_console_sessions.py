"""Who may act in the console, and every way that we know of to act as somebody else."""

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from dcap.api.http import Headers, HttpRequest, HttpResponse
from dcap.pccs.console.sessions import COOKIE, SESSION_SECONDS, Session, is_from_here, session_of
from dcap.pccs.items import Registration
from dcap.pccs.mode import Mode
from dcap.pccs.store.store import Store
from pccs.console_rig import HOST, SAME_SITE, Console

ACTS = ("/console/renew", "/console/renew-all", "/console/take-out", "/console/sign-out")
ELSEWHERE: tuple[Headers, ...] = (
    (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")),
    (("Origin", "https://evil.example"),),
    (("Origin", "null"),),
    (("Origin", f"http://{HOST}"),),
    (("Origin", f"https://{HOST}.evil.example"),),
    (("Origin", f"https://{HOST}:444"),),
    (("Origin", "https://["),),
    (("Sec-Fetch-Site", "same-site"),),
    (("Origin", f"https://{HOST}"), ("Sec-Fetch-Site", "cross-site")),
)


@pytest.fixture
def console(tmp_path: Path) -> Console:
    """A console over an empty cache, in the mode that has a queue."""
    return Console.at(tmp_path, mode=Mode.OFFLINE)


def queued(console: Console) -> Registration:
    """A machine that an act could take out."""
    one = Registration(
        qe_id="AB" * 16, pce_id="0000", cpu_svn="00" * 16, created=console.rig.world.at
    )
    console.rig.store.registrations.add(one)
    return one


def handle_of(console: Console) -> str:
    """How the page names the machine in its form."""
    found = re.search(r'name="machine" value="([^"]+)"', console.page("/console/queue"))
    assert found is not None
    return found[1]


def code_of(response: HttpResponse) -> str:
    """The code on a page that refuses."""
    found = re.search(r"<p><code>([a-z-]+)</code></p>", response.body.decode())
    return found[1] if found else ""


# Signing in


def test_the_admin_token_opens_a_session(console: Console) -> None:
    """A redirect to the first page, which says so; there one can sign out."""
    response = console.sign_in()
    assert (response.status, response.header("Location")) == (303, "/?said=signed-in")
    page = console.page("/?said=signed-in")
    assert "Signed in as admin" in page
    assert "This session lasts four hours" in page


@pytest.mark.parametrize("kind", ["wrong", "user", "empty", "none", "long", "not text"])
def test_no_other_token_does(console: Console, kind: str) -> None:
    """401, the cause in a header and counted, and no cookie."""
    form = {
        "wrong": {"token": console.token[:-1] + "~"},
        "user": {"token": console.user_token},
        "empty": {"token": ""},
        "none": {},
        "long": {"token": "x" * 600},
        "not text": {"token": "\udcff\u20ac"},
    }[kind]
    encoded = {
        name: value.encode("utf-8", "surrogateescape").decode("latin-1")
        for name, value in form.items()
    }
    response = console.post("/console/sign-in", encoded)
    assert (response.status, response.header("Dcap-Cause")) == (401, "bad-token")
    assert response.header("Set-Cookie") is None
    assert b"That is not an admin token" in response.body
    assert console.rig.service.counts()["bad-token"] == 1


def test_the_cookie_is_for_this_service_and_for_no_script(console: Console) -> None:
    """HttpOnly, Secure, SameSite=Strict, of this host alone, and gone with the browser."""
    cookie = console.sign_in().header("Set-Cookie")
    assert cookie is not None
    value, *attributes = cookie.split("; ")
    assert re.fullmatch(COOKIE + r"=[A-Za-z0-9_-]{43}", value)
    assert {one.lower() for one in attributes} == {
        "httponly",
        "secure",
        "path=/",
        "samesite=strict",
    }
    assert COOKIE.startswith("__Host-")


def test_each_session_has_a_new_secret_and_ends_the_one_before(console: Console) -> None:
    """What an attacker put into the browser before is not taken up (fixation)."""
    console.cookie = f"{COOKIE}={'A' * 43}"
    console.sign_in()
    first = console.cookie
    console.sign_in()
    second = console.cookie
    assert len({f"{COOKIE}={'A' * 43}", first, second}) == 3
    console.cookie = first
    assert "Read-only" in console.page("/")


def test_neither_token_nor_session_stands_in_a_page(console: Console) -> None:
    """Not even in those of whom they belong to: whoever sees the page cannot act."""
    queued(console)
    console.sign_in()
    secret = console.cookie.partition("=")[2]
    for target in ("/", "/console/queue", "/console/collateral", "/console/sign-in"):
        page = console.page(target)
        assert secret not in page
        assert console.token not in page


def test_who_reads_the_database_can_use_no_session(console: Console) -> None:
    """It has digests alone: neither the secret, nor what forms carry, nor the token."""
    console.sign_in()
    secret, form_token = console.cookie.partition("=")[2], console.form_token
    console.rig.store.close()
    data = b"".join(one.read_bytes() for one in console.settings.data.glob("pccs.db*"))
    assert len(data) > 1000
    for one in (secret, form_token, console.token):
        assert one.encode() not in data


def test_a_session_names_itself_nowhere(console: Console) -> None:
    """Its `repr` says nothing: tracebacks have it."""
    assert repr(Session("secret")) == "<Session>"


# Its end


def test_signing_out_ends_it_everywhere(console: Console) -> None:
    """The cookie is taken back, and whoever kept it has nothing."""
    console.sign_in()
    response = console.post("/console/sign-out")
    assert response.header("Location") == "/?said=signed-out"
    assert "Max-Age=0" in (response.header("Set-Cookie") or "")
    assert "Read-only" in console.page("/")
    assert console.post("/console/renew-all", with_form_token=False).status == 403


def test_it_ends_with_its_token(console: Console) -> None:
    """A token that is revoked counts at once no more, in sessions too."""
    console.sign_in()
    console.parts.tokens.revoke("admin")
    assert "Read-only" in console.page("/")


def test_it_ends_where_its_token_is_a_users_now(console: Console) -> None:
    """What a token allows is asked each time."""
    console.sign_in()
    console.parts.tokens.revoke("admin")
    console.parts.tokens.new("other", "admin", at=console.rig.world.at)
    console.parts.tokens.new("admin", "user", at=console.rig.world.at, chosen=console.token)
    assert "Read-only" in console.page("/")


def test_it_ends_by_itself(console: Console) -> None:
    """The store forgets it after four hours, whatever is done in it."""
    console.sign_in()
    session = Session(console.cookie.partition("=")[2])
    leases = console.rig.store.leases
    holder = leases.holder(session.lease)
    assert holder is not None
    assert SESSION_SECONDS == 4 * 3600
    assert leases.acquire(session.lease, holder, 0)
    assert "Read-only" in console.page("/")


def test_another_replica_knows_the_session(console: Console) -> None:
    """Behind a load balancer the next request may come to another process."""
    console.sign_in()
    secret = console.cookie.partition("=")[2]
    with Store.open(console.settings.database_url) as store:
        other = replace(console.parts, store=store)
        assert session_of(other, secret) == Session(secret)
        assert session_of(other, "A" * 43) is None


@pytest.mark.parametrize("cookie", ["", "A", "A" * 43, "A" * 44, "../../etc", "Ä" * 43, '"x"'])
def test_what_is_no_session_is_nobody(console: Console, cookie: str) -> None:
    """Any value that was never given out."""
    console.cookie = f"{COOKIE}={cookie}"
    assert "Read-only" in console.page("/")


# Acting as somebody else


@pytest.mark.parametrize("target", ACTS)
def test_nobody_acts_without_a_session(console: Console, target: str) -> None:
    """403 with a code; nothing is done."""
    queued(console)
    response = console.post(target, {"form_token": "x", "machine": "y", "key": "root-crl"})
    assert (response.status, code_of(response)) == (403, "console-session")
    assert len(console.rig.store.registrations.list("NEW")) == 1


@pytest.mark.parametrize("target", ACTS)
@pytest.mark.parametrize("form_token", [None, "", "x", "0" * 64, "ä"])
def test_a_form_of_another_session_does_nothing(
    console: Console, target: str, form_token: str | None
) -> None:
    """Forged, left out, or made before: 403 with a code, and the session goes on (CSRF)."""
    queued(console)
    console.sign_in()
    form = {"machine": handle_of(console)}
    form |= {} if form_token is None else {"form_token": form_token}
    response = console.post(target, form, with_form_token=False)
    assert (response.status, code_of(response)) == (403, "console-form")
    assert "Signed in as admin" in console.page("/")
    assert len(console.rig.store.registrations.list("NEW")) == 1


@pytest.mark.parametrize("headers", ELSEWHERE)
@pytest.mark.parametrize("target", [*ACTS, "/console/sign-in"])
def test_a_form_from_elsewhere_does_nothing(
    console: Console, target: str, headers: Headers
) -> None:
    """Even with everything right in it: the browser says where it comes from."""
    queued(console)
    console.sign_in()
    form = {"machine": handle_of(console), "token": console.token}
    response = console.post(target, form, headers=headers)
    assert (response.status, code_of(response)) == (403, "console-origin")
    assert response.header("Set-Cookie") is None
    assert len(console.rig.store.registrations.list("NEW")) == 1


@pytest.mark.parametrize(
    "headers",
    [
        SAME_SITE,
        (("Sec-Fetch-Site", "same-origin"), ("Origin", "https://behind.a.proxy")),
        (("Origin", f"https://{HOST.upper()}"),),
        (),
    ],
)
def test_a_form_from_here_is_obeyed(console: Console, headers: Headers) -> None:
    """Also of old browsers, and behind a proxy that changes the host."""
    one = queued(console)
    console.sign_in()
    response = console.post("/console/take-out", {"machine": handle_of(console)}, headers=headers)
    assert response.header("Location") == "/console/queue?said=taken-out"
    assert one not in console.rig.store.registrations.list("NEW")


def test_a_missing_host_is_not_from_here() -> None:
    """An origin is compared with something."""
    assert not is_from_here({"origin": "https://"})
    assert not is_from_here({"origin": "https://pccs.example"})


@pytest.mark.parametrize("target", [*ACTS, "/console/renew-all?form_token=x"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_nothing_but_a_form_acts(console: Console, target: str, method: str) -> None:
    """A link, or an image on another page, does nothing."""
    console.sign_in()
    request = HttpRequest(method=method, target=target, headers=(("Cookie", console.cookie),))
    assert console.ask(request).status == 405
    assert "Signed in as admin" in console.page("/")


def test_the_name_of_a_row_is_of_one_session(console: Console) -> None:
    """It says nothing of the machine to others, and serves nobody else."""
    queued(console)
    console.sign_in()
    first = handle_of(console)
    console.sign_in()
    assert handle_of(console) != first
    response = console.post("/console/take-out", {"machine": first})
    assert response.header("Location") == "/console/queue?said=not-in-queue"
    assert len(console.rig.store.registrations.list("NEW")) == 1


def test_words_of_a_link_are_not_shown_to_strangers(console: Console) -> None:
    """What came of an act is said in a session alone, and in words of ours alone."""
    link = "/console/collateral?said=renewed-all&renewed=9&failed=<b>"
    assert "were renewed" not in console.page("/console/collateral?said=renewed-all&renewed=9")
    console.sign_in()
    assert "All 9 items were renewed" in console.page(link.replace("<b>", "0"))
    assert "were renewed" not in console.page(link)
    assert "<b>" not in console.page("/?said=not-renewed&cause=<b>")


@pytest.mark.parametrize("body", [b"a=" + b"x" * 17000, b"a&" * 40, b"a&" * 500_000])
def test_a_form_that_is_larger_than_ours_is_not_read(console: Console, body: bytes) -> None:
    """413, whoever sends it, and before anything else is found wrong with it."""
    request = HttpRequest(
        method="POST", target="/console/sign-in", headers=(("Host", HOST),), body=body
    )
    assert console.ask(request).status == 413


@pytest.mark.parametrize("body", [b"a=" + b"x" * 17000, b"&" * 20000, b"\xff=%ff&form_token=%00"])
def test_strange_forms_are_refused(console: Console, body: bytes) -> None:
    """Too large, or no text: never an error of ours."""
    console.sign_in()
    request = HttpRequest(
        method="POST",
        target="/console/renew",
        headers=(("Host", HOST), ("Cookie", console.cookie), *SAME_SITE),
        body=body,
    )
    assert console.ask(request).status in (403, 413)
