"""What the rooms of the contract ask of every answer, and the names they share. No tests.

Source: `pccs-and-pcs-api.md` §1.1-1.9; `quote-provider.md` §4.2, §7.
"""

from pathlib import Path

from dcap.api.http import HttpResponse
from dcap.api.pccs_responses import SENTENCES
from dcap.pccs.mode import Mode
from dcap.simulator.world import FMSPCS
from pccs.rig import Rig

KNOWN = FMSPCS["platform"].hex().upper()
UNKNOWN = "00FF00FF00FF"
ROOT_URI = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
CA_URI = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform"
SENTENCE_TYPE = "text/html; charset=utf-8"
JSON_UTF8 = "application/json; charset=utf-8"
PEM, CRL = "application/x-pem-file", "application/pkix-crl"
UTF8 = "; charset=utf-8"

OK, BAD, NO_TOKEN, MISS, GONE, LARGE = 200, 400, 401, 404, 410, 413


def in_mode(rig: Rig, mode: Mode) -> Rig:
    """The same store under another mode."""
    return Rig(Path(), beside=rig, store=rig.store, mode=mode)


def expect_usual(response: HttpResponse, version: int) -> None:
    """What every answer has."""
    request_id = response.header("Request-ID") or ""
    assert len(request_id) == 32
    assert set(request_id) <= set("0123456789abcdef")
    assert all(value for _, value in response.headers)
    warning = response.header("Warning")
    assert (warning is not None and warning.startswith('299 - "')) == (version == 3)
    if response.body:
        assert (response.header("ETag") or "").startswith('W/"')


def expect_refused(response: HttpResponse, status: int, cause: str) -> None:
    """The bare sentence (nothing for 503), and the real cause."""
    assert (response.status, response.header("Dcap-Cause")) == (status, cause)
    assert response.body.decode() == ("" if status == 503 else SENTENCES[status])
    assert response.header("Content-Type") == SENTENCE_TYPE
    assert response.header("Cache-Control") == "no-store"
