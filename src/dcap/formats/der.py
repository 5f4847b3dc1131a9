"""Strict DER, one element at a time, without recursion.

Definite, minimal lengths only; every length is compared with the bytes that are there. Callers walk
the structure they expect, so nothing nests deeper than the spec they implement, whatever the input.

Source: ITU-T X.690 §10 (DER). Not here: certificates (`certificate`), CRLs (`crl`).
"""

from datetime import UTC, datetime
from functools import lru_cache

from dcap.errors import FormatError

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
UTF8_STRING = 0x0C
PRINTABLE_STRING = 0x13
IA5_STRING = 0x16
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31

#: Serial and CRL numbers have at most 20 octets (RFC 5280 §4.1.2.2, §5.2.3), and a sign.
LONGEST_INTEGER = 21
_SHORT_YEAR_PIVOT = 50  # RFC 5280 §4.1.2.5.1: UTCTime years 50-99 are 1950-1999


def span(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """The content of the element of `tag` at `at`, as (start, stop); `stop` is the next element.

    Raises `FormatError` (`der`) for another tag, an indefinite or non-minimal length, or an element
    that ends after `end`.
    """
    if at + 2 > end:
        raise malformed(f"an element of tag 0x{tag:02x} is missing", at)
    if data[at] != tag:
        raise malformed(f"tag 0x{data[at]:02x} stands where 0x{tag:02x} belongs", at)
    size = data[at + 1]
    start = at + 2
    if size >= 0x80:
        octets = size - 0x80
        start += octets
        if not 1 <= octets <= 4 or start > end:
            raise malformed("a length is indefinite or too large", at)
        size = int.from_bytes(data[at + 2 : start], "big")
        if size < 0x80 or size >> (8 * (octets - 1)) == 0:
            raise malformed("a length is not encoded minimally", at)
    stop = start + size
    if stop > end:
        raise malformed(f"an element of {size} bytes runs past its container", at)
    return start, stop


def whole(data: bytes, tag: int) -> tuple[int, int]:
    """As `span`, for an element that must fill `data`."""
    start, stop = span(data, 0, len(data), tag)
    if stop != len(data):
        raise malformed(f"{len(data) - stop} bytes stand after the structure", stop)
    return start, stop


def closed(at: int, stop: int, what: str) -> None:
    """Insist that a structure was read to its last byte."""
    if at != stop:
        raise malformed(f"unexpected elements at the end of the {what}", at)


def unsigned(data: bytes, start: int, stop: int) -> int:
    """The content of a non-negative INTEGER or ENUMERATED, minimally encoded."""
    if start == stop or data[start] >= 0x80:
        raise malformed("an integer is empty or negative", start)
    if data[start] == 0 and stop - start > 1 and data[start + 1] < 0x80:
        raise malformed("an integer is not encoded minimally", start)
    if stop - start > LONGEST_INTEGER:
        raise malformed(f"an integer of {stop - start} bytes", start)
    return int.from_bytes(data[start:stop], "big")


def boolean(data: bytes, start: int, stop: int) -> bool:
    """The content of a BOOLEAN: 0x00 or 0xFF."""
    if stop - start != 1 or data[start] not in (0x00, 0xFF):
        raise malformed("a boolean is neither 0x00 nor 0xFF", start)
    return data[start] == 0xFF


def moment(data: bytes, at: int, end: int) -> tuple[datetime, int]:
    """A UTCTime or GeneralizedTime in RFC 5280's form (seconds, `Z`), and the next offset."""
    tag = UTC_TIME if at < end and data[at] == UTC_TIME else GENERALIZED_TIME
    start, stop = span(data, at, end, tag)
    found = _moment(data[start:stop], tag)
    if found is None:
        raise malformed("a time is not a moment in the form of RFC 5280", at)
    return found, stop


@lru_cache(maxsize=1024)
def _moment(text: bytes, tag: int) -> datetime | None:
    size = 13 if tag == UTC_TIME else 15
    digits = text[:-1]
    if len(text) != size or text[-1:] != b"Z" or not digits.isdigit():
        return None
    year = int(digits[:-10])
    if tag == UTC_TIME:
        year += 1900 if year >= _SHORT_YEAR_PIVOT else 2000
    month, day, hour, minute, second = (
        int(digits[i : i + 2]) for i in range(len(digits) - 10, len(digits), 2)
    )
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def element(tag: int, content: bytes) -> bytes:
    """The writer: one element of `tag` around `content`."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + size.to_bytes(octets, "big") + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    """The writer of a non-negative INTEGER (or, by `tag`, ENUMERATED)."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def sequence(*members: bytes) -> bytes:
    """The writer of a SEQUENCE of elements already written."""
    return element(SEQUENCE, b"".join(members))


def write_moment(moment: datetime) -> bytes:
    """The writer of times: UTCTime from 1950 to 2049, else GeneralizedTime (RFC 5280 §4.1.2.5)."""
    if 1900 + _SHORT_YEAR_PIVOT <= moment.year < 2000 + _SHORT_YEAR_PIVOT:
        return element(UTC_TIME, f"{moment:%y%m%d%H%M%SZ}".encode())
    return element(GENERALIZED_TIME, f"{moment:%Y%m%d%H%M%SZ}".encode())


def malformed(what: str, at: int) -> FormatError:
    """The error of this module; callers add the name of the structure by `within`."""
    return FormatError("der", f"not valid DER: {what}", where=f"byte {at}")
