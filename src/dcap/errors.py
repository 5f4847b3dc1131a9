"""The whole error tree: everything dcap raises on purpose, and nothing else.

    DcapError                  code · what · where · mend · exit_status
    ├── FormatError            bytes are not what they claim to be
    ├── CollateralError        what the check needs could not be had
    │   ├── NotFound           the source answered: it has none
    │   └── Unavailable        the source did not answer
    ├── VerificationError      the evidence is false; carries the findings that say so
    ├── Rejected               a result was required to be accepted and is not
    ├── AttesterError          this machine makes no evidence: a device, daemon, right is missing
    └── ConfigError            what a person wrote (policy, flag, file) cannot be obeyed

A bad quote is a *result* (`AttestationResult`), not an exception; these are raised where no result can
be made, or where the caller asked for an exception (`AttestationResult.require()`).

Not here: finding codes (`verification.checks`) and Intel's own codes (`qpl.error_codes`).
"""

from collections.abc import Sequence
from typing import Any, ClassVar


def printable(text: str) -> str:
    """Text that may hold bytes from outside, safe for a terminal: control characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class DcapError(Exception):
    """What went wrong, where, and how to mend it, under a stable code.

    `code` is a slug that scripts may compare; it never changes its meaning. `what` and `mend` are
    sentences for people. `where` names the place in the input ("quote, byte 436"). None of them
    ever holds a secret or a platform identifier.
    """

    exit_status: ClassVar[int] = 70

    def __init__(self, code: str, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(code, what, where, mend)
        self.code = code
        self.what = printable(what)
        self.where = printable(where)
        self.mend = printable(mend)

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        cure = f"; {self.mend}" if self.mend else ""
        return f"{self.what}{place}{cure} [{self.code}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(cls: type[DcapError], state: dict[str, Any]) -> DcapError:
    error = cls.__new__(cls)
    Exception.__init__(error, state["code"], state["what"], state["where"], state["mend"])
    error.__dict__.update(state)
    return error


class FormatError(DcapError):
    """The bytes are not what they claim to be: truncated, mis-sized, of an unknown version …"""

    exit_status = 2

    def within(self, outer: str) -> "FormatError":
        """The same error, its place prefixed by the thing that holds it."""
        where = f"{outer}: {self.where}" if self.where else outer
        return FormatError(self.code, self.what, where=where, mend=self.mend)


class CollateralError(DcapError):
    """What a check needs from Intel could not be had. Says nothing about the evidence.

    `quote3_error` is the number that a program which uses Intel's library would receive for it, where
    that is known.
    """

    exit_status = 6
    quote3_error: int | None = None


class NotFound(CollateralError):  # noqa: N818 - the field's word
    """The source answered, and it has no such item."""


class Unavailable(CollateralError):  # noqa: N818 - the field's word
    """The source did not answer, or not in time."""


class VerificationError(DcapError):
    """The evidence or the collateral is false.

    `findings` holds every failed check in procedure order (`verification.Finding`).
    """

    exit_status = 3

    def __init__(
        self,
        code: str,
        what: str,
        *,
        findings: Sequence[Any] = (),
        where: str = "",
        mend: str = "",
    ) -> None:
        super().__init__(code, what, where=where, mend=mend)
        self.findings = tuple(findings)


class Rejected(DcapError):  # noqa: N818 - the verdict's own word
    """Raised by `AttestationResult.require()`; `result` is the whole judgement."""

    exit_status = 5

    def __init__(self, code: str, what: str, *, result: object, mend: str = "") -> None:
        super().__init__(code, what, mend=mend)
        self.result = result


class AttesterError(DcapError):
    """What this machine should offer (device, daemon, library, right) does not make evidence."""

    exit_status = 7


class ConfigError(DcapError):
    """A policy, flag or file that a person wrote cannot be obeyed as it stands."""

    exit_status = 1
