"""What a PCCS tells without a token, on the wire: one writer a request, bytes as Intel's PCCS has them.

Clients of Azure's caches are known by `clientid` or `api-version` in the query, and by `uri` of
`pckcrl`: they get JSON, and lists in PEM; both names of a TCB info's chain everybody gets. Path and
query alone decide how an answer looks. Not here: routes, refusals, what all answers have (`handler`).

Source: `pccs-and-pcs-api.md` §1.3; `quote-provider.md` §4.2, §7.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dcap.api import pccs as api
from dcap.api import pccs_responses as answers
from dcap.api import pcs
from dcap.api.http import Headers, HttpRequest, HttpResponse
from dcap.api.pcs_responses import (
    EVALUATION_NUMBERS_ISSUER_CHAIN,
    IDENTITY_ISSUER_CHAIN,
    SGX_TCB_INFO_ISSUER_CHAIN,
    TCB_INFO_ISSUER_CHAIN,
    WARNING,
    FmspcsResponse,
    PckCertResponse,
    PckCrlResponse,
    SignedResponse,
)
from dcap.api.thim import CACHE_CONTROL, ThimCrlRequest, ThimPckCertResponse
from dcap.pccs.items import (
    EvaluationNumbersKey,
    IdentityKey,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.service import ItemAnswer, PccsService

MAX_AGE: Final = 86_400
STALE_WARNING: Final = '110 - "Response is Stale"'
_THIM_PARAMETERS: Final = ("clientid", "api-version")


def with_headers(response: HttpResponse, *headers: tuple[str, str]) -> HttpResponse:
    """The same answer with more headers."""
    return HttpResponse(
        status=response.status, headers=(*response.headers, *headers), body=response.body
    )


def write_resource(service: PccsService, asked: Any, request: HttpRequest) -> HttpResponse:  # noqa: ANN401 - one of many
    """The answer of the resource that a request is of."""
    write = _WRITERS[type(asked)]
    return write(_asked_of(service, request), asked, request)


def _asked_of(service: PccsService, request: HttpRequest) -> PccsService:
    """HEAD is answered from what is kept alone: nothing is fetched for it, and nothing is kept."""
    return service.looking() if request.method == "HEAD" else service


def _pck_cert(
    service: PccsService, asked: api.PccsPckCertRequest, request: HttpRequest
) -> HttpResponse:
    found = service.pck_certificate(asked)
    if request.method == "GET":
        qe_id, pce_id = asked.qe_id.upper(), asked.pce_id.hex().upper()
        service.sightings.note(qe_id, pce_id, known=found.last_seen, at=service.clock())
    certificate, tcbm = found.certificate or b"", bytes.fromhex(found.tcbm or "")
    age = 0 if found.stale else _seconds_to(found.expires, service.clock())
    stale: Headers = ((WARNING, STALE_WARNING),) if found.stale else ()
    if _is_thim(request):
        response = ThimPckCertResponse(
            certificate=certificate, issuer_chain=found.issuer_chain, tcbm=tcbm, max_age=age
        ).to_http()
    else:
        response = answers.write_pck_cert(
            PckCertResponse(
                certificate=certificate,
                issuer_chain=found.issuer_chain,
                tcbm=tcbm,
                fmspc=found.fmspc,
                ca=found.ca.lower(),
            )
        )
    return with_headers(response, (CACHE_CONTROL, f"max-age={age}"), *stale)


def _pck_crl(
    service: PccsService, asked: api.PccsPckCrlRequest, request: HttpRequest
) -> HttpResponse:
    key = PckCrlKey("PLATFORM" if asked.ca == "platform" else "PROCESSOR")
    answer = service.item(key, asked.version)
    item = answer.item
    found = PckCrlResponse(crl=item.body, issuer_chain=item.issuer_chain)
    if _is_thim(request) and "encoding" not in request.query:
        return _aged(service, answer, found.to_http("pem"))
    return _aged(service, answer, answers.write_pck_crl(found, asked.encoding))


def write_thim_crl(service: PccsService, request: HttpRequest) -> HttpResponse:
    """A list by the URI that Azure's client knows it by, encoded twice."""
    service = _asked_of(service, request)
    query = request.query
    marked = request.target if query.get("api-version") else f"{request.target}&api-version=none"
    asked = ThimCrlRequest.from_http(HttpRequest(target=marked))
    if asked.ca == "root":
        answer = service.item(RootCrlKey())
        chain = answer.item.issuer_chain or service.root_chain()
    else:
        answer = service.item(PckCrlKey("PLATFORM" if asked.ca == "platform" else "PROCESSOR"))
        chain = answer.item.issuer_chain
    found = PckCrlResponse(crl=answer.item.body, issuer_chain=chain)
    return _aged(service, answer, found.to_http(asked.encoding))


def _tcb_info(service: PccsService, asked: api.PccsTcbInfoRequest, _: HttpRequest) -> HttpResponse:
    update = None if asked.number is not None else asked.update.upper()
    key = TcbInfoKey(
        "TDX" if asked.tee == "tdx" else "SGX",
        asked.fmspc,
        4 if asked.version > 3 else 3,
        update,  # type: ignore[arg-type]
        asked.number,
    )
    answer = service.item(key, asked.version)
    # Azure's client looks for the other name first, whatever the version.
    names = (TCB_INFO_ISSUER_CHAIN, SGX_TCB_INFO_ISSUER_CHAIN)
    return _signed(service, answer, *(names if asked.version > 3 else names[::-1]))


def _identity(
    service: PccsService,
    asked: api.PccsIdentityRequest | pcs.IdentityRequest,
    _: HttpRequest,
) -> HttpResponse:
    update = None if asked.number is not None else (asked.update or "standard").upper()
    key = IdentityKey(
        asked.name,  # type: ignore[arg-type]
        4 if asked.version > 3 else 3,
        update,  # type: ignore[arg-type]
        asked.number,
    )
    return _signed(service, service.item(key, asked.version), IDENTITY_ISSUER_CHAIN)


def _root_ca_crl(service: PccsService, asked: api.RootCaCrlRequest, _: HttpRequest) -> HttpResponse:
    answer = service.item(RootCrlKey(), asked.version)
    return _aged(service, answer, answers.write_root_ca_crl(answer.item.body))


def _crl(service: PccsService, asked: api.CrlRequest, _: HttpRequest) -> HttpResponse:
    answer = service.crl(asked.uri, asked.version)
    return _aged(service, answer, answers.write_crl(answer.item.body))


def _policy(service: PccsService, asked: api.PolicyRequest, _: HttpRequest) -> HttpResponse:
    found = service.policies(asked.fmspc)
    return answers.write_text(",".join(policy.policy for policy in found))


def _evaluation_numbers(
    service: PccsService, asked: pcs.EvaluationNumbersRequest, _: HttpRequest
) -> HttpResponse:
    answer = service.item(EvaluationNumbersKey("TDX" if asked.tee == "tdx" else "SGX"))
    return _signed(service, answer, EVALUATION_NUMBERS_ISSUER_CHAIN)


def _fmspcs(service: PccsService, asked: pcs.FmspcsRequest, _: HttpRequest) -> HttpResponse:
    found, answer = service.fmspcs(asked.platform)
    response = FmspcsResponse(fmspcs=found).to_http()
    body = response.body
    typed: Headers = (("Content-Type", answers.JSON_UTF8),)
    return _aged(service, answer, HttpResponse(status=200, headers=typed, body=body))


_WRITERS: Final[Mapping[type[Any], Callable[[PccsService, Any, HttpRequest], HttpResponse]]] = {
    api.PccsPckCertRequest: _pck_cert,
    api.PccsPckCrlRequest: _pck_crl,
    api.PccsTcbInfoRequest: _tcb_info,
    api.PccsIdentityRequest: _identity,
    api.RootCaCrlRequest: _root_ca_crl,
    api.CrlRequest: _crl,
    api.PolicyRequest: _policy,
    pcs.IdentityRequest: _identity,
    pcs.EvaluationNumbersRequest: _evaluation_numbers,
    pcs.FmspcsRequest: _fmspcs,
}


def _is_thim(request: HttpRequest) -> bool:
    query = request.query
    return any(name in query for name in _THIM_PARAMETERS)


def _signed(service: PccsService, answer: ItemAnswer, *chain_headers: str) -> HttpResponse:
    item = answer.item
    found = SignedResponse(body=item.body, issuer_chain=item.issuer_chain)
    return _aged(service, answer, answers.write_signed(found, *chain_headers))


def _aged(service: PccsService, answer: ItemAnswer, response: HttpResponse) -> HttpResponse:
    """For how long it may be kept: until it expires, and a day at most."""
    if answer.stale:
        return with_headers(response, (CACHE_CONTROL, "max-age=0"), (WARNING, STALE_WARNING))
    age = _seconds_to(answer.item.expires, service.clock())
    return with_headers(response, (CACHE_CONTROL, f"max-age={age}"))


def _seconds_to(end: datetime | None, at: datetime) -> int:
    if end is None:
        return MAX_AGE
    return max(0, min(MAX_AGE, int((end - at.astimezone(UTC)).total_seconds())))
