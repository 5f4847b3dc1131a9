"""Is this quote true? The procedure that makes a `VerifiedQuote` of evidence and endorsements.

    3    the PCK chain, its CA and leaf unrevoked       (QVL 4.1.2.5.4-8)
    4.3  the QE is Intel's                              (…3)
    4.10 - 4.11  the TCB info is for this TEE, FMSPC and PCE
    4.12 the TDX module is one that Intel names
    4.13 the QE report is signed by the PCK
    4.14 the QE report vouches for the attestation key, all 64 bytes of its report data
    4.15 - 4.16  the QE is the one of the identity
    4.17 the quote is signed by the attestation key
    4.18 - 4.21  TCB levels, converged

A failed step does not stop those that do not stand on it, so that everything wrong is found at once.
`verify` is the only maker of `VerifiedQuote`. What is acceptable is not asked here (`appraisal`).

Source: Intel QVL `sgxAttestationVerifyQuoteEx`; `verification.md` §5.
"""

import hashlib
from typing import Any

import msgspec

from dcap.errors import FormatError, VerificationError
from dcap.formats.certificate import Certificate
from dcap.formats.certification import CertificationType
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.quote import INTEL_QE_VENDOR_ID, Quote
from dcap.formats.remembered import LARGEST
from dcap.verification import chain, qe_identity, revocation, tdx_module
from dcap.verification.anchors import TrustAnchor
from dcap.verification.chain import PCK_CHAIN, Window
from dcap.verification.endorsements import Authentic, EndorsementCheck, Endorsements
from dcap.verification.evidence import Evidence
from dcap.verification.findings import Finding, Ledger
from dcap.verification.signature import Claim, Signatures, claim_raw
from dcap.verification.tcb_evaluation import TcbEvaluation, evaluate, shortfall_of
from dcap.verification.tcb_level import Shortfall

_ZEROS = bytes(32)


class PckChain(msgspec.Struct, frozen=True):
    """A PCK chain that was read; proven where its findings are all good."""

    chain: tuple[Certificate, ...]
    extensions: PckExtensions
    window: Window
    findings: tuple[Finding, ...]


class VerifiedQuote:
    """Proof: the quote was made by a genuine QE on a genuine platform. Made by `verify` alone.

    It says nothing of whether the platform is up to date or the enclave the wanted one.
    """

    __slots__ = ("endorsements", "evidence", "findings", "pck", "tcb")

    def __init__(
        self,
        evidence: Evidence,
        endorsements: Endorsements,
        pck: PckChain,
        tcb: TcbEvaluation,
        findings: tuple[Finding, ...],
        maker: object,
    ) -> None:
        if maker is not _MAKER:
            raise TypeError("a VerifiedQuote is made by verify alone")
        self.evidence = evidence
        self.endorsements = endorsements
        self.pck = pck
        self.tcb = tcb
        self.findings = findings

    @property
    def quote(self) -> Quote:
        """The quote, now true."""
        return self.evidence.quote

    @property
    def windows(self) -> tuple[Window, ...]:
        """Issue and expiry of all eight pieces."""
        return (*self.endorsements.windows, self.pck.window)


_MAKER = object()


class QuoteCheck(msgspec.Struct, frozen=True):
    """What `verify` found: the proof, or `None`, and whatever facts could be established."""

    findings: tuple[Finding, ...]
    verified: VerifiedQuote | None
    pck: PckChain | None
    tcb: TcbEvaluation | None
    shortfall: tuple[Shortfall, ...] = ()

    def require(self) -> VerifiedQuote:
        """The proof. Raises `VerificationError` with every failed finding."""
        if self.verified is None:
            failed = [finding for finding in self.findings if not finding.ok]
            if not failed:
                raise VerificationError(
                    "endorsements", "the collateral was not proven", mend="see its findings"
                )
            raise VerificationError(
                failed[0].code, failed[0].message, findings=failed, mend=failed[0].mend
            )
        return self.verified


def verify(
    evidence: Evidence,
    endorsements: Endorsements | EndorsementCheck,
    *,
    signatures: Signatures | None = None,
) -> QuoteCheck:
    """Run steps 3 and 4.

    A failed `EndorsementCheck` may be given, to learn all that is wrong; the proof is made only under
    complete `Endorsements`.
    """
    ledger = Ledger()
    complete = (
        endorsements.endorsements if isinstance(endorsements, EndorsementCheck) else endorsements
    )
    authentic = complete.authentic if complete is not None else endorsements.authentic
    signatures = signatures or Signatures(authentic.proven)
    quote = evidence.quote

    # 1.2 what came beside the quote is bound by it
    if evidence.bindings:
        _check_bindings(evidence, ledger)
    # 3 the PCK chain
    pck = _prove_pck(evidence, authentic, signatures, ledger)
    # 4.3 the QE's vendor
    ledger.check(
        "qe-vendor",
        quote.header.qe_vendor_id == INTEL_QE_VENDOR_ID,
        lambda: f"QE vendor {quote.header.qe_vendor_id.hex()} is not Intel",
    )
    # 4.10 - 4.12 the TCB info is for this platform and module
    info = authentic.tcb_info
    fits = info is not None and _check_tcb_info(quote, authentic, pck, ledger)
    # 4.13 - 4.14 the QE report
    if pck is not None:
        _check_qe_report(quote, pck, authentic, signatures, ledger)
    digest = hashlib.sha256(quote.attestation_key + quote.qe_authentication_data).digest()
    ledger.check(
        "qe-report-data",
        quote.qe_report.report_data == digest + _ZEROS,
        "the QE's report data are not SHA-256(attestation key ‖ authentication data) ‖ 32 zeros",
    )
    # 4.15 - 4.16 the QE identity
    identity = authentic.qe_identity
    known = identity is not None and _check_identity(quote, authentic, ledger)
    # 4.17 the quote's own signature
    ledger.check(
        "quote-signature",
        signatures.valid_raw(quote.attestation_key, quote.signature, quote.signed_bytes),
        "the signature does not fit header and body",
    )
    # 4.18 - 4.21 TCB levels
    tcb = None
    short: tuple[Shortfall, ...] = ()
    if fits and known and pck is not None:
        tcb = _evaluate(quote, authentic, pck, ledger)
        short = tcb.shortfall if tcb else _shortfall(quote, authentic, pck)

    findings = tuple(ledger.findings)
    verified = None
    if complete is not None and ledger.failures == 0 and pck is not None and tcb is not None:
        verified = VerifiedQuote(evidence, complete, pck, tcb, findings, _MAKER)
    return QuoteCheck(findings, verified, pck, tcb, short)


def claims(evidence: Evidence, anchor: TrustAnchor) -> list[Claim]:
    """The quote's own signatures, for `Signatures.prefetch`: its PCK chain, QE report, itself."""
    quote = evidence.quote
    found = [*claim_raw(quote.attestation_key, quote.signature, quote.signed_bytes)]
    certificates = chain.read("pck-chain", _chain_of(evidence, None), PCK_CHAIN, Ledger())
    if certificates is not None:
        leaf = certificates[0]
        found += claim_raw(leaf.public_key, quote.qe_report_signature, quote.qe_report_bytes)
        found += chain.claims(certificates, anchor)
    return found


def _check_bindings(evidence: Evidence, ledger: Ledger) -> None:
    bound = evidence.quote.body.report_data
    for binding in evidence.bindings:
        ledger.check(
            "evidence-binding",
            bound.startswith(binding.report_data),
            f"the report data do not bind the {binding.name} beside the quote",
        )


def _chain_of(evidence: Evidence, authentic: Authentic | None) -> bytes:
    """The PCK chain: in the quote (type 5), completed by the CRL's issuers (type 4), or beside it."""
    certification = evidence.quote.certification
    if certification.is_chain:
        return certification.data
    issuers = authentic.pck_crl_issuer_chain if authentic else None
    if certification.type == CertificationType.PCK_CERTIFICATE and issuers:
        return certification.data + b"\n" + issuers
    beside = evidence.pck_certificate_chain
    return beside or (authentic and authentic.pck_certificate_chain) or b""


def _prove_pck(
    evidence: Evidence, authentic: Authentic, signatures: Signatures, ledger: Ledger
) -> PckChain | None:
    pem = _chain_of(evidence, authentic)
    proven: PckChain | None = authentic.pck_chains.recall(pem)
    if proven is not None:
        ledger.findings += proven.findings
        return proven
    first, failures = len(ledger.findings), ledger.failures
    # 3.0 - 3.1 there is a chain, of the right shape, that ends in the anchor
    if not ledger.check(
        "pck-chain-present", bool(pem), "the quote has no PCK chain and none came beside it"
    ):
        return None
    certificates = chain.read("pck-chain", pem, PCK_CHAIN, ledger)
    if certificates is None:
        return None
    chain.prove("pck-chain", certificates, authentic.anchor, authentic.at, signatures, ledger)
    leaf, ca, _ = certificates
    # 3.2 what the leaf certifies
    try:
        extensions = PckExtensions.parse(leaf.sgx_extension or b"")
    except FormatError as error:
        ledger.failed("pck-extensions", str(error))
        return None
    ledger.passed("pck-extensions")
    # 3.4 - 3.6 revocation, by lists of the chain's own issuers
    issuer = authentic.crl_issuer
    crl = authentic.pck_crl
    covered = False
    if crl is not None and issuer is not None:
        covered = ledger.check(
            "pck-crl-coverage",
            issuer.subject == ca.subject and issuer.public_key == ca.public_key,
            lambda: (
                f'the PCK CRL is of "{issuer.common_name}", the certificate of "{ca.common_name}"'
            ),
        )
    if authentic.root_ca_crl is not None:
        revocation.not_revoked("pck-ca-revocation", ca, authentic.root_ca_crl, ledger)
    if crl is not None and covered:
        revocation.not_revoked("pck-revocation", leaf, crl, ledger)
    findings = tuple(ledger.findings[first:])
    result = PckChain(certificates, extensions, chain.window("pck-chain", certificates), findings)
    if ledger.failures > failures or authentic.pck_crl is None or authentic.root_ca_crl is None:
        return result  # good for finding more that is wrong, not to be remembered
    if len(pem) <= LARGEST:
        authentic.pck_chains.keep(pem, result)
    return result


def _check_tcb_info(
    quote: Quote, authentic: Authentic, pck: PckChain | None, ledger: Ledger
) -> bool:
    info = authentic.tcb_info
    assert info is not None
    fits = ledger.check(
        "tcb-info-tee",
        info.id == quote.tee,
        lambda: f"it is for {info.id}, the quote is of {quote.tee}",
    )
    if pck is not None:
        extensions = pck.extensions
        fits &= ledger.check(
            "fmspc",
            info.fmspc == extensions.fmspc,
            lambda: f"it is for {info.fmspc.hex()}, the platform's is {extensions.fmspc.hex()}",
        )
        fits &= ledger.check(
            "pce-id",
            info.pce_id == extensions.pce_id,
            lambda: f"it is for {info.pce_id.hex()}, the platform's is {extensions.pce_id.hex()}",
        )
    td = quote.td
    if fits and td is not None:
        module = tdx_module.identity_of(info, td.tee_tcb_svn)
        wrong = module if isinstance(module, str) else tdx_module.mismatch(td, module)
        fits = ledger.check("tdx-module", not wrong, wrong)
    return fits


def _check_qe_report(
    quote: Quote, pck: PckChain, authentic: Authentic, signatures: Signatures, ledger: Ledger
) -> None:
    key = pck.chain[0].public_key
    proven = (key, quote.qe_report_bytes, quote.qe_report_signature)
    if authentic.qe_reports.recall(proven) is None:
        if not ledger.check(
            "qe-report-signature",
            signatures.valid_raw(key, quote.qe_report_signature, quote.qe_report_bytes),
            "the QE's report is not signed by the PCK certificate's key",
        ):
            return
        authentic.qe_reports.keep(proven, True)  # noqa: FBT003 - a set with an order
        return
    ledger.passed("qe-report-signature")


def _check_identity(quote: Quote, authentic: Authentic, ledger: Ledger) -> bool:
    identity = authentic.qe_identity
    assert identity is not None
    wanted = qe_identity.IDENTITY_OF_TEE[quote.tee]
    fits = ledger.check(
        "qe-identity-tee",
        identity.id == wanted,
        lambda: f"it is of {identity.id}; a quote of {quote.tee} needs {wanted}",
    )
    if not fits:
        return False
    wrong = authentic.qe_matches.recall(quote.qe_report_bytes)
    if wrong is None:
        wrong = qe_identity.mismatch(quote.qe_report, identity)
        authentic.qe_matches.keep(quote.qe_report_bytes, wrong)
    return ledger.check("qe-identity-match", not wrong, wrong)


def _evaluate(
    quote: Quote, authentic: Authentic, pck: PckChain, ledger: Ledger
) -> TcbEvaluation | None:
    """The evaluation is a function of a few SVNs; the same SVNs are not evaluated twice."""
    body = quote.body
    svns: Any = (
        pck.extensions.components,
        pck.extensions.pce_svn,
        quote.qe_report.isv_svn,
        getattr(body, "tee_tcb_svn", None),
        getattr(body, "tee_tcb_svn_2", None),
    )
    known: tuple[TcbEvaluation, tuple[Finding, ...]] | None = authentic.evaluations.recall(svns)
    if known is not None:
        ledger.findings += known[1]
        return known[0]
    assert authentic.tcb_info is not None and authentic.qe_identity is not None  # noqa: PT018
    first = len(ledger.findings)
    tcb = evaluate(
        authentic.tcb_info,
        authentic.qe_identity,
        pck.extensions,
        body,
        quote.qe_report.isv_svn,
        ledger,
    )
    if tcb is not None:
        authentic.evaluations.keep(svns, (tcb, tuple(ledger.findings[first:])))
    return tcb


def _shortfall(quote: Quote, authentic: Authentic, pck: PckChain) -> tuple[Shortfall, ...]:
    assert authentic.tcb_info is not None and authentic.qe_identity is not None  # noqa: PT018
    return shortfall_of(
        authentic.tcb_info,
        authentic.qe_identity,
        pck.extensions,
        quote.body,
        quote.qe_report.isv_svn,
    )
