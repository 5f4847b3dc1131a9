"""`dcap pccs cache`: what Intel's quote provider reads off a host's disk, so that it needs no PCCS.

From a list of machines, for which Intel is asked, or from `platform_collaterals.json`, for which nobody
is. All of it is proven first. In place of `pcsclient cache`.
"""

import re
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcap.cli import arguments, output
from dcap.cli.pccs_fetch import collector_of, intel_options, read_list
from dcap.errors import ConfigError, FormatError

if TYPE_CHECKING:
    from datetime import datetime

    from dcap.api.pccs_admin import PlatformRecord
    from dcap.pccs.client.outcome import Result
    from dcap.pccs.items import Update
    from dcap.verification.anchors import TrustAnchor

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


@click.command("cache")
@intel_options
@click.option(
    "-i",
    "--input",
    "source",
    default="platform_list.json",
    show_default=True,
    metavar="FILE",
    help="A list of machines, or platform_collaterals.json.",
)
@click.option(
    "-o",
    "--output",
    "target",
    default="cache",
    show_default=True,
    metavar="DIR",
    help="The folder to make.",
)
@click.option(
    "-e",
    "--expire",
    "hours",
    type=click.IntRange(0, 8760),
    default=2160,
    show_default=True,
    metavar="HOURS",
    help="For how long the provider uses them.",
)
@click.option(
    "-t",
    "--tcb-update-type",
    "update",
    type=click.Choice(["standard", "early"]),
    default="standard",
    show_default=True,
    help="By which TCB info the provider chooses.",
)
@click.option("-s", "--sub-dir", is_flag=True, help="A folder for each machine, by its QE id.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def cache(
    *,
    source: str,
    target: str,
    hours: int,
    update: str,
    sub_dir: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Write files for .dcap-qcnl of hosts that make quotes without a PCCS (local_cache_only: true).

    The provider never looks whether Intel took a certificate back: renew them well before --expire.

    Exit status: 0 all of them are written; 3 something does not prove, 6 something could not be had.
    """
    from dcap.pccs.client import files  # noqa: PLC0415 - none of it is for --help

    folder = Path(target)
    files.expect_free(folder)
    anchor = arguments.anchor(flags["insecure_test_root"])
    at = arguments.instant(flags["at"])
    of: Update = "EARLY" if update == "early" else "STANDARD"
    data = files.read_whole(Path(source), 1 << 31)
    if data.lstrip()[:1] == b"{":
        result = _carried(data, of, at=at, anchor=anchor)
    else:
        result = _asked(read_list(Path(source)), of, flags, at=at, anchor=anchor)
    _warn_of_former_tcbs(result)
    entries = _entries(result, at + timedelta(hours=hours), sub_dir=sub_dir)
    for name, content in entries.items():
        files.write_chunks(folder / name, [content], mode=files.PUBLIC)
    lines = [f"{folder}: {len(entries)} file{'' if len(entries) == 1 else 's'}"]
    lines += [f"  FAIL entry {one.place or one.name}: {one.what}" for one in result.failures]
    output.emit(
        {"target": str(folder), "files": len(entries), "failures": len(result.failures)},
        lines,
        as_json=as_json,
    )
    if result.failures:
        return 3 if result.forged else 6
    return 0


def _asked(
    records: "tuple[PlatformRecord, ...]",
    update: "Update",
    flags: dict[str, Any],
    *,
    at: "datetime",
    anchor: "TrustAnchor",
) -> "Result":
    """What Intel has for the machines."""
    from dcap.pccs.client.outcome import put_together  # noqa: PLC0415

    with ExitStack() as stack:
        collector = collector_of(flags, stack, at=at, anchor=anchor)
        lists = collector.lists()
        found = collector.machines(records)
        own = [holding.platform.fmspc for holding in found.holdings]
        infos = collector.tcb_infos(own, (update,), tees=("SGX",))
        return put_together(lists, found, infos, records)


def _carried(data: bytes, update: "Update", *, at: "datetime", anchor: "TrustAnchor") -> "Result":
    """What a file brings, proven: all of it, or none."""
    from dcap.pccs.client.outcome import Result  # noqa: PLC0415
    from dcap.pccs.issuers import ca_of_chain  # noqa: PLC0415
    from dcap.pccs.items import PckCrlKey, RootCrlKey, TcbInfoKey  # noqa: PLC0415
    from dcap.pccs.pck_proof import prove_platform  # noqa: PLC0415
    from dcap.pccs.transfer.platform_collaterals import PlatformCollaterals  # noqa: PLC0415
    from dcap.pccs.transfer.report import LeftOut  # noqa: PLC0415
    from dcap.pccs.trust import prove  # noqa: PLC0415

    file = PlatformCollaterals.parse(data)
    items = list(file.items(at))
    roots = [one for one in items if isinstance(one.key, RootCrlKey)]
    root_crl = prove(roots[0], at=at, anchor=anchor).body if roots else None
    proven = [prove(one, at=at, anchor=anchor, root_crl=root_crl) for one in items]
    crls = {one.key.ca: one.body for one in proven if isinstance(one.key, PckCrlKey)}
    holdings = []
    for claim in file.machines():
        if isinstance(claim, LeftOut):
            continue
        ca = ca_of_chain(claim.claimed.issuer_chain)
        holdings.append(
            prove_platform(
                claim.claimed,
                at=at,
                anchor=anchor,
                pck_crl=None if ca is None else crls.get(ca),
                root_crl=root_crl,
            )
        )
    chosen = tuple(
        one for one in proven if isinstance(one.key, TcbInfoKey) and one.key.update == update
    )
    return Result(chosen, tuple(holdings), file.records(), (), ())


def _entries(result: "Result", expires: "datetime", *, sub_dir: bool) -> dict[str, bytes]:
    """Name below the folder -> content."""
    from dcap.pccs.transfer.provider_caches import quote_provider_caches  # noqa: PLC0415

    found: dict[str, bytes] = {}
    for holding in result.holdings:
        written = quote_provider_caches(result.records, [holding], result.items, expires=expires)
        for name, content in written:
            place = f"{holding.platform.qe_id}/{name}" if sub_dir else name
            _expect_names(place.split("/"))
            if found.get(place, content) != content:
                raise ConfigError(
                    "cache-one-name",
                    "several machines, whose TCB is not known, have files of one name",
                    mend="give each a folder with --sub-dir",
                )
            found[place] = content
    return found


def _warn_of_former_tcbs(result: "Result") -> None:
    """A list of all that a PCCS knows has a machine once for each TCB it ever had."""
    tcbs: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for record in result.records:
        machine = (record.qe_id.upper(), record.pce_id.upper())
        tcbs.setdefault(machine, set()).add((record.cpu_svn.upper(), record.pce_svn.upper()))
    several = sum(len(found) > 1 for found in tcbs.values())
    if several:
        output.warn(
            f"{several} machine{'' if several == 1 else 's'} with several TCBs in the list: the file is "
            "for the latest of each"
        )


def _expect_names(names: Iterable[str]) -> None:
    """A QE id may be any text; one that is no file's name must not become a path."""
    if not all(_NAME.fullmatch(name) for name in names):
        raise FormatError(
            "cache-name",
            "the QE id of a machine cannot be the name of a file",
            where="platform list",
            mend="see the list: a QE id is 32 hexadecimal digits",
        )
