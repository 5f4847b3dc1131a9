"""Leases: who of many threads, processes and replicas does something once. They end by themselves.

A lease says who may begin, not that the holder is still at it: whoever holds one must be done within
its time, or renew it (`LeaseKeeper`). Time is the database's, so that replicas of other clocks agree.

A reminder is a lease that never ends: something is to be done once, by whoever comes first, and nobody
who dies meanwhile takes it along.
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from dcap.errors import CollateralError, ConfigError
from dcap.pccs.store.database import Database, database_seconds
from dcap.pccs.store.rows import batches, digest
from dcap.pccs.store.schema import LEASES

_MINE: Final = (LEASES.c.digest == bindparam("key_digest")) & (LEASES.c.holder == bindparam("by"))
_RELEASE: Final = delete(LEASES).where(_MINE)
#: Seconds of the Unix epoch that no clock of a database ever says.
_NEVER: Final = 2.0**50
#: How often a keeper renews, as a share of a lease: one renewal may fail.
_SHARE: Final = 1 / 3
#: How long a keeper's thread stays where nothing is held.
_IDLE_SECONDS: Final = 30.0


class Leases:
    """The table of leases. Part of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        now: ColumnElement[float] = literal_column(database_seconds(database.dialect))
        until = self._until = now + bindparam("seconds")
        self._take = (
            update(LEASES)
            .where(LEASES.c.digest == bindparam("key_digest"))
            .where(or_(LEASES.c.expires <= now, LEASES.c.holder == bindparam("by")))
            .values(holder=bindparam("by"), expires=until)
        )
        self._make = insert(LEASES).values(
            digest=bindparam("key_digest"), holder=bindparam("by"), expires=until
        )
        self._holder = select(LEASES.c.holder).where(
            LEASES.c.digest == bindparam("key_digest"), LEASES.c.expires > now
        )
        self._ended = delete(LEASES).where(LEASES.c.expires <= now)

    def acquire(self, key: str, holder: str, seconds: float) -> bool:
        """Whether `holder` has the lease of `key` for the next `seconds`. The holder may renew it."""
        values = {"key_digest": digest(key), "by": holder, "seconds": float(seconds)}

        def act(connection: Connection) -> bool:
            if connection.execute(self._take, values).rowcount:
                return True
            if connection.scalar(self._holder, values) is not None:
                return False
            try:
                with connection.begin_nested():
                    connection.execute(self._make, values)
            except IntegrityError:
                return False
            return True

        return self._database.write_quietly(act)

    def release(self, key: str, holder: str) -> bool:
        """Give a lease back; false where `holder` had it no longer."""
        values = {"key_digest": digest(key), "by": holder}
        return self._database.write_quietly(
            lambda connection: connection.execute(_RELEASE, values).rowcount > 0
        )

    def renew(self, keys: Iterable[str], holder: str, seconds: float) -> int:
        """Let those of the leases that `holder` still has last for `seconds` more; gives how many."""
        digests = sorted(digest(key) for key in keys)
        mine = update(LEASES).where(LEASES.c.holder == bindparam("by")).values(expires=self._until)
        values = {"by": holder, "seconds": float(seconds)}

        def act(connection: Connection) -> int:
            return sum(
                connection.execute(mine.where(LEASES.c.digest.in_(some)), values).rowcount
                for some in batches(digests)
            )

        return self._database.write_quietly(act)

    def holder(self, key: str) -> str | None:
        """Who has the lease of `key` now."""
        values = {"key_digest": digest(key)}
        return self._database.read(lambda connection: connection.scalar(self._holder, values))

    def prune(self) -> int:
        """Forget those that have ended; gives how many."""
        return self._database.write_quietly(
            lambda connection: connection.execute(self._ended).rowcount
        )


def remind(connection: Connection, key: str, of: str) -> None:
    """Leave a reminder: `Leases.holder` gives `of`, until it is released. A later one replaces it."""
    forget(connection, key)
    connection.execute(insert(LEASES).values(digest=digest(key), holder=of, expires=_NEVER))


def reminded(connection: Connection, key: str) -> str | None:
    """What a reminder says."""
    return connection.scalar(select(LEASES.c.holder).where(LEASES.c.digest == digest(key)))


def forget(connection: Connection, key: str) -> None:
    """End a reminder, whatever it says."""
    connection.execute(delete(LEASES).where(LEASES.c.digest == digest(key)))


class LeaseKeeper:
    """Renews the leases that one process holds, in one thread, which sleeps where there are none.

    A renewal that fails is no matter: the next may not, and a lease that was lost lets another begin.
    None is renewed for longer than `longest`: what takes that long hangs.
    """

    def __init__(
        self,
        leases: Leases,
        seconds: float,
        *,
        longest: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._leases = leases
        self._longest = longest
        self._every = seconds * _SHARE
        self._monotonic = monotonic
        self._changed = threading.Condition()
        #: Key and holder -> when it was taken, and when it was last renewed.
        self._held: dict[tuple[str, str], tuple[float, float]] = {}
        self._running = False

    def take(self, key: str, holder: str) -> bool:
        """Take a lease, and keep it until it is given back; false where another has it."""
        if not self._leases.acquire(key, holder, self.seconds):
            return False
        now = self._monotonic()
        with self._changed:
            if not self._held:
                self._changed.notify()
            self._held[key, holder] = (now, now)
            if not self._running:
                self._start()
        return True

    def _start(self) -> None:
        """Where the machine has no thread to give, leases are as short as they are."""
        with suppress(RuntimeError):
            threading.Thread(target=self._run, daemon=True, name="dcap-pccs-leases").start()
            self._running = True

    def give_back(self, key: str, holder: str) -> bool:
        """End a lease; false where it had been lost, or the database does not say."""
        with self._changed:
            self._held.pop((key, holder), None)
        try:
            return self._leases.release(key, holder)
        except (CollateralError, ConfigError):  # then it ends by itself
            return False

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._held and not self._changed.wait(_IDLE_SECONDS):
                    self._running = False
                    return
                if not self._held:
                    continue
                now = self._monotonic()
                first = min(renewed for _, renewed in self._held.values())
                wait = first + self._every - now
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                due = [
                    held
                    for held, (_, renewed) in self._held.items()
                    if renewed + self._every / 2 <= now
                ]
                ends = {held for held in due if now - self._held[held][0] > self._longest}
                for held in due:
                    self._held[held] = (self._held[held][0], now)
                for held in ends:
                    del self._held[held]
            self._renew([held for held in due if held not in ends])

    def _renew(self, due: list[tuple[str, str]]) -> None:
        for holder in {holder for _, holder in due}:
            keys = [key for key, of in due if of == holder]
            try:
                self._leases.renew(keys, holder, self.seconds)
            except (CollateralError, ConfigError):
                continue
