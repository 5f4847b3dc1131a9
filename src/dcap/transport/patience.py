"""How long one attempt may still wait: asked before every single wait, so that drips do not count.

A server that sends a byte now and then is never silent for long; the instant at which the request
ends does not move all the same. Not here: the waits between attempts (`network`).
"""

from time import monotonic


class Patience:
    """The clock of one connection, for the attempt that is made on it.

    `phase` is what is being done, for people; `received` counts the bytes of the answer.
    """

    def __init__(self, connect: float, read: float, total: float) -> None:
        self._limits = {"connect": connect, "read": read, "total": total}
        self._end = self._connected_by = 0.0
        self._connecting = False
        self._asked_for = "total"
        self.phase = ""
        self.received = 0

    def begin(self, end: float, *, connecting: bool) -> None:
        """A new attempt, over at an instant of `time.monotonic`."""
        self._end = end
        self._connecting = connecting
        self._connected_by = monotonic() + self._limits["connect"]
        self.received = 0

    def connected(self) -> None:
        """From here on, silence is what is limited."""
        self._connecting = False
        self.received = 0

    def left(self) -> float:
        """Seconds that the next wait may last. Raises `TimeoutError` where there are none."""
        now = monotonic()
        name, seconds = "read", self._limits["read"]
        if self._connecting:
            name, seconds = "connect", self._connected_by - now
        if self._end - now < seconds:
            name, seconds = "total", self._end - now
        self._asked_for = name
        if seconds <= 0:
            raise TimeoutError
        return seconds

    @property
    def limit(self) -> str:
        """The limit that the last wait stood under: "read limit, 15 s"."""
        return f"{self._asked_for} limit, {self._limits[self._asked_for]:g} s"
