"""What the console writes of what others chose, and the headers that guard every answer."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest

from dcap.api.http import HttpRequest
from dcap.pccs.console import application
from dcap.pccs.console.guard import HEADERS, POLICY
from dcap.pccs.items import AppraisalPolicy, CrlKey, Item, Registration
from dcap.pccs.mode import Mode
from pccs.console_rig import Console, fill

ATTACK = "\"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}'&"


@pytest.fixture
def console(tmp_path: Path) -> Console:
    """A console over an empty cache."""
    return Console.at(tmp_path, mode=Mode.OFFLINE)


# Strings of others


def test_stored_strings_are_text_and_nothing_else(tmp_path: Path) -> None:
    """An item's address, an upstream's name, a machine's ids: each is escaped wherever it stands."""
    console = Console.at(tmp_path)
    fill(console)
    rig, at = console.rig, console.rig.world.at
    uri = f"https://ca.example/{ATTACK}"
    rig.store.items.put(Item(key=CrlKey(uri), body=b"", fetched_at=at, origin=ATTACK))
    rig.store.registrations.add(
        Registration(qe_id=ATTACK, pce_id=ATTACK, created=at),
        Registration(qe_id=ATTACK, pce_id=ATTACK, state="NOT_AVAILABLE", created=at),
    )
    rig.store.policies.put(
        AppraisalPolicy(id="0" * 96, type=0, policy=ATTACK, is_default=True, fmspc=bytes(6))
    )
    rig.upstream.note(rig.upstream.suppliers[0], ATTACK, "forged")
    rig.service.count(ATTACK)
    console.sign_in()
    shown = 0
    for target in (
        "/",
        "/console/collateral",
        "/console/queue",
        "/console/upstream",
        f"/console/platforms?fmspc={ATTACK}",
        f"/console/levels?fmspc={ATTACK}",
        f"/?said={ATTACK}",
        f"/console/{ATTACK}",
    ):
        page = console.get(_encoded(target)).body.decode()
        shown += page.count("&lt;script&gt;")
        assert "<script" not in page, target
        assert "<img" not in page, target
    assert shown >= 5


def _encoded(target: str) -> str:
    return quote(target, safe="/?=&")


def test_the_host_that_a_client_names_is_text(console: Console) -> None:
    """The first page shows it in its commands."""
    request = HttpRequest(target="/", headers=(("Host", ATTACK),))
    assert b"<script" not in console.ask(request).body


# Headers


@pytest.mark.parametrize(
    "target", ["/", "/console/sign-in", "/console/nothing", "/console/renew", "/console/static/x"]
)
def test_every_answer_is_guarded(console: Console, target: str) -> None:
    """No frames (clickjacking), no sniffing, nothing from elsewhere, nothing kept by caches."""
    response = console.get(target)
    for name, value in HEADERS:
        assert response.header(name) == value
    assert response.header("Cache-Control") == "no-store"
    assert "frame-ancestors 'none'" in POLICY
    assert "script-src" not in POLICY
    assert POLICY.startswith("default-src 'none';")


def test_redirects_and_refusals_are_guarded_too(console: Console) -> None:
    """Whatever is answered to a form."""
    for response in (console.sign_in(), console.post("/console/renew", with_form_token=False)):
        assert response.header("Content-Security-Policy") == POLICY


@pytest.mark.parametrize("name", ["console.css", "icon.svg"])
def test_files_may_be_kept_by_browsers(console: Console, name: str) -> None:
    """Pages name them by their content; 304 to who has it already."""
    page = console.page("/")
    found = re.search(rf'"(/console/static/{name}\?v=\w+)"', page)
    assert found is not None
    response = console.get(found[1])
    assert response.status == 200
    assert response.header("Cache-Control") == "public, max-age=86400"
    known = (("If-None-Match", response.header("ETag") or ""),)
    assert console.get(found[1], known).status == 304


@pytest.mark.parametrize(
    "target",
    [
        "/console/static/../pages.py",
        "/console/static/%2e%2e/pages.py",
        "/console/static/..%2fpages.py",
        "/console/",
        "/console/queue/",
        "//evil.example",
        "/console/static",
    ],
)
def test_there_is_nothing_else(console: Console, target: str) -> None:
    """404 as a page of ours; no way out of the folder, and no redirect."""
    response = console.get(target)
    assert response.status == 404
    assert b"There is no such page" in response.body


def test_the_console_is_what_the_server_asks_for(console: Console) -> None:
    """Its parts are asked for anew with each request: a reload makes others."""
    asked = []
    made = application(lambda: asked.append(1) or console.parts)  # type: ignore[func-returns-value]
    console.application = made
    console.page("/")
    console.page("/")
    assert len(asked) == 2
