"""`dcap pccs collect`: the tables that PCKIDRetrievalTool wrote on each machine, as one list.

In place of `pcsclient collect`.
"""

from pathlib import Path

import click

from dcap.api.pccs_admin import PlatformRecord
from dcap.cli import output
from dcap.errors import ConfigError, DcapError

_LARGEST_TABLE = 64 * 1024 * 1024


@click.command("collect")
@click.option(
    "-d",
    "--directory",
    default=".",
    show_default=True,
    metavar="DIR",
    help="Where the tables (*.csv) are, in it or in folders below it.",
)
@click.option(
    "-o",
    "--output",
    "target",
    default="platform_list.json",
    show_default=True,
    metavar="FILE",
    help="The file to write; what is there is not written over.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def collect(*, directory: str, target: str, as_json: bool) -> int:
    """Make a list of machines of the tables that were gathered by hand; a machine stands in it once.

    A table that cannot be read is told, and the others are written all the same.

    Exit status: 0 all of them are in the list; 1 there are none; 2 some could not be read.
    """
    from dcap.api.platform_list import read_csv, write_platform_list  # noqa: PLC0415
    from dcap.pccs.client import files  # noqa: PLC0415 - none of it is for --help

    path = Path(target)
    files.expect_free(path)
    tables = sorted(one for one in Path(directory).rglob("*.csv") if one.is_file())
    if not tables:
        raise ConfigError(
            "collect-nothing",
            "there are no tables (*.csv)",
            where=directory,
            mend="run PCKIDRetrievalTool on each machine, and gather its pckid_retrieval.csv",
        )
    records: list[PlatformRecord] = []
    unread: list[str] = []
    for table in tables:
        try:
            records += read_csv(files.read_whole(table, _LARGEST_TABLE))
        except DcapError as error:
            unread.append(str(table))
            output.warn(f"{table} is left out: {error.what} [{error.code}]")
    distinct = list(dict.fromkeys(records))
    files.write_chunks(path, [write_platform_list(distinct)])
    output.emit(
        {
            "target": str(path),
            "tables": len(tables),
            "machines": len(distinct),
            "unread": unread,
        },
        [f"{path}: {len(distinct)} entries of {len(tables) - len(unread)} tables"],
        as_json=as_json,
    )
    return 2 if unread else 0
