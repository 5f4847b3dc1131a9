"""A world in a directory: what is kept, what another process sees, and what a broken file is."""

import json
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
from dcap.simulator.state import State, WorldDirectory
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '{"seed": 1}',
        '{"schema": 2}',
        '{"unknown": 1}',
        '{"at": "2026-01-01T00:00:00"}',
        '{"events": [{"event": "nonsense"}]}',
        '{"events": [{"event": "status-set", "status": "Fine"}]}',
        '{"events": ' + "[" * 100_000,
    ],
    ids=lambda text: text[:24] or "empty",
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
    (directory.path / "state.json").write_text('{"events": [{"event": "recovery-promoted"}]}')
    with pytest.raises(ConfigError, match="no recovery is waiting"):
        directory.world()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file stands where the directory should be."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError) as refused:
        WorldDirectory(tmp_path / "file").world()
    assert refused.value.code == "simulator-state"


def test_the_default_state_is_the_default_world() -> None:
    """Nothing given: the seed and instant of `World` itself."""
    assert (State().replay().seed, State().replay().at) == (World().seed, World().at)
