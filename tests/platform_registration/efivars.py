"""UEFI variables as Intel's BIOS writes them, byte by byte after Intel's description, in a scratch root.

Not a home for assertions: each test states its own.
"""

import struct
from pathlib import Path

#: NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS: what the kernel puts before each value.
ATTRIBUTES = struct.pack("<I", 7)
FOLDER = "sys/firmware/efi/efivars"
FILES = {
    "request": "SgxRegistrationServerRequest-304e0796-d515-4698-ac6e-e76cb1a71c28",
    "status": "SgxRegistrationStatus-f236c5dc-a491-4bbe-bcdd-88885770df45",
    "configuration": "SgxRegistrationConfiguration-18b3bc81-e210-42b9-9ec8-2c5a7d4d89b6",
    "package_info": "SgxRegistrationPackageInfo-ac406deb-ab92-42d6-aff7-0d78e0826c68",
    "response": "SgxRegistrationServerResponse-89589c7b-b2d9-4fc9-bcda-463b983b2fb7",
}
PLATFORM_MANIFEST = bytes.fromhex("178E874B49E44AA599BB3057170925B4")
ADD_REQUEST = bytes.fromhex("696519CA73C14785A0F64D289D37E995")
SERVER_INFO = bytes.fromhex("212FE1836B1A42A1A7A9DA3AB6B7BD02")
INTEL = b"https://api.trustedservices.intel.com:443"


def structure(guid: bytes, content: bytes) -> bytes:
    """A structure: GUID, size of the content, version 1, twelve bytes of zero."""
    return guid + struct.pack("<HH12x", len(content) & 0xFFFF, 1) + content


def manifest(content: bytes = bytes(range(256)) * 40) -> bytes:
    """A platform manifest as it is sent."""
    return structure(PLATFORM_MANIFEST, content)


def request(body: bytes, version: int = 2) -> bytes:
    """SgxRegistrationServerRequest; version 3 has a size of four bytes."""
    head = struct.pack("<HI" if version == 3 else "<HH", version, len(body))
    return ATTRIBUTES + head + body


def status(bits: int = 0, error_code: int = 0) -> bytes:
    """SgxRegistrationStatus."""
    return ATTRIBUTES + struct.pack("<HHHB", 1, 3, bits, error_code)


def configuration(flags: int = 0, url: bytes = INTEL) -> bytes:
    """SgxRegistrationConfiguration: flags, server info, server id."""
    info = struct.pack("<H256s", len(url), url) + structure(bytes(16), bytes(1188))
    value = struct.pack("<H", flags) + structure(SERVER_INFO, info)
    return ATTRIBUTES + struct.pack("<HH", 1, len(value)) + value


def write(root: Path, **variables: bytes) -> Path:
    """Write variables into a root, under Intel's names."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in variables.items():
        (folder / FILES[name]).write_bytes(content)
    return root
