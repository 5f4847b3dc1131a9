"""The built library: shipped, or compiled once from the sources that come along."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from dcap.errors import ConfigError
from dcap.provider.library import NAME, NATIVE, library

compiler = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("make")), reason="there is no C compiler here"
)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The sources as a pure wheel has them: nothing is built."""
    folder = tmp_path / "native"
    shutil.copytree(NATIVE, folder, ignore=shutil.ignore_patterns("*.so.*"))
    return folder


def test_a_shipped_library_is_taken_as_it_is(sources: Path, tmp_path: Path) -> None:
    """Where the installation has one, nothing is compiled."""
    (sources / NAME).write_bytes(b"shipped")
    assert library({"XDG_CACHE_HOME": str(tmp_path / "cache")}, native=sources) == sources / NAME
    assert not (tmp_path / "cache").exists()


@compiler
def test_sources_are_compiled_once(sources: Path, tmp_path: Path) -> None:
    """The second call finds what the first made; other sources are another library."""
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    first = library(environ, native=sources)
    made = first.stat().st_mtime_ns
    assert first.read_bytes()[:4] == b"\x7fELF"
    assert library(environ, native=sources) == first
    assert first.stat().st_mtime_ns == made
    header = sources / "call.h"
    header.write_text(header.read_text() + "/* another release */\n")
    assert library(environ, native=sources) != first


@compiler
def test_sources_that_do_not_compile_are_told(sources: Path, tmp_path: Path) -> None:
    """The compiler's last words are in the error, and nothing is left that looks built."""
    (sources / "call.c").write_text("#error broken\n")
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with pytest.raises(ConfigError, match="compiler says") as told:
        library(environ, native=sources)
    assert told.value.code == "plugin-not-built"
    assert not list((tmp_path / "cache").rglob(NAME))


def test_without_a_compiler_the_error_names_what_is_missing(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ConfigError, match="no make and no cc") as told:
        library({"XDG_CACHE_HOME": str(tmp_path / "cache")}, native=sources)
    assert "apt install gcc make" in told.value.mend


@compiler
def test_the_library_is_writable_for_nobody_else(sources: Path, tmp_path: Path) -> None:
    """What is compiled into the cache cannot be exchanged by others of the machine."""
    before = os.umask(0o022)
    try:
        made = library({"XDG_CACHE_HOME": str(tmp_path / "cache")}, native=sources)
    finally:
        os.umask(before)
    assert not stat.S_IMODE(made.stat().st_mode) & 0o022
