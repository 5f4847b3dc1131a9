"""`dcap sim fault`: a quote and its collateral in which exactly one thing is wrong."""

from pathlib import Path

import click

from dcap.cli import output
from dcap.cli.evidence_forms import write_output
from dcap.cli.sim_place import make_folder, place, write_folder, written
from dcap.simulator.faults import FAULTS, ODDITIES, Fault
from dcap.simulator.state import WorldDirectory
from dcap.simulator.wire_faults import WIRE_FAULTS

#: What can be written: faults, and oddities, which are none.
CASES = {**FAULTS, **ODDITIES}


@click.command("fault")
@click.argument("name", required=False)
@place
@click.option("-o", "--output", "folder", metavar="DIR", help="The folder to fill.")
@click.option("--truth", is_flag=True, help="Without the fault: what it departs from.")
@click.option("--list", "listing", is_flag=True, help="List the faults.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def fault(
    name: str | None,
    *,
    directory: WorldDirectory,
    folder: str | None,
    truth: bool,
    listing: bool,
    as_json: bool,
) -> None:
    """Write the fault NAME into a folder: quote.bin, collateral, policy.toml, and at (an instant).

    \b
    A verifier that is sound refuses it for the reason that is printed:
      dcap verify DIR/quote.bin --collateral DIR --policy DIR/policy.toml
        --at "$(cat DIR/at)" --insecure-test-root WORLD/root.pem
    """  # noqa: D301 - click's mark of lines that stay as they are
    if listing:
        _list(as_json=as_json)
        return
    if name is None:
        raise click.UsageError("which fault? `dcap sim fault --list` lists them")
    if name in WIRE_FAULTS:
        raise click.UsageError(f"a fault of the wire: `dcap sim up --wire-fault {name}`")
    if name not in CASES:
        raise click.UsageError(
            f"there is no fault {name[:60]!r}; `dcap sim fault --list` lists them"
        )
    if folder is None:
        raise click.UsageError("-o DIR: where to write it")
    found = CASES[name]
    world = directory.world()
    case = found.truth(world) if truth else found.make(world)
    place_of = Path(folder)
    make_folder(place_of)
    write_output(place_of / "quote.bin", case.quote)
    write_folder(place_of, case.collateral)
    write_output(place_of / "policy.toml", found.policy.encode())
    write_output(place_of / "at", f"{written(case.at)}\n".encode())
    value = {**_row(found), "folder": folder, "at": written(case.at), "truth": truth}
    output.emit(value, [*_told(found, truth=truth), f"folder  {folder}"], as_json=as_json)


def _told(found: Fault, *, truth: bool) -> list[str]:
    """What was written, and what a sound verifier makes of it."""
    if truth:
        return ["truth   nothing is wrong: it must be accepted"]
    if not found.finding:
        return [f"oddity  {found.sentence}", "trips   nothing: it must be accepted"]
    return [f"fault   {found.sentence}", f"trips   {', '.join((found.finding, *found.also))}"]


def _row(found: Fault) -> dict[str, object]:
    return {
        "name": found.name,
        "finding": found.finding,
        "also": list(found.also),
        "sentence": found.sentence,
    }


def _list(*, as_json: bool) -> None:
    wire = [
        {"name": name, "sentence": (fault.__doc__ or "").partition("\n")[0]}
        for name, fault in WIRE_FAULTS.items()
    ]
    value = {
        "faults": [_row(found) for found in FAULTS.values()],
        "oddities": [_row(found) for found in ODDITIES.values()],
        "wire_faults": wire,
    }
    lines = ["faults: dcap sim fault NAME -o DIR"]
    for found in FAULTS.values():
        lines += [f"  {found.name}", f"      {found.sentence} [{found.finding}]"]
    lines.append("oddities, which must be accepted: dcap sim fault NAME -o DIR")
    for found in ODDITIES.values():
        lines += [f"  {found.name}", f"      {found.sentence}"]
    lines.append("faults of the wire: dcap sim up --wire-fault NAME")
    for row in wire:
        lines += [f"  {row['name']}", f"      {row['sentence']}"]
    output.emit(value, lines, as_json=as_json)
