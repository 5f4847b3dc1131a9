"""Sets of collateral in files, and what each of their pieces says: for people, and not verified.

A set is a folder of `formats.collateral.FILE_NAMES`, a file in dcap-qvl's JSON form, a bundle, or one of
Intel's signed documents alone. A folder of such folders holds several. Not here: printing, proving.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dcap.errors import CollateralError, FormatError, NotFound
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, FILE_NAMES, TCB_INFO, Collateral
from dcap.formats.containers import Record
from dcap.formats.containers.bundle import Bundle, is_bundle
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.signed_json import SignedJson, decode_members
from dcap.formats.tcb_info import TcbInfo
from dcap.sources.directory import read_collateral, read_regular

_Read = TypeVar("_Read")
#: Members that tell Intel's documents apart, signed and bare.
_DOCUMENTS = (
    ("tcb_info", TCB_INFO, {"tcbLevels", "fmspc"}),
    ("qe_identity", ENCLAVE_IDENTITY, {"tcbLevels", "mrsigner"}),
)
CRLS = {"root_ca_crl": "root CA CRL", "pck_crl": "PCK CRL"}
CHAINS = {
    "tcb_info_issuer_chain": "TCB info's chain",
    "qe_identity_issuer_chain": "QE identity's chain",
    "pck_crl_issuer_chain": "PCK CRL's chain",
    "pck_certificate_chain": "PCK chain",
}


class CollateralSet(msgspec.Struct, frozen=True, kw_only=True):
    """The pieces that were found, as they stood. `record` and `has_evidence` are of a bundle."""

    name: str
    pieces: dict[str, bytes]
    record: Record | None = None
    has_evidence: bool = False

    @property
    def collateral(self) -> Collateral:
        """The whole set. Raises `NotFound` where a piece is missing."""
        try:
            return Collateral(**self.pieces)
        except TypeError:
            missing = [name for name in list(FILE_NAMES)[:-2] if name not in self.pieces]
            raise NotFound(
                "collateral-incomplete",
                f"the collateral lacks {', '.join(missing)}",
                where=self.name,
                mend="give a whole set: a folder, a bundle, or dcap-qvl's JSON",
            ) from None

    @property
    def tcb_info(self) -> TcbInfo | None:
        """The TCB info, unverified; `None` where there is none. Raises `FormatError`."""
        data = self.pieces.get("tcb_info")
        return None if data is None else TcbInfo.parse(_body(data, TCB_INFO))

    @property
    def qe_identity(self) -> EnclaveIdentity | None:
        """The QE's identity, unverified; `None` where there is none. Raises `FormatError`."""
        data = self.pieces.get("qe_identity")
        return None if data is None else EnclaveIdentity.parse(_body(data, ENCLAVE_IDENTITY))

    def crl(self, piece: str) -> Crl | None:
        """A revocation list, unverified; `None` where there is none. Raises `FormatError`."""
        data = self.pieces.get(piece)
        return None if data is None else Crl.parse(data)


def read_sets(path: Path) -> tuple[CollateralSet, ...]:
    """Every set at `path`; a folder of folders has one in each.

    Raises `NotFound`, `CollateralError`, `ConfigError`.
    """
    if not path.is_dir():
        return (_read_file(path),)
    try:
        return (_set(str(path), read_collateral(path)),)
    except NotFound as error:
        if error.code != "collateral-missing":
            raise
        folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
        found = tuple(_set(str(folder), read_collateral(folder)) for folder in _holding(folders))
        if not found:
            raise
        return found


def _holding(folders: list[Path]) -> list[Path]:
    """Those folders in which there is a TCB info or a whole set."""
    names = (*FILE_NAMES["tcb_info"], "collateral.json")
    return [folder for folder in folders if any((folder / name).is_file() for name in names)]


def _read_file(path: Path) -> CollateralSet:
    if not path.exists():
        return _set(str(path), read_collateral(path))  # which says that there is none
    data = read_regular(path)
    try:
        if is_bundle(data):
            bundle = Bundle.parse(data)
            whole = _set(str(path), bundle.collateral)
            return msgspec.structs.replace(
                whole, record=bundle.record, has_evidence=bundle.evidence is not None
            )
        members = decode_members(data, path.name).keys()
    except FormatError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise CollateralError(error.code, error.what, where=where, mend=error.mend) from None
    for piece, member, bare in _DOCUMENTS:
        if member in members or bare <= members:
            return CollateralSet(name=str(path), pieces={piece: data})
    return _set(str(path), read_collateral(path))


def _set(name: str, collateral: Collateral) -> CollateralSet:
    pieces = msgspec.structs.asdict(collateral)
    return CollateralSet(name=name, pieces={k: v for k, v in pieces.items() if v is not None})


def _body(data: bytes, member: str) -> bytes:
    """A document, out of its envelope where it is in one."""
    if member in decode_members(data, f"{member} response"):
        return SignedJson.parse(data, member).body
    return data


def describe(found: CollateralSet, at: datetime) -> list[dict[str, Any]]:
    """Each piece as plain values; what cannot be read stands there as `problem`."""
    told = []
    tcb_info, identity = _attempt(lambda: found.tcb_info), _attempt(lambda: found.qe_identity)
    if tcb_info is not None:
        told.append({"piece": "tcb-info", **_document(found, tcb_info, at)})
    if identity is not None:
        told.append({"piece": "qe-identity", **_document(found, identity, at)})
    for piece in CRLS:
        crl = _attempt(lambda piece=piece: found.crl(piece))  # type: ignore[misc]
        if crl is not None:
            told.append({"piece": piece.replace("_", "-"), **_crl(crl, at)})
    chains = (piece for piece in CHAINS if piece in found.pieces)
    told += [{"piece": p.replace("_", "-"), **_chain(found.pieces[p], at)} for p in chains]
    return told


def _attempt(read: Callable[[], _Read]) -> _Read | str:
    try:
        return read()
    except FormatError as error:
        return str(error)


def _document(
    found: CollateralSet, document: TcbInfo | EnclaveIdentity | str, at: datetime
) -> dict[str, Any]:
    if isinstance(document, str):
        return {"problem": document}
    is_info = isinstance(document, TcbInfo)
    chain = found.pieces.get(
        "tcb_info_issuer_chain" if is_info else "qe_identity_issuer_chain", b""
    )
    signers = _attempt(lambda: Certificate.parse_chain(chain))
    facts: dict[str, Any] = {"id": document.id}
    if isinstance(document, TcbInfo):
        facts["fmspc"] = document.fmspc.hex()
    return {
        **facts,
        "version": document.version,
        "evaluation_number": document.evaluation_data_number,
        "signer": signers[0].common_name if signers and not isinstance(signers, str) else None,
        **_dates(document.issue_date, document.next_update, at),
    }


def _crl(crl: Crl | str, at: datetime) -> dict[str, Any]:
    if isinstance(crl, str):
        return {"problem": crl}
    return {
        "signer": crl.issuer_common_name,
        "number": crl.crl_number,
        "revoked": len(crl.revoked_serials),
        **_dates(crl.this_update, crl.next_update, at),
    }


def _chain(chain: bytes, at: datetime) -> dict[str, Any]:
    """A chain: the first certificate that ends it, and who is in it."""
    certificates = _attempt(lambda: Certificate.parse_chain(chain))
    if isinstance(certificates, str) or not certificates:
        return {"problem": certificates or "no certificate"}
    first = min(certificates, key=lambda certificate: certificate.not_after)
    begins = max(certificate.not_before for certificate in certificates)
    return {
        "certificates": [certificate.common_name for certificate in certificates],
        **_dates(begins, first.not_after, at),
    }


def _dates(issued: datetime, expires: datetime | None, at: datetime) -> dict[str, Any]:
    return {
        "issued": instant_text(issued),
        "expires": None if expires is None else instant_text(expires),
        "days_left": None if expires is None else (expires - at) // timedelta(days=1),
    }


def instant_text(moment: datetime) -> str:
    """An instant as `--at` reads it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
