"""What does fetching cost: a cold verdict, beside the same four requests in a row, by round trips.

    python benchmarks/fetch.py [RUNS]

A simulated PCS behind real HTTPS on loopback answers each request after 0, 20 and 100 ms, which stands
for the way to the service and back. A connection costs what it costs on loopback; across the internet
its TCP and TLS handshakes take two or three of those round trips more, of which nothing is seen here.

    verify          `dcap.verify` with nothing kept: fetch side by side, prove, judge
    four, one line  the same four requests one after the other, on one connection (urllib3)
    four, new lines … each on a connection of its own, as Intel's quote provider library asks
    from disk       `dcap.verify` in a new process, as far as the cache can tell
    from memory     … in the same process again

The rows of four requests only fetch, and judge nothing. Medians, in turn; nothing is asserted.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import urllib3

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import dcap
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.serving import serving
from dcap.simulator import World
from dcap.simulator.services import services
from dcap.simulator.tls import tls_files
from dcap.sources.cache import CachedSource
from dcap.sources.pcs import PcsService
from dcap.sources.service import ServiceSource
from dcap.transport import Network

RUNS = 21
DELAYS = (0.0, 0.020, 0.100)


def main() -> None:
    """Print a table for each delay."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    world = World("benchmark")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        certificate, key, ca = tls_files(world, Path(folder))
        print(f"a verdict on a TDX quote, {runs} runs in turn, medians; HTTPS on loopback")
        for delay in DELAYS:
            handler = delayed(services(world), delay)
            server = stack.enter_context(serving(handler, tls=(certificate, key)))
            show(delay, measure(ways(world, server.url, ca, Path(folder) / f"{delay}"), runs))


def delayed(handler: Handler, seconds: float) -> Handler:
    """The handler, each answer so much later. Waiting is cheaper than counting it out for 0."""

    def answer(request: HttpRequest) -> HttpResponse:
        if seconds:
            time.sleep(seconds)
        return handler(request)

    return answer


def ways(world: World, url: str, ca: Path, kept: Path) -> dict[str, Callable[[], object]]:
    """The ways to be measured, each a function of nothing."""
    machine = world.platform("node")
    quote = machine.quote(tee="TDX")
    anchor = dcap.TrustAnchor.insecure_test_root(world.intel.root.certificate)
    policy = dcap.Policy(identity="any")

    def source() -> ServiceSource:
        """A source that has no connection yet."""
        network = Network(ca=ca, environ={})
        root_crl = f"{url}/IntelSGXRootCA.der"
        return ServiceSource("PCS", PcsService(network.handler, base=url, root_crl=root_crl))

    def cache() -> CachedSource:
        return CachedSource(source(), directory=kept, anchor=anchor, clock=lambda: world.at)

    def verify(made: CachedSource | ServiceSource) -> None:
        result = dcap.verify(quote, policy, source=made, at=world.at, anchor=anchor)
        assert result.accepted

    memory = cache()
    verify(memory)
    urls = [
        f"{url}/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        f"{url}/tdx/certification/v4/tcb?fmspc={machine.fmspc.hex()}",
        f"{url}/tdx/certification/v4/qe/identity",
        f"{url}/IntelSGXRootCA.der",
    ]
    return {
        "verify": lambda: verify(source()),
        "four, one line": partial(four, urls, ca, anew=False),
        "four, new lines": partial(four, urls, ca, anew=True),
        "from disk": lambda: verify(cache()),
        "from memory": lambda: verify(memory),
    }


def four(urls: list[str], ca: Path, *, anew: bool) -> None:
    """Ask for each URL after the other."""
    pool = urllib3.PoolManager(ca_certs=str(ca))
    for url in urls:
        answer = pool.request("GET", url, retries=False)
        assert answer.status == 200
        assert answer.data
        if anew:
            pool.clear()
            pool = urllib3.PoolManager(ca_certs=str(ca))
    pool.clear()


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


def show(delay: float, took: dict[str, float]) -> None:
    """One table."""
    print(f"each answer after {delay * 1e3:.0f} ms")
    for way, seconds in took.items():
        ratio = seconds / took["verify"]
        print(f"  {way:<17}{seconds * 1e3:9.2f} ms{ratio:9.2f} x verify")


if __name__ == "__main__":
    main()
