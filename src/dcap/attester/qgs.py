"""Intel's Quote Generation Service, asked directly: by vsock from a TDX guest, or by a Unix socket.

    attester = QgsAttester(surroundings)
    quote = attester.quote(report_data)

The guest makes its TDREPORT (`tdx_guest`), the service on the host signs it. The guest knows where by
`/etc/tdx-attest.conf`, `port = 4050`; the host is CID 2. The Unix socket is `qgsd`'s own where it has no
port, `/var/run/tdx-qgs/qgs.socket`: in a guest only where somebody hands it in. On both the 4 bytes of
length are big-endian: the service's code does not look which it is. Not here: `configfs_tsm`, where the
kernel carries the report to the same service.

Source: Intel `tdx_attest.c`, `qgs_server.cpp`; `quote-provider.md` §5.6.
"""

import errno
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from dcap.attester import tdx_guest
from dcap.attester.attester import Description, described
from dcap.attester.bound_quote import bound_quote
from dcap.attester.qgs_answer import quote_in
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError, FormatError
from dcap.formats import qgs

NAME: Final = "tdx-qgs"
CONFIGURATION: Final = "/etc/tdx-attest.conf"
SOCKET: Final = "/var/run/tdx-qgs/qgs.socket"
HOST_CID: Final = 2
#: The service itself gives up after 30 seconds.
SECONDS: Final = 35.0
_LARGEST_PORT: Final = 0xFFFFFFFF
#: As Intel's library reads it: white space anywhere, nothing else on the line.
_PORT: Final = re.compile(r"^\s*port\s*=\s*([0-9]{1,10})\s*$", re.MULTILINE)
_SERVICE: Final = "`systemctl status qgsd`"

#: 64 bytes of report data -> the TDREPORT over them, 1024 bytes.
TdReporter: TypeAlias = Callable[[bytes], bytes]


class Vsock(msgspec.Struct, frozen=True):
    """A port of another side of the hypervisor."""

    port: int
    cid: int = HOST_CID

    def __str__(self) -> str:
        return f"vsock {self.cid}:{self.port}"


Address: TypeAlias = Vsock | Path


class QgsAttester:
    """The service at an address: what `/etc/tdx-attest.conf` says, unless one is given."""

    name = NAME

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        address: Address | None = None,
        reporter: TdReporter | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._surroundings = surroundings
        self._address = address
        self._reporter = reporter or (lambda data: tdx_guest.td_report(surroundings, data))
        self._seconds = seconds

    def describe(self) -> Description:
        """What there is of it. The service is not asked."""
        return found(self._surroundings)

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes. Raises `AttesterError` (`qgs-…`, `attester-tdx-…`, `attester-…`)."""
        address = self._address or address_of(self._surroundings)
        if address is None:
            raise _unknown(self._surroundings)
        report = self._reporter(report_data)
        answered = exchange(address, qgs.QuoteRequest(report), seconds=self._seconds)
        quote = quote_in(answered, str(address))
        return bound_quote(quote, report_data, by=str(address), tee="TDX")


def found(surroundings: Surroundings) -> Description:
    """What there is of it: the device that makes the report, and where the service would be asked."""
    facts, problem = tdx_guest.look(surroundings)
    address = address_of(surroundings)
    if isinstance(address, Vsock):
        facts += (f"{CONFIGURATION}: the service is asked at {address}",)
    elif address is not None:
        facts += (f"{SOCKET}: there",)
    else:
        problem = problem or _unknown(surroundings)
    return described(NAME, "TDX", facts, problem)


def address_of(surroundings: Surroundings) -> Address | None:
    """Where the service is asked: by the port of the configuration, else at its Unix socket."""
    port = port_in(surroundings.root.text(CONFIGURATION))
    if port:
        return Vsock(port)
    return surroundings.host(SOCKET) if surroundings.root.look(SOCKET).is_there else None


def port_in(configuration: str) -> int:
    """The vsock port of `tdx-attest.conf`; 0 where there is none that Intel's library would take."""
    said = _PORT.search(configuration)
    port = int(said[1]) if said else 0
    return port if port <= _LARGEST_PORT else 0


def exchange(address: Address, request: qgs.Request, *, seconds: float = SECONDS) -> bytes:
    """One request, one framed answer. Raises `AttesterError` (`qgs-…`)."""
    until = time.monotonic() + seconds
    try:
        with _connected(address, until) as connection:
            connection.sendall(qgs.framed(qgs.write_message(request)))
            length = _receive(connection, qgs.LENGTH_SIZE, until)
            if not length:
                raise _silent(address)
            size = qgs.read_length(length)
            return length + _receive(connection, size, until)
    except FormatError as error:
        raise AttesterError(
            "qgs-answer",
            f"what answered is no Quote Generation Service that we understand: {error.what}",
            where=f"{address}: {error.where}",
            mend=f"see that Intel's qgsd answers there: {_SERVICE} on the host",
        ) from None
    except TimeoutError:
        raise AttesterError(
            "qgs-timeout",
            f"the Quote Generation Service did not answer within {seconds:g} s",
            where=str(address),
            mend="it may wait for its PCCS: `journalctl -u qgsd` on the host, and `dcap doctor` there",
        ) from None
    except OSError as error:
        raise _broken(address, error) from None


def _connected(address: Address, until: float) -> socket.socket:
    try:
        connection = _socket_for(address)
    except OSError as error:
        raise _unreachable(address, error) from None
    connection.settimeout(_left(until))
    try:
        connection.connect(
            str(address) if isinstance(address, Path) else (address.cid, address.port)
        )
    except OSError as error:
        connection.close()
        raise _unreachable(address, error) from None
    return connection


def _socket_for(address: Address) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_VSOCK
    return socket.socket(family, socket.SOCK_STREAM)


def _receive(connection: socket.socket, size: int, until: float) -> bytes:
    """`size` bytes, or nothing where the other side ended before the first."""
    received = bytearray()
    while len(received) < size:
        connection.settimeout(_left(until))
        chunk = connection.recv(size - len(received))
        if not chunk:
            if not received:
                return b""
            raise _cut_off(size, len(received))
        received += chunk
    return bytes(received)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


# What goes wrong, in our words


def _cut_off(size: int, came: int) -> FormatError:
    return FormatError(
        "qgs-message", f"{size} bytes were announced, {came} came", where="QGS message"
    )


def _silent(address: Address) -> AttesterError:
    return AttesterError(
        "qgs-refused",
        "the Quote Generation Service ended the connection without an answer: it could not begin "
        "(no quoting enclave), or did not understand",
        where=str(address),
        mend="its log on the host has the reason: `journalctl -u qgsd`",
    )


def _broken(address: Address, error: OSError) -> AttesterError:
    return AttesterError(
        "qgs-answer",
        f"the connection to the Quote Generation Service broke: {error.strerror or error}",
        where=str(address),
        mend=f"{_SERVICE} on the host shows whether it was started again; ask again then",
    )


def _unknown(surroundings: Surroundings) -> AttesterError:
    if surroundings.root.look(CONFIGURATION).is_there:
        what = f"{CONFIGURATION} has no line `port = NUMBER` that can be read"
    else:
        what = f"no {CONFIGURATION} says at which port the host's Quote Generation Service listens"
    return AttesterError(
        "qgs-address",
        what,
        where=CONFIGURATION,
        mend=f"`echo 'port = 4050' | sudo tee {CONFIGURATION}`, with the port of /etc/qgs.conf on the "
        "host; where configfs-tsm serves, it is not needed",
    )


def _unreachable(address: Address, error: OSError) -> AttesterError:
    """Nobody can be asked there."""
    if isinstance(address, Path):
        mends = {
            errno.ENOENT: f"{_SERVICE}: it makes this socket, unless /etc/qgs.conf has a port",
            errno.ECONNREFUSED: "nobody listens there any more: `sudo systemctl restart qgsd`",
            errno.EACCES: f"`ls -l {address}`: become a member of its group, or set socket_mode in "
            "/etc/qgs.conf",
        }
    else:
        mends = {
            errno.ENODEV: "give the guest a vsock device (QEMU: `-device vhost-vsock-pci,guest-cid=N`), "
            "and `sudo modprobe vmw_vsock_virtio_transport` in it",
            errno.EAFNOSUPPORT: "sudo modprobe vsock",
        }
    refused = (
        f"on the host: {_SERVICE}, and `port = N` in /etc/qgs.conf as in {CONFIGURATION} here; "
        "or by another road: `dcap attest --by configfs-tsm`"
    )
    return AttesterError(
        "qgs-unreachable",
        "nobody answers for the Quote Generation Service: "
        + (error.strerror or "no connection within the time given"),
        where=str(address),
        mend=mends.get(error.errno or 0, refused),
    )
