"""The table of checks against the simulator's faults: each check can be tripped, alone, and says why.

That each fault trips exactly its check is `tests/simulator/test_faults`'s; here the view is the
check's: what its finding tells, and where it stands.
"""

import pytest

from dcap import AttestationResult, Policy, appraise
from dcap.appraisal.policy import ACCEPTABLE
from dcap.simulator import World
from dcap.simulator.faults import FAULTS, Fault
from dcap.verification import TrustAnchor
from dcap.verification.checks import CHECKS, EXIT_STATUS

#: Evidence that cannot be read is found under the reader's own code.
FOUND_AS = {"evidence-format": "quote-truncated"}
#: No fault of the world: the policy names nobody.
POLICY_ALONE = {"identity-pinned"}
TRIPPED = sorted(set(CHECKS) - POLICY_ALONE, key=list(CHECKS).index)
ANY = Policy(identity="any", accepted_tcb_statuses=ACCEPTABLE)
STEPS = ("2.", "3.", "4.")


@pytest.fixture(scope="module")
def simulated() -> World:
    """The world in which the faults happen."""
    return World("checks")


def trip(world: World, code: str) -> tuple[Fault, AttestationResult]:
    """The first fault that trips the check and nothing else, and the judgement on it."""
    finding = FOUND_AS.get(code, code)
    fault = next(f for f in FAULTS.values() if (f.finding, f.also) == (finding, ()))
    case = fault.make(world)
    anchor = TrustAnchor.insecure_test_root(world.intel.root.certificate)
    policy = Policy.from_toml(fault.policy)
    return fault, appraise(case.quote, case.collateral, policy, at=case.at, anchor=anchor)


@pytest.mark.parametrize("code", TRIPPED)
def test_each_check_fails_alone_with_its_exit_status(simulated: World, code: str) -> None:
    """One departure fails this check and no other, with the exit status of the check's kind."""
    _, result = trip(simulated, code)

    assert [finding.code for finding in result.failures] == [FOUND_AS.get(code, code)]
    assert (result.verdict, result.accepted) == ("rejected", False)
    assert result.exit_status == EXIT_STATUS[CHECKS[code].kind]
    assert (result.verified is None) == (CHECKS[code].step < "5")


@pytest.mark.parametrize("code", TRIPPED)
def test_the_failed_finding_is_the_reason_and_says_how_to_mend_it(
    simulated: World, code: str
) -> None:
    """The result's reason is the tripped check, with its step, its values and a cure."""
    _, result = trip(simulated, code)

    reason = result.reason
    assert reason is not None
    assert reason.code == FOUND_AS.get(code, code)
    assert reason.step == CHECKS[code].step
    assert reason.message
    assert reason.message != CHECKS[code].passed
    assert reason.mend
    assert result.to_dict()["reason"] == reason.code
    assert reason.code in result.explain()


def test_a_truth_passes_every_check_of_its_steps(simulated: World) -> None:
    """For a TDX 1.5 quote every code of steps 2 to 4 is found, and found good."""
    machine = simulated.platform()
    quote = machine.quote(tee="TDX", version=5, body_type=3)
    collateral = simulated.collateral(machine, "TDX")
    anchor = TrustAnchor.insecure_test_root(simulated.intel.root.certificate)

    result = appraise(quote, collateral, ANY, at=simulated.at, anchor=anchor)

    found = {finding.code for finding in result.findings}
    assert found >= {c for c, row in CHECKS.items() if row.step.startswith(STEPS)}
    assert all(finding.ok for finding in result.findings)
    assert result.accepted


def test_steps_are_unique_and_in_order() -> None:
    """Each code has a place of its own in the procedure, and the table stands in that order."""
    places = [tuple(int(part) for part in row.step.split(".")) for row in CHECKS.values()]
    assert len(set(places)) == len(places)
    assert [place[0] for place in places] == sorted(place[0] for place in places)
