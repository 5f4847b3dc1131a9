"""The cache and time: fresh, due, stale, spent; renewed ahead, and never past its time."""

from datetime import timedelta
from pathlib import Path

import pytest
from kept_world import (
    DAY,
    DOWN,
    HOUR,
    LIES,
    Scene,
    is_cached,
)

from dcap.errors import ConfigError, Unavailable
from dcap.sources.freshness import Freshness
from dcap.verification import check_endorsements


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A cache that is still empty."""
    return Scene(tmp_path / "cache")


def test_after_a_day_it_is_asked_anew(scene: Scene) -> None:
    """Within `refresh_after` nobody is asked; after it the source is, and the new set is kept."""
    cache = scene.cache()
    cache.collateral(scene.need)
    scene.world.advance(23 * HOUR)
    assert is_cached(cache.collateral(scene.need))
    scene.world.advance(2 * HOUR)
    assert not is_cached(cache.collateral(scene.need))
    assert is_cached(scene.cache().collateral(scene.need))
    assert scene.source.calls == 2


def test_where_renewal_fails_the_kept_set_serves_with_a_remark(scene: Scene) -> None:
    """Between a day and a week, a source that is down costs a remark that names the cause."""
    first = scene.cache().collateral(scene.need)
    scene.world.advance(2 * DAY)
    scene.source.failure = DOWN
    given = scene.cache().collateral(scene.need)
    assert given.collateral == first.collateral
    assert [origin.stale for origin in given.origins] == [False]
    (remark,) = given.remarks
    assert "could not be renewed" in remark
    assert "source-down" in remark


def test_a_failed_renewal_is_not_tried_again_within_a_minute(scene: Scene) -> None:
    """A source that is down does not slow down every verdict: once a minute is enough."""
    cache = scene.cache()
    cache.collateral(scene.need)
    scene.world.advance(2 * DAY)
    scene.source.failure = DOWN
    remarks = {cache.collateral(scene.need).remarks for _ in range(3)}
    assert len(remarks) == 1
    assert scene.source.calls == 2
    scene.world.advance(timedelta(seconds=61))
    cache.collateral(scene.need)
    assert scene.source.calls == 3


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_poisoned_renewal_does_not_displace_what_is_kept(scene: Scene, lie: object) -> None:
    """While the kept set may serve, an upstream that lies changes nothing but a remark."""
    first = scene.cache().collateral(scene.need)
    scene.world.advance(2 * DAY)
    scene.source.lie = lie  # type: ignore[assignment]
    given = scene.cache().collateral(scene.need)
    assert given.collateral == first.collateral
    assert "may not be kept" in given.remarks[0]


def test_after_a_week_nothing_kept_is_served(scene: Scene) -> None:
    """Past the maximum age the source's failure is the answer."""
    scene.cache().collateral(scene.need)
    scene.world.advance(8 * DAY)
    scene.source.failure = DOWN
    with pytest.raises(Unavailable) as caught:
        scene.cache().collateral(scene.need)
    assert caught.value.code == "source-down"


def test_after_its_own_next_update_nothing_kept_is_served(scene: Scene) -> None:
    """However long the maximum age, what Intel let expire is not served."""
    scene.freshness = Freshness(maximum_age=365 * DAY)
    cache = scene.cache()
    cache.collateral(scene.need)
    scene.source.failure = DOWN
    scene.world.advance(29 * DAY)
    assert is_cached(cache.collateral(scene.need))
    scene.world.advance(2 * DAY)
    with pytest.raises(Unavailable):
        cache.collateral(scene.need)


def test_a_set_that_soon_expires_is_renewed_ahead_of_it(scene: Scene) -> None:
    """A set fetched with ten hours left is asked for anew after five, not when it is too late."""
    old = scene.source.collateral(scene.need).collateral
    scene.source.lie = lambda _: old
    proof = check_endorsements(old, at=scene.world.at, anchor=scene.anchor).require()
    scene.world.at = min(window.expires for window in proof.windows) - 10 * HOUR
    cache = scene.cache()
    cache.collateral(scene.need)
    scene.source.lie = lambda collateral: collateral
    scene.world.advance(4 * HOUR)
    assert is_cached(cache.collateral(scene.need))
    scene.world.advance(2 * HOUR)
    assert not is_cached(cache.collateral(scene.need))


def test_stale_sets_serve_where_the_policy_says_so_and_are_labelled(scene: Scene) -> None:
    """With `stale_for`, what is past its time serves a source's failure, marked on every piece."""
    scene.freshness = Freshness(stale_for=2 * DAY)
    first = scene.cache().collateral(scene.need)
    scene.source.failure = DOWN
    scene.world.advance(8 * DAY)
    given = scene.cache().collateral(scene.need)
    assert given.collateral == first.collateral
    assert all(origin.stale and origin.cached for origin in given.origins)
    assert "past its time" in given.remarks[0]
    scene.world.advance(2 * DAY)
    with pytest.raises(Unavailable):
        scene.cache().collateral(scene.need)


def test_the_policy_may_also_stretch_the_next_update(scene: Scene) -> None:
    """Expired collateral is stale, not fresh, however young it is in the cache."""
    scene.freshness = Freshness(maximum_age=365 * DAY, stale_for=2 * DAY)
    scene.cache().collateral(scene.need)
    scene.source.failure = DOWN
    scene.world.advance(31 * DAY)
    assert all(origin.stale for origin in scene.cache().collateral(scene.need).origins)


def test_a_stale_set_gives_way_to_the_source(scene: Scene) -> None:
    """Leave to serve stale sets is for failures alone."""
    scene.freshness = Freshness(stale_for=10 * DAY)
    scene.cache().collateral(scene.need)
    scene.world.advance(8 * DAY)
    assert not is_cached(scene.cache().collateral(scene.need))


def test_a_clock_set_back_neither_serves_nor_loses_what_is_kept(scene: Scene) -> None:
    """An entry from the future is not judged by a clock that is wrong; set right, it serves."""
    scene.cache().collateral(scene.need)
    scene.source.failure = DOWN
    scene.world.advance(-30 * DAY)
    with pytest.raises(Unavailable):
        scene.cache().collateral(scene.need)
    scene.world.advance(30 * DAY)
    assert is_cached(scene.cache().collateral(scene.need))


@pytest.mark.parametrize("name", Freshness.__struct_fields__)
def test_a_negative_duration_is_a_mistake_of_who_wrote_it(name: str) -> None:
    """Every duration is refused below zero, by name."""
    with pytest.raises(ConfigError) as caught:
        Freshness(**{name: timedelta(seconds=-1)})
    assert (caught.value.code, caught.value.where) == ("cache-freshness", name)


def test_an_older_entry_on_the_disk_does_not_displace_newer_memory(scene: Scene) -> None:
    """Where a renewal could not be written, the process goes on with what it proved last."""
    cache = scene.cache()
    cache.collateral(scene.need)
    (entry,) = scene.entries()
    old = entry.read_bytes()
    scene.world.advance(2 * DAY)
    newer = cache.collateral(scene.need)
    entry.write_bytes(old)
    scene.world.advance(2 * DAY)
    scene.source.failure = DOWN
    assert cache.collateral(scene.need).collateral == newer.collateral


def test_the_same_set_kept_earlier_does_not_age_what_memory_has(scene: Scene) -> None:
    """Renewed on the second day, a set is five days old on the seventh, whatever the disk says."""
    same = scene.source.collateral(scene.need).collateral
    scene.source.lie = lambda _: same
    cache = scene.cache()
    cache.collateral(scene.need)
    (entry,) = scene.entries()
    old = entry.read_bytes()
    scene.world.advance(2 * DAY)
    cache.collateral(scene.need)
    entry.write_bytes(old)
    scene.world.advance(3 * DAY)
    scene.source.failure = DOWN
    cache.collateral(scene.need)
    scene.world.advance(3 * DAY)
    assert is_cached(cache.collateral(scene.need))


def test_where_both_are_past_their_time_the_source_is_handed_on(scene: Scene) -> None:
    """A stale set is not better than an expired one that the source gives: the verdict says so."""
    scene.freshness = Freshness(stale_for=60 * DAY)
    old = scene.source.collateral(scene.need).collateral
    scene.source.lie = lambda _: old
    scene.cache().collateral(scene.need)
    scene.world.advance(40 * DAY)
    assert not is_cached(scene.cache().collateral(scene.need))
