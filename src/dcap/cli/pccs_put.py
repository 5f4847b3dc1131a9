"""`dcap pccs put`: bring `platform_collaterals.json`, or an appraisal policy, to a PCCS.

A file beyond the PCCS's limit goes in parts, and what was put stands in a file beside it, so that a
second run goes on where the first one ended. In place of `pccsadmin put`.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcap.cli import arguments, output
from dcap.cli.pccs_access import Progress, pccs_options, remote
from dcap.errors import ConfigError

if TYPE_CHECKING:
    from dcap.pccs.client.journal import Journal
    from dcap.pccs.client.parts import Cut, Parts
    from dcap.pccs.client.remote import RemotePccs

_POLICY = "/appraisalpolicy"
_LARGEST_POLICY = 1024 * 1024
#: Exit status where the PCCS took the file, and did not keep all of it.
NOT_ALL = 4
#: Where even so little is refused, size is not the reason.
_LEAST = 16 * 1024


@click.command("put")
@pccs_options
@click.option(
    "-i",
    "--input",
    "source",
    metavar="FILE",
    help="What to put.  [default: platform_collaterals.json]",
)
@click.option(
    "-f", "--fmspc", metavar="HEX", help="FILE is an appraisal policy (a JWT) for this FMSPC."
)
@click.option("-d", "--default", "is_default", is_flag=True, help="… and the default one for it.")
@click.option(
    "--max-body",
    type=click.IntRange(min=1024),
    default=2 * 1024 * 1024,
    show_default=True,
    metavar="BYTES",
    help="The largest part. Where the PCCS takes less, smaller ones are tried.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def put(
    *,
    source: str | None,
    fmspc: str | None,
    is_default: bool,
    max_body: int,
    as_json: bool,
    **flags: Any,
) -> int:
    """Bring collateral to a PCCS, in as many parts as it needs; run it again to go on after a failure.

    The parts are put one after the other: a PCCS keeps each part whole or not at all.

    Exit status: 0 all of it is kept; 1 the token is refused, or a limit; 2 the file cannot be used;
    3 it does not prove; 4 it was taken, but what has expired, or is older than what is kept, was not;
    6 no answer.
    """
    if fmspc is not None or flags["url"].rstrip("/").endswith(_POLICY):
        _put_policy(source, fmspc, flags, is_default=is_default, as_json=as_json)
        return 0
    if is_default:
        raise click.UsageError("--default goes with --fmspc")
    from dcap.pccs.client import files, parts  # noqa: PLC0415 - none of it is for --help
    from dcap.pccs.client.journal import Journal, beside  # noqa: PLC0415

    path = Path(source or "platform_collaterals.json")
    data = files.read_whole(path, parts.MAX_SIZE)
    file = parts.Parts.parse(data, name=str(path))
    pccs = remote(flags)
    progress_file = beside(path, "put")
    if file.fits(max_body) and not progress_file.exists():
        bodies, left_out = _put_all(pccs, file, None, max_body)
    else:
        subject = pccs.base.encode() + b"\0" + data
        with Journal.at(progress_file, "put", of=subject) as journal:
            bodies, left_out = _put_all(pccs, file, journal, max_body)
            journal.remove()
    count = len(file.machines)
    machines = f"{count} machine{'' if count == 1 else 's'}, " if count else ""
    told = f"{machines}{bodies} request{'' if bodies == 1 else 's'}"
    lines = [f"{path}: put to {pccs.base}: {told}"]
    if left_out:
        lines.append(f"  not kept: {', '.join(f'{n} {what}' for what, n in left_out.items())}")
        lines.append("  fetch the file again for what has expired; older pieces stay out")
    output.emit(
        {
            "source": str(path),
            "url": pccs.base,
            "machines": count,
            "requests": bodies,
            "left_out": left_out,
        },
        lines,
        as_json=as_json,
    )
    return NOT_ALL if left_out else 0


def _put_all(
    pccs: "RemotePccs", file: "Parts", journal: "Journal | None", most: int
) -> tuple[int, dict[str, int]]:
    """Put part after part, from where an earlier run ended.

    How many requests it took; what was left out, by this run and those before, in the PCCS's words.

    Where the PCCS takes less than `most`, halves are tried, and in the end each piece by itself.
    """
    from dcap.pccs.client.remote import TooLarge  # noqa: PLC0415

    lines = () if journal is None else journal.lines
    done = [line["done"] for line in lines if isinstance(line.get("done"), int)]
    start, limit = max(done, default=0), most
    requests, progress = 0, Progress()
    left_out: Counter[str] = Counter()
    for line in lines:
        left_out.update(_counted(line.get("left_out"), 0))
    try:
        while start < file.units:
            cut, alone = _cut(file, start, limit, most)
            try:
                told = pccs.put(cut.body)
            except TooLarge:
                if alone or len(cut.body) <= _LEAST:
                    raise
                limit = len(cut.body) // 2
                continue
            requests += 1
            start = cut.end
            if told is not None:
                left_out.update(_counted(told.why, told.number))
            if journal is not None:
                journal.note({"done": start, "left_out": told.why if told else ""})
            progress("putting", start, file.units)
    finally:
        progress.end()
    return requests, dict(left_out)


def _counted(why: object, number: int) -> dict[str, int]:
    """`3 item expired, 2 item older` as numbers; what is not of that form stands as one number."""
    parts = [part.partition(" ") for part in why.split(", ")] if isinstance(why, str) else []
    found = {what: int(many) for many, _, what in parts if what and many.isdecimal()}
    if number and sum(found.values()) != number:
        return {"of several kinds": number}
    return found


def _cut(file: "Parts", start: int, limit: int, most: int) -> "tuple[Cut, bool]":
    """The next part, and whether it is one piece alone, which no half of a limit holds."""
    try:
        return file.cut(start, limit), False
    except ConfigError:
        return file.cut(start, most, alone=True), True


def _put_policy(
    source: str | None,
    fmspc: str | None,
    flags: dict[str, Any],
    *,
    is_default: bool,
    as_json: bool,
) -> None:
    from dcap.pccs.client import files  # noqa: PLC0415

    if source is None or fmspc is None:
        raise click.UsageError("an appraisal policy needs --fmspc and --input")
    named = arguments.fmspc(fmspc)
    text = files.read_whole(Path(source), _LARGEST_POLICY).decode("latin-1").strip()
    pccs = remote(flags)
    identity = pccs.set_policy(named.hex().upper(), text, is_default=is_default)
    output.emit({"id": identity, "url": pccs.base}, [identity], as_json=as_json)
