"""Quotes in which anything may depart: the simulator's draft, changed where it is put together.

A changed body is signed, a given signature is not. Lengths and types that nobody signs are changed
in the finished bytes; the length of a v5 body is signed with the rest.

Source: Intel SGX ECDSA QuoteLibReference; TDX DCAP Quoting Library API (quote formats 3, 4 and 5).
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dcap.formats import sgx_report, td_report
from dcap.formats.layout import Layout
from dcap.formats.quote import signed_part
from dcap.formats.sgx_report import SgxReport
from dcap.simulator.keys import SigningKey
from dcap.simulator.quoting_enclave import TD_BODIES, Draft, enclave_report, genuine_header
from dcap.simulator.quoting_enclave import td_report as make_td_report

#: Fields of a report or a header: integers are little-endian, shorter bytes are padded with zeros.
Fields = Mapping[str, Any]
EditBytes = Callable[[bytearray], object]

_OUTER_TYPE_AT, _OUTER_LENGTH_AT = 128, 130
_QE_REPORT_AND_SIGNATURE = 384 + 64


class Lengths(msgspec.Struct, frozen=True):
    """Length fields of a quote; `None` writes the true one."""

    body: int | None = None
    signature_data: int | None = None
    outer: int | None = None
    auth_data: int | None = None
    certification_data: int | None = None


def fitted(layout: Layout[Any], fields: Fields) -> dict[str, Any]:
    """Fields as wide as a layout has them."""
    return {name: _wide(value, layout.widths[name]) for name, value in fields.items()}


def _wide(value: Any, width: int) -> Any:
    if isinstance(value, int):
        return value if width < 8 else value.to_bytes(width, "little")
    return value.ljust(width, b"\0")


def layout_of(tee: str, body_type: int) -> Layout[Any]:
    """The layout of a body."""
    return sgx_report.LAYOUT if tee == "sgx" else td_report.LAYOUTS[TD_BODIES[body_type]]


def an_enclave(**fields: Any) -> bytes:
    """A bare SGX report, which no QE has seen."""
    return enclave_report(**fitted(sgx_report.LAYOUT, fields)).to_bytes()


def a_td(**fields: Any) -> bytes:
    """A bare TD report of TDX 1.0."""
    return make_td_report(TD_BODIES[2], **fitted(td_report.TDX_1_0, fields)).to_bytes()


def with_qe(
    draft: Draft,
    *,
    isv_svn: int | None,
    cpu_svn: bytes,
    fields: Fields,
    report_data: bytes | None,
    edit: EditBytes | None,
) -> Draft:
    """The draft with another QE report; the attestation key is bound, unless told otherwise."""
    key = draft.attestation_public_key or draft.attestation_key.public_key
    if report_data is None:
        report_data = hashlib.sha256(key + draft.authentication_data).digest()
    changes: dict[str, Any] = {"cpu_svn": cpu_svn, "report_data": report_data, **fields}
    if isv_svn is not None:
        changes["isv_svn"] = isv_svn
    report = msgspec.structs.replace(draft.qe_report, **fitted(sgx_report.LAYOUT, changes))
    if edit is not None:
        report = SgxReport.parse(_edited(report.to_bytes(), edit))
    return msgspec.structs.replace(draft, qe_report=report)


def with_header(draft: Draft, user_data: bytes, fields: Fields) -> Draft:
    """The draft with other fields in its header."""
    header = msgspec.structs.replace(genuine_header(draft, user_data), **fields)
    return msgspec.structs.replace(draft, header=header)


def with_signed(
    draft: Draft, signing_key: SigningKey | None, lengths: Lengths, edit: EditBytes | None
) -> Draft:
    """The draft with its signed part fixed, and signed by another key where one is given."""
    assert draft.header is not None
    signed = signed_part(draft.header, draft.body, draft.body_type)
    if lengths.body is not None:
        signed = signed[:50] + lengths.body.to_bytes(4, "little") + signed[54:]
    if edit is not None:
        signed = _edited(signed, edit)
    key = signing_key or draft.attestation_key
    return msgspec.structs.replace(
        draft,
        signed=signed,
        signature=draft.signature or key.sign_raw(signed),
    )


def rewritten(quote: bytes, draft: Draft, lengths: Lengths, outer_type: int | None) -> bytes:
    """The finished quote with other lengths, and another outer type, where they are given."""
    assert draft.signed is not None
    data = bytearray(quote)
    at = len(draft.signed)
    section = at + 4
    newer = draft.version >= 4
    auth_at = section + 128 + 6 * newer + _QE_REPORT_AND_SIGNATURE
    certification_at = auth_at + 2 + len(draft.authentication_data) + 2
    for place, width, value in (
        (at, 4, lengths.signature_data),
        (section + _OUTER_TYPE_AT, 2, outer_type if newer else None),
        (section + _OUTER_LENGTH_AT, 4, lengths.outer if newer else None),
        (auth_at, 2, lengths.auth_data),
        (certification_at, 4, lengths.certification_data),
    ):
        if value is not None:
            data[place : place + width] = value.to_bytes(width, "little")
    return bytes(data)


def _edited(content: bytes, edit: EditBytes) -> bytes:
    buffer = bytearray(content)
    edit(buffer)
    return bytes(buffer)
