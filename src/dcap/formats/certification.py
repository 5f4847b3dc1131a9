"""Certification data: how a quote says which PCK certificate vouches for its QE (types 1 to 7).

Source: Intel SGX ECDSA QuoteLibReference, "QE Certification Data"; `verification.md` §1.3. The type
and length before the data are read by `quote`; what the data hold is read here.
"""

from enum import IntEnum

import msgspec

from dcap.errors import FormatError
from dcap.formats.layout import U16, Layout, Octets2, Octets16, Octets256, Octets384


class CertificationType(IntEnum):
    """The certification data types of Intel's quote."""

    PPID_CLEARTEXT = 1
    PPID_RSA2048_ENCRYPTED = 2
    PPID_RSA3072_ENCRYPTED = 3
    PCK_CERTIFICATE = 4
    PCK_CERTIFICATE_CHAIN = 5
    QE_REPORT = 6
    PLATFORM_MANIFEST = 7


class PpidCleartext(msgspec.Struct, frozen=True, gc=False):
    """Type 1, 36 bytes: the platform by its PPID in clear and its raw TCB."""

    ppid: Octets16
    cpu_svn: Octets16
    pce_svn: U16
    pce_id: Octets2

    def __repr__(self) -> str:
        return "<PpidCleartext>"


class PpidRsa2048(msgspec.Struct, frozen=True, gc=False):
    """Type 2, 276 bytes: the PPID encrypted with RSA-2048-OAEP."""

    encrypted_ppid: Octets256
    cpu_svn: Octets16
    pce_svn: U16
    pce_id: Octets2

    def __repr__(self) -> str:
        return "<PpidRsa2048>"


class PpidRsa3072(msgspec.Struct, frozen=True, gc=False):
    """Type 3, 404 bytes: the PPID encrypted with RSA-3072-OAEP."""

    encrypted_ppid: Octets384
    cpu_svn: Octets16
    pce_svn: U16
    pce_id: Octets2

    def __repr__(self) -> str:
        return "<PpidRsa3072>"


PlatformPpid = PpidCleartext | PpidRsa2048 | PpidRsa3072

_PPID_LAYOUTS: dict[int, Layout[PpidCleartext] | Layout[PpidRsa2048] | Layout[PpidRsa3072]] = {
    CertificationType.PPID_CLEARTEXT: Layout(PpidCleartext, "certification data"),
    CertificationType.PPID_RSA2048_ENCRYPTED: Layout(PpidRsa2048, "certification data"),
    CertificationType.PPID_RSA3072_ENCRYPTED: Layout(PpidRsa3072, "certification data"),
}
_TYPE_OF: dict[type, int] = {layout.record: kind for kind, layout in _PPID_LAYOUTS.items()}


class CertificationData(msgspec.Struct, frozen=True, gc=False):
    """The type and the bytes as they stood; `platform()` and `chain` say what they hold."""

    type: int
    data: bytes

    def __repr__(self) -> str:
        return f"<CertificationData of type {self.type}, {len(self.data)} bytes>"

    @classmethod
    def of_platform(cls, platform: PlatformPpid) -> "CertificationData":
        """The writer of types 1 to 3."""
        kind = _TYPE_OF[type(platform)]
        return cls(kind, _PPID_LAYOUTS[kind].write(platform))  # type: ignore[arg-type]

    @property
    def is_chain(self) -> bool:
        """Whether the data are a PEM chain (type 5)."""
        return self.type == CertificationType.PCK_CERTIFICATE_CHAIN

    def platform(self) -> PlatformPpid:
        """Types 1 to 3 read. Raises `FormatError` for another type or a wrong size."""
        layout = _PPID_LAYOUTS.get(self.type)
        if layout is None:
            raise FormatError(
                "quote-certification-data",
                f"certification data of type {self.type} hold no PPID",
                where="quote, certification data",
            )
        if len(self.data) != layout.size:
            raise FormatError(
                "quote-certification-data",
                f"certification data of type {self.type} are {layout.size} bytes long, "
                f"these are {len(self.data)}",
                where="quote, certification data",
            )
        return layout.read(self.data)
