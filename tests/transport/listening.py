"""Servers that misbehave byte by byte, and a proxy: real sockets on loopback, one thread each.

    with listening(answering(OK)) as server: ...

A script is what a server does with one connection; the last one given serves all further ones.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from dcap.api.http import HttpRequest
from dcap.errors import CollateralError
from dcap.transport import NetworkHandler

SECRET = "5EC2E7" * 4
#: What every test asks: the query identifies a machine, and must not be told.
ASKED = HttpRequest(target=f"/sgx/certification/v4/pckcert?qeid={SECRET}")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"


class Conversation:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self.connection = connection
        self.stopping = stopping
        self.requests: list[bytes] = []
        self._reader = connection.makefile("rb")

    def hear(self) -> bytes:
        """One request: its head, and what its Content-Length announces; empty at the end."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self._reader.readline()
            if not line:
                return b""
            head += line
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                head += self._reader.read(int(line.split(b":")[1]))
        self.requests.append(head)
        return head

    def end(self) -> None:
        """Give up the connection; it is closed by who opened it."""
        self._reader.close()

    def say(self, *pieces: bytes) -> None:
        """Send."""
        for piece in pieces:
            self.connection.sendall(piece)

    def drip(self, piece: bytes, every: float = 0.05) -> None:
        """Say the same for ever, until the other side has enough or the test is over."""
        while not self.stopping.wait(every):
            self.say(piece)

    def hold(self) -> None:
        """Say nothing until the test is over."""
        self.stopping.wait()


Script: TypeAlias = Callable[[Conversation], None]


class Listening:
    """Where the server is, and what it has heard."""

    def __init__(self, port: int, scheme: str, host: str) -> None:
        self.port = port
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self.conversations: list[Conversation] = []

    @property
    def requests(self) -> list[bytes]:
        """The requests of all connections."""
        return [heard for conversation in self.conversations for heard in conversation.requests]


@contextmanager
def listening(
    *scripts: Script, tls: tuple[Path, Path] | ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[Listening]:
    """A server whose first connection runs the first script, and so on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    stopping = threading.Event()
    threads: list[threading.Thread] = []
    context = tls if isinstance(tls, ssl.SSLContext) else None
    if isinstance(tls, tuple):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    server = Listening(listener.getsockname()[1], "https" if context else "http", host)

    def converse(connection: socket.socket, script: Script) -> None:
        with connection, contextlib.suppress(OSError):
            secured = connection
            if context is not None:
                secured = context.wrap_socket(connection, server_side=True)
            with secured:
                conversation = Conversation(secured, stopping)
                server.conversations.append(conversation)
                try:
                    script(conversation)
                finally:
                    conversation.end()

    def accept() -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(20)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            script = scripts[min(number, len(scripts) - 1)]
            number += 1
            threads.append(threading.Thread(target=converse, args=(connection, script)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        stopping.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(10)
        for thread in threads:
            thread.join(10)


def answering(*answers: bytes) -> Script:
    """Answer the requests of one connection in turn; the last answer serves all further ones."""

    def script(conversation: Conversation) -> None:
        for answer in answers:
            if not conversation.hear():
                return
            conversation.say(answer)
        while conversation.hear():
            conversation.say(answers[-1])

    return script


def closing_after(*pieces: bytes) -> Script:
    """Hear one request, say this, and close."""

    def script(conversation: Conversation) -> None:
        conversation.hear()
        conversation.say(*pieces)

    return script


def dripping(head: bytes, piece: bytes) -> Script:
    """Hear one request, begin well, and never come to the end."""

    def script(conversation: Conversation) -> None:
        conversation.hear()
        conversation.say(head)
        conversation.drip(piece)

    return script


def silent(conversation: Conversation) -> None:
    """Take the connection, and say nothing."""
    conversation.hold()


def forwarding(*, reply: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Script:
    """A proxy for CONNECT; after any other reply than 200, it closes."""

    def script(conversation: Conversation) -> None:
        asked = conversation.hear().split(b" ")
        conversation.say(reply)
        if b" 200 " not in reply:
            return
        host, _, port = asked[1].decode().rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=20) as beyond:

            def back() -> None:
                with contextlib.suppress(OSError):
                    while piece := beyond.recv(65536):
                        conversation.connection.sendall(piece)

            returning = threading.Thread(target=back)
            returning.start()
            with contextlib.suppress(OSError):
                while piece := conversation.connection.recv(65536):
                    beyond.sendall(piece)
            with contextlib.suppress(OSError):
                beyond.shutdown(socket.SHUT_RDWR)
            returning.join(10)

    return script


def refusal(handler: NetworkHandler, request: HttpRequest = ASKED) -> CollateralError:
    """The error that asking ends in; it never tells what identifies the machine."""
    with pytest.raises(CollateralError) as caught:
        handler(request)
    error = caught.value
    assert SECRET not in str(error)
    assert "?" not in error.where
    assert error.mend
    assert error.exit_status == 6
    return error


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
