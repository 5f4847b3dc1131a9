"""systemd's units as files say them: which settings hold after drop-ins, of any root.

    unit = unit_named(root, "aesmd")
    unit.last("User"), unit.every("InaccessiblePaths"), unit.environ(root)

Only what decides a daemon's surroundings is read: no specifiers (`%h`), no templates, no generators.
Values of an environment may be secrets: none of these ever shows them. Not here: what runs (`services`).

Spec: systemd.unit(5), systemd.exec(5), systemd-system.conf(5).
"""

import posixpath
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from dcap.qpl.discovery_root import Root

#: The first that has a unit wins.
FOLDERS: Final = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_MANAGER: Final = ("/etc/systemd/system.conf", "/etc/systemd/system.conf.d")
_NULL: Final = "/dev/null"


class Unit(msgspec.Struct, frozen=True):
    """A service unit with its drop-ins. `files` are those that say something, in the order read."""

    name: str
    files: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    masked: bool = False

    def __repr__(self) -> str:
        return f"<Unit {self.name}>"

    def last(self, key: str) -> str:
        """A setting that has one value; "" where nobody sets it."""
        return next((value for name, value in reversed(self.settings) if name == key), "")

    def every(self, *keys: str) -> tuple[str, ...]:
        """A setting that gathers words, under all its names; an empty one takes all before back."""
        found: list[str] = []
        for name, value in self.settings:
            if name in keys:
                found = [*found, *_words(value)] if value else []
        return tuple(found)

    def environ(self, root: Root) -> dict[str, str]:
        """What systemd puts into the environment by the unit's word; files win over settings."""
        found = dict(_assignments(self.every("Environment")))
        for name in self.every("EnvironmentFile"):
            found |= _file(root.text(name.removeprefix("-")))
        for name in self.every("UnsetEnvironment"):
            found.pop(name, None)
        return found


def unit_named(root: Root, name: str) -> Unit | None:
    """A service's unit; `None` where no folder has one."""
    file = f"{name}.service"
    for folder in FOLDERS:
        place = root.look(posixpath.join(folder, file))
        if place.real == _NULL:
            return Unit(name, (place.path,), (), masked=True)
        if place.kind == "file":
            files = (place.path, *_drop_ins(root, file))
            settings = [pair for each in files for pair in _read(root.text(each), "Service")]
            return Unit(name, files, tuple(settings))
    return None


def manager_environ(root: Root) -> dict[str, str]:
    """What systemd itself gives every service (`DefaultEnvironment=`): often proxies."""
    file, folder = _MANAGER
    found: dict[str, str] = {}
    for path in (file, *(posixpath.join(folder, name) for name in root.names(folder))):
        for key, value in _read(root.text(path), "Manager"):
            if key == "DefaultEnvironment":
                found = found | dict(_assignments(_words(value))) if value else {}
    return found


def _drop_ins(root: Root, file: str) -> Iterator[str]:
    """By name, whatever folder has them; a name in an earlier folder hides later ones."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for name in root.names(posixpath.join(folder, f"{file}.d")):
            if name.endswith(".conf"):
                found.setdefault(name, posixpath.join(folder, f"{file}.d", name))
    for name in sorted(found):
        yield found[name]


def _read(text: str, section: str) -> Iterator[tuple[str, str]]:
    """The assignments of a section, in order; a backslash joins lines."""
    here = ""
    for line in text.replace("\\\n", " ").splitlines():
        plain = line.strip()
        if plain.startswith(("#", ";")) or not plain:
            continue
        if plain.startswith("[") and plain.endswith("]"):
            here = plain[1:-1]
        elif here == section and "=" in plain:
            key, _, value = plain.partition("=")
            yield key.strip(), value.strip()


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is not closed
        return text.split()


def _assignments(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        name, sign, value = word.partition("=")
        if sign:
            yield name, value


def _file(text: str) -> Mapping[str, str]:
    """An EnvironmentFile: a variable a line, its value quoted or not."""
    found = {}
    for line in text.replace("\\\n", "").splitlines():
        name, sign, value = line.strip().partition("=")
        if sign and not name.startswith(("#", ";")):
            bare = value.strip()
            quoted = len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\""
            found[name.strip()] = bare[1:-1] if quoted else bare
    return found
