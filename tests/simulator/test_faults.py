"""Every fault has a check, every check a fault: the simulator's table against the verifier's.

The two never import each other; they meet here. Truth, one change, one consequence.
"""

from datetime import UTC, datetime

import pytest

from dcap import AttestationResult, Policy, appraise
from dcap.cli.vocabulary import ERROR_CODES
from dcap.simulator import World
from dcap.simulator.faults import (
    FAULTS,
    ODDITIES,
    Case,
    Fault,
    certificate_faults,
    collateral_faults,
    evidence_faults,
    identity_faults,
    oddities,
    quote_faults,
    tcb_faults,
)
from dcap.simulator.intel import Revocation
from dcap.verification import TrustAnchor
from dcap.verification.checks import CHECKS, EXIT_STATUS, FORMAT
from worlds import need_vector, vector_names

STEPS = (
    evidence_faults,
    collateral_faults,
    certificate_faults,
    quote_faults,
    tcb_faults,
    identity_faults,
)
#: Codes of `CHECKS` that no departure of the world can trip.
POLICY_ALONE = {
    "identity-pinned": "it is the relying party who names nobody, whatever the world is like",
}
#: Readers' codes of evidence that no fault trips.
NEVER_FOUND = {
    "conclave-magic": "what does not begin as Conclave's object is not taken for one",
    "open-enclave-version": "what does not begin as Open Enclave's report is not taken for one",
    "open-enclave-custom-claims": "claims are bound as bytes, and need not be a list of claims",
    "open-enclave-report-truncated": "a header that is cut is not taken for a report's",
    "open-enclave-evidence-truncated": "a header that is cut is not taken for evidence's",
    "open-enclave-custom-claims-truncated": "claims are bound as bytes",
}
CONTAINERS = ("quote-", "evidence-", "conclave-", "open-enclave-")


@pytest.fixture(scope="module")
def simulated() -> World:
    """The world in which the faults happen; none of them changes it."""
    return World("faults")


def judged(world: World, case: Case, fault: Fault) -> AttestationResult:
    """The judgement on a case under the policy of its fault."""
    anchor = TrustAnchor.insecure_test_root(world.intel.root.certificate)
    policy = Policy.from_toml(fault.policy)
    return appraise(case.quote, case.collateral, policy, at=case.at, anchor=anchor)


def failed(result: AttestationResult) -> set[str]:
    """The codes of the checks that failed."""
    return {finding.code for finding in result.failures}


def exit_status(fault: Fault) -> int:
    """The status of the gravest of a fault's codes, by the table of checks."""
    codes = (fault.finding, *fault.also)
    kinds = (CHECKS[code].kind if code in CHECKS else FORMAT for code in codes)
    return min(EXIT_STATUS[kind] for kind in kinds)


def code_in_table(fault: Fault) -> str:
    """The row of `CHECKS` that a fault's finding stands for: readers' codes are step 1.1's."""
    return fault.finding if fault.finding in CHECKS else "evidence-format"


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_trips_exactly_its_finding(simulated: World, name: str) -> None:
    """The truth is accepted; the fault fails its check and nothing but what it names."""
    fault = FAULTS[name]

    truth = judged(simulated, fault.truth(simulated), fault)
    result = judged(simulated, fault.make(simulated), fault)

    assert (failed(truth), truth.exit_status, truth.accepted) == (set(), 0, True)
    assert failed(result) == {fault.finding, *fault.also}
    assert (result.verdict, result.exit_status) == ("rejected", exit_status(fault))
    assert result.trust_root == "simulated"


@pytest.mark.parametrize("name", ODDITIES)
def test_what_is_odd_and_harmless_is_accepted(simulated: World, name: str) -> None:
    """Each oddity differs from the truth in its bytes and not in its verdict."""
    oddity = ODDITIES[name]
    truth, case = oddity.truth(simulated), oddity.make(simulated)

    result = judged(simulated, case, oddity)

    assert case != truth
    assert failed(result) == set()
    assert result.tcb_status == "UpToDate"


def test_every_check_is_tripped_by_a_fault() -> None:
    """A code that enters the table of checks needs a fault, or a reason why there is none."""
    tripped = {code_in_table(fault) for fault in FAULTS.values()}

    assert set(CHECKS) - tripped == set(POLICY_ALONE)


def test_every_refusal_of_evidence_is_tripped_by_a_fault() -> None:
    """A code with which evidence is unreadable needs a fault, or a reason why there is none."""
    refusals = {c for c, row in ERROR_CODES.items() if c.startswith(CONTAINERS) and row[0] == 2}
    tripped = {fault.finding for fault in FAULTS.values()}

    assert refusals - tripped == set(NEVER_FOUND)


def test_no_fault_names_an_unknown_code() -> None:
    """Every code that a fault names is a check's or a reader's."""
    known = {*CHECKS, *(code for code in ERROR_CODES if code.startswith(CONTAINERS))}

    assert {c for f in FAULTS.values() for c in (f.finding, *f.also)} <= known
    assert all(f.finding not in f.also for f in FAULTS.values())
    assert {f.finding for f in ODDITIES.values()} == {""}


def test_names_and_sentences_tell_faults_apart() -> None:
    """No two faults share a name or a sentence, and each sentence is one."""
    everything = [fault for step in STEPS for fault in step.FAULTS] + list(oddities.ODDITIES)

    assert len(FAULTS) + len(ODDITIES) == len({fault.name for fault in everything})
    assert len(everything) == len({fault.name for fault in everything})
    assert len(everything) == len({fault.sentence for fault in everything})
    assert all(f.sentence[0].isupper() and f.sentence[-1] == "." for f in everything)


def test_faults_stand_in_the_order_of_the_procedure() -> None:
    """The first fault of each check stands after the first faults of all earlier checks."""
    places = {code: tuple(map(int, check.step.split("."))) for code, check in CHECKS.items()}
    first: dict[tuple[int, ...], int] = {}
    for number, fault in enumerate(FAULTS.values()):
        first.setdefault(places[code_in_table(fault)][:2], number)

    assert list(first) == sorted(first)


def test_faults_leave_the_world_as_it_is() -> None:
    """Making every fault changes nothing in the world, and making it again gives the same bytes."""
    world, untouched = World("as it is"), World("as it is")
    cases = {name: fault.make(world) for name, fault in FAULTS.items()}

    assert world.platforms == {}
    assert world.intel.revoked == untouched.intel.revoked
    assert world.intel.generations == untouched.intel.generations
    assert (world.at, world.intel.early) == (untouched.at, untouched.intel.early)
    assert all(fault.make(untouched) == cases[name] for name, fault in FAULTS.items())


def test_faults_of_another_world_trip_the_same(simulated: World) -> None:
    """Seed, day and year do not matter: on the last day of a leap year every fault is the same."""
    other = World("another seed", at=datetime(2028, 12, 31, 23, 59, 59, tzinfo=UTC))
    for fault in FAULTS.values():
        assert judged(other, fault.truth(other), fault).accepted, fault.name
        found = failed(judged(other, fault.make(other), fault))
        assert found == {fault.finding, *fault.also}, fault.name


def test_faults_do_not_depend_on_what_happened_in_the_world(simulated: World) -> None:
    """After a recovery, a revoked signer and a retired number the faults are the same bytes."""
    eventful = World("faults")
    recovered = eventful.intel.generation().recovered(eventful.at, "INTEL-SA-90000")
    eventful.intel.generations[recovered.number] = recovered
    eventful.intel.early = eventful.intel.standard = recovered.number
    signer = eventful.intel.tcb_signing.certificate.serial
    eventful.intel.revoked["root"].append(Revocation(signer, eventful.at))

    for fault in FAULTS.values():
        assert fault.make(eventful) == fault.make(simulated), fault.name


# What the table must cover

#: Negative vector -> the fault that is its like.
NEGATIVES = {
    "neg-sgx-attkey-flip": "attestation-key-altered",
    "neg-sgx-authlen-short": "quote-authentication-too-short",
    "neg-sgx-crl-sig-flip": "pck-crl-altered",
    "neg-sgx-header-userdata-flip": "header-user-data-altered",
    "neg-sgx-keytype-3": "quote-key-type-p384",
    "neg-sgx-other-fmspc": "tcb-info-of-another-fmspc",
    "neg-sgx-qe-authdata-flip": "authentication-data-altered",
    "neg-sgx-qe-report-flip": "qe-report-altered",
    "neg-sgx-qe-report-sig-flip": "qe-report-signature-altered",
    "neg-sgx-qeid-sig-flip": "qe-identity-by-a-thief",
    "neg-sgx-quote-sig-flip": "quote-signature-altered",
    "neg-sgx-report-data-flip": "report-data-altered",
    "neg-sgx-rootcrl-sig-flip": "root-ca-crl-altered",
    "neg-sgx-tcbinfo-expired": "collateral-forty-days-old",
    "neg-sgx-tcbinfo-flip": "tcb-info-altered",
    "neg-sgx-tcbinfo-reserialised": "tcb-info-reserialised",
    "neg-sgx-td-qeidentity": "qe-identity-of-the-td-qe",
    "neg-sgx-tee-swap": "quote-v3-of-tdx",
    "neg-sgx-trailing-16": "quote-with-a-trailer",
    "neg-sgx-truncated-1": "quote-cut-by-one-byte",
    "neg-sgx-truncated-half": "quote-cut-in-half",
    "neg-sgx-vendor-id": "qe-of-another-vendor",
    "neg-sgx-version-9": "quote-of-version-9",
    "neg-tdx-sgx-tcbinfo": "tcb-info-of-sgx",
    "neg-tdx4-attkey-flip": "attestation-key-altered",
    "neg-tdx4-authlen-huge": "quote-of-four-gigabytes",
    "neg-tdx4-authlen-short": "quote-authentication-too-short",
    "neg-tdx4-header-userdata-flip": "header-user-data-altered-tdx",
    "neg-tdx4-keytype-3": "quote-key-type-p384",
    "neg-tdx4-qe-authdata-flip": "authentication-data-altered-tdx",
    "neg-tdx4-qe-report-flip": "qe-report-altered-tdx",
    "neg-tdx4-qe-report-sig-flip": "qe-report-signature-altered",
    "neg-tdx4-quote-sig-flip": "quote-signature-altered-tdx",
    "neg-tdx4-report-data-flip": "report-data-altered-tdx",
    "neg-tdx4-sig-zero": "quote-signature-of-zeros-tdx",
    "neg-tdx4-tee-swap": "quote-tdx-as-sgx",
    "neg-tdx4-trailing-16": "quote-with-a-trailer",
    "neg-tdx4-truncated-1": "quote-cut-by-one-byte",
    "neg-tdx4-truncated-half": "quote-cut-in-half",
    "neg-tdx4-vendor-id": "qe-of-another-vendor-tdx",
    "neg-tdx4-version-9": "quote-of-version-9",
}

#: Pitfall of the reference -> its faults and oddities, or why there are none.
PITFALLS: dict[int, tuple[str, ...] | str] = {
    1: ("qe-identity-by-a-thief", "qe-identity-altered"),
    2: ("qe-of-another-vendor",),
    3: ("tdx-module-of-another-signer", "tdx-module-of-another-signer-1-0",
        "tdx-module-with-attributes", "tdx-module-out-of-date"),
    4: ("platform-outofdate-sgx", "platform-revoked-sgx"),
    5: ("tcb-levels-lowest-first", "levels-unsorted"),
    6: ("tcb-info-of-15-components", "tcb-info-of-17-components"),
    7: ("quote-of-four-gigabytes", "quote-authentication-too-long", "pck-chain-of-3000-elements"),
    8: ("pck-chain-replaced-by-a-ppid-of-type-1", "pck-chain-replaced-by-a-ppid-of-type-2",
        "pck-chain-replaced-by-a-ppid-of-type-3", "pck-leaf-beside-the-other-ca", "leaf-alone"),
    9: ("tcb-info-expired", "qe-identity-expired", "tcb-info-of-tomorrow",
        "qe-identity-of-tomorrow"),
    10: ("revoked-in-its-sgx-half-alone", "revoked-in-its-tdx-half-alone"),
    11: ("tcb-info-of-sgx", "tcb-info-of-tdx", "qe-identity-of-the-sgx-qe"),
    12: ("pck-crl-is-missing", "root-ca-crl-is-missing", "pck-crl-by-a-thief"),
    13: ("relaunch-of-a-revoked-td", "relaunch-without-need", "relaunch-of-no-use"),
    14: ("tcb-info-reserialised", "tcb-info-member-twice", "tcb-info-response-twice"),
    15: ("qe-measurements-swapped", "qe-of-another-signer", "qe-of-another-product"),
    16: ("forged-world",),
    17: ("pck-crl-of-another-key", "pck-crl-of-another-name", "pck-crl-without-an-end"),
    18: ("report-instead-of-a-quote",),
    19: ("enclave-in-debug", "td-in-debug", "seam-signer-that-a-document-names",
         "td-without-sept-ve-disable", "td-migratable", "td-with-a-service-td"),
    20: ("quote-outer-certification-type-5",),
    21: ("quote-with-a-trailer", "quote-padded-with-zeros"),
    22: ("pck-chain-of-another-root", "pck-chain-spells-its-curve",
         "chain-with-another-edition-of-the-root"),
    23: ("pck-chain-has-one-too-many", "tcb-info-chain-is-the-root-alone", "tcb-info-by-the-root",
         "pck-issued-by-the-tcb-signer", "tcb-info-chain-may-do-what-it-must-not"),
    24: ("qe-report-with-a-tail", "quote-signature-of-zeros", "quote-signature-of-the-order",
         "attestation-key-off-the-curve"),
    25: ("root-ca-crl-expired", "pck-crl-expired"),
    26: ("module-below-the-level",),
    27: ("evaluation-number-rolled-back", "evaluation-number-of-one-rolled-back"),
    28: "a way to call a verifier; nothing departs",
    29: ("signature-malleated",),
    30: ("token-instead-of-a-quote",),
    31: ("quote-of-four-gigabytes",),
    32: ("configuration-lost-by-severity",),
}  # fmt: skip

#: What developers could test nowhere -> its faults, or whose it is.
UNTESTABLE: dict[str, tuple[str, ...] | str] = {
    "OutOfDate to UpToDate after a TCB recovery": ("tcb-recovered",),
    "advisory only in early": ("advisory-only-in-early", "tcb-recovered-early"),
    "revoked PCK": ("pck-revoked", "pck-revoked-single-package"),
    "expired or stale collateral": ("collateral-forty-days-old", "collateral-stale"),
    "PCCS 404/461/462/5xx and slow": "on the wire: `simulator.wire_faults`",
    "PCK selection among many TCB levels": ("pck-of-a-lower-tcb", "pck-of-a-higher-tcb"),
    "Processor against Platform CA": ("pck-crl-of-the-other-ca", "pck-leaf-beside-the-other-ca"),
    "TD relaunch": ("platform-tdrelaunchadvised-tdx", "relaunch-of-no-use"),
    "QE identity out of date while the platform is fine": ("qe-out-of-date",),
    "encrypted-PPID quotes": ("pck-chain-replaced-by-a-ppid-of-type-3",),
    "clock skew": ("clock-behind", "collateral-forty-days-old"),
    "rotated MRENCLAVE": ("enclave-rotated",),
    "a relying party that meets a debug enclave": ("enclave-in-debug", "td-in-debug"),
    "a failing second endpoint": "on the wire: `simulator.wire_faults`",
}


@pytest.mark.parametrize("name", NEGATIVES)
def test_a_negative_vector_fails_as_its_fault_does(name: str) -> None:
    """The altered real quote is refused for the finding of the simulated fault of its kind."""
    vector = need_vector(name)

    result = appraise(vector.quote, vector.collateral, Policy(identity="any"), at=vector.at)

    assert FAULTS[NEGATIVES[name]].finding in failed(result)


def test_every_negative_vector_has_a_fault_of_its_kind() -> None:
    """A negative vector that is added needs a fault that is its like."""
    if not vector_names():
        pytest.skip("no vectors (set DCAP_VECTORS)")

    assert set(vector_names("negative")) <= set(NEGATIVES)


@pytest.mark.parametrize("table", [PITFALLS, UNTESTABLE], ids=["pitfalls", "untestable"])
def test_what_others_got_wrong_is_in_the_table(table: dict[object, tuple[str, ...] | str]) -> None:
    """Every pitfall, and every case that could be tested nowhere, has faults or a reason."""
    named = {name for row in table.values() if isinstance(row, tuple) for name in row}

    assert named <= {*FAULTS, *ODDITIES}
    assert all(table.values())


def test_every_pitfall_is_considered() -> None:
    """The reference counts 32 pitfalls; none is left out."""
    assert sorted(PITFALLS) == list(range(1, 33))
