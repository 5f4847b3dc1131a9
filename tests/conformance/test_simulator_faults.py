"""The simulator's faults before a verifier that shares no line of code with dcap: dcap-qvl (Rust).

A fault that dcap alone noticed could be a misreading that the simulator mirrors. Where dcap-qvl does
not notice one, `simulator.toml` says why. Appraisal (statuses, identity) is each verifier's own.
"""

import tomllib
from functools import cache
from pathlib import Path

import pytest

from dcap import FormatError
from dcap.simulator import World
from dcap.simulator.faults import FAULTS, ODDITIES, Fault
from dcap.simulator.faults.fault import TDX15
from dcap.verification.checks import CHECKS

TABLE = tomllib.loads(Path(__file__).with_name("simulator.toml").read_text())
#: How many there were when this was written. Never raise a number.
MOST = {"combinations": 2, "faults": 31, "oddities": 2}
#: Faults of truth, format and expiry: what no verifier may let pass.
FALSE = [
    name
    for name, fault in FAULTS.items()
    if fault.finding not in CHECKS
    or CHECKS[fault.finding].step < "5"
    or fault.finding.endswith("-expiry")
]


@cache
def world() -> World:
    """The world in which the faults happen."""
    return World("conformance")


def refused(fault: Fault, *, truth: bool = False) -> str:
    """Why dcap-qvl refuses a fault, or its truth; empty where it accepts."""
    dcap_qvl = pytest.importorskip("dcap_qvl", reason="dcap-qvl is not installed (dev group)")
    case = fault.truth(world()) if truth else fault.make(world())
    root = world().intel.root.certificate.der
    try:
        collateral = case.collateral.to_json().decode()
    except FormatError as error:  # a response that cannot even be taken apart
        return str(error)
    try:
        pieces = dcap_qvl.QuoteCollateralV3.from_json(collateral)
        dcap_qvl.verify_with_root_ca(case.quote, pieces, root, int(case.at.timestamp()))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", FALSE)
def test_another_verifier_refuses_what_is_false(name: str) -> None:
    """dcap-qvl refuses each fault of truth, format or expiry, but for those with a reason."""
    words = refused(FAULTS[name])

    assert (words == "") == (name in TABLE["faults"]), words


@pytest.mark.parametrize("name", ODDITIES)
def test_another_verifier_accepts_what_is_odd_and_harmless(name: str) -> None:
    """dcap-qvl accepts each oddity, but for those with a reason."""
    words = refused(ODDITIES[name])

    assert (words != "") == (name in TABLE["oddities"]), words


def test_another_verifier_accepts_the_truths() -> None:
    """What the faults depart from is good, so that it is the fault that dcap-qvl refuses."""
    settings = {repr(fault.setting): fault for fault in FAULTS.values()}
    unread = {name for name in settings if "container=''" not in name or "version=5" in name}
    unread -= {repr(TDX15)}

    refusals = {name for name, fault in settings.items() if refused(fault, truth=True)}

    assert repr(TDX15) in settings
    assert refusals <= unread


def test_divergences_of_the_simulator_only_shrink() -> None:
    """Every row names something that is there and has a reason; every reason is needed."""
    rows = {kind: TABLE[kind] for kind in MOST}

    assert set(rows["faults"]) <= set(FALSE)
    assert set(rows["oddities"]) <= set(ODDITIES)
    assert {why for row in rows.values() for why in row.values()} == set(TABLE["reasons"])
    assert all(len(sentence) > 40 for sentence in TABLE["reasons"].values())
    assert all(len(row) <= MOST[kind] for kind, row in rows.items())
