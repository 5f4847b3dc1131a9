"""Single flight: however many want one thing, in however many processes, one of them fetches it.

    found = flights.once("tcb/SGX/…", have=lambda: in_the_store(), fetch=lambda: from_upstream())

Threads of one process share a flight. Processes and replicas take turns by a lease in the store: who
has it looks once more (`have`) and fetches; the others look into the store until it is there, or until
the lease is given back or ends. Leases are short, and renewed while a flight is under way: a replica
that dies, or loses the database, holds the others up for no longer. One that lost its lease meanwhile
does no harm: what is proven may be kept twice, and what is older than what is kept is not kept.

A failure is remembered for a moment, so that a herd in want of something that is not to be had costs
one call. That the store failed is remembered only where upstream had been asked.

Who asks waits no longer than the budget; the flight goes on without them and fills the store. Not
here: what is fetched (`upstream`, `machines`), leases (`store.lease`).
"""

import copy
import queue
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from dcap.errors import DcapError
from dcap.pccs.causes import LASTING, NotServed, cause_of
from dcap.pccs.patience import patience
from dcap.pccs.store.lease import LeaseKeeper, Leases

T = TypeVar("T")

#: Below the patience of clients: Intel's quote provider waits as long as curl does, ours 30 s.
BUDGET_SECONDS: Final = 15.0
#: As long as the others wait for one that died. A third of it passes between renewals.
LEASE_SECONDS: Final = 6.0
#: Longer than a fetch may take: then the lease is no longer renewed, and another begins.
LONGEST_SECONDS: Final = 90.0
#: How often the store is looked into meanwhile: at first, and at most.
FIRST_LOOK, LAST_LOOK = 0.02, 0.25
#: For how long a failure is remembered: one that may pass, and one that lasts.
PASSING_SECONDS: Final = 3.0
LASTING_SECONDS: Final = 60.0
_REMEMBERED: Final = 10_000


class Workers:
    """Up to `size` daemon threads, started when needed; more work waits in line, never who brings it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._line: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = 0
        self._idle = 0

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Begin it, or put it in line."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                future.set_exception(error)

        with self._lock:
            starts = not self._idle and self._started < self._size
            if starts:
                self._start()
            elif self._idle:
                self._idle -= 1
        self._line.put(run)
        return future

    def _start(self) -> None:
        """One more thread. Where the machine has none to give, the work waits for those there are."""
        try:
            threading.Thread(target=self._serve, daemon=True, name="dcap-pccs-upstream").start()
        except RuntimeError:
            if not self._started:
                raise NotServed("busy") from None
        else:
            self._started += 1

    def _serve(self) -> None:
        while True:
            self._line.get()()
            with self._lock:
                if self._line.empty():
                    self._idle += 1


class SingleFlight:
    """The flights of one process. `holder` names it among those that share the store."""

    def __init__(
        self,
        leases: Leases,
        workers: Workers,
        *,
        keeper: LeaseKeeper | None = None,
        budget: float = BUDGET_SECONDS,
        lasting_seconds: float = LASTING_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.budget = budget
        self._leases = leases
        self._workers = workers
        self._keeper = keeper or LeaseKeeper(leases, LEASE_SECONDS, longest=LONGEST_SECONDS)
        self._lasting_seconds = lasting_seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._holder = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._under_way: dict[str, Future[Any]] = {}
        self._failures: OrderedDict[str, tuple[float, DcapError]] = OrderedDict()

    def once(self, key: str, have: Callable[[], T | None], fetch: Callable[[], T]) -> T:
        """What `have` or `fetch` gives. Raises its error, or `NotServed` (`upstream-slow`)."""
        return self.land(self.start(key, have, fetch))

    def start(self, key: str, have: Callable[[], T | None], fetch: Callable[[], T]) -> "Future[T]":
        """The flight under way, or one that begins now."""
        with self._lock:
            failure = self._failure_of(key)
            if failure is not None:
                landed: Future[T] = Future()
                landed.set_exception(failure)
                return landed
            waits = patience()
            if waits is not None:
                waits.expect()
            future = self._under_way.get(key)
            if future is None:
                if waits is not None:
                    waits.begin(key)
                asked = threading.Event()

                def ask() -> T:
                    asked.set()
                    return fetch()

                future = self._workers.submit(lambda: self._take_turn(key, have, ask))
                self._under_way[key] = future
                future.add_done_callback(
                    lambda done: self._landed(key, done, upstream_was_asked=asked.is_set())
                )
            return future

    def land(self, flight: "Future[T]") -> T:
        """What a flight brought, within the budget."""
        waits = patience()
        seconds = self.budget if waits is None else min(self.budget, waits.left())
        try:
            return flight.result(timeout=seconds)
        except TimeoutError:
            raise NotServed("upstream-slow") from None
        except DcapError as error:
            raise copy.copy(error) from None  # each thread has a traceback of its own

    def forget(self) -> None:
        """Forget all failures: whoever refreshes by hand wants to know anew."""
        with self._lock:
            self._failures.clear()

    def _failure_of(self, key: str) -> DcapError | None:
        entry = self._failures.get(key)
        if entry is None:
            return None
        until, error = entry
        if self._monotonic() < until:
            return error
        del self._failures[key]
        return None

    def _landed(self, key: str, flight: "Future[Any]", *, upstream_was_asked: bool) -> None:
        error = flight.exception()
        with self._lock:
            self._under_way.pop(key, None)
            if not isinstance(error, DcapError):
                return
            cause = cause_of(error)
            if not upstream_was_asked:  # the store's error, or patience: that ends by itself
                return
            seconds = self._lasting_seconds if cause in LASTING else PASSING_SECONDS
            if isinstance(error, NotServed) and error.retry_after is not None:
                seconds = min(max(seconds, error.retry_after), self._lasting_seconds)
            self._failures[key] = (self._monotonic() + seconds, error)
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)

    def _take_turn(self, key: str, have: Callable[[], T | None], fetch: Callable[[], T]) -> T:
        """1. Take the lease. 2. Look once more. 3. Fetch. 4. Give the lease back.

        Without the lease: look into the store until it is there, or the lease is free, or the budget is
        over: whoever asks again finds a thread free.
        """
        pause, waited = FIRST_LOOK, 0.0
        while not self._keeper.take(key, self._holder):
            while self._leases.holder(key) not in (None, self._holder):
                if waited > self.budget:
                    raise NotServed("upstream-slow")
                self._sleep(pause)
                waited += pause
                pause = min(2 * pause, LAST_LOOK)
            found = have()
            if found is not None:
                return found
        try:
            found = have()
            return fetch() if found is None else found
        except DcapError as error:
            failure = error
        finally:
            was_mine = self._keeper.give_back(key, self._holder)
        found = None if was_mine else self._brought_by_another(have)
        if found is None:
            raise failure
        return found

    @staticmethod
    def _brought_by_another(have: Callable[[], T | None]) -> T | None:
        """What another fetched who took over a lease that was lost: its fetch counts, not this one's."""
        try:
            return have()
        except DcapError:
            return None
