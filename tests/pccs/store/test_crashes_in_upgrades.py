"""kill -9 while a database is made or upgraded: before and in any statement, the next start ends it.

How it comes to a version when nobody is killed: `test_upgrade`. A few kills each; `DCAP_KILLS=100` makes
at least a hundred of each kind in each database.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from dcap.pccs.store.database import Database
from dcap.pccs.store.schema import METADATA, PLATFORMS, VERSION_TABLE, VERSIONS
from dcap.pccs.store.store import Store
from dcap.pccs.store.upgrade import MIGRATIONS, bring_up
from pccs.store import children
from pccs.store.samples import FMSPC, qe_id
from pccs.store.test_upgrade import (
    MACHINE,
    assert_filled,
    fill,
    next_version,
    released,
)

KILLS = int(os.environ.get("DCAP_KILLS", "2"))
#: A statement and what is around it take about so long: the kill falls anywhere in it.
STATEMENT_SECONDS = 0.004


def die_upgrading(
    url: str, chance: random.Random, *, of: int, versions: tuple[str, ...], migrations: Path
) -> bool:
    """Upgrade, and be killed in one of the first `of` statements. False where it was done before."""
    process, pipe = children.start(children.upgrade, url, versions, migrations)
    last, begun, said = chance.randint(1, of), 0, ""
    while begun < last and said != "done":
        said = pipe.recv()
        begun += said == "statement"
    time.sleep(chance.uniform(0, STATEMENT_SECONDS))
    process.kill()
    process.join()
    pipe.close()
    return process.exitcode == -signal.SIGKILL


def statements(url: str, versions: tuple[str, ...], migrations: Path) -> int:
    """Upgrade in peace. Gives how many statements that takes."""
    process, pipe = children.start(children.upgrade, url, versions, migrations)
    begun = 0
    while pipe.recv() == "statement":
        begun += 1
    process.join()
    pipe.close()
    return begun


def clear(url: str) -> None:
    """An empty database again."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in inspect(connection).get_table_names():
            connection.execute(text(f"DROP TABLE {table}"))
    engine.dispose()


def old(url: str, version: str) -> None:
    """The database of a first version with a machine in it, or an empty one."""
    if not version:
        return
    released(url, version)
    engine = create_engine(url)
    values = {"qe": qe_id(0).encode(), "pce": b"0000", "fmspc": FMSPC, "ca": b"PLATFORM"}
    with engine.begin() as connection:
        connection.execute(text(MACHINE), {**values, "chain": bytes(32)})
    engine.dispose()


@pytest.mark.parametrize("before", ["", VERSIONS[0]], ids=["nothing", VERSIONS[0]])
def test_a_start_that_is_killed_is_ended_by_the_next(url: str, before: str) -> None:
    """Killed while it makes the tables, or upgrades those of the first release: the next is whole."""
    chance = random.Random(f"{url.partition(':')[0]}{before}")
    old(url, before)
    whole = statements(url, VERSIONS, MIGRATIONS)
    killed = tries = 0
    while killed < KILLS and tries < 3 * KILLS:
        tries += 1
        clear(url)
        old(url, before)
        killed += die_upgrading(url, chance, of=whole, versions=VERSIONS, migrations=MIGRATIONS)
        with Store.open(url) as store:
            kept = store.platforms.get(qe_id(0), "0000")
            assert (kept is not None) == bool(before)
        engine = create_engine(url)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            assert compare_metadata(context, METADATA) == []
            assert context.get_current_revision() == VERSIONS[-1]
            assert connection.scalar(text("SELECT COUNT(*) FROM dcap_changes")) == 1
        engine.dispose()
    assert killed
    fill(url)
    assert_filled(url)


@pytest.mark.parametrize("place", ["mariadb"], indirect=True)
def test_a_table_that_was_left_without_its_indexes_gets_them(url: str) -> None:
    """MySQL keeps a table whose maker died before its indexes: the next start adds what is missing."""
    engine = create_engine(url)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        for index in PLATFORMS.indexes:
            index.drop(connection)
    Store.open(url).close()
    with engine.connect() as connection:
        there = {index["name"]: index for index in inspect(connection).get_indexes(PLATFORMS.name)}
    engine.dispose()
    assert set(there) == {index.name for index in PLATFORMS.indexes}
    assert there["ux_dcap_platforms_qe_id_pce_id"]["unique"]


def test_an_upgrade_that_is_killed_again_and_again_is_ended(url: str, tmp_path: Path) -> None:
    """Whatever parts of a migration many dead starts have left, the one that lives ends it."""
    versions, migrations = next_version(tmp_path)
    chance = random.Random(7)
    fill(url)
    database = Database.at(url)
    whole = statements(url, versions, migrations)
    stamp(database, versions[-2])
    killed = tries = 0
    while killed < 2 * KILLS and tries < 6 * KILLS:
        tries += 1
        killed += die_upgrading(url, chance, of=whole, versions=versions, migrations=migrations)
        with database.engine.connect() as connection:
            assert connection.scalar(text("SELECT COUNT(*) FROM dcap_platforms")) == 1
            found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
        assert found in versions[-2:]
        if found == versions[-1]:
            stamp(database, versions[-2])
    assert killed
    bring_up(database, versions=versions, migrations=migrations)
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT note FROM dcap_items")) == 7
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == versions[-1]
    stamp(database, VERSIONS[-1])
    database.close()
    assert_filled(url)


def stamp(database: Database, version: str) -> None:
    """Say that it is of a version."""
    with database.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'"))
