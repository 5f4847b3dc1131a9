"""What became of an import, or was not fit for an export: counts, and what was left out, with reasons.

Machines are told of by number only: nothing here identifies one.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["item", "platform", "certificate", "raw-tcb", "registration", "policy"]

#: So many are listed; all are counted.
LISTED: Final = 1000

#: Why something is left out, beside the codes of checks that failed.
EXPIRED: Final = "expired"
OLDER: Final = "older"
NO_CHAIN: Final = "no-issuer-chain"
UNREADABLE: Final = "unreadable"
NO_CERTIFICATES: Final = "no-certificates"
REVOKED: Final = "revoked"
NO_CERTIFICATE: Final = "no-certificate-for-tcb"
OTHER_MACHINE: Final = "other-machine"
UNNAMED: Final = "unnamed-machine"
OTHER_CHAIN: Final = "other-chain"
NO_PLACE: Final = "no-place"


class LeftOut(msgspec.Struct, frozen=True):
    """One thing that was left out. `name` is an item's key or empty; `reason` is stable."""

    kind: Kind
    name: str
    reason: str
    what: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept, by kind; and what was not, by kind and reason, and one by one up to `LISTED`."""

    kept: dict[str, int]
    left_out: tuple[LeftOut, ...] = ()
    reasons: dict[str, dict[str, int]] = {}

    @property
    def complete(self) -> bool:
        """Whether everything was kept."""
        return not self.reasons

    @property
    def tally(self) -> dict[str, int]:
        """Kind and reason -> how many were left out: `{"item expired": 3}`."""
        return {
            f"{kind} {reason}": number
            for kind, reasons in self.reasons.items()
            for reason, number in reasons.items()
        }


def report_of(kept: dict[str, int], left_out: Iterable[LeftOut]) -> Report:
    """The report, counted."""
    listed: list[LeftOut] = []
    counted: Counter[tuple[str, str]] = Counter()
    for one in left_out:
        counted[one.kind, one.reason] += 1
        if len(listed) < LISTED:
            listed.append(one)
    reasons: dict[str, dict[str, int]] = {}
    for (kind, reason), number in sorted(counted.items()):
        reasons.setdefault(kind, {})[reason] = number
    return Report(kept=kept, left_out=tuple(listed), reasons=reasons)
