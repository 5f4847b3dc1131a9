"""What the security tests stand on: a truth, one departure from it, and the judgement on both.

Here: the simulated truth as evidence and collateral, and the two assertions. What departs, and which
check must notice, is each test's own.
"""

from datetime import datetime
from typing import Any

from dcap import AttestationResult, Policy, appraise
from dcap.appraisal.policy import ACCEPTABLE
from dcap.formats.collateral import Collateral
from dcap.formats.quote import Quote
from dcap.verification import Evidence
from departures import Issued, World
from worlds import AT, anchor_of, collateral_of, need_vector

#: What the attacker has to pass here: every check of truth, and the strict default of the rest.
ANY = Policy(identity="any")
#: The loosest policy there is. What it refuses cannot be true.
LOOSE = Policy(
    identity="any",
    accepted_tcb_statuses=ACCEPTABLE,
    allow_debug=True,
    allow_sept_ve=True,
    allow_migratable=True,
    allow_service_td=True,
)


def endorsed(world: World, tee: str = "sgx", ca: str | None = None, **changes: Any) -> Collateral:
    """The world's collateral, with what `departures.World.collateral` can change in it."""
    return collateral_of(world.collateral(tee, ca, **changes))


def judged(
    world: World,
    evidence: bytes | Quote | Evidence | None = None,
    collateral: Collateral | None = None,
    *,
    tee: str = "sgx",
    policy: Policy = ANY,
    at: datetime = AT,
) -> AttestationResult:
    """The judgement under the world's root; what is not given is the truth of `tee`."""
    return appraise(
        world.quote(tee=tee) if evidence is None else evidence,
        endorsed(world, tee) if collateral is None else collateral,
        policy,
        at=at,
        anchor=anchor_of(world),
    )


def failed(result: AttestationResult) -> set[str]:
    """The codes of the checks that failed."""
    return {finding.code for finding in result.failures}


def assert_accepted(result: AttestationResult) -> AttestationResult:
    """The result is one of acceptance, in all its forms."""
    assert failed(result) == set()
    assert (result.verdict, result.exit_status, result.accepted) == ("accepted", 0, True)
    return result.require()


def assert_rejected(
    result: AttestationResult, *codes: str, exit_status: int | None = None
) -> AttestationResult:
    """Exactly these checks failed, and the result rejects with that exit status.

    Without one: 6 where collateral could not be read and nothing worse is known, 2 where the quote's
    own chain could not be, else 3.
    """
    assert failed(result) == set(codes)
    if exit_status is None:
        exit_status = 3
        if all(code.endswith("-format") for code in codes):
            exit_status = 2 if "pck-chain-format" in codes else 6
    assert (result.verdict, result.exit_status, result.accepted) == ("rejected", exit_status, False)
    assert result.verified is None or exit_status in (4, 5)
    return result


def assert_vector_rejected(
    name: str, *codes: str, exit_status: int | None = None
) -> AttestationResult:
    """A negative vector is rejected for exactly these; the genuine one it was made of is accepted."""
    negative = need_vector(name)
    genuine = need_vector(negative.manifest["derived_from"])
    assert_accepted(appraise(genuine.quote, genuine.collateral, LOOSE, at=genuine.at))
    result = appraise(negative.quote, negative.collateral, LOOSE, at=negative.at)
    return assert_rejected(result, *codes, exit_status=exit_status)


def twin(world: World, authority: Issued, common_name: str, **changes: Any) -> Issued:
    """Another certificate of an authority's own name and key, under the root unless changed."""
    return world.certificate(common_name, key=authority.key, **changes)


def pck_ca_twin(world: World, which: str = "processor", **changes: Any) -> Issued:
    """Another certificate of a PCK CA's name and key."""
    name = {"processor": "Intel SGX PCK Processor CA", "platform": "Intel SGX PCK Platform CA"}[
        which
    ]
    return twin(world, world.pck_ca(which), name, **{"ca": True, "path_length": 0, **changes})


def tcb_signing_twin(world: World, **changes: Any) -> Issued:
    """Another certificate of the TCB signer's name and key."""
    return twin(world, world.tcb_signing, "Intel SGX TCB Signing", **changes)
