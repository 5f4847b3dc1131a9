"""`dcap pccs backup` and `restore`: the store as a file, while the service runs, and back.

An archive can be restored into any kind of database: so one moves between them. Tokens and the TLS key
are not in it; they are files of the data folder. Not here: the form of an archive (`pccs.store.backup`).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dcap.cli import output
from dcap.cli.pccs_settings import require_server, settings_options


@click.command("backup")
@settings_options("data", "database")
@click.argument("file")
@click.option(
    "--sqlite", is_flag=True, help="Copy SQLite's file instead: faster, and for SQLite alone."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def backup(*, file: str, sqlite: bool, as_json: bool, **flags: Any) -> None:
    """Back the store up to FILE, while the service goes on.

    It names machines, and is for its owner alone (0600). Exit status: 0 written; 1 it cannot be
    written; 6 the database does not answer.
    """
    require_server()
    from dcap.pccs.config import read_settings  # noqa: PLC0415 - none of it is for --help
    from dcap.pccs.store import backup as backups  # noqa: PLC0415
    from dcap.pccs.store.store import Store  # noqa: PLC0415

    target = Path(file)
    with Store.open(read_settings(flags).database_url) as store:
        records = None
        if sqlite:
            backups.copy_sqlite(store, target)
        else:
            records = backups.backup(store, target, made_at=datetime.now(UTC))
    said = f"{target}: " + ("a copy of SQLite's file" if records is None else f"{records} records")
    output.emit({"file": str(target), "records": records}, [said], as_json=as_json)


@click.command("restore")
@settings_options("data", "database")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def restore(*, file: str, as_json: bool, **flags: Any) -> None:
    """Restore a backup into an empty store: that of another folder, or another database.

    A copy of SQLite's file needs no restoring: put it in place of pccs.db while nothing runs. Exit
    status: 0 restored; 1 the store is not empty; 2 it is no whole backup; 6 no answer.
    """
    require_server()
    from dcap.pccs.config import read_settings  # noqa: PLC0415 - none of it is for --help
    from dcap.pccs.private_files import make_folder  # noqa: PLC0415
    from dcap.pccs.store import backup as backups  # noqa: PLC0415
    from dcap.pccs.store.store import Store  # noqa: PLC0415

    settings = read_settings(flags)
    make_folder(settings.data)
    with Store.open(settings.database_url) as store:
        records = backups.restore(store, Path(file))
        place = store.place
    output.emit(
        {"database": place, "records": records}, [f"{place}: {records} records"], as_json=as_json
    )
