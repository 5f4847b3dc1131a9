"""Steps 5.10 to 5.17: genuine evidence of something that the relying party did not ask for.

Source: `verification.md` §9 (19); `users-and-interop.md` §4: debug enclaves, rotated MRENCLAVE,
replayed evidence.
"""

from collections.abc import Callable

import msgspec

from dcap.formats.sgx_report import SgxReport
from dcap.formats.td_report import TdReport10
from dcap.simulator.faults.fault import TDX, TDX15, Fault
from dcap.simulator.faults.scene import CHALLENGE, Case, Scene
from dcap.simulator.quoting_enclave import TD_BODIES, XFAM, enclave_report, td_report

_ENCLAVE: SgxReport = enclave_report()
_TD: TdReport10 = td_report(TD_BODIES[2])
_SEAM_SIGNER = b"\x5e" * 48


def _release(**values: bytes | int) -> str:
    """One release of a policy."""
    lines = (
        f"{key} = {value}" if isinstance(value, int) else f'{key} = "{value.hex()}"'
        for key, value in values.items()
    )
    return '[[release]]\nname = "v1"\n' + "\n".join(lines) + "\n"


def _running(**fields: object) -> Callable[[Scene], Case]:
    """Another enclave or TD on the same machine."""
    return lambda scene: scene.case(quote=scene.quote(**fields))


def _attributes(bits: int) -> bytes:
    return bits.to_bytes(8, "little")


def _named_seam_signer(scene: Scene) -> Case:
    """Module and TCB info agree on a signer, who is not Intel's zero."""
    modules = scene.tcb_info_wire().tdx_module_identities or []
    odd = [msgspec.structs.replace(m, mrsigner=_SEAM_SIGNER.hex()) for m in modules]
    return scene.case(
        quote=scene.quote(mr_signer_seam=_SEAM_SIGNER),
        tcb_info=scene.tcb_info(tdx_module_identities=odd),
    )


_SEPT_VE_DISABLE = 1 << 28
_BY_ENCLAVE = _release(mrenclave=_ENCLAVE.mr_enclave)
_BY_SIGNER = _release(
    mrsigner=_ENCLAVE.mr_signer, product_id=_ENCLAVE.isv_prod_id, minimum_svn=_ENCLAVE.isv_svn
)
_BY_TD = _release(mrtd=_TD.mr_td, rtmr0=_TD.rtmr0, rtmr1=_TD.rtmr1)
_STRICT = f'attributes = "05{"00" * 15}"\nattributes_mask = "{"ff" * 8}{"00" * 8}"\n'
_STRICT_TD = (
    f'td_attributes = "{_TD.td_attributes.hex()}"\ntd_attributes_mask = "{"ff" * 8}"\n'
    f'xfam = "{XFAM.hex()}"\nxfam_mask = "{"ff" * 8}"\n'
)
_CHALLENGED = f'report_data = "{CHALLENGE.hex()}"\n'

FAULTS = (
    Fault("enclave-in-debug", "debug",
          "The enclave runs in debug mode: its host reads its memory.",
          _running(attributes=bytes.fromhex("0700000000000000e700000000000000"))),
    Fault("td-in-debug", "debug", "The TD runs in debug mode.",
          _running(td_attributes=_attributes(_SEPT_VE_DISABLE | 1)), TDX),
    Fault("td-in-debug-by-a-reserved-bit", "debug",
          "A reserved bit of the TD's debug group is set.",
          _running(td_attributes=_attributes(_SEPT_VE_DISABLE | 2)), TDX15),
    Fault("td-without-sept-ve-disable", "td-attributes",
          "SEPT_VE_DISABLE is off: the host can attack the TD by removing pages.",
          _running(td_attributes=_attributes(0)), TDX),
    Fault("td-migratable", "td-attributes", "The TD can be migrated to another machine.",
          _running(td_attributes=_attributes(_SEPT_VE_DISABLE | 1 << 29)), TDX15),
    Fault("seam-signer-that-a-document-names", "seam",
          "Module and TCB info agree on a SEAM signer that is not Intel.",
          _named_seam_signer, TDX),
    Fault("td-with-a-service-td", "service-td", "A service TD is bound.",
          _running(mr_service_td=b"\x5e" * 48), TDX15),
    Fault("enclave-rotated", "identity", "The enclave was rebuilt: its MRENCLAVE is another.",
          _running(mr_enclave=b"\x01" * 32), policy_hint=_BY_ENCLAVE),
    Fault("enclave-of-another-signer", "identity", "The enclave is signed by somebody else.",
          _running(mr_signer=b"\x01" * 32), policy_hint=_BY_SIGNER),
    Fault("enclave-of-another-product", "identity",
          "The enclave is another product of the same signer.", _running(isv_prod_id=2),
          policy_hint=_BY_SIGNER),
    Fault("enclave-rolled-back", "identity", "The enclave is an older version, of a lower SVN.",
          _running(isv_svn=2), policy_hint=_BY_SIGNER),
    Fault("td-of-another-image", "identity", "The TD was built of another image.",
          _running(mr_td=b"\x01" * 48), TDX, policy_hint=_BY_TD),
    Fault("td-of-another-kernel", "identity", "The TD booted another kernel: RTMR 1 differs.",
          _running(rtmr1=b"\x01" * 48), TDX, policy_hint=_BY_TD),
    Fault("enclave-with-provision-key", "attributes",
          "The enclave has access to the provisioning key.",
          _running(attributes=bytes.fromhex("1500000000000000e700000000000000")),
          policy_hint=_STRICT),
    Fault("td-with-protection-keys", "attributes",
          "The TD has an attribute that the relying party did not ask for.",
          _running(td_attributes=_attributes(_SEPT_VE_DISABLE | 1 << 30)), TDX,
          policy_hint=_STRICT_TD),
    Fault("td-of-another-xfam", "attributes", "The TD's XFAM has a feature too many.",
          _running(xfam=bytes.fromhex("e702070000000000")), TDX, policy_hint=_STRICT_TD),
    Fault("evidence-replayed", "report-data",
          "The report data answer an older challenge.",
          _running(report_data=b"an older challenge".ljust(64, b"\0")), policy_hint=_CHALLENGED),
    Fault("evidence-replayed-tdx", "report-data",
          "The TD's report data answer an older challenge.",
          _running(report_data=bytes(64)), TDX, policy_hint=_CHALLENGED),
)  # fmt: skip
