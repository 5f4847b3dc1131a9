"""Alibaba's DCAP service over a simulated Intel, as a Handler: the answers of a plain PCCS, no token.

Encodings are a PCCS's, not Intel's: the root's list in hex, PCK lists in hex unless DER is asked for,
the CA in upper case, errors as a bare sentence. The service fills itself: what Intel has, it has.

Source: `pccs-and-pcs-api.md` §1.3, §1.9, §5 "Alibaba".
"""

import re
from collections.abc import Mapping
from datetime import datetime

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.parameters import malformed, read_hex
from dcap.api.pcs import ENCRYPTED_PPID_DIGITS
from dcap.api.pcs_responses import (
    CA_TYPE,
    IDENTITY_ISSUER_CHAIN,
    PEM_FILE,
    PKIX_CRL,
    REQUEST_ID,
    SGX_TCB_INFO_ISSUER_CHAIN,
    TCB_INFO_ISSUER_CHAIN,
    WARNING,
    PckCrlResponse,
)
from dcap.errors import NotFound
from dcap.simulator import pcs
from dcap.simulator.thim import by_qe_id
from dcap.simulator.world import World

SENTENCES: Mapping[int, str] = {
    400: "Invalid request parameters.",
    404: "No cache data for this platform.",
}
_PATH = re.compile(r"/(sgx|tdx)/certification/v([34])/([a-z/]+?)/?")
_ROOT_URI = re.compile(
    r"https://[A-Za-z0-9.-]*certificates\.trustedservices\.intel\.com/IntelSGXRootCA\.\w+"
)
_PCK_URI = re.compile(
    r"https://api\.trustedservices\.intel\.com/sgx/certification/v\d/pckcrl\?ca=(\w+)(&.*)?"
)
_IDENTITIES = {
    ("sgx", "qe/identity"): "QE",
    ("sgx", "qve/identity"): "QVE",
    ("tdx", "qe/identity"): "TD_QE",
}
_JSON = "application/json; charset=utf-8"
_SENTENCE = "text/html; charset=utf-8"


def alibaba(world: World) -> Handler:
    """The service."""

    def answer(request: HttpRequest) -> HttpResponse:
        at = pcs.instant(world, request)
        return _as_pccs(pcs.answered(world, request, lambda: _answer(world, request, at)))

    return answer


def _as_pccs(response: HttpResponse) -> HttpResponse:
    """What is refused, as a bare sentence."""
    if response.status == 200:
        return response
    kept = [(name, value) for name, value in response.headers if name in (REQUEST_ID, WARNING)]
    status = response.status if response.status in SENTENCES else 404
    return HttpResponse(
        status=status,
        headers=(("Content-Type", _SENTENCE), *kept),
        body=SENTENCES[status].encode(),
    )


def _answer(world: World, request: HttpRequest, at: datetime) -> HttpResponse:
    match = _PATH.fullmatch(request.path)
    if not match or request.method != "GET" or (match[1] == "tdx" and match[2] == "3"):
        raise NotFound("pccs-route", "the service has no such resource")
    tee, version, resource, query = match[1], int(match[2]), match[3], request.query
    if resource == "tcb":
        fmspc = read_hex(query, "fmspc", 6)
        generation = pcs.generation_of(world, _update(query), None)
        shape = 3 if version > 3 else 2
        document = pcs.tcb_info(world, tee.upper(), fmspc, at, generation, shape)
        header = TCB_INFO_ISSUER_CHAIN if version > 3 else SGX_TCB_INFO_ISSUER_CHAIN
        return _typed(document.to_http(header), _JSON)
    if (tee, resource) in _IDENTITIES:
        generation = pcs.generation_of(world, _update(query), None)
        document = pcs.identity(world, _IDENTITIES[tee, resource], at, generation)
        return _typed(document.to_http(IDENTITY_ISSUER_CHAIN), _JSON)
    if tee == "sgx" and resource == "pckcert":
        return _pck_cert(world, query)
    if tee == "sgx" and resource == "pckcrl":
        return _pck_crl(world, query, at)
    if tee == "sgx" and resource == "rootcacrl":
        body = world.intel.root_ca_crl(at).hex().encode()
        headers = (("Content-Type", f"{PKIX_CRL}; charset=utf-8"),)
        return HttpResponse(status=200, headers=headers, body=body)
    if tee == "sgx" and resource == "crl":
        body = _crl_at(world, query.get("uri", ""), at)
        return HttpResponse(status=200, headers=(("Content-Type", PKIX_CRL),), body=body)
    raise NotFound("pccs-route", "the service has no such resource")


def _pck_cert(world: World, query: Mapping[str, str]) -> HttpResponse:
    """By QE id, which need not be hex; what is not known is looked up by encrypted PPID."""
    qe_id = query.get("qeid", "")
    if not 1 <= len(qe_id) <= 260:
        raise malformed("qeid is not 1 to 260 characters")
    cpu_svn = read_hex(query, "cpusvn", 16)
    pce_svn = int.from_bytes(read_hex(query, "pcesvn", 2), "little")
    pce_id = read_hex(query, "pceid", 2)
    ppid = None
    if "encrypted_ppid" in query:
        ppid = read_hex(query, "encrypted_ppid", ENCRYPTED_PPID_DIGITS // 2)
    identifier = bytes.fromhex(qe_id) if re.fullmatch(r"([0-9a-fA-F]{2})+", qe_id) else b""
    if ppid is None and all(m.qe_id != identifier for m in list(world.platforms.values())):
        raise malformed("encrypted_ppid is missing, and the platform is not known")
    machine = by_qe_id(world, identifier, ppid)
    if machine.pce_id != pce_id:
        raise pcs.Refused(404)
    response = pcs.pck_cert(machine, cpu_svn, pce_svn).to_http()
    headers = tuple(
        (name, value.upper() if name == CA_TYPE else value) for name, value in response.headers
    )
    return HttpResponse(status=200, headers=headers, body=response.body)


def _pck_crl(world: World, query: Mapping[str, str], at: datetime) -> HttpResponse:
    """DER where it is asked for, in any case; hex otherwise, never PEM."""
    ca = query.get("ca", "").lower()
    if ca not in ("processor", "platform"):
        raise malformed("ca is not processor or platform")
    found: PckCrlResponse = pcs.pck_crl(world, ca, at)
    response = found.to_http("der")
    if query.get("encoding", "").lower() == "der":
        return response
    body = found.crl.hex().encode()
    hexed = HttpResponse(status=200, headers=response.headers, body=body)
    return _typed(hexed, f"{PEM_FILE}; charset=utf-8")


def _crl_at(world: World, uri: str, at: datetime) -> bytes:
    """The list of a distribution point of Intel's; any other URI is refused, not fetched."""
    if _ROOT_URI.fullmatch(uri):
        return world.intel.root_ca_crl(at)
    match = _PCK_URI.fullmatch(uri)
    if not match or match[1] not in ("processor", "platform"):
        raise malformed("uri is not that of a revocation list of Intel's")
    return world.intel.pck_crl(match[1], at)


def _update(query: Mapping[str, str]) -> str:
    update = query.get("update", "standard").lower()
    if update not in ("standard", "early"):
        raise malformed("update is not standard or early")
    return update


def _typed(response: HttpResponse, media_type: str) -> HttpResponse:
    """The same answer under another media type."""
    rest = (header for header in response.headers if header[0] != "Content-Type")
    headers = (("Content-Type", media_type), *rest)
    return HttpResponse(status=response.status, headers=headers, body=response.body)
