"""`dcap collateral show`: what sets of collateral, bundles and caches say. It proves nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from dcap.cli import arguments, output
from dcap.cli.collateral_set import CHAINS, CRLS, CollateralSet, describe, instant_text, read_sets
from dcap.errors import ConfigError

DISCLAIMER = "not verified: this only shows what the files claim; `dcap collateral check` proves"
_NAMES = {
    "tcb-info": "TCB info",
    "qe-identity": "QE identity",
    **{piece.replace("_", "-"): name for piece, name in (*CRLS.items(), *CHAINS.items())},
}
_LABEL = 20


@click.command("show")
@click.argument("path", required=False)
@click.option(
    "--cache",
    type=click.Choice(["dcap", "intel", "azure", "all"]),
    help="Show a cache of this machine instead: our own, Intel's library's, Azure's client's.",
)
@click.option("--at", metavar="TIME", help="Count the days left from this instant.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(path: str | None, *, cache: str | None, at: str | None, as_json: bool) -> None:
    """Show what is in PATH: a folder, a bundle, dcap-qvl's JSON, or one of Intel's documents."""
    moment = arguments.instant(at)
    if (path is None) == (cache is None):
        raise ConfigError(
            "collateral-which", "give either PATH or --cache", mend="see --help of the command"
        )
    if cache is not None:
        from dcap.cli.collateral_cache import cache_lines, cache_values  # noqa: PLC0415

        values = cache_values(cache, moment)
        output.emit({"caches": values}, cache_lines(values), as_json=as_json)
        return
    assert path is not None
    sets = [_value(found, describe(found, moment)) for found in read_sets(Path(path))]
    lines = [line for value in sets for line in _lines(value)]
    output.emit({"sets": sets, "verified": False}, [*lines, DISCLAIMER], as_json=as_json)


def _value(found: CollateralSet, pieces: list[dict[str, Any]]) -> dict[str, Any]:
    record = found.record
    return {
        "name": found.name,
        "evidence": found.has_evidence,
        "recorded_at": None if record is None else instant_text(record.at),
        "pieces": pieces,
        "sources": []
        if record is None
        else [
            {
                "piece": origin.piece.replace("_", "-"),
                "source": origin.source,
                "address": origin.address,
                "fetched_at": instant_text(origin.fetched_at),
            }
            for origin in record.origins
        ],
    }


def _lines(value: dict[str, Any]) -> Iterator[str]:
    recorded = value["recorded_at"]
    what = f"   bundle of {recorded}" if recorded else ""
    what += ", with evidence" if value["evidence"] else ""
    yield f"{value['name']}{what}"
    for piece in value["pieces"]:
        yield f"  {_NAMES[piece['piece']]:<{_LABEL}}{_words(piece)}"
    sources: dict[str, list[str]] = {}
    for source in value["sources"]:
        told = f"{source['source']}, {source['fetched_at']}"
        sources.setdefault(told, []).append(source["piece"])
    for told, pieces in sources.items():
        yield f"  {'recorded from':<{_LABEL}}{told}: {', '.join(pieces)}"


def _words(piece: dict[str, Any]) -> str:
    if "problem" in piece:
        return f"unreadable: {piece['problem']}"
    words = []
    if "id" in piece:
        fmspc = f" FMSPC {piece['fmspc'].upper()}" if "fmspc" in piece else ""
        words.append(f"{piece['id']}{fmspc}, evaluation data {piece['evaluation_number']}")
    if "revoked" in piece:
        words.append(f"number {piece['number']}, {piece['revoked']} revoked")
    if "certificates" in piece:
        words.append(" < ".join(piece["certificates"]))
    elif piece["signer"]:
        words.append(f"by {piece['signer']}")
    return f"{', '.join(words)}; issued {piece['issued']}, {left(piece)}"


def left(piece: dict[str, Any]) -> str:
    """How long a piece is good, in words."""
    expires, days = piece["expires"], piece["days_left"]
    if expires is None:
        return "without a next update"
    if days < 0:
        return f"EXPIRED {expires}"
    return f"expires {expires} ({days} days left)"
