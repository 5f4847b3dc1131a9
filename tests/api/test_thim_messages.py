"""Azure's THIM: requests and answers, both directions."""

import json

import pytest

from dcap import FormatError, NotFound
from dcap.api import thim
from dcap.api.http import HttpRequest, HttpResponse, target
from dcap.formats import pem

BASE = "/sgx/certification"
ASKED = thim.ThimPckCertRequest(
    qe_id=bytes(range(16)),
    cpu_svn=bytes(16),
    pce_svn=13,
    pce_id=bytes(2),
    encrypted_ppid=b"\x01" * 384,
)
CERTIFICATE = pem.encode(bytes(200), "CERTIFICATE")
FOUND = thim.ThimPckCertResponse(
    certificate=CERTIFICATE, issuer_chain=CERTIFICATE * 2, tcbm=b"\xab" * 18, max_age=3600
)


def test_pck_request_reads_back() -> None:
    """With and without an encrypted PPID; integers go little-endian."""
    http = ASKED.to_http(BASE, metadata=True)
    assert thim.ThimPckCertRequest.from_http(http) == ASKED
    assert "pcesvn=0d00" in http.target
    assert http.header("metadata") == "true"
    assert thim.ThimPckCertRequest.from_http(ASKED.to_http(BASE)) == ASKED


def test_without_api_version_is_refused() -> None:
    """Azure's services want to know which of their versions is meant."""
    http = ASKED.to_http(BASE)
    with pytest.raises(FormatError, match="api-version"):
        thim.ThimPckCertRequest.from_http(HttpRequest(target=http.target.replace("api-v", "v")))


def test_pck_answer_to_the_letter() -> None:
    """The three members that clients look for, in their case, and how long it may be kept."""
    wire = json.loads(FOUND.to_http().body)
    assert wire == {
        "pckCert": CERTIFICATE.decode(),
        "sgx-Pck-Certificate-Issuer-Chain": wire["sgx-Pck-Certificate-Issuer-Chain"],
        "sgx-Tcbm": "AB" * 18,
        "cacheMaxAge": "3600",
    }
    assert "%0A" in wire["sgx-Pck-Certificate-Issuer-Chain"]
    assert " " not in wire["sgx-Pck-Certificate-Issuer-Chain"]


def test_pck_answer_reads_back() -> None:
    """What is written is what is read."""
    assert thim.ThimPckCertResponse.from_http(FOUND.to_http()) == FOUND


@pytest.mark.parametrize("age", [3600, "3600"])
def test_max_age_as_number_or_text(age: object) -> None:
    """`cacheMaxAge` is read as a number and as text."""
    wire = {**json.loads(FOUND.to_http().body), "cacheMaxAge": age}
    http = HttpResponse(status=200, body=json.dumps(wire).encode())
    assert thim.ThimPckCertResponse.from_http(http) == FOUND


@pytest.mark.parametrize("name", ["pckCert", "sgx-Pck-Certificate-Issuer-Chain", "sgx-Tcbm"])
def test_a_member_in_another_case_is_missing(name: str) -> None:
    """Member names are case-sensitive, as they are to Intel's and Azure's clients."""
    body = FOUND.to_http().body.replace(name.encode(), name.lower().encode())
    assert body != FOUND.to_http().body
    with pytest.raises(FormatError):
        thim.ThimPckCertResponse.from_http(HttpResponse(status=200, body=body))


def test_a_refusal_is_an_error() -> None:
    """404 is `NotFound`."""
    with pytest.raises(NotFound):
        thim.ThimPckCertResponse.from_http(HttpResponse(status=404))


@pytest.mark.parametrize("encoded", [1, 2])
@pytest.mark.parametrize(
    "asked",
    [
        thim.ThimCrlRequest(ca="processor"),
        thim.ThimCrlRequest(ca="platform"),
        thim.ThimCrlRequest(ca="root"),
        thim.ThimCrlRequest(ca="platform", encoding="der"),
    ],
    ids=lambda asked: f"{asked.ca}-{asked.encoding}",
)
def test_list_by_uri_encoded_once_or_twice(asked: thim.ThimCrlRequest, encoded: int) -> None:
    """The distribution point's URI is understood in both encodings."""
    http = asked.to_http(BASE, encoded=encoded)
    assert ("%253A" in http.target) == (encoded == 2)
    assert thim.ThimCrlRequest.from_http(http) == asked


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://example.com/intelsgxrootca.crl",
        "https://api.trustedservices.intel.com.example.com/sgx/certification/v4/pckcrl?ca=platform",
        "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=root",
        "https://certificates.trustedservices.intel.com/other.crl",
        "file:///etc/passwd",
        "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&x="
        + "a" * 2048,
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    """Nothing but Intel's distribution points: a service that fetched any URI would be a proxy."""
    query = (("uri", uri), ("api-version", thim.CRL_VERSION))
    with pytest.raises(FormatError) as caught:
        thim.ThimCrlRequest.from_http(HttpRequest(target=target(BASE + "/v4/pckcrl", query)))
    assert caught.value.code == "pcs-request"
