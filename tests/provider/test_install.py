"""Placing the library for programs, and undoing it: truth, one change, one consequence."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dcap.errors import ConfigError
from dcap.provider import install as module
from dcap.provider.install import (
    ASIDE,
    BARE,
    COMMAND,
    RECORD,
    VERSIONED,
    Installation,
    default_prefix,
    starting_command,
)

PREFIX = "/usr/lib/x86_64-linux-gnu"
LINE = "/opt/dcap/bin/python -I -m dcap.provider\n"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A library to place: its bytes are all that counts."""
    path = tmp_path / "built.so"
    path.write_bytes(b"\x7fELF ours")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of libraries of a scratch root."""
    place = tmp_path / "root" / PREFIX.lstrip("/")
    place.mkdir(parents=True)
    return place


@pytest.fixture
def place(folder: Path, tmp_path: Path) -> Installation:
    """An installation there."""
    return Installation(PREFIX, root=tmp_path / "root")


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> content, or where a link points."""
    return {
        path.name: str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        for path in folder.iterdir()
    }


def test_all_is_placed_and_taken_away(place: Installation, folder: Path, built: Path) -> None:
    """The SONAME is a file, the bare name a link to it, the command beside; then nothing is left."""
    place.install(built, LINE)
    held = contents(folder)
    assert held.pop(RECORD)
    assert held == {
        VERSIONED: built.read_bytes(),
        BARE: VERSIONED.encode(),
        COMMAND: LINE.encode(),
    }
    place.uninstall()
    assert contents(folder) == {}


def test_a_second_time_changes_nothing(place: Installation, folder: Path, built: Path) -> None:
    """What is as it should be is kept, to the inode."""
    place.install(built, LINE)
    before = {path.name: path.lstat().st_ino for path in folder.iterdir() if path.name != RECORD}
    assert {change.what for change in place.install(built, LINE)} == {"kept"}
    after = {path.name: path.lstat().st_ino for path in folder.iterdir() if path.name != RECORD}
    assert after == before


def test_a_later_release_takes_the_place_of_an_earlier(
    place: Installation, folder: Path, built: Path
) -> None:
    """Ours, by the record, is written over without --replace."""
    place.install(built, LINE)
    built.write_bytes(b"\x7fELF ours, later")
    place.install(built, LINE)
    assert (folder / VERSIONED).read_bytes() == built.read_bytes()
    assert not list(folder.glob(f"{ASIDE}*"))


def test_a_dry_run_changes_nothing(place: Installation, folder: Path, built: Path) -> None:
    """It says what would be done."""
    changes = place.install(built, LINE, act=False)
    assert [change.what for change in changes] == ["placed"] * 3
    assert contents(folder) == {}


def _a_file(folder: Path) -> None:
    (folder / VERSIONED).write_bytes(b"another's")


def _a_link(folder: Path) -> None:
    (folder / "libdcap_quoteprov.so.1.13").write_bytes(b"another's")
    (folder / VERSIONED).symlink_to("libdcap_quoteprov.so.1.13")


def _a_link_to_nothing(folder: Path) -> None:
    (folder / BARE).symlink_to("libdcap_quoteprov.so.9")


OTHERS = [_a_file, _a_link, _a_link_to_nothing]


@pytest.mark.parametrize("put", OTHERS)
def test_anothers_is_never_written_over(
    place: Installation, folder: Path, built: Path, put: Callable[[Path], None]
) -> None:
    """Without --replace it is an error that names it, and nothing is changed."""
    put(folder)
    before = contents(folder)
    with pytest.raises(ConfigError) as told:
        place.install(built, LINE)
    assert told.value.code == "plugin-foreign"
    assert contents(folder) == before


@pytest.mark.parametrize("put", OTHERS)
def test_what_is_set_aside_comes_back(
    place: Installation, folder: Path, built: Path, put: Callable[[Path], None]
) -> None:
    """With --replace it gets a name that ldconfig passes by; uninstalling restores every byte."""
    put(folder)
    before = contents(folder)
    place.install(built, LINE, replace=True)
    assert (folder / VERSIONED).read_bytes() == built.read_bytes()
    aside = [name for name in contents(folder) if name.startswith(ASIDE)]
    assert aside
    assert not any(name.startswith("lib") for name in aside)
    place.uninstall()
    assert contents(folder) == before


def test_what_was_changed_since_is_left(place: Installation, folder: Path, built: Path) -> None:
    """Another package's file, put there later, is not removed."""
    place.install(built, LINE)
    (folder / VERSIONED).unlink()
    (folder / VERSIONED).write_bytes(b"an upgrade put this here")
    left = [change.path for change in place.uninstall() if change.what == "left"]
    assert left == [f"{PREFIX}/{VERSIONED}"]
    assert contents(folder) == {VERSIONED: b"an upgrade put this here"}


def test_undoing_that_could_not_finish_can_be_tried_again(
    place: Installation, folder: Path, built: Path
) -> None:
    """What was set aside is not forgotten while its place is taken; it says how to go on."""
    _a_file(folder)
    place.install(built, LINE, replace=True)
    (folder / VERSIONED).write_bytes(b"an upgrade put this here")
    for act in (False, True):
        told = {
            change.path: change.why for change in place.uninstall(act=act) if change.what == "left"
        }
        assert f"remove {VERSIONED}, and uninstall again" in told[f"{PREFIX}/{ASIDE}{VERSIONED}"]
    (folder / VERSIONED).unlink()
    place.uninstall()
    assert contents(folder) == {VERSIONED: b"another's"}


def test_a_relative_prefix_is_refused(tmp_path: Path, folder: Path) -> None:
    """It would be one of the root's, where somebody meant this folder's."""
    with pytest.raises(ConfigError) as told:
        Installation(PREFIX.lstrip("/"), root=tmp_path / "root")
    assert told.value.code == "plugin-prefix"
    assert str(Path(PREFIX.lstrip("/")).absolute()) in told.value.mend


@pytest.mark.parametrize("dies_at", ["_set_aside", "_write", "_link"])
def test_a_placing_that_died_is_gone_on_with_or_undone(
    folder: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    """At whichever step: installing again completes it, and uninstalling restores what was there."""
    for again in (True, False):
        _a_file(folder)
        before = contents(folder)
        place = Installation(PREFIX, root=tmp_path / "root")
        act = getattr(place, dies_at)
        calls: list[str] = []

        def dying(*given: object, act: Callable[..., None] = act, calls: list[str] = calls) -> None:
            if calls or dies_at != "_write":
                raise KeyboardInterrupt
            calls.append("the record")
            act(*given)

        with monkeypatch.context() as patched:
            patched.setattr(place, dies_at, dying)
            with pytest.raises(KeyboardInterrupt):
                place.install(built, LINE, replace=True)
        whole = Installation(PREFIX, root=tmp_path / "root")
        if again:
            whole.install(built, LINE, replace=True)
            assert (folder / VERSIONED).read_bytes() == built.read_bytes()
            assert (folder / BARE).is_symlink()
        whole.uninstall()
        assert contents(folder) == before
        (folder / VERSIONED).unlink()


def test_a_folder_that_cannot_be_written_is_told(
    place: Installation, folder: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's refusal becomes ours."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.tempfile, "mkstemp", refuse)
    with pytest.raises(ConfigError, match="Permission denied") as told:
        place.install(built, LINE)
    assert told.value.code == "output-unwritable"
    assert contents(folder) == {}


@pytest.mark.parametrize("text", ["", "{}x", '{"schema": 1, "unknown": 2}'])
def test_a_record_that_cannot_be_read_is_told(
    place: Installation, folder: Path, built: Path, text: str
) -> None:
    """Nothing is placed or removed by guess."""
    (folder / RECORD).write_text(text)
    for act in (lambda: place.install(built, LINE), place.uninstall):
        with pytest.raises(ConfigError) as told:
            act()
        assert told.value.code == "plugin-record"


def test_nothing_of_ours_cannot_be_uninstalled(place: Installation) -> None:
    """It says so, and where to look."""
    with pytest.raises(ConfigError) as told:
        place.uninstall()
    assert told.value.code == "plugin-not-installed"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """No folder is made."""
    with pytest.raises(ConfigError) as told:
        Installation("/usr/lib/nowhere", root=tmp_path)
    assert told.value.code == "plugin-prefix"


@pytest.mark.parametrize("path", ["", "python", "/opt/my python/bin/python"])
def test_a_command_that_could_not_be_started_is_refused(path: str) -> None:
    """The library splits the line at blanks, and wants an absolute path."""
    with pytest.raises(ConfigError) as told:
        starting_command(path)
    assert told.value.code == "plugin-command"


def test_the_folder_is_that_of_the_architecture(tmp_path: Path) -> None:
    """Debian's where it is there, else Fedora's, else the plain one."""
    assert default_prefix(tmp_path) == "/usr/lib"
    (tmp_path / "usr/lib64").mkdir(parents=True)
    assert default_prefix(tmp_path) == "/usr/lib64"
    debian = f"usr/lib/{module.platform.machine()}-linux-gnu"
    (tmp_path / debian).mkdir(parents=True)
    assert default_prefix(tmp_path) == f"/{debian}"


@pytest.mark.skipif(not shutil.which("dpkg-divert"), reason="there is no dpkg here")
def test_a_packages_file_is_diverted(
    place: Installation, folder: Path, built: Path, tmp_path: Path
) -> None:
    """Dpkg then puts the package's own aside in its later releases too; uninstalling undoes it."""
    admin = tmp_path / "root/var/lib/dpkg"
    (admin / "info").mkdir(parents=True)
    (admin / "status").write_text("")
    (admin / "info/libsgx-dcap-default-qpl.list").write_text(f"/.\n{PREFIX}/{VERSIONED}\n")
    _a_file(folder)
    with pytest.raises(ConfigError, match="package libsgx-dcap-default-qpl") as told:
        place.install(built, LINE)
    assert "apt remove libsgx-dcap-default-qpl" in told.value.mend
    place.install(built, LINE, replace=True)
    assert (folder / f"{ASIDE}{VERSIONED}").read_bytes() == b"another's"
    listed = ["dpkg-divert", "--root", str(tmp_path / "root"), "--list"]
    assert VERSIONED in subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    place.uninstall()
    assert (folder / VERSIONED).read_bytes() == b"another's"
    assert not subprocess.run(listed, capture_output=True, text=True, check=True).stdout
