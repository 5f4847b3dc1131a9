"""Entries on the disk: one file each, whole or absent, for many processes at once.

    "DCAPKEPT" · version u16 · length u64 · SHA-256 of the payload · payload       (big-endian)

Written beside its place, synced, then renamed into it: who reads sees the old entry or the new one,
and a writer that is killed leaves a file that a later one clears away. What renames or removes holds
a lock, so that nobody removes an entry that another has just made good. The digest guards against
accidents; whoever can write here can write it too, so the content is a claim (`kept` proves it).

Proven or not, a claim may be old. So on POSIX nothing is used that is not this user's or root's, or
that others could write: neither a directory nor an entry; and no link is followed to an entry or lock.

Not here: what the payload means (`kept`), how long it is good (`freshness`).
"""

import hashlib
import os
import re
import stat
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

MAGIC = b"DCAPKEPT"
VERSION = 1
_HEADER = struct.Struct(">8sHQ32s")
#: Larger than any set of collateral.
MAX_ENTRY = 32 * 1024 * 1024
#: How much is kept in all: a few hundred FMSPCs, 20 to 60 KB each.
MAX_ENTRIES = 1024
MAX_BYTES = 128 * 1024 * 1024
#: Who holds the lock of the directory needs milliseconds; who has been stopped is not waited for.
PATIENCE = 2.0
#: A writer needs less than a second; what is this old was left by one that was killed.
LEFTOVER_AGE = 3600.0
_POLL = 0.01

_SUFFIX = ".kept"
_NAME = re.compile(r"[a-z]+-[0-9a-f]{64}")
_LEFTOVER = re.compile(r"\.[a-z]+-[0-9a-f]{64}\.[0-9]+\.[0-9a-f]{16}\.tmp")


def cache_directory(
    environ: Mapping[str, str] = os.environ, *, windows: bool = os.name == "nt"
) -> Path | None:
    r"""Where this user's cache lies; `None` where there is no place, or `DCAP_CACHE` is "off".

    `$DCAP_CACHE`, else `$XDG_CACHE_HOME/dcap`, else `~/.cache/dcap`; on Windows
    `%LOCALAPPDATA%\dcap\cache`. A relative `XDG_CACHE_HOME` is ignored, as its specification says.
    """
    if own := environ.get("DCAP_CACHE"):
        return None if own == "off" else Path(own)
    if windows:
        local = environ.get("LOCALAPPDATA")
        return Path(local) / "dcap" / "cache" if local else None
    base = environ.get("XDG_CACHE_HOME", "")
    if base.startswith("/"):
        return Path(base) / "dcap"
    home = environ.get("HOME")
    return Path(home) / ".cache" / "dcap" if home else None


class Disk:
    """A directory of entries. Never raises: where the disk fails, nothing is kept.

    An entry's name is a word, a hyphen and 64 hex digits. `trouble` says why the last entry could
    not be written, `distrust` what was not used and why; both are empty while all is well.
    """

    def __init__(
        self, directory: Path, *, entries: int = MAX_ENTRIES, size: int = MAX_BYTES
    ) -> None:
        self.directory = directory
        self.trouble = ""
        self._foreign = ""
        self._foreign_entries: dict[str, str] = {}
        self._entries = entries
        self._size = size

    def read(self, name: str) -> bytes | None:
        """An entry's payload; `None` where there is none to be trusted. A corrupt one is removed."""
        if not self._is_trusted():
            return None
        found = _read(self._path(name))
        self._foreign_entries.pop(name, None)
        if isinstance(found, _Foreign):
            self._foreign_entries[name] = found.why
        if found is _CORRUPT:
            with self._alone():
                if _read(self._path(name)) is _CORRUPT:
                    self._remove(self._path(name))
        return found if isinstance(found, bytes) else None

    def look(self, name: str) -> bytes | None:
        """As `read`, wherever it lies, to be looked at; and nothing is removed."""
        found = _read(self._path(name))
        return found if isinstance(found, bytes) else None

    def write(self, name: str, payload: bytes) -> None:
        """Put an entry in its place, whole, and make room for it."""
        if len(payload) > MAX_ENTRY or not self._is_trusted():
            return
        header = _HEADER.pack(MAGIC, VERSION, len(payload), hashlib.sha256(payload).digest())
        beside = self.directory / f".{name}.{os.getpid()}.{os.urandom(8).hex()}.tmp"
        try:
            self._prepare()
            try:
                _write(beside, header + payload)
                with self._alone():
                    beside.replace(self._path(name))
                    self._make_room(name)
            except BaseException:
                self._remove(beside)
                raise
        except OSError as error:
            self.trouble = f"{error.strerror or error}"
        else:
            self.trouble = ""

    def drop(self, name: str, payload: bytes) -> None:
        """Remove an entry, if it still has this payload."""
        with self._alone():
            if _read(self._path(name)) == payload:
                self._remove(self._path(name))

    def names(self) -> tuple[str, ...]:
        """The names of all entries."""
        with suppress(OSError):
            files = [path.name for path in self.directory.iterdir()]
            names = [file.removesuffix(_SUFFIX) for file in files if file.endswith(_SUFFIX)]
            return tuple(sorted(name for name in names if _NAME.fullmatch(name)))
        return ()

    def kept_at(self, name: str) -> float:
        """When an entry was written (seconds since 1970), by its file."""
        with suppress(OSError):
            return self._path(name).stat().st_mtime
        return 0.0

    @contextmanager
    def turn(self, name: str, patience: float) -> Iterator[bool]:
        """This process's turn to fetch an entry; `False` where another still has it."""
        with self._locked(f"turn-{name[-2:]}.lock", patience) as mine:
            yield mine

    @property
    def distrust(self) -> str:
        """What was not used, for who else may have written it."""
        if self._foreign:
            return (
                f"the cache at {self.directory} is not used: {self._foreign} (mend its owner and mode, "
                "or name a folder in it that is not there yet: dcap makes it for this user alone)"
            )
        why = next(iter(tuple(self._foreign_entries.values())), "")
        return f"an entry of the cache at {self.directory} is not used: {why}" if why else ""

    def _is_trusted(self) -> bool:
        """Whether nobody else can write to the directory, or it is not there yet."""
        why = ""
        with suppress(OSError):
            why = _foreign(self.directory.stat())
        self._foreign = why
        return not why

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}{_SUFFIX}"

    def _prepare(self) -> None:
        """Make the directory, and those above it that lack, for this user alone."""
        lacking = [self.directory]
        while not lacking[-1].parent.exists():
            lacking.append(lacking[-1].parent)
        for folder in reversed(lacking):
            folder.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else renames or removes. Without a lock where none can be had in time."""
        with self._locked("write.lock", PATIENCE):
            yield

    @contextmanager
    def _locked(self, file: str, patience: float) -> Iterator[bool]:
        """Hold a lock; `True` also where there are no locks at all. The kernel frees a dead one's."""
        if sys.platform == "win32" or not self._is_trusted():
            yield True
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._prepare()
            descriptor = os.open(self.directory / file, flags, 0o600)
        except OSError:
            yield True
            return
        try:
            yield _lock(descriptor, patience)
        finally:
            os.close(descriptor)

    def _make_room(self, newest: str) -> None:
        """Clear away what killed writers left; where too much is kept, the oldest leave."""
        found: list[tuple[float, int, Path]] = []
        for entry in os.scandir(self.directory):
            with suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                if _LEFTOVER.fullmatch(entry.name):
                    if time.time() - about.st_mtime > LEFTOVER_AGE:
                        self._remove(Path(entry.path))
                elif entry.name.endswith(_SUFFIX) and _NAME.fullmatch(entry.name[: -len(_SUFFIX)]):
                    found.append((about.st_mtime, about.st_size, Path(entry.path)))
        count, size = len(found), sum(size for _, size, _ in found)
        for _, weight, path in sorted(found):
            if count <= self._entries and size <= self._size:
                break
            if path.name != newest + _SUFFIX:
                self._remove(path)
                count, size = count - 1, size - weight

    @staticmethod
    def _remove(path: Path) -> None:
        with suppress(OSError):
            path.unlink()


class _Corrupt:
    """A file that is there and is no entry."""


class _Foreign:
    """A file that is there, and that somebody else may have written."""

    def __init__(self, why: str) -> None:
        self.why = why


_CORRUPT = _Corrupt()


def _foreign(about: os.stat_result) -> str:
    """Why what has this owner and mode is not to be trusted; empty where it is."""
    if sys.platform == "win32":
        return ""
    if about.st_uid not in {0, os.geteuid()}:
        return "it belongs to another user"
    return "others can write to it" if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else ""


def _read(path: Path) -> bytes | _Corrupt | _Foreign | None:
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    # No link is followed; and not to wait for a writer, should it be a pipe.
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                return None
            if why := _foreign(about):
                return _Foreign(why)
            content = file.read(MAX_ENTRY + _HEADER.size + 1)
        except OSError:
            return None
    if len(content) < _HEADER.size:
        return _CORRUPT
    magic, version, length, digest = _HEADER.unpack_from(content)
    if magic == MAGIC and version > VERSION:
        return None  # of a later dcap: not ours to judge, or to remove
    payload = content[_HEADER.size :]
    intact = (magic, version, length) == (MAGIC, VERSION, len(payload))
    return payload if intact and hashlib.sha256(payload).digest() == digest else _CORRUPT


def _write(path: Path, content: bytes) -> None:
    """A new file, for this user alone, that is on the disk when this returns.

    Synced, or a crash of the machine may leave a name with nothing behind it: the digest would find
    that out, at the price of what was kept. No test here cuts the power.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _lock(descriptor: int, patience: float) -> bool:
    """Whether the lock was had within `patience` seconds, or cannot be had at all."""
    if sys.platform == "win32":
        return True
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL)
        except OSError:  # this file system has no locks
            return True
        else:
            return True
