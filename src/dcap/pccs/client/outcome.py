"""What a fetch came to: the pieces of a file, and what is not in it, with the word of its cause.

Machines are told of by their place in the list. Not here: asking (`collector`), writing the file
(`pccs.transfer.arrangement`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from dcap.api.pccs_admin import PlatformRecord
from dcap.pccs.client.machine import machines_of
from dcap.pccs.items import Holding, Item, TcbInfoKey


class Failure(NamedTuple):
    """What could not be had. `place` is that of a machine in its list, from 1; 0 for an item.

    `name` is the key of an item, and empty for a machine; `cause` a word of `pccs.causes`.
    """

    place: int
    name: str
    cause: str
    what: str


class Found(NamedTuple):
    """Machines: what proved, which TCBs have no certificate yet, and who failed."""

    holdings: tuple[Holding, ...]
    unavailable: tuple[PlatformRecord, ...]
    failures: tuple[Failure, ...]


class Items(NamedTuple):
    """Items that proved, and those that could not be had."""

    items: tuple[Item, ...]
    failures: tuple[Failure, ...]


class Result(NamedTuple):
    """What a file is made of: items, machines with their entries, and what is not in it."""

    items: tuple[Item, ...]
    holdings: tuple[Holding, ...]
    records: tuple[PlatformRecord, ...]
    unavailable: tuple[PlatformRecord, ...]
    failures: tuple[Failure, ...]

    @property
    def forged(self) -> bool:
        """Whether something came that does not prove."""
        return any(one.cause == "forged" for one in self.failures)


def put_together(
    common: Sequence[Item], found: Found, infos: Items, records: Sequence[PlatformRecord]
) -> Result:
    """The pieces as one. A machine without a TCB info to select by has failed: no PCCS takes it."""
    with_info = {
        item.key.fmspc
        for item in infos.items
        if isinstance(item.key, TcbInfoKey) and item.key.tee == "SGX"
    }
    places = {(one.qe_id, one.pce_id): one.place for one in machines_of(records)}
    holdings = []
    failures = [*found.failures]
    needed = {holding.platform.fmspc for holding in found.holdings}
    for holding in found.holdings:
        platform = holding.platform
        if platform.fmspc in with_info:
            holdings.append(holding)
            continue
        place = places[platform.qe_id, platform.pce_id]
        failures.append(
            Failure(place, "", "no-tcb-info", f"of the FMSPC {platform.fmspc.hex().upper()}")
        )
    failures += (one for one in infos.failures if _matters(one, needed))
    kept = {(one.platform.qe_id, one.platform.pce_id) for one in holdings}
    listed = tuple(one for one in records if (one.qe_id.upper(), one.pce_id.upper()) in kept)
    return Result(
        items=(*common, *infos.items),
        holdings=tuple(holdings),
        records=listed,
        unavailable=found.unavailable,
        failures=tuple(failures),
    )


def _matters(failure: Failure, needed: set[bytes]) -> bool:
    """An FMSPC that Intel lists, and has no TCB info of, is nobody's loss but its machines'."""
    is_needed = any(fmspc.hex().upper() in failure.name for fmspc in needed)
    return is_needed or failure.cause != "no-such-item"
