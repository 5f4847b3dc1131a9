"""The service: one method for each resource, over what is kept, and what upstream has.

    service = PccsService(store, upstream, mode=Mode.LAZY)
    answer = service.item(TcbInfoKey("SGX", fmspc))      # answer.item, answer.stale

Every method raises `NotServed` where nothing is to be served, with its cause, or the store's errors.
Whatever has expired is fetched anew; where that fails, or the mode does not fetch, it is refused, or
(`Expired.SERVE`) served and marked as stale. Not here: HTTP (`handler`), who may ask (`auth`).

Source: `pccs-and-pcs-api.md` §1, 2.1, 2.2.
"""

import copy
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Final

import msgspec

from dcap.api.parameters import malformed
from dcap.api.pccs import PccsPckCertRequest
from dcap.api.pccs_admin import PlatformRecord, Queue, UpdateKind
from dcap.api.pcs_responses import Fmspc
from dcap.errors import CollateralError, FormatError
from dcap.formats.certificate import Certificate, write_chain
from dcap.formats.pck_selection import Tcb
from dcap.formats.signed_json import decode
from dcap.pccs.age import in_date, is_early
from dcap.pccs.causes import NotServed, cause_of, not_served
from dcap.pccs.issuers import list_of
from dcap.pccs.items import (
    AppraisalPolicy,
    CrlKey,
    FmspcsKey,
    Holding,
    IdentityKey,
    Item,
    Key,
    PckAnswer,
    PckCrlKey,
    RawReport,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.machines import Machines, expect_qe_id
from dcap.pccs.mode import RULES, Mode
from dcap.pccs.pck_lookup import Machine
from dcap.pccs.policies import read_policy
from dcap.pccs.registration import Registrar
from dcap.pccs.renewal import companions, is_renewable, renew
from dcap.pccs.sightings import Sightings
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.report import Report
from dcap.pccs.upstream import Upstream

#: For so long rows of the queue stay that were handed out, or done with.
DONE_WITH: Final = timedelta(days=30)
#: For so long machines stay that were looked up, never registered, and ask no more.
UNASKED: Final = timedelta(days=30)
_DAY: Final = timedelta(days=1)
_NUMBERED: Final = (TcbInfoKey, IdentityKey)


class Expired(Enum):
    """What becomes of what has expired and cannot be renewed."""

    REFUSE = "refuse"
    SERVE = "serve"


class ItemAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An item to be served; `stale` says that it has expired."""

    item: Item
    stale: bool = False


class Renewal(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a renewal: how many, and why others failed. Items are named by key.

    `revoked` are those of the renewed for which Intel has no certificate left that is not revoked: that
    is an answer, and no failure.
    """

    renewed: int
    failed: dict[str, NotServed]
    revoked: int = 0


class PccsService:
    """A PCCS over one store. Safe to share among threads.

    `imports` takes the body of a `PUT /platformcollateral` and the version in its path.
    """

    def __init__(
        self,
        store: Store,
        upstream: Upstream,
        *,
        mode: Mode = Mode.LAZY,
        expired: Expired = Expired.REFUSE,
        imports: Callable[[bytes, int], object] | None = None,
    ) -> None:
        self.store = store
        self.upstream = upstream
        self.mode = mode
        self.rules = RULES[mode]
        self.expired = expired
        self.clock: Callable[[], datetime] = upstream.clock
        self.machines = Machines(store, upstream, fetches_items=self.rules.fetches_items)
        self.sightings = Sightings(store)
        self.registrar = Registrar(store, upstream, self.machines, self.rules)
        self._imports = imports
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._only_looks = False
        self._tidied: datetime | None = None

    def looking(self) -> "PccsService":
        """The same service for whoever only looks (HEAD): nothing is fetched, nothing remembered."""
        mirror = copy.copy(self)
        mirror.rules = msgspec.structs.replace(
            self.rules,
            fetches_platforms=False,
            unknown_platform=(
                "not-cached" if self.rules.fetches_platforms else self.rules.unknown_platform
            ),
            fetches_items=False,
        )
        mirror._only_looks = True  # noqa: SLF001 - its own
        return mirror

    def counts(self) -> dict[str, int]:
        """How often what was served stale ("stale"), and each cause that was answered with."""
        with self._lock:
            return dict(self._counts)

    def count(self, what: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[what] += 1

    # Collateral

    def item(self, key: Key, version: int = 4) -> ItemAnswer:
        """An item by its key: kept, or fetched where the mode does; `version` is that of the path.

        1. Kept and in date. 2. Of its number, under another key. 3. Fetched. 4. Expired.
        """
        kept = self._kept(key)
        at = self.clock()
        if kept is not None and in_date(kept, at):
            return ItemAnswer(item=kept)
        try:
            if version < 4:
                raise NotServed(self.rules.missing_v3)
            if not self.rules.fetches_items:
                raise NotServed(self.rules.missing_item)
            return ItemAnswer(item=self.upstream.item(key))
        except CollateralError as error:
            refusal = not_served(error)
        if kept is None or cause_of(refusal) == "store-unavailable":
            raise refusal
        if is_early(kept, at):
            raise NotServed("clock", what="it was proven before: is the service's clock right?")
        if self.expired is Expired.SERVE:
            self.count("stale")
            return ItemAnswer(item=kept, stale=True)
        if refusal.cause == "v3-ended":
            raise refusal
        raise NotServed(
            "expired",
            status=refusal.status,
            what=refusal.what,
            retry_after=refusal.retry_after,
        )

    def crl(self, uri: str, version: int = 4) -> ItemAnswer:
        """A list by its URI: that of the root or of a PCK CA, under whichever name it is asked for."""
        imported = self.store.items.get(CrlKey(uri))
        if imported is not None and in_date(imported, self.clock()):
            own = self._kept(list_of(uri))
            if own is None or (own.number or 0) < (imported.number or 0):
                return ItemAnswer(item=imported)
        return self.item(list_of(uri), version)

    def root_chain(self) -> bytes:
        """The root's certificate alone, in PEM: clients of Azure want a chain beside its list."""
        for key in (PckCrlKey("PLATFORM"), PckCrlKey("PROCESSOR"), IdentityKey("QE")):
            kept = self.store.items.get(key)
            if kept is not None and kept.issuer_chain:
                return write_chain(Certificate.parse_chain(kept.issuer_chain)[-1:])
        answer = self.item(PckCrlKey("PLATFORM"))
        return write_chain(Certificate.parse_chain(answer.item.issuer_chain)[-1:])

    def fmspcs(self, platform: str) -> tuple[tuple[Fmspc, ...], ItemAnswer]:
        """The FMSPCs of one kind of platform, or "all" of them."""
        answer = self.item(FmspcsKey())
        listed = decode(answer.item.body, list[Fmspc], "FMSPCs")
        return tuple(one for one in listed if platform in ("all", one.platform)), answer

    def _kept(self, key: Key) -> Item | None:
        """What is kept under a key; of a number, also where it is the standard or early one."""
        kept = self.store.items.get(key)
        if not isinstance(key, _NUMBERED) or key.number is None:
            return kept
        if kept is not None and in_date(kept, self.clock()):
            return kept
        for update in ("STANDARD", "EARLY"):
            other = self.store.items.get(msgspec.structs.replace(key, update=update, number=None))
            if other is not None and other.number == key.number and in_date(other, self.clock()):
                return other
        return kept

    # Machines

    def pck_certificate(self, asked: PccsPckCertRequest) -> PckAnswer:
        """The PCK certificate of a machine for its raw TCB, with its end.

        1. What is kept, or can be had. 2. Expired: all of the machine's anew. 3. Still expired.
        """
        found = self._certificate_of(asked)
        at = self.clock()
        ends = _end_of(found, at)
        if at < ends:
            return msgspec.structs.replace(found, expires=ends)
        try:
            if not self.rules.fetches_platforms:
                raise NotServed("expired")
            kept = self.store.platforms.holding(asked.qe_id.upper(), asked.pce_id.hex().upper())
            if kept is not None:
                self.machines.renew(kept)
            renewed = self._certificate_of(asked)
            if at < (ends := _end_of(renewed, at)):
                return msgspec.structs.replace(renewed, expires=ends)
            raise NotServed("expired")
        except CollateralError as error:
            refusal = not_served(error, of_machine=True)
        if cause_of(refusal) == "store-unavailable":
            raise refusal
        if self.expired is Expired.SERVE:
            self.count("stale")
            return msgspec.structs.replace(found, expires=ends, stale=True)
        raise NotServed("expired", status=refusal.status, retry_after=refusal.retry_after)

    def _certificate_of(self, asked: PccsPckCertRequest) -> PckAnswer:
        """1. Known, and its raw TCB too. 2. Known, and the raw TCB is new: selected. 3. Looked up."""
        qe_id, pce_id = asked.qe_id.upper(), asked.pce_id.hex().upper()
        expect_qe_id(qe_id)
        raw = RawReport.of(Tcb(asked.cpu_svn, asked.pce_svn))
        answer = self._answer(qe_id, pce_id, raw)
        if answer is not None and answer.certificate is not None:
            return answer
        fetches = self.rules.fetches_platforms
        if answer is not None and (not fetches or self.machines.has_whole_sets):
            return self.machines.selection.answer(qe_id, pce_id, raw, only_looks=self._only_looks)
        if not fetches:
            waits = self.machines.selection.waits_for_intel(qe_id, pce_id, raw)
            raise NotServed("certificates-unavailable" if waits else self.rules.unknown_platform)
        if asked.version < 4:
            raise NotServed(self.rules.missing_v3)
        ppid = asked.encrypted_ppid
        if not self.machines.works_by_qe_id and not any(ppid or b""):
            raise NotServed("no-ppid" if ppid is None else "zero-ppid")
        machine = Machine(qe_id=qe_id, pce_id=pce_id, encrypted_ppid=ppid)
        self.machines.fetch(machine, raw, lambda: self._fetched(qe_id, pce_id, raw))
        found = self._answer(qe_id, pce_id, raw)
        if found is not None and found.certificate is not None:
            return found
        return self.machines.selection.answer(qe_id, pce_id, raw)

    def _answer(self, qe_id: str, pce_id: str, raw: RawReport) -> PckAnswer | None:
        return self.store.platforms.answer(qe_id, pce_id, raw.cpu_svn, raw.pce_svn)

    def _fetched(self, qe_id: str, pce_id: str, raw: RawReport) -> Holding | None:
        """What another replica fetched meanwhile; of a set that is whole, any raw TCB will do."""
        answer = self._answer(qe_id, pce_id, raw)
        if answer is None or (answer.certificate is None and not self.machines.has_whole_sets):
            return None
        return self.store.platforms.holding(qe_id, pce_id)

    def register(self, record: PlatformRecord, update: UpdateKind, version: int = 4) -> None:
        """A machine registers."""
        self.registrar.register(record, update, version)

    def waiting(self, queue: Queue, *, take: bool) -> tuple[PlatformRecord, ...]:
        """The machines that wait in a queue; with `take` they leave it."""
        return self.registrar.waiting(queue, take=take)

    def platforms(self, fmspcs: Sequence[str]) -> tuple[PlatformRecord, ...]:
        """The machines that are kept, of these FMSPCs or all."""
        return self.registrar.kept(fmspcs)

    # Administration

    def forget_machine(self, qe_id: str, pce_id: str) -> bool:
        """Forget a machine: its certificates, and its places in the queue. False where it is unknown.

        Whoever comes under its ids next is new.
        """
        was_kept = self.store.platforms.delete(qe_id.upper(), pce_id.upper())
        waited = self.store.registrations.forget(qe_id.upper(), pce_id.upper())
        self.upstream.machines.forget()
        return was_kept or waited > 0

    def forget_item(self, key: Key) -> bool:
        """Forget a piece of collateral, its number too. False where none is kept."""
        was_kept = self.store.items.delete(key) > 0
        self.upstream.items.forget()
        return was_kept

    def tidy(self, at: datetime) -> int:
        """Once a day: forget what nobody needs any more, and say how much that was.

        Machines that were looked up only where they would be looked up again.
        """
        last = self._tidied
        if last is not None and last <= at < last + _DAY:
            return 0
        self._tidied = at
        done = self.store.registrations.prune(at - DONE_WITH)
        if self.rules.fetches_platforms:
            done += self.store.platforms.prune(at - UNASKED)
        return done + self.store.prune()

    def import_collaterals(self, body: bytes, version: int) -> Mapping[str, int]:
        """Import a file of collateral; how many of its pieces were left out, by kind and reason.

        Raises `FormatError`, and what is forged changes nothing.
        """
        if self._imports is None:
            raise NotServed("bad-request", what="this service imports nothing")
        try:
            done = self._imports(body, version)
        except FormatError as error:
            raise malformed(error.what) from None
        return done.tally if isinstance(done, Report) else {}

    def refresh_items(self) -> Renewal:
        """Renew all collateral, item by item. Raises `NotServed` (`offline`) in that mode."""
        if not self.rules.refreshes:
            raise NotServed("offline")
        started = self.clock()
        self.upstream.items.forget()
        kept = {one.key for one in self.store.items.summaries()}
        lacking = companions(kept, self.store.platforms.count_by_fmspc())
        keys = {RootCrlKey(), *lacking, *filter(is_renewable, kept)}
        came = renew(self.upstream, keys, kept, after=started)
        self.machines.withdrawal.drop_revoked()
        failed = {key.text: refusal for key, refusal in came.failed.items()}
        return Renewal(renewed=len(came.renewed), failed=failed)

    def refresh_certificates(self, fmspcs: Sequence[str]) -> Renewal:
        """Renew the PCK certificates of machines of these FMSPCs, or all, machine by machine."""
        if not self.rules.refreshes:
            raise NotServed("offline")
        self.upstream.machines.forget()
        wanted = [bytes.fromhex(one) for one in fmspcs] if fmspcs else None
        outcomes = list(self.machines.renew_each(wanted))
        failed = {
            f"platform {place}": refusal
            for place, refusal in enumerate(outcomes, 1)
            if refusal is not None and refusal.cause != "revoked"
        }
        revoked = sum(one is not None and one.cause == "revoked" for one in outcomes)
        return Renewal(renewed=len(outcomes) - len(failed), failed=failed, revoked=revoked)

    # Policies

    def policies(self, fmspc: bytes) -> tuple[AppraisalPolicy, ...]:
        """The default policies of an FMSPC."""
        found = self.store.policies.defaults(fmspc)
        if not found:
            raise NotServed("no-policy")
        return found

    def put_policy(self, text: str, fmspc: bytes, *, is_default: bool) -> str:
        """Keep a policy; gives its id. Raises `FormatError` (`pcs-request`)."""
        policy = read_policy(text, fmspc, is_default=is_default)
        self.store.policies.put(policy)
        return policy.id


def _end_of(found: PckAnswer, at: datetime) -> datetime:
    """When a certificate or its chain expires: no later than that, and exactly where it is near."""
    if found.expires is not None and at < found.expires:
        return found.expires  # the first of its machine's
    own = Certificate.parse_chain(found.certificate or b"")[0].not_after
    return min(own, _end_of_chain(found.issuer_chain))


@lru_cache(maxsize=16)
def _end_of_chain(issuer_chain: bytes) -> datetime:
    return min(one.not_after for one in Certificate.parse_chain(issuer_chain))
