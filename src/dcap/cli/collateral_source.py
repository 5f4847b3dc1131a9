"""What commands share that fetch collateral: the options that name sources, and files that are written.

Not here: what the names mean (`sources.environment`).
"""

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dcap.appraisal.policy import duration
from dcap.errors import ConfigError
from dcap.formats.collateral import FILE_NAMES, Collateral
from dcap.sources.need import Update
from dcap.verification.anchors import TrustAnchor

if TYPE_CHECKING:
    from dcap.sources.environment import Configured

#: So much of a name is repeated in that of what is still being written.
_NAME = 64
_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--source",
        "sources",
        multiple=True,
        metavar="SOURCE",
        help="Where collateral is fetched: pcs, azure, alibaba:REGION, qcnl[:FILE], plugin[:PATH], "
        "bundled, a PCCS's URL, a path. Repeatable: the next is asked where one fails. Default: "
        "$DCAP_SOURCE, else bundled: this machine's QCNL configuration, else Azure's caches on its "
        "machines, else Intel's PCS.",
    ),
    click.option("--offline", is_flag=True, help="Ask nothing over the network. ($DCAP_OFFLINE)"),
    click.option(
        "--ca",
        "ca_file",
        metavar="FILE",
        help="Trust these certificates for servers (PEM), instead of the system's.",
    ),
    click.option(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="Wait so long for one answer, with all attempts at it. A set takes one or two such waits "
        "of each source that is asked, a PCK certificate one or two more.  [default: 30]",
    ),
    click.option("--early", is_flag=True, help="Fetch what is announced, and not yet standard."),
    click.option(
        "--evaluation",
        type=click.IntRange(0, 0xFFFF_FFFF),
        metavar="N",
        help="Fetch this TCB evaluation data number.",
    ),
    click.option(
        "--stale-for",
        metavar="DURATION",
        help="Where nothing answers, use what is kept so long past its time. Said in the result.",
    ),
)


def source_options(command: _Command) -> _Command:
    """The options that say where collateral comes from, and of which generation."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def generation(flags: Mapping[str, Any]) -> tuple[Update | None, int | None]:
    """`update` and evaluation number, as the flags say. Raises `ConfigError` for both at once."""
    if flags["early"] and flags["evaluation"] is not None:
        raise ConfigError(
            "two-generations",
            "--early and --evaluation exclude each other",
            mend="give one of them: an evaluation number is exact",
        )
    return ("early" if flags["early"] else None), flags["evaluation"]


def configured(
    flags: Mapping[str, Any], *, anchor: TrustAnchor, at: datetime | None, cache: bool = True
) -> "Configured":
    """The source that the flags, or this machine, name. `at` is the instant to judge at, if not now."""
    from dcap.sources.environment import from_environment  # noqa: PLC0415 - only who fetches
    from dcap.sources.freshness import Freshness  # noqa: PLC0415

    freshness = Freshness()
    if flags["stale_for"] is not None:
        text = flags["stale_for"]
        longest = duration(int(text) if text.isdigit() else text, "--stale-for")
        freshness = Freshness(stale_for=longest)
    return from_environment(
        flags["sources"] or None,
        ca=Path(flags["ca_file"]) if flags["ca_file"] else None,
        offline=True if flags["offline"] else None,
        anchor=anchor,
        cache=cache,
        freshness=freshness,
        at=at,
        timeout=flags["timeout"],
    )


def expect_no_fetch(flags: Mapping[str, Any], why: str) -> None:
    """Refuse flags that only a fetch obeys. Raises `ConfigError` (`flag-without-fetch`)."""
    names = {"ca_file": "--ca", "timeout": "--timeout", "stale_for": "--stale-for"}
    given = [name for key, name in names.items() if flags[key] is not None]
    if given:
        raise ConfigError(
            "flag-without-fetch",
            f"nothing is fetched, for {why}: {' and '.join(given)} would have no effect",
            where=given[0],
            mend=f"leave out {' and '.join(given)}; or name a --source, and collateral is fetched",
        )


def files_of(collateral: Collateral) -> dict[str, bytes]:
    """A set as files, by the names that `dcap verify --collateral` reads."""
    pieces = {names[0]: getattr(collateral, piece) for piece, names in FILE_NAMES.items()}
    return {name: content for name, content in pieces.items() if content is not None}


def expect_nothing_at(path: Path) -> None:
    """Refuse to write over what is there. Raises `ConfigError` (`output-exists`)."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise ConfigError(
            "output-exists",
            "there is something already, and it is not written over",
            where=str(path),
            mend="give another name, or move it away",
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, for its owner alone, that is there whole or not at all, and replaces none."""
    from tempfile import mkstemp  # noqa: PLC0415 - slow to load, and few write

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name that nobody can know, made anew: nothing that lies there is followed or written to.
        descriptor, name = mkstemp(prefix=f".{path.name[:_NAME]}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.link(name, path)  # unlike a rename, it refuses to replace
        except FileExistsError:
            expect_nothing_at(path)
            raise
        finally:
            Path(name).unlink()
    except OSError as error:
        raise _unwritable(path, error) from None


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder that is there whole or not at all; `/` in a name makes a folder in it."""
    from shutil import rmtree  # noqa: PLC0415 - slow to load, and few write
    from tempfile import mkdtemp  # noqa: PLC0415

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{folder.name[:_NAME]}.", dir=folder.parent))
        whole = beside / "whole"
        try:
            whole.mkdir()
            for name, content in files.items():
                place = whole / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            if folder.is_dir():
                folder.rmdir()  # only an empty one can be removed
            whole.rename(folder)
        finally:
            rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "output-unwritable",
        f"it cannot be written: {error.strerror or error}",
        where=str(path),
        mend="check the folder's permissions, or give another name",
    )
