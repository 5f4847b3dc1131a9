"""The sockets: urllib3's connections, with a limit on every wait.

urllib3 knows how to reach an origin through a proxy, with TLS on either leg. What it does not have is
an end: its limits start anew with each byte. So the sockets below it ask `Patience` each time.

Imported by the first request only: it brings sockets, TLS and urllib3. Not here: what goes over the
connection (`exchange`).
"""

import socket
import ssl
import threading
from collections.abc import Callable
from http.client import HTTPConnection as StandardConnection
from http.client import HTTPResponse as Answer
from typing import Any, TypeAlias, cast

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.util.url import Url

from dcap.transport.address import Address
from dcap.transport.patience import Patience
from dcap.transport.proxies import Proxy

#: What `getaddrinfo` gives: family, type, protocol, canonical name, address.
_Found: TypeAlias = tuple[Any, Any, int, str, Any]
Resolve: TypeAlias = Callable[..., list[_Found]]
LOOKING_UP = "looking up the name"
CONNECTING = "connecting"
ASKING_PROXY = "asking the proxy"
HANDSHAKE = "the TLS handshake"
PROXY_HANDSHAKE = "the TLS handshake with the proxy"


class _PatientSocket(socket.socket):
    """A TCP socket; `patience` is set by who makes it."""

    patience: Patience

    def recv_into(self, *arguments: Any) -> int:
        """Wait as long as there is patience, and no longer."""
        self.settimeout(self.patience.left())
        count = super().recv_into(*arguments)
        self.patience.received += count
        return count

    def sendall(self, *arguments: Any) -> None:
        """The same; the limit is on all of it."""
        self.settimeout(self.patience.left())
        super().sendall(*arguments)


class _PatientTls(ssl.SSLSocket):
    """TLS over a socket; all reading passes `read`, and all writing `send`."""

    patience: Patience

    def read(self, *arguments: Any) -> Any:  # noqa: ANN401 - bytes, or into a buffer their number
        """Wait as long as there is patience, and no longer."""
        self.settimeout(self.patience.left())
        found: Any = super().read(*arguments)
        self.patience.received += found if isinstance(found, int) else bool(found)
        return found

    def send(self, *arguments: Any) -> int:
        """The same."""
        self.settimeout(self.patience.left())
        return super().send(*arguments)


class TlsContext(ssl.SSLContext):
    """A context whose sockets are patient. An end without a goodbye (close_notify) is an error."""

    sslsocket_class = _PatientTls
    phase = HANDSHAKE

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        """Shake hands; OpenSSL's own deadline is over the whole handshake."""
        patience = cast("_PatientSocket", sock).patience
        patience.phase = self.phase
        sock.settimeout(patience.left())
        named["suppress_ragged_eofs"] = False
        wrapped = super().wrap_socket(sock, *arguments, **named)
        cast("_PatientTls", wrapped).patience = patience
        return wrapped


class _Plain(HTTPConnection):
    """To an http origin or proxy, without TLS."""

    patience: Patience

    def _new_conn(self) -> socket.socket:
        return dial(self._dns_host, self.port or 0, self.patience)


class _Tls(HTTPSConnection):
    """With TLS, to the origin (past a proxy, where there is one) or to a proxy."""

    patience: Patience

    def _new_conn(self) -> socket.socket:
        return dial(self._dns_host, self.port or 0, self.patience)

    def _tunnel(self) -> None:
        self.patience.phase = ASKING_PROXY
        super()._tunnel()
        self.patience.phase = HANDSHAKE


class Connection:
    """One connection on the way to an origin. `idle_since` is an instant of `time.monotonic`."""

    def __init__(
        self,
        address: Address,
        proxy: Proxy | None,
        patience: Patience,
        *,
        tls: TlsContext | None,
        proxy_tls: TlsContext | None,
    ) -> None:
        self.patience = patience
        self.idle_since = 0.0
        ends = proxy or address
        named: dict[str, Any] = {}
        if proxy is not None:
            named["proxy"] = Url(scheme=proxy.scheme, host=proxy.host, port=proxy.port)
            named["proxy_config"] = ProxyConfig(
                ssl_context=proxy_tls,
                use_forwarding_for_https=False,
                assert_hostname=None,
                assert_fingerprint=None,
            )
        if tls is not None or ends.scheme == "https":
            self._http: _Plain | _Tls = _Tls(
                ends.host, ends.port, ssl_context=tls or proxy_tls, **named
            )
        else:
            self._http = _Plain(ends.host, ends.port, **named)
        self._http.patience = patience
        if proxy is not None and tls is not None:
            secret = proxy.authorization
            headers = {} if secret is None else {"Proxy-Authorization": secret}
            self._http.set_tunnel(address.host, address.port, headers, scheme=proxy.scheme)

    def connect(self) -> None:
        """Reach the origin, or the proxy that forwards to it."""
        self._http.connect()

    def send(
        self, method: str, target: str, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> None:
        """Send a request with exactly these headers."""
        http = self._http
        http.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            http.putheader(name, value)
        http.endheaders(body or None)

    def answer(self) -> Answer:
        """The head of the answer, as Python's `http.client` reads it.

        Not through urllib3, which changes the order of headers, and logs URLs where it dislikes one.
        """
        return StandardConnection.getresponse(self._http)

    @property
    def is_open(self) -> bool:
        """Whether it can carry another request: the other side has neither closed nor spoken."""
        return self._http.is_connected

    def shown_certificate(self) -> bytes | None:
        """The DER of the certificate that the server has shown."""
        shown: bytes | None = cast("ssl.SSLSocket", self._http.sock).getpeercert(binary_form=True)
        return shown

    def close(self) -> None:
        """End it."""
        self._http.close()


def dial(
    host: str, port: int, patience: Patience, resolve: Resolve = socket.getaddrinfo
) -> socket.socket:
    """Connect to the first of a host's addresses that takes it; each has its share of the time."""
    patience.phase = LOOKING_UP
    found = look_up(host, port, patience.left(), resolve)
    patience.phase = CONNECTING
    failure: OSError = OSError("the name has no address")
    for tried, (family, kind, protocol, _, address) in enumerate(found):
        connecting = _PatientSocket(family, kind, protocol)
        connecting.patience = patience
        try:
            connecting.settimeout(patience.left() / (len(found) - tried))
            connecting.connect(address)
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connecting.close()
            failure = error
        else:
            return connecting
    raise failure


def look_up(
    host: str, port: int, seconds: float, resolve: Resolve = socket.getaddrinfo
) -> list[_Found]:
    """The addresses of a host. Raises `TimeoutError`, `socket.gaierror`.

    The system's resolver has no limit that can be given, so it is waited for in a thread of its own.
    """
    try:
        return resolve(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    outcome: list[list[_Found] | Exception] = []

    def ask() -> None:
        try:
            outcome.append(resolve(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:
            outcome.append(error)

    asking = threading.Thread(target=ask, name="dcap name lookup", daemon=True)
    asking.start()
    asking.join(seconds)
    if not outcome:
        raise TimeoutError
    found = outcome[0]
    if isinstance(found, Exception):
        raise found
    return found
