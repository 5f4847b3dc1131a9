"""The files of a system that may not be the running one: every link is followed *inside* its root.

An absolute link of an image unpacked at DIR means DIR's file, and none climbs out of it by `..`, as if
one had changed the root. Nothing is ever written or executed. Not here: what is looked for.
"""

import os
import posixpath
import stat
from pathlib import Path
from typing import Any, Final

import msgspec

from dcap.errors import ConfigError, FormatError
from dcap.qpl.elf import read_bytes

_MOST_LINKS: Final = 40
_MOST_TEXT: Final = 16 * 1024 * 1024


def encodable(value: Any) -> Any:  # noqa: ANN401 - a document
    """A document whose texts are all Unicode, for JSON: names of files may hold any bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(part) for part in value]
    return value


class Place(msgspec.Struct, frozen=True):
    """What stands at a path, as it was asked: within the root.

    `name` is the same path, its folders free of links; `real` is where all links end; `link` is whether
    the path itself is one, whatever its folders are.
    """

    path: str
    name: str
    real: str
    link: bool
    #: "file", "folder", "other", "absent" (a link to nothing is absent too), "denied".
    kind: str

    @property
    def is_there(self) -> bool:
        """Whether `stat()` succeeds."""
        return self.kind in ("file", "folder", "other")

    @property
    def dangles(self) -> bool:
        """Whether it is a link to nothing."""
        return self.link and self.kind == "absent"


class Root:
    """A file system from `top` on. Raises `ConfigError` (`plugins-root`) where `top` is no folder."""

    def __init__(self, top: Path = Path("/")) -> None:
        if not top.is_dir():
            raise ConfigError(
                "plugins-root",
                "there is no such folder",
                where=str(top),
                mend="name the root of an unpacked image, or a mounted system",
            )
        self.top = top.resolve()

    @property
    def is_running(self) -> bool:
        """Whether it is the system that we run in."""
        return self.top == Path("/")

    def host(self, real: str) -> Path:
        """The path that opens what stands at `real`, which has to be free of links."""
        return self.top / real.lstrip("/")

    def look(self, path: str) -> Place:
        """What stands at an absolute path of the root."""
        folder, name = posixpath.split(path)
        if name in ("", ".", ".."):
            real, kind = self._follow(path)
            return Place(path, real, real, link=False, kind=kind)
        above, _ = self._follow(folder)
        named = posixpath.join(above, name)
        real, kind = self._follow(named)
        return Place(path, named, real, self._kind(named)[1] is not None, kind)

    def _follow(self, path: str) -> tuple[str, str]:
        """Where the links of a path end, and what is there."""
        done, kind, links = "/", "folder", 0
        left = path.split("/")
        while left:
            part = left.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = posixpath.dirname(done)
                continue
            here = posixpath.join(done, part)
            kind, target = self._kind(here)
            if target is None:
                done = here
                if kind != "folder" and left:
                    return posixpath.join(here, *left), "denied" if kind == "denied" else "absent"
                continue
            links += 1
            if links > _MOST_LINKS:
                return here, "absent"
            done = "/" if target.startswith("/") else done
            left = target.split("/") + left
        return done, kind

    def _kind(self, real: str) -> tuple[str, str | None]:
        """What a path is whose folders are free of links; where it is one, its target."""
        try:
            mode = os.lstat(self.host(real)).st_mode
            if stat.S_ISLNK(mode):
                return "link", str(self.host(real).readlink())
        except PermissionError:
            return "denied", None
        except (OSError, ValueError):
            return "absent", None
        if stat.S_ISREG(mode):
            return "file", None
        return ("folder" if stat.S_ISDIR(mode) else "other"), None

    def names(self, folder: str) -> list[str]:
        """What a folder holds, sorted; nothing where it cannot be read."""
        try:
            return sorted(one.name for one in self.host(self.look(folder).real).iterdir())
        except OSError:
            return []

    def content(self, path: str, most: int = _MOST_TEXT) -> bytes:
        """All of a file; nothing where there is none that can be read."""
        place = self.look(path)
        if place.kind != "file":
            return b""
        try:
            return read_bytes(self.host(place.real), most)
        except (OSError, FormatError):
            return b""

    def text(self, path: str) -> str:
        """A file as text; empty where there is none that can be read."""
        return self.content(path).decode("utf-8", "replace")
