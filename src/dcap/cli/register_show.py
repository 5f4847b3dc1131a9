"""`dcap register show`: what identifies this machine, where it was found, what it is enough for."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcap.cli import output
from dcap.cli.register_access import data_options, found

if TYPE_CHECKING:
    from dcap.platform_registration.platform_data import PlatformData
    from dcap.platform_registration.platform_sources import Found, Place
    from dcap.platform_registration.uefi import Variables

_ANYTHING_ELSE = "certificate"


@click.command("show")
@data_options
@click.option(
    "-o",
    "--output",
    "file",
    metavar="FILE",
    help="Write it to FILE as well: *.csv as that tool's table, else as platform_list.json.",
)
@click.option("--show-platform-id", is_flag=True, help="Show what identifies the machine.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def show(*, file: str | None, show_platform_id: bool, as_json: bool, **flags: Any) -> int:
    """Show what is known of this machine, and which kind of registration it is enough for.

    Exit status: 0; 1 where two files are of two machines; 2 where one cannot be read; 7 where nothing
    here tells which machine this is.
    """
    looked = found(flags)
    data = looked.expected()
    if file is not None:
        _write(Path(file), data)
    value = {
        "places": [
            {
                "source": place.source,
                "where": place.where,
                "found": place.is_there,
                "members": list(place.members),
                "problem": place.trouble or None,
            }
            for place in looked.places
        ],
        "registrations": _kinds(data),
        "bios": _bios_value(looked.variables),
        "file": file,
    }
    if show_platform_id:
        value["platform"] = {name: getattr(data, name) for name in data.members}
    output.emit(value, _lines(looked, data, file, show=show_platform_id), as_json=as_json)
    return 0


def _write(path: Path, data: "PlatformData") -> None:
    """For its owner alone: it names the machine. Raises `ConfigError` (`output-exists` …)."""
    from dcap.api.platform_list import write_csv, write_platform_list  # noqa: PLC0415
    from dcap.cli.collateral_source import expect_nothing_at, write_whole  # noqa: PLC0415

    record = data.whole_record()
    write = write_csv if path.suffix.lower() == ".csv" else write_platform_list
    expect_nothing_at(path)
    write_whole(path, write([record]))


def _kinds(data: "PlatformData") -> dict[str, Any]:
    from dcap.platform_registration.platform_data import KINDS  # noqa: PLC0415

    return {
        kind: {"complete": not data.lacks(kind), "lacks": list(data.lacks(kind))} for kind in KINDS
    }


def _bios_value(variables: "Variables") -> dict[str, Any] | None:
    if not variables.is_multi_package:
        return None
    state, server, request = variables.state, variables.server, variables.request
    return {
        "content": None if request is None else request.content,
        "complete": None if state is None else state.is_complete,
        "error_code": None if state is None else state.error_code,
        "server": None if server is None else server.url,
        "server_keeps_keys": None if server is None else server.keeps_keys,
        "package_info": variables.has_package_info,
        "response": variables.has_response,
    }


def _lines(looked: "Found", data: "PlatformData", file: str | None, *, show: bool) -> Iterator[str]:
    from dcap.platform_registration.platform_data import KINDS, NAMES  # noqa: PLC0415

    yield "platform data"
    for place in looked.places:
        yield f"  {place.source:<6} {place.where}: {_of_place(place)}"
    yield "enough for registration"
    server = looked.variables.server
    for kind, words in KINDS.items():
        lacks = data.lacks(kind)
        forbidden = kind == "direct" and server is not None and not server.keeps_keys
        told = f"; lacks {_named(lacks)}" if lacks else "; the BIOS forbids it" if forbidden else ""
        yield f"  {'no' if lacks or forbidden else 'ok'}  {words}{told}"
    if data.certificate:
        yield "  ok  its quotes carry a PCK certificate: it is registered"
    yield from bios_lines(looked.variables)
    if show:
        yield "identifiers"
        width = max(map(len, NAMES.values()))
        for name in data.members:
            yield f"  {NAMES[name]:<{width}}  {_shown(name, getattr(data, name))}"
    if file is not None:
        yield f"{file}: written; it identifies this machine"


def _of_place(place: "Place") -> str:
    if not place.is_there:
        return "nothing"
    told = _named(place.members) if place.members else ""
    return "; ".join(part for part in (told, place.trouble) if part) or "nothing to be sent"


def _named(members: tuple[str, ...]) -> str:
    from dcap.platform_registration.platform_data import NAMES  # noqa: PLC0415

    return ", ".join("PCK certificate" if m == _ANYTHING_ELSE else NAMES[m] for m in members)


def _shown(name: str, value: str) -> str:
    """What is long by its beginning and its digest; a list (-o) has all of it."""
    if name not in ("enc_ppid", "platform_manifest"):
        return value
    content = bytes.fromhex(value)
    return f"{value[:16]}…, {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"


def bios_lines(variables: "Variables") -> Iterator[str]:
    """What the BIOS says of the registration of a machine of several packages."""
    from dcap.platform_registration.uefi import told_error  # noqa: PLC0415

    if not variables.is_multi_package:
        return
    state, server, request = variables.state, variables.server, variables.request
    yield "BIOS"
    if state is not None:
        yield f"  {_state(is_complete=state.is_complete, is_shown=request is not None)}"
        if state.error_code:
            yield f"  last error 0x{state.error_code:02X}: {told_error(state.error_code)}"
    if server is not None:
        keeps = (
            "may keep the machine's keys"
            if server.keeps_keys
            else (
                "may not keep the machine's keys ('SGX Auto MP Registration' is off): register at a PCCS"
            )
        )
        yield f"  registration server {server.url or '(none)'}: it {keeps}"
    if variables.has_package_info:
        yield "  key blobs are offered for a backup (SgxRegistrationPackageInfo)"


def _state(*, is_complete: bool, is_shown: bool) -> str:
    if is_complete and is_shown:
        return "registration complete: what was sent is shown until the next boot"
    if is_complete:
        return (
            "registration complete: the manifest is no longer shown; 'SGX Factory Reset' in the BIOS "
            "makes a new one"
        )
    if is_shown:
        return "registration in progress: what the BIOS shows is to be sent"
    return "registration in progress, and nothing is shown: reboot; see that SGX is on in the BIOS"
