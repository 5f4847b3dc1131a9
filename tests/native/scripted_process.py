"""A process that the library can ask: it answers from a script, well or in any wrong way.

    with ScriptedProcess(path, answer) as process:
        …
    process.requests            # what was asked, decoded

`answer` is called with each request and gives what to do: the bytes to send, or an action. Written from
the description of the messages alone; it shares nothing with `dcap`. Not a test.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

HEAD = struct.Struct("<4sHHIIII")
FIELD = struct.Struct("<HHI")
(INIT, QUOTE_CONFIG, COLLATERAL, QVE_IDENTITY, ROOT_CA_CRL, POLICY) = range(1, 7)
(CLEAR_CACHE, REVOCATION_INFO, QE_IDENTITY, WRITE, READ, PING) = range(7, 13)
ENVIRONMENT, DEADLINE, LOG_LEVEL, CALLER = 1, 2, 3, 4
(QE_ID, CPU_SVN, PCE_SVN, PCE_ID, PPID, TEE, FMSPC, CA) = range(16, 24)
(CUSTOM, MASK, LABEL, BLOB, CRL_URLS) = range(24, 29)

#: What a good process gives, by tag. Sizes of the real thing; CRLs with NULs, as DER has them.
CHAIN = b"-----BEGIN CERTIFICATE-----\n" + b"TUlJ" * 400 + b"\n-----END CERTIFICATE-----\n"
OUTPUTS: dict[int, bytes] = {
    48: struct.pack("<I", 0x00010003),
    49: struct.pack("<I", 0),
    50: b"pck crl " + CHAIN * 2,
    51: b"\x30\x82\x01\x00\x00root" + bytes(range(256)),
    52: b"\x30\x82\x02\x00\x00pck" + bytes(range(256)) * 2,
    53: b"tcb " + CHAIN * 2,
    54: b'{"tcbInfo":{"id":"SGX"},"signature":"' + b"ab" * 4000 + b'"}',
    55: b"qe " + CHAIN * 2,
    56: b'{"enclaveIdentity":{"id":"QE"},"signature":"' + b"cd" * 64 + b'"}',
    57: b'{"enclaveIdentity":{"id":"QVE"}}',
    58: b"qve " + CHAIN * 2,
    59: bytes(range(16)),
    60: struct.pack("<H", 0x0102),
    61: CHAIN * 3,
    62: "politique générale".encode(),
    63: b"\x00sealed\x00\xff",
    64: b"scripted 1",
}
#: What each call needs.
NEEDED: dict[int, tuple[int, ...]] = {
    INIT: (),
    QUOTE_CONFIG: (59, 60, 61),
    COLLATERAL: tuple(range(48, 57)),
    QVE_IDENTITY: (57, 58),
    ROOT_CA_CRL: (51,),
    POLICY: (62,),
    CLEAR_CACHE: (),
    REVOCATION_INFO: (50, 51, 52, 53, 54),
    QE_IDENTITY: (55, 56),
    WRITE: (),
    READ: (63,),
    PING: (64,),
}


@dataclass
class Asked:
    """One request, decoded; `connection` counts the connections from 0."""

    connection: int
    call: int
    id: int
    fields: dict[int, bytes]
    environment: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class Drip:
    """Send the bytes one at a time, so many seconds apart."""

    data: bytes
    pause: float


@dataclass(frozen=True)
class Then:
    """Send the bytes; then hang up (`cut`), or stay silent until the library goes."""

    data: bytes
    cut: bool = True


Action = bytes | Drip | Then
Answer = Callable[[Asked], Action]


def message(kind: int, number: int, fields: list[tuple[int, bytes]], status: int = 0) -> bytes:
    """A message of version 1."""
    body = b"".join(FIELD.pack(tag, 0, len(data)) + data for tag, data in fields)
    return HEAD.pack(b"DCQP", 1, kind, number, status, len(fields), len(body)) + body


def response(asked: Asked, fields: list[tuple[int, bytes]], *, status: int = 0) -> bytes:
    """A response to that request."""
    return message(asked.call | 0x8000, asked.id, fields, status)


def outputs_of(asked: Asked) -> list[tuple[int, bytes]]:
    """All that the call needs; the TEE as asked for, the CRL by its URL."""
    fields = {tag: OUTPUTS[tag] for tag in NEEDED[asked.call]}
    if asked.call == COLLATERAL:
        fields[49] = asked.fields[TEE]
    if asked.call == REVOCATION_INFO:
        fields[52] += asked.fields[CRL_URLS]
    return list(fields.items())


def good(asked: Asked) -> bytes:
    """The answer of a good process."""
    return response(asked, outputs_of(asked))


def decode(data: bytes, connection: int) -> Asked:
    """A request, or a failed assertion: the library's side of the format is checked here."""
    magic, version, call, number, status, count, length = HEAD.unpack_from(data)
    assert (magic, version, status, length) == (b"DCQP", 1, 0, len(data) - HEAD.size)
    assert call in NEEDED
    assert len(data) <= 256 * 1024
    assert count <= 64
    asked = Asked(connection, call, number, {})
    place = HEAD.size
    for _ in range(count):
        tag, zero, size = FIELD.unpack_from(data, place)
        place += FIELD.size
        assert zero == 0
        assert size <= len(data) - place
        value = data[place : place + size]
        place += size
        if tag == ENVIRONMENT:
            asked.environment.append(value)
        else:
            assert tag not in asked.fields
            asked.fields[tag] = value
    assert place == len(data)
    return asked


class ScriptedProcess:
    """A listening Unix socket and its threads."""

    def __init__(self, path: Path, answer: Answer = good, *, rejected: int = 0) -> None:
        """The first `rejected` connections are closed as soon as they are there."""
        self.path = path
        self.rejected = rejected
        self.answer = answer
        self.requests: list[Asked] = []
        self.faults: list[BaseException] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ended = False

    def __enter__(self) -> Self:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path.unlink(missing_ok=True)
        self.listener.bind(str(self.path))
        self.listener.listen(128)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._ended = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self.listener.close()
        self.hang_up()
        if self.faults and error is None:
            raise self.faults[0]

    def hang_up(self) -> None:
        """Close every connection, as a process that ends does."""
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def asked(self, call: int) -> list[Asked]:
        """The requests of one call."""
        return [each for each in self.requests if each.call == call]

    def _accept(self) -> None:
        while not self._ended:
            try:
                connected, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                number, self.connections = self.connections, self.connections + 1
                if number < self.rejected:
                    connected.close()
                    continue
                self._open.add(connected)
            threading.Thread(target=self._serve, args=(connected, number), daemon=True).start()

    def _serve(self, connected: socket.socket, number: int) -> None:
        with contextlib.closing(connected):
            try:
                for asked in _requests(connected, number):
                    self.requests.append(asked)
                    action = self.answer(asked)
                    if not _act(connected, action):
                        break
            except OSError:
                pass
            except BaseException as fault:  # noqa: BLE001 - told when the process ends
                self.faults.append(fault)
            with self._lock:
                self._open.discard(connected)


def _requests(connected: socket.socket, number: int) -> Iterator[Asked]:
    data = b""
    while True:
        while len(data) < HEAD.size or len(data) < HEAD.size + HEAD.unpack_from(data)[6]:
            more = connected.recv(1 << 20)
            if not more:
                return
            data += more
        yield decode(data, number)
        data = b""


def _act(connected: socket.socket, action: Action) -> bool:
    """Do it; whether the connection goes on."""
    if isinstance(action, bytes):
        connected.sendall(action)
        return True
    if isinstance(action, Drip):
        for place in range(len(action.data)):
            connected.sendall(action.data[place : place + 1])
            time.sleep(action.pause)
        return True
    connected.sendall(action.data)
    if not action.cut:
        connected.recv(1)
    return False
