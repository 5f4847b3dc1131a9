"""What does the cache cost, and what does it save: one set of collateral, four ways.

    python benchmarks/cache.py [RUNS]

The source is a simulated PCS behind real HTTPS on loopback, so the network itself costs next to
nothing: to Intel's service, "no cache" and "cold" take a round trip across the internet more each.

    no cache        the source is asked each time
    cold            the source is asked, its answer proven, written and synced: the overhead of keeping
    disk            a new process, as far as the cache can tell: read, digest, proven again
    memory          the same process again

The bare arithmetic, for comparison: `check_endorsements` alone. Medians; nothing is asserted.
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dcap.serving import serving
from dcap.simulator import World
from dcap.simulator.services import services
from dcap.simulator.tls import tls_files
from dcap.sources.cache import CachedSource
from dcap.sources.need import CollateralNeed
from dcap.sources.pcs import PcsService
from dcap.sources.service import ServiceSource
from dcap.transport import Network
from dcap.verification import TrustAnchor, check_endorsements

RUNS = 41


def main() -> None:
    """Print a row for each way."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    world = World("benchmark")
    machine = world.platform("node")
    anchor = TrustAnchor.insecure_test_root(world.intel.root.certificate)
    need = CollateralNeed(tee="TDX", fmspc=machine.fmspc, ca="platform")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        certificate, key, ca = tls_files(world, place)
        with (
            serving(services(world), tls=(certificate, key)) as server,
            Network(ca=ca, environ={}) as network,
        ):
            service = PcsService(
                network.handler,
                base=f"{server.url}/sgx/certification/v4/",
                root_crl=f"{server.url}/IntelSGXRootCA.der",
            )
            source = ServiceSource("simulated PCS", service)

            def cache(directory: Path) -> CachedSource:
                return CachedSource(
                    source, directory=directory, anchor=anchor, clock=lambda: world.at
                )

            def cold() -> None:
                directory = place / "cold"
                shutil.rmtree(directory, ignore_errors=True)
                cache(directory).collateral(need)

            warm = cache(place / "warm")
            collateral = warm.collateral(need).collateral
            ways: dict[str, Callable[[], object]] = {
                "no cache": lambda: source.collateral(need),
                "cold": cold,
                "disk": lambda: cache(place / "warm").collateral(need),
                "memory": lambda: warm.collateral(need),
                "(proof alone)": lambda: check_endorsements(
                    collateral, at=world.at, anchor=anchor
                ).require(),
            }
            took = measure(ways, runs)
    floor = took["no cache"]
    print(f"one set of collateral (TDX), {runs} runs in turn, medians; HTTPS on loopback")
    for way, seconds in took.items():
        print(f"  {way:<14}{seconds * 1e3:9.3f} ms{seconds / floor:10.4f} x no cache")
    keeping = took["cold"] - floor
    print(f"  keeping a set costs {keeping * 1e3:.1f} ms once, {keeping / floor:.2f} of its fetch")


def measure(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """The median wall seconds of each way; all in turn, so that the machine treats them alike."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        way()
    for _ in range(runs):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
    return {way: statistics.median(each) for way, each in seconds.items()}


if __name__ == "__main__":
    main()
