"""JSON that Intel signs: the envelope, the exact signed bytes, and strict typed decoding.

    {"tcbInfo": {…}, "signature": "<128 hex>"}

The signature covers the bytes of the inner object as they were sent, so those bytes are kept and
never rebuilt. Decoding is typed and strict: no coercion, no trailing bytes, and no member twice
(parsers disagree on which of two wins, so verified and parsed content could differ; no JSON library
refuses it, we do). Unknown members are allowed: Intel adds some.

Source: Intel PCS API, "Get TCB Info", "Get QE Identity"; pitfall 14 of the reference.
"""

import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from dcap.errors import FormatError

#: The largest real TCB info is 12 KB.
MAX_SIZE = 1024 * 1024

T = TypeVar("T")

U8Number = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
U16Number = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
U32Number = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
#: RFC 3339 with a zone; `utc` insists that the zone is UTC, as in all of Intel's documents.
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
ShortText = Annotated[str, msgspec.Meta(max_length=256)]


class SignedJson(msgspec.Struct, frozen=True, gc=False):
    """One signed document: `body` as it was signed, `signature` raw r‖s (64 bytes)."""

    body: bytes
    signature: bytes

    @classmethod
    def parse(cls, envelope: bytes, member: str) -> "SignedJson":
        """Take `member` ("tcbInfo", "enclaveIdentity" …) and its signature out of a response."""
        what = f"{member} response"
        fields = decode_members(envelope, what)
        if member not in fields or "signature" not in fields:
            raise FormatError(
                "signed-json",
                f'the response has no "{member}" with a "signature"',
                where=what,
                mend="save the whole body of the answer, unchanged",
            )
        text = decode(bytes(fields["signature"]), str, f"{member} signature")
        return cls(bytes(fields[member]), signature_from_hex(text, member))

    def envelope(self, member: str) -> bytes:
        """The response as Intel's service sends it."""
        return b'{"%b":%b,"signature":"%b"}' % (
            member.encode(),
            self.body,
            binascii.hexlify(self.signature),
        )


def signature_from_hex(text: str, what: str) -> bytes:
    """64 raw bytes from 128 hex digits."""
    try:
        signature = binascii.unhexlify(text.strip())
    except (binascii.Error, ValueError):
        signature = b""
    if len(signature) != 64:
        raise FormatError(
            "signed-json", "the signature is not 128 hexadecimal digits", where=f"{what} signature"
        )
    return signature


def prepare(*kinds: object) -> None:
    """Build the tables by which these types are read: at import, before there are threads.

    msgspec (0.22) builds a type's table when it is first read, and without a lock: two threads that
    are the first at once would end the process with a segmentation fault.
    """
    for kind in kinds:
        msgspec.json.Decoder(kind)


def decode(data: bytes, kind: type[T], what: str, limit: int = MAX_SIZE) -> T:
    """`data` as `kind`, strictly. Raises `FormatError` (`json`).

    A repeated member is looked for only where the members read do not account for all that are
    there: `count_members` of the input against that of the decoded value.
    """
    value = decode_part(data, kind, what, limit)
    if b"\\" in data or count_members(data) != count_members(msgspec.json.encode(value)):
        _refuse_repeated_members(data, what)
    return value


def encode(value: object) -> bytes:
    """Compact JSON in member order, as Intel writes it."""
    return msgspec.json.encode(value)


def decode_part(data: bytes, kind: type[T], what: str, limit: int = MAX_SIZE) -> T:
    """As `decode`, for a type that names but a part of the members: repeats are not looked for."""
    if len(data) > limit:
        raise _not_json(f"{len(data)} bytes; the limit is {limit}", what)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise _not_json(str(error), what) from None
    except (RecursionError, UnicodeDecodeError, ValueError) as error:
        raise _not_json(f"{type(error).__name__}: nested too deeply or not text", what) from None


def decode_members(data: bytes, what: str) -> dict[str, msgspec.Raw]:
    """The members of one object, each as its exact bytes; repeated members are refused.

    What the members hold is not looked into: decode each of them with its own type.
    """
    fields = decode_part(data, dict[str, msgspec.Raw], what)
    rebuilt = b",".join(b'"%b":%b' % (name.encode(), bytes(raw)) for name, raw in fields.items())
    if b"{%b}" % rebuilt != data:
        _refuse_repeated_members(data, what)
    return fields


def count_members(data: bytes) -> int:
    """How many members all objects of a JSON text without backslashes have together.

    Without escapes, text between every second quote is a string, and the rest is structure, in which
    each member has exactly one colon.
    """
    return b"".join(data.split(b'"')[::2]).count(b":")


def _refuse_repeated_members(data: bytes, what: str) -> None:
    try:
        json.loads(data, object_pairs_hook=lambda pairs: _distinct(pairs, what))
    except (RecursionError, ValueError) as error:
        raise _not_json(f"{type(error).__name__}: nested too deeply or not text", what) from None


def _distinct(pairs: Sequence[tuple[str, Any]], what: str) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise FormatError(
                "json-repeated-member",
                f'the member "{name[:64]}" occurs twice in one object',
                where=what,
                mend="two readers may read two different things; fetch the document again",
            )
        seen.add(name)


def _not_json(why: str, what: str) -> FormatError:
    return FormatError(
        "json",
        f"not the JSON it should be: {why}",
        where=what,
        mend="save the whole answer of the service, unchanged; an error page may be in its place",
    )


def hex_bytes(text: str, size: int, what: str) -> bytes:
    """`size` bytes from hex of either case. Raises `FormatError` (`hex`)."""
    try:
        value = bytes.fromhex(text) if len(text) == 2 * size else b""
    except ValueError:
        value = b""
    if len(value) != size:
        raise FormatError("hex", f"not {2 * size} hexadecimal digits", where=what)
    return value


def utc(moment: datetime, what: str) -> datetime:
    """An instant as Intel writes it: in UTC. Raises `FormatError` (`json-time`) for another zone."""
    if moment.utcoffset():
        raise FormatError("json-time", "a time is not in UTC", where=what)
    return moment
