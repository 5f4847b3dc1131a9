"""The machines of a service: how many of each kind, and those of one kind, their identifiers masked.

Of a million machines a page shows fifty, and the first twenty pages are shown: beyond that,
`dcap pccs export` is the better tool.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec
from sqlalchemy import Connection, func, select

from dcap.errors import FormatError
from dcap.pccs.assembly import Parts
from dcap.pccs.console import wording
from dcap.pccs.items import Holding, ItemSummary, TcbInfoKey
from dcap.pccs.store.schema import PLATFORMS

PAGE: Final = 50
LAST_PAGE: Final = 20
_COUNTED: Final = (
    select(PLATFORMS.c.fmspc, PLATFORMS.c.ca, func.count().label("machines"))
    .group_by(PLATFORMS.c.fmspc, PLATFORMS.c.ca)
    .order_by(PLATFORMS.c.fmspc, PLATFORMS.c.ca)
)


class KindRow(msgspec.Struct, frozen=True, kw_only=True):
    """The machines of one FMSPC; `has` are the TCB infos that are kept for them, `lacks` those not."""

    fmspc: str
    cas: str
    machines: int
    has: tuple[str, ...]
    lacks: tuple[str, ...]


class MachineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. `known_by` says what it can be looked up by, `last_seen` is its hour."""

    qe_id: str
    pce_id: str
    ca: str
    certificates: int
    raw_tcbs: int
    known_by: str
    last_seen: datetime | None


class MachinePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some machines of one FMSPC."""

    fmspc: str
    rows: tuple[MachineRow, ...]
    number: int
    has_more: bool


def kind_rows(parts: Parts, items: Sequence[ItemSummary]) -> tuple[KindRow, ...]:
    """The kinds of machines, the most frequent first. Raises the store's errors."""

    def read(connection: Connection) -> list[tuple[bytes, str, int]]:
        found = connection.execute(_COUNTED).all()
        return [(bytes(row.fmspc), row.ca, row.machines) for row in found]

    infos: dict[bytes, set[str]] = {}
    for item in items:
        key = item.key
        if isinstance(key, TcbInfoKey) and key.version > 3 and key.update is not None:
            infos.setdefault(key.fmspc, set()).add(f"{key.tee} {key.update.lower()}")
    kinds: dict[bytes, list[tuple[str, int]]] = {}
    for fmspc, ca, machines in parts.store.database.read(read):
        kinds.setdefault(fmspc, []).append((ca, machines))
    rows = [
        KindRow(
            fmspc=fmspc.hex().upper(),
            cas=", ".join(ca.capitalize() for ca, _ in counted),
            machines=sum(machines for _, machines in counted),
            has=tuple(sorted(infos.get(fmspc, ()))),
            lacks=() if "SGX standard" in infos.get(fmspc, ()) else ("SGX standard",),
        )
        for fmspc, counted in kinds.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.machines, row.fmspc)))


def read_fmspc(text: str) -> bytes | None:
    """The FMSPC of 12 hex digits; `None` where it is none."""
    try:
        fmspc = bytes.fromhex(text)
        TcbInfoKey("SGX", fmspc)
    except (ValueError, FormatError):
        return None
    return fmspc


def machine_page(parts: Parts, fmspc: bytes, number: int) -> MachinePage:
    """A page of the machines of one FMSPC, from 1. Raises the store's errors."""
    first = (number - 1) * PAGE
    found = list(islice(parts.store.platforms.holdings([fmspc]), first, first + PAGE + 1))
    return MachinePage(
        fmspc=fmspc.hex().upper(),
        rows=tuple(_machine(one) for one in found[:PAGE]),
        number=number,
        has_more=len(found) > PAGE,
    )


def _machine(holding: Holding) -> MachineRow:
    platform = holding.platform
    known_by = [
        name
        for name, given in (
            ("manifest", platform.manifest),
            ("encrypted PPID", platform.encrypted_ppid),
        )
        if given
    ]
    return MachineRow(
        qe_id=wording.masked(platform.qe_id),
        pce_id=wording.shortened(platform.pce_id),
        ca=platform.ca.capitalize(),
        certificates=len(holding.certificates),
        raw_tcbs=len(holding.raw_tcbs),
        known_by=", ".join(known_by) or "QE id alone",
        last_seen=platform.last_seen,
    )
