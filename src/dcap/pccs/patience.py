"""How long whoever asks waits for upstream, said once for a thread, and heard where it would wait.

    with Patience(seconds=0).held():          # only what is kept: `WouldWait` for all else
        handle(request)
    with Patience(seconds=9, begin=bucket).held():

A service is asked first for what it keeps, in threads that wait for nothing, so that who could be
answered never stands behind who waits for upstream. Who does wait begins flights, which may be counted
(`begin`); to join one that is under way costs nothing. A thread of which nothing is said waits for as
long as a flight's budget.

Not here: flights (`single_flight`), who is counted (`front`).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_OF_THREAD: Final = threading.local()


class WouldWait(Exception):  # noqa: N818 - what it would do
    """What is asked for is not kept, and this thread does not wait for upstream."""


class Patience:
    """Of one request. `begin` is told the key of each flight that is begun for it, and may refuse it."""

    def __init__(self, seconds: float, begin: Callable[[str], None] = lambda _: None) -> None:
        self._until = time.monotonic() + seconds if seconds else None
        self._begin = begin

    @contextmanager
    def held(self) -> Iterator[None]:
        """In this thread, for as long as the block runs."""
        _OF_THREAD.patience = self
        try:
            yield
        finally:
            _OF_THREAD.patience = None

    def expect(self) -> None:
        """Raise `WouldWait` where there is none."""
        if self._until is None:
            raise WouldWait

    def begin(self, key: str) -> None:
        """Count a flight. Raises `NotServed` where it is one too many."""
        self._begin(key)

    def left(self) -> float:
        """The seconds that are left."""
        return 0.0 if self._until is None else max(0.0, self._until - time.monotonic())


def patience() -> Patience | None:
    """That of this thread, if anything is said of it."""
    found: Patience | None = getattr(_OF_THREAD, "patience", None)
    return found
