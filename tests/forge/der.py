"""DER writing for the forge: the few ASN.1 types that certificates, CRLs and PCK extensions use.

This is a writer only, and a permissive one: it never refuses a value because a certificate
profile forbids it, since the point of the forge is to make what a normal builder will not (a CRL
without nextUpdate, a notAfter before notBefore, explicit curve parameters). It is not a parser,
and not a general ASN.1 library.

Source: ITU-T X.690 (DER), RFC 5280 section 4.1.2.5 (which time type for which year).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30


def tlv(tag: int, content: bytes) -> bytes:
    """One tag-length-value with a definite, minimal length; `tag` is the identifier octet."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*members: bytes) -> bytes:
    """SEQUENCE of members that are DER already."""
    return tlv(SEQUENCE, b"".join(members))


def sequence_of(members: Iterable[bytes]) -> bytes:
    """SEQUENCE OF members that are DER already, in the order given."""
    return sequence(*members)


def explicit(number: int, content: bytes) -> bytes:
    """Context-specific constructed tag [number], as EXPLICIT tagging writes it."""
    return tlv(0xA0 | number, content)


def _twos_complement(value: int) -> bytes:
    size = max(1, (value if value >= 0 else ~value).bit_length() // 8 + 1)
    return value.to_bytes(size, "big", signed=True)


def integer(value: int) -> bytes:
    """INTEGER, minimal two's complement (a set top bit costs a zero octet, as in Intel serials)."""
    return tlv(INTEGER, _twos_complement(value))


def enumerated(value: int) -> bytes:
    """ENUMERATED."""
    return tlv(ENUMERATED, _twos_complement(value))


def boolean(value: bool) -> bytes:
    """BOOLEAN; DER writes true as FF."""
    return tlv(BOOLEAN, b"\xff" if value else b"\x00")


def octets(value: bytes) -> bytes:
    """OCTET STRING."""
    return tlv(OCTET_STRING, value)


def bits(value: bytes) -> bytes:
    """BIT STRING with no unused bits."""
    return tlv(BIT_STRING, b"\x00" + value)


def null() -> bytes:
    """NULL."""
    return tlv(NULL, b"")


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER from its dotted form."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = b""
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        arc >>= 7
        while arc:
            groups.append(0x80 | arc & 0x7F)
            arc >>= 7
        content += bytes(reversed(groups))
    return tlv(OBJECT_IDENTIFIER, content)


def time(moment: datetime) -> bytes:
    """UTCTime for 1950 to 2049, GeneralizedTime otherwise; seconds resolution, always Z."""
    moment = moment.astimezone(UTC)
    if 1950 <= moment.year <= 2049:
        return tlv(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return tlv(GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode("ascii"))
