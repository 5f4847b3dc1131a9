"""The appraiser: time, grace and age at their edges; what a result is made of and always carries."""

from datetime import UTC, date, datetime, timedelta

import pytest
from judgements import ANY, failed, hardening, judge, out_of_date

from dcap import Collateral, ConfigError, Evidence, NotFound, Policy, Quote, Release, appraise
from dcap import check_endorsements as endorse
from dcap.appraisal.appraiser import apply_policy
from dcap.formats.certificate import Certificate
from dcap.verification import verify
from dcap.verification.checks import CHECKS
from departures import World
from worlds import AT, anchor_of, collateral_of

SECOND = timedelta(seconds=1)
#: When the simulator's documents and PCK CRLs were issued, and when they expire.
ISSUED, EXPIRY = AT - timedelta(days=1), AT + timedelta(days=29)
#: TCB dates of the simulator's levels.
DATES = {
    "UpToDate": datetime(2025, 3, 13, tzinfo=UTC),
    "OutOfDate": datetime(2024, 3, 13, tzinfo=UTC),
}
ORDER = {code: place for place, code in enumerate(CHECKS)}


def any_identity(**settings: object) -> Policy:
    """A policy that accepts any identity, with more settings."""
    return Policy(identity="any", **settings)  # type: ignore[arg-type]


# ── edges of time ───────────────────────────────────────────────────────────────────────────────


def test_collateral_is_good_until_the_second_of_its_expiry(world: World) -> None:
    """At the very instant of the next update collateral is good; a second later it is not."""
    expired = ["root-ca-crl-expiry", "pck-crl-expiry", "tcb-info-expiry", "qe-identity-expiry"]
    collateral = world.collateral(root_ca_crl_next_update=EXPIRY)
    assert judge(world, at=EXPIRY, collateral=collateral).accepted
    late = judge(world, at=EXPIRY + SECOND, collateral=collateral)
    assert sorted(failed(late)) == sorted(expired)


def test_the_very_second_of_expiry_is_not_grace(world: World) -> None:
    """At the instant of the next update collateral has not expired, and no finding says so."""
    collateral = world.collateral(root_ca_crl_next_update=EXPIRY)
    result = judge(world, at=EXPIRY, collateral=collateral)
    told = [f.message for f in result.findings if f.code.endswith("-expiry")]
    assert len(told) == 8
    assert [message for message in told if "expired at" in message or "grace" in message] == []
    assert result.to_dict()["collateral"]["expired"] is False


def test_collateral_grace_lasts_to_its_last_second(world: World) -> None:
    """Expired collateral is accepted for exactly the grace period, and the findings say so."""
    policy = any_identity(collateral_grace_period="2h")
    last = EXPIRY + timedelta(hours=2)
    within = judge(world, policy, at=last)
    assert within.accepted
    assert any("within the policy's grace period" in f.message for f in within.findings)
    assert not judge(world, policy, at=last + SECOND).accepted


def test_platform_grace_lasts_to_its_last_second(world: World) -> None:
    """An OutOfDate platform is accepted until its TCB date plus the grace period."""
    days = (AT - DATES["OutOfDate"]).days
    policy = any_identity(platform_grace_period=f"{days}d")
    quote = world.quote(pck=out_of_date(world))
    assert judge(world, policy, quote=quote).accepted
    assert failed(judge(world, policy, quote=quote, at=AT + SECOND)) == ["tcb-status"]


def test_platform_grace_counts_from_the_older_of_platform_and_qe(world: World) -> None:
    """A QE out of date since 2024 is judged by its own date, not by the platform's of 2025."""
    quote = world.quote(qe_isvsvn=6)
    of_platform = any_identity(platform_grace_period=f"{(AT - DATES['UpToDate']).days}d")
    of_qe = any_identity(platform_grace_period=f"{(AT - DATES['OutOfDate']).days}d")
    assert failed(judge(world, of_platform, quote=quote)) == ["tcb-status", "qe-status"]
    assert judge(world, of_qe, quote=quote).accepted


def test_platform_grace_is_for_out_of_date_alone(world: World) -> None:
    """No grace makes SWHardeningNeeded acceptable: that is not a matter of time."""
    policy = any_identity(platform_grace_period="5000d")
    assert failed(judge(world, policy, quote=world.quote(pck=hardening(world)))) == ["tcb-status"]


def test_collateral_age_ends_with_its_last_second(world: World) -> None:
    """Collateral issued a day ago is accepted under "1d" now, and a second later no more."""
    policy = any_identity(maximum_collateral_age="1d")
    assert judge(world, policy).accepted
    old = judge(world, policy, at=AT + SECOND)
    assert failed(old) == ["collateral-age"]
    assert all(name in old.failures[0].message for name in ("tcb-info", "qe-identity", "pck-crl"))


def test_the_root_crl_may_be_older_than_the_collateral_age(world: World) -> None:
    """Intel renews the root CA's list once a year: its age is not asked."""
    collateral = world.collateral(root_ca_crl_this_update=AT - timedelta(days=300))
    assert judge(world, any_identity(maximum_collateral_age="1d"), collateral=collateral).accepted


def test_collateral_of_the_future_is_false_not_early(world: World) -> None:
    """A document issued after the instant of the verdict fails the truth of it (exit 3)."""
    collateral = world.collateral(root_ca_crl_this_update=ISSUED)
    result = judge(world, at=ISSUED - SECOND, collateral=collateral)
    assert result.exit_status == 3
    assert {"root-ca-crl-validity-start", "tcb-info-validity-start"} <= set(failed(result))


@pytest.mark.parametrize(
    ("least", "accepted"),
    [
        (date(2025, 3, 13), True),
        (date(2025, 3, 14), False),
        (datetime(2025, 3, 13, tzinfo=UTC), True),
        (datetime(2025, 3, 13, 0, 0, 1, tzinfo=UTC), False),
        (datetime(2025, 3, 13), True),  # noqa: DTZ001 - a policy may leave the zone out: UTC
    ],
)
def test_minimum_tcb_date_includes_its_day(world: World, least: date, *, accepted: bool) -> None:
    """A TCB of the very day (or instant) is accepted; one before it is not."""
    assert judge(world, any_identity(minimum_tcb_date=least)).accepted is accepted


@pytest.mark.parametrize(
    ("info", "identity", "accepted"), [(20, 20, True), (20, 19, False), (19, 20, False)]
)
def test_the_lower_evaluation_number_decides(
    world: World, info: int, identity: int, *, accepted: bool
) -> None:
    """TCB info and QE identity must both reach the minimum: one old document is enough to fail."""
    collateral = world.collateral(tcb_info_evaluation=info, qe_identity_evaluation=identity)
    result = judge(world, any_identity(minimum_evaluation_number=20), collateral=collateral)
    assert result.accepted is accepted


@pytest.mark.parametrize(
    ("svn", "accepted"), [("0601080000", True), ("0601090000", False), ("0002", False)]
)
def test_every_byte_of_the_tee_tcb_svn_must_reach(
    world: World, svn: str, *, accepted: bool
) -> None:
    """The comparison is byte by byte: a higher module version does not make up for a lower loader."""
    policy = any_identity(minimum_tee_tcb_svn=svn.ljust(32, "0"))
    assert judge(world, policy, tee="tdx").accepted is accepted


# ── all findings, in order ──────────────────────────────────────────────────────────────────────


def test_every_failure_is_listed_not_only_the_first(world: World) -> None:
    """Five things wrong with one quote are five findings."""
    quote = world.quote(pck=out_of_date(world), body={"attributes": b"\x07"})
    policy = Policy(
        report_data="01",
        minimum_evaluation_number=99,
        releases=(Release(name="v1", mrenclave="ab" * 32),),
    )
    result = judge(world, policy, quote=quote)
    wrong = ["tcb-status", "evaluation-number", "debug", "report-data", "identity"]
    assert sorted(failed(result)) == sorted(wrong)


def test_failures_of_quote_and_collateral_are_listed_together(world: World) -> None:
    """A forged quote under forged collateral: neither hides the other."""
    quote = world.quote(signing_key=world.key("another"))
    collateral = world.collateral(tcb_info_key=world.key("another"))
    assert failed(judge(world, quote=quote, collateral=collateral)) == [
        "tcb-info-signature",
        "quote-signature",
    ]


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
@pytest.mark.parametrize("at", [AT, EXPIRY + SECOND])
def test_findings_stand_in_the_order_of_the_procedure(world: World, tee: str, at: datetime) -> None:
    """The findings, good and bad, are in the order of the table of checks."""
    policy = Policy(
        releases=(Release(name="v1", mrsigner="ab" * 32),),
        report_data="01",
        maximum_collateral_age="1d",
        minimum_evaluation_number=1,
    )
    codes = [finding.code for finding in judge(world, policy, tee=tee, at=at).findings]
    assert codes == sorted(codes, key=ORDER.__getitem__)


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_no_check_runs_twice(world: World, tee: str) -> None:
    """Each code stands at most once among the findings."""
    codes = [finding.code for finding in judge(world, tee=tee).findings]
    assert len(codes) == len(set(codes))


def test_the_gravest_failure_decides_the_exit_status(world: World) -> None:
    """Format before truth before TCB before identity; `reason` is of that kind."""
    forged = world.quote(signing_key=world.key("another"), pck=out_of_date(world))
    stale = world.quote(pck=out_of_date(world))
    statuses = [
        (judge(world, Policy(), quote=b"\x03\0 garbage"), 2, "evidence-unrecognised"),
        (judge(world, Policy(), quote=forged, at=EXPIRY + SECOND), 3, "quote-signature"),
        (judge(world, Policy(), quote=stale), 4, "tcb-status"),
        (judge(world, Policy()), 5, "identity-pinned"),
    ]
    for result, exit_status, reason in statuses:
        assert result.exit_status == exit_status
        assert result.reason is not None
        assert result.reason.code == reason


# ── what a result is made of ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_claims_are_there_whatever_the_verdict(world: World, tee: str) -> None:
    """A quote that is rejected, even as forged, still shows what it claims."""
    genuine = judge(world, tee=tee)
    forged = judge(world, tee=tee, quote=world.quote(tee=tee, signing_key=world.key("another")))
    assert not forged.accepted
    assert forged.claims == genuine.claims
    assert forged.to_dict()["claims"] == genuine.to_dict()["claims"] != {}


def test_unreadable_evidence_is_a_result_without_claims(world: World) -> None:
    """Bytes that are no quote are rejected (exit 2), under the code of what is wrong with them."""
    result = judge(world, quote=world.quote()[:-1])
    assert (result.verdict, result.exit_status) == ("rejected", 2)
    assert failed(result) == ["quote-truncated"]
    assert result.failures[0].step == CHECKS["evidence-format"].step
    assert result.claims == {}
    assert result.tcb_status is None


def test_unreadable_evidence_is_found_before_collateral_is_missed() -> None:
    """A file that is no quote is called so, even where no collateral was given."""
    assert appraise(b"nonsense", None, ANY, at=AT).exit_status == 2


def test_missing_collateral_is_an_error_not_a_verdict(world: World) -> None:
    """Without collateral nothing can be known: `NotFound`, not a rejection."""
    with pytest.raises(NotFound) as error:
        appraise(world.quote(), None, ANY, at=AT)
    assert (error.value.code, error.value.exit_status) == ("collateral-missing", 6)


@pytest.mark.parametrize("at", [None, datetime(2026, 1, 1)])  # noqa: DTZ001 - that is the fault
def test_an_instant_must_be_given_and_aware(world: World, at: datetime | None) -> None:
    """The pure function never asks a clock, and a naive time is not a time."""
    with pytest.raises(ConfigError, match="no-instant"):
        appraise(world.quote(), collateral_of(world.collateral()), ANY, at=at)


def test_evidence_comes_as_bytes_a_quote_or_evidence(world: World) -> None:
    """The three forms of the same evidence come to the same result."""
    data = world.quote()
    forms = (data, Quote.parse(data), Evidence.recognise(data))
    given = collateral_of(world.collateral())
    results = [appraise(form, given, ANY, at=AT, anchor=anchor_of(world)) for form in forms]
    assert results[0].to_dict() == results[1].to_dict() == results[2].to_dict()


def test_endorsements_bring_their_own_instant_and_anchor(world: World) -> None:
    """Collateral that is checked once serves many quotes, at the instant it was checked for."""
    check = endorse(collateral_of(world.collateral()), at=AT, anchor=anchor_of(world))
    result = appraise(world.quote(), check.require(), ANY)
    assert result.accepted
    assert (result.at, result.trust_root) == (AT, "simulated")


def test_checks_side_by_side_find_the_same(world: World) -> None:
    """`run` changes when signatures are computed, and nothing else."""
    for quote in (world.quote(), world.quote(signing_key=world.key("another"))):
        alone = judge(world, quote=quote)
        beside = appraise(
            quote,
            collateral_of(world.collateral()),
            ANY,
            at=AT,
            anchor=anchor_of(world),
            run=map,
        )
        assert beside.to_dict() == alone.to_dict()


def test_a_policy_is_applied_to_a_proof(world: World) -> None:
    """`apply_policy` judges a proven quote as `appraise` does, without proving it again."""
    check = endorse(collateral_of(world.collateral()), at=AT, anchor=anchor_of(world))
    proof = verify(Evidence.recognise(world.quote()), check.require()).require()
    assert apply_policy(proof, ANY).accepted
    assert failed(apply_policy(proof, Policy())) == ["identity-pinned"]


def test_nothing_is_accepted_under_intels_root_but_intels(world: World) -> None:
    """Without the test root, everything of the simulated world fails at its root (exit 3)."""
    result = appraise(world.quote(), collateral_of(world.collateral()), ANY, at=AT)
    assert result.exit_status == 3
    assert {"crl-issuer-chain-root", "tcb-info-chain-root", "pck-chain-root"} <= set(failed(result))
    assert result.trust_root == "intel"


def test_the_release_that_matched_is_named(world: World) -> None:
    """Of several releases the first that matches in full is the result's."""
    mine = Quote.parse(world.quote()).body.mr_enclave.hex()
    policy = Policy(
        releases=(
            Release(name="old", mrenclave="ab" * 32),
            Release(name="v1", mrenclave=mine),
            Release(name="also", mrenclave=mine, minimum_svn=1),
        )
    )
    result = judge(world, policy)
    assert (result.accepted, result.release) == (True, "v1")


@pytest.mark.parametrize("grace", ["collateral_grace_period", "platform_grace_period"])
def test_a_grace_beyond_the_end_of_the_calendar_is_no_crash(world: World, grace: str) -> None:
    """A grace period of twenty years is a long one, not an exception."""
    quote = world.quote(pck=out_of_date(world))
    policy = any_identity(**{grace: "1040w", "accepted_tcb_statuses": ("OutOfDate", "UpToDate")})
    of_time = judge(world, any_identity(**{grace: "1040w"}), quote=quote, at=EXPIRY)
    of_tcb = judge(world, policy, quote=quote, at=EXPIRY + SECOND)
    assert of_time.accepted is (grace == "platform_grace_period")
    assert of_tcb.accepted is (grace == "collateral_grace_period")


def test_collateral_of_another_world_is_false(world: World) -> None:
    """Collateral signed under another root proves nothing about this one."""
    stranger = World(at=AT, seed=b"stranger")
    assert judge(world, collateral=stranger.collateral()).exit_status == 3
    assert Certificate.parse(stranger.root.der).public_key != anchor_of(world).public_key


def test_collateral_with_one_unreadable_piece_is_a_result(world: World) -> None:
    """Bad collateral is found, not raised: the finding names the piece."""
    good = collateral_of(world.collateral())
    pieces = {field: getattr(good, field) for field in good.__struct_fields__}
    broken = Collateral(**{**pieces, "pck_crl": b"nonsense"})
    result = appraise(world.quote(), broken, ANY, at=AT, anchor=anchor_of(world))
    assert failed(result) == ["pck-crl-format"]
