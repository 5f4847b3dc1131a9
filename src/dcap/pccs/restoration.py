"""A backup's values, proven before they are kept again: who changed the file gains nothing.

    restore(store, source, lambda values: proven_values(values, at=…, anchor=…))

What has merely expired stays, with its own dates; what its issuer has revoked since is left out, as the
service would have; anything else that does not prove refuses the whole. Intel signs neither the queue
nor policies: of these the form alone holds. Not here: the file (`store.backup`); what people carry in,
which may be older than what is kept (`transfer`).
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import groupby
from typing import Final

import msgspec

from dcap.errors import FormatError
from dcap.formats.pck_selection import Tcb
from dcap.pccs.items import (
    AppraisalPolicy,
    Ca,
    Holding,
    Item,
    PckCrlKey,
    RawTcb,
    RootCrlKey,
)
from dcap.pccs.pck_proof import Claimed, prove_chain, prove_platform
from dcap.pccs.policies import read_policy
from dcap.pccs.store.backup import Value
from dcap.pccs.store.rows import batches
from dcap.pccs.trust import Forged, Revoked, prove
from dcap.verification.anchors import TrustAnchor
from dcap.verification.signature import Signatures

#: Signatures are checked without the interpreter's lock.
THREADS: Final = 4


def proven_values(values: Iterable[Value], *, at: datetime, anchor: TrustAnchor) -> Iterator[Value]:
    """Those of the values that hold, as they were proven. Raises `Forged`, `FormatError`."""
    proof = _Proof(at, anchor)
    for kind, some in groupby(values, type):
        if kind is Item:
            yield from proof.items([one for one in some if isinstance(one, Item)])
        elif kind is Holding:
            yield from proof.machines(one for one in some if isinstance(one, Holding))
        else:
            yield from map(_read_again, some)
        proof.has_begun = True


class _Proof:
    """One restoration under way."""

    def __init__(self, at: datetime, anchor: TrustAnchor) -> None:
        self.has_begun = False
        self._at = at
        self._anchor = anchor
        self._root_crl: bytes | None = None
        self._pck_crls: dict[Ca, bytes] = {}
        self._signatures = Signatures()

    def items(self, items: list[Item]) -> Iterator[Item]:
        """The root's list first: the others are proven under it, and machines under the CAs' lists."""
        if self.has_begun:
            raise FormatError("store-archive", "its items do not come first", mend=_MEND)
        for item in sorted(items, key=lambda one: not isinstance(one.key, RootCrlKey)):
            try:
                proven = prove(item, at=self._at, anchor=self._anchor, root_crl=self._root_crl)
            except Forged as error:
                if error.is_revocation:
                    continue
                raise
            if isinstance(proven.key, RootCrlKey):
                self._root_crl = proven.body
            elif isinstance(proven.key, PckCrlKey):
                self._pck_crls[proven.key.ca] = proven.body
            yield proven

    def machines(self, machines: Iterable[Holding]) -> Iterator[Holding]:
        """Machines, a few at a time in memory."""
        with ThreadPoolExecutor(THREADS, "dcap-restore") as pool:
            for some in batches(machines):
                yield from pool.map(self._machine, some)

    def _machine(self, kept: Holding) -> Holding:
        platform = kept.platform
        if not kept.certificates:
            prove_chain(kept.issuer_chain, at=self._at, anchor=self._anchor)
            return msgspec.structs.replace(kept, raw_tcbs=())
        claimed = Claimed(
            qe_id=platform.qe_id,
            pce_id=platform.pce_id,
            certificates=tuple((one.tcbm, one.pem) for one in kept.certificates),
            issuer_chain=kept.issuer_chain,
            fmspc=platform.fmspc,
            ca=platform.ca,
        )
        try:
            proven = prove_platform(
                claimed,
                at=self._at,
                anchor=self._anchor,
                pck_crl=self._pck_crls.get(platform.ca),
                root_crl=self._root_crl,
                signatures=self._signatures,
            )
        except Revoked as revoked:
            proven = revoked.holding
        except Forged as error:
            if not error.is_revocation:
                raise
            proven = msgspec.structs.replace(kept, certificates=())
        tcbs = {one.tcbm: one.tcb for one in proven.certificates}
        return msgspec.structs.replace(
            kept,
            certificates=proven.certificates,
            issuer_chain=proven.issuer_chain,
            raw_tcbs=tuple(raw for raw in kept.raw_tcbs if _reaches(raw, tcbs.get(raw.tcbm))),
        )


def _reaches(raw: RawTcb, certified: Tcb | None) -> bool:
    try:
        own = raw.raw.tcb
    except ValueError:
        return False
    return certified is not None and own.reaches(certified)


def _read_again(value: Value) -> Value:
    """A policy's id and type are what its text says."""
    if isinstance(value, AppraisalPolicy):
        return read_policy(value.policy, value.fmspc, is_default=value.is_default)
    return value


_MEND: Final = "give a file that `dcap pccs backup` made"
