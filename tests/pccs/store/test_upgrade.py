"""How a database comes to this dcap's schema: made, upgraded, or refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, make_url, text

from dcap.errors import ConfigError
from dcap.pccs.items import RootCrlKey, State
from dcap.pccs.store.database import Database
from dcap.pccs.store.schema import METADATA, VERSION_TABLE, VERSIONS
from dcap.pccs.store.store import Store
from dcap.pccs.store.upgrade import MIGRATIONS, bring_up
from pccs.databases import Server
from pccs.store import children
from pccs.store.samples import (
    AT,
    CPU_SVN,
    FMSPC,
    PCE_SVN,
    holding,
    item,
    policy,
    qe_id,
    registration,
)

#: Every released version's tables as SQL, by dialect. They are never edited.
RELEASED = Path(__file__).with_name("released")

#: What the next version might be: a column, an index, and rows rewritten slowly enough to be killed at.
NEXT = '''"""For a test."""
import time
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade():
    known = {{column["name"] for column in sa.inspect(op.get_bind()).get_columns("dcap_items")}}
    if "note" not in known:
        op.add_column("dcap_items", sa.Column("note", sa.Integer))
    time.sleep(0.02)
    op.create_index("ix_dcap_items_note", "dcap_items", ["note"], if_not_exists=True)
    time.sleep(0.02)
    op.execute("UPDATE dcap_items SET note = 7")
    time.sleep(0.02)
    op.execute("UPDATE dcap_changes SET number = number + 1, items = items + 1")
'''

#: A machine of the first version, and what changes from there to the second.
MACHINE = (
    "INSERT INTO dcap_platforms (id, qe_id, pce_id, fmspc, ca, chain, revision) "
    "VALUES (1, :qe, :pce, :fmspc, :ca, :chain, 0)"
)
STATES: tuple[State, ...] = ("NEW", "NOT_AVAILABLE")
QUEUED = (
    "INSERT INTO dcap_registrations "
    "(digest, qe_id, pce_id, cpu_svn, pce_svn, encrypted_ppid, state, created) "
    "VALUES (:digest, :qe, :pce, :cpu, :isv, :ppid, :state, 0)"
)
SECOND = (
    "ALTER TABLE dcap_platforms ADD COLUMN last_seen BIGINT",
    "ALTER TABLE dcap_platforms ADD COLUMN is_registered BOOLEAN",
    "ALTER TABLE dcap_platforms ADD COLUMN expires BIGINT",
    "ALTER TABLE dcap_registrations ADD COLUMN handed_out BIGINT",
    "CREATE INDEX ix_dcap_platforms_fmspc_ca ON dcap_platforms (fmspc, ca)",
    "CREATE INDEX ix_dcap_platforms_last_seen ON dcap_platforms (last_seen)",
    "CREATE INDEX ix_dcap_platforms_expires ON dcap_platforms (expires)",
    "CREATE INDEX ix_dcap_registrations_qe_id_pce_id ON dcap_registrations (qe_id, pce_id)",
)


def released(url: str, version: str) -> None:
    """Make the tables of a released version, by its SQL alone."""
    dialect = make_url(url).get_backend_name()
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in (RELEASED / f"{version}.{dialect}.sql").read_text().split(";\n"):
            if statement.strip():
                connection.execute(text(statement))
    engine.dispose()


def next_version(tmp_path: Path) -> tuple[tuple[str, ...], Path]:
    """The migrations with one more."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for file in (MIGRATIONS / "versions").glob("*.py"):
        (folder / "versions" / file.name).write_text(file.read_text())
    (folder / "versions" / "v9999_next.py").write_text(NEXT.format(newest=VERSIONS[-1]))
    return (*VERSIONS, "9999"), folder


def fill(url: str) -> None:
    """One of everything."""
    with Store.open(url) as store:
        store.items.put(item())
        store.platforms.put(holding())
        store.registrations.add(registration())
        store.policies.put(policy())


def assert_filled(url: str) -> None:
    """All of it is there."""
    with Store.open(url) as store:
        assert store.items.get(RootCrlKey()) == item()
        answer = store.platforms.answer(qe_id(0), "0000", CPU_SVN, PCE_SVN)
        assert answer is not None
        assert answer.certificate == holding().certificates[1].pem
        assert store.registrations.list() == (registration(),)
        assert store.policies.list() == (policy(),)


def test_the_first_start_makes_what_the_metadata_says(url: str) -> None:
    """The tables of an empty database are those of `schema`, no more and no less, stamped."""
    Store.open(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == VERSIONS[-1]
    engine.dispose()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_released_version_is_upgraded(url: str, version: str) -> None:
    """A database of every version ever released becomes one of the newest, by its migrations."""
    released(url, version)
    Store.open(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == VERSIONS[-1]
    engine.dispose()
    fill(url)
    assert_filled(url)


@pytest.mark.parametrize("done", range(len(SECOND) + 1))
def test_the_second_version_is_reached_from_any_part_of_it(url: str, done: int) -> None:
    """What a killed upgrade had already committed (in MySQL) is not done twice; machines stay."""
    released(url, "0001")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text(MACHINE),
            {
                "qe": qe_id(0).encode(),
                "pce": b"0000",
                "fmspc": FMSPC,
                "ca": b"PLATFORM",
                "chain": bytes(32),
            },
        )
        for state in STATES:
            waits = registration(1)
            connection.execute(
                text(QUEUED),
                {
                    "digest": state.encode().ljust(32),
                    "qe": waits.qe_id.encode(),
                    "pce": b"0000",
                    "cpu": CPU_SVN.encode(),
                    "isv": PCE_SVN.encode(),
                    "ppid": waits.encrypted_ppid,
                    "state": state.encode(),
                },
            )
        for statement in SECOND[:done]:
            connection.execute(text(statement))
    with Store.open(url) as store:
        assert store.changes().platforms == 1
        platform = store.platforms.get(qe_id(0), "0000")
        assert platform is not None
        assert (platform.last_seen, platform.expires) == (None, None)
        assert platform.is_registered is None
        store.platforms.saw([(qe_id(0), "0000")], AT)
        assert (store.platforms.get(qe_id(0), "0000") or platform).last_seen == AT
        for state in STATES:  # in place of the row that the first version wrote
            store.registrations.add(registration(1, state=state))
        assert store.statistics().registrations == dict.fromkeys(STATES, 1)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_an_upgrade_keeps_everything(url: str, tmp_path: Path) -> None:
    """A migration changes the tables and the stamp; what was kept is kept, and caches are told."""
    fill(url)
    versions, migrations = next_version(tmp_path)
    database = Database.at(url)
    bring_up(database, versions=versions, migrations=migrations)
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT note FROM dcap_items")) == 7
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == "9999"
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{VERSIONS[-1]}'"))
        connection.commit()
    database.close()
    assert_filled(url)
    with Store.open(url) as store:
        assert store.change_number() == 5


def test_a_newer_schema_is_refused(url: str) -> None:
    """What a newer dcap wrote is left alone, and the error says what to run."""
    fill(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '7777'"))
    with pytest.raises(ConfigError, match="run the newer dcap") as caught:
        Store.open(url)
    assert caught.value.code == "store-newer"
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM dcap_items")) == 1
    engine.dispose()


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    """A file of SQLite with other tables (Intel's cache) is left as it is."""
    file = tmp_path / "pckcache.db"
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE platforms (qe_id VARCHAR(255))"))
    with pytest.raises(ConfigError, match="store-foreign"):
        Store.open(f"sqlite:///{file}")
    assert inspect(engine).get_table_names() == ["platforms"]
    engine.dispose()


def test_replicas_start_at_once(url: str) -> None:
    """Of processes that open an empty database together none fails."""
    started = [children.start(children.open_once, url) for _ in range(4)]
    assert [pipe.recv() for _, pipe in started] == ["open"] * 4
    for process, pipe in started:
        process.join()
        pipe.close()
    fill(url)
    assert_filled(url)


def test_the_first_start_does_without_alembic(tmp_path: Path) -> None:
    """Alembic is slow to import: a database that needs no migration does not load it."""
    program = (
        "import sys; from dcap.pccs.store.store import Store; "
        f"Store.open('sqlite:///{tmp_path}/a.db').close(); "
        f"Store.open('sqlite:///{tmp_path}/a.db').close(); "
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_store_that_must_be_there_is_not_made(place: Server, tmp_path: Path) -> None:
    """Who only looks into one, and names the wrong place, is told; nothing is left behind."""
    file = tmp_path / "nowhere" / "pccs.db"
    url = f"sqlite:///{file}" if place.url.startswith("sqlite") else place.database()
    with pytest.raises(ConfigError, match="store-missing"):
        Store.open(url, create=False)
    assert not file.parent.exists()
    if not url.startswith("sqlite"):
        database = Database.at(url)
        assert inspect(database.engine).get_table_names() == []
        database.close()
        Store.open(url).close()
        Store.open(url, create=False).close()


def test_a_database_that_others_can_read_or_write(tmp_path: Path) -> None:
    """Readable for everybody, it is made private; writable for everybody, it is not trusted."""
    file = tmp_path / "pccs.db"
    url = f"sqlite:///{file}"
    Store.open(url).close()
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o664)
    Store.open(url).close()
    assert file.stat().st_mode & 0o777 == 0o660
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="store-exposed"):
        Store.open(url)
