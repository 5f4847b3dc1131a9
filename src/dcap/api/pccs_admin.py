"""A Provisioning Certificate Caching Service: what wants a token, requests and answers, both directions.

    POST /platforms            user-token     a machine registers
    GET  /platforms            admin-token    which machines wait, or are kept
    PUT  /platformcollateral   admin-token    import what was fetched elsewhere
    GET, POST /refresh         admin-token
    PUT  /appraisalpolicy      admin-token

Read as Intel's PCCS reads it, but where it broke its own tools: `fmspc` of a refresh may be empty, "all"
or a list. Identifiers, manifests and tokens never stand in the text of these values. Not here: whether a
token is right, the content of an import.

Source: `pccs-and-pcs-api.md` §1.1, §1.4-1.8, §4.2.
"""

import re
from typing import Any, ClassVar, Literal, TypeAlias
from urllib.parse import parse_qsl, quote

import msgspec

from dcap.api.http import Headers, HttpRequest, HttpResponse
from dcap.api.parameters import HEX, malformed
from dcap.api.pccs import MAX_QE_ID, no_route, place_of
from dcap.api.pccs_responses import JSON_UTF8, PLATFORM_COUNT, accepted
from dcap.api.pcs import JSON, Place
from dcap.errors import FormatError
from dcap.formats.signed_json import decode, encode, prepare

#: Look into the queue without emptying it: `GET /platforms?source=reg&keep=true`.
KEEP = "keep"
USER_TOKEN = "user-token"  # noqa: S105 - the header's name
ADMIN_TOKEN = "admin-token"  # noqa: S105 - as above
FORM = "application/x-www-form-urlencoded"
#: More than any list of machines, or any import, that a PCCS takes.
MAX_BODY = 64 * 1024 * 1024

UpdateKind: TypeAlias = Literal["standard", "early", "all"]
_UPDATES: tuple[UpdateKind, ...] = ("standard", "early", "all")
Queue: TypeAlias = Literal["reg", "reg_na"]
_QUEUES: tuple[Queue, ...] = ("reg", "reg_na")
_FMSPC = re.compile(r"[0-9A-F]{12}")


class PlatformRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A machine as tools and lists write it: hex as text, little-endian; "" and `None` are absent."""

    qe_id: str
    pce_id: str
    cpu_svn: str = ""
    pce_svn: str = ""
    enc_ppid: str = ""
    platform_manifest: str | None = None

    #: How many hex digits a member has.
    DIGITS: ClassVar[dict[str, int]] = {
        "pce_id": 4,
        "cpu_svn": 32,
        "pce_svn": 4,
        "enc_ppid": 768,
    }

    def __repr__(self) -> str:
        return "<PlatformRecord>"


prepare(list[PlatformRecord])


class _AdminRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What all have: the version in the path, and the token as it was sent."""

    version: int = 4
    token: str | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _to_http(
        self, prefix: str, line: str, header: str, method: str = "GET", body: bytes = b""
    ) -> HttpRequest:
        headers: Headers = () if self.token is None else ((header, self.token),)
        if body:
            headers = (*headers, ("Content-Type", JSON))
        return HttpRequest(
            method=method,
            target=f"{prefix}/sgx/certification/v{self.version}/{line}",
            headers=headers,
            body=body,
        )


class RegistrationRequest(_AdminRequest, frozen=True, kw_only=True):
    """A machine registers. Where it sends a manifest, its other members but the ids are left out."""

    platform: PlatformRecord
    update: UpdateKind = "standard"

    def to_http(self, prefix: str = "") -> HttpRequest:
        """The request on the wire."""
        line = "platforms" if self.update == "standard" else f"platforms?update={self.update}"
        return self._to_http(prefix, line, USER_TOKEN, "POST", encode(self.platform))

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "RegistrationRequest":
        """Read it. Raises `FormatError` (`pcs-request`)."""
        update = request.query.get("update", "standard").lower()
        if update not in _UPDATES:
            raise malformed(f"update is not one of {', '.join(_UPDATES)}")
        given = _object(request)
        record: dict[str, Any] = {"qe_id": _text(given, "qe_id")}
        if not 1 <= len(record["qe_id"]) <= MAX_QE_ID:
            raise malformed(f"qe_id is not 1 to {MAX_QE_ID} characters")
        if given.get("platform_manifest"):
            record["platform_manifest"] = _text(given, "platform_manifest")
        for name, digits in PlatformRecord.DIGITS.items():
            if name not in given and name != "pce_id" and "platform_manifest" in record:
                continue
            record[name] = _hex(given, name, digits)
        if "platform_manifest" in record:
            record = {name: record[name] for name in ("qe_id", "pce_id", "platform_manifest")}
        return cls(
            version=place.version,
            token=request.header(USER_TOKEN),
            platform=PlatformRecord(**record),
            update=next(kind for kind in _UPDATES if kind == update),
        )


class PlatformListRequest(_AdminRequest, frozen=True, kw_only=True):
    """Which machines wait ("reg"), wait for lack of a certificate ("reg_na"), or are kept.

    With `fmspcs` those that are kept, of these FMSPCs, or all of them where the list is empty. Reading
    what waits takes it off the queue: a lost answer is lost.
    """

    source: Queue = "reg"
    fmspcs: tuple[str, ...] | None = None

    def to_http(self, prefix: str = "") -> HttpRequest:
        """The request on the wire."""
        source: str = self.source
        if self.fmspcs is not None:
            source = f"[{','.join(self.fmspcs)}]"
        line = f"platforms?source={quote(source, safe='')}"
        return self._to_http(prefix, line, ADMIN_TOKEN)

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "PlatformListRequest":
        """Read it. Raises `FormatError` (`pcs-request`)."""
        source = request.query.get("source", "reg")
        token = request.header(ADMIN_TOKEN)
        for queue in _QUEUES:
            if source == queue:
                return cls(version=place.version, token=token, source=queue)
        if not (source.startswith("[") and source.endswith("]")):
            raise malformed("source is not reg, reg_na or a list of FMSPCs in brackets")
        return cls(version=place.version, token=token, fmspcs=_fmspcs(source))


class ImportRequest(_AdminRequest, frozen=True, kw_only=True):
    """Import what was fetched elsewhere: `body` is the file `platform_collaterals.json`, untouched."""

    body: bytes

    def to_http(self, prefix: str = "") -> HttpRequest:
        """The request on the wire."""
        return self._to_http(prefix, "platformcollateral", ADMIN_TOKEN, "PUT", self.body)

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "ImportRequest":
        """Take it."""
        token = request.header(ADMIN_TOKEN)
        return cls(version=place.version, token=token, body=request.body)


class RefreshRequest(_AdminRequest, frozen=True, kw_only=True):
    """Fetch again: collateral, or (`certificates`) PCK certificates, of these FMSPCs or of all."""

    certificates: bool = False
    fmspcs: tuple[str, ...] = ()

    def to_http(self, prefix: str = "") -> HttpRequest:
        """The request on the wire."""
        line = (
            f"refresh?type=certs&fmspc={','.join(self.fmspcs)}" if self.certificates else "refresh"
        )
        return self._to_http(prefix, line, ADMIN_TOKEN, "POST")

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "RefreshRequest":
        """Read it. Raises `FormatError` (`pcs-request`)."""
        query = request.query
        kind = query.get("type")
        if kind not in (None, "certs"):
            raise malformed("type is not certs")
        named = query.get("fmspc", "")
        return cls(
            version=place.version,
            token=request.header(ADMIN_TOKEN),
            certificates=kind == "certs",
            fmspcs=() if named.lower() == "all" else _fmspcs(named),
        )


class SetPolicyRequest(_AdminRequest, frozen=True, kw_only=True):
    """Keep an appraisal policy (a JWT) for an FMSPC, as its default or beside it."""

    fmspc: str
    policy: str
    is_default: bool

    def to_http(self, prefix: str = "") -> HttpRequest:
        """The request on the wire."""
        body = {"is_default": self.is_default, "fmspc": self.fmspc, "policy": self.policy}
        return self._to_http(prefix, "appraisalpolicy", ADMIN_TOKEN, "PUT", encode(body))

    @classmethod
    def from_http(cls, place: Place, request: HttpRequest) -> "SetPolicyRequest":
        """Read it. Raises `FormatError` (`pcs-request`)."""
        given = _object(request)
        is_default = given.get("is_default")
        if not isinstance(is_default, bool):
            raise malformed("is_default is not true or false")
        return cls(
            version=place.version,
            token=request.header(ADMIN_TOKEN),
            fmspc=_hex(given, "fmspc", 12),
            policy=_text(given, "policy"),
            is_default=is_default,
        )


PccsAdminRequest: TypeAlias = (
    RegistrationRequest | PlatformListRequest | ImportRequest | RefreshRequest | SetPolicyRequest
)
#: (method, resource) -> what it asks. HEAD is not among them: here GET changes something.
ADMIN_ROUTES: dict[tuple[str, str], type[PccsAdminRequest]] = {
    ("POST", "platforms"): RegistrationRequest,
    ("GET", "platforms"): PlatformListRequest,
    ("PUT", "platformcollateral"): ImportRequest,
    ("GET", "refresh"): RefreshRequest,
    ("POST", "refresh"): RefreshRequest,
    ("PUT", "appraisalpolicy"): SetPolicyRequest,
}


def read_admin_request(request: HttpRequest) -> PccsAdminRequest:
    """What is asked. Raises `NotFound` (`pccs-route`), `FormatError` (`pcs-request`: 400).

    Check the token before the body is read: `request.header(USER_TOKEN)`.
    """
    place = place_of(request)
    kind = ADMIN_ROUTES.get((request.method, place.resource)) if place else None
    if place is None or kind is None or place.tee != "sgx":
        raise no_route()
    return kind.from_http(place, request)


def write_platforms(platforms: tuple[PlatformRecord, ...]) -> HttpResponse:
    """A list of machines: every member of each, and how many there are."""
    rows = (msgspec.structs.asdict(platform) for platform in platforms)
    body = encode([{name: value or "" for name, value in row.items()} for row in rows])
    headers = (("Content-Type", JSON_UTF8), (PLATFORM_COUNT, str(len(platforms))))
    return HttpResponse(status=200, headers=headers, body=body)


def read_platforms(response: HttpResponse) -> tuple[PlatformRecord, ...]:
    """Read it. Raises `CollateralError` for a refusal, `FormatError`."""
    accepted(response)
    records = decode(response.body, list[PlatformRecord], "list of platforms", MAX_BODY)
    return tuple(
        msgspec.structs.replace(record, platform_manifest=record.platform_manifest or None)
        for record in records
    )


def _object(request: HttpRequest) -> dict[str, Any]:
    """The body: JSON, or a form; of any other type there is nothing in it."""
    media_type = (request.header("Content-Type") or "").partition(";")[0].strip().lower()
    if media_type == FORM:
        return dict(reversed(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True)))
    if media_type != JSON:
        raise malformed(f"the body is not {JSON}")
    try:
        return decode(request.body, dict[str, Any], "request")
    except FormatError:
        raise malformed("the body is not one JSON object, each member once") from None


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise malformed(f"{name} is missing, or not text")
    return value


def _hex(given: dict[str, Any], name: str, digits: int) -> str:
    value = _text(given, name)
    if len(value) != digits or not HEX.fullmatch(value):
        raise malformed(f"{name} is not {digits} hexadecimal digits")
    return value.upper()


def _fmspcs(text: str) -> tuple[str, ...]:
    """A list of FMSPCs, with or without brackets; empty where none is named."""
    inner = text.removeprefix("[").removesuffix("]").upper()
    names = tuple(name.strip() for name in inner.split(",")) if inner.strip() else ()
    if not all(_FMSPC.fullmatch(name) for name in names):
        raise malformed("it is not a list of FMSPCs of 12 hexadecimal digits")
    return names
