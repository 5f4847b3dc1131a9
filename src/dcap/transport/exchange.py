"""One attempt: a request over a connection, and the answer, whole and within its limits, or `Failed`.

Nothing is followed (redirects), nothing is unpacked (`Content-Encoding`), and what is cut off is not
an answer. Connections are kept for the next request. Not here: another attempt (`network`).

Source: RFC 9110, RFC 9112.
"""

import os
import re
import threading
import time
import weakref
from contextlib import closing
from email.errors import (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)
from http.client import HTTPException, IncompleteRead
from http.client import HTTPResponse as Answer
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from dcap import __version__
from dcap.api.http import Headers, HttpRequest, HttpResponse, first_header
from dcap.errors import CollateralError
from dcap.transport.address import Address
from dcap.transport.connection import Connection
from dcap.transport.failures import Failed, Place, failed, refused
from dcap.transport.limits import Limits
from dcap.transport.patience import Patience
from dcap.transport.proxies import Proxy
from dcap.transport.trust import Trust

__all__ = ["Failed", "Line"]

AGENT = f"dcap/{__version__}"
#: Whatever raises more than this is a bug of ours.
_EXPECTED = (OSError, HTTPException, HTTPError, ValueError)
_IDLE_CONNECTIONS = 8
#: Servers and the boxes between forget a connection that says nothing for long.
_IDLE_SECONDS = 30.0
_MAX_HEADERS = 256 * 1024
_BLOCK = 64 * 1024
_SENDING, _READING = "sending the request", "reading the answer"
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_HEX = re.compile(r"[0-9A-Fa-f]")
#: So many hex digits in one label may be half an identifier.
_MANY_HEX = 16
_FOLD = re.compile(r"[ \t]*\r?\n[ \t]+")
#: Headers that belong to the connection, and so to this file.
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HEADER_DEFECTS = (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)


class Line:
    """All connections to one origin. Safe to share among threads; not among processes."""

    def __init__(
        self, address: Address, proxy: Proxy | None, trust: Trust, limits: Limits, *, plain: bool
    ) -> None:
        self._address = address
        self._proxy = proxy
        self._trust = trust
        self._limits = limits
        self._plain = plain
        self._idle: list[Connection] = []
        self._process = os.getpid()
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    def check(self, request: HttpRequest) -> None:
        """Whether it can be sent. Raises `CollateralError` (`network-request`), without the text."""
        what = ""
        if not _TOKEN.fullmatch(request.method):
            what = "the method"
        elif not _TARGET.fullmatch(request.target):
            what = "the path and query"
        for name, value in request.headers:
            if not _TOKEN.fullmatch(name):
                what = "the name of a header"
            elif not _VALUE.fullmatch(value):
                what = f"the header {name}"
        if what:
            raise CollateralError(
                "network-request",
                f"the request cannot be sent: {what} has characters that do not belong there",
                where=str(self._address),
                mend="check the configuration for line breaks, blanks and letters beyond ASCII",
            )

    def ask(self, request: HttpRequest, end: float, *, harmless: bool) -> HttpResponse:
        """One attempt, over at an instant of `time.monotonic`. Raises `Failed`.

        `harmless`: it may arrive twice. Only such a request goes over a connection that was idle, for
        where that one is just closing, nobody can know whether it has arrived.
        """
        place = Place(self._address, request.path, self._proxy)
        connection = self._take() if harmless else None
        if connection is not None:
            connection.patience.begin(end, connecting=False)
            try:
                return self._exchange(connection, request, place)
            except Failed as failure:
                closed_while_idle = failure.error.code in ("network-cut-off", "network-tls")
                if connection.patience.received or not closed_while_idle:
                    raise
        connection = self._connect(place, end)
        return self._exchange(connection, request, place)

    def close(self) -> None:
        """End idle connections."""
        with self._lock:
            _close_all(self._idle)

    def _connect(self, place: Place, end: float) -> Connection:
        connection = self._connection(end)
        try:
            connection.connect()
        except _EXPECTED as error:
            connection.close()
            failure = failed(error, place, connection.patience)
        else:
            connection.patience.connected()
            return connection
        if failure.error.code == "network-certificate":
            failure = self._with_a_look(failure, end)
        raise failure

    def _connection(self, end: float, *, look: bool = False) -> Connection:
        limits, trust = self._limits, self._trust
        patience = Patience(limits.connect, limits.read, limits.total)
        patience.begin(end, connecting=True)
        secured = self._address.scheme == "https"
        proxy_secured = self._proxy is not None and self._proxy.scheme == "https"
        tls = trust.for_a_look() if look else trust.for_origin() if secured else None
        return Connection(
            self._address,
            self._proxy,
            patience,
            tls=tls,
            proxy_tls=trust.for_proxy() if proxy_secured else None,
        )

    def _with_a_look(self, failure: Failed, end: float) -> Failed:
        """The same failure, saying whose certificate it was: a second handshake, nothing is sent."""
        from dcap.transport.shown import described  # noqa: PLC0415 - only for who is refused

        connection = self._connection(end, look=True)
        try:
            connection.connect()
            shown = described(connection.shown_certificate())
        except _EXPECTED:
            return failure
        finally:
            connection.close()
        error = failure.error
        told = type(error)(
            error.code, f"{error.what}; it shows {shown}", where=error.where, mend=error.mend
        )
        return Failed(told, sent=failure.sent, passing=failure.passing)

    def _exchange(self, connection: Connection, request: HttpRequest, place: Place) -> HttpResponse:
        """Send and read; the connection is kept if it can carry more, else closed."""
        patience = connection.patience
        try:
            patience.phase = _SENDING
            connection.send(
                request.method, self._target(request), self._headers(request), request.body
            )
            patience.phase = _READING
            answer = connection.answer()
            with closing(answer):
                response = self._read(answer, place)
        except _EXPECTED as error:
            connection.close()
            raise failed(error, place, patience) from None
        except BaseException:
            connection.close()
            raise
        self._keep(connection, answer)
        return response

    def _target(self, request: HttpRequest) -> str:
        """A proxy that forwards is told the whole URL."""
        if self._proxy is not None and self._address.scheme == "http":
            return f"{self._address}{request.target}"
        return request.target

    def _headers(self, request: HttpRequest) -> Headers:
        given = tuple(pair for pair in request.headers if pair[0].lower() not in _OURS)
        headers = [("Host", self._address.authority)]
        if not self._plain:
            headers.append(("Accept-Encoding", "identity"))
            if first_header(given, "User-Agent") is None:
                headers.append(("User-Agent", AGENT))
        if first_header(given, "Accept") is None:
            headers.append(("Accept", "*/*"))
        if self._proxy is not None and self._address.scheme == "http":
            if self._plain:
                headers.append(("Proxy-Connection", "Keep-Alive"))
            if self._proxy.authorization is not None:
                headers.append(("Proxy-Authorization", self._proxy.authorization))
        headers.extend(given)
        if request.body or request.method not in _BODILESS:
            headers.append(("Content-Length", str(len(request.body))))
        return tuple(headers)

    def _read(self, answer: Answer, place: Place) -> HttpResponse:
        headers = _headers_of(answer, place)
        _check_head(answer.status, headers, place, self._proxy)
        body = self._body(answer, place)
        return HttpResponse(status=answer.status, headers=headers, body=body)

    def _body(self, answer: Answer, place: Place) -> bytes:
        most = self._limits.max_size
        announced = answer.length
        if announced is not None and announced > most:
            raise _too_large(most, place)
        body = bytearray()
        block = memoryview(bytearray(_BLOCK))
        while count := answer.readinto(block[: most + 1 - len(body)]):
            body += block[:count]
            if len(body) > most:
                raise _too_large(most, place)
        if announced is not None and len(body) < announced:
            raise IncompleteRead(b"")
        return bytes(body)

    def _take(self) -> Connection | None:
        """An idle connection that still stands."""
        with self._lock:
            if self._process != os.getpid():  # forked: they belong to the parent
                self._process = os.getpid()
                self._idle.clear()
            while self._idle:
                connection = self._idle.pop()
                if time.monotonic() - connection.idle_since < _IDLE_SECONDS and connection.is_open:
                    return connection
                connection.close()
        return None

    def _keep(self, connection: Connection, answer: Answer) -> None:
        """Put it back, where the answer has been read to its end and the server goes on."""
        connection.idle_since = time.monotonic()
        with self._lock:
            if answer.will_close or len(self._idle) >= _IDLE_CONNECTIONS:
                connection.close()
            else:
                self._idle.append(connection)


def _headers_of(answer: Answer, place: Place) -> Headers:
    """All of them, in their order and case; a folded one on one line."""
    message = answer.msg
    lost = message.get_payload() if not message.is_multipart() else ""
    if lost or any(isinstance(defect, _HEADER_DEFECTS) for defect in message.defects):
        raise refused(
            "network-protocol",
            "the answer has a line among its headers that is none",
            place,
            "look at what stands between: a proxy, or a service that is not HTTP/1.1",
        )
    headers = tuple(
        (name, _FOLD.sub(" ", str(value)).strip(" \t")) for name, value in message.raw_items()
    )
    if sum(len(name) + len(value) for name, value in headers) > _MAX_HEADERS:
        raise refused(
            "network-too-large",
            "the answer's headers are larger than any service's",
            place,
            "check that it is the right service",
        )
    return headers


def _check_head(status: int, headers: Headers, place: Place, proxy: Proxy | None) -> None:
    """Refuse what is not an answer to this request. Raises `Failed`."""
    if 300 <= status < 400 and status != 304:
        location = first_header(headers, "Location") or ""
        raise refused(
            "network-redirect",
            f"the answer ({status}) leads on to {_host(location)}, and redirects are not followed",
            place,
            "name the address that answers itself; a portal or a proxy may stand in the way",
        )
    if status == 407 and proxy is not None:
        raise refused(
            "network-proxy",
            "the proxy does not lead there: it answers 407",
            place,
            "give the proxy's user and password in its URL: http://USER:PASSWORD@HOST:PORT",
        )
    if status < 200:
        raise HTTPException
    encodings = {
        "Content-Encoding": ("", "identity"),
        "Transfer-Encoding": ("", "identity", "chunked"),
    }
    for name, known in encodings.items():
        values = [value.strip().lower() for key, value in headers if key.lower() == name.lower()]
        if any(value not in known for value in values):
            raise refused(
                "network-encoding",
                f"the answer is packed ({name}), although that was not asked for",
                place,
                "have the service or the proxy before it send answers as they are",
            )
    lengths = {value for key, value in headers if key.lower() == "content-length"}
    if len(lengths) > 1 or not all(value.isascii() and value.isdigit() for value in lengths):
        raise HTTPException


def _host(location: str) -> str:
    """The host of a URL alone, for its query may repeat ours; without labels that may do so too."""
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    if host is None:
        return "another path of the same host" if location.startswith("/") else "nowhere"
    labels = ("…" if len(_HEX.findall(label)) >= _MANY_HEX else label for label in host.split("."))
    return ".".join(labels)[:253] or "nowhere"


def _too_large(most: int, place: Place) -> Failed:
    return refused(
        "network-too-large",
        f"the answer is larger than {most} bytes",
        place,
        "check that it is the right service; no collateral is that large",
    )


def _close_all(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()
