"""dcap: remote attestation for Intel SGX and TDX (DCAP).

    import dcap
    import dcap.sources

    source = dcap.sources.from_environment()      # once: it keeps what it has fetched
    policy = dcap.Policy(releases=(dcap.Release(name="v1", mrenclave="…"),))
    result = dcap.verify(quote_bytes, policy, source=source)
    result.require()          # raises dcap.Rejected, with every reason

`dcap.appraise` is the same without a network: it takes the collateral, and the instant.

This is the front door; the rooms behind it are `dcap.formats` (what bytes mean), `dcap.verification`
(is it true?), `dcap.appraisal` (is it acceptable?) and `dcap.sources` (where collateral comes from).
Names are loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcap.appraisal import AttestationResult, Policy, Release, appraise
    from dcap.errors import (
        CollateralError,
        ConfigError,
        DcapError,
        FormatError,
        NotFound,
        Rejected,
        Unavailable,
        VerificationError,
    )
    from dcap.formats.collateral import Collateral
    from dcap.formats.quote import Quote
    from dcap.relying_party import verify
    from dcap.verification import Evidence, TrustAnchor, check_endorsements

__version__ = "0.1.0"

_HOMES = {
    "AttestationResult": "dcap.appraisal",
    "Collateral": "dcap.formats.collateral",
    "CollateralError": "dcap.errors",
    "ConfigError": "dcap.errors",
    "DcapError": "dcap.errors",
    "Evidence": "dcap.verification",
    "FormatError": "dcap.errors",
    "NotFound": "dcap.errors",
    "Policy": "dcap.appraisal",
    "Quote": "dcap.formats.quote",
    "Rejected": "dcap.errors",
    "Release": "dcap.appraisal",
    "TrustAnchor": "dcap.verification",
    "Unavailable": "dcap.errors",
    "VerificationError": "dcap.errors",
    "appraise": "dcap.appraisal",
    "check_endorsements": "dcap.verification",
    "verify": "dcap.relying_party",
}

__all__ = [
    "AttestationResult",
    "Collateral",
    "CollateralError",
    "ConfigError",
    "DcapError",
    "Evidence",
    "FormatError",
    "NotFound",
    "Policy",
    "Quote",
    "Rejected",
    "Release",
    "TrustAnchor",
    "Unavailable",
    "VerificationError",
    "appraise",
    "check_endorsements",
    "verify",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'dcap' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
