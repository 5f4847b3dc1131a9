"""How the upstreams do, and what went wrong lately: each error with its cause and how to mend it.

What one worker knows: each asks upstream for itself. Not here: the causes (`dcap.pccs.causes`).
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from dcap.errors import FormatError
from dcap.pccs.assembly import Parts
from dcap.pccs.causes import CAUSES
from dcap.pccs.circuit import LineHealth
from dcap.pccs.console import wording
from dcap.pccs.items import read_key
from dcap.pccs.upstream import Incident, SupplierHealth

MOST: Final = 50
_WORST_LAST: Final = ("closed", "probing", "throttled", "resting")
#: State of a line -> what to call it, and its tone.
STATES: Final = {
    "closed": ("in use", "good"),
    "probing": ("being tried again", "fair"),
    "throttled": ("asked us to wait", "fair"),
    "resting": ("rests after failures", "bad"),
}


class LineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One origin of an upstream."""

    origin: str
    state: str
    tone: str
    wait: str
    calls: int
    failures: int
    last_answer: datetime | None
    last_failure: datetime | None


class SupplierRow(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream: its worst origin speaks for it."""

    name: str
    state: str
    tone: str
    fetched: int
    last_success: datetime | None
    lines: tuple[LineRow, ...]


class TroubleRow(msgspec.Struct, frozen=True, kw_only=True):
    """The same error of one upstream, `times` over; `at` is the last time, `about` what it met."""

    at: datetime
    ago: str
    supplier: str
    about: tuple[str, ...]
    cause: str
    means: str
    what: str
    mend: str
    times: int


class CauseRow(msgspec.Struct, frozen=True, kw_only=True):
    """How often clients were answered with a cause."""

    cause: str
    status: str
    means: str
    mend: str
    times: int


def supplier_rows(parts: Parts) -> tuple[SupplierRow, ...]:
    """The upstreams, in order."""
    return tuple(
        _supplier(one, fetches=parts.service.rules.refreshes) for one in parts.upstream.health()
    )


def trouble_rows(
    parts: Parts, *, most: int = MOST, within: timedelta | None = None
) -> tuple[TroubleRow, ...]:
    """The latest errors of upstream, the last on top, equal ones as one."""
    at = parts.service.clock()
    grouped: dict[tuple[str, str], list[Incident]] = {}
    # A copy: other threads append.
    for one in reversed(list(parts.upstream.incidents)):
        if within is None or at - one.at <= within:
            grouped.setdefault((one.supplier, one.cause), []).append(one)
    rows = (_trouble(found, at) for found in list(grouped.values())[:most])
    return tuple(rows)


def cause_rows(parts: Parts) -> tuple[CauseRow, ...]:
    """What clients were refused with, since this worker started; the most frequent first."""
    counted = parts.service.counts()
    rows = []
    for cause, times in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])):
        known = CAUSES.get(cause)
        rows.append(
            CauseRow(
                cause=cause,
                status="" if known is None else str(known.status),
                means=_SERVED_STALE if known is None else known.what,
                mend="" if known is None else known.mend,
                times=times,
            )
        )
    return tuple(rows)


_SERVED_STALE: Final = "what has expired was served with a warning, as the settings say"


def about_of(about: str) -> str:
    """What an error was about, in words: an item by its name."""
    try:
        return wording.name_of(read_key(about)).text
    except FormatError:
        return wording.shortened(about)


def _supplier(one: SupplierHealth, *, fetches: bool) -> SupplierRow:
    worst = max(one.lines, key=lambda line: _WORST_LAST.index(line.state), default=None)
    state, tone = ("not asked yet", "") if worst is None else _state(worst)
    if worst is not None and worst.state == "closed" and any(map(_has_answered, one.lines)):
        state, tone = STATES["closed"]
    if one.failing is not None and tone == "good":
        state, tone = f"fails ({one.failing})", "bad"
    if not fetches:
        state, tone = "not asked in mode OFFLINE", ""
    return SupplierRow(
        name=wording.shortened(one.name),
        state=state,
        tone=tone,
        fetched=one.fetched,
        last_success=one.last_success,
        lines=tuple(_line(line) for line in one.lines),
    )


def _state(line: LineHealth) -> tuple[str, str]:
    """What to call its state, and its tone. One that never answered is not in use yet."""
    if line.state == "closed" and line.failures and not _has_answered(line):
        return "has not answered yet", "fair"
    return STATES[line.state]


def _has_answered(line: LineHealth) -> bool:
    return line.last_answer is not None


def _line(line: LineHealth) -> LineRow:
    state, tone = _state(line)
    wait = timedelta(seconds=line.wait_seconds)
    return LineRow(
        origin=wording.shortened(line.origin),
        state=state,
        tone=tone,
        wait=wording.duration(wait) if wait else "",
        calls=line.calls,
        failures=line.failures,
        last_answer=line.last_answer,
        last_failure=line.last_failure,
    )


def _trouble(found: list[Incident], at: datetime) -> TroubleRow:
    last = found[0]
    known = CAUSES.get(last.cause)
    return TroubleRow(
        at=last.at,
        ago=wording.until(last.at, at),
        supplier=wording.shortened(last.supplier),
        about=tuple(dict.fromkeys(about_of(one.about) for one in found)),
        cause=last.cause,
        means="" if known is None else known.what,
        what=wording.shortened(last.what),
        mend="" if known is None else known.mend,
        times=len(found),
    )
