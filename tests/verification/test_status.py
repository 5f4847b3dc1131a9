"""Convergence and relaunch, every combination, against the rule spelled again from its source.

The spelling here is that of the reference (§6, points 4 and 6) in words and sets of strings; it
shares nothing with the tables of `dcap.verification.status`.
"""

from itertools import product

import pytest
from trial import LOOSE, assert_rejected, endorsed, judged

from dcap.verification import TcbStatus
from dcap.verification.status import (
    PLATFORM_STATUSES,
    QE_STATUSES,
    TDX_MODULE_STATUSES,
    converge,
    known,
    relaunch,
)
from departures import World
from departures.documents import TDX_COMPONENTS

PLATFORM = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
QE = ("UpToDate", "OutOfDate", "ConfigurationNeeded", "OutOfDateConfigurationNeeded", "Revoked")
MODULE = (None, "UpToDate", "OutOfDate", "Revoked")
ADVISED = ("TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded")


def spelled_convergence(platform: str, qe: str, module: str | None) -> str:
    """The reference's sentences, one by one."""
    if "Revoked" in (platform, qe, module):
        return "Revoked"
    if qe != "OutOfDate" and module != "OutOfDate":
        return platform
    if platform in ("UpToDate", "SWHardeningNeeded"):
        return "OutOfDate"
    if platform in ("ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"):
        return "OutOfDateConfigurationNeeded"
    return platform


def spelled_relaunch(launch: str, current: str) -> str:
    """Stale at launch and good now advises a relaunch; "Configuration" anywhere is kept."""
    stale = launch in ("OutOfDate", "OutOfDateConfigurationNeeded")
    good = "OutOfDate" not in current and current != "Revoked"
    if not (stale and good):
        return launch
    return ADVISED["Configuration" in launch + current]


def test_the_documents_statuses_are_those_of_the_reference() -> None:
    """What each document may say is what the reference lists, and nothing else."""
    assert set(PLATFORM) == set(PLATFORM_STATUSES)
    assert set(QE) == set(QE_STATUSES)
    assert set(MODULE) - {None} == set(TDX_MODULE_STATUSES)
    assert {*PLATFORM, *ADVISED} == set(TcbStatus)


@pytest.mark.parametrize(("platform", "qe", "module"), [*product(PLATFORM, QE, MODULE)])
def test_every_convergence(platform: str, qe: str, module: str | None) -> None:
    """Each platform status with each QE status and each module status, or no module."""
    components = (TcbStatus(qe),) if module is None else (TcbStatus(qe), TcbStatus(module))
    assert converge(TcbStatus(platform), components) == spelled_convergence(platform, qe, module)
    assert converge(TcbStatus(platform), components[::-1]) == spelled_convergence(
        platform, qe, module
    )


@pytest.mark.parametrize(("launch", "current"), [*product(PLATFORM, PLATFORM)])
def test_every_relaunch(launch: str, current: str) -> None:
    """Each status at launch with each status of the module now loaded."""
    assert relaunch(TcbStatus(launch), TcbStatus(current)) == spelled_relaunch(launch, current)


@pytest.mark.parametrize(("platform", "qe", "module"), [*product(PLATFORM, QE, MODULE[1:])])
def test_every_convergence_of_forged_documents(
    world: World, platform: str, qe: str, module: str
) -> None:
    """The same table through signed documents and a quote: the way to the rule is right too."""
    collateral = endorsed(
        world,
        "tdx",
        tcb_info_levels=[world.tcb_level(platform, tdx=TDX_COMPONENTS)],
        tcb_info_tdx_module_identities=[
            world.module_identity("TDX_01", [world.isvsvn_level(module, 6)])
        ],
        qe_identity_levels=[world.isvsvn_level(qe, 8)],
    )
    result = judged(world, collateral=collateral, tee="tdx", policy=LOOSE)
    assert result.tcb is not None
    assert result.tcb_status == spelled_convergence(platform, qe, module)
    assert (result.tcb.platform, result.tcb.qe, result.tcb.tdx_module) == (platform, qe, module)
    assert result.accepted == ("Revoked" not in (platform, qe, module))


@pytest.mark.parametrize(("launch", "current"), [*product(PLATFORM, PLATFORM)])
def test_every_relaunch_of_a_forged_td(world: World, launch: str, current: str) -> None:
    """The same table through a TDX 1.5 quote whose two TEE_TCB_SVN reach two levels."""
    levels = [
        world.tcb_level(current, tdx=(0, 0, 9, *bytes(13)), advisories=["INTEL-SA-NOW"]),
        world.tcb_level(launch, tdx=(0, 0, 3, *bytes(13)), advisories=["INTEL-SA-THEN"]),
    ]
    collateral = endorsed(world, "tdx", tcb_info_levels=levels)
    body = {"tee_tcb_svn": bytes((6, 1, 3)), "tee_tcb_svn_2": bytes((6, 1, 9))}
    result = judged(world, world.quote(5, "tdx", body=body), collateral, policy=LOOSE)
    assert result.tcb is not None
    assert result.tcb_status == spelled_relaunch(launch, current)
    assert (result.tcb.launch, result.tcb.current) == (launch, current)
    assert result.tcb.advisory_ids == ("INTEL-SA-THEN",)
    assert result.tcb.current_advisory_ids == ("INTEL-SA-NOW",)
    assert result.accepted == ("Revoked" not in (launch, current))


UNKNOWN = ("Splendid", "", "uptodate", "UpToDate ", "TDRelaunchAdvised", "None")


@pytest.mark.parametrize("text", UNKNOWN)
def test_an_unknown_status_is_no_status(text: str) -> None:
    """Nothing but the exact words of a document of that kind is a status."""
    for allowed in (PLATFORM_STATUSES, QE_STATUSES, TDX_MODULE_STATUSES):
        assert known(text, allowed) is None


@pytest.mark.parametrize("text", ["SWHardeningNeeded", "ConfigurationAndSWHardeningNeeded"])
def test_a_status_of_another_document_is_unknown(text: str) -> None:
    """A QE or a module cannot have a status that only platforms have."""
    assert known(text, PLATFORM_STATUSES) == text
    assert known(text, QE_STATUSES) is None
    assert known(text, TDX_MODULE_STATUSES) is None


@pytest.mark.parametrize("where", ["platform", "qe", "module", "now"])
@pytest.mark.parametrize("text", UNKNOWN)
def test_an_unknown_status_is_rejected_under_every_policy(
    world: World, where: str, text: str
) -> None:
    """A level of unknown status, of platform, QE or module, then or now, fails its check."""
    good = world.tcb_level("UpToDate", tdx=TDX_COMPONENTS)
    changes = {
        "platform": {
            "tcb_info_levels": [world.tcb_level(text, tdx=TDX_COMPONENTS)],
        },
        "qe": {"qe_identity_levels": [world.isvsvn_level(text, 8)]},
        "module": {
            "tcb_info_tdx_module_identities": [
                world.module_identity("TDX_01", [world.isvsvn_level(text, 6)])
            ]
        },
        "now": {"tcb_info_levels": [good, world.tcb_level(text, tdx=(5, 0, 9, *bytes(13)))]},
    }[where]
    body = {"tee_tcb_svn_2": bytes((6, 1, 9))}
    quote = world.quote(5, "tdx", body=body)
    assert judged(world, quote, tee="tdx", policy=LOOSE).accepted
    result = judged(world, quote, endorsed(world, "tdx", **changes), policy=LOOSE)
    assert_rejected(result, "tcb-status-known", exit_status=4)
    assert result.tcb is None
