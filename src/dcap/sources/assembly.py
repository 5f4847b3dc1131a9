"""Side by side: several requests of one set at once, on threads that die with the process.

A thread that hangs is left behind: the network's total limit ends it, and the process need not wait for
it. Who finds every thread taken waits for a while, and no longer. Not here: what is asked (`service`).
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any, TypeVar

from dcap.errors import Unavailable

T = TypeVar("T")

#: How long a set waits for threads, where all are taken: by then many a request has come to its limit.
PATIENCE = 10.0
#: After one piece has failed, how long the others may take to fail too, so that which error is raised
#: depends on their order and not on who was faster.
GRACE_SECONDS = 0.25


class Crew:
    """Up to `size` threads at a time; who asks for one more waits until one is done, or in vain."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._places = threading.BoundedSemaphore(size)

    def start(self, work: Callable[[], T], until: float) -> "Future[T]":
        """Begin a piece of work on a thread of its own.

        Waits for one until `until` (of `time.monotonic`). Raises `Unavailable` (`source-busy`).
        """
        future: Future[T] = Future()
        if not self._places.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Unavailable(
                "source-busy",
                f"{self._size} requests are under way already, and none ended in time",
                mend="see whether the source answers at all; ask for fewer sets at a time, or keep "
                "what was fetched (a cache)",
            )
        try:
            threading.Thread(target=self._run, args=(work, future), daemon=True).start()
        except RuntimeError:  # no thread to be had: then here and now
            self._run(work, future)
        return future

    def _run(self, work: Callable[[], T], future: "Future[T]") -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            future.set_exception(error)
        finally:
            self._places.release()


def settle(*futures: "Future[Any]") -> None:
    """Wait until all are done. Raises the error of the first, in their order, that has failed.

    Does not wait for those that still run when one has failed.
    """
    _, running = wait(futures, return_when=FIRST_EXCEPTION)
    if running:
        wait(running, timeout=GRACE_SECONDS)
    for future in futures:
        if future.done() and (error := future.exception()) is not None:
            raise error
