"""The database of Intel's PCCS, read and never written: what proves in it is taken over.

    report = import_intel_database(store, "/opt/intel/…/pckcache.db", at=…, anchor=…)
    report = import_intel_database(store, "mysql://user@host/pckcache", at=…, anchor=…)

Versions 0 to 5 of its schema: what an old one lacks has the meaning that it had then. Its chains stand
in four slots that all items share, so after a change of signer some items do not prove: they are left
out, and fetched anew by whoever serves. Nothing in such a database makes an import fail; that it is
none, or cannot be read, does. Not here: values out of rows (`intel_rows`).

Source: `pccs-and-pcs-api.md` §2.2, §3.2 (the tables and their history).
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    and_,
    create_engine,
    inspect,
    make_url,
    or_,
    select,
)
from sqlalchemy.event import listen
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from dcap.errors import ConfigError, Unavailable
from dcap.formats.crl import Crl
from dcap.pccs.issuers import ca_named
from dcap.pccs.items import (
    AppraisalPolicy,
    Ca,
    CrlKey,
    IdentityKey,
    IdentityName,
    Item,
    Key,
    PckCrlKey,
    RawTcb,
    Registration,
    RootCrlKey,
    TcbInfoKey,
    Tee,
    Version,
)
from dcap.pccs.pck_proof import Claimed
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.claims import Claims, MachineClaim
from dcap.pccs.transfer.intake import take_in
from dcap.pccs.transfer.intel_rows import (
    Row,
    blob,
    ca_of,
    hex_of,
    moment,
    policy_of,
    ppid_of,
    qe_id_of,
    readable,
    registration_of,
    text_of,
    update_of,
)
from dcap.pccs.transfer.report import NO_CERTIFICATES, LeftOut, Report
from dcap.verification.anchors import TrustAnchor

ORIGIN: Final = "import"
_PAGE: Final = 200
#: No cell of Intel's is larger; its own expressions (generated columns) could make one without end.
_LONGEST_VALUE: Final = 4 * 1024 * 1024

_TEES: Final[Mapping[int, Tee]] = {0: "SGX", 1: "TDX"}
_ENCLAVES: Final[Mapping[int, IdentityName]] = {1: "QE", 2: "QVE", 3: "TD_QE"}
#: Slots of `pcs_certificates`.
_ROOT, _SIGNER = 1, 3
_CA_SLOTS: Final[Mapping[Ca, int]] = {"PROCESSOR": 2, "PLATFORM": 4}
#: Before version 2: a table for each enclave, and which one it is for.
_OLD_IDENTITIES: Final = {
    "qe_identities": ("qe_identity", 1),
    "qve_identities": ("qve_identity", 2),
}


def import_intel_database(
    store: Store,
    place: str,
    *,
    at: datetime,
    anchor: TrustAnchor,
    processes: int = 0,
) -> Report:
    """Take over what proves. `place` is the file of SQLite, or a database's URL.

    Raises `ConfigError` (`intel-database`, `store-driver`) where it is no such database, `Unavailable`
    (`intel-database-unreadable`) where it cannot be read to its end; then nothing has changed.
    """
    engine = _engine(place)
    try:
        with _errors(engine), engine.connect() as connection:
            database = IntelDatabase(connection)
            return take_in(
                store, database.claims(at), at=at, anchor=anchor, strict=False, processes=processes
            )
    finally:
        engine.dispose()


def expect_intel_database(place: str) -> None:
    """Look whether it is one, and can be read. Raises what `import_intel_database` does."""
    engine = _engine(place)
    try:
        with _errors(engine), engine.connect() as connection:
            IntelDatabase(connection)
    finally:
        engine.dispose()


class IntelDatabase:
    """Claims out of an open database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tables = _known_tables(connection)
        if not {"pcs_certificates", "pck_cert"} <= set(self._tables):
            raise ConfigError(
                "intel-database",
                "this is no database of Intel's PCCS: it lacks the tables of one",
                where=_place(connection.engine),
                mend="give its file (pckcache.db), or the URL of its MySQL database",
            )
        self._slots = {str(row.get("id")): row for row in self._rows("pcs_certificates")}

    def claims(self, at: datetime) -> Claims:
        """Everything that is in it."""
        return Claims(
            items=self._items(at),
            machines=self._machines(),
            registrations=self._registrations(at),
            policies=self._policies(),
        )

    # Collateral

    def _items(self, at: datetime) -> Iterator[Item | LeftOut]:
        root = self._slots.get(str(_ROOT))
        if root is not None and root.get("crl"):
            yield from readable("item", "root_crl", self._root_crl, root, at)
        for row in self._rows("pck_crl"):
            yield from readable("item", "pck_crl", self._pck_crl, row, at)
        for row in self._rows("crl_cache"):
            yield from readable("item", "crl_cache", self._crl, row, at)
        for row in self._rows("fmspc_tcbs"):
            yield from readable("item", "fmspc_tcbs", self._tcb_info, row, at)
        for row in self._identities():
            yield from readable("item", "identities", self._identity, row, at)

    def _item(self, key: Key, body: bytes, chain: bytes, row: Row, at: datetime) -> Item:
        """An item; it was fetched when its row was last written, as far as that is to be believed."""
        fetched_at = min(moment(row.get("updated_time")) or at, at)
        return Item(key=key, body=body, issuer_chain=chain, fetched_at=fetched_at, origin=ORIGIN)

    def _root_crl(self, row: Row, at: datetime) -> Item:
        return self._item(RootCrlKey(), blob(row["crl"]), b"", row, at)

    def _pck_crl(self, row: Row, at: datetime) -> Item:
        ca = ca_of(row["ca"])
        chain = self._chain(row.get("intmd_cert_id") or _CA_SLOTS[ca], row.get("root_cert_id"))
        return self._item(PckCrlKey(ca), blob(row["pck_crl"]), chain, row, at)

    def _crl(self, row: Row, at: datetime) -> Item:
        crl = blob(row["crl"])
        ca = ca_named(Crl.parse(crl).issuer_common_name)
        chain = b"" if ca is None else self._chain(_CA_SLOTS[ca], _ROOT)
        return self._item(CrlKey(text_of(row["cdp_url"])), crl, chain, row, at)

    def _tcb_info(self, row: Row, at: datetime) -> Item:
        key = TcbInfoKey(
            _TEES[int(row.get("type") or 0)],
            bytes.fromhex(row["fmspc"]),
            self._api_version(row),
            update_of(row),
        )
        chain = self._chain(row.get("signing_cert_id") or _SIGNER, row.get("root_cert_id"))
        return self._item(key, blob(row["tcbinfo"]), chain, row, at)

    def _identity(self, row: Row, at: datetime) -> Item:
        key = IdentityKey(_ENCLAVES[int(row["id"])], self._api_version(row), update_of(row))
        chain = self._chain(row.get("signing_cert_id") or _SIGNER, row.get("root_cert_id"))
        return self._item(key, blob(row["identity"]), chain, row, at)

    def _identities(self) -> Iterator[Row]:
        yield from self._rows("enclave_identities")
        for table, (column, enclave) in _OLD_IDENTITIES.items():
            for row in self._rows(table):
                yield {**row, "id": enclave, "identity": row.get(column)}

    def _api_version(self, row: Row) -> Version:
        """Before version 3 of the schema all was of the API's version 3."""
        version = int(row.get("version") or 3)
        if version not in (3, 4):
            raise ValueError("an API version that is not known")
        return 4 if version == 4 else 3

    def _chain(self, leaf: object, root: object) -> bytes:
        """The PEM of a chain out of two slots, which hold it percent-encoded."""
        slots = (self._slots.get(str(leaf)), self._slots.get(str(root or _ROOT)))
        texts = (blob(slot["cert"]) for slot in slots if slot is not None)
        return b"".join(unquote_to_bytes(text).rstrip(b"\0\r\n") + b"\n" for text in texts)

    # Machines

    def _machines(self) -> Iterator[MachineClaim | LeftOut]:
        """Page by page, each machine with its rows of the other two tables."""
        platforms = self._table("platforms")
        if platforms is None:
            return
        for page in self._pages(platforms):
            certificates = self._beside("pck_cert", page)
            raw_tcbs = self._beside("platform_tcbs", page)
            for row in page:
                machine = (row["qe_id"], row["pce_id"])
                mine, reached = certificates.get(machine, []), raw_tcbs.get(machine, [])
                if not mine:
                    yield LeftOut("platform", "", NO_CERTIFICATES)
                    continue
                yield from readable("platform", "", self._machine, row, mine, reached)

    def _pages(self, table: Table) -> Iterator[list[Row]]:
        """Its rows in the order of the key, as the database orders texts."""
        qe_id, pce_id = table.c.qe_id, table.c.pce_id
        statement = select(table).order_by(qe_id, pce_id).limit(_PAGE)
        after = None
        while True:
            later = statement if after is None else statement.where(after)
            page: list[Row] = [dict(row) for row in self._connection.execute(later).mappings()]
            if page:
                yield page
            if len(page) < _PAGE:
                return
            last = page[-1]
            after = or_(
                qe_id > last["qe_id"], and_(qe_id == last["qe_id"], pce_id > last["pce_id"])
            )

    def _beside(self, name: str, page: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
        """The rows of a table that belong to the machines of a page."""
        table = self._table(name)
        found: dict[tuple[str, str], list[Row]] = {}
        if table is None:
            return found
        statement = select(table).where(table.c.qe_id.in_({row["qe_id"] for row in page}))
        for row in self._connection.execute(statement).mappings():
            found.setdefault((row["qe_id"], row["pce_id"]), []).append(dict(row))
        return found

    def _machine(
        self, row: Row, certificates: Sequence[Row], reached: Sequence[Row]
    ) -> MachineClaim:
        ca = ca_of(row["ca"])
        return MachineClaim(
            claimed=Claimed(
                qe_id=qe_id_of(row["qe_id"]),
                pce_id=hex_of(row["pce_id"], 2),
                certificates=tuple(
                    (hex_of(one["tcbm"], 18), blob(one["pck_cert"])) for one in certificates
                ),
                issuer_chain=self._chain(_CA_SLOTS[ca], _ROOT),
                encrypted_ppid=ppid_of(row.get("enc_ppid")),
                manifest=blob(row.get("platform_manifest")) or None,
                fmspc=bytes.fromhex(row["fmspc"]) if row.get("fmspc") else None,
                ca=ca,
            ),
            reached=tuple(
                RawTcb(
                    cpu_svn=hex_of(one["cpu_svn"], 16),
                    pce_svn=hex_of(one["pce_svn"], 2),
                    tcbm=hex_of(one["tcbm"], 18),
                )
                for one in reached
                if one.get("tcbm")
            ),
        )

    # The queue, and policies

    def _registrations(self, at: datetime) -> Iterator[Registration | LeftOut]:
        for row in self._rows("platforms_registered"):
            yield from readable("registration", "", registration_of, row, at)

    def _policies(self) -> Iterator[AppraisalPolicy | LeftOut]:
        for row in self._rows("appraisal_policies"):
            yield from readable("policy", "", policy_of, row)

    # Tables

    def _table(self, name: str) -> Table | None:
        return self._tables.get(name)

    def _rows(self, name: str) -> Iterator[Row]:
        """The rows of a table, by name of column; none where there is no such table."""
        table = self._table(name)
        if table is not None:
            streamed = {"yield_per": _PAGE}
            result = self._connection.execute(select(table), execution_options=streamed)
            for row in result.mappings():
                yield dict(row)


# The connection


def _engine(place: str) -> Engine:
    """A way in that can only read. Nothing is asked of it yet."""
    url = place
    if "://" not in place or place.startswith("sqlite:///"):
        file = Path(place.removeprefix("sqlite:///"))
        if not file.is_file():
            raise ConfigError(
                "intel-database",
                "there is no such file",
                where=place,
                mend="give the path of Intel's pckcache.db, or the URL of its database",
            )
        url = f"sqlite:///file:{quote(str(file.absolute()))}?mode=ro&uri=true"
    try:
        parsed = make_url(url)
        if parsed.drivername in ("mysql", "mariadb"):
            parsed = parsed.set(drivername="mysql+pymysql")
        engine = create_engine(parsed, **_read_only(parsed.get_backend_name()))
    except (ImportError, NoSuchModuleError):
        raise ConfigError(
            "store-driver",
            "the driver for this kind of database is not installed",
            where="the URL of Intel's database",
            mend="pip install 'dcap[mysql]'",
        ) from None
    except (ArgumentError, ValueError):
        raise ConfigError(
            "intel-database",
            "the URL of the database cannot be used",
            mend="give mysql://USER:PASSWORD@HOST/pckcache, or the path of pckcache.db",
        ) from None
    if parsed.get_backend_name() == "sqlite":
        listen(engine, "connect", _bound_values)
    return engine


def _bound_values(connection: sqlite3.Connection, _: object) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)


def _read_only(backend: str) -> dict[str, Any]:
    """Options by which a server refuses to write for us, too."""
    if backend != "mysql":
        return {}
    options = {"init_command": "SET SESSION TRANSACTION READ ONLY"}
    return {"connect_args": options, "isolation_level": "REPEATABLE READ"}


def _known_tables(connection: Connection) -> dict[str, Table]:
    """The tables, with their columns as they are; the types are the driver's business."""
    inspector = inspect(connection)
    metadata = MetaData()
    found = {}
    for name in inspector.get_table_names():
        columns: list[Column[Any]] = [
            Column(str(column["name"])) for column in inspector.get_columns(name)
        ]
        found[name.lower()] = Table(name, metadata, *columns)
    return found


@contextmanager
def _errors(engine: Engine) -> Iterator[None]:
    """Around whatever asks the database: its errors leave as ours, without its words."""
    try:
        yield
    except SQLAlchemyError:
        raise Unavailable(
            "intel-database-unreadable",
            "Intel's database cannot be read",
            where=_place(engine),
            mend="stop Intel's PCCS, or copy its file; see that it is a database and whole",
        ) from None


def _place(engine: Engine) -> str:
    """The database, for people: without user and password."""
    url = engine.url
    return (url.database or "").removeprefix("file:") if url.host is None else f"{url.host}"
