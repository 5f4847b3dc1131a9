"""Collateral and machines, written as `platform_collaterals.json`: for Intel's PCCS, and for ours.

    arranged = arrange(items)                     # what has no place in the file is told
    for chunk in arranged.write(records, holdings):
        …

Documents stand in it byte for byte. Not here: reading the file (`platform_collaterals`).

Source: `pccs-and-pcs-api.md` §4.3.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from dcap.api.pccs_admin import PlatformRecord
from dcap.api.pcs_responses import write_chain
from dcap.api.platform_list import members
from dcap.formats.certificate import Certificate
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.tcb_info import WireTcbV2
from dcap.pccs.issuers import is_root_crl_uri
from dcap.pccs.items import (
    Ca,
    CrlKey,
    Holding,
    IdentityKey,
    Item,
    Key,
    PckCertificate,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
    Version,
)
from dcap.pccs.transfer.report import NO_PLACE, OTHER_CHAIN, LeftOut
from dcap.pccs.transfer.wire import (
    IDENTITIES,
    IDENTITY_CHAIN,
    PCK_CHAINS,
    PCK_CRLS,
    TCB_INFO_CHAIN,
    TCB_INFOS,
    WireCertificate,
    WirePckCerts,
)

_ENCODER: Final = msgspec.json.Encoder()
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Arranged:
    """Collateral in the places that the file has. Made by `arrange`; `left_out` has no place in it."""

    def __init__(
        self,
        version: Version,
        items: Mapping[Key, Item],
        left_out: tuple[LeftOut, ...],
    ) -> None:
        self.version = version
        self.left_out = left_out
        self._items = items

    def write(
        self, records: Iterable[PlatformRecord], holdings: Iterable[Holding]
    ) -> Iterator[bytes]:
        """The file, in pieces; a machine is asked for when its place is reached.

        `records` are the machines that are listed, once for each raw TCB; `holdings` have their
        certificates, and one without any (all were revoked) has no place in the file.
        """
        yield b'{"platforms":['
        yield from _joined(_ENCODER.encode(members(record)) for record in records)
        yield b'],"collaterals":{'
        if self.version > 3:
            yield b'"version":%d,' % self.version
        chains: dict[Ca, bytes] = {
            ca: item.issuer_chain
            for ca in PCK_CRLS.values()
            if (item := self._items.get(PckCrlKey(ca))) is not None
        }
        yield b'"pck_certs":['
        whole = (holding for holding in holdings if holding.certificates)
        yield from _joined(_written(holding, chains) for holding in whole)
        yield b'],"tcbinfos":['
        yield from _joined(self._tcb_infos())
        yield b"]"
        for name, value in self._texts():
            yield b",%b:%b" % (_ENCODER.encode(name), _ENCODER.encode(value))
        yield b',"certificates":' + _ENCODER.encode(self._chains(chains))
        yield b"}}\n"

    def _tcb_infos(self) -> Iterator[bytes]:
        """One object for each FMSPC, the documents in it byte for byte."""
        fmspcs = {key.fmspc for key in self._items if isinstance(key, TcbInfoKey)}
        for fmspc in sorted(fmspcs):
            text = b'{"fmspc":"%b"' % fmspc.hex().upper().encode()
            for member, (tee, update) in TCB_INFOS[self.version].items():
                item = self._items.get(TcbInfoKey(tee, fmspc, self.version, update))
                if item is not None:
                    text += b',"%b":%b' % (member.encode(), item.body)
            yield text + b"}"

    def _texts(self) -> Iterator[tuple[str, object]]:
        lists = {
            member: item.body.hex()
            for member, ca in PCK_CRLS.items()
            if (item := self._items.get(PckCrlKey(ca))) is not None
        }
        if lists:
            yield "pckcacrl", lists
        for member, (name, update) in IDENTITIES.items():
            item = self._items.get(IdentityKey(name, self.version, update))
            if item is not None:
                yield member, item.body.decode()
        root = self._items.get(RootCrlKey())
        if root is not None:
            yield "rootcacrl", root.body.hex()
        for key in self._items:
            if isinstance(key, CrlKey):
                yield "rootcacrl_cdp", key.uri

    def _chains(self, pck: Mapping[Ca, bytes]) -> dict[str, object]:
        chains: dict[str, object] = {
            PCK_CHAINS: {ca: write_chain(chain) for ca, chain in pck.items()}
        }
        for kind, name in (
            (TcbInfoKey, TCB_INFO_CHAIN[self.version]),
            (IdentityKey, IDENTITY_CHAIN),
        ):
            chain = next(
                (i.issuer_chain for k, i in self._items.items() if isinstance(k, kind)), None
            )
            if chain is not None:
                chains[name] = write_chain(chain)
        return chains


def arrange(items: Iterable[Item], *, version: Version = 4) -> Arranged:
    """Find each item's place in a file of a version.

    The file has one chain for all TCB infos, and one for all identities: items of another signer than
    the newest of their kind have no place, nor has what the file does not know.
    """
    placed: dict[Key, Item] = {}
    left_out: list[LeftOut] = []
    for item in items:
        if _has_place(item.key, version):
            placed[item.key] = item
        else:
            left_out.append(LeftOut("item", item.key.text, NO_PLACE))
    for kind in (TcbInfoKey, IdentityKey):
        mine = [item for key, item in placed.items() if isinstance(key, kind)]
        newest = max(mine, key=lambda item: (item.issued or _NEVER, item.key.text), default=None)
        for item in mine:
            if newest is not None and item.issuer_chain != newest.issuer_chain:
                del placed[item.key]
                left_out.append(LeftOut("item", item.key.text, OTHER_CHAIN))
    uris = sorted(key.uri for key in placed if isinstance(key, CrlKey))
    for uri in uris[1:]:
        del placed[CrlKey(uri)]
        left_out.append(LeftOut("item", CrlKey(uri).text, NO_PLACE))
    return Arranged(version, placed, tuple(left_out))


def _has_place(key: Key, version: Version) -> bool:
    if isinstance(key, TcbInfoKey):
        return key.version == version and (key.tee, key.update) in TCB_INFOS[version].values()
    if isinstance(key, IdentityKey):
        return key.version == version and (key.name, key.update) in IDENTITIES.values()
    if isinstance(key, CrlKey):
        return is_root_crl_uri(key.uri)
    return isinstance(key, RootCrlKey | PckCrlKey)


def _written(holding: Holding, chains: dict[Ca, bytes]) -> bytes:
    """The certificates of a machine; its chain is noted for the end of the file."""
    platform = holding.platform
    chains.setdefault(platform.ca, holding.issuer_chain)
    wire = WirePckCerts(
        qe_id=platform.qe_id,
        pce_id=platform.pce_id,
        enc_ppid=(platform.encrypted_ppid or b"").hex().upper(),
        platform_manifest=(platform.manifest or b"").hex().upper(),
        certs=certificates_of(holding),
    )
    return _ENCODER.encode(wire)


def certificates_of(holding: Holding) -> list[WireCertificate]:
    """The certificates of a machine as Intel's `pckcerts` has them."""
    return [
        WireCertificate(tcb=_tcb(one), tcbm=one.tcbm, cert=write_chain(one.pem))
        for one in holding.certificates
    ]


def _tcb(certificate: PckCertificate) -> WireTcbV2:
    """The TCB components that a certificate names: what Intel's answer has beside it."""
    leaf = Certificate.parse_chain(certificate.pem)[0]
    said = PckExtensions.parse(leaf.sgx_extension or b"")
    svns = (*said.components, said.pce_svn)
    return WireTcbV2(**dict(zip(WireTcbV2.__struct_fields__, svns, strict=True)))


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """JSON values with commas between them."""
    comma = b""
    for part in parts:
        yield comma + part
        comma = b","
