"""A PCCS: requests and answers, both directions."""

import pytest

from dcap import CollateralError, FormatError, NotFound
from dcap.api import pccs, pccs_responses
from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pcs_responses import PckCertResponse, PckCrlResponse, SignedResponse
from dcap.api.thim import ThimPckCertResponse
from dcap.errors import Unavailable
from dcap.formats import pem

ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
FMSPC = bytes.fromhex("00a067110000")
PCK = pccs.PccsPckCertRequest(
    qe_id="AB" * 16,
    cpu_svn=bytes(15) + b"\xff",
    pce_svn=13,
    pce_id=b"\x01\x00",
    encrypted_ppid=b"\xab" * 384,
)
LINES = (
    (
        PCK,
        (
            f"pckcert?qeid={'AB' * 16}&encrypted_ppid={'AB' * 384}&cpusvn={'00' * 15}FF"
            "&pcesvn=0D00&pceid=0100"
        ),
    ),
    (pccs.PccsPckCrlRequest(ca="processor"), "pckcrl?ca=processor"),
    (pccs.PccsPckCrlRequest(ca="platform", encoding="der"), "pckcrl?ca=platform&encoding=der"),
    (pccs.PccsTcbInfoRequest(fmspc=FMSPC), "tcb?fmspc=00A067110000&update=standard"),
    (pccs.PccsIdentityRequest(name="QE", update="early"), "qe/identity?update=early"),
    (pccs.PccsIdentityRequest(name="QVE"), "qve/identity?update=standard"),
    (pccs.RootCaCrlRequest(), "rootcacrl"),
    (pccs.CrlRequest(uri=ROOT_CRL), f"crl?uri={ROOT_CRL}"),
    (pccs.PolicyRequest(fmspc=FMSPC), "appraisalpolicy?fmspc=00A067110000"),
)
ALSO = (
    pccs.PccsTcbInfoRequest(fmspc=FMSPC, tee="tdx"),
    pccs.PccsIdentityRequest(name="TD_QE", number=17),
    pccs.PccsTcbInfoRequest(fmspc=FMSPC, version=3, number=17),
    pccs.PccsPckCertRequest(qe_id="A NODE & MORE", cpu_svn=bytes(16), pce_svn=0, pce_id=bytes(2)),
)


@pytest.mark.parametrize(("asked", "line"), LINES)
def test_lines_are_those_of_intels_provider(asked: pccs.PccsRequest, line: str) -> None:
    """Order, case of hex and the unescaped URI are what Intel's quote provider sends."""
    assert asked.line == line
    assert asked.to_http("/below").target == f"/below/sgx/certification/v4/{line}"


@pytest.mark.parametrize("asked", [asked for asked, _ in LINES] + list(ALSO))
def test_requests_read_back(asked: pccs.PccsRequest) -> None:
    """What is written is what is read, in every version and for both TEEs."""
    assert pccs.read_request(asked.to_http()) == asked


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("/SGX/Certification/v4/PckCrl/?ca=PLATFORM", pccs.PccsPckCrlRequest(ca="platform")),
        ("/sgx/certification/v4/pckcrl?ca=platform&encoding=pem", pccs.PccsPckCrlRequest(ca="platform")),
        ("/sgx/certification/v4/pckcrl?ca=platform&ca=x&encoding=DER", LINES[2][0]),
        ("/sgx/certification/v4/tcb?fmspc=00a067110000", LINES[3][0]),
        ("/sgx/certification/v4/tcb?fmspc=00a067110000&update=STANDARD&clientid=x", LINES[3][0]),
        (f"/sgx/certification/v4/crl?uri={ROOT_CRL}&customParameter=x", LINES[7][0]),
    ],
)  # fmt: skip
def test_requests_are_read_tolerantly(target: str, asked: pccs.PccsRequest) -> None:
    """Paths, hex and choices in any case, a last slash, the first of two, unknown parameters."""
    assert pccs.read_request(HttpRequest(target=target)) == asked
    assert pccs.read_request(HttpRequest(method="HEAD", target=target)) == asked


@pytest.mark.parametrize(
    "line",
    [
        "pckcrl",
        "pckcrl?ca[x]=1",
        "pckcrl?ca=root",
        "tcb",
        "tcb?fmspc=00A06711000",
        "tcb?fmspc=00A067110000&update=soon",
        "tcb?fmspc=00A067110000&tcbEvaluationDataNumber=x",
        "pckcert?cpusvn=00&pcesvn=0000&pceid=0000",
        LINES[0][1].replace("qeid", "qe"),
        LINES[0][1].replace("AB" * 16 + "&", "x" * 261 + "&", 1),
        LINES[0][1].replace("AB" * 384, "AB"),
        "crl",
        "crl?uri=https://evil.example/IntelSGXRootCA.der",
        "crl?uri=https://evil.example/?certificates.trustedservices.intel.com/IntelSGXRootCA.der",
        f"crl?uri={ROOT_CRL}{'x' * 2048}",
    ],
)
def test_malformed_requests_are_400(line: str) -> None:
    """A parameter that is missing, or not as Intel's PCCS asks, is refused as it refuses."""
    with pytest.raises(FormatError) as caught:
        pccs.read_request(HttpRequest(target=f"/sgx/certification/v4/{line}"))
    assert caught.value.code == "pcs-request"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/tdx/certification/v3/tcb?fmspc=00A067110000"),
        ("GET", "/tdx/certification/v4/pckcrl?ca=platform"),
        ("GET", "/sgx/certification/v4/qae/identity"),
        ("GET", "/sgx/certification/v4/fmspcs"),
        ("GET", "/sgx/certification/v5/rootcacrl"),
        ("GET", "/rootcacrl"),
        ("POST", "/sgx/certification/v4/rootcacrl"),
    ],
)
def test_other_routes_are_404(method: str, target: str) -> None:
    """What Intel's PCCS has no route for is not there."""
    with pytest.raises(NotFound) as caught:
        pccs.read_request(HttpRequest(method=method, target=target))
    assert caught.value.code == "pccs-route"


CERTIFICATE = pem.encode(bytes(200), "CERTIFICATE")
FOUND = PckCertResponse(
    certificate=CERTIFICATE,
    issuer_chain=CERTIFICATE * 2,
    tcbm=b"\xab" * 18,
    fmspc=FMSPC,
    ca="platform",
)
BARE = pccs_responses.PckCertificate(
    certificate=CERTIFICATE, issuer_chain=CERTIFICATE * 2, tcbm=b"\xab" * 18
)


def test_pck_certificate_to_the_letter() -> None:
    """PEM with a last newline, hex and the CA in upper case; and it reads back."""
    whole = FOUND.__class__(**{**_fields(FOUND), "certificate": CERTIFICATE.rstrip()})
    http = pccs_responses.write_pck_cert(whole)
    assert http.body == CERTIFICATE
    assert http.header("Content-Type") == "application/x-pem-file"
    assert http.header("SGX-PCK-Certificate-CA-Type") == "PLATFORM"
    assert http.header("SGX-FMSPC") == "00A067110000"
    assert pccs_responses.read_pck_cert(http) == BARE
    assert pccs_responses.read_pck_cert(http).chain == CERTIFICATE * 3


def _fields(value: PckCertResponse) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def test_pck_certificate_in_azures_json() -> None:
    """Where the chain's header is missing, the body may be Azure's JSON."""
    http = ThimPckCertResponse(
        certificate=CERTIFICATE, issuer_chain=CERTIFICATE * 2, tcbm=b"\xab" * 18, max_age=1
    ).to_http()
    assert pccs_responses.read_pck_cert(http) == BARE


@pytest.mark.parametrize(
    ("encoding", "body", "media_type"),
    [
        ("der", b"0\x80\x00\xff", "application/pkix-crl"),
        ("hex", b"308000ff", "application/x-pem-file; charset=utf-8"),
    ],
)
def test_lists_to_the_letter(encoding: str, body: bytes, media_type: str) -> None:
    """DER as such, hex as text, both read back as DER."""
    crl = PckCrlResponse(crl=b"0\x80\x00\xff", issuer_chain=CERTIFICATE)
    http = pccs_responses.write_pck_crl(crl, encoding)
    assert (http.body, http.header("Content-Type")) == (body, media_type)
    assert pccs_responses.read_pck_crl(http) == crl


def test_root_lists_to_the_letter() -> None:
    """`/rootcacrl` is hex in every version, `/crl` DER; both read back."""
    hexed = pccs_responses.write_root_ca_crl(b"0\x80\x00\xff")
    plain = pccs_responses.write_crl(b"0\x80\x00\xff")
    assert (hexed.body, hexed.header("Content-Type")) == (
        b"308000ff",
        "application/pkix-crl; charset=utf-8",
    )
    assert (plain.body, plain.header("Content-Type")) == (
        b"0\x80\x00\xff",
        "application/pkix-crl",
    )
    assert pccs_responses.read_crl(hexed) == pccs_responses.read_crl(plain) == plain.body


@pytest.mark.parametrize("version", [3, 4])
def test_signed_documents_byte_for_byte(version: int) -> None:
    """The body is untouched, under the chain header of its version."""
    document = SignedResponse(body=b'{ "tcbInfo" : 1}', issuer_chain=CERTIFICATE)
    http = pccs_responses.write_signed(document, pccs_responses.tcb_info_chain_header(version))
    assert http.body == document.body
    assert http.header("Content-Type") == "application/json; charset=utf-8"
    assert http.header("SGX-TCB-Info-Issuer-Chain" if version == 3 else "TCB-Info-Issuer-Chain")
    assert pccs_responses.read_signed(http) == document


@pytest.mark.parametrize("status", sorted(pccs_responses.SENTENCES))
def test_refusals(status: int) -> None:
    """The bare sentence; a code for each status; 404, 410, 461 and 462 say that there is none."""
    http = pccs_responses.PccsRefusal(status=status).to_http()
    assert http.body.decode() == pccs_responses.SENTENCES[status]
    assert http.header("Content-Type") == "text/html; charset=utf-8"
    kind = NotFound if status in (404, 410, 461, 462) else Unavailable
    with pytest.raises(kind) as caught:
        pccs_responses.read_crl(http)
    assert caught.value.code == f"pccs-{status}"
    assert pccs_responses.SENTENCES[status] in caught.value.what


def test_a_refusal_that_is_asked_again_has_no_body() -> None:
    """Intel's quote provider appends a second body to that of a 503."""
    assert pccs_responses.PccsRefusal(status=503).to_http(with_sentence=False).body == b""


def test_a_wrong_path_is_told_from_an_empty_cache() -> None:
    """The page of a server without such a path leads to another mend than the PCCS's sentence."""
    page = HttpResponse(status=404, body=b"<!DOCTYPE html><pre>Cannot GET /v4pckcert</pre>")
    with pytest.raises(NotFound) as caught:
        pccs_responses.read_signed(page)
    assert caught.value.mend == "let the URL end in /sgx/certification/v4/"


def test_a_sentence_is_quoted_only_where_it_was_said() -> None:
    """An empty 404 may be of any server: the error says what a PCCS means by it, and quotes nothing."""
    with pytest.raises(NotFound) as caught:
        pccs_responses.read_signed(HttpResponse(status=404))
    assert '"' not in caught.value.what
    assert caught.value.mend.startswith("see whether the URL is that of a PCCS")


@pytest.mark.parametrize("status", [204, 302, 418])
def test_statuses_of_no_pccs(status: int) -> None:
    """Any other status is an error too."""
    with pytest.raises(CollateralError) as caught:
        pccs_responses.read_text(HttpResponse(status=status))
    assert caught.value.code == "pccs-status"


@pytest.mark.parametrize("name", ["SGX-PCK-Certificate-Issuer-Chain", "SGX-TCBm"])
def test_a_missing_header_is_refused(name: str) -> None:
    """A certificate without its chain or its TCB is not read as one."""
    http = pccs_responses.write_pck_cert(FOUND)
    headers = tuple(header for header in http.headers if header[0] != name)
    with pytest.raises(FormatError, match=name):
        pccs_responses.read_pck_cert(HttpResponse(status=200, headers=headers, body=http.body))


def test_text() -> None:
    """Policies and confirmations are text; anything else is refused."""
    http = pccs_responses.write_text(pccs_responses.SUCCESS)
    assert http.body == b"Operation successful."
    assert pccs_responses.read_text(http) == pccs_responses.SUCCESS
    with pytest.raises(FormatError):
        pccs_responses.read_text(HttpResponse(status=200, body=b"\xff"))
