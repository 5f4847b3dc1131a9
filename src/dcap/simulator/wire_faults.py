"""What goes wrong between a genuine service and a client: each one named, each one Handler -> Handler.

    faulty = WIRE_FAULTS["cut-off"](services(world))

The first sentence of each docstring says what departs from the truth, to users of the command line too;
everything else stays genuine.
Faults of time and of broken connections are orders to the server (`serving`): without a socket they
show as headers. Not here: departures in what is signed (`faults`).

Source: `users-and-interop.md` §4, "what developers cannot test today".
"""

import threading
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from datetime import timedelta

import msgspec

from dcap.api.http import Handler, Headers, HttpRequest, HttpResponse
from dcap.api.pcs import JSON
from dcap.api.pcs_responses import (
    EVALUATION_NUMBERS_ISSUER_CHAIN,
    FMSPC,
    IDENTITY_ISSUER_CHAIN,
    PCK_CERT_ISSUER_CHAIN,
    PCK_CRL_ISSUER_CHAIN,
    SGX_TCB_INFO_ISSUER_CHAIN,
    TCB_INFO_ISSUER_CHAIN,
    TCBM,
    PckCertsResponse,
    Refusal,
)
from dcap.api.thim import ThimPckCertResponse
from dcap.errors import FormatError
from dcap.formats import certificate as certificates
from dcap.formats import pem
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO
from dcap.formats.crl import Crl
from dcap.formats.signed_json import SignedJson
from dcap.serving import CUT_AFTER, DELAY
from dcap.simulator.keys import SigningKey, signing_key
from dcap.simulator.pcs import CLOCK_OFFSET, EVALUATION_NUMBERS

SLOW_SECONDS = 2.0
#: Longer than any client waits.
HANGING_SECONDS = 3600.0
RETRY_AFTER_SECONDS = 30
SKEW = timedelta(days=365)
#: More than any reader of collateral takes.
OVERSIZE = 20 * 1024 * 1024
ELSEWHERE = "https://elsewhere.invalid"
_CHAINS = (
    PCK_CERT_ISSUER_CHAIN,
    PCK_CRL_ISSUER_CHAIN,
    TCB_INFO_ISSUER_CHAIN,
    SGX_TCB_INFO_ISSUER_CHAIN,
    IDENTITY_ISSUER_CHAIN,
    EVALUATION_NUMBERS_ISSUER_CHAIN,
)
_MEMBERS = (TCB_INFO, ENCLAVE_IDENTITY, EVALUATION_NUMBERS)
_HTML = b"""<!DOCTYPE html>
<html><head><title>Sign in</title></head><body><h1>Sign in to use this network</h1></body></html>
"""


def slow(handler: Handler, *, seconds: float = SLOW_SECONDS) -> Handler:
    """Every answer comes late."""
    return _changed(handler, lambda answer: _with(answer, (DELAY, str(seconds))))


def hanging(handler: Handler) -> Handler:
    """The connection is taken, and no answer ever comes."""
    return _changed(handler, lambda answer: _with(answer, (DELAY, str(HANGING_SECONDS))))


def cut_off(handler: Handler) -> Handler:
    """The connection ends in the middle of the body."""
    return _changed(handler, lambda answer: _with(answer, (CUT_AFTER, str(len(answer.body) // 2))))


def redirecting(handler: Handler) -> Handler:  # noqa: ARG001 - it never answers
    """Every request is sent on to another host, which does not exist."""

    def answer(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=302, headers=(("Location", ELSEWHERE + request.target),))

    return answer


def wrong_encoding(handler: Handler) -> Handler:
    """Bodies come in an encoding the route does not have: JSON in UTF-16, all else in bare base64."""

    def changed(answer: HttpResponse) -> HttpResponse:
        if answer.header("Content-Type") == JSON:
            return _body(answer, answer.body.decode().encode("utf-16"))
        return _body(answer, b2a_base64(answer.body))

    return _changed(handler, changed)


def plus_for_space(handler: Handler) -> Handler:
    """Issuer chains come encoded as a form is, a plus for each space, which no client decodes."""

    def changed(answer: HttpResponse) -> HttpResponse:
        headers = tuple(
            (name, value.replace("%20", "+") if name in _CHAINS else value)
            for name, value in answer.headers
        )
        return HttpResponse(status=answer.status, headers=headers, body=answer.body)

    return _changed(handler, changed)


def missing_headers(handler: Handler) -> Handler:
    """Issuer chains, TCBm and FMSPC are stripped, as a proxy strips headers that it does not know."""
    stripped = (*_CHAINS, TCBM, FMSPC)
    return _changed(handler, lambda answer: _without(answer, stripped))


def oversized(handler: Handler) -> Handler:
    """Bodies are followed by megabytes of white space."""
    return _changed(handler, lambda answer: _body(answer, answer.body + b" " * OVERSIZE))


def throttling(
    handler: Handler, *, times: int | None = None, retry_after: int = RETRY_AFTER_SECONDS
) -> Handler:
    """Every request is one too many: 429 with `Retry-After`.

    With `times`, for so many requests only.
    """
    return _refusing(handler, Refusal(status=429, retry_after=retry_after), times)


def unavailable(handler: Handler, *, times: int | None = None) -> Handler:
    """The service cannot answer now: 503.

    With `times`, for so many requests only.
    """
    return _refusing(handler, Refusal(status=503), times)


def failing(handler: Handler, *, times: int | None = None) -> Handler:
    """The service has an error of its own: 500.

    With `times`, for so many requests only.
    """
    return _refusing(handler, Refusal(status=500), times)


def unauthorised(handler: Handler) -> Handler:
    """No subscription key is the right one, whatever is asked for: 401."""
    return _refusing(handler, Refusal(status=401), None)


def clock_skewed(handler: Handler, *, by: timedelta = SKEW) -> Handler:
    """The service lives in the future: its collateral is issued there, and its `Date` says so."""
    order = (CLOCK_OFFSET, str(int(by.total_seconds())))

    def answer(request: HttpRequest) -> HttpResponse:
        return handler(
            HttpRequest(
                method=request.method,
                target=request.target,
                headers=(order, *request.headers),
                body=request.body,
            )
        )

    return answer


def wrong_certificate(handler: Handler) -> Handler:
    """The server shows the TLS certificate of another host.

    The handler is as it was: serve it with `tls.WRONG_NAMES`.
    """
    return handler


def poisoned(handler: Handler) -> Handler:
    """Signed bodies are signed again by a stranger, and everything else stays as it was."""
    key = signing_key(b"wire faults", "stranger")
    return _changed(handler, lambda answer: _forged(answer, key))


def empty(handler: Handler) -> Handler:
    """The status is 200, the headers are there, and the body is not."""
    return _changed(handler, lambda answer: _body(answer, b""))


def html_page(handler: Handler) -> Handler:
    """A page of HTML comes with status 200, as a captive portal sends it."""

    def changed(_answer: HttpResponse) -> HttpResponse:
        headers = (("Content-Type", "text/html; charset=utf-8"),)
        return HttpResponse(status=200, headers=headers, body=_HTML)

    return _changed(handler, changed)


WIRE_FAULTS: Mapping[str, Callable[[Handler], Handler]] = {
    "slow": slow,
    "hanging": hanging,
    "cut-off": cut_off,
    "redirecting": redirecting,
    "wrong-encoding": wrong_encoding,
    "plus-for-space": plus_for_space,
    "missing-headers": missing_headers,
    "oversized": oversized,
    "throttling": throttling,
    "unavailable": unavailable,
    "failing": failing,
    "unauthorised": unauthorised,
    "clock-skewed": clock_skewed,
    "wrong-certificate": wrong_certificate,
    "poisoned": poisoned,
    "empty": empty,
    "html-page": html_page,
}


def _changed(handler: Handler, change: Callable[[HttpResponse], HttpResponse]) -> Handler:
    """Every answer, changed."""
    return lambda request: change(handler(request))


def _refusing(handler: Handler, refusal: Refusal, times: int | None) -> Handler:
    """A refusal for the first `times` requests, or for ever."""
    left = times
    lock = threading.Lock()

    def answer(request: HttpRequest) -> HttpResponse:
        nonlocal left
        with lock:
            refused = left is None or left > 0
            left = left if left is None else left - 1
        return refusal.to_http() if refused else handler(request)

    return answer


def _with(answer: HttpResponse, *headers: tuple[str, str]) -> HttpResponse:
    given = (*answer.headers, *headers)
    return HttpResponse(status=answer.status, headers=given, body=answer.body)


def _without(answer: HttpResponse, names: tuple[str, ...]) -> HttpResponse:
    kept: Headers = tuple(header for header in answer.headers if header[0] not in names)
    return HttpResponse(status=answer.status, headers=kept, body=answer.body)


def _body(answer: HttpResponse, body: bytes) -> HttpResponse:
    return HttpResponse(status=answer.status, headers=answer.headers, body=body)


def _forged(answer: HttpResponse, key: SigningKey) -> HttpResponse:
    """The same content under another signature; what is not signed stays."""
    body = answer.body
    if answer.status != 200:
        return answer
    if body.startswith(b'[{"tcb"'):
        listed = PckCertsResponse.from_http(answer)
        entries = tuple(
            msgspec.structs.replace(
                entry, certificate=entry.certificate and _resigned(entry.certificate, key)
            )
            for entry in listed.entries
        )
        return _body(answer, msgspec.structs.replace(listed, entries=entries).to_http().body)
    if body.startswith(b'{"pckCert"'):
        found = ThimPckCertResponse.from_http(answer)
        certificate = _resigned(found.certificate, key)
        return _body(answer, msgspec.structs.replace(found, certificate=certificate).to_http().body)
    for member in _MEMBERS:
        if body.startswith(b'{"%b":' % member.encode()):
            document = SignedJson.parse(body, member)
            signature = key.sign_raw(document.body)
            return _body(answer, SignedJson(document.body, signature).envelope(member))
    return _body(answer, _resigned(body, key))


def _resigned(body: bytes, key: SigningKey) -> bytes:
    """A certificate or a revocation list by another signer, in the encoding that it has."""
    try:
        if b"-----BEGIN CERTIFICATE-----" in body:
            tbs = Certificate.parse_chain(body)[0].tbs
            forged = certificates.write_signed(tbs, key.sign(tbs))
            return pem.encode(forged, "CERTIFICATE")
        crl = Crl.parse(body)
    except FormatError:
        return body
    forged = certificates.write_signed(crl.tbs, key.sign(crl.tbs))
    if pem.is_armoured(body):
        return pem.encode(forged, "X509 CRL")
    return forged if body == crl.der else forged.hex().encode()
