"""`dcap provider install` and `uninstall`: our plugin in place for programs, and away again.

Placing and undoing are `dcap.provider.install`'s; here is what is asked and told.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

import dcap
from dcap.cli import output
from dcap.provider.install import Change, Installation, default_prefix, starting_command
from dcap.provider.library import library
from dcap.qpl.discovery import discover
from dcap.qpl.discovery_values import Choice

#: This machine's environment, as the house has it.
WRONG = 7
_ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR",
    help="Into the system in DIR (an unpacked image), not into this one.",
)
_PREFIX = click.option(
    "--prefix", metavar="DIR", help="The folder of libraries; without it that of this architecture."
)
_DRY = click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")


@click.command("install")
@_PREFIX
@_ROOT
@click.option(
    "--no-bare-name", is_flag=True, help="Leave out the name that EGo and Open Enclave want."
)
@click.option("--replace", is_flag=True, help="Set another's plugin aside, until uninstall.")
@_DRY
@_JSON
def install(
    *,
    prefix: str | None,
    root: Path,
    no_bare_name: bool,
    replace: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put dcap's plugin in place, for every program that loads libdcap_quoteprov.so.

    Nothing of another's is written over: --replace sets it aside, and uninstall restores it. Programs
    find the process behind the plugin at its socket, or start it when they first need it.
    """
    place = Installation(prefix or default_prefix(root), root=root)
    command = starting_command(sys.executable)
    changes = place.install(
        library(), command, bare=not no_bare_name, replace=replace, act=not dry_run
    )
    if not dry_run:
        _ldconfig(place)
    _tell(place, changes, dry_run=dry_run, as_json=as_json, loaded=not dry_run)
    if not place.root.is_running:
        output.warn(
            f"{command.strip()} starts the process: that Python has to be there in the image too"
        )
    elif not _is_everybodys(Path(sys.executable)):
        output.warn(
            f"not everybody may run {sys.executable}: programs of other users cannot start the "
            "process by it. Use the unit (dcap-provider.socket), or install dcap in /opt for example"
        )
    if os.geteuid() == 0 and not _is_roots(Path(sys.executable)):
        output.warn(
            f"{sys.executable} is not root's alone: who can change it, or its packages, runs code in "
            "every program that starts it. For a system, install dcap as root, in /opt for example"
        )


@click.command("uninstall")
@_PREFIX
@_ROOT
@_DRY
@_JSON
def uninstall(*, prefix: str | None, root: Path, dry_run: bool, as_json: bool) -> int:
    """Take dcap's plugin away, and put back what install set aside.

    Removed is only what was placed and is unchanged. Exit status 7 where anything is left.
    """
    place = Installation(prefix or default_prefix(root), root=root)
    changes = place.uninstall(act=not dry_run)
    if not dry_run:
        _ldconfig(place)
    _tell(place, changes, dry_run=dry_run, as_json=as_json, loaded=False)
    return WRONG if any(change.what == "left" for change in changes) else 0


def _ldconfig(place: Installation) -> None:
    """Programs that look by name ask the loader's cache: it is made anew where this is its system."""
    if place.root.is_running and os.geteuid() == 0 and shutil.which("ldconfig"):
        subprocess.run(["ldconfig"], check=False, capture_output=True)  # noqa: S607


def _is_everybodys(executable: Path) -> bool:
    """Whether every user reaches that file, by its own name and by where it leads, and may run it."""
    try:
        return all(
            path.stat().st_mode & stat.S_IXOTH
            for file in (executable.absolute(), executable.resolve())
            for path in (file, *file.parents)
        )
    except OSError:
        return False


def _is_roots(executable: Path) -> bool:
    """Whether root alone can change what the command starts: the interpreter, and this package."""
    files = (executable.absolute(), executable.resolve(), Path(dcap.__file__).resolve())
    try:
        return all(_is_safe(path.lstat()) for file in files for path in (file, *file.parents))
    except OSError:
        return False


def _is_safe(status: os.stat_result) -> bool:
    """Whether root alone can change what it is; nobody writes a link, or moves what is in /tmp."""
    if stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX:
        return status.st_uid == 0
    return status.st_uid == 0 and not status.st_mode & 0o022


def _tell(
    place: Installation, changes: list[Change], *, dry_run: bool, as_json: bool, loaded: bool
) -> None:
    value: dict[str, Any] = {
        "prefix": place.prefix,
        "dry_run": dry_run,
        "changes": msgspec.to_builtins(changes),
    }
    output.emit(value, _lines(place, changes, dry_run=dry_run, loaded=loaded), as_json=as_json)


def _lines(
    place: Installation, changes: list[Change], *, dry_run: bool, loaded: bool
) -> Iterator[str]:
    if dry_run:
        yield "nothing is changed; it would be:"
    for change in changes:
        why = f"  ({change.why})" if change.why else ""
        yield f"{change.what:<9} {change.path}{why}"
    if not loaded:
        return
    found = discover(place.root.top, environ=os.environ)
    yield "loaded by"
    width = max(len(choice.name) for choice in found.consumers)
    for choice in found.consumers:
        yield f"  {choice.name:<{width}}  {_choice(choice)}"
    if not any(choice.path.startswith(f"{place.prefix}/") for choice in found.consumers):
        yield f"no program looks into {place.prefix} by itself: name it in LD_LIBRARY_PATH, or in a file"
        yield "of /etc/ld.so.conf.d and run ldconfig; Conclave looks at its own four paths alone"


def _choice(choice: Choice) -> str:
    if choice.own or choice.kind is None:
        return "its own" if choice.own else "none"
    whose = "dcap's" if choice.kind == "dcap" else f"not dcap's: {choice.path}"
    return whose if choice.loads else f"{whose}, and fails: {choice.why}"
