"""Which of a machine's certificates goes with a raw TCB: selected once, and remembered.

    selection.answer(qe_id, pce_id, raw)          # of a machine that is kept
    levels_of(fmspc, store.items.get)             # the order to select in

What Intel owes a better certificate to (it has none yet for the TCB) is not remembered: those that are
owed stand in the queue, as `NOT_AVAILABLE`. Not here: the rule (`formats.pck_selection`), certificates
and their proof (`machines`).

Source: `pccs-and-pcs-api.md` §2.1, 2.3, 2.4.
"""

from collections.abc import Callable, Container, Sequence

from dcap.errors import DcapError
from dcap.formats.collateral import TCB_INFO
from dcap.formats.pck_selection import Tcb, select
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.pccs.causes import NotServed, cause_of, not_served
from dcap.pccs.items import (
    Holding,
    Item,
    PckAnswer,
    PckCertificate,
    RawReport,
    RawTcb,
    Registration,
    TcbInfoKey,
)
from dcap.pccs.pck_lookup import Machine
from dcap.pccs.store.store import Store
from dcap.pccs.upstream import Upstream


class Selection:
    """The selection among what a store has."""

    def __init__(self, store: Store, upstream: Upstream, *, fetches_items: bool) -> None:
        self._store = store
        self._upstream = upstream
        self._fetches_items = fetches_items

    def answer(
        self, qe_id: str, pce_id: str, raw: RawReport, *, only_looks: bool = False
    ) -> PckAnswer:
        """The certificate of a known machine for a raw TCB that is new. Raises `NotServed`.

        What Intel owes a better certificate to is not remembered: its next registration asks Intel.
        Whoever `only_looks` changes nothing, and has nothing fetched.
        """
        chosen, holding = self._choose_now(qe_id, pce_id, raw, only_looks=only_looks)
        owed = self._owed(qe_id, pce_id)
        if not only_looks and not _is_owed(raw, chosen.tcb, owed):
            known = RawTcb(cpu_svn=raw.cpu_svn, pce_svn=raw.pce_svn, tcbm=chosen.tcbm)
            if not self._store.platforms.remember(qe_id, pce_id, known, revision=holding.revision):
                # Replaced meanwhile: among those of now. Whoever asks next remembers it.
                chosen, holding = self._choose_now(qe_id, pce_id, raw)
        return PckAnswer(
            certificate=chosen.pem,
            tcbm=chosen.tcbm,
            fmspc=holding.platform.fmspc,
            ca=holding.platform.ca,
            issuer_chain=holding.issuer_chain,
            last_seen=holding.platform.last_seen,
            expires=holding.platform.expires,
        )

    def selected(self, holding: Holding, reports: Sequence[RawReport]) -> tuple[RawTcb, ...]:
        """For each raw TCB the certificate that it reaches.

        Those that reach none are left out, and those to which Intel owes a better one.
        """
        levels = self._levels(holding.platform.fmspc)
        owed = self._owed(holding.platform.qe_id, holding.platform.pce_id)
        by_tcb = {one.tcb: one for one in holding.certificates}
        found = []
        for raw in reports:
            chosen = select(raw.tcb, by_tcb, levels)
            if chosen is not None and not _is_owed(raw, chosen, owed):
                tcbm = by_tcb[chosen].tcbm
                found.append(RawTcb(cpu_svn=raw.cpu_svn, pce_svn=raw.pce_svn, tcbm=tcbm))
        return tuple(found)

    def reselected(self, holding: Holding, known: Sequence[RawTcb]) -> tuple[RawTcb, ...]:
        """Raw TCBs that were known, among the certificates of now."""
        return self.selected(holding, sorted({one.raw for one in known}))

    def waits_for_intel(self, qe_id: str, pce_id: str, raw: RawReport) -> bool:
        """Whether the raw TCB reaches one for which Intel said that it has no certificate yet."""
        return any(raw.tcb.reaches(tcb) for tcb in self._owed(qe_id, pce_id))

    def fetch_tcb_infos(self, fmspc: bytes) -> None:
        """The four of them; only SGX's standard one must be there."""
        keys = tcb_info_keys(fmspc)
        lacking = self._upstream.lacking(keys)
        failed = self._upstream.each(lacking).get(keys[0])
        if isinstance(failed, DcapError):
            missing = cause_of(failed) == "no-such-item"
            raise NotServed("no-tcb-info") if missing else not_served(failed)

    def queue_unavailable(
        self, machine: Machine, tcbs: tuple[Tcb, ...] | None, served: Container[Tcb]
    ) -> None:
        """Those for whom Intel has no certificate yet stand in a queue of their own (`reg_na`).

        Those that are `served` leave it, and those that Intel no longer names.
        """
        queue = self._store.registrations
        waits = queue.of_machine(machine.qe_id, machine.pce_id, "NOT_AVAILABLE")
        stale = [
            one
            for one in waits
            if (tcb := _tcb_of(one)) in served or (tcbs is not None and tcb not in tcbs)
        ]
        if stale:
            queue.delete(*stale)
        if not tcbs:
            return
        at = self._upstream.clock()
        queue.add(
            *(
                Registration(
                    qe_id=machine.qe_id,
                    pce_id=machine.pce_id,
                    cpu_svn=raw.cpu_svn,
                    pce_svn=raw.pce_svn,
                    encrypted_ppid=machine.encrypted_ppid,
                    manifest=machine.manifest,
                    state="NOT_AVAILABLE",
                    created=at,
                )
                for raw in map(RawReport.of, tcbs)
            )
        )

    def _choose_now(
        self, qe_id: str, pce_id: str, raw: RawReport, *, only_looks: bool = False
    ) -> tuple[PckCertificate, Holding]:
        holding = self._store.platforms.holding(qe_id, pce_id)
        if holding is None:
            raise NotServed("unknown-platform")
        return self._choose(holding, raw, only_looks=only_looks), holding

    def _choose(
        self, holding: Holding, raw: RawReport, *, only_looks: bool = False
    ) -> PckCertificate:
        by_tcb = {one.tcb: one for one in holding.certificates}
        if not by_tcb:
            raise NotServed("revoked")
        fetches = self._fetches_items and not only_looks
        levels = self._levels(holding.platform.fmspc, fetches=fetches)
        chosen = select(raw.tcb, by_tcb, levels)
        if chosen is not None:
            return by_tcb[chosen]
        if self.waits_for_intel(holding.platform.qe_id, holding.platform.pce_id, raw):
            raise NotServed("certificates-unavailable")
        raise NotServed("no-certificate-for-tcb")

    def _owed(self, qe_id: str, pce_id: str) -> tuple[Tcb, ...]:
        """The TCBs of a machine for which Intel said that it has no certificate yet."""
        waits = self._store.registrations.of_machine(qe_id, pce_id, "NOT_AVAILABLE")
        return tuple(tcb for tcb in map(_tcb_of, waits) if tcb is not None)

    def _levels(self, fmspc: bytes, *, fetches: bool = False) -> tuple[Tcb, ...]:
        levels = levels_of(fmspc, self._store.items.get)
        if levels is None and fetches:
            self.fetch_tcb_infos(fmspc)
            levels = levels_of(fmspc, self._store.items.get)
        if levels is None:
            raise NotServed("no-tcb-info")
        return levels


def tcb_info_keys(fmspc: bytes) -> tuple[TcbInfoKey, ...]:
    """The TCB infos that a machine of an FMSPC is judged by: SGX's standard one comes first."""
    return (
        TcbInfoKey("SGX", fmspc, 4, "STANDARD"),
        TcbInfoKey("SGX", fmspc, 4, "EARLY"),
        TcbInfoKey("TDX", fmspc, 4, "STANDARD"),
        TcbInfoKey("TDX", fmspc, 4, "EARLY"),
    )


def levels_of(fmspc: bytes, look_up: Callable[[TcbInfoKey], Item | None]) -> tuple[Tcb, ...] | None:
    """The levels of SGX, early where there are any; those of an expired TCB info serve too."""
    for version in (4, 3):
        for update in ("EARLY", "STANDARD"):
            item = look_up(TcbInfoKey("SGX", fmspc, version, update))
            if item is not None:
                info = TcbInfo.parse(SignedJson.parse(item.body, TCB_INFO).body)
                return tuple(Tcb(level.components, level.pce_svn) for level in info.levels)
    return None


def _is_owed(raw: RawReport, chosen: Tcb, owed: Sequence[Tcb]) -> bool:
    """Whether a raw TCB reaches one that Intel has no certificate for, and what was chosen does not."""
    return any(raw.tcb.reaches(tcb) and not chosen.reaches(tcb) for tcb in owed)


def _tcb_of(waiting: Registration) -> Tcb | None:
    """The TCB that a machine waits with; `None` where it came with a manifest alone."""
    try:
        return RawReport(waiting.cpu_svn, waiting.pce_svn).tcb if waiting.cpu_svn else None
    except ValueError:
        return None
