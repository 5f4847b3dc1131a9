"""Bytes to bytes: a message that came, and the message that goes back; fast where the answer is ready.

    answering = Answering(provider)
    answering.respond(message, peer)

An answer that was just given is given again, under the new id, for a minute at most, and never into its
expiry or past the time at which its cache asks anew (`provider` says how long). It is found by the
caller's configuration and by all that was asked, save what does not change an answer: who asks, and how
long it waits.

What is not ready may have to be asked of a service, which counts requests. So programs of another user
(they need not be known to us) have few such questions at a time; the next waits, as long as its caller
does. Not here: what an answer is (`provider`).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

from dcap.errors import FormatError
from dcap.formats.provider_message import (
    HEAD_SIZE,
    Request,
    read_request,
    refusal,
    with_id,
    write_response,
)
from dcap.formats.provider_message_fields import Given
from dcap.provider.peers import Peer
from dcap.provider.provider import Provider

MESSAGE_PARSING = 0xE046
UNKNOWN_VERSION = 0xE048
UNEXPECTED = 0xE001
#: An answer that is not whole, or for which a message has no room.
INCOMPLETE = 0xE01A
TIMEOUT = 0xE042
#: Questions of one other user that are under way at a time.
MOST_QUESTIONS = 8
#: Milliseconds that a caller waits if it does not say.
_PATIENCE = 30_000
_PASSING = (Given.DEADLINE, Given.CALLER)


class Answering:
    """A provider behind messages. `monotonic` tells seconds that only go forward."""

    def __init__(
        self, provider: Provider, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._provider = provider
        self._monotonic = monotonic
        self.turns = Turns(MOST_QUESTIONS)

    def respond(self, message: bytes, peer: Peer) -> bytes:
        """The response to one whole message. Raises `FormatError` where it is none (`rebuff`)."""
        request = read_request(message)
        try:
            return self._answer(request, peer)
        except Exception:  # noqa: BLE001 - the last boundary: whatever happens, a caller gets a number
            return refusal(request.call, request.id, UNEXPECTED)

    def _answer(self, request: Request, peer: Peer) -> bytes:
        provider = self._provider
        caller = provider.callers.of(request.environment, peer)
        key = (
            request.call,
            *[field for field in request.given.items() if field[0] not in _PASSING],
        )
        ready = caller.ready.recall(key)
        now = self._monotonic()
        if ready is not None and now < ready[0]:
            return with_id(ready[1], request.id)
        if peer.is_known:
            response, seconds = provider.answered(request, caller, peer)
        else:
            patience = (
                request.number(Given.DEADLINE) if Given.DEADLINE in request.given else _PATIENCE
            )
            if not self.turns.take(peer.uid, patience / 1000):
                return refusal(request.call, request.id, TIMEOUT)
            try:
                response, seconds = provider.answered(request, caller, peer)
            finally:
                self.turns.give(peer.uid)
        try:
            written = write_response(response)
        except FormatError:
            return refusal(request.call, request.id, INCOMPLETE)
        if seconds > 0:
            caller.ready.keep(key, (now + seconds, written))
        return written


class Turns:
    """So many at a time of each user."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[int] = Counter()
        self._change = threading.Condition()

    def take(self, uid: int, seconds: float) -> bool:
        """Wait for a turn; `False` where there was none in time."""
        seconds = min(seconds, _PATIENCE / 1000)
        with self._change:
            if not self._change.wait_for(lambda: self._taken[uid] < self._most, seconds):
                return False
            self._taken[uid] += 1
            return True

    def give(self, uid: int) -> None:
        """A turn is over."""
        with self._change:
            self._taken[uid] -= 1
            if not self._taken[uid]:
                del self._taken[uid]
            self._change.notify_all()


def rebuff(message: bytes, error: FormatError) -> bytes:
    """What is answered to a message that is none, before the connection is closed."""
    status = UNKNOWN_VERSION if error.code == "provider-version" else MESSAGE_PARSING
    kind, number = 0, 0
    if len(message) >= HEAD_SIZE and message[:4] == b"DCQP":
        kind = int.from_bytes(message[6:8], "little") & 0x7FFF
        number = int.from_bytes(message[8:12], "little")
    return refusal(kind, number, status)
