"""Is the TDX module one that Intel names, and which identity judges its version?

TEE_TCB_SVN[1] is the module's major version: 0 is judged by `tdxModule` and the TDX components of
the TCB levels, every other by the identity "TDX_<major>".

Source: QVL `QuoteVerifier`, step 4.1.2.5.12; `verification.md` §5 D 12.
"""

from dcap.formats.tcb_info import TcbInfo, TdxModuleIdentity
from dcap.formats.td_report import TdReport10


def identity_of(info: TcbInfo, tee_tcb_svn: bytes) -> TdxModuleIdentity | str:
    """The identity that a TEE_TCB_SVN falls under, or why there is none."""
    major = tee_tcb_svn[1]
    if major == 0:
        return info.tdx_module or "the TCB info names no TDX module"
    if info.tdx_module_identities is None:
        return f"the TCB info has no TDX module identities; the module's major version is {major}"
    wanted = f"TDX_{major:02X}"
    for identity in info.tdx_module_identities:
        if identity.id == wanted or identity.id.upper() == wanted:
            return identity
    return f"the TCB info has no TDX module identity {wanted}"


def mismatch(report: TdReport10, identity: TdxModuleIdentity) -> str:
    """How the measured module departs from its identity; empty where it does not."""
    if report.mr_signer_seam != identity.mr_signer:
        return f"MRSIGNERSEAM is {report.mr_signer_seam.hex()}, not {identity.mr_signer.hex()}"
    attributes = int.from_bytes(report.seam_attributes, "big")
    mask = int.from_bytes(identity.attributes_mask, "big")
    if attributes or attributes & mask != int.from_bytes(identity.attributes, "big"):
        return f"SEAMATTRIBUTES are {report.seam_attributes.hex()}, not all zero"
    return ""
