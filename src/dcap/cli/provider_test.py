"""`dcap provider test`: ask a plugin everything that programs ask it, and show what it answers.

Each call goes to the services that the plugin's own configuration names. What it gives is proven as from
any other source; a plugin itself proves nothing. Without a plugin, dcap's own client is asked the same.
Not here: which plugins there are (`provider_list`), how one is called (`qpl.plugin`).
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from dcap.cli import arguments, output
from dcap.errors import ConfigError, printable
from dcap.formats.certificate import Certificate
from dcap.formats.certification import CertificationType
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.quote import Quote
from dcap.qpl.qcnl_values import VARIABLE as QCNL_FILE
from dcap.sources.azure_config import VARIABLES
from dcap.sources.need import QE_ID_SIZE, MachineNeed, Tee, machine_of, need_of

if TYPE_CHECKING:
    from dcap.cli.provider_calls import Asked, Piece, Tried

#: An FMSPC that Intel publishes, where none is given: of Coffee Lake, which has no TDX.
FMSPC: Final = "00906ED50000"
#: What of Intel's plugin stands in the environment: name, what holds without it, effect (§1.5).
INTELS: Final = (
    (
        QCNL_FILE,
        "/etc/sgx_default_qcnl.conf",
        "its configuration; a path that is wrong means defaults",
    ),
    ("XDG_CACHE_HOME", "", "directory above its cache, after AZDCAP_CACHE and before HOME"),
    ("http_proxy", "", "proxy for http; HTTP_PROXY in capitals is ignored"),
    ("https_proxy", "", "proxy for https; HTTPS_PROXY counts too"),
    ("all_proxy", "", "proxy for everything else"),
    ("no_proxy", "", "hosts that are asked without one: a PCCS in the intranet belongs here"),
)
_PASSWORD = re.compile(r"(?<=//)[^/@\s]*@")
_WHOSE = {"intel": "Intel's", "azure": "Azure's", "dcap": "dcap's", "unknown": "of unknown origin"}
_WORDS = {
    "ok": "ok",
    "false": "FAIL",
    "expired": "FAIL",
    "failed": "FAIL",
    "none": "none",
    "missing": "-",
}


@click.command("test")
@click.argument("path", required=False, metavar="[PATH]")
@click.option("--qcnl", "qcnl_file", metavar="FILE", help="Let it read this configuration.")
@click.option("--quote", "quote_file", metavar="FILE", help="Ask about the machine of this quote.")
@click.option("--fmspc", metavar="HEX", help=f"Ask about this FMSPC.  [default: {FMSPC}]")
@click.option(
    "--ca",
    type=click.Choice(["processor", "platform"]),
    help="The CA of its PCK certificates.  [default: processor]",
)
@click.option("--qe-id", metavar="HEX", help="Ask for this machine's PCK certificate.")
@click.option("--cpu-svn", metavar="HEX", help="Its CPUSVN, 16 bytes.")
@click.option("--pce-svn", type=click.IntRange(0, 0xFFFF), default=0, help="Its PCESVN.")
@click.option("--pce-id", type=click.IntRange(0, 0xFFFF), default=0, help="Its PCE's id.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, 3600, min_open=True),
    default=30.0,
    metavar="SECONDS",
    help="Wait so long for each call.  [default: 30]",
)
@click.option("--clear-cache", is_flag=True, help="First delete what the plugin has kept.")
@click.option(
    "--environment", is_flag=True, help="Show every variable, not only those that are set."
)
@click.option("--log", is_flag=True, help="Show what the plugin says, on stderr.")
@click.option("--at", metavar="TIME", help="Judge as of this instant: Unix seconds or RFC 3339.")
@click.option(
    "--insecure-test-root",
    metavar="FILE",
    envvar="DCAP_INSECURE_TEST_ROOT",
    help="Trust this root instead of Intel's. For tests only.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(path: str | None, **flags: Any) -> int:
    """Make each call of a quote provider library, and show what came of it.

    PATH is a libdcap_quoteprov.so; without it, the one that Conclave would load, and where none is
    installed, dcap's own client. It runs in a process of its own, where it may crash or hang.

    Exit status: 0 all is well; 3 something is false; 4 something has expired; 6 something could not be
    had.
    """
    asked = _asked(flags)
    environ = dict(os.environ)
    if flags["qcnl_file"]:
        if not Path(flags["qcnl_file"]).is_file():
            raise _absent(flags["qcnl_file"], "`dcap qcnl write` makes a configuration")
        environ[QCNL_FILE] = str(Path(flags["qcnl_file"]).absolute())
    if path is not None and not Path(path).is_file():
        raise _absent(path, "`dcap provider list` shows what is installed")
    from dcap.cli.provider_calls import status_of  # noqa: PLC0415 - not before the flags are right
    from dcap.qpl.discovery import conclave_choice  # noqa: PLC0415

    library = Path(path) if path else conclave_choice()
    if library is None:
        plugin: dict[str, Any] = {"path": None, "kind": "bundled", "functions": 0}
        tried = list(_bundled(asked, environ, flags["timeout"]))
    else:
        plugin, tried = _installed(library, asked, environ, flags)
    variables = list(_variables(environ))
    status = status_of(tried)
    value = {
        "plugin": plugin,
        "calls": msgspec.to_builtins(tried),
        "environment": variables,
        "trust_root": asked.anchor.name,
        "exit_status": status,
    }
    lines = _lines(plugin, asked, tried, variables, everything=flags["environment"])
    output.emit(value, lines, as_json=flags["as_json"])
    return status


def _absent(path: str, mend: str) -> ConfigError:
    return ConfigError("file-unreadable", "there is no such file", where=path, mend=mend)


def _asked(flags: Mapping[str, Any]) -> "Asked":
    from dcap.cli.provider_calls import Asked  # noqa: PLC0415 - not for --help

    fmspc, ca, machine, is_tdx = arguments.fmspc(flags["fmspc"] or FMSPC), flags["ca"], None, False
    if flags["quote_file"]:
        quote = Quote.parse(arguments.read_input(flags["quote_file"]))
        need = need_of(quote)
        fmspc = fmspc if flags["fmspc"] else need.fmspc
        ca, is_tdx = ca or need.ca, need.tee == "TDX"
        machine = _machine_of(quote)
    if flags["qe_id"]:
        machine = MachineNeed(
            qe_id=_hex(flags["qe_id"], "--qe-id"),
            cpu_svn=_hex(flags["cpu_svn"] or "00" * 16, "--cpu-svn"),
            pce_svn=flags["pce_svn"],
            pce_id=flags["pce_id"].to_bytes(2, "little"),
        )
    return Asked(
        fmspc=fmspc,
        ca=ca or "processor",
        machine=machine,
        is_tdx=is_tdx,
        at=arguments.instant(flags["at"]),
        anchor=arguments.anchor(flags["insecure_test_root"]),
    )


def _machine_of(quote: Quote) -> MachineNeed:
    """The machine of a quote: by what it says of itself, or for the TCB of its certificate."""
    if quote.certification.type != CertificationType.PCK_CERTIFICATE_CHAIN:
        return machine_of(quote)
    leaf = Certificate.parse_chain(quote.certification.data)[0]
    extensions = PckExtensions.parse(leaf.sgx_extension or b"")
    return MachineNeed(
        qe_id=quote.header.user_data[:QE_ID_SIZE],
        cpu_svn=extensions.cpu_svn,
        pce_svn=extensions.pce_svn,
        pce_id=extensions.pce_id,
    )


def _hex(text: str, flag: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 16:
        raise ConfigError("plugin-machine", "it is not 16 bytes in hex", where=flag)
    return found


def _installed(
    library: Path, asked: "Asked", environ: Mapping[str, str], flags: Mapping[str, Any]
) -> "tuple[dict[str, Any], list[Tried]]":
    from dcap.cli.provider_calls import attempt, calls_of  # noqa: PLC0415 - as below
    from dcap.qpl.plugin import Hear, Plugin, PluginLimits  # noqa: PLC0415 - only where there is one
    from dcap.qpl.plugin_errors import explain  # noqa: PLC0415
    from dcap.qpl.plugin_messages import Loaded  # noqa: PLC0415

    hear: Hear | None = _hear if flags["log"] else None
    limits = PluginLimits(call=flags["timeout"], load=max(10.0, flags["timeout"]))
    with Plugin(library, environ=environ, limits=limits, hear=hear) as plugin:
        found: list[Loaded] = []
        loading = attempt("loading", lambda: found.append(plugin.about), lambda _: ((), "", False))
        if not found:
            return {"path": str(library), "kind": "unknown", "functions": 0}, [loading]
        about = found[0]
        if about.init:
            words, mend = explain("sgx_qpl_global_init", about.init)
            loading = msgspec.structs.replace(
                loading, status="failed", code=f"0x{about.init:04X}", why=words, mend=mend
            )
        told = {"path": str(library), "kind": about.kind, "functions": len(about.exports)}
        return told, [loading, *calls_of(plugin, asked, clear=flags["clear_cache"])]


def _hear(level: str, text: str) -> None:
    click.echo(f"plugin {level}: {printable(text)}", err=True)


def _bundled(asked: "Asked", environ: Mapping[str, str], timeout: float) -> "Iterator[Tried]":
    """The same of dcap's own client, as far as a source has it."""
    from dcap.cli import provider_calls as calls  # noqa: PLC0415 - as below
    from dcap.sources.environment import from_environment  # noqa: PLC0415 - only who fetches

    source = from_environment(
        ["bundled"], environ=environ, anchor=asked.anchor, at=asked.at, timeout=timeout
    )
    config = calls.attempt(
        "quote config",
        lambda: source.pck_certificate(asked.who),
        lambda found: calls.judge_pck(found, asked),
    )
    yield calls.for_a_machine(config, asked)
    tees: tuple[Tee, Tee] = ("SGX", "TDX")
    for tee in tees:
        need = asked.need(tee)
        ask = partial(source.collateral, need)
        tried = calls.attempt(f"{tee} collateral", ask, calls.judge_set(need, asked))
        yield calls.for_tdx(tried, tee, asked)


# ── how it is told ──────────────────────────────────────────────────────────────────────────────


def _reason(why: str) -> str:
    """What went wrong, whichever function of the plugin said so."""
    return why.partition(" returned ")[2] or why


def _variables(environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Every variable that a plugin heeds: what holds without it, what it is, what it does."""
    rows = [("azure", *row) for row in VARIABLES] + [("intel", *row) for row in INTELS]
    for whose, name, default, effect in rows:
        value = _PASSWORD.sub("…@", environ.get(name, ""))
        yield {"plugin": whose, "name": name, "default": default, "value": value, "effect": effect}


def _lines(
    plugin: Mapping[str, Any],
    asked: "Asked",
    tried: "Sequence[Tried]",
    variables: list[dict[str, str]],
    *,
    everything: bool,
) -> Iterator[str]:
    if plugin["path"] is None:
        yield "plugin       none installed: dcap's own client is asked"
    else:
        yield f"plugin       {plugin['path']}"
        yield f"             {_WHOSE[plugin['kind']]}, {plugin['functions']} functions"
    machine = "a machine that was named" if asked.machine else "no machine"
    yield f"about        FMSPC {asked.fmspc.hex().upper()}, {asked.ca} CA, {machine}"
    yield "calls"
    width = max(len(each.call) for each in tried)
    shown_before: tuple[Piece, ...] = ()
    why_before = ""
    for each in tried:
        size = f"{sum(piece.size for piece in each.pieces):8,} bytes" if each.pieces else ""
        head = f"  {_WORDS[each.status]:<5} {each.call:<{width}}  {each.code}"
        yield f"{head}  {each.seconds * 1000:8.1f} ms  {size}".rstrip()
        if each.pieces and each.pieces == shown_before:
            yield "          the same as above"
        for piece in () if each.pieces == shown_before else each.pieces:
            yield f"          {piece.name:<26} {piece.size:7,}  {piece.what}"
        shown_before = each.pieces
        if each.why:
            told = "the same as above" if _reason(each.why) == _reason(why_before) else each.why
            yield f"          {told}"
        why_before = each.why
    for mend in dict.fromkeys(each.mend for each in tried if each.mend and each.counts):
        yield f"fix     {mend}"
    shown = [row for row in variables if everything or row["value"]]
    if shown:
        yield "environment"
    for row in shown:
        held = row["value"] or (f"not set ({row['default']})" if row["default"] else "not set")
        yield f"  {row['name']:<33} {held}"
        yield f"  {'':<33} {_WHOSE[row['plugin']]}: {row['effect']}"
