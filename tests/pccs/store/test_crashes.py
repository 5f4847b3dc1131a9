"""What a store bears: a process killed in the middle, a full disk, a database that goes and comes."""

import os
import random
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from dcap.errors import ConfigError, Unavailable
from dcap.pccs.items import CrlKey
from dcap.pccs.store.store import Store
from pccs.databases import Server
from pccs.store import children
from pccs.store.samples import AT, holding, item, qe_id, registration

#: SQLite is no server.
SERVERS = pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)
#: Of one database; `DCAP_KILLS=100` makes a hundred of each.
FEW_KILLS = {"sqlite": 10, "postgresql": 6, "mysql": 6}


def test_a_killed_process_loses_nothing(url: str) -> None:
    """After kill -9 at any moment all that was said to be kept is there, and nothing by half."""
    chance = random.Random(url.partition(":")[0])
    told = -1
    few = FEW_KILLS[make_url(url).get_backend_name()]
    for _ in range(int(os.environ.get("DCAP_KILLS", few))):
        process, pipe = children.start(children.write_for_ever, url, told + 1)
        first = told + 1
        while told < first:
            told = pipe.recv()
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.join()
        while pipe.poll():
            try:
                told = pipe.recv()
            except EOFError:
                break
        pipe.close()
        with Store.open(url) as store:
            for number in (first, told):
                kept = store.platforms.holding(qe_id(number), "0000")
                assert kept is not None
                assert kept.certificates in (
                    holding(number, mark="a").certificates,
                    holding(number, mark="b").certificates,
                )
            listed = {summary.key for summary in store.items.summaries()}
            for number in range(told + 1):
                assert CrlKey(f"https://{number}") in listed
            assert all(CrlKey(f"{key.uri.removesuffix('/too')}/too") in listed for key in listed)
            queued = {one.qe_id for one in store.registrations.list()}
            assert queued >= {qe_id(number) for number in range(told + 1)}
            whole = list(store.platforms.holdings())
            assert all(len(one.certificates) == 3 and one.raw_tcbs for one in whole)


def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    """Where the disk is full, a write fails as that, reading goes on, and with room writing does too."""
    url = f"sqlite:///{tmp_path}/store.db"
    process, pipe = children.start(children.fill_the_disk, url, 2_000_000)
    code, kept, machine = pipe.recv()
    after = pipe.recv()
    process.join()
    pipe.close()
    assert code == "store-full"
    assert kept > 5
    assert machine.certificates == holding().certificates
    assert after == kept + 1
    with Store.open(url) as store:
        assert store.items.get(CrlKey("https://0")) is not None
        assert store.statistics().items == kept + 1


@SERVERS
def test_a_database_that_is_gone_is_said_and_comes_back(place: Server, store: Store) -> None:
    """While the server is down every call says so; when it is up again the same store works."""
    if not place.can_stop:
        pytest.skip("this server is not the tests' own")
    store.items.put(item())
    place.stop()
    try:
        for call in (
            store.change_number,
            lambda: store.items.put(item(body=b"lost")),
            lambda: list(store.platforms.each()),
            lambda: store.leases.acquire("key", "a", 60),
        ):
            with pytest.raises(Unavailable, match="store-unavailable"):
                call()
    finally:
        place.start()
    assert store.items.get(item().key) == item()
    store.items.put(item(body=b"new"))
    assert store.items.get(item().key) == item(body=b"new")


@SERVERS
def test_a_restart_between_two_calls_is_not_noticed(place: Server, store: Store) -> None:
    """Connections that the server ended meanwhile are replaced, for reading and for writing."""
    if not place.can_stop:
        pytest.skip("this server is not the tests' own")
    for act in (
        store.change_number,
        lambda: store.items.put(item()),
        store.statistics,
        lambda: store.leases.acquire("key", "a", 60),
    ):
        place.stop()
        place.start()
        act()
    assert store.items.get(item().key) == item()


def test_errors_hold_no_identifier(store: Store) -> None:
    """A refused statement is told by the database's code, never with the values it was made of."""
    with store.database.engine.begin() as connection:
        connection.execute(text("DROP TABLE dcap_registrations"))
        connection.execute(text("DROP TABLE dcap_platforms"))
    secret = registration(7)
    for act in (
        lambda: store.registrations.add(secret),
        lambda: store.platforms.put(holding(7)),
        lambda: store.platforms.answer(qe_id(7), "0000", "00" * 16, "0B00"),
    ):
        with pytest.raises((Unavailable, ConfigError)) as caught:
            act()
        assert qe_id(7) not in f"{caught.value!r}{caught.value}"
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_a_damaged_file_is_not_believed(tmp_path: Path) -> None:
    """A file that is no database, or whose pages were overwritten, is said to be that."""
    noise = tmp_path / "noise.db"
    noise.write_bytes(os.urandom(8192))
    with pytest.raises(ConfigError, match="store-foreign"):
        Store.open(f"sqlite:///{noise}")
    file = tmp_path / "store.db"
    with Store.open(f"sqlite:///{file}") as store:
        store.platforms.put(*(holding(number) for number in range(100)))
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + b"\xee" * (len(whole) - 8192))
    with (
        pytest.raises((Unavailable, ConfigError)) as caught,
        Store.open(f"sqlite:///{file}") as one,
    ):
        list(one.platforms.holdings())
    assert caught.value.code in {"store-damaged", "store-foreign"}


def test_a_busy_database_is_waited_for(tmp_path: Path) -> None:
    """A writer of another program that keeps SQLite locked holds up, and fails nothing."""
    url = f"sqlite:///{tmp_path}/store.db"
    with Store.open(url) as store:
        other = create_engine(url, isolation_level="AUTOCOMMIT")
        with other.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            process, pipe = children.start(children.count_up, url, 1)
            assert not pipe.poll(0.3)
            assert store.change_number() == 0
            connection.exec_driver_sql("COMMIT")
        assert pipe.recv() == 1
        process.join()
        pipe.close()
        other.dispose()
        assert store.change_number() == 1


def test_instants_are_exact(store: Store) -> None:
    """Microseconds survive."""
    store.registrations.add(registration())
    assert store.registrations.list()[0].created == AT
