"""How long does it take to simulate a fleet: 10,000 machines, each with its keys, PCK and a quote?

    python benchmarks/simulate.py [MACHINES]

One thread, this machine. Each quote is of a machine never seen before: its PCK certificate is issued,
its attestation key made, its QE report and quote signed. Some of them are verified afterwards, so that
what was measured is known to be genuine.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dcap import Policy, TrustAnchor, appraise, check_endorsements
from dcap.simulator import World

MACHINES = 10_000
CHECKED = 200
KINDS = {
    "SGX v3": {"tee": "SGX"},
    "TDX v4": {"tee": "TDX"},
    "TDX v5": {"tee": "TDX", "version": 5, "body_type": 3},
}


def main() -> None:
    """One row a kind of quote."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else MACHINES
    print(f"{count} machines, each with its PCK certificate and one quote; one thread")
    for kind, shape in KINDS.items():
        world = World("benchmark")
        begin = time.perf_counter()
        quotes = [world.platform(f"node-{i}").quote(b"nonce", **shape) for i in range(count)]
        took = time.perf_counter() - begin
        size = sum(map(len, quotes)) / 1e6
        print(f"  {kind:<8}{took:7.1f} s {count / took:9.0f}/s {size:8.1f} MB")
        check(world, quotes[:: max(1, count // CHECKED)], str(shape["tee"]))


def check(world: World, quotes: list[bytes], tee: str) -> None:
    """Every one of these is accepted, or the measurement was of nothing."""
    anchor = TrustAnchor.insecure_test_root(world.intel.root.certificate)
    collateral = world.collateral(world.platform("node-0"), tee)
    endorsements = check_endorsements(collateral, at=world.at, anchor=anchor).require()
    for quote in quotes:
        assert appraise(quote, endorsements, Policy(identity="any")).accepted
    print(f"          {len(quotes)} of them verified: genuine")


if __name__ == "__main__":
    main()
