"""Connections at a listening socket: how many there are, who waits, who makes room, and the end.

    server = Server(listener, answering, idle=600)
    server.run()

Each connection has a thread. Their number is bounded, and so is the number of each user's: where there
are too many, the one that has been idle for longest is let go, and its client connects anew when it next
has something to ask. Where none is idle, who comes waits: in the socket's queue where there are too many
in all, beside the others of its user where that user has too many. So a caller waits as long as it
likes to, and no user keeps another out. A message that has begun must be there whole within seconds, and
a response be taken; nobody waits for a slow one. A message that is none is answered once, and the
connection closed.

Not here: where the socket lies (`place`), what a message says (`answering`), the process (`server`).

Spec: `docs/provider-messages.md`.
"""

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dcap.errors import FormatError
from dcap.formats.provider_message import HEAD_SIZE, read_head
from dcap.provider.peers import Peer, peer_of

if TYPE_CHECKING:
    from dcap.provider.answering import Answering

MOST_CONNECTIONS: Final = 128
#: Of one user where others may connect too; as many again may wait for those to end.
MOST_OF_A_USER: Final = 64
#: Seconds in which a message that has begun must be whole, or a response be taken.
MESSAGE_TIME: Final = 5.0
#: Seconds for which a connection may lie idle.
IDLE_CONNECTION: Final = 300.0
#: Seconds that calls under way are given when the process ends.
GRACE: Final = 5.0
_CHUNK: Final = 65536


class _Connection:
    """One client. `used`: when it last had a message; `busy`: it is answered; `gone`: it was let go."""

    __slots__ = ("busy", "gone", "message", "peer", "socket", "used")

    def __init__(self, connected: socket.socket, peer: Peer) -> None:
        self.socket = connected
        self.peer = peer
        self.used = time.monotonic()
        self.busy = False
        self.gone = False
        self.message = b""

    def let_go(self) -> None:
        """End its reading: its thread wakes up, and closes it; what is being answered still goes out."""
        self.gone = True
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)


class Server:
    """Answers at a listening socket. `run` returns when it is told to stop, or nobody asks any more."""

    def __init__(
        self,
        listener: socket.socket,
        answering: "Answering",
        *,
        idle: float | None = None,
        connections: int = MOST_CONNECTIONS,
        of_a_user: int = MOST_OF_A_USER,
        message_time: float = MESSAGE_TIME,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self._listener = listener
        self._answering = answering
        self._idle = idle
        self._most = connections
        self._most_of_a_user = of_a_user
        self._message_time = message_time
        self._leave = leave
        self._lock = threading.Lock()
        self._clients: set[_Connection] = set()
        self._waiting: list[_Connection] = []  # for others of their user
        self._full = False  # somebody may be in the queue, and there was no room
        self._stopping = False
        self._last = time.monotonic()
        self._wake, self._waking = socket.socketpair()
        self._waking.settimeout(0)

    def stop(self) -> None:
        """Let `run` return; from any thread, or a signal's handler."""
        self._stopping = True
        self._rouse()

    def run(self) -> None:
        """Answer, until stopped."""
        self._listener.settimeout(0)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while True:
            poll.register(self._listener, 0 if self._full else select.POLLIN)
            found = dict(poll.poll(self._patience()))
            if self._wake.fileno() in found:
                self._wake.recv(_CHUNK)
                if self._stopping:
                    break
            elif found:
                self._accept()
            elif self._is_idle():
                break
        # First the name goes: whoever comes now starts another. Whoever has come is answered.
        self._leave()
        while self._accept():
            pass
        self._listener.close()
        self._finish()
        with self._lock:
            self._wake.close()
            self._waking.close()

    def _rouse(self) -> None:
        with suppress(OSError):  # full: it will wake up anyway
            self._waking.send(b"x")

    def _tell_of_room(self) -> None:
        if self._full:
            self._full = False
            self._rouse()

    def _patience(self) -> float | None:
        """Milliseconds to wait for somebody."""
        if self._idle is None:
            return None
        return max(0.0, self._last + self._idle - time.monotonic()) * 1000 + 1

    def _is_idle(self) -> bool:
        if self._idle is None or time.monotonic() - self._last < self._idle:
            return False
        with self._lock:
            return not self._waiting and not any(client.busy for client in self._clients)

    # Who comes

    def _accept(self) -> bool:
        """Take one from the queue; `False` where there is none, or no room for one."""
        if not self._has_room():
            return False
        try:
            connected, _ = self._listener.accept()
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                time.sleep(0.05)  # no descriptor to be had: others end meanwhile
            return False
        self._last = time.monotonic()
        client = _Connection(connected, peer_of(connected))
        with self._lock:
            self._admit(client)
        return True

    def _has_room(self) -> bool:
        """Whether there is; where not, the longest idle goes, and then there is."""
        with self._lock:
            if len(self._clients) < self._most:
                return True
            self._full = True
            _let_one_go(self._clients)
            return False

    def _admit(self, client: _Connection) -> None:
        """Begin with a client, or let it wait for another of its user to end."""
        if len(self._of(client)) < self._most_of_a_user:
            self._begin(client)
            return
        waiting = sum(1 for other in self._waiting if other.peer.uid == client.peer.uid)
        if waiting >= self._most_of_a_user or len(self._waiting) >= self._most:
            client.socket.close()
            return
        self._waiting.append(client)
        _let_one_go(self._of(client))

    def _of(self, client: _Connection) -> set[_Connection]:
        """All connections of the same user."""
        return {other for other in self._clients if other.peer.uid == client.peer.uid}

    def _begin(self, client: _Connection) -> None:
        self._clients.add(client)
        try:
            threading.Thread(target=self._converse, args=(client,), daemon=True).start()
        except RuntimeError:  # no thread to be had
            self._clients.discard(client)
            client.socket.close()

    # Who is there

    def _converse(self, client: _Connection) -> None:
        try:
            is_first = True
            while self._receive(client) and not (is_first and _has_hung_up(client.socket)):
                is_first = False
                client.busy = True
                self._last = client.used = time.monotonic()
                response = self._answering.respond(client.message, client.peer)
                client.socket.settimeout(self._message_time)
                client.socket.sendall(response)
                self._last = time.monotonic()
                self._rest(client)
        except FormatError as error:
            self._rebuff(client, error)
        except OSError:
            pass  # it went, or was too slow
        finally:
            self._drop(client)

    def _rest(self, client: _Connection) -> None:
        """A client was answered: it goes if another of its user waits, or is told of to the queue."""
        with self._lock:
            client.busy = False
            if any(other.peer.uid == client.peer.uid for other in self._waiting):
                client.let_go()
            else:
                self._tell_of_room()

    def _receive(self, client: _Connection) -> bool:
        """Take the next message; `False` where the client has ended, or was silent for too long."""
        receive = client.socket.recv
        client.socket.settimeout(IDLE_CONNECTION)
        client.message = receive(_CHUNK)
        until = time.monotonic() + self._message_time
        while client.message:
            size = len(client.message)
            whole = HEAD_SIZE
            if size >= HEAD_SIZE:
                whole += read_head(client.message).length
                if size >= whole:
                    return True  # more than one at a time is refused by its reader
            left = until - time.monotonic()
            if left <= 0:
                break
            client.socket.settimeout(left)
            more = receive(whole - size)
            if not more:
                break
            client.message += more
        return False

    def _rebuff(self, client: _Connection, error: FormatError) -> None:
        from dcap.provider.answering import rebuff  # noqa: PLC0415 - seldom

        with suppress(OSError):
            client.socket.settimeout(self._message_time)
            client.socket.sendall(rebuff(client.message, error))

    def _drop(self, client: _Connection) -> None:
        """A thread ends: one of those who wait has its place."""
        with self._lock:
            client.socket.close()
            self._clients.discard(client)
            for other in self._waiting:
                if len(self._of(other)) < self._most_of_a_user and len(self._clients) < self._most:
                    self._waiting.remove(other)
                    self._begin(other)
                    break
            self._tell_of_room()

    def _finish(self) -> None:
        """Wait a little for calls under way; whoever is idle is let go at once, and nobody asks more."""
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            with self._lock:
                if not self._clients and not self._waiting:
                    return
                for client in self._clients:
                    client.let_go()
            time.sleep(0.01)


def _let_one_go(clients: set[_Connection]) -> None:
    """Let the longest idle go, if one is idle, and none has been asked to go already."""
    idle = [client for client in clients if not client.busy]
    if idle and not any(client.gone for client in idle):
        min(idle, key=lambda client: client.used).let_go()


def _has_hung_up(connected: socket.socket) -> bool:
    """Whether the client is gone: it waited for its turn, and longer than it likes to."""
    poll = select.poll()
    poll.register(connected, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
