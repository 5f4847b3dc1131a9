"""Quotes: header, body and signature section put together and signed, sound or with one flaw.

`assemble` follows the order in which a platform makes a quote: the attestation key is bound into
the QE report, the PCK key signs that report, the attestation key signs header and body, lengths
are written last. Each keyword replaces one value at its place in that order, and everything
downstream is made from the replaced value: a changed body is signed, a given signature is not.

Source: Intel SGX DCAP ECDSA Quote Library API, quote formats 3, 4 and 5.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from . import documents, keys, reports
from .pck import Pck
from .reports import Value

EditBytes = Callable[[bytearray], object]
Fields = Mapping[str, Value]

AUTH_DATA = bytes(range(32))
QE_REPORT_CERTIFICATION_DATA = 6
TEE_TYPES = {"sgx": reports.SGX, "tdx": reports.TDX}
QE_NAMES = {"sgx": "QE", "tdx": "TD_QE"}


@dataclass(frozen=True)
class Lengths:
    """Length fields of a quote; None writes the true one."""

    body: int | None = None
    signature_data: int | None = None
    outer: int | None = None
    auth_data: int | None = None
    certification_data: int | None = None


@dataclass(frozen=True)
class Draft:
    """Everything a quote is made from; only the first four have no default.

    `header`, `qe_report` and `body` take field names of their tables in `reports`; the last two
    also take finished bytes. `qe_report_data` replaces the binding of the attestation key.
    `edit_signed` gets header + descriptor + body before the quote is signed, `edit_qe_report` the
    QE report before the PCK key signs it.
    """

    version: int
    tee: str
    pck: Pck
    attestation_key: ec.EllipticCurvePrivateKey
    body: bytes | Fields | None = None
    body_type: int | None = None
    report_data: bytes | None = None
    header: Fields = field(default_factory=dict)
    qe_isvsvn: int | None = None
    qe_report: bytes | Fields | None = None
    qe_report_data: bytes | None = None
    qe_signing_key: ec.EllipticCurvePrivateKey | None = None
    qe_signature: bytes | None = None
    auth_data: bytes = AUTH_DATA
    attestation_public_key: bytes | None = None
    signing_key: ec.EllipticCurvePrivateKey | None = None
    signature: bytes | None = None
    cert_type: int = 5
    cert_data: bytes | None = None
    outer_cert_type: int = QE_REPORT_CERTIFICATION_DATA
    lengths: Lengths = field(default_factory=Lengths)
    edit_signed: EditBytes | None = None
    edit_qe_report: EditBytes | None = None
    trailing: bytes = b""


def assemble(draft: Draft) -> bytes:
    """The quote `draft` describes, in bytes."""
    signed = _edited(_header(draft) + _body(draft), draft.edit_signed)
    signature = draft.signature
    if signature is None:
        signature = keys.sign_raw(draft.signing_key or draft.attestation_key, signed)
    section = signature + _public_key(draft) + _certification(draft)
    return signed + _sized("<I", section, draft.lengths.signature_data) + draft.trailing


def _header(draft: Draft) -> bytes:
    values: dict[str, Value] = {"version": draft.version, "tee_type": TEE_TYPES[draft.tee]}
    if draft.version == 3:
        values |= {"qe_svn": _qe_isvsvn(draft), "pce_svn": draft.pck.platform.pcesvn}
    return reports.HEADER.encode({**values, **draft.header})


def _body(draft: Draft) -> bytes:
    """The report body, behind its descriptor in version 5."""
    kind = draft.body_type
    if kind is None and isinstance(draft.body, bytes) and draft.version >= 5:
        sizes = {table.size: number for number, table in reports.BODIES.items()}
        kind = sizes.get(len(draft.body))
    if kind is None:
        kind = 1 if draft.tee == "sgx" else 3 if draft.version >= 5 else 2
    if isinstance(draft.body, bytes):
        if draft.report_data is not None:
            raise TypeError("report_data cannot be set in a body that is given as bytes")
        body = draft.body
    else:
        fields = dict(draft.body or {})
        if draft.report_data is not None:
            fields["report_data"] = draft.report_data
        body = reports.BODIES[kind].encode(fields)
    if draft.version < 5:
        return body
    size = len(body) if draft.lengths.body is None else draft.lengths.body
    return struct.pack("<HI", kind, size) + body


def _public_key(draft: Draft) -> bytes:
    if draft.attestation_public_key is not None:
        return draft.attestation_public_key
    return keys.public_raw(draft.attestation_key)


def _qe_isvsvn(draft: Draft) -> int:
    newest = documents.ENCLAVES[QE_NAMES[draft.tee]][2]
    return newest if draft.qe_isvsvn is None else draft.qe_isvsvn


def _qe_report(draft: Draft) -> bytes:
    if isinstance(draft.qe_report, bytes):
        return _edited(draft.qe_report, draft.edit_qe_report)
    binding = draft.qe_report_data
    if binding is None:
        binding = hashlib.sha256(_public_key(draft) + draft.auth_data).digest()
    mrsigner, isvprodid, _ = documents.ENCLAVES[QE_NAMES[draft.tee]]
    values: dict[str, Value] = {
        "cpusvn": draft.pck.platform.cpusvn,
        "flags": 0x15,
        "mrsigner": mrsigner,
        "isvprodid": isvprodid,
        "isvsvn": _qe_isvsvn(draft),
        "report_data": binding,
    }
    report = reports.SGX_REPORT.encode({**values, **(draft.qe_report or {})})
    return _edited(report, draft.edit_qe_report)


def _certification(draft: Draft) -> bytes:
    """QE report, its signature, auth data and PCK data; in a type 6 container from version 4."""
    lengths = draft.lengths
    report = _qe_report(draft)
    signature = draft.qe_signature
    if signature is None:
        signature = keys.sign_raw(draft.qe_signing_key or draft.pck.key, report)
    content = (
        report
        + signature
        + _sized("<H", draft.auth_data, lengths.auth_data)
        + struct.pack("<H", draft.cert_type)
        + _sized("<I", _certification_data(draft), lengths.certification_data)
    )
    if draft.version < 4:
        return content
    return struct.pack("<H", draft.outer_cert_type) + _sized("<I", content, lengths.outer)


def _certification_data(draft: Draft) -> bytes:
    """The content for `cert_type` 1 to 5; encrypted PPIDs are filler of the right length."""
    if draft.cert_data is not None:
        return draft.cert_data
    platform = draft.pck.platform
    levels = platform.cpusvn + struct.pack("<H", platform.pcesvn) + platform.pceid
    if draft.cert_type == 1:
        return platform.ppid + levels
    if draft.cert_type in (2, 3):
        size = 256 if draft.cert_type == 2 else 384
        return hashlib.shake_256(platform.ppid).digest(size) + levels
    if draft.cert_type == 4:
        return draft.pck.pem
    return draft.pck.chain_pem + b"\0"


def _sized(length: str, content: bytes, claimed: int | None) -> bytes:
    return struct.pack(length, len(content) if claimed is None else claimed) + content


def _edited(content: bytes, edit: EditBytes | None) -> bytes:
    if edit is None:
        return content
    buffer = bytearray(content)
    edit(buffer)
    return bytes(buffer)
