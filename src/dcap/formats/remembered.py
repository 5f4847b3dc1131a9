"""Readings that repeat: the same CA certificates, CRLs and documents arrive with every quote.

Reading is a pure function of exact bytes, so a reading may be remembered; what it is worth (signature,
dates, revocation) is checked anew each time by those who use it. Bounded in number and in size, so
that hostile input can neither fill the memory nor evict more than its share of time.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

T = TypeVar("T")

#: Longer inputs are read each time.
LARGEST = 16 * 1024


def remembered(size: int) -> Callable[[Callable[[bytes], T]], Callable[[bytes], T]]:
    """Remember the last `size` readings of inputs up to `LARGEST` bytes. Failures are not kept."""

    def around(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
        recall = lru_cache(maxsize=size)(read)

        @wraps(read)
        def reading(data: bytes) -> T:
            return recall(data) if len(data) <= LARGEST else read(data)

        return reading

    return around
