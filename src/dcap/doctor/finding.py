"""What a check says: `Right`, `Skipped` or a `Finding`; and `Ailment`, what findings of a code share.

    Ailment("device-absent", …)                          # a row of a check's table, and of the docs
    Finding("device-absent", "there is no /dev/sgx_enclave", evidence=(…), mends=(Mend("…"),))

A finding holds what was seen on *this* machine; its ailment says why that matters, and is what
`docs/troubleshooting.md` prints. Neither ever holds a token, key, PPID or manifest. Not here: the checks
(one file a family), their order (`checks`).
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

Severity: TypeAlias = Literal["error", "warning"]


class Mend(msgspec.Struct, frozen=True):
    """What to do: a sentence with its command in backticks, as a person would type it.

    `command` is the same as arguments, where one command does it all; `safe` is whether it may be run
    for the asking (`--fix`): it loses nothing, weakens nothing, and can be undone.
    """

    text: str
    command: tuple[str, ...] = ()
    safe: bool = False


class Ailment(msgspec.Struct, frozen=True, kw_only=True):
    """What all findings of a code have in common.

    `symptom` is what people see elsewhere (Intel's code, a line of a log), `causes` the most frequent
    first, `why` what it leads to, `rows` the numbers of `quote-provider.md` §6 that it answers.
    """

    code: str
    severity: Severity
    title: str
    symptom: str
    causes: tuple[str, ...]
    why: str
    mends: tuple[str, ...]
    rows: tuple[int, ...] = ()


class Finding(msgspec.Struct, frozen=True):
    """Something is wrong here: what, on what evidence, and the commands that mend it, best first."""

    code: str
    what: str
    evidence: tuple[str, ...] = ()
    mends: tuple[Mend, ...] = ()


class Right(msgspec.Struct, frozen=True):
    """A fact that was looked at, and is as it should be."""

    what: str
    evidence: tuple[str, ...] = ()


class Skipped(msgspec.Struct, frozen=True):
    """What was not looked at, and why: it is not needed here, or could not be seen."""

    what: str
    why: str


Remark: TypeAlias = Finding | Right | Skipped
Remarks: TypeAlias = Iterable[Remark]
