"""TD report bodies inside a quote: TDX 1.0 (584 bytes), 1.5 (648) and 1.5ex (885).

Source: Intel TDX DCAP Quoting Library API, "TD Quote Body"; sgx_quote_5.h. Each newer body is the
older one with fields appended.
"""

import msgspec

from dcap.formats.layout import (
    U8,
    Layout,
    Octets8,
    Octets12,
    Octets16,
    Octets32,
    Octets48,
    Octets64,
)

#: Bits of TDATTRIBUTES (64 bit, little-endian), by Intel's names. Bits 1-7 complete the TUD group.
TD_ATTRIBUTES = {
    "DEBUG": 1 << 0,
    "SERVTD_EXT": 1 << 17,
    "LASS": 1 << 27,
    "SEPT_VE_DISABLE": 1 << 28,
    "MIGRATABLE": 1 << 29,
    "PKS": 1 << 30,
    "KL": 1 << 31,
    "PERFMON": 1 << 63,
}


class TdReport10(msgspec.Struct, frozen=True, gc=False):
    """TDX 1.0: what the TDX module says of a trust domain. 584 bytes."""

    tee_tcb_svn: Octets16
    mr_seam: Octets48
    mr_signer_seam: Octets48
    seam_attributes: Octets8
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
    report_data: Octets64

    def to_bytes(self) -> bytes:
        """The body's bytes of memory, as long as its kind."""
        return LAYOUTS[type(self)].write(self)

    @property
    def debug(self) -> bool:
        """Whether the TD is under debug: any bit of the TUD group (byte 0), as no TD is trusted then."""
        return self.td_attributes[0] != 0

    @property
    def td_attribute_bits(self) -> int:
        """TDATTRIBUTES as a 64-bit integer."""
        return int.from_bytes(self.td_attributes, "little")

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """RTMR 0 to 3, 48 bytes each."""
        return (self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3)


class TdReport15(TdReport10, frozen=True, gc=False):
    """TDX 1.5: adds the TCB of the module now loaded, and the bound service TD. 648 bytes."""

    tee_tcb_svn_2: Octets16
    mr_service_td: Octets48


class TdReport15Ex(TdReport15, frozen=True, gc=False):
    """TDX 1.5ex (quote v5 body type 4): adds migration and service-TD history. 885 bytes."""

    vm_id: U8
    td_id: Octets32
    dev_info: Octets48
    init_servtd_hash: Octets48
    init_servtd_attr: Octets8
    init_cpu_svn: Octets16
    init_tee_tcb_svn: Octets16
    init_tee_fmspc: Octets12
    cur_servtd_hash: Octets48
    cur_servtd_attr: Octets8


TDX_1_0 = Layout(TdReport10, "TD report")
TDX_1_5 = Layout(TdReport15, "TD report 1.5", code="td-report-truncated")
TDX_1_5_EX = Layout(TdReport15Ex, "TD report 1.5ex", code="td-report-truncated")

LAYOUTS: dict[type[TdReport10], Layout[TdReport10]] = {
    TdReport10: TDX_1_0,
    TdReport15: TDX_1_5,  # type: ignore[dict-item]  # a layout writes what it reads
    TdReport15Ex: TDX_1_5_EX,  # type: ignore[dict-item]
}
