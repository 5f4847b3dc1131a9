"""Flights and their leases: kept while they last, lost without harm, never long in the way of others.

Who waits for whom over real requests is tested beside the upstream (`test_upstream`, `test_herd`).
"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from dcap.errors import Unavailable
from dcap.pccs.causes import NotServed
from dcap.pccs.single_flight import (
    BUDGET_SECONDS,
    LEASE_SECONDS,
    LONGEST_SECONDS,
    SingleFlight,
    Workers,
)
from dcap.pccs.store.lease import LeaseKeeper
from dcap.pccs.store.schema import LEASES
from dcap.pccs.store.store import Store

PATIENCE = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store alone."""
    with Store.open(f"sqlite:///{tmp_path}/flights.db") as opened:
        yield opened


def until(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def ends(store: Store) -> float:
    """When the one lease ends, by the database's clock."""
    return store.database.read(
        lambda connection: float(connection.scalar(select(LEASES.c.expires)) or 0)
    )


def change(store: Store, statement: object) -> None:
    """Something happens to the database."""
    store.database.write_quietly(lambda connection: connection.execute(statement))  # type: ignore[call-overload]


@pytest.fixture
def keeper(store: Store) -> LeaseKeeper:
    """One that renews several times a second."""
    return LeaseKeeper(store.leases, 0.6, longest=PATIENCE)


def test_who_died_is_waited_for_within_the_patience_of_who_asks() -> None:
    """A lease is over, and the flight of another, before who asked there is told to come back."""
    assert LEASE_SECONDS <= 6
    assert LEASE_SECONDS < BUDGET_SECONDS / 2 < LONGEST_SECONDS


def test_a_flight_that_takes_long_keeps_its_lease(store: Store, keeper: LeaseKeeper) -> None:
    """It is renewed, again and again, and given back at the end."""
    gate = threading.Event()
    flights = SingleFlight(store.leases, Workers(1), keeper=keeper)
    flight = flights.start("key", lambda: None, lambda: gate.wait(PATIENCE) and "fetched")
    assert until(lambda: store.leases.holder("key") is not None)
    for _ in range(3):
        before = ends(store)
        assert until(lambda before=before: ends(store) > before)  # type: ignore[misc]
    gate.set()
    assert flights.land(flight) == "fetched"
    assert store.leases.holder("key") is None


def test_a_renewal_that_fails_is_no_matter(store: Store, keeper: LeaseKeeper) -> None:
    """The table is gone for a while; then the lease is renewed, and the flight ends well."""
    gate = threading.Event()
    flights = SingleFlight(store.leases, Workers(1), keeper=keeper)
    flight = flights.start("key", lambda: None, lambda: gate.wait(PATIENCE) and "fetched")
    assert until(lambda: store.leases.holder("key") is not None)
    before = ends(store)
    change(store, text("ALTER TABLE dcap_leases RENAME TO away"))
    time.sleep(0.5)
    change(store, text("ALTER TABLE away RENAME TO dcap_leases"))
    assert until(lambda: ends(store) > before)
    gate.set()
    assert flights.land(flight) == "fetched"


def test_what_hangs_is_not_kept_for_ever(store: Store) -> None:
    """After the longest time its lease is left to end, and another begins."""
    keeper = LeaseKeeper(store.leases, 0.3, longest=0.2)
    gate = threading.Event()
    hanging = SingleFlight(store.leases, Workers(1), keeper=keeper)
    hanging.start("key", lambda: None, lambda: gate.wait(PATIENCE))
    assert until(lambda: store.leases.holder("key") is not None)
    another = SingleFlight(store.leases, Workers(1))
    assert another.once("key", lambda: None, lambda: "fetched") == "fetched"
    gate.set()


@pytest.mark.parametrize("brought", [None, "by another"])
def test_a_lease_that_is_lost_does_no_harm(
    store: Store, keeper: LeaseKeeper, brought: str | None
) -> None:
    """What the other brought counts where this one's own fetch was refused; its lease stays its own."""
    shelf: list[str] = []

    def fetch() -> str:
        change(store, update(LEASES).values(holder="another", expires=2.0**40))
        shelf.extend([brought] if brought else [])
        raise NotServed("rolled-back")

    flights = SingleFlight(store.leases, Workers(1), keeper=keeper)
    flight = flights.start("key", lambda: shelf[0] if shelf else None, fetch)
    if brought:
        assert flights.land(flight) == brought
    else:
        with pytest.raises(NotServed, match="rolled-back"):
            flights.land(flight)
    assert store.leases.holder("key") == "another"


def test_a_renewal_takes_nothing_back(store: Store) -> None:
    """What another took over meanwhile is the other's; what nobody took goes on."""
    for key in ("lost", "mine"):
        assert store.leases.acquire(key, "me", 30)
    assert store.leases.release("lost", "me")
    assert store.leases.acquire("lost", "another", 30)
    assert store.leases.renew(["lost", "mine"], "me", 60) == 1
    assert store.leases.holder("lost") == "another"


def test_who_waits_for_another_gives_up_and_leaves_the_thread(store: Store) -> None:
    """After the budget; it is not remembered, and whoever wants something else is served meanwhile."""
    assert store.leases.acquire("key", "another", 100 * PATIENCE)
    flights = SingleFlight(store.leases, Workers(1), budget=0.2)
    with pytest.raises(NotServed, match="upstream-slow"):
        flights.once("key", lambda: None, lambda: "fetched")
    assert until(lambda: is_served(flights, "another key"))
    store.leases.release("key", "another")
    assert until(lambda: is_served(flights, "key"))


def is_served(flights: SingleFlight, key: str) -> bool:
    """Whether a flight lands now."""
    try:
        return flights.once(key, lambda: None, lambda: "fetched") == "fetched"
    except NotServed:
        return False


def test_a_store_that_cannot_keep_is_not_paid_for_by_upstream(store: Store) -> None:
    """Upstream was asked, and the disk is full: for a moment nobody asks it again, and not longer."""
    now, full, calls = [0.0], [True], []

    def fetch() -> str:
        calls.append(1)
        if full[0]:
            raise Unavailable("store-full", "the disk is full")
        return "kept"

    flights = SingleFlight(store.leases, Workers(1), monotonic=lambda: now[0])
    for _ in range(5):
        with pytest.raises(Unavailable, match="store-full"):
            flights.once("key", lambda: None, fetch)
    assert len(calls) == 1
    full[0] = False
    now[0] = 3.0
    assert flights.once("key", lambda: None, fetch) == "kept"


def test_a_store_that_fails_before_upstream_is_asked_is_tried_at_once(store: Store) -> None:
    """It costs upstream nothing, and recovery is prompt."""
    flights = SingleFlight(store.leases, Workers(1))
    change(store, text("ALTER TABLE dcap_leases RENAME TO away"))
    with pytest.raises(Exception, match="store-"):
        flights.once("key", lambda: None, lambda: "fetched")
    change(store, text("ALTER TABLE away RENAME TO dcap_leases"))
    assert flights.once("key", lambda: None, lambda: "fetched") == "fetched"


def test_a_machine_without_a_thread_to_give_recovers() -> None:
    """What cannot be begun is refused as busy; once there are threads again, all is as before."""
    workers = Workers(1)
    threading.stack_size(1 << 46)
    try:
        with pytest.raises(NotServed, match="busy"):
            workers.submit(lambda: "done")
    finally:
        threading.stack_size(0)
    assert workers.submit(lambda: "done").result(PATIENCE) == "done"
