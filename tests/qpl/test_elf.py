"""The reader of libraries: against readelf on real ones, and against bytes that are none."""

import os
import re
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.errors import FormatError
from dcap.qpl.elf import load_elf, read_elf
from qpl import libraries

REAL = [Path("/lib/x86_64-linux-gnu") / name for name in ("libc.so.6", "libm.so.6", "libz.so.1")]
_SYMBOL = re.compile(
    r"^\s+\d+: \S+\s+\S+ \S+\s+(GLOBAL|WEAK|UNIQUE)\s+(\S+)\s+(?:\[.*?\]\s+)?(\S+)\s+(\S+)",
    re.MULTILINE,
)


def readelf(path: Path, *flags: str) -> str:
    """What binutils say of a library."""
    libraries.gcc()  # where it is, readelf is
    return subprocess.run(
        ["readelf", "-W", *flags, path], check=True, capture_output=True, text=True
    ).stdout


def symbols_by_readelf(path: Path) -> tuple[set[str], set[str]]:
    """Exported and undefined names."""
    exported, undefined = set(), set()
    for binding, visibility, section, name in _SYMBOL.findall(readelf(path, "--dyn-syms")):
        bare = name.partition("@")[0]
        if section == "UND":
            undefined |= {bare} - ({bare} if binding == "WEAK" else set())
        elif visibility in ("DEFAULT", "PROTECTED"):
            exported.add(bare)
    return exported, undefined


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_a_real_library_reads_as_readelf_reads_it(path: Path) -> None:
    """Exports, undefined symbols, SONAME and NEEDED of this machine's own libraries."""
    if not path.exists():
        pytest.skip(f"this machine has no {path}")
    library = load_elf(path)
    exported, undefined = symbols_by_readelf(path)
    dynamic = readelf(path, "-d")
    assert library.is_ours
    assert library.exports == exported
    assert library.undefined == undefined
    assert list(library.needed) == re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert [library.soname] == re.findall(r"\(SONAME\).*\[(.*)\]", dynamic)


@pytest.mark.parametrize("hash_style", ["gnu", "sysv"])
def test_both_hash_tables_are_read(hash_style: str) -> None:
    """A library may have either; the number of symbols stands nowhere else."""
    built = libraries.library(
        ("first", "second"),
        code="extern int outside(void);\nint third(void) { return outside(); }\n",
        flags=(f"-Wl,--hash-style={hash_style}",),
    )
    library = load_elf(built)
    assert library.exports == {"first", "second", "third"}
    assert library.undefined == {"outside"}


def test_a_library_without_exports_is_read() -> None:
    """Its GNU hash table is empty, and says so by its first bucket."""
    built = libraries.library((), code="extern int outside(void);\n")
    assert load_elf(built).exports == set()


@pytest.mark.parametrize(
    ("visibility", "is_export"), [(0, True), (1, False), (2, False), (3, True)]
)
def test_hidden_symbols_are_no_exports(visibility: int, is_export: bool) -> None:
    """The loader finds default and protected ones, not internal and hidden ones."""
    content = bytearray(libraries.library(("one",)).read_bytes())
    symbols = dynamic_of(content)[6]  # the first segment loads the file as it is
    content[symbols + 24 + 5] = visibility
    assert read_elf(bytes(content)).exports == ({"one"} if is_export else set())


def test_the_run_path_is_read() -> None:
    """RUNPATH, with $ORIGIN as it stands; without one there is none."""
    built = libraries.library(("one",), flags=("-Wl,-rpath,$ORIGIN/x:/opt/y",))
    assert load_elf(built).run_path == ("$ORIGIN/x", "/opt/y")
    assert load_elf(libraries.library(("one",))).run_path == ()


@pytest.mark.parametrize(
    ("bits", "machine", "architecture"),
    [(64, 183, "aarch64, 64 bits"), (32, 3, "i386, 32 bits"), (32, 62, "x86-64, 32 bits")],
)
def test_another_machines_library_is_named(bits: int, machine: int, architecture: str) -> None:
    """Class and machine are read of any; 32 bits of x86-64 (x32) are another machine too."""
    library = read_elf(libraries.foreign(bits, machine))
    assert not library.is_ours
    assert library.architecture == architecture


def test_a_big_endian_library_is_read_in_its_own_order() -> None:
    """The machine of a ppc64 library, whose bytes stand the other way."""
    head = bytearray(libraries.plugin("intel"))
    head[5], head[16:20] = 2, struct.pack(">HH", 3, 21)
    assert read_elf(bytes(head)).architecture == "ppc64, 64 bits"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"/* GNU ld script */\nINPUT(libdcap_quoteprov.so.1)\n", "script of the linker"),
        (b"!<arch>\n", "archive"),
        (b"MZ", "no ELF file"),
    ],
)
def test_what_is_no_library_is_called_what_it_is(content: bytes, said: str) -> None:
    """Text, an archive, another system's file: the error says which."""
    with pytest.raises(FormatError, match=said) as raised:
        read_elf(content)
    assert raised.value.code == "library-not-elf"


def test_an_object_that_is_not_linked_is_no_library() -> None:
    """The same file, its type changed to that of an object (ET_REL)."""
    content = bytearray(libraries.plugin("intel"))
    content[16] = 1
    with pytest.raises(FormatError, match="no shared library"):
        read_elf(bytes(content))


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    """A folder under a library's name is an error of ours."""
    with pytest.raises((FormatError, OSError)):
        load_elf(tmp_path)


def test_a_pipe_does_not_hold_the_reader(tmp_path: Path) -> None:
    """Nobody writes to it, and opening it does not wait for somebody."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="no regular file"):
        load_elf(tmp_path / "pipe")


def test_every_truncation_is_an_error_or_still_whole() -> None:
    """Cut anywhere, a library is refused with an error of ours, or its tables are all there."""
    content = libraries.plugin("intel")
    whole = read_elf(content)
    refused = 0
    for length in range(0, len(content), 37):
        try:
            assert read_elf(content[:length]) == whole
        except FormatError:
            refused += 1
    assert refused > 3


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4096), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
    )
)
def test_altered_bytes_raise_nothing_but_our_error(changes: list[tuple[int, bytes]]) -> None:
    """Whatever stands in the tables: a library, or `FormatError`."""
    content = bytearray(libraries.plugin("azure"))
    for at, new in changes:
        content[at : at + len(new)] = new
    with suppress(FormatError):
        assert read_elf(bytes(content)).bits in (32, 64)


def test_symbols_that_share_one_endless_name_cost_no_more_than_the_bound() -> None:
    """A table whose every symbol names another end of one long string is refused, not read."""
    content = bytearray(libraries.plugin("intel"))
    tags = dynamic_of(content)
    strings, symbols = len(content), len(content) + 8192
    count = 20_000
    content += b"a" * 8191 + b"\0"
    content += b"".join(
        struct.pack("<IBBHQQ", 4097 + number % 4000, 0x10, 0, 1, 0, 0) for number in range(count)
    )
    table = len(content)
    content += struct.pack("<II", 1, count)
    base = 0x10000000
    tags.update({5: base + strings, 6: base + symbols, 10: 8192, 4: base + table})
    place_dynamic(content, tags, base)
    with pytest.raises(FormatError, match="longer than any"):
        read_elf(bytes(content))


def dynamic_of(content: bytearray) -> dict[int, int]:
    """Tag -> value of a library."""
    offset, size = _segment(content, 2)[1:]
    pairs = struct.iter_unpack("<QQ", content[offset : offset + size])
    return {tag: value for tag, value in pairs if tag}


def place_dynamic(content: bytearray, tags: dict[int, int], base: int) -> None:
    """Append a dynamic segment, and let the first segment load the whole file at `base`."""
    offset = len(content)
    content += b"".join(struct.pack("<QQ", tag, value) for tag, value in tags.items())
    content += bytes(16)
    at = _segment(content, 2)[0]
    struct.pack_into("<QQQQ", content, at + 8, offset, base + offset, 0, 16 * len(tags) + 16)
    at = _segment(content, 1)[0]
    struct.pack_into("<QQQQ", content, at + 8, 0, base, 0, len(content))


def _segment(content: bytearray, kind: int) -> tuple[int, int, int]:
    (start,) = struct.unpack_from("<Q", content, 32)
    (count,) = struct.unpack_from("<H", content, 56)
    for at in range(start, start + 56 * count, 56):
        fields = struct.unpack_from("<IIQQQQ", content, at)
        if fields[0] == kind:
            return at, fields[2], fields[5]
    raise AssertionError(kind)
