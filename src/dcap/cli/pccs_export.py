"""`dcap pccs export`: what the store keeps, as Intel's file, as sets for verifiers, or as bundles.

The service may run meanwhile. Not here: a backup (`dcap pccs backup`), which holds tokens of replicas,
queues and policies too.
"""

from pathlib import Path
from typing import Any

import click

from dcap.cli import arguments, output
from dcap.cli.collateral_source import expect_nothing_at, files_of, write_folder
from dcap.cli.pccs_settings import require_server, settings_of, settings_options
from dcap.errors import NotFound

_KEPT = "`dcap pccs status` names those that are kept"
_FORMS = ("platform-collaterals", "sets", "bundles")


@click.command("export")
@click.argument("target", metavar="PATH")
@click.option(
    "--as",
    "form",
    type=click.Choice(_FORMS),
    help="platform-collaterals: Intel's file, machines and all. sets: a folder for each FMSPC and TEE, "
    "as `dcap collateral get` writes it. bundles: the same, a file each.  [default: by PATH: *.json is "
    "Intel's file]",
)
@click.option(
    "-f",
    "--fmspc",
    "fmspcs",
    multiple=True,
    metavar="HEX",
    help="These machines alone (Intel's file). Repeatable.",
)
@click.option("--early", is_flag=True, help="Sets and bundles of the early generation.")
@click.option("--expired", is_flag=True, help="Also what has expired.")
@settings_options("data", "database")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def export(
    *,
    target: str,
    form: str | None,
    fmspcs: tuple[str, ...],
    early: bool,
    expired: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write what is kept to PATH: for another PCCS, or for verifiers without one.

    Intel's file names machines, and is for its owner alone (0600).
    """
    require_server()
    settings = settings_of(flags)
    path = Path(target)
    chosen = form or ("platform-collaterals" if path.suffix == ".json" else "sets")
    if fmspcs and chosen != "platform-collaterals":
        raise click.UsageError("--fmspc is for platform-collaterals alone")
    wanted = [arguments.fmspc(text, _KEPT) for text in fmspcs] or None
    at = None if expired else arguments.instant(None)
    from dcap.pccs.client import files  # noqa: PLC0415 - none of it is for --help
    from dcap.pccs.store.store import Store  # noqa: PLC0415
    from dcap.pccs.transfer import export as writers  # noqa: PLC0415

    expect_nothing_at(path)
    with Store.open(settings.database_url, create=False) as store:
        if chosen == "platform-collaterals":
            arranged, chunks = writers.platform_collaterals(store, fmspcs=wanted, at=at)
            files.write_chunks(path, chunks)
            left_out = [f"{one.name}: {one.reason}" for one in arranged.left_out]
            count = 1
        else:
            found = list(
                writers.collateral_sets(store, update="EARLY" if early else "STANDARD", at=at)
            )
            if not found:
                raise NotFound(
                    "export-nothing",
                    "no whole set of collateral is kept",
                    where=store.place,
                    mend="fetch or import some first; `dcap pccs status` shows what is kept",
                )
            written: dict[str, bytes] = {}
            for one in found:
                if chosen == "bundles":
                    written[f"{one.name}.json"] = one.bundle()
                    continue
                for name, content in files_of(one.collateral).items():
                    written[f"{one.name}/{name}"] = content
            write_folder(path, written)
            left_out, count = [], len(found)
    output.emit(
        {"target": str(path), "form": chosen, "count": count, "left_out": left_out},
        [f"{path}: {chosen}, {count}", *(f"  no place for {one}" for one in left_out)],
        as_json=as_json,
    )
