"""The queue of machines that wait for certificates.

A machine stands in it once for each raw TCB it came with (or once by its manifest). Whoever names the
same ids with another encrypted PPID or manifest overwrites nothing: both stand there, up to `BESIDE` of
them, for a PPID is encrypted anew each time and does not tell whether it is the same machine. What
Intel has no certificate for stands apart from what is new, once.

Nothing is lost by reading; `take` alone hands out and crosses off, in one transaction.
"""

import builtins
import hashlib
from collections.abc import Container, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, or_, select, update

from dcap.pccs.items import RawReport, Registration, State
from dcap.pccs.store.database import Database
from dcap.pccs.store.rows import batches, digest
from dcap.pccs.store.schema import REGISTRATIONS

#: Machines of one name and raw TCB that wait beside each other; of more the last is replaced.
BESIDE: Final = 4
#: So many are new at most, and so many wait for Intel.
MOST: Final = 100_000
#: So many bytes are handed out at once (twice that in hex): the rest stays for who asks next.
MOST_BYTES: Final = 16 * 1024 * 1024
#: What a row has beside its PPID and manifest.
_ROW_BYTES: Final = 160
#: What came of `enter`: it waits; beside others of the same name; nothing more is taken.
Entered: TypeAlias = Literal["waiting", "beside", "full"]

_ORDER: Final = (REGISTRATIONS.c.created, REGISTRATIONS.c.digest)
_ORDERED: Final = select(REGISTRATIONS).order_by(*_ORDER)
_SIZE: Final = func.coalesce(func.length(REGISTRATIONS.c.encrypted_ppid), 0) + func.coalesce(
    func.length(REGISTRATIONS.c.manifest), 0
)
_IN_LINE: Final = (
    select(REGISTRATIONS.c.digest, _SIZE)
    .where(REGISTRATIONS.c.state == bindparam("state"))
    .where(or_(REGISTRATIONS.c.handed_out.is_(None), REGISTRATIONS.c.state == "DELETED"))
    .order_by(*_ORDER)
)
_THIS_MACHINE: Final = (REGISTRATIONS.c.qe_id == bindparam("qe")) & (
    REGISTRATIONS.c.pce_id == bindparam("pce")
)
_OF_MACHINE: Final = _ORDERED.where(_THIS_MACHINE, REGISTRATIONS.c.state == bindparam("state"))
_COUNT: Final = select(func.count()).where(REGISTRATIONS.c.state == bindparam("state"))


class Registrations:
    """The table of the queue. Part of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: How many may wait; where as many do, no more are taken.
        self.most = MOST

    def add(self, *registrations: Registration) -> None:
        """Put machines into the queue, each in place of one that came with the same.

        Those for whom Intel has no certificate are left out where `most` of them wait already.
        """

        def act(connection: Connection) -> None:
            is_full = _number(connection, "NOT_AVAILABLE") >= self.most
            put_registrations(
                connection,
                [one for one in registrations if one.state != "NOT_AVAILABLE" or not is_full],
            )

        self._database.write(act, "registrations")

    def enter(self, new: Registration) -> Entered:
        """Put one that is `NEW` into the queue, and say how it stands there."""

        def act(connection: Connection) -> Entered:
            others = [
                one
                for one in _of_machine(connection, new.qe_id, new.pce_id, "NEW")
                if (one.cpu_svn, one.pce_svn) == (new.cpu_svn, new.pce_svn)
            ]
            differing = [one for one in others if _key(one) != _key(new)]
            if len(others) == len(differing) and _number(connection, "NEW") >= self.most:
                return "full"
            replaced = [_key(one) for one in differing[BESIDE - 1 :]]
            connection.execute(delete(REGISTRATIONS).where(REGISTRATIONS.c.digest.in_(replaced)))
            put_registrations(connection, [new])
            return "beside" if differing else "waiting"

        return self._database.write(act, "registrations")

    def list(
        self, state: State = "NEW", *, most_bytes: int = MOST_BYTES
    ) -> tuple[Registration, ...]:
        """The machines of a state, oldest first, but what waits for Intel and was handed out.

        Changes nothing.
        """
        return self._database.read(lambda connection: _in_line(connection, state, most_bytes))

    def of_machine(self, qe_id: str, pce_id: str, state: State) -> tuple[Registration, ...]:
        """Those of one machine that are of a state, handed out or not, oldest first."""
        return self._database.read(
            lambda connection: tuple(_of_machine(connection, qe_id, pce_id, state))
        )

    def take(
        self, state: State = "NEW", *, at: datetime, most_bytes: int = MOST_BYTES
    ) -> tuple[Registration, ...]:
        """The machines of a state, oldest first, each handed to one caller.

        What is new is then DELETED; what Intel has no certificate for stays so, and is not handed out
        again. What is more than `most_bytes` stays in the queue.
        """

        def act(connection: Connection) -> tuple[Registration, ...]:
            taken = _in_line(connection, state, most_bytes)
            after = "DELETED" if state == "NEW" else state
            for some in batches(map(_key, taken)):
                connection.execute(
                    update(REGISTRATIONS)
                    .where(REGISTRATIONS.c.digest.in_(some))
                    .values(state=after, handed_out=at)
                )
            return taken

        return self._database.write(act, "registrations")

    def cross_off(
        self, qe_id: str, pce_id: str, raw_tcbs: Container[RawReport], manifest: bytes | None
    ) -> int:
        """A machine has its certificates: what waited for these is DELETED; gives how many."""
        if not self.of_machine(qe_id, pce_id, "NEW"):
            return 0
        return self._database.write(
            lambda connection: cross_off(connection, qe_id, pce_id, raw_tcbs, manifest),
            "registrations",
        )

    def delete(self, *registrations: Registration) -> bool:
        """Take some out altogether, where they are in the state they had; false where none is.

        Those that stand beside each other go together.
        """

        def act(connection: Connection) -> bool:
            found = [
                connection.execute(
                    delete(REGISTRATIONS).where(
                        REGISTRATIONS.c.qe_id == one.qe_id,
                        REGISTRATIONS.c.pce_id == one.pce_id,
                        REGISTRATIONS.c.cpu_svn == one.cpu_svn,
                        REGISTRATIONS.c.pce_svn == one.pce_svn,
                        REGISTRATIONS.c.state == one.state,
                    )
                ).rowcount
                for one in registrations
            ]
            return any(found)

        return self._database.write(act, "registrations")

    def forget(self, qe_id: str, pce_id: str) -> int:
        """Take all of a machine out, in whatever state; gives how many."""
        values = {"qe": qe_id, "pce": pce_id}
        statement = delete(REGISTRATIONS).where(_THIS_MACHINE)
        return self._database.write(
            lambda connection: connection.execute(statement, values).rowcount, "registrations"
        )

    def prune(self, before: datetime) -> int:
        """Forget what was done with, or came, before an instant; gives how many."""
        done = func.coalesce(REGISTRATIONS.c.handed_out, REGISTRATIONS.c.created)
        statement = delete(REGISTRATIONS).where(REGISTRATIONS.c.state == "DELETED", done < before)
        return self._database.write(
            lambda connection: connection.execute(statement).rowcount, "registrations"
        )


def put_registrations(connection: Connection, registrations: Iterable[Registration]) -> None:
    """Write them, one row each, in place of those that came with the same."""
    rows = {
        _key(one): {"digest": _key(one), **msgspec.structs.asdict(one)} for one in registrations
    }
    for some in batches(rows.values()):
        digests = [row["digest"] for row in some]
        connection.execute(delete(REGISTRATIONS).where(REGISTRATIONS.c.digest.in_(digests)))
        connection.execute(insert(REGISTRATIONS), list(some))


def cross_off(
    connection: Connection,
    qe_id: str,
    pce_id: str,
    raw_tcbs: Container[RawReport],
    manifest: bytes | None,
) -> int:
    """`Registrations.cross_off`, in a write under way."""
    done = [
        _key(one)
        for one in _of_machine(connection, qe_id, pce_id, "NEW")
        if (one.cpu_svn, one.pce_svn) in raw_tcbs
        or (not one.cpu_svn and one.manifest is not None and one.manifest == manifest)
    ]
    if done:
        connection.execute(
            update(REGISTRATIONS).where(REGISTRATIONS.c.digest.in_(done)).values(state="DELETED")
        )
    return len(done)


def machines_waiting(connection: Connection) -> set[tuple[str, str]]:
    """QE id and PCE id of all that are `NEW`."""
    names = select(REGISTRATIONS.c.qe_id, REGISTRATIONS.c.pce_id)
    rows = connection.execute(names.where(REGISTRATIONS.c.state == "NEW"))
    return {(row.qe_id, row.pce_id) for row in rows}


def every_registration(connection: Connection) -> Iterator[Registration]:
    """The whole queue, as a snapshot's connection sees it, a few at a time in memory."""
    for row in connection.execution_options(yield_per=100).execute(_ORDERED):
        yield _registration(row)


def registrations_by_state(connection: Connection) -> dict[str, int]:
    """How many there are of each state."""
    counted = select(REGISTRATIONS.c.state, func.count()).group_by(REGISTRATIONS.c.state)
    return {row[0]: row[1] for row in connection.execute(counted)}


def _number(connection: Connection, state: State) -> int:
    return connection.scalar(_COUNT, {"state": state}) or 0


def _of_machine(
    connection: Connection, qe_id: str, pce_id: str, state: State
) -> builtins.list[Registration]:
    values = {"qe": qe_id, "pce": pce_id, "state": state}
    return [_registration(row) for row in connection.execute(_OF_MACHINE, values)]


def _in_line(connection: Connection, state: State, most_bytes: int) -> tuple[Registration, ...]:
    """The first of the queue that have so many bytes together, and one at least."""
    size = 0
    chosen: builtins.list[bytes] = []
    for key, own in connection.execute(_IN_LINE, {"state": state}).all():
        size += own + _ROW_BYTES
        if chosen and size > most_bytes:
            break
        chosen.append(key)
    found: dict[bytes, Registration] = {}
    for some in batches(chosen):
        for row in connection.execute(_ORDERED.where(REGISTRATIONS.c.digest.in_(some))):
            found[bytes(row.digest)] = _registration(row)
    return tuple(found[bytes(key)] for key in chosen)


def _key(one: Registration) -> bytes:
    """The key of a row; rows of the first version got it in their migration."""
    names = (one.qe_id, one.pce_id, one.cpu_svn, one.pce_svn)
    if one.state == "NOT_AVAILABLE":
        return digest(*names, one.state)
    came_with = (one.encrypted_ppid, one.manifest)
    return digest(*names, *(hashlib.sha256(part or b"").hexdigest() for part in came_with))


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
        handed_out=row.handed_out,
    )
