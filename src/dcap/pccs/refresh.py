"""Renewal in the background: each item by itself, before it is due, by one of all replicas.

    refresher = Refresher(service, seed=secrets.token_bytes(16))
    refresher.start(); …; refresher.stop()

An item is renewed a day after it was fetched, and ahead of its expiry in any case, spread out by a
jitter of its own so that not all come at once. One that fails (a retired FMSPC) is tried again later,
ever more rarely, and hurts no other. What belongs beside it is fetched too: early beside standard, and
what any machine that is kept is verified with. At the start, and after a new list of the root, whatever
is kept is proven once more, for its signer may stand on it; after one of a PCK CA, the certificates that
it revokes are dropped.

Nothing is forgotten because of a date alone: clocks are wrong at times, and are set right again.

Not here: what belongs together (`renewal`); fetching, proofs (`upstream`); PCK certificates
(`machines`), renewed by request alone.

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
from dcap.pccs.age import is_early
from dcap.pccs.causes import NotServed, not_served
from dcap.pccs.items import ItemSummary, Key, RootCrlKey
from dcap.pccs.renewal import (
    Renewed,
    companions,
    crowded_out,
    is_renewable,
    renew,
    superseded,
)
from dcap.pccs.service import PccsService
from dcap.pccs.store.lease import LeaseKeeper

#: The lease by which one replica does a round; how long the others wait for one that died in it.
LEASE: Final = "refresh"
LEASE_SECONDS: Final = 30.0
#: No round takes that long: it hangs, and another replica goes on.
LONGEST_SECONDS: Final = 3600.0
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


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What a round did. `elsewhere` says that another replica does it.

    `dropped` no longer proved; `forgotten` is no longer asked for. `early` was issued in the future, and
    is not served until the clock is right: told when it begins, and not in each round.
    """

    renewed: tuple[Key, ...] = ()
    failed: Mapping[Key, NotServed] = {}
    dropped: tuple[Key, ...] = ()
    forgotten: tuple[Key, ...] = ()
    early: tuple[Key, ...] = ()
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
        #: Whether all that is kept was issued in the future: then nothing is served.
        self.all_early = False
        self._service = service
        self._schedule = schedule
        self._seed = seed
        self._report = report
        self._holder = secrets.token_hex(16)
        self._keeper = LeaseKeeper(service.store.leases, LEASE_SECONDS, longest=LONGEST_SECONDS)
        self._failures: dict[Key, tuple[int, datetime]] = {}
        #: Whether all that is kept was proven since the start, and under which list of the root.
        self._has_proven = False
        self._proven_under: bytes | None = None
        self._was_early = False
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

        1. One replica. 2. What is due is renewed, each by itself. 3. Prove again after a new list.
        4. Drop what was revoked. 5. Forget what is superseded. 3 to 5 in every mode: lists may be
        carried in.
        """
        service = self._service
        early = self._early(at)
        if not service.rules.refreshes and not self._has_chores(at):
            return Round(early=early)
        if not self._keeper.take(LEASE, self._holder):
            return Round(early=early, elsewhere=True)
        try:
            came = self._renew(at) if service.rules.refreshes else Renewed()
            root_crl = service.upstream.root_crl()
            dropped: tuple[Key, ...] = ()
            if not self._has_proven or root_crl != self._proven_under:
                dropped = self.prove_again(at)
                root_crl = service.upstream.root_crl()
            self._has_proven, self._proven_under = True, root_crl
            service.machines.withdrawal.drop_revoked()
            done = Round(
                renewed=came.renewed,
                failed=came.failed,
                dropped=dropped,
                forgotten=self._forget(at),
                early=early,
            )
        finally:
            self._keeper.give_back(LEASE, self._holder)
        if service.rules.refreshes:
            self.last = done
        return done

    def prove_again(self, at: datetime) -> tuple[Key, ...]:
        """Forget all items that no longer prove, and say which: their signer was revoked.

        So are the certificates of machines whose CA was. What is merely of the future stays: the clock
        is wrong. (A service of another root does not start: `trust_root`.) What proves is kept as it was
        proven, should a file of the database have been put in place by hand.
        """
        items, anchor = self._service.store.items, self._service.upstream.anchor
        root_crl = self._proven_root_crl(at)
        dropped: list[Key] = []
        for summary in items.summaries():
            item = items.get(summary.key)
            if item is None or isinstance(item.key, RootCrlKey):
                continue
            try:
                proven = trust.prove(item, at=at, anchor=anchor, root_crl=root_crl)
            except trust.Early:
                continue
            except (CollateralError, FormatError) as error:
                # Only of what was genuine is the number believed: nothing older takes its place.
                if isinstance(error, trust.Forged) and error.is_revocation:
                    items.drop(item)
                else:
                    items.delete(item.key)
                dropped.append(item.key)
            else:
                if proven != item:
                    items.correct(item, proven)
        self._service.machines.withdrawal.drop_orphans()
        return tuple(dropped)

    def _proven_root_crl(self, at: datetime) -> bytes | None:
        """The root's list that is kept; one that does not prove is forgotten."""
        items, anchor = self._service.store.items, self._service.upstream.anchor
        kept = items.get(RootCrlKey())
        if kept is None:
            return None
        try:
            proven = trust.prove(kept, at=at, anchor=anchor)
        except trust.Early:
            return kept.body
        except (CollateralError, FormatError):
            items.delete(kept.key)
            return None
        if proven != kept:
            items.correct(kept, proven)
        return proven.body

    def _has_chores(self, at: datetime) -> bool:
        """Whether there is anything to do where nothing is renewed: lists may be carried in."""
        service = self._service
        return (
            not self._has_proven
            or service.machines.withdrawal.has_reminders()
            or service.upstream.root_crl() != self._proven_under
            or bool(superseded(service.store.items.summaries(), at))
        )

    def _renew(self, at: datetime) -> Renewed:
        kept = self._service.store.items.summaries()
        came = renew(
            self._service.upstream,
            self._ripe(kept, at),
            {one.key for one in kept},
            after=at - timedelta(microseconds=1),
        )
        for key in came.renewed:
            self._failures.pop(key, None)
        for key in (*came.failed, *came.absent):
            self._failures[key] = (self._failures.get(key, (0, at))[0] + 1, at)
        return came

    def _forget(self, at: datetime) -> tuple[Key, ...]:
        """Forget what nobody needs any more."""
        items = self._service.store.items
        kept = items.summaries()
        keys = superseded(kept, at)
        if self._service.rules.refreshes:
            keys += crowded_out(kept)
        if keys:
            items.delete(*keys)
        return keys

    def _early(self, at: datetime) -> tuple[Key, ...]:
        """What is of the future, where it was not so in the round before."""
        dated = [one for one in self._service.store.items.summaries() if one.issued is not None]
        early = [one.key for one in dated if is_early(one, at)]
        self.all_early = bool(early) and len(early) == len(dated)
        told, self._was_early = self._was_early, bool(early)
        return () if told else tuple(early)

    def _ripe(self, kept: tuple[ItemSummary, ...], at: datetime) -> tuple[Key, ...]:
        wanted = (
            *due(kept, at, self._seed, self._schedule),
            *companions((one.key for one in kept), self._service.store.platforms.count_by_fmspc()),
        )
        return tuple(key for key in wanted if self._may_try(key, at))

    def _may_try(self, key: Key, at: datetime) -> bool:
        failures, last = self._failures.get(key, (0, at))
        return not failures or at >= last + self._schedule.retry_after(failures)

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Neither the store nor a bug, here or in who is told, ends the renewals.
            with suppress(Exception):
                self._report(self._tried())
            with suppress(Exception):
                self._service.tidy(self._service.clock())
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
