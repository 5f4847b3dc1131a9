"""The items of a service as rows: name, number, dates, and how they stand.

An item stands "fresh"; "soon", within a week of its end, by when its renewal should have come;
"expired"; or "endless", for what has no date. Not here: the picture (`timeline`), renewing
(`application`).
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from dcap.pccs.assembly import Parts
from dcap.pccs.console import wording
from dcap.pccs.items import ItemSummary
from dcap.pccs.renewal import is_renewable

#: Renewal is due so long ahead (`refresh.Schedule`): what is nearer its end was not renewed.
SOON: Final = timedelta(days=7)


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """One item. `key` is its key's text; `left` says how far its end is."""

    key: str
    name: wording.ItemName
    state: str
    number: str
    issued: datetime | None
    expires: datetime | None
    left: str
    fetched_at: datetime
    origin: str
    size: str
    is_renewable: bool


def item_rows(parts: Parts) -> tuple[ItemRow, ...]:
    """Every item, the first to end on top. Raises the store's errors."""
    at = parts.service.clock()
    last = datetime.max.replace(tzinfo=at.tzinfo)
    rows = [_row(one, at) for one in parts.store.items.summaries()]
    return tuple(sorted(rows, key=lambda row: (row.expires or last, row.key)))


def state_of(expires: datetime | None, at: datetime) -> str:
    """How an item with that end stands."""
    if expires is None:
        return "endless"
    if expires <= at:
        return "expired"
    return "soon" if expires - at < SOON else "fresh"


def _row(one: ItemSummary, at: datetime) -> ItemRow:
    number = "" if one.number is None else str(one.number)
    return ItemRow(
        key=one.key.text,
        name=wording.name_of(one.key),
        state=state_of(one.expires, at),
        number=number if len(number) <= 12 else number[:8] + "…",
        issued=one.issued,
        expires=one.expires,
        left="" if one.expires is None else wording.until(one.expires, at),
        fetched_at=one.fetched_at,
        origin=wording.shortened(one.origin),
        size=wording.size(one.size),
        is_renewable=is_renewable(one.key),
    )
