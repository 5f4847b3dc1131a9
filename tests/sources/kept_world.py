"""A simulated world as a source that counts its calls, and can be told to fail or to lie."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from dcap.errors import CollateralError, NotFound, Unavailable
from dcap.formats.collateral import Collateral
from dcap.formats.origin import Origin
from dcap.simulator import World
from dcap.simulator.platform import Platform
from dcap.sources.cache import CachedSource
from dcap.sources.freshness import Freshness
from dcap.sources.need import CollateralNeed, MachineNeed
from dcap.sources.source import Accept, Fetched, FetchedPck
from dcap.verification import TrustAnchor

DOWN = Unavailable("source-down", "the simulated source does not answer")
NONE = NotFound("source-none", "the simulated source has none")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def world_of(seed: str = "cache") -> World:
    """A world of its own for each test: its clock moves."""
    return World(seed)


def anchor_of(world: World) -> TrustAnchor:
    """The simulated root."""
    return TrustAnchor.insecure_test_root(world.intel.root.certificate)


def need_for(platform: Platform, tee: str = "SGX", **more: object) -> CollateralNeed:
    """What a quote of this machine needs."""
    return CollateralNeed(tee=tee, fmspc=platform.fmspc, ca=platform.ca, **more)


def machine_for(platform: Platform) -> MachineNeed:
    """The machine as certification data of type 3 tell it."""
    return MachineNeed(
        qe_id=platform.qe_id,
        cpu_svn=platform.cpu_svn,
        pce_svn=platform.certificates()[0].pce_svn,
        pce_id=platform.pce_id,
        encrypted_ppid=platform.encrypted_ppid,
    )


@dataclass
class CountingSource:
    """Answers from the world as it is now. `failure` is raised instead, `lie` alters the set."""

    world: World
    platform: Platform
    name: str = "simulated PCS"
    calls: int = 0
    failure: CollateralError | None = None
    lie: Callable[[Collateral], Collateral] = lambda collateral: collateral
    gate: Callable[[], object] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def _asked(self) -> datetime:
        with self.lock:
            self.calls += 1
        self.gate()
        if self.failure is not None:
            raise self.failure
        return self.world.at

    def collateral(self, need: CollateralNeed) -> Fetched:
        """The set that Intel would answer now."""
        at = self._asked()
        made = self.world.collateral(
            self.platform, need.tee, update=need.update, number=need.evaluation_number
        )
        honest = replace(made, pck_certificate_chain=None)
        origin = Origin(piece="tcb_info", source=self.name, address="memory:", fetched_at=at)
        return Fetched(collateral=self.lie(honest), origins=(origin,))

    def pck_certificate(
        self,
        need: MachineNeed,  # noqa: ARG002 - a Source's own
        *,
        accept: Accept | None = None,  # noqa: ARG002
    ) -> FetchedPck:
        """The certificate of the machine as it is now."""
        at = self._asked()
        best = next(tcb for tcb in self.platform.certificates() if tcb.certificate is not None)
        origin = Origin(piece="pck", source=self.name, address="memory:", fetched_at=at)
        chain = self.platform.pck_chain()
        return FetchedPck(chain=chain, tcbm=bytes.fromhex(best.hex), origin=origin)


class Scene:
    """One world, one machine, one source, and caches in front of it."""

    def __init__(self, directory: Path | None) -> None:
        self.world = world_of()
        self.machine = self.world.platform("node")
        self.source = CountingSource(self.world, self.machine)
        self.directory = directory
        self.need = need_for(self.machine)
        self.freshness = Freshness()
        self.anchor = anchor_of(self.world)
        self.judged_at: datetime | None = None

    def cache(self) -> CachedSource:
        """Another process, as far as the cache can tell: nothing in memory."""
        return CachedSource(
            self.source,
            directory=self.directory,
            anchor=self.anchor,
            freshness=self.freshness,
            clock=lambda: self.world.at,
            judged_at=lambda: self.judged_at or self.world.at,
        )

    def entries(self) -> list[Path]:
        """The sets and certificates on the disk; not the notes of failures."""
        assert self.directory is not None
        kept = self.directory.glob("*.kept")
        return sorted(path for path in kept if not path.name.startswith("failure-"))


def is_cached(fetched: Fetched) -> bool:
    """Whether every piece says that it was kept."""
    said = {origin.cached for origin in fetched.origins}
    assert len(said) == 1
    return said.pop()


def flip_signature(collateral: Collateral) -> Collateral:
    """A TCB info whose signature is false."""
    head, tail = collateral.tcb_info[:-10], collateral.tcb_info[-10:]
    digit = b"0" if tail[:1] != b"0" else b"1"
    return replace(collateral, tcb_info=head + digit + tail[1:])


def no_crl(collateral: Collateral) -> Collateral:
    """A page of a proxy where the CRL belongs."""
    return replace(collateral, pck_crl=b"<html>403</html>")


LIES = {"forged": flip_signature, "unreadable": no_crl}
