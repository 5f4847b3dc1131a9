"""Floor 3: is it true? From evidence and collateral to a proof, or to every reason against it.

`check_endorsements` makes `Endorsements`, `verify` makes `VerifiedQuote`; nothing else does. No
check here can be switched off, and none asks what is acceptable (`appraisal`).
"""

from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor
from dcap.verification.endorsements import EndorsementCheck, Endorsements, check_endorsements
from dcap.verification.evidence import Evidence
from dcap.verification.findings import Finding
from dcap.verification.status import TcbStatus
from dcap.verification.verifier import QuoteCheck, VerifiedQuote, verify

__all__ = [
    "INTEL_SGX_ROOT",
    "EndorsementCheck",
    "Endorsements",
    "Evidence",
    "Finding",
    "QuoteCheck",
    "TcbStatus",
    "TrustAnchor",
    "VerifiedQuote",
    "check_endorsements",
    "verify",
]
