"""Machines of an import, proven side by side, and which certificate each of their raw TCBs reaches.

    machines = MachineIntake(store, items, at=…, anchor=…, strict=True, replace_machines=False)
    machines.prove(claims, threads)     # machines.proven, machines.left_out

They are judged under the lists and TCB infos of the same import (`item_intake`) or of the store, of
these the newer. Not here: the transaction (`intake`).

Source: `pccs-and-pcs-api.md` §2.4, §4.3, §7.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, TypeAlias

import msgspec
from sqlalchemy import select

from dcap.errors import FormatError
from dcap.formats.pck_selection import Tcb
from dcap.formats.pck_selection import select as select_tcb
from dcap.pccs.causes import CAUSES
from dcap.pccs.issuers import ca_of_chain
from dcap.pccs.items import Ca, Holding, PckCertificate, PckCrlKey, RawReport, RawTcb
from dcap.pccs.machines import is_zero
from dcap.pccs.pck_proof import Claimed, prove_platform
from dcap.pccs.selection import levels_of
from dcap.pccs.store.holdings import Packed, pack_holdings
from dcap.pccs.store.packing import unpack
from dcap.pccs.store.rows import batches
from dcap.pccs.store.schema import PCK_CERTIFICATES, PLATFORMS, RAW_TCBS
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.claims import MachineClaim, sorted_out
from dcap.pccs.transfer.item_intake import ItemIntake
from dcap.pccs.transfer.report import NO_CERTIFICATE, OTHER_MACHINE, REVOKED, LeftOut
from dcap.pccs.trust import Forged, Revoked
from dcap.verification.anchors import TrustAnchor
from dcap.verification.signature import Signatures

_BATCH: Final = 480
#: Of a batch, so many are one thread's work at a time.
_SHARE: Final = 16
ZERO_QE_ID: Final = "zero-qe-id"
_DISPUTED: Final = "two machines come under this QE id, and neither is kept"

#: Of machines that are kept: the raw TCBs that are known, and the PPID, where one may not replace them.
_Known: TypeAlias = dict[tuple[str, str], tuple[RawReport, ...]]
_Others: TypeAlias = dict[tuple[str, str], bytes]
_Outcome: TypeAlias = tuple[Packed | None, list[LeftOut], bytes]


class MachineIntake:
    """The machines of one import: those that are `proven`, and what was `left_out`.

    What is proven waits without its certificates but packed: some 6 KB a machine.
    """

    def __init__(
        self,
        store: Store,
        items: ItemIntake,
        *,
        at: datetime,
        anchor: TrustAnchor,
        strict: bool,
        replace_machines: bool,
    ) -> None:
        self.proven: list[Packed] = []
        self.left_out: list[LeftOut] = []
        self._store = store
        self._items = items
        self._at = at
        self._anchor = anchor
        self._strict = strict
        self._replace_machines = replace_machines
        self._levels: dict[bytes, tuple[Tcb, ...] | None] = {}
        self._pck_crls: dict[Ca, bytes | None] = {}
        self._signatures = Signatures()
        self._ppids: dict[tuple[str, str], bytes] = {}
        self._disputed: set[tuple[str, str]] = set()

    def prove(self, claims: Iterable[MachineClaim | LeftOut], threads: int) -> None:
        """Prove them, a batch at a time: what is not proven yet need not be in memory.

        Raises `Forged`, `FormatError` where it is strict.
        """
        with ThreadPoolExecutor(threads, "dcap-import") as pool:
            for batch in batches(sorted_out(claims, self.left_out), _BATCH):
                known = self._known_raw_tcbs(batch)
                others = {} if self._replace_machines else self._standing_machines(known)
                shares = [(share, known, others) for share in batches(batch, _SHARE)]
                for outcome in pool.map(self._prove_share, shares):
                    for packed, remarks, ppid in outcome:
                        self.left_out += remarks
                        if packed is not None:
                            self._take_in(packed, ppid)
        self._leave_out_disputed()

    def _take_in(self, packed: Packed, ppid: bytes) -> None:
        machine = _names(packed)
        if self._ppids.setdefault(machine, ppid) != ppid:
            self._disputed.add(machine)
        self.proven.append(packed)

    def _leave_out_disputed(self) -> None:
        """Of two machines under the same ids nobody can say which has them: none of them is kept."""
        if self._disputed:
            disputed = [one for one in self.proven if _names(one) in self._disputed]
            self.proven = [one for one in self.proven if _names(one) not in self._disputed]
            self.left_out += [LeftOut("platform", "", OTHER_MACHINE, _DISPUTED)] * len(disputed)

    def _prove_share(self, share: tuple[Sequence[MachineClaim], _Known, _Others]) -> list[_Outcome]:
        claims, known, others = share
        return [self._prove_machine(claim, known, others) for claim in claims]

    def _known_raw_tcbs(self, batch: Sequence[MachineClaim]) -> _Known:
        """The raw TCBs that the store knows of the machines of a batch."""
        qe_ids = {claim.claimed.qe_id.upper() for claim in batch}
        statement = (
            select(PLATFORMS.c.qe_id, PLATFORMS.c.pce_id, RAW_TCBS.c.cpu_svn, RAW_TCBS.c.pce_svn)
            .join(RAW_TCBS, RAW_TCBS.c.platform_id == PLATFORMS.c.id, isouter=True)
            .where(PLATFORMS.c.qe_id.in_(qe_ids))
        )
        rows = self._store.database.read(lambda connection: connection.execute(statement).all())
        known: _Known = {}
        for qe_id, pce_id, cpu_svn, pce_svn in rows:
            before = known.get((qe_id, pce_id), ())
            known[qe_id, pce_id] = (
                before if cpu_svn is None else (*before, RawReport(cpu_svn, pce_svn))
            )
        return known

    def _standing_machines(self, known: _Known) -> _Others:
        """The PPIDs of those that are kept, but for those that anybody may have had looked up."""
        statement = (
            select(PLATFORMS.c.qe_id, PLATFORMS.c.pce_id, PCK_CERTIFICATES.c.packed)
            .join(PCK_CERTIFICATES, PCK_CERTIFICATES.c.platform_id == PLATFORMS.c.id)
            .where(PLATFORMS.c.qe_id.in_({qe_id for qe_id, _ in known}))
            .where(PLATFORMS.c.is_registered.is_not(False))
        )
        rows = self._store.database.read(lambda connection: connection.execute(statement).all())
        return {
            (qe_id, pce_id): first.ppid
            for qe_id, pce_id, packed in rows
            for first in unpack(packed)[:1]
        }

    def _prove_machine(self, claim: MachineClaim, known: _Known, others: _Others) -> _Outcome:
        """A machine, packed, without what takes room; or why it is left out."""
        claimed = claim.claimed
        if is_zero(claimed.qe_id):
            return None, [LeftOut("platform", "", ZERO_QE_ID, CAUSES[ZERO_QE_ID].what)], b""
        try:
            holding = self._proven_machine(claimed)
        except Forged as error:
            if self._strict:
                raise
            return None, [LeftOut("platform", "", error.finding, error.what)], b""
        standing = others.get((holding.platform.qe_id, holding.platform.pce_id))
        (first, *_) = claimed.certificates
        ppid = PckCertificate.read(*first).ppid
        if standing not in (None, ppid):
            return None, [LeftOut("platform", "", OTHER_MACHINE, CAUSES["other-machine"].what)], b""
        lost = len(claimed.certificates) - len(holding.certificates)
        before = known.get((holding.platform.qe_id, holding.platform.pce_id), ())
        raw_tcbs, remarks = self._reached(holding, claim, before, lost=lost)
        remarks += [LeftOut("certificate", "", REVOKED)] * lost
        platform = msgspec.structs.replace(holding.platform, is_registered=True)
        holding = msgspec.structs.replace(holding, platform=platform, raw_tcbs=raw_tcbs)
        (packed,) = pack_holdings([holding]).values()
        bare = msgspec.structs.replace(holding, certificates=())
        return packed._replace(holding=bare), remarks, ppid

    def _proven_machine(self, claimed: Claimed) -> Holding:
        """The machine without what is revoked, which may be every certificate. Raises `Forged`."""
        try:
            return prove_platform(
                claimed,
                at=self._at,
                anchor=self._anchor,
                pck_crl=self._pck_crl(ca_of_chain(claimed.issuer_chain)),
                root_crl=self._items.root_crl,
                signatures=self._signatures,
            )
        except Revoked as revoked:
            return revoked.holding

    def _pck_crl(self, ca: Ca | None) -> bytes | None:
        """The list of a PCK CA, where there is one."""
        if ca is None:
            return None
        if ca not in self._pck_crls:
            self._pck_crls[ca] = self._items.newest_body(PckCrlKey(ca))
        return self._pck_crls[ca]

    def _reached(
        self, holding: Holding, claim: MachineClaim, before: tuple[RawReport, ...], *, lost: int
    ) -> tuple[tuple[RawTcb, ...], list[LeftOut]]:
        """Which certificate each raw TCB reaches. Raises `FormatError` where a strict intake may.

        Of a machine that `lost` certificates it is no fault of the file's that one reaches none.
        """
        by_tcb = {one.tcb: one.tcbm for one in holding.certificates}
        tcb_of = {tcbm: tcb for tcb, tcbm in by_tcb.items()}
        found: dict[RawReport, str] = {}
        remarks: list[LeftOut] = []
        for said in claim.reached:
            certified = tcb_of.get(said.tcbm)
            if certified is not None and said.raw.tcb.reaches(certified):
                found[said.raw] = said.tcbm
            else:
                remarks.append(LeftOut("raw-tcb", "", NO_CERTIFICATE))
        fmspc = holding.platform.fmspc
        levels = self._levels_of(fmspc)
        if levels is None and self._strict:
            raise FormatError(
                "import-no-tcb-info",
                f"there is no SGX TCB info for the FMSPC {fmspc.hex().upper()} of a machine",
                mend="fetch the file again, with the TCB infos",
            )
        for raw in dict.fromkeys((*claim.raw_tcbs, *before)):
            if raw in found or levels is None:
                continue
            chosen = select_tcb(raw.tcb, by_tcb, levels)
            if chosen is not None:
                found[raw] = by_tcb[chosen]
            elif self._strict and raw not in before and not lost:
                raise FormatError(
                    "import-no-certificate",
                    "the raw TCB of a machine reaches none of its certificates",
                    mend="fetch its certificates again",
                )
            else:
                remarks.append(LeftOut("raw-tcb", "", NO_CERTIFICATE))
        raw_tcbs = tuple(
            RawTcb(cpu_svn=raw.cpu_svn, pce_svn=raw.pce_svn, tcbm=tcbm)
            for raw, tcbm in found.items()
        )
        return raw_tcbs, remarks

    def _levels_of(self, fmspc: bytes) -> tuple[Tcb, ...] | None:
        if fmspc not in self._levels:
            self._levels[fmspc] = levels_of(fmspc, self._items.newest)
        return self._levels[fmspc]


def _names(packed: Packed) -> tuple[str, str]:
    platform = packed.holding.platform
    return platform.qe_id, platform.pce_id
