"""The messages between the library `libdcap_quoteprov.so.1` and the process `dcap provider serve`.

    request = read_request(bytes)            # a call of a program, and what it gave
    response = read_response(bytes)          # a status of Intel's, and what the call hands out

Version 1, little-endian: a head of 24 bytes, then fields that fill its length exactly. Reader and writer
go by the same tables (`provider_message_fields`); a reader takes nothing that is not in them. Every
refusal is a `FormatError`: `provider-version` for another version, `provider-message` for all else.
Sizes are compared with what is there before anything is taken.

Not here: the socket (`provider.server`), what a call does (`provider.provider`), the C side
(`provider/native`).

Spec: `docs/provider-messages.md`.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from dcap.errors import FormatError
from dcap.formats.provider_message_fields import (
    INPUTS,
    MAX_FIELDS,
    MAX_REQUEST,
    MAX_RESPONSE,
    OUTPUTS,
    REQUEST_FIELDS,
    RESPONSE_FIELDS,
    Call,
    Given,
    Out,
    Rule,
)

MAGIC: Final = b"DCQP"
VERSION: Final = 1
HEAD_SIZE: Final = 24
#: What a response's kind has beside the number of its call.
RESPONSE: Final = 0x8000
_HEAD = struct.Struct("<4sHHIIII")
_FIELD = struct.Struct("<HHI")
_FIELD_SIZE = _FIELD.size
_ID = slice(8, 12)

Value: TypeAlias = bytes | str | int


class Head(NamedTuple):
    """The 24 bytes in front. `length` is of what follows them."""

    call: Call
    id: int
    status: int
    fields: int
    length: int


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `environment` are lines NAME=value; its text shows nothing of what was given."""

    call: Call
    id: int = 0
    environment: tuple[str, ...] = ()
    given: Mapping[Given, Value] = {}

    def __repr__(self) -> str:
        return f"<Request {self.call.name}>"

    def number(self, tag: Given, default: int = 0) -> int:
        """A field that holds a number."""
        value = self.given.get(tag, default)
        assert isinstance(value, int)
        return value

    def octets(self, tag: Given) -> bytes:
        """A field that holds bytes; empty where it is not there."""
        value = self.given.get(tag, b"")
        assert isinstance(value, bytes)
        return value

    def text(self, tag: Given) -> str:
        """A field that holds text; empty where it is not there."""
        value = self.given.get(tag, "")
        assert isinstance(value, str)
        return value

    @property
    def lacks(self) -> tuple[Given, ...]:
        """What the call needs and was not given."""
        return tuple(tag for tag in INPUTS[self.call] if tag not in self.given)


class LogLine(NamedTuple):
    """A line for the caller's log: 0 error, 1 warning, 2 information."""

    level: int
    text: str


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a call: 0 with all that it hands out, or a `quote3_error_t` with nothing."""

    call: Call
    id: int = 0
    status: int = 0
    log: tuple[LogLine, ...] = ()
    out: Mapping[Out, Value] = {}

    def __repr__(self) -> str:
        return f"<Response {self.call.name} 0x{self.status:04X}>"


# Reading


def read_head(data: bytes, *, response: bool = False) -> Head:
    """The head at the beginning of `data`, within all bounds."""
    if len(data) < HEAD_SIZE:
        raise _wrong(f"the head has {HEAD_SIZE} bytes, {len(data)} are there")
    magic, version, kind, number, status, count, length = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise _wrong("it does not begin with DCQP")
    if version != VERSION:
        raise FormatError(
            "provider-version",
            f"the message is of version {version}, this dcap speaks {VERSION}",
            where="message, byte 4",
            mend="install the library of this dcap anew: dcap provider install",
        )
    if (kind >= RESPONSE) != response:
        raise _wrong("it is a request" if response else "it is a response", 6)
    try:
        call = Call(kind & ~RESPONSE)
    except ValueError:
        raise _wrong(f"there is no call {kind & ~RESPONSE}", 6) from None
    if status and not response:
        raise _wrong("a request has no status", 12)
    if count > MAX_FIELDS:
        raise _wrong(f"{count} fields, {MAX_FIELDS} at most", 16)
    if length > (MAX_RESPONSE if response else MAX_REQUEST):
        raise _wrong(f"{length} bytes would follow, which is too much", 20)
    return Head(call, number, status, count, length)


def read_request(data: bytes) -> Request:
    """A whole request."""
    head = read_head(data)
    environment: list[str] = []
    given: dict[Given, Value] = {}
    for tag, value in _fields(data, head, REQUEST_FIELDS):
        if tag == Given.ENVIRONMENT:
            line = str(value)
            if line.find("=") < 1:
                raise _wrong("a line of the environment is not NAME=value")
            environment.append(line)
        else:
            _put(given, _GIVEN[tag], value)
    return Request(call=head.call, id=head.id, environment=tuple(environment), given=given)


def read_response(data: bytes) -> Response:
    """A whole response; one of status 0 has all that its call hands out."""
    head = read_head(data, response=True)
    log: list[LogLine] = []
    out: dict[Out, Value] = {}
    for tag, value in _fields(data, head, RESPONSE_FIELDS):
        if tag == Out.LOG:
            assert isinstance(value, bytes)
            log.append(LogLine(value[0], _text(value[1:], "text")))
        else:
            _put(out, Out(tag), value)
    response = Response(call=head.call, id=head.id, status=head.status, log=tuple(log), out=out)
    _expect_whole(response)
    return response


_GIVEN: Final = {int(tag): tag for tag in Given}
_TagT = TypeVar("_TagT", Given, Out)


def _put(fields: dict[_TagT, Value], tag: _TagT, value: Value) -> None:
    if tag in fields:
        raise _wrong(f"the field {tag.name} is there twice")
    fields[tag] = value


def _fields(data: bytes, head: Head, rules: Mapping[int, Rule]) -> Iterable[tuple[int, Value]]:
    """Tag and value of each field; together they fill the length, and the length the message."""
    end = len(data)
    if end - HEAD_SIZE != head.length:
        raise _wrong(f"{head.length} bytes should follow the head, {end - HEAD_SIZE} do", 20)
    place = HEAD_SIZE
    for _ in range(head.fields):
        if end - place < _FIELD_SIZE:
            raise _wrong("a field is cut off", place)
        tag, zero, size = _FIELD.unpack_from(data, place)
        start = place + _FIELD_SIZE
        rule = rules.get(tag)
        if rule is None:
            raise _wrong(f"there is no field {tag}", place)
        if zero:
            raise _wrong("a reserved number is not zero", place + 2)
        kind, least, most = rule
        if size > end - start or not least <= size <= most:
            raise _wrong(f"the field {tag} has {size} bytes", place + 4)
        place = start + size
        octets = data[start:place]
        if kind == "number":
            yield tag, int.from_bytes(octets, "little")
        elif kind == "bytes":
            yield tag, octets
        else:
            yield tag, _text(octets, kind)
    if place != end:
        raise _wrong(f"{end - place} bytes are left over after the last field", place)


def _text(octets: bytes, kind: str) -> str:
    try:
        text = octets.decode("utf-8", "surrogateescape" if kind == "name" else "strict")
    except UnicodeDecodeError:
        raise _wrong("a text is not UTF-8") from None
    if "\0" in text:
        raise _wrong("a text holds a NUL")
    return text


def _expect_whole(response: Response) -> None:
    if response.status:
        if response.out:
            raise _wrong("an error that hands something out", 12)
        return
    lacks = [tag.name for tag in OUTPUTS[response.call] if tag not in response.out]
    if lacks:
        raise _wrong(f"the answer to {response.call.name} lacks {', '.join(lacks)}")


# Writing


def write_request(request: Request) -> bytes:
    """The bytes of a request."""
    fields: list[tuple[int, Value]] = [(Given.ENVIRONMENT, line) for line in request.environment]
    if any(line.find("=") < 1 for line in request.environment):
        raise _wrong("a line of the environment is not NAME=value")
    fields += request.given.items()
    return _message(request.call, request.id, 0, fields, REQUEST_FIELDS, MAX_REQUEST)


def write_response(response: Response) -> bytes:
    """The bytes of a response. One that lacks something is refused here too."""
    _expect_whole(response)
    fields: list[tuple[int, Value]] = list(response.out.items())
    fields += [(Out.LOG, bytes((level,)) + _octets(text)) for level, text in response.log]
    kind = response.call | RESPONSE
    return _message(kind, response.id, response.status, fields, RESPONSE_FIELDS, MAX_RESPONSE)


def with_id(message: bytes, number: int) -> bytes:
    """The same message, answering another request."""
    return message[: _ID.start] + number.to_bytes(4, "little") + message[_ID.stop :]


def refusal(call: int, number: int, status: int) -> bytes:
    """A response without fields, also to a call that is none."""
    return _HEAD.pack(MAGIC, VERSION, call | RESPONSE, number, status, 0, 0)


def _message(
    kind: int,
    number: int,
    status: int,
    fields: list[tuple[int, Value]],
    rules: Mapping[int, Rule],
    most: int,
) -> bytes:
    if len(fields) > MAX_FIELDS:
        raise _wrong(f"{len(fields)} fields, {MAX_FIELDS} at most")
    parts: list[bytes] = []
    for tag, value in fields:
        rule = rules[tag]
        octets = _encoded(tag, rule, value)
        parts += (_FIELD.pack(tag, 0, len(octets)), octets)
    body = b"".join(parts)
    if len(body) > most:
        raise _wrong(f"{len(body)} bytes would follow, which is too much", 20)
    return _HEAD.pack(MAGIC, VERSION, kind, number, status, len(fields), len(body)) + body


def _encoded(tag: int, rule: Rule, value: Value) -> bytes:
    if rule.kind == "number":
        if not isinstance(value, int) or not 0 <= value < 1 << (8 * rule.most):
            raise _wrong(f"the field {tag} holds no such number")
        return value.to_bytes(rule.most, "little")
    octets = value if isinstance(value, bytes) else _octets(str(value), rule.kind)
    if not rule.least <= len(octets) <= rule.most:
        raise _wrong(f"the field {tag} has {len(octets)} bytes")
    return octets


def _octets(text: str, kind: str = "text") -> bytes:
    if "\0" in text:
        raise _wrong("a text holds a NUL")
    try:
        return text.encode("utf-8", "surrogateescape" if kind == "name" else "strict")
    except UnicodeEncodeError:
        raise _wrong("a text is not UTF-8") from None


def _wrong(what: str, place: int | None = None) -> FormatError:
    return FormatError(
        "provider-message",
        what,
        where="message" if place is None else f"message, byte {place}",
        mend="the library and the process may be of different releases: dcap provider install",
    )
