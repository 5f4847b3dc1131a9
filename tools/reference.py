"""The reference pages under docs/reference/ (and docs/troubleshooting.md), made of the source's tables.

    python tools/reference.py            write the pages
    python tools/reference.py --check    exit 1, with the difference, where one is not current

No page repeats by hand what the source says: policy keys come from the `#:` comments above the fields,
findings, errors and exit statuses from their tables, commands from click, the types in a result from
results of simulated evidence. Written by hand are the meanings of a result's names
(`docs/reference/result.toml`); a name without a meaning, or a meaning without a name, is an error.
The output depends on the source alone.
"""

import ast
import difflib
import importlib
import io
import sys
import tokenize
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import click
import msgspec

from dcap import errors
from dcap.appraisal import Policy, Release, policy, reference_values
from dcap.appraisal.claims import claims_of
from dcap.cli import glossary
from dcap.cli.explain import PLUGIN, REMARK, Explanation, explain
from dcap.cli.main import COMMANDS, cli
from dcap.cli.vocabulary import FAMILIES
from dcap.formats.quote import Quote
from dcap.pccs import causes as pccs_causes
from dcap.qpl import discovery_remarks, qcnl_remarks
from dcap.verification.checks import CHECKS, EXIT_STATUS
from departures import World
from reference_doctor import troubleshooting_page
from reference_markup import Row, first_line, prose, table
from reference_pccs import settings_page
from reference_result import result_page
from reference_simulator import simulator_page
from worlds import AT, ROOT

PAGES = ROOT / "docs" / "reference"
NOTICE = "<!-- Made by `make docs` from the source; edit it there. -->"
HELP_WIDTH = 92


def main(arguments: list[str]) -> int:
    """Write every page, or compare it with what is there."""
    makers = {
        "policy.md": policy_page,
        "findings.md": findings_page,
        "errors.md": errors_page,
        "cli.md": cli_page,
        "simulator.md": simulator_page,
        "result.md": result_page,
        "pccs-settings.md": settings_page,
        "../troubleshooting.md": troubleshooting_page,
    }
    stale = 0
    for name, make in makers.items():
        path, text = (PAGES / name).resolve(), f"{NOTICE}\n\n{make().strip()}\n"
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            continue
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        if present != text:
            stale += 1
            sys.stdout.writelines(_difference(name, present, text))
    if stale:
        print(f"{stale} of {len(makers)} reference pages are not current: run `make docs`")
    return 1 if stale else 0


def _difference(name: str, present: str, text: str) -> Iterator[str]:
    old, new = present.splitlines(keepends=True), text.splitlines(keepends=True)
    return difflib.unified_diff(old, new, f"docs/reference/{name}", f"{name} by tools/reference.py")


# policy.md


def policy_page() -> str:
    """Every key of a policy and of a release."""
    statuses = ", ".join(f"`{status}`" for status in policy.ACCEPTABLE)
    return "\n\n".join(
        [
            "# Policy",
            prose(policy),
            "A longer one, which can be read as it stands:",
            f"```toml\n{EXAMPLE_POLICY.strip()}\n```",
            "## Keys of a policy",
            table(("key", "type", "default", "meaning"), _fields(Policy, policy)),
            f"TCB statuses: {statuses}. `Revoked` cannot be accepted.",
            f"Durations: {first_line(policy.duration)}",
            "## Keys of a release",
            prose(Release),
            _release_rules(),
            table(("key", "type", "in quotes of", "compared how"), list(_release_fields())),
        ]
    )


EXAMPLE_POLICY = """
name = "production"
accepted_tcb_statuses = ["UpToDate", "SWHardeningNeeded"]
rejected_advisories = ["INTEL-SA-00828"]
minimum_tcb_date = 2024-03-13
maximum_collateral_age = "7d"

[[release]]
name = "signer, from version 3 on"
mrsigner = "815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6"
product_id = 1
minimum_svn = 3

[[release]]
name = "one TD image, two firmwares"
mrtd = [
  "91eb2b44d141d4ece09f0c75c2c53d247a3c68edd7fafe8a3520c942a604a407de03ae6dc5f87f27428b2538873118b7",
  "c68518a0ebb42136c12b2275164f8c72f25fa9a34392228687ed6e9caeb9c0f1dbd895e9cf475121c029dc47e70e91fd",
]
"""

#: How a person calls the types of the fields.
_TYPES = {
    "str": "text",
    "bool": "`true` or `false`",
    "int": "whole number",
    "Duration": "duration",
    "Hexes": "hex, one or a list",
    "TcbStatus": "TCB status",
    "date | datetime": "date or instant",
    "datetime | date": "date or instant",
    "datetime": "date or instant",
    "date": "date or instant",
    "Release": "release",
    "Literal['any']": '`"any"`',
}
_PLURALS = {"text": "texts", "TCB status": "TCB statuses", "release": "releases"}


def _fields(kind: type[msgspec.Struct], module: ModuleType) -> list[Row]:
    comments, annotations = _declared(module, kind.__name__)
    rows = []
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        meaning = comments.get(field.name) or _mask_of(name)
        rows.append((f"`{name}`", _type(annotations[field.name]), _default(field), meaning))
    return rows


def _mask_of(name: str) -> str:
    if not name.endswith("_mask"):
        raise SystemExit(f"{name} has no `#:` comment that says what it means")
    return f"The mask of `{name.removesuffix('_mask')}` (hex); absent: every bit is compared."


def _declared(module: ModuleType, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The `#:` comment above each field of a class, and the field's annotation as it is written."""
    source = Path(module.__file__ or "").read_text(encoding="utf-8")
    lines = {
        token.start[0]: token.string.removeprefix("#:").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and token.string.startswith("#:")
    }
    declared = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    comments, annotations = {}, {}
    for node in declared.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            annotations[node.target.id] = ast.unparse(node.annotation)
            first = node.lineno
            while first - 1 in lines:
                first -= 1
            if text := " ".join(lines[line] for line in range(first, node.lineno)):
                comments[node.target.id] = text
    return comments, annotations


def _type(annotation: str) -> str:
    text = annotation.removesuffix(" | None")
    inner = text.removeprefix("tuple[").removesuffix(", ...]")
    word = _TYPES.get(inner, f"`{inner}`")
    return f"list of {_PLURALS.get(word, word)}" if inner != text else word


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "(must be given)"
    value = field.default
    if value is None:
        return "absent"
    return f"`{_toml(value)}`"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _release_rules() -> str:
    pins = ", ".join(f"`{pin}`" for pin in reference_values.PINS)
    return f"A release must name one of {pins}, and none of the other TEE."


def _release_fields() -> Iterator[Row]:
    """The keys of a release: how each is compared follows from the tables it stands in."""
    comments, annotations = _declared(reference_values, "Release")
    claims = {
        "SGX": claims_of(Quote.parse(World(at=AT).quote())),
        "TDX": claims_of(Quote.parse(World(at=AT).quote(5, "tdx", body_type=4))),
    }
    for field in msgspec.structs.fields(Release):
        name = field.encode_name
        claim = name.removesuffix("_mask").removeprefix("minimum_")
        tees = " and ".join(tee for tee, found in claims.items() if claim in found)
        how, kind = comments.get(field.name, ""), _type(annotations[field.name])
        if name in reference_values.MEASUREMENTS:
            kind = f"hex of {reference_values.MEASUREMENTS[name]} bytes, one or a list"
            how = how or "the quote's is one of these"
        elif claim in reference_values.MASKED:
            kind = f"hex of {reference_values.MASKED[claim]} bytes"
            how = how or (_mask_of(name) if claim != name else "equal, under the mask")
        elif name.startswith("minimum_"):
            how = how or "the quote's is at least this"
        elif name == "name":
            how, tees = how or "not compared: the result repeats it as `release`", "any"
        else:
            how = how or "equal"
        yield f"`{name}`", kind, tees, how


# findings.md


FINDINGS = """
# Findings

Every check there is, in the order of the procedure. A finding carries the code of its check, whether
it passed or failed: `ok` tells the two apart. A code keeps its meaning for good. `dcap explain CODE`
shows one row.

*Exit* is the exit status that a failure asks for; of several failures the lowest number decides.
*QVL* is the status that Intel's Quote Verification Library has for the same fault, where it has one.

Where the evidence cannot be read at all, the finding of step 1.1 carries the code of what was wrong with
the bytes ([errors](errors.md), exit status 2) instead of `evidence-format`.
"""


def findings_page() -> str:
    """Every check, in the order of the procedure."""
    titles = {
        "1": "Step 1: the evidence",
        "2": "Step 2: the collateral",
        "3": "Step 3: the PCK certificate",
        "4": "Step 4: the quote",
        "5": "Step 5: the policy",
    }
    text = [FINDINGS.strip()]
    for number, title in titles.items():
        rows = [
            (
                check.step,
                f"`{check.code}`",
                check.passed,
                str(EXIT_STATUS[check.kind]),
                check.mend,
                f"`{check.qvl.removeprefix('STATUS_')}`" if check.qvl else "",
            )
            for check in CHECKS.values()
            if check.step.partition(".")[0] == number
        ]
        text += [
            f"## {title}",
            table(("step", "code", "what holds when it passes", "exit", "what to do", "QVL"), rows),
        ]
    return "\n\n".join(text)


# errors.md


ERROR_CODES = """`DcapError.code`, by families; `dcap explain CODE` shows one. Causes stand in the
order in which they are met, what to do in the order in which to try it. The codes of findings are
[elsewhere](findings.md)."""
REMARKS = """What `dcap qcnl lint` says of a configuration: Intel's library discards the file, ignores
the setting, or differs from how the file reads (exit status 1); advice alone is exit status 0."""
PLUGINS = """What `dcap provider list` says of the plugins of a system. It is an error (exit status 7)
where a program is left without a plugin that works, or two plugins compete; the rest is advice."""
REFUSALS = """Why the PCCS of dcap does not serve something: the word of its header `Dcap-Cause`, beside
the status that Intel's PCCS would give. As a code of ours it begins with `pccs-`."""


def errors_page() -> str:
    """Exit statuses, the tree of exceptions, error codes, remarks and refusals."""
    statuses = [(str(n), *words) for n, words in sorted(glossary.EXIT_STATUSES.items())]
    text = [
        "# Errors and exit statuses",
        "## Exit statuses of `dcap`",
        table(("status", "meaning", "what to do"), statuses),
        "## Exceptions",
        prose(errors),
        "## Error codes",
        ERROR_CODES,
    ]
    for family, rows in FAMILIES.items():
        codes = [
            (f"`{code}`", str(row.exit_status), row.meaning, " ".join(row.causes), _each(row.mends))
            for code, row in sorted(rows.items())
        ]
        text += [f"### {family}", table(("code", "exit", "meaning", "causes", "what to do"), codes)]
    remarks = [
        (f"`{code}`", _explained(REMARK, code).meaning, _each(_explained(REMARK, code).remedy))
        for code in sorted(qcnl_remarks.REMARKS)
    ]
    plugins = [
        (f"`{code}`", _explained(PLUGIN, code).meaning, _each(_explained(PLUGIN, code).remedy))
        for code in sorted(discovery_remarks.PROBLEMS)
    ]
    refusals = [
        (f"`{word}`", str(cause.status), cause.what, cause.mend)
        for word, cause in sorted(pccs_causes.CAUSES.items())
    ]
    return "\n\n".join(
        [
            *text,
            "## Remarks of `dcap qcnl lint`",
            REMARKS,
            table(("code", "what Intel's library does", "what to do"), remarks),
            "## Problems of `dcap provider list`",
            PLUGINS,
            table(("code", "meaning", "what to do"), plugins),
            "## Refusals of a PCCS",
            REFUSALS,
            table(("cause", "status", "meaning", "what to do"), refusals),
        ]
    )


def _each(texts: tuple[str, ...]) -> str:
    return "; ".join(texts)


def _explained(kind: str, code: str) -> Explanation:
    return next(meaning for meaning in explain(code) if meaning.kind == kind)


# cli.md


STREAMS = """stdout carries the result, stderr warnings and errors. `-` is standard input. `NO_COLOR` is
obeyed. [Exit statuses](errors.md)."""


def cli_page() -> str:
    """The help of every command, as `--help` prints it."""
    text = ["# Command line", STREAMS]
    commands: dict[str, click.Command] = {"dcap": cli}
    for name, (module, _) in COMMANDS.items():
        command = importlib.import_module(module).command
        commands[f"dcap {name}"] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for member in command.list_commands(context):
                found = command.get_command(context, member)
                assert found is not None
                commands[f"dcap {name} {member}"] = found
    for name, command in commands.items():
        given = {"help_option_names": ["-h", "--help"], "terminal_width": HELP_WIDTH}
        context = click.Context(command, info_name=name, **given)  # type: ignore[arg-type]
        text += [f"## `{name}`", f"```text\n{command.get_help(context).rstrip()}\n```"]
    return "\n\n".join(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
