"""Folders of saved answers, as `dcap collateral get` writes them: their collateral taken in.

    report = import_directory(store, path, at=…, anchor=…)

A folder with the pieces of one set, a folder of such folders, a bundle, or a file in dcap-qvl's form.
Nothing in a set says whether it was asked for as the standard or as the early generation: it is kept as
`update` says, and under its own number. A PCK chain is left out: its machine has no name there.

Not here: what the names of files mean (`formats.collateral`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dcap.errors import CollateralError, ConfigError, DcapError, FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import parse_wire
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.pccs.issuers import ca_named
from dcap.pccs.items import (
    CrlKey,
    IdentityKey,
    IdentityName,
    Item,
    Key,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
    Tee,
    Update,
    Version,
)
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.claims import Claims
from dcap.pccs.transfer.intake import take_in
from dcap.pccs.transfer.report import UNNAMED, UNREADABLE, LeftOut, Report
from dcap.sources.directory import read_collateral
from dcap.verification.anchors import TrustAnchor

ORIGIN: Final = "import"
_NAMES: Final[dict[str, IdentityName]] = {"QE": "QE", "TD_QE": "TD_QE"}


def import_directory(
    store: Store,
    path: Path,
    *,
    at: datetime,
    anchor: TrustAnchor,
    update: Update = "STANDARD",
) -> Report:
    """Take in every set at `path`; what does not prove is left out, and reported.

    Raises `ConfigError` (`import-nothing`) where no set is there at all, `Unavailable`.
    """
    places = list(_places(path))
    if not places:
        raise ConfigError(
            "import-nothing",
            "there is no saved collateral",
            where=str(path),
            mend="give a folder that `dcap collateral get` wrote, or a folder of such folders",
        )
    claims = Claims(items=(one for place in places for one in _items_at(place, update)))
    return take_in(store, claims, at=at, anchor=anchor, strict=False)


def _places(path: Path) -> Iterator[Path]:
    """Where sets may lie: the path itself, and the folders and JSON files in it."""
    if not path.is_dir():
        if path.exists():
            yield path
        return
    try:
        read_collateral(path)
    except DcapError as error:
        within = [
            entry for entry in sorted(path.iterdir()) if entry.is_dir() or entry.suffix == ".json"
        ]
        if error.code != "collateral-missing":
            yield path
            within = [entry for entry in within if entry.is_dir()]
    else:
        yield path
        within = [entry for entry in sorted(path.iterdir()) if entry.is_dir()]
    yield from within


def _items_at(place: Path, update: Update) -> Iterator[Item | LeftOut]:
    try:
        collateral = read_collateral(place)
    except (CollateralError, ConfigError) as error:
        yield LeftOut("item", place.name, UNREADABLE, error.what)
        return
    fetched_at = _written(place)
    try:
        pieces = list(_pieces(collateral, update))
    except FormatError as error:
        yield LeftOut("item", place.name, UNREADABLE, error.what)
        return
    for key, body, chain in pieces:
        yield Item(key=key, body=body, issuer_chain=chain, fetched_at=fetched_at, origin=ORIGIN)
    if collateral.pck_certificate_chain is not None:
        yield LeftOut("platform", place.name, UNNAMED)


def _pieces(collateral: Collateral, update: Update) -> Iterator[tuple[Key, bytes, bytes]]:
    """What a set says its pieces are, unproven. Raises `FormatError`."""
    root_crl = collateral.root_ca_crl
    yield RootCrlKey(), root_crl, b""
    issuers = _issuers(collateral)
    point = Certificate.parse_chain(collateral.tcb_info_issuer_chain)[-1].crl_distribution_point
    if point is not None:
        yield CrlKey(point), root_crl, b""
    ca = ca_named(Crl.parse(collateral.pck_crl).issuer_common_name)
    if ca is not None:
        yield PckCrlKey(ca), collateral.pck_crl, issuers
    info = TcbInfo.parse(SignedJson.parse(collateral.tcb_info, TCB_INFO).body)
    version: Version = 4 if info.version > 2 else 3
    tee: Tee = "TDX" if info.id == "TDX" else "SGX"
    chain = collateral.tcb_info_issuer_chain
    number = info.evaluation_data_number
    yield TcbInfoKey(tee, info.fmspc, version, update), collateral.tcb_info, chain
    yield TcbInfoKey(tee, info.fmspc, version, None, number), collateral.tcb_info, chain
    identity = parse_wire(SignedJson.parse(collateral.qe_identity, ENCLAVE_IDENTITY).body)
    name = _NAMES.get(identity.id)
    if name is not None:
        chain = collateral.qe_identity_issuer_chain
        number = identity.tcb_evaluation_data_number
        yield IdentityKey(name, version, update), collateral.qe_identity, chain
        yield IdentityKey(name, version, None, number), collateral.qe_identity, chain


def _issuers(collateral: Collateral) -> bytes:
    """The chain of the PCK CA: its own, or what stands above a PCK certificate."""
    if collateral.pck_crl_issuer_chain is not None:
        return collateral.pck_crl_issuer_chain
    whole = Certificate.parse_chain(collateral.pck_certificate_chain or b"")
    return b"".join(one.to_pem() for one in whole if one.is_ca)


def _written(place: Path) -> datetime:
    """When it was written stands in for when it was fetched."""
    return datetime.fromtimestamp(place.stat().st_mtime, UTC)
