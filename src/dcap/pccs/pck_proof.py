"""A machine's PCK certificates, proven: Intel's, of one machine, each for the TCB that names it.

    holding = prove_platform(claimed, at=…, anchor=…)        # Forged, Revoked

What begins to hold within `CLOCK_TOLERANCE` passes, as with collateral (`trust`). Not here: which
machine may take the place of another (`machines`), what is revoked later (`withdrawal`).

Source: `verification.md` §4; `pccs-and-pcs-api.md` §2.4, §7.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from dcap.formats import pck_selection
from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from dcap.formats.pck_extensions import PckExtensions
from dcap.pccs.age import CLOCK_TOLERANCE
from dcap.pccs.issuers import ca_named
from dcap.pccs.items import Ca, Holding, PckCertificate, Platform
from dcap.pccs.trust import OTHER, Forged, Revoked, refusal_of, rewritten
from dcap.verification.anchors import TrustAnchor
from dcap.verification.piece import PckCertified, check_pck_certificates
from dcap.verification.signature import Signatures

#: More than a machine ever had.
MAX_CERTIFICATES: Final = 1024
#: `tcbm` and PEM of a certificate.
Offered: TypeAlias = tuple[str, bytes]


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's certificates as someone gave them.

    `fmspc` and `ca` are what was said of them; `None` where nothing was, and the certificates tell.
    """

    qe_id: str
    pce_id: str
    certificates: tuple[Offered, ...]
    issuer_chain: bytes
    encrypted_ppid: bytes | None = None
    manifest: bytes | None = None
    fmspc: bytes | None = None
    ca: Ca | None = None

    def __repr__(self) -> str:
        return "<Claimed>"


def prove_platform(
    claimed: Claimed,
    *,
    at: datetime,
    anchor: TrustAnchor,
    pck_crl: bytes | None = None,
    root_crl: bytes | None = None,
    signatures: Signatures | None = None,
) -> Holding:
    """The machine with its certificates, proven; its raw TCBs are for the caller. Raises `Forged`.

    Every certificate is Intel's, of one machine (PPID, FMSPC, PCE id), each for the TCB that its `tcbm`
    names. Those on `pck_crl`, their CA's list where it is at hand (proven, in date or not), are left out
    as if Intel had none for their TCB: `Revoked` where none is left. `signatures` may be shared by all
    machines of an import.
    """
    where = "PCK certificates of a machine"
    if not 0 < len(claimed.certificates) <= MAX_CERTIFICATES:
        raise Forged(OTHER, f"{len(claimed.certificates)} certificates came for it", where=where)
    check = check_pck_certificates(
        [pem for _, pem in claimed.certificates],
        claimed.issuer_chain,
        at=at + CLOCK_TOLERANCE,
        anchor=anchor,
        root_crl=None if root_crl is None else Crl.parse(root_crl),
        signatures=signatures,
    )
    if check.content is None:
        raise refusal_of(check.failed, where)
    wrong = _mismatch(claimed, check.content)
    if wrong:
        raise Forged(OTHER, f"they are genuine, and not that machine's: {wrong}", where=where)
    leaf, first = check.content[0]
    ca = ca_named(leaf.issuer_common_name)
    assert ca is not None
    listed = None if pck_crl is None else Crl.parse(pck_crl)
    holding = Holding(
        platform=Platform(
            qe_id=claimed.qe_id.upper(),
            pce_id=claimed.pce_id.upper(),
            fmspc=first.fmspc,
            ca=ca,
            encrypted_ppid=claimed.encrypted_ppid,
            manifest=claimed.manifest,
            expires=None if check.window is None else check.window.expires.astimezone(UTC),
        ),
        certificates=tuple(
            PckCertificate(
                tcbm=tcbm.upper(),
                pem=own.to_pem(),
                components=said.cpu_svn,
                pce_svn=said.pce_svn,
            )
            for (tcbm, _), (own, said) in zip(claimed.certificates, check.content, strict=True)
            if listed is None or not is_on(listed, own)
        ),
        issuer_chain=rewritten(claimed.issuer_chain),
    )
    if not holding.certificates:
        raise Revoked(holding)
    return holding


def prove_chain(issuer_chain: bytes, *, at: datetime, anchor: TrustAnchor) -> None:
    """That a chain is that of a PCK CA under the root. Raises `Forged`."""
    check = check_pck_certificates((), issuer_chain, at=at + CLOCK_TOLERANCE, anchor=anchor)
    if check.failed:
        raise refusal_of(check.failed, "issuer chain of a machine")


def is_on(listed: Crl, certificate: Certificate) -> bool:
    """Whether a certificate stands on a list of its own issuer's: another's numbers are others."""
    keys = {listed.authority_key_id, certificate.authority_key_id} - {None}
    is_theirs = listed.issuer == certificate.issuer and len(keys) < 2
    return is_theirs and listed.lists(certificate.serial)


def _mismatch(claimed: Claimed, proven: Iterable[PckCertified]) -> str:
    """Why genuine certificates are not those of the machine; empty where they are. Names no machine."""
    machines: set[tuple[bytes, bytes, bytes]] = set()
    for (tcbm, _), (certificate, said) in zip(claimed.certificates, proven, strict=True):
        if tcbm.upper() != tcbm_of(said):
            return "one is for another TCB than came with it"
        if said.pce_id.hex().upper() != claimed.pce_id.upper():
            return "one is for another PCE"
        if claimed.ca not in (None, ca_named(certificate.issuer_common_name)):
            return f'they are of "{certificate.issuer_common_name}"'
        if claimed.fmspc not in (None, said.fmspc):
            return f"they are for the FMSPC {said.fmspc.hex().upper()}"
        machines.add((said.ppid, said.fmspc, said.pce_id))
    return "" if len(machines) == 1 else "they are of several machines"


def tcbm_of(said: PckExtensions) -> str:
    """The TCB of a certificate as Intel names it, in hex."""
    return pck_selection.tcbm_of(said.cpu_svn, said.pce_svn).hex().upper()
