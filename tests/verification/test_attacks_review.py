"""Attacks that a hostile reading of the whole code found: each was true once, and must stay untrue."""

import time
from datetime import timedelta

import msgspec
import pytest
from trial import ANY, LOOSE, assert_rejected, endorsed, judged

from dcap import ConfigError, FormatError, Policy, appraise, check_endorsements
from dcap.formats.containers import conclave
from dcap.formats.crl import Crl
from dcap.formats.tcb_info import TcbInfo
from departures import World
from departures.documents import TDX_COMPONENTS
from worlds import AT, anchor_of, collateral_of

DAY = timedelta(days=1)


def test_colliding_serials_cost_no_more_than_others(world: World) -> None:
    """Serials that would collide as integers are read about as fast as any others."""
    prime = 2**61 - 1
    took = []
    for serials in ([1 + n for n in range(8000)], [1 + n * prime for n in range(8000)]):
        data = world.crl(revoked=serials)
        begin = time.perf_counter()
        assert Crl.parse(data).lists(serials[-1])
        took.append(time.perf_counter() - begin)
    assert took[1] < 20 * took[0]


def test_conclave_keys_are_bound_with_their_sizes(world: World) -> None:
    """The same 76 bytes cut elsewhere are not the enclave's two keys."""
    keys = bytes(range(76))
    collateral = collateral_of(world.collateral())
    for cut in (0, 10, 32, 76):
        with pytest.raises(FormatError, match="conclave-size"):
            conclave.write_instance_info(
                world.quote(), collateral, data_signing_key=keys[:cut], encryption_key=keys[cut:]
            )
    good = conclave.write_instance_info(
        world.quote(), collateral, data_signing_key=keys[:44], encryption_key=keys[44:]
    )
    moved = good.replace(
        b"\0\0\0\x2c" + keys[:44] + b"\0\0\0\x20",
        b"\0\0\0\x0a" + keys[:10] + b"\0\0\0\x42" + keys[10:44],
    )
    with pytest.raises(FormatError, match="conclave-size"):
        conclave.EnclaveInstanceInfo.parse(moved)


def test_platform_grace_counts_from_the_oldest_date(world: World) -> None:
    """A module out of date for years is not graced by a platform that is young."""
    old = world.isvsvn_level("OutOfDate", 6, date="2019-01-01")
    collateral = endorsed(
        world, "tdx",
        tcb_info_levels=[world.tcb_level("UpToDate", tdx=TDX_COMPONENTS, date="2025-12-15")],
        tcb_info_tdx_module_identities=[world.module_identity("TDX_01", [old])],
        qe_identity_levels=[world.isvsvn_level("UpToDate", 8, date="2025-12-15")],
    )  # fmt: skip
    policy = Policy(identity="any", platform_grace_period="60d")
    result = judged(world, collateral=collateral, tee="tdx", policy=policy)
    assert_rejected(result, "tcb-status", exit_status=4)
    assert result.tcb is not None
    assert result.tcb.date.year == 2019


def test_advisories_of_the_module_now_loaded_count(world: World) -> None:
    """An advisory that the policy refuses is refused at launch and now."""
    levels = [
        world.tcb_level("UpToDate", tdx=(0, 0, 9, *bytes(13)), advisories=["INTEL-SA-99999"]),
        world.tcb_level("UpToDate", tdx=(0, 0, 3, *bytes(13)), date="2024-01-01"),
    ]
    collateral = endorsed(world, "tdx", tcb_info_levels=levels)
    body = {"tee_tcb_svn": bytes((6, 1, 3)), "tee_tcb_svn_2": bytes((6, 1, 9))}
    quote = world.quote(5, "tdx", body=body)
    assert judged(world, quote, collateral, policy=LOOSE).accepted
    strict = msgspec.structs.replace(LOOSE, rejected_advisories=("INTEL-SA-99999",))
    assert_rejected(judged(world, quote, collateral, policy=strict), "advisories", exit_status=4)


def test_nothing_of_the_machine_stands_in_a_repr(world: World) -> None:
    """A result that is logged as it is tells neither PPID nor CPUSVN."""
    ppid, cpu_svn = bytes(range(0x40, 0x50)), bytes(range(0x60, 0x70))
    quote = world.quote(pck=world.pck(ppid=ppid, cpu_svn=cpu_svn))
    result = judged(world, quote)
    shown = repr(result) + repr(result.pck) + repr(result.supplemental()) + repr(result.evidence)
    assert result.accepted
    for secret in (ppid, cpu_svn):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_a_grace_is_told_as_a_grace(world: World) -> None:
    """Expired collateral that the policy still accepts is not told as collateral in date."""
    policy = Policy(identity="any", collateral_grace_period="60d")
    late = appraise(
        world.quote(), endorsed(world), policy, at=AT + 40 * DAY, anchor=anchor_of(world)
    )
    assert late.accepted
    assert "not expired" not in late.explain()
    assert "within the policy's grace period" in late.explain()


def test_a_changed_verdict_is_not_an_acceptance(world: World) -> None:
    """Writing `accepted` over a rejection makes no acceptance: the proof is missing."""
    rejected = judged(world, world.quote(signature=bytes(64)))
    assert not msgspec.structs.replace(rejected, verdict="accepted", exit_status=0).accepted


def test_an_instant_without_a_zone_is_refused_everywhere(world: World) -> None:
    """Local time never becomes the instant of a proof by accident."""
    with pytest.raises(ConfigError, match="no-instant"):
        check_endorsements(endorsed(world), at=AT.replace(tzinfo=None))
    with pytest.raises(ConfigError, match="no-instant"):
        appraise(world.quote(), endorsed(world), ANY, at=AT.replace(tzinfo=None))


def test_two_module_identities_of_one_id_are_refused(world: World) -> None:
    """Which of two identities counts would depend on their order."""
    levels = [world.isvsvn_level("UpToDate", 6)]
    twice = [world.module_identity(name, levels) for name in ("TDX_01", "tdx_01")]
    with pytest.raises(FormatError, match="same id"):
        TcbInfo.parse(world.tcb_info("TDX", tdx_module_identities=twice))


def test_an_up_to_date_platform_is_short_of_nothing(world: World) -> None:
    """A platform on the lower of two good levels is told nothing that it need not do."""
    levels = [
        world.tcb_level("UpToDate", (9, 9, 9, 9, 9, 9, 9, 9, *bytes(8))),
        world.tcb_level("UpToDate"),
    ]
    result = judged(world, collateral=endorsed(world, tcb_info_levels=levels))
    assert result.accepted
    assert result.shortfall == ()
