"""The PCK certificates of machines: fetched whole, proven, kept, and chosen for a raw TCB.

Intel gives all certificates of a machine at once, by its encrypted PPID or its manifest; another PCCS
and Azure give the one for a raw TCB. Which of those that are kept goes with a raw TCB is selected here,
once, and remembered. Not here: who may be looked up (`service`), the queue (`registration`).

Source: `pccs-and-pcs-api.md` §2.1, 2.3, 2.4.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from dcap.api.parameters import HEX
from dcap.errors import CollateralError, DcapError, FormatError, NotFound
from dcap.formats.collateral import TCB_INFO
from dcap.formats.pck_selection import Tcb, select
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.pccs import trust
from dcap.pccs.causes import NotServed, cause_of, not_served
from dcap.pccs.items import (
    Ca,
    Holding,
    PckAnswer,
    PckCertificate,
    PckCrlKey,
    RawTcb,
    Registration,
    TcbInfoKey,
)
from dcap.pccs.store.store import Store
from dcap.pccs.suppliers import Supplier
from dcap.pccs.upstream import Upstream
from dcap.sources.need import MachineNeed

ABOUT: Final = "a platform"
_QE_ID_DIGITS: Final = 32


class RawReport(NamedTuple):
    """The raw TCB of a machine, in hex of upper case: CPUSVN, and PCESVN little-endian."""

    cpu_svn: str
    pce_svn: str

    def __repr__(self) -> str:
        return "<RawReport>"

    @property
    def tcb(self) -> Tcb:
        """What certificates are compared with."""
        pce_svn = int.from_bytes(bytes.fromhex(self.pce_svn), "little")
        return Tcb(bytes.fromhex(self.cpu_svn), pce_svn)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it introduces itself: `qe_id` in upper case, `pce_id` hex in upper case."""

    qe_id: str
    pce_id: str
    encrypted_ppid: bytes | None = None
    manifest: bytes | None = None

    def __repr__(self) -> str:
        return "<Machine>"

    @property
    def flight(self) -> str:
        """A key that tells machines, and ways to look them up, apart, and does not tell who."""
        state = hashlib.sha256()
        ids = (self.qe_id.encode("utf-8", "surrogatepass"), self.pce_id.encode())
        for part in (*ids, self.encrypted_ppid or b"", self.manifest or b""):
            state.update(len(part).to_bytes(4, "big") + part)
        return f"platform/{state.hexdigest()}"


class _Found(NamedTuple):
    """What a supplier has of a machine; `unavailable` are TCBs that have no certificate yet."""

    claimed: trust.Claimed
    unavailable: tuple[Tcb, ...]


class Machines:
    """The machines of a store, and the way to more of them."""

    def __init__(self, store: Store, upstream: Upstream) -> None:
        self._store = store
        self._upstream = upstream

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

    def select(self, qe_id: str, pce_id: str, raw: RawReport) -> PckAnswer:
        """The certificate of a known machine for a raw TCB that is new. Raises `NotServed`."""
        chosen, holding = self._choose_now(qe_id, pce_id, raw)
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
        )

    def _choose_now(
        self, qe_id: str, pce_id: str, raw: RawReport
    ) -> tuple[PckCertificate, Holding]:
        holding = self._store.platforms.holding(qe_id, pce_id)
        if holding is None:
            raise NotServed("unknown-platform")
        return self._choose(holding, raw), holding

    def _fetch(self, machine: Machine, raw: RawReport | None) -> Holding:
        """1. Certificates. 2. Proof. 3. TCB infos. 4. Selection. 5. Keep.

        A machine whose certificates are all revoked is kept without any, in place of what was kept.
        """
        proven, unavailable = self._certificates(machine, raw)
        self._tcb_infos(proven.platform.fmspc)
        self._queue_unavailable(machine, unavailable)
        kept = self._store.platforms.holding(machine.qe_id, machine.pce_id)
        reports = {RawReport(one.cpu_svn, one.pce_svn) for one in kept.raw_tcbs} if kept else set()
        if raw is not None:
            reports.add(raw)
        selected = self._selected(proven, sorted(reports))
        holding = msgspec.structs.replace(proven, raw_tcbs=selected)
        self._store.platforms.put(holding)
        if not holding.certificates:
            raise NotServed("revoked")
        return holding

    def _certificates(
        self, machine: Machine, raw: RawReport | None
    ) -> tuple[Holding, tuple[Tcb, ...]]:
        """What the first supplier gives that is genuine; the TCBs that have no certificate yet."""
        suppliers = self._upstream.suppliers
        refused: NotServed | None = None
        answers = self._upstream.from_each(
            ABOUT, lambda one: (one, self._ask(one, machine, raw)), suppliers, of_machine=True
        )
        try:
            for of, found in answers:
                if not found.claimed.certificates:
                    self._queue_unavailable(machine, found.unavailable)
                    self._upstream.note(of, ABOUT, "certificates-unavailable")
                    refused = refused or NotServed("certificates-unavailable")
                    continue
                try:
                    proven = self._proven(found.claimed)
                except (CollateralError, FormatError) as error:
                    self._upstream.note(of, ABOUT, "forged")
                    refused = refused or NotServed("forged", where=error.where)
                    continue
                self._upstream.succeeded(of)
                if len(proven.certificates) < len(found.claimed.certificates):
                    self._upstream.note(of, ABOUT, "revoked")
                return proven, found.unavailable
        except NotServed as error:
            raise (refused or error) from None
        raise AssertionError  # pragma: no cover - `from_each` ends by raising

    def _ask(self, of: Supplier, machine: Machine, raw: RawReport | None) -> _Found:
        if of.knows_machines:
            return _whole_set(of, machine)
        if raw is None or len(machine.qe_id) != _QE_ID_DIGITS or not HEX.fullmatch(machine.qe_id):
            raise NotFound("source-no-pck", "this kind of service wants a QE id and a raw TCB")
        kept = self._store.platforms.holding(machine.qe_id, machine.pce_id)
        return _Found(_one_more(of, machine, raw, kept), ())

    def _proven(self, claimed: trust.Claimed) -> Holding:
        """What of it is genuine and not revoked, which may be no certificate at all."""
        upstream = self._upstream
        ca = trust.ca_of_chain(claimed.issuer_chain)
        listed = None if ca is None else self._store.items.get(PckCrlKey(ca))
        try:
            return trust.prove_platform(
                claimed,
                at=upstream.clock(),
                anchor=upstream.anchor,
                pck_crl=None if listed is None else listed.body,
                root_crl=upstream.root_crl(),
            )
        except trust.Revoked as revoked:
            return revoked.holding

    def _tcb_infos(self, fmspc: bytes) -> None:
        """The four of them; only SGX's standard one must be there."""
        keys = tcb_info_keys(fmspc)
        lacking = self._upstream.lacking(keys)
        failed = self._upstream.each(lacking).get(keys[0])
        if isinstance(failed, DcapError):
            missing = cause_of(failed) == "no-such-item"
            raise NotServed("no-tcb-info") if missing else not_served(failed)

    def _selected(self, holding: Holding, reports: Sequence[RawReport]) -> tuple[RawTcb, ...]:
        """For each raw TCB the certificate that it reaches; those that reach none are left out."""
        levels = self._levels(holding.platform.fmspc)
        by_tcb = {one.tcb: one for one in holding.certificates}
        found = []
        for raw in reports:
            chosen = select(raw.tcb, by_tcb, levels)
            if chosen is not None:
                tcbm = by_tcb[chosen].tcbm
                found.append(RawTcb(cpu_svn=raw.cpu_svn, pce_svn=raw.pce_svn, tcbm=tcbm))
        return tuple(found)

    def _choose(self, holding: Holding, raw: RawReport) -> PckCertificate:
        by_tcb = {one.tcb: one for one in holding.certificates}
        if not by_tcb:
            raise NotServed("revoked")
        chosen = select(raw.tcb, by_tcb, self._levels(holding.platform.fmspc))
        if chosen is not None:
            return by_tcb[chosen]
        waits = self._store.registrations.list("NOT_AVAILABLE")
        machine = (holding.platform.qe_id, holding.platform.pce_id)
        unavailable = (
            RawReport(one.cpu_svn, one.pce_svn).tcb
            for one in waits
            if (one.qe_id, one.pce_id) == machine
        )
        if any(raw.tcb.reaches(tcb) for tcb in unavailable):
            raise NotServed("certificates-unavailable")
        raise NotServed("no-certificate-for-tcb")

    def _levels(self, fmspc: bytes) -> list[Tcb]:
        """The levels of SGX, early where they are kept; expired ones order certificates as well."""
        early, standard = (
            TcbInfoKey("SGX", fmspc, 4, "EARLY"),
            TcbInfoKey("SGX", fmspc, 4, "STANDARD"),
        )
        old = TcbInfoKey("SGX", fmspc, 3, "EARLY"), TcbInfoKey("SGX", fmspc, 3, "STANDARD")
        for key in (early, standard, *old):
            item = self._store.items.get(key)
            if item is not None:
                info = TcbInfo.parse(SignedJson.parse(item.body, TCB_INFO).body)
                return [Tcb(level.components, level.pce_svn) for level in info.levels]
        raise NotServed("no-tcb-info")

    def _queue_unavailable(self, machine: Machine, tcbs: Sequence[Tcb]) -> None:
        """Those for whom Intel has no certificate yet stand in a queue of their own (`reg_na`)."""
        if not tcbs:
            return
        self._store.registrations.add(
            *(
                Registration(
                    qe_id=machine.qe_id,
                    pce_id=machine.pce_id,
                    cpu_svn=tcb.components.hex().upper(),
                    pce_svn=tcb.pce_svn.to_bytes(2, "little").hex().upper(),
                    encrypted_ppid=machine.encrypted_ppid,
                    manifest=machine.manifest,
                    state="NOT_AVAILABLE",
                    created=self._now(),
                )
                for tcb in tcbs
            )
        )

    def _now(self) -> datetime:
        return self._upstream.clock()


def tcb_info_keys(fmspc: bytes) -> tuple[TcbInfoKey, ...]:
    """The TCB infos that a machine of an FMSPC is judged by: SGX's standard one comes first."""
    return (
        TcbInfoKey("SGX", fmspc, 4, "STANDARD"),
        TcbInfoKey("SGX", fmspc, 4, "EARLY"),
        TcbInfoKey("TDX", fmspc, 4, "STANDARD"),
        TcbInfoKey("TDX", fmspc, 4, "EARLY"),
    )


def _whole_set(of: Supplier, machine: Machine) -> _Found:
    """All certificates, by the manifest where there is one, else by the encrypted PPID."""
    if machine.manifest is None and machine.encrypted_ppid is None:
        raise NotFound("source-no-pck", "a machine is found by its encrypted PPID or its manifest")
    if machine.manifest is None and not any(machine.encrypted_ppid or b""):
        raise NotServed("zero-ppid")
    service: Any = of.service
    answer = service.pck_certs(
        pce_id=bytes.fromhex(machine.pce_id),
        encrypted_ppid=None if machine.manifest is not None else machine.encrypted_ppid,
        platform_manifest=machine.manifest,
    ).value
    offered = tuple(
        (entry.tcbm.hex().upper(), entry.certificate)
        for entry in answer.entries
        if entry.certificate is not None
    )
    unavailable = tuple(
        Tcb(entry.components, entry.pce_svn)
        for entry in answer.entries
        if entry.certificate is None
    )
    ca: Ca = "PLATFORM" if answer.ca == "platform" else "PROCESSOR"
    claimed = _claimed(machine, offered, answer.issuer_chain)
    claimed = msgspec.structs.replace(claimed, fmspc=answer.fmspc, ca=ca)
    return _Found(claimed, unavailable)


def _one_more(
    of: Supplier, machine: Machine, raw: RawReport, kept: Holding | None
) -> trust.Claimed:
    """The certificate for a raw TCB, beside those that are kept of the machine."""
    need = MachineNeed(
        qe_id=bytes.fromhex(machine.qe_id),
        cpu_svn=raw.tcb.components,
        pce_svn=raw.tcb.pce_svn,
        pce_id=bytes.fromhex(machine.pce_id),
        encrypted_ppid=machine.encrypted_ppid if any(machine.encrypted_ppid or b"") else None,
    )
    found = of.service.pck_cert(need).value
    offered = found.tcbm.hex().upper(), found.certificate
    others: tuple[trust.Offered, ...] = ()
    if kept is not None and kept.issuer_chain == found.issuer_chain:
        others = tuple((one.tcbm, one.pem) for one in kept.certificates if one.tcbm != offered[0])
    return _claimed(machine, (*others, offered), found.issuer_chain)


def _claimed(
    machine: Machine, offered: tuple[trust.Offered, ...], issuer_chain: bytes
) -> trust.Claimed:
    return trust.Claimed(
        qe_id=machine.qe_id,
        pce_id=machine.pce_id,
        certificates=offered,
        issuer_chain=issuer_chain,
        encrypted_ppid=machine.encrypted_ppid,
        manifest=machine.manifest,
    )
