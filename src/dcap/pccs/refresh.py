"""Renewal in the background: each item by itself, before it is due, by one of all replicas.

    refresher = Refresher(service, seed=secrets.token_bytes(16))
    refresher.start(); …; refresher.stop()

An item is renewed a day after it was fetched, and ahead of its expiry in any case, spread out by a
jitter of its own so that not all come at once. One that fails (a retired FMSPC) is tried again later,
ever more rarely, and hurts no other. What belongs beside it is fetched too: early beside standard. After
a new list of the root, whatever was kept is proven once more, for its signer may stand on it.

Not here: fetching, proofs (`upstream`); PCK certificates, which are renewed by request alone.

Source: `pccs-and-pcs-api.md` §2.2.
"""

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from dcap.errors import CollateralError, DcapError, FormatError
from dcap.pccs import trust
from dcap.pccs.causes import NotServed, not_served
from dcap.pccs.items import (
    CrlKey,
    IdentityKey,
    Item,
    ItemSummary,
    Key,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.service import PccsService

#: The lease by which one replica does a round.
LEASE: Final = "refresh"
LEASE_SECONDS: Final = 300.0
_NOTHING: Final = timedelta(0)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When an item is due. `spread` is the longest jitter, `margin` how far ahead of its expiry.

    After a failure it is tried again after `retry`, then after twice as long, up to `interval`.
    """

    interval: timedelta = timedelta(hours=24)
    margin: timedelta = timedelta(days=7)
    spread: timedelta = timedelta(hours=2)
    retry: timedelta = timedelta(minutes=10)
    pause: timedelta = timedelta(minutes=1)

    def due_at(self, item: ItemSummary, seed: bytes) -> datetime:
        """When an item is to be renewed: the earlier of age and margin, less a jitter of its own.

        What came with less than two margins left is renewed halfway to its expiry.
        """
        aged = item.fetched_at + self.interval
        due = aged
        if item.expires is not None:
            left = max(item.expires - item.fetched_at, _NOTHING)
            due = min(aged, item.expires - min(self.margin, left / 2))
        wait = max(due - item.fetched_at, _NOTHING)
        return due - _share(item, seed) * min(self.spread, wait / 4)

    def retry_after(self, failures: int) -> timedelta:
        """How long to wait after so many failures in a row."""
        doubled: timedelta = self.retry * 2 ** min(failures - 1, 16)
        return min(self.interval, doubled)


def due(
    items: Iterable[ItemSummary], at: datetime, seed: bytes, schedule: Schedule
) -> tuple[Key, ...]:
    """The keys of those that are to be renewed at an instant, the first to expire first."""
    renewable = [one for one in items if is_renewable(one.key)]
    ripe = [one for one in renewable if schedule.due_at(one, seed) <= at]
    last = datetime.max.replace(tzinfo=UTC)
    return tuple(one.key for one in sorted(ripe, key=lambda one: one.expires or last))


def is_renewable(key: Key) -> bool:
    """Nobody serves version 3 any more; a list by its URI is had as the root's or a CA's own."""
    return not isinstance(key, CrlKey) and getattr(key, "version", 4) > 3


def companions(keys: Iterable[Key]) -> tuple[Key, ...]:
    """What belongs beside what is kept, and is not kept: early beside standard, the root's list."""
    kept = set(keys)
    paired = (key for key in kept if isinstance(key, TcbInfoKey | IdentityKey))
    wanted: set[Key] = {
        msgspec.structs.replace(key, update="EARLY")
        for key in paired
        if key.update == "STANDARD" and is_renewable(key)
    }
    if kept:
        wanted.add(RootCrlKey())
    return tuple(sorted(wanted - kept, key=lambda one: one.text))


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What a round did. `dropped` no longer proved; `elsewhere` says that another replica does it."""

    renewed: tuple[Key, ...] = ()
    failed: Mapping[Key, NotServed] = {}
    dropped: tuple[Key, ...] = ()
    elsewhere: bool = False


class Refresher:
    """The renewals of one replica. `seed` is what its jitter is made of."""

    def __init__(
        self,
        service: PccsService,
        *,
        schedule: Schedule = Schedule(),  # noqa: B008 - frozen
        seed: bytes,
        report: Callable[[Round], None] = lambda _: None,
    ) -> None:
        self.last: Round | None = None
        self._service = service
        self._schedule = schedule
        self._seed = seed
        self._report = report
        self._holder = secrets.token_hex(16)
        self._failures: dict[Key, tuple[int, datetime]] = {}
        #: The root's list under which all that is kept was proven; at the start, nobody knows.
        self._proven_under: bytes | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Renew from now on, in a thread of its own."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, daemon=True, name="dcap-pccs-refresh")
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """No further round; waits a while for the one under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=seconds)
            self._thread = None

    def once(self, at: datetime) -> Round:
        """One round at an instant. Raises the store's errors alone.

        1. One replica. 2. What is due. 3. Renew, each by itself. 4. Prove again after a new list.
        """
        service = self._service
        leases = service.store.leases
        if not service.rules.refreshes:
            return Round()
        if not leases.acquire(LEASE, self._holder, LEASE_SECONDS):
            return Round(elsewhere=True)
        try:
            kept = service.store.items.summaries()
            keys = self._ripe(kept, at)
            found = service.upstream.each(keys, after=at - timedelta(microseconds=1))
            failed = self._noted(found, at)
            root_crl = service.upstream.root_crl()
            changed = root_crl != self._proven_under
            done = Round(
                renewed=tuple(key for key in keys if key not in failed),
                failed=failed,
                dropped=self.prove_again(at) if changed else (),
            )
            self._proven_under = root_crl
        finally:
            leases.release(LEASE, self._holder)
        self.last = done
        return done

    def prove_again(self, at: datetime) -> tuple[Key, ...]:
        """Forget all items that no longer prove, and say which: their signer was revoked."""
        service = self._service
        root_crl, anchor = service.upstream.root_crl(), service.upstream.anchor
        dropped = []
        for summary in service.store.items.summaries():
            item = service.store.items.get(summary.key)
            if item is None or not _lapses(item, at):
                continue
            try:
                trust.prove(item, at=at, anchor=anchor, root_crl=root_crl)
            except (CollateralError, FormatError):
                dropped.append(item.key)
        if dropped:
            service.store.items.delete(*dropped)
        return tuple(dropped)

    def _ripe(self, kept: tuple[ItemSummary, ...], at: datetime) -> tuple[Key, ...]:
        wanted = (
            *due(kept, at, self._seed, self._schedule),
            *companions(one.key for one in kept),
        )
        return tuple(key for key in wanted if self._may_try(key, at))

    def _may_try(self, key: Key, at: datetime) -> bool:
        failures, last = self._failures.get(key, (0, at))
        return not failures or at >= last + self._schedule.retry_after(failures)

    def _noted(self, found: Mapping[Key, Item | DcapError], at: datetime) -> dict[Key, NotServed]:
        """Which failed, and how often in a row."""
        failed: dict[Key, NotServed] = {}
        for key, outcome in found.items():
            if isinstance(outcome, DcapError):
                failed[key] = not_served(outcome)
                self._failures[key] = (self._failures.get(key, (0, at))[0] + 1, at)
            else:
                self._failures.pop(key, None)
        return failed

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Neither the store nor a bug, here or in who is told, ends the renewals.
            with suppress(Exception):
                self._report(self._tried())
            self._stopping.wait(self._schedule.pause.total_seconds())

    def _tried(self) -> Round:
        try:
            return self.once(self._service.clock())
        except DcapError as error:
            return Round(failed={RootCrlKey(): not_served(error)})
        except Exception:  # noqa: BLE001 - reported as what it is
            return Round(failed={RootCrlKey(): NotServed("internal")})


def _share(item: ItemSummary, seed: bytes) -> float:
    """A share from 0 to 1 that is the same each time one looks, and another after each fetch."""
    text = f"{item.key.text} {item.fetched_at.isoformat()}"
    digest = hashlib.sha256(seed + text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _lapses(item: Item, at: datetime) -> bool:
    """Whether an item is one that a signer's revocation takes away: in date, and with a chain."""
    return bool(item.issuer_chain) and (item.expires is None or at < item.expires)
