"""What a quoting enclave stores through the library: blobs by label, for their user alone.

    persistent = Persistent(state_directory(os.environ))
    persistent.write("ecdsa_data_blob", blob)
    persistent.read("ecdsa_data_blob")

A blob is sealed by its enclave: here it is bytes. Files are 0600, whole or not at all, and their names
tell nothing (`sources.disk`); the label is kept inside, and compared. Not here: whose call it is
(`provider`).

Source: `quote-provider.md` §3.1 (`sgx_ql_write_persistent_data`).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dcap.errors import CollateralError, NotFound
from dcap.sources.disk import Disk


class _Blob(msgspec.Struct, frozen=True):
    label: str
    blob: bytes


def state_directory(environ: Mapping[str, str]) -> Path | None:
    """`$XDG_STATE_HOME/dcap/provider`, else `~/.local/state/dcap/provider`; `None` without a home.

    Under systemd, `$STATE_DIRECTORY` (`StateDirectory=` of the unit) goes before both.
    """
    if own := environ.get("STATE_DIRECTORY", ""):
        return Path(own.partition(":")[0])
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):
        return Path(base) / "dcap" / "provider"
    home = environ.get("HOME", "")
    return Path(home) / ".local" / "state" / "dcap" / "provider" if home.startswith("/") else None


class Persistent:
    """The blobs in a folder, which is made when the first is written."""

    def __init__(self, directory: Path | None) -> None:
        self._disk = None if directory is None else Disk(directory)

    def write(self, label: str, blob: bytes) -> None:
        """Keep a blob in place of the one before it. Raises `CollateralError`."""
        if self._disk is None:
            raise _impossible("there is no folder to keep it in: HOME is not set")
        payload = msgspec.msgpack.encode(_Blob(label, blob))
        self._disk.write(_name(label), payload)
        if self._disk.trouble or self._disk.read(_name(label)) != payload:
            raise _impossible(self._disk.trouble or self._disk.distrust or "it cannot be read back")

    def read(self, label: str) -> bytes:
        """The blob of a label. Raises `NotFound` (`provider-no-blob`)."""
        payload = None if self._disk is None else self._disk.read(_name(label))
        try:
            found = msgspec.msgpack.decode(payload or b"", type=_Blob)
        except (msgspec.DecodeError, ValueError):
            found = None
        if found is None or found.label != label:
            raise NotFound(
                "provider-no-blob",
                "nothing is stored under that label",
                mend="none is needed: a quoting enclave makes a new key where it finds none",
            )
        return found.blob


def _name(label: str) -> str:
    return f"blob-{hashlib.sha256(label.encode()).hexdigest()}"


def _impossible(why: str) -> CollateralError:
    return CollateralError(
        "provider-storage",
        f"the blob cannot be stored: {why}",
        mend="see that ~/.local/state/dcap can be written by the process's user alone",
    )
