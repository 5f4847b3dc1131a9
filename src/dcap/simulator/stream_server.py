"""A server on a Unix socket (or vsock), one thread a connection: for daemons that are no HTTP servers.

    with stream_server(unix_listener(path), serve) as _:
        ...                                  # serve(connection) runs for each who connects

`serve` gets a connection with a time limit; what it raises (`OSError`, any of ours) ends the connection
and nothing else. At the end no thread is left waiting, and the socket's file is gone. Not here: what is
spoken (`qgs`).
"""

import errno
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dcap.errors import ConfigError, DcapError

#: Seconds that a client may keep a connection waiting, as Intel's service has it.
IDLE: Final = 30.0
#: What the system lets a Unix socket's path have, on Linux.
_LONGEST_PATH: Final = 107
#: Seconds after which a process that may open no more files looks again.
_NO_FILES: Final = 0.1


def unix_listener(path: Path) -> socket.socket:
    """A socket that listens at `path`, whoever may open it. Raises `ConfigError` (`simulator-socket`).

    One that a killed process left there is replaced; one at which somebody answers is not.
    """
    if len(str(path).encode()) > _LONGEST_PATH:
        raise _refused(path, f"a Unix socket's path has {_LONGEST_PATH} bytes at most")
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise _refused(path, error.strerror or str(error)) from None
    return listener


def _clear(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(kind):
        raise _refused(path, "something that is no socket stands there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(1)
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise _refused(path, error.strerror or str(error)) from None
    raise _refused(path, "another process listens there")


@contextmanager
def stream_server(
    listener: socket.socket, serve: Callable[[socket.socket], None]
) -> Iterator[None]:
    """Serve who connects, until the block ends; the listener is closed then."""
    server = _Server(listener, serve)
    try:
        yield
    finally:
        server.end()


class _Server:
    def __init__(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        self._listener, self._serve = listener, serve
        self._served: list[tuple[socket.socket, threading.Thread]] = []
        self._ends, self._end = socket.socketpair()
        listener.settimeout(0)
        self._accepting = threading.Thread(target=self._accept, name="accepts", daemon=True)
        self._accepting.start()

    def end(self) -> None:
        """Stop listening, end all connections, wait for their threads."""
        self._end.send(b"\0")
        self._accepting.join()
        for connection, _ in self._served:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        for _, thread in self._served:
            thread.join()
        place = self._listener.getsockname()
        if isinstance(place, str):  # one of the abstract namespace is bytes, and no file
            Path(place).unlink(missing_ok=True)
        for ours in (self._listener, self._ends, self._end):
            ours.close()

    def _accept(self) -> None:
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        waiting.register(self._ends, select.POLLIN)
        while True:
            if any(ready == self._ends.fileno() for ready, _ in waiting.poll()):
                return
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    time.sleep(_NO_FILES)
                continue  # else the caller is gone already
            connection.settimeout(IDLE)
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            thread.start()
            self._served = [(c, t) for c, t in self._served if t.is_alive()]
            self._served.append((connection, thread))

    def _run(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, DcapError):
            self._serve(connection)


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes. Raises `ConnectionError` where the connection ends before."""
    received = bytearray()
    while len(received) < size:
        chunk = connection.recv(min(size - len(received), 65536))
        if not chunk:
            raise ConnectionError(f"{size} bytes were announced, {len(received)} came")
        received += chunk
    return bytes(received)


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "simulator-socket",
        f"no socket can be opened there: {why}",
        where=str(path),
        mend="give a short path, in a folder that is there, at which nothing stands",
    )
