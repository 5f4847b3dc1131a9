"""Independent signature checks of one procedure on two threads: a `verification.signature.Run`.

ECDSA verification leaves the GIL, so two threads really check at the same time. Both take from one
heap until it is empty; waking a thread costs about as much as one check, so whoever is awake works.

    with ThreadPoolExecutor(1) as pool:
        dcap.appraise(quote, collateral, policy, at=now, run=side_by_side(pool))

Worth it for one verdict at a time on a machine with an idle core; for many verdicts, give each
thread its own quotes and share the `Endorsements` instead.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from dcap.verification.signature import Claim, Run


def side_by_side(pool: Executor) -> Run:
    """Check on this thread and on one of `pool`."""

    def run(check: Callable[[Claim], bool], claims: Iterable[Claim]) -> list[bool]:
        heap = list(claims)

        def work() -> list[bool]:
            outcomes = []
            while heap:
                try:
                    claim = heap.pop()
                except IndexError:  # the other thread took the last one
                    break
                outcomes.append(check(claim))
            return outcomes

        other = pool.submit(work)
        mine = work()
        return mine if other.cancel() else mine + other.result()

    return run
