"""`dcap.pccs.front`: what becomes of a request where the parts behind it fail, or time goes by."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.pccs.assembly import Parts, prepare, tokens_of
from dcap.pccs.config import read_settings
from dcap.pccs.front import Front, is_identity
from dcap.pccs.http_head import Head, read_head
from dcap.pccs.metrics import Counted, Counters
from dcap.pccs.refresh import Refresher
from dcap.pccs.request_log import RequestLog
from pccs.rig import Rig

ROOT_CRL = b"GET /sgx/certification/v4/rootcacrl HTTP/1.1\r\nHost: x\r\nRequest-ID: r1\r\n"
GONE = HttpResponse(status=503, headers=(("Request-ID", "r1"), ("Dcap-Cause", "store-unavailable")))


class Desk:
    """A front over a rig, its time in the test's hands."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        (folder / "store").mkdir()
        self.rig = Rig(folder / "store")
        settings = read_settings({"data": str(folder / "data")}, {})
        prepare(settings, at=self.rig.clock())
        self.parts = Parts(
            settings=settings,
            store=self.rig.store,
            upstream=self.rig.upstream,
            service=self.rig.service,
            handle=self.rig.handler,
            refresher=Refresher(self.rig.service, seed=b""),
            tokens=tokens_of(settings),
        )
        self.counters = Counters()
        self.lines: list[str] = []
        self.log = RequestLog("text", "info", write=self.lines.append)
        self.front = Front(loop, self.parts, self.counters, self.log)

    def put(self, handle: Handler) -> None:
        """Another handler behind the same table."""
        self.front.parts = msgspec.structs.replace(self.parts, handle=handle)

    def ask(self, block: bytes = ROOT_CRL) -> HttpResponse:
        """The answer that is not ready."""
        head = read_head(block)
        return self.front.loop.run_until_complete(
            self.front.respond(head, head.request(), "10.0.0.1")
        )

    def ready(self, block: bytes = ROOT_CRL) -> bytes | None:
        """The answer that is ready, all but its last header lines."""
        parts = self.front.ready(head_of(block))
        return None if parts is None else b"".join(parts)


def head_of(block: bytes) -> Head:
    """A head."""
    return read_head(block)


@contextmanager
def open_desk(folder: Path) -> Iterator[Desk]:
    """A desk with an event loop."""
    loop = asyncio.new_event_loop()
    desk = Desk(folder, loop)
    try:
        yield desk
    finally:
        desk.front.close()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


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
    [(b"a-B9", True), (b"a" * 64, True), (b"", False), (b"a" * 65, False), (b"a b", False)],
)
def test_which_request_ids_are_handed_back(given: bytes, good: bool) -> None:
    """Letters, digits and dashes, up to 64."""
    assert is_identity(given) is good
