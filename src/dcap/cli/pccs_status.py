"""`dcap pccs status` and `dcap pccs check`: how a running service does, for people and for monitoring.

Both ask the service itself, and need no token: what it says of itself names no machine. Not here: the
same for Prometheus, which asks `/metrics`.
"""

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pccs_responses import CAUSE
from dcap.cli import output
from dcap.cli.pccs_access import (
    DEFAULT_URL,
    brief_options,
    explained,
    network,
    own_certificate,
)
from dcap.errors import Unavailable
from dcap.pccs.causes import CAUSES

EXPIRING, UNREACHABLE = 4, 6
_ROWS = 12
#: A state of `status.json` in the words of `dcap pccs status`.
STATES = {
    "closed": "in use",
    "probing": "in use, after a rest",
    "throttled": "waits, as it was asked to",
    "resting": "rests after failures",
}
_INTEL = "intel"

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
@brief_options
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
@brief_options
@click.option(
    "--days",
    type=click.FloatRange(0),
    default=3.0,
    show_default=True,
    metavar="DAYS",
    help="Collateral that ends sooner is a problem.",
)
@click.option(
    "--tls-days",
    type=click.FloatRange(0),
    default=14.0,
    show_default=True,
    metavar="DAYS",
    help="The same for the service's TLS certificate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check(*, days: float, tls_days: float, as_json: bool, **flags: Any) -> None:
    """Say whether all is well, for monitoring: one line a problem, and the exit status.

    Exit status: 0 all is well; 4 collateral or the TLS certificate has expired or will soon; 6 the
    service does not answer or is not ready, its upstream fails, or it keeps nothing and fetches nothing.
    """
    now = asked(flags)
    failed = [*unready(flags), *failures(now)]
    found = [*failed, *problems(now, days=days, tls_days=tls_days)]
    value = {"ok": not found, "problems": found, "items": now["kept"]["items"]}
    lines = [f"FAIL {one}" for one in found]
    output.emit(
        value,
        lines or [f"ok   {_kept(now)}; nothing ends within {days:g} days"],
        as_json=as_json,
    )
    sys.exit(UNREACHABLE if failed else EXPIRING if found else 0)


def asked(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What the service says of itself. Raises `ConfigError` (`source-url`), `Unavailable`."""
    answer, origin = _ask(flags, "/status.json")
    try:
        if answer.status == 200:
            return msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        pass
    cause = answer.header(CAUSE)
    raise Unavailable(
        "pccs-status-refused",
        f"the service answers HTTP {answer.status}{f', {cause}' if cause else ''}",
        where=origin,
        mend="see its log; `dcap pccs status` is understood by dcap's service alone, not by Intel's",
    )


def _ask(flags: Mapping[str, Any], target: str) -> tuple[HttpResponse, str]:
    from dcap.sources.endpoint import origin_of  # noqa: PLC0415 - only who connects needs it

    url = str(flags["url"])
    origin = origin_of(url)
    connect = network(flags, ca=own_certificate(url, flags["data"]), attempts=1).handler
    return explained(connect)(origin)(HttpRequest(target=target)), origin


def unready(flags: Mapping[str, Any]) -> Iterator[str]:
    """Why clients should not be sent there, by its own word."""
    answer, _ = _ask(flags, "/healthz/ready")
    if answer.status == 200:
        return
    try:
        checks = msgspec.json.decode(answer.body, type=dict[str, Any])["checks"]
        yield from (f"not ready: {what}" for what in checks.values() if what != "ok")
    except (msgspec.MsgspecError, KeyError, AttributeError):
        yield f"not ready: /healthz/ready answers HTTP {answer.status}"


def failures(now: Mapping[str, Any]) -> Iterator[str]:
    """What keeps it from serving, or from going on to."""
    fault = now.get("tokens", {}).get("fault")
    if fault:
        yield f"{fault}; what was read before holds until the next start, which will fail"
    mode = str(now["mode"]).lower()
    if mode != "lazy" and not now["kept"]["items"]:
        how = "bring collateral in: dcap pccs put" if mode == "offline" else "register a machine"
        yield f"nothing is kept, and mode {mode} fetches nothing by itself: {how}"
    if mode == "offline":
        return
    for one in now["upstream"]:
        cause = one.get("failing")
        if cause:
            said = CAUSES[cause].what if cause in CAUSES else cause
            yield f"upstream {one['name']}: {said} [{cause}]"
        elif one["state"] == "resting":
            yield f"upstream {one['name']} {STATES['resting']}"


def problems(now: Mapping[str, Any], *, days: float, tls_days: float) -> Iterator[str]:
    """What has ended, or soon will."""
    for item in now["items"]:
        if item.get("early"):
            yield f"{item['key']} was issued in the future, and is not served: is the clock right?"
        if item.get("oversized"):
            yield f"{item['key']} is larger than Intel's quote provider can take, which aborts over it"
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


def _kept(now: Mapping[str, Any]) -> str:
    kept = now["kept"]
    return f"{_counted(kept['items'], 'item')}, {_counted(kept['platforms'], 'platform')}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _lines(now: Mapping[str, Any], rows: int | None) -> Iterator[str]:
    kept, queue, answers = now["kept"], now["queue"], now["answers"]
    mode = str(now["mode"]).lower()
    yield f"service    dcap {now['version']}, mode {mode}, {now['store']}"
    if now["trust_root"] != _INTEL:
        yield "trust      a TEST ROOT: whoever holds its key can make anything look genuine"
    yield f"kept       {_kept(now)}"
    if "seen" in kept:
        day, month = _counted(kept["seen"]["day"], "platform"), kept["seen"]["month"]
        yield f"seen       {day} within a day, {month} within 30 days"
    yield f"queue      {queue['NEW']} waiting, {queue['NOT_AVAILABLE']} without certificates"
    ratio = answers["hit_ratio"]
    share = "" if ratio is None else f" ({ratio:.1%} from memory)"
    yield f"answers    {answers['ready']} from memory, {answers['computed']} worked out{share}"
    for one in now["upstream"]:
        causes = ", ".join(f"{cause} {count}" for cause, count in one["causes"].items())
        said = f"; failures: {causes}" if causes else ""
        state = "not asked" if mode == "offline" else STATES.get(one["state"], one["state"])
        if one.get("failing") and state == STATES["closed"]:
            state = f"fails ({one['failing']})"
        yield f"upstream   {one['name']}: {state}, {one['fetched']} fetched{said}"
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
