"""Two halves of a procedure's signature checks on two threads: a `verification.signature.Run`.

ECDSA verification leaves the GIL, so the halves really run at the same time. One task for half of
the checks, because handing over a task costs about as much as a quarter of a check.

    with ThreadPoolExecutor(1) as pool:
        dcap.appraise(quote, collateral, policy, at=now, run=side_by_side(pool))

Worth it for one verdict at a time on a machine with an idle core; for many verdicts, give each
thread its own quotes and share the `Endorsements` instead.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from dcap.verification.signature import Claim, Run


def side_by_side(pool: Executor) -> Run:
    """Run half of the checks in `pool`, the other half here."""

    def run(check: Callable[[Claim], bool], claims: Iterable[Claim]) -> list[bool]:
        waiting = list(claims)
        middle = len(waiting) // 2
        other = pool.submit(_each, check, waiting[middle:])
        mine = _each(check, waiting[:middle])
        return mine + other.result()

    return run


def _each(check: Callable[[Claim], bool], claims: list[Claim]) -> list[bool]:
    return [check(claim) for claim in claims]
