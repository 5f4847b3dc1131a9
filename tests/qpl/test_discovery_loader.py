"""The system's loader, read from its files: variable, cache, configuration, its own folders."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.qpl.discovery import discover
from dcap.qpl.discovery_loader import Loader, read_cache
from dcap.qpl.discovery_root import Root
from qpl.libraries import BARE, MULTI_ARCH, VERSIONED, System, foreign, library, plugin

_ENTRY = 24
_HEAD = 48


@pytest.fixture
def system(tmp_path: Path) -> System:
    """An empty root."""
    return System(tmp_path)


def found(system: System, name: str = BARE) -> str | None:
    """The path at which the root's loader finds a name."""
    library = Loader(Root(system.top), {}).look_up(name).found
    return library.place.path if library else None


def cache_of(entries: list[tuple[str, str]], flags: int = 0x0303, hardware: int = 0) -> bytes:
    """The cache as ldconfig writes it."""
    texts, table = b"", b""
    start = _HEAD + _ENTRY * len(entries)
    for name, path in entries:
        key = start + len(texts)
        texts += name.encode() + b"\0"
        table += struct.pack("<iIIIQ", flags, key, start + len(texts), 0, hardware)
        texts += path.encode() + b"\0"
    return (
        struct.pack("<20sII20x", b"glibc-ld.so.cache1.1", len(entries), len(texts)) + table + texts
    )


def test_this_machines_cache_reads_as_ldconfig_prints_it() -> None:
    """Every name, and the first path of each, of libraries for x86-64."""
    cache = Path("/etc/ld.so.cache")
    ldconfig = Path("/sbin/ldconfig")
    if not cache.exists() or not ldconfig.exists():
        pytest.skip("this machine has no cache of glibc's")
    printed = subprocess.run([ldconfig, "-p"], check=True, capture_output=True, text=True).stdout
    expected: dict[str, str] = {}
    for line in printed.splitlines()[1:]:
        name, _, path = line.strip().partition(" => ")
        if name.endswith(" (libc6,x86-64)"):
            expected.setdefault(name.removesuffix(" (libc6,x86-64)"), path)
    assert read_cache(cache.read_bytes()) == expected


def test_the_cache_goes_before_the_loaders_own_folders(system: System) -> None:
    """What ldconfig has written down is taken, though a default folder has one too."""
    system.put(f"{MULTI_ARCH}/{BARE}", plugin("intel"))
    system.put(f"/usr/local/lib/{BARE}", plugin("azure"))
    assert found(system) == f"{MULTI_ARCH}/{BARE}"
    system.put("/etc/ld.so.cache", cache_of([(BARE, f"/usr/local/lib/{BARE}")]))
    assert found(system) == f"/usr/local/lib/{BARE}"


def test_a_cache_of_what_is_gone_is_passed_by(system: System) -> None:
    """The entry's file was removed without ldconfig: the loader goes on to its own folders."""
    system.put("/etc/ld.so.cache", cache_of([(BARE, f"/usr/local/lib/{BARE}")]))
    system.put(f"/usr/lib/{BARE}", plugin("azure"))
    assert found(system) == f"/usr/lib/{BARE}"


def test_a_file_that_the_cache_does_not_know_is_not_found_in_a_configured_folder(
    system: System,
) -> None:
    """ld.so.conf is ldconfig's, not the loader's: only without a cache is it reckoned from."""
    system.put("/etc/ld.so.conf", "/opt/lib\n")
    system.put(f"/opt/lib/{BARE}", plugin("intel"))
    assert found(system) == f"/opt/lib/{BARE}"
    system.put("/etc/ld.so.cache", cache_of([]))
    assert found(system) is None


@pytest.mark.parametrize(("flags", "hardware"), [(0x0003, 0), (0x0803, 0), (0x0303, 1 << 62)])
def test_entries_for_other_machines_are_left_out(flags: int, hardware: int) -> None:
    """32 bits, x32, and what only some processors may load."""
    assert read_cache(cache_of([(BARE, "/x")], flags, hardware)) == {}
    assert read_cache(cache_of([(BARE, "/x")])) == {BARE: "/x"}


def test_a_cache_behind_the_old_one_is_found() -> None:
    """Before 2.32 glibc writes both, the old format first."""
    new = cache_of([(BARE, "/x")])
    assert read_cache(b"ld.so-1.7.0\0" + struct.pack("<I", 0) + new) == {BARE: "/x"}


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_damaged_cache_is_an_empty_or_shorter_one(new: bytes, at: int) -> None:
    """Whatever stands in it, nothing is raised, and paths are absolute."""
    content = bytearray(cache_of([(f"lib{n}.so", f"/lib/lib{n}.so") for n in range(8)]))
    content[at : at + len(new)] = new
    assert all(path.startswith("/") for path in read_cache(bytes(content)).values())


def test_the_configuration_is_read_with_what_it_includes(system: System) -> None:
    """In order, comments left out, a pattern relative to the file that includes; a ring ends."""
    system.put("/etc/ld.so.conf", "/first # one\ninclude ld.so.conf.d/*.conf\n/last\n")
    system.put("/etc/ld.so.conf.d/b.conf", "/second\ninclude /etc/ld.so.conf.d/b.conf\n")
    system.put("/etc/ld.so.conf.d/c.other", "/never\n")
    assert Loader(Root(system.top), {}).configured == ("/first", "/second", "/last")


def test_multi_arch_goes_before_usr_lib(system: System) -> None:
    """With no cache: the loader's own order."""
    system.put(f"/usr/lib/{BARE}", plugin("azure"))
    assert found(system) == f"/usr/lib/{BARE}"
    system.put(f"{MULTI_ARCH}/{BARE}", plugin("intel"))
    assert found(system) == f"{MULTI_ARCH}/{BARE}"


def test_another_machines_library_is_passed_by_and_text_is_not(system: System) -> None:
    """The loader goes on after a wrong machine, but fails at what is no library."""
    system.put(f"/usr/lib/{BARE}", plugin("azure"))
    system.put(f"{MULTI_ARCH}/{BARE}", foreign())
    assert found(system) == f"/usr/lib/{BARE}"
    system.put(f"{MULTI_ARCH}/{BARE}", "INPUT(libdcap_quoteprov.so.1)")
    assert found(system) == f"{MULTI_ARCH}/{BARE}"


def test_the_variable_goes_first_on_the_running_system_alone(tmp_path: Path) -> None:
    """LD_LIBRARY_PATH is this shell's: it says nothing of an image."""
    (tmp_path / BARE).write_bytes(plugin("azure"))
    environ = {"LD_LIBRARY_PATH": f":relative:{tmp_path}"}
    here = discover(environ=environ, only="ego").consumers[0]
    assert here.path == os.fspath(tmp_path.resolve() / BARE)
    there = Loader(Root(tmp_path), environ)
    assert there.by_variable == ()


@pytest.mark.parametrize("name", ["libz.so.1", "libstdc++.so.6", "libssl.so.3", "libcurl.so.4"])
def test_nothing_is_missing_from_a_library_that_this_machine_uses(name: str) -> None:
    """No false alarm: every library and every symbol that it wants is found."""
    loader = Loader(Root(), {})
    library = loader.look_up(name).found
    if library is None:
        pytest.skip(f"this machine has no {name}")
    assert library.elf
    assert library.elf.undefined
    assert loader.missing(library) == ()
    assert loader.unresolved(library) == ()


LOADS = """
import ctypes, sys
for name in sys.argv[1:]:
    try:
        ctypes.CDLL(name)
    except OSError:
        print("fails")
    else:
        maps = open("/proc/self/maps").read().split()
        print(next(word for word in maps if word.endswith("/" + name)))
"""


def test_the_real_loader_takes_the_same_files(tmp_path: Path) -> None:
    """A link to nothing and another machine's are passed by; text and cut files are the end."""
    first, second = System(tmp_path / "first"), System(tmp_path / "second")
    genuine = plugin("intel")
    cases: dict[str, bytes | None] = {
        "libwhole.so": genuine,
        "libforeign.so": foreign(),
        "libnarrow.so": foreign(32, 3),
        "libdangling.so": None,
        "libtext.so": b"INPUT(libwhole.so)" + bytes(100),
        "libempty.so": b"",
    }
    for name, content in cases.items():
        second.put(name, genuine)
        if content is None:
            first.link(name, "gone")
        else:
            first.put(name, content)
    environ = {"LD_LIBRARY_PATH": f"{first.top}:{second.top}"}
    real = subprocess.run(
        [sys.executable, "-I", "-c", LOADS, *cases],
        check=True,
        capture_output=True,
        text=True,
        env=environ,
    ).stdout.split()
    loader = Loader(Root(), environ)
    ours = []
    for name in cases:
        library = loader.look_up(name).found
        assert library
        ours.append(library.place.real if library.state == "ok" else "fails")
    assert ours == real
    assert len(set(ours)) > 3  # some from the first folder, some from the second, some fail


def test_missing_libraries_are_found_through_others(system: System) -> None:
    """A library wanted by a library that is wanted: named with who wants it."""
    system.put(
        f"{MULTI_ARCH}/libmiddle.so.1", library(("m",), needed=("libend.so.1",)).read_bytes()
    )
    path = system.put(f"{MULTI_ARCH}/{VERSIONED}", plugin("intel", needed=("libmiddle.so.1",)))
    loader = Loader(Root(system.top), {})
    plugin_ = loader.library("/" + os.fspath(path.relative_to(system.top)))
    assert loader.missing(plugin_) == (("libend.so.1", "libmiddle.so.1"),)
    system.put(f"{MULTI_ARCH}/libend.so.1", library(("e",)).read_bytes())
    assert Loader(Root(system.top), {}).missing(plugin_) == ()


def test_the_run_path_is_where_a_plugins_libraries_are_looked_for_first(system: System) -> None:
    """$ORIGIN is the folder of the plugin's real file."""
    built = library(("p",), needed=("libbeside.so.1",), flags=("-Wl,-rpath,$ORIGIN/own",))
    system.put("/opt/p/real.so", built.read_bytes())
    system.link(f"{MULTI_ARCH}/{VERSIONED}", "/opt/p/real.so")
    loader = Loader(Root(system.top), {})
    assert loader.missing(loader.library(f"{MULTI_ARCH}/{VERSIONED}"))
    system.put("/opt/p/own/libbeside.so.1", library(("b",)).read_bytes())
    loader = Loader(Root(system.top), {})
    assert loader.missing(loader.library(f"{MULTI_ARCH}/{VERSIONED}")) == ()
