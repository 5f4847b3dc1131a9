"""What is to be renewed beside what is kept, what came of it, and what nobody needs any more.

    lacking = companions(keys, fmspcs)                   # belongs to it, and is not kept
    came = renew(upstream, keys, kept, after=…)          # came.renewed, came.failed
    gone = superseded(summaries, at)                     # may be forgotten

For both who renew: the schedule (`refresh`), and `/refresh` (`service`). Not here: when, and by whom.

Source: `pccs-and-pcs-api.md` §2.2.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec

from dcap.errors import DcapError
from dcap.pccs.age import in_date
from dcap.pccs.causes import NotServed, not_served
from dcap.pccs.issuers import list_of
from dcap.pccs.items import (
    CrlKey,
    IdentityKey,
    ItemSummary,
    Key,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.registration import common_keys
from dcap.pccs.selection import tcb_info_keys
from dcap.pccs.upstream import Upstream, is_of_tdx

#: Of items of one evaluation data number: whoever may ask for them, has them kept.
MAX_NUMBERED: Final = 256


def is_renewable(key: Key) -> bool:
    """Nobody serves version 3 any more; a list by its URI is had as the root's or a CA's own."""
    return not isinstance(key, CrlKey) and getattr(key, "version", 4) > 3


def companions(keys: Iterable[Key], fmspcs: Iterable[bytes] = ()) -> tuple[Key, ...]:
    """What belongs beside what is kept, and is not kept: early beside standard, lists by their names.

    Where there are machines, of these FMSPCs, so does all that they are verified with: a piece may have
    been dropped, or left out of an import.
    """
    kept = set(keys)
    paired = (key for key in kept if isinstance(key, TcbInfoKey | IdentityKey))
    wanted: set[Key] = {
        msgspec.structs.replace(key, update="EARLY")
        for key in paired
        if key.update == "STANDARD" and is_renewable(key)
    }
    for key in kept:
        if isinstance(key, CrlKey):
            with suppress(NotServed):
                wanted.add(list_of(key.uri))
    for fmspc in fmspcs:
        wanted.update(common_keys("all"), tcb_info_keys(fmspc))
    if kept:
        wanted.add(RootCrlKey())
    return tuple(sorted(wanted - kept, key=lambda one: one.text))


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a renewal. `absent` are those that need not be: upstream has none, or no longer."""

    renewed: tuple[Key, ...] = ()
    failed: Mapping[Key, NotServed] = {}
    absent: tuple[Key, ...] = ()


def renew(
    upstream: Upstream, keys: Collection[Key], kept: Collection[Key], *, after: datetime
) -> Renewed:
    """Renew items, each by itself. One of a number that Intel has retired goes once it has expired."""
    renewed: list[Key] = []
    absent: list[Key] = []
    failed: dict[Key, NotServed] = {}
    for key, outcome in upstream.each(keys, after=after).items():
        if not isinstance(outcome, DcapError):
            renewed.append(key)
            continue
        refusal = not_served(outcome)
        if _may_be_absent(key, refusal.cause, is_kept=key in kept):
            absent.append(key)
        else:
            failed[key] = refusal
    _forget_retired(upstream, absent)
    return Renewed(renewed=tuple(renewed), failed=failed, absent=tuple(absent))


def _may_be_absent(key: Key, cause: str, *, is_kept: bool) -> bool:
    if getattr(key, "number", None) is not None:
        return cause in ("retired", "no-such-item")
    # Machines without TDX have no TCB info for it; Azure has nothing early.
    optional = is_of_tdx(key) or getattr(key, "update", None) == "EARLY"
    return optional and not is_kept and cause == "no-such-item"


def _forget_retired(upstream: Upstream, absent: Iterable[Key]) -> None:
    """Only upstream's word and the date together take anything away: a clock may be wrong."""
    at = upstream.clock()
    for key in absent:
        kept = upstream.store.items.get(key)
        if kept is not None and kept.expires is not None and kept.expires <= at:
            upstream.store.items.delete(key)


def superseded(items: Sequence[ItemSummary], at: datetime) -> tuple[Key, ...]:
    """What is kept and no longer asked for: lists by a URI that are kept, newer, by their own name."""
    by_key = {one.key: one for one in items}
    return tuple(
        one.key
        for one in items
        if isinstance(one.key, CrlKey) and _has_newer(one.key, one, by_key, at)
    )


def _has_newer(
    key: CrlKey, one: ItemSummary, items: Mapping[Key, ItemSummary], at: datetime
) -> bool:
    try:
        own = items.get(list_of(key.uri))
    except NotServed:  # a list of nobody that we know
        return False
    return own is not None and in_date(own, at) and (own.number or 0) >= (one.number or 0)


def crowded_out(items: Sequence[ItemSummary]) -> tuple[Key, ...]:
    """Items of a number, the longest unrenewed, where there are too many: anybody may ask for one."""
    numbered = [one for one in items if getattr(one.key, "number", None) is not None]
    numbered.sort(key=lambda one: one.fetched_at)
    return tuple(one.key for one in numbered[: max(0, len(numbered) - MAX_NUMBERED)])


def is_watched(one: ItemSummary, items: Mapping[Key, ItemSummary], at: datetime) -> bool:
    """Whether it is of interest when an item ends: something can still be done about it."""
    ended = one.expires is not None and one.expires <= at
    if isinstance(one.key, CrlKey):
        return not _has_newer(one.key, one, items, at)
    is_old = getattr(one.key, "version", 4) < 4
    return not (ended and (is_old or getattr(one.key, "number", None) is not None))
