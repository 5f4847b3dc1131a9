"""The handler, in threads: first for what is kept, then, where upstream must be waited for, in turn.

    response = await threads.ask(behind, request, client)      # None: one too many

Most requests are for what is kept, and are answered in threads that wait for nothing else. The rest
wait in line, by address: without a token no longer than a flight's budget, which the line is part of;
with one, which was checked before (`front`), far longer, for whoever registers a machine asks once, and
gives up when it likes. For whoever has no token, what it makes the service ask upstream is counted, so
that strangers cannot make Intel throttle it.

A rack of 300 that boots behind one address is served while Intel takes a second for a machine: without
tokens within the budget, with them also while it takes several.

Not here: ready answers and the rate of requests (`front`), lines (`turns`), flights (`single_flight`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias, TypeVar

from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pccs import place_of
from dcap.pccs.assembly import Parts
from dcap.pccs.causes import NotServed
from dcap.pccs.patience import Patience, WouldWait
from dcap.pccs.rates import Shared
from dcap.pccs.setting_table import Settings
from dcap.pccs.single_flight import BUDGET_SECONDS
from dcap.pccs.turns import Turns
from dcap.pccs.upstream import ITEM_THREADS, MACHINE_THREADS
from dcap.pccs.watch import Watch

T = TypeVar("T")
Behind: TypeAlias = Callable[[], tuple[Parts, Watch]]

REGISTERS: Final = ("POST", "platforms")
IMPORTS: Final = frozenset({("PUT", "platformcollateral"), ("PUT", "appraisalpolicy")})
#: What wants a token, and may come with a body that is not to be read without one.
WITH_TOKEN: Final = frozenset(
    {REGISTERS, *IMPORTS, ("GET", "platforms"), ("GET", "refresh"), ("POST", "refresh")}
)
#: For how long who has a token waits in line; whoever has less patience hangs up before.
TOKEN_SECONDS: Final = 120.0
#: What an address that is alone leaves to those that come: turns, and threads that fetch.
_LEFT_TURNS: Final = 16
_LEFT_FLIGHTS: Final = 4
#: Threads that answer with what is kept. They compute under one lock: more are in each other's way.
_READERS: Final = 4
#: An item of collateral is worth so many machines: there are few, and strangers could invent more.
_ITEM_COST: Final = 4
#: So many addresses' bursts have all addresses together.
_ADDRESSES: Final = 8


class Threads:
    """Those of one process. Asked by one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        *,
        budget: float = BUDGET_SECONDS,
    ) -> None:
        self._loop = loop
        self._budget = budget
        self._pool = ThreadPoolExecutor(settings.threads, "dcap-pccs")
        self._readers = ThreadPoolExecutor(_READERS, "dcap-pccs-reader")
        self._aside = ThreadPoolExecutor(2, "dcap-pccs-aside")
        #: Requests that wait for upstream, or in line for it, by address.
        self._waiting: Counter[str] = Counter()
        self.take(settings)

    def take(self, settings: Settings) -> None:
        """These limits from now on."""
        self._settings = settings
        self._turns = turns_of(settings)
        self._rates = Shared(settings.upstream_rate, settings.upstream_burst, _ADDRESSES)

    def close(self) -> None:
        """Begin nothing more."""
        for pool in (self._pool, self._readers, self._aside):
            pool.shutdown(wait=False, cancel_futures=True)

    async def beside(self, work: Callable[[], T]) -> T:
        """Work that waits for nothing but the store, beside that of clients."""
        return await self._loop.run_in_executor(self._aside, work)

    async def ask(self, behind: Behind, request: HttpRequest, client: str) -> HttpResponse | None:
        """The handler's answer; `None` where too many wait. `behind` gives the parts of the moment."""
        if looks_only(request):
            kept = await self._loop.run_in_executor(self._readers, _from_kept, behind()[0], request)
            if kept is not None:
                return kept
        limits, waiting = self._settings, self._waiting
        if waiting.total() >= limits.misses or waiting[client] >= limits.misses_per_address:
            return None
        waiting[client] += 1
        try:
            return await self._in_turn(behind, request, client)
        finally:
            waiting[client] -= 1
            if not waiting[client]:
                del waiting[client]

    async def _in_turn(
        self, behind: Behind, request: HttpRequest, client: str
    ) -> HttpResponse | None:
        """1. In line: part of the budget of who has no token. 2. In a thread."""
        turns, until = self._turns, self._loop.time() + self._budget
        if not await turns.take(client, seconds_in_line(request, self._budget)):
            return None
        parts, watch = behind()  # who stood in line may have outlived those that there were
        try:
            if not looks_only(request):
                return await self._loop.run_in_executor(self._pool, _done, parts, watch, request)
            patience = Patience(max(1.0, until - self._loop.time()), self._counted(client))
            return await self._loop.run_in_executor(
                self._pool, _after_waiting, parts, request, patience
            )
        finally:
            turns.give_back(client)

    def _counted(self, client: str) -> Callable[[str], None]:
        """What is told of each flight that is begun for a client; it may be one too many."""
        rates = self._rates

        def begin(key: str) -> None:
            cost = 1 if key.startswith("platform/") else _ITEM_COST
            if not rates.takes(client, time.monotonic(), cost):
                raise NotServed("busy", retry_after=1)

        return begin


def turns_of(settings: Settings) -> Turns:
    """The lines before the threads. More of one address than fetch at once would gain it nothing."""
    fetch = min(ITEM_THREADS, MACHINE_THREADS)
    most = min(settings.threads - _LEFT_TURNS, fetch - _LEFT_FLIGHTS)
    return Turns(settings.threads, settings.threads_per_address, most)


def seconds_in_line(request: HttpRequest, budget: float) -> float:
    """For how long a request waits for its turn; a token that it needs has been checked."""
    place = place_of(request)
    has_token = place is not None and (request.method, place.resource) in WITH_TOKEN
    return TOKEN_SECONDS if has_token else budget


def looks_only(request: HttpRequest) -> bool:
    """Whether a request wants to be told something that needs no token."""
    if request.method not in ("GET", "HEAD"):
        return False
    place = place_of(request)
    return place is None or ("GET", place.resource) not in WITH_TOKEN


def _from_kept(parts: Parts, request: HttpRequest) -> HttpResponse | None:
    """An answer, unless it takes somebody else."""
    try:
        with Patience(0).held():
            return parts.handle(request)
    except WouldWait:
        return None


def _after_waiting(parts: Parts, request: HttpRequest, patience: Patience) -> HttpResponse:
    with patience.held():
        return parts.handle(request)


def _done(parts: Parts, watch: Watch, request: HttpRequest) -> HttpResponse:
    """Of who has a token, and waits for as long as it takes. Its own changes count at once."""
    response = parts.handle(request)
    watch.look()
    return response
