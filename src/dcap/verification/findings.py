"""Findings: what each check of a procedure found, good or bad, in the order of the procedure.

A `Ledger` is filled from top to bottom; a failed check never hides a later one that can still run.
What each code means stands in `checks`. Not here: what a finding does to the verdict (`appraisal`).
"""

from collections.abc import Callable, Iterable

import msgspec

from dcap.errors import printable
from dcap.verification.checks import CHECKS, TCB, Check


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One check's outcome. `code` and `step` are stable; `message` and `mend` are for people."""

    code: str
    step: str
    ok: bool
    message: str
    mend: str = ""

    @property
    def check(self) -> Check | None:
        """The check's row in the table; `None` for codes of `FormatError`."""
        return CHECKS.get(self.code)


_PASSED = {
    code: Finding(code, check.step, ok=True, message=check.passed) for code, check in CHECKS.items()
}


class Ledger:
    """Findings in the making."""

    __slots__ = ("failures", "findings")

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.failures = 0

    def passed(self, code: str, message: str = "") -> None:
        """The check `code` found nothing wrong."""
        finding = _PASSED[code]
        if message:
            finding = Finding(code, finding.step, ok=True, message=message)
        self.findings.append(finding)

    def failed(self, code: str, message: str, mend: str = "") -> None:
        """The check `code` failed; `message` says with which values."""
        check = CHECKS[code]
        message = printable(message)
        self.findings.append(
            Finding(code, check.step, ok=False, message=message, mend=mend or check.mend)
        )
        self.failures += 1

    def check(self, code: str, holds: bool, why: str | Callable[[], str]) -> bool:  # noqa: FBT001
        """Note the outcome of a check, and hand it back; `why` words its failure."""
        if holds:
            self.findings.append(_PASSED[code])
        else:
            self.failed(code, why if isinstance(why, str) else why())
        return holds


def is_genuine(findings: Iterable[Finding]) -> bool:
    """Whether all that failed is the platform's TCB: the evidence is true, and not good enough.

    Steps that a failure keeps from running would leave truth open; a TCB that matches no level is
    the last step of the procedure, and keeps none.
    """
    failed = [finding for finding in findings if not finding.ok]
    return bool(failed) and all(CHECKS[f.code].kind == TCB for f in failed if f.code in CHECKS)
