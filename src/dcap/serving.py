"""A Handler on a socket: HTTP/1.1, with or without TLS, one thread a connection.

For the simulator and for tests: it answers a handful of clients faithfully. Wire faults (a body cut
off, a reply that never comes) are ordered by headers of the response that never leave this process.
With a `tunnel` it is a proxy (RFC 9110 §9.3.6): targets are then absolute, `https://host/path`, and
the handler is the whole world beyond it. Not here: a production server.

Source: RFC 9112; Python's `http.server`.
"""

import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, TypeAlias

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.pcs_responses import REQUEST_ID

#: Bodies are platform manifests and registrations: at most a few hundred KB.
MAX_BODY = 2 * 1024 * 1024
IDLE_SECONDS = 30
#: Response headers that are orders to this server (`simulator.wire_faults`).
DELAY = "x-dcap-delay-seconds"
CUT_AFTER = "x-dcap-cut-after-bytes"
_ORDERS = (DELAY, CUT_AFTER)
_HTTPS_PORT = ":443"
#: `host:port` of a CONNECT -> as whom to speak TLS inside; None where there is no such place.
Tunnel: TypeAlias = Callable[[str], ssl.SSLContext | None]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave early or fail the handshake."""


class Server:
    """A handler listening on loopback. `url` is where."""

    def __init__(
        self,
        handler: Handler,
        *,
        port: int = 0,
        tls: tuple[Path, Path] | None = None,
        tunnel: Tunnel | None = None,
    ) -> None:
        self._http = _QuietServer(("127.0.0.1", port), _connection(handler, tunnel))
        scheme = "http"
        if tls is not None:
            context = tls_context(*tls)
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


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """How a server of that certificate speaks TLS: 1.2 at least, as Intel's do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


@contextmanager
def serving(
    handler: Handler,
    *,
    port: int = 0,
    tls: tuple[Path, Path] | None = None,
    tunnel: Tunnel | None = None,
) -> Iterator[Server]:
    """A server in a thread of its own, for as long as the block runs."""
    server = Server(handler, port=port, tls=tls, tunnel=tunnel)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(timeout=5)


class _Connection(BaseHTTPRequestHandler):
    """One client. `handler` and `tunnel` are set by `_connection`."""

    handler: ClassVar[list[Handler]]
    tunnel: ClassVar[list[Tunnel]]
    protocol_version = "HTTP/1.1"
    #: Head and body go out in two writes: held back, the second would cost 40 ms.
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    #: Inside a tunnel: what stands before each target.
    origin = ""

    def _answer(self) -> None:
        if self.headers.get("Transfer-Encoding"):
            self._refuse(411)
            return
        length = self.headers.get("Content-Length") or "0"
        if not (length.isascii() and length.isdigit()):
            self._refuse(400)
            return
        if int(length) > MAX_BODY:
            self._refuse(413)
            return
        self._send(self._ask(self.rfile.read(int(length))))

    def _refuse(self, status: int) -> None:
        """Answer without having read the body, which ends the connection."""
        self.close_connection = True
        self._send(_bare(status, ("Connection", "close")))

    def _ask(self, body: bytes) -> HttpResponse:
        request = HttpRequest(
            method=self.command,
            target=self.origin + self.path,
            headers=tuple(self.headers.items()),
            body=body,
        )
        try:
            return self.handler[0](request)
        except Exception:  # noqa: BLE001 - the edge of a server: one request must not end it
            return _bare(500)

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

    def do_CONNECT(self) -> None:
        """Go on with the same client as the host that it names, under TLS."""
        context = self.tunnel[0](self.path) if self.tunnel and not self.origin else None
        if context is None:
            self._refuse(502 if self.tunnel else 501)
            return
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.rfile.close()
        self.request = context.wrap_socket(self.connection, server_side=True)
        self.setup()
        self.origin = f"https://{self.path.removesuffix(_HTTPS_PORT)}"
        # It goes on, though a client of HTTP/1.0 asked for the tunnel.
        self.close_connection = False

    def finish(self) -> None:
        """Close what the tunnel opened: the server knows of the outer socket alone."""
        super().finish()
        if self.origin:
            self.connection.close()

    # The names that the base class looks for.
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def send_error(
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002 - the base's signature
        explain: str | None = None,  # noqa: ARG002
    ) -> None:
        """What the base refuses (a broken request line, an unknown method): no page, no `Server`."""
        if self.request_version == "HTTP/0.9":
            self.request_version = self.protocol_version
        self._refuse(code)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: requests carry identifiers of machines."""


def _bare(status: int, *headers: tuple[str, str]) -> HttpResponse:
    """What this server answers by itself. It has a `Request-ID`, as all answers of Intel's have."""
    identified = (REQUEST_ID, secrets.token_hex(16))
    return HttpResponse(status=status, headers=(identified, *headers))


def _connection(handler: Handler, tunnel: Tunnel | None) -> type[_Connection]:
    """A class of connections that answer so (in lists, or the functions would become methods)."""
    given = {"handler": [handler], "tunnel": [] if tunnel is None else [tunnel]}
    return type("Connection", (_Connection,), given)
