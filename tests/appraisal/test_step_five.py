"""Step 5, the policy: every check there is has one change in a genuine world that trips only it."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from judgements import ANY, failed, hardening, judge

from dcap import Policy, Release
from dcap.simulator.intel import PROCESSOR_CA, TCB_SIGNING
from dcap.verification.checks import CHECKS, EXIT_STATUS
from departures import World
from departures.documents import EVALUATION
from worlds import AT

HOUR = timedelta(hours=1)
OTHER = "ab" * 32
FOREIGN_SEAM = b"\x01" * 48

Case = dict[str, Any]


def policy(**settings: Any) -> Policy:
    """A policy that accepts any identity, with one more setting."""
    return Policy(identity="any", **settings)


def expired_processor_ca(world: World) -> bytes:
    """The CRL issuer's chain with an edition of the CA that has expired; its key is the same."""
    short = world.certificate(
        PROCESSOR_CA, key=world.processor_ca.key, ca=True, path_length=0, not_after=AT - HOUR
    )
    return world.chain(short, world.root)


def expired_tcb_signing(world: World) -> bytes:
    """The documents' chain with an edition of the TCB signing certificate that has expired."""
    short = world.certificate(TCB_SIGNING, key=world.tcb_signing.key, not_after=AT - HOUR)
    return world.chain(short, world.root)


def collateral(**changes: Any) -> Callable[[World], Case]:
    """The genuine quote under collateral that differs in one thing."""
    return lambda world: {"collateral": world.collateral(**changes)}


def strict(**settings: Any) -> Callable[[World], Case]:
    """The genuine quote under a policy that asks one thing more."""
    return lambda _: {"policy": policy(**settings)}


def sgx(**draft: Any) -> Callable[[World], Case]:
    """A genuine SGX quote that differs in one thing."""
    return lambda world: {"quote": world.quote(**draft)}


def tdx(version: int = 4, **fields: Any) -> Callable[[World], Case]:
    """A genuine TDX quote with other fields of the TD report."""
    return lambda world: {
        "tee": "tdx",
        "quote": world.quote(version, tee="tdx", body=fields),
    }


def of_platform_ca(setting: str) -> Callable[[World], Case]:
    """A quote of a multi-package platform (every flag is set) under a policy that forbids one."""
    return lambda world: {
        "quote": world.quote(ca="platform"),
        "collateral": world.collateral(ca="platform"),
        "policy": policy(**{setting: False}),
    }


def foreign_module(world: World) -> Case:
    """Intel's document names a TDX module of another signer, and the TD runs on it."""
    identity = world.module_identity(
        "TDX_01", [world.isvsvn_level("UpToDate", 6)], mrsigner=FOREIGN_SEAM
    )
    return {
        **tdx(mr_signer_seam=FOREIGN_SEAM)(world),
        "collateral": world.collateral("tdx", tcb_info_tdx_module_identities=[identity]),
    }


#: The one change for each check of step 5.
TRIPS: dict[str, Callable[[World], Case]] = {
    "root-ca-crl-expiry": collateral(root_ca_crl_next_update=AT - HOUR),
    "pck-crl-expiry": collateral(pck_crl_next_update=AT - HOUR),
    "crl-issuer-chain-expiry": lambda world: {
        "collateral": world.collateral(pck_crl_issuer_chain=expired_processor_ca(world))
    },
    "pck-chain-expiry": lambda world: {"quote": world.quote(pck=world.pck(not_after=AT - HOUR))},
    "tcb-info-chain-expiry": lambda world: {
        "collateral": world.collateral(tcb_info_issuer_chain=expired_tcb_signing(world))
    },
    "qe-identity-chain-expiry": lambda world: {
        "collateral": world.collateral(qe_identity_issuer_chain=expired_tcb_signing(world))
    },
    "tcb-info-expiry": collateral(tcb_info_next_update=AT - HOUR),
    "qe-identity-expiry": collateral(qe_identity_next_update=AT - HOUR),
    "collateral-age": strict(maximum_collateral_age="23h"),
    "tcb-status": lambda world: {"quote": world.quote(pck=hardening(world))},
    "qe-status": lambda world: {
        "quote": world.quote(qe_isvsvn=6),
        "policy": policy(
            accepted_tcb_statuses=("UpToDate", "OutOfDate"), accepted_qe_statuses=("UpToDate",)
        ),
    },
    "advisories": lambda world: {
        "quote": world.quote(pck=hardening(world)),
        "policy": policy(
            accepted_tcb_statuses=("SWHardeningNeeded",),
            accepted_qe_statuses=("UpToDate",),
            rejected_advisories=("INTEL-SA-00615",),
        ),
    },
    "tcb-date": strict(minimum_tcb_date=date(2025, 3, 14)),
    "evaluation-number": strict(minimum_evaluation_number=EVALUATION + 1),
    "tee-tcb-svn": lambda _: {
        "tee": "tdx",
        "policy": policy(minimum_tee_tcb_svn="07" + "00" * 15),
    },
    "platform-dynamic": of_platform_ca("allow_dynamic_platform"),
    "platform-cached-keys": of_platform_ca("allow_cached_keys"),
    "platform-smt": of_platform_ca("allow_smt"),
    "debug": sgx(body={"attributes": b"\x07"}),
    "td-attributes": tdx(td_attributes=0),
    "seam": foreign_module,
    "service-td": tdx(5, mr_service_td=b"\x01"),
    "identity-pinned": lambda _: {"policy": Policy()},
    "identity": lambda _: {"policy": Policy(releases=(Release(name="v1", mrenclave=OTHER),))},
    "attributes": strict(attributes="ff" * 16),
    "report-data": strict(report_data="01"),
}
STEP_FIVE = [check for check in CHECKS.values() if check.step.startswith("5.")]


def test_every_check_of_step_five_has_a_change_that_trips_it() -> None:
    """A check without a fault, or a fault without a check, is a hole in the table."""
    assert set(TRIPS) == {check.code for check in STEP_FIVE}


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_the_genuine_world_is_accepted(world: World, tee: str) -> None:
    """With nothing changed nothing is found: what the other tests see comes of their change."""
    result = judge(world, tee=tee)
    assert (result.verdict, result.exit_status, failed(result)) == ("accepted", 0, [])


@pytest.mark.parametrize("code", list(TRIPS))
def test_one_change_trips_exactly_one_check(world: World, code: str) -> None:
    """One change: one finding, the exit status of its kind, the mend of its row, no acceptance."""
    result = judge(world, **{"policy": ANY, **TRIPS[code](world)})
    check = CHECKS[code]
    assert failed(result) == [code]
    assert not result.accepted
    assert result.exit_status == EXIT_STATUS[check.kind]
    assert (result.failures[0].step, result.failures[0].mend) == (check.step, check.mend)


def test_smt_that_the_certificate_does_not_tell_is_not_taken_for_off(world: World) -> None:
    """A policy that refuses SMT refuses a platform of which nobody says that it is off."""
    result = judge(world, policy(allow_smt=False))
    assert failed(result) == ["platform-smt"]


@pytest.mark.parametrize("flag", ["allow_dynamic_platform", "allow_cached_keys"])
def test_a_flag_that_the_certificate_leaves_out_is_not_held_against_it(
    world: World, flag: str
) -> None:
    """A Processor CA does not say these things: the platform has one package."""
    assert judge(world, policy(**{flag: False})).accepted


@pytest.mark.parametrize(
    ("setting", "fields", "version"),
    [
        ("allow_debug", {"td_attributes": 1 | 1 << 28}, 4),
        ("allow_sept_ve", {"td_attributes": 0}, 4),
        ("allow_migratable", {"td_attributes": 1 << 28 | 1 << 29}, 4),
        ("allow_service_td", {"mr_service_td": b"\x01"}, 5),
    ],
)
def test_a_loosening_lets_through_what_it_names(
    world: World, setting: str, fields: dict[str, Any], version: int
) -> None:
    """What is refused by default is accepted when, and only when, the policy spells it."""
    quote = world.quote(version, tee="tdx", body=fields)
    assert not judge(world, tee="tdx", quote=quote).accepted
    assert judge(world, policy(**{setting: True}), tee="tdx", quote=quote).accepted


def test_the_two_bits_of_td_attributes_are_named_together(world: World) -> None:
    """A TD that is migratable and has no SEPT_VE_DISABLE hears of both in one message."""
    quote = world.quote(tee="tdx", body={"td_attributes": 1 << 29})
    message = judge(world, tee="tdx", quote=quote).failures[0].message
    assert "SEPT_VE_DISABLE" in message
    assert "MIGRATABLE" in message


def test_accepted_advisories_refuse_every_other(world: World) -> None:
    """An allow list of advisories refuses one that it does not name, and names it."""
    quote = world.quote(pck=hardening(world))
    lenient = {
        "accepted_tcb_statuses": ("SWHardeningNeeded",),
        "accepted_qe_statuses": ("UpToDate",),
    }
    listed = judge(world, policy(accepted_advisories=("INTEL-SA-00615",), **lenient), quote=quote)
    empty = judge(world, policy(accepted_advisories=(), **lenient), quote=quote)
    assert listed.accepted
    assert failed(empty) == ["advisories"]
    assert "INTEL-SA-00615" in empty.failures[0].message


def test_an_advisory_beside_up_to_date_is_no_fault(world: World) -> None:
    """Advisories by themselves refuse nothing: UpToDate may carry them."""
    levels = [world.tcb_level("UpToDate", advisories=("INTEL-SA-00615",))]
    result = judge(world, collateral=world.collateral(tcb_info_levels=levels))
    assert result.accepted
    assert result.tcb is not None
    assert result.tcb.advisory_ids == ("INTEL-SA-00615",)
