r"""Heads of HTTP/1.1 messages as bytes: a request's is read strictly, a response's is written as given.

    head = read_head(b"GET /sgx/… HTTP/1.1\r\nHost: …\r\n")
    write_head(200, (("SGX-TCBm", "…"),))

Whatever two readers could understand differently is refused: two lengths, a length beside chunks, a
folded line, blanks before a colon, a bare line feed. Names of response headers keep their case, which
is why this is not left to a framework: those that were measured write them in lower case.

Not here: bodies and connections (`connection`), what is asked (`handler`).

Source: RFC 9112 §2-7; RFC 9110 §5.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from dcap.api.http import HttpRequest

#: As Node's: a PCK certificate's request has some 1.2 KB.
MAX_HEAD: Final = 16 * 1024

_LINE: Final = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]+) HTTP/(\d)\.(\d)")
_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n){0,100}")
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_PHRASES: Final = {
    200: b"OK",
    201: b"Created",
    204: b"No Content",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    410: b"Gone",
    413: b"Payload Too Large",
    415: b"Unsupported Media Type",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}


class Malformed(Exception):  # noqa: N818 - what the request is
    """A request that is answered with a status, and ends its connection."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Head(NamedTuple):
    """The head of a request. `fields` has the first value of each name, in lower case.

    `length` is that of the body, or `None` where it comes in chunks.
    """

    line: bytes
    method: bytes
    target: bytes
    pairs: list[tuple[bytes, bytes]]
    fields: dict[bytes, bytes]
    length: int | None
    keeps_alive: bool

    @property
    def has_body(self) -> bool:
        """Whether more bytes belong to the request."""
        return self.length != 0

    def request(self, body: bytes = b"") -> HttpRequest:
        """As a value. Bytes beyond ASCII stand as Latin-1."""
        return HttpRequest(
            method=self.method.decode(),
            target=self.target.decode(),
            headers=tuple((n.decode(), v.decode("latin-1")) for n, v in self.pairs),
            body=body,
        )


def read_head(block: bytes) -> Head:
    """Request line and fields, the last line end included. Raises `Malformed`."""
    line, _, rest = block.partition(b"\r\n")
    match = _LINE.fullmatch(line)
    if match is None or not _FIELDS.fullmatch(rest):
        raise Malformed(400)
    method, target, major, minor = match.groups()
    if major != b"1":
        raise Malformed(505)
    pairs: list[tuple[bytes, bytes]] = []
    fields: dict[bytes, bytes] = {}
    for one in rest.split(b"\r\n")[:-1]:
        name, _, value = one.partition(b":")
        value = value.strip(b" \t")
        pairs.append((name, value))
        fields.setdefault(name.lower(), value)
    if len(fields) != len(pairs):
        _expect_single(pairs)
    if minor != b"0" and b"host" not in fields:
        raise Malformed(400)
    length = _length(fields)
    if length is None and minor == b"0":
        raise Malformed(400)  # RFC 9112 §6.1: a proxy of 1.0 would not know where it ends
    is_1_0 = minor == b"0"
    keeps = _keeps_alive(pairs, is_1_0=is_1_0) if b"connection" in fields else not is_1_0
    return Head(line, method, _origin_form(target), pairs, fields, length, keeps)


def _keeps_alive(pairs: list[tuple[bytes, bytes]], *, is_1_0: bool) -> bool:
    """RFC 9112 §9.3: `Connection` is a list of words, in any number of fields."""
    given = [value for name, value in pairs if name.lower() == b"connection"]
    words = {word.strip(b" \t").lower() for value in given for word in value.split(b",")}
    return b"close" not in words and (not is_1_0 or b"keep-alive" in words)


_SINGLE: Final = (b"host", b"content-length", b"transfer-encoding")


def _expect_single(pairs: list[tuple[bytes, bytes]]) -> None:
    names = [name.lower() for name, _ in pairs]
    if any(names.count(name) > 1 for name in _SINGLE):
        raise Malformed(400)


def _length(fields: dict[bytes, bytes]) -> int | None:
    coding = fields.get(b"transfer-encoding")
    length = fields.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise Malformed(400)
        if coding.lower() != b"chunked":
            raise Malformed(501)
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise Malformed(400)
    return int(length)


def _origin_form(target: bytes) -> bytes:
    """Path and query; of an absolute target, which a proxy may send, what follows the host."""
    if target.startswith(b"/"):
        return target
    match = _ABSOLUTE.match(target)
    if match is None:
        raise Malformed(400)
    rest = target[match.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def write_status(status: int) -> bytes:
    """The status line; a status that HTTP does not know is called `unknown`, as Node calls it."""
    return b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES.get(status, b"unknown"))


def write_fields(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header lines. What could begin a line of its own is left out; so is an empty value."""
    lines = []
    for name, value in fields:
        line = f"{name}: {value}".encode("latin-1", "replace")
        if value and not any(one in line for one in _BREAKS):
            lines.append(line + b"\r\n")
    return b"".join(lines)


_BREAKS: Final = (b"\r", b"\n", b"\0")


class Chunks:
    """A body in chunks (RFC 9112 §7.1), as it arrives. `feed` gives what is left after its end."""

    def __init__(self, limit: int) -> None:
        self.body = bytearray()
        self._limit = limit
        #: What came and is not read yet: part of a line, between two calls.
        self._buffer = bytearray()
        self._left = -1
        self._trailer = False

    def feed(self, data: bytes) -> bytes | None:
        """The bytes behind the body once it is whole, else `None`. Raises `Malformed`."""
        buffer = self._buffer
        buffer += data
        at, end = 0, len(buffer)
        # Nothing is moved within the loop: chunks of a byte must not cost the rest of what came.
        while True:
            if self._left > 0:
                part = buffer[at : at + self._left]
                self.body += part
                at += len(part)
                self._left -= len(part)
                if self._left:
                    break
            stop = buffer.find(b"\r\n", at, at + _MAX_CHUNK_LINE + 2)
            if stop < 0:
                if end - at > _MAX_CHUNK_LINE + 1:
                    raise Malformed(400)
                break
            line = bytes(buffer[at:stop])
            at = stop + 2
            if self._trailer and not line:
                return bytes(buffer[at:])
            self._read_line(line)
        del buffer[:at]
        return None

    def _read_line(self, line: bytes) -> None:
        """The line that begins a chunk, that ends one, or one of the trailer, which is passed over."""
        if self._trailer:
            self._limit -= len(line)
            if self._limit < 0:
                raise Malformed(413)
            if not _FIELD.fullmatch(line):
                raise Malformed(400)
        elif self._left == 0:
            if line:
                raise Malformed(400)
            self._left = -1
        else:
            self._begin(line)

    def _begin(self, line: bytes) -> None:
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise Malformed(400)
        self._left = int(match[1], 16)
        if len(self.body) + self._left > self._limit:
            raise Malformed(413)
        self._trailer = self._left == 0


_MAX_CHUNK_LINE: Final = 1024
#: A size, and extensions, which are passed over: no line end, nor what could be one, is within.
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_FIELD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
