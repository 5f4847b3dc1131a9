"""Which of a machine's PCK certificates its raw TCB reaches: the highest, in Intel's order of levels.

A pure function of TCBs, as they stand in the certificates (never in their `tcbm`). Not here: the
certificates themselves, and whether they are of one machine.

Source: Intel PCKCertSelection; `pccs-and-pcs-api.md` §2.4.
"""

from collections.abc import Iterable
from functools import lru_cache
from operator import ge
from typing import NamedTuple


class Tcb(NamedTuple):
    """16 component SVNs (of a raw TCB: the CPUSVN) and the PCESVN."""

    components: bytes
    pce_svn: int

    def reaches(self, other: "Tcb") -> bool:
        """Whether no part of it is lower: a partial order, two TCBs may each not reach the other."""
        return (
            self.pce_svn >= other.pce_svn
            and len(self.components) == len(other.components)
            and all(map(ge, self.components, other.components))
        )


def tcbm_of(cpu_svn: bytes, pce_svn: int) -> bytes:
    """A TCB as Intel names one that has a certificate (TCBm): CPUSVN ‖ PCESVN, 18 bytes."""
    return cpu_svn + pce_svn.to_bytes(2, "little")


def select(raw: Tcb, offered: Iterable[Tcb], levels: Iterable[Tcb]) -> Tcb | None:
    """The TCB, of those offered, whose certificate goes with a raw TCB; `None` where none does.

    1. The levels of the TCB info, highest first; those that do not compare keep their order.
    2. Each offered TCB under the first level that it reaches, the others last; highest first.
    3. The first, in that order, that the raw TCB reaches.
    """
    ladder = _ladder(tuple(levels))
    shelves: list[list[Tcb]] = [[] for _ in range(len(ladder) + 1)]
    for tcb in offered:
        place = next((i for i, level in enumerate(ladder) if tcb.reaches(level)), len(ladder))
        _insert(shelves[place], tcb)
    return next((tcb for shelf in shelves for tcb in shelf if raw.reaches(tcb)), None)


@lru_cache(maxsize=64)
def _ladder(levels: tuple[Tcb, ...]) -> tuple[Tcb, ...]:
    """Step 1, once for all machines of an FMSPC."""
    ladder: list[Tcb] = []
    for level in levels:
        _insert(ladder, level)
    return tuple(ladder)


def _insert(descending: list[Tcb], tcb: Tcb) -> None:
    """Before the first that it reaches; what does not compare is passed over."""
    below = (i for i, other in enumerate(descending) if tcb.reaches(other))
    descending.insert(next(below, len(descending)), tcb)
