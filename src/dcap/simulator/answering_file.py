"""A file of which every opening gets a fresh answer: a FIFO, and a thread that feeds it. Linux alone.

    with answering_file(folder / "quote", lambda: machine().quote(...)):
        ...                                              # cat quote, as often as one likes

The answer is made when somebody opens the file to read it, written at once, and ends there, so that
`cat`, `dd` and any program see a short file. Each reader gets a FIFO of its own: the next one lies at
the path before this one is answered, and nobody reads what was meant for another, or two answers in one.
Two that open it in the same moment may share one: these files are for one reader at a time. Where no
answer can be made the file is empty. Not here: what is answered.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

#: What a FIFO takes without a reader's doing: no answer waits for anybody.
MOST: Final = 64 * 1024
_MODE: Final = 0o600
#: Seconds, for one attempt to wake the thread at the end.
_WAKE: Final = 0.02


@contextmanager
def answering_file(path: Path, answer: Callable[[], bytes]) -> Iterator[Path]:
    """Let `path`, in a folder that is there, answer until the block ends; then it is gone.

    An answer that raises anything, or has more than 64 KiB, is an empty one. The folder may be removed
    meanwhile. Raises `OSError` where no FIFO can be made.
    """
    feeder = _Feeder(path, answer)
    try:
        yield path
    finally:
        feeder.end()


class _Feeder:
    """The thread, and the FIFO that it waits at: held by a descriptor, for its path may be gone."""

    def __init__(self, path: Path, answer: Callable[[], bytes]) -> None:
        self._path, self._answer = path, answer
        self._stop = threading.Event()
        self._lock = threading.Lock()
        path.unlink(missing_ok=True)
        os.mkfifo(path, _MODE)
        self._held = os.open(path, os.O_PATH)
        name = f"answers {path.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let the thread end, and remove the FIFO."""
        self._stop.set()
        while self._thread.is_alive():  # it waits for a reader: be one
            with self._lock, suppress(OSError):
                os.close(os.open(self._way, os.O_RDONLY | os.O_NONBLOCK))
            self._thread.join(_WAKE)
        os.close(self._held)
        with suppress(OSError):
            self._path.unlink()

    @property
    def _way(self) -> str:
        """What opens the FIFO itself, wherever it lies."""
        return f"/proc/self/fd/{self._held}"

    def _run(self) -> None:
        """One reader after another; ends where the folder is gone."""
        while not self._stop.is_set():
            writing = os.open(self._way, os.O_WRONLY)  # waits until somebody reads
            try:
                if not self._stop.is_set():
                    self._renew()
                    self._write(writing)
            except OSError:
                return
            finally:
                os.close(writing)

    def _renew(self) -> None:
        """Put a FIFO that nobody has opened in the place of the one that is being read."""
        fresh = self._path.with_name(f".{self._path.name}.{threading.get_ident()}")
        fresh.unlink(missing_ok=True)  # of a process that was killed
        os.mkfifo(fresh, _MODE)
        held = os.open(fresh, os.O_PATH)
        try:
            fresh.rename(self._path)
        except OSError:
            os.close(held)
            fresh.unlink(missing_ok=True)
            raise
        with self._lock:
            before, self._held = self._held, held
            os.close(before)

    def _write(self, writing: int) -> None:
        try:
            content = self._answer()
        except Exception:  # noqa: BLE001 - the thread lives on: the reader sees an empty file
            return
        if len(content) <= MOST:
            with suppress(BrokenPipeError):  # the reader went away
                os.write(writing, content)
