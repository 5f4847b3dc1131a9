"""The processes of a service: one that serves, or one that watches over several that do.

    serve(settings, reread=…, ready=…)      # returns when the service was told to stop

With one worker this process serves. With more it makes them, hands signals on, and replaces one that
ends by itself. The socket is made before and shared, so that no connection is lost to a worker that
ends. systemd is told READY, RELOADING, STOPPING, and WATCHDOG as long as the event loop of every
worker turns.

Not here: what a worker does (`server`).

Source: sd_notify(3).
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NoReturn

from dcap.errors import DcapError
from dcap.pccs.metrics import Counters
from dcap.pccs.request_log import RequestLog
from dcap.pccs.server import Server
from dcap.pccs.setting_table import Settings

#: A worker whose event loop stood still for longer is not alive.
STILL_SECONDS: Final = 20.0
#: A worker that ends by itself is not replaced more often.
RESPAWN_SECONDS: Final = 1.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def serve(
    settings: Settings,
    listener: socket.socket,
    *,
    reread: Callable[[], Settings],
    ready: Callable[[], None],
) -> int:
    """Serve until told to stop; gives the exit status. Raises where it cannot start."""
    counters = Counters(settings.workers)
    if settings.workers == 1:
        with suppress(KeyboardInterrupt):
            asyncio.run(_single(settings, listener, counters, reread, ready))
        return 0
    return _Workers(settings, listener, counters, reread).watch_over(ready)


async def _single(
    settings: Settings,
    listener: socket.socket,
    counters: Counters,
    reread: Callable[[], Settings],
    ready: Callable[[], None],
) -> None:
    beating: asyncio.Task[None] | None = None

    def on_ready() -> None:
        nonlocal beating
        ready()
        notify("READY=1")
        beating = asyncio.get_running_loop().create_task(_beat(counters))

    server = Server(listener, counters)
    await server.run(settings, reread=_announced(reread), on_ready=on_ready)
    notify("STOPPING=1")
    if beating is not None:
        beating.cancel()


def _announced(reread: Callable[[], Settings]) -> Callable[[], Settings]:
    """Reading settings again, with systemd told of it."""

    def announced() -> Settings:
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            return reread()
        finally:
            notify("READY=1")

    return announced


async def _beat(counters: Counters) -> None:
    while True:
        if is_alive(counters):
            notify("WATCHDOG=1")
        await asyncio.sleep(watchdog_seconds() / 3)


def is_alive(counters: Counters) -> bool:
    """Whether every worker's event loop turned lately."""
    now = time.monotonic()
    return all(now - beat < STILL_SECONDS for beat in counters.beats())


class _Workers:
    """Several processes that serve, and this one that does not."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        counters: Counters,
        reread: Callable[[], Settings],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._counters = counters
        self._reread = reread
        self._log = RequestLog(settings.log, settings.log_level)
        #: Process -> which worker it is.
        self._running: dict[int, int] = {}
        self._born: dict[int, float] = {}

    def watch_over(self, ready: Callable[[], None]) -> int:
        """Until SIGTERM or SIGINT. A worker that cannot start ends everything, with its status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        reader, writer = os.pipe()
        for number in range(self._settings.workers):
            self._spawn(number, writer)
        os.close(writer)
        started = self._await_started(reader)
        os.close(reader)
        if started:
            ready()
            notify("READY=1")
            self._look_after()
        notify("STOPPING=1")
        return self._end(signal.SIGTERM) if started else (self._end(signal.SIGTERM) or 1)

    def _await_started(self, reader: int) -> bool:
        """Whether each worker said that it answers, before one ended."""
        said = 0
        while said < self._settings.workers:
            heard = os.read(reader, 16)
            if not heard:
                return False
            if b"!" in heard:
                return False
            said += len(heard)
        return True

    def _look_after(self) -> None:
        beat_at = 0.0
        while True:
            given = signal.sigtimedwait(_SIGNALS, 1.0)
            if given is not None and given.si_signo in (signal.SIGTERM, signal.SIGINT):
                return
            if given is not None and given.si_signo == signal.SIGHUP:
                for process in self._running:
                    os.kill(process, signal.SIGHUP)
            self._replace_ended()
            now = time.monotonic()
            if is_alive(self._counters) and now - beat_at > watchdog_seconds() / 3:
                notify("WATCHDOG=1")
                beat_at = now

    def _replace_ended(self) -> None:
        for process in list(self._running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            number = self._running.pop(process)
            code = os.waitstatus_to_exitcode(status)
            self._log.event("error", "worker ended", worker=number, status=code)
            time.sleep(max(0.0, RESPAWN_SECONDS - (time.monotonic() - self._born[number])))
            self._spawn(number, None)

    def _spawn(self, number: int, writer: int | None) -> None:
        self._born[number] = time.monotonic()
        self._counters.beat_of(number, time.monotonic())
        parent = os.getpid()
        process = os.fork()
        if process:
            self._running[process] = number
            return
        self._be_worker(number, writer, parent)

    def _be_worker(self, number: int, writer: int | None, parent: int) -> NoReturn:
        """In the new process: serve, and end without going back."""
        status = 70
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            said = False

            def on_ready() -> None:
                nonlocal said
                if writer is not None and not said:
                    said = True
                    os.write(writer, b".")
                    os.close(writer)

            server = Server(self._listener, self._counters, worker=number, parent=parent)
            asyncio.run(server.run(self._settings, reread=self._reread, on_ready=on_ready))
            status = 0
        except DcapError as error:
            self._log.failed("worker", error)
            status = error.exit_status
        except KeyboardInterrupt:
            status = 0
        except Exception as error:  # noqa: BLE001 - said, and ended with
            self._log.failed("worker", error)
        finally:
            if writer is not None and status:
                with suppress(OSError):
                    os.write(writer, b"!")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _end(self, number: signal.Signals) -> int:
        """Tell all to end, and wait: the worst of their statuses."""
        worst = 0
        for process in self._running:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        for process in list(self._running):
            _, status = os.waitpid(process, 0)
            code = os.waitstatus_to_exitcode(status)
            # One that had only begun to start ends by the signal itself.
            worst = max(worst, 0 if code == -number else abs(code))
        return worst


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell systemd, if it listens."""
    place = environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.sendall(state.encode())


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float:
    """How often systemd wants to hear of us; a minute where it does not."""
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdigit() and int(text) else 60.0
