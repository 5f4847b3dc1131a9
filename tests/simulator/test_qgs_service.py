"""The simulated Quote Generation Service on a real socket, spoken to byte by byte, as others do."""

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from dcap.errors import ConfigError, DcapError
from dcap.formats.qgs import (
    PlatformInfoRequest,
    PlatformInfoResponse,
    QuoteRequest,
    QuoteResponse,
    Refusal,
    Response,
    framed,
    read_response,
    unframed,
    write_message,
)
from dcap.formats.quote import Quote
from dcap.simulator import World
from dcap.simulator.qgs import qgs_service
from dcap.simulator.td_reports import make_td_report

MACHINE = World().platform()
NONCE = bytes(range(64))
REPORT = make_td_report(MACHINE, NONCE, rtmr2=b"\2" * 48)
ASKED = framed(write_message(QuoteRequest(REPORT)))


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A path short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="dcap-") as folder:
        yield Path(folder) / "s"


@pytest.fixture
def service(socket_path: Path) -> Iterator[Path]:
    """A served socket."""
    with qgs_service(lambda: MACHINE, socket_path):
        yield socket_path


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    """A client."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(20)
        client.connect(str(path))
        yield client


def sent(path: Path, *pieces: bytes, end: bool = False) -> bytes:
    """All that is answered to these bytes, up to the connection's end."""
    with connected(path) as client:
        for piece in pieces:
            client.sendall(piece)
        if end:
            client.shutdown(socket.SHUT_WR)
        answered = bytearray()
        with suppress(ConnectionResetError):  # what was sent in vain is thrown away
            while chunk := client.recv(65536):
                answered += chunk
    return bytes(answered)


def asked(path: Path, request: QuoteRequest | PlatformInfoRequest) -> Response:
    """The answer to a request."""
    return read_response(unframed(sent(path, framed(write_message(request)))))


def test_a_report_becomes_a_quote(service: Path) -> None:
    """Of the TD in the report, over its report data: v4, as Intel's makes."""
    answer = asked(service, QuoteRequest(REPORT))
    assert isinstance(answer, QuoteResponse)
    quote = Quote(answer.quote)
    assert (quote.header.version, quote.body.report_data) == (4, NONCE)
    assert quote.td is not None
    assert quote.td.rtmr2 == b"\2" * 48


def test_a_bare_report_becomes_a_bare_quote(service: Path) -> None:
    """The kernel's road: no frame, no header, and the end of the connection is the end of it."""
    answer = asked(service, QuoteRequest(REPORT))
    assert isinstance(answer, QuoteResponse)
    assert sent(service, REPORT) == answer.quote


def test_a_request_may_come_in_pieces(service: Path) -> None:
    """A stream has no messages."""
    whole = sent(service, ASKED)
    assert sent(service, ASKED[:1], ASKED[1:19], ASKED[19:900], ASKED[900:]) == whole
    assert sent(service, REPORT[:20], REPORT[20:]) == sent(service, REPORT)


@pytest.mark.parametrize("place", [140, 230, 600])
def test_a_report_that_was_changed_becomes_no_quote(service: Path, place: int) -> None:
    """The MAC is checked: the error has Intel's one number, a bare report gets nothing at all."""
    changed = REPORT[:place] + bytes([REPORT[place] ^ 1]) + REPORT[place + 1 :]
    assert asked(service, QuoteRequest(changed)) == Refusal(1, 0x12001)
    assert asked(service, QuoteRequest(REPORT[:-1])) == Refusal(1, 0x12001)
    assert sent(service, changed) == b""


def test_a_report_of_another_machine_becomes_no_quote(service: Path) -> None:
    """Its key is another."""
    other = make_td_report(World().platform("other"), NONCE)
    assert asked(service, QuoteRequest(other)) == Refusal(1, 0x12001)


def test_the_platform_is_told(service: Path) -> None:
    """What an attester registers with: SVNs, the QE's id, the raw CPUSVN."""
    answer = asked(service, PlatformInfoRequest())
    assert answer == PlatformInfoResponse(MACHINE.qe_svn, 13, MACHINE.qe_id, MACHINE.cpu_svn)


#: Both lengths agree, and neither is possible.
TOO_LONG = (70000).to_bytes(4, "big") + ASKED[4:12] + (70000).to_bytes(4, "little") + bytes(4)
UNREADABLE = {
    "garbage": os.urandom(40),
    "a frame without an end": ASKED[:500],
    "a frame that is too long": TOO_LONG,
    "a length that is not the message's": b"\0\0\0\x20" + ASKED[4:],
    "an answer": framed(write_message(QuoteResponse(b"QUOTE"))),
    "another version": ASKED[:4] + b"\2" + ASKED[5:],
    "nothing": b"",
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_ends_the_connection(service: Path, what: str) -> None:
    """Without a word, as the real one; and the next one is served."""
    assert sent(service, UNREADABLE[what], end=True) == b""
    assert sent(service, ASKED)


def test_errors_can_be_ordered(socket_path: Path) -> None:
    """By the type of the response; what goes over the wire can be another thing altogether."""
    with qgs_service(lambda: MACHINE, socket_path, failing={1: 0x12002, 5: 0x12003}):
        assert asked(socket_path, QuoteRequest(REPORT)) == Refusal(1, 0x12002)
        assert asked(socket_path, PlatformInfoRequest()) == Refusal(5, 0x12003)
        assert sent(socket_path, REPORT) == b""
    with qgs_service(lambda: MACHINE, socket_path, sent=lambda answer: answer[:9], version=5):
        assert len(sent(socket_path, ASKED)) == 9


def test_a_world_that_cannot_be_read_gives_the_same_error(socket_path: Path) -> None:
    """And the service lives on."""
    failures = [ConfigError("simulator-state", "broken")]

    def machine() -> object:
        if failures:
            raise failures.pop()
        return MACHINE

    with qgs_service(machine, socket_path):  # type: ignore[arg-type]
        assert asked(socket_path, QuoteRequest(REPORT)) == Refusal(1, 0x12001)
        assert isinstance(asked(socket_path, QuoteRequest(REPORT)), QuoteResponse)


def test_nothing_is_left_of_it(socket_path: Path) -> None:
    """No thread and no file, also where a client hangs on; then nobody listens."""
    threads = threading.active_count()
    with ExitStack() as clients:
        with qgs_service(lambda: MACHINE, socket_path):
            client = clients.enter_context(connected(socket_path))
            assert sent(socket_path, ASKED)
        assert client.recv(1) == b""
    assert threading.active_count() == threads
    assert list(socket_path.parent.iterdir()) == []


# Where it cannot listen


def refused(path: Path) -> DcapError:
    """Why it does not start."""
    with pytest.raises(ConfigError) as caught, qgs_service(lambda: MACHINE, path):
        pass
    assert caught.value.code == "simulator-socket"
    assert caught.value.where == str(path)
    return caught.value


def test_a_socket_that_was_left_is_replaced(socket_path: Path) -> None:
    """A killed process leaves its file, at which nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(socket_path))
    with qgs_service(lambda: MACHINE, socket_path):
        assert sent(socket_path, ASKED)


def test_a_socket_at_which_somebody_listens_is_not_taken(service: Path) -> None:
    """And goes on serving."""
    assert "another process listens there" in refused(service).what
    assert sent(service, ASKED)


def test_other_places_are_refused(socket_path: Path) -> None:
    """A file, a folder that is missing, a path too long for a socket: each by its reason."""
    socket_path.write_text("kept")
    assert "no socket stands there" in refused(socket_path).what
    assert socket_path.read_text() == "kept"
    assert "No such file" in refused(socket_path.parent / "missing" / "s").what
    assert "107 bytes at most" in refused(socket_path.with_name("s" * 120)).what
