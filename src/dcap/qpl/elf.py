"""What a shared library says of itself, read from its bytes: nothing is loaded, nothing is executed.

Read as the loader reads it: by the dynamic segment, not by the sections, which a stripped library may
lack. Only for x86-64 is more than the head read: of another machine's library it is enough to know that
it is one. Every size is compared with the bytes that are there, and the work is bounded, however hostile
the file is. Not here: where libraries are looked for (`discovery_loader`).

Spec: System V ABI (ELF64 object format, dynamic linking), and GNU's hash table of symbols.
"""

import os
import stat
import struct
from pathlib import Path
from typing import Final

import msgspec

from dcap.errors import FormatError

MAX_SIZE: Final = 64 * 1024 * 1024
_MOST_SYMBOLS: Final = 1_000_000
_MOST_ENTRIES: Final = 4096
_LONGEST_NAME: Final = 4096
#: All names of one library together; the largest that is known to us (LLVM) has 6 MiB.
_MOST_NAMES: Final = 32 * 1024 * 1024

_MAGIC: Final = b"\x7fELF"
X86_64: Final = 62
MACHINES: Final = {3: "i386", 40: "arm", 62: "x86-64", 183: "aarch64", 243: "riscv", 21: "ppc64"}

_SHARED: Final = 3
_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_NEEDED, _HASH, _STRTAB, _SYMTAB, _STRSZ = 1, 4, 5, 6, 10
_SONAME, _RPATH, _RUNPATH, _GNU_HASH = 14, 15, 29, 0x6FFFFEF5
_LOCAL: Final = 0
_WEAK: Final = 2
_HIDDEN: Final = (1, 2)  # STV_INTERNAL, STV_HIDDEN


class Elf(msgspec.Struct, frozen=True, kw_only=True):
    """One library. Beyond `bits` and `machine` there is nothing where it is not for x86-64."""

    bits: int
    machine: str
    soname: str = ""
    needed: tuple[str, ...] = ()
    #: Where the loader looks for `needed` first; `$ORIGIN` not yet replaced.
    run_path: tuple[str, ...] = ()
    exports: frozenset[str] = frozenset()
    #: What others have to export; weak ones, which may stay undefined, are left out.
    undefined: frozenset[str] = frozenset()

    @property
    def is_ours(self) -> bool:
        """Whether a program for x86-64 can load it."""
        return self.bits == 64 and self.machine == MACHINES[X86_64]

    @property
    def architecture(self) -> str:
        """Machine and width, in words."""
        return f"{self.machine}, {self.bits} bits"


def load_elf(path: Path, *, symbols: bool = True) -> Elf:
    """The library at `path`. Raises `FormatError`; `OSError` where it cannot be read."""
    return read_elf(read_bytes(path), symbols=symbols)


def read_bytes(path: Path, most: int = MAX_SIZE) -> bytes:
    """All of a regular file, at most `most` bytes; nothing else is ever opened for long.

    Raises `FormatError` for what is no file or too large; `OSError` where it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise _not_elf("it is no regular file")
        if about.st_size > most:
            raise _not_elf(f"it has {about.st_size} bytes, more than any")
        return file.read(most)


def read_elf(content: bytes, *, symbols: bool = True) -> Elf:
    """What a library's bytes say. Raises `FormatError` (`library-not-elf`, `library-malformed`).

    Without `symbols`, exports and undefined ones are left out: that is far cheaper for a large library.
    """
    if not content.startswith(_MAGIC):
        raise _not_elf(_instead(content))
    if len(content) < 20:
        raise _malformed("the head is cut off", 0)
    width, order = content[4], content[5]
    if width not in (1, 2) or order not in (1, 2):
        raise _malformed("it has neither 32 nor 64 bits, or no known byte order", 4)
    kind, machine = struct.unpack_from("<HH" if order == 1 else ">HH", content, 16)
    name = MACHINES.get(machine, f"machine {machine}")
    if (width, order, machine) != (2, 1, X86_64):
        return Elf(bits=32 * width, machine=name)
    if kind != _SHARED:
        raise _not_elf("it is an ELF file, but no shared library")
    return _Reader(content).read(symbols=symbols)


class _Reader:
    """One ELF64 little-endian library, once."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.loads: list[tuple[int, int, int]] = []
        self.names = 0

    def read(self, *, symbols: bool) -> Elf:
        dynamic = self._dynamic()
        strings = self._strings(dynamic)
        single = dict(reversed(dynamic))
        exports: set[str] = set()
        undefined: set[str] = set()
        if symbols and _SYMTAB in single:
            self._symbols(single, strings, exports, undefined)
        found = single.get(_RUNPATH, single.get(_RPATH))
        path = self._name(strings, found) if found is not None else ""
        return Elf(
            bits=64,
            machine=MACHINES[X86_64],
            soname=self._name(strings, single[_SONAME]) if _SONAME in single else "",
            needed=tuple(self._name(strings, at) for tag, at in dynamic if tag == _NEEDED),
            run_path=tuple(filter(None, path.split(":"))),
            exports=frozenset(exports),
            undefined=frozenset(undefined),
        )

    def _unpack(self, layout: str, at: int, what: str) -> tuple[int, ...]:
        form = "<" + layout
        if at + struct.calcsize(form) > len(self.content):
            raise _malformed(f"the {what} lies beyond the end of the file", at)
        return struct.unpack_from(form, self.content, at)

    def _dynamic(self) -> list[tuple[int, int]]:
        """The dynamic segment's entries, without the last."""
        (start,) = self._unpack("Q", 32, "head")
        size, count = self._unpack("HH", 54, "head")
        if size != 56 or not count:
            raise _malformed("it has no table of segments, or one of another shape", 54)
        place: tuple[int, int] | None = None
        for index in range(count):
            fields = self._unpack("IIQQQQ", start + index * size, "table of segments")
            kind, _, offset, address, _, in_file = fields
            if kind == _PT_LOAD:
                self.loads.append((address, offset, in_file))
            elif kind == _PT_DYNAMIC:
                place = (offset, in_file)
        if place is None:
            raise _not_elf("it is an ELF file without dynamic segment, no shared library")
        entries: list[tuple[int, int]] = []
        for at in range(place[0], place[0] + min(place[1], 16 * _MOST_ENTRIES) - 15, 16):
            tag, value = self._unpack("QQ", at, "dynamic segment")
            if not tag:
                break
            entries.append((tag, value))
        return entries

    def _offset(self, address: int, what: str) -> tuple[int, int]:
        """Where in the file an address of the loaded library stands, and how many bytes follow."""
        for start, offset, size in self.loads:
            if start <= address < start + size:
                at = offset + address - start
                return at, min(size - (address - start), len(self.content) - at)
        raise _malformed(f"the {what} stands in no segment", address)

    def _strings(self, dynamic: list[tuple[int, int]]) -> tuple[int, int]:
        tags = dict(dynamic)
        if _STRTAB not in tags or _STRSZ not in tags:
            raise _malformed("its dynamic segment names no table of strings", 0)
        at, left = self._offset(tags[_STRTAB], "table of strings")
        if tags[_STRSZ] > left:
            raise _malformed("the table of strings lies beyond the end of its segment", at)
        return at, at + tags[_STRSZ]

    def _name(self, strings: tuple[int, int], index: int) -> str:
        start = strings[0] + index
        end = self.content.find(b"\0", start, min(strings[1], start + _LONGEST_NAME))
        if start >= strings[1] or end < 0:
            raise _malformed("a name has no end, or none that is near", start)
        self.names += end - start
        if self.names > _MOST_NAMES:
            raise _malformed("its names together are longer than any library's", start)
        return self.content[start:end].decode("utf-8", "backslashreplace")

    def _symbols(
        self,
        tags: dict[int, int],
        strings: tuple[int, int],
        exports: set[str],
        undefined: set[str],
    ) -> None:
        at, left = self._offset(tags[_SYMTAB], "table of symbols")
        count = self._count(tags)
        if count > _MOST_SYMBOLS or count * 24 > left:
            raise _malformed(f"the table of symbols cannot have {count}", at)
        table = memoryview(self.content)[at : at + count * 24]
        for name, info, other, section, _, _ in struct.iter_unpack("<IBBHQQ", table):
            if not name or info >> 4 == _LOCAL:
                continue
            if not section:
                if info >> 4 != _WEAK:
                    undefined.add(self._name(strings, name))
            elif other & 3 not in _HIDDEN:
                exports.add(self._name(strings, name))

    def _count(self, tags: dict[int, int]) -> int:
        """How many symbols there are, which only the hash tables say."""
        if _HASH in tags:
            at, _ = self._offset(tags[_HASH], "hash table")
            return self._unpack("II", at, "hash table")[1]
        if _GNU_HASH not in tags:
            return 0
        at, left = self._offset(tags[_GNU_HASH], "hash table")
        buckets, first, words, _ = self._unpack("IIII", at, "hash table")
        chains = at + 16 + 8 * words + 4 * buckets
        if chains > at + left or buckets > _MOST_SYMBOLS:
            raise _malformed("the hash table lies beyond the end of its segment", at)
        heads = self.content[at + 16 + 8 * words : chains]
        last = max((head for (head,) in struct.iter_unpack("<I", heads)), default=0)
        if last < first:
            return first
        for symbol in range(last, min(last, _MOST_SYMBOLS) + _MOST_SYMBOLS):
            if self._unpack("I", chains + 4 * (symbol - first), "hash table")[0] & 1:
                return symbol + 1
        raise _malformed("the hash table has no end", at)


def _instead(content: bytes) -> str:
    if not content:
        return "it is empty"
    head = content[:512].lstrip()
    if head.startswith((b"/*", b"INPUT", b"GROUP", b"OUTPUT_FORMAT")):
        return "it is a script of the linker's, which the loader does not read"
    if head.startswith(b"!<arch>"):
        return "it is an archive of objects (.a), which cannot be loaded"
    return "it is no ELF file"


def _not_elf(what: str) -> FormatError:
    return FormatError(
        "library-not-elf",
        what,
        where="library",
        mend="install the package anew, or name the library",
    )


def _malformed(what: str, at: int) -> FormatError:
    return FormatError(
        "library-malformed",
        what,
        where=f"library, byte {at}",
        mend="get the whole file: install its package anew",
    )
