"""Placing our library for programs, and taking it away again: nothing of another's is lost.

    1. what stands at the names already: ours, by its record; another's, which needs `replace`
    2. the record, so that a placing that dies in the middle can be gone on with, or undone
    3. another's file is set aside: diverted where a package owns it (dpkg-divert), else renamed
    4. each file is written beside its place and moved there

The library stands at its SONAME itself, no link to a versioned file, and what is set aside has a name
that does not begin with "lib": else ldconfig would turn the link back to another's file. Not here: what
programs then load (`qpl.discovery`).

Source: `quote-provider.md` §3.4, §5.1, §5.2.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from dcap import __version__
from dcap.errors import ConfigError
from dcap.qpl.discovery_packages import Owner, Packages
from dcap.qpl.discovery_root import Root

VERSIONED: Final = "libdcap_quoteprov.so.1"
BARE: Final = "libdcap_quoteprov.so"
COMMAND: Final = "libdcap_quoteprov.command"
RECORD: Final = "libdcap_quoteprov.dcap.json"
ASIDE: Final = "before-dcap."


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A file of ours: by its SHA-256, or, for a link, by where it points."""

    name: str
    sha256: str = ""
    target: str = ""


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """Another's file, and what was done to make room."""

    name: str
    how: Literal["renamed", "diverted"]
    owner: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was placed, and what was set aside for it: all that undoing needs."""

    schema: int = 1
    version: str = __version__
    placed: tuple[Placed, ...] = ()
    aside: tuple[Aside, ...] = ()

    def is_ours(self, path: Path) -> bool:
        """Whether what stands there is what was placed."""
        return any(one.name == path.name and _is(path, one) for one in self.placed)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is done, or would be."""

    what: Literal["placed", "kept", "set aside", "diverted", "removed", "restored", "left"]
    path: str
    why: str = ""


def default_prefix(root: Path = Path("/")) -> str:
    """Where every consumer looks: Debian's folder for this architecture, else /usr/lib64."""
    multiarch = f"/usr/lib/{platform.machine()}-linux-gnu"
    for folder in (multiarch, "/usr/lib64"):
        if (root / folder.lstrip("/")).is_dir():
            return folder
    return "/usr/lib"


def starting_command(executable: str) -> str:
    """The line by which the library starts its process. Raises `ConfigError` (`plugin-command`)."""
    if not executable.startswith("/") or len(executable.split()) != 1:
        raise ConfigError(
            "plugin-command",
            "the library could not start this Python: its path is not absolute, or has blanks",
            where=executable or "sys.executable",
            mend="install dcap into a virtual environment whose path has no blanks",
        )
    return f"{executable} -I -m dcap.provider\n"


class Installation:
    """The library in one folder (`prefix`) of a system (`root`)."""

    def __init__(self, prefix: str, *, root: Path = Path("/")) -> None:
        self.root = Root(root)
        if not prefix.startswith("/"):
            raise ConfigError(
                "plugin-prefix",
                "it is a relative path: of this folder, or of the root?",
                where=prefix,
                mend=f"write it whole: --prefix {Path(prefix).absolute()}",
            )
        place = self.root.look(prefix)
        if place.kind != "folder":
            raise ConfigError(
                "plugin-prefix",
                "there is no such folder",
                where=str(self.root.host(place.real)),
                mend="name with --prefix a folder in which programs look for libraries",
            )
        self.prefix = place.real
        self.folder = self.root.host(place.real)

    @property
    def record(self) -> Record | None:
        """What was placed here, if anything was."""
        try:
            return msgspec.json.decode((self.folder / RECORD).read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(
                "plugin-record",
                f"the record of what was installed cannot be read: {error}",
                where=str(self.folder / RECORD),
                mend="remove it, and what it stands beside, by hand; then install anew",
            ) from None

    def install(
        self,
        library: Path,
        command: str,
        *,
        bare: bool = True,
        replace: bool = False,
        act: bool = True,
    ) -> list[Change]:
        """Place all; what was done, or (`act` false) would be.

        Raises `ConfigError`: `plugin-foreign` where another's file is there, `output-unwritable`.
        """
        files = {VERSIONED: library.read_bytes(), COMMAND: command.encode()}
        old = self.record or Record()
        placed = [Placed(name=name, sha256=_digest(data)) for name, data in files.items()]
        if bare:
            placed.append(Placed(name=BARE, target=VERSIONED))
        foreign = [
            one.name
            for one in placed
            if os.path.lexists(path := self.folder / one.name)
            and not _is(path, one)
            and not old.is_ours(path)
        ]
        owners = self._owners(foreign)
        if foreign and not replace:
            raise self._foreign(owners)
        known = {one.name for one in old.aside}
        aside = [*old.aside, *(self._aside(n, owners[n]) for n in foreign if n not in known)]
        record = Record(placed=tuple(_joined(old.placed, placed)), aside=tuple(aside))
        try:
            return self._carry_out(record, placed, files, foreign, act=act)
        except OSError as error:
            raise _unwritable(self.folder, error) from None

    def _carry_out(
        self,
        record: Record,
        placed: list[Placed],
        files: dict[str, bytes],
        foreign: list[str],
        *,
        act: bool,
    ) -> list[Change]:
        changes: list[Change] = []
        if act:
            self._write(RECORD, msgspec.json.format(msgspec.json.encode(record)) + b"\n", 0o644)
        how = {one.name: one for one in record.aside}
        for name in foreign:
            said: Literal["diverted", "set aside"] = (
                "diverted" if how[name].how == "diverted" else "set aside"
            )
            changes.append(self._change(said, name, f"now {ASIDE}{name}"))
            if act:
                self._set_aside(how[name])
        for one in placed:
            path = self.folder / one.name
            if _is_there(path) and _is(path, one):
                changes.append(self._change("kept", one.name, "as it should be"))
                continue
            changes.append(self._change("placed", one.name))
            if act and one.target:
                self._link(one.name, one.target)
            elif act:
                self._write(one.name, files[one.name], 0o644)
        return changes

    def uninstall(self, *, act: bool = True) -> list[Change]:
        """Remove what was placed and is unchanged; restore what was set aside.

        The record stays while anything is set aside, so that it can be tried again.
        """
        record = self.record
        if record is None:
            raise ConfigError(
                "plugin-not-installed",
                "nothing of dcap's was installed here",
                where=str(self.folder),
                mend="`dcap provider list` shows which plugins there are; --prefix names their folder",
            )
        try:
            changes = [*self._remove(record, act=act), *self._give_back(record, act=act)]
            kept = (self.folder / f"{ASIDE}{one.name}" for one in record.aside)
            if act and not any(map(_is_there, kept)):
                (self.folder / RECORD).unlink()
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        return changes

    def _remove(self, record: Record, *, act: bool) -> Iterator[Change]:
        for one in record.placed:
            path = self.folder / one.name
            if not _is_there(path):
                continue
            if not _is(path, one):
                yield self._change("left", one.name, "it is no longer what was placed")
                continue
            yield self._change("removed", one.name)
            if act:
                path.unlink()

    def _give_back(self, record: Record, *, act: bool) -> Iterator[Change]:
        for one in record.aside:
            if not _is_there(self.folder / f"{ASIDE}{one.name}"):
                continue
            path = self.folder / one.name
            if _is_there(path) and (act or not record.is_ours(path)):
                why = f"its place is taken: remove {one.name}, and uninstall again"
                yield self._change("left", f"{ASIDE}{one.name}", why)
                continue
            yield self._change("restored", one.name)
            if act:
                self._restore(one)

    def _owners(self, names: list[str]) -> dict[str, Owner]:
        packages = Packages(self.root) if names else None
        return {name: packages.owner(f"{self.prefix}/{name}") for name in names if packages}

    def _foreign(self, owners: dict[str, Owner]) -> ConfigError:
        said = [
            f"{name} ({f'package {owner.name}' if owner.name else 'of no known package'})"
            for name, owner in owners.items()
        ]
        package = next((owner.name for owner in owners.values() if owner.name), "")
        remove = f"`apt remove {package}`, or " if package else ""
        return ConfigError(
            "plugin-foreign",
            f"another's plugin is in place: {', '.join(said)}",
            where=str(self.folder),
            mend=f"{remove}--replace, which sets it aside until `dcap provider uninstall`; "
            "or another folder with --prefix",
        )

    def _aside(self, name: str, owner: Owner) -> Aside:
        packaged = owner.manager == "dpkg" and owner.name and shutil.which("dpkg-divert")
        return Aside(name=name, how="diverted" if packaged else "renamed", owner=owner.name)

    def _set_aside(self, aside: Aside) -> None:
        path, kept = self.folder / aside.name, self.folder / f"{ASIDE}{aside.name}"
        if aside.how == "diverted":
            self._divert("--add", aside.name)
        else:
            path.replace(kept)  # over an earlier release of the same, which an upgrade put back

    def _restore(self, aside: Aside) -> None:
        if aside.how == "diverted":
            self._divert("--remove", aside.name)
        else:
            (self.folder / f"{ASIDE}{aside.name}").rename(self.folder / aside.name)

    def _divert(self, act: str, name: str) -> None:
        """What the package installs under that name goes elsewhere, in its later releases too."""
        path = f"{self.prefix}/{name}"
        done = subprocess.run(  # noqa: S603 - its arguments are ours
            [  # noqa: S607 - found on the PATH
                "dpkg-divert",
                *([] if self.root.is_running else ["--root", str(self.root.top)]),
                *("--local", "--rename", "--divert", f"{self.prefix}/{ASIDE}{name}", act, path),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OSError(done.returncode, f"dpkg-divert: {done.stderr.strip()}")

    def _write(self, name: str, data: bytes, mode: int) -> None:
        """Written beside its place and moved there: a program that has the old one open keeps it."""
        handle, temporary = tempfile.mkstemp(prefix=".dcap-", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.folder / name)
        except OSError:
            with suppress(OSError):
                Path(temporary).unlink()
            raise

    def _link(self, name: str, target: str) -> None:
        beside = self.folder / f".dcap-{name}.{os.getpid()}"
        beside.symlink_to(target)
        beside.replace(self.folder / name)

    def _change(
        self,
        what: Literal["placed", "kept", "set aside", "diverted", "removed", "restored", "left"],
        name: str,
        why: str = "",
    ) -> Change:
        return Change(what=what, path=f"{self.prefix}/{name}", why=why)


def _is_there(path: Path) -> bool:
    """Whether anything stands at a path, a link to nothing included."""
    return os.path.lexists(path)


def _is(path: Path, one: Placed) -> bool:
    try:
        if one.target:
            return path.is_symlink() and str(path.readlink()) == one.target
        return not path.is_symlink() and _digest(path.read_bytes()) == one.sha256
    except OSError:
        return False


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _joined(old: tuple[Placed, ...], new: list[Placed]) -> list[Placed]:
    """The new ones, and what only an earlier placing knew of (the bare name)."""
    names = {one.name for one in new}
    return [*new, *(one for one in old if one.name not in names)]


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "output-unwritable",
        f"it cannot be written: {error.strerror or error}",
        where=str(folder),
        mend="become root (sudo), or name another folder with --prefix; then try again: what is half "
        "done is gone on with",
    )
