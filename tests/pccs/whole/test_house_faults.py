"""What may happen under a running service: a full disk, a database that goes and comes.

Ready answers go on; what cannot be answered is 503 with an empty body, which quote providers
understand; and when the fault is over nobody has to do anything.
"""

import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Self

import pytest

from dcap.simulator.platform import Platform
from dcap.simulator.world import World
from pccs.databases import Missing, Server, server
from pccs.running import V4, Answer, Intel, Service, intel, serve, until
from pccs.whole.racks import rack, replicas, target

ROOT_CRL = f"{V4}rootcacrl"
RECOVERY_SECONDS = 30


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intel]:
    """The simulated Intel."""
    with intel(tmp_path_factory.mktemp("faults") / "intel") as running:
        yield running


@pytest.fixture(scope="module")
def machines(simulated: Intel) -> list[Platform]:
    """A rack."""
    return rack(simulated.world, 40)


def is_refused(answer: Answer) -> bool:
    """Whether it is the refusal for a store that does not work."""
    cause = answer.field("Dcap-Cause")
    return (answer.status, answer.body, cause) == (503, b"", "store-unavailable")


def test_a_full_disk_stops_writing_alone(
    simulated: Intel, machines: list[Platform], tmp_path: Path
) -> None:
    """No file may grow, that of the log included: what is kept is served, what is new is 503."""
    known, *new = machines
    with serve(tmp_path, *simulated.flags) as service:
        assert service.get(ROOT_CRL).status == 200
        assert service.get(target(known)).status == 200
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        full = [service.get(target(machine)) for machine in new[:5]]
        assert all(is_refused(answer) for answer in full), [answer.status for answer in full]
        hot = [service.get(ROOT_CRL), service.get(target(known))]
        assert [answer.status for answer in hot] == [200, 200]
        # Kept, and not ready: read from the database.
        assert service.get(f"{V4}rootcacrl?").status == 200
        assert service.get("/healthz/live").status == 200
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, unlimited)
        for machine in new[:10]:
            asked = target(machine)
            assert until(lambda asked=asked: service.get(asked).status == 200, RECOVERY_SECONDS)


class Asking:
    """Two clients of a service that never stop: one asks what is ready, one what is not.

    There is always one more new machine: a client that had none left would have nothing to ask
    after a fault, and would seem not to recover from it.
    """

    def __init__(self, service: Service, world: World, row: str) -> None:
        self._service = service
        self._machines = (world.platform(f"{row}-{n}") for n in count())
        self._over = threading.Event()
        self.hot: list[Answer] = []
        self.new: list[Answer] = []
        self._threads = [threading.Thread(target=act) for act in (self._ask_hot, self._ask_new)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _ask_hot(self) -> None:
        wire = self._service.wire()
        while not self._over.is_set():
            self.hot.append(wire.get(ROOT_CRL))
            time.sleep(0.02)

    def _ask_new(self) -> None:
        """A machine until it is served, then the next."""
        wire = self._service.wire()
        machine = next(self._machines)
        while not self._over.is_set():
            self.new.append(wire.get(target(machine)))
            if self.new[-1].status == 200:
                machine = next(self._machines)
            time.sleep(0.05)


def test_a_database_that_goes_and_comes_is_borne(
    simulated: Intel, machines: list[Platform], tmp_path: Path
) -> None:
    """Two replicas under load: ready answers go on, others are 503, and all is well by itself."""
    try:
        place = server("postgresql")
        with place as database:
            if not database.can_stop:
                pytest.skip("this server is not the tests' own")
            _goes_and_comes(simulated, machines[:3], tmp_path, database)
    except Missing as missing:
        pytest.skip(str(missing))


def _goes_and_comes(
    simulated: Intel, machines: list[Platform], folder: Path, database: Server
) -> None:
    with replicas(folder, simulated, database.database()) as services:
        for service in services:
            assert service.get(ROOT_CRL).status == 200
            assert service.get(target(machines[0])).status == 200
        one, two = (Asking(each, simulated.world, f"row-{n}") for n, each in enumerate(services))
        with one, two:
            both = (one, two)
            assert until(lambda: all(len(asking.new) > 2 for asking in both), RECOVERY_SECONDS)
            for _ in range(2):
                before = [len(asking.new) for asking in both]
                database.stop()
                time.sleep(0.7)
                database.start()
                assert until(
                    lambda before=before: all(
                        any(answer.status == 200 for answer in asking.new[asked + 2 :])
                        for asking, asked in zip(both, before, strict=True)
                    ),
                    RECOVERY_SECONDS,
                )
        for asking in both:
            assert Counter(answer.status for answer in asking.hot) == {200: len(asking.hot)}
            assert len({answer.body for answer in asking.hot}) == 1
            others = [a for a in asking.new if a.status != 200 and not is_refused(a)]
            assert not others, [(one.status, one.field("Dcap-Cause")) for one in others]
            assert any(is_refused(answer) for answer in asking.new)
        # Nothing was kept by half: each machine has its certificate at either replica.
        for machine in machines:
            bodies = {service.get(target(machine)).body for service in services}
            assert len(bodies) == 1
