"""`dcap provider list`: which plugins a system has, which program loads which, and what is in the way.

Looking and judging are `dcap.qpl.discovery`'s; here is how it is told. Nothing is loaded or executed.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from dcap.cli import output
from dcap.qpl.consumers import BY_WORD
from dcap.qpl.discovery import discover
from dcap.qpl.discovery_root import encodable
from dcap.qpl.discovery_values import Candidate, Choice, Discovery, Problem

#: This machine's environment, as the house has it.
WRONG = 7
_STATES = {
    "dangling": "link to nothing",
    "denied": "unreadable",
    "not-elf": "no library",
    "malformed": "damaged",
    "foreign": "other machine's",
}


@click.command("list")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR",
    help="Look at the system in DIR (an unpacked image, a mounted disk), not at this one.",
)
@click.option(
    "--for",
    "consumer",
    type=click.Choice(list(BY_WORD), case_sensitive=False),
    metavar="PROGRAM",
    help=f"Look for this one alone, of {', '.join(BY_WORD)}.",
)
@click.option(
    "--bundle",
    metavar="DIR",
    help="The folder into which Conclave has unpacked its own libraries.",
)
@click.option("--explain", is_flag=True, help="Show each rule, and what came of each path.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(
    *, root: Path, consumer: str | None, bundle: str | None, explain: bool, as_json: bool
) -> int:
    """Show every libdcap_quoteprov.so, and which of them each program would load.

    Programs look for it by rules of their own, so that two of them can load different plugins on one
    host. Files are read, nothing is loaded. Exit status 7 where something is to be mended.
    """
    found = discover(root, environ=os.environ, bundle=bundle, only=consumer)
    value = {name: encodable(part) for name, part in msgspec.to_builtins(found).items()}
    output.emit(value, _told(found, explain=explain), as_json=as_json)
    return WRONG if found.is_wrong else 0


def _told(found: Discovery, *, explain: bool) -> Iterator[str]:
    if found.root != "/":
        yield f"root {found.root}"
    if found.plugins:
        yield "plugins"
        yield from _plugins(found.plugins, explain=explain)
    else:
        yield "plugins  none"
    if found.plugins or explain:
        yield "loaded by"
        width = max(len(choice.name) for choice in found.consumers)
        for choice in found.consumers:
            yield f"  {choice.name:<{width}}  {_choice(choice, found.plugin(choice.plugin))}"
            if explain:
                yield from _explained(choice)
    for problem in found.problems:
        yield from _problem(problem)


def _plugins(plugins: tuple[Candidate, ...], *, explain: bool) -> Iterator[str]:
    width = max(len(plugin.path) for plugin in plugins)
    kinds = {plugin.number: _STATES.get(plugin.state, plugin.whose) for plugin in plugins}
    indent = max(map(len, kinds.values()))
    under = " " * (indent + 7)
    for plugin in plugins:
        kind = kinds[plugin.number]
        yield f"  {plugin.number}  {kind:<{indent}}  {plugin.path:<{width}}  {_owner(plugin)}"
        for name in plugin.names[1:]:
            yield f"{under}{name.path}"
        if explain and plugin.state == "ok":
            yield f"{under}file {plugin.real}, SONAME {plugin.soname or 'none'}"
            needed = ", ".join(plugin.needed) or "no library"
            yield f"{under}{len(plugin.exports)} functions; needs {needed}"


def _owner(plugin: Candidate) -> str:
    owner = plugin.owner
    if owner.name:
        diverted = f" (diverted from {owner.diverted_from})" if owner.diverted_from else ""
        return f"package {owner.name}{diverted}"
    return "package not known: ask rpm -qf" if owner.manager == "rpm" else "of no package"


def _choice(choice: Choice, plugin: Candidate | None) -> str:
    if choice.own:
        return "its own"
    if plugin is None:
        return "none" if choice.presumed else "none  (and not seen on this machine)"
    return f"{plugin.number}  {plugin.whose}" if choice.loads else f"{plugin.number}  fails"


def _explained(choice: Choice) -> Iterator[str]:
    yield f"    rule: {choice.rule}"
    for step in choice.steps:
        yield f"    {step.path}: {step.said}"
    if not choice.is_served:
        failure = BY_WORD[choice.consumer].failure
        yield f"    so: {choice.why}: {failure}" if choice.why else f"    so: {failure}"
    effects: dict[str, list[str]] = {}
    for symbol, effect in choice.without.items():
        effects.setdefault(effect, []).append(symbol)
    for effect, symbols in effects.items():
        yield f"    without {', '.join(symbols)}: {effect}"


def _problem(problem: Problem) -> Iterator[str]:
    yield f"{problem.severity}: {problem.what} [{problem.code}]"
    first, *others = problem.mends
    yield f"fix: {first}"
    yield from (f"     {other}" for other in others)
