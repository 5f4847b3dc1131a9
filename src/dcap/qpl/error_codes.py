"""The codes of Intel's and Open Enclave's attestation software, and how to look one up.

Not our own errors (`dcap.errors`), and no table itself: each family has its table in a file beside
this one, which imports nothing. Here rows become values, and what people type becomes rows.
The families mirror the headers that their files name.
"""

import difflib
import string
from collections.abc import Iterator
from functools import cache
from typing import Final

import msgspec

from dcap.qpl import (
    open_enclave_results,
    pccs_statuses,
    qcnl_errors,
    quote3_errors,
    qvl_statuses,
    tdx_errors,
    verification_results,
)

QUOTE3: Final = "quote3_error_t"
QCNL: Final = "sgx_qcnl_error_t"
VERIFICATION_RESULT: Final = "sgx_ql_qv_result_t"
QVL_STATUS: Final = "QVL Status"
TEE_ATT: Final = "tee_att_error_t"
QGS_MSG: Final = "qgs_msg_error_t"
PCCS_STATUS: Final = "PCCS HTTP status"
OPEN_ENCLAVE: Final = "oe_result_t"

# What people leave out of a name, by family.
PREFIXES: Final[dict[str, str]] = {
    QUOTE3: "SGX_QL_",
    QCNL: "SGX_QCNL_",
    VERIFICATION_RESULT: "SGX_QL_QV_RESULT_",
    QVL_STATUS: "STATUS_",
    TEE_ATT: "TEE_ATT_",
    QGS_MSG: "QGS_MSG_",
    PCCS_STATUS: "HTTP_",
    OPEN_ENCLAVE: "OE_",
}

# The same value under the name that Intel gave it when TDX came.
TWIN_PREFIXES: Final[dict[str, str]] = {
    QUOTE3: "TEE_",
    VERIFICATION_RESULT: "TEE_QV_RESULT_",
}

DECIMAL_FAMILIES: Final = frozenset({QVL_STATUS, PCCS_STATUS})
RANGE_FAMILIES: Final = frozenset({TEE_ATT, QGS_MSG})
RANGE_MASK: Final = ~0xFFF

SHORTEST_BARE_HEX: Final = 4  # e019; anything shorter is read as a decimal number or a name
LONGEST_SPELLING: Final = 100  # the longest name has about 60 characters
AROUND_A_CODE: Final = string.whitespace + "`'\"()[]{}<>.,;:"


class CodeExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """One code: what it means, whence it comes, and what mends it.

    `code` is the canonical spelling: 0xE019 in hexadecimal families, 57 or 404 in decimal ones,
    the name where there is no stable number. `causes` stand in the order in which they are met,
    `remedy` in the order in which to try it; commands are in back-quotes. `maps_to` is the code
    that the next layer up reports instead. `aliases` are other names of the same value.
    """

    code: str
    name: str
    family: str
    meaning: str
    causes: tuple[str, ...]
    remedy: tuple[str, ...]
    maps_to: str | None = None
    see_also: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


def explain_code(text: str) -> tuple[CodeExplanation, ...]:
    """Every row that `text` can mean, family by family; none if nothing is known of it.

    Accepts, in any case: 0xE019, e019 and 57369; a name with or without its prefix, or its TEE_
    twin; the end of a name, where no family has two that end so; QVL's numbers 0 to 88 and HTTP
    statuses in decimal; a TCB status (OutOfDate). In `quote3_error_t=NAME` only NAME counts.
    """
    spelling = _without_surroundings(text)
    if not spelling or len(spelling) > LONGEST_SPELLING:
        return ()
    rows = all_codes()
    for found in (_by_number(rows, spelling), _by_name(rows, spelling)):
        if found:
            return found
    return _by_end_of_name(rows, spelling)


def closest(text: str) -> list[str]:
    """Up to five codes or names that look like `text`, the most similar first."""
    known: dict[str, str] = {}
    for row in all_codes():
        known.setdefault(row.code.upper(), row.code)
        for name in (row.name, *row.aliases):
            known.setdefault(name.upper(), name)
        known.setdefault(_short_name(row).upper(), row.name)
    spelling = _without_surroundings(text)[:LONGEST_SPELLING].upper()
    alike = difflib.get_close_matches(spelling, known, n=5)
    return list(dict.fromkeys(known[spelled] for spelled in alike))


@cache
def all_codes() -> tuple[CodeExplanation, ...]:
    """Every row of every table, family by family."""
    return (
        *_quote3_errors(),
        *_qcnl_errors(),
        *_verification_results(),
        *_qvl_statuses(),
        *_tdx_errors(),
        *_pccs_statuses(),
        *_open_enclave_results(),
    )


# ── what people type ────────────────────────────────────────────────────────────────────────────


def _without_surroundings(text: str) -> str:
    """`(quote3_error_t=SGX_QL_X)` → `SGX_QL_X`: as copied out of a log line."""
    return text.strip(AROUND_A_CODE).rpartition("=")[2].strip(AROUND_A_CODE)


def _by_number(rows: tuple[CodeExplanation, ...], spelling: str) -> tuple[CodeExplanation, ...]:
    """The rows with this number; of a range that is not decoded, the row that speaks for it."""
    decimal = int(spelling) if spelling.isascii() and spelling.isdigit() else None
    numbers = {decimal, _hexadecimal(spelling)} - {None}
    found = tuple(
        row
        for row in rows
        if (value := _value(row)) is not None
        and value in ({decimal} if row.family in DECIMAL_FAMILIES else numbers)
    )
    if found:
        return found
    ranges = {number & RANGE_MASK for number in numbers if number is not None}
    return tuple(row for row in rows if row.family in RANGE_FAMILIES and _value(row) in ranges)


def _by_name(rows: tuple[CodeExplanation, ...], spelling: str) -> tuple[CodeExplanation, ...]:
    """The rows of this full name, else those that have it without their family's prefix."""
    wanted = _folded(spelling)
    in_full = tuple(row for row in rows if wanted in map(_folded, (row.name, *row.aliases)))
    return in_full or tuple(row for row in rows if wanted == _folded(_short_name(row)))


def _by_end_of_name(
    rows: tuple[CodeExplanation, ...], spelling: str
) -> tuple[CodeExplanation, ...]:
    """The rows whose name ends so; none if two of one family do, since either could be meant."""
    ending = "_" + spelling.upper()
    found = tuple(row for row in rows if row.name.endswith(ending))
    unambiguous = len({row.family for row in found}) == len(found)
    return found if unambiguous else ()


def _hexadecimal(spelling: str) -> int | None:
    digits = spelling.lower().removeprefix("0x")
    bare = len(digits) == len(spelling)
    if not digits or set(digits) - set(string.hexdigits):
        return None
    return None if bare and len(digits) < SHORTEST_BARE_HEX else int(digits, 16)


def _folded(name: str) -> str:
    """OUT_OF_DATE and OutOfDate are one spelling."""
    return name.upper().replace("_", "").replace("-", "").replace(" ", "")


def _short_name(row: CodeExplanation) -> str:
    return row.name.removeprefix(PREFIXES[row.family])


def _value(row: CodeExplanation) -> int | None:
    if row.family == OPEN_ENCLAVE:
        return None
    return int(row.code, 10 if row.family in DECIMAL_FAMILIES else 16)


# ── from the tables' rows to values ─────────────────────────────────────────────────────────────


def _code(number: int) -> str:
    return f"0x{number:04X}"


def _twin(family: str, name: str) -> str:
    return TWIN_PREFIXES[family] + name.removeprefix(PREFIXES[family])


def _quote3_errors() -> Iterator[CodeExplanation]:
    for code, name, meaning, causes, remedy, see_also in quote3_errors.ROWS:
        yield CodeExplanation(
            code=_code(code),
            name=name,
            family=QUOTE3,
            meaning=meaning,
            causes=causes,
            remedy=remedy,
            see_also=see_also,
            aliases=(_twin(QUOTE3, name),),
        )


def _qcnl_errors() -> Iterator[CodeExplanation]:
    for code, name, becomes, meaning, causes, remedy, see_also in qcnl_errors.ROWS:
        yield CodeExplanation(
            code=_code(code),
            name=name,
            family=QCNL,
            meaning=meaning,
            causes=causes,
            remedy=remedy,
            maps_to=_code(becomes),
            see_also=see_also,
        )


def _verification_results() -> Iterator[CodeExplanation]:
    for code, name, tcb_status, meaning, causes, remedy, see_also in verification_results.ROWS:
        twin = _twin(VERIFICATION_RESULT, name)
        yield CodeExplanation(
            code=_code(code),
            name=name,
            family=VERIFICATION_RESULT,
            meaning=meaning,
            causes=causes,
            remedy=remedy,
            see_also=see_also,
            aliases=(twin,) if tcb_status is None else (twin, tcb_status),
        )


def _qvl_statuses() -> Iterator[CodeExplanation]:
    for number, name, becomes, meaning, causes, remedy, see_also in qvl_statuses.ROWS:
        yield CodeExplanation(
            code=str(number),
            name=name,
            family=QVL_STATUS,
            meaning=meaning,
            causes=causes,
            remedy=remedy,
            maps_to=_code(becomes),
            see_also=see_also,
        )


def _tdx_errors() -> Iterator[CodeExplanation]:
    for code, name, family, meaning, causes, remedy, see_also in tdx_errors.ROWS:
        yield CodeExplanation(
            code=_code(code),
            name=name,
            family=family,
            meaning=meaning,
            causes=causes,
            remedy=remedy,
            see_also=see_also,
        )


def _pccs_statuses() -> Iterator[CodeExplanation]:
    for status, becomes, meaning, causes, remedy, see_also in pccs_statuses.ROWS:
        yield CodeExplanation(
            code=str(status),
            name=f"HTTP_{status}",
            family=PCCS_STATUS,
            meaning=meaning,
            causes=causes,
            remedy=remedy,
            maps_to=None if becomes is None else _code(becomes),
            see_also=see_also,
        )


def _open_enclave_results() -> Iterator[CodeExplanation]:
    for name, meaning, causes, remedy, see_also in open_enclave_results.ROWS:
        yield CodeExplanation(
            code=name,
            name=name,
            family=OPEN_ENCLAVE,
            meaning=meaning,
            causes=causes,
            remedy=remedy,
            see_also=see_also,
        )
