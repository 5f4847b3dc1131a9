"""Certificates and CRLs with the profile of Intel's SGX PKI, or with one thing wrong in them.

`issue` and `revoke` assemble the DER themselves, because a builder that respects RFC 5280 cannot
write most of what the tests need. Nothing here checks anything: a caller who asks for nonsense
gets nonsense, signed. The defaults are what Intel's certificates have, in Intel's order.

Source: RFC 5280; Intel SGX PCK Certificate and CRL Profile Specification 1.5.
"""

from __future__ import annotations

import hashlib
from base64 import encodebytes
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from . import der, keys

AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
CRL_DISTRIBUTION_POINTS = "2.5.29.31"
SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
KEY_USAGE = "2.5.29.15"
BASIC_CONSTRAINTS = "2.5.29.19"
CRL_NUMBER = "2.5.29.20"
CRL_REASON = "2.5.29.21"

ROOT_CRL_URL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
PCK_CRL_URL = (
    "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"
)

KEY_COMPROMISE = 1
_SIGNATURE_ALGORITHMS = {
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}


@dataclass(frozen=True)
class Issued:
    """A certificate, its private key and its subject; `der` is the whole certificate."""

    key: ec.EllipticCurvePrivateKey
    name: x509.Name
    serial: int
    der: bytes

    @property
    def certificate(self) -> x509.Certificate:
        """As `cryptography` reads it (which may refuse an odd one; `der` is always there)."""
        return x509.load_der_x509_certificate(self.der)

    @property
    def pem(self) -> bytes:
        """PEM with 64-column lines and a final newline, as Intel serves it."""
        return pem("CERTIFICATE", self.der)

    @property
    def key_identifier(self) -> bytes:
        """SHA-1 of the public point: RFC 5280 method 1, 20 bytes."""
        return key_identifier(self.key)


@dataclass(frozen=True)
class Extension:
    """One X.509 extension: dotted OID, DER value (without the OCTET STRING around it)."""

    oid: str
    value: bytes
    critical: bool = False

    def encode(self) -> bytes:
        """SEQUENCE { OID, critical BOOLEAN DEFAULT FALSE, OCTET STRING }."""
        critical = der.boolean(True) if self.critical else b""
        return der.sequence(der.oid(self.oid), critical, der.octets(self.value))


def pem(label: str, content: bytes) -> bytes:
    """PEM armour around `content`."""
    body = encodebytes(content).replace(b"\n", b"")
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    begin, end = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
    return b"\n".join((begin, *lines, end, b""))


def distinguished_name(common_name: str, organization: str) -> x509.Name:
    """CN, O, L, ST, C in the order and string types of Intel's names."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Santa Clara"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "CA"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def key_identifier(key: ec.EllipticCurvePrivateKey) -> bytes:
    """SHA-1 of the public point (20 bytes); Intel's CAs use it as serial number too."""
    return hashlib.sha1(keys.public_point(key)).digest()


def _authority_key_identifier(identifier: bytes) -> Extension:
    value = x509.AuthorityKeyIdentifier(identifier, None, None).public_bytes()
    return Extension(AUTHORITY_KEY_IDENTIFIER, value)


def _key_usage(*, signs_certificates: bool) -> Extension:
    value = x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=not signs_certificates,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    ).public_bytes()
    return Extension(KEY_USAGE, value, critical=True)


def _crl_distribution_points(url: str) -> Extension:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return Extension(CRL_DISTRIBUTION_POINTS, x509.CRLDistributionPoints([point]).public_bytes())


def _algorithm(digest: hashes.HashAlgorithm) -> bytes:
    return der.sequence(der.oid(_SIGNATURE_ALGORITHMS[digest.name]))


def issue(
    key: ec.EllipticCurvePrivateKey,
    name: x509.Name,
    *,
    issuer: Issued | None,
    not_before: datetime,
    not_after: datetime,
    ca: bool = False,
    path_length: int | None = None,
    key_cert_sign: bool | None = None,
    crl_url: str = ROOT_CRL_URL,
    serial: int | None = None,
    issuer_name: x509.Name | None = None,
    authority_key_identifier: bytes | None = None,
    signing_key: ec.EllipticCurvePrivateKey | None = None,
    digest: hashes.HashAlgorithm | None = None,
    signature: bytes | None = None,
    spki: bytes | None = None,
    omit: Collection[str] = (),
    extra: Sequence[Extension] = (),
    version: int = 3,
) -> Issued:
    """Issue one certificate; `issuer=None` makes it self-signed.

    `key_cert_sign` (default: as `ca`) picks the keyUsage of a CA or of a leaf. `omit` names
    standard extensions by dotted OID (the constants of this module); `extra` follows them.
    `issuer_name`, `authority_key_identifier`, `signing_key`, `digest`, `signature` (DER) and
    `spki` each replace what would be right, and nothing else.
    """
    signer = signing_key or (issuer.key if issuer else key)
    authority = authority_key_identifier or key_identifier(issuer.key if issuer else key)
    digest = digest or hashes.SHA256()
    serial = int.from_bytes(key_identifier(key), "big") if serial is None else serial
    standard = (
        _authority_key_identifier(authority),
        _crl_distribution_points(crl_url),
        Extension(SUBJECT_KEY_IDENTIFIER, der.octets(key_identifier(key))),
        _key_usage(signs_certificates=ca if key_cert_sign is None else key_cert_sign),
        Extension(
            BASIC_CONSTRAINTS,
            x509.BasicConstraints(ca, path_length).public_bytes(),
            critical=True,
        ),
    )
    extensions = [kind for kind in standard if kind.oid not in omit] + list(extra)
    signed_part = der.sequence(
        der.explicit(0, der.integer(version - 1)) if version > 1 else b"",
        der.integer(serial),
        _algorithm(digest),
        (issuer_name or (issuer.name if issuer else name)).public_bytes(),
        der.sequence(der.time(not_before), der.time(not_after)),
        name.public_bytes(),
        spki or keys.spki(key),
        der.explicit(3, der.sequence_of(kind.encode() for kind in extensions))
        if extensions
        else b"",
    )
    value = keys.sign(signer, signed_part, digest) if signature is None else signature
    return Issued(
        key=key,
        name=name,
        serial=serial,
        der=der.sequence(signed_part, _algorithm(digest), der.bits(value)),
    )


def revoke(
    issuer: Issued,
    serials: Iterable[int],
    *,
    number: int | None,
    this_update: datetime,
    next_update: datetime | None,
    revocation_date: datetime | None = None,
    issuer_name: x509.Name | None = None,
    authority_key_identifier: bytes | None = None,
    with_authority_key_identifier: bool = True,
    signing_key: ec.EllipticCurvePrivateKey | None = None,
    digest: hashes.HashAlgorithm | None = None,
    signature: bytes | None = None,
    extra: Sequence[Extension] = (),
) -> bytes:
    """A version 2 CRL in DER; `number=None` and `next_update=None` leave the field out.

    Entries carry reason keyCompromise, as Intel's do; no entry means no list, not an empty one.
    """
    digest = digest or hashes.SHA256()
    date = der.time(revocation_date or this_update)
    reason = Extension(CRL_REASON, der.enumerated(KEY_COMPROMISE)).encode()
    entries = [der.sequence(der.integer(serial), date, der.sequence(reason)) for serial in serials]
    extensions = list(extra)
    if with_authority_key_identifier:
        identifier = authority_key_identifier or issuer.key_identifier
        extensions.insert(0, _authority_key_identifier(identifier))
    if number is not None:
        extensions.insert(0, Extension(CRL_NUMBER, der.integer(number)))
    signed_part = der.sequence(
        der.integer(1),
        _algorithm(digest),
        (issuer_name or issuer.name).public_bytes(),
        der.time(this_update),
        der.time(next_update) if next_update else b"",
        der.sequence_of(entries) if entries else b"",
        der.explicit(0, der.sequence_of(kind.encode() for kind in extensions))
        if extensions
        else b"",
    )
    value = keys.sign(signing_key or issuer.key, signed_part, digest)
    value = value if signature is None else signature
    return der.sequence(signed_part, _algorithm(digest), der.bits(value))
