"""The service: one method for each resource, over what is kept, and what upstream has.

    service = PccsService(store, upstream, mode=Mode.LAZY)
    answer = service.item(TcbInfoKey("SGX", fmspc))      # answer.item, answer.stale

Every method raises `NotServed` where nothing is to be served, with its cause, or the store's errors.
Whatever has expired is fetched anew; where that fails, or the mode does not fetch, it is refused, or
(`Expired.SERVE`) served and marked as stale. Not here: HTTP (`handler`), who may ask (`auth`).

Source: `pccs-and-pcs-api.md` §1, 2.1, 2.2.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from dcap.api.parameters import malformed
from dcap.api.pccs import PccsPckCertRequest
from dcap.api.pccs_admin import PlatformRecord, Queue, UpdateKind
from dcap.api.pcs_responses import Fmspc
from dcap.errors import CollateralError, DcapError, FormatError
from dcap.formats.certificate import Certificate, write_chain
from dcap.formats.signed_json import decode
from dcap.pccs.causes import NotServed, cause_of, not_served
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
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.machines import Machine, Machines, RawReport
from dcap.pccs.mode import RULES, Mode
from dcap.pccs.policies import read_policy
from dcap.pccs.registration import Registrar
from dcap.pccs.single_flight import Workers
from dcap.pccs.store.store import Store
from dcap.pccs.upstream import Upstream, in_date

#: Machines whose certificates are renewed side by side.
_RENEWALS: Final = 8
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
    """What came of a renewal: how many, and why others failed. Items are named by key."""

    renewed: int
    failed: dict[str, NotServed]


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
        self.machines = Machines(store, upstream)
        self.registrar = Registrar(store, upstream, self.machines, self.rules)
        self._imports = imports
        self._workers = Workers(_RENEWALS)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

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
            if not self.rules.fetches_items:
                raise NotServed(self.rules.missing_item)
            if version < 4:
                raise NotServed(self.rules.missing_v3)
            return ItemAnswer(item=self.upstream.item(key))
        except CollateralError as error:
            refusal = not_served(error)
        if kept is None or cause_of(refusal) == "store-unavailable":
            raise refusal
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
            own = self._kept(_list_of(uri))
            if own is None or (own.number or 0) < (imported.number or 0):
                return ItemAnswer(item=imported)
        return self.item(_list_of(uri), version)

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
        """The PCK certificate of a machine for its raw TCB.

        1. Known, and its raw TCB too. 2. Known, and the raw TCB is new: selected. 3. Looked up.
        """
        qe_id, pce_id = asked.qe_id.upper(), asked.pce_id.hex().upper()
        raw = RawReport(
            asked.cpu_svn.hex().upper(), asked.pce_svn.to_bytes(2, "little").hex().upper()
        )
        answer = self._answer(qe_id, pce_id, raw)
        if answer is not None and answer.certificate is not None:
            return answer
        fetches = self.rules.fetches_platforms
        if answer is not None and (not fetches or self.machines.has_whole_sets):
            return self.machines.select(qe_id, pce_id, raw)
        if not fetches:
            raise NotServed(self.rules.unknown_platform)
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
        return self.machines.select(qe_id, pce_id, raw)

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

    def import_collaterals(self, body: bytes, version: int) -> None:
        """Import a file of collateral. Raises `FormatError`, and what is forged changes nothing."""
        if self._imports is None:
            raise NotServed("bad-request", what="this service imports nothing")
        try:
            self._imports(body, version)
        except FormatError as error:
            raise malformed(error.what) from None

    def refresh_items(self) -> Renewal:
        """Renew all collateral, item by item. Raises `NotServed` (`offline`) in that mode."""
        if not self.rules.refreshes:
            raise NotServed("offline")
        started = self.clock()
        self.upstream.items.forget()
        keys = {
            _list_of(one.key.uri) if isinstance(one.key, CrlKey) else one.key
            for one in self.store.items.summaries()
        }
        keys.add(RootCrlKey())
        renewable = [key for key in keys if getattr(key, "version", 4) > 3]
        return _renewal(self.upstream.each(renewable, after=started))

    def refresh_certificates(self, fmspcs: Sequence[str]) -> Renewal:
        """Renew the PCK certificates of machines of these FMSPCs, or all, machine by machine."""
        if not self.rules.refreshes:
            raise NotServed("offline")
        self.upstream.machines.forget()
        wanted = [bytes.fromhex(one) for one in fmspcs] if fmspcs else None
        renewed, failed = 0, {}
        flights = [
            self._workers.submit(lambda holding=holding: self._renew(holding))  # type: ignore[misc]
            for holding in self.store.platforms.each(wanted)
        ]
        for place, flight in enumerate(flights):
            try:
                flight.result()
                renewed += 1
            except DcapError as error:
                failed[f"platform {place + 1}"] = not_served(error, of_machine=True)
        return Renewal(renewed=renewed, failed=failed)

    def _renew(self, holding: Holding) -> None:
        platform = holding.platform
        machine = Machine(
            qe_id=platform.qe_id,
            pce_id=platform.pce_id,
            encrypted_ppid=platform.encrypted_ppid,
            manifest=platform.manifest,
        )
        reports = [RawReport(one.cpu_svn, one.pce_svn) for one in holding.raw_tcbs]
        if self.machines.has_whole_sets or not reports:
            self.machines.fetch(machine, None)
            return
        for raw in reports:
            self.machines.fetch(machine, raw)

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


def _list_of(uri: str) -> Key:
    """Whose list a distribution point has, where it is one of Intel's (`api.pccs`)."""
    parts = urlsplit(uri)
    if not parts.path.lower().endswith("/pckcrl"):
        return RootCrlKey()
    ca = dict(reversed(parse_qsl(parts.query))).get("ca", "")
    if ca.lower() not in ("processor", "platform"):
        raise NotServed("bad-request", what="the list's URI does not say of which CA")
    return PckCrlKey("PLATFORM" if ca.lower() == "platform" else "PROCESSOR")


def _renewal(found: dict[Key, Item | DcapError]) -> Renewal:
    failed = {
        key.text: not_served(error) for key, error in found.items() if isinstance(error, DcapError)
    }
    return Renewal(renewed=len(found) - len(failed), failed=failed)
