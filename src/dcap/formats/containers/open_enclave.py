"""Open Enclave's containers (EGo uses them too): the legacy report, evidence, and custom claims.

    legacy report   u32 version = 1 · u32 type (1 local, 2 remote) · u64 size · quote
    evidence        u32 version = 3 · UUID 16 · padding 4 · u64 size · data, by the UUID's format
    custom claims   u64 version = 1 · u64 count · each: u64 name size (with NUL) · u64 value size ·
                    name · value

Little-endian; every size closes exactly. For SGX_ECDSA the data are the quote and then the custom
claims buffer, whose SHA-256 begins the report data; the buffer is often, but not always, a list of
custom claims. Not here: Open Enclave's endorsements, and whether the binding holds.

Source: Open Enclave `internal/report.h`, `bits/evidence.h`; `users-and-interop.md` §2.2.
"""

import hashlib
from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import msgspec

from dcap.errors import FormatError
from dcap.formats.containers.layer import Binding, Layer
from dcap.formats.cursor import Cursor
from dcap.formats.layout import U32, U64, Layout, Octets16, Width
from dcap.formats.quote import INTEL_QE_VENDOR_ID, quote_size

REPORT = "open-enclave-report"
EVIDENCE = "open-enclave-evidence"
CUSTOM_CLAIMS_BINDING = "SHA-256 of the custom claims buffer"

SGX_ECDSA = UUID("a3a21e87-1b4d-4014-b70a-a125d2fbcd8c")
LEGACY_REPORT_REMOTE = UUID("c8303454-d923-4c2c-a691-df7def460a76")
RAW_SGX_QUOTE_ECDSA = UUID("1923d91e-12d2-4c72-b220-25cd8dace871")
TDX_QUOTE_ECDSA = UUID("8ba70286-c1cf-11ed-afa1-0242ac120002")

Octets4 = Annotated[bytes, Width("4s")]

_NO_QUOTE = "it is checked by the CPU that made it and proves nothing elsewhere"
_EPID = "Intel has retired EPID attestation; its quotes are not DCAP quotes"
#: Format UUID -> (Open Enclave's name, why it cannot be read; empty where it can).
FORMATS: dict[UUID, tuple[str, str]] = {
    SGX_ECDSA: ("SGX_ECDSA", ""),
    LEGACY_REPORT_REMOTE: ("LEGACY_REPORT_REMOTE", ""),
    RAW_SGX_QUOTE_ECDSA: ("RAW_SGX_QUOTE_ECDSA", ""),
    TDX_QUOTE_ECDSA: ("TDX_QUOTE_ECDSA", ""),
    UUID("09268c33-6e0b-45e5-8a27-15644d0ef89a"): ("SGX_LOCAL_ATTESTATION", _NO_QUOTE),
    UUID("f228aa3f-de4d-49d3-884c-b2aa87a50da6"): ("SGX_EPID_LINKABLE", _EPID),
    UUID("5c35d290-a2c2-4c55-9e13-5ad732746c88"): ("SGX_EPID_UNLINKABLE", _EPID),
    UUID("170494a6-ab23-4798-8c38-351cb0b6af0a"): (
        "SGX_EEID_ECDSA_P256",
        "the extended enclave initialisation data are not read here",
    ),
}

#: More custom claims than any enclave makes; what they hold is bounded by the input.
MAX_CUSTOM_CLAIMS = 1024

_REPORT_VERSION = 1
_EVIDENCE_VERSION = 3
_CLAIMS_VERSION = 1
_LOCAL = 1
_REMOTE = 2


class ReportHeader(msgspec.Struct, frozen=True, gc=False):
    """`oe_report_header_t`, 16 bytes."""

    version: U32
    type: U32
    size: U64


class EvidenceHeader(msgspec.Struct, frozen=True, gc=False):
    """`oe_attestation_header_t`, 32 bytes: the C struct is not packed."""

    version: U32
    format_id: Octets16
    padding: Octets4
    size: U64


class CustomClaimsHeader(msgspec.Struct, frozen=True, gc=False):
    """`oe_custom_claims_header_t`, 16 bytes."""

    version: U64
    count: U64


_REPORT_HEADER = Layout(ReportHeader, "Open Enclave report")
_EVIDENCE_HEADER = Layout(EvidenceHeader, "Open Enclave evidence")
_CLAIMS_HEADER = Layout(CustomClaimsHeader, "Open Enclave custom claims")


class LegacyReport(msgspec.Struct, frozen=True, gc=False):
    """What `oe_get_report` and EGo's `GetRemoteReport` return: a quote behind a header."""

    quote: bytes

    @classmethod
    def parse(cls, data: bytes) -> "LegacyReport":
        """Read one remote report. Raises `FormatError` (`open-enclave-…`)."""
        header = _REPORT_HEADER.read(data)
        if header.version != _REPORT_VERSION:
            raise FormatError(
                "open-enclave-version",
                f"version {header.version} is not supported; 1 is",
                where="Open Enclave report, byte 0",
            )
        if header.type != _REMOTE:
            kind = "local report" if header.type == _LOCAL else f"report of type {header.type}"
            raise FormatError(
                "open-enclave-format",
                f"a {kind} holds no quote; {_NO_QUOTE}",
                where="Open Enclave report, byte 4",
                mend="ask the enclave for a remote report (EGo: GetRemoteReport)",
            )
        return cls(_closed(data, _REPORT_HEADER.size, header.size, _REPORT_HEADER.name))

    def to_bytes(self) -> bytes:
        """Header and quote."""
        header = ReportHeader(_REPORT_VERSION, _REMOTE, len(self.quote))
        return _REPORT_HEADER.write(header) + self.quote


class Evidence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What `oe_get_evidence` returns: data behind a header that names their format.

    `padding` is what the C compiler leaves between two fields, usually zero.
    """

    format_id: UUID
    data: bytes
    padding: bytes = bytes(4)

    @classmethod
    def parse(cls, data: bytes) -> "Evidence":
        """Read the envelope; what the format holds is read by `quote` and `custom_claims`."""
        header = _EVIDENCE_HEADER.read(data)
        if header.version != _EVIDENCE_VERSION:
            raise FormatError(
                "open-enclave-version",
                f"version {header.version} is not supported; 3 is",
                where="Open Enclave evidence, byte 0",
            )
        return cls(
            format_id=UUID(bytes=header.format_id),
            data=_closed(data, _EVIDENCE_HEADER.size, header.size, _EVIDENCE_HEADER.name),
            padding=header.padding,
        )

    def to_bytes(self) -> bytes:
        """Header and data."""
        header = EvidenceHeader(
            _EVIDENCE_VERSION, self.format_id.bytes, self.padding, len(self.data)
        )
        return _EVIDENCE_HEADER.write(header) + self.data

    @property
    def format_name(self) -> str:
        """Open Enclave's name of the format, or the UUID where it is not known."""
        return FORMATS.get(self.format_id, (str(self.format_id), ""))[0]

    @property
    def quote(self) -> bytes:
        """The bytes of the quote. Raises `FormatError` for formats that hold none."""
        _, why_not = FORMATS.get(self.format_id, ("", "the format is not known"))
        if why_not:
            raise FormatError(
                "open-enclave-format",
                f"evidence of format {self.format_name} is not supported: {why_not}",
                where="Open Enclave evidence, byte 4",
                mend="ask the enclave for evidence of format SGX_ECDSA",
            )
        if self.format_id == LEGACY_REPORT_REMOTE:
            return LegacyReport.parse(self.data).quote
        if self.format_id == SGX_ECDSA:
            return self.data[: self._quote_size()]
        return self.data

    @property
    def custom_claims(self) -> bytes | None:
        """The custom claims buffer, often empty; `None` for formats that have none."""
        return self.data[self._quote_size() :] if self.format_id == SGX_ECDSA else None

    def _quote_size(self) -> int:
        if self.data.startswith(_ENDORSEMENTS):
            raise FormatError(
                "open-enclave-format",
                "these are endorsements (collateral), not evidence",
                where="Open Enclave evidence, byte 32",
                mend="give the file of the evidence",
            )
        try:
            return quote_size(self.data)
        except FormatError as error:
            raise error.within("Open Enclave evidence") from None


class CustomClaim(msgspec.Struct, frozen=True, gc=False):
    """One custom claim; `name` without its NUL."""

    name: str
    value: bytes


def parse_custom_claims(buffer: bytes) -> tuple[CustomClaim, ...]:
    """Read a list of custom claims. Raises `FormatError` (`open-enclave-custom-claims`, …)."""
    header = _CLAIMS_HEADER.read(buffer)
    if header.version != _CLAIMS_VERSION:
        raise _wrong_claims(f"version {header.version} is not supported; 1 is")
    if header.count > MAX_CUSTOM_CLAIMS:
        raise _wrong_claims(f"{header.count} claims; the limit is {MAX_CUSTOM_CLAIMS}")
    cursor = Cursor(
        buffer,
        _CLAIMS_HEADER.name,
        code="open-enclave-custom-claims",
        position=_CLAIMS_HEADER.size,
    )
    claims = []
    for _ in range(header.count):
        name_size = cursor.integer(8, "claim's name size")
        value_size = cursor.integer(8, "claim's value size")
        name = cursor.take(name_size, "claim's name")
        if name.find(b"\0") != len(name) - 1 or not name:
            raise _wrong_claims("a claim's name does not end at its first NUL")
        try:
            text = name[:-1].decode()
        except UnicodeDecodeError:
            raise _wrong_claims("a claim's name is not UTF-8") from None
        claims.append(CustomClaim(text, cursor.take(value_size, "claim's value")))
    cursor.close("custom claims")
    return tuple(claims)


def write_custom_claims(claims: Iterable[CustomClaim]) -> bytes:
    """The buffer that `oe_serialize_custom_claims` makes."""
    written = []
    for claim in claims:
        if "\0" in claim.name:
            raise _wrong_claims("a claim's name holds a NUL")
        name = claim.name.encode() + b"\0"
        sizes = len(name).to_bytes(8, "little") + len(claim.value).to_bytes(8, "little")
        written.append(sizes + name + claim.value)
    header = CustomClaimsHeader(_CLAIMS_VERSION, len(written))
    return _CLAIMS_HEADER.write(header) + b"".join(written)


def write_report(quote: bytes) -> bytes:
    """A legacy remote report around a quote."""
    return LegacyReport(quote).to_bytes()


def write_evidence(quote: bytes, *, custom_claims: bytes = b"", uuid: UUID = SGX_ECDSA) -> bytes:
    """Evidence around a quote, in one of the formats that hold one.

    `custom_claims` is the whole buffer; only SGX_ECDSA can carry it.
    """
    if custom_claims and uuid != SGX_ECDSA:
        raise FormatError(
            "open-enclave-format", f"evidence of format {uuid} carries no custom claims"
        )
    data = write_report(quote) if uuid == LEGACY_REPORT_REMOTE else quote + custom_claims
    return Evidence(format_id=uuid, data=data).to_bytes()


def open_layer(data: bytes) -> Layer | None:
    """The quote out of a report or evidence; `None` where `data` is neither."""
    if data.startswith(_REPORT_STARTS):
        return Layer(names=(REPORT,), content=LegacyReport.parse(data).quote, holds_quote=True)
    if not _is_evidence(data):
        return None
    evidence = Evidence.parse(data)
    quote = evidence.quote
    facts = {"format": evidence.format_name}
    if evidence.format_id == LEGACY_REPORT_REMOTE:
        return Layer(names=(EVIDENCE, REPORT), content=quote, holds_quote=True, facts=facts)
    bindings: tuple[Binding, ...] = ()
    buffer = evidence.custom_claims
    if buffer is not None:
        facts["custom_claims"] = _describe(buffer)
        bindings = (Binding(CUSTOM_CLAIMS_BINDING, hashlib.sha256(buffer).digest()),)
    return Layer(names=(EVIDENCE,), content=quote, holds_quote=True, bindings=bindings, facts=facts)


_REPORT_STARTS = tuple(
    _REPORT_VERSION.to_bytes(4, "little") + kind.to_bytes(4, "little") for kind in (_LOCAL, _REMOTE)
)
#: `oe_endorsements_t` begins with version 1 and the enclave type, 2 for SGX.
_ENDORSEMENTS = _REPORT_STARTS[1]


def _is_evidence(data: bytes) -> bool:
    """Whether the header is one of evidence, and not a broken quote's or another report's."""
    if not data.startswith(_EVIDENCE_VERSION.to_bytes(4, "little")):
        return False
    if data[12:28] == INTEL_QE_VENDOR_ID or len(data) < _EVIDENCE_HEADER.size:
        return False
    header = _EVIDENCE_HEADER.read(data)
    known = UUID(bytes=header.format_id) in FORMATS
    return known or header.size == len(data) - _EVIDENCE_HEADER.size


def _closed(data: bytes, start: int, size: int, name: str) -> bytes:
    cursor = Cursor(data, name, code="open-enclave-size", position=start)
    content = cursor.take(size, "content")
    cursor.close("content")
    return content


def _describe(buffer: bytes) -> str:
    if not buffer:
        return "none"
    try:
        claims = parse_custom_claims(buffer)
    except FormatError:
        return f"{len(buffer)} bytes, not a list of claims"
    return ", ".join(claim.name for claim in claims) or "none"


def _wrong_claims(what: str) -> FormatError:
    return FormatError("open-enclave-custom-claims", what, where=_CLAIMS_HEADER.name)
