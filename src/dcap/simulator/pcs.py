"""The simulated Intel's Provisioning Certification Service, v3 and v4, as a Handler.

    answer = pcs(world)(HttpRequest(target="/sgx/certification/v4/qe/identity"))

Every answer is a function of the world and the request: the same bytes each time, `Request-ID`
included. Not here: registration (`registration`), and answers that go wrong (`wire_faults`).

Source: Intel PCS API v4; `pccs-and-pcs-api.md` §5.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.pcs import (
    EvaluationNumbersRequest,
    FmspcsRequest,
    IdentityRequest,
    PckCertRequest,
    PckCertsRequest,
    PckCrlRequest,
    PcsRequest,
    TcbInfoRequest,
    read_request,
)
from dcap.api.pcs_responses import (
    PKIX_CRL,
    REQUEST_ID,
    WARNING,
    Fmspc,
    FmspcsResponse,
    PckCertEntry,
    PckCertResponse,
    PckCertsResponse,
    PckCrlResponse,
    Refusal,
    SignedResponse,
    issuer_chain_header,
)
from dcap.errors import FormatError, NotFound
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.pck_selection import Tcb, select
from dcap.simulator import ppid_key
from dcap.simulator.platform import Platform, Tcbm
from dcap.simulator.tcb_model import PCE_SVN, Generation
from dcap.simulator.world import FMSPCS, World

EVALUATION_NUMBERS = "tcbEvaluationDataNumbers"
ROOT_CRL_PATH = "/IntelSGXRootCA.der"
#: A request header that orders a service of the simulator to answer as of another instant, `Date`
#: included (`wire_faults.clock_skewed`).
CLOCK_OFFSET = "x-dcap-clock-offset-seconds"
V3_WARNING = '299 - "API version 3 has reached its end of life; use version 4"'
#: CA -> what the FMSPC list calls its machines.
KINDS = {"platform": "E5", "processor": "E3"}
_OAEP = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)


class Refused(Exception):  # noqa: N818 - what it carries is an answer
    """The service answers with a refusal."""

    def __init__(self, status: int, error_code: str | None = None, why: str | None = None) -> None:
        super().__init__(status)
        self.refusal = Refusal(status=status, error_code=error_code, error_message=why)


def pcs(world: World, *, api_key: str | None = None) -> Handler:
    """The service; with `api_key`, PCK certificates are given only to who sends that key."""

    def answer(request: HttpRequest) -> HttpResponse:
        return answered(world, request, lambda: _answer(world, request, api_key))

    return answer


def root_crl_host(world: World) -> Handler:
    """The host of the root's distribution point: the root's revocation list in DER."""

    def answer(request: HttpRequest) -> HttpResponse:
        if request.path != ROOT_CRL_PATH or request.method not in ("GET", "HEAD"):
            return Refusal(status=404).to_http()
        at = instant(world, request)
        body = world.intel.root_ca_crl(at)
        return HttpResponse(status=200, headers=(("Content-Type", PKIX_CRL),), body=body)

    return answer


def answered(
    world: World, request: HttpRequest, answer: Callable[[], HttpResponse]
) -> HttpResponse:
    """An answer with its `Request-ID`; what is refused becomes the status that says so."""
    try:
        response = answer()
    except Refused as refused:
        response = refused.refusal.to_http()
    except NotFound:
        response = Refusal(status=404).to_http()
    except FormatError as error:
        status = 415 if error.code == "pcs-media-type" else 400
        code = "InvalidRequestSyntax" if status == 400 else None
        why = error.what if status == 400 else None
        response = Refusal(status=status, error_code=code, error_message=why).to_http()
    asked = (world.seed, world.at.isoformat().encode(), request.method.encode(), request.body)
    digest = hashlib.sha256(b"\0".join((*asked, request.target.encode()))).hexdigest()
    extra = [(REQUEST_ID, digest[:32])]
    if "/certification/v3/" in request.path:
        extra.append((WARNING, V3_WARNING))
    if request.header(CLOCK_OFFSET):
        extra.append(("Date", format_datetime(instant(world, request), usegmt=True)))
    return HttpResponse(
        status=response.status, headers=(*response.headers, *extra), body=response.body
    )


def instant(world: World, request: HttpRequest) -> datetime:
    """The world's clock, or what a request orders it to be."""
    try:
        return world.at + timedelta(seconds=int(request.header(CLOCK_OFFSET) or 0))
    except (ValueError, OverflowError):
        return world.at


def _answer(world: World, request: HttpRequest, api_key: str | None) -> HttpResponse:
    asked = read_request(request)
    private = isinstance(asked, PckCertRequest | PckCertsRequest)
    if private and api_key is not None and asked.api_key != api_key:
        raise Refused(401)
    return _ANSWERS[type(asked)](world, asked, instant(world, request))


# PCK certificates


def _pck_cert(world: World, asked: PckCertRequest, _at: datetime) -> HttpResponse:
    machine = _machine(world, asked)
    return pck_cert(machine, asked.cpu_svn, asked.pce_svn).to_http()


def _pck_certs(world: World, asked: PckCertsRequest, _at: datetime) -> HttpResponse:
    machine = _machine(world, asked)
    entries = offered(machine)
    if asked.cpu_svn is not None:
        # Of one configuration: all that its CPUSVN leads to, whatever the PCESVN.
        chosen = _select(machine, Tcb(asked.cpu_svn, 0xFFFF))
        entries = tuple(entry for entry in entries if entry.cpu_svn == chosen.cpu_svn)
    return PckCertsResponse(
        entries=tuple(
            PckCertEntry(
                components=entry.cpu_svn,
                pce_svn=entry.pce_svn,
                tcbm=bytes.fromhex(entry.hex),
                certificate=None if entry.certificate is None else entry.certificate.pem,
            )
            for entry in entries
        ),
        issuer_chain=world.intel.chain(world.intel.pck_ca(machine.ca)),
        fmspc=machine.fmspc,
        ca=machine.ca,
    ).to_http()


def pck_cert(machine: Platform, cpu_svn: bytes, pce_svn: int) -> PckCertResponse:
    """The certificate for a raw TCB of a machine. Raises `Refused` (404) below its lowest TCB."""
    entry = _select(machine, Tcb(cpu_svn, pce_svn))
    assert entry.certificate is not None
    intel = machine.world.intel
    return PckCertResponse(
        certificate=entry.certificate.pem,
        issuer_chain=intel.chain(intel.pck_ca(machine.ca)),
        tcbm=bytes.fromhex(entry.hex),
        fmspc=machine.fmspc,
        ca=machine.ca,
    )


def offered(machine: Platform) -> tuple[Tcbm, ...]:
    """All entries of a machine; one below every level of Intel's has a certificate all the same."""
    entries = machine.certificates()
    if any(entry.certificate for entry in entries):
        return entries
    return (*entries, Tcbm(machine.cpu_svn, PCE_SVN, machine.pck()))


def _select(machine: Platform, raw: Tcb) -> Tcbm:
    available = {_tcb_of(entry): entry for entry in offered(machine) if entry.certificate}
    rungs = machine.world.intel.generation("early").platform
    chosen = select(raw, available, [Tcb(rung.components, PCE_SVN) for rung in rungs])
    if chosen is None:
        raise Refused(404)
    return available[chosen]


def _tcb_of(entry: Tcbm) -> Tcb:
    assert entry.certificate is not None
    extensions = PckExtensions.parse(entry.certificate.certificate.sgx_extension or b"")
    return Tcb(extensions.cpu_svn, extensions.pce_svn)


# Machines


def _machine(world: World, asked: PckCertRequest | PckCertsRequest) -> Platform:
    if asked.platform_manifest is not None:
        machine = by_manifest(world, asked.platform_manifest)
    else:
        machine = by_encrypted_ppid(world, asked.encrypted_ppid or b"")
    if machine.pce_id != asked.pce_id:
        raise Refused(404)
    return machine


def by_manifest(world: World, manifest: bytes) -> Platform:
    """The machine whose manifest it is, now. Raises `Refused` (400, `InvalidPlatformManifest`)."""
    for machine in list(world.platforms.values()):
        if machine.ca == "platform" and machine.manifest == manifest:
            return machine
    raise Refused(400, "InvalidPlatformManifest", "the manifest is no platform's, or no longer")


def by_encrypted_ppid(world: World, encrypted_ppid: bytes) -> Platform:
    """The machine that encrypted its PPID. Raises `Refused` (404).

    Intel can answer for a machine of several packages only where it keeps its keys: registered, and
    directly.
    """
    try:
        ppid = _ppid_key().decrypt(encrypted_ppid, _OAEP)
    except ValueError:
        raise Refused(404) from None
    for machine in list(world.platforms.values()):
        if machine.ppid == ppid and is_known(machine):
            return machine
    raise Refused(404)


def is_known(machine: Platform) -> bool:
    """Whether Intel has the keys of a machine without being shown its manifest."""
    return machine.ca != "platform" or (machine.registered and machine.cached_keys)


@cache
def _ppid_key() -> rsa.RSAPrivateKey:
    return ppid_key.private_key()


# Revocation lists and signed documents


def _pck_crl(world: World, asked: PckCrlRequest, at: datetime) -> HttpResponse:
    return pck_crl(world, asked.ca, at).to_http(asked.encoding)


def pck_crl(world: World, ca: str, at: datetime) -> PckCrlResponse:
    """The list of a PCK CA."""
    intel = world.intel
    return PckCrlResponse(crl=intel.pck_crl(ca, at), issuer_chain=intel.chain(intel.pck_ca(ca)))


def _tcb_info(world: World, asked: TcbInfoRequest, at: datetime) -> HttpResponse:
    generation = generation_of(world, asked.update, asked.number)
    version = 3 if asked.version > 3 else 2
    response = tcb_info(world, asked.tee.upper(), asked.fmspc, at, generation, version)
    return response.to_http(issuer_chain_header(asked))


def tcb_info(
    world: World, tee: str, fmspc: bytes, at: datetime, generation: Generation, version: int
) -> SignedResponse:
    """The TCB info of an FMSPC. Raises `Refused` (404): unknown, or a TDX one of an E3 machine."""
    ca, pce_id = fmspcs(world).get(fmspc, (None, bytes(2)))
    if ca is None or (tee == "TDX" and ca != "platform"):
        raise Refused(404)
    intel = world.intel
    document = intel.tcb_info(tee, fmspc, pce_id, at, generation, version)
    chain = intel.chain(intel.tcb_signing)
    return SignedResponse(body=document.envelope(TCB_INFO), issuer_chain=chain)


def _identity(world: World, asked: IdentityRequest, at: datetime) -> HttpResponse:
    generation = generation_of(world, asked.update, asked.number)
    return identity(world, asked.name, at, generation).to_http(issuer_chain_header(asked))


def identity(world: World, name: str, at: datetime, generation: Generation) -> SignedResponse:
    """The identity of an enclave of Intel's."""
    intel = world.intel
    document = intel.enclave_identity(name, at, generation)
    chain = intel.chain(intel.tcb_signing)
    return SignedResponse(body=document.envelope(ENCLAVE_IDENTITY), issuer_chain=chain)


def _evaluation_numbers(
    world: World, asked: EvaluationNumbersRequest, at: datetime
) -> HttpResponse:
    intel = world.intel
    document = intel.evaluation_numbers(asked.tee.upper(), at)
    response = SignedResponse(
        body=document.envelope(EVALUATION_NUMBERS), issuer_chain=intel.chain(intel.tcb_signing)
    )
    return response.to_http(issuer_chain_header(asked))


def _fmspcs(world: World, asked: FmspcsRequest, _at: datetime) -> HttpResponse:
    listed = (
        Fmspc(fmspc.hex().upper(), KINDS[ca]) for fmspc, (ca, _) in sorted(fmspcs(world).items())
    )
    wanted = (entry for entry in listed if asked.platform in ("all", entry.platform))
    return FmspcsResponse(fmspcs=tuple(wanted)).to_http()


def fmspcs(world: World) -> dict[bytes, tuple[str, bytes]]:
    """Every FMSPC that the simulated Intel knows: its CA and PCEID."""
    known = {fmspc: (ca, bytes(2)) for ca, fmspc in FMSPCS.items()}
    machines = list(world.platforms.values())
    return {**known, **{m.fmspc: (m.ca, m.pce_id) for m in machines}}


def generation_of(world: World, update: str | None, number: int | None) -> Generation:
    """What is asked for. Raises `Refused`: 410 below the oldest on offer, 404 above the newest."""
    if number is not None and number < world.intel.retired_below:
        raise Refused(410)
    try:
        return world.intel.generation(update or "standard", number)
    except KeyError:
        raise Refused(404) from None


#: Each is given a request of the type it stands under.
_ANSWERS: Mapping[type[PcsRequest], Callable[[World, Any, datetime], HttpResponse]] = {
    PckCertRequest: _pck_cert,
    PckCertsRequest: _pck_certs,
    PckCrlRequest: _pck_crl,
    TcbInfoRequest: _tcb_info,
    IdentityRequest: _identity,
    EvaluationNumbersRequest: _evaluation_numbers,
    FmspcsRequest: _fmspcs,
}
