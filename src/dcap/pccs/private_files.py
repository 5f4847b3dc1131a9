"""Files for their owner alone, whole or absent: keys, hashes, what a first start makes.

A file goes on to belong to whom it belonged, and a new one belongs to whom its folder does: `sudo` takes
nothing away from a service that runs as a user of its own.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from dcap.errors import ConfigError


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone, and those above it.

    Raises `ConfigError` (`pccs-data`; `pccs-data-open` where everybody may put files there).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        mode = folder.stat().st_mode
    except OSError as error:
        raise _unwritable(folder, error) from None
    # A volume of a container is mounted so, and nobody else is in there.
    is_open = mode & stat.S_IWOTH and not mode & stat.S_ISVTX
    if is_open and not os.path.ismount(folder):
        raise ConfigError(
            "pccs-data-open",
            "everybody may put files into the service's own folder",
            where=str(folder),
            mend=f"chmod o-w {folder}; then look whether what is in it is yours",
        )


def write_private(file: Path, content: bytes) -> None:
    """Write a file, in place of one that is there; a new one is 0600. Raises `ConfigError`."""
    beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}.tmp")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
            opened.flush()
            keep_owner(handle, file)
            os.fsync(opened.fileno())
        beside.replace(file)
    except OSError as error:
        raise _unwritable(file, error) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def keep_owner(handle: int, file: Path) -> None:
    """Give an open file to whom the one of that name belongs, or else its folder. Raises `OSError`."""
    made = os.fstat(handle)
    try:
        before = file.stat()
    except FileNotFoundError:
        if os.geteuid() == 0:
            own_as_folder(handle, file.parent)
        return
    if before.st_uid != made.st_uid:
        os.fchown(handle, before.st_uid, before.st_gid)
    elif before.st_gid != made.st_gid:
        with suppress(PermissionError):  # a group that is not ours: its owner reads it all the same
            os.fchown(handle, -1, before.st_gid)
    os.fchmod(handle, stat.S_IMODE(before.st_mode) & ~stat.S_IRWXO)


def own_as_folder(handle: int, folder: Path) -> None:
    """Give an open file that root has just made to whom its folder belongs, where that can be done."""
    owner = folder.stat()
    with suppress(PermissionError):  # a root that is none, of a container or a network's files
        os.fchown(handle, owner.st_uid, owner.st_gid)


def _unwritable(place: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "pccs-data",
        f"the service's own folder cannot be written: {error.strerror or error}",
        where=str(place),
        mend="name another with --data, or give this one to the user that the service runs as",
    )
