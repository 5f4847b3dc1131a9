"""Markdown for the reference pages: tables, and docstrings as prose. See `reference`."""

import textwrap
from collections.abc import Iterable
from types import ModuleType

Row = tuple[str, ...]


def table(head: Row, rows: Iterable[Row]) -> str:
    """A table; columns are not aligned, so that one long row does not change all."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def prose(documented: ModuleType | type) -> str:
    """A docstring, without what it says of its sources."""
    return _markdown(documented.__doc__ or "")


def _markdown(docstring: str) -> str:
    """Paragraphs as they stand; indented ones become code blocks."""
    title, _, rest = docstring.strip().partition("\n")
    parts = textwrap.dedent(rest).strip("\n").split("\n\n") if rest.strip() else []
    found = [title]
    for part in parts:
        if part.startswith(("Source:", "Not here:")):
            continue
        code = part.startswith("    ")
        if code and found[-1].endswith("\n```"):
            found[-1] = found[-1].removesuffix("```") + f"\n{textwrap.dedent(part)}\n```"
        else:
            found.append(f"```text\n{textwrap.dedent(part)}\n```" if code else part)
    return "\n\n".join(found)


def first_line(function: object) -> str:
    """The first line of a docstring."""
    return (function.__doc__ or "").strip().partition("\n")[0]
