"""Certificates for quotes that only name their machine: anyone can write a name into a quote.

The attacker's quote names the victim's machine, and brings the encrypted PPID of the attacker's own.
"""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from kept_world import DAY, NONE, CountingSource, anchor_of, machine_for, world_of
from upstream import Upstream

import dcap
from dcap.appraisal import Policy
from dcap.errors import NotFound
from dcap.formats.quote import Quote
from dcap.simulator import quoting_enclave
from dcap.simulator.platform import Platform
from dcap.sources.cache import CachedSource
from dcap.sources.need import MachineNeed, machine_of
from dcap.sources.pcs import intel_pcs
from dcap.sources.source import Accept, FetchedPck, Source


class Scene:
    """A relying party that verifies quotes of two machines through one cache."""

    def __init__(self, directory: Path) -> None:
        self.world = world_of()
        self.victim, self.attacker = (self.world.platform(name) for name in ("victim", "attacker"))
        self.anchor = anchor_of(self.world)
        self.directory = directory
        self.source: Source = intel_pcs(Upstream(self.world).connect)

    def cache(self) -> CachedSource:
        """Another process."""
        return CachedSource(
            self.source,
            directory=self.directory,
            anchor=self.anchor,
            clock=lambda: self.world.at,
        )

    def accepts(self, quote: bytes, cache: CachedSource | None = None) -> bool:
        """Whether the quote is accepted by what the cache gives."""
        result = dcap.verify(
            quote,
            Policy(identity="any"),
            source=cache or self.cache(),
            at=self.world.at,
            anchor=self.anchor,
        )
        return result.accepted

    def forged(self) -> bytes:
        """The attacker's own quote, under the victim's name."""
        draft = self.attacker.draft(b"attacker", certification=3)
        return quoting_enclave.make_quote(draft, self.victim.qe_id + bytes(4))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Nothing is kept yet."""
    return Scene(tmp_path / "cache")


def of(machine: Platform) -> Accept:
    """Takes the certificate of this machine alone."""
    return lambda found: found.chain == machine.pck_chain()


def nobody(found: FetchedPck) -> bool:
    """Takes none."""
    return False


def test_the_forged_name_asks_for_the_same_entry(scene: Scene) -> None:
    """Both quotes name one machine, or the tests below test nothing."""
    honest, forged = (
        machine_of(Quote.parse(quote))
        for quote in (scene.victim.quote(b"victim", certification=3), scene.forged())
    )
    assert honest.qe_id == forged.qe_id
    assert honest.encrypted_ppid != forged.encrypted_ppid


@pytest.mark.parametrize("many", ["one process", "a process each"])
def test_a_forged_name_does_not_shadow_the_victim_s_certificate(scene: Scene, many: str) -> None:
    """Whatever the attacker's quote left behind, the victim's is accepted at once and a week later."""
    one = scene.cache()
    cache = (lambda: one) if many == "one process" else scene.cache
    quote = scene.victim.quote(b"victim", certification=3)
    scene.accepts(scene.forged(), cache())
    assert scene.accepts(quote, cache())
    scene.accepts(scene.forged(), cache())
    assert scene.accepts(quote, cache())
    scene.world.advance(6 * DAY)
    assert scene.accepts(quote, cache())


def test_a_forged_name_does_not_displace_the_victim_s_certificate(scene: Scene) -> None:
    """An attacker whose certificate fits no quote leaves the kept one where it is."""
    source = CountingSource(scene.world, scene.victim)
    scene.source = source
    need = machine_for(scene.victim)
    scene.cache().pck_certificate(need, accept=of(scene.victim))
    source.platform = scene.attacker
    given = scene.cache().pck_certificate(need, accept=nobody)
    assert given.chain == scene.attacker.pck_chain()
    assert source.calls == 2
    kept = scene.cache().pck_certificate(need, accept=of(scene.victim))
    assert (kept.origin.cached, kept.chain) == (True, scene.victim.pck_chain())
    assert source.calls == 2


def test_what_is_refused_is_handed_on_and_not_kept(scene: Scene) -> None:
    """The verdict says what is false about it; the next who asks has the source asked."""
    source = CountingSource(scene.world, scene.victim)
    scene.source = source
    cache = scene.cache()
    for calls in (1, 2):
        given = cache.pck_certificate(machine_for(scene.victim), accept=nobody)
        assert given.chain == scene.victim.pck_chain()
        assert not given.origin.cached
        assert source.calls == calls
    assert list(scene.directory.glob("*.kept")) == []


def test_a_kept_certificate_that_is_refused_gives_way_to_one_that_is_taken(scene: Scene) -> None:
    """What the attester kept is no answer to who refuses it; what the source gives is then kept."""
    source = CountingSource(scene.world, scene.attacker)
    scene.source = source
    need = machine_for(scene.victim)
    scene.cache().pck_certificate(need)
    source.platform = scene.victim
    taken = scene.cache().pck_certificate(need, accept=of(scene.victim))
    assert taken.chain == scene.victim.pck_chain()
    assert scene.cache().pck_certificate(need, accept=of(scene.victim)).origin.cached


def test_the_source_is_told_what_is_accepted(scene: Scene) -> None:
    """Behind the cache others may pass over what is refused."""
    told: list[Accept | None] = []
    source = CountingSource(scene.world, scene.victim)

    class Told:
        name = "told"
        collateral = source.collateral

        def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
            told.append(accept)
            return source.pck_certificate(need)

    scene.source = Told()
    scene.cache().pck_certificate(machine_for(scene.victim), accept=nobody)
    assert told == [nobody]


def test_none_for_the_attacker_s_ppid_is_not_none_for_the_victim(scene: Scene) -> None:
    """Intel knows no such machine as the forged quote describes; that says nothing of the named one."""
    source = CountingSource(scene.world, scene.victim, failure=NONE)
    scene.source = source
    cache = scene.cache()
    forged = machine_of(Quote.parse(scene.forged()))
    with pytest.raises(NotFound):
        cache.pck_certificate(forged, accept=nobody)
    source.failure = None
    honest = machine_of(Quote.parse(scene.victim.quote(b"victim", certification=3)))
    given = cache.pck_certificate(honest, accept=of(scene.victim))
    assert given.chain == scene.victim.pck_chain()


def test_who_waited_for_an_answer_that_it_refuses_asks_again(scene: Scene) -> None:
    """Two quotes, one question at one time: the answer to the first is not forced on the second."""
    source = CountingSource(scene.world, scene.attacker)
    scene.source = source
    cache, need, gate = scene.cache(), machine_for(scene.victim), threading.Event()
    source.gate = lambda: gate.wait(10)
    got: dict[str, bytes] = {}

    def ask(who: str, accept: Accept) -> Callable[[], None]:
        return lambda: got.update({who: cache.pck_certificate(need, accept=accept).chain})

    first = threading.Thread(target=ask("attacker", of(scene.attacker)))
    first.start()
    while source.calls == 0:
        gate.wait(0.01)
    second = threading.Thread(target=ask("victim", of(scene.victim)))
    second.start()
    gate.wait(0.2)  # until it waits, too

    def victim_s() -> None:
        if source.calls > 1:
            source.platform = scene.victim

    source.gate = victim_s
    gate.set()
    for thread in (first, second):
        thread.join(10)
    assert got == {"attacker": scene.attacker.pck_chain(), "victim": scene.victim.pck_chain()}


def test_without_a_quote_the_machine_s_own_is_kept_as_it_comes(scene: Scene) -> None:
    """An attester asks for its own machine: what proves and fits is kept, and served for a week."""
    source = CountingSource(scene.world, scene.victim)
    scene.source = source
    need = machine_for(scene.victim)
    scene.cache().pck_certificate(need)
    scene.world.advance(7 * DAY - timedelta(hours=1))
    assert scene.cache().pck_certificate(need).origin.cached
    assert source.calls == 1
