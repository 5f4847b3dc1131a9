"""Single flight: many threads want one thing, one of them fetches it, all get it, or its error.

A flight ends with its answer: nothing is remembered, and the next who asks starts a new one. Not here:
processes, which take turns by a lock on a file (`disk`).
"""

import copy
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from dcap.errors import DcapError

T = TypeVar("T")


class _Flight(Generic[T]):
    __slots__ = ("answer", "error", "landed")

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.answer: list[T] = []
        self.error: Exception | None = None


class Flights:
    """The flights under way, by key. One key has answers of one type."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, _Flight[object]] = {}

    def share(self, key: Hashable, fetch: Callable[[], T]) -> T:
        """The answer of the flight under way, or of one that starts here."""
        while True:
            with self._lock:
                flight = self._under_way.get(key)
                if flight is None:
                    mine: _Flight[object] = _Flight()
                    self._under_way[key] = mine
            if flight is None:
                return self._fly(key, mine, fetch)
            flight.landed.wait()
            for answer in _landed(flight):
                return answer  # type: ignore[return-value]
            # Whoever flew it was interrupted: it says nothing of the thing itself.

    def within(self, seconds: float, key: Hashable, fetch: Callable[[], T]) -> tuple[T, ...] | None:
        """The answer of a flight that starts here, on a thread that may outlast this call.

        Empty where it is not there in time, `None` where another flight is under way: for who has
        something to go on with meanwhile.
        """
        mine: _Flight[object] = _Flight()
        with self._lock:
            if self._under_way.setdefault(key, mine) is not mine:
                return None

        def fly() -> None:
            with suppress(Exception):  # told below, to who still waits
                self._fly(key, mine, fetch)

        try:
            threading.Thread(target=fly, daemon=True).start()
        except RuntimeError:  # no thread to be had: then here and now
            fly()
        if not mine.landed.wait(seconds):
            return ()
        return _landed(mine)  # type: ignore[return-value]

    def _fly(self, key: Hashable, flight: _Flight[object], fetch: Callable[[], T]) -> T:
        try:
            answer = fetch()
            flight.answer.append(answer)
        except Exception as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._under_way[key]
            flight.landed.set()
        return answer


def _landed(flight: _Flight[object]) -> tuple[object, ...]:
    """The answer of a flight, if it has one. Raises its error, for each thread a copy."""
    error = flight.error
    if error is not None:
        raise copy.copy(error) if isinstance(error, DcapError) else error
    return tuple(flight.answer)
