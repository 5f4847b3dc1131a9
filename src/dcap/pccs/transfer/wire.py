"""The table of `platform_collaterals.json`: which member holds what, for its reader and its writer.

Source: `pccs-and-pcs-api.md` §4.3.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, UnsetType

from dcap.formats.tcb_info import WireTcbV2
from dcap.pccs.items import Ca, IdentityName, Tee, Update, Version

_Tcbm = Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{36}$")]
_Fmspc = Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{12}$")]
Text = str | UnsetType | None
Document = msgspec.Raw | UnsetType


class WireCertificate(msgspec.Struct, frozen=True):
    """A certificate of a machine: the TCB in Intel's names, `tcbm`, the PEM percent-encoded."""

    tcb: WireTcbV2
    tcbm: _Tcbm
    cert: str


class WirePckCerts(msgspec.Struct, frozen=True, kw_only=True):
    """All certificates of one machine."""

    qe_id: str
    pce_id: str
    enc_ppid: str
    platform_manifest: str | None = None
    certs: list[WireCertificate]

    def __repr__(self) -> str:
        return "<WirePckCerts>"


class WireTcbInfos(msgspec.Struct, frozen=True, kw_only=True):
    """The TCB infos of an FMSPC, each an object with its signature; the last two are of version 3."""

    fmspc: _Fmspc
    sgx_tcbinfo: Document = UNSET
    tdx_tcbinfo: Document = UNSET
    sgx_tcbinfo_early: Document = UNSET
    tdx_tcbinfo_early: Document = UNSET
    tcbinfo: Document = UNSET
    tcbinfo_early: Document = UNSET


#: Version -> member -> what it is.
TCB_INFOS: Final[Mapping[Version, Mapping[str, tuple[Tee, Update]]]] = {
    4: {
        "sgx_tcbinfo": ("SGX", "STANDARD"),
        "tdx_tcbinfo": ("TDX", "STANDARD"),
        "sgx_tcbinfo_early": ("SGX", "EARLY"),
        "tdx_tcbinfo_early": ("TDX", "EARLY"),
    },
    3: {"tcbinfo": ("SGX", "STANDARD"), "tcbinfo_early": ("SGX", "EARLY")},
}
#: Member -> which identity it is; a string that holds the JSON.
IDENTITIES: Final[Mapping[str, tuple[IdentityName, Update]]] = {
    "qeidentity": ("QE", "STANDARD"),
    "tdqeidentity": ("TD_QE", "STANDARD"),
    "qveidentity": ("QVE", "STANDARD"),
    "qeidentity_early": ("QE", "EARLY"),
    "tdqeidentity_early": ("TD_QE", "EARLY"),
    "qveidentity_early": ("QVE", "EARLY"),
}
PCK_CRLS: Final[Mapping[str, Ca]] = {"processorCrl": "PROCESSOR", "platformCrl": "PLATFORM"}
PCK_CHAINS: Final = "SGX-PCK-Certificate-Issuer-Chain"
TCB_INFO_CHAIN: Final[Mapping[Version, str]] = {
    4: "TCB-Info-Issuer-Chain",
    3: "SGX-TCB-Info-Issuer-Chain",
}
IDENTITY_CHAIN: Final = "SGX-Enclave-Identity-Issuer-Chain"


class _WirePckCrls(msgspec.Struct, frozen=True):
    processorCrl: Text = UNSET  # noqa: N815 - Intel's names
    platformCrl: Text = UNSET  # noqa: N815


class _WirePckChains(msgspec.Struct, frozen=True):
    PROCESSOR: Text = UNSET
    PLATFORM: Text = UNSET


class WireChains(msgspec.Struct, frozen=True, kw_only=True):
    """The percent-encoded chains, by the headers that they came in."""

    pck: _WirePckChains = msgspec.field(name=PCK_CHAINS)
    tcb_info: Text = msgspec.field(name=TCB_INFO_CHAIN[4], default=UNSET)
    old_tcb_info: Text = msgspec.field(name=TCB_INFO_CHAIN[3], default=UNSET)
    identity: Text = msgspec.field(name=IDENTITY_CHAIN, default=UNSET)


class WireCollaterals(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates and collateral; machines and TCB infos are read when their turn comes."""

    version: int | UnsetType = UNSET
    pck_certs: list[msgspec.Raw]
    tcbinfos: list[msgspec.Raw]
    pckcacrl: _WirePckCrls | UnsetType | None = UNSET
    qeidentity: Text = UNSET
    tdqeidentity: Text = UNSET
    qveidentity: Text = UNSET
    qeidentity_early: Text = UNSET
    tdqeidentity_early: Text = UNSET
    qveidentity_early: Text = UNSET
    certificates: WireChains
    rootcacrl: Text = UNSET
    rootcacrl_cdp: Text = UNSET


class WireFile(msgspec.Struct, frozen=True):
    """The whole."""

    platforms: list[msgspec.Raw]
    collaterals: WireCollaterals
