"""Two instants: ages count by this machine's clock, validity at the instant that is judged.

`dcap verify --at` judges the past or the future; what it fetches is no older, nor younger, for it.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from kept_world import DAY, DOWN, HOUR, Scene, is_cached, machine_for
from msgspec.structs import replace

from dcap.errors import Unavailable
from dcap.simulator.events import PckRevoked
from dcap.sources.disk import Disk
from dcap.sources.freshness import Freshness, Standing, Term
from dcap.sources.kept import KeptCollateral, decode

EVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A cache that is still empty."""
    return Scene(tmp_path / "cache")


@pytest.mark.parametrize("days", [20, -20, 40 * 365], ids=lambda days: f"{days} days")
def test_a_verdict_for_another_instant_keeps_with_its_real_age(scene: Scene, days: int) -> None:
    """What is kept for a verdict of another day is as old as the clock says, and no younger."""
    scene.judged_at = scene.world.at + days * DAY
    scene.cache().collateral(scene.need)
    scene.judged_at = None
    (entry,) = scene.entries()
    kept = decode(Disk(entry.parent).read(entry.stem) or b"", KeptCollateral)
    assert kept is not None
    assert kept.kept_at == scene.world.at


def test_looking_ahead_does_not_hide_what_is_revoked_until_then(scene: Scene) -> None:
    """A look three weeks ahead; three weeks later the source is asked, not the memory of that look."""
    scene.judged_at = scene.world.at + 20 * DAY
    before = scene.cache().collateral(scene.need)
    scene.world.advance(20 * DAY)
    scene.judged_at = None
    PckRevoked(platform="node").apply(scene.world)
    given = scene.cache().collateral(scene.need)
    assert not is_cached(given)
    assert given.collateral.pck_crl != before.collateral.pck_crl


def test_what_is_in_force_then_and_young_now_is_served(scene: Scene) -> None:
    """A look three weeks ahead is served from what was fetched an hour ago."""
    scene.cache().collateral(scene.need)
    scene.world.advance(HOUR)
    scene.judged_at = scene.world.at + 20 * DAY
    assert is_cached(scene.cache().collateral(scene.need))
    assert scene.source.calls == 1


@pytest.mark.parametrize("days", [60, -1], ids=["after its expiry", "before its issue"])
def test_what_is_not_in_force_then_is_not_served(scene: Scene, days: int) -> None:
    """The source is asked, and what is kept is left in its place."""
    scene.cache().collateral(scene.need)
    entries = scene.entries()
    scene.judged_at = scene.world.at + days * DAY
    assert not is_cached(scene.cache().collateral(scene.need))
    scene.source.failure = DOWN
    with pytest.raises(Unavailable):
        scene.cache().collateral(scene.need)
    scene.judged_at = None
    assert scene.entries() == entries
    assert is_cached(scene.cache().collateral(scene.need))


def test_a_renewal_that_is_too_new_for_the_instant_leaves_what_fits(scene: Scene) -> None:
    """A verdict of yesterday is given by what was in force yesterday, while that is at hand."""
    first = scene.cache().collateral(scene.need)
    scene.world.advance(2 * DAY)
    scene.judged_at = scene.world.at - DAY
    given = scene.cache().collateral(scene.need)
    assert scene.source.calls == 2
    assert given.collateral == first.collateral
    assert "not for the instant judged" in given.remarks[0]
    scene.judged_at = None
    assert scene.cache().collateral(scene.need).collateral != first.collateral


@pytest.mark.parametrize("at", EVER, ids=["the first", "the last"])
@pytest.mark.parametrize("which", ["judged", "clock"])
def test_no_instant_that_a_calendar_has_is_too_far(scene: Scene, at: datetime, which: str) -> None:
    """Neither the first nor the last instant overflows anything, whichever clock shows it."""
    cache = scene.cache()
    cache.collateral(scene.need)
    cache.pck_certificate(machine_for(scene.machine))
    scene.source.failure = DOWN
    if which == "judged":
        scene.judged_at = at
    else:
        scene.world.at = at
    for asked in (cache, scene.cache()):
        with pytest.raises(Unavailable):
            asked.collateral(scene.need)
        with pytest.raises(Unavailable):
            asked.pck_certificate(machine_for(scene.machine))


@pytest.mark.parametrize("at", EVER, ids=["the first", "the last"])
def test_durations_without_end_do_not_overflow(at: datetime) -> None:
    """Freshness of any length at any instant is a standing, not an error."""
    longest = timedelta(days=timedelta.max.days)
    forever = Freshness(**dict.fromkeys(Freshness.__struct_fields__, longest))
    term = Term(*EVER)
    ahead = at + timedelta(minutes=1) if at == EVER[0] else at
    for kept_at in (*EVER, ahead):
        for standing in (forever.of_collateral, forever.of_certificate):
            assert isinstance(standing(kept_at, term, at, at), Standing)


@pytest.mark.parametrize(
    "kept_at",
    ["2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00+01:00"],
    ids=["without a zone", "before all time", "of another zone"],
)
def test_an_entry_with_an_instant_that_dcap_never_writes_is_no_entry(
    scene: Scene, kept_at: str
) -> None:
    """It cannot be compared, or not without overflow: the source is asked."""
    scene.cache().collateral(scene.need)
    (entry,) = scene.entries()
    disk = Disk(entry.parent)
    content = msgspec.msgpack.decode(disk.read(entry.stem) or b"")
    disk.write(entry.stem, msgspec.msgpack.encode({**content, "kept_at": kept_at}))
    assert not is_cached(scene.cache().collateral(scene.need))
    assert is_cached(scene.cache().collateral(scene.need))


def test_what_an_entry_tells_people_is_printable(scene: Scene) -> None:
    """Remarks and origins from the disk hold no control characters."""
    scene.cache().collateral(scene.need)
    (entry,) = scene.entries()
    disk = Disk(entry.parent)
    kept = decode(disk.read(entry.stem) or b"", KeptCollateral)
    assert kept is not None
    origins = tuple(replace(o, source="\x1b[2J", address="\x9b") for o in kept.answer.origins)
    said = replace(kept.answer, remarks=("\x1b]0;all fine\x07",), origins=origins)
    disk.write(entry.stem, msgspec.msgpack.encode(replace(kept, answer=said)))
    given = scene.cache().collateral(scene.need)
    assert is_cached(given)
    assert given.remarks == ("\\x1b]0;all fine\\x07",)
    assert [(o.source, o.address) for o in given.origins] == [("\\x1b[2J", "\\x9b")]
