"""Certificates and revocation lists in which anything may depart from Intel's profile.

Written through the writers of `formats` from the same parts as the simulator's own; what these
cannot write is changed in the signed part by `edit`, just before it is signed. Nothing is checked.

Source: RFC 5280; Intel's PCK certificate and CRL profile.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from dcap.formats import certificate as certificates
from dcap.formats import crl as crls
from dcap.formats import pem
from dcap.formats.certificate import ECDSA_WITH_SHA256, SGX_EXTENSION, Extension
from dcap.formats.pck_extensions import PckExtensions
from dcap.simulator.faults.forgery import spelt_curve
from dcap.simulator.intel import ROOT_CRL_URL, Authority
from dcap.simulator.keys import SigningKey

Edit = Callable[[bytes], bytes]

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ECDSA_WITH_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")


def oid(dotted: str) -> bytes:
    """The content of an object identifier, as extensions are named by."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = b""
    for arc in (first * 40 + second, *rest):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | arc & 0x7F)
        content += bytes(reversed(octets))
    return content


def malleate(signature: bytes) -> bytes:
    """The other valid signature of the same message: (r, n - s), 64 bytes."""
    s = P256_ORDER - int.from_bytes(signature[32:], "big")
    return signature[:32] + s.to_bytes(32, "big")


AUTHORITY_KEY_IDENTIFIER = oid("2.5.29.35")
CRL_DISTRIBUTION_POINTS = oid("2.5.29.31")
SUBJECT_KEY_IDENTIFIER = oid("2.5.29.14")
KEY_USAGE = oid("2.5.29.15")
BASIC_CONSTRAINTS = oid("2.5.29.19")


def extension(dotted: str, value: bytes, *, critical: bool = False) -> Extension:
    """An extension by its dotted identifier."""
    return Extension(oid(dotted), value, critical)


class Issued(msgspec.Struct, frozen=True):
    """A certificate, its key and its name (DER); it may be none that `Certificate` can read."""

    key: SigningKey
    name: bytes
    serial: int
    der: bytes

    @classmethod
    def of(cls, authority: Authority) -> "Issued":
        """One of the simulator's own."""
        genuine = authority.certificate
        return cls(authority.key, genuine.subject, genuine.serial, genuine.der)

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return pem.encode(self.der, "CERTIFICATE")

    @property
    def key_identifier(self) -> bytes:
        """SHA-1 of the public point, 20 bytes."""
        return self.key.key_id


class Pck(Issued, frozen=True):
    """A PCK certificate, what it says of its platform, and the chain above it."""

    platform: PckExtensions
    chain: tuple[Issued, ...]

    @property
    def chain_pem(self) -> bytes:
        """Leaf, intermediate and root in PEM."""
        return self.pem + b"".join(authority.pem for authority in self.chain)

    @property
    def extension(self) -> Extension:
        """The SGX extension of the certificate."""
        return Extension(SGX_EXTENSION, self.platform.to_der())


def issue(
    key: SigningKey,
    name: bytes,
    *,
    issuer: Issued | None,
    not_before: datetime,
    not_after: datetime,
    ca: bool = False,
    path_length: int | None = None,
    key_cert_sign: bool | None = None,
    crl_url: str = ROOT_CRL_URL,
    sgx_extension: bytes | None = None,
    serial: int | None = None,
    issuer_name: bytes | None = None,
    authority_key_identifier: bytes | None = None,
    signing_key: SigningKey | None = None,
    sha384: bool = False,
    signature: bytes | None = None,
    explicit_curve: bool = False,
    spki: bytes | None = None,
    omit: Collection[bytes] = (),
    extra: Sequence[Extension] = (),
    edit: Edit | None = None,
) -> Issued:
    """One certificate; `issuer=None` makes it self-signed, and each keyword replaces one thing."""
    signer = signing_key or (issuer.key if issuer else key)
    authority = authority_key_identifier or (issuer.key if issuer else key).key_id
    serial = int.from_bytes(key.key_id, "big") if serial is None else serial
    standard = _profile(key, authority, crl_url, ca, path_length, sgx_extension)
    if key_cert_sign is not None:
        usage = _profile(key, authority, crl_url, key_cert_sign, None, None)
        standard = [_named(usage, e.oid) if e.oid == KEY_USAGE else e for e in standard]
    if explicit_curve:
        spki = spelt_curve(key.public_key)
    tbs = certificates.write_tbs(
        serial=serial,
        issuer=issuer_name or (issuer.name if issuer else name),
        not_before=not_before,
        not_after=not_after,
        subject=name,
        public_key_info=spki or certificates.write_public_key(key.public_key),
        extensions=[e for e in standard if e.oid not in omit] + list(extra),
    )
    return Issued(key, name, serial, _signed(tbs, signer, signature, edit, sha384=sha384))


def revoke(
    issuer: Issued,
    serials: Iterable[int],
    *,
    number: int | None,
    this_update: datetime,
    next_update: datetime | None,
    issuer_name: bytes | None = None,
    authority_key_identifier: bytes | None = None,
    with_authority_key_id: bool = True,
    signer: SigningKey | None = None,
    sha384: bool = False,
    signature: bytes | None = None,
    extra: Sequence[Extension] = (),
    edit: Edit | None = None,
) -> bytes:
    """A list in DER; `None` leaves number or next update out."""
    key_id = authority_key_identifier or issuer.key_identifier
    tbs = crls.write_tbs(
        issuer=issuer_name or issuer.name,
        this_update=this_update,
        next_update=next_update,
        revoked=[(serial, this_update) for serial in serials],
        crl_number=number,
        authority_key_id=key_id if with_authority_key_id else None,
        more=extra,
    )
    return _signed(tbs, signer or issuer.key, signature, edit, sha384=sha384)


def _profile(
    key: SigningKey,
    authority: bytes,
    crl_url: str,
    is_ca: bool,
    path_length: int | None,
    sgx_extension: bytes | None,
) -> list[Extension]:
    return certificates.profile_extensions(
        authority_key_id=authority,
        subject_key_id=key.key_id,
        crl_url=crl_url,
        is_ca=is_ca,
        path_length=path_length,
        sgx_extension=sgx_extension,
    )


def _named(extensions: Iterable[Extension], name: bytes) -> Extension:
    return next(e for e in extensions if e.oid == name)


def _signed(
    tbs: bytes, signer: SigningKey, signature: bytes | None, edit: Edit | None, *, sha384: bool
) -> bytes:
    """The signed part, edited, with its signature (or the one that is given)."""
    tbs = tbs if edit is None else edit(tbs)
    if not sha384:
        return certificates.write_signed(tbs, signer.sign(tbs) if signature is None else signature)
    tbs = tbs.replace(ECDSA_WITH_SHA256, ECDSA_WITH_SHA384)
    algorithm = ec.ECDSA(SHA384(), deterministic_signing=True)
    whole = certificates.write_signed(tbs, signer.private.sign(tbs, algorithm))
    return whole.replace(ECDSA_WITH_SHA256, ECDSA_WITH_SHA384)
