"""Collateral from the disk: a folder of files, or one file in dcap-qvl's JSON form.

What the names mean stands in `formats.collateral.FILE_NAMES`. Nothing is verified here.
"""

from collections.abc import Callable
from pathlib import Path

from dcap.errors import CollateralError, ConfigError, FormatError, NotFound
from dcap.formats.collateral import FILE_NAMES, MAX_SIZE, Collateral

_NAMES = {name for names in FILE_NAMES.values() for name in names} | {
    "collateral.json",
    "tcb_info_signature.hex",
    "qe_identity_signature.hex",
}


def read_collateral(path: Path) -> Collateral:
    """Read the collateral at `path`.

    Raises `NotFound` (`collateral-missing`, `collateral-incomplete`), `CollateralError` where it cannot
    be read, `ConfigError`.
    """
    if path.is_dir():
        files = {
            entry.name: read_bounded(entry)
            for entry in path.iterdir()
            if entry.name in _NAMES and entry.is_file()
        }
        if not files:
            raise NotFound(
                "collateral-missing",
                "the folder holds no collateral",
                where=str(path),
                mend="it needs tcb_info_response.json, qe_identity_response.json, pck_crl.der, "
                "root_ca_crl.der and their *_issuer_chain.pem, or collateral.json",
            )
        return _read(lambda: Collateral.from_files(files), path)
    if not path.exists():
        raise NotFound(
            "collateral-missing",
            "there is no such file or folder",
            where=str(path),
            mend="give a folder of saved PCS answers, or a file in dcap-qvl's JSON form",
        )
    return _read(lambda: Collateral.from_json(read_bounded(path)), path)


def _read(read: Callable[[], Collateral], path: Path) -> Collateral:
    """What cannot be read as collateral is collateral that is not there: it says nothing of evidence."""
    try:
        return read()
    except FormatError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise CollateralError(error.code, error.what, where=where, mend=error.mend) from None


def read_bounded(path: Path, limit: int = MAX_SIZE) -> bytes:
    """A file's bytes, at most `limit` of them. Raises `ConfigError` (`file-unreadable`)."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(
            "file-unreadable",
            f"cannot be read: {error.strerror or error}",
            where=str(path),
            mend="check its name and permissions",
        ) from None
    if len(data) > limit:
        raise ConfigError("file-too-large", f"more than {limit} bytes", where=str(path))
    return data
