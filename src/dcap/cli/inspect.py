"""`dcap inspect`: show what a file says, whatever it is. It judges nothing and trusts nothing.

Values are made in `inspection`; here they become lines, one field, or JSON. What identifies one
machine (PPID, CPUSVN …) is shown only with --show-platform-id.
"""

from collections.abc import Iterator

import click

from dcap.cli import arguments, inspection, output
from dcap.cli.inspection import PlatformId, Tree
from dcap.errors import ConfigError

#: More than anything that can be inspected: the largest CRLs have 4 MB.
MAX_SIZE = 16 * 1024 * 1024
DISCLAIMER = "not verified: this only shows what the bytes claim"
HIDDEN = "(hidden; --show-platform-id)"
#: How many entries of a list of words stand on a line of text.
_MOST = 24


@click.command("inspect")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@click.option("--field", metavar="NAME", help="Print one value alone: mrenclave, fmspc, serial …")
@click.option(
    "--show-platform-id",
    is_flag=True,
    help="Also show what identifies the machine: PPID, CPUSVN, platform instance id, QE id.",
)
def command(file: str, *, as_json: bool, field: str | None, show_platform_id: bool) -> None:
    """Show what FILE (- is stdin) says; nothing is verified.

    FILE is recognised by itself: a quote (raw, hex, base64, PEM, in an Open Enclave or EGo report
    or evidence, in a Conclave EnclaveInstanceInfo), certificates, a CRL, TCB info, an enclave
    identity, TCB evaluation data numbers, collateral as JSON, or a SIGSTRUCT.
    """
    tree = inspection.inspect_bytes(arguments.read_input(file, MAX_SIZE))
    if field is None:
        document = {**_published(tree, show=show_platform_id), "verified": False}
        output.emit(document, [*_lines(tree, show=show_platform_id), DISCLAIMER], as_json=as_json)
        return
    name, value = _find(tree, field)
    if isinstance(value, PlatformId) and not show_platform_id:
        raise ConfigError(
            "field-hidden", f"{name} identifies the machine", mend="add --show-platform-id"
        )
    published = value.text if isinstance(value, PlatformId) else value
    line = str(value).lower() if isinstance(value, bool) else _word(value, show=True)
    output.emit({"kind": tree["kind"], name: published}, [line], as_json=as_json)


def _published(tree: Tree, *, show: bool) -> Tree:
    """The tree as JSON shows it: platform identifiers as text, or not at all."""
    published: Tree = {}
    for name, value in tree.items():
        if isinstance(value, PlatformId):
            if show:
                published[name] = value.text
        elif isinstance(value, dict):
            published[name] = _published(value, show=show)
        elif isinstance(value, list):
            published[name] = [
                _published(member, show=show) if isinstance(member, dict) else member
                for member in value
            ]
        else:
            published[name] = value
    return published


def _lines(tree: Tree, *, show: bool, indent: str = "") -> Iterator[str]:
    """Aligned lines: what is one word first, then each part under its name."""
    nested = {name: value for name, value in tree.items() if _is_nested(value)}
    words = {name: value for name, value in tree.items() if name not in nested}
    width = max(map(len, words), default=0)
    for name, value in words.items():
        yield f"{indent}{name:<{width}}  {_word(value, show=show)}"
    for name, value in nested.items():
        if isinstance(value, dict):
            yield f"{indent}{name}"
            yield from _lines(value, show=show, indent=indent + "  ")
        elif isinstance(value, list) and name in _ONE_LINE_EACH:
            yield f"{indent}{name}  {len(value)}"
            for member in value:
                yield f"{indent}  {_on_one_line(member, show=show)}"
        elif isinstance(value, list):
            for number, member in enumerate(value, 1):
                yield f"{indent}{name.removesuffix('s')} {number} of {len(value)}"
                yield from _lines(member, show=show, indent=indent + "  ")


#: Lists whose members are short enough for one line each.
_ONE_LINE_EACH = ("tcb_levels", "module_levels", "tcb_evaluation_numbers")


def _on_one_line(tree: Tree, *, show: bool) -> str:
    return "  ".join(
        f"{name} {_word(value, show=show)}" for name, value in tree.items() if value != []
    )


def _is_nested(value: object) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _word(value: object, *, show: bool) -> str:
    """One value on one line; nothing in it can steer a terminal."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, PlatformId):
        return value.text if show else HIDDEN
    if isinstance(value, list):
        more = f" … and {len(value) - _MOST} more; --json has all" if len(value) > _MOST else ""
        return _printable(", ".join(map(str, value[:_MOST])) + more) or "none"
    return _printable(str(value))


def _printable(text: str) -> str:
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _find(tree: Tree, wanted: str) -> tuple[str, object]:
    """The field of that name, or of that dotted path; of several the first, as they are shown.

    Neither case nor underscores matter: `MRENCLAVE`, `tcbEvaluationDataNumber`.
    """
    fields = dict(_fields(tree))
    key = _normal(wanted)
    for path, value in fields.items():
        if key in (_normal(path), _normal(path.rpartition(".")[2])):
            return path.rpartition(".")[2], value
    names = dict.fromkeys(path.rpartition(".")[2] for path in fields)
    raise ConfigError(
        "field-unknown",
        f"a {tree['kind']} has no field {_printable(wanted)!r}",
        mend=f"the fields are: {', '.join(names)}",
    )


def _fields(tree: Tree, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _fields(value, f"{path}.")
        elif isinstance(value, list) and _is_nested(value):
            for number, member in enumerate(value, 1):
                yield from _fields(member, f"{path}.{number}.")
        else:
            yield path, value


def _normal(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
