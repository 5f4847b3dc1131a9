"""The service on its socket, in one process: it listens, keeps time, reloads and stops.

    asyncio.run(Server(listener, counters).run(settings, reread=…, on_ready=…))

SIGTERM: nobody new is let in, what is under way is finished. SIGHUP: settings and TLS are read again,
and new listeners take over on the same socket before the old ones end; connections stay, and go on
with the new settings. What cannot be used leaves everything as it was.

asyncio with a reader of our own instead of a framework: header names keep their case, TLS is reloaded
without losing a connection, and it costs less than those that do neither (`benchmarks/pccs.py`).

Not here: what is answered (`front`), connections (`connection`), processes (`supervisor`).
"""

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final

import msgspec

from dcap.errors import DcapError
from dcap.pccs import tls
from dcap.pccs.assembly import Parts, assembled
from dcap.pccs.connection import Connection
from dcap.pccs.front import Front
from dcap.pccs.listener import BACKLOG
from dcap.pccs.metrics import Counters
from dcap.pccs.request_log import RequestLog
from dcap.pccs.setting_table import SETTINGS, Settings

#: How often time is looked at: limits are kept to about so much.
TICK_SECONDS: Final = 0.25
#: For how long the parts before a reload serve what began with them, beyond `stop_seconds`.
_LAST_SECONDS: Final = 30.0


class Server:
    """A service in this process. `run` is its life, which ends with that of `parent`, if it has one."""

    def __init__(
        self,
        listener: socket.socket,
        counters: Counters,
        *,
        worker: int = 0,
        parent: int | None = None,
    ) -> None:
        self._parent = parent
        self._listener = listener
        self._counters = counters
        self._worker = worker
        self._listening: asyncio.Server | None = None
        self._stack = ExitStack()
        self._made: Front | None = None

    @property
    def _front(self) -> Front:
        """What connections ask; made by `run`."""
        assert self._made is not None
        return self._made

    async def run(
        self,
        settings: Settings,
        *,
        reread: Callable[[], Settings],
        on_ready: Callable[[], None],
    ) -> None:
        """Serve until SIGTERM or SIGINT. Raises `ConfigError`, `Unavailable` if it cannot start."""
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._reread = reread
        self._counters.use(self._worker)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopped.set)
        log = RequestLog(settings.log, settings.log_level)
        try:
            parts = self._stack.enter_context(assembled(settings, log))
            self._made = Front(self._loop, parts, self._counters, log)
            self._begin(self._stack, parts)
            await self._listen(settings)
            self._loop.add_signal_handler(signal.SIGHUP, self._start_reload)
            gc.collect()
            gc.freeze()  # what lives as long as the process is not looked through again
            on_ready()
            await self._live()
            await self._stop()
        finally:
            self._stack.close()
            if self._made is not None:
                self._made.close()

    def _begin(self, stack: ExitStack, parts: Parts) -> None:
        """What runs beside requests: renewal (in one of the workers), sightings, the look-out."""
        if self._worker == 0 and parts.settings.refresh:
            stack.callback(parts.refresher.stop, 1.0)
            parts.refresher.start()
        sightings = parts.service.sightings
        stack.callback(sightings.stop)
        sightings.start()
        watch = self._front.watch
        stack.callback(watch.stop)
        watch.look()
        watch.start()

    async def _listen(self, settings: Settings) -> None:
        """Listen with the settings' TLS; then the listener before ends, and its connections stay."""
        context = tls.server_context(
            settings.certificate_file, settings.key_file, client_ca=settings.client_ca
        )
        loop, front = self._loop, self._front
        listening = await loop.create_server(
            lambda: Connection(front, loop, context),
            sock=self._listener.dup(),
            backlog=BACKLOG,
        )
        if self._listening is not None:
            self._listening.close()
        self._listening = listening

    async def _live(self) -> None:
        """Until it is told to stop, or nobody is left to tell it."""
        while not self._stopped.is_set() and self._parent in (None, os.getppid()):
            self._front.tick()
            self._counters.beat(time.monotonic())
            now = self._front.now
            for connection in [one for one in self._front.connections if one.deadline < now]:
                connection.expire()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), TICK_SECONDS)

    async def _stop(self) -> None:
        """Let nobody in, finish what is under way, and let go of who waits for nothing."""
        front = self._front
        front.stopping = True
        front.log.event("info", "stopping", connections=len(front.connections))
        assert self._listening is not None
        self._listening.close()
        last = self._loop.time() + front.times.stop_seconds
        while True:
            for connection in list(front.connections):
                connection.close_if_idle()
            if not front.connections or self._loop.time() >= last:
                return
            self._counters.beat(time.monotonic())
            await asyncio.sleep(0.02)

    def _start_reload(self) -> None:
        self._reloading = self._loop.create_task(self._reload())

    async def _reload(self) -> None:
        """Take new settings and certificates; where they cannot be used, nothing changes."""
        front, log = self._front, self._front.log
        before = front.times
        with ExitStack() as stack:
            try:
                settings, lasting = _reloaded(before, self._reread())
                new_log = RequestLog(settings.log, settings.log_level)
                parts = stack.enter_context(assembled(settings, new_log))
                await self._listen(settings)
            except DcapError as error:
                log.failed("not reloaded", error)
                return
            front.take(parts, new_log)
            self._begin(stack, parts)
            old, self._stack = self._stack, stack.pop_all()
        # Requests under way have the old parts for a while yet; the front itself goes on.
        self._loop.call_later(before.stop_seconds + _LAST_SECONDS, self._close, old)
        if lasting:
            front.log.event("warning", "needs a restart", settings=", ".join(lasting))
        front.log.event("info", "reloaded")

    def _close(self, old: ExitStack) -> None:
        self._loop.run_in_executor(None, old.close)


def _reloaded(before: Settings, wanted: Settings) -> tuple[Settings, list[str]]:
    """The new settings as far as a reload takes them up, and those that wait for a restart."""
    lasting = {one.name: getattr(before, one.name) for one in SETTINGS if not one.reloads}
    changed = sorted(name for name, value in lasting.items() if getattr(wanted, name) != value)
    return msgspec.structs.replace(wanted, **lasting), changed
