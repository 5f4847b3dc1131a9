"""`dcap pccs get`: which machines wait at a PCCS, or are kept there, as `platform_list.json`.

A queue is read before it is emptied, and written before anything else is asked: a lost answer loses no
machine, where the PCCS is ours. Intel's empties it while it answers. In place of `pccsadmin get`.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcap.cli import output
from dcap.cli.pccs_access import pccs_options, remote
from dcap.errors import ConfigError, DcapError

if TYPE_CHECKING:
    from dcap.pccs.client.remote import RemotePccs

_FMSPC = re.compile(r"[0-9A-Fa-f]{12}")


@click.command("get")
@pccs_options
@click.option(
    "-o",
    "--output",
    "target",
    default="platform_list.json",
    show_default=True,
    metavar="FILE",
    help="The file to write; what is there is not written over.",
)
@click.option(
    "-s",
    "--source",
    default="reg",
    show_default=True,
    metavar="reg|reg_na|[F1,F2]",
    help="reg: those that registered, and wait. reg_na: those that Intel had no certificate for. "
    "[]: all that are kept; [F1,F2]: those of these FMSPCs.",
)
@click.option(
    "--keep", is_flag=True, help="Leave them in the queue. Intel's PCCS empties it all the same."
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def get(*, target: str, source: str, keep: bool, as_json: bool, **flags: Any) -> None:
    """Fetch the list of machines from a PCCS, to carry it to where Intel can be asked.

    Reading a queue empties it, so that each machine is fetched for once: keep the file until it was
    put. It names machines, and is for its owner alone (0600).

    Exit status: 0 written; 1 the token is refused, or there is a file already; 6 no answer.
    """
    from dcap.pccs.client import files  # noqa: PLC0415 - none of it is for --help
    from dcap.pccs.client.remote import merged, written  # noqa: PLC0415

    path = Path(target)
    fmspcs = _fmspcs(source)
    files.expect_free(path)
    pccs = remote(flags)
    if fmspcs is not None:
        entries = pccs.platforms(fmspcs)
        files.write_chunks(path, [written(entries)])
    else:
        entries = pccs.waiting("reg_na" if source == "reg_na" else "reg", take=False)
        files.write_chunks(path, [written(entries)])
        if not keep:
            taken = merged(entries, _taken(pccs, source, path))
            if taken != entries:
                entries = taken
                files.write_chunks(path, [written(entries)], replace=True)
    count = len(entries)
    output.emit(
        {"target": str(path), "source": source, "machines": count},
        [f"{path}: {count} {'entry' if count == 1 else 'entries'}"],
        as_json=as_json,
    )


def _taken(pccs: "RemotePccs", source: str, path: Path) -> tuple[bytes, ...]:
    """Empty the queue. What is written stays, whatever comes of it."""
    try:
        return pccs.waiting("reg_na" if source == "reg_na" else "reg", take=True)
    except DcapError:
        output.warn(f"{path} is written, but the queue may not be empty: they may come again")
        raise


def _fmspcs(source: str) -> tuple[str, ...] | None:
    """The FMSPCs of a list in brackets; `None` for a queue."""
    if source in ("reg", "reg_na"):
        return None
    inner = source.strip()
    names = [name.strip() for name in inner[1:-1].split(",")] if inner[1:-1].strip() else []
    if not (inner.startswith("[") and inner.endswith("]")) or not all(
        _FMSPC.fullmatch(name) for name in names
    ):
        raise ConfigError(
            "pccs-source",
            "it is none of reg, reg_na and FMSPCs in brackets",
            where="--source",
            mend='write it as -s reg, -s "[]" or -s "[00906EA10000,90C06F000000]"',
        )
    return tuple(name.upper() for name in names)
