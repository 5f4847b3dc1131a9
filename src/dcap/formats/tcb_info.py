"""TCB info, versions 2 and 3: Intel's levels of trust for one kind of platform (FMSPC).

The wire types below are the documents' own tables, member for member in Intel's order, so that
writing gives the bytes that were read. `TcbInfo` is what both versions mean: bytes instead of hex,
16 components in order, levels *sorted descending* as QVL does (never trusted to come sorted).

Source: Intel PCS API v3 and v4, "Get TCB Info"; `verification.md` §3. Not here: matching a platform
against levels (`verification.tcb_level`).
"""

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from dcap.errors import FormatError
from dcap.formats.remembered import remembered
from dcap.formats.signed_json import (
    Instant,
    ShortText,
    U8Number,
    U16Number,
    U32Number,
    decode,
    decode_part,
    encode,
    hex_bytes,
    prepare,
    utc,
)

COMPONENTS = 16
SGX = "SGX"
TDX = "TDX"
Advisories: TypeAlias = list[ShortText] | UnsetType


class WireComponent(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One TCB component of version 3."""

    svn: U8Number
    category: ShortText | UnsetType = UNSET
    type: ShortText | UnsetType = UNSET


class WireTcbV3(msgspec.Struct, frozen=True, omit_defaults=True):
    """`tcb` of a version 3 level."""

    sgxtcbcomponents: list[WireComponent]
    pcesvn: U16Number
    tdxtcbcomponents: list[WireComponent] | UnsetType = UNSET


class WireTcbV2(msgspec.Struct, frozen=True):
    """`tcb` of a version 2 level."""

    sgxtcbcomp01svn: U8Number
    sgxtcbcomp02svn: U8Number
    sgxtcbcomp03svn: U8Number
    sgxtcbcomp04svn: U8Number
    sgxtcbcomp05svn: U8Number
    sgxtcbcomp06svn: U8Number
    sgxtcbcomp07svn: U8Number
    sgxtcbcomp08svn: U8Number
    sgxtcbcomp09svn: U8Number
    sgxtcbcomp10svn: U8Number
    sgxtcbcomp11svn: U8Number
    sgxtcbcomp12svn: U8Number
    sgxtcbcomp13svn: U8Number
    sgxtcbcomp14svn: U8Number
    sgxtcbcomp15svn: U8Number
    sgxtcbcomp16svn: U8Number
    pcesvn: U16Number


class WireLevelV2(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One of `tcbLevels`, version 2."""

    tcb: WireTcbV2
    tcb_date: Instant
    tcb_status: ShortText
    advisory_ids: Advisories = msgspec.field(name="advisoryIDs", default=UNSET)


class WireLevelV3(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One of `tcbLevels`, version 3."""

    tcb: WireTcbV3
    tcb_date: Instant
    tcb_status: ShortText
    advisory_ids: Advisories = msgspec.field(name="advisoryIDs", default=UNSET)


class WireIsvSvn(msgspec.Struct, frozen=True, gc=False):
    """`tcb` of an enclave or module level."""

    isvsvn: U16Number


class WireIsvSvnLevel(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One of the `tcbLevels` of an enclave identity or a TDX module identity."""

    tcb: WireIsvSvn
    tcb_date: Instant
    tcb_status: ShortText
    advisory_ids: Advisories = msgspec.field(name="advisoryIDs", default=UNSET)


class WireTdxModule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`tdxModule`: the module of major version 0."""

    mrsigner: str
    attributes: str
    attributes_mask: str


class WireTdxModuleIdentity(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One of `tdxModuleIdentities`."""

    id: ShortText
    mrsigner: str
    attributes: str
    attributes_mask: str
    tcb_levels: list[WireIsvSvnLevel]


class WireTcbInfoV2(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The signed object, version 2 (PCS API v3; SGX only)."""

    version: int
    issue_date: Instant
    next_update: Instant
    fmspc: str
    pce_id: str
    tcb_type: int
    tcb_evaluation_data_number: U32Number
    tcb_levels: list[WireLevelV2]


class WireTcbInfoV3(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The signed object, version 3 (PCS API v4)."""

    id: ShortText
    version: int
    issue_date: Instant
    next_update: Instant
    fmspc: str
    pce_id: str
    tcb_type: int
    tcb_evaluation_data_number: U32Number
    tdx_module: WireTdxModule | UnsetType = UNSET
    tdx_module_identities: list[WireTdxModuleIdentity] | UnsetType = UNSET
    tcb_levels: list[WireLevelV3]


prepare(WireTcbInfoV2, WireTcbInfoV3)


class _Version(msgspec.Struct, frozen=True):
    version: int


class ComponentName(msgspec.Struct, frozen=True, gc=False):
    """What Intel says a component is, where it says so (version 3)."""

    category: str = ""
    type: str = ""


class TcbLevel(msgspec.Struct, frozen=True, gc=False):
    """One level: the SVNs it asks for (`tdx_components` only in TDX documents) and its status."""

    components: bytes
    pce_svn: int
    tdx_components: bytes | None
    date: datetime
    status: str
    advisory_ids: tuple[str, ...]


class IsvSvnLevel(msgspec.Struct, frozen=True, gc=False):
    """One level of an enclave or of a TDX module."""

    isv_svn: int
    date: datetime
    status: str
    advisory_ids: tuple[str, ...]


class TdxModuleIdentity(msgspec.Struct, frozen=True, gc=False):
    """Who signs a TDX module and which versions of it are good.

    `id` is "TDX_01", "TDX_03" …; empty for the `tdxModule` of major version 0, which has no levels.
    """

    id: str
    mr_signer: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[IsvSvnLevel, ...]


class TcbInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a TCB info says, whichever its version. `body` is exactly the signed bytes."""

    body: bytes
    version: int
    id: str
    issue_date: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    evaluation_data_number: int
    levels: tuple[TcbLevel, ...]
    component_names: tuple[ComponentName, ...]
    tdx_component_names: tuple[ComponentName, ...]
    tdx_module: TdxModuleIdentity | None
    tdx_module_identities: tuple[TdxModuleIdentity, ...] | None

    @classmethod
    def parse(cls, body: bytes) -> "TcbInfo":
        """Read the signed object. Raises `FormatError` (`tcb-info`, `json` …)."""
        return _parse(body)


Wire = WireTcbInfoV2 | WireTcbInfoV3


def parse_wire(body: bytes) -> Wire:
    """The document as its own table. `write_wire(parse_wire(b)) == b` for what Intel sends."""
    version = _peek(body)
    if version == 2:
        return decode(body, WireTcbInfoV2, "TCB info")
    if version == 3:
        return decode(body, WireTcbInfoV3, "TCB info")
    raise _wrong(f"version {version} is not supported; 2 and 3 are")


def write_wire(wire: Wire) -> bytes:
    """The bytes to sign: compact JSON in Intel's member order."""
    return encode(wire)


def _peek(body: bytes) -> int:
    return decode_part(body, _Version, "TCB info").version


@remembered(64)
def _parse(body: bytes) -> TcbInfo:
    return meaning(body, parse_wire(body))


def meaning(body: bytes, wire: Wire) -> TcbInfo:
    """What the document means; refuses what its table alone cannot (QVL's sanity rules)."""
    if wire.tcb_type != 0:
        raise _wrong(f"tcbType {wire.tcb_type} is not known; 0 is")
    if not wire.tcb_levels:
        raise _wrong("tcbLevels is empty")
    names = tdx_names = (ComponentName(),) * COMPONENTS
    module = None
    identities = None
    if isinstance(wire, WireTcbInfoV2):
        kind = SGX
        levels = [_level_v2(level) for level in wire.tcb_levels]
    else:
        kind = wire.id
        levels = [_level_v3(level, kind) for level in wire.tcb_levels]
        names = _names(wire.tcb_levels[0].tcb.sgxtcbcomponents)
        tdx_names = _names(wire.tcb_levels[0].tcb.tdxtcbcomponents)
        module, identities = _modules(wire)
    if kind not in (SGX, TDX):
        raise _wrong(f'id "{kind}" is not known; "SGX" and "TDX" are')
    levels.sort(key=_order, reverse=True)
    for higher, lower in pairwise(levels):
        if _order(higher) == _order(lower):
            raise _wrong("two TCB levels ask for the same SVNs")
    return TcbInfo(
        body=body,
        version=wire.version,
        id=kind,
        issue_date=utc(wire.issue_date, "TCB info, issueDate"),
        next_update=utc(wire.next_update, "TCB info, nextUpdate"),
        fmspc=hex_bytes(wire.fmspc, 6, "TCB info, fmspc"),
        pce_id=hex_bytes(wire.pce_id, 2, "TCB info, pceId"),
        evaluation_data_number=wire.tcb_evaluation_data_number,
        levels=tuple(levels),
        component_names=names,
        tdx_component_names=tdx_names,
        tdx_module=module,
        tdx_module_identities=identities,
    )


def _order(level: TcbLevel) -> tuple[bytes, int, bytes]:
    """QVL's order: component SVNs, PCESVN, TDX components; bytes compare as their numbers do."""
    return level.components, level.pce_svn, level.tdx_components or b""


def _level_v2(level: WireLevelV2) -> TcbLevel:
    *svns, pce_svn = msgspec.structs.astuple(level.tcb)
    return TcbLevel(
        bytes(svns),
        pce_svn,
        None,
        utc(level.tcb_date, "TCB info, tcbDate"),
        level.tcb_status,
        advisories(level.advisory_ids),
    )


def _level_v3(level: WireLevelV3, kind: str) -> TcbLevel:
    tcb = level.tcb
    tdx = None
    if (tcb.tdxtcbcomponents is UNSET) != (kind != TDX):
        raise _wrong(f"tdxtcbcomponents do not belong to, or are missing from, a {kind} document")
    if not isinstance(tcb.tdxtcbcomponents, UnsetType):
        tdx = _svns(tcb.tdxtcbcomponents)
    return TcbLevel(
        _svns(tcb.sgxtcbcomponents),
        tcb.pcesvn,
        tdx,
        utc(level.tcb_date, "TCB info, tcbDate"),
        level.tcb_status,
        advisories(level.advisory_ids),
    )


def _svns(components: list[WireComponent]) -> bytes:
    if len(components) != COMPONENTS:
        raise _wrong(f"a level has {len(components)} TCB components, not {COMPONENTS}")
    return bytes([component.svn for component in components])


def _names(components: list[WireComponent] | UnsetType) -> tuple[ComponentName, ...]:
    if isinstance(components, UnsetType):
        return (ComponentName(),) * COMPONENTS
    return tuple([ComponentName(c.category or "", c.type or "") for c in components])


def _modules(
    wire: WireTcbInfoV3,
) -> tuple[TdxModuleIdentity | None, tuple[TdxModuleIdentity, ...] | None]:
    module, identities = wire.tdx_module, wire.tdx_module_identities
    if wire.id != TDX:
        if not isinstance(module, UnsetType) or not isinstance(identities, UnsetType):
            raise _wrong(f"an {wire.id} document names TDX modules")
        return None, None
    if isinstance(module, UnsetType):
        raise _wrong("a TDX document has no tdxModule")
    if not isinstance(identities, UnsetType):
        names = [identity.id.upper() for identity in identities]
        if len(set(names)) != len(names):
            raise _wrong("two TDX module identities have the same id")
    return _module("", module, ()), (
        None
        if isinstance(identities, UnsetType)
        else tuple(
            _module(i.id, i, isv_svn_levels(i.tcb_levels, "TCB info, TDX module identity"))
            for i in identities
        )
    )


def _module(
    name: str, module: WireTdxModule | WireTdxModuleIdentity, levels: tuple[IsvSvnLevel, ...]
) -> TdxModuleIdentity:
    where = f"TCB info, TDX module {name}".rstrip()
    return TdxModuleIdentity(
        name,
        hex_bytes(module.mrsigner, 48, where),
        hex_bytes(module.attributes, 8, where),
        hex_bytes(module.attributes_mask, 8, where),
        levels,
    )


def isv_svn_levels(levels: Iterable[WireIsvSvnLevel], where: str) -> tuple[IsvSvnLevel, ...]:
    """Levels by ISVSVN, descending; two of the same ISVSVN are refused (`levels-repeated`)."""
    ordered = sorted(
        (
            IsvSvnLevel(
                level.tcb.isvsvn,
                utc(level.tcb_date, "tcbDate"),
                level.tcb_status,
                advisories(level.advisory_ids),
            )
            for level in levels
        ),
        key=lambda level: level.isv_svn,
        reverse=True,
    )
    if len({level.isv_svn for level in ordered}) != len(ordered):
        raise FormatError("levels-repeated", "two levels have the same isvsvn", where=where)
    return tuple(ordered)


def advisories(ids: Advisories) -> tuple[str, ...]:
    """The advisory ids of a level, none where the member is absent."""
    return () if isinstance(ids, UnsetType) else tuple(ids)


def _wrong(what: str) -> FormatError:
    return FormatError("tcb-info", what, where="TCB info")
