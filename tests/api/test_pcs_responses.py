"""Answers of Intel's PCS: headers and bodies to the letter, both directions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap import DcapError, FormatError, NotFound, Unavailable
from dcap.api import pcs
from dcap.api import pcs_responses as responses
from dcap.api.http import HttpResponse
from dcap.formats import pem

CERTIFICATE = pem.encode(bytes(range(200)), "CERTIFICATE")
CHAIN = pem.encode(b"\xfb\xef\xbe" * 40, "CERTIFICATE") + pem.encode(b"\xff" * 99, "CERTIFICATE")
CRL = b"\x30\x82\x01\x00" + bytes(256)
PCK_CERT = responses.PckCertResponse(
    certificate=CERTIFICATE,
    issuer_chain=CHAIN,
    tcbm=bytes(range(0xA0, 0xB2)),
    fmspc=b"\x00\x90\x6e\xd5\x00\x00",
    ca="platform",
)
ENTRIES = (
    responses.PckCertEntry(
        components=bytes(range(16)), pce_svn=257, tcbm=bytes(range(18)), certificate=CERTIFICATE
    ),
    responses.PckCertEntry(components=bytes(16), pce_svn=0, tcbm=bytes(18), certificate=None),
)
PCK_CERTS = responses.PckCertsResponse(
    entries=ENTRIES, issuer_chain=CHAIN, fmspc=bytes(6), ca="processor"
)


def test_pck_certificate_to_the_letter() -> None:
    """PEM as it is; TCBm and FMSPC in upper case, the CA in lower, the chain percent-encoded."""
    http = PCK_CERT.to_http()
    assert http.body == CERTIFICATE
    assert http.header("Content-Type") == "application/x-pem-file"
    assert http.header("SGX-TCBm") == "A0A1A2A3A4A5A6A7A8A9AAABACADAEAFB0B1"
    assert http.header("SGX-FMSPC") == "00906ED50000"
    assert http.header("SGX-PCK-Certificate-CA-Type") == "platform"
    assert [name for name, _ in http.headers if name == "SGX-PCK-Certificate-Issuer-Chain"]


def test_chains_are_percent_encoded() -> None:
    """Blanks are %20, newlines %0A, and no plus, slash or equals sign is left as it is."""
    chain = PCK_CERT.to_http().header("SGX-PCK-Certificate-Issuer-Chain") or ""
    assert chain.startswith("-----BEGIN%20CERTIFICATE-----%0A")
    assert chain.endswith("-----END%20CERTIFICATE-----%0A")
    assert b"+" in CHAIN
    assert b"/" in CHAIN
    assert not set(chain) & set("+/= \n")


def test_all_pck_certificates_to_the_letter() -> None:
    """Flat TCBs, TCBm in upper case, certificates percent-encoded or the words `Not available`."""
    first, second = json.loads(PCK_CERTS.to_http().body)
    assert list(first) == ["tcb", "tcbm", "cert"]
    assert first["tcb"]["sgxtcbcomp01svn"] == 0
    assert first["tcb"]["sgxtcbcomp16svn"] == 15
    assert first["tcb"]["pcesvn"] == 257
    assert first["tcbm"] == "000102030405060708090A0B0C0D0E0F1011"
    assert first["cert"].startswith("-----BEGIN%20CERTIFICATE-----%0A")
    assert second["cert"] == "Not available"


def test_pck_certificates_read_back() -> None:
    """What is written is what is read, one certificate or all."""
    assert responses.PckCertResponse.from_http(PCK_CERT.to_http()) == PCK_CERT
    assert responses.PckCertsResponse.from_http(PCK_CERTS.to_http()) == PCK_CERTS


@pytest.mark.parametrize(
    ("encoding", "media_type"),
    [("pem", "application/x-pem-file"), ("der", "application/pkix-crl")],
)
def test_revocation_lists_in_both_encodings(encoding: str, media_type: str) -> None:
    """PEM or DER, each under its media type; read back as DER."""
    found = responses.PckCrlResponse(crl=CRL, issuer_chain=CHAIN)
    http = found.to_http(encoding)
    assert http.header("Content-Type") == media_type
    assert (http.body == CRL) == (encoding == "der")
    assert responses.PckCrlResponse.from_http(http) == found


@pytest.mark.parametrize(
    ("asked", "header"),
    [
        (pcs.TcbInfoRequest(fmspc=bytes(6)), "TCB-Info-Issuer-Chain"),
        (pcs.TcbInfoRequest(fmspc=bytes(6), tee="tdx"), "TCB-Info-Issuer-Chain"),
        (pcs.TcbInfoRequest(fmspc=bytes(6), version=3), "SGX-TCB-Info-Issuer-Chain"),
        (pcs.IdentityRequest(name="TD_QE"), "SGX-Enclave-Identity-Issuer-Chain"),
        (pcs.IdentityRequest(name="QE", version=3), "SGX-Enclave-Identity-Issuer-Chain"),
        (pcs.EvaluationNumbersRequest(), "TCB-Evaluation-Data-Numbers-Issuer-Chain"),
    ],
)
def test_signed_documents_under_their_chain_header(asked: pcs.PcsRequest, header: str) -> None:
    """Each resource has its own chain header, and the body is kept byte for byte."""
    found = responses.SignedResponse(body=b'{"tcbInfo":{ } }', issuer_chain=CHAIN)
    http = found.to_http(responses.issuer_chain_header(asked))
    assert [name for name, _ in http.headers] == ["Content-Type", header]
    assert responses.SignedResponse.from_http(http) == found


def test_fmspcs_read_back() -> None:
    """A list of FMSPC and kind of platform."""
    found = responses.FmspcsResponse(fmspcs=(responses.Fmspc("00906ED50000", "E3"),))
    http = found.to_http()
    assert http.body == b'[{"fmspc":"00906ED50000","platform":"E3"}]'
    assert responses.FmspcsResponse.from_http(http) == found


def test_a_pccs_in_upper_case_is_read_too() -> None:
    """A PCCS writes the CA in upper case and header names in any."""
    http = PCK_CERT.to_http()
    headers = tuple(
        (name.lower(), value.upper() if name.endswith("CA-Type") else value)
        for name, value in http.headers
    )
    changed = HttpResponse(status=200, headers=headers, body=http.body)
    assert responses.PckCertResponse.from_http(changed) == PCK_CERT


@pytest.mark.parametrize(
    "name", ["SGX-PCK-Certificate-Issuer-Chain", "SGX-TCBm", "SGX-FMSPC", "CA-Type"]
)
def test_a_missing_header_is_named(name: str) -> None:
    """An answer without one of its headers is no answer, and the error says which is missing."""
    http = PCK_CERT.to_http()
    headers = tuple(header for header in http.headers if not header[0].endswith(name))
    assert len(headers) == len(http.headers) - 1
    with pytest.raises(FormatError, match=name):
        responses.PckCertResponse.from_http(
            HttpResponse(status=200, headers=headers, body=http.body)
        )


def test_an_empty_body_is_refused() -> None:
    """200 without a body is no document."""
    http = HttpResponse(status=200, headers=((responses.TCB_INFO_ISSUER_CHAIN, "x"),))
    with pytest.raises(FormatError, match="empty"):
        responses.SignedResponse.from_http(http)


def test_a_chain_with_plus_signs_is_refused() -> None:
    """A chain encoded as a form is not PEM: its blanks would be plus signs."""
    http = PCK_CERT.to_http()
    headers = tuple((name, value.replace("%20", "+")) for name, value in http.headers)
    with pytest.raises(FormatError):
        responses.PckCertResponse.from_http(
            HttpResponse(status=200, headers=headers, body=http.body)
        )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 415, 429, 500, 502, 503])
def test_refusals_read_back(status: int) -> None:
    """Status, `Error-Code`, `Error-Message` and `Retry-After` survive the wire."""
    said = responses.Refusal(
        status=status, error_code="InvalidPlatformManifest", error_message="no", retry_after=7
    )
    assert responses.Refusal.from_http(said.to_http()) == said


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFound), (410, NotFound), (400, Unavailable), (429, Unavailable), (503, Unavailable)],
)
def test_refusals_as_errors(status: int, kind: type[DcapError]) -> None:
    """`it has none` and `it did not answer` are told apart, and every status has its own code."""
    http = responses.Refusal(status=status, error_code="Why", retry_after=9).to_http()
    with pytest.raises(kind) as caught:
        responses.FmspcsResponse.from_http(http)
    assert caught.value.code == f"pcs-{status}"
    assert "Why" in caught.value.what


def test_a_date_to_retry_after_is_left_out() -> None:
    """`Retry-After` may be a date (RFC 9110); only seconds are read."""
    http = HttpResponse(status=429, headers=(("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"),))
    assert responses.Refusal.from_http(http).retry_after is None


NAMES = (
    responses.PCK_CERT_ISSUER_CHAIN,
    responses.PCK_CRL_ISSUER_CHAIN,
    responses.TCB_INFO_ISSUER_CHAIN,
    responses.TCBM,
    responses.FMSPC,
    responses.CA_TYPE,
    responses.RETRY_AFTER,
)


@given(
    st.sampled_from([200, 404, 429]),
    st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=30))),
    st.binary(max_size=64) | st.just(CERTIFICATE) | st.just(b"[]"),
)
def test_nothing_but_our_errors_escapes(
    status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Whatever a server sends is read, or refused with an error of ours."""
    http = HttpResponse(status=status, headers=tuple(headers), body=body)
    for kind in (
        responses.PckCertResponse,
        responses.PckCertsResponse,
        responses.PckCrlResponse,
        responses.SignedResponse,
        responses.FmspcsResponse,
    ):
        try:
            kind.from_http(http)
        except DcapError:
            continue
        assert status == 200
