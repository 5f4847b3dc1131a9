"""The attestation result: the judgement, everything found on the way, and what was not looked at.

Made by `appraise` alone. It has no truth value: `if appraise(…)` would fail open one day.
The names in `to_json` are stable; `schema` counts their incompatible changes.
"""

from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

from dcap.appraisal import narrative
from dcap.appraisal.claims import claims_of
from dcap.appraisal.open_questions import UNREADABLE, open_questions
from dcap.appraisal.policy import Policy
from dcap.errors import Rejected
from dcap.formats.origin import Origin
from dcap.verification.checks import EXIT_STATUS
from dcap.verification.evidence import Evidence
from dcap.verification.findings import Finding
from dcap.verification.supplemental import Supplemental
from dcap.verification.tcb_evaluation import TcbEvaluation
from dcap.verification.tcb_level import Shortfall
from dcap.verification.verifier import PckChain, VerifiedQuote

SCHEMA = 1
ACCEPTED = "accepted"
REJECTED = "rejected"
#: The status where no TCB level matches, by the name of Intel's QVL.
NOT_SUPPORTED = "TCB_NOT_SUPPORTED"
_LEVEL_CHECKS = {"tcb-level", "tdx-module-level", "qe-level"}


class AttestationResult(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one piece of evidence, under one policy, one set of collateral, at one instant.

    `findings` are all checks that ran, in the order of the procedure. `evidence` is `None` where
    nothing could be read. `release` is the name of the policy's release that the quote matched.
    `origins` say from where the collateral came, where it was fetched or recorded, and `remarks` what a
    person should know of that; neither had a part in the verdict.
    """

    verdict: str
    exit_status: int
    findings: tuple[Finding, ...]
    at: datetime
    trust_root: str
    policy: Policy
    evidence: Evidence | None
    release: str | None = None
    tcb: TcbEvaluation | None = None
    shortfall: tuple[Shortfall, ...] = ()
    pck: PckChain | None = None
    verified: VerifiedQuote | None = None
    origins: tuple[Origin, ...] = ()
    remarks: tuple[str, ...] = ()

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "an AttestationResult is neither true nor false: ask .accepted or .require()"
        )

    def __repr__(self) -> str:
        return f"<AttestationResult {self.verdict} at {_text(self.at)}>"

    @property
    def accepted(self) -> bool:
        """Whether the evidence is genuine and acceptable: the verdict, with the proof behind it."""
        return self.verdict == ACCEPTED and self.verified is not None and not self.failures

    @property
    def not_checked(self) -> tuple[str, ...]:
        """What no check looked at, in the order of the procedure."""
        if self.evidence is None:
            return UNREADABLE
        return open_questions(self.evidence.quote, self.policy, self.findings, self.release)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that speak against it, in the order of the procedure."""
        return tuple(finding for finding in self.findings if not finding.ok)

    @property
    def reason(self) -> Finding | None:
        """The finding that the exit status is for; `None` where it is accepted."""
        for finding in self.failures:
            if (
                EXIT_STATUS.get(finding.check.kind if finding.check else "format")
                == self.exit_status
            ):
                return finding
        return next(iter(self.failures), None)

    @property
    def claims(self) -> dict[str, Any]:
        """What the quote says of its enclave or TD, whether or not it is true."""
        return {} if self.evidence is None else claims_of(self.evidence.quote)

    @property
    def tcb_status(self) -> str | None:
        """The final TCB status, `TCB_NOT_SUPPORTED`, or `None` where it could not be determined."""
        if self.tcb is not None:
            return self.tcb.status
        missed = any(f.code in _LEVEL_CHECKS for f in self.failures)
        return NOT_SUPPORTED if missed else None

    def require(self) -> "AttestationResult":
        """This result, where it is accepted. Raises `Rejected`, which carries it, where not."""
        if not self.accepted:
            reason = self.reason
            code = reason.code if reason else "rejected"
            more = len(self.failures) - 1
            what = f"rejected: {reason.message if reason else 'not accepted'}"
            error = Rejected(
                code,
                what + (f" (and {more} more)" if more > 0 else ""),
                result=self,
                mend=reason.mend if reason else "",
            )
            error.exit_status = self.exit_status  # type: ignore[misc]
            raise error
        return self

    def with_origins(
        self, origins: tuple[Origin, ...], remarks: tuple[str, ...] = ()
    ) -> "AttestationResult":
        """The same judgement, with from where its collateral came."""
        return msgspec.structs.replace(self, origins=origins, remarks=remarks)

    def supplemental(self) -> Supplemental | None:
        """Intel's supplemental facts; `None` where the quote was not proven."""
        return None if self.verified is None else Supplemental.of(self.verified)

    def to_dict(self, *, platform_ids: bool = False) -> dict[str, Any]:
        """The result as plain values, under its stable names."""
        evidence = self.evidence
        reason = self.reason
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "exit_status": self.exit_status,
            "reason": reason.code if reason else None,
            "at": _text(self.at),
            "trust_root": self.trust_root,
            "policy": self.policy.name or None,
            "release": self.release,
            "evidence": {
                "format": _format(evidence),
                "containers": list(evidence.wrappings) if evidence else [],
                "size": evidence.size if evidence else None,
            },
            "tcb": self._tcb(),
            "platform": self._platform(platform_ids=platform_ids),
            "collateral": self._collateral(),
            "claims": {}
            if evidence is None
            else claims_of(evidence.quote, platform_ids=platform_ids),
            "findings": [
                {
                    "code": finding.code,
                    "step": finding.step,
                    "ok": finding.ok,
                    "message": finding.message,
                    "mend": finding.mend,
                }
                for finding in self.findings
            ],
            "not_checked": list(self.not_checked),
            "remarks": list(self.remarks),
        }

    def to_json(self, *, platform_ids: bool = False) -> str:
        """The result as JSON, indented."""
        encoded = msgspec.json.encode(self.to_dict(platform_ids=platform_ids))
        return msgspec.json.format(encoded, indent=2).decode()

    def explain(self, *, platform_ids: bool = False) -> str:
        """The result in words, as `dcap verify` prints it; `platform_ids` adds PPID and CPUSVN."""
        return "\n".join(narrative.lines(self, platform_ids=platform_ids))

    def _tcb(self) -> dict[str, Any]:
        tcb = self.tcb
        return {
            "status": self.tcb_status,
            "advisory_ids": list(tcb.advisory_ids) if tcb else [],
            "current_advisory_ids": list(tcb.current_advisory_ids) if tcb else [],
            "date": _text(tcb.date) if tcb else None,
            "platform_status": tcb.platform if tcb else None,
            "qe_status": tcb.qe if tcb else None,
            "tdx_module_status": tcb.tdx_module if tcb else None,
            "launch_status": tcb.launch if tcb else None,
            "current_status": tcb.current if tcb else None,
            "shortfall": [msgspec.to_builtins(short) for short in self.shortfall],
        }

    def _platform(self, *, platform_ids: bool) -> dict[str, Any]:
        if self.pck is None:
            return {}
        extensions = self.pck.extensions
        facts: dict[str, Any] = {
            "fmspc": extensions.fmspc.hex(),
            "pce_id": extensions.pce_id.hex(),
            "ca": "platform" if "Platform" in self.pck.chain[1].common_name else "processor",
            "sgx_type": extensions.sgx_type,
            "pce_svn": extensions.pce_svn,
            "dynamic_platform": extensions.dynamic_platform,
            "cached_keys": extensions.cached_keys,
            "smt_enabled": extensions.smt_enabled,
        }
        if platform_ids:
            instance = extensions.platform_instance_id
            facts["ppid"] = extensions.ppid.hex()
            facts["tcb_components"] = list(extensions.components)
            facts["cpu_svn"] = extensions.cpu_svn.hex()
            facts["platform_instance_id"] = None if instance is None else instance.hex()
        return facts

    def _collateral(self) -> dict[str, Any]:
        facts = self.supplemental()
        if facts is None or self.verified is None:
            return {"earliest_issue": None, "earliest_expiry": None, "sources": self._sources()}
        info = self.verified.endorsements.tcb_info
        return {
            "earliest_issue": _text(facts.earliest_issue_date),
            "latest_issue": _text(facts.latest_issue_date),
            "earliest_expiry": _text(facts.earliest_expiration_date),
            "earliest_expiring": facts.earliest_expiring,
            "expired": facts.earliest_expiration_date < self.at,
            "evaluation_number": facts.tcb_eval_ref_num,
            "tcb_info_evaluation_number": info.evaluation_data_number,
            "qe_identity_evaluation_number": facts.qe_iden_tcb_eval_ref_num,
            "tcb_level_date": _text(facts.tcb_level_date_tag),
            "platform_tcb_level_date": _text(facts.platform_tcb_level_date_tag),
            "qe_tcb_level_date": _text(facts.qe_iden_tcb_level_date_tag),
            "pck_crl_number": facts.pck_crl_num,
            "root_ca_crl_number": facts.root_ca_crl_num,
            "root_key_id": facts.root_key_id.hex(),
            "qe_earliest_issue": _text(facts.qe_iden_earliest_issue_date),
            "qe_latest_issue": _text(facts.qe_iden_latest_issue_date),
            "qe_earliest_expiry": _text(facts.qe_iden_earliest_expiration_date),
            "pieces": [
                {"name": w.name, "issued": _text(w.issued), "expires": _text(w.expires)}
                for w in self.verified.windows
            ],
            "sources": self._sources(),
        }

    def _sources(self) -> list[dict[str, Any]]:
        return [
            {
                "piece": origin.piece.replace("_", "-"),
                "source": origin.source,
                "address": origin.address,
                "fetched_at": _text(origin.fetched_at),
                "cached": origin.cached,
                "stale": origin.stale,
            }
            for origin in self.origins
        ]


def _format(evidence: Evidence | None) -> str | None:
    if evidence is None:
        return None
    return f"{evidence.quote.tee.lower()}-quote-v{evidence.quote.header.version}"


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
