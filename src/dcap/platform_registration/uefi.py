"""What the BIOS of a machine of several packages tells in UEFI variables: manifest, state, server.

    SgxRegistrationServerRequest    the platform manifest, or a request to add a package
    SgxRegistrationStatus           whether it was sent, and the last error
    SgxRegistrationConfiguration    which server it is for, and whether that may keep the keys
    SgxRegistrationPackageInfo      key blobs; that they are there is all that is said of them
    SgxRegistrationServerResponse   membership certificates; likewise

In `/sys/firmware/efi/efivars` a variable is a file: four bytes of attributes, then its value. Only read:
writing to them is the business of Intel's tools. A manifest identifies the machine: it stands in no text
of these values, and in no error. Not here: what is done with a manifest (`registrar`).

Source: Intel SGX DCAP multi-package software: UEFI variables; `MPUefi.cpp`, `UefiVar.h`.
"""

import re
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from dcap.errors import FormatError, printable
from dcap.formats.layout import U8, U16, U32, Layout
from dcap.formats.registration_structure import (
    ADD_REQUEST_GUID,
    MANIFEST_GUID,
    STRUCTURE_HEAD,
)
from dcap.qpl.discovery_root import Root

T = TypeVar("T")

FOLDER: Final = "/sys/firmware/efi/efivars"
REQUEST: Final = "SgxRegistrationServerRequest"
STATUS: Final = "SgxRegistrationStatus"
CONFIGURATION: Final = "SgxRegistrationConfiguration"
PACKAGE_INFO: Final = "SgxRegistrationPackageInfo"
RESPONSE: Final = "SgxRegistrationServerResponse"
#: Variable -> the GUID that Intel's BIOS gives it. Under another one it is read as well.
GUIDS: Final = {
    REQUEST: "304e0796-d515-4698-ac6e-e76cb1a71c28",
    STATUS: "f236c5dc-a491-4bbe-bcdd-88885770df45",
    CONFIGURATION: "18b3bc81-e210-42b9-9ec8-2c5a7d4d89b6",
    PACKAGE_INFO: "ac406deb-ab92-42d6-aff7-0d78e0826c68",
    RESPONSE: "89589c7b-b2d9-4fc9-bcda-463b983b2fb7",
}

_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: More than a variable of eight packages.
_MOST: Final = 1024 * 1024
_CODE = "registration-uefi"

Content: TypeAlias = Literal["manifest", "add-request"]


class Head(msgspec.Struct, frozen=True):
    """How a variable of versions 1 and 2 begins, its attributes included."""

    attributes: U32
    version: U16
    size: U16


class LongHead(msgspec.Struct, frozen=True):
    """How one of version 3 begins: manifests beyond 64 KB."""

    attributes: U32
    version: U16
    size: U32


class State(msgspec.Struct, frozen=True):
    """The value of `SgxRegistrationStatus`."""

    bits: U16
    error_code: U8

    @property
    def is_complete(self) -> bool:
        """Whether nothing is to be sent: it was, or a last refusal was noted."""
        return bool(self.bits & 1)

    @property
    def has_read_packages(self) -> bool:
        """Whether the key blobs were saved, or none are offered."""
        return bool(self.bits & 2)


HEAD: Final = Layout(Head, "UEFI variable", code=_CODE)
LONG_HEAD: Final = Layout(LongHead, "UEFI variable", code=_CODE)
STATE: Final = Layout(State, STATUS, code=_CODE)
_LONG_VERSION: Final = 3
#: Where the URL stands in a configuration's value: after the flags and the head of a structure.
_FLAGS: Final = 2
_URL_AT: Final = _FLAGS + STRUCTURE_HEAD.size
_URL_SIZE: Final = 256

#: Of `State.error_code`, what Intel's agent has written there. Below 0x80 the BIOS has.
ERRORS: Final = {
    0x80: "the agent had an unexpected error of its own",
    0x81: "the agent had no memory left",
    0x82: "the registration server could not be reached, or its proxy",
    0x83: "the agent was given an invalid parameter",
    0x84: "the registration server had an error of its own",
    0x85: "the registration server did not answer in time",
    0x86: "the agent and the BIOS did not understand each other",
    0x87: "the registration server does not know this client",
    0xA0: "the registration server calls the request malformed",
    0xA1: "the manifest was made for another registration server",
    0xA2: "a CPU package is not genuine, or revoked",
    0xA3: "a CPU package is not known to the registration server",
    0xA4: "a CPU package does not go with the others",
    0xA5: "the registration server cannot use the manifest",
    0xA6: "the machine to which a package is added is not registered",
    0xA7: "the registration server cannot use the request to add a package",
    0xA8: "the registration server refused, for a reason that the agent does not know",
}


class Request(msgspec.Struct, frozen=True):
    """What the BIOS wants sent: a manifest or a request to add a package, as it is sent."""

    content: Content
    body: bytes

    def __repr__(self) -> str:
        return f"<Request {self.content}, {len(self.body)} bytes>"


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Which registration server the machine is for, and whether that may keep its keys."""

    url: str
    keeps_keys: bool


class Variables(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `unreadable`: variable -> why it is there, and cannot be used."""

    request: Request | None = None
    state: State | None = None
    server: Server | None = None
    has_package_info: bool = False
    has_response: bool = False
    unreadable: tuple[tuple[str, str], ...] = ()

    @property
    def is_multi_package(self) -> bool:
        """Whether this is a machine whose BIOS speaks of registration at all."""
        told = (self.request, self.state, self.server)
        return any(one is not None for one in told) or bool(self.unreadable)


def read_variables(root: Root) -> Variables:
    """Every variable that is there, each by itself: one that is wrong hides no other."""
    found: dict[str, bytes] = {}
    wrong: dict[str, str] = {}
    for name, path in _places(root).items():
        content = root.content(path, _MOST)
        if content:
            found[name] = content
        else:
            wrong[name] = "it cannot be read; become root (sudo)"
    return Variables(
        request=_read(REQUEST, found, wrong, read_request),
        state=_read(STATUS, found, wrong, read_state),
        server=_read(CONFIGURATION, found, wrong, read_server),
        has_package_info=PACKAGE_INFO in found,
        has_response=RESPONSE in found,
        unreadable=tuple(wrong.items()),
    )


def read_request(variable: bytes) -> Request:
    """A request. Raises `FormatError` (`registration-uefi`)."""
    body = _value(variable, REQUEST, versions=(1, 2, _LONG_VERSION))
    guid = body[: len(MANIFEST_GUID)]
    if guid == MANIFEST_GUID:
        return Request("manifest", body)
    if guid == ADD_REQUEST_GUID:
        return Request("add-request", body)
    raise _wrong("it holds neither a platform manifest nor a request to add a package", REQUEST)


def read_state(variable: bytes) -> State:
    """The state. Raises `FormatError` (`registration-uefi`)."""
    value = _value(variable, STATUS)
    if len(value) != STATE.size:
        raise _wrong(f"it has {len(value)} bytes, not {STATE.size}", STATUS)
    return STATE.read(value)


def read_server(variable: bytes) -> Server:
    """The configuration. Raises `FormatError` (`registration-uefi`)."""
    value = _value(variable, CONFIGURATION)
    if len(value) < _URL_AT + 2 + _URL_SIZE:
        raise _wrong("it is too short to hold a URL", CONFIGURATION)
    flags = int.from_bytes(value[:_FLAGS], "little")
    size = int.from_bytes(value[_URL_AT : _URL_AT + 2], "little")
    if size > _URL_SIZE:
        raise _wrong(f"its URL is longer than {_URL_SIZE} bytes", CONFIGURATION)
    text = value[_URL_AT + 2 : _URL_AT + 2 + size].rstrip(b"\0 ")
    return Server(url=printable(text.decode("latin-1")), keeps_keys=not flags & 1)


def told_error(code: int) -> str:
    """An error code of the state in words; empty where there is none."""
    if not code:
        return ""
    if code < 0x80:
        return "the BIOS had an error: it is named in the BIOS vendor's documentation"
    return ERRORS.get(code, "an error of the agent's that Intel has not documented")


def _places(root: Root) -> dict[str, str]:
    """Variable -> its file: under Intel's GUID, else under any."""
    places: dict[str, str] = {}
    for file in root.names(FOLDER):
        name, _, guid = file.partition("-")
        known = GUIDS.get(name)
        if known is None or not _GUID.fullmatch(guid):
            continue
        if guid.lower() == known or name not in places:
            places[name] = f"{FOLDER}/{file}"
    return places


def _value(variable: bytes, name: str, *, versions: tuple[int, ...] = (1,)) -> bytes:
    """What stands after a variable's head, all of it."""
    head: Head | LongHead = HEAD.read(variable)
    layout: Layout[Head] | Layout[LongHead] = HEAD
    if head.version not in versions:
        raise _wrong(f"version {head.version} is not known", name)
    if head.version == _LONG_VERSION:
        layout = LONG_HEAD
        head = LONG_HEAD.read(variable)
    value = variable[layout.size :]
    if len(value) != head.size:
        raise _wrong(f"it says {head.size} bytes, and has {len(value)}", name)
    return value


def _read(
    name: str, found: dict[str, bytes], wrong: dict[str, str], read: Callable[[bytes], T]
) -> T | None:
    if name not in found:
        return None
    try:
        return read(found[name])
    except FormatError as error:
        wrong[name] = error.what
        return None


def _wrong(what: str, name: str) -> FormatError:
    return FormatError(
        _CODE,
        what,
        where=name,
        mend="see whether a newer BIOS is there; PCKIDRetrievalTool reads the same variable",
    )
