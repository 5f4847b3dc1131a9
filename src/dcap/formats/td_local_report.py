"""TDREPORT: how a trust domain proves itself to the quoting enclave of the machine that it runs on.

    report = TdLocalReport.parse(octets)          # 1024 bytes: what TDG.MR.REPORT made
    report.mac.report_data, report.td.mr_td
    report.body()                                 # what a quote over it says: 584 bytes

A report is worth something on its own machine alone: the MAC is under a key of the CPU's. Nothing here
checks it. Not here: the body of a TD quote (`td_report`), the reports of enclaves (`local_report`).

Source: Intel TDX Module ABI, TDREPORT_STRUCT, REPORTMACSTRUCT, TEE_TCB_INFO_STRUCT, TDINFO_STRUCT.
"""

import hashlib
from typing import Annotated, Final

import msgspec

from dcap.errors import FormatError
from dcap.formats.layout import (
    U8,
    Layout,
    Octets8,
    Octets12,
    Octets16,
    Octets32,
    Octets48,
    Octets64,
    Width,
)
from dcap.formats.td_report import TdReport10

_Octets17 = Annotated[bytes, Width("17s")]
_Octets95 = Annotated[bytes, Width("95s")]
_Octets239 = Annotated[bytes, Width("239s")]
_Octets256 = Annotated[bytes, Width("256s")]
_Octets512 = Annotated[bytes, Width("512s")]
_CODE = "td-local-report-size"
#: REPORTTYPE.TYPE of every TDREPORT; an SGX report has 0.
TDX: Final = 0x81


class ReportMac(msgspec.Struct, frozen=True, gc=False):
    """REPORTMACSTRUCT: what is under the MAC, by hash or as it is. 256 bytes."""

    type: U8
    subtype: U8
    version: U8
    reserved_type: U8
    reserved1: Octets12
    cpu_svn: Octets16
    tcb_info_hash: Octets48
    td_info_hash: Octets48
    report_data: Octets64
    reserved2: Octets32
    mac: Octets32

    def to_bytes(self) -> bytes:
        """The 256 bytes of memory."""
        return REPORT_MAC.write(self)

    @property
    def signed(self) -> bytes:
        """The bytes that the MAC is over: all but the MAC."""
        return self.to_bytes()[: -len(self.mac)]


class TeeTcbInfo(msgspec.Struct, frozen=True, gc=False):
    """TEE_TCB_INFO: the TDX module. `valid` says which fields hold something. 239 bytes."""

    valid: Octets8
    tee_tcb_svn: Octets16
    mr_seam: Octets48
    mr_signer_seam: Octets48
    seam_attributes: Octets8
    tee_tcb_svn_2: Octets16
    reserved: _Octets95

    def to_bytes(self) -> bytes:
        """The 239 bytes of memory."""
        return TEE_TCB_INFO.write(self)


class TdInfo(msgspec.Struct, frozen=True, gc=False):
    """TDINFO: the trust domain. `service_td_hash` is reserved, and zero, in TDX 1.0. 512 bytes."""

    td_attributes: Octets8
    xfam: Octets8
    mr_td: Octets48
    mr_config_id: Octets48
    mr_owner: Octets48
    mr_owner_config: Octets48
    rtmr0: Octets48
    rtmr1: Octets48
    rtmr2: Octets48
    rtmr3: Octets48
    service_td_hash: Octets48
    reserved: Octets64

    def to_bytes(self) -> bytes:
        """The 512 bytes of memory."""
        return TD_INFO.write(self)


class _Parts(msgspec.Struct, frozen=True, gc=False):
    mac: _Octets256
    tcb: _Octets239
    reserved: _Octets17
    td: _Octets512


class TdLocalReport(msgspec.Struct, frozen=True):
    """The whole structure, 1024 bytes."""

    mac: ReportMac
    tcb: TeeTcbInfo
    reserved: bytes
    td: TdInfo

    def __repr__(self) -> str:
        return f"<TdLocalReport of MRTD {self.td.mr_td.hex()}>"

    @classmethod
    def parse(cls, data: bytes) -> "TdLocalReport":
        """The structure. Raises `FormatError`, unless there are 1024 bytes that claim to be a TD's."""
        if len(data) != SIZE:
            raise FormatError(
                _CODE,
                f"{len(data)} bytes: a TDREPORT has {SIZE}",
                where="TDREPORT",
                mend="give the structure alone, as the device wrote it: no hex, no header",
            )
        parts = _PARTS.read(data)
        mac = REPORT_MAC.read(parts.mac)
        if mac.type != TDX:
            raise FormatError(
                "td-local-report-type",
                f"the report is of type 0x{mac.type:02X}; a TD's is 0x{TDX:02X}",
                where="TDREPORT, byte 0",
                mend="have it made inside of a trust domain: /dev/tdx_guest does",
            )
        tcb, td = TEE_TCB_INFO.read(parts.tcb), TD_INFO.read(parts.td)
        return cls(mac, tcb, parts.reserved, td)

    def to_bytes(self) -> bytes:
        """The 1024 bytes of memory."""
        parts = (self.mac.to_bytes(), self.tcb.to_bytes(), self.reserved, self.td.to_bytes())
        return _PARTS.write(_Parts(*parts))

    @property
    def hashes_agree(self) -> bool:
        """Whether what is under the MAC by hash is what stands beside it."""
        tcb, td = hash_of(self.tcb.to_bytes()), hash_of(self.td.to_bytes())
        return self.mac.tcb_info_hash == tcb and self.mac.td_info_hash == td

    def body(self) -> TdReport10:
        """What the TD quoting enclave puts into a quote over this report, TDX 1.0: 584 bytes."""
        return TdReport10(
            tee_tcb_svn=self.tcb.tee_tcb_svn,
            mr_seam=self.tcb.mr_seam,
            mr_signer_seam=self.tcb.mr_signer_seam,
            seam_attributes=self.tcb.seam_attributes,
            td_attributes=self.td.td_attributes,
            xfam=self.td.xfam,
            mr_td=self.td.mr_td,
            mr_config_id=self.td.mr_config_id,
            mr_owner=self.td.mr_owner,
            mr_owner_config=self.td.mr_owner_config,
            rtmr0=self.td.rtmr0,
            rtmr1=self.td.rtmr1,
            rtmr2=self.td.rtmr2,
            rtmr3=self.td.rtmr3,
            report_data=self.mac.report_data,
        )


def hash_of(structure: bytes) -> bytes:
    """SHA-384: how REPORTMACSTRUCT holds the two structures beside it, 48 bytes."""
    return hashlib.sha384(structure).digest()


REPORT_MAC = Layout(ReportMac, "REPORTMACSTRUCT", code=_CODE)
TEE_TCB_INFO = Layout(TeeTcbInfo, "TEE_TCB_INFO", code=_CODE)
TD_INFO = Layout(TdInfo, "TDINFO", code=_CODE)
_PARTS = Layout(_Parts, "TDREPORT", code=_CODE)
SIZE: Final = _PARTS.size
