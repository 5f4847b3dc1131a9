"""Intel's Quote Generation Service, simulated: TDREPORTs of a machine's TDs in, its quotes out.

    with qgs_service(lambda: machine, Path("qgs.socket")):
        ...                                  # attesters, libtdx_attest behind a vsock relay, QEMU

It speaks as `qgsd` does: a framed message, or a bare TDREPORT of 1024 bytes; one answer a connection. A
report is taken that a TD of this machine made, and nobody changed. As the real one it says of every
failure the same (0x12001), and nothing at all to what it cannot read. Not here: collateral (it says it
failed), the wire format (`formats.qgs`).

Source: Intel `qgs_server.cpp`, `qgs_ql_logic.cpp`; `quote-provider.md` §5.6.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dcap.errors import DcapError
from dcap.formats import td_local_report
from dcap.formats.qgs import (
    HEADER_SIZE,
    LENGTH_SIZE,
    PLATFORM_INFO_RESPONSE,
    QUOTE_RESPONSE,
    PlatformInfoResponse,
    QuoteRequest,
    QuoteResponse,
    Refusal,
    Request,
    Response,
    framed,
    is_framed,
    is_raw_report,
    read_length,
    read_request,
    write_message,
)
from dcap.simulator.platform import Platform
from dcap.simulator.stream_server import receive, stream_server, unix_listener
from dcap.simulator.tcb_model import PCE_SVN
from dcap.simulator.td_reports import is_genuine_td_report, quote_of

UNEXPECTED: Final = 0x12001
#: The road of the real one: the host's every address.
_ANY_CID: Final = 0xFFFFFFFF


@contextmanager
def qgs_service(
    machine: Callable[[], Platform],
    path: Path | int,
    *,
    version: int = 4,
    failing: Mapping[int, int] | None = None,
    sent: Callable[[bytes], bytes] = bytes,
) -> Iterator[Path | int]:
    """Serve at a Unix socket, or a vsock port, until the block ends. Quotes are of `version`.

    Tests order faults: `failing` is the type of a response -> the error code that it has instead;
    `sent` makes of an answer's bytes what goes over the wire. Raises `ConfigError` (`simulator-socket`).
    """
    service = _Service(machine, version, failing or {}, sent)
    listener = unix_listener(path) if isinstance(path, Path) else _vsock_listener(path)
    with stream_server(listener, service.serve):
        yield path


def _vsock_listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        listener.bind((_ANY_CID, port))
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


class _Service:
    def __init__(
        self,
        machine: Callable[[], Platform],
        version: int,
        failing: Mapping[int, int],
        sent: Callable[[bytes], bytes],
    ) -> None:
        self._machine, self._version = machine, version
        self._failing, self._sent = failing, sent

    def serve(self, connection: socket.socket) -> None:
        """One request, one answer."""
        start = receive(connection, LENGTH_SIZE + HEADER_SIZE)
        if not is_framed(start):
            self._serve_raw(connection, start)
            return
        size = read_length(start[:LENGTH_SIZE])
        message = start[LENGTH_SIZE:] + receive(connection, size - HEADER_SIZE)
        answer = self._answer(read_request(message))
        connection.sendall(self._sent(framed(write_message(answer))))

    def _serve_raw(self, connection: socket.socket, start: bytes) -> None:
        """The bare quote; a report that is not taken gets nothing but the end."""
        report = start + receive(connection, td_local_report.SIZE - len(start))
        if QUOTE_RESPONSE not in self._failing and is_raw_report(report):
            quote = self._quote(report)
            if quote:
                connection.sendall(self._sent(quote))

    def _answer(self, request: Request) -> Response:
        if isinstance(request, QuoteRequest):
            if QUOTE_RESPONSE in self._failing:
                return Refusal(QUOTE_RESPONSE, self._failing[QUOTE_RESPONSE])
            quote = self._quote(request.report)
            return QuoteResponse(quote) if quote else Refusal(QUOTE_RESPONSE, UNEXPECTED)
        if PLATFORM_INFO_RESPONSE in self._failing:
            return Refusal(PLATFORM_INFO_RESPONSE, self._failing[PLATFORM_INFO_RESPONSE])
        machine = self._machine()
        return PlatformInfoResponse(machine.qe_svn, PCE_SVN, machine.qe_id, machine.cpu_svn)

    def _quote(self, report: bytes) -> bytes:
        """Empty, where the report is not one of this machine's."""
        try:
            machine = self._machine()
            if is_genuine_td_report(machine, report):
                return quote_of(machine, report, version=self._version)
        except DcapError:  # the world cannot be read just now
            pass
        return b""
