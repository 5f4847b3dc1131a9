"""Entries on the disk: whole or absent, bounded, in the user's own place, whoever dies meanwhile."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kept_world import CountingSource, anchor_of, need_for, world_of

from dcap.errors import Unavailable
from dcap.sources.cache import CachedSource
from dcap.sources.disk import LEFTOVER_AGE, MAGIC, MAX_ENTRY, Disk, cache_directory

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NAME = "collateral-" + "0a" * 32
OTHER = "pck-" + "0b" * 32
LEFTOVER = f".{NAME}.123.{'0' * 16}.tmp"


def name_of(number: int) -> str:
    """The name of an entry."""
    return f"collateral-{number:064x}"


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A directory that does not exist yet."""
    return Disk(tmp_path / "new" / "cache")


def test_what_was_written_is_read(disk: Disk) -> None:
    """An entry comes back byte for byte, and the last one written counts."""
    assert disk.read(NAME) is None
    disk.write(NAME, b"one")
    disk.write(NAME, b"two" * 100_000)
    disk.write(OTHER, b"")
    assert disk.read(NAME) == b"two" * 100_000
    assert disk.read(OTHER) == b""
    assert disk.names() == (NAME, OTHER)
    assert disk.trouble == ""


def test_directories_it_makes_are_the_user_s_alone(disk: Disk) -> None:
    """Those above the cache that were lacking, too."""
    disk.write(NAME, b"one")
    for folder in (disk.directory, disk.directory.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_entry_of_a_later_dcap_is_neither_read_nor_removed(disk: Disk) -> None:
    """Two releases beside each other do not take each other's entries for corrupt."""
    disk.write(NAME, b"one")
    path = disk.directory / f"{NAME}.kept"
    content = path.read_bytes()
    path.write_bytes(MAGIC + b"\xff\xff" + content[10:])
    assert disk.read(NAME) is None
    assert path.exists()


def test_a_corrupt_entry_is_removed(disk: Disk) -> None:
    """It is read as absent, and gone."""
    disk.write(NAME, b"one")
    path = disk.directory / f"{NAME}.kept"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    assert disk.read(NAME) is None
    assert not path.exists()


def test_a_pipe_in_the_place_of_an_entry_is_not_waited_for(disk: Disk) -> None:
    """What is no file is no entry; nobody hangs."""
    disk.write(OTHER, b"one")
    os.mkfifo(disk.directory / f"{NAME}.kept")
    assert disk.read(NAME) is None


def test_only_the_payload_that_was_judged_is_dropped(disk: Disk) -> None:
    """A good entry that came in the meantime stays."""
    disk.write(NAME, b"good")
    disk.drop(NAME, b"bad")
    assert disk.read(NAME) == b"good"
    disk.drop(NAME, b"good")
    assert disk.read(NAME) is None


def test_leftovers_of_killed_writers_are_cleared_away_when_they_are_old(disk: Disk) -> None:
    """Old ones go; a young one may be a writer's at work; other people's files are not ours."""
    disk.write(NAME, b"one")
    old = time.time() - LEFTOVER_AGE - 60
    young, stale = (disk.directory / LEFTOVER.replace("123", n) for n in ("1", "2"))
    foreign = disk.directory / "notes.tmp"
    for path in (young, stale, foreign):
        path.write_bytes(b"half")
    for path in (stale, foreign):
        os.utime(path, (old, old))
    disk.write(OTHER, b"two")
    assert (young.exists(), stale.exists(), foreign.exists()) == (True, False, True)


def age(disk: Disk, number: int, seconds: float) -> None:
    """Let an entry be older than it is."""
    then = time.time() - seconds
    os.utime(disk.directory / f"{name_of(number)}.kept", (then, then))


def test_the_oldest_entries_leave_where_there_are_too_many(tmp_path: Path) -> None:
    """The number of entries is bounded; the newest is never the one to go."""
    disk = Disk(tmp_path, entries=3)
    for number in range(6):
        disk.write(name_of(number), b"x")
        age(disk, number, 1000 - number)
    assert disk.names() == tuple(name_of(number) for number in (3, 4, 5))


def test_the_oldest_entries_leave_where_they_weigh_too_much(tmp_path: Path) -> None:
    """The weight is bounded as well; one entry heavier than all that is allowed stays alone."""
    disk = Disk(tmp_path, size=1000)
    for number, weight in enumerate((400, 400, 400)):
        disk.write(name_of(number), bytes(weight))
        age(disk, number, 1000 - number)
    assert disk.names() == (name_of(1), name_of(2))
    disk.write(name_of(3), bytes(5000))
    assert disk.names() == (name_of(3),)


def test_what_is_larger_than_any_collateral_is_not_kept(disk: Disk) -> None:
    """A source that sends without end does not fill the disk."""
    disk.write(NAME, bytes(MAX_ENTRY + 1))
    assert disk.names() == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_is_read_only_still_serves(disk: Disk) -> None:
    """A cache baked into an image is read; that nothing can be added is said."""
    disk.write(NAME, b"one")
    disk.directory.chmod(0o500)
    try:
        disk.write(OTHER, b"two")
        assert disk.trouble
        assert disk.read(NAME) == b"one"
    finally:
        disk.directory.chmod(0o700)


def test_trouble_is_forgotten_once_it_is_over(tmp_path: Path) -> None:
    """A disk that can be written again is no trouble."""
    blocked = tmp_path / "cache"
    blocked.write_bytes(b"")
    disk = Disk(blocked)
    disk.write(NAME, b"one")
    assert disk.trouble
    blocked.unlink()
    disk.write(NAME, b"one")
    assert disk.trouble == ""
    assert disk.read(NAME) == b"one"


# Whom the directory belongs to


OPEN = [0o720, 0o702, 0o777, 0o1777]
ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.mark.parametrize("mode", OPEN, ids=oct)
def test_a_directory_that_others_can_write_is_not_used(disk: Disk, mode: int) -> None:
    """Neither read nor written; it is said why, and how to mend it; and forgotten once it is mended."""
    disk.write(NAME, b"one")
    disk.directory.chmod(mode)
    assert disk.read(NAME) is None
    assert "others can write to it" in disk.distrust
    assert str(disk.directory) in disk.distrust
    disk.write(OTHER, b"two")
    with disk.turn(NAME, 0.0) as mine:
        assert mine
    assert disk.names() == (NAME,)
    assert not list(disk.directory.glob("turn-*"))
    disk.directory.chmod(0o700)
    assert disk.read(NAME) == b"one"
    assert disk.distrust == ""


@pytest.mark.parametrize("mode", [0o620, 0o602], ids=oct)
def test_an_entry_that_others_can_write_is_not_used(disk: Disk, mode: int) -> None:
    """It is not read, not removed either, and the next one written takes its place."""
    disk.write(NAME, b"one")
    path = disk.directory / f"{NAME}.kept"
    path.chmod(mode)
    assert disk.read(NAME) is None
    assert "an entry" in disk.distrust
    assert path.exists()
    disk.write(NAME, b"two")
    assert disk.read(NAME) == b"two"
    assert disk.distrust == ""


@ROOT_ALONE
def test_what_belongs_to_another_user_is_not_used(disk: Disk) -> None:
    """An entry, or the directory, of somebody else."""
    disk.write(NAME, b"one")
    path = disk.directory / f"{NAME}.kept"
    os.chown(path, 12345, 12345)
    assert disk.read(NAME) is None
    assert "belongs to another user" in disk.distrust
    os.chown(path, 0, 0)
    assert disk.read(NAME) == b"one"
    os.chown(disk.directory, 12345, 12345)
    assert disk.read(NAME) is None
    assert "belongs to another user" in disk.distrust


def test_a_link_in_the_place_of_an_entry_is_not_followed(disk: Disk) -> None:
    """Even to an entry of our own."""
    disk.write(NAME, b"one")
    (disk.directory / f"{OTHER}.kept").symlink_to(disk.directory / f"{NAME}.kept")
    assert disk.read(OTHER) is None
    assert disk.look(OTHER) is None
    disk.write(OTHER, b"two")
    assert disk.read(NAME) == b"one"


def test_a_link_in_the_place_of_a_lock_makes_no_file_elsewhere(disk: Disk, tmp_path: Path) -> None:
    """Whoever put it there does not have us write where they cannot; the entry is still written."""
    elsewhere = tmp_path / "elsewhere"
    disk.directory.mkdir(parents=True, mode=0o700)
    for lock in ("write.lock", f"turn-{NAME[-2:]}.lock"):
        (disk.directory / lock).symlink_to(elsewhere)
    disk.write(NAME, b"one")
    with disk.turn(NAME, 0.0) as mine:
        assert mine
    assert not elsewhere.exists()
    assert disk.read(NAME) == b"one"


def test_a_pipe_in_the_place_of_a_lock_is_not_waited_for(disk: Disk) -> None:
    """Nobody hangs."""
    disk.directory.mkdir(parents=True, mode=0o700)
    os.mkfifo(disk.directory / "write.lock")
    disk.write(NAME, b"one")
    assert disk.read(NAME) == b"one"


PLACES = [
    ({"DCAP_CACHE": "/var/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, False, "/var/c"),
    ({"DCAP_CACHE": "off", "HOME": "/h"}, False, None),
    ({"DCAP_CACHE": "", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, False, "/x/dcap"),
    ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, False, "/h/.cache/dcap"),
    ({"XDG_CACHE_HOME": "", "HOME": "/h"}, False, "/h/.cache/dcap"),
    ({}, False, None),
    ({"LOCALAPPDATA": "/l", "HOME": "/h"}, True, "/l/dcap/cache"),
    ({"HOME": "/h"}, True, None),
    ({"DCAP_CACHE": "/var/c", "LOCALAPPDATA": "/l"}, True, "/var/c"),
]


@pytest.mark.parametrize(("environ", "windows", "place"), PLACES)
def test_where_the_cache_lies(environ: dict[str, str], windows: bool, place: str | None) -> None:
    """$DCAP_CACHE, XDG's place, the home; none where there is no home, or it is switched off."""
    found = cache_directory(environ, windows=windows)
    assert found == (None if place is None else Path(place))


def run(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A script of these tests as a process of its own."""
    paths = (str(ROOT / "src"), str(ROOT / "tests"), str(HERE))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_writers_that_are_killed_corrupt_nothing_and_lose_nothing(tmp_path: Path) -> None:
    """200 kills, 8 writers at once: every read is whole, every good entry is still there."""
    directory = tmp_path / "cache"
    controller = run("kill_writers.py", str(directory), "200", "8")
    out, err = controller.communicate(timeout=120)
    assert (out.split(), controller.returncode) == ([b"200"], 0), err.decode()
    assert [path.read_text() for path in directory.glob("wrong-*")] == []
    leftovers = list(directory.glob(".*.tmp"))
    assert leftovers, "no writer was killed in the middle of a write: the test tested nothing"

    world = world_of()
    machine = world.platform("node")
    source = CountingSource(world, machine, failure=Unavailable("source-down", "down"))
    cache = CachedSource(
        source, directory=directory, anchor=anchor_of(world), clock=lambda: world.at
    )
    for tee in ("SGX", "TDX"):
        assert all(origin.cached for origin in cache.collateral(need_for(machine, tee)).origins)
    disk = Disk(directory)
    assert len(disk.names()) == 4
    assert all(disk.read(name) is not None for name in disk.names())
    for path in leftovers:
        os.utime(path, (0, 0))
    disk.write(NAME, b"one")
    assert list(directory.glob(".*.tmp")) == []


def test_processes_that_want_the_same_ask_once(tmp_path: Path) -> None:
    """Four processes with an empty cache: one fetches, the others wait for it and read the disk."""
    processes = [run("ask_once.py", str(tmp_path / "cache")) for _ in range(4)]
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("ready-*"))) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode()
    assert (tmp_path / "calls").read_text() == "called\n"
