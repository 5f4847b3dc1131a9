"""Certificates and lists that differ from a genuine one in a single respect, and their signing.

Written through the writers of `formats`; odd content is handed to them as bytes. Not here: who
departs from what (the fault files).
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from dcap.formats import certificate as certificates
from dcap.formats import crl as crls
from dcap.formats import der, pem
from dcap.formats.certificate import Certificate, Extension
from dcap.simulator.faults.scene import Scene
from dcap.simulator.intel import Authority
from dcap.simulator.keys import SigningKey

_PRIME = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_A = _PRIME - 3
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
_PRIME_FIELD = bytes.fromhex("06072a8648ce3d0101")


class CertificateDraft(msgspec.Struct, frozen=True, kw_only=True):
    """All that a certificate is made of, as its writer takes it."""

    signer: SigningKey
    serial: int
    issuer: bytes
    not_before: datetime
    not_after: datetime
    subject: bytes
    public_key_info: bytes
    extensions: tuple[Extension, ...]

    @classmethod
    def of(cls, genuine: Certificate, signer: SigningKey) -> "CertificateDraft":
        """The draft that gives a genuine certificate again."""
        extensions = certificates.profile_extensions(
            authority_key_id=genuine.authority_key_id or b"",
            subject_key_id=genuine.subject_key_id or b"",
            crl_url=genuine.crl_distribution_point or "",
            is_ca=bool(genuine.is_ca),
            path_length=genuine.path_length,
            sgx_extension=genuine.sgx_extension,
        )
        return cls(
            signer=signer,
            serial=genuine.serial,
            issuer=genuine.issuer,
            not_before=genuine.not_before,
            not_after=genuine.not_after,
            subject=genuine.subject,
            public_key_info=certificates.write_public_key(genuine.public_key),
            extensions=tuple(extensions),
        )

    def to_der(self) -> bytes:
        """The certificate, signed."""
        tbs = certificates.write_tbs(
            serial=self.serial,
            issuer=self.issuer,
            not_before=self.not_before,
            not_after=self.not_after,
            subject=self.subject,
            public_key_info=self.public_key_info,
            extensions=self.extensions,
        )
        return certificates.write_signed(tbs, self.signer.sign(tbs))


def twin_der(authority: Authority, issuer: Authority, /, **changes: object) -> bytes:
    """Another certificate of an authority's name and key, different in `changes`."""
    draft = CertificateDraft.of(authority.certificate, issuer.key)
    return msgspec.structs.replace(draft, **changes).to_der()


def twin(authority: Authority, issuer: Authority, /, **changes: object) -> Authority:
    """The same as an authority; only for what is a certificate of the profile."""
    return Authority(authority.key, Certificate.parse(twin_der(authority, issuer, **changes)))


def twin_pem(authority: Authority, issuer: Authority, /, **changes: object) -> bytes:
    """The same in PEM, be it a certificate of the profile or not."""
    return pem.encode(twin_der(authority, issuer, **changes), "CERTIFICATE")


def extensions_of(authority: Authority, **changes: object) -> tuple[Extension, ...]:
    """An authority's extensions with other content, as `profile_extensions` names it."""
    genuine = authority.certificate
    content: dict[str, object] = {
        "authority_key_id": genuine.authority_key_id,
        "subject_key_id": genuine.subject_key_id,
        "crl_url": genuine.crl_distribution_point,
        "is_ca": genuine.is_ca,
        "path_length": genuine.path_length,
        "sgx_extension": genuine.sgx_extension,
        **changes,
    }
    return tuple(certificates.profile_extensions(**content))  # type: ignore[arg-type]


def spelt_curve(public_key: bytes) -> bytes:
    """SubjectPublicKeyInfo that spells P-256 out instead of naming it (CVE-2020-0601)."""
    curve = der.sequence(
        der.element(der.OCTET_STRING, _A.to_bytes(32, "big")),
        der.element(der.OCTET_STRING, _B.to_bytes(32, "big")),
    )
    parameters = der.sequence(
        der.integer(1),
        der.sequence(_PRIME_FIELD, der.integer(_PRIME)),
        curve,
        der.element(der.OCTET_STRING, _G),
        der.integer(_ORDER),
        der.integer(1),
    )
    point = der.element(der.BIT_STRING, b"\0\x04" + public_key)
    return der.sequence(der.sequence(_EC_PUBLIC_KEY, parameters), point)


class CrlDraft(msgspec.Struct, frozen=True, kw_only=True):
    """All that a revocation list is made of."""

    signer: SigningKey
    issuer: bytes
    this_update: datetime
    next_update: datetime | None
    revoked: tuple[tuple[int, datetime], ...] = ()
    crl_number: int | None
    authority_key_id: bytes | None

    def to_der(self) -> bytes:
        """The list, signed."""
        tbs = crls.write_tbs(
            issuer=self.issuer,
            this_update=self.this_update,
            next_update=self.next_update,
            revoked=self.revoked,
            crl_number=self.crl_number,
            authority_key_id=self.authority_key_id,
        )
        return certificates.write_signed(tbs, self.signer.sign(tbs))


def list_of(scene: Scene, piece: str, **changes: object) -> bytes:
    """The scene's "root_ca_crl" or "pck_crl", different in `changes`."""
    name, issuer = "root", scene.intel.root
    genuine = scene.intel.root_ca_crl(scene.at)
    if piece == "pck_crl":
        name = scene.machine.ca
        issuer = scene.intel.pck_ca(name)
        genuine = scene.intel.pck_crl(name, scene.at)
    crl = crls.Crl.parse(genuine)
    draft = CrlDraft(
        signer=issuer.key,
        issuer=crl.issuer,
        this_update=crl.this_update,
        next_update=crl.next_update,
        revoked=tuple((entry.serial, entry.date) for entry in scene.intel.revoked[name]),
        crl_number=crl.crl_number,
        authority_key_id=crl.authority_key_id,
    )
    return msgspec.structs.replace(draft, **changes).to_der()


def chain_of(*members: Authority | bytes) -> bytes:
    """PEM of certificates in the order given."""
    parts: Iterable[bytes] = (m.pem if isinstance(m, Authority) else m for m in members)
    return b"".join(parts)
