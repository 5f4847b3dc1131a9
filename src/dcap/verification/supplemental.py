"""The supplemental facts of a verification: dates, numbers and platform flags, by Intel's definitions.

Computed over all eight pieces of collateral: root CA CRL, PCK CRL, CRL issuer chain, PCK chain, both
document issuer chains, TCB info, QE identity. (Intel's library at one time took the final expiry from
two of them only, so that an expired CRL behind fresh JSON went unseen: pitfall 25.)

Source: `sgx_ql_qv_supplemental_t`, major 3; `verification.md` §7.
"""

import hashlib
from datetime import datetime

import msgspec

from dcap.verification.verifier import VerifiedQuote


class Supplemental(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a verified quote, named as Intel names them.

    `dynamic_platform`, `cached_keys` and `smt_enabled` are `None` where the certificate does not say
    (Processor CA). `root_key_id` is SHA-384 of the root's uncompressed point.
    """

    earliest_issue_date: datetime
    latest_issue_date: datetime
    earliest_expiration_date: datetime
    earliest_expiring: str
    tcb_level_date_tag: datetime
    platform_tcb_level_date_tag: datetime
    qe_iden_tcb_level_date_tag: datetime
    pck_crl_num: int
    root_ca_crl_num: int
    tcb_eval_ref_num: int
    qe_iden_tcb_eval_ref_num: int
    root_key_id: bytes
    pck_ppid: bytes
    tcb_cpusvn: bytes
    tcb_pce_isvsvn: int
    pce_id: bytes
    fmspc: bytes
    tee_type: str
    sgx_type: int
    platform_instance_id: bytes | None
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt_enabled: bool | None
    sa_list: tuple[str, ...]
    qe_iden_status: str
    qe_iden_earliest_issue_date: datetime
    qe_iden_latest_issue_date: datetime
    qe_iden_earliest_expiration_date: datetime

    def __repr__(self) -> str:
        return f"<Supplemental of FMSPC {self.fmspc.hex()}>"

    @classmethod
    def of(cls, verified: VerifiedQuote) -> "Supplemental":
        """Collect the facts of a proof."""
        authentic = verified.endorsements.authentic
        windows = verified.windows
        first = min(windows, key=lambda window: window.expires)
        qe = [w for w in windows if w.name in ("qe-identity", "qe-identity-chain")]
        info, identity = verified.endorsements.tcb_info, verified.endorsements.qe_identity
        pck, tcb = verified.pck.extensions, verified.tcb
        assert authentic.pck_crl is not None and authentic.root_ca_crl is not None  # noqa: PT018
        return cls(
            earliest_issue_date=min(window.issued for window in windows),
            latest_issue_date=max(window.newest for window in windows),
            earliest_expiration_date=first.expires,
            earliest_expiring=first.name,
            tcb_level_date_tag=min(tcb.platform_date, tcb.qe_date),
            platform_tcb_level_date_tag=tcb.platform_date,
            qe_iden_tcb_level_date_tag=tcb.qe_date,
            pck_crl_num=authentic.pck_crl.crl_number or 0,
            root_ca_crl_num=authentic.root_ca_crl.crl_number or 0,
            tcb_eval_ref_num=min(info.evaluation_data_number, identity.evaluation_data_number),
            qe_iden_tcb_eval_ref_num=identity.evaluation_data_number,
            root_key_id=hashlib.sha384(b"\x04" + authentic.anchor.public_key).digest(),
            pck_ppid=pck.ppid,
            tcb_cpusvn=pck.cpu_svn,
            tcb_pce_isvsvn=pck.pce_svn,
            pce_id=pck.pce_id,
            fmspc=pck.fmspc,
            tee_type=verified.quote.tee,
            sgx_type=pck.sgx_type,
            platform_instance_id=pck.platform_instance_id,
            dynamic_platform=pck.dynamic_platform,
            cached_keys=pck.cached_keys,
            smt_enabled=pck.smt_enabled,
            sa_list=tcb.advisory_ids,
            qe_iden_status=tcb.qe,
            qe_iden_earliest_issue_date=min(window.issued for window in qe),
            qe_iden_latest_issue_date=max(window.newest for window in qe),
            qe_iden_earliest_expiration_date=min(window.expires for window in qe),
        )
