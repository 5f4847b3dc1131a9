"""Whether what was edited is what is in force: processes that read once, two files, the wrong file.

Not here: what a file holds (`configuration`).

Source: `quote-provider.md` §1.1, §1.6, §6 (row 14).
"""

import posixpath
import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import msgspec

from dcap.doctor.configuration_mends import restart, to_file
from dcap.doctor.configured import SHELL, Configured, configured, has_intels_library, listed
from dcap.doctor.finding import Finding, Mend, Remarks, Right, Skipped
from dcap.doctor.scene import Scene
from dcap.doctor.services import services
from dcap.qpl.qcnl_checks import host_of, without_credentials
from dcap.qpl.qcnl_config import DEFAULT_PCCS_URL, VARIABLE

_NETWORK_SETTING: Final = "network_setting.conf"
_TOOLS: Final = "/opt/intel"
_PCCS_SETTINGS: Final = "/opt/intel/sgx-dcap-pccs/config/default.json"
#: A file system's times may be a little coarse.
_GRAIN: Final = timedelta(seconds=1)
_HTTPS_PORT: Final = re.compile(r'"HTTPS_PORT"\s*:\s*"?(\d{1,5})')


def look_at_edits(scene: Scene) -> Remarks:
    """Whether what was edited is what is in force."""
    found = services(scene)
    for each in found:
        if each.work == "intel" and each.told == "nothing":
            yield Skipped(f"which configuration {each.name} reads", each.unseen)
    files = configured(scene, found)
    yield from _not_reread(files)
    yield from _two_files(files)
    yield from _other_files(scene, files)


def _not_reread(files: tuple[Configured, ...]) -> Remarks:
    """A file that is younger than a process that has read it."""
    for file in files:
        running = [each for each in file.readers if each.service and each.service.pid]
        if not running or file.changed is None or file.reading is None:
            continue
        before, after, unknown = [], [], []
        for reader in running:
            started = reader.service.started if reader.service else None
            if started is None:
                unknown.append(reader)
            elif file.changed > started + _GRAIN:
                after.append((reader, started))
            else:
                before.append(reader)
        if after:
            names = listed([reader.name for reader, _ in after])
            hurt = msgspec.structs.replace(file, readers=tuple(reader for reader, _ in after))
            yield Finding(
                "configuration-not-reread",
                f"{file.path} was changed after {names} had started, which reads it once",
                evidence=(
                    f"{file.path} changed {file.changed:%Y-%m-%d %H:%M:%S} UTC",
                    *(f"{reader.name} started {at:%Y-%m-%d %H:%M:%S} UTC" for reader, at in after),
                ),
                mends=tuple(
                    msgspec.structs.replace(mend, text=mend.text.removeprefix("then "))
                    for mend in restart(hurt)
                ),
            )
        if before:
            names = listed([reader.name for reader in before])
            yield Right(f"{names} started after the last change of {file.path}")
        for reader in unknown:
            yield Skipped(
                f"whether {reader.name} has read {file.path} as it is", "its start is unknown"
            )


def _two_files(files: tuple[Configured, ...]) -> Remarks:
    """The shell's configuration against those of the daemons."""
    mine = next(file for file in files if any(reader.name == SHELL for reader in file.readers))
    for file in files:
        if file is mine or file.reading is None or mine.reading is None:
            continue
        if mine.reading.format == "absent" and not mine.named:
            continue  # nothing was written for the shell
        what = (
            f"{SHELL} reads {mine.path or '(nothing)'}, {file.who} reads {file.path or '(nothing)'}"
        )
        if file.reading.intel == mine.reading.intel:
            yield Right(f"{what}; both say the same")
            continue
        yield Finding(
            "configuration-two-files",
            f"{what}: they differ",
            evidence=tuple(
                f"{one.path or '(nothing)'}: {_asks(one.reading.intel.pccs_url)}"
                for one in (mine, file)
                if one.reading is not None
            ),
            mends=tuple(_one_file(mine, file)),
        )


def _asks(url: str) -> str:
    return f"Intel's library asks {without_credentials(url)}"


def _one_file(mine: Configured, other: Configured) -> Iterator[Mend]:
    if mine.named:
        yield Mend(f"`unset {VARIABLE}` in the shell, if the daemon's is meant")
    for reader in other.readers:
        if reader.service and reader.service.unit:
            unit = reader.service.unit
            yield Mend(
                f"or give it the shell's: `sudo systemctl edit {unit}`, [Service] "
                f"Environment={VARIABLE}={mine.path}, `{_again(unit)}`"
            )


def _again(unit: str) -> str:
    return f"sudo systemctl restart {unit}"


def _other_files(scene: Scene, files: tuple[Configured, ...]) -> Remarks:
    """The default address beside a neighbouring file that names another one."""
    for file in files:
        if file.reading is None or file.reading.intel.pccs_url != DEFAULT_PCCS_URL:
            continue
        if file.reading.format in ("absent", "empty") and not has_intels_library(scene.root):
            continue
        for path, said, url in _neighbours(scene):
            yield Finding(
                "configuration-other-file",
                f"{path} names {said}, and Intel's library asks https://localhost:8081: it does not "
                f"read {path}",
                evidence=(f"{path}: {said}", f"{file.path}: pccs_url is the default"),
                mends=(
                    Mend(f"`sudo dcap qcnl write --pccs {shlex.quote(url)}{to_file(scene, file)}`"),
                    *restart(file),
                ),
            )


def _neighbours(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Files that people edit instead: path, what it says, the address that follows."""
    root = scene.root
    for folder in root.names(_TOOLS):
        path = posixpath.join(_TOOLS, folder, _NETWORK_SETTING)
        said = re.search(r"^\s*PCCS_URL\s*=\s*(\S+)", root.text(path), re.IGNORECASE | re.MULTILINE)
        host = host_of(said[1]) if said else ""
        if said and host and host != host_of(DEFAULT_PCCS_URL):
            yield path, f"PCCS_URL={without_credentials(said[1])}", f"https://{host}/"
    port = _HTTPS_PORT.search(root.text(_PCCS_SETTINGS))
    if port and port[1] != "8081":
        yield _PCCS_SETTINGS, f"HTTPS_PORT {port[1]}", f"https://localhost:{port[1]}/"
