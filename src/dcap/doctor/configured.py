"""Which `qcnl.conf` each process here reads, and what it holds: the shell, daemons, programs.

    for file in configured(scene): file.path, file.readers, file.reading

The variable QCNL_CONF_PATH decides, of each process's own environment; there is no falling back. Links
are followed within the root. Not here: what is wrong with a file (`configuration`), what its keys
mean (`qpl.qcnl_config`).

Source: `quote-provider.md` §1.1.
"""

import posixpath
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from dcap.doctor.accounts import READ, may, status
from dcap.doctor.scene import Account, Scene
from dcap.doctor.services import Service, services
from dcap.errors import ConfigError, FormatError
from dcap.qpl.discovery_root import Place, Root
from dcap.qpl.elf import read_bytes
from dcap.qpl.qcnl_checks import capped
from dcap.qpl.qcnl_config import MAX_SIZE, SYSTEM_PATH, VARIABLE, read_qcnl
from dcap.qpl.qcnl_legacy import read_legacy
from dcap.qpl.qcnl_remarks import remark
from dcap.qpl.qcnl_values import QcnlConfig, Reading

SHELL: Final = "this shell"
#: Only Intel's own provider brings it: Azure's and ours read no qcnl.conf by themselves.
_INTELS: Final = "libsgx_default_qcnl_wrapper.so.1"
_FOLDERS: Final = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """A process, or the shell, that reads a configuration. Its text shows no environment."""

    name: str
    account: Account | None
    environ: Mapping[str, str]
    service: Service | None = None
    #: Why it cannot read the file that it looks for; empty where it can.
    trouble: str = ""

    def __repr__(self) -> str:
        return f"<Reader {self.name}>"


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """One path and who looks there.

    `reading` is `None` where the doctor could not read it, and `unread` says why; a file that is not
    there reads as the library's defaults. `changed` is when it was last written.
    """

    path: str
    named: bool
    readers: tuple[Reader, ...]
    reading: Reading | None
    unread: str = ""
    changed: datetime | None = None

    @property
    def who(self) -> str:
        """Its readers, for a sentence."""
        return listed([reader.name for reader in self.readers])


def listed(names: list[str]) -> str:
    """Names in a sentence: a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "nobody"


def readers(scene: Scene, found: tuple[Service, ...] | None = None) -> tuple[Reader, ...]:
    """The shell, then each daemon and program that goes by Intel's rules and can be looked into."""
    mine = Reader(name=SHELL, account=scene.account, environ=scene.environ)
    others = [
        Reader(name=each.name, account=each.account, environ=each.environ, service=each)
        for each in (services(scene) if found is None else found)
        if each.work == "intel" and each.told != "nothing"
    ]
    return (mine, *others)


def configured(scene: Scene, found: tuple[Service, ...] | None = None) -> tuple[Configured, ...]:
    """Every file that somebody looks for, the shell's first."""
    by_path: dict[str, list[Reader]] = {}
    for reader in readers(scene, found):
        by_path.setdefault(_path(scene.root, reader), []).append(reader)
    return tuple(_configured(scene.root, path, tuple(each)) for path, each in by_path.items())


def has_intels_library(root: Root) -> bool:
    """Whether Intel's own provider is installed where loaders look."""
    return any(root.look(posixpath.join(folder, _INTELS)).is_there for folder in _FOLDERS)


def _path(root: Root, reader: Reader) -> str:
    """The path that a reader opens; a relative one is the shell's own, or counts from `/`."""
    named = reader.environ.get(VARIABLE)
    if named is None:
        return str(SYSTEM_PATH)
    if not named or named.startswith("/"):
        return named
    here = str(Path.cwd()) if root.is_running and reader.service is None else "/"
    return posixpath.normpath(posixpath.join(here, named))


def _configured(root: Root, path: str, by: tuple[Reader, ...]) -> Configured:
    named = any(VARIABLE in reader.environ for reader in by)
    about = status(root, path) if path else None
    reading, unread = _reading(root, path)
    return Configured(
        path=path,
        named=named,
        readers=tuple(
            msgspec.structs.replace(reader, trouble=_trouble(root, path, reader)) for reader in by
        ),
        reading=reading,
        unread=unread,
        changed=None if about is None else datetime.fromtimestamp(about.st_mtime, UTC),
    )


def _trouble(root: Root, path: str, reader: Reader) -> str:
    if not path:
        return f"{VARIABLE} is set, and empty"
    place = root.look(path)
    if reader.service is not None and not reader.service.sees(path):
        return "its unit hides that folder from it"
    if place.kind in ("folder", "other"):
        return f"it is {'a folder' if place.kind == 'folder' else 'no regular file'}"
    if place.kind == "absent":
        return "it is a link to nothing" if place.link else "there is no such file"
    if reader.account is not None and not may(root, reader.account, path, READ):
        return f"{reader.account.name} may not read it"
    return ""


def _reading(root: Root, path: str) -> tuple[Reading | None, str]:
    """What the file comes to; the library's defaults where there is none."""
    place = root.look(path or "/")
    if not path or place.kind != "file":
        return (
            (None, "its folder may not be entered") if place.kind == "denied" else (_none(path), "")
        )
    try:
        data = read_bytes(root.host(place.real), MAX_SIZE)
        reading = read_qcnl(data, where=path)
    except PermissionError:
        return None, "the doctor may not read it (run it with sudo)"
    except (OSError, FormatError, ConfigError) as error:
        return None, str(getattr(error, "what", "") or error)
    return _through_link(reading, data, place), ""


def _none(path: str) -> Reading:
    return msgspec.structs.replace(read_qcnl(b"", where=path), format="absent", remarks=())


def _through_link(reading: Reading, data: bytes, place: Place) -> Reading:
    """JSON behind a link is not read by Intel's library, as `qcnl_config.load_qcnl` has it."""
    if not place.link or reading.format != "json":
        return reading
    lines = read_legacy(data.decode("utf-8", "replace")).taken
    return msgspec.structs.replace(
        reading,
        intel=capped(QcnlConfig(**lines)),
        init=0,
        remarks=(remark("qcnl-symlink"), *reading.remarks),
    )
