"""`dcap pccs backup` and `restore`: the store as a file, while the service runs, and back.

An archive can be restored into any kind of database: so one moves between them. Tokens and the TLS key
are not in it; they are files of the data folder. Not here: the form of an archive (`pccs.store.backup`).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dcap.cli import arguments, output
from dcap.cli.pccs_settings import require_server, settings_of, settings_options
from dcap.errors import ConfigError


@click.command("backup")
@settings_options("data", "database")
@click.argument("file")
@click.option(
    "--sqlite", is_flag=True, help="Copy SQLite's file instead: faster, and for SQLite alone."
)
@click.option("--force", is_flag=True, help="Replace FILE where it is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def backup(*, file: str, sqlite: bool, force: bool, as_json: bool, **flags: Any) -> None:
    """Back the store up to FILE, while the service goes on.

    It names machines, and is for its owner alone (0600). Exit status: 0 written; 1 it cannot be
    written, or no service has run here; 6 the database does not answer.
    """
    require_server()
    from dcap.pccs.store import backup as backups  # noqa: PLC0415
    from dcap.pccs.store.store import Store  # noqa: PLC0415

    target = Path(file)
    if target.exists() and not force:
        raise ConfigError(
            "backup-exists",
            "there is such a file already, and it is left as it is",
            where=file,
            mend="name another file, or give --force",
        )
    with Store.open(settings_of(flags).database_url, create=False) as store:
        records = None
        if sqlite:
            backups.copy_sqlite(store, target)
        else:
            records = backups.backup(store, target, made_at=datetime.now(UTC))
    said = f"{target}: " + ("a copy of SQLite's file" if records is None else f"{records} records")
    output.emit({"file": str(target), "records": records}, [said], as_json=as_json)


@click.command("restore")
@settings_options("data", "database", "insecure_test_root")
@click.argument("file")
@click.option("--at", metavar="TIME", help="Prove as of this instant: Unix seconds or RFC 3339.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def restore(*, file: str, at: str | None, as_json: bool, **flags: Any) -> None:
    """Restore a backup into an empty store: that of another folder, or another database.

    What it holds is proven again, and restored whole or not at all. A copy of SQLite's file needs no
    restoring: put it in place of pccs.db while nothing runs. Exit status: 0 restored; 1 the store is not
    empty; 2 it is no whole backup; 3 it does not prove; 6 no answer.
    """
    require_server()
    from dcap.pccs.private_files import make_folder  # noqa: PLC0415
    from dcap.pccs.restoration import proven_values  # noqa: PLC0415
    from dcap.pccs.store import backup as backups  # noqa: PLC0415
    from dcap.pccs.store.store import Store  # noqa: PLC0415
    from dcap.pccs.trust_root import hold_to  # noqa: PLC0415

    settings = settings_of(flags)
    root = settings.insecure_test_root
    anchor = arguments.anchor(None if root is None else str(root))
    moment = arguments.instant(at)
    if settings.database is None:
        make_folder(settings.data)
    with Store.open(settings.database_url) as store:
        counts = backups.restore(
            store, Path(file), lambda values: proven_values(values, at=moment, anchor=anchor)
        )
        hold_to(store, anchor)
        place = store.place
    records = sum(counts.values())
    output.emit(
        {"database": place, "records": records, **counts},
        [f"{place}: {records} records restored"],
        as_json=as_json,
    )
