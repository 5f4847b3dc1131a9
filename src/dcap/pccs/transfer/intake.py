"""Claims into the store: each proven by itself, all kept in one transaction, or none.

    1. the root's list, which says whose issuers are revoked   2. the lists of the PCK CAs
    3. all other collateral                                    4. the machines, side by side
    5. their raw TCBs: which certificate each reaches          6. one transaction

A `strict` intake ends at the first thing that does not prove (`Forged`) or does not fit together, and
nothing has changed; the other leaves it out and says so. What has expired, is older than what is kept,
or was revoked is left out, and said, by both: a machine all of whose certificates are revoked is kept
without any. Not here: files and foreign databases.

Source: `pccs-and-pcs-api.md` §2.4, §4.3, §7.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Connection, select

from dcap.errors import FormatError
from dcap.formats.collateral import TCB_INFO
from dcap.formats.pck_selection import Tcb
from dcap.formats.pck_selection import select as select_tcb
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.pccs.items import (
    AppraisalPolicy,
    Ca,
    CrlKey,
    Holding,
    Item,
    Key,
    PckCrlKey,
    RawTcb,
    Registration,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.store.collateral import put_item
from dcap.pccs.store.database import Topic
from dcap.pccs.store.platforms import Packed, pack_holdings, put_packed
from dcap.pccs.store.policies import put_policy
from dcap.pccs.store.registrations import put_registrations
from dcap.pccs.store.rows import batches, digest
from dcap.pccs.store.schema import ITEMS, PLATFORMS, RAW_TCBS
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.claims import Claims, MachineClaim, RawReport
from dcap.pccs.transfer.report import (
    EXPIRED,
    NO_CERTIFICATE,
    NO_CHAIN,
    OLDER,
    REVOKED,
    LeftOut,
    Report,
    report_of,
)
from dcap.pccs.trust import (
    Claimed,
    Forged,
    Revoked,
    ca_of_chain,
    is_older,
    prove,
    prove_platform,
)
from dcap.verification.anchors import TrustAnchor
from dcap.verification.signature import Signatures

T = TypeVar("T")

#: Signatures are checked without the interpreter's lock.
THREADS: Final = 4
_BATCH: Final = 480
#: Of a batch, so many are one thread's work at a time.
_SHARE: Final = 16
#: Findings that a document has too that was written anew.
_REWRITTEN: Final = ("tcb-info-signature", "qe-identity-signature")

_Known: TypeAlias = dict[tuple[str, str], tuple[RawReport, ...]]
_Outcome: TypeAlias = tuple[Packed | None, list[LeftOut]]


def take_in(
    store: Store,
    claims: Claims,
    *,
    at: datetime,
    anchor: TrustAnchor,
    strict: bool,
    threads: int = THREADS,
) -> Report:
    """Prove the claims, and keep what proves. Raises `Forged`, `FormatError`, `Unavailable`.

    The claims are read once. Until the transaction nothing changes; what is proven waits in memory,
    some 6 KB a machine.
    """
    intake = _Intake(store, at, anchor, strict=strict)
    intake.prove_items(list(intake.sorted_out(claims.items)))
    intake.prove_machines(claims.machines, threads)
    registrations = list(intake.sorted_out(claims.registrations))
    policies = list(intake.sorted_out(claims.policies))
    return intake.keep(registrations, policies)


class _Standing(msgspec.Struct, frozen=True):
    """What `is_older` asks of an item that is kept."""

    issued: datetime | None
    number: int | None


class _Intake:
    """One import under way."""

    def __init__(self, store: Store, at: datetime, anchor: TrustAnchor, *, strict: bool) -> None:
        self._store = store
        self._at = at
        self._anchor = anchor
        self._strict = strict
        self._left_out: list[LeftOut] = []
        self._proven: dict[str, Item] = {}
        self._machines: list[Packed] = []
        self._levels: dict[bytes, tuple[Tcb, ...] | None] = {}
        self._pck_crls: dict[Ca, bytes | None] = {}
        self._root_crl: bytes | None = None
        self._signatures = Signatures()

    def sorted_out(self, claims: Iterable[T | LeftOut]) -> Iterator[T]:
        """The claims, without those that could not be read."""
        for claim in claims:
            if isinstance(claim, LeftOut):
                self._left_out.append(claim)
            else:
                yield claim

    # Collateral

    def prove_items(self, items: Sequence[Item]) -> None:
        """Steps 1 to 3."""
        roots = [item for item in items if isinstance(item.key, RootCrlKey)]
        others = [item for item in items if not isinstance(item.key, RootCrlKey)]
        for item in roots:
            self._note(item)
        self._root_crl = self._newest_body(RootCrlKey())
        for item in sorted(others, key=lambda item: not isinstance(item.key, PckCrlKey | CrlKey)):
            self._note(item)

    def _note(self, item: Item) -> None:
        """Prove an item; of two under one key the newer counts."""
        proven = self._prove_item(item)
        if proven is not None and not is_older(proven, self._proven.get(proven.key.text)):
            self._proven[proven.key.text] = proven

    def _prove_item(self, item: Item) -> Item | None:
        if isinstance(item.key, PckCrlKey) and not item.issuer_chain:
            # A bundle of lists alone brings no chain: the list that is kept has it.
            kept = self._store.items.get(item.key)
            if kept is None:
                what = "nothing says who issues the list"
                self._left_out.append(LeftOut("item", item.key.text, NO_CHAIN, what))
                return None
            item = msgspec.structs.replace(item, issuer_chain=kept.issuer_chain)
        try:
            return self._prove_either(item)
        except Forged as error:
            if self._strict:
                raise
            self._left_out.append(LeftOut("item", item.key.text, error.finding, error.what))
            return None

    def _prove_either(self, item: Item) -> Item:
        """The item as it came; else, where only blanks may be wrong, without blanks.

        Tools that read JSON and write it again put blanks into what was signed without any.
        """
        try:
            return prove(item, at=self._at, anchor=self._anchor, root_crl=self._root_crl)
        except Forged as error:
            bare = _without_blanks(item.body) if error.finding in _REWRITTEN else item.body
            if bare == item.body:
                raise
        bare_item = msgspec.structs.replace(item, body=bare)
        return prove(bare_item, at=self._at, anchor=self._anchor, root_crl=self._root_crl)

    def _newest(self, key: Key) -> Item | None:
        """Of what came and what is kept under a key, the newer."""
        came, kept = self._proven.get(key.text), self._store.items.get(key)
        return kept if came is None or (kept is not None and is_older(came, kept)) else came

    def _newest_body(self, key: Key) -> bytes | None:
        found = self._newest(key)
        return None if found is None else found.body

    # Machines

    def prove_machines(self, claims: Iterable[MachineClaim | LeftOut], threads: int) -> None:
        """Steps 4 and 5, a batch at a time: what is not proven yet need not be in memory."""
        with ThreadPoolExecutor(threads, "dcap-import") as pool:
            for batch in batches(self.sorted_out(claims), _BATCH):
                known = self._known_raw_tcbs(batch)
                shares = [(share, known) for share in batches(batch, _SHARE)]
                for outcome in pool.map(self._prove_share, shares):
                    for packed, remarks in outcome:
                        self._left_out += remarks
                        if packed is not None:
                            self._machines.append(packed)

    def _prove_share(self, share: tuple[Sequence[MachineClaim], _Known]) -> list[_Outcome]:
        claims, known = share
        return [self._prove_machine(claim, known) for claim in claims]

    def _known_raw_tcbs(self, batch: Sequence[MachineClaim]) -> _Known:
        """The raw TCBs that the store knows of the machines of a batch."""
        qe_ids = {claim.claimed.qe_id.upper() for claim in batch}
        statement = (
            select(PLATFORMS.c.qe_id, PLATFORMS.c.pce_id, RAW_TCBS.c.cpu_svn, RAW_TCBS.c.pce_svn)
            .join(RAW_TCBS, RAW_TCBS.c.platform_id == PLATFORMS.c.id)
            .where(PLATFORMS.c.qe_id.in_(qe_ids))
        )
        rows = self._store.database.read(lambda connection: connection.execute(statement).all())
        known: _Known = {}
        for qe_id, pce_id, cpu_svn, pce_svn in rows:
            known[qe_id, pce_id] = (*known.get((qe_id, pce_id), ()), (cpu_svn, pce_svn))
        return known

    def _prove_machine(self, claim: MachineClaim, known: _Known) -> _Outcome:
        """A machine, packed, without what takes room; or why it is left out."""
        claimed = claim.claimed
        try:
            holding = self._proven_machine(claimed)
        except Forged as error:
            if self._strict:
                raise
            return None, [LeftOut("platform", "", error.finding, error.what)]
        lost = len(claimed.certificates) - len(holding.certificates)
        before = known.get((holding.platform.qe_id, holding.platform.pce_id), ())
        raw_tcbs, remarks = self._reached(holding, claim, before, lost=lost)
        remarks += [LeftOut("certificate", "", REVOKED)] * lost
        holding = msgspec.structs.replace(holding, raw_tcbs=raw_tcbs)
        (packed,) = pack_holdings([holding]).values()
        bare = msgspec.structs.replace(holding, certificates=())
        return packed._replace(holding=bare), remarks

    def _proven_machine(self, claimed: Claimed) -> Holding:
        """The machine without what is revoked, which may be every certificate. Raises `Forged`."""
        try:
            return prove_platform(
                claimed,
                at=self._at,
                anchor=self._anchor,
                pck_crl=self._pck_crl(ca_of_chain(claimed.issuer_chain)),
                root_crl=self._root_crl,
                signatures=self._signatures,
            )
        except Revoked as revoked:
            return revoked.holding

    def _pck_crl(self, ca: Ca | None) -> bytes | None:
        """The list of a PCK CA, where there is one."""
        if ca is None:
            return None
        if ca not in self._pck_crls:
            self._pck_crls[ca] = self._newest_body(PckCrlKey(ca))
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
            raw = (said.cpu_svn, said.pce_svn)
            if certified is not None and _tcb(raw).reaches(certified):
                found[raw] = said.tcbm
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
            chosen = select_tcb(_tcb(raw), by_tcb, levels)
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
            RawTcb(cpu_svn=cpu_svn, pce_svn=pce_svn, tcbm=tcbm)
            for (cpu_svn, pce_svn), tcbm in found.items()
        )
        return raw_tcbs, remarks

    def _levels_of(self, fmspc: bytes) -> tuple[Tcb, ...] | None:
        """The levels of SGX, early where there are any; those of an expired TCB info serve too."""
        if fmspc not in self._levels:
            keys = (
                TcbInfoKey("SGX", fmspc, version, update)
                for version in (4, 3)
                for update in ("EARLY", "STANDARD")
            )
            found = next((item for key in keys if (item := self._newest(key)) is not None), None)
            levels = None
            if found is not None:
                info = TcbInfo.parse(SignedJson.parse(found.body, TCB_INFO).body)
                levels = tuple(Tcb(level.components, level.pce_svn) for level in info.levels)
            self._levels[fmspc] = levels
        return self._levels[fmspc]

    # The transaction

    def keep(
        self, registrations: Sequence[Registration], policies: Sequence[AppraisalPolicy]
    ) -> Report:
        """Step 6: everything at once."""
        current = []
        for item in self._proven.values():
            if item.expires is not None and item.expires <= self._at:
                what = f"expired at {item.expires:%Y-%m-%dT%H:%M:%SZ}"
                self._left_out.append(LeftOut("item", item.key.text, EXPIRED, what))
            else:
                current.append(item)

        def act(connection: Connection) -> list[LeftOut]:
            older = []
            for item in current:
                if is_older(item, _standing(connection, item.key)):
                    older.append(LeftOut("item", item.key.text, OLDER, "what is kept is newer"))
                else:
                    put_item(connection, item)
            for batch in batches(self._machines):
                put_packed(connection, {_machine(one): one for one in batch})
            put_registrations(connection, registrations)
            for policy in policies:
                put_policy(connection, policy)
            return older

        brought: dict[Topic, Sequence[object]] = {
            "items": current,
            "platforms": self._machines,
            "registrations": registrations,
            "policies": policies,
        }
        topics = [topic for topic, things in brought.items() if things]
        older = self._store.database.write(act, *topics) if topics else []
        kept = {
            "item": len(current) - len(older),
            "platform": len({_machine(one) for one in self._machines}),
            "registration": len(registrations),
            "policy": len(policies),
        }
        return report_of(kept, [*self._left_out, *older])


def _without_blanks(document: bytes) -> bytes:
    """JSON without the blanks between its tokens; whatever else it is, as it is."""
    try:
        return msgspec.json.format(document, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return document


def _machine(packed: Packed) -> tuple[str, str]:
    return packed.holding.platform.qe_id, packed.holding.platform.pce_id


def _standing(connection: Connection, key: Key) -> _Standing | None:
    """Age and number of what is kept under a key, as the transaction sees them."""
    statement = select(ITEMS.c.issued, ITEMS.c.number).where(ITEMS.c.digest == digest(key.text))
    row = connection.execute(statement).first()
    return None if row is None else _Standing(row.issued, row.number)


def _tcb(raw: RawReport) -> Tcb:
    """A raw TCB as it is compared."""
    cpu_svn, pce_svn = raw
    return Tcb(bytes.fromhex(cpu_svn), int.from_bytes(bytes.fromhex(pce_svn), "little"))
