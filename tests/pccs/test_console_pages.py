"""The console's pages: what they say of what is kept, what they never say, and how they are built."""

import re
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import Unavailable
from dcap.pccs.console import platforms, wording
from dcap.pccs.console.collateral import item_rows
from dcap.pccs.console.next_steps import for_machines
from dcap.pccs.console.timeline import MOST, NARROW, WIDE, timeline
from dcap.pccs.items import (
    CrlKey,
    EvaluationNumbersKey,
    FmspcsKey,
    Holding,
    IdentityKey,
    Item,
    Key,
    PckCrlKey,
    Registration,
    RootCrlKey,
    State,
    TcbInfoKey,
)
from dcap.pccs.mode import Mode
from dcap.pccs.setting_table import Settings
from dcap.simulator.world import FMSPCS
from pccs.console_rig import Console, age, fill
from pccs.rig import manifest_of, pck_line, record_of

FMSPC = FMSPCS["platform"].hex().upper()
PAGES = (
    "/",
    "/console/platforms",
    f"/console/platforms?fmspc={FMSPC}",
    "/console/collateral",
    f"/console/levels?fmspc={FMSPC}",
    f"/console/levels?fmspc={FMSPC}&tee=TDX",
    "/console/queue",
    "/console/upstream",
    "/console/sign-in",
)
EMPTY = {
    "/": "What to do next",
    "/console/platforms": "No machine is kept yet",
    "/console/collateral": "No collateral is kept yet",
    "/console/levels": "No TCB info is kept yet",
    "/console/queue": "Nobody waits",
    "/console/upstream": "Nothing was refused",
}


class Switch:
    """A wire that can be taken down."""

    def __init__(self) -> None:
        self.is_down = False

    def __call__(self, handler: Handler) -> Handler:
        """Around a handler."""

        def answer(request: HttpRequest) -> HttpResponse:
            if self.is_down:
                raise Unavailable("network-refused", "no connection is made")
            return handler(request)

        return answer


@pytest.fixture
def console(tmp_path: Path) -> Console:
    """A console over a full cache."""
    made = Console.at(tmp_path)
    fill(made)
    return made


def waiting(console: Console, number: int = 1, *, state: State = "NEW") -> Registration:
    """A machine in the queue."""
    one = Registration(
        qe_id=f"{number:032X}",
        pce_id="0000",
        cpu_svn="11" * 16,
        pce_svn="0D00",
        encrypted_ppid=b"\x5a" * 384,
        state=state,
        created=console.rig.world.at - timedelta(hours=3),
    )
    console.rig.store.registrations.add(one)
    return one


def text_of(page: str) -> str:
    """What a person reads of a page, blanks as one."""
    text = re.sub(r"<[^>]+>", " ", page.partition("<main")[2])
    return re.sub(r"\s+", " ", text)


# What they say


@pytest.mark.parametrize(("target", "words"), EMPTY.items())
@pytest.mark.parametrize("mode", Mode)
def test_an_empty_page_says_what_to_do_next(
    tmp_path: Path, target: str, words: str, mode: Mode
) -> None:
    """Of a service that keeps nothing yet, in every mode."""
    assert words in text_of(Console.at(tmp_path, mode=mode).page(target))


def test_all_is_well_where_everything_is_in_date(console: Console) -> None:
    """The first page begins with the verdict, and names what ends first."""
    page = text_of(console.page("/"))
    assert "All is well" in page
    assert "in 29.5 days" in page


@pytest.mark.parametrize(
    ("days", "words", "verdict"),
    [
        (24, "14 items end within a week", "1 thing needs attention soon"),
        (31, "14 items have expired", "1 thing is wrong"),
    ],
)
def test_what_ends_is_told_ahead(console: Console, days: int, words: str, verdict: str) -> None:
    """A week ahead of its end an item wants attention, and past it something is wrong."""
    age(console, days)
    page = text_of(console.page("/"))
    assert words in page
    assert verdict in page


def test_an_upstream_that_is_down_is_told_with_its_cause(tmp_path: Path) -> None:
    """On the first page and on its own: what it means, and what to do."""
    wire = Switch()
    console = Console.at(tmp_path, wire=wire)
    wire.is_down = True
    for line in ("rootcacrl", "qe/identity", "qve/identity", "fmspcs", "pckcrl?ca=platform"):
        assert console.rig.ask(line).status == 502
    for target in ("/", "/console/upstream"):
        page = text_of(console.page(target))
        assert "rests after failures" in page
        assert "Upstream cannot be reached." in page
        assert "Check network, proxy and TLS" in page


def test_an_upstream_that_never_answered_is_not_in_use(tmp_path: Path) -> None:
    """One failure is not enough to rest, and nothing to be green about; an answer is."""
    wire = Switch()
    console = Console.at(tmp_path, wire=wire)
    wire.is_down = True
    assert console.rig.ask("rootcacrl").status == 502
    page = console.page("/console/upstream")
    assert "has not answered yet" in page
    assert "in use" not in page
    first = text_of(console.page("/"))
    assert "1 error of upstream in the last day: “upstream cannot be reached”" in first
    wire.is_down = False
    age(console, 1)
    assert console.rig.ask("rootcacrl").status == 200
    heading = console.page("/console/upstream").partition("<h3>")[2].partition("</h3>")[0]
    assert "in use" in heading


def test_the_verdict_counts_all_that_stands_below_it(console: Console) -> None:
    """What is wrong and what soon will be; what is on purpose stands by itself."""
    waiting(console, state="NOT_AVAILABLE")
    page = console.page("/")
    assert "All is well" in page
    assert page.index("All is well") < page.index("On purpose") < page.index("no certificate yet")
    age(console, 31)
    waiting(console, 2)
    page = console.page("/")
    heading = "1 thing is wrong, 1 needs attention soon"
    assert heading in text_of(page)
    entries = page[page.index('id="verdict"') : page.index("On purpose")]
    assert entries.count("<li") == 2


def test_offline_no_upstream_is_said_to_be_in_use(tmp_path: Path) -> None:
    """None is asked: the tile says 0, and the page why."""
    console = Console.at(tmp_path, mode=Mode.OFFLINE)
    assert "Upstreams in use 0 mode OFFLINE asks none" in text_of(console.page("/"))
    assert "not asked in mode OFFLINE" in text_of(console.page("/console/upstream"))


@pytest.mark.parametrize(
    ("settings", "host", "shown"),
    [
        ({}, "localhost:8443", (f"{socket.gethostname()}:8443", False, True)),
        ({"host": "0.0.0.0"}, "pccs.example", ("pccs.example:8081", True, True)),
        ({"host": "::1"}, "[::1]:1", (f"{socket.gethostname()}:1", False, True)),
        (
            {"tls_certificate": Path("own.pem")},
            "[2001:db8::1]",
            ("[2001:db8::1]:8081", False, False),
        ),
        ({"port": 9}, "]", (f"{socket.gethostname()}:9", False, True)),
    ],
)
def test_machines_are_told_a_name_that_they_can_reach(
    settings: dict[str, Any], host: str, shown: tuple[str, bool, bool]
) -> None:
    """Never loopback; whether they can connect at all; whether they need the certificate."""
    found = for_machines(Settings(data=Path("data"), **settings), host)
    assert (found.address, found.can_connect, found.needs_certificate) == shown


def test_errors_of_one_kind_are_one_row(tmp_path: Path) -> None:
    """An upstream that is down makes one row, and not one for each item that it lacked."""
    wire = Switch()
    console = Console.at(tmp_path, wire=wire)
    wire.is_down = True
    for line in ("rootcacrl", "qe/identity", "qve/identity", "fmspcs"):
        console.rig.ask(line)
    page = console.page("/console/upstream")
    table = page[page.index('id="errors"') : page.index('id="refusals"')]
    assert table.count("<tr>") == 2
    assert "1 more" in text_of("<main" + table)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("NEW", "1 machine waits for certificates"),
        ("NOT_AVAILABLE", "Intel has no certificate yet for 1 TCB"),
    ],
)
def test_who_waits_is_told(tmp_path: Path, state: State, words: str) -> None:
    """On the first page, with a link to the queue."""
    console = Console.at(tmp_path, mode=Mode.OFFLINE)
    waiting(console, state=state)
    assert words in text_of(console.page("/"))
    assert "3 h ago" in text_of(console.page("/console/queue"))


def test_a_service_without_an_admin_token_says_so(console: Console) -> None:
    """Nobody could import or refresh: the first page says how to make one."""
    assert "no admin token" not in console.page("/")
    console.parts.tokens.revoke("admin")
    assert "dcap pccs token new" in console.page("/")


def test_looking_at_the_queue_does_not_empty_it(tmp_path: Path) -> None:
    """The destructive read stays for Intel's tool."""
    console = Console.at(tmp_path, mode=Mode.OFFLINE)
    one = waiting(console)
    for _ in range(2):
        assert "…0001" in console.page("/console/queue")
    assert console.rig.store.registrations.list("NEW") == (one,)


def test_platforms_are_counted_by_fmspc(console: Console) -> None:
    """With their CA and the TCB infos that are kept; and one can look at those of one."""
    page = text_of(console.page("/console/platforms"))
    assert "4 machines of 2 kinds" in page
    assert f"{FMSPC} 3 Platform SGX early SGX standard TDX early TDX standard" in page
    machines = text_of(console.page(f"/console/platforms?fmspc={FMSPC}"))
    for name in ("alpha", "beta", "gamma"):
        shown = console.rig.world.platform(name).qe_id.hex()[-4:].upper()
        assert f"…{shown} 0000 Platform 7 1 encrypted PPID" in machines


def test_machines_show_when_they_last_asked(console: Console) -> None:
    """To the hour; of one that has not asked since it is kept that is said."""
    target = f"/console/platforms?fmspc={FMSPC}"
    assert text_of(console.page(target)).count("not yet") == 3
    assert console.rig.ask(pck_line(console.rig.world.platform("alpha"))).status == 200
    console.rig.service.sightings.write()
    page = text_of(console.page(target))
    assert page.count("not yet") == 2
    assert console.rig.world.at.strftime("encrypted PPID %Y-%m-%d %H:00 UTC") in page


def test_many_platforms_come_in_pages(console: Console, tmp_path: Path) -> None:
    """Fifty at a time, each of them once; a page that is not there is empty and no error."""
    kept = console.rig.store.platforms
    like = next(kept.holdings([FMSPCS["platform"]]))
    kept.put(*(_renamed(like, number) for number in range(60)))
    seen = []
    for number in (1, 2):
        page = console.page(f"/console/platforms?fmspc={FMSPC}&page={number}")
        seen += re.findall(r'<th scope="row"><code>(….{4})</code>', page)
    assert len(seen) == 63
    for number in ("3", "0", "-1", "x", "%D9%A3", "99999999999"):
        assert console.get(f"/console/platforms?fmspc={FMSPC}&page={number}").status == 200
    assert platforms.PAGE == 50


def _renamed(holding: Holding, number: int) -> Holding:
    return replace(holding, platform=replace(holding.platform, qe_id=f"{number:032X}"))


@pytest.mark.parametrize("target", ["/console/platforms?fmspc=zz", "/console/levels?fmspc=0011"])
def test_what_is_no_fmspc_is_refused(console: Console, target: str) -> None:
    """400, and a page that says what an FMSPC is."""
    response = console.get(target)
    assert response.status == 400
    assert b"12 hexadecimal digits" in response.body


def test_levels_show_early_beside_standard(console: Console) -> None:
    """Which component early asks more of, how each level is judged, and whom it concerns here."""
    page = text_of(console.page(f"/console/levels?fmspc={FMSPC}"))
    assert "The newest early level is higher in 1 component: SGX 1 (Early Microcode Update)" in page
    assert "3 machines will be worse off when early becomes standard" in page
    assert "9 not there UpToDate 2026-01-01" in page
    assert "8 UpToDate 2025-03-13 OutOfDate 2025-03-13 early adds INTEL-SA-90018" in page
    assert "SGX 1 Early Microcode Update 8 9 +1" in page


def test_levels_of_one_side_alone_say_what_is_missing(console: Console) -> None:
    """Without the early ones nothing is compared, and the page says how they come."""
    console.rig.store.items.delete(TcbInfoKey("SGX", FMSPCS["platform"], 4, "EARLY"))
    page = text_of(console.page(f"/console/levels?fmspc={FMSPC}"))
    assert "Only the standard levels are kept" in page
    assert "worse off" not in page


def test_levels_that_are_not_kept_are_404(console: Console) -> None:
    """A page that says how they come."""
    assert console.get("/console/levels?fmspc=001122334455").status == 404


# The time line


def test_every_item_with_an_end_has_a_bar(console: Console) -> None:
    """From its issue to its end, the first to end on top, none outside of the picture."""
    rows = item_rows(console.parts)
    picture = timeline(rows, console.rig.clock())
    assert picture is not None
    assert [bar.label for bar in picture.bars] == [row.name.text for row in rows if row.expires]
    assert all(0 < bar.x <= bar.x + bar.width < WIDE.width for bar in picture.bars)
    assert [bar.state for bar in picture.bars] == ["fresh"] * 15
    narrow = timeline(rows, console.rig.clock(), NARROW)
    assert narrow is not None
    assert [bar.label for bar in narrow.bars] == [bar.label for bar in picture.bars]
    for bar in narrow.bars:
        assert bar.text_y < bar.y
        assert 0 < bar.x <= bar.x + bar.width <= NARROW.width - NARROW.right
    ends = [bar.x + bar.width for bar in picture.bars]
    assert ends == sorted(ends)


def test_a_bar_changes_as_its_end_comes_near(console: Console) -> None:
    """Soon within a week, expired past it, and its end then lies left of now."""
    age(console, 24)
    soon = timeline(item_rows(console.parts), console.rig.clock())
    age(console, 7)
    expired = timeline(item_rows(console.parts), console.rig.clock())
    assert soon is not None
    assert expired is not None
    assert (soon.bars[0].state, expired.bars[0].state) == ("soon", "expired")
    assert soon.bars[0].x + soon.bars[0].width > soon.now
    assert expired.bars[0].x + expired.bars[0].width < expired.now
    assert expired.bars[0].left_x > expired.now
    assert expired.bars[-1].goes_on


def test_of_very_many_items_the_first_to_end_are_drawn(console: Console) -> None:
    """The picture stays small; it says how many it leaves out."""
    store = console.rig.store
    like = store.items.get(TcbInfoKey("SGX", FMSPCS["platform"]))
    assert like is not None
    store.items.put(*(_under(like, TcbInfoKey("SGX", bytes(5) + bytes([n]))) for n in range(60)))
    picture = timeline(item_rows(console.parts), console.rig.clock())
    assert picture is not None
    assert (len(picture.bars), picture.left_out) == (MOST, 75 - MOST)


def _under(item: Item, key: Key) -> Item:
    return replace(item, key=key)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (RootCrlKey(), "Root CA CRL"),
        (PckCrlKey("PLATFORM"), "PCK CRL · Platform CA"),
        (CrlKey("https://ca.example/list.der"), "CRL by its address · https://ca.example/list.der"),
        (TcbInfoKey("TDX", bytes(6)), "TCB info, TDX · 000000000000 · standard"),
        (TcbInfoKey("SGX", bytes(6), 3), "TCB info, SGX, version 2 · 000000000000 · standard"),
        (TcbInfoKey("SGX", bytes(6), 4, None, 16), "TCB info, SGX · 000000000000 · number 16"),
        (IdentityKey("TD_QE", update="EARLY"), "TD QE identity · early"),
        (EvaluationNumbersKey("SGX"), "TCB evaluation numbers · SGX"),
        (FmspcsKey(), "List of FMSPCs"),
    ],
)
def test_each_kind_of_item_has_a_name(key: Key, name: str) -> None:
    """For people, and not its key."""
    assert wording.name_of(key).text == name


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=12), "12 s"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=4, minutes=10), "4 h 10 min"),
        (timedelta(days=1, hours=5), "1 d 5 h"),
        (timedelta(days=23, hours=5), "23.2 days"),
    ],
)
def test_spans_are_written_in_their_largest_units(span: timedelta, text: str) -> None:
    """Two units at most."""
    assert wording.duration(span) == text


# What they never say


@pytest.mark.parametrize("target", PAGES)
@pytest.mark.parametrize("signed_in", [False, True])
def test_no_page_names_a_machine(tmp_path: Path, target: str, signed_in: bool) -> None:
    """Neither QE ids, nor PPIDs, manifests, raw TCBs or serial numbers, of any machine it knows."""
    console = Console.at(tmp_path)
    fill(console)
    rig = console.rig
    machine, other = rig.world.platform("alpha"), rig.world.platform("other")
    assert rig.ask(pck_line(machine, cpusvn="FF" * 16)).status == 200
    assert rig.register(record_of(other, enc_ppid="00" * 384)).status != 200
    assert rig.register(manifest_of(other)).status == 200
    queued = waiting(console, 0xABCDEF0123456789ABCDEF0123456789)
    if signed_in:
        console.sign_in()
    page = console.page(target).upper()
    secrets = [queued.qe_id, "5A" * 20, "11" * 16, "FF" * 16]
    for one in (machine, other):
        secrets += [one.qe_id.hex(), one.encrypted_ppid.hex()[:64], one.manifest.hex()[:64]]
    for secret in secrets:
        assert secret.upper() not in page


def test_a_short_identifier_is_not_shown_at_all(tmp_path: Path) -> None:
    """Its last four characters would be half of it."""
    assert wording.masked("ABCDEF12") == "…"
    assert wording.masked("0" * 28 + "ABCD") == "…ABCD"


# Of the service itself


def test_a_test_root_is_said_on_every_page(console: Console) -> None:
    """What is simulated must never pass for the real thing."""
    for target in PAGES:
        assert "Test root." in console.page(target)


def test_where_the_database_is_gone_pages_say_so(console: Console) -> None:
    """503 with the code; what needs none of it still answers, and all are back when it is."""
    database = console.settings.data / "pccs.db"
    console.rig.store.close()
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    kept = database.rename(database.with_name("away"))
    database.mkdir()
    for target in PAGES:
        response = console.get(target)
        needs_none = target in ("/console/upstream", "/console/sign-in")
        assert response.status == (200 if needs_none else 503), target
        assert needs_none or b"store-" in response.body
        assert response.header("X-Frame-Options") == "DENY"
    database.rmdir()
    kept.rename(database)
    console.rig.store.close()
    assert console.get("/").status == 200
