"""What a database's error means for us: a table by the drivers' own codes, never by their words.

Source: SQLite result codes; PostgreSQL Appendix A; MariaDB error codes; SQLAlchemy `DBAPIError`.
"""

import sqlite3
from enum import Enum
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError


class Failure(Enum):
    """Our code, whether a person's setting is at fault, what, how to mend."""

    GONE = (
        "store-unavailable",
        False,
        "the database cannot be reached, or ended the connection",
        "start it, or correct its URL, user and password; the service goes on by itself",
    )
    BUSY = (
        "store-busy",
        False,
        "the database was busy with other writes for too long",
        "try again; look for a backup or a script that keeps it locked",
    )
    DEADLOCK = (
        "store-busy",
        False,
        "the database gave up this write in favour of another",
        "try again",
    )
    FULL = (
        "store-full",
        False,
        "the database cannot grow: its disk is full, or over a quota",
        "free some space; nothing that was kept is lost, and the service goes on by itself",
    )
    READ_ONLY = (
        "store-unwritable",
        True,
        "the database cannot be written",
        "give the file and its folder, or the tables, to the user that the service runs as",
    )
    FOREIGN = (
        "store-foreign",
        True,
        "what stands there is not a database of this service",
        "name a new file or an empty database; `dcap pccs import` reads one of Intel's",
    )
    DAMAGED = (
        "store-damaged",
        False,
        "the database's file is damaged",
        "restore the latest backup; a cache can also be filled anew",
    )
    OTHER = (
        "store-failure",
        False,
        "the database refused a statement",
        "look into the database's own log; if it says nothing, this is a bug of ours",
    )

    @property
    def code(self) -> str:
        """Our code."""
        return self.value[0]

    @property
    def is_setting(self) -> bool:
        """Whether it is what a person wrote, not what happens."""
        return self.value[1]

    @property
    def what(self) -> str:
        """What is wrong."""
        return self.value[2]

    @property
    def mend(self) -> str:
        """How to mend it."""
        return self.value[3]


#: By primary result code. A write that the system refuses for another reason than a full disk (a quota,
#: a limit of the file's size) is an I/O error to SQLite, of a kind of its own.
_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: Failure.BUSY,
    sqlite3.SQLITE_LOCKED: Failure.BUSY,
    sqlite3.SQLITE_FULL: Failure.FULL,
    sqlite3.SQLITE_READONLY: Failure.READ_ONLY,
    sqlite3.SQLITE_PERM: Failure.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Failure.READ_ONLY,
    sqlite3.SQLITE_NOTADB: Failure.FOREIGN,
    sqlite3.SQLITE_CORRUPT: Failure.DAMAGED,
    sqlite3.SQLITE_IOERR: Failure.GONE,
}
_SQLITE_WRITES: Final = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
#: By SQLSTATE, the longest prefix first.
_POSTGRESQL: Final = {
    "53100": Failure.FULL,
    "55P03": Failure.BUSY,
    "57014": Failure.BUSY,
    "40": Failure.DEADLOCK,
    "42501": Failure.READ_ONLY,
    "25006": Failure.READ_ONLY,
    "3D000": Failure.FOREIGN,
    "42P01": Failure.FOREIGN,
    "42703": Failure.FOREIGN,
    "08": Failure.GONE,
    "28": Failure.GONE,
    "53": Failure.GONE,
    "57": Failure.GONE,
    "XX001": Failure.DAMAGED,
    "XX002": Failure.DAMAGED,
}
_MYSQL: Final = {
    1021: Failure.FULL,
    1114: Failure.FULL,
    3: Failure.FULL,
    1026: Failure.FULL,
    1205: Failure.BUSY,
    1213: Failure.DEADLOCK,
    1290: Failure.READ_ONLY,
    1142: Failure.READ_ONLY,
    1143: Failure.READ_ONLY,
    1836: Failure.READ_ONLY,
    1049: Failure.FOREIGN,
    1146: Failure.FOREIGN,
    1054: Failure.FOREIGN,
    126: Failure.DAMAGED,
    1034: Failure.DAMAGED,
    0: Failure.GONE,
    1040: Failure.GONE,
    1044: Failure.GONE,
    1045: Failure.GONE,
    1053: Failure.GONE,
    2002: Failure.GONE,
    2003: Failure.GONE,
    2005: Failure.GONE,
    2006: Failure.GONE,
    2013: Failure.GONE,
    2014: Failure.GONE,
}


def failure_of(error: SQLAlchemyError) -> tuple[Failure, str]:
    """What an error means, and the driver's own code for it."""
    if not isinstance(error, DBAPIError):
        return Failure.OTHER, type(error).__name__
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    number = cause.args[0] if cause is not None and cause.args else None
    if isinstance(number, int):  # PyMySQL's; 0 is that of a socket that is already closed
        return _MYSQL.get(number, Failure.OTHER), f"error {number}" if number else ""
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        for prefix in (state, state[:2]):
            if prefix in _POSTGRESQL:
                return _POSTGRESQL[prefix], f"SQLSTATE {state}"
        return Failure.OTHER, f"SQLSTATE {state}"
    if error.connection_invalidated or "OperationalError" in type(cause).__name__:
        return Failure.GONE, ""
    return Failure.OTHER, type(cause).__name__


def _of_sqlite(cause: sqlite3.Error) -> tuple[Failure, str]:
    code = getattr(cause, "sqlite_errorcode", None)
    if code is None:
        return Failure.OTHER, type(cause).__name__
    name = getattr(cause, "sqlite_errorname", str(code))
    if code in _SQLITE_WRITES:
        return Failure.FULL, name
    return _SQLITE.get(code & 0xFF, Failure.OTHER), name
