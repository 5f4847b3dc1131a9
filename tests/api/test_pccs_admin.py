"""A PCCS, with a token: requests and answers, both directions."""

import json

import pytest

from dcap import FormatError, NotFound
from dcap.api import pccs_admin as api
from dcap.api.http import HttpRequest, HttpResponse

BASE = "/sgx/certification/v4"
MACHINE = api.PlatformRecord(
    qe_id="AB" * 16, pce_id="0000", cpu_svn="0C" * 16, pce_svn="0D00", enc_ppid="AB" * 384
)
MULTI = api.PlatformRecord(qe_id="AB" * 16, pce_id="0000", platform_manifest="aabb")
REQUESTS = (
    api.RegistrationRequest(platform=MACHINE, token="t"),
    api.RegistrationRequest(platform=MULTI, update="all"),
    api.PlatformListRequest(token="t"),
    api.PlatformListRequest(source="reg_na"),
    api.PlatformListRequest(fmspcs=()),
    api.PlatformListRequest(fmspcs=("00A067110000", "00A067120000"), version=3),
    api.ImportRequest(body=b'{"platforms" : []}', token="t"),
    api.RefreshRequest(token="t"),
    api.RefreshRequest(certificates=True),
    api.RefreshRequest(certificates=True, fmspcs=("00A067110000", "00A067120000")),
    api.SetPolicyRequest(fmspc="00A067110000", policy="a.b.c", is_default=True, token="t"),
)


@pytest.mark.parametrize("asked", REQUESTS)
def test_requests_read_back(asked: api.PccsAdminRequest) -> None:
    """What is written is what is read, the token included; its text shows neither."""
    assert api.read_admin_request(asked.to_http()) == asked
    assert asked.to_http("/below").target.startswith("/below/sgx/")
    assert "AB" not in repr(asked)
    assert "token" not in repr(asked)


def register(body: object, kind: str = "application/json", query: str = "") -> HttpRequest:
    """A registration as a tool sends it."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpRequest(
        method="POST",
        target=f"{BASE}/platforms{query}",
        headers=(("Content-Type", kind),),
        body=text,
    )


WHOLE = {
    "qe_id": "ab" * 16,
    "pce_id": "0000",
    "cpu_svn": "0c" * 16,
    "pce_svn": "0d00",
    "enc_ppid": "ab" * 384,
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, MACHINE),
        ({"platform_manifest": None, "hw": 1}, MACHINE),
        ({"platform_manifest": ""}, MACHINE),
        ({"platform_manifest": "aabb"}, MULTI),
    ],
)
def test_what_tools_send(changed: dict[str, object], expected: api.PlatformRecord) -> None:
    """Hex in any case, unknown members; beside a manifest the other members are left out."""
    asked = api.read_admin_request(
        register({**WHOLE, **changed}, "application/json; charset=utf-8")
    )
    assert isinstance(asked, api.RegistrationRequest)
    assert asked.platform.pce_id == expected.pce_id
    assert asked.platform.cpu_svn == expected.cpu_svn
    assert asked.platform.enc_ppid == expected.enc_ppid
    assert asked.platform.platform_manifest == expected.platform_manifest


def test_a_form_is_read_too() -> None:
    """A body may be urlencoded."""
    body = "&".join(f"{name}={value}" for name, value in WHOLE.items()).encode()
    asked = api.read_admin_request(register(body, "application/x-www-form-urlencoded"))
    assert isinstance(asked, api.RegistrationRequest)
    assert asked.platform.pce_svn == "0D00"


@pytest.mark.parametrize(
    "request_",
    [
        register([WHOLE]),
        register(b"{"),
        register(b'{"qe_id": "a", "qe_id": "b"}'),
        register(WHOLE, "text/plain"),
        register(WHOLE, query="?update=soon"),
        register({**WHOLE, "qe_id": ""}),
        register({**WHOLE, "qe_id": "x" * 261}),
        register({**WHOLE, "qe_id": 7}),
        register({**WHOLE, "pce_id": "00"}),
        register({**WHOLE, "cpu_svn": "", "platform_manifest": "aabb"}),
        register({name: value for name, value in WHOLE.items() if name != "enc_ppid"}),
        HttpRequest(target=f"{BASE}/platforms?source=all"),
        HttpRequest(target=f"{BASE}/platforms?source=[00]"),
        HttpRequest(target=f"{BASE}/refresh?type=all"),
        HttpRequest(target=f"{BASE}/refresh?type=certs&fmspc=x"),
    ],
)
def test_malformed_requests_are_400(request_: HttpRequest) -> None:
    """What breaks the schema is refused, as Intel's PCCS refuses it."""
    with pytest.raises(FormatError) as caught:
        api.read_admin_request(request_)
    assert caught.value.code == "pcs-request"


@pytest.mark.parametrize(
    "body", [{}, {"is_default": "true", "fmspc": "00A067110000", "policy": ""}]
)
def test_policies_that_are_none(body: dict[str, object]) -> None:
    """All three members are required, each of its type."""
    asked = HttpRequest(
        method="PUT",
        target=f"{BASE}/appraisalpolicy",
        headers=(("Content-Type", "application/json"),),
        body=json.dumps(body).encode(),
    )
    with pytest.raises(FormatError):
        api.read_admin_request(asked)


@pytest.mark.parametrize("named", ["", "all", "ALL", "[]"])
def test_a_refresh_of_all(named: str) -> None:
    """All FMSPCs in every spelling of Intel's own tool, which its PCCS 1.27 refuses."""
    asked = api.read_admin_request(HttpRequest(target=f"{BASE}/refresh?type=certs&fmspc={named}"))
    assert asked == api.RefreshRequest(certificates=True)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("HEAD", f"{BASE}/platforms"),
        ("HEAD", f"{BASE}/refresh"),
        ("GET", f"{BASE}/platformcollateral"),
        ("GET", f"{BASE}/appraisalpolicy"),
        ("POST", "/tdx/certification/v4/platforms"),
        ("POST", "/platforms"),
    ],
)
def test_other_routes_are_404(method: str, target: str) -> None:
    """HEAD changes nothing, for it is no route; GETs without a token are `pccs`'s."""
    with pytest.raises(NotFound) as caught:
        api.read_admin_request(HttpRequest(method=method, target=target))
    assert caught.value.code == "pccs-route"


def test_lists_of_platforms() -> None:
    """Every member of each machine, the number of them in a header; it reads back."""
    http = api.write_platforms((MACHINE, MULTI))
    assert http.header("platform-count") == "2"
    assert http.header("Content-Type") == "application/json; charset=utf-8"
    assert [list(platform) for platform in json.loads(http.body)] == [
        ["qe_id", "pce_id", "cpu_svn", "pce_svn", "enc_ppid", "platform_manifest"]
    ] * 2
    assert api.read_platforms(http) == (MACHINE, MULTI)
    with pytest.raises(FormatError):
        api.read_platforms(HttpResponse(status=200, body=b"<html>"))
