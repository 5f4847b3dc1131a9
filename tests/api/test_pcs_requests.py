"""Requests to Intel's PCS: written and read from one table, and refused as Intel refuses them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap import DcapError, FormatError, NotFound
from dcap.api import pcs
from dcap.api.http import HttpRequest, target

PPID = bytes(range(256)) + bytes(128)
MANIFEST = b"\x5a" * 8431
SVNS: dict[str, Any] = {"cpu_svn": bytes(range(16)), "pce_svn": 0x0102, "pce_id": b"\x01\x00"}
REQUESTS = (
    pcs.PckCertRequest(encrypted_ppid=PPID, **SVNS),
    pcs.PckCertRequest(platform_manifest=MANIFEST, **SVNS),
    pcs.PckCertRequest(encrypted_ppid=PPID, version=3, api_key="a key", **SVNS),
    pcs.PckCertsRequest(pce_id=b"\x01\x00", encrypted_ppid=PPID),
    pcs.PckCertsRequest(pce_id=b"\x01\x00", platform_manifest=MANIFEST, api_key="a key"),
    pcs.PckCertsRequest(pce_id=b"\x01\x00", encrypted_ppid=PPID, cpu_svn=bytes(range(16))),
    pcs.PckCertsRequest(pce_id=b"\x01\x00", platform_manifest=MANIFEST, cpu_svn=bytes(16)),
    pcs.PckCrlRequest(ca="processor"),
    pcs.PckCrlRequest(ca="platform", encoding="der", version=3),
    pcs.TcbInfoRequest(fmspc=b"\x00\x90\x6e\xd5\x00\x00"),
    pcs.TcbInfoRequest(fmspc=bytes(6), update="early", version=3),
    pcs.TcbInfoRequest(fmspc=bytes(6), tee="tdx", number=17),
    pcs.IdentityRequest(name="QE", update="standard"),
    pcs.IdentityRequest(name="QVE", version=3),
    pcs.IdentityRequest(name="QAE", number=20),
    pcs.IdentityRequest(name="TD_QE", update="early"),
    pcs.EvaluationNumbersRequest(),
    pcs.EvaluationNumbersRequest(tee="tdx"),
    pcs.FmspcsRequest(),
    pcs.FmspcsRequest(platform="E5"),
)
CERT = REQUESTS[0].to_http()


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: type(r).__name__)
def test_written_and_read_back(request_: pcs.PcsRequest) -> None:
    """What is written is what is read."""
    assert pcs.read_request(request_.to_http()) == request_


def test_every_route_has_a_request_above() -> None:
    """No route of the table is left out of these tests."""
    asked = {(r.place.tee, r.place.resource, r.to_http().method) for r in REQUESTS}
    assert asked == {(r.tee, r.resource, m) for r in pcs.ROUTES for m in r.methods}


def test_pce_svn_goes_little_endian() -> None:
    """A PCESVN of 0x0102 is 0201 on the wire, the PCEID as its bytes lie."""
    assert "pcesvn=0201" in CERT.target
    assert "pceid=0100" in CERT.target


def test_subscription_key_goes_in_its_header() -> None:
    """The key never stands in the URL."""
    http = REQUESTS[2].to_http()
    assert http.header("ocp-apim-subscription-key") == "a key"
    assert "key" not in http.target


def test_hex_of_either_case() -> None:
    """QCNL writes hex in upper case, others in lower; both are read."""
    upper = HttpRequest(target=CERT.path + "?" + CERT.target.partition("?")[2].upper())
    names = ("ENCRYPTED_PPID", "CPUSVN", "PCESVN", "PCEID")
    asked = upper.target
    for name in names:
        asked = asked.replace(f"{name}=", f"{name.lower()}=")
    assert pcs.read_request(HttpRequest(target=asked)) == REQUESTS[0]


def test_unknown_parameters_are_ignored() -> None:
    """A parameter that nobody knows changes nothing."""
    more = HttpRequest(target=CERT.target + "&customParameter=1")
    assert pcs.read_request(more) == REQUESTS[0]


def test_version_three_knows_no_evaluation_number() -> None:
    """v3 ignores `tcbEvaluationDataNumber`, as it ignores whatever it does not know."""
    asked = "/sgx/certification/v3/tcb?fmspc=000000000000&tcbEvaluationDataNumber=17"
    read = pcs.read_request(HttpRequest(target=asked))
    assert read == pcs.TcbInfoRequest(fmspc=bytes(6), version=3)


TCB = "/sgx/certification/v4/tcb?fmspc=00906ED50000"
MALFORMED = {
    "PPID one digit short": CERT.target.replace("encrypted_ppid=0", "encrypted_ppid="),
    "PPID not hex": CERT.target.replace("encrypted_ppid=00", "encrypted_ppid=0g"),
    "PPID absent": CERT.target.replace("encrypted_ppid", "ppid"),
    "CPUSVN too long": CERT.target.replace("cpusvn=", "cpusvn=00"),
    "PCESVN absent": CERT.target.replace("pcesvn", "x"),
    "PCEID with a space": CERT.target.replace("pceid=0100", "pceid=01+0"),
    "FMSPC too short": "/sgx/certification/v4/tcb?fmspc=00906ED500",
    "FMSPC absent": "/tdx/certification/v4/tcb",
    "update and number together": TCB + "&update=early&tcbEvaluationDataNumber=17",
    "update unknown": TCB + "&update=soon",
    "update in another case": TCB + "&update=EARLY",
    "number not a number": TCB + "&tcbEvaluationDataNumber=-1",
    "number empty": "/sgx/certification/v4/qe/identity?tcbEvaluationDataNumber=",
    "CA absent": "/sgx/certification/v4/pckcrl",
    "CA unknown": "/sgx/certification/v4/pckcrl?ca=root",
    "encoding unknown": "/sgx/certification/v4/pckcrl?ca=platform&encoding=hex",
    "platform unknown": "/sgx/certification/v4/fmspcs?platform=E7",
}


@pytest.mark.parametrize("asked", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_parameters_are_refused(asked: str) -> None:
    """Intel answers 400 for each of these."""
    with pytest.raises(FormatError) as caught:
        pcs.read_request(HttpRequest(target=asked))
    assert caught.value.code == "pcs-request"


POST = REQUESTS[1].to_http()
BODIES = {
    "not JSON": b"platformManifest=5a5a",
    "manifest too short": POST.body.replace(b"5a5a5a", b"", 1),
    "manifest of an odd number of digits": POST.body.replace(b"5a5a5a", b"5a5a5a5", 1),
    "manifest not hex": POST.body.replace(b"5a5a5a", b"5a5a5x", 1),
    "manifest absent": POST.body.replace(b"platformManifest", b"manifest"),
    "number for a string": POST.body.replace(b'"0201"', b"513"),
    "member twice": POST.body.replace(b'"pceid"', b'"pcesvn":"0000","pceid"'),
    "list": b"[]",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_malformed_bodies_are_refused(body: bytes) -> None:
    """Intel answers 400 for each of these."""
    changed = HttpRequest(method="POST", target=POST.target, headers=POST.headers, body=body)
    with pytest.raises(FormatError) as caught:
        pcs.read_request(changed)
    assert caught.value.code == "pcs-request"


def test_manifest_too_long_is_refused() -> None:
    """112,884 digits are the most."""
    longest = pcs.PckCertsRequest(pce_id=bytes(2), platform_manifest=bytes(112884 // 2))
    too_long = pcs.PckCertsRequest(pce_id=bytes(2), platform_manifest=bytes(112884 // 2 + 1))
    assert pcs.read_request(longest.to_http()) == longest
    with pytest.raises(FormatError, match="platformManifest"):
        pcs.read_request(too_long.to_http())


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/jsonp"])
def test_other_media_types_are_told_apart(media_type: str | None) -> None:
    """A body that is not JSON by its type is 415, not 400."""
    headers = () if media_type is None else (("Content-Type", media_type),)
    changed = HttpRequest(method="POST", target=POST.target, headers=headers, body=POST.body)
    with pytest.raises(FormatError) as caught:
        pcs.read_request(changed)
    assert caught.value.code == "pcs-media-type"


def test_media_type_may_name_its_charset() -> None:
    """`application/json; charset=utf-8` is JSON."""
    headers = (("content-type", "Application/JSON; charset=utf-8"),)
    changed = HttpRequest(method="POST", target=POST.target, headers=headers, body=POST.body)
    assert pcs.read_request(changed) == REQUESTS[1]


def test_other_ppid_keys_are_refused() -> None:
    """PPIDs are encrypted under RSA-3072 or not read."""
    changed = HttpRequest(target=CERT.target, headers=((pcs.PPID_ENCRYPTION_KEY, "RSA-2048"),))
    with pytest.raises(FormatError, match="RSA-3072"):
        pcs.read_request(changed)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/sgx/certification/v4/rootcacrl"),
        ("GET", "/sgx/certification/v2/tcb"),
        ("GET", "/sgx/certification/v5/tcb"),
        ("GET", "/tdx/certification/v3/tcb"),
        ("GET", "/tdx/certification/v4/pckcert"),
        ("GET", "/tdx/certification/v4/qve/identity"),
        ("GET", "/sgx/certification/v3/fmspcs"),
        ("GET", "/sgx/certification/v3/tcbevaluationdatanumbers"),
        ("GET", "/sgx/certification/v3/qae/identity"),
        ("POST", "/sgx/certification/v4/tcb"),
        ("DELETE", "/sgx/certification/v4/pckcert"),
        ("GET", "/sgx/certification/v4/tcb/"),
    ],
)
def test_what_is_no_route_is_not_found(method: str, path: str) -> None:
    """Only Intel's resources, versions and methods are there."""
    with pytest.raises(NotFound) as caught:
        pcs.read_request(HttpRequest(method=method, target=path))
    assert caught.value.code == "pcs-route"


@given(
    st.sampled_from([(r.tee, r.resource, m) for r in pcs.ROUTES for m in r.methods]),
    st.dictionaries(
        st.sampled_from(
            ["fmspc", "ca", "update", "tcbEvaluationDataNumber", "encrypted_ppid", "pceid"]
        ),
        st.text(max_size=20),
    ),
    st.binary(max_size=64),
)
def test_nothing_but_our_errors_escapes(
    place: tuple[str, str, str], query: dict[str, str], body: bytes
) -> None:
    """Whatever is asked is read, or refused with an error of ours."""
    tee, resource, method = place
    path = f"/{tee}/certification/v4/{resource}"
    headers = (("Content-Type", "application/json"),)
    asked = HttpRequest(
        method=method, target=target(path, query.items()), headers=headers, body=body
    )
    refused: DcapError | None = None
    try:
        pcs.read_request(asked)
    except DcapError as error:
        refused = error
    assert refused is None or refused.code == "pcs-request"
