"""The machines: one row each, their certificates, and which of them their raw TCBs reach.

A machine's three tables are replaced as one (`store.holdings`). A raw TCB is remembered for the
revision it was selected in, so that a selection among certificates that were replaced meanwhile is
dropped, and made again at the next request.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from dcap.pccs.items import Ca, Holding, PckAnswer, Platform, RawTcb
from dcap.pccs.store.database import Database
from dcap.pccs.store.holdings import (
    PAGE,
    forget,
    pack_holdings,
    platform_of,
    put_packed,
    raw_row,
    with_parts,
)
from dcap.pccs.store.lookup import Lookup
from dcap.pccs.store.packing import unpack_one
from dcap.pccs.store.rows import BATCH, batches
from dcap.pccs.store.schema import CHAINS, PCK_CERTIFICATES, PLATFORMS, RAW_TCBS

#: Of one machine, so many raw TCBs are remembered: anybody may ask with invented ones.
MAX_RAW_TCBS: Final = 32
_THIS_MACHINE: Final = and_(
    PLATFORMS.c.qe_id == bindparam("qe"), PLATFORMS.c.pce_id == bindparam("pce")
)
#: What a request for a PCK certificate costs: one statement, four look-ups by a key.
_ANSWER: Final = (
    select(
        PLATFORMS.c.fmspc,
        PLATFORMS.c.ca,
        PLATFORMS.c.last_seen,
        PLATFORMS.c.expires,
        RAW_TCBS.c.tcbm,
        PCK_CERTIFICATES.c.packed,
        CHAINS.c.pem.label("chain"),
    )
    .join(CHAINS, CHAINS.c.digest == PLATFORMS.c.chain)
    .join(
        RAW_TCBS,
        and_(
            RAW_TCBS.c.platform_id == PLATFORMS.c.id,
            RAW_TCBS.c.cpu_svn == bindparam("cpu"),
            RAW_TCBS.c.pce_svn == bindparam("isv"),
        ),
        isouter=True,
    )
    .join(
        PCK_CERTIFICATES,
        PCK_CERTIFICATES.c.platform_id == RAW_TCBS.c.platform_id,
        isouter=True,
    )
    .where(_THIS_MACHINE)
)
_PLATFORM: Final = select(PLATFORMS).where(_THIS_MACHINE)
_SEEN_BEFORE: Final = update(PLATFORMS).where(
    or_(PLATFORMS.c.last_seen.is_(None), PLATFORMS.c.last_seen < bindparam("hour"))
)


class _Found(NamedTuple):
    """The columns of `_ANSWER`; of a raw TCB that is not known the middle ones are missing."""

    fmspc: bytes
    ca: Ca
    last_seen: datetime | None
    expires: datetime | None
    tcbm: str | None
    packed: bytes | None
    chain: bytes


class Platforms:
    """The tables of machines. Part of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._answer = Lookup(database, _ANSWER, _Found)

    def answer(self, qe_id: str, pce_id: str, cpu_svn: str, pce_svn: str) -> PckAnswer | None:
        """What is known for a machine and its raw TCB; `None` where the machine is unknown."""
        row = self._answer(qe=qe_id, pce=pce_id, cpu=cpu_svn, isv=pce_svn)
        if row is None:
            return None
        found = None
        if row.packed is not None and row.tcbm is not None:
            found = unpack_one(row.packed, row.tcbm)
        return PckAnswer(
            certificate=None if found is None else found.pem,
            tcbm=None if found is None else found.tcbm,
            fmspc=bytes(row.fmspc),
            ca=row.ca,
            issuer_chain=bytes(row.chain),
            last_seen=row.last_seen,
            expires=row.expires,
        )

    def get(self, qe_id: str, pce_id: str) -> Platform | None:
        """A machine, without its certificates."""
        row = self._database.read(lambda connection: _row(connection, qe_id, pce_id))
        return None if row is None else platform_of(row)

    def holding(self, qe_id: str, pce_id: str) -> Holding | None:
        """All that is kept of a machine, its certificates in the order they were given in."""
        with self._database.snapshot() as connection:
            values = {"after": 0, "qe": qe_id, "pce": pce_id}
            rows = connection.execute(PAGE.where(_THIS_MACHINE), values).all()
            found = with_parts(connection, rows, with_certificates=True)
        return found[0] if found else None

    def put(self, *holdings: Holding) -> None:
        """Keep machines with all their certificates and raw TCBs in place of what was kept of them.

        All or none. Of two holdings of one machine the later counts, and of two certificates of one
        `tcbm`.
        """
        packed = pack_holdings(holdings)
        self._database.write(lambda connection: put_packed(connection, packed), "platforms")

    def amend(self, holding: Holding) -> bool:
        """`put`, where the certificates were not replaced since they were read; else false."""
        return self._put_if(holding, holding.revision)

    def replace(self, holding: Holding, kept: Holding | None) -> bool:
        """`put`, where what is kept of the machine is still what was judged (`None`: nothing)."""
        return self._put_if(holding, None if kept is None else kept.revision)

    def _put_if(self, holding: Holding, revision: int | None) -> bool:
        """`put`, where what is kept is of this revision (`None`: where nothing is kept)."""
        packed = pack_holdings([holding])
        (machine,) = packed

        def act(connection: Connection) -> bool:
            row = _row(connection, *machine)
            if (None if row is None else row.revision) != revision:
                return False
            put_packed(connection, packed)
            return True

        return self._database.write(act, "platforms")

    def put_many(self, holdings: Iterable[Holding], *, batch: int = BATCH) -> int:
        """`put`, for any number: each batch is all or none. Gives how many were kept."""
        kept = 0
        for some in batches(holdings, batch):
            self.put(*some)
            kept += len(some)
        return kept

    def remember(self, qe_id: str, pce_id: str, raw_tcb: RawTcb, *, revision: int) -> bool:
        """Remember what was selected for a raw TCB among the certificates of a revision.

        False where these were replaced since: nothing is changed, and the selection is to be made again.
        Where `MAX_RAW_TCBS` are known already, it holds, and is not remembered.
        """

        def act(connection: Connection) -> bool:
            row = _row(connection, qe_id, pce_id)
            if row is None or row.revision != revision:
                return False
            connection.execute(
                delete(RAW_TCBS).where(
                    RAW_TCBS.c.platform_id == row.id,
                    RAW_TCBS.c.cpu_svn == raw_tcb.cpu_svn,
                    RAW_TCBS.c.pce_svn == raw_tcb.pce_svn,
                )
            )
            known = select(func.count()).where(RAW_TCBS.c.platform_id == row.id)
            if (connection.scalar(known) or 0) >= MAX_RAW_TCBS:
                return True
            connection.execute(insert(RAW_TCBS), [raw_row(row.id, raw_tcb)])
            return True

        return self._database.write(act)

    def set_registered(self, qe_id: str, pce_id: str) -> bool:
        """Keep that who may register machines knows this one; false where it is unknown."""
        return self._set(qe_id, pce_id, is_registered=True)

    def set_manifest(self, qe_id: str, pce_id: str, manifest: bytes) -> bool:
        """Keep the manifest that a known machine came with; false where it is unknown."""
        return self._set(qe_id, pce_id, manifest=manifest)

    def _set(self, qe_id: str, pce_id: str, **values: object) -> bool:
        statement = (
            update(PLATFORMS)
            .where(PLATFORMS.c.qe_id == qe_id, PLATFORMS.c.pce_id == pce_id)
            .values(**values)
        )
        return self._database.write(lambda connection: connection.execute(statement).rowcount > 0)

    def saw(self, machines: Iterable[tuple[str, str]], hour: datetime) -> None:
        """Keep that these machines (QE id, PCE id) asked; whoever is kept as seen since stays so.

        No answer is made of it: the counters of `Changes` stay, but for `number`.
        """
        by_pce: dict[str, list[str]] = {}
        for qe_id, pce_id in machines:
            by_pce.setdefault(pce_id, []).append(qe_id)

        def act(connection: Connection) -> None:
            # There is one PCE id, as good as always: all of them are one statement.
            for pce_id, qe_ids in by_pce.items():
                theirs = _SEEN_BEFORE.where(PLATFORMS.c.pce_id == pce_id)
                for some in batches(qe_ids):
                    statement = theirs.where(PLATFORMS.c.qe_id.in_(some)).values(last_seen=hour)
                    connection.execute(statement, {"hour": hour})

        if by_pce:
            self._database.write(act)

    def delete(self, qe_id: str, pce_id: str) -> bool:
        """Forget a machine; false where it was unknown."""

        def act(connection: Connection) -> bool:
            row = _row(connection, qe_id, pce_id)
            if row is not None:
                forget(connection, [row.id])
            return row is not None

        return self._database.write(act, "platforms")

    def prune(self, before: datetime) -> int:
        """Forget those that were looked up and never registered, and last asked before an instant.

        Of whom it is not known who named it, or when it asked, it stays. Gives how many.
        """
        unasked = select(PLATFORMS.c.id).where(
            PLATFORMS.c.last_seen < before, PLATFORMS.c.is_registered.is_(False)
        )

        def act(connection: Connection) -> int:
            ids = connection.scalars(unasked).all()
            forget(connection, ids)
            return len(ids)

        if not self._database.read(lambda connection: connection.scalars(unasked.limit(1)).all()):
            return 0
        return self._database.write(act, "platforms")

    def each(self, fmspcs: Sequence[bytes] | None = None) -> Iterator[Holding]:
        """Every machine (of these FMSPCs), with its raw TCBs and without its certificates.

        Read in pages: machines that come or go meanwhile may be missed, and nobody is held up.
        """
        yield from self._pages(_of_fmspcs(fmspcs), with_certificates=False)

    def holdings(self, fmspcs: Sequence[bytes] | None = None) -> Iterator[Holding]:
        """`each`, with the certificates."""
        yield from self._pages(_of_fmspcs(fmspcs), with_certificates=True)

    def of_ca(self, ca: Ca) -> Iterator[Holding]:
        """`holdings`, of one CA."""
        yield from self._pages(PAGE.where(PLATFORMS.c.ca == ca), with_certificates=True)

    def of_chain(self, issuer_chain: bytes) -> Iterator[Holding]:
        """`holdings`, of those that have an issuer chain."""
        yield from self._pages(PAGE.where(CHAINS.c.pem == issuer_chain), with_certificates=True)

    def chains(self) -> tuple[bytes, ...]:
        """Every issuer chain that is kept: of machines, and of items."""
        rows = self._database.read(
            lambda connection: connection.scalars(select(CHAINS.c.pem)).all()
        )
        return tuple(map(bytes, rows))

    def count_by_fmspc(self) -> dict[bytes, int]:
        """How many machines there are of each FMSPC."""
        counted = select(PLATFORMS.c.fmspc, func.count()).group_by(PLATFORMS.c.fmspc)
        rows = self._database.read(lambda connection: connection.execute(counted).all())
        return {bytes(fmspc): number for fmspc, number in rows}

    def count_seen(self, since: datetime) -> int:
        """How many machines asked for their certificate since then, to the hour."""
        counted = select(func.count()).where(PLATFORMS.c.last_seen >= since)
        return self._database.read(lambda connection: connection.scalar(counted)) or 0

    def first_expiry(self) -> datetime | None:
        """When the first certificate of all machines expires, of those of which that is known."""
        first = select(func.min(PLATFORMS.c.expires))
        found: datetime | None = self._database.read(lambda connection: connection.scalar(first))
        return found

    def count_expired(self, at: datetime) -> int:
        """Of how many machines a certificate has expired."""
        counted = select(func.count()).where(PLATFORMS.c.expires <= at)
        return self._database.read(lambda connection: connection.scalar(counted)) or 0

    def _pages(self, statement: Select[Any], *, with_certificates: bool) -> Iterator[Holding]:
        after = 0
        while True:
            with self._database.snapshot() as connection:
                rows = connection.execute(statement, {"after": after}).all()
                page = with_parts(connection, rows, with_certificates=with_certificates)
            yield from page
            if len(rows) < BATCH:
                return
            after = rows[-1].id


def _row(connection: Connection, qe_id: str, pce_id: str) -> Row[Any] | None:
    return connection.execute(_PLATFORM, {"qe": qe_id, "pce": pce_id}).first()


def _of_fmspcs(fmspcs: Sequence[bytes] | None) -> Select[Any]:
    return PAGE if fmspcs is None else PAGE.where(PLATFORMS.c.fmspc.in_(fmspcs))
