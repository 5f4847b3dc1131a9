"""Databases of Intel's PCCS, built with SQL by its schema: version 5, and the older ones before it.

Written from the table of the reference alone; nothing of the reader is used.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dcap.pccs.items import IdentityKey, IdentityName, PckCrlKey, RootCrlKey, TcbInfoKey, Update
from dcap.simulator.intel import ROOT_CRL_URL
from dcap.simulator.platform import Platform
from dcap.simulator.tcb_model import PCE_SVN
from dcap.simulator.world import World
from pccs.transfer.moved import item, keys_of, offered

Execute = Callable[[str, tuple[Any, ...]], object]
NOW = "2026-01-01 06:00:00.000 +00:00"
POLICY = (
    "eyJhbGciOiJub25lIn0.eyJwb2xpY3lfcGF5bG9hZCI6IntcInBvbGljeV9hcnJheVwiOlt7XCJlbnZpcm9ubWVudFwiOntc"
    "ImNsYXNzX2lkXCI6XCIzMTIzZWMzNS04ZDM4LTRlYTUtODdhNS1kNmM0OGI1Njc1NzBcIn19XX0ifQ.c2ln"
)
_IDENTITIES: tuple[tuple[int, IdentityName], ...] = ((1, "QE"), (2, "QVE"), (3, "TD_QE"))
_DATES = "created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL"

#: Table -> its columns in version 5.
TABLES = {
    "platforms": "qe_id VARCHAR(255) NOT NULL, pce_id VARCHAR(255) NOT NULL, platform_manifest {blob}, "
    "enc_ppid {blob}, fmspc VARCHAR(255), ca VARCHAR(255), {dates}, PRIMARY KEY (qe_id, pce_id)",
    "platform_tcbs": "qe_id VARCHAR(150) NOT NULL, pce_id VARCHAR(150) NOT NULL, "
    "cpu_svn VARCHAR(150) NOT NULL, pce_svn VARCHAR(150) NOT NULL, tcbm VARCHAR(255), {dates}, "
    "PRIMARY KEY (qe_id, pce_id, cpu_svn, pce_svn)",
    "pck_cert": "qe_id VARCHAR(150) NOT NULL, pce_id VARCHAR(150) NOT NULL, tcbm VARCHAR(150) NOT NULL, "
    "pck_cert {blob}, {dates}, PRIMARY KEY (qe_id, pce_id, tcbm)",
    "pck_certchain": "ca VARCHAR(255) PRIMARY KEY, root_cert_id INTEGER, intmd_cert_id INTEGER, {dates}",
    "pcs_certificates": "id INTEGER PRIMARY KEY, cert {blob}, crl {blob}, {dates}",
    "pck_crl": "ca VARCHAR(255) PRIMARY KEY, pck_crl {blob}, root_cert_id INTEGER, "
    "intmd_cert_id INTEGER, {dates}",
    "fmspc_tcbs": "fmspc VARCHAR(150) NOT NULL, type INTEGER, version INTEGER, "
    "update_type VARCHAR(150), tcbinfo {blob}, root_cert_id INTEGER, signing_cert_id INTEGER, {dates}, "
    "PRIMARY KEY (fmspc, type, version, update_type)",
    "enclave_identities": "id INTEGER, version INTEGER, update_type VARCHAR(150), identity {blob}, "
    "root_cert_id INTEGER, signing_cert_id INTEGER, {dates}, PRIMARY KEY (id, version, update_type)",
    "crl_cache": "cdp_url VARCHAR(255) PRIMARY KEY, crl {blob}, {dates}",
    "appraisal_policies": "id VARCHAR(255) PRIMARY KEY, type INTEGER, policy TEXT, is_default INTEGER, "
    "fmspc VARCHAR(255), {dates}",
    "platforms_registered": "qe_id VARCHAR(150) NOT NULL, pce_id VARCHAR(150) NOT NULL, "
    "cpu_svn VARCHAR(150) NOT NULL, pce_svn VARCHAR(150) NOT NULL, enc_ppid {blob}, "
    "platform_manifest {blob}, state INTEGER, {dates}, "
    "PRIMARY KEY (qe_id, pce_id, cpu_svn, pce_svn)",
    "pcs_version": "id INTEGER PRIMARY KEY, api_version INTEGER, server_addr VARCHAR(255), "
    "db_version INTEGER, {dates}",
}
#: Since which version a table or column is there.
SINCE = {
    "crl_cache": 2, "enclave_identities": 2, "appraisal_policies": 4, "pcs_version": 0,
    "type": 2, "version": 3, "update_type": 5,
}  # fmt: skip
_OLD_TABLES = {"qe_identities": ("qe_identity", "QE"), "qve_identities": ("qve_identity", "QVE")}


def sqlite_database(
    path: Path, world: World, machines: Iterable[Platform], version: int = 5
) -> Path:
    """A file as Intel's PCCS leaves it."""
    connection = sqlite3.connect(path)
    fill(
        lambda statement, values=(): connection.execute(statement, values), world, machines, version
    )
    connection.commit()
    connection.close()
    return path


def fill(
    execute: Callable[..., object],
    world: World,
    machines: Iterable[Platform],
    version: int = 5,
    mark: str = "?",
    blob: str = "BLOB",
) -> None:
    """Every table of a version of the schema, and a row of every kind."""
    database = _Writer(execute, version, mark)
    tables = TABLES if version > 1 else {**TABLES, **_old_tables()}
    for name, columns in tables.items():
        if SINCE.get(name, 0) <= version:
            kept = _columns(columns.replace("{blob}", blob).replace("{dates}", _DATES), version)
            execute(f"CREATE TABLE {name} ({kept})")
    intel, hexed = world.intel, version < 1
    members = (
        (1, intel.root),
        (2, intel.processor_ca),
        (3, intel.tcb_signing),
        (4, intel.platform_ca),
    )
    for slot, authority in members:
        crl = intel.root_ca_crl(world.at) if slot == 1 else None
        database.insert("pcs_certificates", id=slot, cert=quote(authority.pem).encode(),
                        crl=_as_of(crl, hexed))  # fmt: skip
    for ca, slot in (("PROCESSOR", 2), ("PLATFORM", 4)):
        database.insert("pck_certchain", ca=ca, root_cert_id=1, intmd_cert_id=slot)
        crl = intel.pck_crl(ca.lower(), world.at)
        database.insert("pck_crl", ca=ca, pck_crl=_as_of(crl, hexed), root_cert_id=1,
                        intmd_cert_id=slot)  # fmt: skip
    database.insert("crl_cache", cdp_url=ROOT_CRL_URL, crl=intel.root_ca_crl(world.at))
    _documents(database, world, list(machines), version)
    for machine in machines:
        _machine(database, machine, hexed=hexed)
    database.insert("appraisal_policies", id=hashlib.sha384(POLICY.encode()).hexdigest(), type=0,
                    policy=POLICY, is_default=1, fmspc="90C0A5000000")  # fmt: skip
    database.insert("pcs_version", id=1, api_version=4 if version > 2 else 3,
                    server_addr="api.trustedservices.intel.com", db_version=version)  # fmt: skip


class _Writer:
    def __init__(self, execute: Callable[..., object], version: int, mark: str) -> None:
        self._execute = execute
        self._version = version
        self._mark = mark

    def insert(self, table: str, **row: Any) -> None:
        """A row, as far as the version has the table and its columns."""
        if SINCE.get(table, 0) > self._version:
            return
        if table in ("fmspc_tcbs", "enclave_identities"):
            row = {
                name: value for name, value in row.items() if SINCE.get(name, 0) <= self._version
            }
        row |= {"created_time": NOW[:19], "updated_time": NOW[:19]} if self._mark == "%s" else {
            "created_time": NOW, "updated_time": NOW,
        }  # fmt: skip
        marks = ", ".join([self._mark] * len(row))
        self._execute(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
        )


def _documents(database: _Writer, world: World, machines: list[Platform], version: int) -> None:
    api = 4 if version > 2 else 3
    updates: tuple[Update, ...] = ("STANDARD", "EARLY") if version > 4 else ("STANDARD",)
    wanted = {key for machine in machines for key in keys_of(machine, api)}
    for key in wanted:
        if isinstance(key, TcbInfoKey) and key.update in updates:
            database.insert(
                "fmspc_tcbs", fmspc=key.fmspc.hex().upper(), type=0 if key.tee == "SGX" else 1,
                version=api, update_type=key.update, tcbinfo=item(world, key).body,
                root_cert_id=1, signing_cert_id=3,
            )  # fmt: skip
    for number, name in _IDENTITIES:
        for update in updates:
            database.insert(
                "enclave_identities", id=number, version=api, update_type=update,
                identity=item(world, IdentityKey(name, api, update)).body,
                root_cert_id=1, signing_cert_id=3,
            )  # fmt: skip
    if version < 2:
        for table, (column, name) in _OLD_TABLES.items():
            body = item(world, IdentityKey("QE" if name == "QE" else "QVE", 3)).body
            database.insert(table, id=1, root_cert_id=1, signing_cert_id=3, **{column: body})


def _machine(database: _Writer, machine: Platform, *, hexed: bool) -> None:
    named = {"qe_id": machine.qe_id.hex().upper(), "pce_id": machine.pce_id.hex().upper()}
    pce_svn = PCE_SVN.to_bytes(2, "little").hex().upper()
    manifest = machine.manifest if machine.ca == "platform" else None
    database.insert(
        "platforms", **named, platform_manifest=manifest,
        enc_ppid=_as_of(machine.encrypted_ppid, hexed), fmspc=machine.fmspc.hex().upper(),
        ca=machine.ca.upper(),
    )  # fmt: skip
    for tcbm, pem in offered(machine):
        database.insert("pck_cert", **named, tcbm=tcbm, pck_cert=pem)
    reached = max(tcbm for tcbm, _ in offered(machine))
    database.insert("platform_tcbs", **named, cpu_svn=machine.cpu_svn.hex().upper(), pce_svn=pce_svn,
                    tcbm=reached)  # fmt: skip
    database.insert(
        "platforms_registered", **named, cpu_svn=machine.cpu_svn.hex().upper(), pce_svn=pce_svn,
        enc_ppid=_as_of(machine.encrypted_ppid, hexed), platform_manifest=None, state=9,
    )  # fmt: skip


def _columns(columns: str, version: int) -> str:
    """Without the columns that a version does not have yet."""
    for name, since in SINCE.items():
        if since > version and name in ("type", "version", "update_type"):
            for kind in ("INTEGER", "VARCHAR(150)"):
                columns = columns.replace(f" {name} {kind},", "").replace(f", {name},", ",")
            columns = columns.replace(f", {name})", ")")
    return columns


def _old_tables() -> dict[str, str]:
    return {
        table: f"id INTEGER PRIMARY KEY, {column} {{blob}}, root_cert_id INTEGER, "
        "signing_cert_id INTEGER, {dates}"
        for table, (column, _) in _OLD_TABLES.items()
    }


def _as_of(value: bytes | None, hexed: bool) -> bytes | None:
    """Before version 1 these were hex."""
    return value if value is None or not hexed else value.hex().encode()


def instant() -> datetime:
    """When every row was written."""
    return datetime(2026, 1, 1, 6, tzinfo=UTC)


def common(world: World) -> dict[str, bytes]:
    """What everybody needs, by the name of its key."""
    keys = (RootCrlKey(), PckCrlKey("PROCESSOR"), PckCrlKey("PLATFORM"))
    return {key.text: item(world, key).body for key in keys}
