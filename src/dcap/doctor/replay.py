"""Real requests, replayed as Intel's library sends them, with what came back and the code it becomes.

    for replay in replays(scene, road): replay.shown, replay.status, replay.code

Request lines are QCNL's to the letter: base and resource joined as text, a missing slash and all. What
identifies the machine is sent only where it is known, to the address that quoting asks anyhow, and is
shown nowhere. Not here: what an answer means (`requests`).

Source: `quote-provider.md` §2.1-2.3, §2.5-2.7.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, TypeAlias

import msgspec

from dcap.api import pccs as api
from dcap.api import pccs_responses as answers
from dcap.api.http import HttpRequest, HttpResponse
from dcap.doctor.addresses import COLLATERAL, PCCS, ROOT_CRL, Asked, Road
from dcap.doctor.scene import Scene
from dcap.doctor.visits import bundle_for, environ_of
from dcap.errors import CollateralError, ConfigError, DcapError, FormatError, printable
from dcap.formats.certificate import Certificate
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.quote import Quote
from dcap.qpl.qcnl_checks import is_intels_host, without_secrets
from dcap.sources.endpoint import origin_of, target_of
from dcap.sources.intel_codes import intel_code
from dcap.sources.need import MachineNeed, machine_of, need_of
from dcap.sources.pccs import pck_cert_request
from dcap.sources.qcnl import HEX_LISTS, PCS_MARK, UNKNOWN_PPID
from dcap.transport import Limits, Network

Encoding: TypeAlias = Literal["DER", "hex", "PEM", "none of the three"]

#: Headers of an answer that say something about it, and nothing about the machine.
_TELLING: Final = (
    "Content-Type",
    "Server",
    "Via",
    "Location",
    "Retry-After",
    "Warning",
    "Error-Code",
    "Error-Message",
    "Request-ID",
    answers.CAUSE,
    answers.WHY,
)
_IDENTIFYING: Final = re.compile(r"((?:qeid|encrypted_ppid|cpusvn)=)[^&]*", re.IGNORECASE)
_LONG: Final = re.compile(r"[0-9A-Fa-f]{16,}|[A-Za-z0-9+/_-]{40,}={0,2}")
_BEGINNING: Final = 160
_THREADS: Final = 6
_CARRIED: Final = (4, 5)
_HEX: Final = re.compile(rb"[0-9A-Fa-f\s]{64,}")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request: what it is for, in words and as `intel_codes` calls it, and how it is read."""

    name: str
    piece: str
    setting: str
    url: str
    read: Callable[[HttpResponse], object]
    tee: str = "SGX"
    #: In hex, where it is for one kind of machine; and whether the machine's PPID had to be left out.
    fmspc: str = ""
    without_ppid: bool = False


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was sent. `error` is what our reader says of the answer; `code` what Intel's says.

    `told` is what a refusal says, without secrets. `status` is `None` where no answer came.
    """

    request: Request
    shown: str
    response: HttpResponse | None = None
    told: str = ""
    error: DcapError | None = None
    code: str | None = None

    @property
    def status(self) -> int | None:
        """Of HTTP."""
        return None if self.response is None else self.response.status

    @property
    def evidence(self) -> str:
        """One line: the request, the answer, what Intel's library makes of it."""
        if self.response is None:
            said = f"no answer: {self.error.what if self.error else ''}"
        elif self.response.status == 200:
            said = f"200, {len(self.response.body)} bytes"
            said += f", which cannot be read: {self.error.what}" if self.error else ""
        else:
            said = f"{self.response.status} {self.told}".strip()
        code = f"; Intel's library: {self.code}" if self.code else ""
        return printable(f"{self.shown} → {said}{code}")

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return None if self.response is None else self.response.header(name)


def told_in(response: HttpResponse) -> str:
    """What a refusal says: its beginning and its telling headers, without what may identify anybody."""
    text = " ".join(response.body[:2048].decode("utf-8", "replace").split())
    parts = [f'"{text[:_BEGINNING]}"'] if text else []
    for name in _TELLING:
        value = response.header(name)
        if value:
            shown = value.partition("?")[0] if name == "Location" else value
            parts.append(f"{name}: {shown[:_BEGINNING]}")
    return printable(_LONG.sub("…", ", ".join(parts)))


def machine_at(scene: Scene) -> MachineNeed | None:
    """What identifies this machine: as it was given, or as its quote says it."""
    if scene.machine is not None:
        return scene.machine
    quote = quote_of(scene)
    if quote is None or quote.certification.type not in (1, 2, 3):
        return None
    try:
        return machine_of(quote)
    except FormatError:
        return None


def quote_of(scene: Scene) -> Quote | None:
    """The scene's quote, where there is one that can be read."""
    try:
        return None if scene.quote is None else Quote.parse(scene.quote)
    except FormatError:
        return None


def replays(scene: Scene, road: Road, asked: tuple[Asked, ...]) -> list[Replay]:
    """The requests of a road to the addresses that answer at all; collateral side by side."""
    settings = {each.setting for each in asked}
    certificates, collateral = PCCS in settings, _collateral_setting(road)
    send = _Sender(scene, road)
    found: list[Replay] = []
    machine = machine_at(scene)
    config = road.config
    if scene.wants("attester") and certificates and machine and not config.local_cache_only:
        found.append(send(_pck_cert(road, machine)))
    if collateral in settings:
        fmspc = _fmspc(scene, found)
        requests = list(_collateral(road, collateral, fmspc))
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="dcap doctor") as pool:
            found += pool.map(send, requests)
    return found


def encoding_of(body: bytes) -> Encoding:
    """How a revocation list is written."""
    if body.lstrip().startswith(b"-----BEGIN"):
        return "PEM"
    if body.startswith(b"\x30"):
        return "DER" if not _HEX.fullmatch(body) else "hex"
    return "hex" if _HEX.fullmatch(body) else "none of the three"


def is_hex(road: Road) -> bool:
    """Whether Intel's library asks for lists in hex: API 3.0, and not of Intel's own service."""
    return road.config.pccs_api_version == HEX_LISTS and not is_pcs(road)


def is_pcs(road: Road) -> bool:
    """Whether Intel's library takes the service of collateral for Intel's own."""
    return PCS_MARK in road.config.collateral_url


def _collateral_setting(road: Road) -> str:
    return PCCS if road.config.collateral_service is None else COLLATERAL


def _pck_cert(road: Road, machine: MachineNeed) -> Request:
    config = road.config
    ppid = machine.encrypted_ppid or UNKNOWN_PPID
    machine = msgspec.structs.replace(machine, encrypted_ppid=ppid)
    more = "".join(f"&{name}={value}" for name, value in config.request_params)
    return Request(
        name="pckcert",
        piece="pck_certificate",
        setting=PCCS,
        url=config.pccs_url + pck_cert_request(machine).line + more,
        read=answers.read_pck_cert,
        without_ppid=not any(ppid),
    )


def _collateral(road: Road, setting: str, fmspc: bytes | None) -> Iterator[Request]:
    """In the order in which Intel's library asks for them."""
    config = road.config
    base, update = config.collateral_url, config.tcb_update_type
    encoding = "hex" if is_hex(road) else "der"

    def made(
        name: str,
        piece: str,
        url: str,
        read: Callable[[HttpResponse], object],
        tee: str = "SGX",
    ) -> Request:
        kind = "" if fmspc is None or piece != "tcb_info" else fmspc.hex().upper()
        return Request(
            name=name, piece=piece, setting=setting, url=url, read=read, tee=tee, fmspc=kind
        )

    for ca in ("processor", "platform"):
        line = api.PccsPckCrlRequest(ca=ca, encoding=encoding).line
        yield made(f"pckcrl of the {ca} CA", "pck_crl", base + line, answers.read_pck_crl)
    of_tdx = base.replace("/sgx/", "/tdx/", 1)
    bases = (("SGX", base), ("TDX", of_tdx)) if "/sgx/" in base else (("SGX", base),)
    for tee, own in bases:
        if fmspc is not None:
            line = api.PccsTcbInfoRequest(fmspc=fmspc, update=update).line
            yield made(f"tcb for {tee}", "tcb_info", own + line, answers.read_signed, tee)
        name = "TD_QE" if tee == "TDX" else "QE"
        line = api.PccsIdentityRequest(name=name, update=update).line
        yield made(f"qe/identity for {tee}", "qe_identity", own + line, answers.read_signed, tee)
    if is_pcs(road):
        url = ROOT_CRL
    elif is_hex(road):
        url = base + api.RootCaCrlRequest().line
    else:
        url = base + api.CrlRequest(uri=ROOT_CRL).line
    yield made("the root's list", "root_ca_crl", url, answers.read_crl)


def _fmspc(scene: Scene, found: list[Replay]) -> bytes | None:
    """Of which kind this machine is: its quote says so, else the certificate that was just had."""
    quote = quote_of(scene)
    try:
        if quote is not None and quote.certification.type in _CARRIED:
            return need_of(quote).fmspc
        for replay in found:
            if replay.response is not None and replay.error is None:
                leaf = Certificate.parse_chain(answers.read_pck_cert(replay.response).certificate)[
                    0
                ]
                if leaf.sgx_extension is not None:
                    return PckExtensions.parse(leaf.sgx_extension).fmspc
    except DcapError:
        pass
    return None


def network_of(scene: Scene, road: Road) -> Network:
    """The network as who asks by a road has it: its certificates, its proxies, one attempt."""
    config = road.config
    bundle = bundle_for(scene, intels=road.by_intels) if config.use_secure_cert else None
    seconds, verify, environ = scene.timeout, config.use_secure_cert, environ_of(road)
    limits = Limits(connect=seconds, read=seconds, total=2 * seconds, attempts=1)
    try:
        return Network(ca=bundle, verify=verify, limits=limits, environ=environ, plain=True)
    except ConfigError:  # a bundle of nothing: as if there were none
        return Network(verify=verify, limits=limits, environ=environ, plain=True)


class _Sender:
    """Sends requests of one road as whoever obeys it does, once each, in bounded time."""

    def __init__(self, scene: Scene, road: Road) -> None:
        self._road = road
        self._network = network_of(scene, road)

    def __call__(self, request: Request) -> Replay:
        """Send it. What cannot be sent is an answer that did not come."""
        headers = self._road.config.request_headers if request.piece == "pck_certificate" else ()
        shown = self._shown(request)
        try:
            handler = self._network.handler(origin_of(request.url))
            asked = HttpRequest(target=target_of(request.url), headers=headers)
            response = handler(asked)
        except CollateralError as error:
            return Replay(
                request=request, shown=shown, error=error, code=intel_code(error, request.piece)
            )
        except DcapError as error:
            return Replay(request=request, shown=shown, error=error)
        told = without_secrets(told_in(response), self._road.config)
        answered = Replay(request=request, shown=shown, response=response, told=told)
        try:
            _read(request, response)
        except CollateralError as error:
            code = intel_code(error, request.piece)
            return msgspec.structs.replace(answered, error=error, code=code)
        except FormatError as error:
            code = intel_code(CollateralError("source-answer", error.what), request.piece)
            return msgspec.structs.replace(answered, error=error, code=code)
        return answered

    def _shown(self, request: Request) -> str:
        """The request line for people: which machine asks is left out."""
        line = _IDENTIFYING.sub(r"\1…", without_secrets(request.url, self._road.config))
        return printable(f"GET {line}")


def _read(request: Request, response: HttpResponse) -> None:
    if response.status == 200 and not response.body:
        raise CollateralError("source-empty", "the body is empty")
    request.read(response)


def sends_to_intel(road: Road) -> bool:
    """Whether `pccs_url` is Intel's own service, which takes no requests of a PCCS."""
    return is_intels_host(road.config.pccs_url) or PCS_MARK in road.config.pccs_url
