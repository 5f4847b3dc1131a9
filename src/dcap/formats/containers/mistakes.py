"""What people give instead of a quote, told from its first bytes: a table of hints.

Nothing here is read or believed; a hint only makes the error say what to do. Not here: what is
recognised (`containers`).
"""

from collections.abc import Callable

import msgspec

from dcap.errors import FormatError
from dcap.formats.containers.text import pem_label

_SGX_REPORT_SIZE = 432
_TD_REPORT_SIZE = 1024
_SNP_REPORT_SIZE = 1184
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
#: COSE_Sign1 with ES384 in its protected header, tagged and untagged: a Nitro document.
_NITRO = (b"\x84\x44\xa1\x01\x38\x22", b"\xd2\x84\x44\xa1\x01\x38\x22")


class Mistake(msgspec.Struct, frozen=True):
    """One kind of wrong input: how it is told, what it is, and what to give instead."""

    told: Callable[[bytes], bool]
    what: str
    mend: str


def _is_html(data: bytes) -> bool:
    start = data[:64].lstrip().lower()
    return start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head"))


def _is_json(data: bytes) -> bool:
    return data[:64].lstrip().startswith((b"{", b"["))


def _is_utf16(data: bytes) -> bool:
    return data.startswith(_UTF16)


def _is_epid(data: bytes) -> bool:
    """EPID quote: version 1 or 2, signature type 0 or 1."""
    version, kind = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    return len(data) >= _SGX_REPORT_SIZE and version in (1, 2) and kind in (0, 1)


def _is_snp(data: bytes) -> bool:
    return len(data) == _SNP_REPORT_SIZE and int.from_bytes(data[:4], "little") in range(2, 6)


def _is_td_report(data: bytes) -> bool:
    return len(data) == _TD_REPORT_SIZE and data[:2] == b"\x81\0"


def _is_certificate(data: bytes) -> bool:
    return data[:1] == b"0" and data[1:2] in (b"\x81", b"\x82")


#: In the order in which they are asked.
MISTAKES = (
    Mistake(lambda data: not data, "the input is empty", "check the command that wrote it"),
    Mistake(
        lambda data: not any(data), "the input is all zeros", "the quote was never written to it"
    ),
    Mistake(
        _is_utf16,
        "the input is UTF-16 text: PowerShell's > has rewritten it",
        "write bytes, not text, or use cmd.exe for the redirection",
    ),
    Mistake(
        _is_html,
        "the input is an HTML or XML page, probably a server's error page",
        "look at the page; fetch the quote again",
    ),
    Mistake(
        _is_json,
        "the input is JSON, not a quote; it may be a service's answer or an error",
        "take the quote (often base64) out of its member and give that",
    ),
    Mistake(
        lambda data: pem_label(data[:4096]) == "CERTIFICATE" and data.isascii(),
        "the input is a certificate, not a quote",
        "see what it says with: dcap inspect FILE",
    ),
    Mistake(
        lambda data: bool(pem_label(data[:4096])) and data.isascii(),
        "the input is PEM, but of something else than a quote",
        "a quote's block is labelled QUOTE",
    ),
    Mistake(
        _is_certificate,
        "the input is DER: a certificate or CRL, not a quote",
        "see what it says with: dcap inspect FILE",
    ),
    Mistake(
        lambda data: data.startswith(_NITRO),
        "the input is an AWS Nitro attestation document; only SGX and TDX are read",
        "use AWS's tools for it",
    ),
    Mistake(
        _is_snp,
        "the input is an AMD SEV-SNP attestation report; only SGX and TDX are read",
        "use AMD's tools for it",
    ),
    Mistake(
        lambda data: len(data) == _SGX_REPORT_SIZE,
        "the input has the size of an SGX REPORT, which only the same CPU can check",
        "have the quoting enclave turn the report into a quote",
    ),
    Mistake(
        _is_td_report,
        "the input is a TDREPORT, which only the same CPU can check",
        "ask for a quote: configfs-tsm, or the TDX attestation library",
    ),
    Mistake(
        _is_epid,
        "the input looks like an EPID quote, which Intel has retired",
        "have the platform make a DCAP (ECDSA) quote",
    ),
)


def unrecognised(data: bytes) -> FormatError:
    """The error for an input that is no quote in any container, with a hint where one fits."""
    for mistake in MISTAKES:
        if mistake.told(data):
            return FormatError("evidence-unrecognised", mistake.what, mend=mistake.mend)
    return FormatError(
        "evidence-unrecognised",
        f"{len(data)} bytes that are no SGX or TDX quote, in no container known here",
        mend="give a quote (raw, hex, base64, PEM), an Open Enclave or EGo report or evidence, "
        "or a Conclave EnclaveInstanceInfo",
    )
