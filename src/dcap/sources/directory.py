"""Collateral from the disk: a folder of files, one file in dcap-qvl's JSON form, or a bundle.

    source = DirectorySource(Path("collateral"))     # or a folder of such folders, one for each FMSPC

What the names mean stands in `formats.collateral.FILE_NAMES`. Nothing is verified here.
"""

import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from dcap.errors import CollateralError, ConfigError, FormatError, NotFound, Unavailable
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import FILE_NAMES, MAX_SIZE, TCB_INFO, Collateral
from dcap.formats.containers.bundle import Bundle, is_bundle
from dcap.formats.origin import Origin
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.pck_selection import tcbm_of
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.sources.need import CollateralNeed, MachineNeed
from dcap.sources.source import Accept, Fetched, FetchedPck

T = TypeVar("T")

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
            entry.name: read_regular(entry)
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
    data = read_regular(path)
    if is_bundle(data):
        return _read(lambda: Bundle.parse(data).collateral, path)
    return _read(lambda: Collateral.from_json(data), path)


class DirectorySource:
    """A `Source`: the set at a path, or the one that fits among those in the folders below it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """For people and for errors."""
        return str(self.path)

    def __repr__(self) -> str:
        return f"<DirectorySource {self.path}>"

    def collateral(self, need: CollateralNeed) -> Fetched:
        """The set for a need. Raises `NotFound` (`source-other-collateral`) where it is another's."""
        others: list[str] = []
        for place, collateral in self._sets():
            other = _other(collateral, need, place)
            if other is None:
                return Fetched(collateral=collateral, origins=self._origins(place))
            others.append(other)
        raise NotFound(
            "source-other-collateral",
            f"no collateral there is for FMSPC {need.fmspc.hex().upper()} ({need.tee})"
            + ("" if need.evaluation_number is None else f" of number {need.evaluation_number}")
            + f": what lies there is {'; '.join(others[:8])}",
            where=str(self.path),
            mend="save the collateral of this platform there (`dcap collateral get`)",
        )

    def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
        """The PCK chain beside the collateral that `accept` takes, else the first that may fit."""
        refused: FetchedPck | None = None
        for place, collateral in self._sets():
            chain = collateral.pck_certificate_chain
            if chain is None:
                continue
            extensions = _read(lambda chain=chain: _extensions(chain), place)  # type: ignore[misc]
            if extensions.pce_id != need.pce_id:
                continue
            found = FetchedPck(
                chain=chain,
                tcbm=tcbm_of(extensions.cpu_svn, extensions.pce_svn),
                origin=self._origin("pck_certificate", place),
            )
            if accept is None or accept(found):
                return found
            refused = refused or found
        if refused is not None:
            return refused
        raise NotFound(
            "source-no-pck",
            "no PCK chain lies there",
            where=str(self.path),
            mend="save the machine's PCK chain there as pck_chain.pem, or name a source that has it",
        )

    def _sets(self) -> Iterator[tuple[Path, Collateral]]:
        try:
            for place in self._places():
                yield place, read_collateral(place)
        except (ConfigError, OSError) as error:
            raise Unavailable(
                "source-unreadable",
                error.what
                if isinstance(error, ConfigError)
                else f"cannot be read: {error.strerror}",
                where=str(self.path),
                mend="check its name and permissions",
            ) from None

    def _places(self) -> list[Path]:
        """The path itself or, where it has no file of a set, the folders in it that have."""
        if not self.path.is_dir() or _holds_a_set(self.path):
            return [self.path]
        below = [folder for folder in sorted(self.path.iterdir()) if folder.is_dir()]
        return [folder for folder in below if _holds_a_set(folder)] or [self.path]

    def _origins(self, place: Path) -> tuple[Origin, ...]:
        pieces = ("pck_crl", "tcb_info", "qe_identity", "root_ca_crl")
        return tuple(self._origin(piece, place) for piece in pieces)

    def _origin(self, piece: str, place: Path) -> Origin:
        """When it was written stands in for when it was fetched."""
        files = [place / name for name in _NAMES] if place.is_dir() else [place]
        written = max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)
        return Origin(
            piece=piece,
            source=self.name,
            address=str(place),
            fetched_at=datetime.fromtimestamp(written, UTC),
        )


def _holds_a_set(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _NAMES)


def _other(collateral: Collateral, need: CollateralNeed, place: Path) -> str | None:
    """What a set is for, where that is not what is needed."""
    document = _read(
        lambda: TcbInfo.parse(SignedJson.parse(collateral.tcb_info, TCB_INFO).body), place
    )
    number = document.evaluation_data_number
    fits = document.fmspc == need.fmspc and document.id == need.tee
    if fits and need.evaluation_number in (None, number):
        return None
    return f"{document.fmspc.hex().upper()} ({document.id}, number {number})"


def _extensions(chain: bytes) -> PckExtensions:
    return PckExtensions.parse(Certificate.parse_chain(chain)[0].sgx_extension or b"")


def _read(read: Callable[[], T], path: Path) -> T:
    """What cannot be read as collateral is collateral that is not there: it says nothing of evidence."""
    try:
        return read()
    except FormatError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise CollateralError(error.code, error.what, where=where, mend=error.mend) from None


def read_bounded(path: Path, limit: int = MAX_SIZE) -> bytes:
    """The bytes of a file, or of a pipe, at most `limit`. Raises `ConfigError` (`file-unreadable`)."""
    return _read_open(path, limit, os.O_RDONLY)


def read_regular(path: Path, limit: int = MAX_SIZE) -> bytes:
    """As `read_bounded`, of a regular file alone: a FIFO might never answer."""
    return _read_open(path, limit, os.O_RDONLY | os.O_NONBLOCK)


def _read_open(path: Path, limit: int, flags: int) -> bytes:
    try:
        with os.fdopen(os.open(path, flags | os.O_CLOEXEC), "rb") as file:
            if flags & os.O_NONBLOCK:
                _expect_regular(file.fileno())
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(
            "file-unreadable",
            f"cannot be read: {getattr(error, 'strerror', None) or error}",
            where=str(path),
            mend="check its name and permissions",
        ) from None
    if len(data) > limit:
        raise ConfigError("file-too-large", f"more than {limit} bytes", where=str(path))
    return data


def _expect_regular(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError("it is no regular file")
