"""A Provisioning Certificate Caching Service: its answers, both directions.

What they hold are the values of `pcs_responses`; how they stand on the wire is the PCCS's own: lists in
hex unless DER was asked for, the CA in upper case, JSON with a charset, a refusal as a bare sentence.
Bytes of signed documents are kept as they came. Readers also take what other caches that are used as
a PCCS send: a PCK certificate in Azure's JSON, lists in PEM.

Source: `pccs-and-pcs-api.md` §1.3, §1.9; `quote-provider.md` §2.3, §2.5, §7.
"""

from collections.abc import Mapping

import msgspec

from dcap.api.http import Headers, HttpResponse
from dcap.api.pcs_responses import (
    CA_TYPE,
    PCK_CERT_ISSUER_CHAIN,
    PEM_FILE,
    PKIX_CRL,
    SGX_TCB_INFO_ISSUER_CHAIN,
    TCB_INFO_ISSUER_CHAIN,
    TCBM,
    PckCertResponse,
    PckCrlResponse,
    Refusal,
    SignedResponse,
    read_chain,
)
from dcap.api.thim import ThimPckCertResponse
from dcap.errors import CollateralError, FormatError, NotFound, Unavailable
from dcap.formats import crl as crls
from dcap.formats import pem

UTF8 = "; charset=utf-8"
JSON_UTF8 = "application/json" + UTF8
SENTENCE = "text/html" + UTF8
PLATFORM_COUNT = "platform-count"
SUCCESS = "Operation successful."
TCBM_SIZE = 18
#: Headers of ours, beside Intel's: why a request was refused, as `causes` has it.
CAUSE = "Dcap-Cause"
#: How many pieces of what was put were not kept; none is left out without it.
LEFT_OUT = "Dcap-Left-Out"
#: Beside a 400: which parameter, or what of the body, is not as it should be. Beside `LEFT_OUT`: what.
WHY = "Dcap-Why"
#: Of a renewal: how many were, could not be, and have no certificate left that is not revoked.
RENEWED = "Dcap-Renewed"
FAILED = "Dcap-Failed"
REVOKED = "Dcap-Revoked"

#: Status -> the sentence that Intel's PCCS sends as its body.
SENTENCES: Mapping[int, str] = {
    400: "Invalid request parameters.",
    401: "Authentication failed.",
    404: "No cache data for this platform.",
    410: (
        "The Intel PCS API version 3 reached planned EOL. Accordingly, collateral from this API "
        "version cannot be retrieved any longer."
    ),
    413: "Content too large.",
    460: "The integrity of the data can't be verified.",
    461: "The platform was not found in the cache.",
    462: "Certificates are not available for certain TCBs.",
    500: "Internal server error occurred.",
    502: "Unable to retrieve the collateral from the Intel SGX PCS.",
    503: "Server is currently unable to process the request.",
}
#: Status -> what it means where something before a PCCS sends it.
ELSEWHERE: Mapping[int, str] = {
    403: "something before the PCCS refuses",
    429: "too many requests",
}
#: Status -> what whoever asked can do about it.
MENDS: Mapping[int, str] = {
    400: "see the PCCS's log; an unknown platform needs its encrypted PPID in the request",
    401: "give the PCCS's user or admin token",
    404: "register the platform with the PCCS, or see its log: it says 404 for whatever Intel refused",
    403: "put the PCCS's host into no_proxy, or see what stands before it",
    410: "write /v4/ in the URL instead of /v3/",
    429: "ask again later",
    461: "register the platform with the PCCS (PCKIDRetrievalTool)",
    462: "update BIOS and microcode, and register the platform again",
    500: "see the PCCS's log",
    502: "see whether the PCCS's host reaches Intel",
    503: "ask again later; see the PCCS's log",
}
_NO_SUCH_THING = (404, 410, 461, 462)
_NO_ROUTE = b"cannot get"


class PckCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """What every dialect says of a PCK certificate: PEM, its issuers (CA, root), its TCB (18 bytes)."""

    certificate: bytes
    issuer_chain: bytes
    tcbm: bytes

    @property
    def chain(self) -> bytes:
        """Leaf, CA, root."""
        leaf = self.certificate
        return (leaf if leaf.endswith(b"\n") else leaf + b"\n") + self.issuer_chain


class PccsRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not 200. `has_route` is false where the server has no such path at all.

    `is_said` is false where the answer does not carry the sentence of a PCCS: it may be none.
    """

    status: int
    has_route: bool = True
    is_said: bool = True
    retry_after: int | None = None

    def to_http(self, *, with_sentence: bool = True) -> HttpResponse:
        """The answer. Leave the sentence out of a 503 that a quote provider may get.

        Intel's quote provider asks again after 503, and appends the second body to the first.
        """
        text = SENTENCES.get(self.status, "") if with_sentence else ""
        return HttpResponse(
            status=self.status, headers=(("Content-Type", SENTENCE),), body=text.encode()
        )

    @classmethod
    def from_http(cls, response: HttpResponse) -> "PccsRefusal":
        """Read it."""
        page = response.body[:4096].lower()
        return cls(
            status=response.status,
            has_route=_NO_ROUTE not in page,
            is_said=SENTENCES.get(response.status, "").lower().encode() in page and page != b"",
            retry_after=Refusal.from_http(response).retry_after,
        )

    def error(self) -> CollateralError:
        """404, 410, 461 and 462 as `NotFound`, all else as `Unavailable`."""
        code = f"pccs-{self.status}"
        if self.status in SENTENCES and self.is_said:
            said = f', "{SENTENCES[self.status]}"'
        elif self.status in SENTENCES:
            said = f", which of a PCCS means: {SENTENCES[self.status].rstrip('.')}"
        elif self.status in ELSEWHERE:
            said = f", {ELSEWHERE[self.status]}"
        else:
            code, said = "pccs-status", ", which no PCCS sends"
        mend = MENDS.get(self.status, "see whether the URL is that of a PCCS, and its log")
        if not self.has_route:
            said = ", there is no such path on the server"
            mend = "let the URL end in /sgx/certification/v4/"
        elif not self.is_said and self.status == 404:
            mend = f"see whether the URL is that of a PCCS; if it is: {mend}"
        if self.retry_after is not None:
            mend = f"try again in {self.retry_after} s"
        kind = NotFound if self.status in _NO_SUCH_THING else Unavailable
        return kind(code, f"HTTP {self.status}{said}", mend=mend)


# PCK certificates


def write_pck_cert(found: PckCertResponse) -> HttpResponse:
    """PEM with a last newline, for clients append the chain to it; the CA in upper case."""
    response = found.to_http()
    body = response.body
    return HttpResponse(
        status=200,
        headers=tuple(
            (name, value.upper() if name == CA_TYPE else value) for name, value in response.headers
        ),
        body=body if body.endswith(b"\n") else body + b"\n",
    )


def read_pck_cert(response: HttpResponse) -> PckCertificate:
    """PEM with headers or, where the chain's header is missing, Azure's JSON.

    Raises `CollateralError` for a refusal, `FormatError`.
    """
    accepted(response)
    if response.header(PCK_CERT_ISSUER_CHAIN) is None and response.body.lstrip()[:1] == b"{":
        found = ThimPckCertResponse.from_http(response)
        return PckCertificate(
            certificate=found.certificate, issuer_chain=found.issuer_chain, tcbm=found.tcbm
        )
    pem.blocks(response.body, "CERTIFICATE")
    return PckCertificate(
        certificate=response.body,
        issuer_chain=read_chain(response, PCK_CERT_ISSUER_CHAIN),
        tcbm=_tcbm(response.header(TCBM) or ""),
    )


# Revocation lists


def write_pck_crl(found: PckCrlResponse, encoding: str) -> HttpResponse:
    """DER, or hex in every other case."""
    response = found.to_http("der")
    if encoding == "der":
        return response
    return _typed(response, PEM_FILE + UTF8, found.crl.hex().encode())


def read_pck_crl(response: HttpResponse) -> PckCrlResponse:
    """In any encoding. Raises `CollateralError` for a refusal, `FormatError`."""
    accepted(response)
    return PckCrlResponse.from_http(response)


def write_root_ca_crl(crl: bytes) -> HttpResponse:
    """The root's list: hex of its DER, in both versions of the API."""
    headers: Headers = (("Content-Type", PKIX_CRL + UTF8),)
    return HttpResponse(status=200, headers=headers, body=crl.hex().encode())


def write_crl(crl: bytes) -> HttpResponse:
    """A list that was asked for by its URI: DER."""
    return HttpResponse(status=200, headers=(("Content-Type", PKIX_CRL),), body=crl)


def read_crl(response: HttpResponse) -> bytes:
    """A list alone, in any encoding: its DER. Raises `CollateralError` for a refusal, `FormatError`."""
    accepted(response)
    return crls.to_der(response.body)


# Signed documents


def tcb_info_chain_header(version: int) -> str:
    """Under which header a TCB info carries its chain."""
    return TCB_INFO_ISSUER_CHAIN if version > 3 else SGX_TCB_INFO_ISSUER_CHAIN


def write_signed(found: SignedResponse, *chain_headers: str) -> HttpResponse:
    """The document, byte for byte, under its chain header."""
    return _typed(found.to_http(*chain_headers), JSON_UTF8, found.body)


def read_signed(response: HttpResponse) -> SignedResponse:
    """A TCB info or an identity. Raises `CollateralError` for a refusal, `FormatError`."""
    accepted(response)
    return SignedResponse.from_http(response)


# What is only text


def write_text(text: str) -> HttpResponse:
    """Policies, identifiers of policies, `SUCCESS`."""
    headers: Headers = (("Content-Type", SENTENCE),)
    return HttpResponse(status=200, headers=headers, body=text.encode())


def read_text(response: HttpResponse) -> str:
    """Raises `CollateralError` for a refusal, `FormatError` where it is no text."""
    accepted(response)
    try:
        return response.body.decode()
    except UnicodeDecodeError:
        raise _wrong("the body is not text") from None


def accepted(response: HttpResponse) -> None:
    """Raises the refusal's error for whatever is not 200."""
    if response.status != 200:
        raise PccsRefusal.from_http(response).error()


def _tcbm(text: str) -> bytes:
    try:
        value = bytes.fromhex(text) if len(text) == 2 * TCBM_SIZE else b""
    except ValueError:
        value = b""
    if len(value) != TCBM_SIZE:
        raise _wrong(f"{TCBM} is not {2 * TCBM_SIZE} hexadecimal digits")
    return value


def _typed(response: HttpResponse, media_type: str, body: bytes) -> HttpResponse:
    """The same answer under another media type, with another body."""
    rest = (header for header in response.headers if header[0] != "Content-Type")
    headers = (("Content-Type", media_type), *rest)
    return HttpResponse(status=response.status, headers=headers, body=body)


def _wrong(what: str) -> FormatError:
    return FormatError("pcs-response", what, where="answer of the service")
