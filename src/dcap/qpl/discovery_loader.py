"""Where the system's loader finds a library by its bare name: glibc's rules, read from its files.

LD_LIBRARY_PATH, then the cache that ldconfig writes, then the loader's own folders. Where a root has no
cache (an image before its first ldconfig), it is reckoned from ld.so.conf, as ldconfig would write it.
Not here: RUNPATH of the program that loads, which only that program knows; hardware-dependent folders.

Spec: ld.so(8), ldconfig(8); the cache's format is glibc's `cache_file_new` ("glibc-ld.so.cache1.1").
"""

import fnmatch
import posixpath
import struct
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from dcap.errors import FormatError
from dcap.qpl.discovery_root import Place, Root
from dcap.qpl.elf import Elf, load_elf

VARIABLE: Final = "LD_LIBRARY_PATH"
CACHE: Final = "/etc/ld.so.cache"
CONF: Final = "/etc/ld.so.conf"
#: The loader's own: Debian's and Ubuntu's of several machines, then those of Fedora, RHEL, SUSE.
FOLDERS: Final = (
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
)
_MAGIC: Final = b"glibc-ld.so.cache1.1"
_OLD_MAGIC: Final = b"ld.so-1.7.0"
_HEAD: Final = struct.Struct("<20sII20x")
_ENTRY: Final = struct.Struct("<iIIIQ")
_X86_64: Final = 0x0303
_MOST_INCLUDES: Final = 200
_DEEPEST: Final = 4
_MOST_LIBRARIES: Final = 200


class Library(msgspec.Struct, frozen=True):
    """One file as the loader meets it: what it is, or why it is nothing that can be loaded.

    "foreign" is another machine's.
    """

    place: Place
    state: Literal["ok", "dangling", "absent", "denied", "not-elf", "malformed", "foreign"]
    why: str = ""
    elf: Elf | None = None


class Lookup(msgspec.Struct, frozen=True):
    """A bare name: every path that was looked at, in order, and the one that the loader settles for.

    It passes by what it cannot open and what is another machine's; what is no library it takes, and
    fails.
    """

    steps: tuple[Library, ...]
    found: Library | None


class Loader:
    """The loader of one root. Files are read once, however often they are asked for."""

    def __init__(self, root: Root, environ: Mapping[str, str]) -> None:
        self.root = root
        given = environ.get(VARIABLE, "") if root.is_running else ""
        #: An empty part is the folder in which a program happens to run: nothing that can be said here.
        self.by_variable = tuple(
            part for part in given.replace(";", ":").split(":") if part.startswith("/")
        )
        cache = root.content(CACHE)
        self.cache = read_cache(cache) if cache else None
        self.configured = tuple(dict.fromkeys(_configured(root)))
        self._libraries: dict[tuple[str, bool], Library] = {}

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder in which a plugin could lie, each once, in the loader's order."""
        every = (*self.by_variable, *self.configured, *FOLDERS)
        found: dict[str, str] = {}
        for folder in every:
            found.setdefault(self.root.look(folder).real, folder)
        return tuple(found)

    def library(self, path: str, *, symbols: bool = True) -> Library:
        """What stands at a path."""
        known = self._libraries.get((path, symbols))
        if known is None:
            known = self._libraries[path, symbols] = self._read(self.root.look(path), symbols)
        return known

    def _read(self, place: Place, symbols: bool) -> Library:  # noqa: FBT001 - one caller
        if place.dangles:
            return Library(place, "dangling", f"a link to {place.real}, which is not there")
        if place.kind == "absent":
            return Library(place, "absent", "not there")
        if place.kind == "denied":
            return Library(place, "denied", "it may not be read")
        try:
            elf = load_elf(self.root.host(place.real), symbols=symbols)
        except OSError as error:
            return Library(place, "denied", f"it cannot be read: {error.strerror}")
        except FormatError as error:
            is_elf = error.code != "library-not-elf"
            return Library(place, "malformed" if is_elf else "not-elf", error.what)
        if not elf.is_ours:
            return Library(place, "foreign", f"for {elf.architecture}", elf)
        return Library(place, "ok", "", elf)

    def look_up(self, name: str, first: tuple[str, ...] = ()) -> Lookup:
        """Find a library by its bare name; in the folders `first` before all others."""
        steps: list[Library] = []
        for path in self._places(name, first):
            library = self.library(path)
            steps.append(library)
            if library.state not in ("absent", "dangling", "denied", "foreign"):
                return Lookup(tuple(steps), library)
        return Lookup(tuple(steps), None)

    def _places(self, name: str, first: tuple[str, ...]) -> Iterator[str]:
        folders: tuple[str, ...] = FOLDERS
        yield from (posixpath.join(folder, name) for folder in (*first, *self.by_variable))
        if self.cache is None:
            folders = (*self.configured, *FOLDERS)
        elif name in self.cache:
            yield self.cache[name]
        seen: set[str] = set()
        for folder in folders:
            real = self.root.look(folder).real
            if real not in seen:
                seen.add(real)
                yield posixpath.join(folder, name)

    def missing(self, library: Library) -> tuple[tuple[str, str], ...]:
        """(library, by whom it is wanted) for each that cannot be found, over all that are wanted."""
        return tuple((name, by) for name, by, found in self._wanted(library) if found is None)

    def unresolved(self, library: Library) -> tuple[str, ...]:
        """The symbols that a plugin takes from others, and none of them exports.

        As a rule it was linked against another release of a library than is installed.
        """
        if library.elf is None:
            return ()
        left = library.elf.undefined - library.elf.exports
        for _, _, found in self._wanted(library) if left else ():
            elf = self.library(found.place.path).elf if found else None
            left -= elf.exports if elf else frozenset()
            if not left:
                break
        return tuple(sorted(left))

    def _wanted(self, library: Library) -> Iterator[tuple[str, str, Library | None]]:
        """Every library that loading one brings, in the loader's order: name, by whom, what is found."""
        seen: set[str] = set()
        waiting = [library]
        while waiting and len(seen) < _MOST_LIBRARIES:
            one = waiting.pop(0)
            if one.elf is None:
                continue
            first = _run_path(one)
            for name in one.elf.needed:
                if name not in seen:
                    seen.add(name)
                    found = self._dependency(name, first)
                    yield name, posixpath.basename(one.place.path), found
                    if found is not None:
                        waiting.append(found)

    def _dependency(self, name: str, first: tuple[str, ...]) -> Library | None:
        if "/" in name:
            library = self.library(name, symbols=False)
            return library if library.state == "ok" else None
        for path in self._places(name, first):
            library = self.library(path, symbols=False)
            if library.state == "ok":
                return library
        return None

    def has(self, name: str) -> bool:
        """Whether a library of that name would be loaded."""
        return self._dependency(name, ()) is not None


def _run_path(library: Library) -> tuple[str, ...]:
    origin = posixpath.dirname(library.place.real)
    elf = library.elf
    return tuple(
        part.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        for part in (elf.run_path if elf else ())
    )


def read_cache(content: bytes) -> dict[str, str]:
    """Name -> path of each library for x86-64. A cache that cannot be read is an empty one."""
    start = content.find(_MAGIC, 0, 1 << 20) if content.startswith(_OLD_MAGIC) else 0
    if start < 0 or content[start : start + len(_MAGIC)] != _MAGIC:
        return {}
    body = content[start:]
    if len(body) < _HEAD.size:
        return {}
    _, count, _ = _HEAD.unpack_from(body)
    found: dict[str, str] = {}
    table = body[_HEAD.size : _HEAD.size + count * _ENTRY.size]
    for flags, key, value, _, hardware in _ENTRY.iter_unpack(table[: len(table) // 24 * 24]):
        if flags == _X86_64 and not hardware:
            name, path = _string(body, key), _string(body, value)
            if name and path.startswith("/"):
                found.setdefault(name, path)
    return found


def _string(body: bytes, at: int) -> str:
    end = body.find(b"\0", at, at + 4096)
    return body[at:end].decode("utf-8", "replace") if end > at else ""


def _configured(root: Root, path: str = CONF, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """The folders of ld.so.conf, in order, what it includes in its place."""
    if path in seen or len(seen) > _DEEPEST:
        return
    for raw in root.text(path).splitlines():
        line = raw.partition("#")[0].strip()
        word, *patterns = line.split()[:_MOST_INCLUDES] or [""]
        if word == "include":
            for pattern in patterns:
                for included in _matching(root, pattern, path)[:_MOST_INCLUDES]:
                    yield from _configured(root, included, (*seen, path))
        elif line.startswith("/"):
            yield line.partition("=")[0].rstrip()


def _matching(root: Root, pattern: str, beside: str) -> list[str]:
    if not pattern.startswith("/"):
        pattern = posixpath.join(posixpath.dirname(beside), pattern)
    folder, glob = posixpath.split(pattern)
    return [f"{folder}/{name}" for name in fnmatch.filter(root.names(folder), glob)]
