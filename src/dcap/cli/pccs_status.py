"""`dcap pccs status` and `dcap pccs check`: how a running service does, for people and for monitoring.

Both ask the service itself, and need no token: what it says of itself names no machine. Not here: the
same for Prometheus, which asks `/metrics`.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from dcap.api.http import HttpRequest
from dcap.cli import output
from dcap.cli.pccs_access import network, tls_options
from dcap.errors import Unavailable

DEFAULT_URL = "https://localhost:8081"
EXPIRING, UNREACHABLE = 4, 6
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ROWS = 12

_URL = click.option(
    "-u",
    "--url",
    default=DEFAULT_URL,
    show_default=True,
    envvar="DCAP_PCCS_URL",
    metavar="URL",
    help="The service. [env: DCAP_PCCS_URL]",
)
_DATA = click.option(
    "--data",
    metavar="DIR",
    envvar="DCAP_PCCS_DATA",
    help="The folder of a service of this machine: its certificate is trusted. [env: DCAP_PCCS_DATA]",
)


@click.command("status")
@_URL
@_DATA
@tls_options
@click.option(
    "--all", "every", is_flag=True, help="Show every item, not those alone that end first."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def status(*, every: bool, as_json: bool, **flags: Any) -> None:
    """Show what a running service keeps, for how long that is good, and how its upstream does.

    Exit status: 0 shown; 6 the service does not answer.
    """
    now = asked(flags)
    output.emit(now, _lines(now, None if every else _ROWS), as_json=as_json)


@click.command("check")
@_URL
@_DATA
@tls_options
@click.option(
    "--days",
    type=click.FloatRange(0),
    default=3.0,
    show_default=True,
    help="Collateral that ends sooner is a problem.",
)
@click.option(
    "--tls-days",
    type=click.FloatRange(0),
    default=14.0,
    show_default=True,
    help="The same for the service's TLS certificate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check(*, days: float, tls_days: float, as_json: bool, **flags: Any) -> None:
    """Say whether all is well, for monitoring: one line a problem, and the exit status.

    Exit status: 0 all is well; 4 collateral or the TLS certificate has expired or will soon; 6 the
    service does not answer, or its database does not.
    """
    now = asked(flags)
    found = list(problems(now, days=days, tls_days=tls_days))
    value = {"ok": not found, "problems": found, "items": now["kept"]["items"]}
    kept = f"{now['kept']['items']} items, {now['kept']['platforms']} platforms"
    lines = [f"FAIL {one}" for one in found] or [f"ok   {kept}; nothing ends within {days:g} days"]
    output.emit(value, lines, as_json=as_json)
    sys.exit(EXPIRING if found else 0)


def asked(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What the service says of itself. Raises `Unavailable`."""
    url = str(flags["url"])
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    answer = network(flags, ca=own_certificate(flags, parts.hostname), attempts=1).handler(origin)(
        HttpRequest(target="/status.json")
    )
    try:
        if answer.status == 200:
            return msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        pass
    cause = answer.header("Dcap-Cause")
    raise Unavailable(
        "pccs-status-refused",
        f"the service answers HTTP {answer.status}{f', {cause}' if cause else ''}",
        where=origin,
        mend="see its log; `dcap pccs status` is understood by dcap's service alone, not by Intel's",
    )


def own_certificate(flags: Mapping[str, Any], host: str | None) -> Path | None:
    """The certificate that a service of this machine made for itself."""
    from dcap.pccs.config import default_data  # noqa: PLC0415 - only who connects needs it

    folder = Path(flags["data"]) if flags["data"] else default_data(os.environ)
    file = folder / "tls_certificate.pem"
    is_here = host in _LOOPBACK or bool(flags["data"])
    return file if is_here and os.access(file, os.R_OK) else None


def problems(now: Mapping[str, Any], *, days: float, tls_days: float) -> Iterator[str]:
    """What is wrong, or soon will be."""
    for item in now["items"]:
        left = item["days_left"]
        if left is not None and left < days:
            when = f"ends in {left:.1f} days" if left > 0 else f"has expired ({item['expires']})"
            yield f"{item['key']} {when}"
    expires = now["tls"].get("expires")
    if expires is None:
        yield "the TLS certificate cannot be read"
    else:
        left = (datetime.fromisoformat(expires) - datetime.now(UTC)).total_seconds() / 86400
        if left < tls_days:
            yield f"the TLS certificate ends in {left:.1f} days ({expires})"


def _lines(now: Mapping[str, Any], rows: int | None) -> Iterator[str]:
    kept, queue, answers = now["kept"], now["queue"], now["answers"]
    yield f"service    dcap {now['version']}, mode {now['mode']}, {now['store']}"
    yield f"kept       {kept['items']} items, {kept['platforms']} platforms"
    yield f"queue      {queue['NEW']} waiting, {queue['NOT_AVAILABLE']} without certificates"
    ratio = answers["hit_ratio"]
    share = "" if ratio is None else f" ({ratio:.1%} ready)"
    yield f"answers    {answers['ready']} ready, {answers['computed']} computed{share}"
    for one in now["upstream"]:
        causes = ", ".join(f"{cause} {count}" for cause, count in one["causes"].items())
        said = f"; failures: {causes}" if causes else ""
        yield f"upstream   {one['name']}: {one['state']}, {one['fetched']} fetched{said}"
    yield f"TLS        until {now['tls'].get('expires', '?')}, sha256 {now['tls'].get('sha256', '?')}"
    for item in now["items"][:rows]:
        left = item["days_left"]
        ends = "no end" if left is None else "EXPIRED" if left <= 0 else f"{left:6.1f} days"
        yield f"item       {ends:>11}  {item['key']}"
    hidden = len(now["items"]) - (rows or len(now["items"]))
    if hidden > 0:
        yield f"           … and {hidden} that end later (--all)"
    for one in now["incidents"][-3:]:
        yield f"incident   {one['at']} {one['supplier']}: {one['cause']} ({one['about']})"
