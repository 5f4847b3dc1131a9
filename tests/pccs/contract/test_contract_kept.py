"""The contract, what is kept: media types, chains, encodings, in every mode; routes beyond Intel's.

Source: `pccs-and-pcs-api.md` §1.1-1.9; `quote-provider.md` §4.2, §7.
"""

import json
from typing import NamedTuple
from urllib.parse import quote, unquote

import pytest

from dcap.api.http import HttpRequest
from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from dcap.pccs.mode import Mode
from pccs.contract.expected import (
    BAD,
    CA_URI,
    CRL,
    JSON_UTF8,
    KNOWN,
    MISS,
    OK,
    PEM,
    ROOT_URI,
    UTF8,
    expect_refused,
    expect_usual,
    in_mode,
)
from pccs.rig import Rig, pck_line


class Row(NamedTuple):
    """A request for what is there, in every mode, and the shape of its answer."""

    line: str
    tee: str
    versions: tuple[int, ...]
    media_type: str
    chain: tuple[str, ...]
    encoding: str


BOTH, FOUR = (3, 4), (4,)
TCB = ("TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain")
PCK_CRL = ("SGX-PCK-CRL-Issuer-Chain",)
IDENTITY = ("SGX-Enclave-Identity-Issuer-Chain",)

FOUND = (
    Row("pckcrl?ca=processor", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=PLATFORM", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&encoding=pem", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&encoding=", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&encoding=der", "sgx", BOTH, CRL, PCK_CRL, "der"),
    Row("pckcrl?ca=platform&encoding=DER", "sgx", BOTH, CRL, PCK_CRL, "der"),
    Row("PckCrl/?ca=platform", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&ca=processor", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&customParameter=YQ%3D%3D", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("rootcacrl", "sgx", BOTH, CRL + UTF8, (), "hex"),
    Row("rootcacrl/", "sgx", BOTH, CRL + UTF8, (), "hex"),
    Row("rootcacrl?customParameter=YQ%3D%3D", "sgx", BOTH, CRL + UTF8, (), "hex"),
    Row(f"crl?uri={ROOT_URI}", "sgx", BOTH, CRL, (), "der"),
    Row(f"crl?uri={ROOT_URI}&customParameter=YQ%3D%3D", "sgx", BOTH, CRL, (), "der"),
    Row(f"crl?uri={quote(ROOT_URI, safe='')}", "sgx", BOTH, CRL, (), "der"),
    Row(f"crl?uri={CA_URI}&encoding=der", "sgx", BOTH, CRL, (), "der"),
    Row("qe/identity", "sgx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row("qe/identity?update=standard", "sgx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row("qe/identity?update=EARLY", "sgx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row("qve/identity?update=early", "sgx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row("qe/identity?update=standard", "tdx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row(f"tcb?fmspc={KNOWN}", "sgx", FOUR, JSON_UTF8, TCB, "json"),
    Row(f"tcb?fmspc={KNOWN.lower()}&update=standard", "sgx", FOUR, JSON_UTF8, TCB, "json"),
    Row(f"tcb?fmspc={KNOWN}&update=Early", "sgx", FOUR, JSON_UTF8, TCB, "json"),
    Row(f"tcb?fmspc={KNOWN}&tcbEvaluationDataNumber=17", "sgx", FOUR, JSON_UTF8, TCB, "json"),
    Row(f"TCB?fmspc={KNOWN}&update=early&x=y", "tdx", FOUR, JSON_UTF8, TCB, "json"),
)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("row", "version"), [(row, version) for row in FOUND for version in row.versions]
)
def test_what_is_kept_is_served_alike_in_every_mode(
    full: Rig, mode: Mode, row: Row, version: int
) -> None:
    """Media type, chain headers and encoding are those of Intel's PCCS, whatever the mode."""
    before = len(full.calls)
    response = in_mode(full, mode).ask(row.line, tee=row.tee, version=version)
    expect_usual(response, version)
    assert response.status == OK
    assert response.header("Content-Type") == row.media_type
    chains = tuple(name for name, _ in response.headers if name.endswith("Issuer-Chain"))
    assert chains == row.chain
    for name in chains:
        value = response.header(name) or ""
        assert "+" not in value.replace("%2B", "")
        assert len(Certificate.parse_chain(unquote(value).encode())) == 2
    if row.encoding == "hex":
        assert response.body == Crl.parse(bytes.fromhex(response.body.decode())).to_hex()
    elif row.encoding == "der":
        assert Crl.parse(response.body).der == response.body
    else:
        assert set(json.loads(response.body)) in (
            {"tcbInfo", "signature"},
            {"enclaveIdentity", "signature"},
        )
    assert 0 < int((response.header("Cache-Control") or "").removeprefix("max-age=")) <= 86400
    assert len(full.calls) == before


def test_signed_documents_are_intels_bytes(full: Rig) -> None:
    """A TCB info leaves as it came: Intel's own answer has the same body."""
    target = f"/sgx/certification/v4/tcb?fmspc={KNOWN}"
    theirs = full.simulated(HttpRequest(target=target))
    assert full.ask(f"tcb?fmspc={KNOWN}").body == theirs.body


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("version", [3, 4])
def test_a_known_machine_gets_its_certificate(full: Rig, mode: Mode, version: int) -> None:
    """PEM that ends with a newline, TCBm, FMSPC, the CA in upper case, and the issuers."""
    machine = full.world.platform()
    line = pck_line(machine, with_ppid=mode is Mode.LAZY)
    response = in_mode(full, mode).ask(line, version=version)
    expect_usual(response, version)
    assert response.status == OK
    assert response.header("Content-Type") == PEM
    assert response.body.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert response.body.endswith(b"-----END CERTIFICATE-----\n")
    assert response.header("SGX-TCBm") == machine.cpu_svn.hex().upper() + "0D00"
    assert response.header("SGX-FMSPC") == KNOWN
    assert response.header("SGX-PCK-Certificate-CA-Type") == "PLATFORM"
    chain = unquote(response.header("SGX-PCK-Certificate-Issuer-Chain") or "").encode()
    names = [certificate.common_name for certificate in Certificate.parse_chain(chain)]
    assert names == ["Intel SGX PCK Platform CA", "Intel SGX Root CA"]


# Beyond Intel's


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_evaluation_numbers_are_served(full: Rig, tee: str) -> None:
    """As Intel's PCS serves them."""
    response = full.ask("tcbevaluationdatanumbers", tee=tee)
    assert response.status == OK
    assert json.loads(response.body)["tcbEvaluationDataNumbers"]["id"] == tee.upper()
    assert response.header("TCB-Evaluation-Data-Numbers-Issuer-Chain") is not None


def test_fmspcs_are_served(full: Rig) -> None:
    """All of them, or those of one kind."""
    listed = json.loads(full.ask("fmspcs").body)
    assert {"fmspc": KNOWN, "platform": "E5"} in listed
    assert json.loads(full.ask("fmspcs?platform=client").body) == []
    expect_refused(full.ask("fmspcs?platform=other"), BAD, "bad-request")


def test_the_identity_of_the_qae_is_served(full: Rig) -> None:
    """Intel's PCCS has no such route."""
    body = json.loads(full.ask("qae/identity").body)
    assert body["enclaveIdentity"]["id"] == "QAE"


@pytest.mark.parametrize("number", ["x", "-1", "99999999999"])
def test_a_number_that_is_none_is_400(full: Rig, number: str) -> None:
    """Where Intel's PCCS would ignore it."""
    line = f"tcb?fmspc={KNOWN}&tcbEvaluationDataNumber={number}"
    expect_refused(full.ask(line), BAD, "bad-request")


def test_a_number_that_intel_lacks_is_404(full: Rig) -> None:
    """One that is yet to come."""
    line = f"tcb?fmspc={KNOWN}&tcbEvaluationDataNumber=99"
    expect_refused(full.ask(line), MISS, "no-such-item")
