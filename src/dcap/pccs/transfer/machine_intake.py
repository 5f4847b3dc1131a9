"""Machines of an import: which of the proven are kept, and which certificate each raw TCB reaches.

    machines = MachineIntake(store, items, at=…, anchor=…, strict=True, replace_machines=False)
    machines.prove(claims, processes)   # machines.proven, machines.left_out

They are judged under the lists and TCB infos of the same import (`item_intake`) or of the store, of
these the newer. Not here: the proofs (`provers`), the transaction (`intake`).

Source: `pccs-and-pcs-api.md` §2.4, §4.3, §7.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, TypeAlias, get_args

import msgspec
from sqlalchemy import select

from dcap.errors import FormatError
from dcap.formats.pck_selection import Tcb
from dcap.formats.pck_selection import select as select_tcb
from dcap.pccs.causes import CAUSES
from dcap.pccs.items import Ca, PckCrlKey, RawReport, RawTcb
from dcap.pccs.machines import is_zero
from dcap.pccs.selection import levels_of
from dcap.pccs.store.holdings import Packed
from dcap.pccs.store.packing import unpack
from dcap.pccs.store.rows import batches
from dcap.pccs.store.schema import PCK_CERTIFICATES, PLATFORMS, RAW_TCBS
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.claims import MachineClaim, sorted_out
from dcap.pccs.transfer.item_intake import ItemIntake
from dcap.pccs.transfer.provers import Answers, Proof, Provers, Terms
from dcap.pccs.transfer.report import NO_CERTIFICATE, OTHER_MACHINE, REVOKED, LeftOut
from dcap.pccs.trust import Forged
from dcap.verification.anchors import TrustAnchor

_BATCH: Final = 240
ZERO_QE_ID: Final = "zero-qe-id"
_DISPUTED: Final = "two machines come under this QE id, and neither is kept"

#: Of machines that are kept: the raw TCBs that are known, and the PPID, where one may not replace them.
_Known: TypeAlias = dict[tuple[str, str], tuple[RawReport, ...]]
_Others: TypeAlias = dict[tuple[str, str], bytes]


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
        self._ppids: dict[tuple[str, str], bytes] = {}
        self._disputed: set[tuple[str, str]] = set()

    def prove(self, claims: Iterable[MachineClaim | LeftOut], processes: int) -> None:
        """Prove them, a batch at a time: what is not proven yet need not be in memory.

        While a batch is judged, processes prove the next (`provers`). Raises `Forged`, `FormatError`
        where it is strict.
        """
        terms = Terms(
            at=self._at,
            anchor=self._anchor,
            root_crl=self._items.root_crl,
            pck_crls={ca: self._items.newest_body(PckCrlKey(ca)) for ca in get_args(Ca)},
        )
        with Provers(terms, processes=processes) as provers:
            begun: tuple[Sequence[MachineClaim], Answers] | None = None
            for batch in batches(self._named(claims), _BATCH):
                answers = provers.ask([claim.claimed for claim in batch])
                if begun is not None:
                    self._judge(*begun)
                begun = batch, answers
            if begun is not None:
                self._judge(*begun)
        self._leave_out_disputed()

    def _named(self, claims: Iterable[MachineClaim | LeftOut]) -> Iterator[MachineClaim]:
        """Those that were read, and that say who they are."""
        for claim in sorted_out(claims, self.left_out):
            if is_zero(claim.claimed.qe_id):
                what = CAUSES[ZERO_QE_ID].what
                self.left_out.append(LeftOut("platform", "", ZERO_QE_ID, what))
            else:
                yield claim

    def _judge(self, batch: Sequence[MachineClaim], answers: Answers) -> None:
        known = self._known_raw_tcbs(batch)
        others = {} if self._replace_machines else self._standing_machines(known)
        for claim, answer in zip(batch, answers(), strict=True):
            if isinstance(answer, Forged):
                if self._strict:
                    raise answer
                self.left_out.append(LeftOut("platform", "", answer.finding, answer.what))
            else:
                self._judge_machine(claim, answer, known, others)

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

    def _judge_machine(
        self, claim: MachineClaim, proof: Proof, known: _Known, others: _Others
    ) -> None:
        """A proven machine is taken in, without what takes room; or why it is left out."""
        holding = proof.holding
        machine = holding.platform.qe_id, holding.platform.pce_id
        if others.get(machine) not in (None, proof.ppid):
            what = CAUSES["other-machine"].what
            self.left_out.append(LeftOut("platform", "", OTHER_MACHINE, what))
            return
        raw_tcbs = self._reached(claim, proof, known.get(machine, ()))
        self.left_out += [LeftOut("certificate", "", REVOKED)] * proof.revoked
        platform = msgspec.structs.replace(holding.platform, is_registered=True)
        holding = msgspec.structs.replace(holding, platform=platform, raw_tcbs=raw_tcbs)
        self._take_in(Packed(holding, proof.certificates), proof.ppid)

    def _reached(
        self, claim: MachineClaim, proof: Proof, before: tuple[RawReport, ...]
    ) -> tuple[RawTcb, ...]:
        """Which certificate each raw TCB reaches. Raises `FormatError` where a strict intake may.

        Of a machine that lost certificates it is no fault of the file's that one reaches none.
        """
        by_tcb = dict(proof.tcbms)
        tcb_of = {tcbm: tcb for tcb, tcbm in proof.tcbms}
        found: dict[RawReport, str] = {}
        for said in claim.reached:
            certified = tcb_of.get(said.tcbm)
            if certified is not None and said.raw.tcb.reaches(certified):
                found[said.raw] = said.tcbm
            else:
                self.left_out.append(LeftOut("raw-tcb", "", NO_CERTIFICATE))
        fmspc = proof.holding.platform.fmspc
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
            elif self._strict and raw not in before and not proof.revoked:
                raise FormatError(
                    "import-no-certificate",
                    "the raw TCB of a machine reaches none of its certificates",
                    mend="fetch its certificates again",
                )
            else:
                self.left_out.append(LeftOut("raw-tcb", "", NO_CERTIFICATE))
        return tuple(
            RawTcb(cpu_svn=raw.cpu_svn, pce_svn=raw.pce_svn, tcbm=tcbm)
            for raw, tcbm in found.items()
        )

    def _levels_of(self, fmspc: bytes) -> tuple[Tcb, ...] | None:
        if fmspc not in self._levels:
            self._levels[fmspc] = levels_of(fmspc, self._items.newest)
        return self._levels[fmspc]


def _names(packed: Packed) -> tuple[str, str]:
    platform = packed.holding.platform
    return platform.qe_id, platform.pce_id
