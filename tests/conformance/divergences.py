"""The divergences from other verifiers (`divergences.toml`), and the rule that they only shrink."""

import tomllib
from pathlib import Path

_TABLE = tomllib.loads(Path(__file__).with_name("divergences.toml").read_text())

#: How many there were when this was written. Never raise a number: mend dcap, or argue its reason.
MOST = {"dcap-qvl": 22, "intel-qvl": 5}


def reason(verifier: str, vector: str) -> str | None:
    """The name of the reason why `verifier` may judge `vector` differently; `None`: it may not."""
    found: str | None = _TABLE[verifier].get(vector)
    return found


def listed(verifier: str) -> dict[str, str]:
    """Every divergence from `verifier`: vector -> name of the reason."""
    return dict(_TABLE[verifier])


def reasons() -> dict[str, str]:
    """Every reason: name -> sentence."""
    return dict(_TABLE["reasons"])
