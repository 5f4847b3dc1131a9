"""Certificates that are kept, and were revoked since: they are dropped, and their machines stay known.

    withdrawal.drop_revoked()      # after a new list of a PCK CA
    withdrawal.drop_orphans()      # after a new list of the root

The rule is that of the proof (`pck_proof`), under the list that is kept now. A new list that
names more than the one before leaves a reminder in the store, in the transaction that keeps it
(`store.collateral`): so nobody who dies in between takes it along, and lists that name nothing new cost
nothing. Not here: who may be asked for other certificates (`machines`), and when (`refresh`).
"""

import re
from binascii import Error, a2b_base64
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from dcap.pccs.causes import NotServed
from dcap.pccs.issuers import ca_named
from dcap.pccs.items import Ca, Holding, PckCrlKey, RawTcb
from dcap.pccs.pck_proof import is_on
from dcap.pccs.store.collateral import revisit_of
from dcap.pccs.store.store import Store
from dcap.pccs.upstream import Upstream

ABOUT: Final = "PCK certificates"
CAS: Final[tuple[Ca, ...]] = ("PROCESSOR", "PLATFORM")
#: How the PEM of every PCK certificate of Intel's begins, and its DER up to the serial number.
_ARMOUR: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/]{64})\n")
_BEFORE_SERIAL: Final = re.compile(rb"\x30\x82..\x30\x82..\xa0\x03\x02\x01\x02\x02", re.DOTALL)


class Withdrawal:
    """What takes certificates away. `reselect` gives raw TCBs the certificates that they reach now."""

    def __init__(
        self,
        store: Store,
        upstream: Upstream,
        reselect: Callable[[Holding, Sequence[RawTcb]], tuple[RawTcb, ...]],
    ) -> None:
        self._store = store
        self._upstream = upstream
        self._reselect = reselect

    def standing(self, holding: Holding) -> Holding:
        """The machine without what its CA's list of now revokes. Itself where that is nothing."""
        listed = self._store.items.get(PckCrlKey(holding.platform.ca))
        return holding if listed is None else self._left(holding, listed.body)

    def has_reminders(self) -> bool:
        """Whether `drop_revoked` has anything to look through."""
        return any(self._store.leases.holder(revisit_of(ca)) is not None for ca in CAS)

    def drop_revoked(self) -> int:
        """Drop what a PCK CA's new list revokes, and is still kept; gives how many."""
        return sum(self._look_through(ca) for ca in CAS)

    def drop_orphans(self) -> int:
        """Drop the certificates of CAs that stand on the root's list; gives how many."""
        root_crl = self._upstream.root_crl()
        if root_crl is None:
            return 0
        platforms = self._store.platforms
        return sum(
            self._drop(
                (kept, msgspec.structs.replace(kept, certificates=(), raw_tcbs=()))
                for kept in platforms.of_chain(chain)
            )
            for chain in platforms.chains()
            if is_of_revoked_ca(chain, root_crl)
        )

    def _look_through(self, ca: Ca) -> int:
        reminder = self._store.leases.holder(revisit_of(ca))
        listed = None if reminder is None else self._store.items.get(PckCrlKey(ca))
        if reminder is None or listed is None:
            return 0
        of_ca = self._store.platforms.of_ca(ca)
        dropped = self._drop((kept, self._left(kept, listed.body)) for kept in of_ca)
        # A list that came meanwhile left a reminder of its own, which stays.
        self._store.leases.release(revisit_of(ca), reminder)
        return dropped

    def _left(self, holding: Holding, pck_crl: bytes) -> Holding:
        left = standing(holding, pck_crl)
        if left is holding:
            return holding
        try:
            raw_tcbs = self._reselect(left, holding.raw_tcbs)
        except NotServed:  # no TCB info to select with: it is done when someone asks
            return left
        return msgspec.structs.replace(left, raw_tcbs=raw_tcbs)

    def _drop(self, pairs: Iterable[tuple[Holding, Holding]]) -> int:
        """Keep less of machines: of each, what is kept and what is left. Tells how much went."""
        machines, certificates = 0, 0
        for kept, left in pairs:
            lost = len(kept.certificates) - len(left.certificates)
            # Who was replaced meanwhile was proven with the list of now.
            if lost and self._store.platforms.amend(left):
                machines += 1
                certificates += lost
        if certificates:
            said = f"{certificates} of {machines} machine(s) are no longer kept"
            self._upstream.tell(ABOUT, "revoked", said)
        return certificates


def standing(holding: Holding, pck_crl: bytes) -> Holding:
    """A machine that is kept, without those of its certificates that are on its CA's list (proven).

    Raw TCBs that reached one of them are forgotten. Itself where none is on it.
    """
    listed = Crl.parse(pck_crl)
    if not listed.revoked_serials:
        return holding
    left = tuple(one for one in holding.certificates if not _is_listed(listed, one.pem))
    if len(left) == len(holding.certificates):
        return holding
    tcbms = {one.tcbm for one in left}
    return msgspec.structs.replace(
        holding,
        certificates=left,
        raw_tcbs=tuple(raw for raw in holding.raw_tcbs if raw.tcbm in tcbms),
    )


def is_of_revoked_ca(issuer_chain: bytes, root_crl: bytes) -> bool:
    """Whether a PCK CA of a chain (CA, root), proven before, is on the root's list (proven)."""
    listed = Crl.parse(root_crl)
    return any(
        ca_named(own.common_name) is not None and is_on(listed, own)
        for own in Certificate.parse_chain(issuer_chain)
    )


def _is_listed(listed: Crl, text: bytes) -> bool:
    """Whether a PCK certificate (PEM) is on a list."""
    serial = _serial(text)
    if serial is not None and serial not in listed.revoked_serials:
        return False  # read in a tenth of the time: a million machines are looked through so
    return any(is_on(listed, own) for own in Certificate.parse_chain(text))


def _serial(text: bytes) -> bytes | None:
    """The serial number of a certificate (PEM), as lists have it; `None` where its form is another."""
    armour = _ARMOUR.match(text)
    if armour is None:
        return None
    try:
        head = a2b_base64(armour[1])
    except Error:
        return None
    before = _BEFORE_SERIAL.match(head)
    if before is None:
        return None
    start = before.end() + 1
    serial = head[start : start + head[before.end()]]
    return serial.lstrip(b"\0") if len(serial) == head[before.end()] else None
