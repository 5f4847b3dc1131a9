"""`dcap qcnl`: the configuration of Intel's quote provider library: shown, checked, written.

Reading stands in `dcap.qpl.qcnl_config`, writing in `qcnl_write`. Nothing here asks the network.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from dcap.cli import output
from dcap.cli.arguments import read_input
from dcap.cli.qcnl_write import write
from dcap.errors import ConfigError
from dcap.qpl.qcnl_checks import HARMLESS, HIDDEN, without_credentials
from dcap.qpl.qcnl_config import MAX_SIZE, VARIABLE, load_qcnl, read_qcnl
from dcap.qpl.qcnl_environment import cache_directory, environment_remarks, proxies
from dcap.qpl.qcnl_keys import KEYS
from dcap.qpl.qcnl_values import QcnlConfig, Reading, Remark

_OPTIONS = "custom_request_options"
_FORMATS = {
    "json": "JSON",
    "legacy": "KEY=value, the format of before 2022",
    "absent": "not there: defaults",
    "empty": "empty: defaults",
}
#: What the code of `sgx_qpl_global_init` leads to.
_INIT = {
    0: "no error is reported",
    0xE067: "SGX quotes lose their PCK certificates (0xE00E), TDX quotes fail",
    0xE001: "SGX quotes lose their PCK certificates (0xE00E), TDX quotes and verification fail",
}


@click.group("qcnl")
def command() -> None:
    """The configuration of Intel's quote provider library, sgx_default_qcnl.conf.

    FILE is by default what the library itself would read: $QCNL_CONF_PATH, else
    /etc/sgx_default_qcnl.conf.
    """


@command.command("show")
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def show(*, file: str | None, as_json: bool) -> None:
    """Show every setting: what dcap uses, where it comes from, and what Intel's library uses."""
    reading = _read(file)
    about = (*environment_remarks(os.environ, reading.config),)
    cache, exists = cache_directory(os.environ)
    document = {
        **_head(reading),
        "settings": _settings(reading),
        "proxies": proxies(os.environ),
        "cache": {"directory": str(cache or ""), "exists": exists},
        "remarks": [msgspec.to_builtins(found) for found in (*reading.remarks, *about)],
    }
    output.emit(document, _shown(reading, about, cache, exists=exists), as_json=as_json)
    if not reading.config.use_secure_cert:
        output.warn(
            "use_secure_cert is false: no server's certificate is checked, whoever answers "
            "(what Intel has signed is still checked)"
        )


@command.command("lint")
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def lint(*, file: str | None, as_json: bool) -> int:
    """Say where Intel's library does not do what FILE (- is stdin) says, and how to mend it.

    Exit status 1 where it discards the file, ignores a setting, or does something else than it
    reads; 0 where there is advice at most.
    """
    reading = _read(file)
    document = {
        **_head(reading),
        "obeyed": reading.obeyed,
        "remarks": [msgspec.to_builtins(found) for found in reading.remarks],
    }
    output.emit(document, _linted(reading), as_json=as_json)
    return 0 if reading.obeyed else ConfigError.exit_status


command.add_command(write)


def _read(file: str | None) -> Reading:
    """The file that was named, which has to be there, or the one that the library would read."""
    if file is None:
        return load_qcnl(os.environ)
    if file == "-":
        return read_qcnl(read_input("-", MAX_SIZE), where="standard input")
    reading = load_qcnl(os.environ, path=Path(file))
    if reading.format == "absent":
        raise ConfigError(
            "file-unreadable",
            reading.remarks[0].what.partition(":")[0],
            where=file,
            mend="check its name and permissions",
        )
    return reading


def _head(reading: Reading) -> dict[str, Any]:
    return {
        "file": reading.where,
        "format": reading.format,
        "init": f"0x{reading.init:04X}" if reading.init else "0",
    }


# ── lint ────────────────────────────────────────────────────────────────────────────────────────


def _linted(reading: Reading) -> Iterator[str]:
    for found in reading.remarks:
        place = f":{found.line}:{found.column}" if found.line else ""
        key = f"{found.key}: " if found.key not in found.what else ""
        yield f"{reading.where}{place}: {found.severity}: {key}{found.what} [{found.code}]"
        yield f"  fix: {found.mend}"
    if reading.init:
        yield f"sgx_qpl_global_init returns 0x{reading.init:04X}: {_INIT[reading.init]}"
    worse = sum(found.severity != "advice" for found in reading.remarks)
    if worse:
        yield f"Intel's library does not do what the file says: {worse} to mend"
    elif reading.format in ("absent", "empty"):
        yield "nothing is set: Intel's library uses its defaults, as the advice above says"
    else:
        yield "ok: Intel's library does what the file says"


# ── show ────────────────────────────────────────────────────────────────────────────────────────


def _settings(reading: Reading) -> dict[str, Any]:
    ours, intels = _values(reading.config), _values(reading.intel)
    return {
        key: {
            "value": ours[key],
            "intel": intels[key],
            "from": reading.origins[key].kind,
            "line": reading.origins[key].line,
        }
        for key in KEYS
    }


def _values(config: QcnlConfig) -> dict[str, Any]:
    """Every value as it may be shown: without passwords and keys."""
    values = {key: getattr(config, key) for key in KEYS if key != _OPTIONS}
    for key in ("pccs_url", "local_pck_url"):
        values[key] = without_credentials(values[key])
    values["collateral_service"] = without_credentials(config.collateral_url)
    values[_OPTIONS] = {
        name: [[header, value if header.lower() in HARMLESS else HIDDEN] for header, value in pairs]
        for name, pairs in (("headers", config.request_headers), ("params", config.request_params))
        if pairs
    }
    return values


def _shown(
    reading: Reading, about: tuple[Remark, ...], cache: Path | None, *, exists: bool
) -> Iterator[str]:
    found = f" (by {VARIABLE})" if os.environ.get(VARIABLE) == reading.where else ""
    yield f"file   {reading.where}{found}"
    yield f"format {_FORMATS[reading.format]}"
    yield ""
    for key, setting in _settings(reading).items():
        origin = f"line {setting['line']}" if setting["from"] == "file" else setting["from"]
        if key == "collateral_service" and reading.config.collateral_service is None:
            origin = "as pccs_url"
        yield f"{key:<37} {_text(setting['value'])}  ({origin})"
        if setting["intel"] != setting["value"]:
            yield f"{'':<37} Intel's library: {_text(setting['intel'])}"
    yield ""
    yield from _surroundings(cache, exists=exists)
    for remark in about:
        yield f"{remark.severity}: {remark.what} [{remark.code}]"
        yield f"  fix: {remark.mend}"
    yield "the environment is that of this shell: a daemon (aesmd, qgsd) has its own"
    if reading.remarks:
        yield f"remarks on the file: {len(reading.remarks)} (see `dcap qcnl lint`)"


def _surroundings(cache: Path | None, *, exists: bool) -> Iterator[str]:
    listed: Mapping[str, str] = proxies(os.environ)
    for name, value in listed.items():
        yield f"proxy  {name}={value}"
    if not listed:
        yield "proxy  none"
    state = "is there" if exists else "would be made"
    yield f"cache  {cache} ({state})" if cache else "cache  nowhere: no folder can be written"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ", ".join(f"{name} {dict(pairs)}" for name, pairs in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "none"
