"""The queue as rows: machines that wait, without what they would be looked up by.

A row is named by a handle of the session that sees it (`sessions.Session.handle`): identifiers stand in
no form. Read without emptying it; the manifests, which are large, are not read at all.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, select

from dcap.pccs.assembly import Parts
from dcap.pccs.console import wording
from dcap.pccs.console.sessions import Session
from dcap.pccs.items import Registration, State
from dcap.pccs.store.schema import REGISTRATIONS

#: Rows of each state that a page shows.
MOST: Final = 200
_QUEUED: Final[tuple[State, ...]] = ("NEW", "NOT_AVAILABLE")
_ROWS: Final = select(
    REGISTRATIONS.c.qe_id,
    REGISTRATIONS.c.pce_id,
    REGISTRATIONS.c.cpu_svn,
    REGISTRATIONS.c.pce_svn,
    REGISTRATIONS.c.manifest.is_not(None).label("has_manifest"),
    REGISTRATIONS.c.state,
    REGISTRATIONS.c.created,
).order_by(REGISTRATIONS.c.created, REGISTRATIONS.c.digest)


class WaitingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One machine; `handle` is empty for who may not act."""

    qe_id: str
    pce_id: str
    registered_by: str
    created: datetime
    waits: str
    handle: str


def waiting_rows(parts: Parts, state: State, session: Session | None) -> tuple[WaitingRow, ...]:
    """The machines of a state, oldest first. Raises the store's errors."""
    at = parts.service.clock()
    chosen = _ROWS.where(REGISTRATIONS.c.state == state).limit(MOST)
    rows = parts.store.database.read(lambda connection: connection.execute(chosen).all())
    return tuple(_row(row, at, session) for row in rows)


def take_out(parts: Parts, session: Session, handle: str) -> bool:
    """Take a machine out of the queue; false where it is no longer in it. Raises the store's errors."""

    def find(connection: Connection) -> Registration | None:
        return next((one for one in _queued(connection) if _handle(session, one) == handle), None)

    found = parts.store.database.read(find)
    return found is not None and parts.store.registrations.delete(found)


def _queued(connection: Connection) -> Iterator[Registration]:
    """Those that stand in the queue, by what identifies them."""
    for state in _QUEUED:
        for row in connection.execute(_ROWS.where(REGISTRATIONS.c.state == state)):
            yield _registration(row)


def _registration(row: Row[Any]) -> Registration:
    return Registration(
        qe_id=row.qe_id,
        pce_id=row.pce_id,
        cpu_svn=row.cpu_svn,
        pce_svn=row.pce_svn,
        state=row.state,
        created=row.created,
    )


def _handle(session: Session, one: Registration) -> str:
    return session.handle(one.qe_id, one.pce_id, one.cpu_svn, one.pce_svn)


def _row(row: Row[Any], at: datetime, session: Session | None) -> WaitingRow:
    return WaitingRow(
        qe_id=wording.masked(row.qe_id),
        pce_id=wording.shortened(row.pce_id),
        registered_by="manifest" if row.has_manifest else "encrypted PPID",
        created=row.created,
        waits=wording.until(row.created, at),
        handle="" if session is None else _handle(session, _registration(row)),
    )
