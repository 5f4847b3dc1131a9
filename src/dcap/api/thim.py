"""Azure's THIM and acccache, as Azure's DCAP client speaks to them: PCS with a different face.

PCK certificates come as JSON, by QE id; revocation lists of SGX are asked for by the URI of their
distribution point, percent-encoded once or twice; every answer says how long it may be kept. Signed
documents and TDX lists are Intel's (`pcs`). The host agent wants the header `metadata: true`.

Source: `quote-provider.md` §4.2; `pccs-and-pcs-api.md` §5, "Azure THIM / acccache".
"""

from collections.abc import Mapping
from urllib.parse import quote, unquote, unquote_to_bytes

import msgspec

from dcap.api.http import HttpRequest, HttpResponse, target
from dcap.api.parameters import malformed, read_choice, read_hex
from dcap.api.pcs import ENCRYPTED_PPID_DIGITS, JSON
from dcap.api.pcs_responses import Refusal, write_chain
from dcap.errors import FormatError
from dcap.formats import pem
from dcap.formats.signed_json import ShortText, decode, encode, prepare

CLIENT_ID = "production_client"
PCK_CERT_VERSION = "2021-07-22-preview"
CRL_VERSION = "2020-02-12-preview"
DOCUMENT_VERSION = "2018-10-01-preview"
METADATA = "metadata"
CACHE_CONTROL = "Cache-Control"

#: What the URI of a revocation list says, in lower case -> whose list it is.
CRL_URIS: Mapping[str, str] = {
    "intelsgxpckprocessor.crl": "processor",
    "intelsgxpckplatform.crl": "platform",
    "intelsgxrootca.crl": "root",
    "intelsgxrootca.der": "root",
}
_HOSTS = (
    "https://certificates.trustedservices.intel.com/",
    "https://api.trustedservices.intel.com/",
)
_PROCESSOR_CRL = _HOSTS[0] + "intelsgxpckprocessor.crl"
_PLATFORM_CRL = _HOSTS[1] + "sgx/certification/v3/pckcrl?ca=platform&encoding=pem"
_ROOT_CRL = _HOSTS[0] + "intelsgxrootca.crl"
_URIS = {"processor": _PROCESSOR_CRL, "platform": _PLATFORM_CRL, "root": _ROOT_CRL}


class ThimPckCertRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One PCK certificate for the raw TCB of the machine with this QE id."""

    qe_id: bytes
    cpu_svn: bytes
    pce_svn: int
    pce_id: bytes
    encrypted_ppid: bytes | None = None
    client_id: str = CLIENT_ID

    def to_http(self, base: str, *, metadata: bool = False, version: str = "v4") -> HttpRequest:
        """The request on the wire; `base` is the path before `/v4`; `metadata` for the host agent."""
        ppid = (
            () if self.encrypted_ppid is None else (("encrypted_ppid", self.encrypted_ppid.hex()),)
        )
        query = (
            ("qeid", self.qe_id.hex()),
            ("cpusvn", self.cpu_svn.hex()),
            ("pcesvn", self.pce_svn.to_bytes(2, "little").hex()),
            ("pceid", self.pce_id.hex()),
            *ppid,
            ("clientid", self.client_id),
            ("api-version", PCK_CERT_VERSION),
        )
        headers = ((METADATA, "true"),) if metadata else (("Content-Type", JSON),)
        return HttpRequest(target=target(f"{base}/{version}/pckcert", query), headers=headers)

    @classmethod
    def from_http(cls, request: HttpRequest) -> "ThimPckCertRequest":
        """Read its query. Raises `FormatError` (`pcs-request`)."""
        query = request.query
        expect_api_version(query)
        with_ppid = "encrypted_ppid" in query
        size = ENCRYPTED_PPID_DIGITS // 2
        return cls(
            qe_id=read_hex(query, "qeid", 16),
            cpu_svn=read_hex(query, "cpusvn", 16),
            pce_svn=int.from_bytes(read_hex(query, "pcesvn", 2), "little"),
            pce_id=read_hex(query, "pceid", 2),
            encrypted_ppid=read_hex(query, "encrypted_ppid", size) if with_ppid else None,
            client_id=query.get("clientid", ""),
        )


class _WirePckCert(msgspec.Struct, frozen=True):
    """The JSON; member names are case-sensitive."""

    pck_cert: str = msgspec.field(name="pckCert")
    issuer_chain: str = msgspec.field(name="sgx-Pck-Certificate-Issuer-Chain")
    tcbm: ShortText = msgspec.field(name="sgx-Tcbm")
    cache_max_age: ShortText | int = msgspec.field(name="cacheMaxAge", default="")


prepare(_WirePckCert)


class ThimPckCertResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One PCK certificate, its chain, its TCB (18 bytes), and for how many seconds it may be kept."""

    certificate: bytes
    issuer_chain: bytes
    tcbm: bytes
    max_age: int | None

    def to_http(self) -> HttpResponse:
        """JSON; the chain is percent-encoded, the certificate is not."""
        wire = _WirePckCert(
            self.certificate.decode("ascii"),
            write_chain(self.issuer_chain),
            self.tcbm.hex().upper(),
            "" if self.max_age is None else str(self.max_age),
        )
        return HttpResponse(status=200, headers=(("Content-Type", JSON),), body=encode(wire))

    @classmethod
    def from_http(cls, response: HttpResponse) -> "ThimPckCertResponse":
        """Read it. Raises `CollateralError` for a refusal, `FormatError`."""
        if response.status != 200:
            raise Refusal.from_http(response).error()
        wire = decode(response.body, _WirePckCert, "PCK certificate")
        chain = unquote_to_bytes(wire.issuer_chain)
        certificate = wire.pck_cert.encode()
        for text in (certificate, chain):
            pem.blocks(text, "CERTIFICATE")
        try:
            tcbm = bytes.fromhex(wire.tcbm) if len(wire.tcbm) == 36 else b""
        except ValueError:
            tcbm = b""
        if len(tcbm) != 18:
            raise FormatError("pcs-response", "sgx-Tcbm is not 36 hexadecimal digits")
        age = str(wire.cache_max_age)
        return cls(
            certificate=certificate,
            issuer_chain=chain,
            tcbm=tcbm,
            max_age=int(age) if age.isascii() and age.isdigit() else None,
        )


class ThimCrlRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A revocation list by its distribution point: that of "processor", "platform" or "root"."""

    ca: str
    encoding: str = "pem"
    client_id: str = CLIENT_ID

    def to_http(self, base: str, *, encoded: int = 2, version: str = "v4") -> HttpRequest:
        """The request on the wire, the URI percent-encoded once or (Azure's own client) twice."""
        uri = _URIS[self.ca]
        if self.encoding != "pem":
            uri = f"{_HOSTS[1]}sgx/certification/v4/pckcrl?ca={self.ca}&encoding={self.encoding}"
        for _ in range(encoded - 1):
            uri = quote(uri, safe="")
        query = (("uri", uri), ("clientid", self.client_id), ("api-version", CRL_VERSION))
        return HttpRequest(target=target(f"{base}/{version}/pckcrl", query))

    @classmethod
    def from_http(cls, request: HttpRequest) -> "ThimCrlRequest":
        """Read its query. Raises `FormatError` (`pcs-request`)."""
        query = request.query
        expect_api_version(query)
        uri = query.get("uri", "")
        if "://" not in uri:
            uri = unquote(uri)
        if len(uri) > 2048 or not uri.lower().startswith(_HOSTS):
            raise malformed("uri is not that of a revocation list of Intel's")
        ca, encoding = _crl_of(uri)
        return cls(ca=ca, encoding=encoding, client_id=query.get("clientid", ""))


def _crl_of(uri: str) -> tuple[str, str]:
    """Whose list a distribution point is of, and how it is encoded there."""
    inner = HttpRequest(target=uri)
    name = inner.path.rpartition("/")[2].lower()
    if name == "pckcrl":
        ca = read_choice(inner.query, "ca", ("processor", "platform"))
        return ca, read_choice(inner.query, "encoding", ("pem", "der"), "pem")
    if name not in CRL_URIS:
        raise malformed("uri is not that of a revocation list of Intel's")
    return CRL_URIS[name], "der" if name.endswith(".der") else "pem"


class ThimDocumentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A TCB info, of the FMSPC that is given, or else an identity: "qe/identity", "qve/identity"."""

    resource: str = "tcb"
    fmspc: bytes | None = None
    client_id: str = CLIENT_ID

    def to_http(self, base: str) -> HttpRequest:
        """The request on the wire; `base` is the path up to the version, included."""
        fmspc = () if self.fmspc is None else (("fmspc", self.fmspc.hex()),)
        query = (*fmspc, ("clientid", self.client_id), ("api-version", DOCUMENT_VERSION))
        return HttpRequest(target=target(f"{base}/{self.resource}", query))


class ThimRegionalCrlRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A revocation list as the regional services have it, for TDX: of a CA, or the root's."""

    ca: str | None
    client_id: str = CLIENT_ID

    def to_http(self, base: str) -> HttpRequest:
        """The request on the wire; `base` is the path up to the version, included."""
        client = ("clientid", self.client_id)
        if self.ca is None:
            return HttpRequest(target=target(f"{base}/rootcacrl", (client,)))
        return HttpRequest(target=target(f"{base}/pckcrl", (("ca", self.ca), client)))


def expect_api_version(query: Mapping[str, str]) -> None:
    """Azure's services want to be told which of their versions is meant."""
    if not query.get("api-version"):
        raise malformed("api-version is missing")


def cache_control(max_age: int) -> tuple[str, str]:
    """The header by which an answer says for how many seconds it may be kept."""
    return CACHE_CONTROL, f"max-age={max_age}"
