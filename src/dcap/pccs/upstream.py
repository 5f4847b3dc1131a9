"""The upstream of a PCCS: from an ordered list of suppliers to proven, kept items.

    upstream = Upstream([supplier(INTEL_BASE, network.handler)], store, anchor=INTEL_SGX_ROOT)
    item = upstream.item(RootCrlKey())            # fetched once, however many ask; proven; kept

Nothing is kept, or handed out, that was not proven. A supplier that lies, that is behind what was kept
before, or whose answer has expired, is passed over and reported (`incidents`), and the next is asked.
Not here: what is served of what is kept (`service`), machines (`machines`), when to renew (`refresh`).
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from dcap.errors import CollateralError, DcapError, FormatError
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_evaluation_numbers import TcbEvaluationNumbers
from dcap.pccs import trust
from dcap.pccs.age import in_date, is_older, may_go_back
from dcap.pccs.causes import NotServed, cause_of, not_served
from dcap.pccs.circuit import LineHealth
from dcap.pccs.items import (
    EvaluationNumbersKey,
    FmspcsKey,
    Item,
    Key,
    RootCrlKey,
)
from dcap.pccs.single_flight import (
    BUDGET_SECONDS,
    LEASE_SECONDS,
    LONGEST_SECONDS,
    SingleFlight,
    Workers,
)
from dcap.pccs.store.lease import LeaseKeeper
from dcap.pccs.store.store import Store
from dcap.pccs.suppliers import Supplier
from dcap.sources.clock import now
from dcap.sources.endpoint import unreadable
from dcap.verification import INTEL_SGX_ROOT, TrustAnchor
from dcap.verification.piece import EVALUATION_NUMBERS

T = TypeVar("T")

#: Threads that fetch items, and those that fetch machines: these wait for those.
ITEM_THREADS: Final = 32
MACHINE_THREADS: Final = 32
_INCIDENTS: Final = 200
#: Bytes of a piece with its chain from which on Intel's quote provider aborts its host.
PROVIDER_LIMIT: Final = 65533
#: Who is named where no supplier is at fault: what is kept was looked through.
OWN: Final = "this service"
#: Causes that do not speak for all suppliers: another may have it.
_ABSENT: Final = frozenset({"no-such-item", "unregistered", "retired", "no-ppid"})


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went wrong upstream. `about` is an item's key, or "a platform"."""

    at: datetime
    supplier: str
    about: str
    cause: str
    what: str


#: What an incident of a machine is about: never which.
PLATFORM: Final = "a platform"
#: Causes that are a supplier's own fault, or of the way there: not of what it was asked for.
FAULTS: Final = frozenset(
    {"wrong-key", "upstream-unreachable", "upstream-error", "forged", "clock"}
)


class SupplierHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How one supplier does: its origins, and how often which cause was met."""

    name: str
    lines: tuple[LineHealth, ...]
    fetched: int
    causes: dict[str, int]
    last_success: datetime | None
    #: The cause it failed for since it last gave something, where that is a fault of its own.
    failing: str | None


class Upstream:
    """Suppliers in order, before one store. Safe to share among threads."""

    def __init__(
        self,
        suppliers: Sequence[Supplier],
        store: Store,
        *,
        anchor: TrustAnchor = INTEL_SGX_ROOT,
        clock: Callable[[], datetime] = now,
        budget: float = BUDGET_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        report: Callable[[Incident], None] = lambda _: None,
    ) -> None:
        self.suppliers = tuple(suppliers)
        self.store = store
        self.anchor = anchor
        self.clock = clock
        self.incidents: deque[Incident] = deque(maxlen=_INCIDENTS)
        self._report = report
        self._figures = {one.name: _Figures() for one in self.suppliers}
        self._lock = threading.Lock()
        keeper = LeaseKeeper(store.leases, lease_seconds, longest=LONGEST_SECONDS)
        self.items, self.machines = (
            SingleFlight(
                store.leases,
                Workers(threads),
                keeper=keeper,
                budget=budget,
                monotonic=monotonic,
            )
            for threads in (ITEM_THREADS, MACHINE_THREADS)
        )

    def item(self, key: Key, *, after: datetime | None = None) -> Item:
        """The item, fetched where what is kept is missing, expired, or not fetched `after`.

        Raises `NotServed`, or the store's errors.
        """
        return self.items.land(self.start(key, after=after))

    def start(self, key: Key, *, after: datetime | None = None) -> "Future[Item]":
        """`item`, under way: `items.land` waits for it."""
        return self.items.start(key.text, lambda: self._have(key, after), lambda: self._fetch(key))

    def each(
        self, keys: Iterable[Key], *, after: datetime | None = None
    ) -> dict[Key, Item | DcapError]:
        """Several items side by side: each, or why it could not be had."""
        flights = {key: self.start(key, after=after) for key in keys}
        found: dict[Key, Item | DcapError] = {}
        for key, flight in flights.items():
            try:
                found[key] = self.items.land(flight)
            except DcapError as error:
                found[key] = error
        return found

    def lacking(self, keys: Iterable[Key]) -> tuple[Key, ...]:
        """Those of the keys under which nothing is kept that is still in date."""
        return tuple(key for key in keys if self._have(key, None) is None)

    def from_each(
        self,
        about: str,
        ask: Callable[[Supplier], T],
        suppliers: Sequence[Supplier],
        *,
        of_machine: bool = False,
    ) -> Iterator[T]:
        """What the suppliers answer, in order, asked one after the other as the caller goes on.

        The caller ends with the first that it can use, and calls `passed_over` for others. Raises
        `NotServed` where none is left: what says most of why.
        """
        failures: list[NotServed] = []
        for one in suppliers:
            try:
                answer = ask(one)
            except (CollateralError, FormatError) as failure:
                error = failure
                if isinstance(error, FormatError):
                    error = unreadable(error, one.name)
                wait = one.circuit.wait_seconds
                refusal = not_served(error, of_machine=of_machine, retry_after=wait or None)
                if refusal.cause == "store-unavailable":  # asking looks at what is kept, too
                    raise refusal from None
                self.note(one, about, refusal.cause, error)
                failures.append(refusal)
                continue
            yield answer
        raise _most_telling(failures)

    def note(self, of: Supplier, about: str, cause: str, error: DcapError | None = None) -> None:
        """Remember and report that a supplier failed."""
        # Only of items: an error about a machine could name it.
        what = "" if error is None or about == PLATFORM else error.what
        with self._lock:
            figures = self._figures[of.name]
            figures.causes[cause] += 1
            if cause in FAULTS:
                figures.failing[about == PLATFORM] = cause
        self.tell(about, cause, what, supplier=of.name)

    def tell(self, about: str, cause: str, what: str, *, supplier: str = OWN) -> None:
        """Remember and report an incident: of a supplier, or of the service's own."""
        incident = Incident(at=self.clock(), supplier=supplier, about=about, cause=cause, what=what)
        with self._lock:
            self.incidents.append(incident)
        self._report(incident)

    def succeeded(self, of: Supplier, about: str) -> None:
        """Count an answer that could be used.

        Whether it is about a machine or an item: what wants a key may fail while the rest does not.
        """
        with self._lock:
            figures = self._figures[of.name]
            figures.fetched += 1
            figures.last_success = self.clock()
            figures.failing.pop(about == PLATFORM, None)

    def health(self) -> tuple[SupplierHealth, ...]:
        """How the suppliers do, in order."""
        with self._lock:
            return tuple(
                SupplierHealth(
                    name=one.name,
                    lines=one.circuit.health(),
                    fetched=self._figures[one.name].fetched,
                    causes=dict(self._figures[one.name].causes),
                    last_success=self._figures[one.name].last_success,
                    failing=next(iter(self._figures[one.name].failing.values()), None),
                )
                for one in self.suppliers
            )

    def root_crl(self) -> bytes | None:
        """The root's list that is kept, in DER: no issuer may stand on it, even if it has expired."""
        kept = self.store.items.get(RootCrlKey())
        return None if kept is None else kept.body

    def _have(self, key: Key, after: datetime | None) -> Item | None:
        kept = self.store.items.get(key)
        if kept is None or not in_date(kept, self.clock()):
            return None
        return kept if after is None or kept.fetched_at > after else None

    def _fetch(self, key: Key) -> Item:
        """1. Ask the suppliers in order. 2. Prove. 3. In date. 4. Not behind, or rightly so. 5. Keep."""
        last: NotServed | None = None
        candidates = self.from_each(
            key.text, lambda one: (one, one.item(key, self.clock())), self.suppliers
        )
        try:
            for of, item in candidates:
                cause, why, kept = self._keep(item)
                if kept is not None:
                    self.succeeded(of, key.text)
                    return kept
                self.note(of, key.text, cause, why)
                last = last or NotServed(cause, what="" if why is None else why.what)
        except NotServed as error:
            raise (last or error) from None
        raise AssertionError  # pragma: no cover - `from_each` ends by raising

    def _keep(self, item: Item) -> tuple[str, DcapError | None, Item | None]:
        """Keep an item that is proven, in date and not behind; else the cause."""
        at = self.clock()
        try:
            proven = trust.prove(item, at=at, anchor=self.anchor, root_crl=self.root_crl())
        except (trust.Forged, FormatError) as error:  # what the store lacks is no forgery
            return trust.cause_of_refusal(error), error, None
        if not in_date(proven, at):
            return "expired", None, None
        if is_oversized(proven.key, len(proven.body), len(proven.issuer_chain)):
            self.tell(proven.key.text, "oversized", f"{len(proven.body)} bytes and their chain")
        kept = self.store.items.put(proven, accept=lambda new, kept: not is_older(new, kept))
        return ("", None, kept[0]) if kept else self._go_back(proven, at)

    def _go_back(self, proven: Item, at: datetime) -> tuple[str, DcapError | None, Item | None]:
        """Keep a lower number in place of a higher one that has expired, where Intel lists it."""
        before = self.store.items.get(proven.key)
        if before is not None and may_go_back(proven, before, at) and self._is_listed(proven):
            kept = self.store.items.put(proven, accept=lambda new, kept: may_go_back(new, kept, at))
            if kept:
                said = f"it was {before.number}, is {proven.number}, and the former had expired"
                self.tell(proven.key.text, "rolled-back", f"its number went back: {said}")
                return "", None, kept[0]
        return "rolled-back", None, None

    def _is_listed(self, item: Item) -> bool:
        """Whether the number of a TCB info or an identity is among those that Intel signs now."""
        key = EvaluationNumbersKey("TDX" if is_of_tdx(item.key) else "SGX")
        try:
            # Not as a flight of its own: this is one, and it would wait for a thread of its own kind.
            listed = self._have(key, None) or self._fetch(key)
            numbers = TcbEvaluationNumbers.parse(
                SignedJson.parse(listed.body, EVALUATION_NUMBERS).body
            )
        except DcapError:
            return False
        return item.number in {one.tcb_evaluation_data_number for one in numbers.tcb_eval_numbers}


class _Figures:
    """Of one supplier, under the upstream's lock."""

    def __init__(self) -> None:
        self.fetched = 0
        self.causes: Counter[str] = Counter()
        self.last_success: datetime | None = None
        #: Whether about machines -> the fault of the last that was asked.
        self.failing: dict[bool, str] = {}


def is_of_tdx(key: Key) -> bool:
    """Whether a key is of TDX alone."""
    return getattr(key, "tee", "") == "TDX" or getattr(key, "name", "") == "TD_QE"


def is_oversized(key: Key, body: int, chain: int) -> bool:
    """Whether Intel's quote provider aborts its host over a piece of these sizes."""
    asks = not isinstance(key, FmspcsKey | EvaluationNumbersKey)
    return asks and body + chain >= PROVIDER_LIMIT


def _most_telling(failures: Sequence[NotServed]) -> NotServed:
    """Of several refusals the first that is more than absence: one that is down might have it."""
    if not failures:
        return NotServed("no-upstream")
    return next((one for one in failures if cause_of(one) not in _ABSENT), failures[0])
