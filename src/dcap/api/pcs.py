"""Intel's Provisioning Certification Service, v3 and v4: what may be asked of it, as values.

One type a resource; `to_http` writes the request, `read_request` reads it back and refuses what Intel
refuses. v3 has no TDX, no FMSPC list, no evaluation numbers and no QAE. Answers: `pcs_responses`.

Identifiers are bytes in the order of the wire: PCEID is two little-endian bytes, the PCESVN an int
that is written little-endian. Unknown parameters are ignored, as Intel's gateway does.

Source: Intel PCS API v4; `pccs-and-pcs-api.md` §5.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import msgspec

from dcap.api.http import HttpRequest, target
from dcap.api.parameters import HEX, expect_media_type, malformed, read_choice, read_hex
from dcap.errors import FormatError, NotFound
from dcap.formats.signed_json import decode, encode

Tee: TypeAlias = Literal["sgx", "tdx"]

SUBSCRIPTION_KEY = "Ocp-Apim-Subscription-Key"
PPID_ENCRYPTION_KEY = "PPID-Encryption-Key"
JSON = "application/json"

ENCRYPTED_PPID_DIGITS = 768
EVALUATION_NUMBER = "tcbEvaluationDataNumber"
CAS = ("processor", "platform")
UPDATES = ("standard", "early")
#: Fewest and most hex digits of a platform manifest.
MANIFEST_DIGITS = (16862, 112884)

_NUMBER = re.compile(r"[0-9]{1,9}")
_PATH = re.compile(r"/(sgx|tdx)/certification/v([34])/([a-z/]+)")


class Place(NamedTuple):
    """Where a request goes: `/{tee}/certification/v{version}/{resource}`."""

    tee: str
    version: int
    resource: str

    @property
    def path(self) -> str:
        """The place as a path."""
        return f"/{self.tee}/certification/v{self.version}/{self.resource}"

    @property
    def own_tee(self) -> Tee:
        """The TEE, as one of the two that there are."""
        return "tdx" if self.tee == "tdx" else "sgx"


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests have: the API's version and, where there is one, the subscription key."""

    version: int = 4
    api_key: str | None = None

    @property
    def place(self) -> Place:
        """Where it goes."""
        raise NotImplementedError

    def parameters(self) -> dict[str, str]:
        """Its query."""
        return {}

    def to_http(self) -> HttpRequest:
        """The request on the wire."""
        return HttpRequest(
            target=target(self.place.path, self.parameters().items()),
            headers=() if self.api_key is None else ((SUBSCRIPTION_KEY, self.api_key),),
        )


class _PckRequest(_Request, frozen=True, kw_only=True):
    """Of which machine: by its encrypted PPID (GET), or by its platform manifest (POST)."""

    pce_id: bytes
    encrypted_ppid: bytes | None = None
    platform_manifest: bytes | None = None

    def parameters(self) -> dict[str, str]:
        """Its query, or its JSON body."""
        if self.platform_manifest is not None:
            return {"platformManifest": self.platform_manifest.hex(), "pceid": self.pce_id.hex()}
        return {"encrypted_ppid": (self.encrypted_ppid or b"").hex(), "pceid": self.pce_id.hex()}

    def to_http(self) -> HttpRequest:
        """A GET, or a POST of JSON."""
        get = _Request.to_http(self)
        if self.platform_manifest is None:
            return get
        return HttpRequest(
            method="POST",
            target=self.place.path,
            headers=(*get.headers, ("Content-Type", JSON)),
            body=encode(self.parameters()),
        )


class PckCertRequest(_PckRequest, frozen=True, kw_only=True):
    """One PCK certificate of a machine: the highest that its raw TCB reaches."""

    cpu_svn: bytes
    pce_svn: int

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place("sgx", self.version, "pckcert")

    def parameters(self) -> dict[str, str]:
        """Its query, or its JSON body."""
        svns = {
            "cpusvn": self.cpu_svn.hex(),
            "pcesvn": self.pce_svn.to_bytes(2, "little").hex(),
        }
        return {**_PckRequest.parameters(self), **svns}

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "PckCertRequest":
        """Read it."""
        given = _given(request)
        return cls(
            **_who(place, request, given),
            cpu_svn=read_hex(given, "cpusvn", 16),
            pce_svn=int.from_bytes(read_hex(given, "pcesvn", 2), "little"),
        )


class PckCertsRequest(_PckRequest, frozen=True, kw_only=True):
    """The PCK certificates of a machine for all TCBs; with `cpu_svn`, those of that configuration."""

    cpu_svn: bytes | None = None

    @property
    def place(self) -> Place:
        """Where it goes."""
        resource = "pckcerts" if self.cpu_svn is None else "pckcerts/config"
        return Place("sgx", self.version, resource)

    def parameters(self) -> dict[str, str]:
        """Its query, or its JSON body."""
        configuration = {} if self.cpu_svn is None else {"cpusvn": self.cpu_svn.hex()}
        return {**_PckRequest.parameters(self), **configuration}

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "PckCertsRequest":
        """Read it."""
        given = _given(request)
        of_configuration = place.resource == "pckcerts/config"
        return cls(
            **_who(place, request, given),
            cpu_svn=read_hex(given, "cpusvn", 16) if of_configuration else None,
        )


class PckCrlRequest(_Request, frozen=True, kw_only=True):
    """The revocation list of a PCK CA."""

    ca: str
    encoding: str = "pem"

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place("sgx", self.version, "pckcrl")

    def parameters(self) -> dict[str, str]:
        """Its query."""
        return {"ca": self.ca, "encoding": self.encoding}

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "PckCrlRequest":
        """Read it."""
        query = request.query
        return cls(
            **_asked(place, request),
            ca=read_choice(query, "ca", CAS),
            encoding=read_choice(query, "encoding", ("pem", "der"), "pem"),
        )


class _EditionRequest(_Request, frozen=True, kw_only=True):
    """Of which generation: `update` ("standard", "early"), or a number; not both."""

    update: str | None = None
    number: int | None = None

    def parameters(self) -> dict[str, str]:
        """Its query."""
        update = {} if self.update is None else {"update": self.update}
        number = {} if self.number is None else {EVALUATION_NUMBER: str(self.number)}
        return {**update, **number}


class TcbInfoRequest(_EditionRequest, frozen=True, kw_only=True):
    """The TCB info of an FMSPC."""

    fmspc: bytes
    tee: Tee = "sgx"

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place(self.tee, self.version, "tcb")

    def parameters(self) -> dict[str, str]:
        """Its query."""
        return {"fmspc": self.fmspc.hex().upper(), **_EditionRequest.parameters(self)}

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "TcbInfoRequest":
        """Read it."""
        fmspc = read_hex(request.query, "fmspc", 6)
        return cls(**_edition(place, request), tee=place.own_tee, fmspc=fmspc)


class IdentityRequest(_EditionRequest, frozen=True, kw_only=True):
    """The identity of an enclave of Intel's: "QE", "TD_QE", "QVE" or "QAE"."""

    name: str

    @property
    def place(self) -> Place:
        """Where it goes; TD_QE is the QE of TDX."""
        tee, resource = IDENTITIES[self.name]
        return Place(tee, self.version, resource)

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "IdentityRequest":
        """Read it."""
        return cls(**_edition(place, request), name=identity_at(place))


#: Enclave -> where its identity is.
IDENTITIES: Mapping[str, tuple[Tee, str]] = {
    "QE": ("sgx", "qe/identity"),
    "QVE": ("sgx", "qve/identity"),
    "QAE": ("sgx", "qae/identity"),
    "TD_QE": ("tdx", "qe/identity"),
}


def identity_at(place: Place) -> str:
    """The enclave whose identity is there."""
    at = (place.tee, place.resource)
    return next(name for name, where in IDENTITIES.items() if where == at)


class EvaluationNumbersRequest(_Request, frozen=True, kw_only=True):
    """Which TCB evaluation data numbers Intel offers."""

    tee: Tee = "sgx"

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place(self.tee, self.version, "tcbevaluationdatanumbers")

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "EvaluationNumbersRequest":
        """Read it."""
        return cls(**_asked(place, request), tee=place.own_tee)


class FmspcsRequest(_Request, frozen=True, kw_only=True):
    """All FMSPCs, or those of one kind of platform."""

    PLATFORMS: ClassVar[tuple[str, ...]] = ("all", "client", "E3", "E5")
    platform: str = "all"

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place("sgx", self.version, "fmspcs")

    def parameters(self) -> dict[str, str]:
        """Its query."""
        return {"platform": self.platform}

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "FmspcsRequest":
        """Read it."""
        platform = read_choice(request.query, "platform", cls.PLATFORMS, "all")
        return cls(**_asked(place, request), platform=platform)


PcsRequest: TypeAlias = (
    PckCertRequest
    | PckCertsRequest
    | PckCrlRequest
    | TcbInfoRequest
    | IdentityRequest
    | EvaluationNumbersRequest
    | FmspcsRequest
)


class Route(NamedTuple):
    """One resource: where it is, since which version, how it may be asked."""

    tee: str
    resource: str
    since: int
    methods: tuple[str, ...]
    request: type[PcsRequest]


_GET, _EITHER = ("GET",), ("GET", "POST")
ROUTES: tuple[Route, ...] = (
    Route("sgx", "pckcert", 3, _EITHER, PckCertRequest),
    Route("sgx", "pckcerts", 3, _EITHER, PckCertsRequest),
    Route("sgx", "pckcerts/config", 3, _EITHER, PckCertsRequest),
    Route("sgx", "pckcrl", 3, _GET, PckCrlRequest),
    Route("sgx", "tcb", 3, _GET, TcbInfoRequest),
    Route("tdx", "tcb", 4, _GET, TcbInfoRequest),
    Route("sgx", "qe/identity", 3, _GET, IdentityRequest),
    Route("tdx", "qe/identity", 4, _GET, IdentityRequest),
    Route("sgx", "qve/identity", 3, _GET, IdentityRequest),
    Route("sgx", "qae/identity", 4, _GET, IdentityRequest),
    Route("sgx", "tcbevaluationdatanumbers", 4, _GET, EvaluationNumbersRequest),
    Route("tdx", "tcbevaluationdatanumbers", 4, _GET, EvaluationNumbersRequest),
    Route("sgx", "fmspcs", 4, _GET, FmspcsRequest),
)
_ROUTES = {(route.tee, route.resource): route for route in ROUTES}


def read_request(request: HttpRequest) -> PcsRequest:
    """What is asked.

    Raises `NotFound` (`pcs-route`) where there is no such resource or method, and `FormatError`:
    `pcs-request` (400) or `pcs-media-type` (415).
    """
    match = _PATH.fullmatch(request.path)
    place = Place(match[1], int(match[2]), match[3]) if match else None
    route = _ROUTES.get((place.tee, place.resource)) if place else None
    if not place or not route or place.version < route.since or request.method not in route.methods:
        raise NotFound("pcs-route", "the service has no such resource")
    return route.request.from_http(place, request)


def read_number(query: Mapping[str, str]) -> int | None:
    """The evaluation data number that is asked for, if one is. Raises `FormatError`."""
    text = query.get(EVALUATION_NUMBER)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise malformed(f"{EVALUATION_NUMBER} is not a number")
    return int(text)


def _asked(place: Place, request: HttpRequest) -> dict[str, Any]:
    return {"version": place.version, "api_key": request.header(SUBSCRIPTION_KEY)}


def _edition(place: Place, request: HttpRequest) -> dict[str, Any]:
    query = request.query
    update = read_choice(query, "update", UPDATES) if "update" in query else None
    number = None
    if place.version > 3 and EVALUATION_NUMBER in query:
        if update is not None:
            raise malformed(f"update and {EVALUATION_NUMBER} exclude each other")
        number = read_number(query)
    return {**_asked(place, request), "update": update, "number": number}


def _given(request: HttpRequest) -> Mapping[str, str]:
    """The parameters of a query or of a JSON body."""
    if request.method != "POST":
        return request.query
    expect_media_type(request, JSON)
    try:
        return decode(request.body, dict[str, str], "request")
    except FormatError:
        raise malformed("the body is not a JSON object of strings, each member once") from None


def _who(place: Place, request: HttpRequest, given: Mapping[str, str]) -> dict[str, Any]:
    """The machine asked about: by manifest in a POST, by encrypted PPID in a GET."""
    manifest = ppid = None
    if request.method == "POST":
        text = given.get("platformManifest", "")
        fewest, most = MANIFEST_DIGITS
        if not fewest <= len(text) <= most or len(text) % 2 or not HEX.fullmatch(text):
            raise malformed(f"platformManifest is not {fewest} to {most} hexadecimal digits")
        manifest = bytes.fromhex(text)
    else:
        ppid = read_hex(given, "encrypted_ppid", ENCRYPTED_PPID_DIGITS // 2)
        if (request.header(PPID_ENCRYPTION_KEY) or "RSA-3072") != "RSA-3072":
            raise malformed(f"{PPID_ENCRYPTION_KEY} is not RSA-3072")
    return {
        **_asked(place, request),
        "encrypted_ppid": ppid,
        "platform_manifest": manifest,
        "pce_id": read_hex(given, "pceid", 2),
    }
