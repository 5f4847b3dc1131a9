"""`platform_collaterals.json`: machines, their certificates and all collateral, in one file of Intel's.

    report = import_platform_collaterals(store, data, at=…, anchor=…)     # all, or nothing
    claims = PlatformCollaterals.parse(data).claims(fetched_at=…)

TCB infos stand in it as JSON objects: their bytes are taken as they stand, and where a tool wrote them
anew, `intake` looks whether blanks are all that differs. Machines are read one at a time, when they are
asked for. Not here: writing the file (`arrangement`), proof and storage (`intake`), fetching.

Source: `pccs-and-pcs-api.md` §4.3.
"""

import binascii
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import UNSET, UnsetType

from dcap.api.pccs_admin import PlatformRecord
from dcap.api.pcs_responses import NOT_AVAILABLE
from dcap.api.platform_list import checked
from dcap.errors import FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.crl import to_der
from dcap.formats.signed_json import decode_part
from dcap.pccs.issuers import ca_named
from dcap.pccs.items import (
    Ca,
    CrlKey,
    IdentityKey,
    Item,
    Key,
    PckCrlKey,
    RawReport,
    RootCrlKey,
    TcbInfoKey,
    Version,
)
from dcap.pccs.pck_proof import Claimed, Offered
from dcap.pccs.transfer.claims import Claims, MachineClaim
from dcap.pccs.transfer.report import Report
from dcap.pccs.transfer.wire import (
    IDENTITIES,
    PCK_CRLS,
    TCB_INFOS,
    WireFile,
    WirePckCerts,
    WireTcbInfos,
)
from dcap.verification.anchors import TrustAnchor

if TYPE_CHECKING:
    from dcap.pccs.store.store import Store

#: 23 KB a machine: some 90,000 of them.
MAX_SIZE: Final = 2 * 1024 * 1024 * 1024
ORIGIN: Final = "import"
_FILE: Final = "platform_collaterals.json"


def import_platform_collaterals(
    store: "Store",
    data: bytes | memoryview,
    *,
    at: datetime,
    anchor: TrustAnchor,
    version: Version | None = None,
    processes: int = 0,
    replace_machines: bool = False,
) -> Report:
    """Import the file, all of it or nothing. `version` is that of the address it was put to.

    Raises `FormatError` (a PCCS answers 400), `Forged` (460), `Unavailable`. What has expired, or is
    older than what is kept, is left out and stands in the report.
    """
    # Clients read this file too, where nothing that a store stands on is installed.
    from dcap.pccs.transfer.intake import take_in  # noqa: PLC0415

    file = PlatformCollaterals.parse(data, version=version)
    claims = file.claims(fetched_at=at)
    return take_in(
        store,
        claims,
        at=at,
        anchor=anchor,
        strict=True,
        processes=processes,
        replace_machines=replace_machines,
    )


class PlatformCollaterals:
    """A file that was read. Made by `parse`; nothing in it is proven."""

    def __init__(self, wire: WireFile, version: Version) -> None:
        self._wire = wire
        self.version = version

    @classmethod
    def parse(
        cls, data: bytes | memoryview, *, version: Version | None = None
    ) -> "PlatformCollaterals":
        """Read it. Raises `FormatError` (`platform-collaterals`, `json`).

        `version` is the one that it must be of, where that is known.
        """
        wire = decode_part(cast("bytes", data), WireFile, _FILE, MAX_SIZE)
        said = wire.collaterals.version
        if said not in (UNSET, 3, 4):
            raise _wrong(f"version {said} is not known; 3 and 4 are")
        own: Version = 4 if said == 4 else 3
        if version not in (None, own):
            raise _wrong(f"the file is of version {own}, not {version}")
        return cls(wire, own)

    def records(self) -> tuple[PlatformRecord, ...]:
        """The machines that are listed. Raises `FormatError`."""
        return tuple(
            checked(decode_part(raw_bytes(raw), PlatformRecord, where, MAX_SIZE), where)
            for place, raw in enumerate(self._wire.platforms, 1)
            for where in (f"{_FILE}, platform {place}",)
        )

    def claims(self, *, fetched_at: datetime) -> Claims:
        """Everything in it. Reading on raises `FormatError`."""
        return Claims(items=self.items(fetched_at), machines=self.machines())

    def items(self, fetched_at: datetime) -> Iterator[Item]:
        """All collateral."""
        for key, body, chain in self._pieces():
            yield Item(key=key, body=body, issuer_chain=chain, fetched_at=fetched_at, origin=ORIGIN)

    def _pieces(self) -> Iterator[tuple[Key, bytes, bytes]]:
        """Key, body and chain of each."""
        yield from self._lists()
        yield from self._tcb_infos()
        wire = self._wire.collaterals
        chain = _chain(wire.certificates.identity)
        for member, (name, update) in IDENTITIES.items():
            text = getattr(wire, member)
            if text:
                yield IdentityKey(name, self.version, update), text.encode(), chain

    def _lists(self) -> Iterator[tuple[Key, bytes, bytes]]:
        wire = self._wire.collaterals
        if wire.rootcacrl:
            crl = _crl(wire.rootcacrl, "rootcacrl")
            yield RootCrlKey(), crl, b""
            if wire.rootcacrl_cdp:
                yield CrlKey(wire.rootcacrl_cdp), crl, b""
        for member, ca in PCK_CRLS.items():
            text = getattr(wire.pckcacrl, member, None)
            if text:
                chain = _chain(getattr(wire.certificates.pck, ca))
                yield PckCrlKey(ca), _crl(text, member), chain

    def _tcb_infos(self) -> Iterator[tuple[Key, bytes, bytes]]:
        wire = self._wire.collaterals
        chains = wire.certificates
        chain = _chain(chains.tcb_info) or _chain(chains.old_tcb_info)
        for place, raw in enumerate(wire.tcbinfos, 1):
            infos = decode_part(raw_bytes(raw), WireTcbInfos, f"{_FILE}, TCB info {place}")
            for member, (tee, update) in TCB_INFOS[self.version].items():
                document = getattr(infos, member)
                if document is not UNSET and raw_bytes(document) != b"null":
                    key = TcbInfoKey(tee, bytes.fromhex(infos.fmspc), self.version, update)
                    yield key, raw_bytes(document), chain

    def machines(self) -> Iterator[MachineClaim]:
        """All machines that have certificates, one at a time; those that are listed must have them."""
        listed: dict[tuple[str, str], list[PlatformRecord]] = {}
        for record in self.records():
            listed.setdefault((record.qe_id, record.pce_id), []).append(record)
        pck = self._wire.collaterals.certificates.pck
        chains = {ca: _chain(getattr(pck, ca)) for ca in PCK_CRLS.values()}
        for place, raw in enumerate(self._wire.collaterals.pck_certs, 1):
            where = f"{_FILE}, certificates of machine {place}"
            wire = decode_part(raw_bytes(raw), WirePckCerts, where)
            yield _machine(wire, listed, chains, where)
        if listed:
            raise _wrong(f"{len(listed)} of the machines that are listed have no certificates")


def _machine(
    wire: WirePckCerts,
    listed: dict[tuple[str, str], list[PlatformRecord]],
    chains: Mapping[Ca, bytes],
    where: str,
) -> MachineClaim:
    own = checked(
        PlatformRecord(
            qe_id=wire.qe_id,
            pce_id=wire.pce_id,
            enc_ppid=wire.enc_ppid,
            platform_manifest=wire.platform_manifest or None,
        ),
        where,
    )
    records = listed.pop((own.qe_id, own.pce_id), [])
    ppid = next((r.enc_ppid for r in (*records, own) if r.enc_ppid), "")
    manifest = next((r.platform_manifest for r in (*records, own) if r.platform_manifest), "")
    offered: tuple[Offered, ...] = tuple(
        (one.tcbm, _unquoted(one.cert)) for one in wire.certs if one.cert != NOT_AVAILABLE
    )
    if not offered:
        raise _wrong("a machine has no certificates", where)
    return MachineClaim(
        claimed=Claimed(
            qe_id=own.qe_id,
            pce_id=own.pce_id,
            certificates=offered,
            issuer_chain=_chain_of(offered[0][1], chains),
            encrypted_ppid=bytes.fromhex(ppid) or None,
            manifest=bytes.fromhex(manifest or "") or None,
        ),
        raw_tcbs=tuple(RawReport(r.cpu_svn, r.pce_svn) for r in records if r.cpu_svn and r.pce_svn),
    )


def _chain_of(leaf: bytes, chains: Mapping[Ca, bytes]) -> bytes:
    """The chain of a certificate's CA, of the two; what cannot be read is found out later."""
    present = [chain for chain in chains.values() if chain]
    if len(present) < 2:
        return present[0] if present else b""
    try:
        ca = ca_named(Certificate.parse_chain(leaf)[0].issuer_common_name)
    except FormatError:
        ca = None
    return present[0] if ca is None else chains[ca]


def raw_bytes(raw: msgspec.Raw) -> bytes:
    """The exact bytes of a value."""
    return bytes(memoryview(raw))


def _chain(text: str | UnsetType | None) -> bytes:
    return unquote_to_bytes(text) if text else b""


def _unquoted(text: str) -> bytes:
    """`unquote_to_bytes`, in a quarter of its time (16 µs a certificate).

    Quoted-printable is the same with `=` for `%`, and its reader is written in C; it knows line breaks
    beside, and what it cannot read it leaves, so that not every `%` made two octets less.
    """
    data = text.encode()
    if b"=" not in data and b"\n" not in data and b"\r" not in data:
        plain = binascii.a2b_qp(data.replace(b"%", b"="))
        if len(plain) == len(data) - 2 * data.count(b"%"):
            return plain
    return unquote_to_bytes(text)


def _crl(text: str, member: str) -> bytes:
    try:
        return to_der(text.encode())
    except FormatError as error:
        raise error.within(f"{_FILE}, {member}") from None


def _wrong(what: str, where: str = _FILE) -> FormatError:
    return FormatError(
        "platform-collaterals",
        what,
        where=where,
        mend="fetch it again for these machines (`dcap pccs fetch`, Intel's pcsclient)",
    )
