"""No unverified byte ever reaches the cache: every fault of the simulator, upstream of it.

Faults in what is signed are given by a source in process, faults on the wire over real HTTPS.
"""

from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from kept_world import CountingSource, anchor_of, need_for, world_of
from msgspec.structs import replace

from dcap.api.http import Handler
from dcap.errors import CollateralError
from dcap.formats.collateral import Collateral
from dcap.formats.tcb_info import TDX
from dcap.serving import serving
from dcap.simulator import World
from dcap.simulator.faults import FAULTS, Fault, Setting
from dcap.simulator.services import services
from dcap.simulator.tls import LOOPBACK, WRONG_NAMES, tls_files
from dcap.simulator.wire_faults import WIRE_FAULTS, slow
from dcap.sources.cache import CachedSource
from dcap.sources.need import CollateralNeed
from dcap.sources.pcs import PcsService
from dcap.sources.service import ServiceSource
from dcap.sources.source import Source
from dcap.transport import Limits, Network
from dcap.verification import check_endorsements
from dcap.verification.checks import CHECKS

#: Departures that `check_endorsements` must find.
FALSE = [
    fault
    for fault in FAULTS.values()
    if fault.finding in CHECKS and CHECKS[fault.finding].step.startswith("2.")
]
IMPATIENT = Limits(connect=2, read=1, total=2, attempts=1)


@pytest.fixture(scope="module")
def world() -> World:
    """No fault changes it."""
    return world_of()


def entries(directory: Path) -> list[Path]:
    """What was kept."""
    return list(directory.glob("*.kept"))


def need_of(setting: Setting, collateral: Collateral, world: World) -> CollateralNeed:
    """What the truth of a fault is asked for as."""
    proof = check_endorsements(collateral, at=world.at, anchor=anchor_of(world)).require()
    return CollateralNeed(tee=setting.tee, fmspc=proof.tcb_info.fmspc, ca=setting.ca)


def kept_of(
    given: Collateral, need: CollateralNeed, world: World, at: datetime, directory: Path
) -> bool:
    """Whether a set enters a cache at an instant."""
    machine = world.platform("node")
    source = CountingSource(world, machine, lie=lambda _: given)
    cache = CachedSource(source, directory=directory, anchor=anchor_of(world), clock=lambda: at)
    assert cache.collateral(need).collateral == given
    return bool(entries(directory))


@pytest.mark.parametrize("fault", FALSE, ids=lambda fault: fault.name)
def test_a_departure_in_what_is_signed_is_not_kept(
    fault: Fault, world: World, tmp_path: Path
) -> None:
    """The truth enters the cache; the same set with one fault does not."""
    truth, case = fault.truth(world), fault.make(world)
    assert truth.collateral is not None
    assert case.collateral is not None
    honest = replace(truth.collateral, pck_certificate_chain=None)
    need = need_of(fault.setting, honest, world)
    assert kept_of(honest, need, world, truth.at, tmp_path / "truth")
    given = replace(case.collateral, pck_certificate_chain=None)
    assert not kept_of(given, need, world, case.at, tmp_path / "fault")


class Upstream:
    """A PCS over real HTTPS, as a source."""

    def __init__(self, network: Network, url: str, world: World) -> None:
        service = PcsService(
            network.handler,
            base=f"{url}/sgx/certification/v4/",
            root_crl=f"{url}/IntelSGXRootCA.der",
        )
        self.source: Source = ServiceSource("simulated PCS", service)
        self.world = world

    def ask(self, directory: Path, need: CollateralNeed) -> Collateral | None:
        """Through a cache, as a new process; `None` where the source fails."""
        cache = CachedSource(
            self.source,
            directory=directory,
            anchor=anchor_of(self.world),
            clock=lambda: self.world.at,
        )
        try:
            return cache.collateral(need).collateral
        except CollateralError:
            return None


@pytest.mark.parametrize("name", WIRE_FAULTS)
def test_a_fault_on_the_wire_leaves_nothing_in_the_cache(
    name: str, world: World, tmp_path: Path
) -> None:
    """Whatever happens on the way: nothing is kept, unless it came whole, and then it is the truth."""
    fault = partial(slow, seconds=0.1) if name == "slow" else WIRE_FAULTS[name]
    names = WRONG_NAMES if name == "wrong-certificate" else LOOPBACK
    certificate, key, ca = tls_files(world, tmp_path, names=names)
    handler: Handler = fault(services(world))
    directory, need = tmp_path / "cache", need_for(world.platform("node"), TDX)
    with (
        serving(handler, tls=(certificate, key)) as server,
        Network(ca=ca, limits=IMPATIENT, environ={}) as network,
    ):
        given = Upstream(network, server.url, world).ask(directory, need)
    assert len(entries(directory)) == (name == "slow")
    if name == "slow":
        honest = CountingSource(world, world.platform("node")).collateral(need).collateral
        assert given is not None
        anchor = anchor_of(world)
        assert check_endorsements(given, at=world.at, anchor=anchor).endorsements is not None
        assert given.tcb_info == honest.tcb_info
