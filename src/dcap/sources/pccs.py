"""A PCCS as a source, in our own way: lists in DER, hex only where there is no other form.

    source = pccs(Network(ca=path).handler, "https://cache:8081/sgx/certification/v4/")

It is the way of `pccs_api_version` 3.1 of Intel's quote provider, but for the root's list, which is
had by `/rootcacrl`: that address is known before any answer, so that a set costs one round trip.
Exactly as Intel's provider asks: `qcnl`.

What Intel's PCCS lacks, and ours has, is asked as Intel's PCS is: there it is a `NotFound`.

An evaluation number is sent, but Intel's PCCS silently ignores it; the answer is therefore looked at.

Source: `pccs-and-pcs-api.md` §1.3.
"""

from dcap.api import pccs as api
from dcap.api import pccs_responses as answers
from dcap.api import pcs
from dcap.api.http import HttpRequest
from dcap.api.pccs_responses import PckCertificate
from dcap.api.pcs_responses import FmspcsResponse, PckCrlResponse, SignedResponse
from dcap.errors import NotFound
from dcap.sources.endpoint import Answer, Connect, origin_of
from dcap.sources.need import Ca, MachineNeed, Tee, Update
from dcap.sources.pcs import certification_base, expect_version_four, without_tls
from dcap.sources.service import Identity, Platforms, ServiceSource

ROOT_CA_CRL = "rootcacrl"


class PccsService:
    """A `Service`. `base` ends in `/sgx/certification/v4/` (or v3), or is an origin alone."""

    def __init__(self, connect: Connect, base: str) -> None:
        self._endpoint, self._prefix, self.version = certification_base(base, connect)

    @property
    def root_crl_at(self) -> str | None:
        """A route of its own."""
        return ROOT_CA_CRL

    def pck_crl(self, ca: Ca) -> Answer[PckCrlResponse]:
        """The revocation list of a PCK CA."""
        asked = api.PccsPckCrlRequest(ca=ca, encoding="der", version=self.version)
        return self._endpoint.ask(asked.to_http(self._prefix), answers.read_pck_crl)

    def root_ca_crl(self, place: str = ROOT_CA_CRL) -> Answer[bytes]:
        """The root's list: by its route, or by the URI of its distribution point."""
        asked: api.RootCaCrlRequest | api.CrlRequest
        if place == ROOT_CA_CRL:
            asked = api.RootCaCrlRequest(version=self.version)
        else:
            asked = api.CrlRequest(uri=place, version=self.version)
        return self._endpoint.ask(asked.to_http(self._prefix), answers.read_crl)

    def tcb_info(
        self, tee: Tee, fmspc: bytes, update: Update = "standard", number: int | None = None
    ) -> Answer[SignedResponse]:
        """The TCB info of an FMSPC."""
        self._expect_version(tee)
        asked = api.PccsTcbInfoRequest(
            fmspc=fmspc,
            tee="sgx" if tee == "SGX" else "tdx",
            update=update,
            number=number,
            version=self.version,
        )
        return self._endpoint.ask(asked.to_http(self._prefix), answers.read_signed)

    def identity(
        self, name: Identity, update: Update = "standard", number: int | None = None
    ) -> Answer[SignedResponse]:
        """The identity of an enclave of Intel's; that of the QAE a PCCS of ours alone has."""
        if name not in api.PCCS_IDENTITIES:
            if self.version < 4:
                raise NotFound("source-no-identity", f"a PCCS has no identity of the {name} in v3")
            beyond = pcs.IdentityRequest(
                name=name,
                update=update if number is None else None,
                number=number,
                version=self.version,
            )
            return self._endpoint.ask(self._below(beyond.to_http()), SignedResponse.from_http)
        self._expect_version("TDX" if name == "TD_QE" else "SGX")
        asked = api.PccsIdentityRequest(
            name=name, update=update, number=number, version=self.version
        )
        return self._endpoint.ask(asked.to_http(self._prefix), answers.read_signed)

    def pck_cert(self, machine: MachineNeed) -> Answer[PckCertificate]:
        """The PCK certificate of a machine, by its QE id and, where it is known, encrypted PPID."""
        asked = pck_cert_request(machine, self.version)
        return self._endpoint.ask(asked.to_http(self._prefix), answers.read_pck_cert)

    def fmspcs(self, platforms: Platforms = "all") -> Answer[FmspcsResponse]:
        """All FMSPCs, or those of one kind of platform, from a PCCS of ours."""
        self._expect_version("TDX")
        asked = pcs.FmspcsRequest(platform=platforms, version=self.version)
        return self._endpoint.ask(self._below(asked.to_http()), FmspcsResponse.from_http)

    def evaluation_numbers(self, tee: Tee) -> Answer[SignedResponse]:
        """Which TCB evaluation data numbers there are, from a PCCS of ours."""
        self._expect_version("TDX")
        asked = pcs.EvaluationNumbersRequest(
            tee="sgx" if tee == "SGX" else "tdx", version=self.version
        )
        return self._endpoint.ask(self._below(asked.to_http()), SignedResponse.from_http)

    def _below(self, request: HttpRequest) -> HttpRequest:
        """The request where the service lies below a prefix."""
        return HttpRequest(
            method=request.method, target=self._prefix + request.target, headers=request.headers
        )

    def _expect_version(self, tee: Tee) -> None:
        if tee == "TDX":
            expect_version_four(self.version, "TDX collateral", self._endpoint)


def pccs(connect: Connect, base: str, *, name: str | None = None) -> ServiceSource:
    """A PCCS as a source."""
    where = origin_of(base)
    service = PccsService(connect, base)
    return ServiceSource(
        name or f"PCCS {where}", service, remarks=without_tls(base), scope=f"pccs {base}"
    )


def pck_cert_request(machine: MachineNeed, version: int = 4) -> api.PccsPckCertRequest:
    """What a PCCS is asked for a machine's certificate."""
    return api.PccsPckCertRequest(
        version=version,
        qe_id=machine.qe_id.hex().upper(),
        cpu_svn=machine.cpu_svn,
        pce_svn=machine.pce_svn,
        pce_id=machine.pce_id,
        encrypted_ppid=machine.encrypted_ppid,
    )
