"""What child processes of these tests do. Started by `start`, from a server that has all imported."""

import multiprocessing
import os
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from sqlalchemy import event

from dcap.errors import DcapError
from dcap.pccs.items import CrlKey
from dcap.pccs.store.backup import copy_sqlite
from dcap.pccs.store.database import Database
from dcap.pccs.store.store import Store
from dcap.pccs.store.upgrade import bring_up
from pccs.store.samples import AT, holding, item, registration

_CONTEXT = multiprocessing.get_context("forkserver")
# Alembic, too: who is to be killed in a migration is not to be killed while it imports.
_CONTEXT.set_forkserver_preload(
    ["pccs.store.children", "alembic.config", "alembic.runtime.environment", "alembic.script"]
)


def start(act: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Connection]:
    """A process that does `act`, and the end of a pipe on which it tells of it."""
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=act, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def open_once(pipe: Connection, url: str) -> None:
    """Open the store, and say so."""
    Store.open(url).close()
    pipe.send("open")


def write_for_ever(pipe: Connection, url: str, first: int) -> None:
    """Put machines, items and registrations; after each, say which is kept."""
    store = Store.open(url)
    for number in range(first, 10**9):
        store.platforms.put(holding(number, mark="a"), holding(number + 1, mark="b"))
        store.items.put(item(CrlKey(f"https://{number}")), item(CrlKey(f"https://{number}/too")))
        store.registrations.add(registration(number))
        pipe.send(number)


def count_up(pipe: Connection, url: str, times: int) -> None:
    """Write many times beside others."""
    store = Store.open(url)
    for number in range(times):
        store.items.put(item(CrlKey(f"https://{os.getpid()}/{number}")))
    pipe.send(times)


def take_all(pipe: Connection, url: str, times: int) -> None:
    """Take what is in the queue, again and again."""
    store = Store.open(url)
    taken = [one.qe_id for _ in range(times) for one in store.registrations.take(at=AT)]
    pipe.send(taken)


def compete(pipe: Connection, url: str, keys: int) -> None:
    """Try for every lease, and tell which were had."""
    store = Store.open(url)
    holder = str(os.getpid())
    pipe.send([n for n in range(keys) if store.leases.acquire(f"key {n}", holder, 60)])


def fill_the_disk(pipe: Connection, url: str, limit: int) -> None:
    """Write until nothing more fits, then make room, and go on writing, in the same store."""
    store = Store.open(url)
    store.platforms.put(holding(0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    kept = 0
    try:
        for number in range(1000):
            store.items.put(item(CrlKey(f"https://{number}"), os.urandom(50_000)))
            kept += 1
    except DcapError as error:
        pipe.send((error.code, kept, store.platforms.holding(holding(0).platform.qe_id, "0000")))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.items.put(item(CrlKey("https://after")))
    pipe.send(len(store.items.summaries()))


def upgrade(pipe: Connection, url: str, versions: tuple[str, ...], migrations: Path) -> None:
    """Bring a database up by some migrations, and tell of each statement before it is asked."""
    database = Database.at(url)

    def tell(*_: object) -> None:
        pipe.send("statement")

    event.listen(database.engine, "before_cursor_execute", tell)
    bring_up(database, versions=versions, migrations=migrations)
    pipe.send("done")


def copy_for_ever(pipe: Connection, url: str, target: Path) -> None:
    """Copy the database, again and again."""
    store = Store.open(url)
    while True:
        copy_sqlite(store, target)
        pipe.send("copied")
