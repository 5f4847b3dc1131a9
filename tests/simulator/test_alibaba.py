"""The simulated Alibaba: the answers of a plain PCCS."""

import pytest

from dcap import Collateral
from dcap.api.http import Handler, HttpRequest, target
from dcap.api.pcs_responses import PckCertResponse, PckCrlResponse, SignedResponse
from dcap.simulator import World
from dcap.simulator.services import services
from dcap.simulator.tcb_model import PCE_SVN

V4 = "/alibaba/sgx/certification/v4"
ROOT_URI = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
PCK_URI = (
    "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
)


@pytest.fixture
def intel() -> World:
    """A world with one machine."""
    made = World("alibaba tests")
    made.platform("vm")
    return made


@pytest.fixture
def send(intel: World) -> Handler:
    """Its services."""
    return services(intel)


def get(path: str, **parameters: str) -> HttpRequest:
    """A GET."""
    return HttpRequest(target=target(path, parameters.items()))


def pck(intel: World, **changed: str) -> dict[str, str]:
    """What QCNL asks for the machine's certificate, in its upper-case hex."""
    machine = intel.platform("vm")
    asked = {
        "qeid": machine.qe_id.hex().upper(),
        "encrypted_ppid": machine.encrypted_ppid.hex().upper(),
        "cpusvn": machine.cpu_svn.hex().upper(),
        "pcesvn": PCE_SVN.to_bytes(2, "little").hex().upper(),
        "pceid": machine.pce_id.hex().upper(),
    }
    return {name: value for name, value in {**asked, **changed}.items() if value != "-"}


def test_certificate_as_a_pccs_sends_it(intel: World, send: Handler) -> None:
    """PEM, and the CA in upper case."""
    answer = send(get(f"{V4}/pckcert", **pck(intel)))
    assert answer.header("SGX-PCK-Certificate-CA-Type") == "PLATFORM"
    found = PckCertResponse.from_http(answer)
    assert found.certificate + found.issuer_chain == intel.platform("vm").pck_chain()


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"encrypted_ppid": "-"}, 200),
        ({"encrypted_ppid": "00" * 384}, 200),
        ({"qeid": "any name of a platform"}, 200),
        ({"qeid": "-"}, 400),
        ({"qeid": "x" * 261}, 400),
        ({"qeid": "00" * 16, "encrypted_ppid": "-"}, 400),
        ({"qeid": "00" * 16, "encrypted_ppid": "00" * 384}, 404),
        ({"encrypted_ppid": "00"}, 400),
        ({"cpusvn": "-"}, 400),
        ({"cpusvn": "00" * 16}, 404),
        ({"pceid": "0100"}, 404),
    ],
)
def test_certificates_by_what_is_known(
    intel: World, send: Handler, changed: dict[str, str], status: int
) -> None:
    """A known QE id needs no PPID; an unknown one does; errors are a bare sentence."""
    answer = send(get(f"{V4}/pckcert", **pck(intel, **changed)))
    sentences = {
        400: b"Invalid request parameters.",
        404: b"No cache data for this platform.",
    }
    assert answer.status == status
    if status != 200:
        assert answer.body == sentences[status]
        assert answer.header("Content-Type") == "text/html; charset=utf-8"
        assert answer.header("Error-Code") is None


@pytest.mark.parametrize(
    ("encoding", "hexed"), [("der", False), ("DER", False), ("pem", True), (None, True)]
)
def test_lists_in_hex_unless_der(
    intel: World, send: Handler, encoding: str | None, hexed: bool
) -> None:
    """DER where it is asked for, hex otherwise, even for `pem`."""
    asked = {"ca": "PLATFORM"} | ({} if encoding is None else {"encoding": encoding})
    answer = send(get(f"{V4}/pckcrl", **asked))
    crl = intel.intel.pck_crl("platform", intel.at)
    assert answer.body == (crl.hex().encode() if hexed else crl)
    media_type = "application/x-pem-file; charset=utf-8" if hexed else "application/pkix-crl"
    assert answer.header("Content-Type") == media_type


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        (ROOT_URI, 200),
        (PCK_URI, 200),
        (PCK_URI.replace("platform", "root"), 400),
        ("https://example.com/x.der", 400),
        ("", 400),
    ],
)
def test_lists_by_uri(intel: World, send: Handler, uri: str, status: int) -> None:
    """A distribution point of Intel's in DER; any other URI is refused, not fetched."""
    answer = send(get(f"{V4}/crl", uri=uri))
    assert answer.status == status
    lists = {
        ROOT_URI: intel.intel.root_ca_crl(intel.at),
        PCK_URI: intel.intel.pck_crl("platform", intel.at),
    }
    assert status == 400 or answer.body == lists[uri]


def test_a_uri_may_come_unescaped(intel: World, send: Handler) -> None:
    """QCNL does not escape the distribution point."""
    answer = send(HttpRequest(target=f"{V4}/crl?uri={ROOT_URI}"))
    assert answer.body == intel.intel.root_ca_crl(intel.at)


@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_all_that_qcnl_fetches(intel: World, send: Handler, tee: str) -> None:
    """The requests of Intel's library, in its order, give the world's collateral."""
    machine = intel.platform("vm")
    documents = V4 if tee == "SGX" else "/alibaba/tdx/certification/v4"
    fmspc = machine.fmspc.hex().upper()
    crl = PckCrlResponse.from_http(send(get(f"{V4}/pckcrl", ca="platform", encoding="der")))
    tcb = SignedResponse.from_http(send(get(f"{documents}/tcb", fmspc=fmspc, update="STANDARD")))
    identity = SignedResponse.from_http(send(get(f"{documents}/qe/identity", update="standard")))
    fetched = Collateral(
        pck_crl_issuer_chain=crl.issuer_chain,
        root_ca_crl=bytes.fromhex(send(get(f"{V4}/rootcacrl")).body.decode()),
        pck_crl=crl.crl,
        tcb_info_issuer_chain=tcb.issuer_chain,
        tcb_info=tcb.body,
        qe_identity_issuer_chain=identity.issuer_chain,
        qe_identity=identity.body,
        pck_certificate_chain=machine.pck_chain(),
    )
    assert fetched == intel.collateral(machine, tee)


def test_version_three_warns(intel: World, send: Handler) -> None:
    """v3 answers with TCB info version 2 and a warning, errors included."""
    machine = intel.platform("vm")
    v3 = "/alibaba/sgx/certification/v3"
    answer = send(get(f"{v3}/tcb", fmspc=machine.fmspc.hex()))
    assert answer.body == intel.collateral(machine, tcb_info_version=2).tcb_info
    assert answer.header("SGX-TCB-Info-Issuer-Chain")
    assert (answer.header("Warning") or "").startswith("299 ")
    assert send(get(f"{v3}/tcb", fmspc="ff" * 6)).header("Warning")


@pytest.mark.parametrize("path", [f"{V4}/qae/identity", f"{V4}/fmspcs", f"{V4}/pckcerts"])
def test_what_a_pccs_does_not_have(send: Handler, path: str) -> None:
    """Intel's own routes that no PCCS has are 404."""
    assert send(get(path)).status == 404
