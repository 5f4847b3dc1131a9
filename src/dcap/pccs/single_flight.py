"""Single flight: however many want one thing, in however many processes, one of them fetches it.

    found = flights.once("tcb/SGX/…", have=lambda: in_the_store(), fetch=lambda: from_upstream())

Threads of one process share a flight. Processes and replicas take turns by a lease in the store: who
has it looks once more (`have`) and fetches; the others look into the store until it is there, or until
the lease is given back or ends. A failure is remembered for a moment, so that a herd in want of
something that is not to be had costs one call.

Who asks waits no longer than the budget; the flight goes on without them and fills the store. Not
here: what is fetched (`upstream`, `machines`).
"""

import copy
import queue
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeVar

from dcap.errors import CollateralError, ConfigError, DcapError
from dcap.pccs.causes import LASTING, NotServed, cause_of
from dcap.pccs.store.lease import Leases

T = TypeVar("T")

#: Below the patience of clients: Intel's quote provider waits as long as curl does, ours 30 s.
BUDGET_SECONDS: Final = 15.0
#: Longer than a fetch may take, and as long as the others wait for one that died.
LEASE_SECONDS: Final = 20.0
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
                self._started += 1
            elif self._idle:
                self._idle -= 1
        self._line.put(run)
        if starts:
            threading.Thread(target=self._serve, daemon=True, name="dcap-pccs-upstream").start()
        return future

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
        budget: float = BUDGET_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        lasting_seconds: float = LASTING_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.budget = budget
        self._leases = leases
        self._workers = workers
        self._lease_seconds = lease_seconds
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
            future = self._under_way.get(key)
            if future is None:
                future = self._workers.submit(lambda: self._take_turn(key, have, fetch))
                self._under_way[key] = future
                future.add_done_callback(lambda done: self._landed(key, done))
            return future

    def land(self, flight: "Future[T]") -> T:
        """What a flight brought, within the budget."""
        try:
            return flight.result(timeout=self.budget)
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

    def _landed(self, key: str, flight: "Future[Any]") -> None:
        error = flight.exception()
        with self._lock:
            self._under_way.pop(key, None)
            if not isinstance(error, DcapError):
                return
            cause = cause_of(error)
            if cause == "store-unavailable":
                return
            seconds = self._lasting_seconds if cause in LASTING else PASSING_SECONDS
            if isinstance(error, NotServed) and error.retry_after is not None:
                seconds = min(max(seconds, error.retry_after), self._lasting_seconds)
            self._failures[key] = (self._monotonic() + seconds, error)
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)

    def _take_turn(self, key: str, have: Callable[[], T | None], fetch: Callable[[], T]) -> T:
        """1. Take the lease. 2. Look once more. 3. Fetch. 4. Give the lease back.

        Without the lease: look into the store until it is there, or the lease is free.
        """
        pause = FIRST_LOOK
        while not self._leases.acquire(key, self._holder, self._lease_seconds):
            while self._leases.holder(key) not in (None, self._holder):
                self._sleep(pause)
                pause = min(2 * pause, LAST_LOOK)
            found = have()
            if found is not None:
                return found
        try:
            found = have()
            return fetch() if found is None else found
        finally:
            with suppress(CollateralError, ConfigError):  # else it ends by itself
                self._leases.release(key, self._holder)
