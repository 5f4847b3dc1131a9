"""The contract as Azure's client asks: JSON, and lists in PEM by their address.

Source: `pccs-and-pcs-api.md` §1.1-1.9; `quote-provider.md` §4.2, §7.
"""

import json
from urllib.parse import quote, unquote

import pytest

from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from pccs.contract.expected import (
    BAD,
    OK,
    expect_refused,
)
from pccs.rig import Rig, pck_line


def test_azures_client_gets_json(full: Rig) -> None:
    """The certificate, its chain, its TCB, and for how long to keep it, by case-sensitive names."""
    machine = full.world.platform()
    extra = {"clientid": "production_client", "api-version": "2021-07-22-preview"}
    response = full.ask(pck_line(machine, with_ppid=False, **extra))
    assert (response.status, response.header("Content-Type")) == (OK, "application/json")
    body = json.loads(response.body)
    assert set(body) == {
        "pckCert",
        "sgx-Pck-Certificate-Issuer-Chain",
        "sgx-Tcbm",
        "cacheMaxAge",
    }
    plain = full.ask(pck_line(machine))
    assert body["pckCert"].encode() == plain.body
    chain = plain.header("SGX-PCK-Certificate-Issuer-Chain")
    assert body["sgx-Pck-Certificate-Issuer-Chain"] == chain
    assert body["sgx-Tcbm"] == plain.header("SGX-TCBm")
    assert int(body["cacheMaxAge"]) <= 86400


@pytest.mark.parametrize("encoded", [1, 2])
@pytest.mark.parametrize(
    ("uri", "issuer"),
    [
        (
            "https://certificates.trustedservices.intel.com/intelsgxpckprocessor.crl",
            "Intel SGX PCK Processor CA",
        ),
        (
            "https://api.trustedservices.intel.com/sgx/certification/v3/pckcrl?ca=platform&encoding=pem",
            "Intel SGX PCK Platform CA",
        ),
        (
            "https://certificates.trustedservices.intel.com/intelsgxrootca.crl",
            "Intel SGX Root CA",
        ),
    ],
)
def test_azures_client_gets_lists_in_pem(full: Rig, uri: str, issuer: str, encoded: int) -> None:
    """By their URI, encoded once or twice, with the issuer's chain and `Cache-Control`."""
    for _ in range(encoded):
        uri = quote(uri, safe="")
    response = full.ask(f"pckcrl?uri={uri}&clientid=c&api-version=2020-02-12-preview")
    assert response.status == OK
    assert response.body.startswith(b"-----BEGIN X509 CRL-----")
    assert Crl.parse(response.body).issuer_common_name == issuer
    chain = unquote(response.header("SGX-PCK-CRL-Issuer-Chain") or "").encode()
    assert Certificate.parse_chain(chain)[0].common_name == issuer
    assert response.header("Cache-Control") is not None


@pytest.mark.parametrize("uri", ["https://example.com/x.crl", "x", ""])
def test_azures_client_gets_no_list_of_others(full: Rig, uri: str) -> None:
    """Only Intel's own."""
    line = f"pckcrl?uri={quote(uri, safe='')}&clientid=c&api-version=1"
    expect_refused(full.ask(line), BAD, "bad-request")
