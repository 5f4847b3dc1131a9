"""Intel's Provisioning Certification Service as a source: v4, and v3 where something still serves it.

    source = intel_pcs(Network().handler)
    PcsService(connect, base="https://host/sgx/certification/v3/", api_key=KEY)

The root's revocation list comes from its own host, the distribution point, which is followed only to
Intel's hosts and to the service's own. v3 has no TDX, no evaluation numbers, and TCB infos of version 2.

Source: Intel PCS API v4; `pccs-and-pcs-api.md` §5.
"""

import re
from urllib.parse import urlsplit

from dcap.api import pcs as api
from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pccs_responses import PckCertificate
from dcap.api.pcs_responses import (
    FmspcsResponse,
    PckCertResponse,
    PckCertsResponse,
    PckCrlResponse,
    Refusal,
    SignedResponse,
)
from dcap.api.thim import ThimPckCertResponse
from dcap.errors import CollateralError, ConfigError, NotFound
from dcap.formats.crl import to_der
from dcap.sources.endpoint import Answer, Connect, Endpoint, origin_of, target_of
from dcap.sources.need import Ca, MachineNeed, Tee, Update
from dcap.sources.service import Identity, Platforms, ServiceSource

INTEL_BASE = "https://api.trustedservices.intel.com/sgx/certification/v4/"
#: Where Intel's root says its revocation list is.
INTEL_ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
INTEL_DOMAIN = ".trustedservices.intel.com"

_BASE = re.compile(r"(.*)/sgx/certification/v([34])/")


class PcsService:
    """A `Catalogue`. `root_crl` overrides where the root's list is had (a mirror)."""

    def __init__(
        self,
        connect: Connect,
        *,
        base: str = INTEL_BASE,
        api_key: str | None = None,
        root_crl: str | None = None,
    ) -> None:
        self._connect = connect
        self._endpoint, self._prefix, self.version = certification_base(base, connect)
        self._api_key = api_key
        is_intel = (urlsplit(base).hostname or "").endswith(INTEL_DOMAIN)
        if root_crl is not None:
            origin_of(root_crl)
        self._root_crl = root_crl or (INTEL_ROOT_CRL if is_intel else None)

    @property
    def root_crl_at(self) -> str | None:
        """Known where this is Intel's own service: its root is always the same."""
        return self._root_crl

    def pck_crl(self, ca: Ca) -> Answer[PckCrlResponse]:
        """The revocation list of a PCK CA."""
        asked = api.PckCrlRequest(ca=ca, encoding="der", version=self.version)
        return self._endpoint.ask(self._below(asked.to_http()), PckCrlResponse.from_http)

    def root_ca_crl(self, place: str) -> Answer[bytes]:
        """The root's list, from the root's distribution point."""
        if place != self._root_crl:
            expect_crl_host(place, self._endpoint)
        return fetch_root_crl(place, self._connect)

    def tcb_info(
        self, tee: Tee, fmspc: bytes, update: Update = "standard", number: int | None = None
    ) -> Answer[SignedResponse]:
        """The TCB info of an FMSPC."""
        self._expect_version(tee, number)
        asked = api.TcbInfoRequest(
            fmspc=fmspc,
            tee="sgx" if tee == "SGX" else "tdx",
            update=update if number is None else None,
            number=number,
            version=self.version,
        )
        return self._endpoint.ask(self._below(asked.to_http()), SignedResponse.from_http)

    def identity(
        self, name: Identity, update: Update = "standard", number: int | None = None
    ) -> Answer[SignedResponse]:
        """The identity of an enclave of Intel's."""
        self._expect_version("TDX" if name == "TD_QE" else "SGX", number)
        asked = api.IdentityRequest(
            name=name,
            update=update if number is None else None,
            number=number,
            version=self.version,
        )
        return self._endpoint.ask(self._below(asked.to_http()), SignedResponse.from_http)

    def pck_cert(self, machine: MachineNeed) -> Answer[PckCertificate]:
        """The PCK certificate of a machine, which Intel knows by its encrypted PPID alone."""
        if machine.encrypted_ppid is None:
            raise NotFound(
                "source-no-pck",
                "Intel's PCS finds a machine by its PPID, RSA-3072-encrypted, which is not known here",
                mend="ask a PCCS that knows the machine by its QE id, or give the PCK chain beside it",
            )
        asked = api.PckCertRequest(
            encrypted_ppid=machine.encrypted_ppid,
            cpu_svn=machine.cpu_svn,
            pce_svn=machine.pce_svn,
            pce_id=machine.pce_id,
            version=self.version,
            api_key=self._api_key,
        )
        return self._endpoint.ask(self._below(asked.to_http()), _read_pck_cert)

    def pck_certs(
        self,
        *,
        pce_id: bytes,
        encrypted_ppid: bytes | None = None,
        platform_manifest: bytes | None = None,
        cpu_svn: bytes | None = None,
    ) -> Answer[PckCertsResponse]:
        """All PCK certificates of a machine, by its manifest where that is given."""
        asked = api.PckCertsRequest(
            pce_id=pce_id,
            encrypted_ppid=encrypted_ppid,
            platform_manifest=platform_manifest,
            cpu_svn=cpu_svn,
            version=self.version,
            api_key=self._api_key,
        )
        return self._endpoint.ask(self._below(asked.to_http()), PckCertsResponse.from_http)

    def fmspcs(self, platforms: Platforms = "all") -> Answer[FmspcsResponse]:
        """All FMSPCs, or those of one kind of platform."""
        self._expect_four("a list of FMSPCs")
        asked = api.FmspcsRequest(platform=platforms, version=self.version)
        return self._endpoint.ask(self._below(asked.to_http()), FmspcsResponse.from_http)

    def evaluation_numbers(self, tee: Tee) -> Answer[SignedResponse]:
        """Which TCB evaluation data numbers there are."""
        self._expect_four("a list of TCB evaluation data numbers")
        asked = api.EvaluationNumbersRequest(
            tee="sgx" if tee == "SGX" else "tdx", version=self.version
        )
        return self._endpoint.ask(self._below(asked.to_http()), SignedResponse.from_http)

    def _below(self, request: HttpRequest) -> HttpRequest:
        """The request where the service lies below a prefix."""
        if not self._prefix:
            return request
        return HttpRequest(
            method=request.method,
            target=self._prefix + request.target,
            headers=request.headers,
            body=request.body,
        )

    def _expect_version(self, tee: Tee, number: int | None) -> None:
        if tee == "TDX":
            self._expect_four("TDX collateral")
        if number is not None:
            self._expect_four("TCB evaluation data numbers")

    def _expect_four(self, what: str) -> None:
        expect_version_four(self.version, what, self._endpoint)


def intel_pcs(
    connect: Connect, *, base: str = INTEL_BASE, api_key: str | None = None
) -> ServiceSource:
    """Intel's PCS, or another service that speaks as it does, as a source."""
    service = PcsService(connect, base=base, api_key=api_key)
    host = urlsplit(base).hostname or ""
    name = "Intel PCS" if host.endswith(INTEL_DOMAIN) else f"PCS {origin_of(base)}"
    return ServiceSource(name, service, remarks=without_tls(base), scope=f"pcs {base}")


def certification_base(base: str, connect: Connect) -> tuple[Endpoint, str, int]:
    """The endpoint, the path before `/sgx/`, and the version of a base URL.

    A bare origin stands for `/sgx/certification/v4/`. Raises `ConfigError` (`source-url`).
    """
    endpoint = Endpoint(base, connect)
    path = "/sgx/certification/v4/" if endpoint.path == "/" else endpoint.path
    match = _BASE.fullmatch(path)
    if match is None or "?" in base:
        raise ConfigError(
            "source-url",
            "its path is not that of a certification service",
            where=endpoint.origin + endpoint.path,
            mend="let it end in /sgx/certification/v4/",
        )
    return endpoint, match[1], int(match[2])


def expect_version_four(version: int, what: str, endpoint: Endpoint) -> None:
    """Raises `NotFound` (`source-version`) for what v3 does not have."""
    if version < 4:
        raise NotFound(
            "source-version",
            f"version 3 of the API has no {what}",
            where=endpoint.origin + endpoint.path,
            mend="write /v4/ in the URL instead of /v3/",
        )


def expect_crl_host(place: str, endpoint: Endpoint) -> None:
    """An unproven certificate says where to go: only to Intel, or to where the certificate came from."""
    try:
        host, origin = urlsplit(place).hostname or "", origin_of(place)
    except (ValueError, ConfigError):
        host, origin = "", ""
    if origin and (host.endswith(INTEL_DOMAIN) or origin == endpoint.origin):
        return
    raise CollateralError(
        "source-crl-address",
        "the root certificate names a revocation list on a host that is neither Intel's nor the "
        "service's: it is not asked",
        where=endpoint.origin + endpoint.path,
        mend="see which root the service's chains end in",
    )


def fetch_root_crl(place: str, connect: Connect) -> Answer[bytes]:
    """The list behind a URL, in DER."""
    return Endpoint(place, connect).ask(HttpRequest(target=target_of(place)), read_crl)


def without_tls(*urls: str) -> tuple[str, ...]:
    """What a person is told of services that are asked in the clear; an empty URL is none."""
    places = (origin_of(url) for url in urls if url.lower().startswith("http://"))
    risk = "whoever is on the way can read requests and replace answers (signatures are checked)"
    return tuple(f"{where} was asked without TLS: {risk}" for where in dict.fromkeys(places))


def read_crl(response: HttpResponse) -> bytes:
    """A revocation list in any of its encodings, in DER."""
    if response.status != 200:
        raise Refusal.from_http(response).error()
    return to_der(response.body)


def _read_pck_cert(response: HttpResponse) -> PckCertificate:
    return whole_certificate(PckCertResponse.from_http(response))


def whole_certificate(found: PckCertResponse | ThimPckCertResponse) -> PckCertificate:
    """An answer of Intel's or Azure's in the shape that all sources give."""
    return PckCertificate(
        certificate=found.certificate, issuer_chain=found.issuer_chain, tcbm=found.tcbm
    )
