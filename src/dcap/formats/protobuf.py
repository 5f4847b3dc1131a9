"""Protobuf's wire format, as much of it as AESM needs: a message is a table, the type's own fields.

    class GetQuoteSizeEx(msgspec.Struct, frozen=True):
        att_key_id: Annotated[bytes, Field(1)]
        timeout: Annotated[int | None, Field(9)] = None

    MESSAGE = Message(GetQuoteSizeEx, "GetQuoteSizeExRequest")
    MESSAGE.read(MESSAGE.write(GetQuoteSizeEx(key_id)))

A field without a default is "required", one whose default is `None` "optional". Fields that the table
does not name are passed over, as the specification asks; one that stands twice is refused, for readers
differ on it. Every refusal is a `FormatError` (`protobuf-malformed`). Lengths are compared with what is
there before anything is taken. Not here: repeated fields, groups, maps, text. Why no library is used:
decision 0010.

Spec: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator
from types import NoneType
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

import msgspec

from dcap.errors import FormatError

Record = TypeVar("Record", bound=msgspec.Struct)

#: The most that integers hold: uint32's and uint64's.
MOST_32: Final = 2**32 - 1
MOST_64: Final = 2**64 - 1
#: In one message, those passed over included: what is longer is none of AESM's.
MOST_FIELDS: Final = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10
_LONGEST_KEY: Final = 5
_MOST_NUMBER: Final = 2**29 - 1


class Field:
    """The number of a field, and the most that its value may be where it is an integer."""

    __slots__ = ("most", "number")

    def __init__(self, number: int, most: int = MOST_32) -> None:
        self.number = number
        self.most = most


class Message(Generic[Record]):
    """The reader and the writer of one message. Values are `bytes`, `int` or `bool`."""

    def __init__(self, record: type[Record], name: str) -> None:
        self.record = record
        self.name = name
        hints = get_type_hints(record, include_extras=True)
        #: Number -> name, type and limit of its field.
        self._fields: dict[int, tuple[str, type, int]] = {}
        for member in record.__struct_fields__:
            kind, field = get_args(hints[member])
            (plain,) = [one for one in get_args(kind) or (kind,) if one is not NoneType]
            self._fields[field.number] = (member, plain, field.most)
        members = msgspec.structs.fields(record)
        self._required = [member.name for member in members if member.required]

    def read(self, data: bytes) -> Record:
        """The message. Raises `FormatError` where the bytes are none, or a required field lacks."""
        found: dict[str, Any] = {}
        for number, value, at in wire_fields(data, self.name):
            if number not in self._fields:
                continue
            member, kind, most = self._fields[number]
            if member in found:
                raise _malformed(f"{member} stands twice", self.name, at)
            if value is None or isinstance(value, bytes) != (kind is bytes):
                raise _malformed(f"{member} has the wire type of another kind", self.name, at)
            if isinstance(value, int) and kind is int and value > most:
                raise _malformed(f"{member} is larger than its type", self.name, at)
            found[member] = value if isinstance(value, bytes) else kind(value)
        lacks = [member for member in self._required if member not in found]
        if lacks:
            raise _malformed(f"it lacks {', '.join(lacks)}", self.name, len(data))
        return self.record(**found)

    def write(self, record: Record) -> bytes:
        """The message's bytes; fields that are `None` are left out."""
        parts = []
        for number, (member, kind, most) in self._fields.items():
            value = getattr(record, member)
            if value is None:
                continue
            if kind is bytes:
                parts.append(length_delimited(number, value))
            elif 0 <= value <= most:
                parts.append(_varint(number << 3 | _VARINT) + _varint(int(value)))
            else:
                raise _malformed(f"{member} is not in its type's range", self.name, 0)
        return b"".join(parts)


def wire_fields(data: bytes, name: str) -> Iterator[tuple[int, int | bytes | None, int]]:
    """Number, value and place of each field, in the order of the bytes.

    The value is a varint's or the bytes of a length; `None` for the fixed kinds, which are passed over.
    """
    at, count = 0, 0
    while at < len(data):
        start, count = at, count + 1
        if count > MOST_FIELDS:
            raise _malformed(f"it has more than {MOST_FIELDS} fields", name, at)
        key, at = _read_varint(data, at, name, _LONGEST_KEY)
        number, kind = key >> 3, key & 7
        if not 1 <= number <= _MOST_NUMBER:
            raise _malformed(f"there is no field {number}", name, start)
        if kind == _VARINT:
            value, at = _read_varint(data, at, name, _LONGEST_VARINT)
            yield number, value, start
            continue
        if kind == _BYTES:
            size, at = _read_varint(data, at, name, _LONGEST_VARINT)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise _malformed(f"the field {number} is of wire type {kind}", name, start)
        if size > len(data) - at:
            left = len(data) - at
            raise _malformed(
                f"the field {number} claims {size} bytes, {left} are left", name, start
            )
        yield number, data[at : at + size] if kind == _BYTES else None, start
        at += size


def length_delimited(number: int, content: bytes) -> bytes:
    """A field that holds bytes, or another message."""
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _read_varint(data: bytes, at: int, name: str, longest: int) -> tuple[int, int]:
    """A varint of 64 bits at most, and where it ends."""
    value = 0
    for shift, octet in enumerate(data[at : at + longest]):
        value |= (octet & 0x7F) << 7 * shift
        if octet < 0x80:
            if value > MOST_64:
                break
            return value, at + shift + 1
    raise _malformed("a number is cut off, or too long", name, at)


def _malformed(what: str, name: str, at: int) -> FormatError:
    return FormatError(
        "protobuf-malformed",
        what,
        where=f"{name}, byte {at}",
        mend="who sent it speaks another protocol, or another version of it",
    )
