"""The caches that Intel's and Azure's libraries keep on the disk, read to be looked at.

    .dcap-qcnl       u16 version = 1 · i32 type · i64 expiry · then, type 1 and 2: two strings (the
                     HTTP header block, the body); type 4: four (CPUSVN, TCB info, chain, certificates)
    .az-dcap-client  u16 version = 1 · i64 expiry · the data

Little-endian and packed; a string is a u32 length and its bytes; names are SHA-256 of the address,
for type 4 the QE id and PCE id, which is masked. Never used for a verdict: both keep collateral past its
nextUpdate, and neither verifies it. Written is type 4 alone, for hosts that make quotes without a PCCS.

Source: `quote-provider.md` §2.8 and §4.3; `pccs-and-pcs-api.md` §4.4.
"""

import hashlib
import os
import struct
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from dcap.errors import FormatError, printable
from dcap.qpl.qcnl_environment import CACHE_NAME, cache_directory
from dcap.sources.cache_entry import (
    Content,
    Entry,
    Read,
    describe,
    files_of,
    moment,
    newest_first,
    of_tcb_info,
)

AZURE_DIRECTORY = ".az-dcap-client"
#: In this order; where Intel's library looks stands in `qpl.qcnl_environment`.
_AZURE_BASES = ("AZDCAP_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR")

_INTEL_HEADER = struct.Struct("<HIq")
_AZURE_HEADER = struct.Struct("<Hq")
_LENGTH = struct.Struct("<I")
_VERSION = 1
#: sgx_qpl_cache_type_t
_CERTIFICATE, _COLLATERAL, _MULTICERTS = 1, 2, 4
#: The name of an entry of type 4 for a machine whose TCB is not known.
_ANY_MACHINE = "0000000000000000_0000"
_STRINGS = {_CERTIFICATE: 2, _COLLATERAL: 2, _MULTICERTS: 4}
#: sgx_ql_config_t, which Azure's client writes in front of a PCK chain, pointer and all.
_CONFIG = struct.Struct("<I16sHIQ")
_REGION = hashlib.sha256(b"region").hexdigest()
_PEM = b"-----BEGIN CERTIFICATE"


def intel_cache_directory(
    environ: Mapping[str, str] = os.environ, *, windows: bool = os.name == "nt"
) -> Path | None:
    """Where Intel's library looks: the first of its places that is there; `None` where none is."""
    if windows:
        own, local = environ.get("AZDCAP_CACHE"), environ.get("LOCALAPPDATA")
        place = Path(own) if own else Path(local).parent / "LocalLow" if local else None
        found = None if place is None else place / CACHE_NAME
        return found if found is not None and found.is_dir() else None
    place, is_there = cache_directory(environ)
    return place if is_there else None


def azure_cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where Azure's client keeps its own, be it there or not (on Linux)."""
    named = (environ[name] for name in _AZURE_BASES if environ.get(name))
    return Path(next(named, "/tmp")) / AZURE_DIRECTORY  # noqa: S108 - Azure's own place


def read_intel_cache(directory: Path) -> list[Entry]:
    """The entries of a `.dcap-qcnl`, newest first. Never raises for what is in them."""
    return newest_first([_intel_entry(read) for read in files_of(directory)])


def read_azure_cache(directory: Path) -> list[Entry]:
    """The entries of an `.az-dcap-client`, newest first. Never raises for what is in them."""
    return newest_first([_azure_entry(read) for read in files_of(directory)])


def _intel_entry(read: Read) -> Entry:
    def entry(seconds: int | None, content: Content, trouble: str = "") -> Entry:
        return Entry(
            cache="intel",
            file=read.file,
            size=read.size,
            stored=read.stored,
            content=content,
            expires=None if seconds is None else moment(seconds),
            trouble=trouble or content.trouble,
        )

    if read.data is None:
        return entry(None, Content(), read.trouble)
    if len(read.data) < _INTEL_HEADER.size:
        return entry(None, Content(), "corrupt: it ends within its header")
    version, kind, expiry = _INTEL_HEADER.unpack_from(read.data)
    if version != _VERSION or kind not in _STRINGS:
        return entry(None, Content(), f"corrupt: version {version}, type {kind}")
    strings = _read_strings(read.data, _INTEL_HEADER.size, _STRINGS[kind])
    if strings is None:
        return entry(expiry, Content(), "corrupt: the lengths in it do not add up")
    return entry(expiry, _multicerts(strings) if kind == _MULTICERTS else describe(strings[1]))


def _read_strings(data: bytes, at: int, count: int) -> list[bytes] | None:
    """So many strings, up to the end of the file."""
    strings = []
    for _ in range(count):
        if at + _LENGTH.size > len(data):
            return None
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        strings.append(data[at : at + length])
        at += length
    return strings if at == len(data) else None


def _multicerts(strings: list[bytes]) -> Content:
    """All certificates of a machine and the TCB info that chooses among them."""
    _, tcb_info, _, certificates = strings
    try:
        content = of_tcb_info(tcb_info.rstrip(b"\0").strip())
        count = len(msgspec.json.decode(certificates.rstrip(b"\0"), type=list[msgspec.Raw]))
    except FormatError:
        return Content(kind="multicerts", trouble="its TCB info cannot be read")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Content(kind="multicerts", trouble="its certificates cannot be read")
    about = f"{count} certificate{'' if count == 1 else 's'}"
    return msgspec.structs.replace(content, kind="multicerts", about=about)


def write_intel_entry(
    *,
    qe_id: str,
    pce_id: str,
    cpu_svn: str,
    tcb_info: bytes,
    issuer_chain: bytes,
    certificates: bytes,
    expires: datetime,
) -> tuple[str, bytes]:
    """Name and content of an entry of type 4, from which Intel's library chooses a certificate.

    The ids and the CPUSVN are hex; without a CPUSVN the entry is for whichever machine looks there.
    `issuer_chain` is percent-encoded, `certificates` the JSON of Intel's `pckcerts`.
    """
    name = f"{qe_id}_{pce_id}".lower() if cpu_svn else _ANY_MACHINE
    strings = ((cpu_svn or "f" * 32).encode(), tcb_info, issuer_chain, certificates)
    header = _INTEL_HEADER.pack(_VERSION, _MULTICERTS, int(expires.timestamp()))
    return name, header + b"".join(_LENGTH.pack(len(text)) + text for text in strings)


def _azure_entry(read: Read) -> Entry:
    content, expires, trouble = Content(), None, read.trouble
    if read.data is not None:
        if len(read.data) < _AZURE_HEADER.size:
            trouble = "corrupt: it ends within its header"
        else:
            version, expiry = _AZURE_HEADER.unpack_from(read.data)
            if version == _VERSION:
                content = _azure_content(read.file, read.data[_AZURE_HEADER.size :])
                expires = None if content.kind == "region" else moment(expiry)
            else:
                trouble = f"corrupt: version {version}"
    return Entry(
        cache="azure",
        file=read.file,
        size=read.size,
        stored=read.stored,
        content=content,
        expires=expires,
        trouble=trouble or content.trouble,
    )


def _azure_content(file: str, data: bytes) -> Content:
    if file == _REGION:
        return Content(kind="region", about=printable(data[:64].decode("ascii", "replace")))
    if data.startswith(_PEM, _CONFIG.size):
        return describe(data[_CONFIG.size :])
    return describe(data)
