"""A backup of a store, taken while it is in use.

    backup(store, Path("pccs-2026-01-01.backup"))
    restore(store, Path(…), proven)  # into an empty store, of any of the databases

Of SQLite it is the database itself, by SQLite's online backup, and is used by putting it in place; of
every database it can be an archive: the values of `pccs.items`, one a line, of one moment, with a
checksum at the end. It is how one moves from one database to another. Either file holds identifiers of
machines: it is made for its owner alone, under another name until it is whole and on the disk. Its
checksum tells whether it is whole, not who made it: what is restored is proven again (`restoration`).

    {"dcap-pccs-archive": 1, "made_at": …}
    {"type": "item" | "machine" | "registration" | "policy", "value": …}   …
    {"type": "end", "records": N, "sha256": of all lines before, hex}
"""

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import msgspec
from sqlalchemy import Connection

from dcap.errors import ConfigError, FormatError, Unavailable
from dcap.pccs.items import AppraisalPolicy, Holding, Item, Registration
from dcap.pccs.store.collateral import every_item, put_item
from dcap.pccs.store.holdings import every_holding, pack_holdings, put_packed
from dcap.pccs.store.policies import every_policy, put_policy
from dcap.pccs.store.registrations import every_registration, put_registrations
from dcap.pccs.store.rows import batches
from dcap.pccs.store.store import Store

FORMAT: Final = 1
#: No record comes near it: a machine with all its certificates is some 50 KB.
MAX_LINE: Final = 64 * 1024 * 1024

Value: TypeAlias = Item | Holding | Registration | AppraisalPolicy


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    format: int = msgspec.field(name="dcap-pccs-archive")
    made_at: datetime


class _Line(msgspec.Struct, frozen=True, tag_field="type"):
    pass


class _Item(_Line, frozen=True, tag="item"):
    value: Item


class _Machine(_Line, frozen=True, tag="machine"):
    value: Holding


class _Registration(_Line, frozen=True, tag="registration"):
    value: Registration


class _Policy(_Line, frozen=True, tag="policy"):
    value: AppraisalPolicy


class _End(_Line, frozen=True, tag="end"):
    records: int
    sha256: str


_KINDS: Final[dict[type[Value], Callable[[Any], _Line]]] = {
    Item: _Item,
    Holding: _Machine,
    Registration: _Registration,
    AppraisalPolicy: _Policy,
}
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_Item | _Machine | _Registration | _Policy | _End)


def backup(store: Store, target: Path, *, made_at: datetime) -> int:
    """Write an archive; gives the number of records. Raises `Unavailable`, `ConfigError`."""
    with _whole(target) as file, store.database.snapshot() as connection:
        state = hashlib.sha256()

        def write(line: bytes) -> None:
            state.update(line + b"\n")
            file.write(line + b"\n")

        write(_ENCODER.encode(Header(format=FORMAT, made_at=made_at)))
        records = 0
        for value in _everything(connection):
            write(_ENCODER.encode(_KINDS[type(value)](value)))
            records += 1
        file.write(_ENCODER.encode(_End(records, state.hexdigest())) + b"\n")
        return records


def copy_sqlite(store: Store, target: Path) -> None:
    """Copy the database of SQLite while it is in use. Raises `ConfigError`, `Unavailable`."""
    file = store.database.file
    if file is None:
        raise ConfigError(
            "store-not-sqlite",
            "only SQLite's database is a file",
            where=store.place,
            mend="make an archive, or use the database's own tools",
        )
    with _whole(target) as opened:
        name = Path(opened.name)
        try:
            with closing(sqlite3.connect(file)) as ours, closing(sqlite3.connect(name)) as copy:
                # Some pages at a time, so that whoever writes meanwhile is not held up.
                ours.backup(copy, pages=4096, sleep=0.01)
                copy.execute("PRAGMA journal_mode=DELETE")
                sound = copy.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        except sqlite3.Error as error:
            raise _failed(target, getattr(error, "sqlite_errorname", "SQLite")) from None
        if not sound:
            raise Unavailable(
                "store-damaged",
                "the database's file is damaged, and so is its copy",
                where=str(file),
                mend="restore the latest backup; a cache can also be filled anew",
            )


def restore(
    store: Store, source: Path, proven: Callable[[Iterator[Value]], Iterable[Value]]
) -> dict[str, int]:
    """Put an archive's values into an empty store, all or none; gives how many there are of each kind.

    `proven` gives those of the values that hold, items first. The whole file is checked before anything
    is written. Raises what `proven` does, `FormatError` (`store-archive`), `ConfigError`
    (`store-not-empty`, `file-unreadable`), `Unavailable`.
    """
    try:
        with source.open("rb") as file:
            _check(file, source)
        held = store.statistics()
        if held.items or held.platforms or held.registrations or held.policies:
            raise ConfigError(
                "store-not-empty",
                "a backup is restored into an empty store, and this one is not",
                where=store.place,
                mend="name a new file or an empty database, and put it in the old one's place",
            )

        def act(connection: Connection) -> dict[str, int]:
            counts: Counter[str] = Counter()
            with source.open("rb") as file:
                next(file)
                for some in batches(proven(line.value for line in _lines(file, source))):
                    _put(connection, some)
                    counts.update(_NAMES[type(value)] for value in some)
            return {name: counts[name] for name in _NAMES.values()}

        return store.database.write(act, *_TOPICS)
    except OSError as error:
        raise ConfigError(
            "file-unreadable",
            f"cannot be read: {error.strerror or error}",
            where=str(source),
            mend="check its name and permissions",
        ) from None


_NAMES: Final[dict[type[Value], str]] = {
    Item: "items",
    Holding: "platforms",
    Registration: "registrations",
    AppraisalPolicy: "policies",
}
_TOPICS: Final = ("items", "platforms", "registrations", "policies")


def _everything(connection: Connection) -> Iterator[Value]:
    return chain(
        every_item(connection),
        every_policy(connection),
        every_registration(connection),
        every_holding(connection),
    )


def _put(connection: Connection, values: Any) -> None:  # noqa: ANN401 - a batch of the four
    for value in values:
        if isinstance(value, Item):
            put_item(connection, value)
        elif isinstance(value, AppraisalPolicy):
            put_policy(connection, value)
    put_registrations(connection, [v for v in values if isinstance(v, Registration)])
    put_packed(connection, pack_holdings(v for v in values if isinstance(v, Holding)))


def _check(file: BinaryIO, source: Path) -> None:
    """Whether an archive is whole: every line is read, and the checksum holds."""
    state = hashlib.sha256()
    first = file.readline(MAX_LINE)
    try:
        header = msgspec.json.decode(first, type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _not_an_archive(source, 1) from None
    if header.format != FORMAT:
        raise FormatError(
            "store-archive",
            f"the archive is of format {header.format}; this dcap reads {FORMAT}",
            where=str(source),
            mend="restore it with the dcap that made it, or a newer one",
        )
    state.update(first)
    for records, line in enumerate(iter(lambda: file.readline(MAX_LINE), b"")):
        record = _record(line, source, records + 2)
        if isinstance(record, _End):
            if (record.records, record.sha256) != (records, state.hexdigest()) or file.read(1):
                break
            return
        state.update(line)
    raise FormatError(
        "store-archive",
        "the archive is cut off, or was changed: its checksum does not hold",
        where=str(source),
        mend="take another backup",
    )


def _lines(file: BinaryIO, source: Path) -> Iterator[Any]:
    """The records of an archive that was checked, its header already read."""
    for number, line in enumerate(file, 2):
        record = _record(line, source, number)
        if isinstance(record, _End):
            return
        yield record


def _record(line: bytes, source: Path, number: int) -> Any:  # noqa: ANN401 - one of the union
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, FormatError):
        raise _not_an_archive(source, number) from None


def _not_an_archive(source: Path, line: int) -> FormatError:
    return FormatError(
        "store-archive",
        "not an archive of a PCCS's store, or a damaged one",
        where=f"{source}, line {line}",
        mend="give a file that `dcap pccs backup` made",
    )


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """A file that gets its name only when it is whole and on the disk, for its owner alone."""
    unfinished = target.with_name(target.name + ".partial")
    try:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        with open(unfinished, "xb", opener=_for_the_owner) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _failed(target, error.strerror or str(error)) from None
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _failed(target: Path, why: str) -> ConfigError:
    return ConfigError(
        "backup-unwritable",
        f"the backup cannot be written: {why}",
        where=str(target),
        mend="name a folder that can be written, on a disk with enough space",
    )
