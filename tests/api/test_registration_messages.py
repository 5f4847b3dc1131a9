"""Intel's Registration Service: requests and answers, both directions."""

import pytest

from dcap import FormatError, NotFound, Unavailable
from dcap.api import registration
from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pcs_responses import Refusal

REGISTER = registration.RegisterRequest(manifest=b"\x01" * 9000)
ADD = registration.AddPackageRequest(add_request=b"\x02" * 100, api_key="a key")
REGISTERED = registration.RegisterResponse(ppid=bytes(range(0xF0, 0x100)))
ADDED = registration.AddPackageResponse(certificates=(b"\x01" * 64, b"\x02" * 64))


@pytest.mark.parametrize("asked", [REGISTER, ADD], ids=["platform", "package"])
def test_requests_read_back(asked: registration.RegisterRequest) -> None:
    """What is written is what is read."""
    assert registration.read_request(asked.to_http()) == asked


def test_answers_to_the_letter() -> None:
    """201 with the PPID in hex; 200 with the count and eight slots, the unused ones zero."""
    registered, added = REGISTERED.to_http(), ADDED.to_http()
    assert (registered.status, registered.body) == (201, b"F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF")
    assert (added.status, added.header("Certificate-Count")) == (200, "2")
    assert added.body == b"\x01" * 64 + b"\x02" * 64 + bytes(6 * 64)


def test_answers_read_back() -> None:
    """What is written is what is read."""
    assert registration.RegisterResponse.from_http(REGISTERED.to_http()) == REGISTERED
    assert registration.AddPackageResponse.from_http(ADDED.to_http()) == ADDED


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"headers": ()}, "pcs-media-type"),
        ({"headers": (("Content-Type", "application/json"),)}, "pcs-media-type"),
        ({"body": b""}, "pcs-request"),
    ],
)
def test_malformed_requests_are_refused(changed: dict[str, object], code: str) -> None:
    """Another media type is 415, an empty body 400."""
    http = REGISTER.to_http()
    fields = {"method": "POST", "target": http.target, "headers": http.headers, "body": http.body}
    with pytest.raises(FormatError) as caught:
        registration.read_request(HttpRequest(**{**fields, **changed}))
    assert caught.value.code == code


@pytest.mark.parametrize(("method", "path"), [("GET", "platform"), ("POST", "platforms")])
def test_what_is_no_route_is_not_found(method: str, path: str) -> None:
    """There are two routes, and they are posted to."""
    with pytest.raises(NotFound):
        registration.read_request(HttpRequest(method=method, target=f"/sgx/registration/v1/{path}"))


@pytest.mark.parametrize("body", [b"", b"F0", b"G" * 32, "\u00e9".encode() * 16])
def test_a_ppid_that_is_none_is_refused(body: bytes) -> None:
    """The PPID is 32 hexadecimal digits."""
    with pytest.raises(FormatError):
        registration.RegisterResponse.from_http(HttpResponse(status=201, body=body))


@pytest.mark.parametrize(
    ("count", "body"),
    [
        (None, bytes(80)),
        ("9", bytes(80)),
        ("x", bytes(80)),
        ("1", bytes(81)),
        ("1", b"\x01" * 80),
    ],
)
def test_slots_that_do_not_fit_are_refused(count: str | None, body: bytes) -> None:
    """Eight slots of one size, of which as many are filled as the header says."""
    headers = () if count is None else (("Certificate-Count", count),)
    with pytest.raises(FormatError):
        registration.AddPackageResponse.from_http(
            HttpResponse(status=200, headers=headers, body=body)
        )


def test_refusals_say_why() -> None:
    """The error carries Intel's own code."""
    refused = Refusal(status=400, error_code="InvalidPlatformManifest").to_http()
    with pytest.raises(Unavailable, match="InvalidPlatformManifest"):
        registration.RegisterResponse.from_http(refused)
