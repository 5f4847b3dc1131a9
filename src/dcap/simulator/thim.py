"""Azure's THIM and acccache over a simulated Intel, as Handlers: what Azure's DCAP client asks.

`thim` answers as acccache and the regional services do, `host_agent` as the VM's own metadata service,
which has PCK certificates only, `instance` as that service where it tells the VM's region. Azure serves
an older baseline than Intel, on purpose: say which by `number`, and how old its copies are by `lag`.

Source: `quote-provider.md` §4.2; `pccs-and-pcs-api.md` §5. Not captured from Azure itself: which
encodings its regional lists have (PEM here, the root's in hex as a PCCS has it), and whether SGX TCB
infos of v4 carry both chain headers (they do here).
"""

import re
from datetime import datetime, timedelta

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.parameters import malformed, read_choice, read_hex
from dcap.api.pcs import JSON
from dcap.api.pcs_responses import (
    IDENTITY_ISSUER_CHAIN,
    PKIX_CRL,
    SGX_TCB_INFO_ISSUER_CHAIN,
    TCB_INFO_ISSUER_CHAIN,
    PckCrlResponse,
)
from dcap.api.thim import (
    METADATA,
    ThimCrlRequest,
    ThimPckCertRequest,
    ThimPckCertResponse,
    cache_control,
    expect_api_version,
)
from dcap.errors import NotFound
from dcap.formats.signed_json import encode
from dcap.simulator import pcs
from dcap.simulator.platform import Platform
from dcap.simulator.world import World

DAY_SECONDS = 86400
#: The region of every VM.
LOCATION = "westeurope"
_PATH = re.compile(r"/(sgx|tdx)/certification/v([234])/([a-z/]+)")
_IDENTITIES = {
    ("sgx", "qe/identity"): "QE",
    ("sgx", "qve/identity"): "QVE",
    ("tdx", "qe/identity"): "TD_QE",
}


def thim(
    world: World,
    *,
    number: int | None = None,
    lag: timedelta = timedelta(0),
    max_age: int = DAY_SECONDS,
) -> Handler:
    """The service; its collateral is of evaluation number `number` and was fetched `lag` ago."""

    def answer(request: HttpRequest) -> HttpResponse:
        at = pcs.instant(world, request) - lag
        return pcs.answered(world, request, lambda: _answer(world, request, at, number, max_age))

    return answer


def host_agent(world: World, *, max_age: int = DAY_SECONDS) -> Handler:
    """The metadata service of a VM, below `/metadata/THIM`: asked with `metadata: true`, or 400."""

    def pck_cert(request: HttpRequest) -> HttpResponse:
        if not re.fullmatch(r"/sgx/certification/v[234]/pckcert", request.path):
            raise NotFound("thim-route", "the service has no such resource")
        _expect_metadata(request)
        return _pck_cert(world, request, max_age)

    def answer(request: HttpRequest) -> HttpResponse:
        return pcs.answered(world, request, lambda: pck_cert(request))

    return answer


def instance(world: World) -> Handler:
    """What the metadata service says of a VM, below `/metadata/instance`: where it runs, no more."""

    def told(request: HttpRequest) -> HttpResponse:
        if request.path not in ("", "/") or request.method != "GET":
            raise NotFound("thim-route", "the service has no such resource")
        _expect_metadata(request)
        expect_api_version(request.query)
        body = encode({"compute": {"location": LOCATION}})
        return HttpResponse(status=200, headers=(("Content-Type", JSON),), body=body)

    def answer(request: HttpRequest) -> HttpResponse:
        return pcs.answered(world, request, lambda: told(request))

    return answer


def _expect_metadata(request: HttpRequest) -> None:
    """A header that no browser sends: the service is not for pages that a VM shows."""
    if (request.header(METADATA) or "").lower() != "true":
        raise malformed("the header metadata is not true")


def _answer(
    world: World, request: HttpRequest, at: datetime, number: int | None, max_age: int
) -> HttpResponse:
    match = _PATH.fullmatch(request.path)
    if not match or request.method != "GET" or (match[1] == "tdx" and match[2] != "4"):
        raise NotFound("thim-route", "the service has no such resource")
    tee, version, resource = match[1], int(match[2]), match[3]
    generation = pcs.generation_of(world, None, number)
    if resource == "pckcert" and tee == "sgx":
        return _pck_cert(world, request, max_age)
    if resource == "pckcrl" and tee == "sgx":
        response = _crl(world, request, at)
    elif resource == "rootcacrl" and tee == "sgx":
        response = HttpResponse(
            status=200,
            headers=(("Content-Type", PKIX_CRL),),
            body=world.intel.root_ca_crl(at).hex().encode(),
        )
    elif resource == "tcb":
        fmspc = read_hex(request.query, "fmspc", 6)
        shape = 3 if version == 4 else 2
        document = pcs.tcb_info(world, tee.upper(), fmspc, at, generation, shape)
        response = document.to_http(*_tcb_chain_headers(tee, version))
    elif (tee, resource) in _IDENTITIES:
        document = pcs.identity(world, _IDENTITIES[tee, resource], at, generation)
        response = document.to_http(IDENTITY_ISSUER_CHAIN)
    else:
        raise NotFound("thim-route", "the service has no such resource")
    return HttpResponse(
        status=response.status,
        headers=(*response.headers, cache_control(max_age)),
        body=response.body,
    )


def _tcb_chain_headers(tee: str, version: int) -> tuple[str, ...]:
    if tee == "tdx":
        return (TCB_INFO_ISSUER_CHAIN,)
    if version < 4:
        return (SGX_TCB_INFO_ISSUER_CHAIN,)
    return SGX_TCB_INFO_ISSUER_CHAIN, TCB_INFO_ISSUER_CHAIN


def _pck_cert(world: World, request: HttpRequest, max_age: int) -> HttpResponse:
    asked = ThimPckCertRequest.from_http(request)
    machine = by_qe_id(world, asked.qe_id, asked.encrypted_ppid)
    if machine.pce_id != asked.pce_id:
        raise pcs.Refused(404)
    found = pcs.pck_cert(machine, asked.cpu_svn, asked.pce_svn)
    return ThimPckCertResponse(
        certificate=found.certificate,
        issuer_chain=found.issuer_chain,
        tcbm=found.tcbm,
        max_age=max_age,
    ).to_http()


def by_qe_id(world: World, qe_id: bytes, encrypted_ppid: bytes | None) -> Platform:
    """A machine as caches know it: by its QE's id, else by its PPID. Raises `Refused` (404)."""
    for machine in list(world.platforms.values()):
        if machine.qe_id == qe_id and pcs.is_known(machine):
            return machine
    return pcs.by_encrypted_ppid(world, encrypted_ppid or b"")


def _crl(world: World, request: HttpRequest, at: datetime) -> HttpResponse:
    """By URI of the distribution point, or (the regional form) by CA."""
    if "uri" not in request.query:
        ca, encoding = read_choice(request.query, "ca", ("processor", "platform")), "pem"
    else:
        asked = ThimCrlRequest.from_http(request)
        ca, encoding = asked.ca, asked.encoding
    if ca != "root":
        return pcs.pck_crl(world, ca, at).to_http(encoding)
    intel = world.intel
    return PckCrlResponse(crl=intel.root_ca_crl(at), issuer_chain=intel.chain()).to_http(encoding)
