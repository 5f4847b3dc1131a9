"""Reports of trust domains on a simulated machine: made as by the TDX module, checked as by the QE.

    report = make_td_report(machine, report_data)       # 1024 bytes
    is_genuine_td_report(machine, report)               # as the machine's TD quoting enclave sees it
    quote = quote_of(machine, report)                   # what it signs: the TD of the report

The MAC is keyed by the machine, named by the world's seed: a report of another machine, or with a bit
changed, is not genuine. It is not the CPU's, which nobody outside can compute either. Not here: quotes
(`quoting_enclave`), the reports of enclaves (`reports`).

Source: Intel TDX Module ABI, TDG.MR.REPORT; SEAMVERIFYREPORT.
"""

import hashlib
import hmac

import msgspec

from dcap.errors import FormatError
from dcap.formats.td_local_report import TDX, ReportMac, TdInfo, TdLocalReport, TeeTcbInfo, hash_of
from dcap.formats.td_report import TdReport10
from dcap.simulator import quoting_enclave
from dcap.simulator.keys import derive
from dcap.simulator.platform import Platform

#: TEE_TCB_INFO.VALID of TDX 1.5: TEE_TCB_SVN, MRSEAM, MRSIGNERSEAM, ATTRIBUTES and TEE_TCB_SVN2.
_VALID = (0x1FF).to_bytes(8, "little")
_TD_FIELDS = ("td_attributes", "xfam", "mr_td", "mr_config_id", "mr_owner", "mr_owner_config")
_RTMRS = ("rtmr0", "rtmr1", "rtmr2", "rtmr3")


def make_td_report(machine: Platform, report_data: bytes, **fields: object) -> bytes:
    """The TDREPORT of a TD on this machine, 1024 bytes; `fields` are those of its quote's body.

    Report data are filled up to 64 bytes.
    """
    given = {"tee_tcb_svn": machine.tee_tcb_svn, **fields}
    body = quoting_enclave.td_report(TdReport10, **given)
    tcb = TeeTcbInfo(
        _VALID,
        body.tee_tcb_svn,
        body.mr_seam,
        body.mr_signer_seam,
        body.seam_attributes,
        machine.tee_tcb_svn_2,
        bytes(95),
    )
    told = {name: getattr(body, name) for name in (*_TD_FIELDS, *_RTMRS)}
    td = TdInfo(**told, service_td_hash=bytes(48), reserved=bytes(64))
    mac = ReportMac(
        type=TDX,
        subtype=0,
        version=1,
        reserved_type=0,
        reserved1=bytes(12),
        cpu_svn=machine.cpu_svn,
        tcb_info_hash=hash_of(tcb.to_bytes()),
        td_info_hash=hash_of(td.to_bytes()),
        report_data=report_data.ljust(64, b"\0"),
        reserved2=bytes(32),
        mac=bytes(32),
    )
    mac = msgspec.structs.replace(mac, mac=_mac(machine, mac.signed))
    return TdLocalReport(mac, tcb, bytes(17), td).to_bytes()


def is_genuine_td_report(machine: Platform, report: bytes) -> bool:
    """Whether the machine's quoting enclave takes a report: made on this machine, and unchanged."""
    try:
        made = TdLocalReport.parse(report)
    except FormatError:
        return False
    agrees = hmac.compare_digest(made.mac.mac, _mac(machine, made.mac.signed))
    return agrees and made.hashes_agree and not any(made.reserved)


def quote_of(machine: Platform, report: bytes, *, version: int = 4, **draft: object) -> bytes:
    """The machine's quote over the TD of a report. Raises `FormatError` where it is no TDREPORT."""
    body = TdLocalReport.parse(report).body()
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    given = {"tee": "TDX", "version": version, **fields, **draft}
    return machine.quote(**given)  # type: ignore[arg-type]  # the body's own fields


def _mac(machine: Platform, signed: bytes) -> bytes:
    """A MAC under a key that the CPU has."""
    key = derive(machine.world.seed, "td report key", machine.name)
    return hmac.digest(key, signed, hashlib.sha256)
