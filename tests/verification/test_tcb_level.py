"""Which level a platform is at, and how far it falls short of the one to be at."""

from itertools import permutations
from typing import Any

import pytest
from trial import LOOSE, assert_accepted, assert_rejected, endorsed, judged

from dcap.formats.tcb_info import TcbInfo
from dcap.simulator.tcb_model import FIRST
from dcap.simulator.tcb_model import PCE_SVN as PCESVN
from dcap.verification.tcb_level import (
    first_compared,
    match_isv_svn,
    match_platform,
    reaches,
    shortfall,
)
from departures import World, components_of
from departures.documents import COMPONENTS
from worlds import AT

FLOOR = bytes((3,) * 16)


def _info(world: World, tee: str = "SGX", **content: Any) -> TcbInfo:
    return TcbInfo.parse(world.tcb_info(tee, **content))


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_levels_match_in_any_order_of_the_document(world: World, order: tuple[int, ...]) -> None:
    """The platform's level is the highest it reaches, wherever it stands in the document."""
    usual = world.tcb_levels()[::2]
    rungs = FIRST.platform[::2]
    info = _info(world, levels=[usual[i] for i in order])
    assert [level.status for level in info.levels] == [rung.status for rung in rungs]
    for rung in rungs:
        level = match_platform(info, rung.components, PCESVN, None)
        assert level is not None
        assert level.status == rung.status


@pytest.mark.parametrize("place", range(16))
def test_each_of_16_components_must_be_reached(place: int) -> None:
    """One component that is one too low is not made up for by all the others."""
    assert reaches(FLOOR, FLOOR)
    low = bytearray(b"\xff" * 16)
    low[place] = 2
    assert not reaches(bytes(low), FLOOR)
    low[place] = 3
    assert reaches(bytes(low), FLOOR)


@pytest.mark.parametrize("place", [p for p, svn in enumerate(COMPONENTS) if svn])
def test_each_component_of_a_certificate_decides(world: World, place: int) -> None:
    """A certified component one below the top level takes the platform out of it."""
    components = tuple(svn - (i == place) for i, svn in enumerate(COMPONENTS))
    levels = [world.tcb_level("UpToDate"), world.tcb_level("OutOfDate", (0,) * 16, 0)]
    quote = world.quote(pck=world.pck(components=components))
    result = judged(world, quote, endorsed(world, tcb_info_levels=levels), policy=LOOSE)
    assert result.tcb is not None
    assert result.tcb_status == "OutOfDate"
    short = {entry.component: (entry.have, entry.need) for entry in result.tcb.shortfall}
    assert short == {f"SGX component {place + 1}": (COMPONENTS[place] - 1, COMPONENTS[place])}


@pytest.mark.parametrize("place", range(16))
def test_the_cpusvn_of_a_certificate_decides_nothing(world: World, place: int) -> None:
    """Levels compare the certified components; the raw CPUSVN is not a list of them."""
    cpusvn = bytearray(COMPONENTS)
    cpusvn[place] = 0
    quote = world.quote(pck=world.pck(cpu_svn=bytes(cpusvn)))
    assert_accepted(judged(world, quote))


def test_the_pcesvn_decides(world: World) -> None:
    """A PCESVN one below every level of those components is not supported there."""
    info = _info(world, levels=[world.tcb_level("UpToDate")])
    assert match_platform(info, bytes(COMPONENTS), PCESVN, None) is not None
    assert match_platform(info, bytes(COMPONENTS), PCESVN - 1, None) is None
    assert shortfall(info, bytes(COMPONENTS), PCESVN - 1, None)[0].component == "PCESVN"


@pytest.mark.parametrize("length", [0, 15, 17])
def test_lists_of_another_length_never_reach(length: int) -> None:
    """A comparison of lists that are not 16 long is false, not partial, even with themselves."""
    other = b"\xff" * length
    assert not reaches(other, FLOOR)
    assert not reaches(FLOOR, bytes(length))
    assert not reaches(other, other)


def test_from_where_tdx_components_are_compared() -> None:
    """From the third with a module of major version above 0, else from the first."""
    assert first_compared(bytes((7, 0, *bytes(14)))) == 0
    assert {first_compared(bytes((0, major, *bytes(14)))) for major in range(1, 256)} == {2}


@pytest.mark.parametrize("major", [0, 1, 3])
@pytest.mark.parametrize("place", range(16))
def test_each_tdx_component_decides_unless_it_is_the_modules_own(
    world: World, major: int, place: int
) -> None:
    """Every component of TEE_TCB_SVN counts; the first two only for a module of major version 0."""
    needed = bytearray(3 for _ in range(16))
    needed[1] = major
    info = _info(world, "TDX", levels=[world.tcb_level("UpToDate", tdx=needed)])
    have = bytearray(b"\xff" * 16)
    have[1] = major
    assert match_platform(info, bytes(COMPONENTS), PCESVN, bytes(have)) is not None
    if place == 1:
        return  # it is the major version itself
    have[place] = 2
    matched = match_platform(info, bytes(COMPONENTS), PCESVN, bytes(have)) is not None
    assert matched == (major > 0 and place < 2)
    named = [entry.component for entry in shortfall(info, bytes(COMPONENTS), PCESVN, bytes(have))]
    assert named == ([] if matched else [f"TDX component {place + 1}"])


@pytest.mark.parametrize(
    "levels",
    [
        [("UpToDate", COMPONENTS, PCESVN), ("OutOfDate", COMPONENTS, PCESVN)],
        [("UpToDate", COMPONENTS, PCESVN), ("UpToDate", COMPONENTS, PCESVN)],
    ],
    ids=["of two statuses", "the same"],
)
def test_duplicate_levels_are_refused(world: World, levels: list[tuple[Any, ...]]) -> None:
    """Two levels of the same SVNs leave the verdict to chance, so the document is refused."""
    twice = [world.tcb_level(*level) for level in levels]
    result = judged(world, collateral=endorsed(world, tcb_info_levels=twice))
    assert_rejected(result, "tcb-info-format")
    result = judged(world, collateral=endorsed(world, tcb_info_levels=twice[:1]))
    assert_accepted(result)


def test_duplicate_levels_of_qe_and_module_are_refused(world: World) -> None:
    """Two levels of the same ISVSVN are refused in both documents that have them."""
    twice = [world.isvsvn_level("UpToDate", 4), world.isvsvn_level("Revoked", 4)]
    result = judged(world, collateral=endorsed(world, "tdx", qe_identity_levels=twice), tee="tdx")
    assert_rejected(result, "qe-identity-format")
    modules = [world.module_identity("TDX_01", twice)]
    collateral = endorsed(world, "tdx", tcb_info_tdx_module_identities=modules)
    assert_rejected(judged(world, collateral=collateral, tee="tdx"), "tcb-info-format")


@pytest.mark.parametrize(
    ("isv_svn", "status"),
    [(9, "UpToDate"), (8, "UpToDate"), (6, "OutOfDate"), (4, "Revoked"), (3, None)],
)
def test_an_enclaves_level_is_the_first_it_reaches(
    world: World, isv_svn: int, status: str | None
) -> None:
    """The QE is at the highest level whose ISVSVN it has, or at none."""
    result = judged(world, world.quote(qe_isvsvn=isv_svn), policy=LOOSE)
    assert (result.tcb and result.tcb.qe) == status
    if status is None:
        assert_rejected(result, "qe-level", exit_status=4)
    assert match_isv_svn((), isv_svn) is None


def test_the_shortfall_aims_at_the_highest_level_that_is_up_to_date(world: World) -> None:
    """Higher levels of a worse status are no goal; every SVN that is short is named with its cure."""
    above = world.tcb_level("OutOfDate", (9,) * 16, 20)
    info = _info(world, levels=[above, world.tcb_level("UpToDate")])
    assert shortfall(info, bytes(COMPONENTS), PCESVN, None) == ()
    short = shortfall(info, bytes(16), 0, None)
    wanted = [(f"SGX component {i + 1}", 0, svn) for i, svn in enumerate(COMPONENTS) if svn]
    wanted.append(("PCESVN", 0, PCESVN))
    assert [(entry.component, entry.have, entry.need) for entry in short] == wanted
    assert all(entry.raised_by for entry in short)


def test_the_shortfall_of_module_and_qe(world: World) -> None:
    """An old module and an old QE are named with the ISVSVN that they lack."""
    quote = world.quote(tee="tdx", body={"tee_tcb_svn": bytes((5, 1, 8))}, qe_isvsvn=6)
    result = judged(world, quote, tee="tdx", policy=LOOSE)
    assert result.tcb is not None
    assert {(s.component, s.have, s.need) for s in result.tcb.shortfall} == {
        ("TDX module TDX_01 ISVSVN", 5, 6),
        ("TD_QE ISVSVN", 6, 8),
    }


def test_advisories_and_date_are_those_of_the_matched_levels(world: World) -> None:
    """The union of platform, QE and module levels, each once; the earliest of their dates."""
    quote = world.quote(
        tee="tdx",
        pck=world.pck("platform", components=components_of("SWHardeningNeeded")),
        body={"tee_tcb_svn": bytes((5, 1, 7))},
        qe_isvsvn=4,
    )
    result = judged(world, quote, tee="tdx", at=AT, policy=LOOSE)
    assert result.tcb is not None
    assert set(result.tcb.advisory_ids) == {"INTEL-SA-00615", "INTEL-SA-01036", "INTEL-SA-00477"}
    assert len(result.tcb.advisory_ids) == 3
    assert f"{result.tcb.date:%Y-%m-%d}" == "2022-03-13"
    assert f"{result.tcb.platform_date:%Y-%m-%d}" == "2025-03-13"
