"""Intel's own database: what proves in it is taken over, the rest is told, and it is not touched."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from dcap.errors import ConfigError, Unavailable
from dcap.pccs.items import IdentityKey, RootCrlKey, TcbInfoKey, read_key
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.intel_database import import_intel_database
from dcap.pccs.transfer.report import (
    EXPIRED,
    NO_CERTIFICATE,
    NO_CERTIFICATES,
    UNREADABLE,
    Report,
)
from dcap.simulator.world import World
from pccs.databases import Missing, server
from pccs.transfer.intel_store import POLICY, common, fill, instant, sqlite_database
from pccs.transfer.moved import anchor_of, item, offered, opened, record


@pytest.fixture
def simulated() -> World:
    """A world of two machines, each at the highest of its certificates."""
    world = World("intel")
    world.platform("multi").svn = 5
    world.platform("single", ca="processor").svn = 5
    return world


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def database(tmp_path: Path, simulated: World) -> Path:
    """Intel's database with both machines."""
    return sqlite_database(tmp_path / "pckcache.db", simulated, list(simulated.platforms.values()))


def imported(store: Store, world: World, place: object) -> Report:
    """Import it at the world's own time."""
    return import_intel_database(store, str(place), at=world.at, anchor=anchor_of(world))


def altered(path: Path, statement: str, *values: Any) -> None:
    """Change the database behind Intel's back."""
    connection = sqlite3.connect(path)
    assert connection.execute(statement, values).rowcount > 0
    connection.commit()
    connection.close()


def expect_machines(store: Store, world: World) -> None:
    """Every machine, with all of its certificates and its raw TCB."""
    for machine in world.platforms.values():
        one = record(machine)
        found = store.platforms.holding(one.qe_id, one.pce_id)
        assert found is not None
        kept = {(kept.tcbm, kept.pem) for kept in found.certificates}
        assert kept == set(offered(machine))
        assert found.platform.encrypted_ppid == machine.encrypted_ppid
        manifest = machine.manifest if machine.ca == "platform" else None
        assert found.platform.manifest == manifest
        answer = store.platforms.answer(one.qe_id, one.pce_id, one.cpu_svn, one.pce_svn)
        assert answer is not None
        assert answer.certificate == machine.certificate(5).pem


# What proves


@pytest.mark.parametrize("version", range(6))
def test_every_version_of_the_schema_is_taken_over_whole(
    tmp_path: Path, simulated: World, store: Store, version: int
) -> None:
    """Machines, certificates, raw TCBs, the queue, lists and documents: nothing is lost."""
    path = sqlite_database(
        tmp_path / "pckcache.db", simulated, list(simulated.platforms.values()), version
    )
    report = imported(store, simulated, path)
    assert report.complete
    assert report.kept["platform"] == report.kept["registration"] == 2
    expect_machines(store, simulated)
    for name, body in common(simulated).items():
        kept = store.items.get(read_key(name))
        assert kept is not None
        assert kept.body == body
    api: Any = 4 if version > 2 else 3
    multi = simulated.platform("multi").fmspc
    for wanted in (IdentityKey("QE", api), IdentityKey("QVE", api), TcbInfoKey("SGX", multi, api)):
        kept = store.items.get(wanted)
        assert kept is not None
        assert kept.body == item(simulated, wanted).body
        assert kept.fetched_at == instant()
    has_early = store.items.get(TcbInfoKey("SGX", multi, api, "EARLY")) is not None
    assert has_early == (version > 4)
    assert len(store.policies.list()) == (1 if version > 3 else 0)


def test_a_policy_is_taken_over_by_the_id_of_its_text(
    database: Path, simulated: World, store: Store
) -> None:
    """As a default, of its FMSPC."""
    imported(store, simulated, database)
    (policy,) = store.policies.defaults(bytes.fromhex("90C0A5000000"))
    assert policy.policy == POLICY
    assert policy.type == 0


def test_the_database_is_not_touched(database: Path, simulated: World, store: Store) -> None:
    """Not a byte, and it may be of another user and without a right to write."""
    before = hashlib.sha256(database.read_bytes()).digest()
    stamp = database.stat().st_mtime_ns
    database.chmod(0o400)
    assert imported(store, simulated, database).complete
    assert imported(store, simulated, f"sqlite:///{database}").complete
    assert hashlib.sha256(database.read_bytes()).digest() == before
    assert database.stat().st_mtime_ns == stamp
    assert {path.name for path in database.parent.iterdir()} & {"pckcache.db-journal"} == set()


def test_more_machines_than_a_page_come_over(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """Whatever the order of their names."""
    connection = sqlite3.connect(tmp_path / "many.db")
    fill(
        lambda statement, values=(): connection.execute(statement, values),
        simulated,
        [simulated.platform("multi")],
    )
    for table in ("platforms", "pck_cert"):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        rest = ", ".join(columns[1:])
        for number in range(1, 451):
            connection.execute(
                f"INSERT INTO {table} SELECT printf('%032X', {number}), {rest} FROM {table} "
                "WHERE length(qe_id) = 32 AND qe_id NOT LIKE '00000%'"
            )
    connection.commit()
    connection.close()
    report = imported(store, simulated, tmp_path / "many.db")
    assert report.kept["platform"] == 451
    assert report.complete


# What does not


def test_what_another_signer_signed_is_left_out(
    database: Path, simulated: World, store: Store
) -> None:
    """The one slot for signers holds the new one, and an item of the old one is still there."""
    simulated.intel.signer_number += 1
    new = simulated.intel.tcb_signing
    altered(
        database,
        "UPDATE pcs_certificates SET cert = ? WHERE id = 3",
        new.pem.replace(b"\n", b"%0A"),
    )
    report = imported(store, simulated, database)
    assert set(report.reasons["item"]) == {"tcb-info-signature", "qe-identity-signature"}
    expect_machines(store, simulated)


def test_a_forged_intel_gives_nothing(tmp_path: Path, simulated: World, store: Store) -> None:
    """A database of another root: all left out, nothing kept but what nobody signs."""
    forger = World("forger", simulated.at)
    path = sqlite_database(tmp_path / "forged.db", forger, [forger.platform()])
    report = imported(store, simulated, path)
    assert report.kept["item"] == report.kept["platform"] == 0
    assert report.reasons["platform"] == {"pck-chain-root": 1}
    assert store.items.get(RootCrlKey()) is None


def test_one_forged_machine_is_left_out_and_the_others_come_over(
    database: Path, simulated: World, store: Store
) -> None:
    """Said with the finding, and without a name."""
    qe_id = record(simulated.platform("single")).qe_id
    stranger = World("forger").platform("single", ca="processor").certificate(5).pem
    altered(database, "UPDATE pck_cert SET pck_cert = ? WHERE qe_id = ?", stranger, qe_id)
    report = imported(store, simulated, database)
    assert report.reasons == {"platform": {"pck-chain-signature": 1}}
    assert report.kept["platform"] == 1
    assert qe_id not in repr(report)
    assert qe_id[:8] not in repr(report)


def test_what_has_expired_is_left_out(database: Path, simulated: World, store: Store) -> None:
    """Intel's PCCS knows no expiry: rows stand for ever."""
    simulated.advance(timedelta(days=60))
    report = imported(store, simulated, database)
    assert set(report.reasons["item"]) == {EXPIRED}
    assert report.kept["platform"] == 2


def test_a_raw_tcb_that_does_not_reach_its_certificate_is_left_out(
    database: Path, simulated: World, store: Store
) -> None:
    """What was selected is looked at, not believed; it is selected again when it is asked for."""
    altered(database, "UPDATE platform_tcbs SET cpu_svn = ?", "00" * 16)
    report = imported(store, simulated, database)
    assert report.reasons == {"raw-tcb": {NO_CERTIFICATE: 2}}
    assert report.kept["platform"] == 2


def test_a_machine_without_certificates_is_left_out(
    database: Path, simulated: World, store: Store
) -> None:
    """Intel's PCCS keeps rows of machines that it could not get any for."""
    altered(
        database, "DELETE FROM pck_cert WHERE qe_id = ?", record(simulated.platform("multi")).qe_id
    )
    report = imported(store, simulated, database)
    assert report.reasons == {"platform": {NO_CERTIFICATES: 1}}


def test_a_queue_of_machines_without_certificates_is_read_as_it_was_written(
    database: Path, simulated: World, store: Store
) -> None:
    """Intel's PCCS wrote their CPUSVN in lower case, and their PCESVN as a decimal number."""
    altered(
        database,
        "UPDATE platforms_registered SET state = 1, cpu_svn = ?, pce_svn = ? WHERE qe_id = ?",
        "0a" * 16,
        "13",
        record(simulated.platform("multi")).qe_id,
    )
    assert imported(store, simulated, database).complete
    (waiting,) = store.registrations.list("NOT_AVAILABLE")
    assert (waiting.cpu_svn, waiting.pce_svn) == ("0A" * 16, "0D00")
    assert waiting.created == instant()


@pytest.mark.parametrize(
    ("statement", "values", "kind"),
    [
        ("UPDATE platforms SET fmspc = ? WHERE ca = 'PLATFORM'", ("xyz",), "platform"),
        ("UPDATE platforms SET ca = ? WHERE ca = 'PLATFORM'", ("OTHER",), "platform"),
        ("UPDATE platforms SET enc_ppid = ? WHERE ca = 'PLATFORM'", (7,), "platform"),
        ("UPDATE fmspc_tcbs SET type = ? WHERE type = 1", (9,), "item"),
        ("UPDATE fmspc_tcbs SET version = ? WHERE type = 1", (7,), "item"),
        ("UPDATE enclave_identities SET id = ? WHERE id = 2", (9,), "item"),
        ("UPDATE crl_cache SET crl = ?", (b"\x30",), "item"),
        ("UPDATE crl_cache SET cdp_url = ?", (b"\xff",), "item"),
        ("UPDATE pck_crl SET ca = ? WHERE ca = 'PLATFORM'", ("OTHER",), "item"),
        ("UPDATE pcs_certificates SET crl = ? WHERE id = 1", (10**12,), "item"),
        ("UPDATE platforms_registered SET state = ?", (5,), "registration"),
        ("UPDATE platforms_registered SET cpu_svn = ?", ("zz",), "registration"),
        ("UPDATE appraisal_policies SET policy = ?", ("a.b.c",), "policy"),
        ("UPDATE appraisal_policies SET fmspc = ?", ("00",), "policy"),
    ],
)
def test_a_row_that_makes_no_sense_is_left_out(
    database: Path,
    simulated: World,
    store: Store,
    statement: str,
    values: tuple[Any, ...],
    kind: str,
) -> None:
    """It is reported, and does not end the import."""
    altered(database, statement, *values)
    report = imported(store, simulated, database)
    assert set(report.reasons) == {kind}
    assert set(report.reasons[kind]) == {UNREADABLE}
    assert report.kept["platform"] >= 1


# What is no such database


def test_a_file_that_is_no_database_of_intel_s_is_refused(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """Absent, of something else, and no database at all: each with a way to mend it."""
    with pytest.raises(ConfigError) as absent:
        imported(store, simulated, tmp_path / "absent.db")
    with pytest.raises(ConfigError) as other:
        imported(store, simulated, make_url(store.database.engine.url).database)
    junk = tmp_path / "junk.db"
    junk.write_bytes(b"this is no database, whatever its name" * 100)
    with pytest.raises(Unavailable) as unreadable:
        imported(store, simulated, junk)
    assert {absent.value.code, other.value.code} == {"intel-database"}
    assert unreadable.value.code == "intel-database-unreadable"
    assert not (tmp_path / "absent.db").exists()


def test_a_database_that_ends_within_a_page_changes_nothing(
    database: Path, simulated: World, store: Store
) -> None:
    """Half of a copy: what could be read before is not kept either."""
    whole = database.read_bytes()
    database.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(Unavailable) as caught:
        imported(store, simulated, database)
    assert caught.value.code == "intel-database-unreadable"
    assert store.change_number() == 0


def test_a_database_in_mysql_is_taken_over(simulated: World, store: Store) -> None:
    """By its URL, over a connection that may not write."""
    try:
        with server("mariadb") as running:
            url = running.database()
            engine = create_engine(url)
            with engine.begin() as connection:
                fill(
                    lambda statement, values=(): connection.exec_driver_sql(statement, values),
                    simulated,
                    list(simulated.platforms.values()),
                    mark="%s",
                )
            engine.dispose()
            shown = make_url(url).set(drivername="mysql").render_as_string(hide_password=False)
            report = imported(store, simulated, shown)
    except Missing as missing:
        pytest.skip(str(missing))
    assert report.complete
    expect_machines(store, simulated)
    assert report.kept["registration"] == 2


def test_a_file_that_computes_its_values_takes_no_memory(
    tmp_path: Path, simulated: World, store: Store, database: Path
) -> None:
    """A generated column that would make hundreds of megabytes ends the reading, and keeps nothing."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("ALTER TABLE pcs_certificates ADD huge AS (zeroblob(300000000))")
    with pytest.raises(Unavailable) as caught:
        import_intel_database(store, str(database), at=simulated.at, anchor=anchor_of(simulated))
    assert caught.value.code == "intel-database-unreadable"
    assert store.statistics().items == 0
