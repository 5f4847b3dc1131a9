"""`dcap pccs import`: Intel's database, `platform_collaterals.json` or saved collateral, into the store.

The service may run meanwhile. What does not prove is never kept.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from dcap.cli import arguments, output
from dcap.cli.pccs_settings import require_server, settings_of, settings_options

if TYPE_CHECKING:
    from datetime import datetime

    from dcap.pccs.store.store import Store
    from dcap.pccs.transfer.report import Report
    from dcap.verification.anchors import TrustAnchor


class _Peek(msgspec.Struct):
    """What tells Intel's file from other JSON."""

    platforms: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    collaterals: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@click.command("import")
@click.argument("path", required=False)
@click.option(
    "--intel-db",
    "database_of_intel",
    metavar="FILE|URL",
    envvar="DCAP_PCCS_INTEL_DB",
    help="Take over the database of Intel's PCCS: its file (pckcache.db), or mysql://… (a password "
    "belongs in the variable). [env: DCAP_PCCS_INTEL_DB]",
)
@click.option(
    "--early", is_flag=True, help="A folder's collateral was fetched as the early generation."
)
@click.option(
    "--replace-machines",
    is_flag=True,
    help="Let a file's machines take the place of others that are kept under their QE ids.",
)
@settings_options("data", "database", "insecure_test_root")
@click.option("--at", metavar="TIME", help="Prove as of this instant: Unix seconds or RFC 3339.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def import_(
    *,
    path: str | None,
    database_of_intel: str | None,
    early: bool,
    replace_machines: bool,
    at: str | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Take PATH into the store: platform_collaterals.json, or a folder that `dcap collateral get` wrote.

    Of a file of Intel's all is kept or nothing; of a database or a folder what proves, and the rest is
    told. Nothing that is kept already is replaced by something older, and no registered machine by
    another.

    Exit status: 0 taken in; 1 usage; 2 it cannot be read; 3 the file does not prove; 6 nothing of it
    could be kept.
    """
    if (path is None) == (database_of_intel is None):
        raise click.UsageError("give PATH or --intel-db, and one of them")
    require_server()
    settings = settings_of(flags)
    root = settings.insecure_test_root
    anchor = arguments.anchor(None if root is None else str(root))
    moment = arguments.instant(at)
    from dcap.pccs.private_files import make_folder  # noqa: PLC0415 - none of it is for --help
    from dcap.pccs.store.store import Store  # noqa: PLC0415
    from dcap.pccs.trust_root import hold_to  # noqa: PLC0415

    _expect_source(path, database_of_intel)  # before a store is made for what is not there
    if settings.database is None:
        make_folder(settings.data)
    with Store.open(settings.database_url) as store:
        hold_to(store, anchor)
        report = _take(
            store,
            path,
            database_of_intel,
            "EARLY" if early else "STANDARD",
            moment,
            anchor,
            replace_machines=replace_machines,
        )
        place = store.place
    output.emit(
        {
            "source": path or "database of Intel's PCCS",
            "store": place,
            "kept": report.kept,
            "left_out": report.reasons,
            "listed": [
                {"kind": one.kind, "name": one.name, "reason": one.reason, "what": one.what}
                for one in report.left_out
            ],
        },
        _lines(report, place),
        as_json=as_json,
    )
    return 0 if any(report.kept.values()) or report.complete else 6


def _expect_source(path: str | None, database_of_intel: str | None) -> None:
    """Raises `ConfigError` (`file-unreadable`, `intel-database`), `Unavailable`."""
    if database_of_intel is not None:
        from dcap.pccs.transfer.intel_database import expect_intel_database  # noqa: PLC0415

        expect_intel_database(database_of_intel)
    elif path is not None and not Path(path).is_dir():
        from dcap.pccs.client.files import expect_readable  # noqa: PLC0415

        expect_readable(Path(path))


def _take(
    store: "Store",
    path: str | None,
    database_of_intel: str | None,
    update: Any,  # noqa: ANN401 - one of two words
    at: "datetime",
    anchor: "TrustAnchor",
    *,
    replace_machines: bool,
) -> "Report":
    from dcap.pccs.client.files import read_whole  # noqa: PLC0415
    from dcap.pccs.transfer.provers import processes_here  # noqa: PLC0415

    processes = processes_here()
    if database_of_intel is not None:
        from dcap.pccs.transfer.intel_database import import_intel_database  # noqa: PLC0415

        return import_intel_database(
            store, database_of_intel, at=at, anchor=anchor, processes=processes
        )
    assert path is not None
    place = Path(path)
    if not place.is_dir():
        from dcap.pccs.transfer.platform_collaterals import (  # noqa: PLC0415
            MAX_SIZE,
            import_platform_collaterals,
        )

        data = read_whole(place, MAX_SIZE)
        if _is_of_intel(data):
            return import_platform_collaterals(
                store,
                data,
                at=at,
                anchor=anchor,
                processes=processes,
                replace_machines=replace_machines,
            )
    from dcap.pccs.transfer.directories import import_directory  # noqa: PLC0415

    return import_directory(store, place, at=at, anchor=anchor, update=update)


def _is_of_intel(data: bytes) -> bool:
    try:
        peek = msgspec.json.decode(data, type=_Peek)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return msgspec.UNSET not in (peek.platforms, peek.collaterals)


def _lines(report: "Report", place: str) -> Iterator[str]:
    kept = ", ".join(_counted(number, kind) for kind, number in report.kept.items() if number)
    yield f"{place}: kept {kept or 'nothing'}"
    for kind, reasons in report.reasons.items():
        for reason, number in reasons.items():
            yield f"  left out: {_counted(number, kind)} [{reason}]"
    for one in report.left_out:
        if one.name:
            yield f"  {one.name}: {one.what or one.reason}"


def _counted(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"
