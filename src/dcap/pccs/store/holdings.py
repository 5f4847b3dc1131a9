"""A machine's three tables, read and written as one holding, on a connection that is given.

    put_packed(connection, pack_holdings(holdings))      # in a write
    every_holding(connection)                            # in a snapshot

Nothing else points into these tables, so that a machine is replaced by deleting its rows and writing
them anew. Not here: transactions, and what is asked of machines (`store.platforms`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from dcap.pccs.items import Ca, Holding, PckCertificate, Platform, RawTcb
from dcap.pccs.store.packing import pack, unpack
from dcap.pccs.store.rows import BATCH, batches, keep_chain
from dcap.pccs.store.schema import CHAINS, CHANGES, PCK_CERTIFICATES, PLATFORMS, RAW_TCBS

#: Machines with their chains, by their rows' numbers, so many at a time.
PAGE: Final = (
    select(PLATFORMS, CHAINS.c.pem.label("chain_pem"))
    .join(CHAINS, CHAINS.c.digest == PLATFORMS.c.chain)
    .where(PLATFORMS.c.id > bindparam("after"))
    .order_by(PLATFORMS.c.id)
    .limit(BATCH)
)


def every_holding(connection: Connection) -> Iterator[Holding]:
    """All machines, as a snapshot's connection sees them, a few at a time in memory."""
    after = 0
    while rows := connection.execute(PAGE, {"after": after}).all():
        yield from with_parts(connection, rows, with_certificates=True)
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

    1. Those that are there keep their row's number and when they were seen, and lose their rows.
    2. The others get new numbers.
    3. Everything is written anew.
    """
    if not latest:
        return
    known = _known(connection, latest)
    ids = {machine: row.id for machine, row in known.items()}
    forget(connection, ids.values())
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
                "last_seen": _later(given.last_seen, known.get(machine)),
                "is_registered": given.is_registered,
                "expires": given.expires,
            }
        )
        certificates.append({"platform_id": row_id, "packed": packed})
        raw_rows = {(raw.cpu_svn, raw.pce_svn): raw_row(row_id, raw) for raw in one.raw_tcbs}
        raw_tcbs += raw_rows.values()
    connection.execute(insert(PLATFORMS), platforms)
    connection.execute(insert(PCK_CERTIFICATES), certificates)
    if raw_tcbs:
        connection.execute(insert(RAW_TCBS), raw_tcbs)


def _known(
    connection: Connection, machines: Mapping[tuple[str, str], object]
) -> dict[tuple[str, str], Row[Any]]:
    columns = select(*(PLATFORMS.c[name] for name in ("id", "qe_id", "pce_id", "last_seen")))
    found: dict[tuple[str, str], Row[Any]] = {}
    for qe_ids in batches({qe_id for qe_id, _ in machines}):
        for row in connection.execute(columns.where(PLATFORMS.c.qe_id.in_(qe_ids))):
            if (row.qe_id, row.pce_id) in machines:
                found[row.qe_id, row.pce_id] = row
    return found


def _later(given: datetime | None, kept: Row[Any] | None) -> datetime | None:
    """When a machine was last seen, of what is given of it and what was kept."""
    seen = [one for one in (given, None if kept is None else kept.last_seen) if one is not None]
    return max(seen, default=None)


def forget(connection: Connection, ids: Iterable[int]) -> None:
    """Delete machines, by their rows' numbers, with all that belongs to them."""
    for some in batches(ids):
        connection.execute(delete(PCK_CERTIFICATES).where(PCK_CERTIFICATES.c.platform_id.in_(some)))
        connection.execute(delete(RAW_TCBS).where(RAW_TCBS.c.platform_id.in_(some)))
        connection.execute(delete(PLATFORMS).where(PLATFORMS.c.id.in_(some)))


def raw_row(platform_id: int, raw_tcb: RawTcb) -> dict[str, object]:
    """A raw TCB of a machine as a row."""
    return {
        "platform_id": platform_id,
        "cpu_svn": raw_tcb.cpu_svn,
        "pce_svn": raw_tcb.pce_svn,
        "tcbm": raw_tcb.tcbm,
    }


def with_parts(
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
            platform=platform_of(row),
            certificates=certificates.get(row.id, ()),
            issuer_chain=bytes(row.chain_pem),
            raw_tcbs=tuple(raw_tcbs[row.id]),
            revision=row.revision,
        )
        for row in rows
    ]


def platform_of(row: Row[Any]) -> Platform:
    """The machine of a row."""
    return Platform(
        qe_id=row.qe_id,
        pce_id=row.pce_id,
        fmspc=bytes(row.fmspc),
        ca=cast("Ca", row.ca),
        encrypted_ppid=row.encrypted_ppid,
        manifest=row.manifest,
        last_seen=row.last_seen,
        is_registered=row.is_registered,
        expires=row.expires,
    )
