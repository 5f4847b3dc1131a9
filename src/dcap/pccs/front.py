"""What connections ask of a service: ready answers first, the rest in threads.

1. An answer that is ready is written at once, in the event loop. 2. Probes and metrics are answered
beside everything else, so that they answer also when that does not. 3. The contract's resources go to
the handler, in one of so many threads; what is beyond the limits gets 503 with an empty body, which
quote providers understand. 4. Anything else is the console's.

`take` gives it the parts of other settings; requests under way go on with those they began with. Not
here: listening and stopping (`server`), heads and bodies (`connection`), what is answered (`handler`).
"""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate
from importlib import import_module
from itertools import count
from typing import Any, Final, TypeVar

import msgspec

from dcap import __version__
from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pccs import place_of
from dcap.api.pccs_responses import PccsRefusal
from dcap.api.pcs_responses import REQUEST_ID, WARNING
from dcap.api.thim import CACHE_CONTROL
from dcap.errors import DcapError
from dcap.pccs import asgi, health
from dcap.pccs.answers import Answers, Topic, parts_of
from dcap.pccs.assembly import Parts
from dcap.pccs.causes import CAUSES
from dcap.pccs.connection import Connection
from dcap.pccs.handler import CAUSE, V3_WARNING
from dcap.pccs.http_head import Head
from dcap.pccs.metrics import MEDIA_TYPE, Counted, Counters, write_figures
from dcap.pccs.rates import Rates
from dcap.pccs.request_log import RequestLog
from dcap.pccs.watch import Watch

T = TypeVar("T")

_IDENTITY: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
_LONGEST_IDENTITY: Final = 64
_CONTRACT: Final = ("/sgx/", "/tdx/")
_PROBES: Final = ("/healthz/live", "/healthz/ready", "/healthz/startup")
_OPERATION: Final = frozenset({*_PROBES, "/metrics", "/openapi.json", "/status.json"})
_REGISTERS: Final = ("POST", "platforms")
#: What wants a token, and may come with a body that is not to be read without one.
_WITH_TOKEN: Final = frozenset(
    {_REGISTERS, ("PUT", "platformcollateral"), ("PUT", "appraisalpolicy")}
    | {("GET", "platforms"), ("GET", "refresh"), ("POST", "refresh")}
)


class Front:
    """See the file's docstring. All but the handler itself runs in the event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        parts: Parts,
        counters: Counters,
        log: RequestLog,
        report: Callable[[], None] = lambda: None,
    ) -> None:
        self.loop = loop
        self.connections: set[Connection] = set()
        self.stopping = False
        self._counters = counters
        self._report = report
        self._under_way = 0
        self._console: asgi.Application | None = None
        #: Of this process alone; counted on for each request.
        self._prefix = secrets.token_hex(8).encode()
        self._serial = count(1)
        self._pool = ThreadPoolExecutor(parts.settings.threads, "dcap-pccs")
        self._aside = ThreadPoolExecutor(2, "dcap-pccs-aside")
        self.take(parts, log)

    def take(self, parts: Parts, log: RequestLog) -> None:
        """Answer with these parts from now on."""
        settings = parts.settings
        self.parts = parts
        self.times = settings
        self.log = log
        self.answers = Answers(max_size=settings.hot_size)
        self._rates = Rates(settings.rate, settings.burst)
        answers = self.answers
        self.watch = Watch(parts.store, lambda topics: self._changed(topics, answers))
        self.tick()

    def tick(self) -> None:
        """What depends on the time of day; to be called often."""
        self.now = self.loop.time()
        idle = int(self.times.keep_alive_seconds)
        self.tail = (
            f"Date: {formatdate(usegmt=True)}\r\nConnection: keep-alive\r\n"
            f"Keep-Alive: timeout={idle}\r\n\r\n"
        ).encode()

    def _changed(self, topics: frozenset[Topic], answers: Answers) -> None:
        """The store changed: said from a thread."""
        self._counters.add(Counted.CHANGES)
        with suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(answers.forget, topics)

    async def beside(self, work: Callable[[], T]) -> T:
        """Work that waits for nothing but the store, beside that of clients."""
        return await self.loop.run_in_executor(self._aside, work)

    def close(self) -> None:
        """Answer nothing more that takes a thread."""
        for pool in (self._pool, self._aside):
            pool.shutdown(wait=False, cancel_futures=True)

    # What a connection asks

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for one more."""
        if self.stopping or len(self.connections) >= self.times.connections:
            self._counters.add(Counted.TURNED_AWAY)
            return False
        self.connections.add(connection)
        self._counters.add(Counted.CONNECTIONS)
        self._counters.add(Counted.OPEN)
        return True

    def leave(self, connection: Connection) -> None:
        """It has ended."""
        if connection in self.connections:
            self.connections.discard(connection)
            self._counters.add(Counted.OPEN, -1)

    def note(self, status: int) -> None:
        """Count an answer that a connection gives by itself."""
        self._counters.answered(status)

    def ready(self, head: Head) -> tuple[bytes, ...] | None:
        """The answer, if it is ready."""
        line = head.line
        row = self.answers.get(line, self.now)
        if row is None:
            if head.method != b"HEAD":
                return None
            row = self.answers.get(b"GET" + line[4:], self.now)
            if row is None:
                return None
        fields = head.fields
        if head.length != 0:
            return None
        given = fields.get(b"request-id")
        identity = b"%s%016x" % (self._prefix, next(self._serial)) if given is None else given
        if given is not None and not is_identity(given):
            return None
        known = fields.get(b"if-none-match")
        if known is not None and b"cache-control" in fields:
            return None
        parts = parts_of(row, identity, known)
        if parts is not None:
            self._counters.add(Counted.HOT)
            if self.log.shows("debug"):
                self.log.event("debug", "ready", request_id=identity.decode())
        return parts

    def refusal(self, head: Head) -> HttpResponse | None:
        """What is refused for its head: a wrong token, a body that is too large."""
        if not head.has_body:
            return None
        request = head.request()
        place = place_of(request)
        if place is not None and (request.method, place.resource) in _WITH_TOKEN:
            # Without its body the request is refused for its token, if for nothing else.
            role = "user" if (request.method, place.resource) == _REGISTERS else "admin"
            given = request.header(f"{role}-token")
            if not self.parts.tokens.check(given, "user" if role == "user" else "admin"):
                return self._noted(self.parts.handle(request))
        if head.length is not None and head.length > self.times.max_body:
            return self._noted(self._refused("too-large", request))
        return None

    def _noted(self, response: HttpResponse) -> HttpResponse:
        self._counters.answered(response.status)
        return response

    async def respond(self, head: Head, request: HttpRequest, address: str) -> HttpResponse:
        """The answer to what was not ready."""
        began = self.loop.time()
        path = request.path.lower().rstrip("/") or "/"
        self._under_way += 1
        self._counters.add(Counted.UNDER_WAY)
        try:
            if path in _OPERATION:
                response = await self._operation(path, request)
            elif path.startswith(_CONTRACT):
                response = await self._contract(head, request, address)
            else:
                response = await self._other(request, address)
        except Exception as error:  # noqa: BLE001 - one request must not end the service
            self.log.failed("request", error)
            response = self._refused("internal", request)
        finally:
            self._under_way -= 1
            self._counters.add(Counted.UNDER_WAY, -1)
        seconds = self.loop.time() - began
        self._counters.answered(response.status)
        self._counters.took(seconds)
        if path not in _OPERATION or response.status >= 500 or self.log.shows("debug"):
            self._log(request, response, address, seconds)
        return response

    def _log(
        self, request: HttpRequest, response: HttpResponse, address: str, seconds: float
    ) -> None:
        """Probes and scrapes come all the time, and are no news."""
        self.log.request(
            request,
            status=response.status,
            cause=response.header(CAUSE),
            identity=response.header(REQUEST_ID),
            address=address,
            seconds=seconds,
        )

    # The contract

    async def _contract(self, head: Head, request: HttpRequest, address: str) -> HttpResponse:
        if not self._rates.takes(address, self.now):
            self._counters.add(Counted.RATE_LIMITED)
            return self._refused("busy", request)
        if self._under_way > self.times.misses:
            self._counters.add(Counted.BUSY)
            return self._refused("busy", request)
        self._counters.add(Counted.COMPUTED)
        answers, since, parts, watch = self.answers, self.answers.generation, self.parts, self.watch

        def handle() -> HttpResponse:
            response = parts.handle(request)
            if request.method not in ("GET", "HEAD"):
                watch.look()  # its own changes count at once
            return response

        response = answers.shorten(await self.loop.run_in_executor(self._pool, handle))
        if request.method == "GET":
            if response.status == 200:
                answers.offer(head.line, response, since, self.now)
            elif response.header(CAUSE) == "store-unavailable":
                return self._still_good(head, response)
        return response

    def _still_good(self, head: Head, refused: HttpResponse) -> HttpResponse:
        """Where the database is gone: what was ready, if its own date still holds."""
        row = self.answers.get_good(head.line, self.now)
        if row is None:
            return refused
        self._counters.add(Counted.STILL_GOOD)
        lines = row.head.decode("latin-1").split("\r\n")[1:-1]
        fields = tuple((name, value) for name, _, value in (one.partition(": ") for one in lines))
        identity = (REQUEST_ID, refused.header(REQUEST_ID) or "")
        return HttpResponse(status=200, headers=(identity, *fields), body=row.body)

    def _refused(self, cause: str, request: HttpRequest) -> HttpResponse:
        """A refusal that the handler never sees."""
        status = CAUSES[cause].status
        response = PccsRefusal(status=status).to_http(with_sentence=status != 503)
        given = request.header(REQUEST_ID) or ""
        identity = given if is_identity(given.encode("latin-1")) else secrets.token_hex(16)
        place = place_of(request)
        warning = ((WARNING, V3_WARNING),) if place is not None and place.version == 3 else ()
        return HttpResponse(
            status=status,
            headers=(
                (REQUEST_ID, identity),
                *response.headers,
                (CAUSE, cause),
                (CACHE_CONTROL, "no-store"),
                *warning,
            ),
            body=response.body,
        )

    # Operation

    async def _operation(self, path: str, request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers=(("Allow", "GET, HEAD"),))
        if path.startswith("/healthz"):
            found = {} if path.endswith(("live", "startup")) else self._checks()
            status, body = health.probe(found)
            return _document(status, body)
        if path == "/openapi.json":
            return _document(200, await self.beside(_openapi))
        now = await self.beside(self._status)
        if path == "/metrics":
            text = write_figures([*self._counters.figures(), *health.figures(now)])
            return _document(200, text, MEDIA_TYPE)
        if now is None:
            return self._refused("store-unavailable", request)
        return _document(200, msgspec.json.encode({"schema": 1, **now}))

    def _checks(self) -> dict[str, str]:
        return health.checks(
            store_answers=self.watch.answers,
            has_tokens=self.parts.tokens.has("admin"),
            stopping=self.stopping,
        )

    def _status(self) -> dict[str, Any] | None:
        hot = health.Hot(answers=len(self.answers), size=self.answers.size)
        try:
            return health.status(self.parts, self._counters, hot, version=__version__)
        except DcapError:
            return None

    # The console

    async def _other(self, request: HttpRequest, address: str) -> HttpResponse:
        console = await self._load_console()
        if console is None:
            return await self.beside(lambda: self.parts.handle(request))
        if not self._rates.takes(address, self.now):
            return self._refused("busy", request)
        response: HttpResponse = await asgi.ask(
            console, request, client=address, server=(self.times.host, self.times.port)
        )
        if request.method not in ("GET", "HEAD"):
            await self.beside(self.watch.look)
        return response

    async def _load_console(self) -> asgi.Application | None:
        """The console, once somebody asks for it: it is slow to load."""
        if self._console is None:
            self._console = await self.beside(lambda: _console(self))
        return self._console


def is_identity(given: bytes) -> bool:
    """Whether a caller's `Request-ID` can be handed back."""
    return 0 < len(given) <= _LONGEST_IDENTITY and _IDENTITY.issuperset(given)


def _document(status: int, body: bytes, media_type: str = health.JSON) -> HttpResponse:
    headers = (("Content-Type", media_type), (CACHE_CONTROL, "no-store"))
    return HttpResponse(status=status, headers=headers, body=body)


def _openapi() -> bytes:
    from dcap.pccs.openapi import openapi  # noqa: PLC0415 - few ask

    return msgspec.json.encode(openapi(__version__))


def _console(front: Front) -> asgi.Application | None:
    """The console of a service, where it is installed."""
    try:
        module = import_module("dcap.pccs.console")
    except ImportError:
        return None
    made: asgi.Application = module.application(lambda: front.parts)
    return made
