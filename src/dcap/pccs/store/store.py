"""The store of a PCCS: one database, its tables behind one door.

    with Store.open("sqlite:////var/lib/dcap/pccs.db") as store:
        store.items.get(RootCrlKey())
        store.platforms.answer(qe_id, pce_id, cpu_svn, pce_svn)
        store.leases.acquire("pckcerts/…", holder, seconds=30)
        store.changes()             # cheap: did anything change, anywhere?

Safe for threads; each process opens its own. A `Store` proves nothing: what is given to it was proven.
Every method raises `Unavailable` where the database does not answer, and works again once it does.
"""

from types import TracebackType
from typing import Final, Self

import msgspec
from sqlalchemy import Connection, func, select

from dcap.pccs.store import registrations as queue
from dcap.pccs.store.collateral import Items
from dcap.pccs.store.database import Database
from dcap.pccs.store.lease import Leases
from dcap.pccs.store.platforms import Platforms
from dcap.pccs.store.policies import Policies
from dcap.pccs.store.registrations import Registrations
from dcap.pccs.store.rows import drop_chains
from dcap.pccs.store.schema import CHAINS, CHANGES, ITEMS, PLATFORMS, POLICIES
from dcap.pccs.store.upgrade import bring_up

_CHANGES: Final = select(
    *(CHANGES.c[name] for name in ("number", "items", "platforms", "registrations", "policies"))
)


class Changes(msgspec.Struct, frozen=True):
    """How often anything was written, and what answers are made of. Each grows in the order of commits.

    `number` grows with every write. `platforms` grows where an answer given for a machine may now be
    another; a raw TCB that is remembered, or a manifest, changes none.
    """

    number: int
    items: int
    platforms: int
    registrations: int
    policies: int


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept."""

    items: int
    platforms: int
    chains: int
    policies: int
    registrations: dict[str, int]


class Store:
    """An open store. Made by `open`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.items = Items(database)
        self.platforms = Platforms(database)
        self.registrations = Registrations(database)
        self.policies = Policies(database)
        self.leases = Leases(database)

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> "Store":
        """The store of a database's URL, created (`create`) or upgraded where that is needed.

        Raises `ConfigError` (`store-url`, `store-driver`, `store-newer`, `store-foreign`,
        `store-unwritable`, `store-exposed`, `store-missing`), `Unavailable`.
        """
        database = Database.at(url)
        try:
            bring_up(database, create=create)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @property
    def place(self) -> str:
        """The database, for people: without user, password or options."""
        return self.database.place

    def change_number(self) -> int:
        """How often anything was written: another number, and something changed somewhere."""
        return self.changes().number

    def changes(self) -> Changes:
        """`change_number`, and the counters of each kind."""
        row = self.database.read(lambda connection: connection.execute(_CHANGES).one())
        return Changes(*row)

    def statistics(self) -> Statistics:
        """How much is kept."""
        with self.database.snapshot() as connection:
            items, platforms, chains, policies = (
                connection.scalar(select(func.count()).select_from(table)) or 0
                for table in (ITEMS, PLATFORMS, CHAINS, POLICIES)
            )
            return Statistics(
                items=items,
                platforms=platforms,
                chains=chains,
                policies=policies,
                registrations=queue.registrations_by_state(connection),
            )

    def prune(self) -> int:
        """Forget chains that nothing goes with, and leases that have ended; gives how many."""

        def act(connection: Connection) -> int:
            return drop_chains(connection)

        return self.database.write(act) + self.leases.prune()

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
