"""An examination as a value, and as lines: what `dcap doctor` and `dcap container-args --check` print.

    done = examined(scene, CHECKS)
    value_of(scene, done), lines_of(scene, done, verbose=False)

A check that breaks down is told as skipped, for the others still have something to say. Not here: what
is looked at (`doctor`), who prints (`output`).
"""

import os
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, TypeAlias

import msgspec

from dcap import __version__
from dcap.doctor.checks import AILMENTS
from dcap.doctor.examination import Check, examine
from dcap.doctor.finding import Ailment, Finding, Remark, Right, Skipped
from dcap.doctor.scene import ROLES, Scene
from dcap.errors import DcapError
from dcap.qpl.discovery_remarks import listed
from dcap.qpl.discovery_root import encodable

State: TypeAlias = Literal["ok", "warn", "FAIL", "skip"]
#: The page that `tools/reference_doctor.py` makes of the ailments.
DOCS: Final = "docs/troubleshooting.md"
_WIDTH: Final = 100
_UNDER: Final = " " * 8


class Told(msgspec.Struct, frozen=True):
    """One remark of one check."""

    check: str
    remark: Remark

    @property
    def ailment(self) -> Ailment | None:
        """What is known of a finding's code."""
        return AILMENTS.get(self.remark.code) if isinstance(self.remark, Finding) else None

    @property
    def state(self) -> State:
        """The word at the beginning of its line."""
        if isinstance(self.remark, Finding):
            is_warning = self.ailment is not None and self.ailment.severity == "warning"
            return "warn" if is_warning else "FAIL"
        return "ok" if isinstance(self.remark, Right) else "skip"

    @property
    def is_error(self) -> bool:
        """Whether it makes the exit status 7."""
        return self.state == "FAIL"


def examined(scene: Scene, checks: Iterable[Check]) -> tuple[Told, ...]:
    """What each check says."""
    found: list[Told] = []
    for check in checks:
        try:
            found += (Told(check.name, remark) for _, remark in examine(scene, (check,)))
        except DcapError as error:
            found.append(Told(check.name, Skipped(check.name, f"{error.what} [{error.code}]")))
        except Exception as error:
            if os.environ.get("DCAP_DEBUG"):
                raise
            why = f"a bug of dcap, please report it: {type(error).__name__} (DCAP_DEBUG=1 shows it)"
            found.append(Told(check.name, Skipped(check.name, why)))
    return tuple(found)


def counts_of(done: Iterable[Told]) -> dict[str, int]:
    """How many of each."""
    states = [each.state for each in done]
    names: dict[str, State] = {
        "errors": "FAIL",
        "warnings": "warn",
        "right": "ok",
        "skipped": "skip",
    }
    return {name: states.count(state) for name, state in names.items()}


# ── the value ───────────────────────────────────────────────────────────────────────────────────


def value_of(scene: Scene, done: tuple[Told, ...]) -> dict[str, Any]:
    """All of it, as `--json` prints it."""
    return {
        "version": __version__,
        "at": scene.clock().isoformat(timespec="seconds"),
        "root": str(scene.root.top),
        "roles": [role for role in ROLES if role in scene.roles],
        "offline": scene.offline,
        "remarks": [_valued(each) for each in done],
        "counts": counts_of(done),
    }


def _valued(each: Told) -> dict[str, Any]:
    value: dict[str, Any] = {"check": each.check, "state": each.state}
    remark = each.remark
    value |= msgspec.to_builtins(remark)
    if isinstance(remark, Finding):
        ailment = each.ailment
        value["severity"] = "error" if each.is_error else "warning"
        value["why"] = ailment.why if ailment else ""
        value["docs"] = f"{DOCS}#{remark.code}"
    return {name: encodable(part) for name, part in value.items()}


# ── the lines ───────────────────────────────────────────────────────────────────────────────────


def lines_of(scene: Scene, done: tuple[Told, ...], *, verbose: bool) -> Iterator[str]:
    """A line a remark; below a finding its evidence, why it matters, what mends it."""
    where = "" if scene.root.is_running else f", of the system in {scene.root.top}"
    roles = listed(role for role in ROLES if role in scene.roles)
    yield f"looked at as {roles}{where}{' (no network)' if scene.offline else ''}"
    for each in done:
        yield from _lines(each, verbose=verbose)
    yield summary(done)


def summary(done: tuple[Told, ...]) -> str:
    """The last line."""
    counts = counts_of(done)
    said = ", ".join(
        (
            _counted(counts["errors"], "error"),
            _counted(counts["warnings"], "warning"),
            f"{counts['right']} ok",
            f"{counts['skipped']} skipped",
        )
    )
    return f"{said}   exit {7 if counts['errors'] else 0}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _lines(each: Told, *, verbose: bool) -> Iterator[str]:
    remark = each.remark
    if isinstance(remark, Finding):
        yield from _wrapped(f"  {each.state:<5} ", f"{remark.what} [{remark.code}]")
        yield from _below(remark.evidence)
        if each.ailment is not None:
            yield from _wrapped(f"{_UNDER}why: ", each.ailment.why)
        for number, mend in enumerate(remark.mends):
            label = "  or " if number else "fix: "
            yield from _wrapped(f"{_UNDER}{label}", mend.text.removeprefix("or "))
        yield f"{_UNDER}see: {DOCS}#{remark.code}"
        return
    said = remark.what if isinstance(remark, Right) else f"{remark.what} ({remark.why})"
    yield from _wrapped(f"  {each.state:<5} ", said)
    if verbose and isinstance(remark, Right):
        yield from _below(remark.evidence)


def _below(evidence: tuple[str, ...]) -> Iterator[str]:
    for line in evidence:
        yield f"{_UNDER}  {line}"


def _wrapped(label: str, text: str) -> Iterator[str]:
    """A text behind its label, and under itself; commands are not broken."""
    yield from textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [label.rstrip()]
