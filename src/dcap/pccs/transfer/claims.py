"""What a file or a foreign database has, as claims: read, and not proven.

Not here: proof and storage (`intake`).
"""

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from dcap.pccs.items import AppraisalPolicy, Item, RawTcb, Registration
from dcap.pccs.transfer.report import LeftOut
from dcap.pccs.trust import Claimed

#: CPUSVN and PCESVN, as in `RawTcb`.
RawReport: TypeAlias = tuple[str, str]


class MachineClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as a file or database has it.

    `raw_tcbs` (CPUSVN, PCESVN as in `RawTcb`) are to be selected for; `reached` says what was selected
    already, and is kept where it holds.
    """

    claimed: Claimed
    raw_tcbs: tuple[RawReport, ...] = ()
    reached: tuple[RawTcb, ...] = ()

    def __repr__(self) -> str:
        return "<MachineClaim>"


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What an import brings. `LeftOut` stands where its reader could make nothing of a thing."""

    items: Iterable[Item | LeftOut] = ()
    machines: Iterable[MachineClaim | LeftOut] = ()
    registrations: Iterable[Registration | LeftOut] = ()
    policies: Iterable[AppraisalPolicy | LeftOut] = ()
