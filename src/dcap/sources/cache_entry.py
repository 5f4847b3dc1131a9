"""One entry of a cache as a person looks at it: what it is, how old, until when.

Read from the entry as it stands: nothing here is proven, and nothing is used for a verdict. Whoever
lists a cache (`dcap collateral show --cache`) gets these values from it, whose cache it ever is.
Identifiers of machines are not among them.

    read_dcap_cache(directory)          # ours; Intel's and Azure's: `foreign_caches`
"""

import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

from dcap.errors import FormatError, printable
from dcap.formats import pem
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.sources.disk import Disk
from dcap.sources.kept import CERTIFICATE, FAILURE, KeptCertificate, KeptCollateral, decode

Kind: TypeAlias = Literal[
    "collateral",
    "tcb-info",
    "enclave-identity",
    "pck-crl",
    "root-ca-crl",
    "pck-certificate",
    "issuer-chain",
    "multicerts",
    "region",
    "unknown",
]

#: No entry of these caches is larger.
MAX_FILE = 32 * 1024 * 1024
#: More files than a cache has; a directory of anything else is not listed to its end.
MAX_FILES = 10_000

_HASH = re.compile(r"[0-9a-f]{64}")
#: A QE id has 32 hex digits.
_IDENTIFIER = re.compile(r"(?=[0-9a-fA-F]*[1-9a-fA-F])[0-9a-fA-F]{16,}")


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What the bytes say. `about` are a few words ("SGX", "TD_QE", "platform CA")."""

    kind: Kind = "unknown"
    about: str = ""
    fmspc: str = ""
    issued: datetime | None = None
    next_update: datetime | None = None
    evaluation_number: int | None = None
    trouble: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. `file` is its name, any identifier in it masked; `stored` when it was written.

    `expires` is the cache's own limit, `None` where it has none. `trouble` says what is wrong with
    it, and is empty where nothing is. `source` says who gave it, where that is known.
    """

    cache: Literal["dcap", "intel", "azure"]
    file: str
    size: int
    stored: datetime
    content: Content
    expires: datetime | None = None
    source: str = ""
    trouble: str = ""

    def expired(self, at: datetime) -> bool:
        """Whether the cache's own limit, or what Intel signed into it, has passed."""
        limits = (self.expires, self.content.next_update)
        return any(limit is not None and limit <= at for limit in limits)


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a cache; `data` is `None` where `trouble` kept it from being read."""

    file: str
    size: int
    stored: datetime
    data: bytes | None
    trouble: str = ""


def read_dcap_cache(directory: Path) -> list[Entry]:
    """What our own cache holds, newest first. A directory that is not there holds nothing."""
    disk = Disk(directory)
    names = [name for name in disk.names() if not name.startswith(FAILURE)]
    return newest_first([_own_entry(disk, name) for name in names])


def _own_entry(disk: Disk, name: str) -> Entry:
    payload = disk.look(name)
    stored = moment(int(disk.kept_at(name))) or datetime.fromtimestamp(0, UTC)
    content, sources = Content(), set()
    if payload is not None and name.startswith(CERTIFICATE):
        if certificate := decode(payload, KeptCertificate):
            content, stored = describe(certificate.answer.chain), certificate.kept_at
            sources = {certificate.answer.origin.source}
    elif payload is not None and (kept := decode(payload, KeptCollateral)):
        content, stored = _of_set(kept.answer.collateral, kept.about), kept.kept_at
        sources = {origin.source for origin in kept.answer.origins}
    unread = content.kind == "unknown" and not content.trouble
    return Entry(
        cache="dcap",
        file=name,
        size=len(payload or b""),
        stored=stored,
        content=content,
        source=printable(", ".join(sorted(sources))),
        trouble="corrupt, of another release, or not this user's" if unread else content.trouble,
    )


def _of_set(collateral: Collateral, about: str) -> Content:
    """A set lasts as long as the shortest-lived of its documents and lists."""
    documents = (collateral.qe_identity, collateral.pck_crl, collateral.root_ca_crl)
    info = describe(collateral.tcb_info)
    ends = [piece.next_update for piece in (info, *map(describe, documents)) if piece.next_update]
    return Content(
        kind="collateral",
        about=about,
        fmspc=info.fmspc,
        issued=info.issued,
        next_update=min(ends, default=None),
        evaluation_number=info.evaluation_number,
    )


def describe(data: bytes) -> Content:
    """What the bytes are, by what stands in them. Never raises: what cannot be read is unknown."""
    text = data.rstrip(b"\0").strip()
    if text.startswith(b"-----BEGIN%20"):
        text = unquote_to_bytes(text)
    with suppress(FormatError):
        if text.startswith(b"{"):
            return _document(text)
        if text.startswith(b"-----BEGIN CERTIFICATE"):
            return _certificates(text)
        return _list(Crl.parse(data))
    return Content(trouble="neither a document, a list nor a certificate of Intel's")


def _document(text: bytes) -> Content:
    if b'"pckCert"' in text:
        return _thim(text)
    if b'"tcbInfo"' in text or b'"tcbLevels"' in text:
        with suppress(FormatError):
            return of_tcb_info(text)
    identity = EnclaveIdentity.parse(SignedJson.parse(text, ENCLAVE_IDENTITY).body)
    return Content(
        kind="enclave-identity",
        about=identity.id,
        issued=identity.issue_date,
        next_update=identity.next_update,
        evaluation_number=identity.evaluation_data_number,
    )


def of_tcb_info(text: bytes) -> Content:
    """A TCB info, with or without its envelope. Raises `FormatError`."""
    try:
        body = SignedJson.parse(text, TCB_INFO).body
    except FormatError:
        body = text
    info = TcbInfo.parse(body)
    return Content(
        kind="tcb-info",
        about=info.id,
        fmspc=info.fmspc.hex(),
        issued=info.issue_date,
        next_update=info.next_update,
        evaluation_number=info.evaluation_data_number,
    )


class _WireThim(msgspec.Struct, frozen=True, rename={"certificate": "pckCert"}):
    """Of Azure's JSON, what is looked at here."""

    certificate: str


def _thim(text: bytes) -> Content:
    try:
        wire = msgspec.json.decode(text, type=_WireThim)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise FormatError("json", "not Azure's JSON of a PCK certificate") from None
    return _certificates(wire.certificate.encode())


def _certificates(text: bytes) -> Content:
    first = Certificate.parse(pem.blocks(text, "CERTIFICATE")[0])
    is_leaf = first.sgx_extension is not None
    return Content(
        kind="pck-certificate" if is_leaf else "issuer-chain",
        about=printable(first.issuer_common_name if is_leaf else first.common_name),
        fmspc=PckExtensions.parse(first.sgx_extension).fmspc.hex() if first.sgx_extension else "",
        issued=first.not_before,
        next_update=first.not_after,
    )


def _list(crl: Crl) -> Content:
    name = printable(crl.issuer_common_name)
    return Content(
        kind="root-ca-crl" if "Root CA" in name else "pck-crl",
        about=f"{name}, number {crl.crl_number}",
        issued=crl.this_update,
        next_update=crl.next_update,
    )


def files_of(directory: Path) -> Iterator[Read]:
    """The plain files of a cache's directory, each with its bytes; identifiers in names masked."""
    try:
        paths = sorted(directory.iterdir())[:MAX_FILES]
    except OSError:
        return
    for path in paths:
        try:
            about = path.lstat()
            if not stat.S_ISREG(about.st_mode):
                continue
            stored = moment(int(about.st_mtime)) or datetime.fromtimestamp(0, UTC)
            size, file = about.st_size, masked(path.name)
        except OSError:  # gone in the meantime
            continue
        try:
            with path.open("rb") as opened:
                data = opened.read(MAX_FILE + 1)
        except OSError as error:
            trouble = f"cannot be read: {error.strerror or error}"
            yield Read(file=file, size=size, stored=stored, data=None, trouble=trouble)
            continue
        if len(data) > MAX_FILE:
            trouble = "larger than any entry"
            yield Read(file=file, size=size, stored=stored, data=None, trouble=trouble)
            continue
        yield Read(file=file, size=size, stored=stored, data=data)


def masked(file: str) -> str:
    """A file's name without what identifies a machine; the hash of an address is none."""
    return file if _HASH.fullmatch(file) else printable(_IDENTIFIER.sub("(identifier)", file))


def newest_first(entries: list[Entry]) -> list[Entry]:
    """The order of listings."""
    return sorted(entries, key=lambda entry: (entry.stored, entry.file), reverse=True)


def moment(seconds: int) -> datetime | None:
    """An instant of Unix time; `None` where it is none that a calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
