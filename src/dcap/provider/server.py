"""The process: it takes its place, answers there (`connections`), and ends.

    serve(Settings(socket=path, on_demand=True))      # until SIGTERM, or until nobody asks any more

Not here: where the socket lies (`place`), who connects (`connections`), how it is run (`settings`).

Spec: `docs/provider-messages.md`.
"""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dcap.errors import ConfigError
from dcap.provider.connections import MOST_CONNECTIONS, MOST_OF_A_USER, Server
from dcap.provider.place import Place, listener_of
from dcap.provider.settings import IDLE, SYSTEM_SOCKET, Settings, trust_of

if TYPE_CHECKING:
    from dcap.provider.answering import Answering

#: The same line is not written to the log again within so many seconds.
SAME_LINE: Final = 60.0
#: So many lines are written in that time: whoever may connect could fill a disk with failures.
MOST_LINES: Final = 120


def serve(
    settings: Settings, *, ready: Callable[[], None] = lambda: None, environ: dict[str, str]
) -> int:
    """Be the process, until SIGTERM, SIGINT or idleness; the exit status.

    `ready` is called once it answers. Of two that are started for one socket on demand, the later one
    ends quietly. Raises `ConfigError`: `provider-running`, `provider-socket`, `test-root`.
    """
    settings = _absolute(settings)
    if settings.on_demand:
        with suppress(OSError):  # it leads its group already
            os.setsid()
        os.chdir("/")
    shared = settings.shared or settings.socket == SYSTEM_SOCKET
    handed = Place.handed_over()
    place = handed or Place.take(settings.socket, mode=0o666 if shared else 0o600)
    if place is None:
        if settings.on_demand:
            return 0
        pid = listener_of(settings.socket)
        who = "another process" if pid is None else f"process {pid}"
        raise ConfigError(
            "provider-running",
            f"{who} answers there already",
            where=str(settings.socket),
            mend="use it, or end it first; or listen elsewhere with --socket",
        )
    try:
        report = _silent if settings.on_demand else _Log()
        idle = settings.idle or (IDLE if settings.on_demand else None)
        answering = _answering(settings, environ, report)
        # Nobody needs a share where there is one user.
        share = MOST_OF_A_USER if shared or handed else MOST_CONNECTIONS
        server = Server(place.listener, answering, idle=idle, of_a_user=share, leave=place.leave)
        with _ended_by_signals(server.stop):
            ready()
            notify("READY=1", environ)
            server.run()
        notify("STOPPING=1", environ)
    finally:
        place.leave()
    return 0


def _answering(
    settings: Settings, environ: dict[str, str], report: Callable[[str], None]
) -> "Answering":
    from dcap.provider.answering import Answering  # noqa: PLC0415 - after the socket is there
    from dcap.provider.callers import Callers  # noqa: PLC0415
    from dcap.provider.persistent import Persistent, state_directory  # noqa: PLC0415
    from dcap.provider.provider import Provider  # noqa: PLC0415

    trust = trust_of(settings)
    callers = Callers(trust, names=settings.sources, environ=environ, bare=settings.on_demand)
    persistent = Persistent(state_directory(environ))
    return Answering(Provider(callers, persistent, clock=trust.clock, report=report))


def _absolute(settings: Settings) -> Settings:
    """The same with paths that hold from any folder."""
    from msgspec.structs import replace  # noqa: PLC0415 - one name

    def absolute(path: Path | None) -> Path | None:
        return None if path is None else path.absolute()

    return replace(
        settings,
        socket=settings.socket.absolute(),
        ca=absolute(settings.ca),
        test_root=absolute(settings.test_root),
    )


@contextlib.contextmanager
def _ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda *_: stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def notify(state: str, environ: dict[str, str]) -> None:
    """Tell systemd, where it wants to know (`sd_notify`)."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, suppress(OSError):
        told.sendto(state.encode(), address)


class _Log:
    """Lines to stderr, none twice within a minute, and not many."""

    def __init__(self) -> None:
        self._since = -SAME_LINE
        self._written: set[str] = set()

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now - self._since >= SAME_LINE:
            self._since = now
            self._written.clear()
        if line in self._written or len(self._written) > MOST_LINES:
            return
        self._written.add(line)
        if len(self._written) > MOST_LINES:
            line = (
                "there are more failures than lines a minute: the rest of this minute is not told"
            )
        with suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _silent(line: str) -> None:
    """Nobody reads what a process on demand would say: the library hands it to its host's log."""
