"""The herd: a rack boots, and all its machines ask at once, of a cache that has nothing.

Intel's server fails 23 to 27 of 30 such requests (`pccs-and-pcs-api.md` §2.1, measured). Here every
answer is 200, and upstream is asked once for each thing, by however many replicas.
"""

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.pccs.store.store import Store
from dcap.pccs.suppliers import supplier
from dcap.pccs.upstream import Upstream
from dcap.serving import serving
from dcap.simulator import wire_faults
from dcap.simulator.platform import Platform
from dcap.simulator.services import services
from dcap.simulator.world import World
from dcap.transport import Network
from pccs.databases import Missing, Server, server
from pccs.rig import Rig, anchor_of, pck_line, record_of

HERD = 300
T = TypeVar("T")


class Tally:
    """What upstream was asked for: each target, in full, and how often."""

    def __init__(self) -> None:
        self.targets: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, handler: Handler) -> Handler:
        """Around a handler."""

        def answer(request: HttpRequest) -> HttpResponse:
            with self._lock:
                self.targets[request.target + request.body.hex()] += 1
            return handler(request)

        return answer

    def resources(self) -> Counter[str]:
        """How many calls each resource cost."""
        named: Counter[str] = Counter()
        for target, calls in self.targets.items():
            named[target.partition("?")[0].rpartition("/")[2]] += calls
        return named


def at_once(asks: Sequence[Callable[[], T]]) -> list[T]:
    """All of them, begun together."""
    gate = threading.Barrier(len(asks))

    def begin(ask: Callable[[], T]) -> T:
        gate.wait(60)
        return ask()

    with ThreadPoolExecutor(len(asks)) as crew:
        return list(crew.map(begin, asks))


def rack(world: World, number: int = HERD) -> list[Platform]:
    """Machines, with what they would otherwise make at their first request."""
    machines = [world.platform(f"node-{n}") for n in range(number)]
    for machine in machines:
        assert machine.encrypted_ppid
        assert machine.certificates()
    return machines


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[Server | None]:
    """A server of the kind; `None` for a file."""
    if request.param == "sqlite":
        yield None
        return
    try:
        with server(request.param) as started:
            yield started
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def replicas(place: Server | None, tmp_path: Path) -> Iterator[tuple[list[Rig], Tally]]:
    """Two replicas, each with its own connections, over one database; and what upstream is asked."""
    url = f"sqlite:///{tmp_path}/herd.db" if place is None else place.database()
    tally = Tally()
    with Store.open(url) as one, Store.open(url) as two:
        first = Rig(tmp_path, store=one, wire=tally)
        second = Rig(tmp_path, store=two, wire=tally, beside=first)
        yield [first, second], tally


def test_a_rack_of_unknown_machines_asks_at_once(replicas: tuple[list[Rig], Tally]) -> None:
    """300 machines at two replicas: every answer is 200, and each thing was fetched once."""
    rigs, tally = replicas
    machines = rack(rigs[0].world)
    asks = [
        lambda machine=machine, rig=rigs[place % 2]: rig.ask(pck_line(machine))
        for place, machine in enumerate(machines)
    ]
    answers = at_once(asks)
    assert Counter(answer.status for answer in answers) == {200: HERD}
    assert len({answer.body for answer in answers}) == HERD
    assert max(tally.targets.values()) == 1
    assert tally.resources() == {"pckcerts": HERD, "tcb": 4}


def test_one_unknown_machine_asks_300_times_at_once(replicas: tuple[list[Rig], Tally]) -> None:
    """At two replicas: one certificate, one fetch."""
    rigs, tally = replicas
    machine = rigs[0].world.platform()
    asks = [lambda rig=rigs[place % 2]: rig.ask(pck_line(machine)) for place in range(HERD)]
    answers = at_once(asks)
    assert Counter(answer.status for answer in answers) == {200: HERD}
    assert len({answer.body for answer in answers}) == 1
    assert tally.resources() == {"pckcerts": 1, "tcb": 4}
    assert max(tally.targets.values()) == 1


def test_verifiers_ask_for_everything_at_once(replicas: tuple[list[Rig], Tally]) -> None:
    """Each piece of collateral is fetched once."""
    rigs, tally = replicas
    lines = ("rootcacrl", "qe/identity", "pckcrl?ca=platform", "tcb?fmspc=90C0A5000000")
    asks = [
        lambda line=line, rig=rigs[place % 2]: rig.ask(line)
        for place in range(40)
        for line in lines
    ]
    answers = at_once(asks)
    assert Counter(answer.status for answer in answers) == {200: len(asks)}
    assert sum(tally.targets.values()) == len(lines)


def test_a_rack_registers_at_once(tmp_path: Path) -> None:
    """Forty machines post: every answer is 200, and the shared collateral is fetched once."""
    tally = Tally()
    rig = Rig(tmp_path, wire=tally)
    machines = rack(rig.world, 40)
    answers = at_once([lambda m=machine: rig.register(record_of(m)) for machine in machines])
    assert Counter(answer.status for answer in answers) == {200: 40}
    assert max(tally.targets.values()) == 1
    assert tally.resources()["identity"] == 3


def test_a_rack_of_strangers_asks_at_once(tmp_path: Path) -> None:
    """Intel knows none of them: a call for each machine, however often each asks."""
    tally = Tally()
    rig = Rig(tmp_path, wire=tally)
    machines = rack(rig.world, 10)
    for machine in machines:
        machine.registered = False
    asks = [lambda m=machine: rig.ask(pck_line(m)) for machine in machines * 10]
    answers = at_once(asks)
    assert {answer.header("Dcap-Cause") for answer in answers} == {"unregistered"}
    assert tally.resources() == {"pckcerts": 10}


def test_a_throttled_upstream_is_left_alone(tmp_path: Path) -> None:
    """The herd is told why and for how long, and Intel hears of a few of them at most."""
    tally = Tally()
    rig = Rig(tmp_path, wire=lambda handler: tally(wire_faults.throttling(handler)))
    machines = rack(rig.world, 100)
    answers = at_once([lambda m=machine: rig.ask(pck_line(m)) for machine in machines])
    assert {answer.header("Dcap-Cause") for answer in answers} == {"throttled"}
    assert all(answer.header("Retry-After") for answer in answers)
    # No more than were under way when the first answer came.
    assert sum(tally.targets.values()) <= 32


def test_a_rack_at_a_real_upstream(tmp_path: Path) -> None:
    """Over sockets, with the connections that the network keeps."""
    rig = Rig(tmp_path)
    tally = Tally()
    with serving(tally(services(rig.world))) as upstream, Network(environ={}) as network:
        up = supplier(f"{upstream.url}/sgx/certification/v4/", network.handler, clock=rig.clock)
        real = Rig(tmp_path, beside=rig, store=rig.store, suppliers=[up])
        machines = rack(rig.world, 60)
        answers = at_once([lambda m=machine: real.ask(pck_line(m)) for machine in machines])
    assert Counter(answer.status for answer in answers) == {200: 60}
    assert tally.resources() == {"pckcerts": 60, "tcb": 4}


def _worker(
    database: str, upstream: str, lines: list[str], gate: "threading.Barrier", found: "object"
) -> None:
    """A process of its own: a service over the same database and the same upstream."""
    world = World("pccs")
    with Store.open(database) as store, Network(environ={}) as network:
        up = supplier(f"{upstream}/sgx/certification/v4/", network.handler, clock=lambda: world.at)
        rig = Rig(Path(), store=store, suppliers=[up])
        assert isinstance(rig.upstream, Upstream)
        assert anchor_of(world) == rig.upstream.anchor
        gate.wait(60)
        answers = at_once([lambda line=line: rig.ask(line) for line in lines])
        found.put([answer.status for answer in answers])  # type: ignore[attr-defined]


def test_processes_share_a_store(tmp_path: Path) -> None:
    """Three processes, the same twenty machines: each is fetched once in all."""
    world = World("pccs")
    machines = rack(world, 20)
    tally = Tally()
    context = multiprocessing.get_context("spawn")
    gate, found = context.Barrier(3), context.Queue()
    lines = [pck_line(machine) for machine in machines]
    with serving(tally(services(world))) as upstream:
        url = f"sqlite:///{tmp_path}/shared.db"
        Store.open(url).close()
        workers = [
            context.Process(target=_worker, args=(url, upstream.url, lines, gate, found))
            for _ in range(3)
        ]
        for worker in workers:
            worker.start()
        statuses = [status for _ in workers for status in found.get(timeout=90)]
        for worker in workers:
            worker.join(30)
    assert Counter(statuses) == {200: 60}
    assert tally.resources() == {"pckcerts": 20, "tcb": 4}
    assert max(tally.targets.values()) == 1
