"""Where a PCCS gets what it lacks: named services with their circuits, and which key asks what of them.

    supplier("https://api.trustedservices.intel.com/sgx/certification/v4/", network.handler, api_key=KEY)
    supplier("pccs+https://other:8081/sgx/certification/v4/", network.handler)
    supplier("azure", network.handler, region="westeurope")

Not here: their order, proofs, keeping (`upstream`).
"""

import ipaddress
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from dcap.errors import CollateralError, NotFound, Unavailable
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO
from dcap.formats.crl import Crl
from dcap.formats.signed_json import SignedJson
from dcap.pccs.circuit import Circuit
from dcap.pccs.items import (
    CrlKey,
    EvaluationNumbersKey,
    FmspcsKey,
    IdentityKey,
    Item,
    Key,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.sources.azure_config import AzureConfig
from dcap.sources.endpoint import Connect, origin_of
from dcap.sources.pccs import PccsService
from dcap.sources.pcs import INTEL_BASE, INTEL_DOMAIN, INTEL_ROOT_CRL, PcsService
from dcap.sources.service import Service
from dcap.sources.thim import ThimService
from dcap.verification.piece import EVALUATION_NUMBERS

AZURE: Final = "azure"
_PCCS, _PCS = "pccs+", "pcs+"
_ROOT_CRL_PATH: Final = "/IntelSGXRootCA.der"
#: Under which member a signed document stands in its envelope.
_MEMBERS: Final[Mapping[type[Key], str]] = {
    TcbInfoKey: TCB_INFO,
    IdentityKey: ENCLAVE_IDENTITY,
    EvaluationNumbersKey: EVALUATION_NUMBERS,
}


class Supplier(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream. `root_crls` are the places where its root's list may be, in order.

    `tdx` is the service for TDX where that is another one.
    """

    name: str
    service: Service
    circuit: Circuit
    root_crls: tuple[str, ...]
    tdx: Service | None = None

    def __repr__(self) -> str:
        return f"<Supplier {self.name}>"

    @property
    def knows_machines(self) -> bool:
        """Whether it has all certificates of a machine, by its PPID or manifest: Intel alone has."""
        return hasattr(self.service, "pck_certs")

    def item(self, key: Key, at: datetime) -> Item:
        """What it has under a key: readable, unproven. Raises `CollateralError`, `FormatError`."""
        body, chain = _ask(self, key)
        _expect_readable(key, body)
        return Item(key=key, body=body, issuer_chain=chain, fetched_at=at, origin=self.name)


def supplier(
    url: str,
    connect: Connect,
    *,
    api_key: str | None = None,
    root_crl: str | None = None,
    region: str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Callable[[], float] = time.monotonic,
) -> Supplier:
    """An upstream by its URL: Intel's PCS and what speaks as it does, `pccs+https://…`, or "azure".

    `api_key` goes to a PCS alone; `root_crl` overrides where a PCS's root list is had. Raises
    `ConfigError` (`source-url`).
    """
    if url.lower() == AZURE:
        circuit = Circuit("Azure", connect, clock=clock, monotonic=monotonic)
        config = AzureConfig.from_environ({} if region is None else {"AZDCAP_REGION_URL": region})
        sgx = ThimService(config, circuit.connect)
        tdx = ThimService(config, circuit.connect, "TDX")
        places = (sgx.root_crl_at or "",)
        return Supplier(name="Azure", service=sgx, circuit=circuit, root_crls=places, tdx=tdx)
    if url.startswith(_PCCS):
        base = url.removeprefix(_PCCS)
        name = f"PCCS {origin_of(base)}"
        circuit = Circuit(name, connect, clock=clock, monotonic=monotonic)
        pccs = PccsService(circuit.connect, base)
        return Supplier(
            name=circuit.name,
            service=pccs,
            circuit=circuit,
            root_crls=(pccs.root_crl_at or "",),
        )
    base = url.removeprefix(_PCS) or INTEL_BASE
    is_intels = is_intel(base)
    name = "Intel PCS" if is_intels else f"PCS {origin_of(base)}"
    circuit = Circuit(name, connect, clock=clock, monotonic=monotonic)
    pcs = PcsService(circuit.connect, base=base, api_key=api_key or None, root_crl=root_crl)
    # A mirror of Intel's has the root's list on its own host, if it has it at all.
    mirrored = () if is_intels else (origin_of(base) + _ROOT_CRL_PATH,)
    places = (root_crl,) if root_crl is not None else (*mirrored, INTEL_ROOT_CRL)
    return Supplier(name=name, service=pcs, circuit=circuit, root_crls=places)


def is_pcs(url: str) -> bool:
    """Whether an upstream speaks as Intel's service does, and may want a subscription key."""
    return url.lower() != AZURE and not url.startswith(_PCCS)


def is_intel(url: str) -> bool:
    """Whether an upstream is Intel's own."""
    return _host(url).endswith(INTEL_DOMAIN)


def is_plain(url: str) -> bool:
    """Whether an upstream beyond this machine is asked without TLS."""
    scheme = url.removeprefix(_PCCS).removeprefix(_PCS).partition(":")[0].lower()
    return scheme == "http" and not is_loopback(_host(url))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host(url: str) -> str:
    try:
        return urlsplit(url.removeprefix(_PCCS).removeprefix(_PCS) or INTEL_BASE).hostname or ""
    except ValueError:  # `supplier` says what is wrong with it
        return ""


def _ask(of: Supplier, key: Key) -> tuple[bytes, bytes]:
    """Body and issuer chain, as they came."""
    service: Any = of.service
    if of.tdx is not None and "TDX" in (getattr(key, "tee", ""), _tee_of(key)):
        service = of.tdx
    match key:
        case RootCrlKey():
            return _root_crl(of), b""
        case PckCrlKey(ca=ca):
            crl = service.pck_crl(ca.lower()).value
            return crl.crl, crl.issuer_chain
        case TcbInfoKey():
            _expect_version(service, key.version)
            update = (key.update or "STANDARD").lower()
            found = service.tcb_info(key.tee, key.fmspc, update, key.number).value
            return found.body, found.issuer_chain
        case IdentityKey():
            _expect_version(service, key.version)
            update = (key.update or "STANDARD").lower()
            found = service.identity(key.name, update, key.number).value
            return found.body, found.issuer_chain
        case EvaluationNumbersKey(tee=tee):
            found = _offered(service, "evaluation_numbers")(tee).value
            return found.body, found.issuer_chain
        case FmspcsKey():
            return _offered(service, "fmspcs")("all").value.to_http().body, b""
        case CrlKey():
            raise NotFound("source-no-such", "a list is asked for by whose it is")


def _expect_readable(key: Key, body: bytes) -> None:
    """A page in place of an answer is a broken line, and not a forgery. Raises `FormatError`."""
    member = _MEMBERS.get(type(key))
    if member is not None:
        SignedJson.parse(body, member)
    elif isinstance(key, PckCrlKey | RootCrlKey):
        Crl.parse(body)


def _tee_of(key: Key) -> str:
    return "TDX" if isinstance(key, IdentityKey) and key.name == "TD_QE" else "SGX"


def _root_crl(of: Supplier) -> bytes:
    """The root's list, from the first of its places that has it."""
    first: CollateralError | None = None
    for place in of.root_crls:
        try:
            return of.service.root_ca_crl(place).value
        except (NotFound, Unavailable) as error:
            first = first or error
    assert first is not None
    raise first


def _offered(service: Service, what: str) -> Callable[[Any], Any]:
    ask = getattr(service, what, None)
    if ask is None:
        raise NotFound("source-no-such", f"this kind of service has no {what.replace('_', ' ')}")
    return ask  # type: ignore[no-any-return]


def _expect_version(service: Service, version: int) -> None:
    if version != getattr(service, "version", 4):
        raise NotFound("source-version", f"the service does not speak version {version} of the API")
