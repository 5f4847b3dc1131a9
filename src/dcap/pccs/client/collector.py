"""Intel's answers for a list of machines, each proven: what is carried to where no network is.

    collector = Collector(supplier(url, connect, api_key=KEY), at=now, anchor=INTEL_SGX_ROOT)
    common = collector.common(("STANDARD", "EARLY"))     # lists and identities
    found = collector.machines(records, journal)         # certificates; one that fails fails alone
    infos = collector.tcb_infos(fmspcs, updates)
    result = put_together(common, found, infos, records)      # `outcome`

Nothing that does not prove, or has expired, is in the result. What could not be had is told with the
word of its cause (`pccs.causes`); machines are told by their place in the list. Not here: the file
(`pccs.transfer.arrangement`), flags.

Source: `pccs-and-pcs-api.md` §4.1, §4.3, §5.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final, Literal, TypeVar, cast

import msgspec

from dcap.api.http import HttpResponse
from dcap.api.pccs_admin import PlatformRecord
from dcap.api.pcs_responses import Fmspc, PckCertsResponse
from dcap.errors import CollateralError, DcapError, FormatError, NotFound, Unavailable
from dcap.formats.certificate import Certificate
from dcap.formats.signed_json import decode
from dcap.pccs.causes import NotServed, cause_of
from dcap.pccs.client.journal import Journal
from dcap.pccs.client.machine import Machine, machines_of
from dcap.pccs.client.outcome import Failure, Found, Items
from dcap.pccs.items import (
    Ca,
    CrlKey,
    FmspcsKey,
    Holding,
    IdentityKey,
    IdentityName,
    Item,
    Key,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
    Tee,
    Update,
    Version,
)
from dcap.pccs.pck_proof import Claimed, prove_platform
from dcap.pccs.suppliers import Supplier
from dcap.pccs.trust import Forged, prove
from dcap.sources.endpoint import unreadable
from dcap.verification.anchors import TrustAnchor

T = TypeVar("T")

#: Requests at a time: Intel throttles those who ask too fast.
THREADS: Final = 4
#: How often a machine is asked for while Intel asks to wait, and for how long at most.
TRIES: Final = 4
LONGEST_WAIT: Final = 120.0
Kind = Literal["all", "client", "E3", "E5", "none"]
_CAS: Final[tuple[Ca, ...]] = ("PROCESSOR", "PLATFORM")


class Collector:
    """Asks one supplier, which speaks as Intel's PCS does. `progress` is told what, how many, of all."""

    def __init__(
        self,
        supplier: Supplier,
        *,
        at: datetime,
        anchor: TrustAnchor,
        threads: int = THREADS,
        sleep: Callable[[float], None] = time.sleep,
        progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
    ) -> None:
        self._supplier = supplier
        self._at = at
        self._anchor = anchor
        self._threads = threads
        self._sleep = sleep
        self._progress = progress
        self._root_crl: bytes | None = None
        self._pck_crls: dict[str, bytes] = {}
        self.version: Version = 3 if getattr(supplier.service, "version", 4) == 3 else 4

    # What all machines share

    def lists(self) -> tuple[Item, ...]:
        """The root's list, under its own key and its address, and those of the PCK CAs.

        Raises `CollateralError`, `Forged`: without them nothing can be proven.
        """
        root = self._have(RootCrlKey())
        self._root_crl = root.body
        pck = [self._have(PckCrlKey(ca)) for ca in _CAS]
        self._pck_crls = {cast("PckCrlKey", one.key).ca: one.body for one in pck}
        address = Certificate.parse_chain(pck[0].issuer_chain)[-1].crl_distribution_point
        named = [msgspec.structs.replace(root, key=CrlKey(address))] if address else []
        return (root, *named, *pck)

    def common(self, updates: Sequence[Update]) -> tuple[Item, ...]:
        """The lists and the identities. Raises as `lists` does; early ones may be missing."""
        names: tuple[IdentityName, ...] = (
            ("QE", "QVE") if self.version < 4 else ("QE", "TD_QE", "QVE")
        )
        found = list(self.lists())
        for update in updates:
            for name in names:
                try:
                    found.append(self._have(IdentityKey(name, self.version, update)))
                except NotFound:
                    if update == "STANDARD":
                        raise
        return tuple(found)

    def fmspcs(self, kind: Kind) -> tuple[bytes, ...]:
        """The FMSPCs that Intel lists, of one kind of platform or all."""
        if kind == "none" or self.version < 4:
            return ()
        item = self._supplier.item(FmspcsKey(), self._at)
        try:
            listed = decode(item.body, list[Fmspc], "FMSPCs")
            named = (one.fmspc for one in listed if kind in ("all", one.platform))
            found = tuple(bytes.fromhex(one) for one in named)
        except (FormatError, ValueError):
            found = (b"",)
        if any(len(one) != 6 for one in found):
            wrong = FormatError("pcs-response", "the list of FMSPCs is none")
            raise unreadable(wrong, self._supplier.name)
        return found

    def tcb_infos(
        self, fmspcs: Iterable[bytes], updates: Sequence[Update], *, tees: Sequence[Tee] = ()
    ) -> Items:
        """The TCB infos of FMSPCs. One that cannot be had fails alone; of TDX there may be none."""
        wanted = tees or (("SGX",) if self.version < 4 else ("SGX", "TDX"))
        keys = [
            TcbInfoKey(tee, fmspc, self.version, update)
            for fmspc in sorted(set(fmspcs))
            for update in updates
            for tee in wanted
        ]
        items: list[Item] = []
        failures: list[Failure] = []
        outcomes = self._side_by_side("TCB infos", keys, self._have_patiently)
        for key, outcome in zip(keys, outcomes, strict=True):
            if isinstance(outcome, Item):
                items.append(outcome)
            elif cause_of(outcome) != "no-such-item" or (key.tee, key.update) == (
                "SGX",
                "STANDARD",
            ):
                failures.append(Failure(0, key.text, cause_of(outcome), outcome.what))
        return Items(tuple(items), tuple(failures))

    def _have(self, key: Key) -> Item:
        """An item, proven and in date. Raises `CollateralError`, `Forged`."""
        try:
            item = self._supplier.item(key, self._at)
            proven = prove(item, at=self._at, anchor=self._anchor, root_crl=self._root_crl)
        except FormatError as error:
            raise unreadable(error, f"{self._supplier.name}, {key.text}") from None
        if proven.expires is not None and proven.expires <= self._at:
            raise NotServed("expired", where=f"{self._supplier.name}, {key.text}")
        return proven

    def _have_patiently(self, key: Key) -> Item:
        return self._patiently(lambda: self._have(key))

    # Machines

    def machines(self, records: Sequence[PlatformRecord], journal: Journal | None = None) -> Found:
        """The certificates of the machines of a list, after `lists`.

        What `journal` has is not asked for again, but proven again.
        """
        machines = machines_of(records)
        known: dict[str, dict[str, Any]] = {}
        for line in () if journal is None else journal.lines:
            if isinstance(line.get("machine"), str):
                known[line["machine"]] = line
        holdings: list[Holding] = []
        unavailable: list[PlatformRecord] = []
        failures: list[Failure] = []
        outcomes = self._side_by_side(
            "machines", machines, lambda one: self._machine(one, known.get(one.digest), journal)
        )
        for machine, outcome in zip(machines, outcomes, strict=True):
            if isinstance(outcome, DcapError):
                cause = cause_of(outcome, of_machine=True)
                failures.append(Failure(machine.place, "", cause, _told(outcome, cause)))
                continue
            holding, missing = outcome
            holdings.append(holding)
            unavailable += missing
        return Found(tuple(holdings), tuple(unavailable), tuple(failures))

    def _machine(
        self, machine: Machine, known: dict[str, Any] | None, journal: Journal | None
    ) -> tuple[Holding, list[PlatformRecord]]:
        answer = None if known is None else _remembered(known)
        if answer is not None:
            try:
                return self._proven(machine, answer), _without_certificate(machine, answer)
            except CollateralError:
                pass  # what is remembered no longer proves: ask again
        answer = self._patiently(lambda: self._ask(machine))
        holding = self._proven(machine, answer)
        if journal is not None:
            response = answer.to_http()
            journal.note(
                {
                    "machine": machine.digest,
                    "headers": response.headers,
                    "body": response.body.decode(),
                }
            )
        return holding, _without_certificate(machine, answer)

    def _proven(self, machine: Machine, answer: PckCertsResponse) -> Holding:
        """The certificates of an answer, as those of the machine. Raises `NotServed`, `Forged`."""
        offered = tuple(
            (one.tcbm.hex().upper(), one.certificate)
            for one in answer.entries
            if one.certificate is not None
        )
        if not offered:
            raise NotServed("certificates-unavailable")
        ca: Ca = "PLATFORM" if answer.ca.upper() == "PLATFORM" else "PROCESSOR"
        claimed = Claimed(
            qe_id=machine.qe_id,
            pce_id=machine.pce_id,
            certificates=offered,
            issuer_chain=answer.issuer_chain,
            encrypted_ppid=bytes.fromhex(machine.enc_ppid) or None,
            manifest=bytes.fromhex(machine.manifest) or None,
            fmspc=answer.fmspc,
            ca=ca,
        )
        try:
            return prove_platform(
                claimed,
                at=self._at,
                anchor=self._anchor,
                pck_crl=self._pck_crls.get(ca),
                root_crl=self._root_crl,
            )
        except FormatError as error:
            raise Forged(error.code, error.what) from None

    def _ask(self, machine: Machine) -> PckCertsResponse:
        if not machine.manifest and not any(bytes.fromhex(machine.enc_ppid)):
            raise NotServed("zero-ppid" if machine.enc_ppid else "no-ppid")
        service: Any = self._supplier.service
        found = service.pck_certs(
            pce_id=bytes.fromhex(machine.pce_id),
            encrypted_ppid=None if machine.manifest else bytes.fromhex(machine.enc_ppid),
            platform_manifest=bytes.fromhex(machine.manifest) or None,
        )
        return cast("PckCertsResponse", found.value)

    # How it asks

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask again where Intel asks to wait, for as long as it says. Who is down is not waited for."""
        for attempt in range(1, TRIES + 1):
            try:
                return ask()
            except Unavailable as error:
                wait = self._supplier.circuit.wait_seconds
                passing = cause_of(error) == "throttled" and 0 < wait <= LONGEST_WAIT
                if attempt == TRIES or not passing:
                    raise
                self._sleep(wait)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def _side_by_side(
        self, what: str, things: Sequence[Any], work: Callable[[Any], T]
    ) -> list[T | DcapError]:
        """What comes of each, in their order; a failure is its error."""
        lock = threading.Lock()
        done = 0

        def one(thing: Any) -> T | DcapError:  # noqa: ANN401 - as the caller's
            nonlocal done
            try:
                return work(thing)
            except (CollateralError, FormatError) as error:
                return error
            finally:
                with lock:
                    done += 1
                    self._progress(what, done, len(things))

        with ThreadPoolExecutor(self._threads, "dcap-fetch") as pool:
            return list(pool.map(one, things))


def _without_certificate(machine: Machine, answer: PckCertsResponse) -> list[PlatformRecord]:
    """The TCBs of a machine that Intel has no certificate for, as entries of a list."""
    return [
        PlatformRecord(
            qe_id=machine.qe_id,
            pce_id=machine.pce_id,
            cpu_svn=one.components.hex().upper(),
            pce_svn=one.pce_svn.to_bytes(2, "little").hex().upper(),
            enc_ppid=machine.enc_ppid,
            platform_manifest=machine.manifest or None,
        )
        for one in answer.entries
        if one.certificate is None
    ]


def _remembered(line: dict[str, Any]) -> PckCertsResponse | None:
    """An answer as a journal has it; `None` where it cannot be read: then it is asked for again."""
    try:
        headers = tuple((str(name), str(value)) for name, value in line["headers"])
        response = HttpResponse(status=200, headers=headers, body=str(line["body"]).encode())
        return PckCertsResponse.from_http(response)
    except (KeyError, TypeError, ValueError, DcapError):
        return None


def _told(error: DcapError, cause: str) -> str:
    """What may be said of a machine's failure: words of ours alone."""
    if isinstance(error, Forged | NotServed):
        return error.what
    return NotServed(cause).what
