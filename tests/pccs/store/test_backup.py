"""Backups: whole, of one moment, for their owner alone, and good in any of the databases."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from dcap.errors import ConfigError, FormatError
from dcap.pccs.items import CrlKey, Holding
from dcap.pccs.store.backup import Value, backup, copy_sqlite, restore
from dcap.pccs.store.store import Store
from dcap.pccs.trust import Forged
from pccs.databases import Server
from pccs.store import children
from pccs.store.samples import AT, holding, item, policy, qe_id, registration


def fill(store: Store) -> None:
    """Some of everything, more than one batch."""
    store.items.put(item(), item(CrlKey("https://a"), bytes(range(256)), number=2**159))
    store.platforms.put_many(holding(number, chain=b"%d" % (number % 2)) for number in range(1200))
    store.registrations.add(registration(1), registration(2, state="NOT_AVAILABLE"))
    store.policies.put(policy("a"))
    store.policies.put(policy("b"))


def content(store: Store) -> tuple[object, ...]:
    """All that is kept, in no order."""

    def plain(one: Holding) -> tuple[object, ...]:
        return one.platform, one.certificates, one.issuer_chain, one.raw_tcbs

    return (
        [store.items.get(summary.key) for summary in store.items.summaries()],
        {one.platform.qe_id: plain(one) for one in store.platforms.holdings()},
        [store.registrations.list(state) for state in ("NEW", "NOT_AVAILABLE", "DELETED")],
        store.policies.list(),
    )


def archive_of(tmp_path: Path) -> Path:
    """An archive of a small store."""
    with Store.open(f"sqlite:///{tmp_path}/small.db") as store:
        store.items.put(item())
        store.platforms.put(holding())
        assert backup(store, tmp_path / "archive", made_at=AT) == 2
    return tmp_path / "archive"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    """Another store, with nothing in it."""
    with Store.open(f"sqlite:///{tmp_path}/empty.db") as store:
        yield store


def test_an_archive_moves_a_store(place: Server, store: Store, tmp_path: Path) -> None:
    """What an archive of any database holds becomes the same store, there and in SQLite."""
    fill(store)
    target = tmp_path / "archive"
    assert backup(store, target, made_at=AT) == 1206
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    for url in (place.database(), f"sqlite:///{tmp_path}/moved.db"):
        with Store.open(url) as moved:
            assert sum(restore(moved, target, iter).values()) == 1206
            assert content(moved) == content(store)


def test_an_archive_is_of_one_moment(store: Store, url: str, tmp_path: Path) -> None:
    """While others write, an archive holds each machine whole, and both items or none of each write."""
    process, pipe = children.start(children.write_for_ever, url, 0)
    for _ in range(20):
        pipe.recv()
    for attempt in range(3):
        backup(store, tmp_path / "archive", made_at=AT)
        with Store.open(f"sqlite:///{tmp_path}/{attempt}.db") as copy:
            restore(copy, tmp_path / "archive", iter)
            listed = {summary.key for summary in copy.items.summaries()}
            assert len(listed) >= 40
            assert all(CrlKey(f"{key.uri.removesuffix('/too')}/too") in listed for key in listed)
            assert len(copy.registrations.list()) in {len(listed) // 2, len(listed) // 2 - 1}
            assert all(len(one.certificates) == 3 for one in copy.platforms.holdings())
    process.kill()
    process.join()
    pipe.close()


def test_a_changed_archive_changes_nothing(tmp_path: Path, empty: Store) -> None:
    """One byte more, less or other in an archive, and nothing of it is restored."""
    archive = archive_of(tmp_path)
    whole = archive.read_bytes()
    middle = whole.index(b'"body":"') + 8
    changed = (
        whole[: len(whole) // 2],
        b"".join(whole.splitlines(keepends=True)[:-1]),
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        whole + b"\n",
        b"",
        b"{}\n" + whole,
        b"\xff" * 100,
    )
    for data in changed:
        archive.write_bytes(data)
        with pytest.raises(FormatError, match="store-archive"):
            restore(empty, archive, iter)
    assert empty.change_number() == 0
    archive.write_bytes(whole)
    assert restore(empty, archive, iter) == {
        "items": 1,
        "platforms": 1,
        "registrations": 0,
        "policies": 0,
    }
    empty.close()


def test_an_archive_of_the_future_is_refused(tmp_path: Path, empty: Store) -> None:
    """A format that this dcap does not know is said to be that."""
    archive = archive_of(tmp_path)
    archive.write_bytes(archive.read_bytes().replace(b'archive":1', b'archive":2', 1))
    with pytest.raises(FormatError, match="format 2"):
        restore(empty, archive, iter)
    empty.close()


def test_what_does_not_prove_leaves_nothing_behind(tmp_path: Path, empty: Store) -> None:
    """The refusal of one value, the last of more than a batch, is that of all before it."""
    with Store.open(f"sqlite:///{tmp_path}/full.db") as store:
        fill(store)
        backup(store, tmp_path / "archive", made_at=AT)

    def refuse(values: Iterator[Value]) -> Iterator[Value]:
        yield from islice(values, 1205)
        raise Forged("pck-chain-signature", "it does not prove")

    with pytest.raises(Forged):
        restore(empty, tmp_path / "archive", refuse)
    held = empty.statistics()
    assert (held.items, held.platforms, held.policies, held.registrations) == (0, 0, 0, {})
    empty.close()


def test_a_store_in_use_is_not_restored_over(tmp_path: Path, empty: Store) -> None:
    """A store that holds anything keeps it."""
    empty.policies.put(policy())
    with pytest.raises(ConfigError, match="store-not-empty"):
        restore(empty, archive_of(tmp_path), iter)
    assert empty.statistics().platforms == 0
    empty.close()


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path, empty: Store) -> None:
    """The error names the file; the database's own is told too."""
    nowhere = tmp_path / "no such folder" / "archive"
    with pytest.raises(ConfigError, match="no such folder"):
        restore(empty, nowhere, iter)
    with pytest.raises(ConfigError, match="backup-unwritable"):
        backup(empty, nowhere, made_at=AT)
    with pytest.raises(ConfigError, match="backup-unwritable"):
        copy_sqlite(empty, nowhere)
    empty.close()


def test_sqlite_is_copied_while_it_is_written(tmp_path: Path) -> None:
    """A copy made beside a writer is a whole store, for its owner alone, in a file of its own."""
    url = f"sqlite:///{tmp_path}/store.db"
    process, pipe = children.start(children.write_for_ever, url, 0)
    for _ in range(20):
        last = pipe.recv()
    with Store.open(url) as store:
        copy_sqlite(store, tmp_path / "copy.db")
    process.kill()
    process.join()
    pipe.close()
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert not list(tmp_path.glob("copy.db*-wal"))
    with closing(sqlite3.connect(tmp_path / "copy.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with Store.open(f"sqlite:///{tmp_path}/copy.db") as copy:
        assert copy.platforms.holding(qe_id(last), "0000") is not None
        assert copy.items.get(CrlKey(f"https://{last}/too")) is not None


def test_a_killed_copy_leaves_the_last_one(tmp_path: Path) -> None:
    """A backup has its name only when it is whole: kill -9 leaves the one before."""
    url = f"sqlite:///{tmp_path}/store.db"
    with Store.open(url) as store:
        store.platforms.put_many(holding(number) for number in range(300))
        for _ in range(5):
            process, pipe = children.start(children.copy_for_ever, url, tmp_path / "copy.db")
            assert pipe.recv() == "copied"
            process.kill()
            process.join()
            pipe.close()
            with Store.open(f"sqlite:///{tmp_path}/copy.db") as copy:
                assert copy.statistics().platforms == 300


def test_only_sqlite_is_a_file(place: Server, store: Store, tmp_path: Path) -> None:
    """The other databases have no file to copy, and the error says what to do."""
    if place.url.startswith("sqlite"):
        copy_sqlite(store, tmp_path / "copy.db")
        return
    with pytest.raises(ConfigError, match="store-not-sqlite"):
        copy_sqlite(store, tmp_path / "copy.db")
