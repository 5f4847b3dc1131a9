"""`dcap sim platform`: what identifies a simulated machine, as a real one would send it out."""

from collections.abc import Callable

import click
import msgspec

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
#: Member of `POST …/platforms` -> field. Intel's PCCS refuses members that are there and empty.
_MANIFEST = {"qe_id": "qe_id", "pce_id": "pce_id", "platform_manifest": "platform_manifest"}
_PPID = {name: name for name in ("qe_id", "pce_id", "cpu_svn", "pce_svn")} | {
    "enc_ppid": "encrypted_ppid"
}
#: Of `pckid_retrieval.csv`, which has no head.
_COLUMNS = ("encrypted_ppid", "pce_id", "cpu_svn", "pce_svn", "qe_id", "platform_manifest")
_SHOWN = 64


@click.command("platform")
@click.argument("name", default=MACHINE)
@place
@click.option("--field", type=click.Choice(list(FIELDS)), help="Print this alone, whole.")
@click.option(
    "--registration", is_flag=True, help="Print what registers it at a PCCS: POST …/platforms."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print its pckid_retrieval.csv.")
@click.option("--json", "as_json", is_flag=True, help="Print all, whole, as JSON.")
def platform(
    *,
    name: str,
    directory: WorldDirectory,
    field: str | None,
    registration: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show what identifies the machine NAME, as PCKIDRetrievalTool would: for PCKs and registration.

    For `dcap pccs` there are the two forms in which that tool hands it on: --registration and --csv.
    """
    if registration + as_csv + (field is not None or as_json) > 1:
        raise click.UsageError("--registration and --csv each go alone")
    machine = machine_of(directory.world(), name)
    if registration or as_csv:
        sent = _registration(machine) if registration else _table(machine)
        output.emit({}, [sent], as_json=False)
        return
    if field is not None:
        value = FIELDS[field](machine)
        output.emit({field: value}, [value], as_json=as_json)
        return
    values = {name: of(machine) for name, of in FIELDS.items()}
    lines = [f"{name:<18}{_short(value)}" for name, value in values.items() if value]
    output.emit(values, lines, as_json=as_json)


def _registration(machine: Platform) -> str:
    """By its manifest where it has one, and then by nothing else; by its encrypted PPID where not."""
    named = _MANIFEST if FIELDS["platform_manifest"](machine) else _PPID
    sent = {member: FIELDS[field](machine) for member, field in named.items()}
    return msgspec.json.encode(sent).decode()


def _table(machine: Platform) -> str:
    return ",".join(FIELDS[column](machine) for column in _COLUMNS)


def _short(value: str) -> str:
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}… ({len(value)} digits)"


def _hex(value: bytes) -> str:
    return value.hex().upper()
