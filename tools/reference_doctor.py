"""The page of troubleshooting: every ailment that `dcap doctor` knows, and which codes lead to it.

Made of the doctor's own tables, so that no finding can be missing from the page.
"""

import re
from collections.abc import Iterator

from dcap.doctor.checks import FAMILIES
from dcap.doctor.finding import Ailment
from reference_markup import Row, first_line, table

INTRODUCTION = """
# Troubleshooting

What `dcap doctor` can find, family by family in the order in which it looks: from what has to be there
first to what stands on it. It says which of these a machine has, with the evidence and the commands for
that machine:

```sh
dcap doctor                          # as what this machine seems to be
dcap doctor --for attester           # or: verifier, pccs
dcap doctor --fix                    # runs the commands of safe mends, each after asking
dcap doctor report -o report.tar.gz  # for a report of a bug, without secrets
```

It exits with 0, or with 7 where there is at least one *error*; a *warning* does no harm now. A code
keeps its meaning for good. Codes of Intel's and of others are explained by `dcap explain CODE`.
"""
INDEX = """## By what is seen

Codes of Intel's quote provider, quoting and AESM, and of a PCCS, with what each can come from. Most
frequent are 0xE011, 0xE019 and 0xE044."""

_CODE = re.compile(r"\b0x[0-9A-Fa-f]{4}\b")
_STATUS = re.compile(r"\bHTTP (\d{3})\b|\b(46[12])\b")
_AESM = re.compile(r"\b(?:AESM|aesm)(?: error)? (\d{1,2})\b")
_NAME = re.compile(r"\b(?:OE|SGX_QL|SGX_QCNL|STATUS)_[A-Z_]+\b")


def troubleshooting_page() -> str:
    """Every ailment, by family; before them what leads there."""
    text = [INTRODUCTION.strip(), INDEX, table(("seen", "may be"), list(_index()))]
    for family in FAMILIES:
        text.append(f"## {_heading(family)}")
        for ailment in family.AILMENTS:
            text += _section(ailment)
    return "\n\n".join(text)


def _heading(family: object) -> str:
    return first_line(family).partition(":")[0].rstrip(".")


def _index() -> Iterator[Row]:
    found: dict[str, list[str]] = {}
    for family in FAMILIES:
        for ailment in family.AILMENTS:
            for seen in _seen(f"{ailment.symptom} {ailment.title}"):
                found.setdefault(seen, []).append(ailment.code)
    for seen in sorted(found, key=_natural):
        yield seen, ", ".join(f"[{code}](#{code})" for code in dict.fromkeys(found[seen]))


def _natural(seen: str) -> tuple[str, int]:
    """AESM 2 before AESM 12."""
    word, _, number = seen.partition(" ")
    return word, int(number or 0)


def _seen(text: str) -> Iterator[str]:
    yield from (f"`0x{found[2:].upper()}`" for found in _CODE.findall(text))
    yield from (f"HTTP {one or other}" for one, other in _STATUS.findall(text))
    yield from (f"AESM {number}" for number in _AESM.findall(text))
    yield from (f"`{name}`" for name in _NAME.findall(text))


def _section(ailment: Ailment) -> list[str]:
    """One ailment. The heading is its code, to which the doctor's findings point."""
    return [
        f"### `{ailment.code}`",
        f"**{ailment.title.rstrip('.')}** ({ailment.severity})",
        f"*Seen:* {_sentence(ailment.symptom)}",
        f"*Why it matters:* {_sentence(ailment.why)}",
        _listed("Causes", ailment.causes),
        _listed("What to do", ailment.mends),
    ]


def _listed(title: str, lines: tuple[str, ...]) -> str:
    if len(lines) == 1:
        return f"*{title}:* {_sentence(lines[0])}"
    return f"*{title}:*\n\n" + "\n".join(f"- {_sentence(line)}" for line in lines)


def _sentence(text: str) -> str:
    """One line, with a full stop; what stands between < and > outside of commands is no tag."""
    parts = " ".join(text.split()).split("`")
    line = "`".join(part if at % 2 else part.replace("<", "&lt;") for at, part in enumerate(parts))
    return line if line.endswith((".", "…", "`", ":", '"')) else f"{line}."
