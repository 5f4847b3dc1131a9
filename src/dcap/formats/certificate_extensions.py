"""The extensions of certificates of Intel's attestation profile: what they say, how they are written.

Each extension occurs once; those that the profile does not know are skipped, and noted where they are
critical. Not here: the rest of a certificate (`certificate`), what Intel's own extension says
(`pck_extensions`), and whether a certificate may do what it is used for (`verification.chain`).

Source: Intel "PCK Certificate and Certificate Revocation List Profile Specification"; RFC 5280 §4.2.
"""

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from dcap.errors import FormatError
from dcap.formats import der

_BASIC_CONSTRAINTS = bytes.fromhex("551d13")
_KEY_USAGE = bytes.fromhex("551d0f")
_AUTHORITY_KEY_ID = bytes.fromhex("551d23")
_SUBJECT_KEY_ID = bytes.fromhex("551d0e")
_CRL_DISTRIBUTION_POINTS = bytes.fromhex("551d1f")
#: 1.2.840.113741.1.13.1, Intel's SGX extension (`pck_extensions`).
SGX_EXTENSION = bytes.fromhex("2a864886f84d010d01")

KEY_CERT_SIGN = 5
CRL_SIGN = 6
DIGITAL_SIGNATURE = 0
NON_REPUDIATION = 1


def read_extensions(data: bytes, at: int, end: int) -> dict[str, Any]:
    """What the list of extensions between two offsets says, by the fields of `Certificate`.

    Raises `FormatError` (`certificate`, `der`).
    """
    return _meaning_in_pck(data, at, end) or _meaning(list_extensions(data, at, end))


def list_extensions(
    data: bytes, at: int, end: int, of: str = ""
) -> dict[bytes, tuple[bool, bytes]]:
    """Every extension by its OID's content: (critical, value). Raises `FormatError`.

    `of` is what they are of, where that is no certificate ("CRL").
    """
    prefix = f"{of} " if of else ""
    found: dict[bytes, tuple[bool, bytes]] = {}
    at, stop = der.span(data, at, end, der.SEQUENCE)
    der.closed(stop, end, f"{prefix}extensions")
    while at < end:
        inner, at = der.span(data, at, end, der.SEQUENCE)
        start, inner = der.span(data, inner, at, der.OBJECT_IDENTIFIER)
        oid = data[start:inner]
        critical = False
        if inner < at and data[inner] == der.BOOLEAN:
            start, inner = der.span(data, inner, at, der.BOOLEAN)
            critical = der.boolean(data, start, inner)
        start, inner = der.span(data, inner, at, der.OCTET_STRING)
        der.closed(inner, at, f"{prefix}extension")
        if oid in found:
            where = f"{of}, byte {start}" if of else f"byte {start}"
            code = of.lower() or "certificate"
            raise FormatError(code, "an extension occurs twice", where=where)
        found[oid] = (critical, data[start:inner])
    return found


_KNOWN = {
    _BASIC_CONSTRAINTS,
    _KEY_USAGE,
    _AUTHORITY_KEY_ID,
    _SUBJECT_KEY_ID,
    _CRL_DISTRIBUTION_POINTS,
    SGX_EXTENSION,
}


def _meaning(extensions: dict[bytes, tuple[bool, bytes]]) -> dict[str, Any]:
    is_ca: bool | None = None
    path_length: int | None = None
    if (found := extensions.get(_BASIC_CONSTRAINTS)) is not None:
        is_ca, path_length = _basic_constraints(found[1])
    usage = extensions.get(_KEY_USAGE)
    key_id = extensions.get(_SUBJECT_KEY_ID)
    issuer_key_id = extensions.get(_AUTHORITY_KEY_ID)
    points = extensions.get(_CRL_DISTRIBUTION_POINTS)
    sgx = extensions.get(SGX_EXTENSION)
    return {
        "is_ca": is_ca,
        "path_length": path_length,
        "key_usage": None if usage is None else _key_usage(usage[1]),
        "authority_key_id": None if issuer_key_id is None else authority_key_id(issuer_key_id[1]),
        "subject_key_id": None if key_id is None else _octets(key_id[1]),
        "crl_distribution_point": None if points is None else _first_uri(points[1]),
        "sgx_extension": None if sgx is None else sgx[1],
        "unknown_critical": any(c and oid not in _KNOWN for oid, (c, _) in extensions.items()),
    }


def _basic_constraints(value: bytes) -> tuple[bool, int | None]:
    at, end = der.whole(value, der.SEQUENCE)
    if at == end:
        return False, None
    is_ca = False
    if value[at] == der.BOOLEAN:
        start, at = der.span(value, at, end, der.BOOLEAN)
        is_ca = der.boolean(value, start, at)
    if at == end:
        return is_ca, None
    start, at = der.span(value, at, end, der.INTEGER)
    der.closed(at, end, "basic constraints")
    return is_ca, der.unsigned(value, start, at)


@lru_cache(maxsize=64)
def _key_usage(value: bytes) -> frozenset[int]:
    start, end = der.whole(value, der.BIT_STRING)
    bits = value[start + 1 : end]
    return frozenset(
        8 * i + j for i, octet in enumerate(bits) for j in range(8) if octet & (0x80 >> j)
    )


def _octets(value: bytes) -> bytes:
    start, end = der.whole(value, der.OCTET_STRING)
    return value[start:end]


def authority_key_id(value: bytes) -> bytes | None:
    """The keyIdentifier of an AuthorityKeyIdentifier, where it has one."""
    at, end = der.whole(value, der.SEQUENCE)
    if at == end or value[at] != 0x80:
        return None
    start, stop = der.span(value, at, end, 0x80)
    return value[start:stop]


def _first_uri(value: bytes) -> str | None:
    """The first distribution point's URI; other shapes (names, reasons) are not followed."""
    at, end = der.whole(value, der.SEQUENCE)
    for tag in (der.SEQUENCE, 0xA0, 0xA0):
        if at >= end or value[at] != tag:
            return None
        at, end = der.span(value, at, end, tag)
    if at >= end or value[at] != 0x86:
        return None
    start, stop = der.span(value, at, end, 0x86)
    return value[start:stop].decode("ascii", "replace")


# The writer, from the same constants as the reader.


class Extension(msgspec.Struct, frozen=True, gc=False):
    """One extension to be written: its OID's content, its value, whether it is critical."""

    oid: bytes
    value: bytes
    critical: bool = False

    def to_der(self) -> bytes:
        """SEQUENCE { OID, critical BOOLEAN DEFAULT FALSE, OCTET STRING }."""
        critical = b"\x01\x01\xff" if self.critical else b""
        return der.sequence(
            der.element(der.OBJECT_IDENTIFIER, self.oid),
            critical,
            der.element(der.OCTET_STRING, self.value),
        )


def profile_extensions(
    *,
    authority_key_id: bytes,
    subject_key_id: bytes,
    crl_url: str,
    is_ca: bool,
    path_length: int | None = None,
    sgx_extension: bytes | None = None,
) -> list[Extension]:
    """The extensions of Intel's profile, in Intel's order."""
    usage = b"\x03\x02\x01\x06" if is_ca else b"\x03\x02\x06\xc0"
    constraints = b"\x01\x01\xff" if is_ca else b""
    if path_length is not None:
        constraints += der.integer(path_length)
    uri = der.element(0x86, crl_url.encode())
    points = der.sequence(der.sequence(der.element(0xA0, der.element(0xA0, uri))))
    found = [
        Extension(_AUTHORITY_KEY_ID, write_authority_key_id(authority_key_id)),
        Extension(_CRL_DISTRIBUTION_POINTS, points),
        Extension(_SUBJECT_KEY_ID, der.element(der.OCTET_STRING, subject_key_id)),
        Extension(_KEY_USAGE, usage, critical=True),
        Extension(_BASIC_CONSTRAINTS, der.sequence(constraints), critical=True),
    ]
    if sgx_extension is not None:
        found.append(Extension(SGX_EXTENSION, sgx_extension))
    return found


def write_authority_key_id(key_id: bytes) -> bytes:
    """AuthorityKeyIdentifier with a key identifier alone."""
    return der.sequence(der.element(0x80, key_id))


# The extensions of a PCK certificate as Intel's profile orders them, read by one expression made of what
# the writer makes: 3 µs instead of 11, and an import of machines reads ten certificates a machine. What
# it does not match, or whose lengths do not add up, `list_extensions` and `_meaning` read or refuse.


def _pck_extensions() -> re.Pattern[bytes]:
    key_id, usage, constraints = (
        extension.to_der()
        for extension in profile_extensions(
            authority_key_id=b"", subject_key_id=bytes(20), crl_url="", is_ca=False
        )[2:]
    )
    sgx = re.escape(der.element(der.OBJECT_IDENTIFIER, SGX_EXTENSION))
    return re.compile(
        rb"\x30\x82(?P<all>..)(?P<of_ca>.*?)%b(?P<key_id>.{20})%b"
        rb"\x30\x82(?P<member>..)%b\x04\x82(?P<value>..)(?P<sgx>.{256,})"
        % (re.escape(key_id[:-20]), re.escape(usage + constraints), sgx),
        re.DOTALL,
    )


_PCK_EXTENSIONS: Final = _pck_extensions()
_PCK_KEY_USAGE: Final = frozenset({DIGITAL_SIGNATURE, NON_REPUDIATION})


def _meaning_in_pck(data: bytes, at: int, end: int) -> dict[str, Any] | None:
    """What `_meaning` makes of the extensions; `None` where they are not a PCK certificate's."""
    found = _PCK_EXTENSIONS.fullmatch(data, at, end)
    if found is None:
        return None
    for length in ("all", "member", "value"):
        if int.from_bytes(found[length], "big") != end - found.end(length):
            return None
    of_ca = _of_ca(found["of_ca"])
    if of_ca is None:
        return None
    return {
        "is_ca": False,
        "path_length": None,
        "key_usage": _PCK_KEY_USAGE,
        "authority_key_id": of_ca[0],
        "subject_key_id": found["key_id"],
        "crl_distribution_point": of_ca[1],
        "sgx_extension": found["sgx"],
        "unknown_critical": False,
    }


@lru_cache(maxsize=64)
def _of_ca(extensions: bytes) -> tuple[bytes | None, str | None] | None:
    """The two extensions that all certificates of a CA have in common; `None` for any others."""
    try:
        whole = der.sequence(extensions)
        found = list_extensions(whole, 0, len(whole))
        if list(found) != [_AUTHORITY_KEY_ID, _CRL_DISTRIBUTION_POINTS]:
            return None
        meaning = _meaning(found)
    except FormatError:
        return None
    return meaning["authority_key_id"], meaning["crl_distribution_point"]
