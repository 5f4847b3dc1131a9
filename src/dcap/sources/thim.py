"""Azure's caches as a source, asked as Azure's DCAP client asks: in the VM, acccache, a region's THIM.

    source = AzureSource(AzureConfig.from_environ(os.environ), network.handler, agent=…)

PCK certificates come from the VM's host agent or, for 30 s after it has failed, from acccache; SGX
collateral from acccache, lists by their doubly encoded URI; TDX collateral from the region's service.
Azure serves an older baseline than Intel, on purpose. Azure in the manner of Intel's library is
`qcnl`. Not here: its cache (`foreign_caches`), its environment variables (`azure_config`).

Source: `quote-provider.md` §4.2. Inferred: that TDX documents are asked with SGX's query.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock
from typing import TypeVar

import msgspec

from dcap.api import thim as api
from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pccs_responses import PckCertificate
from dcap.api.pcs_responses import PckCrlResponse, Refusal, SignedResponse
from dcap.errors import CollateralError, ConfigError, FormatError, NotFound
from dcap.formats.signed_json import decode_part
from dcap.sources.azure_config import AzureConfig
from dcap.sources.clock import now
from dcap.sources.endpoint import Answer, Connect, Endpoint, after, origin_of, target_of
from dcap.sources.need import Ca, CollateralNeed, MachineNeed, Tee, Update
from dcap.sources.pcs import read_crl, whole_certificate, without_tls
from dcap.sources.service import Identity, ServiceSource
from dcap.sources.source import Accept, Fetched, FetchedPck

T = TypeVar("T")

REGION_URL = "http://169.254.169.254/metadata/instance?api-version=2021-02-01"
METADATA = ((api.METADATA, "true"),)
#: How long the host agent is not asked again after it has failed.
SKIP_SECONDS = 30.0
ROOT = "root"
#: What people know the first of the two places as.
AGENT = "the VM's host agent"
_REGION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_RESOURCES = {"QE": "qe/identity", "TD_QE": "qe/identity", "QVE": "qve/identity"}


class _Compute(msgspec.Struct, frozen=True):
    location: str


class _Instance(msgspec.Struct, frozen=True):
    """Of what the metadata service says of a VM: where it runs."""

    compute: _Compute


class ThimService:
    """A `Service` for the collateral of one TEE: SGX's and TDX's come from different hosts.

    `agent` connects to the metadata service at 169.254.169.254: outside Azure nobody answers there, so
    give it a network of little patience (Azure's client waits one second).
    """

    def __init__(
        self,
        config: AzureConfig,
        connect: Connect,
        tee: Tee = "SGX",
        *,
        agent: Connect | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._connect = connect
        self._monotonic = monotonic
        self._tee: Tee = tee
        self._skip_until = float("-inf")
        self._skipped: CollateralError | None = None
        self._region = config.region
        self._asking = Lock()
        agent = agent or connect
        self._base = Endpoint(config.base, connect)
        self._primary = Endpoint(config.primary, agent)
        self._secondary = Endpoint(config.secondary, connect)
        self._metadata = Endpoint(origin_of(REGION_URL), agent)
        if config.region is not None and not _REGION.fullmatch(config.region):
            raise ConfigError(
                "source-url",
                "the region is not the first part of a host name",
                where="AZDCAP_REGION_URL",
                mend="write it as Azure does: westeurope",
            )
        origin_of(f"https://region{config.regional}")

    @property
    def root_crl_at(self) -> str | None:
        """By a route of its own."""
        return ROOT

    def pck_crl(self, ca: Ca) -> Answer[PckCrlResponse]:
        """The revocation list of a PCK CA."""
        if self._tee == "TDX":
            regional = api.ThimRegionalCrlRequest(ca=ca, client_id=self._config.client_id)
            return _ask(self._regional("sgx"), regional.to_http, PckCrlResponse.from_http)
        return self._list(ca, PckCrlResponse.from_http)

    def root_ca_crl(self, place: str = ROOT) -> Answer[bytes]:  # noqa: ARG002 - it has one place
        """The root's list."""
        if self._tee == "TDX":
            regional = api.ThimRegionalCrlRequest(ca=None, client_id=self._config.client_id)
            return _ask(self._regional("sgx"), regional.to_http, read_crl)
        return self._list(ROOT, read_crl)

    def tcb_info(
        self,
        tee: Tee,
        fmspc: bytes,
        update: Update = "standard",
        number: int | None = None,  # noqa: ARG002 - what came is looked at by who asked
    ) -> Answer[SignedResponse]:
        """The TCB info of an FMSPC."""
        _expect_standard(update)
        asked = api.ThimDocumentRequest(fmspc=fmspc, client_id=self._config.client_id)
        return _ask(self._documents(tee), asked.to_http, SignedResponse.from_http)

    def identity(
        self,
        name: Identity,
        update: Update = "standard",
        number: int | None = None,  # noqa: ARG002 - as above
    ) -> Answer[SignedResponse]:
        """The identity of an enclave of Intel's."""
        _expect_standard(update)
        if name not in _RESOURCES:
            raise NotFound("source-no-identity", f"Azure's caches have no identity of the {name}")
        asked = api.ThimDocumentRequest(resource=_RESOURCES[name], client_id=self._config.client_id)
        place = self._documents("TDX" if name == "TD_QE" else "SGX")
        return _ask(place, asked.to_http, SignedResponse.from_http)

    def pck_cert(self, machine: MachineNeed) -> Answer[PckCertificate]:
        """The PCK certificate of a machine: from the host agent, else from acccache."""
        config = self._config
        asked = api.ThimPckCertRequest(
            qe_id=machine.qe_id,
            cpu_svn=machine.cpu_svn,
            pce_svn=machine.pce_svn,
            pce_id=machine.pce_id,
            encrypted_ppid=None if config.without_ppid else machine.encrypted_ppid,
            client_id=config.client_id,
        )
        if not config.bypass_primary and self._monotonic() >= self._skip_until:
            try:
                return _ask(
                    (self._primary, ""),
                    lambda base: asked.to_http(base, metadata=True, version=config.version),
                    _read_pck_cert,
                )
            except CollateralError as error:
                self._skipped = error
                self._skip_until = self._monotonic() + SKIP_SECONDS
        first = None if config.bypass_primary else self._skipped
        try:
            answer = _ask(
                (self._secondary, ""),
                lambda base: asked.to_http(base, version=config.version),
                _read_pck_cert,
            )
        except CollateralError as error:
            raise (error if first is None else after(first, AGENT, error)) from None
        if first is None:
            return answer
        passing = (f"{AGENT} was passed over: {first}",)
        return msgspec.structs.replace(answer, passing=passing)

    def region(self) -> str:
        """The region of this VM, as the metadata service tells it, once."""
        with self._asking:
            if self._region is None:
                self._region = self._ask_region()
            return self._region

    def _ask_region(self) -> str:
        request = HttpRequest(target=target_of(REGION_URL), headers=METADATA)
        try:
            return self._metadata.ask(request, _read_region).value
        except CollateralError as error:
            raise type(error)(
                error.code,
                f"which region of Azure this is could not be had: {error.what}",
                where=error.where,
                mend="set AZDCAP_REGION_URL to the region, such as westeurope",
            ) from None

    def _list(self, of: str, read: Callable[[HttpResponse], T]) -> Answer[T]:
        config = self._config
        asked = api.ThimCrlRequest(ca=of, client_id=config.client_id)
        return _ask(
            (self._base, ""), lambda base: asked.to_http(base, version=config.version), read
        )

    def _documents(self, tee: Tee) -> tuple[Endpoint, str]:
        """Where signed documents are: an endpoint, and the version below it."""
        return self._regional("tdx") if tee == "TDX" else (self._base, f"/{self._config.version}")

    def _regional(self, tee: str) -> tuple[Endpoint, str]:
        """The region's service: SGX's, or TDX's, which lies beside it."""
        base = f"https://{self.region()}{self._config.regional}"
        if tee == "tdx":
            base = base.replace("/sgx/", "/tdx/", 1)
        return Endpoint(base, self._connect), f"/{self._config.version_tdx}"


class AzureSource:
    """A `Source`: a `ThimService` for each TEE."""

    def __init__(
        self,
        config: AzureConfig,
        connect: Connect,
        *,
        agent: Connect | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        def source(tee: Tee) -> ServiceSource:
            return ServiceSource(
                self.name,
                ThimService(config, connect, tee, agent=agent),
                remarks=without_tls(config.base, config.secondary) if tee == "SGX" else (),
                clock=clock,
            )

        self.scope = f"azure {config!r}"
        self._of: Mapping[Tee, ServiceSource] = {"SGX": source("SGX"), "TDX": source("TDX")}

    @property
    def name(self) -> str:
        """For people and for errors."""
        return "Azure"

    def collateral(self, need: CollateralNeed) -> Fetched:
        """The set for a need."""
        return self._of[need.tee].collateral(need)

    def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
        """The PCK certificate of a machine."""
        return self._of["SGX"].pck_certificate(need, accept=accept)


def _ask(
    place: tuple[Endpoint, str],
    write: Callable[[str], HttpRequest],
    read: Callable[[HttpResponse], T],
) -> Answer[T]:
    """Write a request below an endpoint's path, send it there, read the answer."""
    endpoint, below = place
    return endpoint.ask(write(endpoint.path.rstrip("/") + below), read)


def _expect_standard(update: Update) -> None:
    if update != "standard":
        raise NotFound(
            "source-no-early",
            "Azure's caches have one generation of collateral, and not the early one",
            mend="ask Intel's PCS or a PCCS for early collateral",
        )


def _read_pck_cert(response: HttpResponse) -> PckCertificate:
    return whole_certificate(api.ThimPckCertResponse.from_http(response))


def _read_region(response: HttpResponse) -> str:
    if response.status != 200:
        raise Refusal.from_http(response).error()
    location = decode_part(response.body, _Instance, "instance metadata").compute.location
    if not _REGION.fullmatch(location):
        raise FormatError("pcs-response", "compute.location is not the name of a region")
    return location
