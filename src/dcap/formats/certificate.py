"""X.509 certificates of Intel's attestation profile, read strictly from their DER.

The profile: version 3, ecdsa-with-SHA256, a P-256 key on the *named* curve as an uncompressed point.
Anything else is refused, so an explicit-parameter key (CVE-2020-0601) cannot even be represented.
What the extensions say is read; whether it permits what the certificate is used for is decided in
`verification.chain`. Not here: TLS certificates, path building, signatures.

Source: Intel "PCK Certificate and Certificate Revocation List Profile Specification"; RFC 5280.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from dcap.errors import FormatError
from dcap.formats import der, pem
from dcap.formats.remembered import remembered

#: No certificate of the profile comes near it.
MAX_SIZE = 16 * 1024

#: AlgorithmIdentifier ecdsa-with-SHA256, parameters absent.
ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
#: SubjectPublicKeyInfo of a P-256 key, up to and including the 0x04 of the uncompressed point.
P256_SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_SPKI_SIZE = len(P256_SPKI_PREFIX) + 64
_VERSION_3 = bytes.fromhex("a003020102")

_COMMON_NAME = bytes.fromhex("0603550403")
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


class Certificate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One certificate: its exact bytes and what they say.

    `tbs` is the signed slice, `signature` the DER Ecdsa-Sig-Value, `public_key` the 64 bytes X‖Y;
    `issuer` and `subject` are the Names' exact DER. `key_usage` is the set of bit numbers of RFC
    5280 §4.2.1.3, `None` where the extension is absent; so with the others.
    """

    der: bytes
    tbs: bytes
    signature: bytes
    serial: int
    issuer: bytes
    subject: bytes
    not_before: datetime
    not_after: datetime
    public_key: bytes
    is_ca: bool | None
    path_length: int | None
    key_usage: frozenset[int] | None
    authority_key_id: bytes | None
    subject_key_id: bytes | None
    crl_distribution_point: str | None
    sgx_extension: bytes | None
    unknown_critical: bool

    @classmethod
    def parse(cls, data: bytes) -> "Certificate":
        """Read one DER certificate. Raises `FormatError` (`certificate`, or `der`)."""
        if len(data) > MAX_SIZE:
            raise FormatError("certificate", f"{len(data)} bytes; the limit is {MAX_SIZE}")
        return _parse(data)

    @classmethod
    def parse_chain(cls, text: bytes) -> tuple["Certificate", ...]:
        """Every certificate of a PEM text, in order."""
        return tuple([cls.parse(block) for block in pem.blocks(text, "CERTIFICATE")])

    def __repr__(self) -> str:
        return f"<Certificate {self.common_name!r}>"

    @property
    def common_name(self) -> str:
        """The subject's common name, empty where there is none."""
        return common_name(self.subject)

    @property
    def issuer_common_name(self) -> str:
        """The issuer's common name, empty where there is none."""
        return common_name(self.issuer)

    @property
    def self_issued(self) -> bool:
        """Whether issuer and subject are the same name (RFC 5280 §3.2)."""
        return self.issuer == self.subject

    def to_pem(self) -> bytes:
        """The certificate in PEM."""
        return pem.encode(self.der, "CERTIFICATE")


def write_chain(certificates: Iterable[Certificate]) -> bytes:
    """The writer of chains: PEM blocks in the order given."""
    return b"".join(certificate.to_pem() for certificate in certificates)


@lru_cache(maxsize=256)
def common_name(name: bytes) -> str:
    """The common name inside a DER Name; empty where there is none or it is not text."""
    at = name.find(_COMMON_NAME)
    if at < 0:
        return ""
    at += len(_COMMON_NAME)
    tag = name[at] if at < len(name) else 0
    if tag not in (der.UTF8_STRING, der.PRINTABLE_STRING):
        return ""
    try:
        start, stop = der.span(name, at, len(name), tag)
    except FormatError:
        return ""
    return name[start:stop].decode("utf-8", "replace")


@remembered(512)
def _parse(data: bytes) -> Certificate:
    start, end = der.whole(data, der.SEQUENCE)
    at, tbs_end = der.span(data, start, end, der.SEQUENCE)
    tbs = data[start:tbs_end]
    if not data.startswith(_VERSION_3, at):
        raise FormatError("certificate", "not an X.509 version 3 certificate", where=f"byte {at}")
    serial_start, at = der.span(data, at + len(_VERSION_3), tbs_end, der.INTEGER)
    serial = der.unsigned(data, serial_start, at)
    at = algorithm(data, at)
    issuer_at = at
    _, at = der.span(data, at, tbs_end, der.SEQUENCE)
    issuer = data[issuer_at:at]
    validity, subject_at = der.span(data, at, tbs_end, der.SEQUENCE)
    not_before, at = der.moment(data, validity, subject_at)
    not_after, at = der.moment(data, at, subject_at)
    der.closed(at, subject_at, "validity")
    _, at = der.span(data, subject_at, tbs_end, der.SEQUENCE)
    subject = data[subject_at:at]
    if not data.startswith(P256_SPKI_PREFIX, at):
        raise FormatError(
            "certificate",
            "the public key is not an uncompressed point on the named curve P-256",
            where=f"byte {at}",
        )
    public_key = data[at + len(P256_SPKI_PREFIX) : at + _SPKI_SIZE]
    extensions_at, extensions_end = der.span(data, at + _SPKI_SIZE, tbs_end, 0xA3)
    der.closed(extensions_end, tbs_end, "certificate's signed part")
    meaning: dict[str, Any] = _meaning(_extensions(data, extensions_at, extensions_end))
    at = algorithm(data, tbs_end)
    signature, at = der.span(data, at, end, der.BIT_STRING)
    der.closed(at, end, "certificate")
    if data[signature : signature + 1] != b"\0":
        raise FormatError("certificate", "the signature is not a whole number of bytes")
    return Certificate(
        der=data,
        tbs=tbs,
        signature=data[signature + 1 : end],
        serial=serial,
        issuer=issuer,
        subject=subject,
        not_before=not_before,
        not_after=not_after,
        public_key=public_key,
        **meaning,
    )


def algorithm(data: bytes, at: int) -> int:
    """Insist on ecdsa-with-SHA256 at `at`; the offset after it."""
    if not data.startswith(ECDSA_WITH_SHA256, at):
        raise FormatError(
            "certificate", "the signature algorithm is not ecdsa-with-SHA256", where=f"byte {at}"
        )
    return at + len(ECDSA_WITH_SHA256)


def _extensions(data: bytes, at: int, end: int) -> dict[bytes, tuple[bool, bytes]]:
    """Every extension by its OID's content: (critical, value)."""
    found: dict[bytes, tuple[bool, bytes]] = {}
    at, stop = der.span(data, at, end, der.SEQUENCE)
    der.closed(stop, end, "extensions")
    while at < end:
        inner, at = der.span(data, at, end, der.SEQUENCE)
        start, inner = der.span(data, inner, at, der.OBJECT_IDENTIFIER)
        oid = data[start:inner]
        critical = False
        if inner < at and data[inner] == der.BOOLEAN:
            start, inner = der.span(data, inner, at, der.BOOLEAN)
            critical = der.boolean(data, start, inner)
        start, inner = der.span(data, inner, at, der.OCTET_STRING)
        der.closed(inner, at, "extension")
        if oid in found:
            raise FormatError("certificate", "an extension occurs twice", where=f"byte {start}")
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


def _meaning(extensions: dict[bytes, tuple[bool, bytes]]) -> dict[str, object]:
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

_ORGANIZATION_NAME, _LOCALITY_NAME, _STATE_NAME, _COUNTRY_NAME = (
    bytes.fromhex("06035504") + bytes((n,)) for n in (10, 7, 8, 6)
)


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


def write_name(common_name: str, organization: str) -> bytes:
    """A Name in the order and the string types of Intel's: CN, O, L, ST, C."""
    parts = (
        (_COMMON_NAME, der.UTF8_STRING, common_name),
        (_ORGANIZATION_NAME, der.UTF8_STRING, organization),
        (_LOCALITY_NAME, der.UTF8_STRING, "Santa Clara"),
        (_STATE_NAME, der.UTF8_STRING, "CA"),
        (_COUNTRY_NAME, der.PRINTABLE_STRING, "US"),
    )
    return der.sequence(
        *(
            der.element(der.SET, der.sequence(oid, der.element(tag, text.encode())))
            for oid, tag, text in parts
        )
    )


def write_public_key(public_key: bytes) -> bytes:
    """SubjectPublicKeyInfo of X‖Y on the named curve P-256."""
    return P256_SPKI_PREFIX + public_key


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


def write_tbs(
    *,
    serial: int,
    issuer: bytes,
    not_before: datetime,
    not_after: datetime,
    subject: bytes,
    public_key_info: bytes,
    extensions: Iterable[Extension],
) -> bytes:
    """The part of a certificate that is signed."""
    return der.sequence(
        _VERSION_3,
        der.integer(serial),
        ECDSA_WITH_SHA256,
        issuer,
        der.sequence(der.write_moment(not_before), der.write_moment(not_after)),
        subject,
        public_key_info,
        der.element(0xA3, der.sequence(*(extension.to_der() for extension in extensions))),
    )


def write_signed(tbs: bytes, signature: bytes) -> bytes:
    """A certificate or CRL of its signed part and a DER signature."""
    return der.sequence(tbs, ECDSA_WITH_SHA256, der.element(der.BIT_STRING, b"\0" + signature))
