"""What the tables of a store have in common: digests as keys, and chains kept once."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, select

from dcap.pccs.store.schema import CHAINS, ITEMS, PLATFORMS

T = TypeVar("T")

#: Values in one `IN (…)`: below every database's limit.
BATCH: Final = 500

_HAS_CHAIN: Final = select(CHAINS.c.digest).where(CHAINS.c.digest == bindparam("digest"))


def digest(*texts: str) -> bytes:
    """A key of fixed size for texts of any. Their lengths count: ("ab", "c") is not ("a", "bc")."""
    state = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(4, "big") + data)
    return state.digest()


def keep_chain(connection: Connection, pem: bytes) -> bytes | None:
    """Keep a chain, once; gives its key. An empty one is none."""
    if not pem:
        return None
    key = hashlib.sha256(pem).digest()
    if connection.execute(_HAS_CHAIN, {"digest": key}).first() is None:
        connection.execute(insert(CHAINS).values(digest=key, pem=pem))
    return key


def drop_chains(connection: Connection) -> int:
    """Forget the chains that nothing goes with any more; gives how many."""
    used = select(ITEMS.c.chain).where(ITEMS.c.chain.is_not(None))
    used_too = select(PLATFORMS.c.chain).distinct()
    return connection.execute(
        delete(CHAINS).where(CHAINS.c.digest.not_in(used), CHAINS.c.digest.not_in(used_too))
    ).rowcount


def batches(values: Iterable[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """The values, `size` at a time."""
    batch: list[T] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
