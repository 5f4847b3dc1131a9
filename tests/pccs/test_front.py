"""`dcap.pccs.front`: what becomes of a request where the parts behind it fail, or time goes by."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dcap.api.http import HttpRequest, HttpResponse
from dcap.pccs.connection import Connection
from dcap.pccs.front import is_identity
from dcap.pccs.http_head import read_head
from dcap.pccs.items import RootCrlKey
from dcap.pccs.metrics import Counted
from pccs.desk import ROOT_CRL, Desk, open_desk

PLATFORMS = b"POST /sgx/certification/v4/platforms HTTP/1.1\r\nHost: x\r\n"
GONE = HttpResponse(status=503, headers=(("Request-ID", "r1"), ("Dcap-Cause", "store-unavailable")))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk."""
    with open_desk(tmp_path) as made:
        yield made


def refuses(response: HttpResponse) -> Callable[[HttpRequest], HttpResponse]:
    """A handler that always says so."""
    return lambda _: response


def test_the_second_is_ready(desk: Desk) -> None:
    """After it was computed once, the same line is answered from the table, for a minute."""
    first = desk.ask()
    assert first.status == 200
    ready = desk.ready()
    assert ready is not None
    assert ready.endswith(first.body)
    desk.front.now += 60
    assert desk.ready() is None


def test_without_a_database_what_was_ready_is_served(desk: Desk) -> None:
    """Beyond the minute, while its own date holds: the same answer, under the caller's request id."""
    first = desk.ask()
    desk.put(refuses(GONE))
    desk.front.now += 3600
    later = desk.ask()
    assert (later.status, later.body, later.header("Request-ID")) == (200, first.body, "r1")
    names = {name for name, _ in later.headers}
    assert {"Content-Type", "Cache-Control", "ETag"} <= names
    assert desk.counters.total(Counted.STILL_GOOD) == 1
    desk.front.now += 86_400
    assert desk.ask().status == 503


def test_another_refusal_is_passed_on(desk: Desk) -> None:
    """What was ready does not hide that it is not to be had any more, for any other reason."""
    desk.ask()
    expired = HttpResponse(status=404, headers=(("Dcap-Cause", "expired"),))
    desk.put(refuses(expired))
    desk.front.now += 3600
    assert desk.ask().status == 404


def test_a_handler_that_breaks_is_500_and_told(desk: Desk) -> None:
    """The service goes on; the log has the kind of error, and not its words."""

    def breaks(request: HttpRequest) -> HttpResponse:
        raise KeyError(f"secret of {request.path}")

    desk.put(breaks)
    answer = desk.ask()
    assert (answer.status, answer.header("Dcap-Cause")) == (500, "internal")
    assert answer.body == b"Internal server error occurred."
    assert any("KeyError" in line for line in desk.lines)
    assert not any("secret" in line for line in desk.lines)


def test_what_is_ready_is_not_for_every_request(desk: Desk) -> None:
    """Not with a body, not with a request id that cannot be handed back, not to who insists."""
    desk.ask()
    assert desk.ready() is not None
    for change in (
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"If-None-Match: x\r\nCache-Control: no-cache\r\n",
    ):
        assert desk.ready(ROOT_CRL + change) is None
    assert desk.ready(ROOT_CRL.replace(b"r1", b"r 1")) is None
    assert desk.ready(ROOT_CRL.replace(b"GET", b"POST")) is None


def test_a_change_in_the_store_is_forgotten_here(desk: Desk) -> None:
    """When the watch tells of items, what was made of them is no longer ready."""
    desk.ask()
    assert desk.ready() is not None
    desk.front.watch.look()
    desk.front.loop.run_until_complete(asyncio.sleep(0))
    assert desk.ready() is None


@pytest.mark.parametrize(
    ("given", "good"),
    [
        *((b"a-B9", True), (b"a" * 64, True), (b"a_b.c:d", True)),
        *((b"", False), (b"a" * 65, False), (b"a b", False), (b"\xb2", False), (b"a\n", False)),
    ],
)
def test_which_request_ids_are_handed_back(given: bytes, good: bool) -> None:
    """Letters, digits, and what joins words, up to 64."""
    assert is_identity(given) is good


# Bodies and tokens


@pytest.mark.parametrize(
    ("block", "most"),
    [
        (ROOT_CRL, 16 << 10),
        (ROOT_CRL.replace(b"GET /sgx", b"POST /console/renew?/sgx"), 16 << 10),
        (PLATFORMS, 256 << 10),
        (PLATFORMS.replace(b"POST", b"PUT").replace(b"platforms", b"platformcollateral"), 2 << 20),
    ],
)
def test_who_needs_no_token_needs_no_room(desk: Desk, block: bytes, most: int) -> None:
    """Only what wants a token has a body to speak of, in chunks or whole; a machine's is small."""
    assert desk.front.room(read_head(block)) == most
    block += b"user-token: %b\r\nadmin-token: %b\r\n" % (desk.tokens["user"], desk.tokens["admin"])
    whole = read_head(block + b"Content-Length: %d\r\n" % most)
    assert desk.front.refusal(whole, "10.0.0.1") is None
    larger = read_head(block + b"Content-Length: %d\r\n" % (most + 1))
    refused = desk.front.refusal(larger, "10.0.0.1")
    assert refused is not None
    assert (refused.status, refused.header("Dcap-Cause")) == (413, "too-large")


def test_a_refused_token_is_logged_and_a_flood_of_them_counted(desk: Desk) -> None:
    """Who and why, as a warning; beyond ten a second only how many more there were."""
    head = read_head(PLATFORMS + b"user-token: no\r\nContent-Length: 9\r\n")
    for _ in range(30):
        refused = desk.front.refusal(head, "10.0.0.9")
        assert refused is not None
        assert refused.status == 401
    assert len(desk.lines) == 10
    for said in ("warning", "status=401", "cause=bad-token", "client=10.0.0.9", "sgx/v4/platforms"):
        assert said in desk.lines[0]
    desk.pass_seconds(1.1)
    assert desk.lines[-1].endswith("refused cause=bad-token requests=20\n")
    assert len(desk.lines) == 11


def test_a_parameter_that_is_wrong_is_named(desk: Desk) -> None:
    """400 says which, to the caller and in the log; Intel's sentence stays."""
    answer = desk.ask(ROOT_CRL.replace(b"rootcacrl", b"tcb?fmspc=zz"))
    assert (answer.status, answer.body) == (400, b"Invalid request parameters.")
    assert answer.header("Dcap-Why") == "fmspc is not 12 hexadecimal digits"
    assert 'why="fmspc is not 12 hexadecimal digits"' in desk.lines[-1]
    many = desk.ask(ROOT_CRL.replace(b"rootcacrl", b"tcb?" + b"a&" * 40))
    assert (many.status, many.header("Dcap-Why")) == (400, "more than 32 parameters")


# Limits


def test_beyond_the_rate_a_line_a_second_is_logged(tmp_path: Path) -> None:
    """The first refusal, and how many more there were: not one line for each."""
    with open_desk(tmp_path, rate="0.001", burst="1") as desk:
        assert desk.ask().status == 200
        written = len(desk.lines)
        assert {desk.ask().header("Dcap-Cause") for _ in range(50)} == {"busy"}
        assert len(desk.lines) == written + 1
        desk.pass_seconds(1.1)
        assert desk.lines[-1].endswith("refused cause=busy requests=49\n")


def test_one_address_does_not_take_all_connections(tmp_path: Path) -> None:
    """The third of one address is hung up on, of another not; a proxy of ours has no such limit."""
    options = {"connections_per_address": "2", "trusted_proxies": "10.9.0.0/16"}
    with open_desk(tmp_path, **options) as desk:
        came = [desk.connection(address) for address in ["10.0.0.1"] * 3 + ["10.0.0.2"]]
        assert [desk.front.admit(one) for one in came] == [True, True, False, True]
        desk.front.leave(came[2])
        desk.front.leave(came[0])
        assert desk.front.admit(desk.connection("10.0.0.1"))
        proxied: list[Connection] = [desk.connection("10.9.0.1") for _ in range(9)]
        assert all(desk.front.admit(one) for one in proxied)


@pytest.mark.parametrize(("most", "of_one"), [("6", 3), ("2", 2), ("1", 1)])
def test_few_connections_are_not_all_of_one_address(tmp_path: Path, most: str, of_one: int) -> None:
    """Half of however many there are, whatever an address might have; two, if there are two."""
    with open_desk(tmp_path, connections=most) as desk:
        came = [desk.front.admit(desk.connection("10.0.0.1")) for _ in range(9)]
        assert came.count(True) == of_one
        assert desk.front.admit(desk.connection("10.0.0.2")) is (of_one < int(most))


def test_the_status_is_computed_once_a_second(desk: Desk) -> None:
    """However many ask; after that it is new, and a change that was seen makes it new at once."""
    status = b"GET /status.json HTTP/1.1\r\nHost: x\r\n"

    def items() -> int:
        return int(json.loads(desk.ask(status).body)["kept"]["items"])

    assert items() == 0
    desk.rig.upstream.item(RootCrlKey())
    assert items() == 0
    desk.pass_seconds(1.1)
    assert items() == 1
    desk.rig.store.items.delete(RootCrlKey())
    desk.front.watch.look()
    desk.front.loop.run_until_complete(asyncio.sleep(0))
    assert items() == 0
