"""The SGX enclave report body, 384 bytes: of the application enclave and of the QE alike.

Source: Intel SDM vol. 3D, REPORT structure; Intel SGX ECDSA QuoteLibReference, "Enclave Report Body".
"""

import msgspec

from dcap.formats.layout import U16, U32, Layout, Octets12, Octets16, Octets32, Octets42, Octets64

#: Bits of ATTRIBUTES.FLAGS (the first 8 bytes, little-endian), by Intel's names.
ATTRIBUTE_FLAGS = {
    "INIT": 1 << 0,
    "DEBUG": 1 << 1,
    "MODE64BIT": 1 << 2,
    "PROVISION_KEY": 1 << 4,
    "EINITTOKEN_KEY": 1 << 5,
    "CET": 1 << 6,
    "KSS": 1 << 7,
    "AEX_NOTIFY": 1 << 10,
}


class SgxReport(msgspec.Struct, frozen=True, gc=False):
    """What the CPU says of an enclave. Field order is the memory order; 384 bytes in all."""

    cpu_svn: Octets16
    misc_select: U32
    reserved1: Octets12
    isv_ext_prod_id: Octets16
    attributes: Octets16
    mr_enclave: Octets32
    reserved2: Octets32
    mr_signer: Octets32
    reserved3: Octets32
    config_id: Octets64
    isv_prod_id: U16
    isv_svn: U16
    config_svn: U16
    reserved4: Octets42
    isv_family_id: Octets16
    report_data: Octets64

    def __repr__(self) -> str:
        return f"<SgxReport of MRENCLAVE {self.mr_enclave.hex()}>"

    @classmethod
    def parse(cls, data: bytes, offset: int = 0) -> "SgxReport":
        """The report at `offset`. Raises `FormatError` where fewer than 384 bytes are left."""
        return LAYOUT.read(data, offset)

    def to_bytes(self) -> bytes:
        """The 384 bytes of memory."""
        return LAYOUT.write(self)

    @property
    def debug(self) -> bool:
        """Whether the enclave runs in debug mode: its memory is open to the host."""
        return bool(self.attributes[0] & ATTRIBUTE_FLAGS["DEBUG"])

    @property
    def flags(self) -> int:
        """ATTRIBUTES.FLAGS as a 64-bit integer."""
        return int.from_bytes(self.attributes[:8], "little")

    @property
    def xfrm(self) -> int:
        """ATTRIBUTES.XFRM as a 64-bit integer."""
        return int.from_bytes(self.attributes[8:], "little")


LAYOUT = Layout(SgxReport, "SGX report")
SIZE = LAYOUT.size
