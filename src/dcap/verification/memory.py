"""A bounded table of outcomes, looked up by the exact bytes they are a function of.

When the table is full its oldest entry leaves. Safe for threads in the sense that matters: a lost race
costs a second computation, never a wrong answer.
"""

from contextlib import suppress
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memory(Generic[K, V]):
    """At most `size` entries."""

    __slots__ = ("_entries", "_size", "recall")

    def __init__(self, size: int) -> None:
        self._entries: dict[K, V] = {}
        self._size = size
        #: The outcome of `key`, or `None`.
        self.recall = self._entries.get

    def keep(self, key: K, value: V) -> V:
        """Remember an outcome, and hand it back."""
        entries = self._entries
        while len(entries) >= self._size:
            with suppress(KeyError, RuntimeError, StopIteration):  # another thread was faster
                del entries[next(iter(entries))]
        entries[key] = value
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
