"""Waiting for a cache that is not there yet: the same attempt again, at growing intervals, with jitter.

    Watch(longest=60).until(attempt, tell)

A rack that boots at once does not ask at once. Not here: what is attempted; signals, which end a wait by
an exception as they do any other.
"""

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from dcap.errors import DcapError, Unavailable
from dcap.platform_registration.registrar import is_final
from dcap.sources.first_of import Attempt

T = TypeVar("T")

FIRST: Final = 1.0
_SPREAD: Final = 0.25


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between two attempts at the longest, and in all (`None`: for ever)."""

    longest: float
    in_all: float | None = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random

    def until(self, attempt: Callable[[], T], tell: Callable[[DcapError], None]) -> T:
        """What the attempt gives at last. `tell` gets an error each time another one stands in the way.

        Raises what waiting does not mend, and `Unavailable` (`registration-not-yet`) when time is over.
        """
        begun = self.clock()
        wait, before = min(FIRST, self.longest), _obstacles(None)
        while True:
            try:
                return attempt()
            except DcapError as error:
                if is_final(error):
                    raise
                if _obstacles(error) != before:
                    tell(error)
                    wait, before = min(FIRST, self.longest), _obstacles(error)
                pause = wait * (1 + _SPREAD * (2 * self.chance() - 1))
                if self.in_all is not None and self.clock() - begun + pause > self.in_all:
                    raise Unavailable(
                        "registration-not-yet",
                        f"not done within {self.in_all:g} s; the last obstacle: {error.what} "
                        f"[{error.code}]",
                        where=error.where,
                        mend=error.mend,
                    ) from None
            self.sleep(pause)
            wait = min(2 * wait, self.longest)


def _obstacles(error: DcapError | None) -> tuple[str, ...]:
    """What is in the way, by code; of several sources, at each of them."""
    if error is None:
        return ()
    attempts: tuple[Attempt, ...] = getattr(error, "attempts", ())
    return (error.code, *(attempt.error.code for attempt in attempts))
