"""X.509 certificates of Intel's attestation profile, read strictly from their DER.

The profile: version 3, ecdsa-with-SHA256, a P-256 key on the *named* curve as an uncompressed point.
Anything else is refused, so an explicit-parameter key (CVE-2020-0601) cannot even be represented.
What the extensions say is read; whether it permits what the certificate is used for is decided in
`verification.chain`. Not here: the form of the extensions (`certificate_extensions`), TLS certificates,
path building, signatures.

Source: Intel "PCK Certificate and Certificate Revocation List Profile Specification"; RFC 5280.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

import msgspec

from dcap.errors import FormatError
from dcap.formats import der, pem
from dcap.formats.certificate_extensions import (
    CRL_SIGN,
    DIGITAL_SIGNATURE,
    KEY_CERT_SIGN,
    SGX_EXTENSION,
    Extension,
    authority_key_id,
    profile_extensions,
    read_extensions,
    write_authority_key_id,
)
from dcap.formats.remembered import remembered

__all__ = [
    "CRL_SIGN",
    "DIGITAL_SIGNATURE",
    "ECDSA_WITH_SHA256",
    "KEY_CERT_SIGN",
    "MAX_SIZE",
    "P256_SPKI_PREFIX",
    "SGX_EXTENSION",
    "Certificate",
    "Extension",
    "algorithm",
    "authority_key_id",
    "common_name",
    "profile_extensions",
    "write_authority_key_id",
    "write_chain",
    "write_name",
    "write_public_key",
    "write_signed",
    "write_tbs",
]

#: No certificate of the profile comes near it.
MAX_SIZE = 16 * 1024

#: AlgorithmIdentifier ecdsa-with-SHA256, parameters absent.
ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
#: SubjectPublicKeyInfo of a P-256 key, up to and including the 0x04 of the uncompressed point.
P256_SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_SPKI_SIZE = len(P256_SPKI_PREFIX) + 64
_VERSION_3 = bytes.fromhex("a003020102")

_COMMON_NAME = bytes.fromhex("0603550403")


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
    return _attribute(name, _COMMON_NAME)


def organization(name: bytes) -> str:
    """The organization inside a DER Name; empty where there is none or it is not text."""
    return _attribute(name, _ORGANIZATION_NAME)


def _attribute(name: bytes, kind: bytes) -> str:
    """The first attribute of a kind, given as its type's DER."""
    at = name.find(kind)
    if at < 0:
        return ""
    at += len(kind)
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
    meaning = read_extensions(data, extensions_at, extensions_end)
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


# The writer, from the same constants as the reader.

_ORGANIZATION_NAME, _LOCALITY_NAME, _STATE_NAME, _COUNTRY_NAME = (
    bytes.fromhex("06035504") + bytes((n,)) for n in (10, 7, 8, 6)
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
