"""Many at once: threads, processes and replicas write and read one store without losing anything."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

from dcap.pccs.items import CrlKey
from dcap.pccs.store.store import Store
from pccs.store import children
from pccs.store.samples import CPU_SVN, PCE_SVN, holding, item, qe_id, registration

THREADS = 20
PROCESSES = 3


def in_threads(act: Callable[[int], object], number: int = THREADS) -> list[object]:
    """What each of some threads gives, all started at once."""
    together = threading.Barrier(number)

    def run(place: int) -> object:
        together.wait()
        return act(place)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def in_processes(act: Callable[..., None], *arguments: object) -> list[Any]:
    """What each of some processes tells."""
    started = [children.start(act, *arguments) for _ in range(PROCESSES)]
    told = [pipe.recv() for _, pipe in started]
    for process, pipe in started:
        process.join()
        pipe.close()
    return told


def test_threads_write_at_once(store: Store) -> None:
    """A rack that boots: every machine is kept, and every write is counted."""
    in_threads(lambda place: [store.platforms.put(holding(place * 5 + i)) for i in range(5)])
    assert store.statistics().platforms == THREADS * 5
    assert store.change_number() == THREADS * 5


def test_the_same_machine_is_put_by_many(store: Store) -> None:
    """Whoever comes last counts, whole: never a mixture, never two rows, never an error."""
    in_threads(lambda place: store.platforms.put(holding(mark=str(place), certificates=place + 2)))
    found = store.platforms.holding(qe_id(0), "0000")
    assert found is not None
    marks = {one.pem.rsplit(b" ", 1)[1] for one in found.certificates}
    assert len(marks) == 1
    assert len(found.certificates) == int(marks.pop()) + 2
    assert store.statistics().platforms == 1


def test_readers_see_whole_machines(store: Store) -> None:
    """While a machine is replaced over and over, every answer and every listing is of one moment."""
    store.platforms.put(holding(mark="0", certificates=2))
    done = threading.Event()

    def replace() -> None:
        for number in range(60):
            store.platforms.put(holding(mark=str(number), certificates=2 + number % 5))
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    while not done.is_set():
        answer = store.platforms.answer(qe_id(0), "0000", CPU_SVN, PCE_SVN)
        assert answer is not None
        assert answer.certificate is not None
        found = store.platforms.holding(qe_id(0), "0000")
        assert found is not None
        marks = {one.pem.rsplit(b" ", 1)[1] for one in found.certificates}
        assert len(marks) == 1
        assert len(found.certificates) == 2 + int(marks.pop()) % 5
    writer.join()


def test_processes_write_at_once(url: str) -> None:
    """Replicas open an empty database together, and all that each of them writes is kept."""
    assert in_processes(children.count_up, url, 30) == [30] * PROCESSES
    with Store.open(url) as store:
        assert store.statistics().items == PROCESSES * 30
        assert store.change_number() == PROCESSES * 30


def test_the_queue_goes_to_one(store: Store, url: str) -> None:
    """Of all who take from the queue at once, each machine goes to exactly one."""
    store.registrations.add(*(registration(number) for number in range(200)))
    told = in_processes(children.take_all, url, 5)
    assert sorted(chain.from_iterable(told)) == sorted(qe_id(number) for number in range(200))


def test_a_lease_goes_to_one_thread(store: Store) -> None:
    """Of all who want one lease at once, one has it."""
    had = in_threads(lambda place: store.leases.acquire("key", f"thread {place}", 60))
    assert had.count(True) == 1
    holder = store.leases.holder("key")
    assert holder == f"thread {had.index(True)}"


def test_a_lease_goes_to_one_process(store: Store, url: str) -> None:
    """Of replicas that want the same leases, each lease has one holder."""
    told = in_processes(children.compete, url, 40)
    assert sorted(chain.from_iterable(told)) == list(range(40))
    assert store.leases.prune() == 0


def test_a_lease_ends(store: Store) -> None:
    """A lease is renewed and released by its holder alone, and ends by itself."""
    assert store.leases.acquire("key", "a", 60)
    assert store.leases.acquire("key", "a", 60)
    assert not store.leases.acquire("key", "b", 60)
    assert store.leases.acquire("another key", "b", 60)
    assert not store.leases.release("key", "b")
    assert store.leases.release("key", "a")
    assert store.leases.holder("key") is None
    assert store.leases.acquire("key", "b", 0.05)
    time.sleep(0.1)
    assert store.leases.acquire("key", "c", 60)
    assert not store.leases.acquire("key", "b", 60)
    assert store.leases.holder("key") == "c"


def test_leases_change_no_answer(store: Store) -> None:
    """Taking and giving back leases leaves the change number where it was."""
    store.items.put(item(CrlKey("https://a")))
    before = store.changes()
    store.leases.acquire("key", "a", 60)
    store.leases.release("key", "a")
    assert store.leases.prune() == 0
    assert store.changes() == before
