"""A client of the provider's process, written from docs/provider-messages.md; no code of dcap's in it.

Not a home for assertions: each test states its own.
"""

import socket
import struct
from pathlib import Path
from typing import NamedTuple, Self

HEAD = struct.Struct("<4sHHIIII")
FIELD = struct.Struct("<HHI")
CALLS = {
    "INIT": 1,
    "QUOTE_CONFIG": 2,
    "COLLATERAL": 3,
    "QVE_IDENTITY": 4,
    "ROOT_CA_CRL": 5,
    "PLATFORM_POLICY": 6,
    "CLEAR_CACHE": 7,
    "REVOCATION_INFO": 8,
    "QE_IDENTITY": 9,
    "WRITE_PERSISTENT": 10,
    "READ_PERSISTENT": 11,
    "PING": 12,
}
GIVEN = {
    "ENVIRONMENT": 1,
    "DEADLINE": 2,
    "LOG_LEVEL": 3,
    "CALLER": 4,
    "QE_ID": 16,
    "CPU_SVN": 17,
    "PCE_SVN": 18,
    "PCE_ID": 19,
    "ENCRYPTED_PPID": 20,
    "TEE": 21,
    "FMSPC": 22,
    "CA": 23,
    "CUSTOM_PARAMETER": 24,
    "MASK": 25,
    "LABEL": 26,
    "BLOB": 27,
    "CRL_URLS": 28,
}
OUT = {
    "VERSION": 48,
    "TEE": 49,
    "PCK_CRL_ISSUER_CHAIN": 50,
    "ROOT_CA_CRL": 51,
    "PCK_CRL": 52,
    "TCB_INFO_ISSUER_CHAIN": 53,
    "TCB_INFO": 54,
    "QE_IDENTITY_ISSUER_CHAIN": 55,
    "QE_IDENTITY": 56,
    "QVE_IDENTITY": 57,
    "QVE_IDENTITY_ISSUER_CHAIN": 58,
    "CERT_CPU_SVN": 59,
    "CERT_PCE_SVN": 60,
    "CERT_DATA": 61,
    "POLICY": 62,
    "BLOB": 63,
    "SERVER": 64,
}
SIZES = {"DEADLINE": 4, "LOG_LEVEL": 1, "PCE_SVN": 2, "PCE_ID": 2, "TEE": 4, "MASK": 4}
_NAMES = {number: name for name, number in OUT.items()}


class Answer(NamedTuple):
    """A response as it stood on the wire."""

    kind: int
    id: int
    status: int
    log: tuple[tuple[int, str], ...]
    out: dict[str, bytes]


def fields(given: list[tuple[int, bytes]]) -> bytes:
    """Fields, one after another."""
    return b"".join(FIELD.pack(tag, 0, len(value)) + value for tag, value in given)


def message(
    kind: int,
    given: list[tuple[int, bytes]],
    *,
    number: int = 1,
    magic: bytes = b"DCQP",
    version: int = 1,
    status: int = 0,
) -> bytes:
    """A whole message."""
    body = fields(given)
    return HEAD.pack(magic, version, kind, number, status, len(given), len(body)) + body


def request(
    call: str, environment: tuple[str, ...] = (), *, number: int = 1, **given: bytes | str | int
) -> bytes:
    """A call, with what is given by name."""
    found = [(1, line.encode()) for line in environment]
    for name, value in given.items():
        octets = value.encode() if isinstance(value, str) else value
        if isinstance(octets, int):
            octets = octets.to_bytes(SIZES[name], "little")
        found.append((GIVEN[name], octets))
    return message(CALLS[call], found, number=number)


class Client:
    """One connection."""

    def __init__(self, path: Path, *, timeout: float = 30) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def call(
        self, name: str, environment: tuple[str, ...] = (), **given: bytes | str | int
    ) -> Answer:
        """Ask, and read the answer, which must be to this call."""
        self._number += 1
        self.socket.sendall(request(name, environment, number=self._number, **given))
        answer = self.read()
        assert (answer.kind, answer.id) == (CALLS[name] | 0x8000, self._number)
        return answer

    def read(self) -> Answer:
        """The next response."""
        magic, version, kind, number, status, count, length = HEAD.unpack(self._take(HEAD.size))
        assert (magic, version) == (b"DCQP", 1)
        body = self._take(length)
        log: list[tuple[int, str]] = []
        out: dict[str, bytes] = {}
        for _ in range(count):
            tag, zero, size = FIELD.unpack_from(body)
            value, body = body[FIELD.size : FIELD.size + size], body[FIELD.size + size :]
            assert (zero, len(value)) == (0, size)
            if tag == 1:
                log.append((value[0], value[1:].decode()))
            else:
                assert _NAMES[tag] not in out
                out[_NAMES[tag]] = value
        assert body == b""
        return Answer(kind, number, status, tuple(log), out)

    def ends(self) -> bool:
        """Whether the process has ended the connection, with nothing more said."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError(data)
            data += more
        return data
