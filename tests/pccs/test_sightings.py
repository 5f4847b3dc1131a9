"""`dcap.pccs.sightings`: when machines last asked, kept once an hour and beside all answers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from dcap.pccs.sightings import MOST, Sightings
from dcap.pccs.store.backup import backup, restore
from dcap.pccs.store.store import Store
from dcap.simulator.platform import Platform
from pccs.rig import Rig, pck_line
from pccs.running import V4, intel, serve
from pccs.store.samples import holding, qe_id

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A service that keeps one machine, half past an hour."""
    made = Rig(tmp_path)
    made.fill(made.world.platform())
    made.world.at = made.world.at.replace(minute=30)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that keeps one machine."""
    with Store.open(f"sqlite:///{tmp_path}/store.db") as made:
        made.platforms.put(holding())
        yield made


def seen(rig: Rig, machine: Platform) -> datetime | None:
    """When a machine was last seen, as kept."""
    rig.service.sightings.write()
    kept = rig.store.platforms.get(machine.qe_id.hex().upper(), machine.pce_id.hex().upper())
    assert kept is not None
    return kept.last_seen


def seen_in(store: Store) -> datetime | None:
    """The same of the one machine of a store."""
    kept = store.platforms.get(qe_id(0), "0000")
    assert kept is not None
    return kept.last_seen


def test_a_machine_that_asks_is_seen(rig: Rig) -> None:
    """As of the hour; neither what registers it nor a HEAD counts."""
    machine = rig.world.platform()
    assert rig.ask(pck_line(machine), method="HEAD").status == 200
    assert seen(rig, machine) is None
    assert rig.ask(pck_line(machine)).status == 200
    assert seen(rig, machine) == rig.world.at.replace(minute=0, second=0, microsecond=0)


def test_a_new_machine_is_seen_at_once(tmp_path: Path) -> None:
    """Also the request that a machine first comes with counts."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    assert rig.ask(pck_line(machine)).status == 200
    assert seen(rig, machine) is not None


def test_it_is_written_once_an_hour(rig: Rig) -> None:
    """Asking again within the hour writes nothing; in the next hour it does, and changes no answer."""
    machine = rig.world.platform()
    rig.ask(pck_line(machine))
    first = seen(rig, machine)
    before = rig.store.changes()
    rig.world.at += timedelta(minutes=29)
    rig.ask(pck_line(machine))
    assert seen(rig, machine) == first
    assert rig.store.changes() == before
    rig.world.at += timedelta(minutes=1)
    rig.ask(pck_line(machine))
    assert seen(rig, machine) == (first or NOON) + timedelta(hours=1)
    assert replace(rig.store.changes(), number=before.number) == before


def test_a_store_that_refuses_costs_no_answer(rig: Rig) -> None:
    """What could not be written is written once the store takes it."""
    machine = rig.world.platform()
    assert rig.ask(pck_line(machine)).status == 200
    with rig.store.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE dcap_platforms RENAME TO away"))
    rig.service.sightings.write()
    with rig.store.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO dcap_platforms"))
    assert seen(rig, machine) is not None


def test_the_thread_writes_what_is_noted_before_it_ends(store: Store) -> None:
    """A service that stops loses nothing, and what is much is written without waiting."""
    sightings = Sightings(store, seconds=3600)
    sightings.start()
    sightings.note(qe_id(0), "0000", known=None, at=NOON)
    sightings.stop()
    assert seen_in(store) == NOON


def test_a_service_that_stops_has_written_them(tmp_path: Path) -> None:
    """A machine asks a running service, which is stopped at once: it was seen."""
    with intel(tmp_path / "intel") as simulated:
        machine = simulated.world.platform()
        with serve(tmp_path, *simulated.flags) as service:
            assert service.get(V4 + pck_line(machine)).status == 200
        with Store.open(f"sqlite:///{tmp_path}/data/pccs.db") as store:
            assert store.platforms.count_seen(simulated.world.at - timedelta(hours=1)) == 1


def test_what_is_noted_has_an_end(store: Store) -> None:
    """Beyond ten thousand machines those that come are passed over, and those that were there stay."""
    sightings = Sightings(store)
    sightings.note(qe_id(0), "0000", known=None, at=NOON)
    for number in range(MOST):
        sightings.note(f"{number:032X}", "0000", known=None, at=NOON)
    store.platforms.put(holding(1))
    sightings.note(qe_id(1), "0000", known=None, at=NOON)
    sightings.write()
    assert store.platforms.count_seen(NOON) == 1
    assert seen_in(store) == NOON


def test_the_latest_sighting_stays(store: Store) -> None:
    """An older one changes nothing, nor does a machine's renewal, or a backup of it from before."""
    before = next(store.platforms.holdings())
    store.platforms.saw([(qe_id(0), "0000")], NOON)
    store.platforms.saw([(qe_id(0), "0000")], NOON - timedelta(hours=1))
    assert seen_in(store) == NOON
    store.platforms.put(before)
    assert seen_in(store) == NOON


def test_a_backup_carries_it(store: Store, tmp_path: Path) -> None:
    """What is restored was seen when it was seen; of an archive from before nobody knows."""
    store.platforms.put(holding(1))
    store.platforms.saw([(qe_id(0), "0000")], NOON)
    archive = tmp_path / "archive"
    backup(store, archive, made_at=NOON)
    with Store.open(f"sqlite:///{tmp_path}/restored.db") as restored:
        restore(restored, archive, iter)
        assert seen_in(restored) == NOON
        assert restored.platforms.count_seen(NOON - timedelta(days=9999)) == 1


def test_machines_are_counted_by_an_index(store: Store) -> None:
    """Neither the count of an FMSPC's machines nor that of those seen reads the machines' rows."""
    counts = {
        "ix_dcap_platforms_fmspc_ca": "SELECT fmspc, ca, COUNT(*) FROM dcap_platforms GROUP BY 1, 2",
        "ix_dcap_platforms_last_seen": "SELECT COUNT(*) FROM dcap_platforms WHERE last_seen >= 7",
    }
    with store.database.engine.connect() as connection:
        for index, statement in counts.items():
            plan = connection.execute(text(f"EXPLAIN QUERY PLAN {statement}")).all()
            assert f"COVERING INDEX {index}" in str(plan)
