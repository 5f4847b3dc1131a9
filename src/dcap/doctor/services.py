"""Who attests or verifies here beside the shell: daemons and programs, as they see the machine.

    for service in services(scene): service.name, service.account, service.environ, service.started

A daemon has another HOME, other proxies and another account than the shell, and read its configuration
when it started. Told by `/proc` where it runs and may be looked at, else by its unit and drop-ins. The
environment may hold secrets: no text of a `Service` shows it. Not here: what is wrong with any of it.

Source: `quote-provider.md` §1.1, §5.6, §6 (rows 13, 14).
"""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

import msgspec

from dcap.doctor.accounts import account_named, account_numbered
from dcap.doctor.processor import number_in
from dcap.doctor.scene import Account, Scene, once
from dcap.doctor.units import Unit, manager_environ, unit_named
from dcap.errors import FormatError, printable
from dcap.qpl.discovery_root import Root
from dcap.qpl.elf import read_bytes

#: "intel": loads the quote provider library; "dcap": ours; "pccs": a cache, which reads no qcnl.conf.
Work: TypeAlias = Literal["intel", "dcap", "pccs"]
#: Where its environment was read: of its process, in its unit, or nowhere.
Told: TypeAlias = Literal["process", "unit", "nothing"]


class _Known(msgspec.Struct, frozen=True):
    """A daemon: its unit, the names its process goes by, and words of its command line.

    Several words are arguments one after another (a path or a script that has both is something
    else); one is part of a file's name.
    """

    name: str
    work: Work
    commands: tuple[str, ...]
    words: tuple[str, ...] = ()


_KNOWN: Final = (
    _Known("aesmd", "intel", ("aesm_service",)),
    _Known("qgsd", "intel", ("qgs",)),
    _Known("dcap-provider", "dcap", ("dcap", "python"), ("provider", "serve")),
    _Known("dcap-pccs", "pccs", ("dcap", "python"), ("pccs", "serve")),
    _Known("pccs", "pccs", ("node",), ("pccs_server",)),
)
#: A program that maps one of these has read a configuration, or will.
_LIBRARIES: Final = re.compile(
    rb"/lib(dcap_quoteprov|sgx_default_qcnl_wrapper|sgx_dcap_ql|sgx_dcap_quoteverify)\.so"
)
_CONTAINED: Final = re.compile(r"docker|kubepods|libpod|containerd|lxc")
_MOST: Final = 1024 * 1024
_START_FIELD: Final = 19  # the 22nd, counted behind the command's name
_HIDING: Final = ("InaccessiblePaths", "InaccessibleDirectories")
_HOMES: Final = ("/home", "/root", "/run/user")
_YES: Final = ("yes", "true", "on", "1")


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One daemon or program. `account` and `started` are `None` where nobody can tell.

    `hidden` are folders that its unit takes from it, `own_tmp` is whether it has a /tmp of its own.
    `unseen` says why its process's environment could not be read; `unit` is empty for a program.
    """

    name: str
    work: Work
    account: Account | None
    environ: Mapping[str, str]
    told: Told
    started: datetime | None = None
    pid: int | None = None
    unit: str = ""
    hidden: tuple[str, ...] = ()
    own_tmp: bool = False
    unseen: str = ""

    def __repr__(self) -> str:
        return f"<Service {self.name}>"

    @property
    def home(self) -> str:
        """Its `HOME`; "" where it has none."""
        return self.environ.get("HOME", "")

    @property
    def restart(self) -> str:
        """How it is made to read its configuration anew."""
        return f"`sudo systemctl restart {self.unit}`" if self.unit else f"restart {self.name}"

    def sees(self, path: str) -> bool:
        """Whether its unit leaves a path to it."""
        return not any(path == each or path.startswith(f"{each}/") for each in self.hidden)


class _Process(msgspec.Struct, frozen=True):
    pid: int
    command: str
    words: tuple[str, ...]


@once
def services(scene: Scene) -> tuple[Service, ...]:
    """Every daemon that is installed or runs, then every program that uses Intel's libraries."""
    root = scene.root
    found: list[Service] = []
    running = list(_processes(root))
    taken: set[int] = set()
    for known in _KNOWN:
        unit = unit_named(root, known.name)
        mine = [process for process in running if _is(known, process)]
        taken |= {process.pid for process in mine}
        found += _daemons(root, known, unit, mine)
    found += [
        _service(root, f"{process.command} ({process.pid})", "intel", process, None)
        for process in running
        if process.pid not in taken and _loads_libraries(root, process)
    ]
    return tuple(found)


def _daemons(
    root: Root, known: _Known, unit: Unit | None, running: list[_Process]
) -> Iterator[Service]:
    """The processes of a daemon, one of each account; where none runs, what its unit will make."""
    seen: set[int | None] = set()
    for process in running:
        if (uid := _uid(root, process.pid)) not in seen:
            seen.add(uid)
            yield _service(root, known.name, known.work, process, unit)
    if not running and unit is not None and not unit.masked:
        yield _service(root, known.name, known.work, None, unit)


def _service(
    root: Root, name: str, work: Work, process: _Process | None, unit: Unit | None
) -> Service:
    unit = None if unit is None or unit.masked else unit
    account = _account(root, process, unit)
    environ: Mapping[str, str] = {}
    told: Told = "nothing"
    unseen = ""
    if process is not None:
        content, unseen = _bytes(root, f"/proc/{process.pid}/environ")
        if not unseen:
            environ, told = _variables(content), "process"
    if told == "nothing" and unit is not None:
        environ, told = _of_unit(root, unit, account), "unit"
    return Service(
        name=name,
        work=work,
        account=account,
        environ=environ,
        told=told,
        started=None if process is None else _started(root, process.pid),
        pid=None if process is None else process.pid,
        unit="" if unit is None else unit.name,
        hidden=() if unit is None else _hidden(unit),
        own_tmp=unit is not None and unit.last("PrivateTmp").lower() in _YES,
        unseen=unseen,
    )


def _of_unit(root: Root, unit: Unit, account: Account | None) -> dict[str, str]:
    """Those of systemd itself, then the manager's, then the unit's. Without `User=` there is no HOME."""
    found = manager_environ(root)
    if unit.last("User") and account is not None:
        found = {"HOME": account.home, "USER": account.name, "LOGNAME": account.name} | found
    return found | unit.environ(root)


def _account(root: Root, process: _Process | None, unit: Unit | None) -> Account | None:
    if process is not None:
        uid = _uid(root, process.pid)
        known = None if uid is None else account_numbered(root, uid)
        if known is None or uid is None:
            return known
        groups = _status(root, process.pid, "Groups") + _status(root, process.pid, "Gid")[1:2]
        return msgspec.structs.replace(known, groups=known.groups | frozenset(groups))
    if unit is None or unit.last("DynamicUser").lower() in _YES:
        return None
    return account_named(root, unit.last("User") or "root")


def _hidden(unit: Unit) -> tuple[str, ...]:
    """Folders that are not there for it. A `-` before a name forgives that there is none, a `+` not."""
    named = [name.lstrip("-+").rstrip("/") for name in unit.every(*_HIDING)]
    if unit.last("ProtectHome").lower() in (*_YES, "tmpfs"):
        named += _HOMES
    return tuple(named)


# ── /proc ───────────────────────────────────────────────────────────────────────────────────────


def _processes(root: Root) -> Iterator[_Process]:
    """What runs on this machine, and not in a container on it: that has other files."""
    contained = bool(_CONTAINED.search(root.text("/proc/1/cgroup")))
    for name in sorted((name for name in root.names("/proc") if name.isdecimal()), key=int):
        if root.is_running and int(name) == os.getpid():
            continue
        if not contained and _CONTAINED.search(root.text(f"/proc/{name}/cgroup")):
            continue
        if command := root.text(f"/proc/{name}/comm").strip():
            words = root.text(f"/proc/{name}/cmdline").split("\0")
            yield _Process(int(name), printable(command), tuple(words))


def _is(known: _Known, process: _Process) -> bool:
    if not any(process.command == name or
               (name == "python" and process.command.startswith(name))
               for name in known.commands):  # fmt: skip
        return False
    if len(known.words) == 1:
        return any(known.words[0] in posixpath.basename(word) for word in process.words)
    words, wanted = process.words, known.words
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words))) or not wanted


def _loads_libraries(root: Root, process: _Process) -> bool:
    content, _ = _bytes(root, f"/proc/{process.pid}/maps")
    return bool(_LIBRARIES.search(content))


def _uid(root: Root, pid: int) -> int | None:
    """The effective one."""
    numbers = _status(root, pid, "Uid")
    return numbers[1] if len(numbers) > 1 else None


def _status(root: Root, pid: int, name: str) -> list[int]:
    for line in root.text(f"/proc/{pid}/status").splitlines():
        key, _, rest = line.partition(":")
        if key == name:
            return [number_in(word) for word in rest.split() if word.isdecimal()]
    return []


def _started(root: Root, pid: int) -> datetime | None:
    """When a process began: ticks since the machine's start, and when that was."""
    fields = root.text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    booted = re.search(r"^btime (\d+)$", root.text("/proc/stat"), re.MULTILINE)
    if booted is None or len(fields) <= _START_FIELD or not fields[_START_FIELD].isdecimal():
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    try:
        return datetime.fromtimestamp(int(booted[1]) + int(fields[_START_FIELD]) / ticks, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _bytes(root: Root, path: str) -> tuple[bytes, str]:
    """A file of `/proc`, which has no size; or why it cannot be read."""
    place = root.look(path)
    try:
        return read_bytes(root.host(place.real), _MOST), ""
    except PermissionError:
        return b"", f"{path} belongs to another account (run the doctor with sudo)"
    except OSError as error:
        return b"", f"{path} cannot be read: {error.strerror or error}"
    except FormatError as error:
        return b"", f"{path} cannot be read: {error.what}"


def _variables(content: bytes) -> dict[str, str]:
    pairs = (part.partition(b"=") for part in content.split(b"\0"))
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, sign, value in pairs
        if sign
    }
