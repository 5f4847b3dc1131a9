"""Files of an administrator: for their owner alone, for they name machines; whole, or not there.

Not here: what stands in them (`pccs.transfer`).
"""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from dcap.errors import ConfigError

PRIVATE: Final = 0o600
#: For what other users of a host read.
PUBLIC: Final = 0o644


def expect_readable(path: Path) -> None:
    """Refuse early what cannot be read. Raises `ConfigError` (`file-unreadable`)."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise _unreadable(path, error) from None


def read_whole(path: Path, limit: int) -> bytes:
    """A file's bytes. Raises `ConfigError` (`file-unreadable`, `file-too-large`)."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > limit:
        raise ConfigError("file-too-large", f"more than {limit} bytes", where=str(path))
    return data


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "file-unreadable",
        f"cannot be read: {error.strerror or error}",
        where=str(path),
        mend="check its name and permissions",
    )


def write_chunks(
    path: Path, chunks: Iterable[bytes], *, replace: bool = False, mode: int = PRIVATE
) -> None:
    """Write a file. Raises `ConfigError` (`output-exists`, `output-unwritable`)."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            beside.replace(path)
        else:
            os.link(beside, path)
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        raise ConfigError(
            "output-unwritable",
            f"it cannot be written: {error.strerror or error}",
            where=str(path),
            mend="write elsewhere, or make room",
        ) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def expect_free(path: Path) -> None:
    """Refuse, before anything is asked, to write over what is there. Raises `output-exists`."""
    if path.exists() or path.is_symlink():
        raise taken(path)


def taken(path: Path) -> ConfigError:
    """There is something already."""
    return ConfigError(
        "output-exists",
        "there is something already, and it is not written over",
        where=str(path),
        mend="give another name with -o, or move it away",
    )
