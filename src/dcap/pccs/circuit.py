"""The line to one upstream: it obeys `Retry-After`, rests after failures, and counts.

    circuit = Circuit("Intel PCS", network.handler)
    service = PcsService(circuit.connect)

A host that asks to wait is not asked before; one that failed several times in a row rests, and is then
tried with a single request. Both are refused here, before anything is sent, so that a herd does not
wait for a dead host one by one. Each origin has a state of its own: the root's list lies elsewhere.

Not here: attempts and waits within one request (`transport`), which upstream comes next (`upstream`).
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.pcs_responses import RETRY_AFTER
from dcap.errors import CollateralError, Unavailable
from dcap.sources.endpoint import Connect
from dcap.transport.network import retry_after

#: Failures in a row after which a host rests, and for how long.
FAILURES: Final = 5
REST_SECONDS: Final = 30.0
#: A host that throttles without saying for how long; and the longest that one may ask for.
PAUSE_SECONDS: Final = 10.0
LONGEST_PAUSE: Final = 3600.0
_MARKS_PAUSE: Final = (429, 503)
#: Statuses that say the host is down. With 500 one thing fails, and the next may be had.
_MARKS_HOST: Final = frozenset({502, 503, 504})


class LineHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How one origin does. `state` is "closed" (in use), "resting", "probing" or "throttled"."""

    origin: str
    state: str
    calls: int
    failures: int
    failures_in_a_row: int
    wait_seconds: float
    last_answer: datetime | None
    last_failure: datetime | None


class Circuit:
    """Handlers for the origins of one upstream. Safe to share among threads."""

    def __init__(
        self,
        name: str,
        connect: Connect,
        *,
        failures: int = FAILURES,
        rest_seconds: float = REST_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self._connect = connect
        self._failures = failures
        self._rest = rest_seconds
        self._monotonic = monotonic
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()

    def connect(self, origin: str) -> Handler:
        """The handler of an origin, behind its circuit."""
        with self._lock:
            line = self._lines.get(origin)
            if line is None:
                line = self._lines[origin] = _Line(origin, self._connect(origin))

        def ask(request: HttpRequest) -> HttpResponse:
            return self._ask(line, request)

        return ask

    @property
    def wait_seconds(self) -> float:
        """How long until every origin may be asked again; 0 where all may."""
        with self._lock:
            now = self._monotonic()
            return max((line.wait(now) for line in self._lines.values()), default=0.0)

    def health(self) -> tuple[LineHealth, ...]:
        """How its origins do."""
        with self._lock:
            now = self._monotonic()
            return tuple(line.health(now) for line in self._lines.values())

    def _ask(self, line: "_Line", request: HttpRequest) -> HttpResponse:
        self._enter(line)
        try:
            answer = line.handler(request)
        except CollateralError as error:
            self._leave(line, failed=isinstance(error, Unavailable))
            raise
        except BaseException:
            self._leave(line, failed=True)
            raise
        pause = None
        if answer.status in _MARKS_PAUSE:
            pause = retry_after(answer, self._clock().timestamp())
            if pause is None and answer.status == 429:
                pause = PAUSE_SECONDS
        failed = answer.status >= 500 and answer.header(RETRY_AFTER) is None
        self._leave(line, failed=failed, pause=pause, alone=answer.status not in _MARKS_HOST)
        return answer

    def _enter(self, line: "_Line") -> None:
        """Raises `Unavailable` where the origin is not to be asked now."""
        with self._lock:
            now = self._monotonic()
            if now < line.paused_until:
                raise Unavailable(
                    "upstream-throttled",
                    f"{self.name} asked to be left alone for a while",
                    where=line.origin,
                    mend=f"it is asked again in {line.wait(now):.0f} s",
                )
            if line.in_a_row >= self._failures:
                if now < line.rests_until or line.probing:
                    raise Unavailable(
                        "upstream-resting",
                        f"{self.name} failed {line.in_a_row} times in a row, and rests",
                        where=line.origin,
                        mend="see whether this host reaches it; it is tried again by itself",
                    )
                line.probing = True
            line.calls += 1

    def _leave(
        self, line: "_Line", *, failed: bool, pause: float | None = None, alone: bool = False
    ) -> None:
        """`alone`: what failed is the thing asked for, and not the host, which goes on."""
        with self._lock:
            now, at = self._monotonic(), self._clock()
            line.probing = False
            if pause is not None:
                line.paused_until = max(line.paused_until, now + min(pause, LONGEST_PAUSE))
            if failed:
                line.failures += 1
                line.last_failure = at
            if failed and not alone:
                line.in_a_row += 1
                if line.in_a_row >= self._failures:
                    line.rests_until = now + self._rest
            else:
                line.in_a_row = 0
                line.last_answer = at


class _Line:
    """The state of one origin, under the circuit's lock."""

    def __init__(self, origin: str, handler: Handler) -> None:
        self.origin = origin
        self.handler = handler
        self.calls = self.failures = self.in_a_row = 0
        self.rests_until = self.paused_until = float("-inf")
        self.probing = False
        self.last_answer: datetime | None = None
        self.last_failure: datetime | None = None

    def wait(self, now: float) -> float:
        return max(0.0, self.rests_until - now, self.paused_until - now)

    def health(self, now: float) -> LineHealth:
        state = "closed"
        if now < self.paused_until:
            state = "throttled"
        elif self.probing:
            state = "probing"
        elif now < self.rests_until:
            state = "resting"
        return LineHealth(
            origin=self.origin,
            state=state,
            calls=self.calls,
            failures=self.failures,
            failures_in_a_row=self.in_a_row,
            wait_seconds=self.wait(now),
            last_answer=self.last_answer,
            last_failure=self.last_failure,
        )
