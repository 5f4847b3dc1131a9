"""Intel's Registration Service v1 for machines of several packages: requests and answers as values.

    POST /sgx/registration/v1/platform   a platform manifest  -> 201, the PPID in hex
    POST /sgx/registration/v1/package    an add request       -> 200, membership certificates

Both bodies are opaque (`application/octet-stream`). Not here: what makes a manifest genuine.

Source: Intel SGX Registration Service API; `pccs-and-pcs-api.md` §5.
"""

import msgspec

from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.parameters import expect_media_type, malformed
from dcap.api.pcs import SUBSCRIPTION_KEY
from dcap.api.pcs_responses import Refusal
from dcap.errors import FormatError, NotFound

PLATFORM = "/sgx/registration/v1/platform"
PACKAGE = "/sgx/registration/v1/package"
OCTETS = "application/octet-stream"
CERTIFICATE_COUNT = "Certificate-Count"
#: The answer to an add request is an array of so many slots, of which the last ones are zero.
SLOTS = 8

#: Error-Code -> what Intel means.
ERRORS = {
    "InvalidRequestSyntax": "the request is malformed",
    "InvalidRegistrationServer": "the manifest was made for another registration server",
    "InvalidOrRevokedPackage": "a package of the platform is not genuine, or revoked",
    "PackageNotFound": "a package of the platform is not known",
    "IncompatiblePackage": "a package does not go with the others",
    "InvalidPlatformManifest": "the manifest is not genuine, or no longer the platform's",
    "CachedKeysPolicyViolation": "the platform was registered with its keys not to be kept",
    "PlatformNotFound": "the platform is not registered",
    "InvalidAddRequest": "the add request is not genuine",
}


class RegisterRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A platform registers, directly: Intel keeps its keys."""

    manifest: bytes

    def to_http(self) -> HttpRequest:
        """The request on the wire."""
        headers = (("Content-Type", OCTETS),)
        return HttpRequest(method="POST", target=PLATFORM, headers=headers, body=self.manifest)


class AddPackageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A registered platform gets more packages."""

    add_request: bytes
    api_key: str | None = None

    def to_http(self) -> HttpRequest:
        """The request on the wire."""
        key = () if self.api_key is None else ((SUBSCRIPTION_KEY, self.api_key),)
        headers = (("Content-Type", OCTETS), *key)
        return HttpRequest(method="POST", target=PACKAGE, headers=headers, body=self.add_request)


class RegisterResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The platform is registered; it is known by this PPID, 16 bytes."""

    ppid: bytes

    def to_http(self) -> HttpResponse:
        """201 and the PPID in hex."""
        headers = (("Content-Type", "text/plain"),)
        return HttpResponse(status=201, headers=headers, body=self.ppid.hex().upper().encode())

    @classmethod
    def from_http(cls, response: HttpResponse) -> "RegisterResponse":
        """Read it. Raises `CollateralError` for a refusal, `FormatError`."""
        if response.status != 201:
            raise Refusal.from_http(response).error()
        text = response.body.strip()
        try:
            ppid = bytes.fromhex(text.decode("ascii")) if len(text) == 32 else b""
        except ValueError:
            ppid = b""
        if len(ppid) != 16:
            raise FormatError("registration-response", "the PPID is not 32 hexadecimal digits")
        return cls(ppid=ppid)


class AddPackageResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Membership certificates, one for each package added, all of the same size."""

    certificates: tuple[bytes, ...]

    def to_http(self) -> HttpResponse:
        """200, the count, and eight slots."""
        size = max(map(len, self.certificates), default=0)
        body = b"".join(self.certificates).ljust(SLOTS * size, b"\0")
        count = (CERTIFICATE_COUNT, str(len(self.certificates)))
        return HttpResponse(status=200, headers=(("Content-Type", OCTETS), count), body=body)

    @classmethod
    def from_http(cls, response: HttpResponse) -> "AddPackageResponse":
        """Read it. Raises `CollateralError` for a refusal, `FormatError`."""
        if response.status != 200:
            raise Refusal.from_http(response).error()
        text = response.header(CERTIFICATE_COUNT) or ""
        count = int(text) if text in _COUNTS else -1
        size, rest = divmod(len(response.body), SLOTS)
        slots = [response.body[i * size : (i + 1) * size] for i in range(SLOTS)]
        if count < 0 or rest or any(b"".join(slots[count:])):
            raise FormatError(
                "registration-response",
                f"the answer is not {SLOTS} slots of which {CERTIFICATE_COUNT} are filled",
            )
        return cls(certificates=tuple(slots[:count]))


_COUNTS = tuple(map(str, range(SLOTS + 1)))


def read_request(request: HttpRequest) -> RegisterRequest | AddPackageRequest:
    """What is asked.

    Raises `NotFound` (`registration-route`), or `FormatError`: `pcs-request` (400), `pcs-media-type`
    (415).
    """
    if request.method != "POST" or request.path not in (PLATFORM, PACKAGE):
        raise NotFound("registration-route", "the service has no such resource")
    expect_media_type(request, OCTETS)
    if not request.body:
        raise malformed("the body is empty")
    if request.path == PLATFORM:
        return RegisterRequest(manifest=request.body)
    return AddPackageRequest(add_request=request.body, api_key=request.header(SUBSCRIPTION_KEY))
