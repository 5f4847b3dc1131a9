"""One address, step by step: name, TCP, (proxy,) TLS with the certificate that is shown, HTTP.

    visit = probe(address, "/sgx/certification/v4/qe/identity", trust=…, timeout=1.0, clock=now)
    visit.steps          # each with its own result and time; the last one is what failed, if any did
    visit.certificate    # shown to us, believed or not
    visit.status         # of HTTP, where it came to that

A certificate that is refused does not end the walk: a second handshake, which checks nothing, tells what
is behind it. Nothing that identifies the machine is sent. Each step has its own time, the resolver
too. Not here: which addresses (`addresses`), what it all means (`network`).

Source: RFC 9110, RFC 9112, RFC 5280; `quote-provider.md` §2, §2.4, §2.5.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any, Final

import msgspec

from dcap.api.http import Headers, first_header
from dcap.doctor.answer_head import exchange
from dcap.doctor.certificate import Shown, shown_by
from dcap.transport.address import Address
from dcap.transport.connection import look_up
from dcap.transport.proxies import Proxy

NAME, TCP, PROXY, TLS, HTTP = "name", "TCP", "proxy", "TLS", "HTTP"
#: What a step that fails is called; `network` says what each means.
UNKNOWN_NAME = "unknown-name"
REFUSED = "refused"
UNREACHABLE = "unreachable"
SILENT = "silent"
PROXY_FAILS = "proxy"
NOT_TLS = "not-tls"
IS_TLS = "is-tls"
TLS_FAILS = "tls"
NOT_HTTP = "not-http"
SELF_SIGNED = "self-signed"
UNKNOWN_ISSUER = "unknown-issuer"
OTHER_NAME = "other-name"
EXPIRED = "expired"
NOT_YET = "not-yet"
CERTIFICATE = "certificate"

#: OpenSSL's X509_V_ERR_… -> what it is called here.
_VERIFY: Final = {
    2: UNKNOWN_ISSUER,
    9: NOT_YET,
    10: EXPIRED,
    18: SELF_SIGNED,
    19: UNKNOWN_ISSUER,
    20: UNKNOWN_ISSUER,
    21: UNKNOWN_ISSUER,
    62: OTHER_NAME,
    64: OTHER_NAME,
}
_NO_TLS: Final = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
}


class Step(msgspec.Struct, frozen=True):
    """One step: what was seen, in words, and how long it took. `fault` is empty where it went well."""

    name: str
    what: str
    seconds: float
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.what} ({self.seconds * 1000:.0f} ms)"


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """All steps of one walk, and what it found. `seen_at` is this machine's time at the answer."""

    address: Address
    proxy: str | None
    steps: tuple[Step, ...]
    certificate: Shown | None = None
    status: int | None = None
    headers: Headers = ()
    beginning: bytes = b""
    seen_at: datetime | None = None

    def fault(self, *names: str) -> Step | None:
        """The first step that failed, or failed so."""
        faulty = (step for step in self.steps if step.fault)
        return next((step for step in faulty if not names or step.fault in names), None)

    @property
    def evidence(self) -> tuple[str, ...]:
        """The steps, as lines."""
        return tuple(map(str, self.steps))

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return first_header(self.headers, name)


class Context(msgspec.Struct, frozen=True):
    """How TLS is spoken: as whoever asks here does, and blindly, to see what was refused."""

    checking: ssl.SSLContext
    blind: ssl.SSLContext


class _Stopped(Exception):  # noqa: N818 - the end of a walk, which nobody but `probe` sees
    """The walk ends with this step."""


def probe(
    address: Address,
    target: str,
    *,
    trust: Context,
    timeout: float,
    clock: Callable[[], datetime],
    proxy: Proxy | None = None,
) -> Visit:
    """Walk to an address as far as it goes. Never raises for what the network does."""
    walk = _Walk(address, target, trust, timeout, clock, proxy)
    with suppress(_Stopped):
        walk.go()
    return Visit(
        address=address,
        proxy=None if proxy is None else str(proxy),
        steps=tuple(walk.steps),
        certificate=walk.certificate,
        status=walk.status,
        headers=walk.headers,
        beginning=walk.beginning,
        seen_at=walk.seen_at,
    )


class _Walk:
    def __init__(
        self,
        address: Address,
        target: str,
        trust: Context,
        timeout: float,
        clock: Callable[[], datetime],
        proxy: Proxy | None,
    ) -> None:
        self.address, self.target, self.trust = address, target, trust
        self.timeout, self.clock, self.proxy = timeout, clock, proxy
        self.steps: list[Step] = []
        self.found: list[Any] = []
        self.certificate: Shown | None = None
        self.status: int | None = None
        self.headers: Headers = ()
        self.beginning = b""
        self.seen_at: datetime | None = None

    @property
    def secured(self) -> bool:
        return self.address.scheme == "https"

    def go(self) -> None:
        """All steps, in order."""
        self._name()
        with closing(self._tcp()) as plain:
            wire: socket.socket = plain
            if self.proxy is not None and self.secured:
                wire = self._tunnel(wire)
            if self.secured:
                wire = self._tls(wire)
            with closing(wire):
                self._http(wire)

    def _name(self) -> None:
        ends = self.proxy or self.address
        with self._step(NAME, UNKNOWN_NAME) as said:
            self.found = look_up(ends.host, ends.port, self.timeout)
            said.append(f"{ends.host} is {', '.join(_numbers(self.found))}")

    def _tcp(self) -> socket.socket:
        ends = self.proxy or self.address
        through = "the proxy " if self.proxy else ""
        with self._step(TCP, UNREACHABLE) as said:
            connected = self._dial()
            said.append(f"{through}{ends.host} takes the connection at port {ends.port}")
        return connected

    def _dial(self) -> socket.socket:
        """The first of the addresses that takes it; each has its share of the time."""
        end = time.monotonic() + self.timeout
        failure: OSError = OSError("the name has no address")
        for tried, (family, kind, protocol, _, at) in enumerate(self.found):
            wire = socket.socket(family, kind, protocol)
            share = (end - time.monotonic()) / (len(self.found) - tried)
            wire.settimeout(max(share, 0.01))
            try:
                wire.connect(at)
            except OSError as error:
                wire.close()
                failure = error
            else:
                return wire
        raise failure

    def _tunnel(self, wire: socket.socket) -> socket.socket:
        """Ask the proxy to lead there."""
        proxy = self.proxy
        assert proxy is not None
        ends = f"{self.address.host}:{self.address.port}"
        with self._step(PROXY, PROXY_FAILS) as said:
            if proxy.scheme == "https":
                raise OSError("a proxy that speaks TLS itself is not walked through")
            secret = (
                f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
            )
            request = f"CONNECT {ends} HTTP/1.1\r\nHost: {ends}\r\n{secret}\r\n".encode()
            status, _, _ = exchange(wire, request, self.timeout, with_body=False)
            if not 200 <= status < 300:
                raise OSError(f"the proxy {proxy} answers {status}, and leads nowhere")
            said.append(f"the proxy {proxy} leads to {ends}")
        return wire

    def _tls(self, wire: socket.socket) -> socket.socket:
        try:
            with self._step(TLS, TLS_FAILS) as said:
                secured = self._shake(wire, self.trust.checking)
                self._see(secured)
                said.append(f"{secured.version()}, the certificate is trusted and for this name")
                return secured
        except _Stopped:
            fault = self.steps[-1].fault
            if fault == NOT_TLS:
                self._speaks_plainly()
            elif fault in _FAULTS_OF_CERTIFICATES:
                return self._blindly()
            raise

    def _shake(self, wire: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        wire.settimeout(self.timeout)
        return context.wrap_socket(wire, server_hostname=self.address.host)

    def _see(self, secured: ssl.SSLSocket) -> None:
        self.certificate = shown_by(secured.getpeercert(binary_form=True), self.address.host)

    def _blindly(self) -> ssl.SSLSocket:
        """The same way once more, to see what was refused and what is behind it."""
        try:
            wire = self._dial()
        except OSError:
            raise _Stopped from None
        try:
            if self.proxy is not None:
                wire = self._tunnel(wire)
            secured = self._shake(wire, self.trust.blind)
            self._see(secured)
        except (OSError, ValueError, _Stopped):
            wire.close()
            raise _Stopped from None
        return secured

    def _speaks_plainly(self) -> None:
        """Whether what does not speak TLS speaks HTTP."""
        if self.proxy is not None:
            return
        try:
            with closing(self._dial()) as wire:
                status, _, _ = exchange(wire, self._request(), self.timeout)
        except (OSError, ValueError):
            return
        self.steps.append(Step(HTTP, f"without TLS it answers {status}: it speaks http", 0.0))

    def _speaks_tls(self) -> bool:
        """Whether what does not speak HTTP speaks TLS."""
        try:
            with closing(self._dial()) as wire, closing(self._shake(wire, self.trust.blind)) as tls:
                self._see(tls)
        except (OSError, ValueError):
            return False
        return True

    def _http(self, wire: socket.socket) -> None:
        started = time.monotonic()
        try:
            with self._step(HTTP, NOT_HTTP) as said:
                self.status, self.headers, self.beginning = exchange(
                    wire, self._request(), self.timeout
                )
                self.seen_at = self.clock()
                if not self.secured and b"HTTPS port" in self.beginning:  # nginx's own words
                    raise _SpeaksTlsError
                said.append(f"status {self.status}")
        except _Stopped:
            fault = self.steps[-1].fault
            if fault == NOT_HTTP and not self.secured and self.proxy is None and self._speaks_tls():
                spent = time.monotonic() - started
                self.steps[-1] = Step(HTTP, "it speaks TLS there, not plain HTTP", spent, IS_TLS)
            raise

    def _request(self) -> bytes:
        target = self.target
        forwarded = self.proxy is not None and not self.secured
        if forwarded:
            target = f"{self.address}{target}"
        lines = [f"GET {target} HTTP/1.1", f"Host: {self.address.authority}", "Accept: */*"]
        if forwarded and self.proxy is not None and self.proxy.authorization:
            lines.append(f"Proxy-Authorization: {self.proxy.authorization}")
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1", "replace")

    @contextmanager
    def _step(self, name: str, otherwise: str) -> Iterator[list[str]]:
        """One step, timed; what it raises becomes what is said of it, and ends the walk."""
        started = time.monotonic()
        said: list[str] = []
        try:
            yield said
        except (OSError, ValueError) as error:
            fault, what = _fault(error, name, otherwise)
            self.steps.append(Step(name, what, time.monotonic() - started, fault))
            raise _Stopped from None
        self.steps.append(Step(name, "".join(said), time.monotonic() - started))


class _SpeaksTlsError(ValueError):
    """The server says itself that it wants TLS."""


_FAULTS_OF_CERTIFICATES: Final = frozenset({*_VERIFY.values(), CERTIFICATE})


def _fault(error: Exception, name: str, otherwise: str) -> tuple[str, str]:
    """What an exception is called here, and in words that repeat nothing of the request."""
    if isinstance(error, TimeoutError):
        silent = otherwise if name in (NAME, TCP, PROXY) else SILENT
        return silent, "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return REFUSED, "the connection is refused: nothing listens there"
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message
        return _VERIFY.get(error.verify_code, CERTIFICATE), f"the certificate is refused: {message}"
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        reason = error.reason or "it fails"
        if reason in _NO_TLS:
            return NOT_TLS, "what answers there does not speak TLS"
        return otherwise, reason.replace("_", " ").lower()
    if isinstance(error, _SpeaksTlsError):
        return IS_TLS, "it says that it speaks TLS there, not plain HTTP"
    if isinstance(error, (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)):
        return otherwise, "the other side closes the connection"
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return otherwise, words[:1].lower() + words[1:]


def _numbers(found: list[Any]) -> list[str]:
    return list(dict.fromkeys(str(each[4][0]) for each in found))
