"""A source: whoever can answer a need. One shape for Intel, every cache, folders and plugins.

Everything a source gives is a claim; the verifier (or the cache, before it keeps anything) proves it.
Not here: which sources there are (`environment`), in which order they are asked (`first_of`).
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from dcap.formats.collateral import Collateral
from dcap.formats.origin import Origin
from dcap.sources.need import CollateralNeed, MachineNeed


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """Collateral, the way of each of its pieces, and what a person should be told of the way.

    `passing` are those of the remarks that are of this fetch alone: a cache does not keep them.
    """

    collateral: Collateral
    origins: tuple[Origin, ...]
    remarks: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()


class FetchedPck(msgspec.Struct, frozen=True, kw_only=True):
    """A PCK certificate and its issuers (PEM, leaf first, root last), and the TCB it is for.

    `tcbm` is CPUSVN ‖ PCESVN (little-endian), 18 bytes; `passing` as in `Fetched`.
    """

    chain: bytes
    tcbm: bytes
    origin: Origin
    remarks: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()


#: What the relying party takes as a machine's certificate: one that proves, and fits its quote.
Accept: TypeAlias = Callable[[FetchedPck], bool]


class Source(Protocol):
    """Whoever answers needs.

    Raises `NotFound` where it answers that it has none, `Unavailable` where it does not answer,
    `CollateralError` for an answer that cannot be read. Never raises anything else.
    """

    @property
    def name(self) -> str:
        """For people and for errors: "Intel PCS", "PCCS https://cache:8081"."""

    def collateral(self, need: CollateralNeed) -> Fetched:
        """The set of collateral for a need."""

    def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
        """The PCK certificate of a machine. `NotFound` (`source-no-pck`) where it never has any.

        Who has several to give gives one that `accept` takes; where none is, the first: the verdict
        says what is false about it. Nothing that `accept` refuses is kept.
        """


def scope_of(source: Source) -> str:
    """What tells a source's answers from any other's where answers are kept: its `scope`, or its name.

    A source whose name does not say all (every address it asks, in which dialect and version, whether
    it checks the servers) has a `scope` that does. For hashing, never for people: it may tell secrets.
    """
    scope = getattr(source, "scope", None)
    return scope if isinstance(scope, str) else source.name
