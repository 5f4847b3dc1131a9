"""The cache: a source in front of another that keeps what has been proven, in memory and on disk.

    source = CachedSource(pcs, directory=cache_directory(), anchor=INTEL_SGX_ROOT)
    source.collateral(need)                # memory, else the disk, else `pcs`

    1. what is fresh is served: from memory, else from the disk, whose content is proven first
    2. what is due is asked for anew, for two seconds; where that takes longer, what is kept is served
    3. one thread, and one process, asks the source; the others wait, or go on with what is kept
    4. what the source gives is kept if it proves, is in date, and no piece of it is older than what is
       kept; if not, it is handed on as it is (the verdict says what is false), unless there is
       something kept that still may serve
    5. where the source fails, what is kept and may serve is served, with a remark

Kept is per need, anchor and source, for another source may rightly answer otherwise. A machine's
certificate is kept, and served, for quotes alone that it fits (`accept`): a quote names its machine, and
anyone can write a name. "There is none" is believed for half a minute, in memory; a failure is told to
those who waited for it, and the next who asks tries again, except that what still serves is not renewed
twice a minute, by any process. A disk that cannot be written costs a remark, never a verdict.

Ages count by this machine's clock, whatever instant is judged. Not here: what proves (`kept`), durations
(`freshness`), files (`disk`), what people are told (`cache_remarks`).
"""

import copy
import hashlib
from collections.abc import Callable, Hashable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from dcap.errors import CollateralError, NotFound
from dcap.sources import cache_remarks
from dcap.sources.cache_remarks import Mark
from dcap.sources.clock import now
from dcap.sources.disk import Disk
from dcap.sources.flights import Flights
from dcap.sources.freshness import CLOCK_SKEW, Freshness, Standing, Term
from dcap.sources.kept import (
    Failure,
    Kept,
    KeptCertificate,
    KeptCollateral,
    Proof,
    certificate_name,
    collateral_name,
    decode,
    decode_failure,
    describe_need,
    encode,
    failure_name,
    older,
    prove_certificate,
    prove_collateral,
)
from dcap.sources.need import CollateralNeed, MachineNeed
from dcap.sources.source import Accept, Fetched, FetchedPck, Source, scope_of
from dcap.verification.anchors import TrustAnchor
from dcap.verification.memory import Memory

A = TypeVar("A", bound=Fetched | FetchedPck)

#: Sets and certificates in memory (about 40 KB and 6 KB each).
REMEMBERED = 256
#: How long "there is none" is believed.
ABSENT_FOR = timedelta(seconds=30)
#: How long a renewal that failed is not tried again, while something kept still serves.
RETRY_AFTER = timedelta(seconds=60)
#: How many seconds a renewal is waited for, while something kept still serves.
RENEWAL_PATIENCE = 2.0
#: How many seconds another process is waited for that fetches the same; then this one fetches too.
PATIENCE = 5.0

_DEFAULT = Freshness()


class _Held(msgspec.Struct, Generic[A], frozen=True):
    """Something proven in this process. `digest` is of its payload on the disk."""

    kept: Kept[A]
    proof: Proof
    digest: bytes


class _Ask(msgspec.Struct, Generic[A], frozen=True, kw_only=True):
    """One question: what it is kept under, who answers it, what its answer must prove.

    `key` is more than `name`, which leaves out what does not last: it tells questions apart.
    """

    key: Hashable
    name: str
    about: str
    what: str
    kind: type[Kept[A]]
    fetch: Callable[[], A]
    prove: Callable[[A, datetime], Proof | str]
    accept: Callable[[A], bool]
    standing: Callable[[datetime, Term, datetime, datetime], Standing]
    mark: Callable[[A, Mark], A]


class CachedSource:
    """A `Source` that passes the name of the one behind it through.

    `directory` `None` keeps in memory alone. `clock` gives this machine's time, aware: all ages count
    by it. `judged_at` gives the instant that verdicts are for, where it is another. `scope` is what
    tells this source's answers from another's in a shared directory; `scope_of`, if not given.
    """

    def __init__(
        self,
        source: Source,
        *,
        directory: Path | None,
        anchor: TrustAnchor,
        freshness: Freshness = _DEFAULT,
        clock: Callable[[], datetime] = now,
        judged_at: Callable[[], datetime] | None = None,
        scope: str | None = None,
    ) -> None:
        self._source = source
        self.scope = scope_of(source) if scope is None else scope
        self._disk = None if directory is None else Disk(directory)
        self._anchor = anchor
        self._freshness = freshness
        self._clock = clock
        self._judged_at = clock if judged_at is None else judged_at
        self._flights = Flights()
        self._held: Memory[str, _Held[Any]] = Memory(REMEMBERED)
        self._absent: Memory[Hashable, tuple[datetime, NotFound]] = Memory(REMEMBERED)
        self._failed: Memory[str, Failure] = Memory(REMEMBERED)

    @property
    def name(self) -> str:
        """The name of the source behind it."""
        return self._source.name

    def collateral(self, need: CollateralNeed) -> Fetched:
        """A set that is proven and fresh, or what the source gives. Raises what the source raises."""
        return self._answer(
            _Ask(
                key=need,
                name=collateral_name(need, self._anchor, self.scope),
                about=describe_need(need),
                what="collateral",
                kind=KeptCollateral,
                fetch=lambda: self._source.collateral(need),
                prove=lambda answer, at: prove_collateral(answer, need, at=at, anchor=self._anchor),
                accept=lambda _: True,
                standing=self._freshness.of_collateral,
                mark=cache_remarks.mark_set,
            )
        )

    def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
        """A machine's certificate; one that is kept serves until it expires, where none is newer.

        What `accept` refuses is neither served from here nor kept, but asked for.
        """
        return self._answer(
            _Ask(
                key=need,
                name=certificate_name(need, self._anchor, self.scope),
                about="",
                what="PCK certificate",
                kind=KeptCertificate,
                fetch=lambda: self._source.pck_certificate(need, accept=accept),
                prove=lambda answer, at: prove_certificate(
                    answer, need, at=at, anchor=self._anchor
                ),
                accept=accept or (lambda _: True),
                standing=self._freshness.of_certificate,
                mark=cache_remarks.mark_certificate,
            )
        )

    def _answer(self, ask: _Ask[A]) -> A:
        held = self._recall(ask)
        standing = self._standing(ask, held)
        if held is not None and standing is Standing.FRESH:
            return self._serve(ask, held)
        if held is not None and standing is Standing.DUE:
            return self._renewed(ask, held)
        flown: list[A] = []

        def obtain() -> A:
            flown.append(self._obtain(ask))
            return flown[0]

        answer = self._flights.share(ask.key, obtain)
        if flown or ask.accept(answer):
            return answer
        return self._obtain(ask)  # who was waited for has another quote of the same name

    def _obtain(self, ask: _Ask[A]) -> A:
        """What is kept on the disk, else what the source gives: on one thread a question."""
        held = self._find(ask)
        standing = self._standing(ask, held)
        if held is not None and standing is Standing.FRESH:
            return self._serve(ask, held)
        if held is not None and standing is Standing.DUE:
            return self._renewed(ask, held)
        if held is not None and standing is Standing.STALE and (why := self._failure(ask)):
            return self._serve(ask, held, why)
        since, absent = self._absent.recall(ask.key) or (None, None)
        if standing is Standing.SPENT and since and absent and self._is_recent(since, ABSENT_FOR):
            raise copy.copy(absent)
        if self._disk is None:
            return self._fetch(ask, held)
        with self._disk.turn(ask.name, PATIENCE):
            held = self._find(ask)
            if held is not None and self._standing(ask, held) is Standing.FRESH:
                return self._serve(ask, held)
            return self._fetch(ask, held)

    def _renewed(self, ask: _Ask[A], held: _Held[A]) -> A:
        """The source's answer if it comes soon, else what is held; the source is still listened to."""
        if why := self._failure(ask):
            return self._serve(ask, held, why)
        key = ("renewal", ask.key)
        found = self._flights.within(RENEWAL_PATIENCE, key, lambda: self._renew(ask, held))
        if found:
            return found[0]
        why = ""
        if found is not None:
            why = self._note(ask, f"{self.name} did not answer within {RENEWAL_PATIENCE:g} seconds")
        return self._serve(ask, held, why)

    def _renew(self, ask: _Ask[A], held: _Held[A]) -> A:
        """On a thread of its own; nobody waits for another process, with something to go on with."""
        if self._disk is None:
            return self._fetch(ask, held)
        with self._disk.turn(ask.name, 0.0) as mine:
            found = self._find(ask)
            if found is not None and self._standing(ask, found) is Standing.FRESH:
                return self._serve(ask, found)
            return self._fetch(ask, found) if mine else self._serve(ask, held)

    def _fetch(self, ask: _Ask[A], held: _Held[A] | None) -> A:
        """Steps 4 and 5."""
        try:
            answer = ask.fetch()
        except CollateralError as error:
            return self._without(ask, held, error)
        if not ask.accept(answer):
            return answer
        now = self._clock()
        proof = ask.prove(answer, now)
        held = self._find(ask)  # what another has kept in the meantime
        if isinstance(proof, str):
            why = f"what {self.name} gives now may not be kept: {proof}"
        elif now >= proof.term.expires:
            why = f"what {self.name} gives now expired on {cache_remarks.day(proof.term.expires)}"
        elif past := self._is_behind(ask, proof, held):
            why = f"what {self.name} gives now is older than what is kept: {past}"
        else:
            self._keep(ask, answer, proof, now)
            in_force = proof.term.begins <= self._judged_at() < proof.term.expires
            if not in_force and (useful := self._useful(ask, held)):
                return self._serve(ask, useful, "what is newer is not for the instant judged")
            return ask.mark(answer, Mark(cached=False, stale=False, remarks=self._trouble()))
        expired = isinstance(proof, Proof) and now >= proof.term.expires
        useful = self._useful(ask, held)
        if useful is None or (expired and self._standing(ask, useful) is Standing.STALE):
            return answer
        return self._serve(ask, useful, self._note(ask, why))

    def _without(self, ask: _Ask[A], held: _Held[A] | None, error: CollateralError) -> A:
        """The source has failed: what is held, if it may serve."""
        if (useful := self._useful(ask, held)) is not None:
            if cache_remarks.is_offline(error):
                return self._serve(ask, useful, "the network was not to be asked")
            return self._serve(ask, useful, self._note(ask, f"{error.what} [{error.code}]"))
        if isinstance(error, NotFound):
            self._absent.keep(ask.key, (self._clock(), error))
        if held is None:
            raise error
        raise cache_remarks.told(
            error,
            ask.what,
            held.kept.kept_at,
            held.proof.term,
            now=self._clock(),
            at=self._judged_at(),
            maximum_age=self._freshness.maximum_age if ask.kind is KeptCollateral else None,
        ) from None

    def _is_behind(self, ask: _Ask[A], proof: Proof, held: _Held[A] | None) -> str:
        """What of an answer is older than what is held and, by this machine's clock, in force."""
        if held is None:
            return ""
        now = self._clock()
        spent = ask.standing(held.kept.kept_at, held.proof.term, now, now) is Standing.SPENT
        return "" if spent else older(proof, held.proof)

    def _failure(self, ask: _Ask[A]) -> str:
        """Why a renewal has failed just now, here or in another process."""
        noted = self._failed.recall(ask.name)
        if noted is not None and self._is_recent(noted.at, RETRY_AFTER):
            return noted.why
        name = failure_name(ask.name)
        payload = None if self._disk is None else self._disk.read(name)
        noted = None if payload is None else decode_failure(payload)
        known = noted is not None and noted.name == name and self._is_recent(noted.at, RETRY_AFTER)
        return noted.why if noted is not None and known else ""

    def _note(self, ask: _Ask[A], why: str) -> str:
        """Remember that a renewal failed, and why."""
        failure = Failure(name=failure_name(ask.name), at=self._clock().astimezone(UTC), why=why)
        self._failed.keep(ask.name, failure)
        if self._disk is not None:
            self._disk.write(failure.name, encode(failure))
        return why

    def _is_recent(self, since: datetime, span: timedelta) -> bool:
        """Whether something counts still; a clock set back does not prolong it."""
        return abs(self._clock() - since) < span

    def _keep(self, ask: _Ask[A], answer: A, proof: Proof, now: datetime) -> None:
        lasting = tuple(remark for remark in answer.remarks if remark not in answer.passing)
        answer = msgspec.structs.replace(answer, remarks=lasting, passing=())
        kept = Kept(name=ask.name, kept_at=now.astimezone(UTC), about=ask.about, answer=answer)
        payload = encode(kept)
        if self._disk is not None:
            self._disk.write(ask.name, payload)
        self._held.keep(ask.name, _Held(kept, proof, hashlib.sha256(payload).digest()))

    def _find(self, ask: _Ask[A]) -> _Held[A] | None:
        """The newest that is held, in memory or on the disk, if it is accepted."""
        return self._accepted(ask, self._load(ask))

    def _recall(self, ask: _Ask[A]) -> _Held[A] | None:
        """What is held in memory, if it is accepted."""
        return self._accepted(ask, self._held.recall(ask.name))

    @staticmethod
    def _accepted(ask: _Ask[A], held: _Held[A] | None) -> _Held[A] | None:
        return held if held is not None and ask.accept(held.kept.answer) else None

    def _load(self, ask: _Ask[A]) -> _Held[A] | None:
        """What is on the disk must prove before it counts, and not be older than what memory has."""
        held: _Held[A] | None = self._held.recall(ask.name)
        payload = None if self._disk is None else self._disk.read(ask.name)
        if self._disk is None or payload is None:
            return held
        digest = hashlib.sha256(payload).digest()
        if held is not None and held.digest == digest:
            return held
        now = self._clock()
        kept = decode(payload, ask.kind)
        if kept is not None and kept.kept_at - now > CLOCK_SKEW:
            return held  # one clock is wrong, perhaps ours: not to be judged now
        known = kept is not None and kept.name == ask.name
        proof = ask.prove(kept.answer, max(now, kept.kept_at)) if kept and known else "not of here"
        if kept is None or isinstance(proof, str):
            self._disk.drop(ask.name, payload)
            return held
        if held is not None and held.kept.kept_at > kept.kept_at:
            return held
        if self._is_behind(ask, proof, held):
            return held
        return self._held.keep(ask.name, _Held(kept, proof, digest))

    def _standing(self, ask: _Ask[A], held: _Held[A] | None) -> Standing:
        if held is None:
            return Standing.SPENT
        return ask.standing(held.kept.kept_at, held.proof.term, self._clock(), self._judged_at())

    def _useful(self, ask: _Ask[A], held: _Held[A] | None) -> _Held[A] | None:
        """What is held, if it may serve where the source does no better."""
        return None if self._standing(ask, held) is Standing.SPENT else held

    def _serve(self, ask: _Ask[A], held: _Held[A], why: str = "") -> A:
        """What is held, marked as such. `why` says what kept it from being renewed."""
        stale = self._standing(ask, held) is Standing.STALE
        remarks = self._trouble()
        if stale or why:
            remarks = (cache_remarks.used(ask.what, held.kept.kept_at, why, stale=stale), *remarks)
        return ask.mark(held.kept.answer, Mark(cached=True, stale=stale, remarks=remarks))

    def _trouble(self) -> tuple[str, ...]:
        return () if self._disk is None else cache_remarks.troubles(self._disk)
