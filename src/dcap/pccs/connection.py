"""One connection of a client: requests in, answers out, in order, within limits of time and size.

The answer of most requests is ready (`answers`) and is written before anything else is looked at; for
the rest a task asks the `Answerer`. Whatever a client does wrong ends its own connection alone. What
is refused before its body came (no token, too large) is answered at once, and the body is read and
thrown away for a while, so that the client sees the answer instead of a broken pipe. Who reads an
answer slowly has time for it, as long as it reads.

Not here: what is answered (`front`), TLS (`tls_session`), reading heads (`http_head`).

Source: RFC 9112 §9; `pccs-and-pcs-api.md` §1.1, 1.2.
"""

import asyncio
import ssl
from typing import Final, Protocol

from dcap.api.http import HttpRequest, HttpResponse
from dcap.pccs.http_head import (
    MAX_HEAD,
    Chunks,
    Head,
    Malformed,
    read_head,
    write_fields,
    write_status,
)
from dcap.pccs.setting_table import Settings
from dcap.pccs.slow_reader import LEAST_READ, count_unsent
from dcap.pccs.tls_session import TlsEnded, TlsSession

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
#: How much of a refused request's body is read, where it does not say, and for how long.
MAX_DISCARDED: Final = 64 * 1024 * 1024
DISCARD_SECONDS: Final = 10.0
_NO_BODY: Final = frozenset({204, 304})


class Answerer(Protocol):
    """What a connection asks."""

    @property
    def times(self) -> Settings:
        """The limits of time: for a head, for a body or reading an answer, between two requests."""

    #: The event loop's clock, as of about now.
    now: float
    stopping: bool
    #: `Date`, `Connection`, `Keep-Alive` and the empty line: of answers after which it goes on.
    tail: bytes
    #: The same of the last one.
    last_tail: bytes

    def admit(self, connection: "Connection") -> bool:
        """Whether there is room for one more."""

    def leave(self, connection: "Connection") -> None:
        """It has ended."""

    def ready(self, head: Head) -> tuple[bytes, ...] | None:
        """The parts of an answer that is ready, all but `tail` and what follows it."""

    def room(self, head: Head) -> int:
        """How large the request's body may be, by its head."""

    def refusal(self, head: Head, address: str) -> HttpResponse | None:
        """What is answered without the body, if it is refused for its head."""

    async def respond(self, head: Head, request: HttpRequest, address: str) -> HttpResponse:
        """The answer. Raises nothing."""

    def refused(self, head: Head, status: int, address: str) -> HttpResponse:
        """The answer to a request whose body, as it came, was none."""

    def unread(self, status: int) -> HttpResponse:
        """The answer to what is no request, or did not come in time."""


class Connection(asyncio.Protocol):
    """See the file's docstring. All of it runs in the event loop."""

    __slots__ = (
        "_awaited",
        "_buffer",
        "_chunks",
        "_front",
        "_head",
        "_heading",
        "_loop",
        "_pieces",
        "_stalled",
        "_task",
        "_tls",
        "_transport",
        "_unread",
        "_unsent",
        "address",
        "deadline",
    )

    def __init__(
        self, front: Answerer, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext
    ) -> None:
        self._front = front
        self._loop = loop
        self._tls = TlsSession(context)
        self._buffer = b""
        #: The request whose body is awaited or thrown away, or which is being answered.
        self._head: Head | None = None
        self._chunks: Chunks | None = None
        #: How much of a body of known length is missing, and what came of it.
        self._awaited = 0
        self._pieces: list[bytes] = []
        #: Whether the time for the rest of a head is running.
        self._heading = False
        #: How much of a refused body may still come; 0 where none is refused.
        self._unread = 0
        self._task: asyncio.Task[None] | None = None
        self._stalled = False
        #: How much of an answer was not read when the time for it began.
        self._unsent = 0
        self.address = ""
        self.deadline = 0.0

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there, and has so long for the handshake and a request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else "local"
        self.deadline = self._front.now + self._front.times.header_seconds
        if not self._front.admit(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """It has ended. What is being done for it is finished, and kept; nobody gets it."""
        self._front.leave(self)

    def data_received(self, data: bytes) -> None:
        """More bytes. While a request is answered they wait, and soon no more are read."""
        tls = self._tls
        was_up = tls.is_up
        try:
            plain = tls.receive(data)
        except TlsEnded:
            self._flush()
            self._transport.close()
            return
        if not was_up:
            self._flush()
        if not plain:
            return
        if self._awaited > 0:
            self._pieces.append(plain)
            self._awaited -= len(plain)
            if self._awaited > 0:
                return
            plain = b"".join(self._pieces)
            self._pieces.clear()
        self._buffer = self._buffer + plain if self._buffer else plain
        if self._task is None and not self._stalled:
            self._advance()
        elif len(self._buffer) > MAX_HEAD:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client does not read: nothing more is done for it until it does."""
        self._stalled = True
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stalled = False
        self._transport.resume_reading()
        if self._task is None:
            self._wait_for_next()
            self._advance()

    # Time

    @property
    def is_idle(self) -> bool:
        """Whether nothing was asked, or everything is answered."""
        return self._task is None and self._head is None and not self._buffer

    def expire(self) -> None:
        """Its time has run out (`deadline`)."""
        if self._stalled or self._transport.is_closing():
            self._expect_reader()
        elif self._unread:
            self._transport.abort()
        elif self._task is None:
            if self.is_idle:
                self._end()
            else:
                self._refuse(408)

    def close_if_idle(self) -> None:
        """When the service stops: whoever waits for nothing is let go."""
        if self.is_idle:
            self._end()

    # Requests

    def _advance(self) -> None:
        """Deal with what has come, request after request."""
        while self._task is None and not self._stalled and not self._transport.is_closing():
            if self._unread:
                self._throw_away()
                return
            if self._head is not None:
                if not self._take_body(self._head):
                    return
            elif not self._take_head():
                return

    def _take_head(self) -> bool:
        """Whether there was a whole head."""
        buffer = self._buffer
        # RFC 9112 §2.2: an empty line before a request is passed over; more of them are no request.
        if buffer.startswith(b"\r\n"):
            buffer = self._buffer = buffer[2:]
            if buffer.startswith(b"\r\n"):
                self._refuse(400)
                return False
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
        if end < 0:
            if len(buffer) > MAX_HEAD:
                self._refuse(431)
            elif buffer and not self._heading:
                self._heading = True
                self.deadline = self._front.now + self._front.times.header_seconds
            return False
        self._buffer = buffer[end + 4 :]
        self._heading = False
        try:
            head = read_head(buffer[: end + 2])
        except Malformed as error:
            self._refuse(error.status)
            return False
        front = self._front
        parts = front.ready(head)
        if parts is not None:
            self._write_ready(parts, head)
            return True
        self._begin(head)
        return True

    def _write_ready(self, parts: tuple[bytes, ...], head: Head) -> None:
        front = self._front
        goes_on = head.keeps_alive and not front.stopping
        *first, body = parts
        tail = front.tail if goes_on else front.last_tail
        if head.method == b"HEAD":
            body = b""
        self._send(b"".join((*first, tail, body)))
        if goes_on:
            self.deadline = front.now + front.times.keep_alive_seconds
        else:
            self._end()

    def _begin(self, head: Head) -> None:
        front = self._front
        self.deadline = front.now + front.times.request_seconds
        if not head.has_body:
            self._ask(head, b"")
            return
        refused = front.refusal(head, self.address)
        if refused is not None:
            self._discard(refused, head)
            return
        if head.fields.get(b"expect", b"").lower() == b"100-continue":
            self._send(CONTINUE)
        self._head = head
        self._chunks = Chunks(front.room(head)) if head.length is None else None
        missing = (head.length or 0) - len(self._buffer)
        if missing > 0:
            self._awaited = missing
            self._pieces, self._buffer = [self._buffer], b""

    def _take_body(self, head: Head) -> bool:
        """Whether there was a whole body."""
        if self._chunks is not None:
            data, self._buffer = self._buffer, b""
            try:
                rest = self._chunks.feed(data) if data else None
            except Malformed as error:
                self._head = self._chunks = None
                self._discard(self._front.refused(head, error.status, self.address), head)
                return False
            if rest is None:
                return False
            self._buffer = rest
            body = bytes(self._chunks.body)
            self._chunks = None
        else:
            assert head.length is not None
            if len(self._buffer) < head.length:
                return False
            body, self._buffer = self._buffer[: head.length], self._buffer[head.length :]
        self._head = None
        self._ask(head, body)
        return True

    def _discard(self, refused: HttpResponse, head: Head) -> None:
        """Refuse a request whose body may still be on its way."""
        self._unread = MAX_DISCARDED if head.length is None else head.length
        self._write(refused, head, lingers=True)
        self.deadline = self._front.now + DISCARD_SECONDS

    def _throw_away(self) -> None:
        """Read on for a while after a refusal, or the client would not see it; then end."""
        self._unread -= len(self._buffer)
        self._buffer = b""
        if self._unread <= 0:
            self._end()

    def _ask(self, head: Head, body: bytes) -> None:
        self.deadline = float("inf")  # whoever answers has a budget of its own
        self._task = self._loop.create_task(self._answer(head, body))

    async def _answer(self, head: Head, body: bytes) -> None:
        response = await self._front.respond(head, head.request(body), self.address)
        self._task = None
        if self._transport.is_closing():
            return
        self._write(response, head)
        self._transport.resume_reading()
        self._advance()

    # Answers

    def _write(self, response: HttpResponse, head: Head, *, lingers: bool = False) -> None:
        """Write an answer. `lingers`: it is the last one, but the connection is left open."""
        front = self._front
        goes_on = head.keeps_alive and not front.stopping and not lingers
        fields = write_fields(response.headers)
        body = response.body
        if response.status not in _NO_BODY and response.header("Content-Length") is None:
            fields += b"Content-Length: %d\r\n" % len(body)
        if head.method == b"HEAD" or response.status in _NO_BODY:
            body = b""
        tail = front.tail if goes_on else front.last_tail
        self._send(write_status(response.status) + fields + tail + body)
        if goes_on:
            self._wait_for_next()
        elif not lingers:
            self._end()

    def _refuse(self, status: int) -> None:
        """Answer what is no request, and end."""
        front = self._front
        response = front.unread(status)
        fields = write_fields(response.headers)
        fields += b"Content-Length: %d\r\n" % len(response.body)
        self._send(write_status(status) + fields + front.last_tail + response.body)
        self._end()

    def _send(self, data: bytes) -> None:
        self._tls.send(data)
        self._flush()

    def _flush(self) -> None:
        data = self._tls.take()
        if data:
            self._transport.write(data)

    def _end(self) -> None:
        """Say so, and end it once everything is sent."""
        self._tls.end()
        self._flush()
        self._transport.close()
        self._wait_for_reader()

    def _wait_for_next(self) -> None:
        self.deadline = self._front.now + self._front.times.keep_alive_seconds

    # Who reads slowly

    def _wait_for_reader(self) -> None:
        self._unsent = count_unsent(self._transport)
        self.deadline = self._front.now + self._front.times.request_seconds

    def _expect_reader(self) -> None:
        """Give it as much time again, if it read since."""
        least = LEAST_READ * self._front.times.request_seconds
        if self._unsent - count_unsent(self._transport) >= least:
            self._wait_for_reader()
        else:
            self._transport.abort()
