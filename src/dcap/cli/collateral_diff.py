"""`dcap collateral diff`: what changed between two sets of collateral, level by level.

Differences are no failure: the exit status is 0 whether there are any or not. Nothing is verified.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from dcap.cli import output
from dcap.cli.collateral_set import CRLS, CollateralSet, read_sets
from dcap.errors import CollateralError, FormatError
from dcap.formats.tcb_difference import (
    RENEWAL,
    Difference,
    crl_differences,
    differences,
    identity_differences,
)


@click.command("diff")
@click.argument("old")
@click.argument("new")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(old: str, new: str, *, as_json: bool) -> None:
    """Show what changed from OLD to NEW: folders, bundles, dcap-qvl's JSON, or TCB info files.

    What a platform must now reach to be up to date, levels that came, went or changed, advisories, TDX
    modules, the QE's identity, revocations.
    """
    found: list[Difference] = []
    alone: list[str] = []
    for before, now in _pairs(Path(old), Path(new), alone):
        found += _compare(before, now, alone)
    document = {
        "same": not found and not alone,
        "differences": [{**_members(one), "text": one.text} for one in found],
        "alone": alone,
    }
    output.emit(document, _lines(found, alone), as_json=as_json)


def _pairs(old: Path, new: Path, alone: list[str]) -> Iterator[tuple[CollateralSet, CollateralSet]]:
    """The sets to compare: one and one, or those of the same folder name."""
    before, now = read_sets(old), read_sets(new)
    if len(before) == len(now) == 1:
        yield before[0], now[0]
        return
    ours, theirs = ({Path(one.name).name: one for one in sets} for sets in (before, now))
    for name in dict.fromkeys((*ours, *theirs)):
        if name in ours and name in theirs:
            yield ours[name], theirs[name]
        else:
            alone.append(f"{name} is only in {old if name in ours else new}")


def _compare(before: CollateralSet, now: CollateralSet, alone: list[str]) -> Iterator[Difference]:
    alike = len(before.pieces) > 1 and len(now.pieces) > 1
    for piece in ("tcb_info", "qe_identity", *CRLS):
        if piece not in before.pieces and piece not in now.pieces:
            continue
        if piece not in before.pieces or piece not in now.pieces:
            have = before if piece in before.pieces else now
            if alike or {*before.pieces}.isdisjoint(now.pieces):
                alone.append(f"{piece.replace('_', '-')} is only in {have.name}")
        elif before.pieces[piece] != now.pieces[piece]:
            yield from _differ(piece, before, now)


def _differ(piece: str, before: CollateralSet, now: CollateralSet) -> tuple[Difference, ...]:
    if piece == "tcb_info":
        infos = _read(before, lambda: before.tcb_info), _read(now, lambda: now.tcb_info)
        return differences(*infos)
    if piece == "qe_identity":
        identities = _read(before, lambda: before.qe_identity), _read(now, lambda: now.qe_identity)
        return identity_differences(*identities)
    crls = _read(before, lambda: before.crl(piece)), _read(now, lambda: now.crl(piece))
    return crl_differences(*crls, CRLS[piece])


def _read(found: CollateralSet, read: Callable[[], Any]) -> Any:  # noqa: ANN401
    """A document, or an error that says in which set it cannot be read."""
    try:
        return read()
    except FormatError as error:
        where = f"{found.name}: {error.where}" if error.where else found.name
        raise CollateralError(error.code, error.what, where=where, mend=error.mend) from None


def _members(one: Difference) -> dict[str, Any]:
    return {"kind": one.kind, "of": one.of, "what": one.what, "old": one.old, "new": one.new}


def _lines(found: list[Difference], alone: list[str]) -> Iterator[str]:
    yield from alone
    if not found:
        if not alone:
            yield "no difference"
        return
    by_document: dict[str, list[Difference]] = {}
    for one in found:
        by_document.setdefault(one.of, []).append(one)
    for of, members in by_document.items():
        renewed = all(one.kind in RENEWAL for one in members)
        yield f"{of}: renewed, and otherwise the same" if renewed else of
        for one in members:
            yield f"  {one.text}"
