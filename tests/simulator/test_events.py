"""Events: each one happens in the world, and the verifier sees what it should of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from dcap import ConfigError, Policy, appraise
from dcap.formats.collateral import Collateral
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.tcb_evaluation_numbers import TcbEvaluationNumbers
from dcap.simulator import World
from dcap.simulator.events import (
    EVENTS,
    ClockAdvanced,
    ClockSet,
    CrlReissued,
    EvaluationNumberRetired,
    Event,
    IntermediateRevoked,
    PckRevoked,
    PlatformAdded,
    PlatformRegistered,
    PlatformReregistered,
    PlatformUpdated,
    RecoveryAnnounced,
    RecoveryPromoted,
    SignerRotated,
    StatusSet,
    make_event,
)
from dcap.verification import TrustAnchor

ANY = Policy(identity="any")
FIRST = 17


@pytest.fixture
def new_world() -> World:
    """A world with its first machine, which the tests change."""
    world = World("events")
    PlatformAdded().apply(world)
    return world


def judged(world: World, tee: str = "SGX", **collateral: Any) -> Any:
    """What the verifier says of the machine's quote now."""
    machine = world.platform()
    shape = {"version": 5, "body_type": 3} if tee == "TDX" else {}
    return appraise(
        machine.quote(tee=tee, **shape),
        world.collateral(machine, tee, **collateral),
        ANY,
        at=world.at,
        anchor=TrustAnchor.insecure_test_root(world.intel.root.certificate),
    )


def failures(result: Any) -> list[str]:
    """The codes of the checks that failed."""
    return [finding.code for finding in result.failures]


EXAMPLES: tuple[Event, ...] = (
    PlatformAdded("node-1", ca="processor", fmspc="00906ED50000"),
    PlatformRegistered(),
    RecoveryAnnounced(),
    RecoveryPromoted(),
    EvaluationNumberRetired(17),
    PckRevoked("node-1"),
    IntermediateRevoked("tcb-signing"),
    SignerRotated(),
    CrlReissued(),
    PlatformUpdated(part="microcode", relaunch=False),
    PlatformReregistered(),
    StatusSet("OutOfDate", part="qe"),
    ClockSet(datetime(2026, 2, 1, tzinfo=UTC)),
    ClockAdvanced(-60),
)


def test_every_event_has_an_example_and_a_name() -> None:
    """The table of events is complete: each kind of the union stands in it once."""
    assert {type(event) for event in EXAMPLES} == set(EVENTS.values())
    assert len(EVENTS) == len(EXAMPLES)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_is_json_and_back(event: Event) -> None:
    """What is kept in a file is the event itself."""
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_does_the_same_twice(event: Event) -> None:
    """The same events on the same seed give the same bytes."""

    def made() -> tuple[bytes, Collateral, datetime]:
        world = World("twice")
        PlatformAdded().apply(world)
        if not isinstance(event, PlatformAdded):
            PlatformAdded("node-1").apply(world)
        for before in EXAMPLES[: EXAMPLES.index(event)]:
            if not isinstance(before, PlatformAdded):
                before.apply(world)
        event.apply(world)
        machine = world.platform()
        return machine.quote(), world.collateral(machine, update="early"), world.at

    assert made() == made()


def test_an_announced_recovery_is_seen_by_early_collateral_alone(new_world: World) -> None:
    """Announced: early says OutOfDate and names the new advisory, standard still UpToDate."""
    RecoveryAnnounced().apply(new_world)
    early = judged(new_world, update="early")
    assert failures(early) == ["tcb-status"]
    assert early.tcb.status == "OutOfDate"
    assert "INTEL-SA-90018" in early.tcb.advisory_ids
    assert judged(new_world).accepted


def test_a_promoted_recovery_names_the_svn_that_is_short(new_world: World) -> None:
    """Promoted: standard says OutOfDate too, and which SVN must rise from 8 to 9."""
    RecoveryAnnounced().apply(new_world)
    RecoveryPromoted().apply(new_world)
    result = judged(new_world)
    assert failures(result) == ["tcb-status"]
    (short,) = result.tcb.shortfall
    assert (short.have, short.need) == (8, 9)
    assert (new_world.intel.standard, new_world.intel.early) == (FIRST + 1, FIRST + 1)


@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_an_updated_machine_is_good_again(new_world: World, tee: str) -> None:
    """After the recovery the machine is refused; updated, it is accepted under the new generation."""
    for event in (RecoveryAnnounced(), RecoveryPromoted()):
        event.apply(new_world)
    assert failures(judged(new_world, tee)) == ["tcb-status"]
    PlatformUpdated().apply(new_world)
    assert judged(new_world, tee).accepted


def test_recoveries_follow_each_other(new_world: World) -> None:
    """A second recovery demotes what the first one made UpToDate."""
    for _ in range(2):
        RecoveryAnnounced().apply(new_world)
        PlatformUpdated().apply(new_world)
        RecoveryPromoted().apply(new_world)
        assert judged(new_world).accepted
    assert new_world.intel.standard == FIRST + 2
    assert failures(judged(new_world, number=FIRST + 1)) == []
    RecoveryAnnounced().apply(new_world)
    assert failures(judged(new_world, update="early")) == ["tcb-status"]


def test_recoveries_end_where_the_byte_does(new_world: World) -> None:
    """An SVN has 8 bits; the recovery that would not fit is refused, not wrapped."""
    for _ in range(255 - 8):
        RecoveryAnnounced().apply(new_world)
    with pytest.raises(ConfigError, match="no room"):
        RecoveryAnnounced().apply(new_world)


def test_a_retired_number_is_off_the_list(new_world: World) -> None:
    """Retired: Intel's list of evaluation data numbers no longer has it."""
    for event in (RecoveryAnnounced(), RecoveryPromoted(), EvaluationNumberRetired()):
        event.apply(new_world)
    listed = TcbEvaluationNumbers.parse(
        new_world.intel.evaluation_numbers("SGX", new_world.at).body
    )
    assert [row.tcb_evaluation_data_number for row in listed.tcb_eval_numbers] == [FIRST + 1]
    assert new_world.intel.retired_below == FIRST + 1


def test_a_revoked_pck_is_refused_and_other_machines_are_not(new_world: World) -> None:
    """Revoked: that machine's PCK certificate, from the world's instant on, and no other's."""
    PlatformAdded("other").apply(new_world)
    PckRevoked().apply(new_world)
    assert failures(judged(new_world)) == ["pck-revocation"]
    assert [entry.date for entry in new_world.intel.revoked["platform"]] == [new_world.at] * 7
    other = new_world.platform("other")
    result = appraise(
        other.quote(),
        new_world.collateral(other),
        ANY,
        at=new_world.at,
        anchor=TrustAnchor.insecure_test_root(new_world.intel.root.certificate),
    )
    assert result.accepted


def test_an_old_pck_of_a_revoked_machine_is_refused_too(new_world: World) -> None:
    """A certificate below the machine's TCB, which it was issued as well, is on the list."""
    PckRevoked().apply(new_world)
    new_world.platform().set_status("SWHardeningNeeded")
    assert "pck-revocation" in failures(judged(new_world))


def test_a_machine_that_is_issued_a_new_pck_can_be_revoked_again(new_world: World) -> None:
    """The certificate of a TCB that came later is not on the list, until the event comes again."""
    for event in (PckRevoked(), RecoveryAnnounced(), RecoveryPromoted(), PlatformUpdated()):
        event.apply(new_world)
    assert judged(new_world).accepted
    PckRevoked().apply(new_world)
    assert failures(judged(new_world)) == ["pck-revocation"]


@pytest.mark.parametrize(
    ("ca", "codes"),
    [
        ("platform", ["crl-issuer-revocation", "pck-ca-revocation"]),
        ("tcb-signing", ["tcb-info-signer-revocation", "qe-identity-signer-revocation"]),
    ],
)
def test_a_revoked_intermediate_is_refused(new_world: World, ca: Any, codes: list[str]) -> None:
    """The root's list names the CA of the machines, or the signer of documents."""
    assert judged(new_world).accepted
    IntermediateRevoked(ca).apply(new_world)
    assert failures(judged(new_world))[: len(codes)] == codes


def test_revoking_one_ca_leaves_the_other(new_world: World) -> None:
    """The Processor CA's revocation says nothing of machines of the Platform CA."""
    IntermediateRevoked("processor").apply(new_world)
    assert judged(new_world).accepted


def test_a_rotated_signer_vouches_and_the_old_one_still_does(new_world: World) -> None:
    """New documents carry the new chain; what was signed before verifies with its own."""
    machine = new_world.platform()
    before = new_world.collateral(machine)
    SignerRotated().apply(new_world)
    after = new_world.collateral(machine)
    assert before.tcb_info_issuer_chain != after.tcb_info_issuer_chain
    anchor = TrustAnchor.insecure_test_root(new_world.intel.root.certificate)
    for collateral in (before, after):
        assert appraise(machine.quote(), collateral, ANY, at=new_world.at, anchor=anchor).accepted
    mixed = msgspec.structs.replace(after, tcb_info_issuer_chain=before.tcb_info_issuer_chain)
    assert not appraise(machine.quote(), mixed, ANY, at=new_world.at, anchor=anchor).accepted


def test_reissued_lists_have_higher_numbers(new_world: World) -> None:
    """Re-issued: other bytes, a higher CRL number, the same verdict."""
    before = new_world.collateral(new_world.platform())
    CrlReissued().apply(new_world)
    after = new_world.collateral(new_world.platform())
    assert before.root_ca_crl != after.root_ca_crl
    assert before.pck_crl != after.pck_crl
    assert judged(new_world).accepted


def test_an_update_without_a_relaunch_leaves_the_td_behind(new_world: World) -> None:
    """The machine is updated under a running TD: relaunch is advised, and then done."""
    for event in (RecoveryAnnounced(), RecoveryPromoted(), PlatformUpdated(relaunch=False)):
        event.apply(new_world)
    assert judged(new_world, "TDX").tcb.status == "TDRelaunchAdvised"
    PlatformUpdated().apply(new_world)
    assert judged(new_world, "TDX").accepted


@pytest.mark.parametrize("part", ["platform", "qe", "module"])
def test_a_status_is_set_and_updated_away(new_world: World, part: Any) -> None:
    """Machine, QE or module are put on OutOfDate; an update of all mends each."""
    StatusSet("OutOfDate", part=part).apply(new_world)
    assert judged(new_world, "TDX").tcb.status == "OutOfDate"
    PlatformUpdated().apply(new_world)
    assert judged(new_world, "TDX").accepted


@pytest.mark.parametrize("part", ["microcode", "qe"])
def test_an_update_of_one_part_leaves_the_others(new_world: World, part: Any) -> None:
    """With platform and QE out of date, updating one of them is not enough."""
    for event in (StatusSet("OutOfDate"), StatusSet("OutOfDate", part="qe")):
        event.apply(new_world)
    PlatformUpdated(part=part).apply(new_world)
    assert judged(new_world).tcb.status == "OutOfDate"


def test_a_reregistered_machine_is_another_instance(new_world: World) -> None:
    """A package was changed: new instance id, manifest and certificate, the same PPID; still good."""
    machine = new_world.platform()

    def identity() -> tuple[bytes | None, bytes, bytes]:
        return machine.platform_instance_id, machine.manifest, machine.pck().pem

    before, ppid = identity(), machine.ppid
    PlatformReregistered().apply(new_world)
    after = identity()
    assert all(old != new for old, new in zip(before, after, strict=True))
    extension = machine.pck().certificate.sgx_extension
    assert extension is not None
    assert PckExtensions.parse(extension).platform_instance_id == after[0]
    assert machine.ppid == ppid
    assert judged(new_world).accepted


def test_a_machine_lacks_what_it_was_added_without(new_world: World) -> None:
    """SMT off, keys not cached, not registered: the certificate and Intel know; registering helps."""
    PlatformAdded("node-1", without=("smt", "cached-keys", "registered")).apply(new_world)
    machine = new_world.platform("node-1")
    extension = machine.pck().certificate.sgx_extension
    assert extension is not None
    told = PckExtensions.parse(extension)
    assert (told.smt_enabled, told.cached_keys, told.dynamic_platform) == (False, False, True)
    assert not machine.registered
    PlatformRegistered("node-1").apply(new_world)
    assert machine.registered


def test_time_passes_until_collateral_would_have_expired(new_world: World) -> None:
    """Thirty days on, old collateral is expired and fresh one is good."""
    machine = new_world.platform()
    old = new_world.collateral(machine)
    ClockAdvanced(31 * 24 * 3600).apply(new_world)
    anchor = TrustAnchor.insecure_test_root(new_world.intel.root.certificate)
    stale = appraise(machine.quote(), old, ANY, at=new_world.at, anchor=anchor)
    assert failures(stale) == ["pck-crl-expiry", "tcb-info-expiry", "qe-identity-expiry"]
    assert judged(new_world).accepted


def test_the_clock_is_set_in_any_zone(new_world: World) -> None:
    """An instant of another zone is the same instant, to the second."""
    from_east = datetime.fromisoformat("2026-03-01T02:00:00.5+02:00")
    ClockSet(from_east).apply(new_world)
    assert new_world.at == datetime(2026, 3, 1, tzinfo=UTC)
    assert new_world.at.utcoffset() == timedelta(0)


IMPOSSIBLE: tuple[tuple[Event, str], ...] = (
    (RecoveryPromoted(), "no recovery is waiting"),
    (EvaluationNumberRetired(), "is the standard"),
    (EvaluationNumberRetired(3), "not on offer"),
    (PlatformAdded(), "already"),
    (PlatformAdded("x", fmspc="00"), "FMSPC"),
    (PlatformAdded("x", fmspc="nonsense"), "FMSPC"),
    (PckRevoked("nobody"), "no platform 'nobody'"),
    (PlatformUpdated("nobody"), "no platform"),
    (StatusSet("OutOfDate", platform="nobody"), "no platform"),
    (StatusSet("SWHardeningNeeded", part="module"), "no level"),
    (PlatformAdded("x", ca="processor", without=("smt",)), "has no smt"),
    (PlatformReregistered("single"), "one package"),
    (PlatformRegistered("single"), "one package"),
    (ClockSet(datetime(2026, 1, 1)), "zone"),  # noqa: DTZ001 - the fault itself
    (ClockSet(datetime(2300, 1, 1, tzinfo=UTC)), "2019 to 2199"),
    (ClockAdvanced(-(10**15)), "2019 to 2199"),
    (ClockAdvanced(10**12), "2019 to 2199"),
)


@pytest.mark.parametrize(("event", "why"), IMPOSSIBLE, ids=lambda given: str(given)[:40])
def test_what_cannot_happen_is_refused_and_changes_nothing(
    new_world: World, event: Event, why: str
) -> None:
    """The refusal says why, and the world is as it was."""
    PlatformAdded("single", ca="processor").apply(new_world)
    before = (new_world.at, set(new_world.platforms), new_world.platform().quote())
    with pytest.raises(ConfigError, match=why) as refused:
        event.apply(new_world)
    assert refused.value.code == "simulator-event"
    assert (new_world.at, set(new_world.platforms), new_world.platform().quote()) == before


@pytest.mark.parametrize(
    "event", [PckRevoked(), IntermediateRevoked(), IntermediateRevoked("tcb-signing")]
)
def test_nothing_is_revoked_twice(new_world: World, event: Event) -> None:
    """A list that names a serial twice would be no list of Intel's."""
    event.apply(new_world)
    with pytest.raises(ConfigError, match="revoked already"):
        event.apply(new_world)


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("nonsense", {}, "no event"),
        ("pck-revoked", {"status": "OutOfDate"}, "status"),
        ("status-set", {"status": "Fine"}, "Fine"),
        ("status-set", {}, "status"),
    ],
)
def test_an_event_by_name_keeps_to_its_fields(
    name: str, fields: dict[str, object], why: str
) -> None:
    """A name, a field or a value that is unknown is told, with those that are known."""
    with pytest.raises(ConfigError, match=why):
        make_event(name, fields)
