"""The attester of the Quote Generation Service, over sockets: the simulated one and strange ones."""

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dcap.attester.qgs import QgsAttester, Vsock, exchange, port_in
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError
from dcap.formats.qgs import (
    PlatformInfoRequest,
    PlatformInfoResponse,
    QuoteResponse,
    framed,
    read_response,
    unframed,
    write_message,
)
from dcap.formats.quote import Quote
from dcap.qpl.discovery_root import Root
from dcap.simulator import World
from dcap.simulator.qgs import qgs_service
from dcap.simulator.stream_server import stream_server, unix_listener
from dcap.simulator.td_reports import make_td_report

MACHINE = World().platform()
NONCE = bytes(range(64))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A machine's root, its path short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="dcap-") as path:
        yield Path(path)


def attester(root: Path, *, seconds: float = 20, **given: Path | Vsock) -> QgsAttester:
    """The attester of a TD on the simulated machine."""
    return QgsAttester(
        Surroundings(Root(root), {}),
        reporter=lambda data: make_td_report(MACHINE, data),
        seconds=seconds,
        **given,  # type: ignore[arg-type]
    )


def refused(root: Path, *, seconds: float = 20, **given: Path | Vsock) -> AttesterError:
    """Why there is no quote."""
    with pytest.raises(AttesterError) as caught:
        attester(root, seconds=seconds, **given).quote(NONCE)
    assert caught.value.exit_status == 7
    return caught.value


def test_the_service_makes_a_quote_over_the_report_data(folder: Path) -> None:
    """TDREPORT there, quote back, by the Unix socket that qgsd makes itself."""
    path = folder / "run" / "tdx-qgs"
    path.mkdir(parents=True)
    (folder / "var").mkdir()
    (folder / "var" / "run").symlink_to("/run")
    with qgs_service(lambda: MACHINE, path / "qgs.socket"):
        quote = Quote(attester(folder).quote(NONCE))
        seen = attester(folder).describe()
    assert (quote.tee, quote.body.report_data) == ("TDX", NONCE)
    assert seen.name == "tdx-qgs"
    assert seen.found == ("/var/run/tdx-qgs/qgs.socket: there",)


def test_the_platform_can_be_asked_for(folder: Path) -> None:
    """The other message that the service knows; a registration is made of it."""
    with qgs_service(lambda: MACHINE, folder / "s"):
        answer = read_response(unframed(exchange(folder / "s", PlatformInfoRequest())))
    assert isinstance(answer, PlatformInfoResponse)
    assert (answer.platform_id, answer.cpu_svn) == (MACHINE.qe_id, MACHINE.cpu_svn)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0x12001, "could not make the quote (0x12001, QGS_MSG_ERROR_UNEXPECTED)"),
        (0x12004, "another version (0x12004, QGS_MSG_ERROR_INVALID_VERSION)"),
        (0x11049, "no reason is known (0x11049, an unknown error)"),
    ],
)
def test_an_error_of_the_service_is_explained(folder: Path, number: int, words: str) -> None:
    """By its number and Intel's name; the reason stands in the host's log."""
    with qgs_service(lambda: MACHINE, folder / "s", failing={1: number}):
        error = refused(folder, address=folder / "s")
    assert error.code == "qgs-refused"
    assert words in error.what
    assert "journalctl -u qgsd" in error.mend


SOUND = framed(write_message(QuoteResponse(MACHINE.quote(NONCE, tee="TDX"))))
ANSWERS: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "qgs-refused", "ended the connection without an answer"),
    "half a length": (SOUND[:2], "qgs-answer", "4 bytes were announced, 2 came"),
    "a length alone": (SOUND[:4], "qgs-answer", "bytes were announced, 0 are there"),
    "half a message": (SOUND[:999], "qgs-answer", "bytes were announced, 995 came"),
    "a length too long": (b"\x7f" + SOUND[1:], "qgs-answer", "16 to 65536 bytes are possible"),
    "a length the wrong way": (SOUND[3::-1] + SOUND[4:], "qgs-answer", "must be big-endian"),
    "another version": (SOUND[:4] + b"\2" + SOUND[5:], "qgs-answer", "of version 2.1"),
    "another type": (SOUND[:8] + b"\7" + SOUND[9:], "qgs-answer", "of type 7"),
    "a request": (
        framed(write_message(PlatformInfoRequest())),
        "qgs-answer",
        "it is a request; an answer was expected",
    ),
    "another answer": (
        framed(write_message(PlatformInfoResponse(1, 2, b"id", b"svn"))),
        "qgs-answer",
        "to another question",
    ),
    "a greeting": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "qgs-answer", "would be 1213486160"),
    "what is no quote": (
        framed(write_message(QuoteResponse(b"quote"))),
        "attester-quote",
        "the answer is no quote",
    ),
    "another's quote": (
        framed(write_message(QuoteResponse(MACHINE.quote(bytes(64), tee="TDX")))),
        "attester-binding",
        "report data",
    ),
    "an enclave's quote": (
        framed(write_message(QuoteResponse(MACHINE.quote(NONCE)))),
        "attester-quote",
        "TDX was asked for",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_none_is_told(folder: Path, name: str) -> None:
    """Each in its own words; nothing but an error of ours comes out, and never a wrong quote."""
    octets, code, words = ANSWERS[name]
    with qgs_service(lambda: MACHINE, folder / "s", sent=lambda _: octets):
        error = refused(folder, address=folder / "s")
    assert (error.code, words in error.what) == (code, True), str(error)
    assert error.where.startswith(str(folder / "s"))


def test_zeros_after_a_quote_are_a_buffer_s(folder: Path) -> None:
    """Some releases answer with all of their buffer: the quote is cut out of it."""
    quote = MACHINE.quote(NONCE, tee="TDX")
    octets = framed(write_message(QuoteResponse(quote + bytes(3000))))
    with qgs_service(lambda: MACHINE, folder / "s", sent=lambda _: octets):
        assert attester(folder, address=folder / "s").quote(NONCE) == quote


@contextmanager
def serving(path: Path, serve: Callable[[socket.socket], object]) -> Iterator[Path]:
    """Something else that listens there."""
    with stream_server(unix_listener(path), lambda connection: (serve(connection), None)[1]):
        yield path


def test_a_service_that_is_silent_is_not_waited_for_without_end(folder: Path) -> None:
    """It took the request: what it waits for stands in its log."""
    with serving(folder / "s", lambda connection: connection.recv(4096) and connection.recv(1)):
        error = refused(folder, seconds=0.1, address=folder / "s")
    assert error.code == "qgs-timeout"
    assert "within 0.1 s" in error.what


def test_a_service_that_answers_byte_by_byte_has_the_same_time(folder: Path) -> None:
    """The limit is one for all of it: a slow answer does not prolong it."""

    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(SOUND[:4])
        while True:
            connection.sendall(b"\1")
            connection.settimeout(0.03)
            try:
                connection.recv(1)
            except TimeoutError:
                continue
            return

    with serving(folder / "s", drip):
        error = refused(folder, seconds=0.2, address=folder / "s")
    assert error.code == "qgs-timeout"


# Where nobody is


def test_a_socket_that_is_missing_or_left_is_told(folder: Path) -> None:
    """Two causes, two mends."""
    error = refused(folder, address=folder / "s")
    assert error.code == "qgs-unreachable"
    assert "No such file" in error.what
    assert "unless /etc/qgs.conf has a port" in error.mend
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(folder / "s"))
    error = refused(folder, address=folder / "s")
    assert (error.code, "restart qgsd" in error.mend) == ("qgs-unreachable", True)


def test_a_guest_without_configuration_is_told_what_to_write(folder: Path) -> None:
    """The file, its line, and where the number comes from."""
    error = refused(folder)
    assert error.code == "qgs-address"
    assert "no /etc/tdx-attest.conf" in error.what
    assert "port = 4050" in error.mend
    (folder / "etc").mkdir()
    (folder / "etc" / "tdx-attest.conf").write_text("port = four thousand\n")
    assert "no line `port = NUMBER`" in refused(folder).what


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("port=4050", 4050),
        ("# a comment\n\n  port  =\t4050  \n", 4050),
        ("#port=1\nport=2\nport=3\n", 2),
        ("  # port=1\n", 0),
        ("port=4050 # the host's", 0),
        ("port=0x10", 0),
        ("port=4294967295", 0xFFFFFFFF),
        ("port=4294967296", 0),
        ("port=99999999999", 0),
        ("aport=5", 0),
        ("", 0),
    ],
)
def test_the_port_is_read_as_intel_s_library_reads_it(text: str, port: int) -> None:
    """A line that it would not take is none."""
    assert port_in(text) == port


def test_a_guest_s_configuration_leads_to_the_host(folder: Path) -> None:
    """CID 2, at the port of the file, before any Unix socket."""
    (folder / "etc").mkdir()
    (folder / "etc" / "tdx-attest.conf").write_text("port=4050\n")
    (folder / "dev").mkdir()
    (folder / "dev" / "tdx_guest").touch()
    (folder / "dev" / "tdx_guest").chmod(0o660)
    seen = attester(folder).describe()
    assert seen.usable
    assert seen.found == (
        "/dev/tdx_guest: there, mode 0660",
        "/etc/tdx-attest.conf: the service is asked at vsock 2:4050",
    )


def test_vsock_leads_there(folder: Path) -> None:
    """The same frames go over vsock: where this machine's reaches itself."""
    local = Vsock(port=40507, cid=1)
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
            probe.bind((local.cid, local.port))
    except OSError as error:
        pytest.skip(f"vsock does not reach this machine itself: {error}")
    with qgs_service(lambda: MACHINE, local.port):
        quote = attester(folder, address=local).quote(NONCE)
    assert Quote(quote).body.report_data == NONCE


def test_a_port_of_vsock_at_which_nobody_listens_is_told(folder: Path) -> None:
    """Whether this machine has vsock or not: an error of ours, with what to look at."""
    error = refused(folder, seconds=0.2, address=Vsock(port=40508, cid=1))
    assert (error.code, error.where) == ("qgs-unreachable", "vsock 1:40508")
