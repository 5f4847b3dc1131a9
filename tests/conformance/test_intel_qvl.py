"""What Intel's own QVL said of each vector (its statuses stand in the manifests), and what we say.

dcap accepts what QVL accepts and refuses what it refuses, for at least its reasons; where dcap is
stricter or pins otherwise, `divergences.toml` says why. `Check.qvl` is the map between the two.
"""

from conformance.divergences import reason
from dcap import Policy, appraise
from dcap.appraisal.policy import ACCEPTABLE
from dcap.appraisal.result import AttestationResult
from dcap.verification import INTEL_SGX_ROOT
from worlds import Vector, each_vector

ANY = Policy(
    accepted_tcb_statuses=ACCEPTABLE,
    identity="any",
    allow_debug=True,
    allow_sept_ve=True,
    allow_migratable=True,
    allow_service_td=True,
)
#: QVL statuses under which a quote is genuine, whatever its platform's state.
GENUINE = {
    "STATUS_OK",
    "STATUS_TCB_OUT_OF_DATE",
    "STATUS_TCB_CONFIGURATION_NEEDED",
    "STATUS_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED",
    "STATUS_TCB_SW_HARDENING_NEEDED",
    "STATUS_TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED",
    "STATUS_TCB_TD_RELAUNCH_ADVISED",
    "STATUS_TCB_TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED",
}
UNREADABLE = "STATUS_UNSUPPORTED_QUOTE_FORMAT"


def judge(vector: Vector) -> AttestationResult:
    """The vector under the root it is of."""
    own = vector.manifest["kind"] == "custom-root"
    anchor = vector.anchor if own else INTEL_SGX_ROOT
    return appraise(vector.quote, vector.collateral, ANY, at=vector.at, anchor=anchor)


def said_by_intel(vector: Vector) -> set[str]:
    """QVL's refusals of PCK chain, TCB info, QE identity and quote; empty where it refused none."""
    said = vector.manifest["intel_qvl"]
    names = {said.get(f"{step}_name") or said[step] for step in ("pck", "tcb", "qe", "quote")}
    return {str(name) for name in names} - GENUINE


@each_vector("verifiable", "negative", "custom-root")
def test_what_intel_refuses_is_refused_for_its_reasons(vector: Vector) -> None:
    """Each status with which QVL refuses is that of one of our findings; what it accepts, we accept."""
    refusals = said_by_intel(vector)

    result = judge(vector)

    found = {f.check.qvl if f.check else UNREADABLE for f in result.failures}
    if reason("intel-qvl", vector.name) is None:
        assert refusals <= found
        assert result.accepted == (not refusals)
    else:
        assert result.accepted != (not refusals), f"{vector.name} no longer diverges"


@each_vector("verifiable")
def test_supplemental_facts_are_intels(vector: Vector) -> None:
    """Evaluation number, TCB level date and the documents' dates are those that QVL reported."""
    said = vector.manifest["intel_qvl"]

    result = judge(vector)

    facts = result.supplemental()
    if facts is None:
        assert result.tcb_status == "TCB_NOT_SUPPORTED"
        return
    assert result.verified is not None
    endorsements = result.verified.endorsements
    documents = (endorsements.tcb_info, endorsements.qe_identity)
    assert facts.tcb_eval_ref_num == said["eval"]
    assert facts.tcb_level_date_tag.timestamp() == said["launch_date"]
    assert min(d.issue_date for d in documents).timestamp() == said["issue_min"]
    assert max(d.issue_date for d in documents).timestamp() == said["issue_max"]
    assert min(d.next_update for d in documents).timestamp() == said["exp"]
