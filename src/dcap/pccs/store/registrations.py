"""The queue of machines that wait for certificates.

A machine stands in it once for each raw TCB it came with (or once by its manifest). Nothing is lost by
reading; `take` alone hands out and crosses off, in one transaction.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from dcap.pccs.items import Registration, State
from dcap.pccs.store.database import Database
from dcap.pccs.store.rows import digest
from dcap.pccs.store.schema import REGISTRATIONS

_ORDERED: Final = select(REGISTRATIONS).order_by(REGISTRATIONS.c.created, REGISTRATIONS.c.digest)
_OF_STATE: Final = _ORDERED.where(REGISTRATIONS.c.state == bindparam("state"))


class Registrations:
    """The table of the queue. Part of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, *registrations: Registration) -> None:
        """Put machines into the queue; one that is there, in any state, is replaced."""
        self._database.write(
            lambda connection: put_registrations(connection, registrations), "registrations"
        )

    def list(self, state: State = "NEW") -> tuple[Registration, ...]:
        """The machines of a state, oldest first. Changes nothing."""
        return self._database.read(lambda connection: _of_state(connection, state))

    def take(self, state: State = "NEW") -> tuple[Registration, ...]:
        """The machines of a state, oldest first, each handed to one caller: then they are DELETED."""

        def act(connection: Connection) -> tuple[Registration, ...]:
            taken = _of_state(connection, state)
            connection.execute(
                update(REGISTRATIONS).where(REGISTRATIONS.c.state == state).values(state="DELETED")
            )
            return taken

        return self._database.write(act, "registrations")

    def set_state(self, registration: Registration, state: State) -> bool:
        """Change the state of one; false where it is no longer in the queue."""
        statement = (
            update(REGISTRATIONS)
            .where(REGISTRATIONS.c.digest == _key(registration))
            .values(state=state)
        )
        return self._database.write(
            lambda connection: connection.execute(statement).rowcount > 0, "registrations"
        )

    def delete(self, registration: Registration) -> bool:
        """Take one out altogether; false where it was not there."""
        statement = delete(REGISTRATIONS).where(REGISTRATIONS.c.digest == _key(registration))
        return self._database.write(
            lambda connection: connection.execute(statement).rowcount > 0, "registrations"
        )

    def prune(self, before: datetime) -> int:
        """Forget those that were handed out and are older than an instant; gives how many."""
        statement = delete(REGISTRATIONS).where(
            REGISTRATIONS.c.state == "DELETED", REGISTRATIONS.c.created < before
        )
        return self._database.write(
            lambda connection: connection.execute(statement).rowcount, "registrations"
        )


def put_registrations(connection: Connection, registrations: Sequence[Registration]) -> None:
    """Write them, one row each."""
    rows = {
        _key(one): {
            "digest": _key(one),
            "qe_id": one.qe_id,
            "pce_id": one.pce_id,
            "cpu_svn": one.cpu_svn,
            "pce_svn": one.pce_svn,
            "encrypted_ppid": one.encrypted_ppid,
            "manifest": one.manifest,
            "state": one.state,
            "created": one.created,
        }
        for one in registrations
    }
    if rows:
        connection.execute(delete(REGISTRATIONS).where(REGISTRATIONS.c.digest.in_(rows)))
        connection.execute(insert(REGISTRATIONS), list(rows.values()))


def every_registration(connection: Connection) -> Iterator[Registration]:
    """The whole queue, as a snapshot's connection sees it, a few at a time in memory."""
    for row in connection.execution_options(yield_per=100).execute(_ORDERED):
        yield _registration(row)


def registrations_by_state(connection: Connection) -> dict[str, int]:
    """How many there are of each state."""
    counted = select(REGISTRATIONS.c.state, func.count()).group_by(REGISTRATIONS.c.state)
    return {row[0]: row[1] for row in connection.execute(counted)}


def _of_state(connection: Connection, state: State) -> tuple[Registration, ...]:
    return tuple(_registration(row) for row in connection.execute(_OF_STATE, {"state": state}))


def _key(registration: Registration) -> bytes:
    return digest(
        registration.qe_id, registration.pce_id, registration.cpu_svn, registration.pce_svn
    )


def _registration(row: Row[Any]) -> Registration:
    return Registration(
        qe_id=row.qe_id,
        pce_id=row.pce_id,
        cpu_svn=row.cpu_svn,
        pce_svn=row.pce_svn,
        encrypted_ppid=row.encrypted_ppid,
        manifest=row.manifest,
        state=row.state,
        created=row.created,
    )
