"""What no check looked at: the list that keeps a verdict from promising more than was checked.

Derived from the table of checks and the findings, so that it cannot be forgotten.
"""

from dcap.appraisal.policy import ANY_IDENTITY, Policy
from dcap.appraisal.reference_values import MASKED
from dcap.formats.quote import Quote
from dcap.verification.checks import CHECKS
from dcap.verification.findings import Finding

UNREADABLE = ("everything after reading the evidence: it could not be read",)
_TDX_ONLY = {"tdx-module", "tdx-module-level", "td-attributes", "seam", "service-td", "tee-tcb-svn"}
#: Checks that run only where a policy asks, with what their absence leaves open.
_ON_REQUEST = {
    "report-data": "report-data: the freshness of the quote (no report data were expected)",
    "identity": 'identity: any enclave or TD will do (identity = "any")',
    "collateral-age": "",
    "tcb-date": "",
    "evaluation-number": "",
    "tee-tcb-svn": "",
    "attributes": "",
    "evidence-binding": "",
}


def open_questions(
    quote: Quote, policy: Policy, findings: tuple[Finding, ...], release: str | None
) -> tuple[str, ...]:
    """Every check of the table that did not run, in its order, and what the release leaves open."""
    ran = {finding.code for finding in findings}
    proven = "debug" in ran
    found = []
    for code, check in CHECKS.items():
        if code in ran or code == "evidence-format":
            continue
        if code in _TDX_ONLY and (quote.tee == "SGX" or (code == "service-td" and proven)):
            continue
        if code == "tdx-module-level" and proven:
            continue
        if code == "identity-pinned" and policy.identity == ANY_IDENTITY:
            continue
        if code == "identity" and policy.identity != ANY_IDENTITY and proven:
            continue
        if code in _ON_REQUEST and not _asked(code, policy):
            if _ON_REQUEST[code] and proven:
                found.append(_ON_REQUEST[code])
            continue
        found.append(f"{code}: not reached ({check.passed})")
    matched = next((r for r in policy.releases if r.name == release), None)
    if matched is not None:
        found += [f'{claim}: release "{matched.name}" leaves it open' for claim in matched.unpinned]
    return tuple(found)


def _asked(code: str, policy: Policy) -> bool:
    """Whether the policy asks for a check that runs on request only."""
    return {
        "report-data": policy.report_data is not None,
        "identity": bool(policy.releases),
        "collateral-age": policy.maximum_collateral_age is not None,
        "tcb-date": policy.minimum_tcb_date is not None,
        "evaluation-number": policy.minimum_evaluation_number is not None,
        "tee-tcb-svn": policy.minimum_tee_tcb_svn is not None,
        "attributes": any(getattr(policy, claim) is not None for claim in MASKED),
    }.get(code, False)
