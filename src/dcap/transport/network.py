"""The retries: one request becomes as many attempts as its time and its limits allow.

Tried again are only GET and HEAD: where no connection was made, where it broke or fell silent, and
where the answer says 429, 502, 503 or 504. Anything else is tried again only where the request was
never sent. Between two attempts lies a random share of a growing time (full jitter), or what
`Retry-After` asks for; where that does not fit into the time that is left, the last answer is handed
back at once, with its `Retry-After`. A body is always that of one attempt.

Not here: one attempt (`exchange`).

Source: RFC 9110 §9.2.2, §10.2.3; `quote-provider.md` §2.4 for what Intel's library does instead.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dcap.api.http import HttpRequest, HttpResponse
from dcap.errors import DcapError
from dcap.transport.address import Address
from dcap.transport.limits import Limits
from dcap.transport.proxies import Proxies, Proxy
from dcap.transport.trust import Trust

if TYPE_CHECKING:
    from dcap.transport.exchange import Line

RETRIED_METHODS = frozenset({"GET", "HEAD"})
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
#: The first wait is at most this long, in seconds; each next one at most twice as long …
FIRST_WAIT = 0.5
#: … up to this.
LONGEST_WAIT = 8.0


def full_jitter(longest: float) -> float:
    """A wait between none and the longest, all equally likely."""
    from random import uniform  # noqa: PLC0415 - only who has to wait pays for it

    return uniform(0, longest)  # noqa: S311 - nothing secret: it spreads clients over time


class Answered(HttpResponse, frozen=True, kw_only=True):
    """A response that is not the first attempt's, or that a proxy may have made in the origin's place.

    `attempts` counts the last; `proxy` is host:port of a proxy that saw the request in the clear.
    """

    attempts: int = 1
    proxy: str | None = None


class Network:
    """Handlers for origins, with one trust, one set of limits and one environment.

    `ca` is a file of certificates (PEM) that stands *instead* of the system's: a pin. A server's own
    self-signed certificate may stand there. Without it, `SSL_CERT_FILE` and `SSL_CERT_DIR` of
    `environ` count, then the system's certificates. With `verify=False` and no `ca`, neither the
    chain nor the host's name is checked: whoever is on the way can answer. Proxies come from
    `environ` too. `plain` sends what Intel's library sends, `Host` and `Accept: */*`, beside the
    request's own headers, and nothing else.

    Raises `ConfigError`: `network-ca` for a file without certificates, `network-proxy-url` for a
    proxy that cannot be used. Safe to share among threads; `close` ends idle connections.
    """

    def __init__(
        self,
        *,
        ca: Path | None = None,
        verify: bool = True,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        environ: Mapping[str, str] = os.environ,
        plain: bool = False,
        jitter: Callable[[float], float] = full_jitter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limits = limits
        self.plain = plain
        self.trust = Trust(ca, verify=verify, environ=environ)
        self._proxies = Proxies.from_environ(environ)
        self._jitter = jitter
        self._sleep = sleep
        self._handlers: dict[Address, NetworkHandler] = {}
        self._lock = threading.Lock()

    def handler(self, origin_url: str) -> "NetworkHandler":
        """Whoever answers at scheme://host[:port]; the same one each time.

        Raises `CollateralError` (`network-url`) where that is no origin of http or https.
        """
        address = Address.parse(origin_url)
        with self._lock:
            handler = self._handlers.get(address)
            if handler is None:
                handler = NetworkHandler(self, address, self._proxies.proxy_for(address))
                self._handlers[address] = handler
            return handler

    def wait_after(self, failures: int) -> float:
        """Seconds to wait after so many failed attempts."""
        # The exponent is bounded: a float has no room for 2 ** 1100.
        return self._jitter(min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 16)))

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._sleep(seconds)

    def close(self) -> None:
        """End all connections that nobody uses now."""
        with self._lock:
            handlers = tuple(self._handlers.values())
        for handler in handlers:
            handler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class NetworkHandler:
    """One origin as a `Handler`, with its idle connections. Made by `Network.handler`."""

    def __init__(self, network: Network, address: Address, proxy: Proxy | None) -> None:
        self._network = network
        self._line: Line | None = None
        self._lock = threading.Lock()
        self._address = address
        self._proxy = proxy

    @property
    def origin(self) -> str:
        """scheme://host[:port]."""
        return str(self._address)

    @property
    def verified(self) -> bool:
        """Whether the server has to show who it is: not with http, nor with `verify=False`."""
        return self._address.scheme == "https" and self._network.trust.checked

    @property
    def proxy(self) -> str | None:
        """host:port of the proxy on the way, without its credentials."""
        return None if self._proxy is None else str(self._proxy)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Ask. Raises `Unavailable` under a code of `network-…`.

        For a request that cannot be sent at all it is `CollateralError` (`network-request`).
        """
        from dcap.transport.exchange import Failed  # noqa: PLC0415 - sockets and TLS cost 100 ms

        line = self._connected_line()
        line.check(request)
        network = self._network
        end = time.monotonic() + network.limits.total
        harmless = request.method in RETRIED_METHODS
        for attempt in count(1):
            last = attempt >= network.limits.attempts
            try:
                answer = line.ask(request, end, harmless=harmless)
            except Failed as failed:
                error = _counted(failed.error, attempt)
                if last or not failed.passing or (failed.sent and not harmless):
                    raise error from None
                wait = network.wait_after(attempt)
                if wait >= end - time.monotonic():
                    raise error from None
            else:
                if last or not harmless or answer.status not in RETRIED_STATUSES:
                    return self._answered(answer, attempt)
                asked = retry_after(answer, time.time())
                wait = network.wait_after(attempt) + (asked or 0.0)
                if wait >= end - time.monotonic():
                    return self._answered(answer, attempt)
            network.sleep(wait)
        raise AssertionError  # pragma: no cover - the last attempt ends the loop

    def _answered(self, answer: HttpResponse, attempts: int) -> HttpResponse:
        forwarding = self.proxy if self._address.scheme == "http" else None
        if attempts == 1 and forwarding is None:
            return answer
        return Answered(
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            attempts=attempts,
            proxy=forwarding,
        )

    def close(self) -> None:
        """End the connections that nobody uses now."""
        if self._line is not None:
            self._line.close()

    def __repr__(self) -> str:
        return f"<NetworkHandler {self.origin}>"

    def _connected_line(self) -> "Line":
        from dcap.transport.exchange import Line  # noqa: PLC0415 - as above

        with self._lock:
            if self._line is None:
                network = self._network
                self._line = Line(
                    self._address, self._proxy, network.trust, network.limits, plain=network.plain
                )
            return self._line


def retry_after(answer: HttpResponse, now: float) -> float | None:
    """Seconds that an answer asks to wait: a number of them, or a date after its own `Date`.

    A server's date is held against its own clock where it shows it, for ours may differ.
    """
    text = (answer.header("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    instant = _instant(text)
    if instant is None:
        return None
    return max(0.0, instant - (_instant(answer.header("Date") or "") or now))


def _instant(text: str) -> float | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - only for who is turned away

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _counted(error: DcapError, attempts: int) -> DcapError:
    """The error of the last attempt, saying how many there were."""
    if attempts == 1:
        return error
    what = f"{error.what}, in the last of {attempts} attempts"
    return type(error)(error.code, what, where=error.where, mend=error.mend)
