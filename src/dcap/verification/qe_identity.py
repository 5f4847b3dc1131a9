"""Is the quoting enclave the one that Intel's identity describes?

Source: QVL `EnclaveReportVerifier`, step 4.1.2.5.16; `verification.md` §5 D 15-16. The level of its
ISVSVN is matched in `tcb_level`.
"""

from dcap.formats.enclave_identity import QE, TD_QE, EnclaveIdentity
from dcap.formats.sgx_report import SgxReport

#: Which identity a quote's QE must have.
IDENTITY_OF_TEE = {"SGX": QE, "TDX": TD_QE}


def mismatch(report: SgxReport, identity: EnclaveIdentity) -> str:
    """How a QE report departs from its identity, every way of it; empty where it does not."""
    found = []
    misc_select = report.misc_select.to_bytes(4, "little")
    if _masked(misc_select, identity.misc_select_mask) != _masked(
        identity.misc_select, identity.misc_select_mask
    ):
        found.append(f"MISCSELECT {misc_select.hex()}, not {identity.misc_select.hex()}")
    if _masked(report.attributes, identity.attributes_mask) != _masked(
        identity.attributes, identity.attributes_mask
    ):
        found.append(f"ATTRIBUTES {report.attributes.hex()}, not {identity.attributes.hex()}")
    if report.mr_signer != identity.mr_signer:
        found.append(f"MRSIGNER {report.mr_signer.hex()}, not {identity.mr_signer.hex()}")
    if report.isv_prod_id != identity.isv_prod_id:
        found.append(f"ISVPRODID {report.isv_prod_id}, not {identity.isv_prod_id}")
    return "; ".join(found)


def _masked(value: bytes, mask: bytes) -> int:
    return int.from_bytes(value, "big") & int.from_bytes(mask, "big")
