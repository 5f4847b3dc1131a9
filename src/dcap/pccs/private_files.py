"""Files for their owner alone, whole or absent: keys, hashes, what a first start makes."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from dcap.errors import ConfigError


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone, and those above it. Raises `ConfigError` (`pccs-data`)."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise _unwritable(folder, error) from None


def write_private(file: Path, content: bytes) -> None:
    """Write a file (0600), replacing one that is there. Raises `ConfigError` (`pccs-data`)."""
    beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}.tmp")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(file)
    except OSError as error:
        raise _unwritable(file, error) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def _unwritable(place: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "pccs-data",
        f"the service's own folder cannot be written: {error.strerror or error}",
        where=str(place),
        mend="name another with --data, or give this one to the user that the service runs as",
    )
