"""The keys of `sgx_default_qcnl.conf`: their kinds, their spellings, and what they do.

One table for reading (`qcnl_config`, `qcnl_legacy`), for writing (`qcnl_profiles`) and for people.

Source: `quote-provider.md` §1.3, §1.4.
"""

import difflib
from typing import Final, Literal, TypeAlias

import msgspec

KeyKind: TypeAlias = Literal["url", "text", "update", "boolean", "integer", "hours", "options"]


class Key(msgspec.Struct, frozen=True):
    """One key. `legacy` is its name in the `KEY=value` format, "" where it has none there."""

    kind: KeyKind
    legacy: str
    comment: str


#: In the order in which they are written.
KEYS: Final[dict[str, Key]] = {
    "pccs_url": Key(
        "url",
        "PCCS_URL",
        "Where PCK certificates come from (and collateral, unless collateral_service is set). "
        "It must end in /",
    ),
    "use_secure_cert": Key(
        "boolean",
        "USE_SECURE_CERT",
        "false: the certificate of an https server is not checked, by any name",
    ),
    "collateral_service": Key(
        "url",
        "COLLATERAL_SERVICE",
        "Where TCB info, identities and CRLs come from. It must end in /, and contain /sgx/ for TDX",
    ),
    "tcb_update_type": Key(
        "update", "", "standard or early: early has a new TCB level months before it is enforced"
    ),
    "pccs_api_version": Key(
        "text",
        "PCCS_API_VERSION",
        "3.1: CRLs come as DER, which every verifier reads. It is not the v4 of the addresses",
    ),
    "retry_times": Key("integer", "RETRY_TIMES", "More attempts when the server does not answer"),
    "retry_delay": Key(
        "integer", "RETRY_DELAY", "Seconds between attempts; 0 is 1, 2, 4 … seconds"
    ),
    "local_pck_url": Key(
        "url", "LOCAL_PCK_URL", "PCK certificates are asked for here first. It must end in /"
    ),
    "pck_cache_expire_hours": Key(
        "hours", "PCK_CACHE_EXPIRE_HOURS", "How long a PCK certificate is kept; 0: not at all"
    ),
    "verify_collateral_cache_expire_hours": Key(
        "hours",
        "VERIFY_COLLATERAL_CACHE_EXPIRE_HOURS",
        "How long collateral is kept, whatever its own nextUpdate says; 0: not at all",
    ),
    "custom_request_options": Key(
        "options", "", "Sent with requests for PCK certificates, unescaped"
    ),
    "local_cache_only": Key(
        "boolean",
        "LOCAL_CACHE_ONLY",
        "true: PCK certificates come from a cache that was filled beforehand, never from the network",
    ),
}
LEGACY_KEYS: Final = {key.legacy: name for name, key in KEYS.items() if key.legacy}
#: Older names, and names of other files that people copy from.
_FORMER: Final = {
    "pcs_url": "pccs_url",
    "pccsurl": "pccs_url",
    "collateral_service_url": "collateral_service",
    "update": "tcb_update_type",
    "local_pck_service": "local_pck_url",
    "pck_cache_expire_hour": "pck_cache_expire_hours",
}
_LONGEST: Final = 60


def spelled_otherwise(name: str) -> str | None:
    """The key that `name` is but for its letter case, hyphens and space."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return plain if plain in KEYS else None


def nearest(name: str) -> str | None:
    """The key that `name` was perhaps meant to be."""
    plain = name.strip().lower().replace("-", "_")[:_LONGEST]
    if plain in _FORMER:
        return _FORMER[plain]
    close = difflib.get_close_matches(plain, KEYS, n=1, cutoff=0.8)
    return close[0] if close else None
