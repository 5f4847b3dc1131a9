"""What connections ask of a service: ready answers first, the rest in threads.

1. An answer that is ready is written at once, in the event loop. 2. Probes and metrics are answered
beside everything else, so that they answer also when that does not. 3. The console has its pages. 4.
Anything else goes to the handler: first for what is kept, in threads that wait for nothing; then, where
upstream must be waited for, as one of so many, addresses in turn. What is beyond the limits gets 503
with an empty body, which quote providers understand.

`take` gives it the parts of other settings; requests under way go on with those they began with. Not
here: listening and stopping (`server`), heads and bodies (`connection`), what is answered (`handler`).
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from importlib import import_module
from itertools import count
from typing import Final, TypeVar

from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pccs import place_of
from dcap.api.pccs_responses import CAUSE, SENTENCE, SENTENCES, WHY, PccsRefusal
from dcap.api.pcs_responses import REQUEST_ID, WARNING
from dcap.api.thim import CACHE_CONTROL
from dcap.pccs import asgi
from dcap.pccs.answers import Answers, Topic, parts_of
from dcap.pccs.assembly import Parts
from dcap.pccs.auth import Role
from dcap.pccs.causes import CAUSES
from dcap.pccs.connection import Connection
from dcap.pccs.documents import OPERATION, Documents, State
from dcap.pccs.forwarded import Proxies
from dcap.pccs.handler import (
    REQUEST_ID_FORM,
    V3_WARNING,
    identity_of,
    new_identity,
)
from dcap.pccs.http_head import Head
from dcap.pccs.listener import make_room
from dcap.pccs.metrics import Counted, Counters
from dcap.pccs.rates import Rates, network_of
from dcap.pccs.request_log import RequestLog
from dcap.pccs.resources import with_headers
from dcap.pccs.threads import IMPORTS, REGISTERS, WITH_TOKEN, Threads
from dcap.pccs.watch import Watch

T = TypeVar("T")

_CONSOLE: Final = "/console"
#: Of a machine that registers: Intel's manifests have some 56 KB, twice that in hex.
_MAX_RECORD: Final = 256 * 1024
#: Of all else, which has no body at all, or a form of the console.
_MAX_FORM: Final = 16 * 1024
#: Lines a second of one kind of refusal; the rest is counted.
_MAX_LINES: Final = 10
#: What is said to who sent no request, or not in time.
_UNREAD: Final = {
    400: SENTENCES[400],
    408: "The request did not come in time.",
    431: "The head of the request is too large.",
    501: "There is no such transfer coding here.",
    505: "There is no such version of HTTP here.",
}


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
        #: Connections by address.
        self._connected: Counter[str] = Counter()
        #: Refusals since the last look at the clock: lines written, and those that were not.
        self._lines: Counter[str] = Counter()
        self._unsaid: Counter[str] = Counter()
        self._said_at = 0.0
        self._console: asgi.Application | None = None
        #: Of this process alone; counted on for each request.
        self._prefix = secrets.token_hex(8).encode()
        self._serial = count(1)
        self._threads = Threads(loop, parts.settings)
        self._documents = Documents(loop, counters, self.beside)
        self.take(parts, log)

    def take(self, parts: Parts, log: RequestLog) -> None:
        """Answer with these parts from now on."""
        settings = parts.settings
        self.parts = parts
        self.times = settings
        self.log = log
        self.answers = Answers(max_size=settings.hot_size)
        self._rates = Rates(settings.rate, settings.burst)
        self._threads.take(settings)
        self._proxies = Proxies(settings.trusted_proxies)
        self._most = make_room(settings.connections)
        self._most_of_one = min(settings.connections_per_address, max(2, self._most // 2))
        if self._most < settings.connections:
            log.event("warning", "too few open files", connections=self._most)
        answers = self.answers
        self.watch = Watch(parts.store, lambda topics: self._changed(topics, answers))
        self.tick()

    def tick(self, now: float | None = None) -> None:
        """What depends on the time of day; to be called often. `now` is that of the loop's clock."""
        self.now = self.loop.time() if now is None else now
        idle = int(self.times.keep_alive_seconds)
        date = f"Date: {formatdate(usegmt=True)}\r\n"
        self.tail = (f"{date}Connection: keep-alive\r\nKeep-Alive: timeout={idle}\r\n\r\n").encode()
        self.last_tail = f"{date}Connection: close\r\n\r\n".encode()
        if self.now - self._said_at >= 1:
            for cause, requests in self._unsaid.items():
                self.log.event("warning", "refused", cause=cause, requests=requests)
            self._unsaid.clear()
            self._lines.clear()
            self._said_at = self.now

    def _changed(self, topics: frozenset[Topic], answers: Answers) -> None:
        """The store changed: said from a thread."""
        self._counters.add(Counted.CHANGES)
        with suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(answers.forget, topics)

    async def beside(self, work: Callable[[], T]) -> T:
        """Work that waits for nothing but the store, beside that of clients."""
        return await self._threads.beside(work)

    def close(self) -> None:
        """Answer nothing more that takes a thread."""
        self._threads.close()

    # What a connection asks

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for one more."""
        name = network_of(connection.address)
        has_all = self._connected[name] >= self._most_of_one
        is_one_too_many = has_all and not self._proxies.has(connection.address)
        if self.stopping or is_one_too_many or len(self.connections) >= self._most:
            self._counters.add(Counted.TURNED_AWAY)
            return False
        self._connected[name] += 1
        self.connections.add(connection)
        self._counters.add(Counted.CONNECTIONS)
        self._counters.add(Counted.OPEN)
        return True

    def leave(self, connection: Connection) -> None:
        """It has ended."""
        if connection in self.connections:
            self.connections.discard(connection)
            self._counters.add(Counted.OPEN, -1)
            name = network_of(connection.address)
            self._connected[name] -= 1
            if not self._connected[name]:
                del self._connected[name]

    def unread(self, status: int) -> HttpResponse:
        """The answer to what is no request, or did not come in time."""
        self._counters.answered(status)
        cause = ((CAUSE, "bad-request"),) if status == 400 else ()
        headers = (
            (REQUEST_ID, new_identity()),
            ("Content-Type", SENTENCE),
            *cause,
            (CACHE_CONTROL, "no-store"),
        )
        return HttpResponse(status=status, headers=headers, body=_UNREAD.get(status, "").encode())

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

    def room(self, head: Head) -> int:
        """How large a body may be: without a token there is nothing to send."""
        request = head.request()
        place = place_of(request)
        named = (request.method, "" if place is None else place.resource)
        if named in IMPORTS:
            return self.times.max_body
        return min(self.times.max_body, _MAX_RECORD if named == REGISTERS else _MAX_FORM)

    def refusal(self, head: Head, address: str) -> HttpResponse | None:
        """What is refused for its head: a wrong token, a body that is too large."""
        request = head.request()
        place = place_of(request)
        if place is not None and (request.method, place.resource) in WITH_TOKEN:
            # Without its body the request is refused for its token, if for nothing else.
            role: Role = "user" if (request.method, place.resource) == REGISTERS else "admin"
            if not self.parts.tokens.check(request.header(f"{role}-token"), role):
                return self._noted(self.parts.handle(request), request, address)
        if head.length is not None and head.length > self.room(head):
            return self._noted(self._refused("too-large", request), request, address)
        return None

    def refused(self, head: Head, status: int, address: str) -> HttpResponse:
        """The answer to a request whose body, as it came, was none, or too large."""
        request = head.request()
        cause = "too-large" if status == 413 else "bad-request"
        return self._noted(self._refused(cause, request), request, address)

    def _noted(self, response: HttpResponse, request: HttpRequest, address: str) -> HttpResponse:
        self._counters.answered(response.status)
        self._log(request, response, self._proxies.client_of(address, request.headers), 0.0)
        return response

    async def respond(self, head: Head, request: HttpRequest, address: str) -> HttpResponse:
        """The answer to what was not ready."""
        began = self.loop.time()
        path = request.path.lower().rstrip("/") or "/"
        address = self._proxies.client_of(address, request.headers)
        self._counters.add(Counted.UNDER_WAY)
        try:
            if path in OPERATION:
                state = State(
                    parts=self.parts,
                    answers=self.answers,
                    store_answers=self.watch.answers,
                    stopping=self.stopping,
                    now=self.now,
                )
                document = await self._documents.answer(path, request, state)
                response = document or self._refused("store-unavailable", request)
            elif path in ("/", _CONSOLE) or path.startswith(f"{_CONSOLE}/"):
                response = await self._page(head, request, address)
            else:
                response = await self._contract(head, request, address)
        except Exception as error:  # noqa: BLE001 - one request must not end the service
            self.log.failed("request", error)
            response = self._refused("internal", request)
        finally:
            self._counters.add(Counted.UNDER_WAY, -1)
        if response.header(REQUEST_ID) is None:
            response = with_headers(response, (REQUEST_ID, identity_of(request)))
        seconds = self.loop.time() - began
        self._counters.answered(response.status)
        self._counters.took(seconds)
        if path not in OPERATION or response.status >= 500 or self.log.shows("debug"):
            self._log(request, response, address, seconds)
        return response

    def _log(
        self, request: HttpRequest, response: HttpResponse, address: str, seconds: float
    ) -> None:
        """One line, but of refusals that anybody can provoke without end: those are counted."""
        cause = response.header(CAUSE)
        if cause in ("busy", "bad-token", "too-large"):
            self._lines[cause] += 1
            if self._lines[cause] > (1 if cause == "busy" else _MAX_LINES):
                self._unsaid[cause] += 1
                return
        self.log.request(
            request,
            status=response.status,
            cause=cause,
            why=response.header(WHY),
            identity=response.header(REQUEST_ID),
            address=address,
            seconds=seconds,
        )

    # The contract

    async def _contract(self, head: Head, request: HttpRequest, address: str) -> HttpResponse:
        if not self._rates.takes(address, self.now):
            self._counters.add(Counted.RATE_LIMITED)
            return self._refused("busy", request)
        answers, since = self.answers, self.answers.generation
        asked = await self._threads.ask(self._behind, request, network_of(address))
        if asked is None:
            self._counters.add(Counted.BUSY)
            return self._refused("busy", request)
        self._counters.add(Counted.COMPUTED)
        response = answers.shorten(asked)
        if request.method == "GET":
            if response.status == 200:
                answers.offer(head.line, response, since, self.now)
            elif response.header(CAUSE) == "store-unavailable":
                return self._still_good(head, response)
        return response

    def _behind(self) -> tuple[Parts, Watch]:
        """What answers now: who stood in line while settings changed is answered by the new."""
        return self.parts, self.watch

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
        place = place_of(request)
        warning = ((WARNING, V3_WARNING),) if place is not None and place.version == 3 else ()
        return HttpResponse(
            status=status,
            headers=(
                (REQUEST_ID, identity_of(request)),
                *response.headers,
                (CAUSE, cause),
                (CACHE_CONTROL, "no-store"),
                *warning,
            ),
            body=response.body,
        )

    # The console

    async def _page(self, head: Head, request: HttpRequest, address: str) -> HttpResponse:
        console = await self._load_console()
        if console is None:
            return await self._contract(head, request, address)
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
    return REQUEST_ID_FORM.fullmatch(given.decode("latin-1")) is not None


def _console(front: Front) -> asgi.Application | None:
    """The console of a service, where it is installed."""
    try:
        module = import_module("dcap.pccs.console")
    except ImportError:
        return None
    made: asgi.Application = module.application(lambda: front.parts)
    return made
