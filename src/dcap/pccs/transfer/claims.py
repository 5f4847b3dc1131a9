"""What a file or a foreign database has, as claims: read, and not proven.

Not here: proof and storage (`intake`).
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from dcap.pccs.items import AppraisalPolicy, Item, RawReport, RawTcb, Registration
from dcap.pccs.pck_proof import Claimed
from dcap.pccs.transfer.report import LeftOut

T = TypeVar("T")


class MachineClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as a file or database has it.

    `raw_tcbs` are to be selected for; `reached` says what was selected
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


def sorted_out(claims: Iterable[T | LeftOut], left_out: list[LeftOut]) -> Iterator[T]:
    """The claims, without those that could not be read: these go to `left_out`."""
    for claim in claims:
        if isinstance(claim, LeftOut):
            left_out.append(claim)
        else:
            yield claim
