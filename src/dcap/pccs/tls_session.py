"""TLS of one connection without a socket: bytes from the network in, bytes for it out.

    session = TlsSession(context)
    plain = session.receive(data)       # what the client said, as far as it came
    transport.write(session.take())     # handshake, alerts, answers
    session.send(answer)

asyncio has the same inside, with timers, states and a quarter of a megabyte for each connection: on
ready answers it costs more than everything else together (`benchmarks/pccs.py`). The limits of time
are the connection's. Not here: certificates (`tls`).

Source: RFC 8446; RFC 5246.
"""

import ssl
from contextlib import suppress
from typing import Final

#: The most that one record holds.
_RECORD: Final = 16 * 1024


class TlsEnded(Exception):  # noqa: N818 - what the session has
    """The client ended the session, or failed in it. What `take` gives may still be sent."""


class TlsSession:
    """The server's side of one session."""

    __slots__ = ("_incoming", "_object", "_outgoing", "is_up")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        #: Whether the handshake is done.
        self.is_up = False

    def receive(self, data: bytes) -> bytes:
        """What the client said; nothing while it shakes hands. Raises `TlsEnded`."""
        self._incoming.write(data)
        tls = self._object
        try:
            if not self.is_up:
                tls.do_handshake()
                self.is_up = True
            plain = tls.read(_RECORD)
            if not plain:
                raise TlsEnded
            if self._incoming.pending or tls.pending():
                plain += self._rest()
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError:
            raise TlsEnded from None
        return plain

    def _rest(self) -> bytes:
        parts = []
        try:
            while self._incoming.pending or self._object.pending():
                part = self._object.read(_RECORD)
                if not part:
                    break  # it ends after what it said; the next `receive`, or the socket, tells
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Encrypt an answer; `take` has it."""
        self._object.write(data)

    def take(self) -> bytes:
        """What is to be sent now; empty where nothing is."""
        return self._outgoing.read()

    def end(self) -> None:
        """Say that nothing more comes."""
        if self.is_up:
            with suppress(ssl.SSLError):  # nobody waits for the client to say so too
                self._object.unwrap()
