"""The built library: the one in this installation, or one compiled from the sources that come with it.

    library()                  # the path of a libdcap_quoteprov.so.1

A wheel for a platform has it; a pure one has the sources alone, and where there are `make` and a C
compiler it is compiled once, into the user's cache. Not here: placing it for programs (`install`).
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dcap.errors import ConfigError
from dcap.sources.disk import cache_directory

NAME: Final = "libdcap_quoteprov.so.1"
NATIVE: Final = Path(__file__).parent / "native"
_SECONDS: Final = 120


def library(environ: Mapping[str, str] = os.environ, *, native: Path = NATIVE) -> Path:
    """The path of the library. Raises `ConfigError` (`plugin-not-built`)."""
    shipped = native / NAME
    if shipped.is_file():
        return shipped
    cache = cache_directory(environ)
    if cache is None:
        raise _not_built("this user has no folder for a cache to compile it into")
    compiled = cache / "plugin" / _digest(native) / NAME
    if not compiled.is_file():
        _compile(native, compiled.parent)
    return compiled


def _digest(native: Path) -> str:
    """The sources in a few characters: those of another release are another library."""
    sources = hashlib.sha256()
    for file in sorted(native.iterdir()):
        if file.suffix in (".c", ".h", ".map") or file.name == "Makefile":
            sources.update(file.name.encode() + b"\0" + file.read_bytes())
    return sources.hexdigest()[:16]


def _compile(native: Path, folder: Path) -> None:
    compiler = os.environ.get("CC", "cc").split()[0]
    missing = [tool for tool in ("make", compiler) if not shutil.which(tool)]
    if missing:
        raise _not_built(f"there is no {' and no '.join(missing)} to compile it with")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(  # noqa: S603 - its arguments are ours
            ["make", "-s", "-C", str(native), f"OUT={folder}", "WERROR="],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _not_built(str(error)) from None
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["no message"])[-1]
        raise _not_built(f"the compiler says: {last}")


def _not_built(why: str) -> ConfigError:
    return ConfigError(
        "plugin-not-built",
        f"this installation of dcap came without {NAME}, and {why}",
        where=str(NATIVE),
        mend="apt install gcc make, and try again; or install a wheel for this platform",
    )
