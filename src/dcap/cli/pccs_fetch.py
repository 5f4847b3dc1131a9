"""`dcap pccs fetch`: what Intel has for a list of machines, proven, as `platform_collaterals.json`.

One machine that fails fails alone: the others are in the file, and it stands in a list of its own, that
can be fetched for again. What was fetched stands beside the file until all of it is there, so that a
second run asks only for the rest. In place of `pcsclient fetch`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcap.cli import arguments, output
from dcap.cli.collateral_set import instant_text
from dcap.cli.pccs_access import Progress, network, secret, tls_options
from dcap.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from dcap.api.pccs_admin import PlatformRecord
    from dcap.pccs.client.collector import Collector
    from dcap.pccs.client.journal import Journal
    from dcap.pccs.client.outcome import Failure, Result
    from dcap.pccs.items import Update
    from dcap.verification.anchors import TrustAnchor

INTEL_URL = "https://api.trustedservices.intel.com/sgx/certification/v4/"
#: Where Intel's subscription key is looked for; those of the service and of `dcap verify` count too.
API_KEYS = ("DCAP_API_KEY", "DCAP_PCCS_API_KEY", "APIKEY", "DCAP_PCS_API_KEY")
NOT_AVAILABLE = "not_available.json"
FAILED = "failed_platforms.json"
_UPDATES: dict[str, tuple["Update", ...]] = {
    "standard": ("STANDARD",),
    "early": ("EARLY",),
    "all": ("STANDARD", "EARLY"),
}
#: So many failures are told one by one.
_TOLD = 20


def intel_options(command: Any) -> Any:  # noqa: ANN401 - as click's decorators
    """The options of commands that ask Intel."""
    for option in reversed(
        (
            click.option(
                "-u",
                "--url",
                default=INTEL_URL,
                show_default=True,
                metavar="URL",
                help="Intel's PCS, or what speaks as it does.",
            ),
            click.option(
                "--api-key-file",
                metavar="FILE",
                help="Intel's subscription key, where you have one; - is stdin. [env: "
                f"{', '.join(API_KEYS)}]",
            ),
            click.option(
                "--root-crl",
                metavar="URL",
                help="Where the root's revocation list is had, if not at Intel's or beside the URL.",
            ),
            tls_options,
            click.option(
                "--at",
                metavar="TIME",
                help="Prove as of this instant: Unix seconds or RFC 3339.",
            ),
            click.option(
                "--insecure-test-root",
                metavar="FILE",
                envvar="DCAP_INSECURE_TEST_ROOT",
                help="Trust this root instead of Intel's. For tests only.",
            ),
        )
    ):
        command = option(command)
    return command


@click.command("fetch")
@intel_options
@click.option(
    "-i",
    "--input",
    "source",
    metavar="FILE",
    help="The list of machines.  [default: platform_list.json]",
)
@click.option(
    "-o",
    "--output",
    "target",
    default="platform_collaterals.json",
    show_default=True,
    metavar="FILE",
    help="The file to write; what is there is not written over.",
)
@click.option(
    "-p",
    "--platform",
    type=click.Choice(["all", "client", "E3", "E5", "none"]),
    default="all",
    show_default=True,
    help="Beside those of the machines, the TCB infos of this kind of platform.",
)
@click.option(
    "-t",
    "--tcb-update-type",
    "updates",
    type=click.Choice(list(_UPDATES)),
    default="standard",
    show_default=True,
    help="TCB infos and identities that count now, those that are announced, or both.",
)
@click.option("-c", "--crl", "lists_alone", is_flag=True, help="The revocation lists alone.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def fetch(
    *,
    source: str | None,
    target: str,
    platform: Any,  # noqa: ANN401 - one of the choices
    updates: str,
    lists_alone: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Fetch PCK certificates and collateral for a list of machines from Intel, and prove all of it.

    Machines without a certificate for some TCB are listed in not_available.json, those that failed in
    failed_platforms.json, both beside the file. Run it again to ask for the rest.

    Exit status: 0 all of it is written; 1 usage; 3 something came that does not prove, 6 something
    could not be had: then the file holds the rest, or is not there where nothing is of use.
    """
    if lists_alone and source is not None:
        raise click.UsageError("--crl is for no machines: leave --input out")
    from dcap.pccs.client import files  # noqa: PLC0415 - none of it is for --help
    from dcap.pccs.client.journal import Journal, beside  # noqa: PLC0415
    from dcap.pccs.client.outcome import Result  # noqa: PLC0415

    path = Path(target)
    anchor = arguments.anchor(flags["insecure_test_root"])
    at = arguments.instant(flags["at"])
    with ExitStack() as stack:
        if lists_alone:
            files.expect_free(path)
            collector = collector_of(flags, stack, at=at, anchor=anchor)
            result = Result(collector.lists(), (), (), (), ())
            _write(path, result, collector, replace=False)
        else:
            read_from = Path(source or "platform_list.json")
            records = read_list(read_from)
            subject = flags["url"].encode() + b"\0" + read_from.read_bytes()
            progress_file = beside(path, "fetch")
            goes_on = Journal.is_of(progress_file, "fetch", of=subject)
            if not goes_on:
                files.expect_free(path)
            collector = collector_of(flags, stack, at=at, anchor=anchor)
            journal = stack.enter_context(Journal.at(progress_file, "fetch", of=subject))
            try:
                result = gathered(collector, records, _UPDATES[updates], platform, journal)
            except BaseException:
                if not goes_on and journal.noted == 1:
                    journal.remove()
                raise
            _write(path, result, collector, replace=goes_on)
            _write_lists(path.parent, result, records)
            if not result.failures:
                journal.remove()
    output.emit(_value(path, result), _lines(path, result), as_json=as_json)
    if not result.failures:
        return 0
    return 3 if result.forged else 6


def read_list(path: Path) -> "tuple[PlatformRecord, ...]":
    """The machines of a list: `platform_list.json`, or a table of PCKIDRetrievalTool."""
    from dcap.api import platform_list  # noqa: PLC0415
    from dcap.pccs.client import files  # noqa: PLC0415

    data = files.read_whole(path, platform_list.MAX_SIZE)
    if data.lstrip()[:1] in (b"[", b"{"):
        return platform_list.read_platform_list(data)
    return platform_list.read_csv(data)


def collector_of(
    flags: dict[str, Any], stack: ExitStack, *, at: "datetime", anchor: "TrustAnchor"
) -> "Collector":
    """Who asks Intel, as the flags say."""
    from dcap.pccs.client.collector import Collector  # noqa: PLC0415
    from dcap.pccs.suppliers import supplier  # noqa: PLC0415

    if "://" not in flags["url"] or flags["url"].startswith("pccs+"):
        raise ConfigError(
            "source-url",
            "only Intel's PCS has all certificates of a machine",
            where="--url",
            mend="leave it out, or give the URL of a service that speaks as Intel's does",
        )
    variable = next((name for name in API_KEYS if os.environ.get(name)), API_KEYS[0])
    key = secret(flags["api_key_file"], variable, "", needed=False)
    connected = stack.enter_context(network(flags, attempts=5))
    progress = Progress()
    stack.callback(progress.end)
    of = supplier(flags["url"], connected.handler, api_key=key, root_crl=flags["root_crl"])
    return Collector(of, at=at, anchor=anchor, progress=progress)


def gathered(
    collector: "Collector",
    records: "Sequence[PlatformRecord]",
    updates: "tuple[Update, ...]",
    platform: Any,  # noqa: ANN401 - one of the choices
    journal: "Journal",
) -> "Result":
    """Everything: first what all share, for without it nothing can be proven."""
    from dcap.pccs.client.outcome import put_together  # noqa: PLC0415

    common = collector.common(updates)
    fmspcs = collector.fmspcs(platform)
    found = collector.machines(records, journal)
    own = (holding.platform.fmspc for holding in found.holdings)
    infos = collector.tcb_infos((*fmspcs, *own), updates)
    return put_together(common, found, infos, records)


def _write(path: Path, result: "Result", collector: "Collector", *, replace: bool) -> None:
    from dcap.pccs.client import files  # noqa: PLC0415
    from dcap.pccs.transfer.arrangement import arrange  # noqa: PLC0415

    arranged = arrange(result.items, version=collector.version)
    for one in arranged.left_out:
        output.warn(f"{one.name} has no place in the file: {one.reason}")
    files.write_chunks(path, arranged.write(result.records, result.holdings), replace=replace)


def _write_lists(folder: Path, result: "Result", records: "Sequence[PlatformRecord]") -> None:
    """The two lists of machines that are not, or not wholly, in the file; gone where there are none."""
    from dcap.api.platform_list import write_platform_list  # noqa: PLC0415
    from dcap.pccs.client import files  # noqa: PLC0415
    from dcap.pccs.client.machine import machines_of  # noqa: PLC0415

    places = {one.place for one in result.failures}
    failed = {(one.qe_id, one.pce_id) for one in machines_of(records) if one.place in places}
    lists = {
        NOT_AVAILABLE: result.unavailable,
        FAILED: [one for one in records if (one.qe_id.upper(), one.pce_id.upper()) in failed],
    }
    for name, entries in lists.items():
        if entries:
            files.write_chunks(folder / name, [write_platform_list(entries)], replace=True)
        else:
            (folder / name).unlink(missing_ok=True)


def _value(path: Path, result: "Result") -> dict[str, Any]:
    return {
        "target": str(path),
        "machines": len(result.holdings),
        "items": len(result.items),
        "not_available": len(result.unavailable),
        "failures": [
            {"entry": one.place, "item": one.name, "cause": one.cause, "what": one.what}
            for one in result.failures
        ],
        "good_until": None if (end := _end(result)) is None else instant_text(end),
    }


def _end(result: "Result") -> "datetime | None":
    """When the first of its items expires."""
    return min((one.expires for one in result.items if one.expires is not None), default=None)


def _lines(path: Path, result: "Result") -> Iterator[str]:
    machines, end = len(result.holdings), _end(result)
    until = "" if end is None else f", good until {instant_text(end)}"
    yield f"{path}: {_counted(machines, 'machine')}, {_counted(len(result.items), 'item')}{until}"
    if result.unavailable:
        yield f"{NOT_AVAILABLE}: {_counted(len(result.unavailable), 'TCB')} without a certificate"
    if any(one.place for one in result.failures):
        yield f"{FAILED}: those to fetch for again"
    for one in result.failures[:_TOLD]:
        yield _failure(one)
    if len(result.failures) > _TOLD:
        yield f"  … and {len(result.failures) - _TOLD} more (--json has all)"


def _failure(one: "Failure") -> str:
    who = f"entry {one.place} of the list" if one.place else one.name
    return f"  FAIL {who}: {one.what} [{one.cause}]"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
