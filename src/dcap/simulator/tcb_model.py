"""What a simulated Intel thinks of a platform's TCB: levels as a ladder, one rung per status.

Real TCB infos rarely show more than three statuses; here every one has its rung, so that a platform
is put into any of them by setting one SVN. A TCB recovery adds a rung on top and demotes the rest.
Tables; the documents are written in `documents`.

Source: Intel PCS API "TCB status"; `verification.md` §3, §6.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

COMPONENTS = 16
#: The component that tells rungs apart: SGX component 1, and TDX component 3 (index 2), which is
#: compared whether or not the TDX module has an identity of its own.
SGX_RUNG = 0
TDX_RUNG = 2
PCE_SVN = 13
FIRST_EVALUATION_NUMBER = 17

_BASE = (0, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0)
_TDX_BASE = (5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

#: What each component is, as Intel's documents say (category, type).
SGX_NAMES = (
    ("BIOS", "Early Microcode Update"),
    ("OS/VMM", "SGX Late Microcode Update"),
    ("OS/VMM", "TXT SINIT"),
    ("BIOS", ""),
    ("BIOS", ""),
    ("BIOS", ""),
    ("", ""),
    ("OS/VMM", "SEAMLDR ACM"),
) + (("", ""),) * 8
TDX_NAMES = (
    ("OS/VMM", "TDX Module"),
    ("OS/VMM", "TDX Module"),
    ("OS/VMM", "TDX Late Microcode Update"),
) + (("", ""),) * 13


class Rung(msgspec.Struct, frozen=True):
    """One level: the SVN of its rung, its status, its date and its advisories."""

    svn: int
    status: str
    date: datetime
    advisory_ids: tuple[str, ...] = ()

    @property
    def components(self) -> bytes:
        """The 16 SGX component SVNs."""
        return bytes((self.svn, *_BASE[1:]))

    @property
    def tdx_components(self) -> bytes:
        """The 16 TDX component SVNs."""
        return bytes((*_TDX_BASE[:TDX_RUNG], self.svn, *_TDX_BASE[TDX_RUNG + 1 :]))


def _rung(svn: int, status: str, year: int, *advisories: str) -> Rung:
    return Rung(svn, status, datetime(year, 3, 13, tzinfo=UTC), advisories)


#: Platform levels of the first generation, newest first.
PLATFORM_LADDER = (
    _rung(8, "UpToDate", 2025),
    _rung(7, "SWHardeningNeeded", 2025, "INTEL-SA-00615"),
    _rung(6, "ConfigurationNeeded", 2025, "INTEL-SA-00289"),
    _rung(5, "ConfigurationAndSWHardeningNeeded", 2025, "INTEL-SA-00289", "INTEL-SA-00615"),
    _rung(4, "OutOfDate", 2024, "INTEL-SA-00615", "INTEL-SA-00837"),
    _rung(3, "OutOfDateConfigurationNeeded", 2023, "INTEL-SA-00289", "INTEL-SA-00837"),
    _rung(2, "Revoked", 2022, "INTEL-SA-00161"),
)
#: QE, TD_QE and QVE levels, by ISVSVN.
QE_LADDER = (
    _rung(8, "UpToDate", 2025),
    _rung(7, "ConfigurationNeeded", 2025, "INTEL-SA-00477"),
    _rung(6, "OutOfDate", 2024, "INTEL-SA-00477"),
    _rung(5, "OutOfDateConfigurationNeeded", 2023, "INTEL-SA-00477"),
    _rung(4, "Revoked", 2022, "INTEL-SA-00477"),
)
#: TDX modules by identity: levels by ISVSVN.
MODULE_LADDERS: Mapping[str, tuple[Rung, ...]] = {
    "TDX_01": (
        _rung(6, "UpToDate", 2025),
        _rung(4, "OutOfDate", 2024, "INTEL-SA-01036"),
        _rung(2, "Revoked", 2022, "INTEL-SA-01036"),
    ),
    "TDX_03": (
        _rung(3, "UpToDate", 2025),
        _rung(2, "OutOfDate", 2024, "INTEL-SA-01036"),
        _rung(1, "Revoked", 2022, "INTEL-SA-01036"),
    ),
}
#: What a recovery makes of the statuses that stood before it.
DEMOTED = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
}


class Generation(msgspec.Struct, frozen=True):
    """One TCB evaluation data number: everything Intel judges by it."""

    number: int
    event_date: datetime
    platform: tuple[Rung, ...] = PLATFORM_LADDER
    qe: tuple[Rung, ...] = QE_LADDER
    modules: Mapping[str, tuple[Rung, ...]] = msgspec.field(default_factory=lambda: MODULE_LADDERS)

    def recovered(self, at: datetime, advisory: str) -> "Generation":
        """The next generation: a new top rung for platforms, the old ones demoted."""
        top = self.platform[0].svn + 1
        demoted = tuple(
            Rung(
                rung.svn,
                DEMOTED.get(rung.status, rung.status),
                rung.date,
                (*rung.advisory_ids, advisory),
            )
            for rung in self.platform
        )
        return Generation(
            self.number + 1,
            at,
            (Rung(top, "UpToDate", at), *demoted),
            self.qe,
            self.modules,
        )

    def svn_of(self, status: str) -> int:
        """The SVN at which a platform has a status; one below the ladder for none."""
        return next(
            (rung.svn for rung in self.platform if rung.status == status),
            self.platform[-1].svn - 1,
        )


FIRST = Generation(FIRST_EVALUATION_NUMBER, datetime(2025, 3, 13, tzinfo=UTC))
