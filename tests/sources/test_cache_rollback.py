"""A replay in front of the cache: genuine, in date, and older than what is kept. It changes nothing.

Between two sets stands what Intel published: a recovery with its revocations, or nothing but a day.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from kept_world import DAY, DOWN, HOUR, Scene, is_cached
from msgspec.structs import replace

from dcap.formats.collateral import Collateral
from dcap.simulator.events import CrlReissued, PckRevoked, RecoveryAnnounced, RecoveryPromoted
from dcap.sources.freshness import Freshness
from dcap.verification import check_endorsements

#: Each piece with what belongs to it: exchanged alone, the rest of the set stays new.
PIECES = {
    "TCB info": ("tcb_info", "tcb_info_issuer_chain"),
    "QE identity": ("qe_identity", "qe_identity_issuer_chain"),
    "PCK CRL": ("pck_crl", "pck_crl_issuer_chain"),
    "root CRL": ("root_ca_crl",),
}

EVENTS = (RecoveryAnnounced(), RecoveryPromoted(), PckRevoked(platform="node"), CrlReissued())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A cache that is still empty."""
    return Scene(tmp_path / "cache")


def recorded(scene: Scene) -> Collateral:
    """A set of today; afterwards Intel recovers from a flaw, and revokes."""
    old = scene.source.collateral(scene.need).collateral
    scene.world.advance(DAY)
    for event in EVENTS:
        event.apply(scene.world)
    scene.world.advance(DAY)
    return old


@pytest.mark.parametrize("piece", PIECES)
def test_a_set_with_one_older_piece_does_not_displace_a_newer_one(scene: Scene, piece: str) -> None:
    """One piece from before the recovery, all else of today: the kept set serves, and is kept."""
    old = recorded(scene)
    newer = scene.cache().collateral(scene.need)
    scene.world.advance(25 * HOUR)
    scene.source.lie = lambda today: replace(
        today, **{name: getattr(old, name) for name in PIECES[piece]}
    )
    replayed = scene.source.collateral(scene.need).collateral
    proof = check_endorsements(replayed, at=scene.world.at, anchor=scene.anchor).endorsements
    assert proof is not None, "the replay is genuine, or this tests nothing"
    given = scene.cache().collateral(scene.need)
    assert given.collateral == newer.collateral
    assert "older than what is kept" in given.remarks[0]
    assert f"its {piece} is number" in given.remarks[0]
    scene.source.failure = DOWN
    assert scene.cache().collateral(scene.need).collateral == newer.collateral


def test_a_replay_of_yesterday_with_the_same_numbers_is_older(scene: Scene) -> None:
    """Where no number has risen, the date of issue tells."""
    old = scene.source.collateral(scene.need).collateral
    scene.world.advance(5 * DAY)
    newer = scene.cache().collateral(scene.need)
    scene.world.advance(25 * HOUR)
    scene.source.lie = lambda _: old
    assert scene.cache().collateral(scene.need).collateral == newer.collateral


def test_a_lower_number_is_older_however_late_it_was_issued(scene: Scene) -> None:
    """Intel signs the generation before the last anew each day: its date does not make it newer."""
    RecoveryAnnounced().apply(scene.world)
    early = scene.source.collateral(replace(scene.need, update="early")).collateral
    scene.source.lie = lambda _: early
    scene.cache().collateral(scene.need)
    scene.world.advance(25 * HOUR)
    scene.source.lie = lambda today: today
    given = scene.cache().collateral(scene.need)
    assert given.collateral == early
    assert "older than what is kept" in given.remarks[0]


def test_what_is_newer_is_kept_after_a_replay(scene: Scene) -> None:
    """The next honest answer displaces what the replay could not."""
    old = recorded(scene)
    scene.cache().collateral(scene.need)
    scene.world.advance(25 * HOUR)
    scene.source.lie = lambda _: old
    assert is_cached(scene.cache().collateral(scene.need))
    scene.source.lie = lambda today: today
    scene.world.advance(timedelta(seconds=61))
    assert not is_cached(scene.cache().collateral(scene.need))
    assert is_cached(scene.cache().collateral(scene.need))


def test_the_same_set_again_is_not_older(scene: Scene) -> None:
    """A source with nothing new renews what is kept."""
    same = scene.source.collateral(scene.need).collateral
    scene.source.lie = lambda _: same
    scene.cache().collateral(scene.need)
    scene.world.advance(25 * HOUR)
    assert not is_cached(scene.cache().collateral(scene.need))
    assert scene.cache().collateral(scene.need).remarks == ()


def test_once_the_kept_set_is_spent_an_older_one_is_taken(scene: Scene) -> None:
    """A source that is behind for a week is better than none."""
    old = recorded(scene)
    scene.cache().collateral(scene.need)
    scene.world.advance(8 * DAY)
    scene.source.lie = lambda _: old
    assert scene.cache().collateral(scene.need).collateral == old
    assert is_cached(scene.cache().collateral(scene.need))


def test_an_older_set_that_is_stale_by_leave_still_outweighs_a_replay(scene: Scene) -> None:
    """Leave to use stale sets is no way around: what is kept may serve, so it does."""
    scene.freshness = Freshness(stale_for=5 * DAY)
    old = recorded(scene)
    newer = scene.cache().collateral(scene.need)
    scene.world.advance(8 * DAY)
    scene.source.lie = lambda _: old
    given = scene.cache().collateral(scene.need)
    assert given.collateral == newer.collateral
    assert given.origins[0].stale


def test_an_older_entry_put_back_on_the_disk_does_not_displace_memory(scene: Scene) -> None:
    """Even where it claims to have been kept later: what it holds tells."""
    old = recorded(scene)
    cache = scene.cache()
    newer = cache.collateral(scene.need)
    (entry,) = scene.entries()
    entry.unlink()
    scene.world.advance(25 * HOUR)
    scene.source.lie = lambda _: old
    assert scene.cache().collateral(scene.need).collateral == old
    assert len(scene.entries()) == 1
    scene.source.failure = DOWN
    assert cache.collateral(scene.need).collateral == newer.collateral
