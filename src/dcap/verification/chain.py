"""Certificate chains of fixed shape: who may stand where, and who signed whom.

There is no path building. A chain has exactly the certificates of its roles, in any order, ends in
the trust anchor, and each certificate may do only what its role does: a TCB signing certificate never
issues, a root never signs documents, a PCK CA never is a leaf.

Source: Intel PCK certificate profile; QVL `PckCertificate`/`CertificateChain`; `verification.md` §4.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import Enum
from functools import lru_cache

import msgspec

from dcap.errors import FormatError
from dcap.formats.certificate import CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN, Certificate
from dcap.formats.remembered import remembered
from dcap.verification.anchors import TrustAnchor
from dcap.verification.findings import Ledger
from dcap.verification.signature import Claim, Signatures


class Role(Enum):
    """What a certificate is for, by the common names of the profile."""

    ROOT = ("SGX Root CA",)
    PCK_CA = ("SGX PCK Processor CA", "SGX PCK Platform CA")
    PCK = ("SGX PCK Certificate",)
    TCB_SIGNING = ("SGX TCB Signing",)


PCK_CHAIN = (Role.PCK, Role.PCK_CA, Role.ROOT)
CRL_ISSUER_CHAIN = (Role.PCK_CA, Role.ROOT)
TCB_SIGNING_CHAIN = (Role.TCB_SIGNING, Role.ROOT)


class Window(msgspec.Struct, frozen=True, gc=False):
    """When one piece of collateral was issued and when it expires.

    A chain was issued when its oldest certificate was; `newest` is the youngest one's instant. For
    every other piece the two are the same.
    """

    name: str
    issued: datetime
    expires: datetime
    newest: datetime


@lru_cache(maxsize=256)
def role_of(name: str) -> Role | None:
    """The role that a common name claims."""
    return next((role for role in Role if any(part in name for part in role.value)), None)


def unfit(certificate: Certificate, role: Role) -> str:
    """Why a certificate cannot fill its role; empty where it can."""
    name = certificate.common_name
    usage = certificate.key_usage or frozenset()
    if certificate.unknown_critical:
        return f'"{name}" has a critical extension that is not of the profile'
    if role in (Role.ROOT, Role.PCK_CA):
        if not certificate.is_ca:
            return f'"{name}" is not a CA (basic constraints)'
        if not {KEY_CERT_SIGN, CRL_SIGN} <= usage:
            return f'"{name}" may not sign certificates and CRLs (key usage)'
    else:
        if certificate.is_ca:
            return f'"{name}" is a CA where an end certificate belongs'
        if DIGITAL_SIGNATURE not in usage or KEY_CERT_SIGN in usage:
            return f'"{name}" has the wrong key usage'
    if (certificate.sgx_extension is not None) != (role is Role.PCK):
        return f'"{name}" has, or lacks, the SGX extension of a PCK certificate'
    return ""


def assign(
    certificates: tuple[Certificate, ...], roles: tuple[Role, ...]
) -> tuple[Certificate, ...] | str:
    """The certificates in the order of `roles`, or why they are not such a chain."""
    if len(certificates) != len(roles):
        return f"{len(certificates)} certificates stand where {len(roles)} belong"
    by_role = {role_of(certificate.common_name): certificate for certificate in certificates}
    missing = [role.value[0] for role in roles if role not in by_role]
    if missing:
        return f'no certificate "{missing[0]}" is in it'
    ordered = tuple(by_role[role] for role in roles)
    reasons = (unfit(certificate, role) for certificate, role in zip(ordered, roles, strict=True))
    return next((reason for reason in reasons if reason), ordered)


def read(
    name: str,
    chain: bytes,
    roles: tuple[Role, ...],
    ledger: Ledger,
) -> tuple[Certificate, ...] | None:
    """Steps 1 and 2 of a chain: read it, and put each certificate in its role."""
    try:
        ordered = _READ[roles](chain)
    except FormatError as error:
        ledger.failed(f"{name}-format", str(error))
        return None
    ledger.passed(f"{name}-format")
    if isinstance(ordered, str):
        ledger.failed(f"{name}-roles", ordered)
        return None
    ledger.passed(f"{name}-roles")
    return ordered


def _reader(roles: tuple[Role, ...]) -> Callable[[bytes], tuple[Certificate, ...] | str]:
    @remembered(512)
    def ordered(chain: bytes) -> tuple[Certificate, ...] | str:
        return assign(Certificate.parse_chain(chain), roles)

    return ordered


#: Reading a chain and ordering it is a function of its bytes and the roles.
_READ: dict[tuple[Role, ...], Callable[[bytes], tuple[Certificate, ...] | str]] = {
    roles: _reader(roles) for roles in (PCK_CHAIN, CRL_ISSUER_CHAIN, TCB_SIGNING_CHAIN)
}


def claims(ordered: tuple[Certificate, ...], anchor: TrustAnchor) -> list[Claim]:
    """The signatures that `prove` will ask for: each certificate by the next."""
    return [
        (issuer.public_key, certificate.signature, certificate.tbs)
        for certificate, issuer in _links(ordered, anchor)
    ]


def _links(
    ordered: tuple[Certificate, ...], anchor: TrustAnchor
) -> list[tuple[Certificate, Certificate]]:
    """Every certificate with its issuer; the root with itself, unless it is known bit by bit."""
    issuers = ordered[1:] if anchor.knows(ordered[-1]) else (*ordered[1:], ordered[-1])
    return list(zip(ordered, issuers, strict=False))


def prove(
    name: str,
    ordered: tuple[Certificate, ...],
    anchor: TrustAnchor,
    at: datetime,
    signatures: Signatures,
    ledger: Ledger,
) -> bool:
    """Steps 3 to 5 of a chain: the root is the anchor, every signature holds, it is in force.

    Expiry is not judged here: it is a fact for the policy (`Window`).
    """
    root = ordered[-1]
    trusted = ledger.check(
        f"{name}-root",
        anchor.matches(root),
        lambda: f'"{root.common_name}" in it is not the trusted root: its name or key differs',
    )
    held = prove_links(name, _links(ordered, anchor), ordered, at, signatures, ledger)
    return trusted and held


def prove_links(
    name: str,
    links: Iterable[tuple[Certificate, Certificate]],
    certificates: tuple[Certificate, ...],
    at: datetime,
    signatures: Signatures,
    ledger: Ledger,
) -> bool:
    """Steps 4 and 5: each certificate is signed by its issuer, and those of the chain are in force."""
    broken = _broken_link(links, signatures)
    signed = ledger.check(f"{name}-signature", not broken, broken)
    future = next((c for c in certificates if at < c.not_before), None)
    begun = ledger.check(
        f"{name}-validity-start",
        future is None,
        lambda: (
            f'"{future.common_name}" is valid from {future.not_before:%Y-%m-%dT%H:%M:%SZ} on, '
            f"which is after {at:%Y-%m-%dT%H:%M:%SZ}"
            if future
            else ""
        ),
    )
    return signed and begun


def _broken_link(links: Iterable[tuple[Certificate, Certificate]], signatures: Signatures) -> str:
    for certificate, issuer in links:
        if certificate.issuer != issuer.subject:
            return f'"{certificate.common_name}" does not name "{issuer.common_name}" as its issuer'
        if not signatures.valid(issuer.public_key, certificate.signature, certificate.tbs):
            return (
                f'the signature of "{certificate.common_name}" is not by the key of '
                f'"{issuer.common_name}"'
            )
    return ""


def window(name: str, ordered: tuple[Certificate, ...]) -> Window:
    """A chain is as old as its oldest and as good as its shortest-lived certificate."""
    begins = [c.not_before for c in ordered]
    return Window(name, min(begins), min(c.not_after for c in ordered), max(begins))
