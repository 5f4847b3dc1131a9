"""The machines: one row each, their certificates, and which of them their raw TCBs reach.

A machine's three tables are replaced as one. Nothing else points into them, and a raw TCB is
remembered for the revision it was selected in, so that a selection among certificates that were
replaced meanwhile is dropped, and made again at the next request.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from dcap.pccs.items import Ca, Holding, PckAnswer, PckCertificate, Platform, RawTcb
from dcap.pccs.store.database import Database
from dcap.pccs.store.packing import pack, unpack, unpack_one
from dcap.pccs.store.rows import BATCH, batches, keep_chain
from dcap.pccs.store.schema import CHAINS, CHANGES, PCK_CERTIFICATES, PLATFORMS, RAW_TCBS

_THIS_MACHINE: Final = and_(
    PLATFORMS.c.qe_id == bindparam("qe"), PLATFORMS.c.pce_id == bindparam("pce")
)
#: What a request for a PCK certificate costs: one statement, four look-ups by a key.
_ANSWER: Final = (
    select(
        PLATFORMS.c.fmspc,
        PLATFORMS.c.ca,
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
_PAGE: Final = (
    select(PLATFORMS, CHAINS.c.pem.label("chain_pem"))
    .join(CHAINS, CHAINS.c.digest == PLATFORMS.c.chain)
    .where(PLATFORMS.c.id > bindparam("after"))
    .order_by(PLATFORMS.c.id)
    .limit(BATCH)
)


class Platforms:
    """The tables of machines. Part of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def answer(self, qe_id: str, pce_id: str, cpu_svn: str, pce_svn: str) -> PckAnswer | None:
        """What is known for a machine and its raw TCB; `None` where the machine is unknown."""
        values = {"qe": qe_id, "pce": pce_id, "cpu": cpu_svn, "isv": pce_svn}
        row = self._database.read(lambda connection: connection.execute(_ANSWER, values).first())
        if row is None:
            return None
        found = None if row.packed is None else unpack_one(row.packed, row.tcbm)
        return PckAnswer(
            certificate=None if found is None else found.pem,
            tcbm=None if found is None else found.tcbm,
            fmspc=bytes(row.fmspc),
            ca=cast("Ca", row.ca),
            issuer_chain=bytes(row.chain),
        )

    def get(self, qe_id: str, pce_id: str) -> Platform | None:
        """A machine, without its certificates."""
        values = {"qe": qe_id, "pce": pce_id}
        row = self._database.read(lambda connection: connection.execute(_PLATFORM, values).first())
        return None if row is None else _platform(row)

    def holding(self, qe_id: str, pce_id: str) -> Holding | None:
        """All that is kept of a machine, its certificates in the order they were given in."""
        with self._database.snapshot() as connection:
            found = list(_holdings(connection, _THIS_MACHINE, {"qe": qe_id, "pce": pce_id}))
        return found[0] if found else None

    def put(self, *holdings: Holding) -> None:
        """Keep machines with all their certificates and raw TCBs in place of what was kept of them.

        All or none. Of two holdings of one machine the later counts, and of two certificates of one
        `tcbm`.
        """
        packed = pack_holdings(holdings)
        self._database.write(lambda connection: put_packed(connection, packed), "platforms")

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
        """

        def act(connection: Connection) -> bool:
            row = connection.execute(_PLATFORM, {"qe": qe_id, "pce": pce_id}).first()
            if row is None or row.revision != revision:
                return False
            connection.execute(
                delete(RAW_TCBS).where(
                    RAW_TCBS.c.platform_id == row.id,
                    RAW_TCBS.c.cpu_svn == raw_tcb.cpu_svn,
                    RAW_TCBS.c.pce_svn == raw_tcb.pce_svn,
                )
            )
            connection.execute(insert(RAW_TCBS), [_raw_row(row.id, raw_tcb)])
            return True

        return self._database.write(act)

    def set_manifest(self, qe_id: str, pce_id: str, manifest: bytes) -> bool:
        """Keep the manifest that a known machine came with; false where it is unknown."""
        statement = (
            update(PLATFORMS)
            .where(PLATFORMS.c.qe_id == qe_id, PLATFORMS.c.pce_id == pce_id)
            .values(manifest=manifest)
        )
        return self._database.write(lambda connection: connection.execute(statement).rowcount > 0)

    def delete(self, qe_id: str, pce_id: str) -> bool:
        """Forget a machine; false where it was unknown."""

        def act(connection: Connection) -> bool:
            row = connection.execute(_PLATFORM, {"qe": qe_id, "pce": pce_id}).first()
            if row is not None:
                _forget(connection, [row.id])
            return row is not None

        return self._database.write(act, "platforms")

    def each(self, fmspcs: Sequence[bytes] | None = None) -> Iterator[Holding]:
        """Every machine (of these FMSPCs), with its raw TCBs and without its certificates.

        Read in pages: machines that come or go meanwhile may be missed, and nobody is held up.
        """
        yield from self._pages(fmspcs, with_certificates=False)

    def holdings(self, fmspcs: Sequence[bytes] | None = None) -> Iterator[Holding]:
        """`each`, with the certificates."""
        yield from self._pages(fmspcs, with_certificates=True)

    def count_by_fmspc(self) -> dict[bytes, int]:
        """How many machines there are of each FMSPC."""
        counted = select(PLATFORMS.c.fmspc, func.count()).group_by(PLATFORMS.c.fmspc)
        rows = self._database.read(lambda connection: connection.execute(counted).all())
        return {bytes(fmspc): number for fmspc, number in rows}

    def _pages(
        self, fmspcs: Sequence[bytes] | None, *, with_certificates: bool
    ) -> Iterator[Holding]:
        statement = _PAGE if fmspcs is None else _PAGE.where(PLATFORMS.c.fmspc.in_(fmspcs))
        after = 0
        while True:
            with self._database.snapshot() as connection:
                rows = connection.execute(statement, {"after": after}).all()
                page = _with_parts(connection, rows, with_certificates=with_certificates)
            yield from page
            if len(rows) < BATCH:
                return
            after = rows[-1].id


def every_holding(connection: Connection) -> Iterator[Holding]:
    """All machines, as a snapshot's connection sees them, a few at a time in memory."""
    after = 0
    while rows := connection.execute(_PAGE, {"after": after}).all():
        yield from _with_parts(connection, rows, with_certificates=True)
        after = rows[-1].id


class Packed(NamedTuple):
    """A holding, its certificates packed: the work that needs no database."""

    holding: Holding
    certificates: bytes


def pack_holdings(holdings: Iterable[Holding]) -> dict[tuple[str, str], Packed]:
    """Holdings by machine, the last of each, packed."""
    latest = {(one.platform.qe_id, one.platform.pce_id): one for one in holdings}
    return {machine: Packed(one, pack(one.certificates)) for machine, one in latest.items()}


def put_packed(connection: Connection, latest: Mapping[tuple[str, str], Packed]) -> None:
    """Replace machines. The connection is that of a write: the counter's row is taken.

    1. Those that are there keep their row's number, and lose their rows.
    2. The others get new numbers.
    3. Everything is written anew.
    """
    if not latest:
        return
    ids = _known_ids(connection, latest)
    _forget(connection, ids.values())
    new = [machine for machine in latest if machine not in ids]
    revision, last = connection.execute(select(CHANGES.c.number, CHANGES.c.platform_id)).one()
    ids |= {machine: last + place for place, machine in enumerate(new, 1)}
    if new:
        connection.execute(update(CHANGES).values(platform_id=last + len(new)))
    chains: dict[bytes, bytes | None] = {}
    for one, _ in latest.values():
        if one.issuer_chain not in chains:
            chains[one.issuer_chain] = keep_chain(connection, one.issuer_chain)
    platforms: list[dict[str, object]] = []
    certificates: list[dict[str, object]] = []
    raw_tcbs: list[dict[str, object]] = []
    for machine, (one, packed) in latest.items():
        row_id, given = ids[machine], one.platform
        platforms.append(
            {
                "id": row_id,
                "qe_id": given.qe_id,
                "pce_id": given.pce_id,
                "fmspc": given.fmspc,
                "ca": given.ca,
                "encrypted_ppid": given.encrypted_ppid,
                "manifest": given.manifest,
                "chain": chains[one.issuer_chain],
                "revision": revision,
            }
        )
        certificates.append({"platform_id": row_id, "packed": packed})
        raw_rows = {(raw.cpu_svn, raw.pce_svn): _raw_row(row_id, raw) for raw in one.raw_tcbs}
        raw_tcbs += raw_rows.values()
    connection.execute(insert(PLATFORMS), platforms)
    connection.execute(insert(PCK_CERTIFICATES), certificates)
    if raw_tcbs:
        connection.execute(insert(RAW_TCBS), raw_tcbs)


def _known_ids(
    connection: Connection, machines: Mapping[tuple[str, str], object]
) -> dict[tuple[str, str], int]:
    columns = select(PLATFORMS.c.id, PLATFORMS.c.qe_id, PLATFORMS.c.pce_id)
    found: dict[tuple[str, str], int] = {}
    for qe_ids in batches({qe_id for qe_id, _ in machines}):
        for row in connection.execute(columns.where(PLATFORMS.c.qe_id.in_(qe_ids))):
            if (row.qe_id, row.pce_id) in machines:
                found[row.qe_id, row.pce_id] = row.id
    return found


def _forget(connection: Connection, ids: Iterable[int]) -> None:
    for some in batches(ids):
        connection.execute(delete(PCK_CERTIFICATES).where(PCK_CERTIFICATES.c.platform_id.in_(some)))
        connection.execute(delete(RAW_TCBS).where(RAW_TCBS.c.platform_id.in_(some)))
        connection.execute(delete(PLATFORMS).where(PLATFORMS.c.id.in_(some)))


def _raw_row(platform_id: int, raw_tcb: RawTcb) -> dict[str, object]:
    return {
        "platform_id": platform_id,
        "cpu_svn": raw_tcb.cpu_svn,
        "pce_svn": raw_tcb.pce_svn,
        "tcbm": raw_tcb.tcbm,
    }


def _holdings(
    connection: Connection, where: ColumnElement[bool], values: dict[str, str]
) -> list[Holding]:
    rows = connection.execute(_PAGE.where(where), {"after": 0, **values}).all()
    return _with_parts(connection, rows, with_certificates=True)


def _with_parts(
    connection: Connection, rows: Sequence[Row[Any]], *, with_certificates: bool
) -> list[Holding]:
    """The machines of some rows, with what the other two tables have of them."""
    ids = [row.id for row in rows]
    if not ids:
        return []
    certificates: dict[int, tuple[PckCertificate, ...]] = {}
    raw_tcbs: dict[int, list[RawTcb]] = {row_id: [] for row_id in ids}
    if with_certificates:
        theirs = select(PCK_CERTIFICATES).where(PCK_CERTIFICATES.c.platform_id.in_(ids))
        for row in connection.execute(theirs):
            certificates[row.platform_id] = unpack(row.packed)
    order = (RAW_TCBS.c.cpu_svn, RAW_TCBS.c.pce_svn)
    known = select(RAW_TCBS).where(RAW_TCBS.c.platform_id.in_(ids)).order_by(*order)
    for row in connection.execute(known):
        raw_tcbs[row.platform_id].append(
            RawTcb(cpu_svn=row.cpu_svn, pce_svn=row.pce_svn, tcbm=row.tcbm)
        )
    return [
        Holding(
            platform=_platform(row),
            certificates=certificates.get(row.id, ()),
            issuer_chain=bytes(row.chain_pem),
            raw_tcbs=tuple(raw_tcbs[row.id]),
            revision=row.revision,
        )
        for row in rows
    ]


def _platform(row: Row[Any]) -> Platform:
    return Platform(
        qe_id=row.qe_id,
        pce_id=row.pce_id,
        fmspc=bytes(row.fmspc),
        ca=cast("Ca", row.ca),
        encrypted_ppid=row.encrypted_ppid,
        manifest=row.manifest,
    )
