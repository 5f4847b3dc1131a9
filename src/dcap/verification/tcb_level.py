"""Matching a platform against TCB levels, and saying how far it falls short.

The first level, from the highest down, of which the platform reaches *every* SVN. Lists of another
length than 16 never reach here (`formats.tcb_info` refuses them), and the comparison insists on it.

Source: QVL `TcbLevelCheck`, steps 4.1.2.5.18-19; `verification.md` §6.
"""

from collections.abc import Iterable

import msgspec

from dcap.formats.tcb_info import COMPONENTS, ComponentName, IsvSvnLevel, TcbInfo, TcbLevel

_MODULE_BYTES = 2  # TEE_TCB_SVN[0:2] are the TDX module's own version, judged by its identity


def reaches(have: bytes, need: bytes, start: int = 0) -> bool:
    """Whether every SVN of `have` from `start` on is at least that of `need`; 16 of each."""
    if len(have) != COMPONENTS or len(need) != COMPONENTS:
        return False
    if have == need:
        return True
    return all(h >= n for h, n in zip(have[start:], need[start:], strict=True))


def first_compared(tee_tcb_svn: bytes) -> int:
    """From which TDX component on a level is compared.

    The module's own two are not, where it has an identity of its own (major version above 0).
    """
    return _MODULE_BYTES if tee_tcb_svn[1] > 0 else 0


def match_platform(
    info: TcbInfo, components: bytes, pce_svn: int, tee_tcb_svn: bytes | None
) -> TcbLevel | None:
    """The platform's level: PCK component SVNs and PCESVN, and for TDX TEE_TCB_SVN too."""
    start = 0 if tee_tcb_svn is None else first_compared(tee_tcb_svn)
    for level in info.levels:
        if pce_svn < level.pce_svn or not reaches(components, level.components):
            continue
        if tee_tcb_svn is None:
            return level
        if level.tdx_components is not None and reaches(tee_tcb_svn, level.tdx_components, start):
            return level
    return None


def match_isv_svn(levels: Iterable[IsvSvnLevel], isv_svn: int) -> IsvSvnLevel | None:
    """The level of an enclave or a TDX module: the first whose ISVSVN it reaches."""
    return next((level for level in levels if isv_svn >= level.isv_svn), None)


class Shortfall(msgspec.Struct, frozen=True, gc=False):
    """One SVN that is too low for the level aimed at, and what raises it."""

    component: str
    have: int
    need: int
    raised_by: str


def shortfall(
    info: TcbInfo, components: bytes, pce_svn: int, tee_tcb_svn: bytes | None
) -> tuple[Shortfall, ...]:
    """What keeps a platform from the highest level that is up to date (or the highest of all)."""
    goal = next((x for x in info.levels if x.status == "UpToDate"), info.levels[0])
    short = [
        Shortfall(f"SGX component {i}", have, need, _raised_by(info.component_names[i - 1], i))
        for i, (have, need) in enumerate(zip(components, goal.components, strict=True), 1)
        if have < need
    ]
    if pce_svn < goal.pce_svn:
        short.append(Shortfall("PCESVN", pce_svn, goal.pce_svn, "SGX platform software (PCE)"))
    if tee_tcb_svn is not None and goal.tdx_components is not None:
        start = first_compared(tee_tcb_svn)
        short += [
            Shortfall(f"TDX component {i}", have, need, _raised_by(name, i, tdx=True))
            for i, (have, need, name) in enumerate(
                zip(tee_tcb_svn, goal.tdx_components, info.tdx_component_names, strict=True), 1
            )
            if i > start and have < need
        ]
    return tuple(short)


def isv_svn_shortfall(
    name: str, levels: tuple[IsvSvnLevel, ...], isv_svn: int, raised_by: str
) -> tuple[Shortfall, ...]:
    """The same for a QE or a TDX module."""
    goal = next((x for x in levels if x.status == "UpToDate"), levels[0] if levels else None)
    level = match_isv_svn(levels, isv_svn)
    fine = level is not None and level.status == "UpToDate"
    if goal is None or fine or isv_svn >= goal.isv_svn:
        return ()
    return (Shortfall(f"{name} ISVSVN", isv_svn, goal.isv_svn, raised_by),)


_BY_TYPE = {
    "SEAMLDR ACM": "SEAM loader",
    "TDX Module": "TDX module",
    "TXT SINIT": "TXT SINIT ACM",
    "SGX Late Microcode Update": "microcode (late load by the OS), or BIOS",
    "TDX Late Microcode Update": "microcode (late load by the OS), or BIOS",
    "Early Microcode Update": "BIOS/microcode",
}
_BY_CATEGORY = {"BIOS": "BIOS/microcode", "OS/VMM": "operating system or hypervisor"}


def _raised_by(name: ComponentName, number: int, *, tdx: bool = False) -> str:
    """What raises a component, by Intel's own words for it where the document has them."""
    if name.type in _BY_TYPE:
        return _BY_TYPE[name.type]
    if name.category in _BY_CATEGORY:
        return _BY_CATEGORY[name.category]
    if tdx:
        return "TDX module" if number <= _MODULE_BYTES else "BIOS/microcode"
    return "BIOS/microcode"
