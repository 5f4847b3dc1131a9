"""SIGSTRUCT, 1808 bytes: what an enclave's signer says the enclave will be.

It gives the expected MRENCLAVE, MRSIGNER, product id and SVN of a release before the enclave runs
(Gramine's `app.sig`; part of every signed enclave file). The signature (RSA-3072, exponent 3) is
NOT checked here or anywhere else in dcap: the CPU checks it when the enclave is started. Whoever
makes a policy of a SIGSTRUCT must trust the place it came from.

Source: Intel SDM vol. 3D, "Enclave Signature Structure (SIGSTRUCT)"; `users-and-interop.md` §2.4.
"""

import hashlib
from datetime import date
from typing import Annotated

import msgspec

from dcap.errors import FormatError
from dcap.formats.layout import U8, U16, U32, Layout, Octets2, Octets12, Octets16, Octets32, Width
from dcap.formats.layout import Octets384 as Rsa3072
from dcap.formats.sgx_report import ATTRIBUTE_FLAGS

Octets4 = Annotated[bytes, Width("4s")]
Octets84 = Annotated[bytes, Width("84s")]

#: The constants at byte 0 and byte 24, by which a SIGSTRUCT is told.
HEADER = bytes.fromhex("06000000e10000000000010000000000")
HEADER2 = bytes.fromhex("01010000600000006000000001000000")
INTEL = 0x8086


class Sigstruct(msgspec.Struct, frozen=True, gc=False):
    """Every field in memory order. Big numbers (`modulus`, `signature`, `q1`, `q2`) little-endian.

    `date_bcd` is BCD as it stands, 0x20261121; the masks say which bits of the field before them
    the signer fixed.
    """

    header: Octets16
    vendor: U32
    date_bcd: U32
    header2: Octets16
    software_defined: U32
    reserved1: Octets84
    modulus: Rsa3072
    exponent: U32
    signature: Rsa3072
    misc_select: U32
    misc_mask: U32
    cet_attributes: U8
    cet_attributes_mask: U8
    reserved2: Octets2
    isv_family_id: Octets16
    attributes: Octets16
    attributes_mask: Octets16
    mr_enclave: Octets32
    reserved3: Octets16
    isv_ext_prod_id: Octets16
    isv_prod_id: U16
    isv_svn: U16
    reserved4: Octets12
    q1: Rsa3072
    q2: Rsa3072

    @classmethod
    def parse(cls, data: bytes) -> "Sigstruct":
        """Read one that fills `data`. Raises `FormatError` (`sigstruct`, `sigstruct-truncated`)."""
        record = LAYOUT.read(data)
        if record.header != HEADER or record.header2 != HEADER2:
            raise FormatError(
                "sigstruct", "its constants are not those of a SIGSTRUCT", where="SIGSTRUCT, byte 0"
            )
        if len(data) != SIZE:
            raise FormatError(
                "sigstruct",
                f"{len(data) - SIZE} bytes stand after the SIGSTRUCT",
                where=f"SIGSTRUCT, byte {SIZE}",
                mend="give the signature file alone, not the whole enclave",
            )
        return record

    def to_bytes(self) -> bytes:
        """The 1808 bytes of memory."""
        return LAYOUT.write(self)

    @property
    def mr_signer(self) -> bytes:
        """MRSIGNER of the enclave: SHA-256 of the modulus as it is stored."""
        return hashlib.sha256(self.modulus).digest()

    @property
    def build_date(self) -> date | None:
        """The date the signer wrote; `None` where it is no date (it is not checked by anyone)."""
        digits = f"{self.date_bcd:08x}"
        try:
            return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
        except ValueError:
            return None

    @property
    def debug(self) -> bool:
        """Whether the signer asks for debug mode."""
        return bool(self.attributes[0] & ATTRIBUTE_FLAGS["DEBUG"])

    @property
    def debug_allowed(self) -> bool:
        """Whether the enclave can be started in debug mode: asked for, or left open by the mask."""
        return self.debug or not self.attributes_mask[0] & ATTRIBUTE_FLAGS["DEBUG"]


def is_sigstruct(data: bytes) -> bool:
    """Whether the bytes begin as a SIGSTRUCT does, complete or not."""
    return data.startswith(HEADER) and data[24:40] in (HEADER2, b"")


LAYOUT = Layout(Sigstruct, "SIGSTRUCT")
SIZE = LAYOUT.size
