"""The contract, what is asked wrongly: 400, with its sentence and its cause.

Source: `pccs-and-pcs-api.md` §1.1-1.9; `quote-provider.md` §4.2, §7.
"""

import pytest

from dcap.pccs.mode import Mode
from pccs.contract.expected import BAD, KNOWN, expect_refused, expect_usual, in_mode
from pccs.rig import Rig, pck_line


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    "other",
    [
        {"qeid": ""},
        {"qeid": "A" * 261},
        {"cpusvn": "00"},
        {"cpusvn": "Z" * 32},
        {"cpusvn": ""},
        {"pcesvn": "0D0"},
        {"pcesvn": "0D0000"},
        {"pceid": "0"},
        {"encrypted_ppid": "00"},
        {"encrypted_ppid": "0" * 512},
        {"encrypted_ppid": ""},
    ],
    ids=str,
)
@pytest.mark.parametrize("version", [3, 4])
def test_a_malformed_pckcert_is_400(
    full: Rig, mode: Mode, other: dict[str, str], version: int
) -> None:
    """Each parameter of `pckcert` has its form, and any other is refused."""
    line = pck_line(full.world.platform(), **other)
    response = in_mode(full, mode).ask(line, version=version)
    expect_usual(response, version)
    expect_refused(response, BAD, "bad-request")


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    "line",
    [
        "pckcert",
        "pckcert?qeid[a]=1",
        "pckcrl",
        "pckcrl?ca=",
        "pckcrl?ca=other",
        "pckcrl?ca[x]=1",
        "pckcrl?ca[]=processor",
        "tcb",
        "tcb?fmspc=",
        "tcb?fmspc=00",
        "tcb?fmspc=00906ED5000000",
        "tcb?fmspc=ZZ906ED50000",
        f"tcb?fmspc={KNOWN}&update=late",
        f"tcb?fmspc={KNOWN}&update=all",
        f"tcb?fmspc={KNOWN}&update[x]=early",
        "qe/identity?update=late",
        "qve/identity?update=",
        "crl",
        "crl?uri=",
        "crl?uri=https://example.com/IntelSGXRootCA.der",
        "crl?uri=http://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
        "crl?uri=https://certificates.trustedservices.intel.com/other.der",
        f"crl?uri=https://certificates.trustedservices.intel.com/IntelSGXRootCA.{'a' * 2048}",
        "appraisalpolicy",
        "appraisalpolicy?fmspc=00",
    ],
)
def test_a_malformed_question_is_400(full: Rig, mode: Mode, line: str, version: int) -> None:
    """What Intel's server refuses, and what it fails over, is refused."""
    response = in_mode(full, mode).ask(line, version=version)
    expect_usual(response, version)
    expect_refused(response, BAD, "bad-request")


@pytest.mark.parametrize(
    ("line", "tee"),
    [("tcb?fmspc=00", "tdx"), ("qe/identity?update=x", "tdx")],
)
def test_a_malformed_question_of_tdx_is_400(full: Rig, line: str, tee: str) -> None:
    """The TDX routes have the same forms."""
    expect_refused(full.ask(line, tee=tee), BAD, "bad-request")
