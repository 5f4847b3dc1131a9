"""`dcap doctor --fix`: the commands of safe mends, each shown, asked for, run without a shell.

Safe is what loses nothing and can be undone (`Mend.safe`); everything else a person types. A command
that becomes another user (`sudo`) is run as it was shown, and never where nobody can see it ask. Not
here: which mends there are (the checks).
"""

import shlex
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, Final

import click

from dcap.cli.doctor_telling import Told
from dcap.doctor.finding import Finding, Mend
from dcap.errors import ConfigError, printable

_STDERR: Final = 2
_BECOMING: Final = ("sudo", "doas", "su", "pkexec", "runuser")


def check_possible(*, is_running: bool, yes: bool) -> None:
    """Whether mending is possible at all. Raises `ConfigError` (`doctor-fix`)."""
    if not is_running:
        raise ConfigError(
            "doctor-fix",
            "only the running system is mended, and --root names another",
            where="--fix",
            mend="type the commands yourself, in that system",
        )
    if not yes and not sys.stdin.isatty():
        raise ConfigError(
            "doctor-fix",
            "there is no terminal on which to ask",
            where="--fix",
            mend="run it in a terminal, or with --yes, which agrees to every safe mend",
        )


def mend_all(done: Iterable[Told], *, yes: bool) -> list[dict[str, Any]]:
    """Ask for and run each safe command once; what came of each. Progress goes to stderr."""
    found: dict[tuple[str, ...], tuple[str, Mend]] = {}
    for each in done:
        if isinstance(each.remark, Finding):
            for mend in each.remark.mends:
                if mend.safe and mend.command:
                    found.setdefault(mend.command, (each.remark.code, mend))
    if not found:
        click.echo("nothing was found that is mended for the asking: see each fix", err=True)
    return [_mended(code, mend, yes=yes) for code, mend in found.values()]


def _mended(code: str, mend: Mend, *, yes: bool) -> dict[str, Any]:
    typed = shlex.join(mend.command)
    value = {"code": code, "command": list(mend.command), "done": False, "why": ""}
    click.echo(f"{code}: {printable(mend.text)}", err=True)
    click.echo(f"  $ {printable(typed)}", err=True)
    if mend.command[0] in _BECOMING and not sys.stdin.isatty():
        return {**value, "why": "it becomes another user, and there is no terminal"}
    if not yes and not click.confirm("  run it?", default=False, err=True):
        return {**value, "why": "not wanted"}
    try:
        ended = subprocess.run(mend.command, check=False, stdout=_STDERR)  # noqa: S603 - shown, agreed to; no shell
    except OSError as error:
        why = error.strerror or str(error)
        click.echo(f"  it could not be run: {why}", err=True)
        return {**value, "why": why}
    if ended.returncode:
        click.echo(f"  it ended with status {ended.returncode}", err=True)
        return {**value, "why": f"exit status {ended.returncode}"}
    return {**value, "done": True}
