"""`dcap collateral get`: fetch what verdicts need, prove it, and save it: a folder, or one bundle.

What does not prove, is expired, or is not what was asked for is not written. Nothing that is there is
written over. What is kept in the cache is not used, except with --offline.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from dcap.cli import arguments, output
from dcap.cli.collateral_check import findings_of
from dcap.cli.collateral_set import CollateralSet, instant_text
from dcap.cli.collateral_source import (
    configured,
    expect_nothing_at,
    files_of,
    generation,
    source_options,
    write_folder,
    write_whole,
)
from dcap.errors import CollateralError, ConfigError, FormatError, NotFound, VerificationError
from dcap.formats.collateral import Collateral
from dcap.formats.containers.bundle import MAX_SIZE, Bundle
from dcap.relying_party import gather, recognise
from dcap.sources.need import CollateralNeed
from dcap.sources.source import Fetched
from dcap.verification.anchors import TrustAnchor
from dcap.verification.checks import CHECKS
from dcap.verification.findings import Finding
from dcap.verification.pck_chain import check_pck_chain

if TYPE_CHECKING:
    from dcap.sources.need import Ca, Update
    from dcap.sources.source import Source

#: Platforms whose PCK certificates are of the Platform CA, as the list of FMSPCs calls them.
_PLATFORM_CA = ("E5",)


class Got(msgspec.Struct, frozen=True, kw_only=True):
    """One set, fetched and proven. `chain` is the PCK chain of a machine that was asked for too."""

    name: str
    need: CollateralNeed
    fetched: Fetched
    chain: bytes | None = None

    @property
    def collateral(self) -> Collateral:
        """The set as it is saved."""
        return msgspec.structs.replace(self.fetched.collateral, pck_certificate_chain=self.chain)


@click.command("get")
@click.argument("evidence", required=False)
@click.option("--fmspc", metavar="HEX", help="For this FMSPC instead of a quote.")
@click.option(
    "--pck-ca",
    type=click.Choice(["processor", "platform"]),
    default="platform",
    show_default=True,
    help="With --fmspc: who issues the PCK certificates of such machines.",
)
@click.option(
    "--tee",
    type=click.Choice(["sgx", "tdx"]),
    multiple=True,
    help="With --fmspc: sgx (the default) or tdx. With --all-fmspcs: this one alone.",
)
@click.option("--all-fmspcs", is_flag=True, help="For all FMSPCs that Intel's PCS lists.")
@click.option(
    "--platform",
    type=click.Choice(["all", "client", "E3", "E5"]),
    default="all",
    help="With --all-fmspcs: only this kind of platform.",
)
@source_options
@click.option("-o", "--output", "folder", metavar="DIR", help="The folder to make.")
@click.option("--bundle", "bundle", metavar="FILE", help="The bundle to make.")
@click.option("--at", metavar="TIME", help="Prove as of this instant: Unix seconds or RFC 3339.")
@click.option(
    "--insecure-test-root",
    metavar="FILE",
    envvar="DCAP_INSECURE_TEST_ROOT",
    help="Trust this root instead of Intel's. For tests only.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(
    evidence: str | None,
    *,
    folder: str | None,
    bundle: str | None,
    at: str | None,
    insecure_test_root: str | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Fetch the collateral for EVIDENCE, an FMSPC or all of them, prove it, and save it.

    `dcap verify --collateral` reads what is saved. A bundle holds the evidence too: `dcap verify FILE`
    judges it anywhere, without a network. Where several sets are saved, each has a folder in DIR.

    Exit status: 0 saved; 3 it is false, 4 it has expired, 6 it cannot be had. Then nothing is written.
    """
    if (evidence is not None) + (flags["fmspc"] is not None) + flags["all_fmspcs"] != 1:
        raise _which("give EVIDENCE, --fmspc or --all-fmspcs, and one of them")
    if (folder is None) == (bundle is None):
        raise _which("give -o DIR or --bundle FILE")
    if bundle is not None and (flags["all_fmspcs"] or len(flags["tee"]) > 1):
        raise _which("a bundle holds one set: give -o DIR")
    anchor = arguments.anchor(insecure_test_root)
    given = None if at is None else arguments.instant(at)
    target = Path(folder or bundle or "")
    expect_nothing_at(target)
    data = None if evidence is None else arguments.read_input(evidence, MAX_SIZE)
    found, without = _fetch(data, flags, anchor, given)
    moment = given or arguments.instant(None)
    for one in found:
        _prove(one, moment, anchor)
    _write(target, found, data, moment, as_bundle=bundle is not None)
    output.emit(
        {
            "target": str(target),
            "sets": [_value(one) for one in found],
            "without": without,
            "at": instant_text(moment),
            "remarks": _remarks(found),
        },
        _lines(target, found, without),
        as_json=as_json,
    )
    return 0


def _which(what: str) -> ConfigError:
    return ConfigError("collateral-which", what, mend="see --help of the command")


def _fetch(
    data: bytes | None, flags: dict[str, Any], anchor: TrustAnchor, at: datetime | None
) -> tuple[list[Got], list[str]]:
    """Every set that was asked for, and what there is none of."""
    update, number = generation(flags)
    if flags["all_fmspcs"] and not flags["sources"]:
        flags = {**flags, "sources": ("pcs",)}
    # No cache has the list of all.
    kept = flags["offline"] and not flags["all_fmspcs"]
    here = configured(flags, anchor=anchor, at=at, cache=kept)
    which: tuple[Update, int | None] = (update or here.update, number)
    if data is not None:
        return [_for_evidence(data, here.source, *which, at, anchor)], []
    if flags["all_fmspcs"]:
        return _for_all(here.source, flags["platform"], flags["tee"], *which)
    fmspc = arguments.fmspc(flags["fmspc"])
    names = flags["tee"] or ("sgx",)
    return [_for_fmspc(here.source, fmspc, flags["pck_ca"], name, *which) for name in names], []


def _for_evidence(
    data: bytes,
    source: "Source",
    update: "Update",
    number: int | None,
    at: datetime | None,
    anchor: TrustAnchor,
) -> Got:
    known = recognise(data)
    if isinstance(known, FormatError):
        raise known
    gathered = gather(known, source, update=update, evaluation_number=number, at=at, anchor=anchor)
    assert gathered.need is not None
    return Got(
        name="",
        need=gathered.need,
        fetched=Fetched(
            collateral=gathered.collateral, origins=gathered.origins, remarks=gathered.remarks
        ),
        chain=gathered.evidence.pck_certificate_chain,
    )


def _for_fmspc(
    source: "Source", fmspc: bytes, ca: "Ca", tee: str, update: "Update", number: int | None
) -> Got:
    need = CollateralNeed(
        tee="SGX" if tee == "sgx" else "TDX",
        fmspc=fmspc,
        ca=ca,
        update=update,
        evaluation_number=number,
    )
    return Got(name=f"{fmspc.hex().upper()}-{tee}", need=need, fetched=source.collateral(need))


def _for_all(
    source: "Source",
    platform: Literal["all", "client", "E3", "E5"],
    tees: tuple[str, ...],
    update: "Update",
    number: int | None,
) -> tuple[list[Got], list[str]]:
    """One set for each FMSPC and TEE; not every platform has TDX."""
    from dcap.sources.pcs import PcsService  # noqa: PLC0415 - only here

    service = getattr(source, "service", None)
    if not isinstance(service, PcsService):
        raise ConfigError(
            "source-without-list",
            f"{source.name} does not list FMSPCs; only Intel's PCS does",
            where="--source",
            mend="give --source pcs, or leave it out",
        )
    found: list[Got] = []
    without: list[str] = []
    for entry in service.fmspcs(platform).value.fmspcs:
        ca: Ca = "platform" if entry.platform in _PLATFORM_CA else "processor"
        try:
            fmspc = arguments.fmspc(entry.fmspc)
        except ConfigError as error:
            raise CollateralError(
                "source-answer",
                f"the list of FMSPCs cannot be read: {error.what}",
                where=source.name,
                mend="look at what the source answers; name another one",
            ) from None
        for tee in tees or ("sgx", "tdx"):
            try:
                found.append(_for_fmspc(source, fmspc, ca, tee, update, number))
            except NotFound:
                without.append(f"{fmspc.hex().upper()}-{tee}")
    if not found:
        raise NotFound("collateral-missing", f"{source.name} has none of what was asked for")
    return found, without


def _prove(got: Got, at: datetime, anchor: TrustAnchor) -> None:
    """Raises `VerificationError` with every finding, or `CollateralError` for another set."""
    from dcap.sources.kept import prove_collateral  # noqa: PLC0415 - only here

    pieces = {k: v for k, v in msgspec.structs.asdict(got.fetched.collateral).items() if v}
    findings, status = findings_of(CollateralSet(name=got.name, pieces=pieces), at, anchor)
    failed = [finding for finding in findings if not finding.ok]
    if got.chain is not None:
        chain = [f for f in check_pck_chain(got.chain, at=at, anchor=anchor).findings if not f.ok]
        failed += chain
        status = 3 if chain else status
    if failed:
        raise _false(failed, status)
    bare = msgspec.structs.replace(got.fetched.collateral, pck_certificate_chain=None)
    fetched = msgspec.structs.replace(got.fetched, collateral=bare)
    wrong = prove_collateral(fetched, got.need, at=at, anchor=anchor)
    if isinstance(wrong, str):
        raise CollateralError(
            "source-other-collateral",
            f"the source gave genuine collateral, but not what was asked for: {wrong}",
            mend="see what the source serves; name another one",
        )


def _false(failed: list[Finding], status: int) -> VerificationError:
    """One error with all findings; its exit status is that of the gravest."""
    told = "; ".join(f"{finding.code}: {finding.message}" for finding in failed)
    first = next((f for f in failed if CHECKS[f.code].kind == "truth"), failed[0])
    error = VerificationError(
        first.code,
        f"what the source gives is not written: {told}",
        findings=failed,
        mend=first.mend,
    )
    error.exit_status = status  # type: ignore[misc]
    return error


def _write(
    target: Path, found: list[Got], data: bytes | None, at: datetime, *, as_bundle: bool
) -> None:
    if as_bundle:
        (one,) = found
        bundle = Bundle(
            collateral=one.collateral,
            recorded_at=at,
            evidence=data,
            origins=one.fetched.origins,
            remarks=one.fetched.remarks,
        )
        write_whole(target, bundle.to_bytes())
        return
    alone = len(found) == 1
    files = {
        name if alone else f"{one.name}/{name}": content
        for one in found
        for name, content in files_of(one.collateral).items()
    }
    write_folder(target, files)


def _value(got: Got) -> dict[str, Any]:
    found = CollateralSet(name=got.name, pieces={"tcb_info": got.collateral.tcb_info})
    info = found.tcb_info
    assert info is not None
    return {
        "name": got.name,
        "tee": got.need.tee,
        "fmspc": got.need.fmspc.hex(),
        "ca": got.need.ca,
        "evaluation_number": info.evaluation_data_number,
        "next_update": instant_text(info.next_update),
        "sources": [
            {
                "piece": origin.piece.replace("_", "-"),
                "source": origin.source,
                "address": origin.address,
                "fetched_at": instant_text(origin.fetched_at),
                "cached": origin.cached,
            }
            for origin in got.fetched.origins
        ],
    }


def _remarks(found: list[Got]) -> list[str]:
    return list(dict.fromkeys(remark for one in found for remark in one.fetched.remarks))


def _lines(target: Path, found: list[Got], without: list[str]) -> Iterator[str]:
    for one in found:
        value = _value(one)
        place = target if len(found) == 1 else target / one.name
        sources = ", ".join(dict.fromkeys(origin.source for origin in one.fetched.origins))
        yield (
            f"{place}: {value['tee']} FMSPC {value['fmspc'].upper()}, evaluation data "
            f"{value['evaluation_number']}, good until {value['next_update']}, from {sources}"
        )
    for name in without:
        yield f"{name}: there is none"
    for remark in _remarks(found):
        yield f"warning: {remark}"
