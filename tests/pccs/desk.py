"""A front over a rig: what connections ask, asked by hand; time and settings are the test's.

Not a home for assertions: each test states its own.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec

from dcap.api.http import Handler, HttpResponse
from dcap.pccs import tls
from dcap.pccs.assembly import Parts, prepare, tokens_of
from dcap.pccs.config import read_settings
from dcap.pccs.connection import Connection
from dcap.pccs.front import Front
from dcap.pccs.http_head import read_head
from dcap.pccs.metrics import Counters
from dcap.pccs.refresh import Refresher
from dcap.pccs.request_log import RequestLog
from pccs.rig import Rig

Wire: TypeAlias = Callable[[Handler], Handler]
ROOT_CRL = b"GET /sgx/certification/v4/rootcacrl HTTP/1.1\r\nHost: x\r\nRequest-ID: r1\r\n"


class Desk:
    """A front over a rig, its time in the test's hands."""

    def __init__(
        self, folder: Path, loop: asyncio.AbstractEventLoop, wire: Wire, given: dict[str, str]
    ) -> None:
        (folder / "store").mkdir()
        self.rig = Rig(folder / "store", wire=wire)
        settings = read_settings({"data": str(folder / "data"), **given}, {})
        self.tokens: dict[str, bytes] = {}
        prepare(settings, at=self.rig.clock(), show=self._take)
        self.parts = Parts(
            settings=settings,
            store=self.rig.store,
            upstream=self.rig.upstream,
            service=self.rig.service,
            handle=self.rig.handler,
            refresher=Refresher(self.rig.service, seed=b""),
            tokens=tokens_of(settings),
        )
        self.tls = tls.server_context(settings.certificate_file, settings.key_file)
        self.counters = Counters()
        self.lines: list[str] = []
        self.log = RequestLog("text", "info", write=self.lines.append)
        self.front = Front(loop, self.parts, self.counters, self.log)

    def _take(self, role: str, token: str) -> None:
        self.tokens[role] = token.encode()

    def put(self, handle: Handler) -> None:
        """Another handler behind the same table."""
        self.front.parts = msgspec.structs.replace(self.parts, handle=handle)

    def ask(self, block: bytes = ROOT_CRL) -> HttpResponse:
        """The answer that is not ready."""
        return self.front.loop.run_until_complete(self.respond(block))

    async def respond(self, block: bytes = ROOT_CRL, address: str = "10.0.0.1") -> HttpResponse:
        """The same, among others."""
        head = read_head(block)
        return await self.front.respond(head, head.request(), address)

    def connection(self, address: str) -> Connection:
        """One of an address, which nobody has admitted yet."""
        made = Connection(self.front, self.front.loop, self.tls)
        made.address = address
        return made

    def pass_seconds(self, seconds: float) -> None:
        """Time goes by, as the front sees it."""
        self.front.tick(self.front.now + seconds)

    def ready(self, block: bytes = ROOT_CRL) -> bytes | None:
        """The answer that is ready, all but its last header lines."""
        parts = self.front.ready(read_head(block))
        return None if parts is None else b"".join(parts)


@contextmanager
def open_desk(folder: Path, wire: Wire = lambda handler: handler, **given: str) -> Iterator[Desk]:
    """A desk with an event loop, and settings; `wire` stands around the simulated Intel."""
    loop = asyncio.new_event_loop()
    desk = Desk(folder, loop, wire, given)
    try:
        yield desk
    finally:
        desk.front.close()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
