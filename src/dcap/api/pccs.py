"""A Provisioning Certificate Caching Service: what may be asked of it without a token, as values.

One type a resource; `to_http` writes the request as Intel's quote provider does (hex in upper case, its
order of parameters, the URI of a list as it stands), `from_http` reads it as tolerantly as Intel's PCCS:
hex and choices in any case, unknown parameters ignored. `line` is what a client appends to the base URL
that it was configured with. Not here: answers (`pccs_responses`), what wants a token (`pccs_admin`).

Beyond Intel's: `number` (tcbEvaluationDataNumber), which Intel's own PCCS silently ignores.

Source: `pccs-and-pcs-api.md` §1; `quote-provider.md` §2.1, §7.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote

import msgspec

from dcap.api.http import HttpRequest
from dcap.api.parameters import malformed, read_choice, read_hex
from dcap.api.pcs import (
    CAS,
    ENCRYPTED_PPID_DIGITS,
    EVALUATION_NUMBER,
    IDENTITIES,
    UPDATES,
    Place,
    Tee,
    identity_at,
    read_number,
)
from dcap.errors import NotFound

#: The longest name of a platform: a QE id in hex, or a name of its own where there is no enclave.
MAX_QE_ID = 260
MAX_URI = 2048

_PATH = re.compile(r"/(sgx|tdx)/certification/v([34])/([a-z/]+?)/?", re.IGNORECASE)
#: The route needs no token, so it must not fetch whatever it is told to.
_CRL_URIS = re.compile(
    r"https://(?:"
    r"[A-Za-z0-9.-]*certificates\.trustedservices\.intel\.com/IntelSGXRootCA\..+"
    r"|certprx\.adsdcsp\.com/IntelSGXRootCA\..+"
    r"|(?:[A-Za-z0-9-]+\.)*api\.trustedservices\.intel\.com/sgx/certification/v[0-9]/pckcrl\?.+"
    r"|[A-Za-z0-9-]+\.az\.sgx(?:prod|np)\.adsdcsp\.com/sgx/certification/v[0-9]/pckcrl\?.+"
    r")"
)


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests have: the version in the path, which says nothing about `encoding`."""

    version: int = 4

    @property
    def place(self) -> Place:
        """Where it goes."""
        raise NotImplementedError

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Its query, in the order in which it is sent."""
        return ()

    @property
    def line(self) -> str:
        """Resource and query: what is appended to `…/sgx/certification/v4/`."""
        query = "&".join(f"{name}={value}" for name, value in self.parameters())
        return f"{self.place.resource}?{query}" if query else self.place.resource

    def to_http(self, prefix: str = "") -> HttpRequest:
        """The request on the wire; `prefix` is the path before `/sgx/`."""
        place = self.place
        return HttpRequest(
            target=f"{prefix}/{place.tee}/certification/v{place.version}/{self.line}"
        )


class PccsPckCertRequest(_Request, frozen=True, kw_only=True):
    """The PCK certificate of a machine for its raw TCB. `qe_id` is text: hex, or a name."""

    qe_id: str
    cpu_svn: bytes
    pce_svn: int
    pce_id: bytes
    encrypted_ppid: bytes | None = None

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place("sgx", self.version, "pckcert")

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Its query, in the order of Intel's quote provider."""
        ppid = self.encrypted_ppid
        return (
            ("qeid", quote(self.qe_id, safe="")),
            *(() if ppid is None else (("encrypted_ppid", _hex(ppid)),)),
            ("cpusvn", _hex(self.cpu_svn)),
            ("pcesvn", _hex(self.pce_svn.to_bytes(2, "little"))),
            ("pceid", _hex(self.pce_id)),
        )

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "PccsPckCertRequest":
        """Read it; the QE id becomes upper case, as it is compared."""
        query = request.query
        qe_id = query.get("qeid", "")
        if not 1 <= len(qe_id) <= MAX_QE_ID:
            raise malformed(f"qeid is not 1 to {MAX_QE_ID} characters")
        size = ENCRYPTED_PPID_DIGITS // 2
        return cls(
            version=place.version,
            qe_id=qe_id.upper(),
            cpu_svn=read_hex(query, "cpusvn", 16),
            pce_svn=int.from_bytes(read_hex(query, "pcesvn", 2), "little"),
            pce_id=read_hex(query, "pceid", 2),
            encrypted_ppid=(
                read_hex(query, "encrypted_ppid", size) if "encrypted_ppid" in query else None
            ),
        )


class PccsPckCrlRequest(_Request, frozen=True, kw_only=True):
    """The revocation list of a PCK CA, in "der" or in "hex": a PCCS never sends PEM."""

    ca: str
    encoding: str = "hex"

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place("sgx", self.version, "pckcrl")

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Its query; hex is what comes when no encoding is named."""
        encoding = (("encoding", "der"),) if self.encoding == "der" else ()
        return (("ca", self.ca), *encoding)

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "PccsPckCrlRequest":
        """Read it; every encoding but DER means hex."""
        query = request.query
        is_der = query.get("encoding", "").lower() == "der"
        return cls(
            version=place.version,
            ca=_choice(query, "ca", CAS),
            encoding="der" if is_der else "hex",
        )


class _EditionRequest(_Request, frozen=True, kw_only=True):
    """Of which generation: `number` where there is one, else `update`."""

    update: str = "standard"
    number: int | None = None

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Its query."""
        if self.number is not None:
            return ((EVALUATION_NUMBER, str(self.number)),)
        return (("update", self.update),)


class PccsTcbInfoRequest(_EditionRequest, frozen=True, kw_only=True):
    """The TCB info of an FMSPC."""

    fmspc: bytes
    tee: Tee = "sgx"

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place(self.tee, self.version, "tcb")

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Its query."""
        return (("fmspc", _hex(self.fmspc)), *_EditionRequest.parameters(self))

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "PccsTcbInfoRequest":
        """Read it."""
        fmspc = read_hex(request.query, "fmspc", 6)
        return cls(**_edition(place, request), fmspc=fmspc, tee=place.own_tee)


class PccsIdentityRequest(_EditionRequest, frozen=True, kw_only=True):
    """The identity of an enclave of Intel's: "QE", "TD_QE" or "QVE"."""

    name: str

    @property
    def place(self) -> Place:
        """Where it goes."""
        tee, resource = PCCS_IDENTITIES[self.name]
        return Place(tee, self.version, resource)

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "PccsIdentityRequest":
        """Read it."""
        return cls(**_edition(place, request), name=identity_at(place))


#: Enclave -> where its identity is. Intel's PCCS has none of the QAE.
PCCS_IDENTITIES: Mapping[str, tuple[Tee, str]] = {
    name: where for name, where in IDENTITIES.items() if name != "QAE"
}


class RootCaCrlRequest(_Request, frozen=True, kw_only=True):
    """The root's revocation list, in hex."""

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place("sgx", self.version, "rootcacrl")

    @classmethod
    def from_http(cls, place: Place, _request: HttpRequest) -> "RootCaCrlRequest":
        """Read it."""
        return cls(version=place.version)


class CrlRequest(_Request, frozen=True, kw_only=True):
    """A revocation list by the URI of its distribution point, in DER."""

    uri: str

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place("sgx", self.version, "crl")

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Its query: the URI as it stands, save what would end the request's first line."""
        return (("uri", quote(self.uri, safe="!#$&'()*+,/:;=?@[]%")),)

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "CrlRequest":
        """Read it; a URI that is not Intel's is refused."""
        uri = request.query.get("uri", "")
        if len(uri) > MAX_URI or not _CRL_URIS.fullmatch(uri):
            raise malformed("uri is not that of a revocation list of Intel's")
        return cls(version=place.version, uri=uri)


class PolicyRequest(_Request, frozen=True, kw_only=True):
    """The default appraisal policies for an FMSPC."""

    fmspc: bytes

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place("sgx", self.version, "appraisalpolicy")

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Its query."""
        return (("fmspc", _hex(self.fmspc)),)

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "PolicyRequest":
        """Read it."""
        return cls(version=place.version, fmspc=read_hex(request.query, "fmspc", 6))


PccsRequest: TypeAlias = (
    PccsPckCertRequest
    | PccsPckCrlRequest
    | PccsTcbInfoRequest
    | PccsIdentityRequest
    | RootCaCrlRequest
    | CrlRequest
    | PolicyRequest
)


class PccsRoute(NamedTuple):
    """One resource: where it is, and since which version."""

    tee: str
    resource: str
    since: int
    request: type[PccsRequest]


PCCS_ROUTES: tuple[PccsRoute, ...] = (
    PccsRoute("sgx", "pckcert", 3, PccsPckCertRequest),
    PccsRoute("sgx", "pckcrl", 3, PccsPckCrlRequest),
    PccsRoute("sgx", "tcb", 3, PccsTcbInfoRequest),
    PccsRoute("tdx", "tcb", 4, PccsTcbInfoRequest),
    PccsRoute("sgx", "qe/identity", 3, PccsIdentityRequest),
    PccsRoute("tdx", "qe/identity", 4, PccsIdentityRequest),
    PccsRoute("sgx", "qve/identity", 3, PccsIdentityRequest),
    PccsRoute("sgx", "rootcacrl", 3, RootCaCrlRequest),
    PccsRoute("sgx", "crl", 3, CrlRequest),
    PccsRoute("sgx", "appraisalpolicy", 3, PolicyRequest),
)
_ROUTES = {(route.tee, route.resource): route for route in PCCS_ROUTES}


def read_request(request: HttpRequest) -> PccsRequest:
    """What is asked, by GET or HEAD; the path in any case, with or without a last slash.

    Raises `NotFound` (`pccs-route`) where there is no such resource, and `FormatError`
    (`pcs-request`), which is answered with 400.
    """
    place = place_of(request)
    route = _ROUTES.get((place.tee, place.resource)) if place else None
    if not place or not route or place.version < route.since:
        raise no_route()
    if request.method not in ("GET", "HEAD"):
        raise no_route()
    return route.request.from_http(place, request)


def place_of(request: HttpRequest) -> Place | None:
    """Where a request goes, in lower case; `None` for a path of another shape."""
    match = _PATH.fullmatch(request.path)
    return Place(match[1].lower(), int(match[2]), match[3].lower()) if match else None


def no_route() -> NotFound:
    """There is no such resource, or it cannot be asked so."""
    return NotFound(
        "pccs-route",
        "the service has no such resource",
        mend="let pccs_url end in /sgx/certification/v4/",
    )


def _edition(place: Place, request: HttpRequest) -> dict[str, Any]:
    query = request.query
    number = read_number(query)
    update = _choice(query, "update", UPDATES, "standard")
    return {"version": place.version, "update": update, "number": number}


def _choice(
    query: Mapping[str, str], name: str, choices: tuple[str, ...], default: str = ""
) -> str:
    """One of a few words, in any case."""
    return read_choice({name: query.get(name, default).lower()}, name, choices)


def _hex(value: bytes) -> str:
    return value.hex().upper()
