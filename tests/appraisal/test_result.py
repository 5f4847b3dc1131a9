"""The attestation result: its verdict cannot be misread, its names are stable, it tells no secrets."""

import json
from collections.abc import Iterator
from datetime import date, timedelta, timezone
from typing import Any

import pytest
from judgements import ANY, judge, out_of_date

from dcap import Policy, Quote, Rejected, Release
from dcap.appraisal.result import NOT_SUPPORTED
from dcap.verification.checks import CHECKS
from departures import World
from worlds import AT

ENCLAVE = """
attribute_flags attributes config_id config_svn debug isv_ext_prod_id isv_family_id misc_select
mrenclave mrsigner product_id report_data svn
"""
TRUST_DOMAIN = """
attribute_flags debug mrconfigid mrowner mrownerconfig mrseam mrsignerseam mrtd report_data rtmr0
rtmr1 rtmr2 rtmr3 seam_attributes td_attributes tee_tcb_svn xfam
"""
#: Every name in the JSON of a result, lists entered. A change here breaks somebody's script.
GOLDEN = """
schema verdict exit_status reason at trust_root policy release
evidence evidence.format evidence.containers evidence.size
tcb tcb.status tcb.advisory_ids tcb.current_advisory_ids
tcb.date tcb.platform_status tcb.qe_status tcb.tdx_module_status
tcb.launch_status tcb.current_status tcb.shortfall
tcb.shortfall.component tcb.shortfall.have tcb.shortfall.need tcb.shortfall.raised_by
platform platform.fmspc platform.pce_id platform.ca platform.sgx_type platform.pce_svn
platform.dynamic_platform platform.cached_keys platform.smt_enabled
collateral collateral.earliest_issue collateral.latest_issue collateral.earliest_expiry
collateral.earliest_expiring collateral.expired collateral.evaluation_number
collateral.tcb_info_evaluation_number collateral.qe_identity_evaluation_number
collateral.tcb_level_date collateral.platform_tcb_level_date collateral.qe_tcb_level_date
collateral.pck_crl_number collateral.root_ca_crl_number collateral.root_key_id
collateral.qe_earliest_issue collateral.qe_latest_issue collateral.qe_earliest_expiry
collateral.pieces collateral.pieces.name collateral.pieces.issued collateral.pieces.expires
collateral.sources remarks
claims findings findings.code findings.step findings.ok findings.message findings.mend not_checked
"""
#: Values that tell one machine from another, each distinct from every other.
PPID, CPU_SVN, INSTANCE = b"\xb1" * 16, b"\xc2" * 16, b"\xd3" * 16


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Every name in a JSON value, with its path."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield prefix + name
            yield from paths(member, f"{prefix}{name}.")
    elif isinstance(value, list):
        for member in value:
            yield from paths(member, prefix)


@pytest.mark.parametrize(("tee", "claims"), [("sgx", ENCLAVE), ("tdx", TRUST_DOMAIN)])
def test_the_names_in_json_are_exactly_the_golden_ones(world: World, tee: str, claims: str) -> None:
    """Names in JSON never change silently, neither by loss nor by gain."""
    quote = world.quote(
        tee=tee, pck=out_of_date(world, ca="processor" if tee == "sgx" else "platform")
    )
    document = json.loads(judge(world, tee=tee, quote=quote).to_json())
    golden = {*GOLDEN.split(), *(f"claims.{name}" for name in claims.split())}
    assert set(paths(document)) == golden


@pytest.mark.parametrize(
    ("version", "more"),
    [(4, set()), (5, {"tee_tcb_svn_2", "mrservicetd"})],
)
def test_a_td_of_1_5_claims_two_names_more(world: World, version: int, more: set[str]) -> None:
    """TDX 1.5 adds the present TEE_TCB_SVN and the service TD, under stable names."""
    result = judge(world, tee="tdx", quote=world.quote(version, tee="tdx"))
    assert set(result.to_dict()["claims"]) == {*TRUST_DOMAIN.split(), *more}


def test_the_values_in_json_are_of_the_stable_forms(world: World) -> None:
    """Words in lower case, instants in RFC 3339 of UTC, hex in lower case, numbers as numbers."""
    document = json.loads(judge(world).to_json())
    assert document["schema"] == 1
    assert document["verdict"] == "accepted"
    assert document["at"] == "2026-01-01T00:00:00Z"
    assert document["trust_root"] == "simulated"
    assert document["evidence"] == {"format": "sgx-quote-v3", "containers": [], "size": 4662}
    assert document["tcb"]["status"] == "UpToDate"
    assert document["tcb"]["date"] == "2025-03-13T00:00:00Z"
    assert document["tcb"]["advisory_ids"] == document["tcb"]["shortfall"] == []
    assert document["collateral"]["earliest_expiry"] == "2026-01-30T00:00:00Z"
    assert document["claims"]["svn"] == 3
    assert document["claims"]["mrenclave"] == Quote.parse(world.quote()).body.mr_enclave.hex()
    assert all(finding["ok"] is True for finding in document["findings"])


def test_a_rejected_result_has_the_same_top_level_names(world: World) -> None:
    """Scripts find the same names whatever the verdict, even where nothing could be read."""
    accepted, unreadable = judge(world).to_dict(), judge(world, quote=b"nonsense").to_dict()
    assert list(accepted) == list(unreadable)
    assert unreadable["verdict"] == "rejected"
    assert unreadable["evidence"] == {"format": None, "containers": [], "size": None}
    assert unreadable["reason"] == "evidence-unrecognised"
    assert set(unreadable["tcb"]) == set(accepted["tcb"])


def test_shortfall_names_every_svn_that_is_short_and_what_raises_it(world: World) -> None:
    """The way back to UpToDate: have, need, and who can raise it; reached SVNs are not listed."""
    pck = world.pck(components=(8, 2, 2, 2, 4, 1, 0, 4) + (0,) * 8, pce_svn=12)
    shortfall = judge(world, quote=world.quote(pck=pck)).to_dict()["tcb"]["shortfall"]
    assert [(short["component"], short["have"], short["need"]) for short in shortfall] == [
        ("SGX component 2", 2, 3),
        ("SGX component 8", 4, 5),
        ("PCESVN", 12, 13),
    ]
    assert all(short["raised_by"] for short in shortfall)


def test_shortfall_of_a_trust_domain_names_module_and_qe(world: World) -> None:
    """The TDX module and the QE have SVNs of their own, which others raise."""
    old_module = bytes((5, 1, 8))
    quote = world.quote(tee="tdx", body={"tee_tcb_svn": old_module}, qe_isvsvn=6)
    shortfall = judge(world, tee="tdx", quote=quote).to_dict()["tcb"]["shortfall"]
    assert [(short["component"], short["have"], short["need"]) for short in shortfall] == [
        ("TDX module TDX_01 ISVSVN", 5, 6),
        ("TD_QE ISVSVN", 6, 8),
    ]


def test_a_tcb_below_every_level_is_not_supported(world: World) -> None:
    """Where no level matches, the status is Intel's name for that, and no policy accepts it."""
    everything = Policy(
        identity="any",
        accepted_tcb_statuses=("OutOfDate", "OutOfDateConfigurationNeeded"),  # type: ignore[arg-type]
    )
    result = judge(world, everything, quote=world.quote(pck=world.pck(components=(0,) * 16)))
    assert (result.tcb_status, result.exit_status) == (NOT_SUPPORTED, 4)
    assert not result.accepted


# ── a verdict that cannot be misread ────────────────────────────────────────────────────────────


def test_a_result_has_no_truth_value(world: World) -> None:
    """`if appraise(…)` raises, accepted or not: it would fail open one day."""
    for result in (judge(world), judge(world, Policy())):
        with pytest.raises(TypeError, match=r"\.accepted"):
            bool(result)


def test_require_hands_back_what_is_accepted(world: World) -> None:
    """An accepted result passes through `require`."""
    result = judge(world)
    assert result.require() is result


def test_require_raises_with_the_whole_result(world: World) -> None:
    """A rejected one raises `Rejected`: code, mend and exit status of the gravest, all of the rest."""
    result = judge(world, Policy(minimum_evaluation_number=99))
    with pytest.raises(Rejected) as error:
        result.require()
    assert error.value.result is result
    assert error.value.code == "evaluation-number"
    assert error.value.exit_status == 4
    assert error.value.mend == CHECKS["evaluation-number"].mend
    assert "1 more" in str(error.value)
    assert "identity-pinned" in [finding.code for finding in error.value.result.failures]


def test_a_result_cannot_be_changed(world: World) -> None:
    """A verdict is not edited after it was given."""
    with pytest.raises(AttributeError):
        judge(world, Policy()).verdict = "accepted"  # type: ignore[misc]


# ── what was not checked ────────────────────────────────────────────────────────────────────────


def test_not_checked_names_freshness_and_identity(world: World) -> None:
    """What the policy does not ask is said, so that nobody takes it for checked."""
    freshness, identity = "report-data: the freshness of the quote", "identity: any enclave or TD"
    open_items = judge(world).not_checked
    assert [item[: len(freshness)] for item in open_items if item.startswith("report")] == [
        freshness
    ]
    assert [item[: len(identity)] for item in open_items if item.startswith("identity")] == [
        identity
    ]
    assert judge(world, Policy(identity="any", report_data="00")).not_checked == open_items[:1]


def test_a_signer_alone_leaves_product_and_svn_open(world: World) -> None:
    """A release of MRSIGNER alone accepts all of that signer's enclaves; the result says so."""
    signer = Quote.parse(world.quote()).body.mr_signer.hex()
    wide = judge(world, Policy(report_data="00", releases=(Release(name="v1", mrsigner=signer),)))
    tight = judge(
        world,
        Policy(
            report_data="00",
            releases=(Release(name="v1", mrsigner=signer, product_id=7, minimum_svn=3),),
        ),
    )
    assert wide.accepted
    assert [item.split(":")[0] for item in wide.not_checked] == ["product_id", "svn"]
    assert tight.not_checked == ()


def test_steps_that_a_failure_kept_from_running_are_listed(world: World) -> None:
    """Under a false TCB info, nothing that stands on it is judged, and each is named."""
    collateral = world.collateral(tcb_info_key=world.key("another"))
    result = judge(world, collateral=collateral)
    unreached = {item.partition(":")[0] for item in result.not_checked}
    assert {"tcb-info-format", "fmspc", "tcb-level", "tcb-status", "debug"} <= unreached
    assert unreached.isdisjoint(finding.code for finding in result.findings)


def test_what_the_policy_asked_in_vain_is_listed(world: World) -> None:
    """A check that the policy asks for and that was not reached is never passed over in silence."""
    policy = Policy(
        report_data="01",
        attributes="05" + "00" * 15,
        minimum_evaluation_number=1,
        minimum_tcb_date=date(2025, 1, 1),
        releases=(Release(name="v1", mrenclave="ab" * 32),),
    )
    result = judge(world, policy, quote=world.quote(signing_key=world.key("another")))
    unreached = {item.partition(":")[0] for item in result.not_checked}
    asked = {"report-data", "attributes", "evaluation-number", "tcb-date", "identity"}
    assert asked - unreached == set()


def test_an_accepted_result_leaves_no_step_unreached(world: World) -> None:
    """Acceptance stands on every check of the procedure."""
    for tee in ("sgx", "tdx"):
        assert not any("not reached" in item for item in judge(world, tee=tee).not_checked)


# ── what tells one machine from another ─────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def recognisable(world: World) -> dict[str, Any]:
    """A quote and collateral of a platform whose identifiers can be told anywhere."""
    pck = world.pck("platform", ppid=PPID, cpu_svn=CPU_SVN, platform_instance_id=INSTANCE)
    return {
        "quote": world.quote(pck=pck, body={"cpu_svn": CPU_SVN}),
        "collateral": world.collateral(pck=pck),
    }


@pytest.mark.parametrize(
    "policy", [ANY, Policy(), Policy(report_data="01", minimum_evaluation_number=99)]
)
def test_platform_identifiers_are_not_told_unasked(
    world: World, recognisable: dict[str, Any], policy: Policy
) -> None:
    """PPID, CPUSVN and platform instance id are neither in the JSON nor in the text."""
    result = judge(world, policy, **recognisable)
    told = (result.to_json() + result.explain()).lower()
    assert [secret.hex() for secret in (PPID, CPU_SVN, INSTANCE) if secret.hex() in told] == []


def test_platform_identifiers_are_told_when_asked(
    world: World, recognisable: dict[str, Any]
) -> None:
    """`platform_ids=True` adds them, in JSON."""
    document = judge(world, **recognisable).to_dict(platform_ids=True)
    assert document["platform"]["ppid"] == PPID.hex()
    assert document["platform"]["cpu_svn"] == CPU_SVN.hex()
    assert document["platform"]["platform_instance_id"] == INSTANCE.hex()
    assert document["claims"]["cpu_svn"] == CPU_SVN.hex()


def test_a_rejection_does_not_tell_platform_identifiers_either(
    world: World, recognisable: dict[str, Any]
) -> None:
    """Revoked, the machine is still not named; `Rejected` is often logged."""
    quote = recognisable["quote"]
    result = judge(
        world, quote=quote, collateral=world.collateral(ca="platform", tcb_info_fmspc=b"\1" * 6)
    )
    with pytest.raises(Rejected) as error:
        result.require()
    told = result.to_json() + result.explain() + str(error.value)
    assert [secret.hex() for secret in (PPID, CPU_SVN, INSTANCE) if secret.hex() in told] == []


# ── in words ────────────────────────────────────────────────────────────────────────────────────


def test_explain_ends_in_the_verdict(world: World) -> None:
    """The text's last facts are the verdict and, where it is rejected, what to do."""
    accepted, rejected = judge(world).explain(), judge(world, Policy()).explain()
    assert accepted.splitlines()[-1].split() == [
        "verdict",
        "ACCEPTED",
        "at",
        "2026-01-01T00:00:00Z",
    ]
    assert "REJECTED  identity-pinned  (exit 5)" in rejected
    assert rejected.splitlines()[-2].startswith("fix")


def test_explain_says_that_the_root_is_not_intels(world: World) -> None:
    """A result under a test root can never be read as one under Intel's."""
    assert "SIMULATED" in judge(world).explain()
    assert judge(world).to_dict()["trust_root"] == "simulated"


def test_explain_shows_the_shortfall_once(world: World) -> None:
    """A platform with an old QE fails two checks; its shortfall is told once."""
    text = judge(world, quote=world.quote(pck=out_of_date(world), qe_isvsvn=6)).explain()
    assert text.count("SGX component 1: have 4, need 8") == 1


def test_explain_cannot_steer_a_terminal(world: World) -> None:
    """A certificate's name is shown, but its control characters are not."""
    evil = world.certificate("Intel SGX PCK Certificate \x1b[2Jowned", key=world.key("evil"))
    chain = evil.pem + world.chain(world.processor_ca, world.root)
    text = judge(world, quote=world.quote(cert_data=chain)).explain()
    assert "owned" in text
    assert "\x1b" not in text


def test_instants_are_told_in_utc(world: World) -> None:
    """Whatever zone the caller's time is in, the result says UTC."""
    result = judge(world, at=AT.astimezone(timezone(timedelta(hours=9))))
    assert result.to_dict()["at"] == "2026-01-01T00:00:00Z"
    assert "ACCEPTED  at 2026-01-01T00:00:00Z" in result.explain()
