"""A world in a directory: what is kept, what another process sees, and what a broken file is."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dcap import ConfigError
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.simulator import World
from dcap.simulator.events import (
    ClockAdvanced,
    ClockSet,
    PckRevoked,
    PlatformAdded,
    PlatformRegistered,
    RecoveryAnnounced,
    RecoveryPromoted,
    StatusSet,
)
from dcap.simulator.services import services
from dcap.simulator.state import WorldDirectory
from dcap.simulator.world import AT
from worlds import ROOT


@pytest.fixture
def directory(tmp_path: Path) -> WorldDirectory:
    """A directory that is not there yet."""
    return WorldDirectory(tmp_path / "deep" / "sim")


def test_a_new_directory_has_a_machine_and_the_root(directory: WorldDirectory) -> None:
    """Asked for its world, a missing directory is made: one machine, the default clock and seed."""
    world = directory.world()
    assert (list(world.platforms), world.at, world.seed) == (["machine"], AT, b"dcap")
    assert directory.root_pem.read_bytes() == world.root_pem


def test_what_happened_survives(directory: WorldDirectory) -> None:
    """Another process that opens the directory has the same world, byte for byte."""
    made = directory.record(
        PlatformAdded("node-1", ca="processor"),
        RecoveryAnnounced(),
        ClockAdvanced(86400),
        PckRevoked("node-1"),
    )
    again = WorldDirectory(directory.path).world()
    assert again.at == made.at
    assert again.intel.revoked == made.intel.revoked
    assert again.intel.revoked["processor"][0].date == again.at
    for name in ("machine", "node-1"):
        assert again.platforms[name].quote() == made.platforms[name].quote()
        for update in ("standard", "early"):
            ours = made.collateral(made.platforms[name], update=update)
            assert again.collateral(again.platforms[name], update=update) == ours


def test_a_machine_stays_on_the_level_it_was_added_on(directory: WorldDirectory) -> None:
    """The order of events is kept: a machine added before a recovery needs the update after it."""
    directory.record(RecoveryAnnounced(), RecoveryPromoted(), PlatformAdded("later"))
    world = directory.world()
    assert (world.platforms["machine"].svn, world.platforms["later"].svn) == (8, 9)


def test_all_events_are_kept_or_none(directory: WorldDirectory) -> None:
    """The second of two events cannot happen: the first is not kept either."""
    before = directory.state()
    with pytest.raises(ConfigError, match="no platform"):
        directory.record(ClockAdvanced(60), PckRevoked("nobody"))
    assert directory.state() == before


def test_reset_begins_anew(directory: WorldDirectory) -> None:
    """Nothing that happened remains; seed and instant are the new ones, and so is the root."""
    old = directory.record(StatusSet("Revoked")).root_pem
    at = datetime(2026, 6, 1, tzinfo=UTC)
    directory.reset("another seed", at)
    world = directory.world()
    assert (world.at, world.seed, world.platforms["machine"].svn) == (at, b"another seed", 8)
    assert directory.root_pem.read_bytes() == world.root_pem != old


def test_commands_at_once_lose_nothing(directory: WorldDirectory) -> None:
    """Four processes and four threads add machines at the same time: all of them are there."""
    code = (
        "import sys; from pathlib import Path\n"
        "from dcap.simulator.state import WorldDirectory\n"
        "from dcap.simulator.events import PlatformAdded\n"
        "for i in range(5): WorldDirectory(Path(sys.argv[1])).record("
        "PlatformAdded(f'{sys.argv[2]}-{i}'))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(directory.path), f"process-{number}"],
            env={"PYTHONPATH": str(ROOT / "src")},
        )
        for number in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: directory.record(PlatformAdded(f"thread-{i}")), range(4)))
    assert [process.wait(60) for process in processes] == [0] * 4
    assert len(directory.world().platforms) == 1 + 4 * 5 + 4


def clock_handler(world: World) -> Handler:
    """A service that says how many machines there are, and when."""
    answer = f"{len(world.platforms)} {world.at.isoformat()}".encode()
    return lambda _: HttpResponse(status=200, body=answer)


def test_a_running_service_sees_what_others_do(directory: WorldDirectory) -> None:
    """Between two requests another process moves the clock: the second answer is of the new time."""
    directory.world()
    serve = directory.handler(clock_handler)
    request = HttpRequest(target="/")
    assert serve(request).body == b"1 2026-01-01T12:00:00+00:00"
    WorldDirectory(directory.path).record(ClockSet(datetime(2026, 2, 1, tzinfo=UTC)))
    assert serve(request).body == b"1 2026-02-01T00:00:00+00:00"
    WorldDirectory(directory.path).record(PlatformAdded("node-1"))
    assert serve(request).body == b"2 2026-02-01T00:00:00+00:00"


def test_a_service_keeps_its_handler_while_nothing_happens(directory: WorldDirectory) -> None:
    """The handler is made once for a state, so that what it remembers (registrations) stays."""
    made: list[World] = []

    def make(world: World) -> Handler:
        made.append(world)
        return clock_handler(world)

    directory.world()
    serve = directory.handler(make)
    for _ in range(3):
        serve(HttpRequest(target="/"))
    assert len(made) == 1


def test_a_registration_outlives_the_service(directory: WorldDirectory) -> None:
    """A machine that registers over HTTP is registered in the directory, and for the next service."""
    directory.record(PlatformAdded("node-1", without=("registered",)))
    manifest = directory.world().platforms["node-1"].manifest
    serve = directory.handler(services)
    request = HttpRequest(
        method="POST",
        target="/sgx/registration/v1/platform",
        headers=(("Content-Type", "application/octet-stream"),),
        body=manifest,
    )
    assert serve(request).status == 201
    assert directory.world().platforms["node-1"].registered
    assert directory.state().events[-1] == PlatformRegistered("node-1")
    kept = directory.state()
    assert serve(request).status == 201
    assert directory.state() == kept


def test_a_service_whose_state_breaks_says_so(directory: WorldDirectory) -> None:
    """A state that cannot be read any more is a 500 with the reason, and mends by itself."""
    directory.world()
    serve = directory.handler(clock_handler)
    (directory.path / "state.json").write_text("nonsense")
    answer = serve(HttpRequest(target="/"))
    assert answer.status == 500
    assert b"simulator-state" in answer.body
    assert str(directory.path).encode() not in answer.body
    directory.reset()
    assert serve(HttpRequest(target="/")).status == 200


def test_a_state_can_be_written_by_hand(directory: WorldDirectory) -> None:
    """The file is plain JSON: seed, instant and a list of events."""
    directory.path.mkdir(parents=True)
    (directory.path / "state.json").write_text(
        json.dumps(
            {
                "schema": 1,
                "seed": "by hand",
                "at": "2026-03-01T00:00:00Z",
                "events": [
                    {"event": "platform-added", "platform": "node-1", "ca": "processor"},
                    {"event": "status-set", "platform": "node-1", "status": "OutOfDate"},
                ],
            }
        )
    )
    world = directory.world()
    assert world.platforms["node-1"].svn == 4


def written(**changed: object) -> str:
    """A state by hand, with members changed; those that are None are left out."""
    state = {"schema": 1, "seed": "dcap", "at": "2026-01-01T00:00:00Z", "events": [], **changed}
    return json.dumps({name: value for name, value in state.items() if value is not None})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        *(written(**{name: None}) for name in ("schema", "seed", "at", "events")),
        written(seed=1),
        written(schema=2),
        written(unknown=1),
        written(at="2026-01-01T00:00:00"),
        written(events=[{"event": "nonsense"}]),
        written(events=[{"event": "status-set", "status": "Fine"}]),
        '{"events": ' + "[" * 100_000,
    ],
    ids=lambda text: text[:100] or "empty",
)
def test_a_file_that_is_no_state_is_refused(directory: WorldDirectory, text: str) -> None:
    """The refusal names the file and what mends it; the file is not touched."""
    directory.path.mkdir(parents=True)
    file = directory.path / "state.json"
    file.write_text(text)
    for attempt in (directory.world, lambda: directory.record(RecoveryAnnounced())):
        with pytest.raises(ConfigError) as refused:
            attempt()
        assert refused.value.code == "simulator-state"
        assert str(file) in refused.value.where
    assert file.read_text() == text


def test_events_that_cannot_have_happened_are_refused(directory: WorldDirectory) -> None:
    """A list of events that was edited into nonsense does not make some other world."""
    directory.path.mkdir(parents=True)
    (directory.path / "state.json").write_text(written(events=[{"event": "recovery-promoted"}]))
    with pytest.raises(ConfigError, match="no recovery is waiting"):
        directory.world()


def test_the_truth_of_the_states_above_is_read(directory: WorldDirectory) -> None:
    """Nothing changed, the state by hand is a world."""
    directory.path.mkdir(parents=True)
    (directory.path / "state.json").write_text(written())
    assert directory.world().seed == b"dcap"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """The refusal says that it is a file, and names it; nothing is said of a state."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="a file; a simulated world lies in a folder") as refused:
        WorldDirectory(tmp_path / "file").world()
    assert refused.value.code == "simulator-state"
    assert refused.value.where == str(tmp_path / "file")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file stands where a folder above it should be."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="can be kept there") as refused:
        WorldDirectory(tmp_path / "file" / "deeper").world()
    assert refused.value.code == "simulator-state"


def test_the_default_state_is_the_default_world(directory: WorldDirectory) -> None:
    """Nothing given: the seed and instant of `World` itself."""
    for made in (directory.world(), directory.reset()):
        assert (made.seed, made.at) == (World().seed, World().at)


def test_one_process_serves_a_world(directory: WorldDirectory) -> None:
    """A second claim is refused with the process that holds it; when that lets go, it is free."""
    with directory.claim():
        second = WorldDirectory(directory.path)
        mine = f"process {os.getpid()}"
        with pytest.raises(ConfigError, match=mine) as refused, second.claim():
            pass
        assert refused.value.code == "simulator-running"
        assert refused.value.where == str(directory.path)
    with WorldDirectory(directory.path).claim():
        pass


def test_a_claim_ends_with_its_process(directory: WorldDirectory) -> None:
    """Killed without a chance to tidy up, a process holds nothing any more."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from dcap.simulator.state import WorldDirectory\n"
        "with WorldDirectory(Path(sys.argv[1])).claim(): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(directory.path)],
        env={"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ConfigError, match=f"process {process.pid}"), directory.claim():
            pass
        process.kill()
    with directory.claim():
        pass


def test_another_seed_needs_a_world_that_nobody_serves(directory: WorldDirectory) -> None:
    """While services run, a reset keeps the seed, or is refused and changes nothing."""
    directory.record(RecoveryAnnounced())
    with directory.claim():
        before = directory.state()
        with pytest.raises(ConfigError) as refused:
            WorldDirectory(directory.path).reset("another seed")
        assert refused.value.code == "simulator-running"
        assert directory.state() == before
        directory.reset()
        assert directory.state() != before
    assert directory.reset("another seed").seed == b"another seed"
