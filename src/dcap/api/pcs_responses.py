"""Intel's Provisioning Certification Service: its answers, as values, both directions.

Issuer chains stand in headers, percent-encoded PEM, leaf first, the root last; signed documents are
kept byte for byte. What is not 200 is a `Refusal`. Requests: `pcs`.

Source: Intel PCS API v4; `pccs-and-pcs-api.md` §5.
"""

from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes

import msgspec

from dcap.api.http import HttpResponse
from dcap.api.pcs import JSON, EvaluationNumbersRequest, PcsRequest, TcbInfoRequest
from dcap.errors import CollateralError, FormatError, NotFound, Unavailable
from dcap.formats import crl as crls
from dcap.formats import pem
from dcap.formats.remembered import remembered
from dcap.formats.signed_json import ShortText, decode, encode, prepare
from dcap.formats.tcb_info import WireTcbV2

PEM_FILE = "application/x-pem-file"
PKIX_CRL = "application/pkix-crl"

PCK_CERT_ISSUER_CHAIN = "SGX-PCK-Certificate-Issuer-Chain"
PCK_CRL_ISSUER_CHAIN = "SGX-PCK-CRL-Issuer-Chain"
TCB_INFO_ISSUER_CHAIN = "TCB-Info-Issuer-Chain"
SGX_TCB_INFO_ISSUER_CHAIN = "SGX-TCB-Info-Issuer-Chain"
IDENTITY_ISSUER_CHAIN = "SGX-Enclave-Identity-Issuer-Chain"
EVALUATION_NUMBERS_ISSUER_CHAIN = "TCB-Evaluation-Data-Numbers-Issuer-Chain"
TCBM = "SGX-TCBm"
FMSPC = "SGX-FMSPC"
CA_TYPE = "SGX-PCK-Certificate-CA-Type"
REQUEST_ID = "Request-ID"
WARNING = "Warning"
RETRY_AFTER = "Retry-After"
ERROR_CODE = "Error-Code"
ERROR_MESSAGE = "Error-Message"

NOT_AVAILABLE = "Not available"
CA_TYPES = ("processor", "platform")


class PckCertResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One PCK certificate, in PEM; `tcbm` is CPUSVN ‖ PCESVN (little-endian), 18 bytes."""

    certificate: bytes
    issuer_chain: bytes
    tcbm: bytes
    fmspc: bytes
    ca: str

    def to_http(self) -> HttpResponse:
        """The answer as Intel sends it: hex in upper case, the CA in lower."""
        return HttpResponse(
            status=200,
            headers=(
                ("Content-Type", PEM_FILE),
                (PCK_CERT_ISSUER_CHAIN, write_chain(self.issuer_chain)),
                (TCBM, self.tcbm.hex().upper()),
                (FMSPC, self.fmspc.hex().upper()),
                (CA_TYPE, self.ca),
            ),
            body=self.certificate,
        )

    @classmethod
    def from_http(cls, response: HttpResponse) -> "PckCertResponse":
        """Read it. Raises `CollateralError` for a refusal, `FormatError` (`pcs-response`)."""
        _accepted(response)
        pem.blocks(response.body, "CERTIFICATE")
        return cls(
            certificate=response.body,
            issuer_chain=read_chain(response, PCK_CERT_ISSUER_CHAIN),
            tcbm=_hex_header(response, TCBM, 18),
            fmspc=_hex_header(response, FMSPC, 6),
            ca=_ca_header(response),
        )


class _WirePckCert(msgspec.Struct, frozen=True):
    tcb: WireTcbV2
    tcbm: ShortText
    cert: str


prepare(list[_WirePckCert])


class PckCertEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One TCB and its certificate in PEM; `None` where Intel says "Not available"."""

    components: bytes
    pce_svn: int
    tcbm: bytes
    certificate: bytes | None


class PckCertsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """All PCK certificates of a machine."""

    entries: tuple[PckCertEntry, ...]
    issuer_chain: bytes
    fmspc: bytes
    ca: str

    def to_http(self) -> HttpResponse:
        """JSON, the certificates percent-encoded."""
        names = WireTcbV2.__struct_fields__
        wire = [
            _WirePckCert(
                WireTcbV2(**dict(zip(names, (*entry.components, entry.pce_svn), strict=True))),
                entry.tcbm.hex().upper(),
                NOT_AVAILABLE if entry.certificate is None else write_chain(entry.certificate),
            )
            for entry in self.entries
        ]
        return HttpResponse(
            status=200,
            headers=(
                ("Content-Type", JSON),
                (PCK_CERT_ISSUER_CHAIN, write_chain(self.issuer_chain)),
                (FMSPC, self.fmspc.hex().upper()),
                (CA_TYPE, self.ca),
            ),
            body=encode(wire),
        )

    @classmethod
    def from_http(cls, response: HttpResponse) -> "PckCertsResponse":
        """Read it. Raises `CollateralError` for a refusal, `FormatError`."""
        _accepted(response)
        wire = decode(response.body, list[_WirePckCert], "PCK certificates")
        return cls(
            entries=tuple(_entry(entry) for entry in wire),
            issuer_chain=read_chain(response, PCK_CERT_ISSUER_CHAIN),
            fmspc=_hex_header(response, FMSPC, 6),
            ca=_ca_header(response),
        )


class PckCrlResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A revocation list, in DER, and the chain of its issuer."""

    crl: bytes
    issuer_chain: bytes

    def to_http(self, encoding: str = "pem") -> HttpResponse:
        """PEM, or DER where it was asked for."""
        is_der = encoding == "der"
        return HttpResponse(
            status=200,
            headers=(
                ("Content-Type", PKIX_CRL if is_der else PEM_FILE),
                (PCK_CRL_ISSUER_CHAIN, write_chain(self.issuer_chain)),
            ),
            body=self.crl if is_der else pem.encode(self.crl, "X509 CRL"),
        )

    @classmethod
    def from_http(cls, response: HttpResponse) -> "PckCrlResponse":
        """Read it, in any encoding. Raises `CollateralError` for a refusal, `FormatError`."""
        _accepted(response)
        crl = crls.to_der(response.body)
        return cls(crl=crl, issuer_chain=read_chain(response, PCK_CRL_ISSUER_CHAIN))


class SignedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A signed document as it was sent, envelope and all, and the chain of its signer."""

    body: bytes
    issuer_chain: bytes

    def to_http(self, *chain_headers: str) -> HttpResponse:
        """The document under its chain header (`issuer_chain_header`)."""
        chain = write_chain(self.issuer_chain)
        return HttpResponse(
            status=200,
            headers=(("Content-Type", JSON), *((name, chain) for name in chain_headers)),
            body=self.body,
        )

    @classmethod
    def from_http(cls, response: HttpResponse) -> "SignedResponse":
        """Read it, under whichever of the chain headers. Raises `CollateralError`, `FormatError`."""
        _accepted(response)
        if not response.body:
            raise _wrong("the body is empty")
        return cls(body=response.body, issuer_chain=read_chain(response, *_SIGNED_CHAINS))


_SIGNED_CHAINS = (
    TCB_INFO_ISSUER_CHAIN,
    SGX_TCB_INFO_ISSUER_CHAIN,
    IDENTITY_ISSUER_CHAIN,
    EVALUATION_NUMBERS_ISSUER_CHAIN,
)


def issuer_chain_header(request: PcsRequest) -> str:
    """Under which header the answer to a request for a signed document carries its chain."""
    if isinstance(request, TcbInfoRequest):
        return TCB_INFO_ISSUER_CHAIN if request.version > 3 else SGX_TCB_INFO_ISSUER_CHAIN
    if isinstance(request, EvaluationNumbersRequest):
        return EVALUATION_NUMBERS_ISSUER_CHAIN
    return IDENTITY_ISSUER_CHAIN


class Fmspc(msgspec.Struct, frozen=True):
    """One FMSPC (12 hex digits) and its kind of platform: "client", "E3" or "E5"."""

    fmspc: ShortText
    platform: ShortText


prepare(list[Fmspc])


class FmspcsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The FMSPCs that Intel knows."""

    fmspcs: tuple[Fmspc, ...]

    def to_http(self) -> HttpResponse:
        """JSON."""
        body = encode(self.fmspcs)
        return HttpResponse(status=200, headers=(("Content-Type", JSON),), body=body)

    @classmethod
    def from_http(cls, response: HttpResponse) -> "FmspcsResponse":
        """Read it. Raises `CollateralError` for a refusal, `FormatError`."""
        _accepted(response)
        return cls(fmspcs=tuple(decode(response.body, list[Fmspc], "FMSPCs")))


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not 200: Intel says why in headers, if at all."""

    status: int
    error_code: str | None = None
    error_message: str | None = None
    retry_after: int | None = None

    def to_http(self) -> HttpResponse:
        """The answer, without a body."""
        headers: list[tuple[str, str]] = []
        if self.retry_after is not None:
            headers.append((RETRY_AFTER, str(self.retry_after)))
        if self.error_code is not None:
            headers.append((ERROR_CODE, self.error_code))
        if self.error_message is not None:
            headers.append((ERROR_MESSAGE, self.error_message))
        return HttpResponse(status=self.status, headers=tuple(headers))

    @classmethod
    def from_http(cls, response: HttpResponse) -> "Refusal":
        """Read it; a `Retry-After` that is a date, not seconds, is left out."""
        wait = (response.header(RETRY_AFTER) or "").strip()
        return cls(
            status=response.status,
            error_code=response.header(ERROR_CODE),
            error_message=response.header(ERROR_MESSAGE),
            retry_after=int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None,
        )

    def error(self) -> CollateralError:
        """404 and 410 as `NotFound`, all else as `Unavailable`."""
        meaning = STATUSES.get(self.status, "an unexpected status")
        said = ": ".join(text[:200] for text in (self.error_code, self.error_message) if text)
        what = f"HTTP {self.status}, {meaning}" + (f" ({said})" if said else "")
        code = f"pcs-{self.status}" if self.status in STATUSES else "pcs-status"
        mend = MENDS.get(self.status, "see whether the URL is that of the service")
        if self.status in (404, 410):
            return NotFound(code, what, mend=mend)
        wait = self.retry_after
        return Unavailable(code, what, mend=mend if wait is None else f"try again in {wait} s")


#: What Intel means by a status.
STATUSES = {
    400: "the request is malformed",
    401: "the subscription key is missing or wrong",
    403: "something before the service refuses",
    404: "there is no such thing: unknown FMSPC, PPID or number, or a platform not registered",
    410: "the TCB evaluation data number is retired",
    415: "the body's media type is not supported",
    429: "too many requests",
    500: "an internal error of the service",
    502: "what stands before the service cannot reach it",
    503: "the service cannot answer now",
}

#: What whoever asked can do about it.
MENDS = {
    400: "see Error-Message; a parameter is not as the service asks",
    401: "give the service's subscription key (DCAP_PCS_API_KEY)",
    403: "see whether a proxy stands between",
    404: "check FMSPC or number; a platform of several packages must be registered with Intel",
    410: "ask for a newer TCB evaluation data number, or for none",
    415: "set Content-Type as the service asks",
    429: "try again later",
    500: "try again later",
    502: "try again later",
    503: "try again later",
}

PcsResponse: TypeAlias = (
    PckCertResponse | PckCertsResponse | PckCrlResponse | SignedResponse | FmspcsResponse | Refusal
)


@remembered(32)
def write_chain(chain: bytes) -> str:
    """PEM as it stands in a header or in JSON: all but unreserved characters percent-encoded."""
    return quote(chain, safe="")


def read_chain(response: HttpResponse, *names: str) -> bytes:
    """The PEM under the first of these headers that is there. Raises `FormatError`."""
    text = next((value for name in names if (value := response.header(name))), None)
    if text is None:
        raise _wrong(f"there is no header {' or '.join(names)}")
    chain = unquote_to_bytes(text)
    pem.blocks(chain, "CERTIFICATE")
    return chain


def _accepted(response: HttpResponse) -> None:
    if response.status != 200:
        raise Refusal.from_http(response).error()


def _entry(wire: _WirePckCert) -> PckCertEntry:
    svns = [getattr(wire.tcb, name) for name in WireTcbV2.__struct_fields__]
    certificate = None
    if wire.cert != NOT_AVAILABLE:
        certificate = unquote_to_bytes(wire.cert)
        pem.blocks(certificate, "CERTIFICATE")
    return PckCertEntry(
        components=bytes(svns[:16]),
        pce_svn=svns[16],
        tcbm=_hex(wire.tcbm, "tcbm", 18),
        certificate=certificate,
    )


def _hex_header(response: HttpResponse, name: str, size: int) -> bytes:
    return _hex(response.header(name) or "", name, size)


def _hex(text: str, name: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(text) if len(text) == 2 * size else b""
    except ValueError:
        value = b""
    if len(value) != size:
        raise _wrong(f"{name} is not {2 * size} hexadecimal digits")
    return value


def _ca_header(response: HttpResponse) -> str:
    """The CA; a PCCS writes it in upper case."""
    ca = (response.header(CA_TYPE) or "").lower()
    if ca not in CA_TYPES:
        raise _wrong(f"{CA_TYPE} is not processor or platform")
    return ca


def _wrong(what: str) -> FormatError:
    return FormatError(
        "pcs-response",
        what,
        where="answer of the service",
        mend="ask again; a proxy may have stripped or replaced it",
    )
