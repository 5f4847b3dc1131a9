"""The PCK certificate of this machine in the cache: fetched once, kept on the disk, proven."""

from datetime import timedelta
from pathlib import Path

import pytest
from kept_world import DAY, DOWN, NONE, CountingSource, anchor_of, machine_for, world_of
from msgspec.structs import replace

from dcap.errors import CollateralError, Unavailable
from dcap.formats.certificate import Certificate
from dcap.sources.cache import CachedSource
from dcap.sources.kept import certificate_name
from dcap.sources.source import FetchedPck


class Scene:
    """A newly installed machine and its cache."""

    def __init__(self, directory: Path) -> None:
        self.world = world_of()
        self.machine = self.world.platform("node")
        self.source = CountingSource(self.world, self.machine)
        self.directory = directory
        self.need = machine_for(self.machine)
        self.anchor = anchor_of(self.world)

    def cache(self) -> CachedSource:
        """Another process."""
        return CachedSource(
            self.source,
            directory=self.directory,
            anchor=self.anchor,
            clock=lambda: self.world.at,
        )

    def entries(self) -> list[Path]:
        """What lies on the disk."""
        return sorted(self.directory.glob("*.kept"))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Nothing is kept yet."""
    return Scene(tmp_path / "cache")


def test_a_new_machine_obtains_its_certificate_once(scene: Scene) -> None:
    """The first process fetches it, every later one has it from the disk."""
    first = scene.cache().pck_certificate(scene.need)
    scene.source.failure = DOWN
    second = scene.cache().pck_certificate(scene.need)
    assert (first.chain, first.tcbm) == (second.chain, second.tcbm)
    assert (first.origin.cached, second.origin.cached) == (False, True)
    assert second.remarks == ()
    assert scene.source.calls == 1


def test_it_is_asked_for_anew_after_a_week_and_serves_where_that_fails(scene: Scene) -> None:
    """A certificate is not worse for its age: where the source is down, it serves, with a remark."""
    scene.cache().pck_certificate(scene.need)
    scene.world.advance(8 * DAY)
    scene.source.failure = DOWN
    given = scene.cache().pck_certificate(scene.need)
    assert given.origin.cached
    assert not given.origin.stale
    assert "source-down" in given.remarks[0]
    scene.source.failure = None
    scene.world.advance(timedelta(seconds=61))
    assert not scene.cache().pck_certificate(scene.need).origin.cached


def test_a_pccs_that_forgot_the_machine_does_not_take_its_certificate(scene: Scene) -> None:
    """A PCCS says "none" for every trouble of its own; the kept certificate still serves."""
    scene.cache().pck_certificate(scene.need)
    scene.world.advance(8 * DAY)
    scene.source.failure = NONE
    assert scene.cache().pck_certificate(scene.need).origin.cached


def test_it_serves_until_its_own_expiry_and_not_longer(scene: Scene) -> None:
    """The certificate's notAfter ends it, for there is no other maximum age."""
    given = scene.cache().pck_certificate(scene.need)
    leaf = Certificate.parse_chain(given.chain)[0]
    scene.source.failure = DOWN
    scene.world.at = leaf.not_after - timedelta(minutes=1)
    assert scene.cache().pck_certificate(scene.need).origin.cached
    scene.world.at = leaf.not_after
    with pytest.raises(Unavailable):
        scene.cache().pck_certificate(scene.need)


def test_a_machine_whose_tcb_rose_is_another_need(scene: Scene) -> None:
    """After an update the certificate of the old TCB is not served for the new one."""
    scene.machine.svn -= 1
    scene.cache().pck_certificate(machine_for(scene.machine))
    scene.machine.update()
    scene.cache().pck_certificate(machine_for(scene.machine))
    assert scene.source.calls == 2
    assert len(scene.entries()) == 2


def test_the_encrypted_ppid_does_not_make_another_need(scene: Scene) -> None:
    """RSA-OAEP gives other bytes each time; the machine is the same."""
    names = {
        certificate_name(replace(scene.need, encrypted_ppid=ppid), scene.anchor, "")
        for ppid in (None, bytes(384), scene.need.encrypted_ppid)
    }
    assert len(names) == 1


def other_root(scene: Scene, honest: FetchedPck) -> FetchedPck:
    """The same machine, certified by another Intel."""
    return replace(honest, chain=world_of("forger").platform("node").pck_chain())


def another_tcbm(scene: Scene, honest: FetchedPck) -> FetchedPck:
    """A TCB beside the certificate that it is not for."""
    return replace(honest, tcbm=bytes(18))


def above(scene: Scene, honest: FetchedPck) -> FetchedPck:
    """A certificate for a TCB that this machine has not reached."""
    scene.machine.svn += 1
    best = scene.machine.certificate(scene.machine.svn)
    top = scene.machine.cpu_svn + honest.tcbm[16:]
    chain = scene.world.intel.chain(best, scene.world.intel.pck_ca(scene.machine.ca))
    scene.machine.svn -= 1
    return replace(honest, chain=chain, tcbm=top)


def cut_off(scene: Scene, honest: FetchedPck) -> FetchedPck:
    """A chain without its end."""
    return replace(honest, chain=honest.chain[:-300])


def without_issuers(scene: Scene, honest: FetchedPck) -> FetchedPck:
    """The leaf alone."""
    return replace(honest, chain=scene.machine.pck().pem)


LIES = [other_root, another_tcbm, above, cut_off, without_issuers]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_what_does_not_prove_or_fit_is_handed_on_and_not_kept(scene: Scene, lie: object) -> None:
    """A certificate that is false or another's reaches who asked, and never the disk."""
    honest = scene.source.pck_certificate(scene.need)
    given = lie(scene, honest)  # type: ignore[operator]
    scene.source.pck_certificate = lambda *_, **__: given  # type: ignore[method-assign]
    assert scene.cache().pck_certificate(scene.need) == given
    assert scene.entries() == []


def test_a_certificate_of_another_pce_is_not_kept(scene: Scene) -> None:
    """The PCE id must be the machine's."""
    scene.cache().pck_certificate(replace(scene.need, pce_id=b"\x01\x00"))
    assert scene.entries() == []


def test_errors_and_remarks_never_name_the_machine(scene: Scene) -> None:
    """Neither QE id nor PPID stands in what a person or a log sees."""
    scene.cache().pck_certificate(scene.need)
    scene.world.advance(8 * DAY)
    scene.source.failure = CollateralError("source-answer", "the answer cannot be read")
    given = scene.cache().pck_certificate(scene.need)
    said = " ".join(given.remarks) + repr(given.origin) + repr(scene.need)
    for secret in (scene.machine.qe_id, scene.machine.ppid, scene.need.encrypted_ppid[:8]):
        assert secret.hex() not in said.lower()
