"""Where a command's value becomes text. The only module that prints.

stdout = the result; stderr = progress and errors. With `--json` the value is written as one JSON
object that carries a `schema` number. Colour only on a terminal, and not where `NO_COLOR` is set.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import click
import msgspec

from dcap.errors import ConfigError, DcapError, printable

SCHEMA = 1
#: Words at the start of a line that are coloured on a terminal.
_COLOURS = {
    "  ok": "green",
    "  FAIL": "red",
    "ACCEPTED": "green",
    "REJECTED": "red",
    "warning": "yellow",
    "fix": "cyan",
    "error": "red",
}


def emit(value: Mapping[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print a command's result: `value` as JSON, or `lines` as text."""
    if as_json:
        _write([_json({"schema": SCHEMA, **value})])
        return
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    safe = (printable(line) for line in lines)
    _write([_coloured(line) if colour else line for line in safe])


def _json(document: Mapping[str, Any]) -> str:
    """JSON that a terminal shows as it is: what would steer one is escaped, as JSON allows."""
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    return text if text.isascii() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    """C1 controls, marks that turn the direction of text, line ends that are none of JSON's."""
    if character.isascii() or character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _write(lines: Iterable[str]) -> None:
    """Write lines to stdout; a reader that went away ends us as it would end any filter."""
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        raise ConfigError(
            "output-unwritable", f"the result cannot be written: {error.strerror}"
        ) from None


def warn(text: str) -> None:
    """One line of warning, on stderr."""
    click.echo(f"warning: {printable(text)}", err=True)


def fail(error: DcapError, *, as_json: bool = False) -> None:
    """Print an error: on stderr as sentences; with `--json` also as an object on stdout."""
    if as_json:
        document = {
            "schema": SCHEMA,
            "error": {
                "code": error.code,
                "what": error.what,
                "where": error.where,
                "mend": error.mend,
            },
        }
        with suppress(ConfigError):  # what cannot be written there is still told on stderr
            _write([_json(document)])
    place = f" ({error.where})" if error.where else ""
    click.echo(f"error: {error.what}{place} [{error.code}]", err=True)
    if error.mend:
        click.echo(f"fix: {error.mend}", err=True)


def _coloured(line: str) -> str:
    for word, colour in _COLOURS.items():
        if line.startswith(word):
            return click.style(word, fg=colour, bold=True) + line[len(word) :]
    for word in ("ACCEPTED", "REJECTED"):
        if word in line:
            return line.replace(word, click.style(word, fg=_COLOURS[word], bold=True), 1)
    return line
