"""Quotes of versions 3, 4 and 5, read from and written to their exact bytes.

A quote is header + body + signature data. `signed_bytes` is the slice that the attestation key
signed, kept as it stood and never rebuilt. Every length closes exactly; bytes after the quote are
refused here (zero padding is a container's business: `containers`).

Source: Intel SGX ECDSA QuoteLibReference appendix A; TDX DCAP Quoting Library API appendix A.3;
sgx_quote_3.h, _4.h, _5.h. Not here: whether any of it is true (`verification`).
"""

import msgspec

from dcap.errors import FormatError
from dcap.formats import sgx_report, td_report
from dcap.formats.certification import CertificationData, CertificationType
from dcap.formats.cursor import Cursor
from dcap.formats.layout import (
    U16,
    U32,
    Layout,
    Octets2,
    Octets16,
    Octets20,
    Octets64,
    Octets384,
    Record,
)
from dcap.formats.sgx_report import SgxReport
from dcap.formats.td_report import TdReport10, TdReport15, TdReport15Ex

#: No genuine quote comes near it: a PCK chain is 3.6 KB, the largest body 885 bytes.
MAX_SIZE = 64 * 1024

TEE_SGX = 0x00000000
TEE_TDX = 0x00000081
ECDSA_P256 = 2
INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

Body = SgxReport | TdReport10 | TdReport15 | TdReport15Ex

#: Quote v5: body type -> (layout of the body, the TEE it belongs to).
BODY_TYPES: dict[int, tuple[Layout[Body], int]] = {
    1: (sgx_report.LAYOUT, TEE_SGX),  # type: ignore[dict-item]
    2: (td_report.TDX_1_0, TEE_TDX),  # type: ignore[dict-item]
    3: (td_report.TDX_1_5, TEE_TDX),  # type: ignore[dict-item]
    4: (td_report.TDX_1_5_EX, TEE_TDX),  # type: ignore[dict-item]
}
#: Quotes v3 and v4 have no body descriptor: the TEE names the body.
_IMPLIED_BODY_TYPE = {TEE_SGX: 1, TEE_TDX: 2}
_TRUNCATED = "quote-truncated"


class QuoteHeader(msgspec.Struct, frozen=True, gc=False):
    """The first 48 bytes. `qe_svn` and `pce_svn` are informational in v3, reserved in v4 and v5."""

    version: U16
    attestation_key_type: U16
    tee_type: U32
    qe_svn: Octets2
    pce_svn: Octets2
    qe_vendor_id: Octets16
    user_data: Octets20

    def __repr__(self) -> str:
        return f"<QuoteHeader v{self.version}>"


class BodyDescriptor(msgspec.Struct, frozen=True, gc=False):
    """Version 5: what the body is. Signed, with header and body."""

    type: U16
    size: U32


class SignatureHead(msgspec.Struct, frozen=True, gc=False):
    """How the signature data begin."""

    signature: Octets64
    attestation_key: Octets64


class QeReportHead(msgspec.Struct, frozen=True, gc=False):
    """The QE's report and its signature by the PCK; QE authentication data follow."""

    report: Octets384
    signature: Octets64
    authentication_size: U16


class CertificationHead(msgspec.Struct, frozen=True, gc=False):
    """Type and length of certification data."""

    type: U16
    size: U32


_HEADER = Layout(QuoteHeader, "quote header", code="quote-truncated")
_BODY_DESCRIPTOR = Layout(BodyDescriptor, "body descriptor", code="quote-truncated")
_SIGNATURE = Layout(SignatureHead, "quote signature and attestation key", code="quote-truncated")
_QE_REPORT = Layout(QeReportHead, "QE report and its signature", code="quote-truncated")
_CERTIFICATION = Layout(CertificationHead, "certification data", code="quote-truncated")
HEADER_SIZE = _HEADER.size
#: Everything before the signature data of the largest quote, its length included.
_LARGEST_START = HEADER_SIZE + _BODY_DESCRIPTOR.size + td_report.TDX_1_5_EX.size + 4


class Quote:
    """A parsed quote: a claim that is nothing but its bytes.

    It can only be made of bytes, so that what is read (`header`, `body`, `qe_report`) cannot differ
    from what is signed (`signed_bytes`, `qe_report_bytes`). Shapes: `signature`, `attestation_key`
    and `qe_report_signature` are 64 raw bytes (r‖s or X‖Y, big-endian); `qe_report_bytes` is the 384
    signed bytes of the QE's report.
    """

    __slots__ = (
        "attestation_key",
        "body",
        "body_type",
        "certification",
        "header",
        "qe_authentication_data",
        "qe_report",
        "qe_report_bytes",
        "qe_report_signature",
        "signature",
        "signed_bytes",
    )

    header: QuoteHeader
    body: Body
    body_type: int
    signed_bytes: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: SgxReport
    qe_report_bytes: bytes
    qe_report_signature: bytes
    qe_authentication_data: bytes
    certification: CertificationData

    def __init__(self, data: bytes) -> None:
        """Read one quote that fills `data` exactly. Raises `FormatError` with a `quote-…` code."""
        header, body_type, body_at = _read_start(data)
        layout = BODY_TYPES[body_type][0]
        signed = body_at + layout.size
        at, end = signed + 4, len(data)
        if at > end:
            raise _truncated(data, body_at, layout.size + 4, layout.name)
        size = int.from_bytes(data[signed:at], "little")
        trailing = end - at - size
        if trailing < 0:
            raise _truncated(data, at, size, "signature data")
        end -= trailing
        keep = object.__setattr__
        keep(self, "header", header)
        keep(self, "body", layout.read(data, body_at))
        keep(self, "body_type", body_type)
        keep(self, "signed_bytes", data[:signed])
        head = _part(_SIGNATURE, data, at, end)
        at += _SIGNATURE.size
        keep(self, "signature", head.signature)
        keep(self, "attestation_key", head.attestation_key)
        if header.version >= 4:
            outer = _certification_head(data, at, end)
            at += _CERTIFICATION.size
            if outer != CertificationType.QE_REPORT:
                raise FormatError(
                    "quote-certification-data",
                    f"the outer certification data are of type {outer}; a v{header.version} quote "
                    "has type 6 (QE report certification data)",
                    where=f"quote, byte {at - _CERTIFICATION.size}",
                )
        qe = _part(_QE_REPORT, data, at, end)
        at += _QE_REPORT.size
        keep(self, "qe_report_bytes", qe.report)
        keep(self, "qe_report", sgx_report.LAYOUT.read(qe.report))
        keep(self, "qe_report_signature", qe.signature)
        if at + qe.authentication_size > end:
            raise _misfit(at, qe.authentication_size, end - at, "QE authentication data")
        keep(self, "qe_authentication_data", data[at : at + qe.authentication_size])
        at += qe.authentication_size
        kind = _certification_head(data, at, end)
        at += _CERTIFICATION.size
        if not CertificationType.PPID_CLEARTEXT <= kind <= CertificationType.PCK_CERTIFICATE_CHAIN:
            raise FormatError(
                "quote-certification-data",
                f"certification data of type {kind} cannot certify a QE; types 1 to 5 can",
                where=f"quote, byte {at - _CERTIFICATION.size}",
            )
        keep(self, "certification", CertificationData(kind, data[at:end]))
        if trailing:
            raise _trailing(trailing, end)

    @classmethod
    def parse(cls, data: bytes) -> "Quote":
        """The same, as a verb."""
        return cls(data)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Quote is its bytes: make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Quote is its bytes: make another one")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quote) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.signed_bytes)

    def __repr__(self) -> str:
        return f"<Quote v{self.header.version} {self.tee}, certified by type {self.certification.type}>"

    def __reduce__(self) -> tuple[type["Quote"], tuple[bytes]]:
        return Quote, (self.to_bytes(),)

    def to_bytes(self) -> bytes:
        """The quote's bytes: `Quote.parse(b).to_bytes() == b`."""
        return write_quote(
            self.signed_bytes,
            version=self.header.version,
            signature=self.signature,
            attestation_key=self.attestation_key,
            qe_report=self.qe_report_bytes,
            qe_report_signature=self.qe_report_signature,
            qe_authentication_data=self.qe_authentication_data,
            certification=self.certification,
        )

    @property
    def tee(self) -> str:
        """`"SGX"` or `"TDX"`."""
        return "SGX" if self.header.tee_type == TEE_SGX else "TDX"

    @property
    def td(self) -> TdReport10 | None:
        """The TD report, where this is a TDX quote."""
        return None if isinstance(self.body, SgxReport) else self.body

    @property
    def enclave(self) -> SgxReport | None:
        """The enclave report, where this is an SGX quote."""
        return self.body if isinstance(self.body, SgxReport) else None


def write_quote(
    signed: bytes,
    *,
    version: int,
    signature: bytes,
    attestation_key: bytes,
    qe_report: bytes,
    qe_report_signature: bytes,
    qe_authentication_data: bytes,
    certification: CertificationData,
) -> bytes:
    """The writer: a quote of `signed_part` and the signature data, every length filled in."""
    inner = (
        qe_report
        + qe_report_signature
        + _length(qe_authentication_data, 2)
        + qe_authentication_data
        + certification.type.to_bytes(2, "little")
        + _length(certification.data, 4)
        + certification.data
    )
    if version >= 4:
        inner = CertificationType.QE_REPORT.to_bytes(2, "little") + _length(inner, 4) + inner
    section = signature + attestation_key + inner
    return signed + _length(section, 4) + section


def signed_part(header: QuoteHeader, body: Body, body_type: int | None = None) -> bytes:
    """What an attestation key signs: header, v5's body descriptor, body. The writer of quotes."""
    content = body.to_bytes()
    if header.version < 5:
        return _HEADER.write(header) + content
    kind = body_type or next(k for k, (lay, _) in BODY_TYPES.items() if lay.record is type(body))
    return _HEADER.write(header) + kind.to_bytes(2, "little") + _length(content, 4) + content


def quote_size(data: bytes, offset: int = 0) -> int:
    """How many bytes the quote at `offset` occupies by its own lengths; the buffer may hold more.

    For containers that put a quote before other data. Raises `FormatError`.
    """
    window = data[offset : offset + _LARGEST_START]
    _, body_type, body_at = _read_start(window)
    end = body_at + BODY_TYPES[body_type][0].size + 4
    if end > len(window):
        raise _truncated(window, body_at, end - body_at, BODY_TYPES[body_type][0].name)
    size = end + int.from_bytes(window[end - 4 : end], "little")
    if size > len(data) - offset:
        raise _truncated(data, offset + end, size - end, "signature data")
    return size


def _read_start(data: bytes) -> tuple[QuoteHeader, int, int]:
    """Header, body type and the body's offset, their agreement checked."""
    if len(data) > MAX_SIZE:
        raise FormatError(
            "quote-too-large",
            f"{len(data)} bytes; a quote has at most {MAX_SIZE}",
            where="quote",
            mend="give the quote alone",
        )
    if len(data) < HEADER_SIZE:
        raise _truncated(data, 0, HEADER_SIZE, "quote header")
    header = _HEADER.read(data)
    version = header.version
    if version not in (3, 4, 5):
        raise FormatError(
            "quote-version",
            f"version {version} is not supported; 3, 4 and 5 are",
            where="quote, byte 0",
            mend="check that this is a DCAP quote (an EPID quote, version 1 or 2, is not)",
        )
    if header.attestation_key_type != ECDSA_P256:
        raise FormatError(
            "quote-attestation-key-type",
            f"attestation key type {header.attestation_key_type} is not supported; "
            "2 (ECDSA P-256) is",
            where="quote, byte 2",
            mend="have the machine's quoting enclave make an ECDSA P-256 quote",
        )
    tee = header.tee_type
    if tee not in _IMPLIED_BODY_TYPE or (version == 3 and tee != TEE_SGX):
        raise FormatError(
            "quote-tee-type",
            f"TEE type 0x{tee:08x} is not possible in a version {version} quote",
            where="quote, byte 4",
            mend="SGX is 0x00000000; TDX is 0x00000081, from version 4 on",
        )
    if version < 5:
        return header, _IMPLIED_BODY_TYPE[tee], HEADER_SIZE
    body_at = HEADER_SIZE + _BODY_DESCRIPTOR.size
    if len(data) < body_at:
        raise _truncated(data, HEADER_SIZE, _BODY_DESCRIPTOR.size, "body descriptor")
    descriptor = _BODY_DESCRIPTOR.read(data, HEADER_SIZE)
    body_type, size = descriptor.type, descriptor.size
    known = BODY_TYPES.get(body_type)
    if known is None or known[1] != tee or known[0].size != size:
        raise FormatError(
            "quote-body-type",
            f"body type {body_type} of {size} bytes does not belong to TEE type 0x{tee:08x}",
            where="quote, byte 48",
        )
    return header, body_type, body_at


def _part(layout: Layout[Record], data: bytes, at: int, end: int) -> Record:
    """A fixed part of the signature data, which ends at `end` whatever the buffer holds."""
    if at + layout.size > end:
        raise _misfit(at, layout.size, end - at, layout.name)
    return layout.read(data, at)


def _certification_head(data: bytes, at: int, end: int) -> int:
    """A certification data type whose length closes the quote exactly."""
    head = _part(_CERTIFICATION, data, at, end)
    left = end - at - _CERTIFICATION.size
    if head.size != left:
        raise _misfit(at, head.size, left, "certification data")
    return head.type


def _misfit(at: int, claimed: int, left: int, what: str) -> FormatError:
    return FormatError(
        "quote-length",
        f"the {what} claim {claimed} bytes, {max(0, left)} are left",
        where=f"quote, byte {at}",
        mend="the bytes were cut off or a length altered; get the original quote",
    )


def _truncated(data: bytes, at: int, size: int, what: str) -> FormatError:
    return Cursor(data, "quote", code=_TRUNCATED, position=at).missing(size, what)


def _trailing(count: int, end: int) -> FormatError:
    return FormatError(
        "quote-trailing-bytes",
        f"{count} bytes stand after the quote; nothing signs them",
        where=f"quote, byte {end}",
        mend="cut the file after the quote, if you know why they are there",
    )


def _length(data: bytes, size: int) -> bytes:
    try:
        return len(data).to_bytes(size, "little")
    except OverflowError:
        raise FormatError(
            "field-does-not-fit", f"{len(data)} bytes are too many for their length field"
        ) from None
