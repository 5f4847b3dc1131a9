"""A machine's `sgx_default_qcnl.conf` obeyed on the wire: the requests that Intel's library would send.

    source = qcnl(config, Network(plain=True).handler)

Request lines are Intel's to the letter: base and resource joined as text, hex in upper case, `update`
always there, the URI of a list unescaped, TDX by writing `/tdx/` for the first `/sgx/`, custom headers
and parameters with `pckcert` alone. What differs is that several go out at once, and that bodies are
checked. Not here: what the file says (`qpl.qcnl_config`); retries, time limits, trust (`transport`);
the cache files of `local_cache_only`.

An evaluation number cannot be said in that form: `tcbEvaluationDataNumber` then stands in place of
`update`, and the answer is looked at, for Intel's PCCS ignores it.

Source: `quote-provider.md` §1.3, §2.1-2.3.
"""

import copy
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from msgspec import structs

from dcap.api import pccs as api
from dcap.api import pccs_responses as answers
from dcap.api.http import Headers, HttpRequest, HttpResponse
from dcap.api.pccs_responses import PckCertificate
from dcap.api.pcs_responses import PckCrlResponse, Refusal, SignedResponse
from dcap.errors import CollateralError, NotFound
from dcap.sources.endpoint import Answer, Connect, Endpoint, after, origin_of, target_of
from dcap.sources.need import Ca, MachineNeed, Tee, Update
from dcap.sources.pccs import ROOT_CA_CRL, pck_cert_request
from dcap.sources.pcs import expect_crl_host, fetch_root_crl, without_tls
from dcap.sources.service import Identity, ServiceSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcap.qpl.qcnl_values import QcnlConfig

T = TypeVar("T")

#: Anywhere in the URL it makes Intel's library speak as to Intel's PCS.
PCS_MARK = "trustedservices.intel.com"
HEX_LISTS = "3.0"
UNKNOWN_PPID = bytes(384)
#: What a file calls the first of the two places for PCK certificates.
LOCAL = "local_pck_url"


class QcnlService:
    """A `Service` as a QCNL configuration makes it.

    `default` says, where nobody wrote a configuration, what then is asked: errors repeat it.
    """

    def __init__(self, config: "QcnlConfig", connect: Connect, *, default: str = "") -> None:
        self._config = config
        self._default = default
        self._connect = connect
        self.certificates = _base(config.pccs_url)
        self.documents = _base(config.collateral_service or config.pccs_url)
        self.local = _base(config.local_pck_url) if config.local_pck_url else None
        self.is_pcs = PCS_MARK in self.documents
        self.is_hex = config.pccs_api_version == HEX_LISTS and not self.is_pcs
        self._endpoints: dict[str, Endpoint] = {}

    @property
    def root_crl_at(self) -> str | None:
        """`/rootcacrl` in API 3.0; else only the root says where its list is."""
        return ROOT_CA_CRL if self.is_hex else None

    def pck_crl(self, ca: Ca) -> Answer[PckCrlResponse]:
        """The revocation list of a PCK CA."""
        asked = api.PccsPckCrlRequest(ca=ca, encoding="hex" if self.is_hex else "der")
        return self._ask(self.documents + asked.line, answers.read_pck_crl)

    def root_ca_crl(self, place: str) -> Answer[bytes]:
        """The root's list: from its own host, by its URI, or by the route of API 3.0."""
        if self.is_pcs:
            expect_crl_host(place, self._endpoint(self.documents))
            return fetch_root_crl(place, self._connect)
        asked = api.RootCaCrlRequest() if place == ROOT_CA_CRL else api.CrlRequest(uri=place)
        return self._ask(self.documents + asked.line, answers.read_crl)

    def tcb_info(
        self, tee: Tee, fmspc: bytes, update: Update = "standard", number: int | None = None
    ) -> Answer[SignedResponse]:
        """The TCB info of an FMSPC."""
        asked = api.PccsTcbInfoRequest(fmspc=fmspc, update=update, number=number)
        return self._ask(self._of(tee) + asked.line, answers.read_signed)

    def identity(
        self, name: Identity, update: Update = "standard", number: int | None = None
    ) -> Answer[SignedResponse]:
        """The identity of an enclave of Intel's."""
        if name not in api.PCCS_IDENTITIES:
            raise NotFound("source-no-identity", f"Intel's quote provider asks for no {name}")
        asked = api.PccsIdentityRequest(name=name, update=update, number=number)
        base = self._of("TDX" if name == "TD_QE" else "SGX")
        return self._ask(base + asked.line, answers.read_signed)

    def pck_cert(self, machine: MachineNeed) -> Answer[PckCertificate]:
        """The PCK certificate of a machine: from `local_pck_url` first, then from `pccs_url`."""
        config = self._config
        if config.local_cache_only:
            raise NotFound(
                "source-no-pck",
                "the configuration says local_cache_only: the network is not asked for PCK "
                "certificates",
                mend="take local_cache_only out of the configuration, or give the PCK chain",
            )
        if machine.encrypted_ppid is None:
            machine = structs.replace(machine, encrypted_ppid=UNKNOWN_PPID)
        parameters = "".join(f"&{name}={value}" for name, value in config.request_params)
        line = pck_cert_request(machine).line + parameters
        headers = config.request_headers
        if self.local is None:
            return self._ask(self.certificates + line, answers.read_pck_cert, headers)
        try:
            return self._ask(self.local + line, answers.read_pck_cert, headers)
        except CollateralError as error:
            first = error
        # As Intel's library does: any failure leads to `pccs_url`.
        try:
            found = self._ask(self.certificates + line, answers.read_pck_cert, headers)
        except CollateralError as error:
            raise after(first, LOCAL, error) from None
        passing = (f"{LOCAL} was passed over: {first}",)
        return structs.replace(found, passing=passing)

    def _of(self, tee: Tee) -> str:
        """The base of signed documents."""
        if tee == "SGX":
            return self.documents
        if "/sgx/" not in self.documents:
            raise NotFound(
                "source-no-tdx",
                "the URL for collateral holds no /sgx/ that could become /tdx/",
                where=self._endpoint(self.documents).origin,
                mend="let collateral_service (or pccs_url) end in /sgx/certification/v4/",
            )
        return self.documents.replace("/sgx/", "/tdx/", 1)

    def _ask(
        self, url: str, read: "Callable[[HttpResponse], T]", headers: Headers = ()
    ) -> Answer[T]:
        def read_as_intels(response: HttpResponse) -> T:
            if response.status != 200:
                raise Refusal.from_http(response).error()
            return read(response)

        asked = HttpRequest(target=target_of(url), headers=headers)
        is_intels = PCS_MARK in url.partition("?")[0]  # a PCCS is asked for a URI of Intel's, too
        try:
            return self._endpoint(url).ask(asked, read_as_intels if is_intels else read)
        except CollateralError as error:
            if not self._default:
                raise
            told = copy.copy(error)
            told.what = f"{error.what}; {self._default}"
            raise told from None

    def _endpoint(self, url: str) -> Endpoint:
        origin = origin_of(url)
        if origin not in self._endpoints:
            self._endpoints[origin] = Endpoint(origin, self._connect)
        return self._endpoints[origin]


def qcnl(
    config: "QcnlConfig",
    connect: Connect,
    *,
    name: str | None = None,
    remarks: tuple[str, ...] = (),
    default: str = "",
) -> ServiceSource:
    """A machine's configuration as a source. Raises `ConfigError` (`source-url`).

    `default`: what is asked for want of a configuration, in words; every error says so.
    """
    service = QcnlService(config, connect, default=default)
    where = origin_of(service.documents)
    told = (*remarks, *_remarks(config), *without_tls(service.documents))
    scope = f"qcnl {structs.asdict(config)!r}"
    return ServiceSource(name or f"QCNL {where}", service, remarks=told, scope=scope)


def _remarks(config: "QcnlConfig") -> list[str]:
    remarks = []
    if not config.use_secure_cert:
        remarks.append("use_secure_cert is false: whoever answered was not asked to prove its name")
    for key in ("pccs_url", "collateral_service"):
        url = getattr(config, key)
        if url and not urlsplit(url).path.endswith("/"):
            remarks.append(
                f"{key} does not end in a slash: Intel's library would ask for a path that does not "
                "exist, dcap adds the slash"
            )
    return remarks


def _base(url: str) -> str:
    """A base URL to which a resource can be appended."""
    origin_of(url)
    return url if url.endswith("/") else f"{url}/"
