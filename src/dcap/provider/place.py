"""The place of the socket: its folder, its lock, its mode; and sockets that systemd hands over.

    place = Place.take(path, mode=0o600)         # or None: another process has it
    place.listener
    place.leave()

The folder belongs to this user (or root) alone, for whoever could write there could put another process
in this one's place. A lock beside the socket is held while the process lives, so that of two that start
at once one ends; the socket is bound under another name and moved into place, over what a dead one left.
Not here: who connects (`server`).
"""

import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from dcap.errors import ConfigError
from dcap.provider.peers import peer_of

#: `sockaddr_un` has 108 bytes, with a NUL.
_LONGEST: Final = 107
_BACKLOG: Final = 128
_PATIENCE: Final = 1.0
_FIRST_FD: Final = 3


class Place:
    """A listening socket, and what has to be undone."""

    def __init__(
        self, listener: socket.socket, path: Path | None = None, lock: int | None = None
    ) -> None:
        self.listener = listener
        self._path = path
        self._lock = lock
        self._inode = None if path is None else path.lstat().st_ino

    @classmethod
    def take(cls, path: Path, *, mode: int) -> "Place | None":
        """Listen at a path; `None` where another process does already. Raises `ConfigError`."""
        if len(os.fsencode(path)) > _LONGEST - 4:
            raise _unusable(path, "the path is longer than a socket's may be", "name a shorter one")
        try:
            _prepare(path.parent, shared=bool(mode & stat.S_IROTH))
            lock = _locked(path.with_name(f"{path.name}.lock"))
            if lock is None:
                return None
            return cls(_bound(path, mode), path, lock)
        except OSError as error:
            mend = "make the folder, for this user alone, or name another with --socket"
            raise _unusable(path, error.strerror or str(error), mend) from None

    @classmethod
    def handed_over(cls) -> "Place | None":
        """The socket that systemd listens at for us, if it started this process so."""
        pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
        os.environ.pop("LISTEN_FDNAMES", None)
        if pid != str(os.getpid()) or not count.isdigit() or int(count) < 1:
            return None
        os.set_inheritable(_FIRST_FD, False)  # noqa: FBT003 - its only argument
        try:
            listener = socket.socket(fileno=_FIRST_FD)
        except OSError as error:
            raise _unusable(Path("LISTEN_FDS"), str(error), "see the unit's .socket file") from None
        if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM:
            mend = "let ListenStream= of the .socket file be a path"
            raise _unusable(Path("LISTEN_FDS"), "it is no Unix stream socket", mend)
        return cls(listener)

    def leave(self) -> None:
        """Take the socket's name away, if it is still ours, then the lock. Who waits is still served."""
        if self._path is not None:
            with suppress(OSError):
                if self._path.lstat().st_ino == self._inode:
                    self._path.unlink()
            self._path = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def listener_of(path: Path) -> int | None:
    """The pid of whoever listens at a path; `None` where nobody does, or it cannot be seen."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_PATIENCE)
        asking.connect(str(path))
        return peer_of(asking).pid or None
    return None


def _prepare(folder: Path, *, shared: bool) -> None:
    """Make the folder, if it is not there; refuse one that others can write to."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o755 if shared else 0o700, parents=False)
    about = folder.lstat()
    why = ""
    if not stat.S_ISDIR(about.st_mode):
        why = "its folder is a link, or no folder"
    elif about.st_uid not in (0, os.geteuid()):
        why = "its folder belongs to another user"
    elif about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        why = "others can write to its folder"
    if why:
        raise _unusable(folder, why, "name a folder of this user's alone with --socket")


def _locked(path: Path) -> int | None:
    """The lock, held; `None` where another holds it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _bound(path: Path, mode: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = path.with_name(f".{path.name[:60]}.{os.getpid()}")
    if len(os.fsencode(beside)) > _LONGEST:
        beside = path.with_name(f".{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)
        listener.bind(str(beside))
        beside.chmod(mode)
        listener.listen(_BACKLOG)
        beside.replace(path)
    except OSError:
        listener.close()
        beside.unlink(missing_ok=True)
        raise
    return listener


def _unusable(path: Path, why: str, mend: str) -> ConfigError:
    return ConfigError(
        "provider-socket", f"the socket cannot be used: {why}", where=str(path), mend=mend
    )
