"""What the commands of `dcap sim` share: where the world lies, which machine is meant, folders."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from dcap.cli.evidence_forms import unwritable, write_output
from dcap.errors import ConfigError
from dcap.formats.collateral import FILE_NAMES, Collateral
from dcap.simulator.platform import Platform
from dcap.simulator.state import WorldDirectory
from dcap.simulator.world import World

DIRECTORY = ".dcap-sim"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def place(command: _Command) -> _Command:
    """The option `--dir`."""
    return click.option(
        "--dir",
        "directory",
        metavar="DIR",
        default=DIRECTORY,
        envvar="DCAP_SIM_DIR",
        show_default=True,
        callback=lambda _context, _option, value: WorldDirectory(Path(value)),
        help="Where the world lies; made where it is missing.",
    )(command)


def machine_of(world: World, name: str) -> Platform:
    """A machine that is there: one that is mistyped must not be made in passing."""
    if name not in world.platforms:
        raise ConfigError(
            "simulator-event",
            f"there is no platform {name!r}",
            mend=f"there are: {', '.join(world.platforms)}; "
            f"`dcap sim event platform-added --platform {name}` makes it",
        )
    return world.platforms[name]


def written(at: datetime) -> str:
    """An instant as `--at` reads it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def make_folder(folder: Path) -> None:
    """Make the folder that is to be filled, in one that is there."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None


def write_folder(folder: Path, collateral: Collateral) -> list[str]:
    """Write collateral as `dcap verify --collateral` reads it. The names of the files."""
    make_folder(folder)
    names = []
    for piece, (name, *others) in FILE_NAMES.items():
        content = getattr(collateral, piece)
        for stale in others:
            (folder / stale).unlink(missing_ok=True)
        if content is None:
            (folder / name).unlink(missing_ok=True)
            continue
        write_output(folder / name, content)
        names.append(name)
    return names
