"""kill -9 at any moment: whatever was said to be kept is there, nothing by half, no hand is needed.

A few kills each; `DCAP_KILLS=100` makes a hundred of all.
"""

import json
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dcap.pccs.transfer.arrangement import arrange
from dcap.simulator.platform import Platform
from dcap.simulator.world import World
from pccs.databases import Missing, Server, server
from pccs.rig import record_of
from pccs.running import V4, Answer, Intel, Service, Wire, intel, until
from pccs.transfer.moved import RUNGS, collateral, file_of, holding, record
from pccs.whole.killed import KILLS, START_SECONDS, doomed, is_whole, kept, launch
from pccs.whole.racks import rack, tallied, target

#: Machines of one import.
BUNDLE = 24
#: What a connection ends with when the service is killed.
GONE = (OSError, EOFError, ssl.SSLError)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intel]:
    """The simulated Intel."""
    with intel(tmp_path_factory.mktemp("killed") / "intel") as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A database of each kind."""
    try:
        with server(request.param) as started:
            yield started
    except Missing as missing:
        pytest.skip(str(missing))


class Clients:
    """Who writes until the service is gone: what was answered with 200 is `said`."""

    def __init__(self, service: Service, token: Callable[[str], str]) -> None:
        self._port, self._certificate = service.port, service.certificate
        self._user, self._admin = token("user"), token("admin")
        self._threads: list[threading.Thread] = []
        self.said: list[Platform] = []
        self.bundles: list[int] = []

    def begin(self, acts: list[Callable[[Wire], None]]) -> None:
        """Each on a connection of its own."""

        def live(act: Callable[[Wire], None]) -> None:
            with suppress(*GONE):
                wire = Wire(self._port, self._certificate)
                try:
                    act(wire)
                finally:
                    wire.close()

        self._threads = [threading.Thread(target=live, args=(act,)) for act in acts]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """All have seen that it is gone."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def ask(self, machines: list[Platform], wire: Wire) -> None:
        """Machines ask for their certificates."""
        for machine in machines:
            self._note(machine, wire.get(target(machine)))

    def register(self, machines: list[Platform], wire: Wire) -> None:
        """Machines register."""
        for machine in machines:
            body = json.dumps(record_of(machine)).encode()
            fields = f"user-token: {self._user}", "Content-Type: application/json"
            self._note(machine, wire.get(f"{V4}platforms", *fields, method="POST", body=body))

    def put(self, bundles: list[tuple[int, bytes]], wire: Wire) -> None:
        """An administrator imports."""
        fields = f"admin-token: {self._admin}", "Content-Type: application/json"
        for number, body in bundles:
            answer = wire.get(f"{V4}platformcollateral", *fields, method="PUT", body=body)
            assert answer.status == 200
            self.bundles.append(number)

    def _note(self, machine: Platform, answer: Answer) -> None:
        assert answer.status == 200, (answer.status, answer.field("Dcap-Cause"))
        self.said.append(machine)


def test_a_killed_service_loses_nothing(simulated: Intel, place: Server, tmp_path: Path) -> None:
    """Machines ask, register, and are imported while it dies; the next one has what was said."""
    chance = random.Random(place.url.partition(":")[0])
    world, url = simulated.world, place.database()
    environ = {"DCAP_PCCS_DATABASE": url}
    said: list[Platform] = []
    imported: set[str] = set()
    tokens: dict[str, str] = {}
    with doomed(tmp_path, *simulated.flags, environ=environ) as service:
        tokens |= {role: service.token(role) for role in ("user", "admin")}
        # What all machines have in common is fetched in peace: a herd of its own is another test.
        assert service.get(target(rack(world, 1, "first")[0])).status == 200
    for life in range(max(2, KILLS // 3)):
        asking, posting = (rack(world, 8, f"{place.url[:4]}-{life}-{row}") for row in "ab")
        groups = [rack(world, BUNDLE, f"{place.url[:4]}-{life}-bundle-{n}") for n in range(2)]
        bundles = [(n, file_of(world, *group)) for n, group in enumerate(groups)]
        with doomed(tmp_path, *simulated.flags, environ=environ) as service:
            clients = Clients(service, tokens.__getitem__)
            with tallied(simulated) as tally:
                for machine in said[-20:]:
                    assert service.get(target(machine)).status == 200
            assert "pckcerts" not in tally.resources()
            clients.begin(
                [
                    lambda wire, c=clients, m=asking: c.ask(m, wire),
                    lambda wire, c=clients, m=posting: c.register(m, wire),
                    lambda wire, c=clients, b=bundles: c.put(b, wire),
                ]
            )
            time.sleep(chance.uniform(0, 0.8))
        clients.end()
        said += clients.said
        found = kept(url)
        names = {machine.qe_id.hex().upper() for machine in said}
        assert names <= set(found)
        for number, group in enumerate(groups):
            there = [m for m in group if m.qe_id.hex().upper() in found]
            assert len(there) in (0, BUNDLE)
            assert len(there) == BUNDLE or number not in clients.bundles
        imported |= {m.qe_id.hex().upper() for group in groups for m in group}
        fetched = len(posting[0].issued())
        for name, one in found.items():
            assert is_whole(one, len(RUNGS) if name in imported else fetched)
    with doomed(tmp_path, *simulated.flags, environ=environ) as service:
        assert service.get(target(rack(world, 1, f"{place.url[:4]}-last")[0])).status == 200
        assert service.get("/healthz/ready").status == 200


#: The certificates that two editions of a file have of each machine.
EDITIONS = (RUNGS, RUNGS[1:])


def edition_of(world: World, machines: list[Platform], rungs: tuple[int, ...]) -> bytes:
    """A file with those certificates of the machines."""
    arranged = arrange(collateral(world, *machines))
    records = [record(machine) for machine in machines]
    return b"".join(arranged.write(records, [holding(machine, rungs) for machine in machines]))


def test_a_killed_import_is_all_or_nothing(simulated: Intel, tmp_path: Path) -> None:
    """`dcap pccs import` of one edition after the other: the store has one of them, never a mixture."""
    chance = random.Random("import")
    machines = rack(simulated.world, 120, "import")
    url = f"sqlite:///{tmp_path}/data/pccs.db"
    files = [tmp_path / "first.json", tmp_path / "second.json"]
    for machine in machines:
        machine.svn = EDITIONS[1][0]
    for file, rungs in zip(files, EDITIONS, strict=True):
        file.write_bytes(edition_of(simulated.world, machines, rungs))
    command = ["pccs", "import", "--data", str(tmp_path / "data"), *simulated.flags[-2:]]

    def take_in(edition: int) -> None:
        process = launch([*command, str(files[edition])], tmp_path / "log")
        assert process.wait(timeout=60) == 0, (tmp_path / "log").read_text()

    began = time.monotonic()
    take_in(0)
    whole = time.monotonic() - began
    standing, killed, tries = 0, 0, 0
    while killed < max(2, KILLS // 3) and tries < 20 * KILLS:
        tries += 1
        edition = 1 - standing
        process = launch([*command, str(files[edition])], tmp_path / "log")
        time.sleep(chance.uniform(0.3, 1.0) * whole)
        process.kill()
        done = process.wait(timeout=20) == 0
        killed += not done
        found = kept(url)
        assert len(found) == len(machines)
        counted = {len(holding.certificates) for holding in found.values()}
        assert len(counted) == 1, "two editions are mixed"
        has = 0 if counted == {len(EDITIONS[0])} else 1
        assert has == edition or not done
        assert all(is_whole(holding, len(EDITIONS[has])) for holding in found.values())
        standing = has
    assert killed
    take_in(1 - standing)
    assert {len(one.certificates) for one in kept(url).values()} == {len(EDITIONS[1 - standing])}


def test_a_first_start_that_is_killed_is_begun_again(simulated: Intel, tmp_path: Path) -> None:
    """Key, certificate, tokens, tables: the next start makes what is missing, and answers."""
    chance = random.Random("first")
    for turn in range(max(2, KILLS // 4)):
        folder = tmp_path / str(turn)
        folder.mkdir()
        data = folder / "data"
        flags = ("--json", "--port", "0", "--data", str(data), *simulated.flags)
        process = launch(["pccs", "serve", *flags], folder / "log")
        # Before there is anything, it is only Python that starts.
        assert until(data.exists, START_SECONDS)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.wait(timeout=20)
        with doomed(folder, *simulated.flags) as service:
            assert service.get(f"{V4}rootcacrl").status == 200
            assert service.get("/healthz/ready").status == 200
