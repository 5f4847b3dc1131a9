"""Intel's supplemental facts: each of the eight items in turn decides them, and nothing masks it."""

import hashlib
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from trial import LOOSE, endorsed, judged, pck_ca_twin, tcb_signing_twin

from dcap import AttestationResult
from dcap.verification.supplemental import Supplemental
from departures import FMSPC, World
from departures.documents import COMPONENTS
from worlds import AT

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
#: The eight items of `sgx_ql_qv_supplemental_t`.
ITEMS = (
    "root-ca-crl",
    "pck-crl",
    "crl-issuer-chain",
    "pck-chain",
    "tcb-info-chain",
    "qe-identity-chain",
    "tcb-info",
    "qe-identity",
)
QE_ITEMS = {"qe-identity", "qe-identity-chain"}
_ISSUER_CHAINS = {
    "crl-issuer-chain": ("pck_crl_issuer_chain", pck_ca_twin),
    "tcb-info-chain": ("tcb_info_issuer_chain", tcb_signing_twin),
    "qe-identity-chain": ("qe_identity_issuer_chain", tcb_signing_twin),
}


class Dates(NamedTuple):
    """When an item was issued and when it expires; `None` leaves it as it is."""

    issued: Any = None
    expires: Any = None


AS_IS = Dates()


def _result(world: World, item: str, dates: Dates) -> AttestationResult:
    """The judgement on the truth, in which one item has other dates."""
    validity = {
        name: date
        for name, date in (("not_before", dates.issued), ("not_after", dates.expires))
        if date is not None
    }
    if item == "pck-chain":
        return judged(world, world.quote(pck=world.pck(**validity)), policy=LOOSE)
    if item in _ISSUER_CHAINS:
        piece, maker = _ISSUER_CHAINS[item]
        changes: dict[str, Any] = {piece: world.chain(maker(world, **validity), world.root)}
    else:
        piece = item.replace("-", "_")
        issue = "this_update" if item.endswith("crl") else "issue_date"
        changes = {
            f"{piece}_{name}": date
            for name, date in ((issue, dates.issued), ("next_update", dates.expires))
            if date is not None
        }
    return judged(world, collateral=endorsed(world, **changes), policy=LOOSE)


def _facts(world: World, item: str = ITEMS[0], dates: Dates = AS_IS) -> Supplemental:
    facts = _result(world, item, dates).supplemental()
    assert facts is not None
    return facts


@pytest.mark.parametrize("item", ITEMS)
def test_each_item_in_turn_is_the_first_to_expire(world: World, item: str) -> None:
    """The earliest expiration is the earliest of all eight, and the item is named."""
    usual = _facts(world)
    facts = _facts(world, item, Dates(expires=AT + HOUR))
    assert usual.earliest_expiration_date > AT + HOUR
    assert (facts.earliest_expiration_date, facts.earliest_expiring) == (AT + HOUR, item)
    qe_expiry = AT + HOUR if item in QE_ITEMS else usual.qe_iden_earliest_expiration_date
    assert facts.qe_iden_earliest_expiration_date == qe_expiry


@pytest.mark.parametrize("item", ITEMS)
def test_each_item_in_turn_has_already_expired(world: World, item: str) -> None:
    """An item past its time fails its own expiry check and no other, and the facts say so."""
    result = _result(world, item, Dates(expires=AT - HOUR))
    assert [finding.code for finding in result.failures] == [f"{item}-expiry"]
    assert result.exit_status == 4
    assert result.to_dict()["collateral"]["expired"] is True
    assert judged(world).to_dict()["collateral"]["expired"] is False


@pytest.mark.parametrize("item", ITEMS)
def test_each_item_in_turn_is_the_oldest(world: World, item: str) -> None:
    """The earliest issue date is the earliest of all eight, certificates included."""
    long_ago = AT - 9000 * DAY
    assert _facts(world).earliest_issue_date > long_ago
    facts = _facts(world, item, Dates(issued=long_ago))
    assert facts.earliest_issue_date == long_ago
    assert (facts.qe_iden_earliest_issue_date == long_ago) == (item in QE_ITEMS)


@pytest.mark.parametrize("item", ITEMS)
def test_each_item_in_turn_is_the_youngest(world: World, item: str) -> None:
    """The latest issue date is the latest of all eight; of a chain, that of its newest certificate."""
    just_now = AT - HOUR
    assert _facts(world).latest_issue_date < just_now
    facts = _facts(world, item, Dates(issued=just_now))
    assert facts.latest_issue_date == just_now
    assert (facts.qe_iden_latest_issue_date == just_now) == (item in QE_ITEMS)


@pytest.mark.parametrize("ca", ["processor", "platform"])
@pytest.mark.parametrize("flag", ["dynamic_platform", "cached_keys", "smt_enabled"])
@pytest.mark.parametrize("value", [True, False])
def test_platform_flags_are_those_of_the_certificate(
    world: World, ca: str, flag: str, value: bool
) -> None:
    """Each flag is told as certified under the Platform CA, and unknown under the Processor CA."""
    options = {flag: value} if ca == "platform" else {}
    quote = world.quote(pck=world.pck(ca, **options))
    facts = judged(world, quote, endorsed(world, ca=ca)).supplemental()
    assert facts is not None
    told = {
        "dynamic_platform": facts.dynamic_platform,
        "cached_keys": facts.cached_keys,
        "smt_enabled": facts.smt_enabled,
    }
    if ca == "processor":
        assert set(told.values()) == {None}
        assert (facts.sgx_type, facts.platform_instance_id) == (0, None)
    else:
        assert told == {**dict.fromkeys(told, True), flag: value}
        assert (facts.sgx_type, facts.platform_instance_id) == (
            1,
            world.machine("platform").platform_instance_id,
        )


def test_platform_facts_are_those_of_the_certificate(world: World) -> None:
    """PPID, CPUSVN, PCESVN, PCEID and FMSPC come from the PCK certificate."""
    facts = _facts(world)
    assert facts.pck_ppid == world.machine("processor").ppid
    assert facts.tcb_cpusvn == COMPONENTS
    assert facts.tcb_pce_isvsvn == 13
    assert (facts.pce_id, facts.fmspc, facts.tee_type) == (bytes(2), FMSPC, "SGX")


def test_root_key_id_is_sha384_of_the_uncompressed_point(world: World) -> None:
    """The root's key id is over 65 bytes, 04 and the point, and another root has another."""
    facts = _facts(world)
    assert facts.root_key_id == hashlib.sha384(b"\x04" + world.root.key.public_key).digest()
    assert _facts(World(at=AT, seed=b"another root")).root_key_id != facts.root_key_id


def test_numbers_are_those_of_the_lists_and_documents(world: World) -> None:
    """CRL numbers are the lists' own; the reference number is the lower of the two documents."""
    changes = {
        "root_ca_crl_number": 7,
        "pck_crl_number": 300,
        "tcb_info_evaluation": 19,
        "qe_identity_evaluation": 17,
    }
    facts = judged(world, collateral=endorsed(world, **changes)).supplemental()
    assert facts is not None
    assert (facts.root_ca_crl_num, facts.pck_crl_num) == (7, 300)
    assert (facts.tcb_eval_ref_num, facts.qe_iden_tcb_eval_ref_num) == (17, 17)


def test_level_dates_and_advisories(world: World) -> None:
    """The level date is the earlier of platform and QE; the list of advisories is of both."""
    collateral = endorsed(
        world,
        tcb_info_levels=[world.tcb_level("UpToDate", date="2025-02-02", advisories=["A", "B"])],
        qe_identity_levels=[
            world.isvsvn_level("OutOfDate", 8, date="2024-01-01", advisories=["B", "C"])
        ],
    )
    facts = judged(world, collateral=collateral, policy=LOOSE).supplemental()
    assert facts is not None
    assert f"{facts.tcb_level_date_tag:%F} {facts.platform_tcb_level_date_tag:%F}" == (
        "2024-01-01 2025-02-02"
    )
    assert f"{facts.qe_iden_tcb_level_date_tag:%F}" == "2024-01-01"
    assert facts.sa_list == ("A", "B", "C")
    assert facts.qe_iden_status == "OutOfDate"


def test_there_are_no_facts_without_a_proof(world: World) -> None:
    """A quote that is not proven has no supplemental facts, however much of it could be read."""
    forged = judged(world, world.quote(signing_key=world.key("thief")))
    assert (forged.verified, forged.supplemental()) == (None, None)
    assert forged.to_dict()["collateral"]["earliest_expiry"] is None


def test_a_number_of_any_size_can_be_told(world: World) -> None:
    """RFC 5280 allows CRL numbers of 20 octets; one of that size is told like any other."""
    collateral = endorsed(world, pck_crl_number=(1 << 159) - 1)
    result = judged(world, collateral=collateral)
    facts = result.supplemental()
    assert facts is not None
    assert facts.pck_crl_num == (1 << 159) - 1
    assert str(facts.pck_crl_num) in result.to_json()
