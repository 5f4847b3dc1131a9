"""Proofs of many machines: here, or in processes of their own, where there are many.

    with Provers(terms, processes=2) as provers:
        answers = provers.ask(batch)            # begun, where there are processes
        for answer in answers(): …              # a `Proof` each, or the `Forged` that it is

What a machine's certificates cost is computing, and much of it holds the interpreter's lock: threads
gain nothing, processes do. The first batch is always proven here, and most imports have no other; the
processes start with the second. Where they cannot be had, or die, the work is done here. Not here:
whether a machine may be kept (`machine_intake`).
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from datetime import datetime
from multiprocessing import connection
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeAlias

import msgspec

from dcap.formats.pck_selection import Tcb
from dcap.pccs.issuers import ca_of_chain
from dcap.pccs.items import Ca, Holding, PckCertificate
from dcap.pccs.pck_proof import Claimed, prove_platform
from dcap.pccs.store.packing import pack
from dcap.pccs.trust import Forged, Revoked
from dcap.verification.anchors import TrustAnchor
from dcap.verification.signature import Signatures

#: So many machines go to a process at once.
_SHARE: Final = 24
_MOST_PROCESSES: Final = 8


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """By what all machines of an import are proven: the lists are proven themselves."""

    at: datetime
    anchor: TrustAnchor
    root_crl: bytes | None
    pck_crls: Mapping[Ca, bytes | None]


class Proof(NamedTuple):
    """A machine, proven: its certificates packed, the TCB of each, its PPID, how many are revoked."""

    holding: Holding
    certificates: bytes
    tcbms: tuple[tuple[Tcb, str], ...]
    ppid: bytes
    revoked: int

    def __repr__(self) -> str:
        return "<Proof>"


Answer: TypeAlias = Proof | Forged
Answers: TypeAlias = Callable[[], Iterable[Answer]]


def processes_here() -> int:
    """How many processes compute at once on this machine; none where one processor is all there is."""
    processors = os.cpu_count() or 1
    return min(processors, _MOST_PROCESSES) if processors > 1 else 0


class Prover:
    """Proves machines under one set of terms; what their issuers signed it checks once."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._signatures = Signatures()

    def answers(self, claims: Iterable[Claimed]) -> list[Answer]:
        """An answer for each."""
        return [self._answer(claimed) for claimed in claims]

    def _answer(self, claimed: Claimed) -> Answer:
        try:
            holding = self._proven(claimed)
        except Forged as error:
            return error
        (first, *_) = claimed.certificates
        return Proof(
            msgspec.structs.replace(holding, certificates=()),
            pack(holding.certificates),
            tuple((one.tcb, one.tcbm) for one in holding.certificates),
            PckCertificate.read(*first).ppid,
            len(claimed.certificates) - len(holding.certificates),
        )

    def _proven(self, claimed: Claimed) -> Holding:
        """The machine without what is revoked, which may be every certificate. Raises `Forged`."""
        terms = self._terms
        ca = ca_of_chain(claimed.issuer_chain)
        try:
            return prove_platform(
                claimed,
                at=terms.at,
                anchor=terms.anchor,
                pck_crl=None if ca is None else terms.pck_crls[ca],
                root_crl=terms.root_crl,
                signatures=self._signatures,
            )
        except Revoked as revoked:
            return revoked.holding


class Provers:
    """A `Prover` here, and as many as are allowed in processes. A context: it ends them."""

    def __init__(self, terms: Terms, *, processes: int = 0) -> None:
        self._terms = terms
        self._here = Prover(terms)
        self._processes = processes
        self._asked = 0
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def ask(self, claims: Sequence[Claimed]) -> Answers:
        """Begin with the proofs; the answers come in the order of the claims."""
        self._asked += 1
        if self._asked == 1 or not self._processes:
            return lambda: self._here.answers(claims)
        shares = [claims[at : at + _SHARE] for at in range(0, len(claims), _SHARE)]
        begun = [(share, self._begin(share)) for share in shares]
        return lambda: (answer for share, future in begun for answer in self._end(share, future))

    def _begin(self, share: Sequence[Claimed]) -> Future[list[Answer]] | None:
        """The share, under way in a process; none where there are none to be had."""
        try:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    self._processes,
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=_enter,
                    initargs=(self._terms,),
                )
            return self._pool.submit(_answers, share)
        except (BrokenExecutor, OSError):
            return None

    def _end(self, share: Sequence[Claimed], future: Future[list[Answer]] | None) -> list[Answer]:
        if future is not None:
            try:
                return future.result()
            except (BrokenExecutor, OSError):
                self._processes = 0
        return self._here.answers(share)


#: In a process of the pool: its prover. Everywhere else empty.
_PROVERS: Final[list[Prover]] = []


def _enter(terms: Terms) -> None:
    """What a process of the pool begins with. Ctrl-C is the parent's affair; who lost it leaves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _PROVERS[:] = [Prover(terms)]


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)


def _answers(claims: Sequence[Claimed]) -> list[Answer]:
    return _PROVERS[0].answers(claims)
