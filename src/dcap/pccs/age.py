"""How old a piece of collateral is: in date or not, and which of two came first.

    in_date(item, at)             # not expired, and not of the future
    is_older(new, kept)           # then it is refused, and reported

Judgements of dates and numbers that were proven. Not here: proofs (`trust`), and what is done about
what has expired (`service`, `refresh`).

Source: `pccs-and-pcs-api.md` §2.2, §7.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from dcap.pccs.items import IdentityKey, Item, ItemSummary, TcbInfoKey

#: What Intel has just issued lies in the future of a clock that is slow. By as much as NTP never leaves
#: one behind; nobody gains by it, for Intel's signature is needed all the same.
CLOCK_TOLERANCE: Final = timedelta(minutes=5)


def in_date(item: Item | ItemSummary, at: datetime) -> bool:
    """Whether an item has not expired, and is not of the future."""
    now = at.astimezone(UTC)
    return (item.expires is None or now < item.expires) and not is_early(item, now)


def is_early(item: Item | ItemSummary, at: datetime) -> bool:
    """Whether an item, proven before, was issued in the future: the clock is wrong."""
    return item.issued is not None and item.issued > at.astimezone(UTC) + CLOCK_TOLERANCE


class Numbered(Protocol):
    """What an item says of its age; a summary says it too."""

    @property
    def issued(self) -> datetime | None:
        """When it was issued."""

    @property
    def number(self) -> int | None:
        """Its evaluation data number, or a list's own."""


def is_older(new: Numbered, kept: Numbered | None) -> bool:
    """Whether `new` would take its key back: a lower number, or an earlier issue of the same number.

    Usable as `Items.put(…, accept=lambda new, kept: not is_older(new, kept))`. See `may_go_back`.
    """
    if kept is None:
        return False
    if new.number != kept.number and new.number is not None and kept.number is not None:
        return new.number < kept.number
    return new.issued is not None and kept.issued is not None and new.issued < kept.issued


class Ending(Numbered, Protocol):
    """The same, with its end."""

    @property
    def expires(self) -> datetime | None:
        """When it ends."""


def may_go_back(new: Item, kept: Ending | None, at: datetime) -> bool:
    """Whether a lower number may take the place of a higher one all the same.

    An upstream that gave an early one as the standard one, once, would else have taken the latter away
    for good. What is kept must have expired; the new one is standard, in date, and was issued after it.
    That Intel still lists its number is for the caller to see.
    """
    return (
        isinstance(new.key, TcbInfoKey | IdentityKey)
        and new.key.update == "STANDARD"
        and kept is not None
        and kept.expires is not None
        and kept.issued is not None
        and new.issued is not None
        and kept.expires <= at
        and kept.issued < new.issued
    )
