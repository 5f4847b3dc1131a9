"""The herd, at two real services of one database: sockets, TLS, processes, and a simulated Intel.

What `test_herd` says of the parts with 300 machines, said of `dcap pccs serve` with a hundred. The whole
herd, with figures: `benchmarks/pccs_herd.py`.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

from dcap.simulator.platform import Platform
from pccs.databases import Missing, Server, server
from pccs.running import Intel, Service, intel
from pccs.whole.racks import all_at_once, connected, fresh, rack, replicas, tallied, target

HERD = 100


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intel]:
    """The simulated Intel."""
    with intel(tmp_path_factory.mktemp("herd") / "intel") as running:
        yield running


@pytest.fixture(scope="module")
def machines(simulated: Intel) -> list[Platform]:
    """A rack that no service knows, and one machine that everybody asks for."""
    return rack(simulated.world, HERD)


@pytest.fixture(scope="module")
def alone(simulated: Intel) -> Platform:
    """A machine for which everybody asks."""
    return rack(simulated.world, 1, "alone")[0]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A database of each kind that replicas share."""
    try:
        with server(request.param) as started:
            yield started
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, simulated: Intel, place: Server
) -> Iterator[list[Service]]:
    """Two replicas, cold."""
    with replicas(tmp_path_factory.mktemp("replicas"), simulated, place.database()) as running:
        yield running


def test_a_rack_of_unknown_machines_asks_two_replicas_at_once(
    simulated: Intel, machines: list[Platform], services: list[Service]
) -> None:
    """A hundred machines, cold: each gets its own certificate, and each thing was fetched once."""
    with tallied(simulated) as tally, connected(services, HERD) as wires:
        acts = [
            lambda wire=wire, machine=machine: wire.get(target(machine))
            for wire, machine in zip(wires, machines, strict=True)
        ]
        answers = all_at_once(acts)
        # On the connections that were kept, each asks the same again: nobody is asked for it.
        again = all_at_once(acts)
    assert Counter(answer.status for answer in answers) == {200: HERD}
    assert [answer.body for answer in again] == [answer.body for answer in answers]
    assert len({answer.body for answer in answers}) == HERD
    assert tally.resources() == {"pckcerts": HERD, "tcb": 4}
    assert tally.most() == 1


def test_one_unknown_machine_asks_two_replicas_many_times_at_once(
    simulated: Intel, alone: Platform, services: list[Service]
) -> None:
    """Each time on a new connection: one certificate for all, and one call for it."""
    with tallied(simulated) as tally:
        answers = all_at_once(
            [lambda service=services[n % 2]: fresh(service, target(alone)) for n in range(HERD)]
        )
    assert Counter(answer.status for answer in answers) == {200: HERD}
    assert len({answer.body for answer in answers}) == 1
    assert tally.resources()["pckcerts"] == 1
    assert tally.most() == 1
