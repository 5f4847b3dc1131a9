"""A rack before running services: machines, replicas over one database, and everybody at once.

Not a home for assertions: each test states its own.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.simulator.platform import Platform
from dcap.simulator.world import World
from pccs.rig import pck_line
from pccs.running import V4, Answer, Intel, Service, Wire, serve

T = TypeVar("T")


class Tally:
    """What upstream was asked for, in full, and how often: a handler before another."""

    def __init__(self, behind: Handler) -> None:
        self.calls: Counter[str] = Counter()
        self._behind = behind
        self._lock = threading.Lock()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Count, and hand on."""
        with self._lock:
            self.calls[request.target + request.body.hex()] += 1
        return self._behind(request)

    def resources(self) -> dict[str, int]:
        """How many different things of each resource were asked for."""
        return dict(Counter(one.partition("?")[0].rpartition("/")[2] for one in self.calls))

    def most(self) -> int:
        """How often what was asked for most was asked for."""
        return max(self.calls.values())


@contextmanager
def tallied(intel: Intel) -> Iterator[Tally]:
    """Intel's calls are counted, for as long as the block runs."""
    before = intel.answer
    tally = Tally(before)
    intel.answer = tally
    try:
        yield tally
    finally:
        intel.answer = before


def rack(world: World, number: int, row: str = "node") -> list[Platform]:
    """Machines, with what they would otherwise make at their first request."""
    machines = [world.platform(f"{row}-{n}") for n in range(number)]
    for machine in machines:
        assert machine.encrypted_ppid
        assert machine.certificates()
    return machines


def target(machine: Platform) -> str:
    """What Intel's quote provider asks for a machine's certificate."""
    return V4 + pck_line(machine)


@contextmanager
def replicas(
    folder: Path, intel: Intel, database: str, *flags: str, number: int = 2
) -> Iterator[list[Service]]:
    """Services in processes of their own, over one database and one upstream."""
    folder.mkdir(exist_ok=True)
    environ = {"DCAP_PCCS_DATABASE": database}
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                serve(folder, *intel.flags, *flags, environ=environ, name=f"replica-{place}")
            )
            for place in range(number)
        ]


def all_at_once(acts: Sequence[Callable[[], T]]) -> list[T]:
    """What each gives, begun together."""
    gate = threading.Barrier(len(acts))

    def begin(act: Callable[[], T]) -> T:
        gate.wait(120)
        return act()

    with ThreadPoolExecutor(len(acts)) as crew:
        return list(crew.map(begin, acts))


@contextmanager
def connected(services: Sequence[Service], number: int) -> Iterator[list[Wire]]:
    """Connections, shared out among replicas, their handshakes done."""
    with ThreadPoolExecutor(16) as crew:
        wires = list(crew.map(lambda n: services[n % len(services)].wire(), range(number)))
    try:
        yield wires
    finally:
        for wire in wires:
            wire.close()


def fresh(service: Service, asked: str) -> Answer:
    """The answer on a new connection, which may fail to be made."""
    wire = Wire(service.port, service.certificate)
    try:
        return wire.get(asked)
    finally:
        with suppress(OSError):
            wire.close()
