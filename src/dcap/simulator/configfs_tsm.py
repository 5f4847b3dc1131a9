"""A folder that behaves like the kernel's configfs-tsm in a TDX guest, where there is none. Linux alone.

    with configfs_tsm(lambda: machine, Path("configfs")) as report:     # configfs/tsm/report
        ...       # mkdir $report/mine; head -c64 nonce > $report/mine/inblob; cat $report/mine/outblob

Every folder that somebody makes in `tsm/report` gets `inblob` and `provider`, plain files, and
`generation` and `outblob`, which answer each opening (`answering_file`): the number of writes to
`inblob`, counted by inotify as they are closed, as the kernel does; and a quote over what it holds.
Folders that are removed are forgotten.

Where it differs: a new folder is filled in a moment, not at once (`provider` comes last); where the
kernel would say EINVAL or EIO, `outblob` is empty; folders are removed by `rm -r`, as `rmdir` finds
files in them; nothing there needs root.

Source: Linux, Documentation/ABI/testing/configfs-tsm; `quote-provider.md` §5.6.
"""

import ctypes
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from dcap.errors import ConfigError
from dcap.simulator.answering_file import answering_file
from dcap.simulator.platform import Platform
from dcap.simulator.td_reports import make_td_report, quote_of

ENTRY: Final = "com.intel.dcap"
PROVIDER: Final = "tdx_guest"
_REPORT_DATA_SIZE: Final = 64
_PLAIN_FILES: Final = ("inblob", "provider")

_IN_MODIFY: Final = 0x2
_IN_CLOSE_WRITE: Final = 0x8
_IN_CREATE: Final = 0x100
_IN_MOVED_TO: Final = 0x80
#: Deleted, or moved away.
_GONE: Final = 0x200 | 0x40
_EVENT: Final = struct.Struct("iIII")
_EVENTS_AT_ONCE: Final = 64 * 1024


@contextmanager
def configfs_tsm(
    machine: Callable[[], Platform], directory: Path, *, provider: str = PROVIDER
) -> Iterator[Path]:
    """Let `directory` be a mounted configfs until the block ends; the folder of entries in it.

    An entry `com.intel.dcap` is there from the start. What a killed process left is taken over. Raises
    `ConfigError` (`simulator-folder`) where no such folder can be made.
    """
    report = directory / "tsm" / "report"
    made = [folder for folder in (directory, report.parent, report) if not folder.exists()]
    try:
        (report / ENTRY).mkdir(parents=True, exist_ok=True)
        reports = _Reports(machine, report, provider)
    except OSError as error:
        raise ConfigError(
            "simulator-folder",
            f"no configfs can be simulated there: {error.strerror or error}",
            where=str(directory),
            mend="give a folder of your own, on a Linux file system",
        ) from None
    try:
        yield report
    finally:
        reports.end()
        for folder in reversed(made):
            with suppress(OSError):  # something else lies there
                folder.rmdir()


class _Inotify:
    """The events of one file or folder: `take` has what came since, in order, each with its name."""

    def __init__(self, path: Path, mask: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify is not to be had")
        if libc.inotify_add_watch(self.descriptor, os.fsencode(path), mask) < 0:
            number = ctypes.get_errno()
            self.close()
            raise OSError(number, os.strerror(number))

    def take(self) -> list[tuple[int, str]]:
        """Mask and name (of what is in the folder) of each event."""
        taken = []
        with suppress(BlockingIOError):
            while True:
                events, at = os.read(self.descriptor, _EVENTS_AT_ONCE), 0
                while at < len(events):
                    _, mask, _, size = _EVENT.unpack_from(events, at)
                    at += _EVENT.size + size
                    taken.append((mask, os.fsdecode(events[at - size : at].rstrip(b"\0"))))
        return taken

    def close(self) -> None:
        os.close(self.descriptor)


class _Entry:
    """One folder, filled."""

    def __init__(self, machine: Callable[[], Platform], folder: Path, provider: str) -> None:
        self._machine, self._folder = machine, folder
        self._lock = threading.Lock()
        self._writes, self._is_changed = 0, False
        self._files = ExitStack()
        try:
            self._fill(provider)
        except OSError:
            self.forget()
            raise

    def _fill(self, provider: str) -> None:
        inblob = self._folder / "inblob"
        inblob.touch()  # somebody may have been here before us
        self._events = _Inotify(inblob, _IN_MODIFY | _IN_CLOSE_WRITE)
        self._files.callback(self._events.close)
        for name, answer in (("generation", self._generation), ("outblob", self._outblob)):
            self._files.enter_context(answering_file(self._folder / name, answer))
        if inblob.stat().st_size and not self._count():
            self._writes, self._is_changed = 1, False  # written before we looked, or just now
        named = self._folder / ".provider"
        named.write_text(f"{provider}\n")
        named.replace(self._folder / "provider")

    def forget(self) -> None:
        """The folder is gone; at its path another one may be by now, which is not touched."""
        self._files.close()

    def end(self) -> None:
        """Nothing of ours is left, the folder least of all, unless somebody put something into it."""
        self._files.close()
        with suppress(OSError):
            for name in _PLAIN_FILES:
                (self._folder / name).unlink(missing_ok=True)
            self._folder.rmdir()

    def _count(self) -> int:
        """How often `inblob` was written: changed, and closed thereafter."""
        with self._lock:
            for mask, _ in self._events.take():
                if mask & _IN_MODIFY:
                    self._is_changed = True
                elif mask & _IN_CLOSE_WRITE and self._is_changed:
                    self._writes, self._is_changed = self._writes + 1, False
            return self._writes

    def _generation(self) -> bytes:
        return b"%d\n" % self._count()

    def _outblob(self) -> bytes:
        """A quote over what was written; nothing where that is no report data."""
        with (self._folder / "inblob").open("rb") as file:
            report_data = file.read(_REPORT_DATA_SIZE + 1)
        if len(report_data) != _REPORT_DATA_SIZE:
            return b""
        machine = self._machine()
        return quote_of(machine, make_td_report(machine, report_data))


class _Reports:
    """The folder of all entries, watched by a thread of its own."""

    def __init__(self, machine: Callable[[], Platform], report: Path, provider: str) -> None:
        self._make: Callable[[Path], _Entry] = lambda folder: _Entry(machine, folder, provider)
        self._report = report
        self._entries: dict[str, _Entry] = {}
        self._events = _Inotify(report, _IN_CREATE | _IN_MOVED_TO | _GONE)
        self._ends, self._end = os.pipe()
        try:
            self._look()
        except OSError:
            self._close()
            raise
        self._thread = threading.Thread(target=self._watch, name="configfs-tsm", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching, and remove all that was put there."""
        os.write(self._end, b"\0")
        self._thread.join()
        self._close()

    def _close(self) -> None:
        for entry in self._entries.values():
            entry.end()
        self._events.close()
        os.close(self._ends)
        os.close(self._end)

    def _watch(self) -> None:
        waiting = select.poll()
        waiting.register(self._events.descriptor, select.POLLIN)
        waiting.register(self._ends, select.POLLIN)
        while True:
            if any(descriptor == self._ends for descriptor, _ in waiting.poll()):
                return
            for mask, name in self._events.take():
                if mask & _GONE and name in self._entries:
                    self._entries.pop(name).forget()
            with suppress(OSError):  # a folder came and went: the next event tells
                self._look()

    def _look(self) -> None:
        """Fill what is not filled yet."""
        for found in os.scandir(self._report):
            if found.is_dir() and found.name not in self._entries:
                self._entries[found.name] = self._make(self._report / found.name)
