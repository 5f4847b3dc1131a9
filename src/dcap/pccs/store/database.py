"""A database by its URL: connections, transactions, and our errors in place of the driver's.

    database = Database.at("sqlite:////var/lib/dcap/pccs.db")
    rows = database.read(lambda connection: connection.execute(…).all())
    database.write(lambda connection: connection.execute(…), "items")

A write is all or nothing, and durable when `write` returns: SQLite runs in WAL mode with
`synchronous=FULL`, which survives a loss of power too; NORMAL would survive only that of the process,
and costs an answered registration after a power cut. One writes at a time everywhere: the counter's
row is taken first (`schema.CHANGES`); in SQLite the file's lock, and before it one of this process,
so that its threads queue instead of polling.

A connection that was lost is replaced, and what was asked is asked once more, unless it was lost while
committing: then nobody knows, and the error says so. Not here: what is asked (the other files).
"""

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text, update
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from dcap.errors import ConfigError, Unavailable
from dcap.pccs.private_files import own_as_folder
from dcap.pccs.store.failures import Failure, failure_of
from dcap.pccs.store.schema import CHANGES

T = TypeVar("T")
Topic: TypeAlias = Literal["items", "platforms", "registrations", "policies"]
Dialect: TypeAlias = Literal["sqlite", "postgresql", "mysql"]

#: How long anyone waits for another's write, and for the server of a database to be reached.
LOCK_SECONDS: Final = 30
CONNECT_SECONDS: Final = 5
_CONNECTIONS: Final = 10
_WRITING: Final = "dcap_writing"
#: Of the transaction that it begins, and of no other.
_SNAPSHOT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

_DRIVERS: Final[dict[str, tuple[str, Dialect, str]]] = {
    "sqlite": ("sqlite", "sqlite", "server"),
    "postgresql": ("postgresql+psycopg", "postgresql", "postgres"),
    "postgres": ("postgresql+psycopg", "postgresql", "postgres"),
    "mysql": ("mysql+pymysql", "mysql", "mysql"),
    "mariadb": ("mysql+pymysql", "mysql", "mysql"),
}


class Database:
    """An open database. Made by `at`; safe for threads; never carried across a fork."""

    def __init__(self, engine: Engine, dialect: Dialect, place: str) -> None:
        self.engine = engine
        self.dialect: Dialect = dialect
        #: Without user, password or options: for errors and people.
        self.place = place
        self._writer = threading.Lock()
        #: Without a transaction around each statement, which is two round trips of three. SQLite has
        #: no way to go, and MySQL's would be told of it each time.
        alone = {"isolation_level": "AUTOCOMMIT"} if dialect == "postgresql" else {}
        self._single = engine.execution_options(**alone)
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error

    @classmethod
    def at(cls, url: str) -> "Database":
        """The database of a URL. Nothing is asked of it yet. Raises `ConfigError`."""
        parsed, dialect, extra = _parse(url)
        place = _place(parsed)
        try:
            engine = _engine(parsed, dialect)
        except (ImportError, NoSuchModuleError):
            raise ConfigError(
                "store-driver",
                f"the driver for {dialect} is not installed",
                where=place,
                mend=f"pip install 'dcap[{extra}]'",
            ) from None
        except (ArgumentError, TypeError, ValueError):
            raise _bad_url("its options are not those of the database", place) from None
        return cls(engine, dialect, place)

    @property
    def file(self) -> Path | None:
        """The file of SQLite; the others have none."""
        return Path(self.engine.url.database or "") if self.dialect == "sqlite" else None

    def read(self, act: Callable[[Connection], T]) -> T:
        """What `act` reads, in one transaction. It may run twice."""

        def attempt() -> T:
            with self.engine.connect() as connection, connection.begin():
                return act(connection)

        return self._once_more(attempt)

    def read_row(self, act: Callable[[Connection], T]) -> T:
        """What `act` reads with one statement: it sees one moment by itself. It may run twice."""

        def attempt() -> T:
            with self._single.connect() as connection:
                return act(connection)

        return self._once_more(attempt)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection on which everything read is of one moment, while others go on writing."""
        with self._once_more(self._open_snapshot) as connection, self.errors():
            yield connection

    def _open_snapshot(self) -> Connection:
        """SQLite's transactions are snapshots already."""
        connection = self.engine.connect()
        try:
            if self.dialect != "sqlite":
                connection.execute(_SNAPSHOT)
        except BaseException:
            connection.close()
            raise
        return connection

    def write(self, act: Callable[[Connection], T], *topics: Topic) -> T:
        """What `act` gives, all it wrote being durable. It may run twice, each time from the start.

        The change number grows, and the counters of the topics.
        """

        def counted(connection: Connection) -> T:
            bump(connection, *topics)
            return act(connection)

        return self._alone(counted)

    def write_quietly(self, act: Callable[[Connection], T]) -> T:
        """Like `write`, for rows that no answer is made of: the change number stays."""
        return self._alone(act)

    def _alone(self, act: Callable[[Connection], T]) -> T:
        if self.dialect != "sqlite":
            return self._once_more(lambda: self._transact(act))
        if not self._writer.acquire(timeout=LOCK_SECONDS):
            raise self.error(Failure.BUSY, "")
        try:
            return self._once_more(lambda: self._transact(act))
        finally:
            self._writer.release()

    def _transact(self, act: Callable[[Connection], T]) -> T:
        with self.engine.connect() as connection:
            connection = connection.execution_options(**{_WRITING: True})  # noqa: PLW2901
            with connection.begin() as transaction:
                result = act(connection)
                try:
                    transaction.commit()
                except DBAPIError as error:
                    if error.connection_invalidated:
                        raise Unavailable(
                            "store-unsure",
                            "the database went away while a change was being committed",
                            where=self.place,
                            mend="look whether the change is there; do it again where it is not",
                        ) from None
                    raise
                return result

    def _once_more(self, attempt: Callable[[], T]) -> T:
        """An attempt, and another where the connection had been lost before anything was done."""
        with self.errors():
            try:
                return attempt()
            except self._driver_error:
                # A connection died in the pool: setting it up, SQLAlchemy hands on what the driver says.
                self.engine.dispose()
            except DBAPIError as error:
                if not (error.connection_invalidated or failure_of(error)[0] is Failure.DEADLOCK):
                    raise
            return attempt()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Around whatever asks the database: its errors leave as ours, without its words.

        A driver's message may hold the values of a statement, and they identify machines.
        """
        try:
            yield
        except PoolTimeoutError:
            raise self.error(Failure.BUSY, "") from None
        except SQLAlchemyError as error:
            raise self.error(*failure_of(error)) from None
        except self._driver_error:
            raise self.error(Failure.GONE, "") from None

    def error(self, failure: Failure, detail: str) -> ConfigError | Unavailable:
        """A failure as an error of ours."""
        kind = ConfigError if failure.is_setting else Unavailable
        what = f"{failure.what} ({detail})" if detail else failure.what
        return kind(failure.code, what, where=self.place, mend=failure.mend)

    def close(self) -> None:
        """Close every connection: those that threads still hold, when they give them back."""
        with self.errors():
            event.listen(self.engine.pool, "checkin", _close_late)
            self.engine.dispose()


def _close_late(connection: object, record: ConnectionPoolEntry) -> None:
    """One that comes back to a pool which nobody has any more."""
    del connection
    record.invalidate()


def bump(connection: Connection, *topics: Topic) -> None:
    """Take the counter's row, and count."""
    columns = ("number", *topics)
    connection.execute(update(CHANGES).values({name: CHANGES.c[name] + 1 for name in columns}))


def _parse(url: str) -> tuple[URL, Dialect, str]:
    try:
        parsed = make_url(url)
        row = _DRIVERS.get(parsed.drivername.partition("+")[0])
    except (ArgumentError, ValueError):
        row = None
    if row is None:
        raise _bad_url("it is none of sqlite, postgresql, mysql and mariadb", "the database's URL")
    driver, dialect, extra = row
    parsed = parsed.set(drivername=driver)
    if dialect == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise _bad_url("SQLite needs a file", "sqlite")
    if dialect != "sqlite" and not parsed.database:
        raise _bad_url("it names no database", _place(parsed))
    return parsed, dialect, extra


def _bad_url(what: str, where: str) -> ConfigError:
    return ConfigError(
        "store-url",
        f"the database's URL cannot be used: {what}",
        where=where,
        mend="sqlite:////PATH, postgresql://USER:PASSWORD@HOST/NAME or mysql://USER:PASSWORD@HOST/NAME",
    )


def _place(url: URL) -> str:
    kind = url.drivername.partition("+")[0]
    shown = URL.create(kind, host=url.host, port=url.port, database=url.database)
    return shown.render_as_string()


def _engine(url: URL, dialect: Dialect) -> Engine:
    options: dict[str, Any] = {
        "pool_size": _CONNECTIONS,
        "max_overflow": 0,
        "pool_timeout": LOCK_SECONDS,
        # Statements' values identify machines: they stand in no message and no log.
        "hide_parameters": True,
    }
    if dialect == "sqlite":
        # The last one used is the next: it has the upper pages of the tables in memory.
        options["pool_use_lifo"] = True
        engine = create_engine(url, connect_args={"timeout": LOCK_SECONDS}, **options)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    settings: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
    if dialect == "postgresql":
        # A server that vanished without a word is noticed.
        settings |= {"tcp_user_timeout": LOCK_SECONDS * 1000, "keepalives_idle": LOCK_SECONDS}
    else:
        settings |= {
            "charset": "utf8mb4",
            "read_timeout": 2 * LOCK_SECONDS,
            "write_timeout": 2 * LOCK_SECONDS,
            "init_command": "SET SESSION sql_mode='STRICT_ALL_TABLES', "
            f"innodb_lock_wait_timeout={LOCK_SECONDS}",
        }
        options["isolation_level"] = "READ COMMITTED"
    engine = create_engine(url, connect_args=settings, **options)
    if dialect == "postgresql":
        event.listen(engine, "connect", _set_up_postgresql)
    return engine


def _set_up_sqlite(connection: Any, record: object) -> None:  # noqa: ANN401 - a driver's own type
    """Each new connection. Python's own transactions are off: `_begin_sqlite` opens them."""
    del record
    connection.isolation_level = None
    cursor = connection.cursor()
    turn_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA journal_size_limit=67108864")
    cursor.close()


def turn_to_wal(cursor: sqlite3.Cursor) -> None:
    """Once in a file's life. SQLite itself does not wait where others hold the file meanwhile."""
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
            if mode != "wal":
                mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise ConfigError(
                "store-file-system",
                "the file system cannot share SQLite's log among processes",
                where="the database's file",
                mend="put it on a local disk, or use PostgreSQL or MySQL",
            )
        return


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the file's lock first: a reader that becomes one later can only fail."""
    writing = connection.get_execution_options().get(_WRITING)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _set_up_postgresql(connection: Any, record: object) -> None:  # noqa: ANN401 - a driver's own type
    del record
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    connection.commit()


def make_private(file: Path) -> None:
    """Make SQLite's file, for its owner alone: what is in it identifies machines.

    One that is there and that everybody may read is made private; one that everybody could write is
    refused. What root makes in another's folder is that one's. Raises `ConfigError` (`store-unwritable`,
    `store-exposed`).
    """
    try:
        is_new = not file.exists()
        opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            found = os.fstat(opened)
            if is_new and os.geteuid() == 0:
                own_as_folder(opened, file.absolute().parent)
            if found.st_mode & stat.S_IWOTH:
                raise ConfigError(
                    "store-exposed",
                    "everybody on this machine can write the database's file",
                    where=str(file),
                    mend=f"look who did, then: chmod 600 {file}",
                )
            if found.st_mode & stat.S_IRWXO:
                with suppress(OSError):  # its owner is another
                    os.fchmod(opened, stat.S_IMODE(found.st_mode) & ~stat.S_IRWXO)
        finally:
            os.close(opened)
    except OSError as error:
        raise ConfigError(
            "store-unwritable",
            f"the database's file cannot be opened for writing: {error.strerror or error}",
            where=str(file),
            mend="make the folder, and give it to the user that the service runs as",
        ) from None


def database_seconds(dialect: Dialect) -> str:
    """SQL: the database's clock, in seconds since the Unix epoch, of now (not of the transaction)."""
    return {
        "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
        "postgresql": "extract(epoch from clock_timestamp())",
        "mysql": "unix_timestamp(sysdate(6))",
    }[dialect]
