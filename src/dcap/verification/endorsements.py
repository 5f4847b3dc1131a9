"""From collateral, which anyone may have written, to endorsements, which only Intel can have signed.

`check_endorsements` is the only maker of `Endorsements`; holding one is the proof that every chain
ends in the anchor, every signature holds over the exact bytes, nothing is revoked and nothing is
dated in the future *at the instant it carries*. Expiry is a fact here (`windows`), and judged by the
policy, because collateral grace is a matter of taste.

Endorsements serve many quotes: what was proven of a PCK chain or a QE report under them is remembered
by its exact bytes, in bounded tables.

Source: `verification.md` §4 and §5 A-C; pitfalls 1, 9, 12, 14, 16, 17, 22, 23.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from dcap.errors import VerificationError
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.verification import chain, piece, revocation
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor
from dcap.verification.chain import (
    CRL_ISSUER_CHAIN,
    PCK_CHAIN,
    TCB_SIGNING_CHAIN,
    Window,
)
from dcap.verification.checks import CHECKS
from dcap.verification.findings import Finding, Ledger
from dcap.verification.memory import Memory
from dcap.verification.signature import Claim, Run, Signatures, claim_raw

#: How many PCK chains and QE reports are remembered (about 8 KB and 0.6 KB each).
REMEMBERED = 1024


class Authentic(msgspec.Struct):
    """What could be proven of one set of collateral; `None` where it could not.

    Private to `verification`: outside, only the complete proof (`Endorsements`) is a value.
    """

    at: datetime
    anchor: TrustAnchor
    crl_issuer: Certificate | None = None
    root_ca_crl: Crl | None = None
    pck_crl: Crl | None = None
    tcb_info: TcbInfo | None = None
    qe_identity: EnclaveIdentity | None = None
    windows: tuple[Window, ...] = ()
    pck_certificate_chain: bytes | None = None
    pck_crl_issuer_chain: bytes | None = None
    #: Signatures that PCK chains share with the collateral.
    proven: frozenset[Claim] = frozenset()
    #: Proven PCK chains by their bytes, proven QE reports by (key, report, signature), how a QE
    #: report departs from the identity, TCB evaluations by the SVNs they are a function of.
    pck_chains: Memory[bytes, Any] = msgspec.field(default_factory=lambda: Memory(REMEMBERED))
    qe_reports: Memory[Any, bool] = msgspec.field(default_factory=lambda: Memory(REMEMBERED))
    qe_matches: Memory[bytes, str] = msgspec.field(default_factory=lambda: Memory(REMEMBERED))
    evaluations: Memory[Any, Any] = msgspec.field(default_factory=lambda: Memory(REMEMBERED))


class Endorsements:
    """Proof: collateral that is authentic at `at`. Made by `check_endorsements` alone."""

    __slots__ = ("authentic", "findings")

    def __init__(self, authentic: Authentic, findings: tuple[Finding, ...], maker: object) -> None:
        if maker is not _MAKER:
            raise TypeError("Endorsements are made by check_endorsements alone")
        self.authentic = authentic
        self.findings = findings

    @property
    def at(self) -> datetime:
        """The instant for which the proof holds."""
        return self.authentic.at

    @property
    def anchor(self) -> TrustAnchor:
        """The root the proof hangs from."""
        return self.authentic.anchor

    @property
    def tcb_info(self) -> TcbInfo:
        """Intel's TCB levels for one FMSPC."""
        assert self.authentic.tcb_info is not None
        return self.authentic.tcb_info

    @property
    def qe_identity(self) -> EnclaveIdentity:
        """Intel's description of the quoting enclave."""
        assert self.authentic.qe_identity is not None
        return self.authentic.qe_identity

    @property
    def windows(self) -> tuple[Window, ...]:
        """Issue and expiry of the seven pieces of collateral (the PCK chain is the eighth)."""
        return self.authentic.windows


_MAKER = object()


class EndorsementCheck(msgspec.Struct, frozen=True):
    """What `check_endorsements` found. `endorsements` is the proof, or `None`."""

    findings: tuple[Finding, ...]
    authentic: Authentic
    endorsements: Endorsements | None

    def require(self) -> Endorsements:
        """The proof. Raises `VerificationError` with every failed finding."""
        if self.endorsements is None:
            failed = [finding for finding in self.findings if not finding.ok]
            raise VerificationError(
                failed[0].code, failed[0].message, findings=failed, mend=failed[0].mend
            )
        return self.endorsements


class _Pieces(msgspec.Struct):
    """The collateral, read but not proven."""

    crl_chain: tuple[Certificate, ...] | None
    tcb_chain: tuple[Certificate, ...] | None
    qe_chain: tuple[Certificate, ...] | None
    root_ca_crl: Crl | None
    pck_crl: Crl | None
    tcb_info: SignedJson | None
    qe_identity: SignedJson | None


def check_endorsements(
    collateral: Collateral,
    *,
    at: datetime,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    signatures: Signatures | None = None,
    run: Run | None = None,
    also: Callable[[], Iterable[Claim]] = tuple,
) -> EndorsementCheck:
    """Check every piece of collateral at the instant `at` (aware, the caller's trusted time).

    `run`, something like `map`, may check independent signatures side by side; `also` gives further
    claims (a quote's own) to check in the same go. Never raises for bad collateral: it finds.
    """
    at = piece.instant(at)
    ledger = Ledger()
    signatures = signatures or Signatures()
    authentic = Authentic(at=at, anchor=anchor)
    authentic.pck_certificate_chain = collateral.pck_certificate_chain
    authentic.pck_crl_issuer_chain = collateral.pck_crl_issuer_chain
    pieces = _read(collateral, ledger)
    if run is not None:
        signatures.prefetch([*_claims(pieces, anchor), *also()], run)
    windows: list[Window] = []

    # 2.1 the chain of the CA that issues PCK certificates and their CRL
    root = None
    if pieces.crl_chain is not None:
        windows.append(chain.window("crl-issuer-chain", pieces.crl_chain))
        if chain.prove("crl-issuer-chain", pieces.crl_chain, anchor, at, signatures, ledger):
            authentic.crl_issuer, root = pieces.crl_chain
    # 2.2 the root's CRL, by the root
    if pieces.root_ca_crl is not None and root is not None:
        windows.append(revocation.window("root-ca-crl", pieces.root_ca_crl))
        if revocation.prove("root-ca-crl", pieces.root_ca_crl, root, at, signatures, ledger):
            authentic.root_ca_crl = pieces.root_ca_crl
    # 2.3 the PCK CRL, by that CA
    if pieces.pck_crl is not None and authentic.crl_issuer is not None:
        windows.append(revocation.window("pck-crl", pieces.pck_crl))
        if revocation.prove(
            "pck-crl", pieces.pck_crl, authentic.crl_issuer, at, signatures, ledger
        ):
            authentic.pck_crl = pieces.pck_crl
    # 2.4 that CA is not revoked
    root_crl = authentic.root_ca_crl
    if root_crl is not None and authentic.crl_issuer is not None:
        revocation.not_revoked("crl-issuer-revocation", authentic.crl_issuer, root_crl, ledger)
    # 2.5 - 2.7 TCB info: its signer's chain, revocation, signature; then, and only then, its content
    circumstances = piece.Circumstances(at, anchor, root_crl)
    authentic.tcb_info = piece.prove_document(
        "tcb-info", pieces.tcb_chain, pieces.tcb_info, TcbInfo.parse,
        circumstances, signatures, ledger, windows,
    )  # fmt: skip
    # 2.8 - 2.10 QE identity: the same
    authentic.qe_identity = piece.prove_document(
        "qe-identity", pieces.qe_chain, pieces.qe_identity, EnclaveIdentity.parse,
        circumstances, signatures, ledger, windows,
    )  # fmt: skip

    authentic.windows = tuple(windows)
    authentic.proven = signatures.proven
    findings = tuple(sorted(ledger.findings, key=lambda finding: _ORDER[finding.code]))
    complete = ledger.failures == 0 and len(findings) == len(_ALL)
    return EndorsementCheck(
        findings, authentic, Endorsements(authentic, findings, _MAKER) if complete else None
    )


_ORDER = {code: i for i, code in enumerate(CHECKS)}
#: Every check of step 2 must have run, and passed, for the proof to be made.
_ALL = [check.code for check in CHECKS.values() if check.step.startswith("2.")]


def _read(collateral: Collateral, ledger: Ledger) -> _Pieces:
    """Read every piece, so that all that cannot be read is found at once."""
    if collateral.pck_crl_issuer_chain is not None:
        issuers = collateral.pck_crl_issuer_chain
        crl_chain = chain.read("crl-issuer-chain", issuers, CRL_ISSUER_CHAIN, ledger)
    else:
        whole = collateral.pck_certificate_chain or b""
        ordered = chain.read("crl-issuer-chain", whole, PCK_CHAIN, ledger)
        crl_chain = None if ordered is None else ordered[1:]
    return _Pieces(
        crl_chain=crl_chain,
        tcb_chain=chain.read(
            "tcb-info-chain", collateral.tcb_info_issuer_chain, TCB_SIGNING_CHAIN, ledger
        ),
        qe_chain=chain.read(
            "qe-identity-chain", collateral.qe_identity_issuer_chain, TCB_SIGNING_CHAIN, ledger
        ),
        root_ca_crl=revocation.read("root-ca-crl", collateral.root_ca_crl, ledger),
        pck_crl=revocation.read("pck-crl", collateral.pck_crl, ledger),
        tcb_info=piece.read_document("tcb-info", collateral.tcb_info, TCB_INFO, ledger),
        qe_identity=piece.read_document(
            "qe-identity", collateral.qe_identity, ENCLAVE_IDENTITY, ledger
        ),
    )


def _claims(pieces: _Pieces, anchor: TrustAnchor) -> list[Claim]:
    """Every signature that the steps will ask for."""
    found: list[Claim] = []
    for certificates in (pieces.crl_chain, pieces.tcb_chain, pieces.qe_chain):
        found += chain.claims(certificates, anchor) if certificates else []
    if pieces.crl_chain is not None:
        issuer, root = pieces.crl_chain
        for crl, signer in ((pieces.root_ca_crl, root), (pieces.pck_crl, issuer)):
            if crl is not None:
                found.append((signer.public_key, crl.signature, crl.tbs))
    for certificates, document in (
        (pieces.tcb_chain, pieces.tcb_info),
        (pieces.qe_chain, pieces.qe_identity),
    ):
        if certificates and document is not None:
            found += claim_raw(certificates[0].public_key, document.signature, document.body)
    return found
