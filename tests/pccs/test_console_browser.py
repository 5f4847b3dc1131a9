"""The console in a headless Chromium, on a real HTTPS socket, as a person uses it."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from dcap.api.http import HttpRequest, HttpResponse
from dcap.pccs.items import CrlKey, Item, Registration, TcbInfoKey
from dcap.serving import serving
from dcap.simulator.tls import tls_files
from dcap.simulator.world import FMSPCS
from pccs.console_browser import Browser, chromium
from pccs.console_rig import Console, age, fill
from pccs.running import intel, serve
from pccs.test_console_guard import ATTACK
from pccs.test_console_pages import PAGES

HTML = (("Content-Type", "text/html; charset=utf-8"),)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests; skipped aloud where there is none."""
    with chromium() as running:
        yield running


@pytest.fixture
def console(tmp_path: Path) -> Console:
    """A console over a full cache."""
    made = Console.at(tmp_path)
    fill(made)
    return made


@pytest.fixture
def url(console: Console, browser: Browser, tmp_path: Path) -> Iterator[str]:
    """Where it is served; the browser as it was at first."""
    browser.size(1280, 900)
    browser.prefer(media="")
    with console.served(tmp_path) as place:
        yield place
    browser.command("DELETE", "cookie")


def sign_in(browser: Browser, url: str, token: str) -> None:
    """As a person does: by the button on top, and the form."""
    browser.open(url)
    browser.one("header a.button").click()
    browser.until("#token").type(token)
    browser.one("main form button").click()
    browser.until("header form button")


def test_an_admin_signs_in_renews_and_signs_out(
    browser: Browser, console: Console, url: str
) -> None:
    """A wrong token first; then the item is renewed, and afterwards there are no buttons left."""
    browser.open(f"{url}/console/sign-in")
    browser.one("#token").type("wrong")
    browser.one("main form button").click()
    assert "not an admin token" in browser.until("#wrong").text
    sign_in(browser, url, console.token)
    assert "Signed in" in browser.one("main .notice").text
    age(console, 2)
    browser.open(f"{url}/console/collateral")
    first = browser.all("td form button")[0]
    first.click()
    assert browser.until("main .notice").text == "The item was renewed."
    fetched = [one.fetched_at for one in console.rig.store.items.summaries()]
    assert fetched.count(console.rig.world.at) == 1
    browser.one("header form button").click()
    browser.until("header a.button")
    browser.open(f"{url}/console/collateral")
    assert browser.all("main form") == []


def test_a_machine_is_taken_out_after_a_second_look(
    browser: Browser, console: Console, url: str
) -> None:
    """The button stands behind a word that opens it: no click is enough by itself."""
    at = console.rig.world.at - timedelta(hours=1)
    console.rig.store.registrations.add(
        Registration(qe_id="CD" * 16, pce_id="0000", cpu_svn="00" * 16, created=at)
    )
    sign_in(browser, url, console.token)
    browser.open(f"{url}/console/queue")
    table = "section:first-of-type"
    assert not browser.run(f"return document.querySelector('{table} details').open")
    browser.one(f"{table} summary").click()
    browser.one(f"{table} button.danger").click()
    assert "was taken out" in browser.until("main .notice").text
    assert console.rig.store.registrations.list("NEW") == ()


def test_everything_works_with_scripts_switched_off(console: Console, tmp_path: Path) -> None:
    """The browser runs none at all: signing in, acting and the time line are there."""
    with chromium(scripts=False) as browser, console.served(tmp_path) as url:
        browser.open("data:text/html,<p id=x>off</p><script>x.textContent='on'</script>")
        assert browser.one("#x").text == "off"
        sign_in(browser, url, console.token)
        assert len(browser.all("svg.wide rect.fresh")) == 15
        browser.open(f"{url}/console/collateral")
        browser.one("main > form button").click()
        assert "All 16 items were renewed." in browser.until("main .notice").text


def test_the_cookie_is_out_of_the_reach_of_scripts(
    browser: Browser, console: Console, url: str
) -> None:
    """The browser agrees that it is HttpOnly, Secure and Strict."""
    sign_in(browser, url, console.token)
    (cookie,) = browser.cookies()
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    assert "expiry" not in cookie
    assert browser.run("return document.cookie") == ""


def test_stored_strings_become_no_elements(browser: Browser, console: Console, url: str) -> None:
    """What others chose is read as text by a real browser too."""
    at = console.rig.world.at
    key = CrlKey(f"https://ca.example/{ATTACK}")
    console.rig.store.items.put(Item(key=key, body=b"", fetched_at=at, origin=ATTACK))
    console.rig.upstream.note(console.rig.upstream.suppliers[0], ATTACK, "forged")
    console.rig.store.registrations.add(Registration(qe_id=ATTACK, pce_id=ATTACK, created=at))
    for target in ("/", "/console/collateral", "/console/queue", "/console/upstream"):
        browser.open(url + target)
        assert browser.all("main script, main img") == []
    assert ATTACK in browser.one("#errors + .scroll").text


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_no_page_is_wider_than_the_window(browser: Browser, url: str, width: int) -> None:
    """Tables and the time line scroll by themselves; the page reads on a telephone."""
    browser.size(width, 800)
    for target in PAGES:
        browser.open(url + target)
        wide = browser.run("return document.documentElement.scrollWidth")
        assert wide <= width, target


@pytest.mark.parametrize(("width", "form"), [(390, "narrow"), (1280, "wide")])
def test_the_time_line_has_bars_at_every_width(
    browser: Browser, url: str, width: int, form: str
) -> None:
    """On a telephone too the bars are in sight: names stand above them there."""
    browser.size(width, 800)
    browser.open(url)
    seen = browser.run(
        "return [...document.querySelectorAll('figure rect.fresh')].map(one => ["
        "one.closest('svg').getAttribute('class'), one.getBoundingClientRect().right,"
        "one.getBoundingClientRect().width]).filter(one => one[2] > 0)"
    )
    assert len(seen) == 15
    assert {one[0] for one in seen} == {form}
    assert max(one[1] for one in seen) < width
    assert min(one[2] for one in seen) > width / 4


def test_what_a_narrow_window_cuts_off_is_hinted_at(
    browser: Browser, console: Console, url: str
) -> None:
    """Tables are shaded at the edge where more follows; causes are words that do not break."""
    assert console.rig.ask("tcb?fmspc=zz").status == 400
    browser.size(390, 800)
    browser.open(f"{url}/console/upstream")
    table = "document.querySelector('#refusals + .scroll')"
    assert browser.run(f"return {table}.scrollWidth > {table}.clientWidth")
    assert browser.run(f"return getComputedStyle({table}).backgroundAttachment") == (
        "local, local, scroll, scroll, scroll"
    )
    cause = browser.one("#refusals + .scroll th > code")
    assert cause.text == "bad-request"
    lines = "return document.querySelector('#refusals + .scroll th > code').getClientRects().length"
    assert browser.run(lines) == 1


def test_the_policy_is_kept_by_every_page(browser: Browser, url: str) -> None:
    """The browser complains of nothing: no script, style or picture was refused."""
    browser.complaints()
    for target in PAGES:
        browser.open(url + target)
        assert browser.run("return document.styleSheets.length") == 1
        assert browser.complaints() == [], target


@pytest.mark.parametrize("guarded", [True, False])
def test_it_cannot_be_framed(
    browser: Browser, console: Console, tmp_path: Path, guarded: bool
) -> None:
    """Another page cannot lay it under something to be clicked; without our headers it could."""

    def answer(request: HttpRequest) -> HttpResponse:
        if request.path == "/bait":
            return HttpResponse(status=200, headers=HTML, body=b'<iframe src="/"></iframe>')
        response = console.ask(request)
        return response if guarded else replace(response, headers=HTML)

    certificate, key, _ = tls_files(console.rig.world, tmp_path)
    with serving(answer, tls=(certificate, key)) as server:
        browser.open(f"{server.url}/bait")
        browser.command("POST", "frame", {"id": 0})
        assert len(browser.all("a.brand")) == (0 if guarded else 1)
        browser.command("POST", "frame", {"id": None})


def test_it_is_dark_where_a_person_likes_it_dark(browser: Browser, url: str) -> None:
    """By the system's preference, and nothing else."""
    ground = "return getComputedStyle(document.body).backgroundColor"
    browser.open(url)
    browser.prefer(prefers_color_scheme="light")
    light = browser.run(ground)
    browser.prefer(prefers_color_scheme="dark")
    assert (light, browser.run(ground)) == ("rgb(246, 247, 249)", "rgb(18, 22, 29)")


def test_paper_has_no_buttons_and_no_dark_ground(
    browser: Browser, console: Console, url: str
) -> None:
    """Printed, also by who likes it dark and is signed in; the tables are whole."""
    sign_in(browser, url, console.token)
    browser.open(f"{url}/console/collateral")
    browser.prefer(media="print", prefers_color_scheme="dark")
    shown = "return [...document.querySelectorAll('%s')].filter(one => one.offsetParent).length"
    assert browser.run(shown % "form, header nav") == 0
    assert browser.run(shown % "tbody tr") == 16
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert browser.printed().startswith(b"%PDF")


def test_the_keyboard_reaches_the_content_first(browser: Browser, url: str) -> None:
    """The first stop is the link past the navigation; what has the focus is marked."""
    browser.open(url)
    keys = {"type": "key", "id": "keys", "actions": []}
    keys["actions"] = [{"type": kind, "value": "\ue004"} for kind in ("keyDown", "keyUp")]
    browser.command("POST", "actions", {"actions": [keys]})
    assert browser.run("return document.activeElement.getAttribute('href')") == "#content"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.run(outline) == "solid"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_of_every_page(browser: Browser, console: Console, url: str, theme: str) -> None:
    """Each is drawn, and none is blank; `$DCAP_SCREENSHOTS` names a folder to look at them."""
    console.rig.store.items.delete(TcbInfoKey("TDX", FMSPCS["platform"], 4, "EARLY"))
    age(console, 24)
    browser.prefer(prefers_color_scheme=theme)
    folder = os.environ.get("DCAP_SCREENSHOTS")
    for number, target in enumerate(PAGES):
        browser.open(url + target)
        picture = browser.picture()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 10_000
        if folder:
            (Path(folder) / f"{theme}-{number}.png").write_bytes(picture)


def test_the_service_itself_has_the_console(browser: Browser, tmp_path: Path) -> None:
    """`dcap pccs serve` and nothing else: the token of its first start signs in; its log names none."""
    with intel(tmp_path / "intel") as simulated, serve(tmp_path, *simulated.flags) as service:
        url = str(service.said["url"])
        token = service.token("admin")
        browser.open(url)
        assert browser.one("#verdict").text == "Ready, and nothing is kept yet"
        assert service.get("/sgx/certification/v4/rootcacrl").status == 200
        sign_in(browser, url, token)
        assert browser.one("#verdict").text == "All is well"
        browser.open(f"{url}/console/collateral")
        browser.one("main > form button").click()
        assert browser.until("main .notice").text == "All 1 items were renewed."
        secret = browser.cookies()[0]["value"]
        browser.one("header form button").click()
        browser.until("header a.button")
        browser.open("data:text/html,<p>away</p>")
        shown = [line for line in service.log.splitlines() if token in line]
        assert [line.split()[:2] for line in shown] == [["admin", "token"]]
        assert secret not in service.log
