"""`dcap pccs refresh`: let a running service, ours or Intel's, renew what it keeps now.

In place of `pccsadmin refresh`. A service of ours renews by itself ahead of time; this is for when Intel
has published something and nobody wants to wait.
"""

from typing import Any
from urllib.parse import urlsplit

import click

from dcap.api.pccs_admin import RefreshRequest
from dcap.api.pccs_responses import PccsRefusal
from dcap.cli import output
from dcap.cli.pccs_access import TOKEN, network, pccs_options, secret
from dcap.errors import ConfigError

_UNAUTHORISED = 401


@click.command("refresh")
@pccs_options
@click.option(
    "-f",
    "--fmspc",
    metavar="all|F1,F2",
    help="Renew PCK certificates of these FMSPCs instead of collateral.",
)
@click.option(
    "--data",
    metavar="DIR",
    envvar="DCAP_PCCS_DATA",
    help="The folder of a service of this machine: its certificate is trusted. [env: DCAP_PCCS_DATA]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def refresh(*, fmspc: str | None, as_json: bool, **flags: Any) -> None:
    """Let the service renew its collateral, item by item; with --fmspc its PCK certificates.

    Exit status: 0 everything was renewed; 1 the token is refused; 6 some could not be (the service's
    log, and `dcap pccs status`, say which and why), or no answer.
    """
    from dcap.cli.pccs_status import own_certificate  # noqa: PLC0415 - none of it is for --help

    parts = urlsplit(flags["url"])
    origin = f"{parts.scheme}://{parts.netloc}"
    token = secret(flags["token_file"], TOKEN, "Admin token")
    asked = RefreshRequest(token=token, certificates=fmspc is not None, fmspcs=_named(fmspc))
    connect = network(flags, ca=own_certificate(flags, parts.hostname), attempts=1)
    answer = connect.handler(origin)(asked.to_http())
    if answer.status == _UNAUTHORISED:
        raise ConfigError(
            "pccs-token-refused",
            "the PCCS refuses the token",
            where=origin,
            mend="give the admin token in --token-file or $DCAP_PCCS_TOKEN",
        )
    if answer.status != 200:
        error = PccsRefusal.from_http(answer).error()
        failed = answer.header("Dcap-Failed")
        if failed:
            error.what += f"; {failed} could not be renewed ({answer.header('Dcap-Cause')})"
        raise error
    output.emit({"renewed": True}, ["renewed"], as_json=as_json)


def _named(fmspc: str | None) -> tuple[str, ...]:
    """The FMSPCs of a list; none where all are meant."""
    if fmspc is None or fmspc.strip().lower() in ("", "all"):
        return ()
    names = fmspc.strip().removeprefix("[").removesuffix("]").split(",")
    return tuple(name.strip().upper() for name in names)
