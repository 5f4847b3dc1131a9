"""When machines last asked for their certificates: noted in memory, written in batches by a thread.

    sightings.note(qe_id, pce_id, known=answer.last_seen, at=now)     # no I/O, raises nothing
    sightings.start() … stop()                                        # writes now and then, and at last

A machine is written once an hour at most, as that hour: what is kept of it comes with its answer, so
that one seen in this hour is not noted again. Ready answers (`answers`) are not looked at: each is
computed anew after a minute. What is noted and not yet written when a process is killed is lost, and so
is what comes while the table is full: the machine's next request counts.

Not here: the column (`store.schema`), who shows it (`health`, the console).
"""

import threading
from datetime import datetime
from itertools import islice
from typing import Final

from dcap.errors import DcapError
from dcap.pccs.store.store import Store

#: How long what is noted waits to be written, if it is not much.
WRITE_SECONDS: Final = 15.0
#: How many are written in one transaction: others wait for it for some milliseconds.
BATCH: Final = 500
#: How many are noted at once, in each worker.
MOST: Final = 10_000


class Sightings:
    """Notes of one store. Safe among threads."""

    def __init__(self, store: Store, *, seconds: float = WRITE_SECONDS) -> None:
        self._store = store
        self._seconds = seconds
        self._lock = threading.Lock()
        self._noted: dict[tuple[str, str], datetime] = {}
        self._due = threading.Event()
        #: Whether the store refused the last write: then there is no hurry.
        self._is_refused = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def note(self, qe_id: str, pce_id: str, *, known: datetime | None, at: datetime) -> None:
        """A machine asked; `known` is when it was last seen, as kept."""
        hour = at.replace(minute=0, second=0, microsecond=0)
        if known is not None and known >= hour:
            return
        with self._lock:
            if len(self._noted) < MOST or (qe_id, pce_id) in self._noted:
                self._noted[qe_id, pce_id] = hour
            is_much = len(self._noted) >= MOST // 10 and not self._is_refused
        if is_much:
            self._due.set()

    def write(self) -> None:
        """Write what is noted, a batch at a time. Where the store refuses, the rest stays noted."""
        while True:
            with self._lock:
                hour = next(iter(self._noted.values()), None)
                if hour is None:
                    return
                same = (machine for machine, one in self._noted.items() if one == hour)
                machines = list(islice(same, BATCH))
            try:
                self._store.platforms.saw(machines, hour)
            except DcapError:
                self._is_refused = True
                return
            self._is_refused = False
            with self._lock:
                for machine in machines:
                    if self._noted.get(machine) == hour:
                        del self._noted[machine]

    def start(self) -> None:
        """Write from now on."""
        self._thread = threading.Thread(target=self._run, daemon=True, name="dcap-pccs-sightings")
        self._thread.start()

    def stop(self) -> None:
        """Write what is noted, and no more after that."""
        self._stopping = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping:
            self._due.wait(self._seconds)
            self._due.clear()
            self.write()
        self.write()
