"""Machines register, wait, and are listed: what stands behind `/platforms`.

A machine of one package comes with its encrypted PPID and raw TCB, one of several with its manifest
(indirect registration), or with a PPID that Intel knows already (direct). What happens then is the
mode's (`mode`). Reading the queue empties it, as Intel's tool expects, unless it is only looked at.

Not here: the form of requests and lists (`api.pccs_admin`), certificates (`machines`).

Source: `pccs-and-pcs-api.md` §1.4, 1.5, 2.1, 2.3.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from dcap.api.parameters import HEX, malformed
from dcap.api.pccs_admin import PlatformRecord, Queue, UpdateKind
from dcap.errors import DcapError
from dcap.pccs.causes import NotServed, not_served
from dcap.pccs.items import (
    Holding,
    IdentityKey,
    Key,
    PckCrlKey,
    Platform,
    RawReport,
    Registration,
    RootCrlKey,
    State,
    TcbInfoKey,
    Update,
)
from dcap.pccs.machines import ABOUT, Machines, expect_qe_id
from dcap.pccs.mode import Rules
from dcap.pccs.pck_lookup import Machine
from dcap.pccs.platform_records import record_waiting, records_of
from dcap.pccs.selection import tcb_info_keys
from dcap.pccs.store.store import Store
from dcap.pccs.upstream import Upstream

#: Of a manifest, in bytes: Intel's PCCS keeps no more in MySQL, and real ones have some 20 KB a package.
MAX_MANIFEST: Final = 65_535
#: What Intel says to a manifest that no longer is the package's.
_OUTDATED: Final = frozenset({"upstream-refused", "unregistered"})
_BESIDE: Final = (
    "it came under a QE id that waits already, with another PPID or manifest: both wait"
)
_STATES: Final[dict[Queue, State]] = {"reg": "NEW", "reg_na": "NOT_AVAILABLE"}
_UPDATES: Final[dict[UpdateKind, tuple[Update, ...]]] = {
    "standard": ("STANDARD",),
    "early": ("EARLY",),
    "all": ("STANDARD", "EARLY"),
}


class Registrar:
    """The registrations of one service."""

    def __init__(self, store: Store, upstream: Upstream, machines: Machines, rules: Rules) -> None:
        self._store = store
        self._upstream = upstream
        self._machines = machines
        self._rules = rules

    def register(self, record: PlatformRecord, update: UpdateKind, version: int = 4) -> None:
        """A machine registers. Raises `NotServed`, `FormatError` (`pcs-request`).

        1. Known already? 2. Into the queue. 3. Its certificates and TCB infos, then off the queue.
        4. What everybody needs of its kind, and lists and identities.
        """
        rules = self._rules
        qe_id, pce_id = record.qe_id.upper(), record.pce_id.upper()
        expect_qe_id(qe_id)
        manifest = _manifest(record.platform_manifest)
        ppid = bytes.fromhex(record.enc_ppid) if record.enc_ppid else None
        raw = None if manifest else RawReport(record.cpu_svn, record.pce_svn)
        known = self._store.platforms.get(qe_id, pce_id)
        # Without a manifest, that of an earlier registration still holds.
        adopted = manifest or (None if known is None else known.manifest)
        machine = Machine(
            qe_id=qe_id,
            pce_id=pce_id,
            encrypted_ppid=ppid,
            manifest=adopted,
            is_registered=True,
        )
        others: tuple[TcbInfoKey, ...] = ()
        if known is not None and self._is_cached(known, manifest, raw, machine):
            if not known.is_registered:
                self._store.platforms.set_registered(qe_id, pce_id)
            self._store.registrations.cross_off(
                qe_id, pce_id, () if raw is None else {raw}, manifest
            )
            others = tcb_info_keys(known.fmspc)
        else:
            if rules.queues:
                self._queue(machine, raw)
            if not rules.fetches_registered:
                return
            if version < 4:
                raise NotServed("v3-ended")
            self._fetch(machine, raw, is_adopted=manifest is None)
        if rules.fills_common and version > 3:
            self.fill_common(update, others)

    def fill_common(self, update: UpdateKind, others: Sequence[TcbInfoKey] = ()) -> None:
        """Fetch what every verification needs and is missing. Raises the first that failed.

        `others` are the TCB infos of a machine that is known: of those the first alone must be there.
        """
        wanted = (*others, *common_keys(update))
        found = self._upstream.each(self._upstream.lacking(wanted))
        failed = next(
            (
                one
                for key, one in found.items()
                if isinstance(one, DcapError) and key not in others[1:]
            ),
            None,
        )
        if failed is not None:
            raise not_served(failed)

    def waiting(self, queue: Queue, *, take: bool) -> tuple[PlatformRecord, ...]:
        """The machines of a queue; with `take` they are handed out, once, and leave it.

        Of very many only the first: the others stay for the next time.
        """
        registrations = self._store.registrations
        state = _STATES[queue]
        at = self._upstream.clock()
        found = registrations.take(state, at=at) if take else registrations.list(state)
        return tuple(map(record_waiting, found))

    def kept(self, fmspcs: Sequence[str]) -> tuple[PlatformRecord, ...]:
        """The machines that are kept, of these FMSPCs or all, once for each raw TCB that is known.

        One without any is there too, its TCB empty: Intel's list misses it, and it is then forgotten
        at the next renewal.
        """
        wanted = [bytes.fromhex(one) for one in fmspcs] if fmspcs else None
        return tuple(
            record
            for holding in self._store.platforms.each(wanted)
            for record in records_of(holding)
        )

    def _is_cached(
        self, known: Platform, manifest: bytes | None, raw: RawReport | None, machine: Machine
    ) -> bool:
        """Whether nothing need be fetched: a machine that has no certificate left is as good as new.

        So is one that anybody may have had looked up by another's PPID: only the same one vouches.
        """
        if manifest is not None or raw is None:
            if known.manifest != manifest:
                return False
            holding = self._store.platforms.holding(known.qe_id, known.pce_id)
            return holding is not None and bool(holding.certificates)
        if not known.is_registered and known.encrypted_ppid != machine.encrypted_ppid:
            return False
        answer = self._store.platforms.answer(known.qe_id, known.pce_id, raw.cpu_svn, raw.pce_svn)
        return answer is not None and answer.certificate is not None

    def _fetch(self, machine: Machine, raw: RawReport | None, *, is_adopted: bool) -> None:
        """By its manifest, if any. One of before that is refused now is forgotten: then by its PPID."""
        try:
            self._machines.fetch(machine, raw, lambda: self._fetched(machine, raw))
        except NotServed as refusal:
            may_be_outdated = is_adopted and machine.manifest is not None
            has_ppid = any(machine.encrypted_ppid or b"")
            if not (may_be_outdated and has_ppid and refusal.cause in _OUTDATED):
                raise
        else:
            return
        by_ppid = msgspec.structs.replace(machine, manifest=None)
        self._machines.fetch(by_ppid, raw, lambda: self._fetched(by_ppid, raw))

    def _fetched(self, machine: Machine, raw: RawReport | None) -> Holding | None:
        """Whether another replica has fetched it meanwhile."""
        known = self._store.platforms.get(machine.qe_id, machine.pce_id)
        manifest = machine.manifest if raw is None else None
        if known is None or not known.is_registered:
            return None
        if not self._is_cached(known, manifest, raw, machine):
            return None
        return self._store.platforms.holding(machine.qe_id, machine.pce_id)

    def _queue(self, machine: Machine, raw: RawReport | None) -> None:
        """Into the queue. Raises `NotServed` (`queue-full`)."""
        entered = self._store.registrations.enter(
            Registration(
                qe_id=machine.qe_id,
                pce_id=machine.pce_id,
                cpu_svn="" if raw is None else raw.cpu_svn,
                pce_svn="" if raw is None else raw.pce_svn,
                encrypted_ppid=machine.encrypted_ppid,
                manifest=machine.manifest,
                created=self._upstream.clock(),
            )
        )
        if entered == "full":
            raise NotServed("queue-full")
        if entered == "beside":
            self._upstream.tell(ABOUT, "other-machine", _BESIDE)


def common_keys(update: UpdateKind) -> tuple[Key, ...]:
    """The collateral that is the same for all machines."""
    return (
        RootCrlKey(),
        PckCrlKey("PROCESSOR"),
        PckCrlKey("PLATFORM"),
        *(
            IdentityKey(name, 4, generation)
            for generation in _UPDATES[update]
            for name in ("QE", "QVE", "TD_QE")
        ),
    )


def _manifest(text: str | None) -> bytes | None:
    """Intel's server cuts a manifest off where it is no hex; it could only be refused later."""
    if not text:
        return None
    if len(text) % 2 or not HEX.fullmatch(text):
        raise malformed("platform_manifest is not hexadecimal")
    if len(text) > 2 * MAX_MANIFEST:
        raise malformed(f"platform_manifest is longer than {MAX_MANIFEST} bytes")
    return bytes.fromhex(text)
