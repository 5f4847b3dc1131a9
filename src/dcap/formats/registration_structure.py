"""How each structure begins that a machine of several packages registers with: GUID, size, version.

A platform manifest and a request to add a package are such structures; what follows the head is Intel's
and opaque. Not here: the UEFI variables that hold them (`platform_registration.uefi`).

Source: Intel SGX DCAP multi-package software, `UefiVar.h`; `pccs-and-pcs-api.md` §2.3.
"""

from typing import Final

import msgspec

from dcap.formats.layout import U16, Layout, Octets12, Octets16

MANIFEST_GUID: Final = bytes.fromhex("178e874b49e44aa599bb3057170925b4")
ADD_REQUEST_GUID: Final = bytes.fromhex("696519ca73c14785a0f64d289d37e995")
_MOST: Final = 0xFFFF


class StructureHead(msgspec.Struct, frozen=True):
    """The 32 bytes in front; `size` is of what follows them."""

    guid: Octets16
    size: U16
    version: U16
    reserved: Octets12 = bytes(12)


STRUCTURE_HEAD: Final = Layout(
    StructureHead, "structure in a UEFI variable", code="registration-uefi"
)


def write_structure(guid: bytes, content: bytes, *, version: int = 1) -> bytes:
    """A structure around opaque bytes, at most 65535 of them."""
    assert len(content) <= _MOST
    return STRUCTURE_HEAD.write(StructureHead(guid, len(content), version)) + content
