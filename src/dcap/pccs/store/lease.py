"""Leases: who of many threads, processes and replicas does something once. They end by themselves.

A lease says who may begin, not that the holder is still at it: whoever holds one must be done within
its time, or renew it. Time is the database's, so that replicas whose clocks differ agree.
"""

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

from dcap.pccs.store.database import Database, database_seconds
from dcap.pccs.store.rows import digest
from dcap.pccs.store.schema import LEASES

_MINE: Final = (LEASES.c.digest == bindparam("key_digest")) & (LEASES.c.holder == bindparam("by"))
_RELEASE: Final = delete(LEASES).where(_MINE)


class Leases:
    """The table of leases. Part of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        now: ColumnElement[float] = literal_column(database_seconds(database.dialect))
        until = now + bindparam("seconds")
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

    def holder(self, key: str) -> str | None:
        """Who has the lease of `key` now."""
        values = {"key_digest": digest(key)}
        return self._database.read(lambda connection: connection.scalar(self._holder, values))

    def prune(self) -> int:
        """Forget those that have ended; gives how many."""
        return self._database.write_quietly(
            lambda connection: connection.execute(self._ended).rowcount
        )
