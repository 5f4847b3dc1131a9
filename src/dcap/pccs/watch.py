"""Who notices that the store changed, here or in another replica: a thread that looks often.

A look is one small SELECT. What hangs on what changed is told by its topics. Where the store does not
answer, the looks go on, and `answers` says so: ready answers stay, for what nobody can change stays as
it is, and each has its own end.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from dcap.errors import DcapError
from dcap.pccs.answers import Topic
from dcap.pccs.store.store import Changes, Store

#: Ready answers in other replicas are forgotten within a second: a look every quarter of it.
LOOK_SECONDS: Final = 0.25
TOPICS: Final[tuple[Topic, ...]] = ("items", "platforms", "policies")


class Watch:
    """Looks into one store. `tell` is called from its thread, or from that of who calls `look`."""

    def __init__(
        self,
        store: Store,
        tell: Callable[[frozenset[Topic]], object],
        *,
        seconds: float = LOOK_SECONDS,
    ) -> None:
        self._store = store
        self._tell = tell
        self._seconds = seconds
        self._lock = threading.Lock()
        self._seen: Changes | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        #: When the store last answered (`time.monotonic`).
        self.answered_at = 0.0

    @property
    def answers(self) -> bool:
        """Whether the store answered lately."""
        return time.monotonic() - self.answered_at < max(3.0, 8 * self._seconds)

    def look(self) -> None:
        """Look once, and tell what changed. Raises nothing."""
        with self._lock:
            try:
                now = self._store.changes()
            except DcapError:
                return
            self.answered_at = time.monotonic()
            before, self._seen = self._seen, now
            # At the first look, whatever is ready may be older than the store.
            changed = frozenset(
                topic
                for topic in TOPICS
                if before is None or getattr(before, topic) != getattr(now, topic)
            )
        if changed:
            self._tell(changed)

    def start(self) -> None:
        """Look from now on."""
        self._thread = threading.Thread(target=self._run, daemon=True, name="dcap-pccs-watch")
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(self._seconds)
