"""Replacing a configuration file: whole or not at all, and with the old one kept beside it.

Not here: what is written (`qcnl_profiles`).
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from dcap.errors import ConfigError

_MODE: Final = 0o644
_MOST_BACKUPS: Final = 1000


def replace_file(path: Path, text: str) -> Path | None:
    """Put `text` at `path`; the backup of what was there, if anything was.

    Mode and owner stay. Where anything fails, the old file stands as it was. Raises `ConfigError`
    (`output-unwritable`, `qcnl-target`).
    """
    refuse_what_is_no_file(path)
    try:
        return _replace(path, text.encode())
    except OSError as error:
        raise _unwritable(path, error) from None


def refuse_what_is_no_file(path: Path) -> None:
    """Raise `ConfigError` (`qcnl-target`) where `path` is a link, a folder or a device."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(path, error) from None
    if stat.S_ISLNK(mode):
        raise ConfigError(
            "qcnl-target",
            "it is a symbolic link, through which new releases of Intel's library read nothing",
            where=str(path),
            mend="remove the link, or name the file that it points to with --output FILE",
        )
    if not stat.S_ISREG(mode):
        raise ConfigError(
            "qcnl-target", "it is no regular file", where=str(path), mend="name a file"
        )


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "output-unwritable",
        f"it cannot be written: {error.strerror or error}; nothing was changed",
        where=str(path),
        mend="become root (sudo), make the folder, or write elsewhere with --output FILE",
    )


def _replace(path: Path, content: bytes) -> Path | None:
    old = path.stat() if path.exists() else None
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode) if old else _MODE)
            if old and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fsync(file.fileno())
        backup = _back_up(path, old) if old else None
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    _sync_folder(path.parent)
    return backup


def _back_up(path: Path, old: os.stat_result) -> Path:
    """A copy under the first name that is free: FILE.bak, FILE.bak.1 …"""
    content = path.read_bytes()
    for number in range(_MOST_BACKUPS):
        backup = path.with_name(f"{path.name}.bak{f'.{number}' if number else ''}")
        with suppress(FileExistsError):
            descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
                with suppress(PermissionError):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fsync(file.fileno())
            return backup
    raise FileExistsError(17, "there are a thousand backups")


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
