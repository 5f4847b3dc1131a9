"""A PCK certificate chain by itself, outside any quote: is it Intel's, and what does it certify?

For who keeps a machine's certificate before there is a quote (`sources.cache`), and for who has to
choose among several for a quote (`certifies`). Not here: revocation, which needs the CRLs, and every
other step of a quote's (`verifier`, which proves the chain in full again).

Source: `verification.md` §2 and §4; steps 3.0 to 3.2 of the procedure.
"""

from datetime import UTC, datetime

import msgspec

from dcap.errors import ConfigError, FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.quote import Quote
from dcap.verification import chain
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor
from dcap.verification.chain import PCK_CHAIN, Window
from dcap.verification.findings import Finding, Ledger
from dcap.verification.signature import Signatures


class PckChainCheck(msgspec.Struct, frozen=True):
    """What `check_pck_chain` found. `extensions` and `window` are there where nothing failed."""

    findings: tuple[Finding, ...]
    extensions: PckExtensions | None = None
    window: Window | None = None


def check_pck_chain(
    pem: bytes, *, at: datetime, anchor: TrustAnchor = INTEL_SGX_ROOT
) -> PckChainCheck:
    """Check leaf, CA and root at the instant `at` (aware). Never raises for a bad chain: it finds.

    Expiry is a fact (`window`), not a finding.
    """
    if at.tzinfo is None:
        raise ConfigError(
            "no-instant", "`at` must be an aware datetime: the verifier's trusted time"
        )
    ledger = Ledger()
    # 3.0 - 3.1 the right shape, ending in the anchor
    certificates = chain.read("pck-chain", pem, PCK_CHAIN, ledger)
    proven = certificates is not None and chain.prove(
        "pck-chain", certificates, anchor, at.astimezone(UTC), Signatures(), ledger
    )
    if certificates is None or not proven:
        return PckChainCheck(tuple(ledger.findings))
    # 3.2 what the leaf certifies
    try:
        extensions = PckExtensions.parse(certificates[0].sgx_extension or b"")
    except FormatError as error:
        ledger.failed("pck-extensions", str(error))
        return PckChainCheck(tuple(ledger.findings))
    ledger.passed("pck-extensions")
    window = chain.window("pck-chain", certificates)
    return PckChainCheck(tuple(ledger.findings), extensions, window)


def certifies(
    pem: bytes, quote: Quote, *, at: datetime, anchor: TrustAnchor = INTEL_SGX_ROOT
) -> bool:
    """Whether a chain is the one for a quote: proven, in date, and its leaf has signed the QE's report.

    A machine's name in a quote proves nothing, its signatures do: no certificate of another machine,
    or of another TCB of the same, passes.
    """
    check = check_pck_chain(pem, at=at, anchor=anchor)
    if check.window is None or at >= check.window.expires:
        return False
    key = Certificate.parse_chain(pem)[0].public_key
    return Signatures().valid_raw(key, quote.qe_report_signature, quote.qe_report_bytes)
