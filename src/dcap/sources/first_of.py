"""Several sources, asked in order until one can do it; when none can, one error that names each.

    source = FirstOf((cache, pccs, intel), accept=proves)

What `accept` refuses (a set or a certificate that does not prove: forged, or poisoned on the way) is
passed over for the sake of the sources behind; where none of them does better it is handed on, for the
verdict to say what is false about it. Not here: what proves a set (`cache`, the relying party).
"""

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from dcap.errors import CollateralError, ConfigError, NotFound, Unavailable
from dcap.sources.need import CollateralNeed, MachineNeed
from dcap.sources.source import Accept, Fetched, FetchedPck, Source, scope_of

T = TypeVar("T", Fetched, FetchedPck)


class Attempt(msgspec.Struct, frozen=True):
    """One source that could not do it, and why."""

    source: str
    error: CollateralError


class SourcesFailed(Unavailable):
    """No source could do it, and not all of them said that there is no such thing."""

    attempts: tuple[Attempt, ...] = ()


class SourcesLack(NotFound):
    """Every source answered that it has none."""

    attempts: tuple[Attempt, ...] = ()


class FirstOf:
    """A `Source` over others, at least one. `accept` is of sets; certificates are asked for with one."""

    def __init__(
        self, sources: Sequence[Source], *, accept: Callable[[Fetched], bool] | None = None
    ) -> None:
        if not sources:
            raise ConfigError(
                "source-none", "there is no source to ask", mend="name one: --source pcs"
            )
        self.sources = tuple(sources)
        self._accept = accept

    @property
    def name(self) -> str:
        """The names of all, in order."""
        return ", ".join(source.name for source in self.sources)

    @property
    def scope(self) -> str:
        """The scopes of all, in order (`scope_of`)."""
        return json.dumps([scope_of(source) for source in self.sources])

    def __repr__(self) -> str:
        return f"<FirstOf {self.name}>"

    def collateral(self, need: CollateralNeed) -> Fetched:
        """The first set that can be had and that `accept` takes; else the first that can be had."""
        return self._first(lambda source: source.collateral(need), self._accept)

    def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
        """The first certificate that can be had and that `accept` takes; else the first to be had."""
        return self._first(lambda source: source.pck_certificate(need, accept=accept), accept)

    def _first(self, ask: Callable[[Source], T], accept: Callable[[T], bool] | None) -> T:
        attempts: list[Attempt] = []
        refused: list[T] = []
        passed: list[str] = []
        worse: list[str] = []
        found: T
        for source in self.sources:
            try:
                found = ask(source)
            except CollateralError as error:
                failed = _attempts(source, error)
                attempts += failed
                told = [f"{one.source} was passed over: {one.error}" for one in failed]
                passed += told
                worse += told
                continue
            if accept is None or accept(found):
                return _remarked(found, passed)
            told_of = f"{source.name} was passed over: what it gave does not prove"
            passed += [*found.passing, told_of]
            if refused:
                worse += [*found.passing, told_of]
            refused.append(found)
        if refused:
            return _remarked(refused[0], worse)
        raise _failure(attempts)


def _attempts(source: Source, error: CollateralError) -> tuple[Attempt, ...]:
    """A source's failure; of a list of sources, each of its own."""
    within: tuple[Attempt, ...] = getattr(error, "attempts", ())
    return within or (Attempt(source.name, error),)


def _remarked(found: T, passed: list[str]) -> T:
    if not passed:
        return found
    remarks, passing = (*found.remarks, *passed), (*found.passing, *passed)
    return msgspec.structs.replace(found, remarks=remarks, passing=passing)


def _failure(attempts: list[Attempt]) -> CollateralError:
    """The error of the only source as it is; of several, each in order."""
    if len(attempts) == 1:
        return attempts[0].error
    told = "; ".join(
        f"{number}. {attempt.source}: {_told(attempt.error)}"
        for number, attempt in enumerate(attempts, 1)
    )
    mends = dict.fromkeys(attempt.error.mend for attempt in attempts if attempt.error.mend)
    error: SourcesLack | SourcesFailed
    if all(isinstance(attempt.error, NotFound) for attempt in attempts):
        error = SourcesLack(
            "source-not-found", f"no source has it: {told}", mend="; or ".join(mends)
        )
    else:
        error = SourcesFailed(
            "sources-failed", f"no source could give it: {told}", mend="; or ".join(mends)
        )
    error.attempts = tuple(attempts)
    return error


def _told(error: CollateralError) -> str:
    """What and where, without how to mend it, which is said once for all."""
    return f"{error.what} ({error.where})" if error.where else error.what
