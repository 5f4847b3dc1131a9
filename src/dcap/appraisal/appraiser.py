"""From evidence, collateral and policy to the attestation result: the whole way, in order.

    1  read the evidence            (a bad quote is a result)
    2  collateral -> endorsements   (`verification.check_endorsements`)
    3-4 evidence -> verified quote  (`verification.verify`)
    5  policy                       (here)

Step 5 stands on the proof: where the quote could not be proven, only expiry is judged, and what was
not reached is listed. `appraise` is the only maker of `AttestationResult`.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from dcap.appraisal.claims import claims_of
from dcap.appraisal.policy import ANY_IDENTITY, Policy, duration
from dcap.appraisal.reference_values import MASKED_OF_TEE, masked_mismatches
from dcap.appraisal.result import ACCEPTED, REJECTED, AttestationResult
from dcap.errors import ConfigError, FormatError, NotFound
from dcap.formats.collateral import Collateral
from dcap.formats.quote import Quote
from dcap.formats.td_report import TD_ATTRIBUTES, TdReport10, TdReport15, TdReport15Ex
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor
from dcap.verification.chain import Window
from dcap.verification.checks import CHECKS, EXIT_STATUS, FORMAT
from dcap.verification.endorsements import EndorsementCheck, Endorsements, check_endorsements
from dcap.verification.evidence import Evidence
from dcap.verification.findings import Finding, Ledger, is_genuine
from dcap.verification.signature import Run, Signatures
from dcap.verification.status import TcbStatus
from dcap.verification.tcb_evaluation import TcbEvaluation
from dcap.verification.verifier import QuoteCheck, VerifiedQuote, claims, verify

#: What `maximum_collateral_age` looks at: the pieces that Intel renews at least monthly. (The root
#: CA's CRL and the certificates live for years.)
_RENEWED = ("tcb-info", "qe-identity", "pck-crl")
_GRACEFUL = {TcbStatus.OUT_OF_DATE}
_ORDER = {code: place for place, code in enumerate(CHECKS)}


def appraise(
    evidence: bytes | Quote | Evidence,
    collateral: Collateral | Endorsements | EndorsementCheck | None = None,
    policy: Policy | None = None,
    *,
    at: datetime | None = None,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    run: Run | None = None,
) -> AttestationResult:
    """Judge evidence (bytes in any container, a quote, or `Evidence`) at the instant `at`.

    `collateral` may be left out where the evidence brings its own (Conclave). With `Endorsements`,
    which carry their instant and anchor, both may be left out, and may not differ. Never raises for
    bad evidence or bad collateral: they are results. Raises `NotFound` without collateral,
    `ConfigError` without an instant.
    """
    policy = policy or Policy()
    if isinstance(collateral, (Endorsements, EndorsementCheck)):
        ready = collateral.authentic
        other = anchor not in (INTEL_SGX_ROOT, ready.anchor)
        if other or (at is not None and at != ready.at):
            raise ConfigError(
                "endorsements-of-another-instant",
                "the endorsements were checked for another instant or root than is asked for",
                mend="check the collateral again with that `at` and `anchor`",
            )
        at, anchor = ready.at, ready.anchor
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ConfigError(
            "no-instant", "`at` must be an aware datetime: the verifier's trusted time"
        )
    try:
        if isinstance(evidence, (bytes, bytearray, memoryview)):
            evidence = Evidence.recognise(bytes(evidence))
        elif isinstance(evidence, Quote):
            evidence = Evidence.of(evidence)
    except FormatError as error:
        return unreadable(error, policy, at=at, anchor=anchor)
    collateral = collateral or evidence.collateral
    if collateral is None:
        raise NotFound(
            "collateral-missing",
            "the evidence brings no collateral and none was given",
            mend="give a folder or a file of collateral",
        )
    signatures = Signatures()
    if isinstance(collateral, Collateral):
        collateral = check_endorsements(
            collateral,
            at=at,
            anchor=anchor,
            signatures=signatures,
            run=run,
            also=partial(claims, evidence, anchor),
        )
    check = verify(evidence, collateral, signatures=signatures)
    return _judge(evidence, collateral, check, policy)


def apply_policy(verified: VerifiedQuote, policy: Policy) -> AttestationResult:
    """Judge a quote that is already proven."""
    check = QuoteCheck(
        verified.findings, verified, verified.pck, verified.tcb, verified.tcb.shortfall
    )
    return _judge(verified.evidence, verified.endorsements, check, policy)


def _judge(
    evidence: Evidence,
    endorsements: Endorsements | EndorsementCheck,
    check: QuoteCheck,
    policy: Policy,
) -> AttestationResult:
    authentic = endorsements.authentic
    ledger = Ledger()
    release = None
    windows = (*authentic.windows, *([check.pck.window] if check.pck else []))
    _check_expiry(windows, policy, authentic.at, ledger)
    verified = check.verified
    if verified is not None:
        _check_tcb(verified, policy, ledger)
        _check_platform(verified, policy, ledger)
    if verified is not None or is_genuine((*endorsements.findings, *check.findings)):
        release = _check_identity(evidence.quote, policy, ledger)
    first = [f for f in check.findings if f.step.startswith("1.")]
    later = check.findings[len(first) :] if first else check.findings
    findings = (*first, *endorsements.findings, *later, *ledger.findings)
    failed = [finding for finding in findings if not finding.ok]
    if failed:  # what failed may have been found out of turn
        findings = tuple(sorted(findings, key=lambda finding: _ORDER.get(finding.code, -1)))
        failed = [finding for finding in findings if not finding.ok]
    accepted = verified is not None and not failed
    return AttestationResult(
        verdict=ACCEPTED if accepted else REJECTED,
        exit_status=0 if accepted else _exit_status(failed),
        findings=findings,
        at=authentic.at,
        trust_root=authentic.anchor.name,
        policy=policy,
        evidence=evidence,
        release=release,
        tcb=check.tcb,
        shortfall=check.shortfall,
        pck=check.pck,
        verified=verified,
    )


def unreadable(
    error: FormatError,
    policy: Policy | None = None,
    *,
    at: datetime,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    evidence: Evidence | None = None,
) -> AttestationResult:
    """Evidence that cannot be read is rejected evidence; the error's code is the finding's.

    `evidence` is given where the quote could be read, and what it holds could not.
    """
    where = f" ({error.where})" if error.where else ""
    mend = error.mend or CHECKS["evidence-format"].mend
    finding = Finding(error.code, "1.1", False, f"{error.what}{where}", mend)  # noqa: FBT003
    return AttestationResult(
        verdict=REJECTED,
        exit_status=EXIT_STATUS[FORMAT],
        findings=(finding,),
        at=at,
        trust_root=anchor.name,
        policy=policy or Policy(),
        evidence=evidence,
    )


def _exit_status(failed: list[Finding]) -> int:
    """The gravest failure decides: format, truth, TCB, identity, in this order."""
    return min(EXIT_STATUS[CHECKS[f.code].kind if f.code in CHECKS else FORMAT] for f in failed)


def _check_expiry(
    windows: tuple[Window, ...], policy: Policy, at: datetime, ledger: Ledger
) -> None:
    """5.1 - 5.2 each of the eight pieces, expiry and age."""
    grace = duration(policy.collateral_grace_period, "collateral_grace_period")
    for piece in sorted(windows, key=lambda piece: _ORDER[f"{piece.name}-expiry"]):
        if at <= piece.expires:
            ledger.passed(f"{piece.name}-expiry")
        elif at - piece.expires <= grace:
            ledger.passed(
                f"{piece.name}-expiry",
                f"{piece.name} expired at {piece.expires:%Y-%m-%dT%H:%M:%SZ}: within the policy's "
                "grace period",
            )
        else:
            ledger.failed(
                f"{piece.name}-expiry",
                f"expired at {piece.expires:%Y-%m-%dT%H:%M:%SZ}, before {at:%Y-%m-%dT%H:%M:%SZ}",
            )
    if policy.maximum_collateral_age is None:
        return
    limit = duration(policy.maximum_collateral_age, "maximum_collateral_age")
    old = [w for w in windows if w.name in _RENEWED and at - w.issued > limit]
    ledger.check(
        "collateral-age",
        not old,
        lambda: (
            f"older than {policy.maximum_collateral_age}: "
            + ", ".join(f"{w.name} of {w.issued:%Y-%m-%dT%H:%M:%SZ}" for w in old)
        ),
    )


def _check_tcb(verified: VerifiedQuote, policy: Policy, ledger: Ledger) -> None:
    """5.3 - 5.8 statuses, advisories, dates and numbers."""
    tcb = verified.tcb
    at = verified.endorsements.at
    _check_status(tcb, policy, at, ledger)
    ledger.check(
        "qe-status",
        tcb.qe in policy.qe_statuses or (tcb.qe in _GRACEFUL and _within_grace(tcb, policy, at)),
        lambda: f"{tcb.qe}; the policy accepts {', '.join(policy.qe_statuses)}",
    )
    applying = (*tcb.advisory_ids, *tcb.current_advisory_ids)
    refused = [a for a in applying if a in policy.rejected_advisories]
    if policy.accepted_advisories is not None:
        refused += [a for a in applying if a not in policy.accepted_advisories]
    ledger.check("advisories", not refused, lambda: f"{', '.join(dict.fromkeys(refused))} apply")
    least = policy.minimum_tcb_instant
    if least is not None:
        ledger.check(
            "tcb-date", tcb.date >= least, lambda: f"{tcb.date:%Y-%m-%d}, before {least:%Y-%m-%d}"
        )
    number = policy.minimum_evaluation_number
    if number is not None:
        have = min(
            verified.endorsements.tcb_info.evaluation_data_number,
            verified.endorsements.qe_identity.evaluation_data_number,
        )
        ledger.check(
            "evaluation-number",
            have >= number,
            lambda: f"the collateral's lowest is {have}, the policy's minimum {number}",
        )
    svn = policy.minimum_tee_tcb_svn
    td = verified.quote.td
    if svn is not None and td is not None:
        need = bytes.fromhex(svn)
        ledger.check(
            "tee-tcb-svn",
            all(h >= n for h, n in zip(td.tee_tcb_svn, need, strict=True)),
            lambda: f"{td.tee_tcb_svn.hex()} does not reach {svn}",
        )


def _check_status(tcb: TcbEvaluation, policy: Policy, at: datetime, ledger: Ledger) -> None:
    if tcb.current is TcbStatus.REVOKED:
        ledger.failed("tcb-status", "Revoked is the TCB now loaded beneath the TD")
    elif tcb.status in policy.accepted_tcb_statuses:
        ledger.passed("tcb-status", f"TCB status {tcb.status}: accepted by the policy")
    elif tcb.status in _GRACEFUL and _within_grace(tcb, policy, at):
        ledger.passed(
            "tcb-status",
            f"TCB status {tcb.status}, TCB date {tcb.date:%Y-%m-%d}: within the platform grace period",
        )
    else:
        ledger.failed(
            "tcb-status",
            f"{tcb.status} (TCB date {tcb.date:%Y-%m-%d}); the policy accepts "
            + ", ".join(policy.accepted_tcb_statuses),
        )


def _within_grace(tcb: TcbEvaluation, policy: Policy, at: datetime) -> bool:
    grace = duration(policy.platform_grace_period, "platform_grace_period")
    return bool(grace) and at - tcb.date <= grace


def _check_platform(verified: VerifiedQuote, policy: Policy, ledger: Ledger) -> None:
    """5.9 the platform's configuration, where the policy does not accept either."""
    pck = verified.pck.extensions
    # Under the Processor CA a machine has one package: none can be added, no keys are kept.
    single = "Processor" in verified.pck.chain[1].common_name
    for code, fact, allowed, what in (
        ("platform-dynamic", pck.dynamic_platform, policy.allow_dynamic_platform, "is dynamic"),
        ("platform-cached-keys", pck.cached_keys, policy.allow_cached_keys, "has cached keys"),
        ("platform-smt", pck.smt_enabled, policy.allow_smt, "has SMT enabled"),
    ):
        known = False if fact is None and single and code != "platform-smt" else fact
        unknown = f"the PCK certificate does not say whether the platform {what}"
        ledger.check(code, allowed or known is False, unknown if known is None else f"it {what}")


def _check_identity(quote: Quote, policy: Policy, ledger: Ledger) -> str | None:
    """5.10 - 5.17 what runs; the name of the release it is."""
    body = quote.body
    if body.debug and policy.allow_debug:
        ledger.passed("debug", "it runs in debug mode: accepted by the policy")
    else:
        ledger.check("debug", not body.debug, "it runs in debug mode")
    if isinstance(body, TdReport10):
        _check_td(body, policy, ledger)
    if any(getattr(policy, claim) is not None for claim in MASKED_OF_TEE[quote.tee]):
        wrong = masked_mismatches(policy, claims_of(quote), MASKED_OF_TEE[quote.tee])
        ledger.check("attributes", not wrong, "; ".join(wrong))
    expected = policy.expected_report_data
    if expected is not None:
        ledger.check(
            "report-data",
            body.report_data == expected,
            lambda: f"they are {body.report_data.hex()}, not {expected.hex()}",
        )
    if policy.identity == ANY_IDENTITY:
        return None
    if not ledger.check(
        "identity-pinned",
        bool(policy.releases),
        "no identity was given: nothing says which enclave or TD is wanted",
    ):
        return None
    return _match_release(claims_of(quote), policy, ledger)


def _match_release(facts: Mapping[str, Any], policy: Policy, ledger: Ledger) -> str | None:
    reasons = []
    for release in policy.releases:
        differences = release.mismatches(facts)
        if not differences:
            ledger.passed("identity", f'identity: release "{release.name}"')
            return release.name
        reasons.append(f'not release "{release.name}": {"; ".join(differences)}')
    shown = reasons[:5] + ([f"and {len(reasons) - 5} more"] if len(reasons) > 5 else [])
    ledger.failed("identity", " | ".join(shown))
    return None


def _check_td(body: TdReport10, policy: Policy, ledger: Ledger) -> None:
    bits = body.td_attribute_bits
    refused = []
    if not bits & TD_ATTRIBUTES["SEPT_VE_DISABLE"] and not policy.allow_sept_ve:
        refused.append("SEPT_VE_DISABLE is off (allow_sept_ve)")
    if bits & TD_ATTRIBUTES["MIGRATABLE"] and not policy.allow_migratable:
        refused.append("MIGRATABLE is on (allow_migratable)")
    ledger.check("td-attributes", not refused, "; ".join(refused))
    ledger.check(
        "seam",
        not any(body.mr_signer_seam) and not any(body.seam_attributes),
        "MRSIGNERSEAM or SEAMATTRIBUTES are not zero: not Intel's module",
    )
    if isinstance(body, TdReport15):
        bound = any(body.mr_service_td)
        if isinstance(body, TdReport15Ex):
            bound |= any(body.init_servtd_hash) or any(body.cur_servtd_hash)
        if bound and policy.allow_service_td:
            ledger.passed("service-td", "a service TD is bound: accepted by the policy")
        else:
            ledger.check(
                "service-td",
                not bound,
                lambda: f"a service TD is bound (MRSERVICETD {body.mr_service_td.hex()})",
            )
