"""What no check looked at: the list that keeps a verdict from promising more than was checked.

Derived from the table of checks and the findings, so that it cannot be forgotten.
"""

from dcap.appraisal.policy import ANY_IDENTITY, Policy
from dcap.appraisal.reference_values import MASKED, MASKED_OF_TEE
from dcap.formats.quote import Quote
from dcap.verification.checks import CHECKS
from dcap.verification.findings import Finding

UNREADABLE = ("everything after reading the evidence: it could not be read",)
#: How a check that an earlier failure kept from running is told; `narrative` looks for it.
NOT_REACHED = ": not reached ("

#: Checks that only a TD can have.
_TDX_ONLY = {"tdx-module", "tdx-module-level", "td-attributes", "seam", "service-td"}
#: Checks that a proven quote need not have: a TD of module major version 0, a TDX 1.0 body …
_NOT_IN_EVERY_QUOTE = {"tdx-module-level", "service-td", "evidence-binding", "evidence-format"}
#: Checks that run only where a policy asks, with what their absence leaves open.
_ON_REQUEST = {
    "report-data": "report-data: the freshness of the quote (no report data were expected)",
    "identity": 'identity: any enclave or TD will do (identity = "any")',
    "identity-pinned": "",
    "collateral-age": "",
    "tcb-date": "",
    "evaluation-number": "",
    "tee-tcb-svn": "",
    "attributes": "",
}


def open_questions(
    quote: Quote, policy: Policy, findings: tuple[Finding, ...], release: str | None
) -> tuple[str, ...]:
    """Every check of the table that did not run, in its order, and what the release leaves open."""
    ran = {finding.code for finding in findings}
    proven = "debug" in ran
    found = [_why(code, quote, policy, proven=proven) for code in CHECKS if code not in ran]
    matched = next((r for r in policy.releases if r.name == release), None)
    if matched is not None:
        found += [f'{claim}: release "{matched.name}" leaves it open' for claim in matched.unpinned]
    return tuple(filter(None, found))


def _why(code: str, quote: Quote, policy: Policy, *, proven: bool) -> str:
    """Why a check did not run; empty where nothing is left open by that."""
    if code in _TDX_ONLY and quote.tee == "SGX":
        return ""
    if code in _NOT_IN_EVERY_QUOTE and (proven or code.startswith("evidence")):
        return ""
    if code == "identity" and not policy.releases and policy.identity != ANY_IDENTITY:
        return ""  # `identity-pinned` says it
    if code in _ON_REQUEST and not _asked(code, policy):
        return _ON_REQUEST[code] if proven else ""
    if code in _KEYS and (proven or not _applies(code, quote.tee, policy)):
        keys = ", ".join(key for key in _KEYS[code] if getattr(policy, key) is not None)
        return f"{code}: {keys} of the policy does not apply to {quote.tee}"
    return f"{code}{NOT_REACHED}{CHECKS[code].passed})"


#: The policy's keys behind checks that apply to one TEE alone.
_KEYS = {"tee-tcb-svn": ("minimum_tee_tcb_svn",), "attributes": tuple(MASKED)}


def _applies(code: str, tee: str, policy: Policy) -> bool:
    if code == "tee-tcb-svn":
        return tee == "TDX"
    return any(getattr(policy, key) is not None for key in MASKED_OF_TEE[tee])


def _asked(code: str, policy: Policy) -> bool:
    """Whether the policy asks for a check that runs on request only."""
    return {
        "report-data": policy.report_data is not None,
        "identity": bool(policy.releases),
        "identity-pinned": policy.identity != ANY_IDENTITY,
        "collateral-age": policy.maximum_collateral_age is not None,
        "tcb-date": policy.minimum_tcb_date is not None,
        "evaluation-number": policy.minimum_evaluation_number is not None,
        "tee-tcb-svn": policy.minimum_tee_tcb_svn is not None,
        "attributes": any(getattr(policy, claim) is not None for claim in MASKED),
    }[code]
