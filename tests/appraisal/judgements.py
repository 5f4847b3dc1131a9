"""How the tests of appraisal come to a result: a simulated world, judged by a policy."""

from datetime import datetime
from typing import Any

from dcap import AttestationResult, Policy, appraise
from departures import World, components_of
from worlds import AT, anchor_of, collateral_of

#: Good for every genuine quote: nothing is pinned, everything else is strict.
ANY = Policy(identity="any")


def judge(
    world: World,
    policy: Policy = ANY,
    *,
    tee: str = "sgx",
    at: datetime = AT,
    quote: bytes | None = None,
    collateral: dict[str, bytes] | None = None,
) -> AttestationResult:
    """Judge the world's genuine quote and collateral for `tee`, or what is given instead."""
    return appraise(
        world.quote(tee=tee) if quote is None else quote,
        collateral_of(world.collateral(tee) if collateral is None else collateral),
        policy,
        at=at,
        anchor=anchor_of(world),
    )


def failed(result: AttestationResult) -> list[str]:
    """The codes of the failed findings, in the order in which they stand."""
    return [finding.code for finding in result.failures]


def out_of_date(world: World, **more: Any) -> Any:
    """A PCK certificate at exactly the OutOfDate level (2024-03-13)."""
    return world.pck(components=components_of("OutOfDate"), **more)


def hardening(world: World, **more: Any) -> Any:
    """A PCK certificate at exactly the SWHardeningNeeded level (INTEL-SA-00615)."""
    return world.pck(components=components_of("SWHardeningNeeded"), **more)
