"""Our errors in Intel's codes: the table is whole, and agrees with Intel's own."""

import pytest

from dcap.errors import NotFound, Unavailable
from dcap.qpl import pccs_statuses, qcnl_errors, quote3_errors
from dcap.sources.intel_codes import ABSENT, QCNL_CODES, intel_code, with_intel_code


def test_every_code_is_one_of_intels() -> None:
    """What the tables name stands in Intel's."""
    assert set(QCNL_CODES.values()) <= {row[0] for row in qcnl_errors.ROWS}
    assert set(ABSENT.values()) <= {row[0] for row in quote3_errors.ROWS}


@pytest.mark.parametrize("status", [row[0] for row in pccs_statuses.ROWS if row[1] is not None])
def test_every_status_has_a_code(status: int) -> None:
    """Each status of a PCCS is what Intel's provider makes of it."""
    qcnl = next(row[1] for row in pccs_statuses.ROWS if row[0] == status)
    told = intel_code(Unavailable(f"pccs-{status}", "it failed"), "tcb_info")
    assert told is not None
    assert told.endswith(f"(QCNL 0x{qcnl:04X})")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("network-refused", "0xE019 SGX_QL_NETWORK_ERROR (QCNL 0xB006)"),
        ("network-certificate", "0xE065 SGX_QL_ROOT_CA_UNTRUSTED (QCNL 0xB033)"),
        ("network-redirect", "0xE044 SGX_QL_UNKNOWN_MESSAGE_RESPONSE (QCNL 0xB011)"),
        ("pcs-429", "0xE044 SGX_QL_UNKNOWN_MESSAGE_RESPONSE (QCNL 0xB011)"),
        ("pccs-status", "0xE044 SGX_QL_UNKNOWN_MESSAGE_RESPONSE (QCNL 0xB011)"),
        ("source-evaluation-number", None),
    ],
)
def test_codes_of_failures(code: str, told: str | None) -> None:
    """Failures of the network, statuses, and what Intel's provider has no word for."""
    assert intel_code(Unavailable(code, "it failed"), "qe_identity") == told


def test_it_is_said_once() -> None:
    """The code is appended once, and the error stays of its kind, with its own code."""
    once = with_intel_code(NotFound("pccs-404", "none"), "pck_certificate")
    assert once.what == "none; Intel's code 0xE011 SGX_QL_NO_PLATFORM_CERT_DATA (QCNL 0xB00F)"
    assert isinstance(once, NotFound)
    assert with_intel_code(once, "tcb_info") is once
