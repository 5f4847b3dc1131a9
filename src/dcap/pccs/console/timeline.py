"""The expiry of collateral as a picture: one bar an item, from its issue to its end, over weeks.

Geometry only, in the picture's own units: the template writes it as SVG, once for windows and once for
telephones, where names stand above their bars. What has no end is left out, and of many the first to end
are drawn, over the next six weeks. The table beside it says the same in words.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from dcap.pccs.console.collateral import ItemRow

#: Bars drawn at most.
MOST: Final = 32
_TOP: Final = 26
_BAR: Final = 12
#: What is drawn reaches so far back and ahead; longer bars are cut off, and say so.
_BEHIND: Final = timedelta(days=8)
_AHEAD: Final = timedelta(days=42)
#: A date that would be written over "now" is left out.
_ROOM: Final = 34.0


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture is laid out. `labels` is the room for names, left of the bars; 0: above them."""

    name: str
    width: int
    labels: int
    right: int
    row: int
    longest: int
    tick_days: int


WIDE: Final = Form(name="wide", width=1080, labels=330, right=110, row=24, longest=52, tick_days=7)
NARROW: Final = Form(name="narrow", width=340, labels=0, right=12, row=40, longest=42, tick_days=14)


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A date on the axis."""

    x: float
    label: str


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """An item: where its bar is, its name, its state ("fresh", "soon", "expired") and time left.

    `text_y` is the base line of its name; `left_x` where its time left is written, before or after
    (`anchor`, as in SVG).
    """

    y: float
    x: float
    width: float
    label: str
    state: str
    left: str
    goes_on: bool
    text_y: float
    left_x: float
    anchor: str

    @property
    def arrow(self) -> str:
        """The points of the arrow at the end of a bar that is cut off."""
        x, y = self.x + self.width, self.y
        return f"{x},{y} {x + 8},{y + _BAR / 2} {x},{y + _BAR}"


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """The picture."""

    form: str
    width: int
    height: int
    now: float
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]
    left_out: int

    top: int = _TOP
    bar: int = _BAR


def timelines(rows: Sequence[ItemRow], at: datetime) -> tuple[Timeline, ...]:
    """The picture in both forms; nothing where no item has an end."""
    drawn = (timeline(rows, at, form) for form in (WIDE, NARROW))
    return tuple(one for one in drawn if one is not None)


def timeline(rows: Sequence[ItemRow], at: datetime, form: Form = WIDE) -> Timeline | None:
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
        share = max(0.0, min(1.0, (instant - begin) / (end - begin)))
        return round(form.labels + share * (form.width - form.labels - form.right), 1)

    return Timeline(
        form=form.name,
        width=form.width,
        height=_TOP + len(drawn) * form.row + 8,
        now=place(at),
        ticks=tuple(_ticks(begin, end, place, place(at), form.tick_days)),
        bars=tuple(
            _bar(_TOP + number * form.row, row, ends, end, place, place(at), form)
            for number, (ends, row) in enumerate(drawn)
        ),
        left_out=len(ending) - len(drawn),
    )


def _bar(
    top: float,
    row: ItemRow,
    ends: datetime,
    last: datetime,
    place: Callable[[datetime], float],
    now: float,
    form: Form,
) -> Bar:
    """The bar of one item, in the row that begins at `top`."""
    x = place(min(row.issued or row.fetched_at, ends))
    width = max(2.0, round(place(ends) - x, 1))
    label = row.name.text
    goes_on = ends > last
    # Beside the bar, right of now; or at the end of the line above it.
    y = top + (form.row - _BAR) / 2 if form.labels else top + form.row - _BAR - 8
    beside = max(x + width + (14 if goes_on else 8), now + 8)
    return Bar(
        y=y,
        x=x,
        width=width,
        label=label if len(label) <= form.longest else label[: form.longest - 1] + "…",
        state=row.state,
        left=row.left,
        goes_on=goes_on,
        text_y=y + _BAR - 2 if form.labels else y - 6,
        left_x=beside if form.labels else form.width,
        anchor="start" if form.labels else "end",
    )


def _ticks(
    begin: datetime, end: datetime, place: Callable[[datetime], float], now: float, days: int
) -> Iterator[Tick]:
    """Midnights, so many days apart, and none beyond the edge."""
    instant = begin.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    while instant < end:
        if abs(place(instant) - now) > _ROOM and place(instant) > _ROOM / 2:
            yield Tick(x=place(instant), label=f"{instant.day} {instant:%b}")
        instant += timedelta(days=days)
