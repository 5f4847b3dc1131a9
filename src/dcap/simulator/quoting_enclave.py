"""The simulated quoting enclave: reports in, quotes out, through the writers of `formats`.

A quote is made from a `Draft`; what a draft does not say is genuine, so that a fault is one field of
it. Not here: which PCK certificate vouches (`platform`), what departs from the truth (`faults`).

Source: Intel SGX ECDSA QuoteLibReference; TDX DCAP Quoting Library API; `verification.md` §1.
"""

import hashlib

import msgspec

from dcap.formats.certification import CertificationData
from dcap.formats.quote import (
    ECDSA_P256,
    INTEL_QE_VENDOR_ID,
    TEE_SGX,
    TEE_TDX,
    Body,
    QuoteHeader,
    signed_part,
    write_quote,
)
from dcap.formats.sgx_report import SgxReport
from dcap.formats.td_report import TdReport10, TdReport15, TdReport15Ex
from dcap.simulator.documents import ENCLAVES
from dcap.simulator.keys import SigningKey
from dcap.simulator.tcb_model import PCE_SVN

AUTHENTICATION_DATA = bytes(range(32))
SGX_ATTRIBUTES = bytes.fromhex("0500000000000000e700000000000000")
QE_ATTRIBUTES = bytes.fromhex("1100000000000000e700000000000000")
#: SEPT_VE_DISABLE and nothing else.
TD_ATTRIBUTES = bytes.fromhex("0000001000000000")
XFAM = bytes.fromhex("e702060000000000")
#: TD body of each v5 body type.
TD_BODIES: dict[int, type[TdReport10]] = {2: TdReport10, 3: TdReport15, 4: TdReport15Ex}


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """All that a quote is made of. `None` means: what a genuine QE would put there.

    `signed` are the bytes of header and body, where they are not those of the draft.
    """

    version: int
    body: Body
    body_type: int
    certification: CertificationData
    pck_key: SigningKey
    attestation_key: SigningKey
    qe_report: SgxReport
    authentication_data: bytes = AUTHENTICATION_DATA
    header: QuoteHeader | None = None
    signed: bytes | None = None
    attestation_public_key: bytes | None = None
    qe_report_signature: bytes | None = None
    signature: bytes | None = None


def genuine_header(draft: Draft, user_data: bytes) -> QuoteHeader:
    """The header that belongs to a draft."""
    tee = TEE_SGX if isinstance(draft.body, SgxReport) else TEE_TDX
    qe_svn = draft.qe_report.isv_svn.to_bytes(2, "little") if draft.version == 3 else bytes(2)
    pce_svn = PCE_SVN.to_bytes(2, "little") if draft.version == 3 else bytes(2)
    return QuoteHeader(
        draft.version,
        ECDSA_P256,
        tee,
        qe_svn,
        pce_svn,
        INTEL_QE_VENDOR_ID,
        user_data,
    )


def make_quote(draft: Draft, user_data: bytes = bytes(20)) -> bytes:
    """Sign the QE's report with the PCK, header and body with the attestation key."""
    header = draft.header or genuine_header(draft, user_data)
    signed = draft.signed or signed_part(header, draft.body, draft.body_type)
    public_key = draft.attestation_public_key or draft.attestation_key.public_key
    report = draft.qe_report.to_bytes()
    return write_quote(
        signed,
        version=header.version,
        signature=draft.signature or draft.attestation_key.sign_raw(signed),
        attestation_key=public_key,
        qe_report=report,
        qe_report_signature=draft.qe_report_signature or draft.pck_key.sign_raw(report),
        qe_authentication_data=draft.authentication_data,
        certification=draft.certification,
    )


def qe_report(tee: str, cpu_svn: bytes, isv_svn: int, attestation_key: bytes) -> SgxReport:
    """The report by which a genuine QE (or TD_QE) vouches for its attestation key."""
    mr_signer, product = ENCLAVES["QE" if tee == "SGX" else "TD_QE"]
    digest = hashlib.sha256(attestation_key + AUTHENTICATION_DATA).digest()
    return enclave_report(
        cpu_svn=cpu_svn,
        attributes=QE_ATTRIBUTES,
        mr_enclave=hashlib.sha256(f"simulated {tee} QE {isv_svn}".encode()).digest(),
        mr_signer=bytes.fromhex(mr_signer),
        isv_prod_id=product,
        isv_svn=isv_svn,
        report_data=digest + bytes(32),
    )


def enclave_report(**fields: object) -> SgxReport:
    """An enclave's report: release build, 64 bit; any field may be given."""
    default: dict[str, object] = {
        "cpu_svn": bytes(16),
        "misc_select": 0,
        "reserved1": bytes(12),
        "isv_ext_prod_id": bytes(16),
        "attributes": SGX_ATTRIBUTES,
        "mr_enclave": hashlib.sha256(b"simulated enclave").digest(),
        "reserved2": bytes(32),
        "mr_signer": hashlib.sha256(b"simulated signer").digest(),
        "reserved3": bytes(32),
        "config_id": bytes(64),
        "isv_prod_id": 1,
        "isv_svn": 3,
        "config_svn": 0,
        "reserved4": bytes(42),
        "isv_family_id": bytes(16),
        "report_data": bytes(64),
    }
    return SgxReport(**{**default, **fields})  # type: ignore[arg-type]


def td_report(kind: type[TdReport10], **fields: object) -> TdReport10:
    """A TD's report: debug off, SEPT_VE_DISABLE on, Intel's module; any field may be given."""
    default: dict[str, object] = {
        "tee_tcb_svn": bytes(16),
        "mr_seam": hashlib.sha384(b"simulated TDX module").digest(),
        "td_attributes": TD_ATTRIBUTES,
        "xfam": XFAM,
        "mr_td": hashlib.sha384(b"simulated TD").digest(),
        "rtmr0": hashlib.sha384(b"simulated firmware").digest(),
        "rtmr1": hashlib.sha384(b"simulated kernel").digest(),
    }
    from dcap.formats.td_report import LAYOUTS  # noqa: PLC0415 - the widths of the zeros

    widths = LAYOUTS[kind].widths
    zeros = {field: 0 if field == "vm_id" else bytes(widths[field]) for field in widths}
    return kind(**{**zeros, **default, **fields})  # type: ignore[arg-type]
