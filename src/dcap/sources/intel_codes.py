"""Which codes Intel's quote provider would give for an error of ours: for who reads its documentation.

The tables of statuses and codes are `qpl`'s; here stands only which of our errors is which of them.

Source: `quote-provider.md` §2.5-2.6.
"""

import copy
import re
from collections.abc import Mapping

from dcap.errors import CollateralError

STATUS_UNEXPECTED = 0xB011
NO_CACHE_DATA = 0xB00F
#: Our code -> `sgx_qcnl_error_t`.
QCNL_CODES: Mapping[str, int] = {
    "network-proxy": 0xB004,
    "network-name": 0xB005,
    "network-refused": 0xB006,
    "network-timeout": 0xB009,
    "network-tls": 0xB00A,
    "network-certificate": 0xB033,
    "network-redirect": STATUS_UNEXPECTED,
    "network-cut-off": 0xB003,
    "network-too-large": 0xB003,
    "network-encoding": 0xB003,
    "network-protocol": 0xB003,
    "source-answer": 0xB00D,
}
#: Piece -> the `quote3_error_t` of its absence, which depends on the call.
ABSENT: Mapping[str, int] = {
    "pck_certificate": 0xE011,
    "pck_crl": 0xE01B,
    "root_ca_crl": 0xE01B,
    "tcb_info": 0xE062,
    "qe_identity": 0xE061,
    "qve_identity": 0xE037,
}
_STATUS = re.compile(r"(?:pcs|pccs)-([0-9]{3})")
_SAID = "Intel's code "


def intel_code(error: CollateralError, piece: str) -> str | None:
    """`0xE019 SGX_QL_NETWORK_ERROR (QCNL 0xB006)`, or `None` where Intel's provider has no such case."""
    from dcap.qpl import qcnl_errors, quote3_errors  # noqa: PLC0415 - only where something failed

    qcnl = _qcnl(error.code)
    if qcnl is None:
        return None
    code = next((row[2] for row in qcnl_errors.ROWS if row[0] == qcnl), 0xE001)
    if qcnl == NO_CACHE_DATA:
        code = ABSENT.get(piece, code)
    name = next(row[1] for row in quote3_errors.ROWS if row[0] == code)
    return f"0x{code:04X} {name} (QCNL 0x{qcnl:04X})"


def with_intel_code(error: CollateralError, piece: str) -> CollateralError:
    """The same error, saying what Intel's quote provider would have said."""
    code = None if _SAID in error.what else intel_code(error, piece)
    if code is None:
        return error
    told = copy.copy(error)
    told.what = f"{error.what}; {_SAID}{code}"
    return told


def _qcnl(code: str) -> int | None:
    from dcap.qpl import pccs_statuses  # noqa: PLC0415 - only where something failed

    if code in ("pcs-status", "pccs-status"):
        return STATUS_UNEXPECTED
    match = _STATUS.fullmatch(code)
    if match is None:
        return QCNL_CODES.get(code)
    status = int(match[1])
    known = next((row[1] for row in pccs_statuses.ROWS if row[0] == status), None)
    return known or STATUS_UNEXPECTED
