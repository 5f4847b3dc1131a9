"""Which codes Intel's quote provider would give for an error of ours: for who reads its documentation.

    intel_number(error, "tcb_info")        # 0xE062, what a program that calls the provider receives
    intel_code(error, "tcb_info")          # the same in words, with the code of Intel's log

The tables of statuses and codes are `qpl`'s; here stands only which of our errors is which of them.

Source: `quote-provider.md` §2.5-2.7.
"""

import copy
import re
from collections.abc import Mapping

from dcap.errors import CollateralError, DcapError, NotFound, Unavailable

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
    "source-empty": 0xB001,
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
#: Where the table of `sgx_qcnl_error_t` is not what a program receives, as was measured (§2.6): an
#: answer that lacks its chain.
RECEIVED: Mapping[int, int] = {0xB00D: 0xE01A}
#: Errors of ours that Intel's provider, which proves nothing, cannot have -> the number nearest to them.
OURS: Mapping[str, int] = {"provider-unproven": 0xE01A, "provider-certificate": 0xE010}
UNEXPECTED = 0xE001
NETWORK_ERROR = 0xE019
NO_COLLATERAL = 0xE01B
_STATUS = re.compile(r"(?:pcs|pccs)-([0-9]{3})")
_SAID = "Intel's code "


def intel_code(error: CollateralError, piece: str) -> str | None:
    """`0xE019 SGX_QL_NETWORK_ERROR (QCNL 0xB006)`, or `None` where Intel's provider has no such case."""
    from dcap.qpl import quote3_errors  # noqa: PLC0415 - only where something failed

    qcnl = _qcnl(error.code)
    if qcnl is None:
        return None
    code = _received(qcnl, piece)
    name = next(row[1] for row in quote3_errors.ROWS if row[0] == code)
    return f"0x{code:04X} {name} (QCNL 0x{qcnl:04X})"


def intel_number(error: DcapError, piece: str = "") -> int:
    """The `quote3_error_t` of any error of ours; `piece` is what was asked for, if the error has it not.

    Of several sources that failed, it is that of the first which did not merely have none.
    """
    if isinstance(error, CollateralError) and error.quote3_error is not None:
        return error.quote3_error
    attempts = [attempt.error for attempt in getattr(error, "attempts", ())]
    if attempts:
        telling = [each for each in attempts if not isinstance(each, NotFound)]
        return intel_number((telling or attempts)[0], piece)
    qcnl = _qcnl(error.code)
    if qcnl is not None:
        return _received(qcnl, piece)
    if error.code in OURS:
        return OURS[error.code]
    if isinstance(error, NotFound):
        return ABSENT.get(piece, NO_COLLATERAL)
    return NETWORK_ERROR if isinstance(error, Unavailable) else UNEXPECTED


def with_intel_code(error: CollateralError, piece: str) -> CollateralError:
    """The same error, saying what Intel's quote provider would have said; it carries the number too."""
    if error.quote3_error is not None or _SAID in error.what:
        return error
    told = copy.copy(error)
    told.quote3_error = intel_number(error, piece)
    code = intel_code(error, piece)
    if code is not None:
        told.what = f"{error.what}; {_SAID}{code}"
    return told


def _received(qcnl: int, piece: str) -> int:
    """The `quote3_error_t` that a `sgx_qcnl_error_t` becomes."""
    from dcap.qpl import qcnl_errors  # noqa: PLC0415 - only where something failed

    if qcnl == NO_CACHE_DATA and piece in ABSENT:
        return ABSENT[piece]
    if qcnl in RECEIVED:
        return RECEIVED[qcnl]
    return next((row[2] for row in qcnl_errors.ROWS if row[0] == qcnl), UNEXPECTED)


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
