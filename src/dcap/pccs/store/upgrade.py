"""A database brought to this dcap's schema, before anything else is asked of it.

An empty one gets the tables as they are now, and the version's stamp, in milliseconds and without
Alembic; one of an older version is upgraded by the packaged migrations; one of a newer version is
refused. Whoever comes first does it, everyone else waits: processes and replicas start together.

Killed in the middle, SQLite and PostgreSQL have done nothing (their schema changes are transactional);
MySQL has done a part, and the next start does the rest: every migration must bear that (`migrations`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from dcap.errors import ConfigError
from dcap.pccs.store.database import LOCK_SECONDS, Database, make_private
from dcap.pccs.store.failures import Failure
from dcap.pccs.store.schema import CHANGES, METADATA, VERSION_TABLE, VERSIONS

#: Alembic's folder: `versions` in it.
MIGRATIONS: Final = Path(__file__).with_name("migrations")
#: Of PostgreSQL's advisory locks and MySQL's named ones.
_LOCK_NUMBER: Final = 0x64636170
_LOCK_NAME: Final = "dcap-schema"


def bring_up(
    database: Database,
    *,
    versions: Sequence[str] = VERSIONS,
    migrations: Path = MIGRATIONS,
    create: bool = True,
) -> None:
    """Create or upgrade the tables. Raises `ConfigError` (`store-newer`, `store-foreign`).

    With `create` false nothing is made where there is nothing: `ConfigError` (`store-missing`).
    """
    if database.file is not None:
        if not create and not database.file.exists():
            raise _missing(database)
        make_private(database.file)
    found = database.read(_version)
    if found == versions[-1]:
        return
    if found is None and not create:
        raise _missing(database)
    with database.errors(), _alone(database) as connection:
        found = _version(connection)
        if found is None:
            _refuse_foreign(database, connection)
            METADATA.create_all(connection)
            if database.dialect == "mysql":
                _add_indexes(connection)
            _stamp(connection, VERSIONS[-1])
            found = VERSIONS[-1]
        if found not in versions:
            raise ConfigError(
                "store-newer",
                f"the database is of version {found} of the schema; this dcap knows up to "
                f"{versions[-1]}",
                where=database.place,
                mend="run the newer dcap, or restore the backup that was made before the upgrade",
            )
        if found != versions[-1]:
            _migrate(connection, migrations)


def _missing(database: Database) -> ConfigError:
    return ConfigError(
        "store-missing",
        "no service has run here: there is no database of one",
        where=str(database.file or database.place),
        mend="name the service's folder with --data, or its database with --database",
    )


def _version(connection: Connection) -> str | None:
    """The version's stamp; `None` where there is none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(
        text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - ours
    )
    return found


def _add_indexes(connection: Connection) -> None:
    """The indexes that are missing of tables that are there: who made them was killed in between."""
    for table in METADATA.sorted_tables:
        for index in sorted(table.indexes, key=lambda one: one.name or ""):
            index.create(connection, checkfirst=True)


def _stamp(connection: Connection, version: str) -> None:
    """The version's row and the counter's. The stamp comes last: it says that all is there."""
    if connection.execute(CHANGES.select()).first() is None:
        connection.execute(CHANGES.insert().values({column.name: 0 for column in CHANGES.c}))
    connection.execute(
        text(
            f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, "
            f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(
        text(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (:version)"),  # noqa: S608 - ours
        {"version": version},
    )


def _refuse_foreign(database: Database, connection: Connection) -> None:
    """A file of SQLite belongs to one program; on a server, others may have tables beside ours."""
    if database.file is not None and inspect(connection).get_table_names():
        raise database.error(Failure.FOREIGN, "")


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """A transaction that excludes every other bringing up of the same database.

    MySQL's lock is the session's: it is given back after the commit, and by the server where this
    process dies.
    """
    with database.engine.connect() as connection:
        if database.dialect == "sqlite":
            connection = connection.execution_options(dcap_writing=True)  # noqa: PLW2901
        if database.dialect == "mysql":
            taken = connection.scalar(
                text("SELECT get_lock(:name, :seconds)"),
                {"name": _lock(database), "seconds": LOCK_SECONDS},
            )
            connection.commit()
            if not taken:
                raise database.error(Failure.BUSY, "")
        with connection.begin():
            if database.dialect == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})"))
            yield connection
        if database.dialect == "mysql":
            connection.execute(text("SELECT release_lock(:name)"), {"name": _lock(database)})
            connection.commit()


def _lock(database: Database) -> str:
    """A name of MySQL's, of one database: its locks are the server's. At most 64 characters."""
    return f"{_LOCK_NAME}-{database.engine.url.database}"[:64]


def _migrate(connection: Connection, migrations: Path) -> None:
    """Every migration that is missing, in order. Alembic is slow to import: here, and only here."""
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(str(migrations))
    with EnvironmentContext(
        Config(),
        scripts,
        fn=lambda revision, _context: scripts._upgrade_revs("head", revision),  # noqa: SLF001
    ) as environment:
        environment.configure(
            connection=connection, target_metadata=METADATA, version_table=VERSION_TABLE
        )
        environment.run_migrations()
