"""Reports between the enclaves of a simulated machine: made as by EREPORT, checked as by the QE.

    report = make_report(machine, qe_target_info(machine), report_data)         # 432 bytes
    is_genuine(machine, report)                                  # as the machine's QE sees it

The MAC is keyed by machine and target, both named by the world's seed: a report of another machine, for
another target, or with a bit changed is not genuine. It is not the CPU's CMAC, whose key nobody has.
Not here: quotes (`quoting_enclave`), the reports of TDs (`td_reports`).

Source: Intel SDM vol. 3D, EREPORT and EGETKEY.
"""

import hashlib
import hmac
from typing import Final

from dcap.errors import FormatError
from dcap.formats.local_report import LocalReport, TargetInfo
from dcap.simulator import quoting_enclave
from dcap.simulator.keys import derive, signing_key
from dcap.simulator.platform import Platform

_MAC_SIZE: Final = 16


def make_report(
    machine: Platform, target_info: bytes, report_data: bytes, **identity: object
) -> bytes:
    """What EREPORT makes in an enclave of this machine, 432 bytes; `identity` are fields of its body.

    Report data are filled up to 64 bytes. Raises `FormatError` (`local-report-size`) where the target is
    not 512 bytes.
    """
    given = {"cpu_svn": machine.cpu_svn, "report_data": report_data.ljust(64, b"\0"), **identity}
    signed = quoting_enclave.enclave_report(**given).to_bytes()
    key_id = derive(machine.world.seed, "report key id", machine.name)
    target = TargetInfo.parse(target_info)
    return LocalReport(signed, key_id, _mac(machine, target, key_id, signed)).to_bytes()


def is_genuine(machine: Platform, report: bytes) -> bool:
    """Whether the machine's QE takes a report: made on this machine, for this QE, and unchanged."""
    try:
        made = LocalReport.parse(report)
    except FormatError:
        return False
    target = TargetInfo.parse(qe_target_info(machine))
    return hmac.compare_digest(made.mac, _mac(machine, target, made.key_id, made.signed))


def qe_target_info(machine: Platform) -> bytes:
    """TARGETINFO of the machine's QE, 512 bytes; another version of the QE has another."""
    key = signing_key(machine.world.seed, "attestation", machine.name, "SGX")
    body = quoting_enclave.qe_report("SGX", machine.cpu_svn, machine.qe_svn, key.public_key)
    return TargetInfo.of(body).to_bytes()


def _mac(machine: Platform, target: TargetInfo, key_id: bytes, signed: bytes) -> bytes:
    """A MAC under the report key, which EGETKEY gives to the target alone."""
    secret = derive(machine.world.seed, "report key", machine.name)
    key = hmac.digest(secret, target.to_bytes() + key_id, hashlib.sha256)
    return hmac.digest(key, signed, hashlib.sha256)[:_MAC_SIZE]
