"""`dcap pccs refresh`: let a running service, ours or Intel's, renew what it keeps now.

In place of `pccsadmin refresh`. A service of ours renews by itself ahead of time; this is for when Intel
has published something and nobody wants to wait.
"""

from typing import Any

import click

from dcap.api.pccs_admin import RefreshRequest
from dcap.api.pccs_responses import CAUSE, FAILED, RENEWED, REVOKED, PccsRefusal
from dcap.cli import output
from dcap.cli.pccs_access import TOKEN, explained, network, own_certificate, pccs_options, secret
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
    from dcap.pccs.causes import CAUSES  # noqa: PLC0415 - only who connects needs it
    from dcap.pccs.client.remote import mend_of  # noqa: PLC0415
    from dcap.sources.endpoint import origin_of  # noqa: PLC0415

    origin = origin_of(flags["url"])
    token = secret(flags["token_file"], TOKEN, "Admin token")
    asked = RefreshRequest(token=token, certificates=fmspc is not None, fmspcs=_named(fmspc))
    connect = network(flags, ca=own_certificate(flags["url"], flags["data"]), attempts=1)
    answer = explained(connect.handler)(origin)(asked.to_http())
    if answer.status == _UNAUTHORISED:
        raise ConfigError(
            "pccs-token-refused",
            "the PCCS refuses the token",
            where=origin,
            mend="give the admin token in --token-file or $DCAP_PCCS_TOKEN",
        )
    if answer.status != 200:
        error = PccsRefusal.from_http(answer).error()
        failed, cause = answer.header(FAILED), answer.header(CAUSE) or ""
        if failed:
            error.what += f"; {failed} could not be renewed ({cause})"
        elif cause in CAUSES:
            error.what += f"; {CAUSES[cause].what}"
        if cause in CAUSES:
            error.mend = mend_of(cause)
        raise error
    revoked = int(answer.header(REVOKED) or 0)
    renewed = int(answer.header(RENEWED) or 0)
    what = "machine" if fmspc is not None else "item"
    # Intel's PCCS gives no number.
    lines = [f"renewed: {renewed} {what}{'' if renewed == 1 else 's'}" if renewed else "renewed"]
    if revoked:
        lines.append(f"{revoked} of the machines have no certificate left: Intel revoked them all")
    output.emit(
        {"renewed": True, "count": renewed, "without_certificate": revoked}, lines, as_json=as_json
    )


def _named(fmspc: str | None) -> tuple[str, ...]:
    """The FMSPCs of a list; none where all are meant."""
    if fmspc is None or fmspc.strip().lower() in ("", "all"):
        return ()
    names = fmspc.strip().removeprefix("[").removesuffix("]").split(",")
    return tuple(name.strip().upper() for name in names)
