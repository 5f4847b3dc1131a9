"""The expiry of collateral as a picture: one bar an item, from its issue to its end, over weeks.

Geometry only, in the picture's own units: the template writes it as SVG. What has no end is left out,
and of many the first to end are drawn, over the next six weeks. The table beside it says the same in
words.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from dcap.pccs.console.collateral import ItemRow

WIDTH: Final = 1080
#: Bars drawn at most.
MOST: Final = 32
_LABELS: Final = 330
_RIGHT: Final = 110
_TOP: Final = 26
_ROW: Final = 24
_BAR: Final = 12
#: What is drawn reaches so far back and ahead; longer bars are cut off, and say so.
_BEHIND: Final = timedelta(days=8)
_AHEAD: Final = timedelta(days=42)
#: A date that would be written over "now" is left out.
_ROOM: Final = 34.0


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A date on the axis."""

    x: float
    label: str


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """An item: where its bar is, its name, its state ("fresh", "soon", "expired") and time left."""

    y: float
    x: float
    width: float
    label: str
    state: str
    left: str
    goes_on: bool
    now: float

    @property
    def middle(self) -> float:
        """The base line of its text."""
        return self.y + _BAR - 2

    @property
    def end(self) -> float:
        """Where its time left is written: beside it, and right of now."""
        end = self.x + self.width + (14 if self.goes_on else 8)
        return max(end, self.now + 8)

    @property
    def arrow(self) -> str:
        """The points of the arrow at the end of a bar that is cut off."""
        x, y = self.x + self.width, self.y
        return f"{x},{y} {x + 8},{y + _BAR / 2} {x},{y + _BAR}"


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """The picture."""

    height: int
    now: float
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]
    left_out: int

    width: int = WIDTH
    labels: int = _LABELS
    top: int = _TOP
    bar: int = _BAR


def timeline(rows: Sequence[ItemRow], at: datetime) -> Timeline | None:
    """The picture of items, the first to end on top; nothing where none has an end."""
    ending = sorted(
        ((row.expires, row) for row in rows if row.expires is not None),
        key=lambda pair: (pair[0], pair[1].key),
    )
    if not ending:
        return None
    drawn = ending[:MOST]
    begin, end = at - _BEHIND, at + _AHEAD

    def place(instant: datetime) -> float:
        share = (instant - begin) / (end - begin)
        return round(_LABELS + max(0.0, min(1.0, share)) * (WIDTH - _LABELS - _RIGHT), 1)

    bars = []
    for number, (ends, row) in enumerate(drawn):
        starts = place(min(row.issued or row.fetched_at, ends))
        bars.append(
            Bar(
                y=_TOP + number * _ROW + (_ROW - _BAR) / 2,
                x=starts,
                width=max(2.0, round(place(ends) - starts, 1)),
                label=row.name.text,
                state=row.state,
                left=row.left,
                goes_on=ends > end,
                now=place(at),
            )
        )
    return Timeline(
        height=_TOP + len(drawn) * _ROW + 8,
        now=place(at),
        ticks=tuple(_ticks(begin, end, place, place(at))),
        bars=tuple(bars),
        left_out=len(ending) - len(drawn),
    )


def _ticks(
    begin: datetime, end: datetime, place: Callable[[datetime], float], now: float
) -> Iterator[Tick]:
    """Midnights, a week apart."""
    instant = begin.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    while instant < end:
        if abs(place(instant) - now) > _ROOM:
            yield Tick(x=place(instant), label=f"{instant.day} {instant:%b}")
        instant += timedelta(days=7)
