"""The items: each under its key, each with the chain it was given with.

Where a PCK CA's list comes that revokes more than the one before, a reminder is left in the same
transaction, whoever brought it: the certificates that are kept are to be looked through (`machines`).
What is dropped leaves a mark, by which nothing older takes its place (`standing`).
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from dcap.errors import FormatError
from dcap.formats.crl import Crl
from dcap.pccs.items import Ca, Item, ItemSummary, Key, PckCrlKey, read_key
from dcap.pccs.store.database import Database
from dcap.pccs.store.lease import forget, remind, reminded
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
_SUMMARIES: Final = select(
    func.length(ITEMS.c.body).label("size"),
    func.length(CHAINS.c.pem).label("chain_size"),
    *_SUMMARY_COLUMNS,
).join(CHAINS, CHAINS.c.digest == ITEMS.c.chain, isouter=True)
_STANDING: Final = select(ITEMS.c.issued, ITEMS.c.expires, ITEMS.c.number).where(
    ITEMS.c.digest == bindparam("digest")
)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The age of what is kept under a key, or was until it was dropped."""

    issued: datetime | None = None
    expires: datetime | None = None
    number: int | None = None


class Items:
    """The table of items. Part of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: Key) -> Item | None:
        """What is kept under a key."""
        return self._database.read(lambda connection: _get(connection, key))

    def put(
        self, *items: Item, accept: Callable[[Item, Standing | None], bool] | None = None
    ) -> tuple[Item, ...]:
        """Keep items, all or none; gives those that were kept.

        `accept` is asked, of each, with the age of what stands under its key now, and nothing can change
        between its answer and the writing: there a service refuses to go back to an older number. What
        it raises is raised, and nothing is kept.
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
                chain_size=row.chain_size or 0,
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
        """Forget what is kept under the keys, and how old it was; gives how many there were."""

        def act(connection: Connection) -> int:
            return sum([_delete(connection, key) for key in keys])

        return self._database.write(act, "items")

    def drop(self, *items: Item) -> tuple[Item, ...]:
        """Drop what does not hold any more, where it is still what is kept; gives what went.

        How old it was is not forgotten: nothing older takes its place.
        """

        def act(connection: Connection) -> tuple[Item, ...]:
            gone = tuple(item for item in items if _get(connection, item.key) == item)
            for item in gone:
                _delete(connection, item.key)
                age = Standing(issued=item.issued, expires=item.expires, number=item.number)
                remind(connection, _mark_of(item.key), msgspec.json.encode(age).decode())
            return gone

        return self._database.write(act, "items")

    def correct(self, before: Item, after: Item) -> bool:
        """Replace an item by what it is once it was proven; false where it is no longer kept."""

        def act(connection: Connection) -> bool:
            same = _get(connection, before.key) == before
            if same:
                put_item(connection, after)
            return same

        return self._database.write(act, "items")


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
    connection: Connection, item: Item, accept: Callable[[Item, Standing | None], bool] | None
) -> bool:
    if accept is not None and not accept(item, standing(connection, item.key)):
        return False
    put_item(connection, item)
    return True


def standing(connection: Connection, key: Key) -> Standing | None:
    """The age of what is kept under a key, or was, as the transaction sees it."""
    row = connection.execute(_STANDING, {"digest": digest(key.text)}).first()
    if row is not None:
        return Standing(issued=row.issued, expires=row.expires, number=row.number)
    mark = reminded(connection, _mark_of(key))
    return None if mark is None else msgspec.json.decode(mark, type=Standing)


def _mark_of(key: Key) -> str:
    """The reminder of how old an item was that was dropped, in `Leases`."""
    return f"dropped/{key.text}"


def _delete(connection: Connection, key: Key) -> int:
    forget(connection, _mark_of(key))
    return connection.execute(delete(ITEMS).where(ITEMS.c.digest == digest(key.text))).rowcount


def put_item(connection: Connection, item: Item) -> None:
    """Write one."""
    key = digest(item.key.text)
    if isinstance(item.key, PckCrlKey):
        before = connection.scalar(select(ITEMS.c.body).where(ITEMS.c.digest == key))
        if revokes_more(item.body, before):
            of = hashlib.sha256(item.body).hexdigest()
            remind(connection, revisit_of(item.key.ca), of)
    _delete(connection, item.key)
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


def revisit_of(ca: Ca) -> str:
    """The reminder that certificates of a CA are to be looked through, in `Leases`."""
    return f"revisit/{ca}"


def revokes_more(body: bytes, before: bytes | None) -> bool:
    """Whether a list (DER) names certificates that the one before it did not."""
    try:
        named = Crl.parse(body).revoked_serials
        return not named <= (Crl.parse(bytes(before)).revoked_serials if before else frozenset())
    except FormatError:  # whoever looks them through says what is wrong
        return True
