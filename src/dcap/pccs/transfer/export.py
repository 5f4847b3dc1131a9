"""What a store keeps, as files: for another PCCS, and for verifiers without one.

    for chunk in platform_collaterals(store): …       # Intel's file, of any size
    files = collateral_sets(store)                    # folder -> a set, as `dcap collateral get` has it

Everything kept was proven. Expired items are left out where `at` is given. Not here: writing the files,
what a host without a PCCS reads (`provider_caches`).

Source: `pccs-and-pcs-api.md` §4.3.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from dcap.formats.collateral import Collateral
from dcap.formats.containers.bundle import Bundle
from dcap.formats.origin import Origin
from dcap.pccs.items import (
    Ca,
    IdentityKey,
    Item,
    Key,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
    Tee,
    Update,
    Version,
)
from dcap.pccs.platform_records import records_of
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.arrangement import Arranged, arrange

_IDENTITY: Final[dict[Tee, IdentityKey]] = {"SGX": IdentityKey("QE"), "TDX": IdentityKey("TD_QE")}
_ORDER: Final[tuple[Ca, ...]] = ("PLATFORM", "PROCESSOR")


class CollateralSet(msgspec.Struct, frozen=True, kw_only=True):
    """One set that a verifier needs, and where its pieces came from. `name` is for its folder."""

    name: str
    collateral: Collateral
    origins: tuple[Origin, ...]
    recorded_at: datetime

    def bundle(self) -> bytes:
        """The set in one file that `dcap verify --collateral` reads."""
        return Bundle(
            collateral=self.collateral, recorded_at=self.recorded_at, origins=self.origins
        ).to_bytes()


def platform_collaterals(
    store: Store,
    *,
    fmspcs: Sequence[bytes] | None = None,
    version: Version = 4,
    at: datetime | None = None,
) -> tuple[Arranged, Iterator[bytes]]:
    """`platform_collaterals.json` of all machines, or of those of some FMSPCs, in pieces.

    `Arranged.left_out` tells of the items that the file has no place for.
    """
    wanted = None if fmspcs is None else set(fmspcs)
    items = (
        item
        for item in _items(store, at)
        if wanted is None or not isinstance(item.key, TcbInfoKey) or item.key.fmspc in wanted
    )
    arranged = arrange(items, version=version)
    # A list must not name a machine of which the file has nothing: all of its were revoked.
    records = (
        record
        for holding in store.platforms.holdings(fmspcs)
        if holding.certificates
        for record in records_of(holding)
    )
    return arranged, arranged.write(records, store.platforms.holdings(fmspcs))


def collateral_sets(
    store: Store, *, update: Update = "STANDARD", at: datetime | None = None
) -> Iterator[CollateralSet]:
    """A set for each FMSPC and TEE of which every piece is kept.

    The PCK CA is that of the machines of the FMSPC; where there are none, either will do whose list is
    kept, and both are given.
    """
    kept = {item.key: item for item in _items(store, at)}
    cas: dict[bytes, set[Ca]] = {}
    for holding in store.platforms.each():
        cas.setdefault(holding.platform.fmspc, set()).add(holding.platform.ca)
    for key in sorted((k for k in kept if isinstance(k, TcbInfoKey)), key=lambda k: k.text):
        if key.version != 4 or key.update != update:
            continue
        known = cas.get(key.fmspc)
        for ca in _ORDER:
            if known is None or ca in known:
                alone = known is not None and len(known) == 1
                found = _set(kept, key, ca, update, "" if alone else f"-{ca.lower()}")
                if found is not None:
                    yield found


def _set(
    kept: dict[Key, Item], key: TcbInfoKey, ca: Ca, update: Update, suffix: str
) -> CollateralSet | None:
    identity = msgspec.structs.replace(_IDENTITY[key.tee], update=update)
    pieces = {
        "root_ca_crl": kept.get(RootCrlKey()),
        "pck_crl": kept.get(PckCrlKey(ca)),
        "tcb_info": kept.get(key),
        "qe_identity": kept.get(identity),
    }
    found = {name: item for name, item in pieces.items() if item is not None}
    if len(found) < len(pieces):
        return None
    collateral = Collateral(
        root_ca_crl=found["root_ca_crl"].body,
        pck_crl=found["pck_crl"].body,
        pck_crl_issuer_chain=found["pck_crl"].issuer_chain,
        tcb_info=found["tcb_info"].body,
        tcb_info_issuer_chain=found["tcb_info"].issuer_chain,
        qe_identity=found["qe_identity"].body,
        qe_identity_issuer_chain=found["qe_identity"].issuer_chain,
    )
    origins = tuple(
        Origin(
            piece=name,
            source=item.origin,
            address=item.key.text,
            fetched_at=item.fetched_at,
            cached=True,
        )
        for name, item in found.items()
    )
    return CollateralSet(
        name=f"{key.fmspc.hex().upper()}-{key.tee.lower()}{suffix}",
        collateral=collateral,
        origins=origins,
        recorded_at=max(item.fetched_at for item in found.values()),
    )


def _items(store: Store, at: datetime | None) -> Iterator[Item]:
    """All items (in date at `at`), one at a time."""
    for summary in store.items.summaries():
        if at is not None and summary.expires is not None and summary.expires <= at:
            continue
        item = store.items.get(summary.key)
        if item is not None:
            yield item
