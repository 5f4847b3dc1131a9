"""The PCK certificates of machines: fetched whole, proven and kept.

Under a QE id the certificates of one machine are kept, told by their PPID: another takes its place only
where whoever may register machines says so, and nobody said so before. Not here: what suppliers say
(`pck_lookup`), which certificate goes with a raw TCB (`selection`), who may be looked up (`service`),
the queue (`registration`).

Source: `pccs-and-pcs-api.md` §2.1, 2.3.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from dcap.api.parameters import HEX
from dcap.errors import DcapError, FormatError, NotFound
from dcap.formats.pck_selection import Tcb
from dcap.pccs import trust
from dcap.pccs.causes import NotServed, not_served
from dcap.pccs.issuers import ca_of_chain
from dcap.pccs.items import (
    Holding,
    PckCertificate,
    PckCrlKey,
    Platform,
    RawReport,
)
from dcap.pccs.pck_lookup import Found, Machine, one_more, whole_set
from dcap.pccs.pck_proof import Claimed, prove_platform
from dcap.pccs.selection import Selection
from dcap.pccs.single_flight import Workers
from dcap.pccs.store.platforms import MAX_RAW_TCBS
from dcap.pccs.store.store import Store
from dcap.pccs.suppliers import Supplier
from dcap.pccs.upstream import PLATFORM, Upstream
from dcap.pccs.withdrawal import Withdrawal

ABOUT: Final = PLATFORM
#: Machines whose certificates are renewed side by side.
_RENEWALS: Final = 8
#: What an incident says where a machine comes under the ids of another.
REFUSED: Final = "it came under the QE id of another that is kept, and was refused"
REPLACED: Final = "it was registered, and another goes that had been looked up under its QE id"
_QE_ID_DIGITS: Final = 32


def expect_qe_id(qe_id: str) -> None:
    """Raises `NotServed` (`zero-qe-id`): all that could not read theirs would be one machine."""
    if is_zero(qe_id):
        raise NotServed("zero-qe-id")


def is_zero(qe_id: str) -> bool:
    """Whether a QE id names no machine."""
    return not qe_id.strip("0")


class _Proven(NamedTuple):
    """What was proven of a machine, the TCBs that have no certificate yet, and which machine it is."""

    proven: Holding
    unavailable: tuple[Tcb, ...] | None
    ppid: bytes

    def __repr__(self) -> str:
        return "<_Proven>"


class Machines:
    """The machines of a store, and the way to more of them."""

    def __init__(self, store: Store, upstream: Upstream, *, fetches_items: bool = True) -> None:
        self._store = store
        self._upstream = upstream
        self.selection = Selection(store, upstream, fetches_items=fetches_items)
        self._renewals = Workers(_RENEWALS)
        self.withdrawal = Withdrawal(store, upstream, self.selection.reselected)

    @property
    def has_whole_sets(self) -> bool:
        """Whether some supplier gives all certificates of a machine."""
        return any(one.knows_machines for one in self._upstream.suppliers)

    @property
    def works_by_qe_id(self) -> bool:
        """Whether some supplier knows machines by their QE id alone."""
        return any(not one.knows_machines for one in self._upstream.suppliers)

    def fetch(
        self,
        machine: Machine,
        raw: RawReport | None,
        have: Callable[[], Holding | None] = lambda: None,
    ) -> Holding:
        """All that upstream has of a machine, kept; `have` looks for what another fetched meanwhile.

        Raises `NotServed`.
        """
        key = machine.flight
        if not self.has_whole_sets and raw is not None:
            # A certificate at a time: requests for two TCBs of one machine are two needs.
            key = f"{key}/{raw.cpu_svn}{raw.pce_svn}"
        return self._upstream.machines.once(key, have, lambda: self._fetch(machine, raw))

    def renew(self, kept: Holding) -> None:
        """Fetch the certificates of a machine anew. Raises `NotServed`."""
        platform = kept.platform
        machine = Machine(
            qe_id=platform.qe_id,
            pce_id=platform.pce_id,
            encrypted_ppid=platform.encrypted_ppid,
            manifest=platform.manifest,
            is_registered=bool(platform.is_registered),
        )
        reports: list[RawReport | None] = [one.raw for one in kept.raw_tcbs]
        if self.has_whole_sets or not reports:
            reports = [None]
        for raw in reports:
            self.fetch(machine, raw)

    def renew_each(self, fmspcs: Sequence[bytes] | None) -> Iterator[NotServed | None]:
        """`renew` for machines of these FMSPCs or all, side by side; of each why it failed, if so."""
        flights = [
            self._renewals.submit(lambda kept=kept: self.renew(kept))  # type: ignore[misc]
            for kept in self._store.platforms.each(fmspcs)
        ]
        for flight in flights:
            try:
                flight.result()
                yield None
            except DcapError as error:
                yield not_served(error, of_machine=True)

    def _fetch(self, machine: Machine, raw: RawReport | None) -> Holding:
        """1. Certificates. 2. Proof. 3. TCB infos. 4. Is it the machine that is kept? 5. Selection.

        6. Keep. 7. Nothing revoked meanwhile. 8. Off the queue. A machine whose certificates are all
        revoked is kept without any, in place of what was kept.
        """
        found = self._certificates(machine, raw)
        self.selection.fetch_tcb_infos(found.proven.platform.fmspc)
        holding = self._keep(machine, raw, found)
        left = self.withdrawal.standing(holding)
        if len(left.certificates) < len(holding.certificates):
            # Its CA's list was renewed since the proof: whoever went through all machines may have
            # passed this one before it was kept. Who was kept after it was proven with that list.
            now = self._store.platforms.holding(machine.qe_id, machine.pce_id)
            if now is not None and now.certificates == holding.certificates:
                left = msgspec.structs.replace(left, revision=now.revision)
                self._store.platforms.amend(left)
        if not left.certificates:
            raise NotServed("revoked")
        reached = {one.raw for one in holding.raw_tcbs}
        self._store.registrations.cross_off(
            machine.qe_id,
            machine.pce_id,
            reached if raw is None else {*reached, raw},
            machine.manifest,
        )
        return left

    def _keep(self, machine: Machine, raw: RawReport | None, found: "_Proven") -> Holding:
        """Keep what was proven, unless another machine is kept under these ids."""
        is_told = False
        while True:
            kept = self._store.platforms.holding(machine.qe_id, machine.pce_id)
            takes_place = self._is_another(kept, found.ppid)
            if takes_place:
                self._expect_vouched(machine, kept, is_told=is_told)
                is_told = True
            tcbs = {one.tcb for one in found.proven.certificates}
            self.selection.queue_unavailable(machine, found.unavailable, tcbs)
            before = () if kept is None or takes_place else kept.raw_tcbs
            reports = sorted({one.raw for one in before} - {raw})
            if raw is not None:
                reports = [*reports[: MAX_RAW_TCBS - 1], raw]
            holding = msgspec.structs.replace(
                found.proven,
                platform=self._introduced(found.proven.platform, machine, kept),
                raw_tcbs=self.selection.selected(found.proven, reports),
            )
            if self._store.platforms.replace(holding, kept):
                return holding

    def _introduced(self, proven: Platform, machine: Machine, kept: Holding | None) -> Platform:
        """A machine, with who said that it has these ids; one that is looked up first, as seen now."""
        if machine.is_registered:
            return msgspec.structs.replace(proven, is_registered=True)
        if kept is not None:
            return msgspec.structs.replace(proven, is_registered=kept.platform.is_registered)
        hour = self._upstream.clock().replace(minute=0, second=0, microsecond=0)
        return msgspec.structs.replace(proven, is_registered=False, last_seen=hour)

    @staticmethod
    def _is_another(kept: Holding | None, ppid: bytes) -> bool:
        """Whether the certificates that are kept are those of another machine."""
        return kept is not None and bool(kept.certificates) and kept.certificates[0].ppid != ppid

    def _expect_vouched(self, machine: Machine, kept: Holding | None, *, is_told: bool) -> None:
        """A registration wins over what anybody may have had looked up; nothing else over anything.

        Of whom it is not known who said so, somebody may have registered it.
        """
        is_looked_up = kept is None or kept.platform.is_registered is False
        wins = machine.is_registered and is_looked_up
        if not is_told:
            self._upstream.tell(ABOUT, "other-machine", REPLACED if wins else REFUSED)
        if not wins:
            raise NotServed("other-machine")

    def _certificates(self, machine: Machine, raw: RawReport | None) -> "_Proven":
        """What the first supplier gives that is genuine; the TCBs that have no certificate yet."""
        suppliers = self._upstream.suppliers
        if raw is None and machine.manifest is not None and suppliers:
            suppliers = tuple(one for one in suppliers if one.knows_machines)
            if not suppliers:
                raise NotServed("manifest-needs-pcs")
        refused: NotServed | None = None
        answers = self._upstream.from_each(
            ABOUT, lambda one: (one, self._ask(one, machine, raw)), suppliers, of_machine=True
        )
        try:
            for of, found in answers:
                if not found.claimed.certificates:
                    self.selection.queue_unavailable(machine, found.unavailable, set())
                    self._upstream.note(of, ABOUT, "certificates-unavailable")
                    refused = refused or NotServed("certificates-unavailable")
                    continue
                try:
                    proven = self._proven(found.claimed)
                except (trust.Forged, FormatError) as error:  # what the store lacks is no forgery
                    cause = trust.cause_of_refusal(error)
                    self._upstream.note(of, ABOUT, cause)
                    refused = refused or NotServed(cause, where=error.where)
                    continue
                self._upstream.succeeded(of, ABOUT)
                if len(proven.certificates) < len(found.claimed.certificates):
                    self._upstream.note(of, ABOUT, "revoked")
                # All that came are of one machine: that was proven, and revoked ones tell it too.
                (first, *_) = found.claimed.certificates
                return _Proven(proven, found.unavailable, PckCertificate.read(*first).ppid)
        except NotServed as error:
            raise (refused or error) from None
        raise AssertionError  # pragma: no cover - `from_each` ends by raising

    def _ask(self, of: Supplier, machine: Machine, raw: RawReport | None) -> Found:
        if of.knows_machines:
            return whole_set(of, machine)
        if raw is None or len(machine.qe_id) != _QE_ID_DIGITS or not HEX.fullmatch(machine.qe_id):
            raise NotFound("source-no-pck", "this kind of service wants a QE id and a raw TCB")
        kept = self._store.platforms.holding(machine.qe_id, machine.pce_id)
        return Found(one_more(of, machine, raw, kept), None)

    def _proven(self, claimed: Claimed) -> Holding:
        """What of it is genuine and not revoked, which may be no certificate at all."""
        upstream = self._upstream
        ca = ca_of_chain(claimed.issuer_chain)
        listed = None if ca is None else self._store.items.get(PckCrlKey(ca))
        try:
            return prove_platform(
                claimed,
                at=upstream.clock(),
                anchor=upstream.anchor,
                pck_crl=None if listed is None else listed.body,
                root_crl=upstream.root_crl(),
            )
        except trust.Revoked as revoked:
            return revoked.holding
