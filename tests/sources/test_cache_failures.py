"""The cache where something fails, and where many ask at once: one call, nobody left hanging."""

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from kept_world import (
    DAY,
    DOWN,
    NONE,
    Scene,
    is_cached,
    need_for,
)

from dcap.errors import CollateralError, NotFound, Unavailable
from dcap.sources.cache import CachedSource
from dcap.sources.cache_entry import read_dcap_cache
from dcap.sources.first_of import Attempt, SourcesFailed
from dcap.sources.freshness import Freshness


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A cache that is still empty."""
    return Scene(tmp_path / "cache")


def test_a_failure_is_the_caller_s_and_the_next_call_tries_again(scene: Scene) -> None:
    """That a source did not answer is not remembered."""
    cache = scene.cache()
    scene.source.failure = DOWN
    with pytest.raises(Unavailable):
        cache.collateral(scene.need)
    scene.source.failure = None
    assert not is_cached(cache.collateral(scene.need))
    assert scene.source.calls == 2


def test_none_is_believed_for_half_a_minute_in_memory(scene: Scene) -> None:
    """A need that nobody can meet is not asked for in a loop, nor given up for good."""
    cache = scene.cache()
    scene.source.failure = NONE
    for _ in range(3):
        with pytest.raises(NotFound) as caught:
            cache.collateral(scene.need)
        assert caught.value.code == "source-none"
    assert scene.source.calls == 1
    scene.source.failure = None
    assert not is_cached(scene.cache().collateral(scene.need))
    scene.world.advance(timedelta(seconds=31))
    assert is_cached(cache.collateral(scene.need))


@pytest.mark.parametrize("failure", [None, DOWN, NONE], ids=["answer", "unavailable", "not found"])
def test_many_threads_make_one_call(scene: Scene, failure: CollateralError | None) -> None:
    """Sixteen threads with one need ask once, and all get the answer, or the error."""
    started = threading.Barrier(17)
    scene.source.failure = failure
    gate = threading.Event()
    scene.source.gate = lambda: gate.wait(10)
    cache = scene.cache()
    answers: list[object] = []

    def ask() -> None:
        started.wait()
        try:
            answers.append(cache.collateral(scene.need).collateral)
        except CollateralError as error:
            answers.append(error.code)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    started.wait()
    while scene.source.calls == 0:
        gate.wait(0.01)
    gate.wait(0.2)  # until the others wait, too
    gate.set()
    for thread in threads:
        thread.join(10)
    assert scene.source.calls == 1
    assert len(answers) == 16
    assert all(answer == answers[0] for answer in answers)


def test_needs_do_not_wait_for_each_other(scene: Scene) -> None:
    """While one set is being fetched, another is served."""
    cache = scene.cache()
    cache.collateral(scene.need)
    gate = threading.Event()
    scene.source.gate = lambda: gate.wait(10)
    slow = threading.Thread(target=cache.collateral, args=[need_for(scene.machine, "TDX")])
    slow.start()
    while scene.source.calls < 2:
        gate.wait(0.01)
    assert is_cached(cache.collateral(scene.need))
    gate.set()
    slow.join(10)


def test_a_renewal_under_way_keeps_nobody_waiting(scene: Scene) -> None:
    """While one thread renews, the others go on with what is kept."""
    cache = scene.cache()
    cache.collateral(scene.need)
    scene.world.advance(2 * DAY)
    gate = threading.Event()
    scene.source.gate = lambda: gate.wait(10)
    renewing = threading.Thread(target=cache.collateral, args=[scene.need])
    renewing.start()
    while scene.source.calls < 2:
        gate.wait(0.01)
    assert is_cached(cache.collateral(scene.need))
    assert is_cached(scene.cache().collateral(scene.need)), "another process goes on, too"
    gate.set()
    renewing.join(10)
    assert scene.source.calls == 2


def test_without_a_directory_a_renewal_under_way_is_not_begun_again() -> None:
    """Memory alone is enough for threads not to ask for the same."""
    scene = Scene(None)
    cache = scene.cache()
    cache.collateral(scene.need)
    scene.world.advance(2 * DAY)
    gate = threading.Event()
    scene.source.gate = lambda: gate.wait(10)
    renewing = threading.Thread(target=cache.collateral, args=[scene.need])
    renewing.start()
    while scene.source.calls < 2:
        gate.wait(0.01)
    given = cache.collateral(scene.need)
    assert is_cached(given)
    gate.set()
    renewing.join(10)
    assert scene.source.calls == 2


def test_an_interrupted_fetch_leaves_nobody_hanging(scene: Scene) -> None:
    """Where the thread that fetches is interrupted, one of those who wait takes over."""
    gate, calls = threading.Event(), []

    def interrupted_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            gate.wait(10)
            raise KeyboardInterrupt

    scene.source.gate = interrupted_once
    cache = scene.cache()
    outcomes: list[object] = []

    def ask() -> None:
        try:
            outcomes.append(is_cached(cache.collateral(scene.need)))
        except KeyboardInterrupt:
            outcomes.append("interrupted")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    threads[0].start()
    while not calls:
        gate.wait(0.01)
    threads[1].start()
    gate.wait(0.1)
    gate.set()
    for thread in threads:
        thread.join(10)
    assert sorted(map(str, outcomes)) == ["False", "interrupted"]


def test_where_the_disk_cannot_be_written_a_remark_says_so(tmp_path: Path) -> None:
    """A file where the directory should be costs a remark, and no verdict."""
    (tmp_path / "file").write_bytes(b"")
    scene = Scene(tmp_path / "file" / "cache")
    cache = scene.cache()
    given = cache.collateral(scene.need)
    assert not is_cached(given)
    assert "cannot be written" in given.remarks[0]
    assert str(tmp_path) in given.remarks[0]
    assert is_cached(cache.collateral(scene.need))


# A renewal that takes long


def due(scene: Scene) -> CachedSource:
    """A cache with a set that is to be renewed, for now."""
    cache = scene.cache()
    cache.collateral(scene.need)
    scene.world.advance(2 * DAY)
    return cache


def test_a_silent_source_costs_seconds_and_not_its_limit(scene: Scene) -> None:
    """A set that is due is served while the source is still silent; a remark says so."""
    due(scene)
    gate = threading.Event()
    scene.source.gate = lambda: gate.wait(60)
    began = time.monotonic()
    given = scene.cache().collateral(scene.need)
    assert time.monotonic() - began < 20
    assert is_cached(given)
    assert "did not answer within 2 seconds" in given.remarks[0]
    gate.set()


def test_of_many_processes_one_a_minute_waits_for_a_silent_source(scene: Scene) -> None:
    """The others read from the disk that it was silent, and do not ask it."""
    due(scene)
    gate = threading.Event()
    scene.source.gate = lambda: gate.wait(60)
    scene.cache().collateral(scene.need)
    assert scene.source.calls == 2
    for _ in range(3):
        given = scene.cache().collateral(scene.need)
        assert is_cached(given)
        assert "did not answer" in given.remarks[0]
    assert scene.source.calls == 2
    gate.set()


def test_a_slow_answer_is_kept_when_it_comes(scene: Scene) -> None:
    """Who did not wait for it finds it afterwards."""
    cache = due(scene)
    gate = threading.Event()
    scene.source.gate = lambda: gate.wait(60)
    assert is_cached(cache.collateral(scene.need))
    (entry,) = scene.entries()
    before = entry.read_bytes()
    gate.set()
    until = time.monotonic() + 30
    while entry.read_bytes() == before and time.monotonic() < until:
        time.sleep(0.01)
    given = scene.cache().collateral(scene.need)
    assert scene.source.calls == 2
    assert given.origins[0].fetched_at == scene.world.at
    assert given.remarks == ()


@pytest.mark.parametrize("what", ["due", "stale"])
def test_a_failed_renewal_is_known_to_other_processes_for_a_minute(scene: Scene, what: str) -> None:
    """Each call of a command is a process: they do not all ask a source that is down."""
    scene.freshness = Freshness(stale_for=DAY)
    due(scene)
    scene.world.advance({"due": 0 * DAY, "stale": 5 * DAY}[what])
    scene.source.failure = DOWN
    remarks = {scene.cache().collateral(scene.need).remarks for _ in range(3)}
    assert len(remarks) == 1
    assert scene.source.calls == 2
    scene.world.advance(timedelta(seconds=61))
    scene.cache().collateral(scene.need)
    assert scene.source.calls == 3


def test_a_note_of_a_failure_from_the_future_or_of_another_counts_for_nothing(
    scene: Scene,
) -> None:
    """A clock set back, or a note under another's name, keeps nobody from asking."""
    due(scene)
    scene.source.failure = DOWN
    scene.world.advance(DAY)
    scene.cache().collateral(scene.need)
    assert scene.directory is not None
    (note,) = scene.directory.glob("failure-*")
    scene.world.advance(-DAY)
    scene.cache().collateral(scene.need)
    assert scene.source.calls == 3
    tdx = need_for(scene.machine, "TDX")
    scene.source.failure = None
    scene.cache().collateral(tdx)
    scene.world.advance(2 * DAY)
    scene.source.failure = DOWN
    scene.cache().collateral(tdx)
    other = next(path for path in scene.directory.glob("failure-*") if path != note)
    note.write_bytes(other.read_bytes())
    calls = scene.source.calls
    scene.cache().collateral(scene.need)
    assert scene.source.calls == calls + 1


def test_notes_of_failures_are_not_listed(scene: Scene) -> None:
    """Who looks at a cache sees sets and certificates."""
    due(scene)
    scene.source.failure = DOWN
    scene.cache().collateral(scene.need)
    assert scene.directory is not None
    assert list(scene.directory.glob("failure-*"))
    assert [entry.content.kind for entry in read_dcap_cache(scene.directory)] == ["collateral"]


# What people are told

OFFLINE = Unavailable("offline", "the network was not to be asked, and nothing that is kept serves")


def offline_twice() -> SourcesFailed:
    """As several sources say it."""
    error = SourcesFailed("sources-failed", "no source could give it")
    error.attempts = (Attempt("one", OFFLINE), Attempt("two", OFFLINE))
    return error


@pytest.mark.parametrize("failure", [OFFLINE, offline_twice()], ids=["one", "several"])
def test_off_the_network_the_kept_set_is_used_and_nothing_says_otherwise(
    scene: Scene, failure: CollateralError
) -> None:
    """What serves is not said to be nothing; and the next who may ask does."""
    due(scene)
    scene.source.failure = failure
    (remark,) = scene.cache().collateral(scene.need).remarks
    assert remark.endswith("could not be renewed: the network was not to be asked")
    scene.source.failure = None
    assert not is_cached(scene.cache().collateral(scene.need))


def test_a_set_that_is_too_old_is_named_with_the_flag_that_allows_it(scene: Scene) -> None:
    """Nine days old, allowed are seven: --stale-for 3d would have served, 2d would not."""
    scene.cache().collateral(scene.need)
    scene.world.advance(9 * DAY)
    scene.source.failure = OFFLINE
    with pytest.raises(Unavailable) as caught:
        scene.cache().collateral(scene.need)
    assert caught.value.code == "offline"
    assert "is older than 7 days" in caught.value.what
    assert caught.value.mend.endswith("--stale-for 3d")
    assert "older" not in OFFLINE.what, "the source's own error is left as it is"
    scene.freshness = Freshness(stale_for=2 * DAY)
    with pytest.raises(Unavailable):
        scene.cache().collateral(scene.need)
    scene.freshness = Freshness(stale_for=3 * DAY)
    assert is_cached(scene.cache().collateral(scene.need))


def test_a_set_that_expired_is_named_and_no_flag_with_it(scene: Scene) -> None:
    """What Intel let expire is not accepted for being kept longer."""
    scene.cache().collateral(scene.need)
    scene.world.advance(40 * DAY)
    scene.source.failure = DOWN
    with pytest.raises(Unavailable) as caught:
        scene.cache().collateral(scene.need)
    assert "expired on" in caught.value.what
    assert "--stale-for" not in str(caught.value)
