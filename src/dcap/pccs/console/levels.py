"""TCB levels of one FMSPC: Intel's early ones beside the standard ones, and what the change does here.

1. The newest level of each, component by component: what must be updated. 2. All levels, aligned by
what they ask for, with the status of each side. 3. The machines that are kept, by the status they have
under each: who will be out of date when early becomes standard.

A machine's SGX status alone can be told of its PCK certificate; what TDX asks for beyond stands in
quotes. Not here: the judgement of a quote (`dcap.verification`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec

from dcap.formats.collateral import TCB_INFO
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import COMPONENTS, TcbInfo, TcbLevel
from dcap.pccs.assembly import Parts
from dcap.pccs.items import Holding, TcbInfoKey, Tee
from dcap.verification.tcb_level import match_platform

#: Machines that are looked at for the third table.
MOST: Final = 2000
_NONE: Final = "no level"
_GOOD: Final = "UpToDate"
_BAD: Final = ("OutOfDate", "Revoked", _NONE)


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two TCB infos: its number, its dates, how many levels it has."""

    update: str
    number: int
    issued: datetime
    expires: datetime
    levels: int


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A status in one side: `tone` is "good", "fair" or "bad"; empty where it has no such level."""

    status: str = ""
    tone: str = ""
    date: datetime | None = None


class ComponentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One component of the newest levels. `change` is how much higher early is; 0 where it is not."""

    name: str
    what: str
    standard: int | None
    early: int | None

    @property
    def change(self) -> int:
        """How much higher early asks for."""
        return 0 if self.standard is None or self.early is None else self.early - self.standard


class LevelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A level by what it asks for: the SVNs in the columns, the status in each side.

    `added` are the advisories that early alone names, where both sides have the level.
    """

    svns: tuple[int, ...]
    standard: Cell
    early: Cell
    advisories: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the sides judge it differently."""
        return self.standard.status != self.early.status


class StandingRow(msgspec.Struct, frozen=True, kw_only=True):
    """Machines that have the same status under each side."""

    standard: Cell
    early: Cell
    machines: int

    @property
    def falls(self) -> bool:
        """Whether they are worse off under early."""
        return _RANK[self.early.tone] < _RANK[self.standard.tone]


_RANK: Final = {"": 3, "good": 2, "fair": 1, "bad": 0}


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All of the page. `columns` are the components in which any two levels differ."""

    fmspc: str
    tee: Tee
    standard: Side | None
    early: Side | None
    components: tuple[ComponentRow, ...]
    columns: tuple[str, ...]
    rows: tuple[LevelRow, ...]
    standings: tuple[StandingRow, ...]
    unreported: int
    looked_at: int
    machines: int

    @property
    def both(self) -> bool:
        """Whether there is something to compare."""
        return self.standard is not None and self.early is not None

    @property
    def changed(self) -> tuple[ComponentRow, ...]:
        """The components that the newest levels differ in."""
        return tuple(row for row in self.components if row.change)

    @property
    def falling(self) -> int:
        """How many machines are worse off under early."""
        return sum(row.machines for row in self.standings if row.falls)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """An FMSPC whose TCB infos are kept, and for which TEEs."""

    fmspc: str
    tees: tuple[Tee, ...]
    numbers: tuple[str, ...]


def choices(parts: Parts) -> tuple[Choice, ...]:
    """What can be looked at. Raises the store's errors."""
    found: dict[bytes, dict[Tee, dict[str, int]]] = {}
    for item in parts.store.items.summaries():
        key = item.key
        if isinstance(key, TcbInfoKey) and key.version > 3 and key.update is not None:
            by_tee = found.setdefault(key.fmspc, {})
            by_tee.setdefault(key.tee, {})[key.update.lower()] = item.number or 0
    return tuple(
        Choice(
            fmspc=fmspc.hex().upper(),
            tees=tuple(sorted(by_tee)),
            numbers=tuple(_numbers(by_tee[tee]) for tee in sorted(by_tee)),
        )
        for fmspc, by_tee in sorted(found.items())
    )


def _numbers(by_update: dict[str, int]) -> str:
    """`standard 16, early 17`."""
    sides = (update for update in ("standard", "early") if update in by_update)
    return ", ".join(f"{update} {by_update[update]}" for update in sides)


def compare(parts: Parts, fmspc: bytes, tee: Tee) -> Comparison | None:
    """The levels of an FMSPC; `None` where no TCB info of it is kept. Raises the store's errors."""
    standard = _info(parts, TcbInfoKey(tee, fmspc, 4, "STANDARD"))
    early = _info(parts, TcbInfoKey(tee, fmspc, 4, "EARLY"))
    given = [one for one in (standard, early) if one is not None]
    if not given:
        return None
    shown, rows = _aligned(standard, early, _names(given[0]))
    holdings: list[Holding] = []
    if tee == "SGX":
        holdings = list(islice(parts.store.platforms.holdings([fmspc]), MOST))
    standings, unreported = _standings(holdings, standard, early)
    return Comparison(
        fmspc=fmspc.hex().upper(),
        tee=tee,
        standard=_side("standard", standard),
        early=_side("early", early),
        components=_components(standard, early),
        columns=shown,
        rows=rows,
        standings=standings,
        unreported=unreported,
        looked_at=len(holdings),
        machines=parts.store.platforms.count_by_fmspc().get(fmspc, 0),
    )


def _info(parts: Parts, key: TcbInfoKey) -> TcbInfo | None:
    item = parts.store.items.get(key)
    return None if item is None else TcbInfo.parse(SignedJson.parse(item.body, TCB_INFO).body)


def _side(update: str, info: TcbInfo | None) -> Side | None:
    if info is None:
        return None
    return Side(
        update=update,
        number=info.evaluation_data_number,
        issued=info.issue_date,
        expires=info.next_update,
        levels=len(info.levels),
    )


def _names(info: TcbInfo) -> tuple[tuple[str, str], ...]:
    """The name of each SVN, and what Intel says of it, in the order of `_svns`."""
    named: list[tuple[str, str]] = []
    for tee, names in (("SGX", info.component_names), ("TDX", info.tdx_component_names)):
        if tee == "TDX" and info.id != "TDX":
            continue
        for number in range(COMPONENTS):
            name = names[number] if number < len(names) else None
            said = (name.type or name.category) if name is not None else ""
            named.append((f"{tee} {number + 1}", said))
    named.append(("PCESVN", "Provisioning Certification Enclave"))
    return tuple(named)


def _svns(level: TcbLevel) -> tuple[int, ...]:
    return (*level.components, *(level.tdx_components or b""), level.pce_svn)


def _components(standard: TcbInfo | None, early: TcbInfo | None) -> tuple[ComponentRow, ...]:
    """The newest level of each side; components of no name that ask for nothing are left out."""
    info = early or standard
    if info is None:
        return ()
    old, new = (
        _svns(one.levels[0]) if one is not None and one.levels else None
        for one in (standard, early)
    )
    rows = (
        ComponentRow(
            name=name,
            what=what,
            standard=None if old is None else old[place],
            early=None if new is None else new[place],
        )
        for place, (name, what) in enumerate(_names(info))
    )
    return tuple(row for row in rows if row.what or row.standard or row.early)


def _aligned(
    standard: TcbInfo | None, early: TcbInfo | None, names: Sequence[tuple[str, str]]
) -> tuple[tuple[str, ...], tuple[LevelRow, ...]]:
    """The columns in which levels differ, and the levels by what they ask for, highest first."""
    sides = [
        {} if info is None else {_svns(level): level for level in info.levels}
        for info in (standard, early)
    ]
    # As verifiers order levels (`formats.tcb_info`): components first, PCESVN last.
    asked = sorted(sides[0].keys() | sides[1].keys(), reverse=True)
    places = [place for place in range(len(names)) if len({svns[place] for svns in asked}) > 1]
    # A single level differs from nothing: its PCE's number stands for it.
    places = places or [len(names) - 1]
    rows = []
    for svns in asked:
        levels = [side.get(svns) for side in sides]
        old, new = (set() if level is None else set(level.advisory_ids) for level in levels)
        added = new - old if levels[0] is not None else set()
        rows.append(
            LevelRow(
                svns=tuple(svns[place] for place in places),
                standard=_cell(levels[0]),
                early=_cell(levels[1]),
                advisories=tuple(sorted((old | new) - added)),
                added=tuple(sorted(added)),
            )
        )
    return tuple(names[place][0] for place in places), tuple(rows)


def _cell(level: TcbLevel | None) -> Cell:
    return Cell() if level is None else _judged(level.status, level.date)


def _judged(status: str, date: datetime | None = None) -> Cell:
    tone = "good" if status == _GOOD else "bad" if status.startswith(_BAD) else "fair"
    return Cell(status=status, tone=tone, date=date)


def _standings(
    holdings: Iterable[Holding], standard: TcbInfo | None, early: TcbInfo | None
) -> tuple[tuple[StandingRow, ...], int]:
    """How many machines have which status; and how many never reported a TCB."""
    counted: Counter[tuple[str, str]] = Counter()
    unreported = 0
    for holding in holdings:
        best = _best(holding)
        if best is None:
            unreported += 1
        else:
            counted[_status(standard, best), _status(early, best)] += 1
    rows = [
        StandingRow(
            standard=_judged(old) if old else Cell(),
            early=_judged(new) if new else Cell(),
            machines=machines,
        )
        for (old, new), machines in counted.most_common()
    ]
    return tuple(rows), unreported


def _best(holding: Holding) -> tuple[bytes, int] | None:
    """The highest TCB, among those of its certificates, that a machine reported."""
    reported = {raw.tcbm for raw in holding.raw_tcbs}
    reached = [
        (one.components, one.pce_svn) for one in holding.certificates if one.tcbm in reported
    ]
    return max(reached, default=None)


def _status(info: TcbInfo | None, tcb: tuple[bytes, int]) -> str:
    if info is None:
        return ""
    level = match_platform(info, *tcb, None)
    return _NONE if level is None else level.status
