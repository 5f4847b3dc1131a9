"""`dcap register submit`: register this machine, then fetch its PCK certificate, which is kept.

What is done stands in `platform_registration`; here is in which order, and how it is told.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from dcap.cli import arguments, output
from dcap.cli.pccs_access import explained, network, own_certificate, secret
from dcap.cli.register_access import (
    certificate_line,
    certificate_value,
    data_options,
    found,
    is_offline,
    now,
    reach_options,
    source,
    target,
)
from dcap.cli.register_status import kept
from dcap.errors import DcapError, Unavailable

if TYPE_CHECKING:
    from dcap.platform_registration.machine_certificate import MachineCertificate
    from dcap.platform_registration.platform_data import PlatformData
    from dcap.platform_registration.platform_sources import Found
    from dcap.sources.need import MachineNeed
    from dcap.verification.anchors import TrustAnchor

T = TypeVar("T")

#: Of either service a sentence; a list of all machines is not asked for here.
_ANSWER: Final = 64 * 1024
TOKEN: Final = "DCAP_USER_TOKEN"  # noqa: S105 - the variable's name


@click.command("submit")
@data_options
@reach_options
@click.option(
    "--token-file",
    metavar="FILE",
    help=f"The PCCS's user token; - is stdin. Else ${TOKEN}; else none is sent.",
)
@click.option(
    "--update",
    type=click.Choice(["standard", "early", "all"]),
    default="standard",
    show_default=True,
    help="Which collateral the PCCS fetches with it.",
)
@click.option(
    "--insecure-no-tls-check",
    "unchecked",
    is_flag=True,
    help="Believe whoever answers as the PCCS. A token that is sent so is no longer a secret.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for one answer: a PCCS asks Intel meanwhile.",
)
@click.option("--again", is_flag=True, help="Register even where a certificate is kept.")
@click.option("--watch", is_flag=True, help="Try again until it is done, or cannot be.")
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="With --watch: the longest wait between two attempts.  [default: 60]",
)
@click.option(
    "--for",
    "in_all",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="With --watch: give up after so long.  [default: never]",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def submit(
    *,
    again: bool,
    watch: bool,
    every: float | None,
    in_all: float | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Register this machine at its PCCS, or at Intel; fetch its PCK certificate, and keep it on disk.

    Run it as often as you like: where the certificate is kept and in date, nobody is asked. --watch is
    for a machine that boots before its cache: it says on stderr what it waits for, and ends on SIGTERM.

    Exit status: 0 done; 1 the token is refused, or something is missing; 6 refused, or no answer; 7
    nothing here tells which machine this is.
    """
    if not watch and (every is not None or in_all is not None):
        raise click.UsageError("--every and --for go with --watch")
    looked = found(flags)
    data = looked.expected()
    anchor = arguments.anchor(flags["test_root"])
    need = data.need()
    held = None if need is None or again else kept(flags, need, anchor)
    if need is None and data.certificate and not again:
        from dcap.platform_registration.machine_certificate import carried  # noqa: PLC0415

        held = carried(data.certificate, at=now(), anchor=anchor)
    if held is not None:
        _emit(None, held, as_json=as_json)
        return
    registration = _registration(looked, data, flags)
    told: list[dict[str, Any]] = []

    def attempt() -> "MachineCertificate | None":
        if not told:
            told.append(registration())
            if watch:
                click.echo(_registered(told[0]), err=True)
        return None if need is None else _certificate(need, flags, anchor)

    certificate = _watched(attempt, every, in_all) if watch else attempt()
    _emit(told[0], certificate, as_json=as_json)


def _watched(attempt: Callable[[], T], every: float | None, in_all: float | None) -> T:
    """The attempt until it is done; SIGTERM ends it, also where we are a container's first process."""
    from dcap.platform_registration.watch import Watch  # noqa: PLC0415

    watch = Watch(longest=60.0 if every is None else every, in_all=in_all)
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return watch.until(attempt, _tell)
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, _frame: object) -> None:
    """Who starts the container or the machine anew is not to be waited for."""
    click.echo("stopped", err=True)
    sys.exit(128 + number)


def _tell(error: DcapError) -> None:
    place = f" ({error.where})" if error.where else ""
    click.echo(f"waiting: {error.what}{place} [{error.code}]", err=True)


def _registration(
    looked: "Found", data: "PlatformData", flags: dict[str, Any]
) -> Callable[[], dict[str, Any]]:
    """What tells who is to be told, and gives what was told, and to whom. All else is checked now."""
    from dcap.platform_registration.registrar import IntelRegistrar, PccsRegistrar  # noqa: PLC0415

    to = target(flags["to"], looked.variables)
    if to.kind == "intel" and not data.platform_manifest and not data.lacks("ppid"):
        why = "Intel finds this machine by its PPID: there is nothing to be sent"
        return lambda: {"at": None, "url": None, "by": None, "why_not": why}
    if is_offline():
        raise Unavailable(
            "offline",
            "the network was not to be asked, and no certificate is kept",
            where=to.url,
            mend="unset DCAP_OFFLINE",
        )
    ca = own_certificate(to.url) if to.kind == "pccs" else None
    connect = explained(network(flags, ca=ca, attempts=1, max_size=_ANSWER).handler)
    if to.kind == "intel":
        manifest = data.manifest()
        intel = IntelRegistrar(connect, to.url)

        def at_intel() -> dict[str, Any]:
            intel.register(manifest)
            return {"at": "intel", "url": intel.base, "by": "manifest", "why_not": None}

        return at_intel
    from dcap.pccs.causes import CAUSES  # noqa: PLC0415

    record = data.record()
    token = secret(flags["token_file"], TOKEN, "User token", needed=False)
    if token is not None and to.url.lower().startswith("http:"):
        output.warn("the URL is not https: whoever is on the way can read the token")
    pccs = PccsRegistrar(to.url, connect, token=token, causes=CAUSES)
    by = "manifest" if record.platform_manifest else "ppid"

    def at_pccs() -> dict[str, Any]:
        pccs.register(record, flags["update"])
        return {"at": "pccs", "url": pccs.base, "by": by, "why_not": None}

    return at_pccs


def _certificate(
    need: "MachineNeed", flags: dict[str, Any], anchor: "TrustAnchor"
) -> "MachineCertificate":
    """Through this machine's sources, which keep it."""
    from dcap.platform_registration.machine_certificate import (  # noqa: PLC0415
        describe,
        fetch,
        file_of,
    )
    from dcap.sources.disk import cache_directory  # noqa: PLC0415

    asked = source(flags, anchor, timeout=flags["timeout"])
    given = fetch(asked, need, anchor=anchor, clock=now, is_registered=True)
    return describe(given, file_of(cache_directory(os.environ), given))


def _emit(
    told: dict[str, Any] | None, certificate: "MachineCertificate | None", *, as_json: bool
) -> None:
    value = {"registered": told, "certificate": certificate_value(certificate)}
    output.emit(value, _lines(told, certificate), as_json=as_json)


def _registered(told: dict[str, Any]) -> str:
    if told["why_not"]:
        return f"registered   {told['why_not']}"
    by = "platform manifest" if told["by"] == "manifest" else "encrypted PPID"
    at = "Intel" if told["at"] == "intel" else "the PCCS"
    return f"registered   at {at} {told['url']}, by {by}"


def _lines(told: dict[str, Any] | None, certificate: "MachineCertificate | None") -> Iterator[str]:
    yield (
        "registered   before: its certificate is here, and nobody was asked"
        if told is None
        else _registered(told)
    )
    if certificate is None:
        yield "certificate  not fetched: it is asked for by QE id and raw TCB (--quote, --csv)"
        return
    yield certificate_line(certificate)
    if certificate.file is not None:
        yield f"kept         {certificate.file}"
    elif told is not None:
        yield "kept         nowhere: DCAP_CACHE is off, or its folder cannot be written"
