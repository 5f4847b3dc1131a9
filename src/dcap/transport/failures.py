"""What is said of a failure: which code, what happened, and what an operator can do about it.

Every exception that sockets, TLS, urllib3 and `http.client` raise ends here. None of their words is
repeated unless it is known to hold nothing of the request: a query identifies a machine.

Not here: statuses (`api`), and Intel's own codes for the same (`qpl.error_codes`).
"""

import re
import socket
import ssl
from http.client import HTTPException, IncompleteRead, LineTooLong

import msgspec

from dcap.errors import Unavailable
from dcap.transport.address import Address
from dcap.transport.connection import (
    ASKING_PROXY,
    CONNECTING,
    HANDSHAKE,
    LOOKING_UP,
    PROXY_HANDSHAKE,
)
from dcap.transport.patience import Patience
from dcap.transport.proxies import Proxy

_UNREACHED = frozenset({LOOKING_UP, CONNECTING, ASKING_PROXY, HANDSHAKE, PROXY_HANDSHAKE})
_OTHER_SOURCE = "try again later, or name another source"
_SILENT = (
    "check that the service works, and that no firewall drops the packets; or allow "
    "more time (--timeout SECONDS)"
)
_NOT_TLS = "check the port; if the service speaks plain HTTP there, write http://"

#: OpenSSL's X509_V_ERR_…: what it means, and what to do.
_GIVE_CA = (
    "if it is the right one, give it, or the CA that signed it, with --ca FILE"
    " (a PCCS of one's own: or use_secure_cert: false, which checks nothing)"
)
_CERTIFICATE_REASONS: dict[int, tuple[str, str]] = {
    9: ("it is not valid yet", "check this machine's clock"),
    10: ("it has expired", "have it renewed, or check this machine's clock"),
    18: ("it is self-signed, and not among the certificates that are trusted", _GIVE_CA),
    19: ("its chain ends in a root that is not trusted", _GIVE_CA),
    20: ("its issuer is not known", _GIVE_CA),
    21: ("its issuer is not known", _GIVE_CA),
    62: ("it is for another host", "ask by the name that it has, or have one made for this name"),
    64: (
        "it is for another address",
        "ask by the name that it has, or have one made for this address",
    ),
}
_NO_TLS_REASONS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
_OLD_TLS_REASONS = frozenset(
    {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW"}
)
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
_PASSING_TUNNEL = frozenset({"429", "502", "503", "504"})
_CLOSED = "it closed the connection"


class Place(msgspec.Struct, frozen=True):
    """What was asked, and whom: the path without its query."""

    address: Address
    path: str
    proxy: Proxy | None

    def __str__(self) -> str:
        through = f", through the proxy {self.proxy}" if self.proxy is not None else ""
        return f"{self.address}{self.path}{through}"


class Failed(Exception):  # noqa: N818 - an outcome of one attempt, which nobody but `network` sees
    """An attempt that failed. `sent`: the request may have arrived. `passing`: another may do better."""

    def __init__(self, error: Unavailable, *, sent: bool = True, passing: bool = False) -> None:
        super().__init__(error.code)
        self.error = error
        self.sent = sent
        self.passing = passing


def refused(code: str, what: str, place: Place, mend: str) -> Failed:
    """An answer that is not taken, and that will be no better the next time."""
    return Failed(Unavailable(code, what, where=str(place), mend=mend))


def failed(error: Exception, place: Place, patience: Patience) -> Failed:
    """What an exception means at the place and in the phase in which it was raised."""
    phase = patience.phase
    if isinstance(error, TimeoutError):
        code, what, mend, passing = (
            "network-timeout",
            f"no answer in time while {_while(phase, patience)} ({patience.limit})",
            _SILENT,
            True,
        )
    elif isinstance(error, ssl.SSLCertVerificationError) and phase != PROXY_HANDSHAKE:
        code, what, mend, passing = _certificate(error)
    elif phase in (ASKING_PROXY, PROXY_HANDSHAKE):
        code, what, mend, passing = _proxy(error)
    elif phase in (LOOKING_UP, CONNECTING):
        code, what, mend, passing = _unreached(error, place, phase)
    elif isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        code, what, mend, passing = _tls(error)
    elif phase == HANDSHAKE:
        code, what, mend, passing = (
            "network-tls",
            f"the TLS handshake ends without TLS: {_reason(error)}",
            _NOT_TLS,
            isinstance(error, OSError),
        )
    else:
        code, what, mend, passing = _broken(error)
    raised = Unavailable(code, what, where=str(place), mend=mend)
    return Failed(raised, sent=phase not in _UNREACHED, passing=passing)


_Said = tuple[str, str, str, bool]


def _while(phase: str, patience: Patience) -> str:
    if phase in _UNREACHED:
        return phase
    return "reading the answer" if patience.received else "waiting for the answer"


def _certificate(error: ssl.SSLCertVerificationError) -> _Said:
    what, mend = _CERTIFICATE_REASONS.get(
        error.verify_code, (f"OpenSSL says: {error.verify_message}", _GIVE_CA)
    )
    return "network-certificate", f"the server's certificate is refused: {what}", mend, False


def _proxy(error: Exception) -> _Said:
    refusal = _TUNNEL.search(str(error)) if isinstance(error, OSError) else None
    if refusal is None:
        what = f"the proxy does not lead there: {_reason(error)}"
        return "network-proxy", what, "check the proxy in the environment", True
    status = refusal.group(1)
    mend = "name the host in NO_PROXY, or have the proxy let it pass"
    if status == "407":
        mend = "give the proxy's user and password in its URL: http://USER:PASSWORD@HOST:PORT"
    what = f"the proxy does not lead there: it answers {status}"
    return "network-proxy", what, mend, status in _PASSING_TUNNEL


def _unreached(error: Exception, place: Place, phase: str) -> _Said:
    if place.proxy is not None:
        what = f"the proxy cannot be reached: {_reason(error)}"
        mend = "check the proxy in the environment, or name the host in NO_PROXY"
        return "network-proxy", what, mend, not isinstance(error, ValueError)
    if phase == LOOKING_UP:
        passing = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        what = f"the host's name leads nowhere: {_reason(error)}"
        return "network-name", what, "check the name, and this machine's DNS", passing
    what = f"no connection is made: {_reason(error)}"
    mend = "check host and port, that the service runs, and that no firewall is in the way"
    return "network-refused", what, mend, True


def _tls(error: ssl.SSLError) -> _Said:
    reason = error.reason or ""
    if reason in _NO_TLS_REASONS:
        return "network-tls", "the server does not speak TLS", _NOT_TLS, False
    if reason in _OLD_TLS_REASONS:
        what = "the server speaks no TLS that is still safe (1.2 or later)"
        return "network-tls", what, "have the service's TLS brought up to date", False
    what = f"TLS fails: {reason.replace('_', ' ').lower() or 'for no reason given'}"
    return "network-tls", what, "look into the service's log and its TLS settings", False


def _broken(error: Exception) -> _Said:
    # `http.client` has no name for more than 100 headers.
    if isinstance(error, LineTooLong) or (type(error) is HTTPException and "headers" in str(error)):
        what = "the answer's headers are larger than any service's"
        return "network-too-large", what, "check that it is the right service", False
    if isinstance(error, (OSError, IncompleteRead)):
        return "network-cut-off", f"the answer is cut off: {_reason(error)}", _OTHER_SOURCE, True
    what = "what answers there is not HTTP/1.1"
    return "network-protocol", what, "check scheme, host and port; a TLS port wants https://", False


def _reason(error: Exception) -> str:
    """The system's own words, which say nothing of the request."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError):
        return _CLOSED
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS fails").replace("_", " ").lower()
    if isinstance(error, IncompleteRead | BrokenPipeError):
        return _CLOSED
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    if isinstance(error, HTTPException):
        return "it does not speak HTTP"
    return "it cannot be used"
