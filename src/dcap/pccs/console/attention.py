"""What wants attention now: each with why, what to do, and where to look. Nothing here: all is well.

"bad" is what clients feel already, "soon" what they will feel if nobody acts, "note" what is on purpose
and should be known. Not here: alarms; those are for Prometheus (`metrics`) and `dcap pccs check`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from dcap.errors import DcapError
from dcap.pccs import tls
from dcap.pccs.age import is_early
from dcap.pccs.assembly import Parts
from dcap.pccs.causes import CAUSES
from dcap.pccs.console import wording
from dcap.pccs.console.collateral import ItemRow
from dcap.pccs.console.suppliers import SupplierRow, TroubleRow

#: How far back errors of upstream still count.
LATELY: Final = timedelta(hours=24)
_TLS_SOON: Final = timedelta(days=30)


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """One thing. `level` is "bad", "soon" or "note"; `page` is the path to look at."""

    level: str
    what: str
    mend: str
    page: str = ""


def attention(
    parts: Parts,
    items: Sequence[ItemRow],
    queue: dict[str, int],
    supplied: Sequence[SupplierRow],
    troubles: Sequence[TroubleRow],
) -> tuple[Attention, ...]:
    """All that wants attention, the worst first."""
    found = [
        *_collateral(parts, items),
        *_upstream(supplied, troubles),
        *_queue(parts, queue),
        *_service(parts),
    ]
    order = ("bad", "soon", "note")
    return tuple(sorted(found, key=lambda one: order.index(one.level)))


def _collateral(parts: Parts, items: Sequence[ItemRow]) -> Iterable[Attention]:
    fetches = parts.service.rules.refreshes
    how = (
        "see why its renewal failed, or renew it by hand"
        if fetches
        else "import fresh collateral: the mode fetches nothing"
    )
    expired = [row for row in items if row.state == "expired"]
    if expired:
        yield Attention(
            level="bad",
            what=f"{wording.count(len(expired), 'item has', 'items have')} expired",
            mend=how,
            page="/console/collateral",
        )
    at = parts.service.clock()
    early = [one for one in parts.store.items.summaries() if is_early(one, at)]
    if early:
        yield Attention(
            level="bad",
            what=f"{wording.count(len(early), 'item was', 'items were')} issued in the future, and "
            "nobody gets any of it",
            mend="set the clock of this host right; nothing of it is lost",
            page="/console/collateral",
        )
    soon = [row for row in items if row.state == "soon"]
    if soon:
        yield Attention(
            level="soon",
            what=f"{wording.count(len(soon), 'item ends', 'items end')} within a week, "
            f"the first {soon[0].left}",
            mend=how,
            page="/console/collateral",
        )


def _upstream(
    supplied: Sequence[SupplierRow], troubles: Sequence[TroubleRow]
) -> Iterable[Attention]:
    for one in supplied:
        if one.tone in ("bad", "fair"):
            yield Attention(
                level="bad" if one.tone == "bad" else "soon",
                what=f"Upstream {one.name}: {one.state}",
                mend="it is tried again by itself; see its last errors",
                page="/console/upstream",
            )
    if troubles:
        times = sum(row.times for row in troubles)
        cause = max(troubles, key=lambda row: row.times).cause
        known = CAUSES.get(cause)
        often = ", most often" if any(row.cause != cause for row in troubles) else ""
        yield Attention(
            level="soon",
            what=f"{wording.count(times, 'error')} of upstream in the last day{often}: "
            f"“{cause if known is None else known.what}”",
            mend="" if known is None else known.mend,
            page="/console/upstream",
        )


def _queue(parts: Parts, queue: dict[str, int]) -> Iterable[Attention]:
    waiting, unavailable = queue.get("NEW", 0), queue.get("NOT_AVAILABLE", 0)
    if waiting:
        yield Attention(
            level="soon",
            what=f"{wording.count(waiting, 'machine waits', 'machines wait')} for certificates",
            mend="fetch for them with `dcap pccs fetch`, and put the result here"
            if not parts.service.rules.fetches_registered
            else "their registration failed; see the errors of upstream, and register again",
            page="/console/queue",
        )
    if unavailable:
        yield Attention(
            level="note",
            what=f"Intel has no certificate yet for {wording.count(unavailable, 'TCB')} of machines",
            mend="machines of such a TCB get another certificate, or 462; ask Intel where that matters",
            page="/console/queue",
        )


def _service(parts: Parts) -> Iterable[Attention]:
    at = parts.service.clock()
    stale = parts.service.counts().get("stale", 0)
    if stale:
        yield Attention(
            level="bad",
            what=f"Expired collateral was served {wording.count(stale, 'time')}, with a warning",
            mend="the setting `expired` says so; see why nothing newer could be had",
            page="/console/upstream",
        )
    if not parts.tokens.has("admin"):
        yield Attention(
            level="soon",
            what="There is no admin token: nobody can import or refresh",
            mend="make one with `dcap pccs token new`",
        )
    ends = _tls_ends(parts)
    if ends is not None and ends - at < _TLS_SOON:
        yield Attention(
            level="bad" if ends <= at else "soon",
            what=f"The TLS certificate of this service ends {wording.until(ends, at)}",
            mend="put a new one in its place, and send SIGHUP",
        )
    if parts.settings.workers > 1:
        yield Attention(
            level="note",
            what=f"One of {parts.settings.workers} workers speaks: what it knows of upstream is its "
            "own",
            mend="the sums stand in /metrics",
            page="/console/upstream",
        )


def _tls_ends(parts: Parts) -> datetime | None:
    try:
        return tls.facts_of(parts.settings.certificate_file).not_after
    except DcapError:
        return None
