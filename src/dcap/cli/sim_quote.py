"""`dcap sim quote` and `dcap sim collateral`: a simulated machine's evidence, and Intel's word on it."""

import hashlib
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dcap.cli import output
from dcap.cli.evidence_forms import (
    FORMS,
    claims_buffer,
    expect_holds,
    hex_bytes,
    put,
    write_output,
    write_stdout,
)
from dcap.cli.sim_place import machine_of, place, write_folder
from dcap.formats.containers import conclave
from dcap.simulator.events import MACHINE
from dcap.simulator.keys import derive
from dcap.simulator.platform import Platform
from dcap.simulator.quoting_enclave import SGX_ATTRIBUTES, TD_ATTRIBUTES
from dcap.simulator.state import WorldDirectory

CONTAINERS = (*FORMS, "eii")
#: Body types that a quote of a version can hold, by TEE; the first is the usual one.
BODIES = {
    ("SGX", 3): (1,),
    ("SGX", 4): (1,),
    ("SGX", 5): (1,),
    ("TDX", 4): (2,),
    ("TDX", 5): (3, 2, 4),
}
#: Flag -> (field of the report, bytes), by TEE.
MEASUREMENTS = {
    "SGX": {"mrenclave": ("mr_enclave", 32), "mrsigner": ("mr_signer", 32)},
    "TDX": {
        "mrtd": ("mr_td", 48),
        "rtmr0": ("rtmr0", 48),
        "rtmr1": ("rtmr1", 48),
        "rtmr2": ("rtmr2", 48),
        "rtmr3": ("rtmr3", 48),
    },
}
NUMBERS = {"product_id": "isv_prod_id", "svn": "isv_svn"}
_MAX_NUMBER = 0xFFFF
_REPORT_DATA = 64


@click.command("quote")
@place
@click.option(
    "--platform",
    metavar="NAME",
    default=MACHINE,
    show_default=True,
    help="The machine that quotes.",
)
@click.option("--tee", type=click.Choice(["sgx", "tdx"]), default="sgx", show_default=True)
@click.option(
    "--version", type=click.IntRange(3, 5), metavar="N", help="Of the quote: 3 to 5; TDX 4 or 5."
)
@click.option(
    "--body-type",
    type=click.IntRange(1, 4),
    metavar="N",
    help="Of version 5: 1 SGX, 2 TDX 1.0, 3 TDX 1.5 (the default for TDX), 4 its extension.",
)
@click.option(
    "--certification",
    type=click.IntRange(1, 5),
    default=5,
    show_default=True,
    metavar="N",
    help="Certification data: 1 to 3 a PPID, 4 the PCK certificate, 5 its chain.",
)
@click.option("--report-data", metavar="HEX", help="1 to 64 bytes, padded with zeros.")
@click.option(
    "--container",
    type=click.Choice(CONTAINERS),
    default="raw",
    show_default=True,
    help="What the quote is put into: text, Open Enclave's or Conclave's form.",
)
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=TEXT",
    help="A custom claim of oe-evidence, bound by the report data. Repeatable.",
)
@click.option("--mrenclave", metavar="HEX", help="The enclave's measurement.")
@click.option("--mrsigner", metavar="HEX", help="The enclave's signer.")
@click.option("--product-id", type=click.IntRange(0, _MAX_NUMBER), metavar="N")
@click.option("--svn", type=click.IntRange(0, _MAX_NUMBER), metavar="N")
@click.option("--mrtd", metavar="HEX", help="The TD's measurement.")
@click.option("--rtmr0", metavar="HEX", help="… its RTMR0 (also 1, 2, 3).")
@click.option("--rtmr1", metavar="HEX", hidden=True)
@click.option("--rtmr2", metavar="HEX", hidden=True)
@click.option("--rtmr3", metavar="HEX", hidden=True)
@click.option("--debug", is_flag=True, help="A debug enclave or TD.")
@click.option("-o", "--output", "file", metavar="FILE", required=True, help="- is standard output.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def quote(
    *,
    directory: WorldDirectory,
    platform: str,
    tee: str,
    version: int | None,
    body_type: int | None,
    certification: int,
    report_data: str | None,
    container: str,
    claims: tuple[str, ...],
    file: str,
    as_json: bool,
    debug: bool,
    **identity: Any,
) -> None:
    """Write a quote of a simulated machine to FILE, over any enclave or TD."""
    name = tee.upper()
    version, body_type = _shape(name, version, body_type)
    machine = machine_of(directory.world(), platform)
    bound = _Wrapping(machine, container, name, claims)
    evidence = bound.put(
        machine.quote(
            bound.report_data(report_data),
            tee=name,
            version=version,
            body_type=body_type,
            certification=certification,
            **_fields(name, identity, debug=debug),
        )
    )
    if file == "-":
        if as_json:
            raise click.UsageError("the quote goes to standard output: --json has no place there")
        write_stdout(evidence)
        return
    write_output(Path(file), evidence)
    value = {
        "file": file,
        "tee": name,
        "version": version,
        "container": container,
        "platform": platform,
        "size": len(evidence),
    }
    within = "" if container == "raw" else f" in {container}"
    line = f"{file}: {name} quote v{version}{within} of {platform}, {len(evidence)} bytes"
    output.emit(value, [line], as_json=as_json)


@click.command("collateral")
@place
@click.option(
    "--platform", metavar="NAME", default=MACHINE, show_default=True, help="The machine it is for."
)
@click.option("--tee", type=click.Choice(["sgx", "tdx"]), default="sgx", show_default=True)
@click.option(
    "--update",
    type=click.Choice(["standard", "early"]),
    default="standard",
    show_default=True,
    help="Before or after an announced TCB recovery is promoted.",
)
@click.option("--number", type=int, metavar="N", help="Of this TCB evaluation data number.")
@click.option(
    "--tcb-info-version", type=click.IntRange(2, 3), default=3, show_default=True, metavar="N"
)
@click.option("-o", "--output", "folder", metavar="DIR", required=True, help="The folder to fill.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def collateral(
    *,
    directory: WorldDirectory,
    platform: str,
    tee: str,
    update: str,
    number: int | None,
    tcb_info_version: int,
    folder: str,
    as_json: bool,
) -> None:
    """Write what Intel would answer now for a machine, as `dcap verify --collateral` reads it."""
    world = directory.world()
    machine = machine_of(world, platform)
    offered = [n for n in world.intel.generations if n >= world.intel.retired_below]
    if number is not None and number not in offered:
        raise click.UsageError(f"evaluation data number {number} is not on offer: {offered}")
    if tcb_info_version == 2 and tee == "tdx":
        raise click.UsageError("TCB info of version 2 is for SGX alone")
    made = world.collateral(
        machine, tee.upper(), update=update, number=number, tcb_info_version=tcb_info_version
    )
    names = write_folder(Path(folder), made)
    used = world.intel.generation(update, number).number
    value = {"folder": folder, "files": names, "platform": platform, "evaluation_number": used}
    line = f"{folder}: {len(names)} files for {platform}, {tee.upper()}, evaluation data {used}"
    output.emit(value, [line], as_json=as_json)


class _Wrapping:
    """What a quote is put into, and the report data that this asks for."""

    def __init__(
        self, machine: Platform, container: str, tee: str, claims: tuple[str, ...]
    ) -> None:
        if claims and (container != "oe-evidence" or tee != "SGX"):
            raise click.UsageError("--claim belongs to --container oe-evidence with --tee sgx")
        if tee != "SGX" and container == "eii":
            raise click.UsageError("--container eii holds SGX quotes alone")
        expect_holds(container, tee, "--container")
        self.machine, self.container, self.tee = machine, container, tee
        self.claims = claims_buffer(claims)

    def report_data(self, given: str | None) -> bytes:
        """The report data of the quote: given, or what binds the container."""
        bound = self._bound()
        if given is None:
            return bound or bytes(_REPORT_DATA)
        if bound is not None:
            raise click.UsageError(
                f"--report-data: {self.container} makes the report data from what it binds"
            )
        return hex_bytes(given, "--report-data", most=_REPORT_DATA)

    def _bound(self) -> bytes | None:
        if self.container == "oe-evidence" and self.tee == "SGX":
            return hashlib.sha256(self.claims).digest()
        if self.container == "eii":
            return hashlib.sha512(b"".join(self._keys().values())).digest()
        return None

    def put(self, evidence: bytes) -> bytes:
        """The quote in its container."""
        if self.container == "eii":
            beside = self.machine.world.collateral(self.machine)
            return conclave.write_instance_info(evidence, beside, **self._keys())
        return put(evidence, self.container, self.tee, self.claims)

    def _keys(self) -> dict[str, bytes]:
        """The enclave's two keys, its own on every machine."""
        seed, name = self.machine.world.seed, self.machine.name
        signing = Ed25519PrivateKey.from_private_bytes(derive(seed, "conclave signing", name))
        encryption = X25519PrivateKey.from_private_bytes(derive(seed, "conclave", name))
        return {
            "data_signing_key": signing.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            ),
            "encryption_key": encryption.public_key().public_bytes_raw(),
        }


def _shape(tee: str, version: int | None, body_type: int | None) -> tuple[int, int]:
    """Version and body type, completed. A combination that no QE makes is refused."""
    if version is None:
        usual = 3 if tee == "SGX" else 4
        version = 5 if body_type is not None and body_type not in BODIES[tee, usual] else usual
    bodies = BODIES.get((tee, version), ())
    if not bodies:
        raise click.UsageError(f"there are no {tee} quotes of version {version}")
    if body_type is not None and body_type not in bodies:
        raise click.UsageError(
            f"a {tee} quote of version {version} has no body of type {body_type}"
        )
    return version, body_type or bodies[0]


def _fields(tee: str, identity: dict[str, Any], *, debug: bool) -> dict[str, Any]:
    """The fields of the report that were asked for."""
    fields: dict[str, Any] = {}
    for flag, value in identity.items():
        if value is None:
            continue
        if tee == "SGX" and flag in NUMBERS:
            fields[NUMBERS[flag]] = value
        elif flag in MEASUREMENTS[tee]:
            field, size = MEASUREMENTS[tee][flag]
            fields[field] = hex_bytes(value, f"--{flag}", least=size, most=size)
        else:
            raise click.UsageError(f"--{flag.replace('_', '-')} says nothing of a {tee} quote")
    if debug and tee == "SGX":
        fields["attributes"] = bytes((SGX_ATTRIBUTES[0] | 2, *SGX_ATTRIBUTES[1:]))
    elif debug:
        fields["td_attributes"] = bytes((TD_ATTRIBUTES[0] | 1, *TD_ATTRIBUTES[1:]))
    return fields
