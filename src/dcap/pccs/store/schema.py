"""The tables: the same in every database, each column of one exact meaning.

Text that comes from outside is kept as its UTF-8 bytes, so that no collation, padding rule or NUL
byte of a database makes two of them one; an instant is whole microseconds of the Unix epoch. There
are no foreign keys: `platforms.put` and `platforms.delete` alone write the three tables of a machine.

A change of these tables is a new version: a migration beside it (`migrations`), its name at the end
of `VERSIONS`, and the old version's SQL among the tests.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from dcap.pccs.items import MAX_QE_ID

#: Every version of the schema, oldest first; the last is what this dcap works with.
VERSIONS: Final = ("0001", "0002")
#: The one row of this table names the version. Alembic writes it, and so does the first start.
VERSION_TABLE: Final = "dcap_schema_version"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MYSQL: Final = ("mysql", "mariadb")


class ExactText(TypeDecorator[str]):
    """Text as its UTF-8 bytes. With `size` (in bytes) it can be a key in MySQL too."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self.size = size

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[bytes]:
        """MySQL's keys have a length."""
        if dialect.name not in _MYSQL:
            return dialect.type_descriptor(LargeBinary())
        sized = mysql.LONGBLOB() if self.size is None else mysql.VARBINARY(self.size)
        return dialect.type_descriptor(sized)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """To bytes. What came from a URL may hold half a surrogate pair."""
        del dialect
        return None if value is None else value.encode("utf-8", "surrogatepass")

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """To text."""
        del dialect
        return None if value is None else bytes(value).decode("utf-8", "surrogatepass")


class Instant(TypeDecorator[datetime]):
    """An instant as microseconds of the Unix epoch: exact, ordered, and of no time zone."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To microseconds."""
        del dialect
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        del dialect
        return None if value is None else _EPOCH + value * _MICROSECOND


class Whole(TypeDecorator[int]):
    """A whole number as its decimal digits: a CRL's number has up to 160 bits."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[bytes]:
        """64 digits are more than 160 bits have."""
        return dialect.type_descriptor(
            mysql.VARBINARY(64) if dialect.name in _MYSQL else LargeBinary()
        )

    def process_bind_param(self, value: int | None, dialect: Dialect) -> bytes | None:
        """To digits."""
        del dialect
        return None if value is None else b"%d" % value

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> int | None:
        """To a number."""
        del dialect
        return None if value is None else int(bytes(value))


def _binary(size: int | None = None) -> TypeEngine[bytes]:
    """Bytes, of any number or of at most `size`."""
    sized = mysql.LONGBLOB() if size is None else mysql.VARBINARY(size)
    return LargeBinary().with_variant(sized, *_MYSQL)


#: Deterministic names: migrations must be able to call things by them.
METADATA: Final = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"}
)


def _table(name: str, *parts: Column[Any] | Index, **options: Any) -> Table:
    options |= {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}
    made: Table = Table(name, METADATA, *parts, **options)
    return made


_QE_ID: Final = 4 * MAX_QE_ID
#: SQLite's own row number, where it is the key.
_ROW: Final = BigInteger().with_variant(Integer(), "sqlite")

#: One row. Its update is the first statement of every writing transaction, so that one writes at a
#: time, everywhere, and the numbers grow in the order of commits. `platform_id` is the last one given.
CHANGES: Final = _table(
    "dcap_changes",
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("platforms", BigInteger, nullable=False),
    Column("registrations", BigInteger, nullable=False),
    Column("policies", BigInteger, nullable=False),
    Column("platform_id", BigInteger, nullable=False),
)

#: Issuer chains by the SHA-256 of their PEM: a million machines share two.
CHAINS: Final = _table(
    "dcap_chains",
    Column("digest", _binary(32), primary_key=True),
    Column("pem", _binary(), nullable=False),
)

#: By the SHA-256 of the key's text: the URI of a CRL is longer than MySQL's keys.
ITEMS: Final = _table(
    "dcap_items",
    Column("digest", _binary(32), primary_key=True),
    Column("item_key", ExactText(), nullable=False),
    Column("body", _binary(), nullable=False),
    Column("chain", _binary(32)),
    Column("issued", Instant),
    Column("expires", Instant),
    Column("number", Whole),
    Column("fetched_at", Instant, nullable=False),
    Column("origin", ExactText(), nullable=False),
)

PLATFORMS: Final = _table(
    "dcap_platforms",
    Column("id", _ROW, primary_key=True, autoincrement=False),
    Column("qe_id", ExactText(_QE_ID), nullable=False),
    Column("pce_id", ExactText(16), nullable=False),
    Column("fmspc", _binary(6), nullable=False),
    Column("ca", ExactText(16), nullable=False),
    Column("encrypted_ppid", _binary()),
    Column("manifest", _binary()),
    Column("chain", _binary(32), nullable=False),
    Column("revision", BigInteger, nullable=False),
    # The hour in which it last asked for its certificate (`pccs.sightings`).
    Column("last_seen", Instant),
    # Whether who may register machines said that it has these ids; NULL is no.
    Column("is_registered", Boolean),
    # When the first of its certificates expires, where that is known.
    Column("expires", Instant),
    Index("ux_dcap_platforms_qe_id_pce_id", "qe_id", "pce_id", unique=True),
    Index("ix_dcap_platforms_fmspc_id", "fmspc", "id"),
    Index("ix_dcap_platforms_fmspc_ca", "fmspc", "ca"),
    Index("ix_dcap_platforms_last_seen", "last_seen"),
    Index("ix_dcap_platforms_expires", "expires"),
)

#: All of a machine in one row (`packing`), beside its row in `PLATFORMS`, which lists stay small by.
PCK_CERTIFICATES: Final = _table(
    "dcap_pck_certificates",
    Column("platform_id", _ROW, primary_key=True, autoincrement=False),
    Column("packed", _binary(), nullable=False),
)

RAW_TCBS: Final = _table(
    "dcap_raw_tcbs",
    Column("platform_id", BigInteger, primary_key=True, autoincrement=False),
    Column("cpu_svn", ExactText(32), primary_key=True),
    Column("pce_svn", ExactText(4), primary_key=True),
    Column("tcbm", ExactText(36), nullable=False),
    sqlite_with_rowid=False,
)

#: The queue. A row's key is a SHA-256 of what tells it from others (`registrations`); the first version
#: had that of four texts, so that rows are looked for by these.
REGISTRATIONS: Final = _table(
    "dcap_registrations",
    Column("digest", _binary(32), primary_key=True),
    Column("qe_id", ExactText(_QE_ID), nullable=False),
    Column("pce_id", ExactText(16), nullable=False),
    Column("cpu_svn", ExactText(32), nullable=False),
    Column("pce_svn", ExactText(4), nullable=False),
    Column("encrypted_ppid", _binary()),
    Column("manifest", _binary()),
    Column("state", ExactText(16), nullable=False),
    Column("created", Instant, nullable=False),
    Column("handed_out", Instant),
    Index("ix_dcap_registrations_state_created", "state", "created"),
    Index("ix_dcap_registrations_qe_id_pce_id", "qe_id", "pce_id"),
)

POLICIES: Final = _table(
    "dcap_policies",
    Column("id", ExactText(96), primary_key=True),
    Column("type", Integer, nullable=False),
    Column("policy", ExactText(), nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("fmspc", _binary(6), nullable=False),
    Index("ix_dcap_policies_fmspc", "fmspc"),
)

#: Who is fetching what. `expires` is in seconds by the clock of the database.
LEASES: Final = _table(
    "dcap_leases",
    Column("digest", _binary(32), primary_key=True),
    Column("holder", ExactText(), nullable=False),
    Column("expires", Double, nullable=False),
)
