"""TARGETINFO and REPORT: how one enclave proves itself to another on the same machine.

    target = TargetInfo.parse(octets)           # 512 bytes: whom the report is for
    report = LocalReport.parse(octets)          # 432 bytes: what EREPORT made for it
    report.body.report_data

A report is worth something to its target alone, on the machine that made it: the MAC is under a key that
only the CPU and the target have. Nothing here checks it. Not here: the report's body, which quotes have
too (`sgx_report`); the reports of TDs (`td_local_report`).

Source: Intel SDM vol. 3D, TARGETINFO and REPORT structures.
"""

from functools import cached_property

import msgspec

from dcap.errors import FormatError
from dcap.formats.layout import (
    U8,
    U16,
    U32,
    Layout,
    Octets8,
    Octets16,
    Octets32,
    Octets64,
    Octets384,
    Record,
)
from dcap.formats.sgx_report import SgxReport

_CODE = "local-report-size"


class TargetInfo(msgspec.Struct, frozen=True, gc=False):
    """The enclave that a report is made for. Field order is the memory order; 512 bytes in all."""

    mr_enclave: Octets32
    attributes: Octets16
    cet_attributes: U8
    reserved1: U8
    config_svn: U16
    misc_select: U32
    reserved2: Octets8
    config_id: Octets64
    reserved3: Octets384

    @classmethod
    def parse(cls, data: bytes) -> "TargetInfo":
        """The structure. Raises `FormatError` (`local-report-size`) unless there are 512 bytes."""
        return _whole(TARGET_INFO, data)

    @classmethod
    def of(cls, body: SgxReport) -> "TargetInfo":
        """What names the enclave that a report's body tells of."""
        return cls(
            mr_enclave=body.mr_enclave,
            attributes=body.attributes,
            cet_attributes=0,
            reserved1=0,
            config_svn=body.config_svn,
            misc_select=body.misc_select,
            reserved2=bytes(8),
            config_id=body.config_id,
            reserved3=bytes(384),
        )

    def to_bytes(self) -> bytes:
        """The 512 bytes of memory."""
        return TARGET_INFO.write(self)


class LocalReport(msgspec.Struct, frozen=True, dict=True):
    """What EREPORT makes: the body, the number that the key was derived with, the MAC. 432 bytes."""

    signed: Octets384
    key_id: Octets32
    mac: Octets16

    def __repr__(self) -> str:
        return f"<LocalReport of MRENCLAVE {self.body.mr_enclave.hex()}>"

    @classmethod
    def parse(cls, data: bytes) -> "LocalReport":
        """The structure. Raises `FormatError` (`local-report-size`) unless there are 432 bytes."""
        return _whole(REPORT, data)

    def to_bytes(self) -> bytes:
        """The 432 bytes of memory."""
        return REPORT.write(self)

    @cached_property
    def body(self) -> SgxReport:
        """What the CPU says of the enclave; `signed` are its bytes."""
        return SgxReport.parse(self.signed)


def _whole(layout: Layout[Record], data: bytes) -> Record:
    if len(data) != layout.size:
        raise FormatError(
            _CODE,
            f"{len(data)} bytes: {layout.name} has {layout.size}",
            where=layout.name,
            mend="give the structure alone, as the CPU has it in memory: no hex, no header",
        )
    return layout.read(data)


TARGET_INFO = Layout(TargetInfo, "TARGETINFO", code=_CODE)
REPORT = Layout(LocalReport, "REPORT", code=_CODE)
TARGET_INFO_SIZE = TARGET_INFO.size
REPORT_SIZE = REPORT.size
