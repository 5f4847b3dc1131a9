"""Machines register, wait, and are listed: what stands behind `/platforms`.

A machine of one package comes with its encrypted PPID and raw TCB, one of several with its manifest
(indirect registration), or with a PPID that Intel knows already (direct). What happens then is the
mode's (`mode`). Reading the queue empties it, as Intel's tool expects, unless it is only looked at.

Not here: the form of requests and lists (`api.pccs_admin`), certificates (`machines`).

Source: `pccs-and-pcs-api.md` §1.4, 1.5, 2.1, 2.3.
"""

from collections.abc import Sequence
from typing import Final

from dcap.api.parameters import malformed
from dcap.api.pccs_admin import PlatformRecord, Queue, UpdateKind
from dcap.errors import DcapError
from dcap.pccs.causes import NotServed, not_served
from dcap.pccs.items import (
    Holding,
    IdentityKey,
    Key,
    PckCrlKey,
    Platform,
    Registration,
    RootCrlKey,
    State,
    Update,
)
from dcap.pccs.machines import Machine, Machines, RawReport
from dcap.pccs.mode import Rules
from dcap.pccs.store.store import Store
from dcap.pccs.upstream import Upstream

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

        1. Known already? 2. Into the queue. 3. Its certificates and TCB infos. 4. Off the queue.
        5. Lists and identities that everybody needs.
        """
        rules = self._rules
        qe_id, pce_id = record.qe_id.upper(), record.pce_id.upper()
        manifest = _manifest(record.platform_manifest)
        ppid = bytes.fromhex(record.enc_ppid) if record.enc_ppid else None
        raw = None if manifest else RawReport(record.cpu_svn, record.pce_svn)
        known = self._store.platforms.get(qe_id, pce_id)
        if not self._is_cached(known, manifest, raw):
            # Without a manifest, that of an earlier registration still holds.
            adopted = manifest or (None if known is None else known.manifest)
            machine = Machine(qe_id=qe_id, pce_id=pce_id, encrypted_ppid=ppid, manifest=adopted)
            waiting = self._queue(machine, raw) if rules.queues else None
            if not rules.fetches_registered:
                return
            if version < 4:
                raise NotServed("v3-ended")
            self._machines.fetch(machine, raw, lambda: self._fetched(machine, raw))
            if waiting is not None:
                self._store.registrations.set_state(waiting, "DELETED")
        if rules.fills_common and version > 3:
            self.fill_common(update)

    def fill_common(self, update: UpdateKind) -> None:
        """Fetch what every verification needs and is missing. Raises the first that failed."""
        found = self._upstream.each(self._upstream.lacking(common_keys(update)))
        failed = next((one for one in found.values() if isinstance(one, DcapError)), None)
        if failed is not None:
            raise not_served(failed)

    def waiting(self, queue: Queue, *, take: bool) -> tuple[PlatformRecord, ...]:
        """The machines of a queue; with `take` they are handed out, once, and leave it."""
        registrations = self._store.registrations
        state = _STATES[queue]
        found = registrations.take(state) if take else registrations.list(state)
        return tuple(_queue_record(one) for one in found)

    def kept(self, fmspcs: Sequence[str]) -> tuple[PlatformRecord, ...]:
        """The machines that are kept, of these FMSPCs or all, once for each raw TCB that is known.

        One without any is there too, its TCB empty: Intel's list misses it, and it is then forgotten
        at the next renewal.
        """
        wanted = [bytes.fromhex(one) for one in fmspcs] if fmspcs else None
        return tuple(
            _kept_record(holding.platform, raw)
            for holding in self._store.platforms.each(wanted)
            for raw in _reports(holding)
        )

    def _is_cached(
        self, known: Platform | None, manifest: bytes | None, raw: RawReport | None
    ) -> bool:
        if known is None:
            return False
        if manifest is not None or raw is None:
            return known.manifest == manifest
        answer = self._store.platforms.answer(known.qe_id, known.pce_id, raw.cpu_svn, raw.pce_svn)
        return answer is not None and answer.certificate is not None

    def _fetched(self, machine: Machine, raw: RawReport | None) -> Holding | None:
        """Whether another replica has fetched it meanwhile."""
        known = self._store.platforms.get(machine.qe_id, machine.pce_id)
        manifest = machine.manifest if raw is None else None
        if known is None or not self._is_cached(known, manifest, raw):
            return None
        return self._store.platforms.holding(machine.qe_id, machine.pce_id)

    def _queue(self, machine: Machine, raw: RawReport | None) -> Registration:
        waiting = Registration(
            qe_id=machine.qe_id,
            pce_id=machine.pce_id,
            cpu_svn="" if raw is None else raw.cpu_svn,
            pce_svn="" if raw is None else raw.pce_svn,
            encrypted_ppid=machine.encrypted_ppid,
            manifest=machine.manifest,
            created=self._upstream.clock(),
        )
        self._store.registrations.add(waiting)
        return waiting


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
    try:
        return bytes.fromhex(text) if text else None
    except ValueError:
        raise malformed("platform_manifest is not hexadecimal") from None


def _reports(holding: Holding) -> tuple[RawReport, ...]:
    known = tuple(RawReport(raw.cpu_svn, raw.pce_svn) for raw in holding.raw_tcbs)
    return known or (RawReport("", ""),)


def _queue_record(one: Registration) -> PlatformRecord:
    return PlatformRecord(
        qe_id=one.qe_id,
        pce_id=one.pce_id,
        cpu_svn=one.cpu_svn,
        pce_svn=one.pce_svn,
        enc_ppid=(one.encrypted_ppid or b"").hex(),
        platform_manifest=(one.manifest or b"").hex(),
    )


def _kept_record(platform: Platform, raw: RawReport) -> PlatformRecord:
    return PlatformRecord(
        qe_id=platform.qe_id,
        pce_id=platform.pce_id,
        cpu_svn=raw.cpu_svn,
        pce_svn=raw.pce_svn,
        enc_ppid=(platform.encrypted_ppid or b"").hex().upper(),
        platform_manifest=(platform.manifest or b"").hex().upper(),
    )
