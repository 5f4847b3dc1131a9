"""A Handler on a socket: HTTP/1.1, with or without TLS, one thread a connection.

For the simulator and for tests: it answers a handful of clients faithfully. Wire faults (a body cut
off, a reply that never comes) are ordered by headers of the response that never leave this process.
Not here: a production server.

Source: RFC 9112; Python's `http.server`.
"""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from dcap.api.http import Handler, HttpRequest, HttpResponse

#: Bodies are platform manifests and registrations: at most a few hundred KB.
MAX_BODY = 2 * 1024 * 1024
IDLE_SECONDS = 30
#: Response headers that are orders to this server (`simulator.wire_faults`).
DELAY = "x-dcap-delay-seconds"
CUT_AFTER = "x-dcap-cut-after-bytes"
_ORDERS = (DELAY, CUT_AFTER)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave early or fail the handshake."""


class Server:
    """A handler listening on loopback. `url` is where."""

    def __init__(
        self, handler: Handler, *, port: int = 0, tls: tuple[Path, Path] | None = None
    ) -> None:
        self._http = _QuietServer(("127.0.0.1", port), _connection(handler))
        scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(*tls)
            # The handshake is left to the connection's own thread.
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.port: int = self._http.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def serve_forever(self) -> None:
        """Answer until `close`."""
        self._http.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving(
    handler: Handler, *, port: int = 0, tls: tuple[Path, Path] | None = None
) -> Iterator[Server]:
    """A server in a thread of its own, for as long as the block runs."""
    server = Server(handler, port=port, tls=tls)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(timeout=5)


class _Connection(BaseHTTPRequestHandler):
    """One client. `handler` is set by `_connection`."""

    handler: ClassVar[list[Handler]]
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def _answer(self) -> None:
        if self.headers.get("Transfer-Encoding"):
            self._refuse(411)
            return
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit():
            self._refuse(400)
            return
        if int(length) > MAX_BODY:
            self._refuse(413)
            return
        self._send(self._ask(self.rfile.read(int(length))))

    def _refuse(self, status: int) -> None:
        """Answer without having read the body, which ends the connection."""
        self.close_connection = True
        self._send(HttpResponse(status=status, headers=(("Connection", "close"),)))

    def _ask(self, body: bytes) -> HttpResponse:
        request = HttpRequest(
            method=self.command,
            target=self.path,
            headers=tuple(self.headers.items()),
            body=body,
        )
        try:
            return self.handler[0](request)
        except Exception:  # noqa: BLE001 - the edge of a server: one request must not end it
            return HttpResponse(status=500)

    def _send(self, answer: HttpResponse) -> None:
        if delay := answer.header(DELAY):
            time.sleep(float(delay))
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in _ORDERS:
                self.send_header(name, value)
        if answer.header("Content-Length") is None:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            cut = answer.header(CUT_AFTER)
            self.wfile.write(answer.body if cut is None else answer.body[: int(cut)])
            self.close_connection = self.close_connection or cut is not None

    # The names that the base class looks for.
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: requests carry identifiers of machines."""


def _connection(handler: Handler) -> type[_Connection]:
    """A class of connections that answer by `handler` (in a list, or it would become a method)."""
    return type("Connection", (_Connection,), {"handler": [handler]})
