"""The items: each under its key, each with the chain it was given with."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from dcap.pccs.items import Item, ItemSummary, Key, read_key
from dcap.pccs.store.database import Database
from dcap.pccs.store.rows import digest, keep_chain
from dcap.pccs.store.schema import CHAINS, ITEMS

_WITH_CHAINS: Final = (
    select(ITEMS, CHAINS.c.pem)
    .join(CHAINS, CHAINS.c.digest == ITEMS.c.chain, isouter=True)
    .order_by(ITEMS.c.digest)
)
_ONE: Final = _WITH_CHAINS.where(ITEMS.c.digest == bindparam("digest"))
_SUMMARY_COLUMNS: Final = [
    column for column in ITEMS.c if column.name not in {"digest", "body", "chain"}
]
_SUMMARIES: Final = select(func.length(ITEMS.c.body).label("size"), *_SUMMARY_COLUMNS)


class Items:
    """The table of items. Part of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: Key) -> Item | None:
        """What is kept under a key."""
        return self._database.read(lambda connection: _get(connection, key))

    def put(
        self, *items: Item, accept: Callable[[Item, Item | None], bool] | None = None
    ) -> tuple[Item, ...]:
        """Keep items, all or none; gives those that were kept.

        `accept` is asked, of each, with what is kept under its key now, and nothing can change between
        its answer and the writing: there a service refuses to go back to an older number. What it
        raises is raised, and nothing is kept.
        """

        def act(connection: Connection) -> tuple[Item, ...]:
            return tuple(item for item in items if _put(connection, item, accept))

        return self._database.write(act, "items")

    def summaries(self) -> tuple[ItemSummary, ...]:
        """Every item without its bytes, by key."""
        rows = self._database.read(lambda connection: connection.execute(_SUMMARIES).all())
        found = (
            ItemSummary(
                key=read_key(row.item_key),
                size=row.size,
                issued=row.issued,
                expires=row.expires,
                number=row.number,
                fetched_at=row.fetched_at,
                origin=row.origin,
            )
            for row in rows
        )
        return tuple(sorted(found, key=lambda summary: summary.key.text))

    def delete(self, *keys: Key) -> int:
        """Forget what is kept under the keys; gives how many there were."""
        digests = [digest(key.text) for key in keys]
        statement = delete(ITEMS).where(ITEMS.c.digest.in_(digests))
        return self._database.write(
            lambda connection: connection.execute(statement).rowcount, "items"
        )


def every_item(connection: Connection) -> Iterator[Item]:
    """All items, as a snapshot's connection sees them, a few at a time in memory."""
    result = connection.execution_options(yield_per=20).execute(_WITH_CHAINS)
    for row in result:
        yield _item(row)


def _get(connection: Connection, key: Key) -> Item | None:
    row = connection.execute(_ONE, {"digest": digest(key.text)}).first()
    return None if row is None else _item(row)


def _item(row: Row[Any]) -> Item:
    return Item(
        key=read_key(row.item_key),
        body=bytes(row.body),
        issuer_chain=bytes(row.pem or b""),
        issued=row.issued,
        expires=row.expires,
        number=row.number,
        fetched_at=row.fetched_at,
        origin=row.origin,
    )


def _put(
    connection: Connection, item: Item, accept: Callable[[Item, Item | None], bool] | None
) -> bool:
    if accept is not None and not accept(item, _get(connection, item.key)):
        return False
    put_item(connection, item)
    return True


def put_item(connection: Connection, item: Item) -> None:
    """Write one."""
    key = digest(item.key.text)
    connection.execute(delete(ITEMS).where(ITEMS.c.digest == key))
    connection.execute(
        insert(ITEMS).values(
            digest=key,
            item_key=item.key.text,
            body=item.body,
            chain=keep_chain(connection, item.issuer_chain),
            issued=item.issued,
            expires=item.expires,
            number=item.number,
            fetched_at=item.fetched_at,
            origin=item.origin,
        )
    )
