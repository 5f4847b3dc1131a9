"""The cache in front of a source: what it keeps, and that nothing enters unproven."""

import stat
from pathlib import Path

import pytest
from kept_world import (
    DAY,
    DOWN,
    LIES,
    CountingSource,
    Scene,
    anchor_of,
    flip_signature,
    is_cached,
    machine_for,
    need_for,
    world_of,
)
from msgspec.structs import replace

from dcap.errors import Unavailable
from dcap.sources.kept import collateral_name, proves
from dcap.sources.source import Fetched
from dcap.verification import check_endorsements


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A cache that is still empty."""
    return Scene(tmp_path / "cache")


# Keeping and serving


def test_the_second_ask_is_served_from_memory_and_says_so(scene: Scene) -> None:
    """The source is asked once; the second answer is the same set, marked as kept."""
    cache = scene.cache()
    first, second = cache.collateral(scene.need), cache.collateral(scene.need)
    assert scene.source.calls == 1
    assert first.collateral == second.collateral
    assert (is_cached(first), is_cached(second)) == (False, True)
    assert second.remarks == ()


def test_another_process_is_served_from_the_disk(scene: Scene) -> None:
    """What one process fetched, the next one need not fetch."""
    first = scene.cache().collateral(scene.need)
    second = scene.cache().collateral(scene.need)
    assert scene.source.calls == 1
    assert second.collateral == first.collateral
    assert is_cached(second)
    assert second.origins[0].fetched_at == first.origins[0].fetched_at


def test_without_a_directory_memory_alone_keeps() -> None:
    """Where there is no place on the disk, the process still asks once."""
    scene = Scene(None)
    cache = scene.cache()
    cache.collateral(scene.need)
    assert cache.collateral(scene.need).remarks == ()
    assert scene.source.calls == 1
    scene.cache().collateral(scene.need)
    assert scene.source.calls == 2


def test_the_name_is_that_of_the_source(scene: Scene) -> None:
    """Errors and origins speak of who answers, not of the cache."""
    assert scene.cache().name == "simulated PCS"


@pytest.mark.parametrize(
    "other",
    [{"tee": "TDX"}, {"ca": "processor"}, {"update": "early"}, {"evaluation_number": 1}],
    ids=lambda other: next(iter(other)),
)
def test_each_need_has_an_entry_of_its_own(scene: Scene, other: dict[str, object]) -> None:
    """A set is never served for a need that differs in anything."""
    need = replace(scene.need, **other)
    assert collateral_name(need, scene.anchor, "") != collateral_name(scene.need, scene.anchor, "")


def test_a_tdx_set_is_kept_beside_the_sgx_one(scene: Scene) -> None:
    """Both TEEs of one machine are kept, each for its own need."""
    tdx = need_for(scene.machine, "TDX")
    sets = [scene.cache().collateral(need) for need in (scene.need, tdx, scene.need, tdx)]
    assert scene.source.calls == 2
    assert sets[0].collateral == sets[2].collateral != sets[1].collateral == sets[3].collateral


def test_answers_of_another_source_are_kept_apart(scene: Scene) -> None:
    """Who asks Azure is not answered with what Intel said."""
    scene.cache().collateral(scene.need)
    scene.source.name = "another"
    scene.cache().collateral(scene.need)
    assert scene.source.calls == 2
    assert len(scene.entries()) == 2


def test_answers_of_another_scope_are_kept_apart(scene: Scene) -> None:
    """Two sources of one name that do not ask the same places, in the same way, share nothing."""
    for scope in ("https://cache/", "https://cache/, unchecked"):
        scene.source.scope = scope  # type: ignore[attr-defined]
        assert not is_cached(scene.cache().collateral(scene.need))
        assert is_cached(scene.cache().collateral(scene.need))
    assert len(scene.entries()) == 2


def test_a_scope_is_never_a_file_s_name_nor_content(scene: Scene) -> None:
    """It may hold a password, and is hashed alone."""
    scene.source.scope = "https://user:secret@cache/"  # type: ignore[attr-defined]
    scene.cache().collateral(scene.need)
    (entry,) = scene.entries()
    assert b"secret" not in entry.name.encode() + entry.read_bytes()


def test_another_root_has_a_cache_of_its_own(scene: Scene) -> None:
    """What a test root proves is never served to who trusts another root."""
    scene.cache().collateral(scene.need)
    other = world_of("another Intel")
    scene.anchor = anchor_of(other)
    assert not is_cached(scene.cache().collateral(scene.need))
    assert len(scene.entries()) == 1


def test_files_are_for_their_user_alone_and_their_names_tell_nothing(scene: Scene) -> None:
    """Directory 0700, files 0600; neither FMSPC nor QE id stands in a name."""
    assert scene.directory is not None
    scene.cache().collateral(scene.need)
    scene.cache().pck_certificate(machine_for(scene.machine))
    assert stat.S_IMODE(scene.directory.stat().st_mode) == 0o700
    for path in scene.directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert scene.machine.fmspc.hex() not in path.name
        assert scene.machine.qe_id.hex() not in path.name
    assert len(scene.entries()) == 2


# Only what proves


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_does_not_prove_is_handed_on_and_not_kept(scene: Scene, lie: object) -> None:
    """A poisoned upstream reaches the caller, whose verdict says so, and never the cache."""
    scene.source.lie = lie  # type: ignore[assignment]
    cache = scene.cache()
    given = cache.collateral(scene.need)
    assert (
        check_endorsements(given.collateral, at=scene.world.at, anchor=scene.anchor).endorsements
        is None
    )
    assert scene.entries() == []
    scene.source.lie = lambda collateral: collateral
    assert not is_cached(cache.collateral(scene.need))
    assert len(scene.entries()) == 1


def test_a_genuine_set_for_another_need_is_not_kept(scene: Scene) -> None:
    """Intel's signature does not make an SGX set an answer to who asked for TDX."""
    sgx = scene.source.collateral(scene.need).collateral
    scene.source.lie = lambda _: sgx
    tdx = need_for(scene.machine, "TDX")
    assert scene.cache().collateral(tdx).collateral == sgx
    assert scene.entries() == []


@pytest.mark.parametrize("other", ["fmspc", "ca", "number"])
def test_a_genuine_set_of_another_kind_of_machine_is_not_kept(scene: Scene, other: str) -> None:
    """FMSPC, CA and evaluation number must be those that were asked for."""
    wrong = {
        "fmspc": {"fmspc": bytes(6)},
        "ca": {"ca": "processor"},
        "number": {"evaluation_number": 9999},
    }[other]
    honest = scene.source.collateral(scene.need).collateral
    scene.source.collateral = lambda _: Fetched(  # type: ignore[method-assign]
        collateral=honest, origins=()
    )
    scene.cache().collateral(replace(scene.need, **wrong))
    assert scene.entries() == []
    scene.cache().collateral(scene.need)
    assert len(scene.entries()) == 1


def test_an_expired_set_is_handed_on_and_not_kept(scene: Scene) -> None:
    """A source that serves old news is asked again each time."""
    old = scene.source.collateral(scene.need).collateral
    scene.source.lie = lambda _: old
    scene.world.advance(60 * DAY)
    assert scene.cache().collateral(scene.need).collateral == old
    assert scene.entries() == []


def test_a_set_with_one_machines_certificate_is_not_kept(scene: Scene) -> None:
    """A PPID does not come to lie among what is kept for all machines of a kind."""
    chain = scene.machine.pck_chain()
    scene.source.lie = lambda collateral: replace(collateral, pck_certificate_chain=chain)
    assert scene.cache().collateral(scene.need).collateral.pck_certificate_chain == chain
    assert scene.entries() == []


def test_forged_content_on_the_disk_is_dropped_and_fetched_anew(scene: Scene) -> None:
    """Whoever writes a well-formed entry of another Intel into the cache is not believed."""
    other = Scene(scene.directory)
    other.world = world_of("forger")
    other.machine = other.world.platform("node")
    other.source = CountingSource(other.world, other.machine)
    other.anchor = anchor_of(other.world)
    other.cache().collateral(other.need)
    (forged,) = scene.entries()
    place = collateral_name(scene.need, scene.anchor, scene.source.name)
    forged.rename(forged.with_name(f"{place}.kept"))
    given = scene.cache().collateral(scene.need)
    assert not is_cached(given)
    assert scene.source.calls == 1
    assert is_cached(scene.cache().collateral(scene.need))


def test_an_entry_copied_under_another_name_is_not_served(scene: Scene) -> None:
    """What another source gave, genuine and for the same need, is not this one's answer."""
    scene.cache().collateral(scene.need)
    (entry,) = scene.entries()
    scene.source.name = "another"
    place = collateral_name(scene.need, scene.anchor, "another")
    copied = entry.with_name(f"{place}.kept")
    copied.write_bytes(entry.read_bytes())
    copied.chmod(0o600)
    scene.source.failure = DOWN
    with pytest.raises(Unavailable):
        scene.cache().collateral(scene.need)
    assert scene.entries() == [entry]


def test_a_cache_that_others_can_write_is_not_served_and_says_so(scene: Scene) -> None:
    """The source is asked, and a remark says why, and how to mend it."""
    assert scene.directory is not None
    scene.cache().collateral(scene.need)
    scene.directory.chmod(0o777)
    given = scene.cache().collateral(scene.need)
    assert not is_cached(given)
    (remark,) = given.remarks
    assert "is not used: others can write to it" in remark
    assert "dcap makes it for this user alone" in remark


def test_an_entry_that_others_can_write_is_replaced_and_a_remark_says_so(scene: Scene) -> None:
    """Once; the next answer comes from the entry that took its place."""
    scene.cache().collateral(scene.need)
    (entry,) = scene.entries()
    entry.chmod(0o666)
    given = scene.cache().collateral(scene.need)
    assert not is_cached(given)
    assert "an entry of the cache" in given.remarks[0]
    after = scene.cache().collateral(scene.need)
    assert is_cached(after)
    assert after.remarks == ()


@pytest.mark.parametrize("size", [0, 3, 49, 50, 500], ids=lambda size: f"{size} bytes")
def test_a_file_cut_off_is_fetched_anew(scene: Scene, size: int) -> None:
    """Corruption costs one fetch, and is gone afterwards."""
    scene.cache().collateral(scene.need)
    (entry,) = scene.entries()
    entry.write_bytes(entry.read_bytes()[:size])
    assert not is_cached(scene.cache().collateral(scene.need))
    assert is_cached(scene.cache().collateral(scene.need))
    assert scene.source.calls == 2


@pytest.mark.parametrize("place", [0, 9, 12, 30, 60, -1])
def test_a_flipped_bit_is_detected(scene: Scene, place: int) -> None:
    """Wherever a bit tips over, the entry is not served, not even when the source is down."""
    scene.cache().collateral(scene.need)
    (entry,) = scene.entries()
    content = bytearray(entry.read_bytes())
    content[place] ^= 1
    entry.write_bytes(content)
    scene.source.failure = DOWN
    with pytest.raises(Unavailable):
        scene.cache().collateral(scene.need)


def test_proves_is_the_cache_s_own_rule_for_failover(scene: Scene) -> None:
    """`FirstOf` can be given the same question: proven, and in date."""
    accept = proves(anchor=scene.anchor, clock=lambda: scene.world.at)
    good = scene.source.collateral(scene.need)
    assert accept(good)
    assert not accept(replace(good, collateral=flip_signature(good.collateral)))
    scene.world.advance(60 * DAY)
    assert not accept(good)
