"""`dcap pccs forget`: let a running service forget a machine, or one piece of collateral.

A machine's QE id is never an argument, for a command line is seen by everybody: it comes from a file or
from stdin. Intel's PCCS has nothing of the kind: there one writes SQL.
"""

from typing import Any

import click
import msgspec

from dcap.api.pccs_responses import PccsRefusal
from dcap.cli import arguments, output
from dcap.cli.pccs_access import TOKEN, explained, network, own_certificate, pccs_options, secret
from dcap.errors import ConfigError, FormatError
from dcap.pccs.removal import Removal

_UNAUTHORISED, _NOT_FOUND = 401, 404
_LONGEST = 4096


class _Named(msgspec.Struct, frozen=True):
    """Of Intel's list of machines, or of what PCKIDRetrievalTool posts, what names one."""

    qe_id: str
    pce_id: str = "0000"


@click.command("forget")
@click.argument("key", required=False)
@click.option(
    "--machine",
    "machine_file",
    metavar="FILE",
    help='A machine instead: JSON with "qe_id" (and "pce_id"), or the QE id alone; - is stdin.',
)
@pccs_options
@click.option(
    "--data",
    metavar="DIR",
    envvar="DCAP_PCCS_DATA",
    help="The folder of a service of this machine: its certificate is trusted. [env: DCAP_PCCS_DATA]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def forget(
    *, key: str | None, machine_file: str | None, data: str | None, as_json: bool, **flags: Any
) -> None:
    """Let the service forget KEY (as `dcap pccs status` names it), or a machine.

    A machine goes with its certificates and its places in the queue: whoever comes under its ids next is
    new. An item goes with its number: what is fetched next may be older.

    Exit status: 0 forgotten; 1 usage, or the token is refused; 2 what is named cannot be; 6 there is
    none, or no answer.
    """
    from dcap.sources.endpoint import origin_of  # noqa: PLC0415 - only who connects needs it

    if (key is None) == (machine_file is None):
        raise click.UsageError("give KEY or --machine, and one of them")
    removal = _item(key) if key is not None else _machine(machine_file or "-")
    origin = origin_of(flags["url"])
    token = secret(flags["token_file"], TOKEN, "Admin token")
    connect = network(flags, ca=own_certificate(flags["url"], data), attempts=1)
    answer = explained(connect.handler)(origin)(removal.to_http(token))
    if answer.status == _UNAUTHORISED:
        raise ConfigError(
            "pccs-token-refused",
            "the PCCS refuses the token",
            where=origin,
            mend="give the admin token in --token-file or $DCAP_PCCS_TOKEN",
        )
    what = "machine" if removal.key is None else removal.key.text
    if answer.status != 200:
        error = PccsRefusal.from_http(answer).error()
        if answer.status == _NOT_FOUND:
            error.what = f"the PCCS keeps nothing of that name ({what}), or is not dcap's"
            error.mend = (
                "`dcap pccs status --json` names the items; `dcap pccs get -s []` the machines"
            )
        raise error
    output.emit({"forgotten": what}, [f"forgotten: {what}"], as_json=as_json)


def _item(key: str) -> Removal:
    from dcap.pccs.items import read_key  # noqa: PLC0415 - not for --help

    return Removal(key=read_key(key))


def _machine(file: str) -> Removal:
    """The machine of a file. Raises `FormatError` (`forget-machine`)."""
    text = arguments.read_input(file, _LONGEST).strip()
    try:
        named = (
            msgspec.json.decode(text, type=_Named)
            if text.startswith((b"{", b"["))
            else _Named(text.decode("ascii"))
        )
    except (msgspec.MsgspecError, UnicodeDecodeError):
        named = _Named("")
    if not named.qe_id or len(named.qe_id.split()) != 1:
        raise FormatError(
            "forget-machine",
            "it names no machine",
            where=file,
            mend='give {"qe_id": "…", "pce_id": "0000"}, or the QE id alone in one line',
        )
    return Removal(qe_id=named.qe_id.upper(), pce_id=named.pce_id.upper())
