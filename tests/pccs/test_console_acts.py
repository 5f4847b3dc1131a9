"""What an admin does in the console: renew an item, renew all, take a machine out of the queue."""

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.pccs.items import Item, RootCrlKey, TcbInfoKey
from dcap.pccs.mode import Mode
from dcap.simulator.world import FMSPCS
from pccs.console_rig import Console, age, fill
from pccs.test_console_pages import Switch, waiting

KEY = TcbInfoKey("SGX", FMSPCS["platform"])


def kept(console: Console, key: TcbInfoKey | RootCrlKey = KEY) -> Item:
    """What is kept under a key."""
    item = console.rig.store.items.get(key)
    assert item is not None
    return item


def said(console: Console, response: HttpResponse) -> str:
    """The page that an act leads to."""
    assert response.status == 303
    return console.page(response.header("Location") or "")


def test_an_item_is_renewed(tmp_path: Path) -> None:
    """It alone is fetched, also where it was in date, and the page says so."""
    console = Console.at(tmp_path)
    fill(console)
    console.sign_in()
    before = kept(console)
    age(console, 3)
    calls = len(console.rig.calls)
    page = said(console, console.post("/console/renew", {"key": KEY.text}))
    assert "The item was renewed." in page
    assert len(console.rig.calls) == calls + 1
    assert kept(console).fetched_at > before.fetched_at


def test_a_failure_says_its_cause(tmp_path: Path) -> None:
    """What it means, and what to do; what is kept stays. By hand one may try again at once."""
    wire = Switch()
    console = Console.at(tmp_path, wire=wire)
    fill(console)
    console.sign_in()
    age(console, 3)
    wire.is_down = True
    page = said(console, console.post("/console/renew", {"key": KEY.text}))
    assert "The item was not renewed: upstream cannot be reached." in page
    assert "Check network, proxy and TLS" in page
    assert kept(console).body
    wire.is_down = False
    page = said(console, console.post("/console/renew", {"key": KEY.text}))
    assert "The item was renewed." in page


def test_what_is_forged_changes_nothing(tmp_path: Path) -> None:
    """Also by hand nothing is kept that is not proven."""
    lies = [False]

    def lying(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            response = handler(request)
            if not lies[0]:
                return response
            return replace(response, body=response.body.replace(b"UpToDate", b"UpToDatE"))

        return answer

    console = Console.at(tmp_path, wire=lying)
    fill(console)
    console.sign_in()
    before = kept(console)
    age(console, 3)
    lies[0] = True
    page = said(console, console.post("/console/renew", {"key": KEY.text}))
    assert "is not what Intel signed" in page
    assert kept(console) == before


def test_all_are_renewed(tmp_path: Path) -> None:
    """Each is fetched once, and counted."""
    console = Console.at(tmp_path)
    fill(console)
    console.sign_in()
    age(console, 1)
    page = said(console, console.post("/console/renew-all"))
    assert "All 16 items were renewed." in page
    assert kept(console).fetched_at == console.rig.world.at


def test_some_that_fail_hurt_no_other(tmp_path: Path) -> None:
    """Both are counted, and the errors stand on their page.

    Two of the four are kept; the other machine's might be there too, as far as anybody knows.
    """
    no_tdx = [False]

    def partly(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            if no_tdx[0] and request.path.startswith("/tdx/certification/v4/tcb"):
                return HttpResponse(status=500)
            return handler(request)

        return answer

    console = Console.at(tmp_path, wire=partly)
    fill(console)
    console.sign_in()
    age(console, 1)
    no_tdx[0] = True
    page = said(console, console.post("/console/renew-all"))
    assert "14 items were renewed, 4 were not" in page
    assert kept(console, RootCrlKey()).fetched_at == console.rig.world.at
    assert "Upstream has an error of its own." in console.page("/console/upstream")


@pytest.mark.parametrize("target", ["/console/renew", "/console/renew-all"])
def test_in_mode_offline_nothing_is_renewed(tmp_path: Path, target: str) -> None:
    """There are no buttons, and who posts all the same is told why."""
    lazy = Console.at(tmp_path)
    fill(lazy)
    (tmp_path / "offline").mkdir()
    console = Console.at(
        tmp_path / "offline", beside=lazy.rig, store=lazy.rig.store, mode=Mode.OFFLINE
    )
    console.sign_in()
    assert "Renew" not in console.page("/console/collateral").replace("Renewed", "")
    calls = len(lazy.rig.calls)
    page = said(console, console.post(target, {"key": KEY.text}))
    assert "it fetches nothing" in page
    assert len(lazy.rig.calls) == calls


@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("tcb/SGX/4/001122334455/STANDARD", 404),
        ("tcb/SGX/3/90C0A5000000/STANDARD", 404),
        ("nothing", 400),
        ("", 400),
    ],
)
def test_only_what_is_kept_is_renewed(tmp_path: Path, key: str, status: int) -> None:
    """A key that is none, or under which nothing is kept, asks nothing of upstream."""
    console = Console.at(tmp_path)
    fill(console)
    console.sign_in()
    calls = len(console.rig.calls)
    assert console.post("/console/renew", {"key": key}).status == status
    assert len(console.rig.calls) == calls


@pytest.mark.parametrize("state", ["NEW", "NOT_AVAILABLE"])
def test_a_machine_is_taken_out_of_the_queue(tmp_path: Path, state: str) -> None:
    """It alone, and the page says so; a second time there is nothing to take."""
    console = Console.at(tmp_path, mode=Mode.OFFLINE)
    one = waiting(console, 1, state=state)  # type: ignore[arg-type]
    other = waiting(console, 2, state=state)  # type: ignore[arg-type]
    console.sign_in()
    page = console.page("/console/queue")
    handles = re.findall(r'name="machine" value="([^"]+)"', page)
    assert len(handles) == 2
    place = page.index("…0001") > page.index("…0002")
    form = {"machine": handles[int(place)]}
    assert "was taken out" in said(console, console.post("/console/take-out", form))
    left = console.rig.store.registrations.list(state)  # type: ignore[arg-type]
    assert [row.qe_id for row in left] == [other.qe_id] != [one.qe_id]
    assert "no longer in the queue" in said(console, console.post("/console/take-out", form))


def test_nobody_sees_the_buttons_without_a_session(tmp_path: Path) -> None:
    """The pages are the same, less what acts."""
    console = Console.at(tmp_path)
    fill(console)
    waiting(console)
    for target in ("/", "/console/collateral", "/console/queue", "/console/upstream"):
        assert "<form" not in console.page(target)
