"""Who may wait for upstream, where many want to: addresses take turns, and none has all of them.

    if await turns.take(address, patience=15):     # False: it was not its turn in time
        …
        turns.give_back(address)

Each address stands in a line of its own. It has `share` of the turns at once, and more only while no
other address is in line and fewer than `most` turns are taken in all: a rack behind one address is
served as fast as that goes, and an address that comes meanwhile finds turns free. One that asks for
hundreds of things that are slow to be had delays itself. Used by one event loop. Not here: threads, and
how much an address may ask for (`rates`).
"""

import asyncio
from collections import Counter, OrderedDict, deque
from contextlib import suppress


class Turns:
    """So many at once, so many of one address; `most` in all until one has no more than its share."""

    def __init__(self, size: int, share: int, most: int = 0) -> None:
        self._free = size
        self._share = share
        self._most = most
        self._taken: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, address: str, patience: float) -> bool:
        """Wait for a turn, in seconds at most; whether it came. Who has it gives it back."""
        if self._may(address):
            self._grant(address)
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(address, deque()).append(turn)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(turn), patience)
        if turn.done():
            return True
        turn.cancel()
        line = self._lines[address]
        line.remove(turn)
        if not line:
            del self._lines[address]
            self._call_next()  # the others may no longer have to leave it turns
        return False

    def give_back(self, address: str) -> None:
        """A turn is over: whoever waits has the next."""
        self._free += 1
        self._taken[address] -= 1
        if not self._taken[address]:
            del self._taken[address]
        self._call_next()

    def _may(self, address: str) -> bool:
        """Whether a turn is free, and an address may have it now."""
        if not self._free:
            return False
        is_alone = self._lines.keys() <= {address}
        return self._taken[address] < self._share or (is_alone and self._taken.total() < self._most)

    def _call_next(self) -> None:
        """Whoever waits, and may, has a turn; addresses one after the other."""
        while called := [address for address in self._lines if self._may(address)]:
            self._call(called[0])

    def _call(self, address: str) -> None:
        """The first of an address's line has its turn; then the other addresses come before it."""
        line = self._lines.pop(address)
        self._grant(address)
        line.popleft().set_result(None)
        if line:
            self._lines[address] = line

    def _grant(self, address: str) -> None:
        self._free -= 1
        self._taken[address] += 1
