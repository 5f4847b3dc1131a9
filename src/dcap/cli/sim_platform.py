"""`dcap sim platform`: what identifies a simulated machine, as a real one would send it out."""

from collections.abc import Callable

import click

from dcap.cli import output
from dcap.cli.sim_place import machine_of, place
from dcap.simulator.events import MACHINE
from dcap.simulator.platform import Platform
from dcap.simulator.state import WorldDirectory
from dcap.simulator.tcb_model import PCE_SVN

#: Field -> what it is; bytes in the order of the wire, so that PCEID and PCESVN are little-endian.
FIELDS: dict[str, Callable[[Platform], str]] = {
    "name": lambda machine: machine.name,
    "ca": lambda machine: machine.ca,
    "fmspc": lambda machine: _hex(machine.fmspc),
    "pce_id": lambda machine: _hex(machine.pce_id),
    "cpu_svn": lambda machine: _hex(machine.cpu_svn),
    "pce_svn": lambda _machine: _hex(PCE_SVN.to_bytes(2, "little")),
    "qe_id": lambda machine: _hex(machine.qe_id),
    "encrypted_ppid": lambda machine: _hex(machine.encrypted_ppid),
    "platform_manifest": lambda machine: _hex(machine.manifest) if machine.ca == "platform" else "",
}
_SHOWN = 64


@click.command("platform")
@click.argument("name", default=MACHINE)
@place
@click.option("--field", type=click.Choice(list(FIELDS)), help="Print this alone, whole.")
@click.option("--json", "as_json", is_flag=True, help="Print all, whole, as JSON.")
def platform(*, name: str, directory: WorldDirectory, field: str | None, as_json: bool) -> None:
    """Show what identifies the machine NAME, as PCKIDRetrievalTool would: for PCKs and registration."""
    machine = machine_of(directory.world(), name)
    if field is not None:
        value = FIELDS[field](machine)
        output.emit({field: value}, [value], as_json=as_json)
        return
    values = {name: of(machine) for name, of in FIELDS.items()}
    lines = [f"{name:<18}{_short(value)}" for name, value in values.items() if value]
    output.emit(values, lines, as_json=as_json)


def _short(value: str) -> str:
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}… ({len(value)} digits)"


def _hex(value: bytes) -> str:
    return value.hex().upper()
