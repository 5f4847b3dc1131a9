"""The vocabulary against the source: every code that is raised has its row, every row its code."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from dcap import errors
from dcap.api.pccs_responses import ELSEWHERE, SENTENCES
from dcap.api.pcs_responses import STATUSES
from dcap.cli.causes import CAUSES
from dcap.cli.explain import explain
from dcap.cli.main import COMMANDS
from dcap.cli.vocabulary import ERROR_CODES, FAMILIES, qcnl
from dcap.cli.vocabulary.row import Row
from dcap.pccs.store.failures import Failure
from dcap.qpl.qcnl_remarks import REMARKS
from dcap.verification.checks import CHECKS
from rows import each
from worlds import ROOT

SOURCES = ROOT / "src" / "dcap"
#: What raises under a code that it is given, without being an error's class: it raises this.
RAISING = {"Cursor": "FormatError", "Layout": "FormatError", "refused": "Unavailable"}
#: Families whose codes begin alike, and like nothing else that stands in the source.
LIKE_CODES = re.compile(r"(?:network|store|sources?|upstream|qcnl|bundle)(?:-[a-z0-9]+)+")


# ── what is raised ──────────────────────────────────────────────────────────────────────────────


@cache
def modules() -> dict[Path, ast.Module]:
    """The whole package but the tables of the words themselves."""
    words = SOURCES / "cli" / "vocabulary"
    return {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCES.rglob("*.py"))
        if words not in path.parents
    }


def classes_in(trees: list[ast.Module]) -> dict[str, tuple[int, bool]]:
    """Every class of errors: its exit status, and whether its first argument is the code."""
    defined = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found = {"DcapError": (errors.DcapError.exit_status, True)}
    grown = True
    while grown:
        grown = False
        for node in defined:
            above = [base.id for base in node.bases if isinstance(base, ast.Name)]
            parent = next((base for base in above if base in found), None)
            if node.name not in found and parent is not None:
                found[node.name] = _class(node, *found[parent])
                grown = True
    return found


def _class(node: ast.ClassDef, status: int, by_code: bool) -> tuple[int, bool]:
    for member in node.body:
        if isinstance(member, ast.Assign) and ast.unparse(member.targets[0]) == "exit_status":
            status = int(ast.unparse(member.value))
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            by_code = member.args.args[1].arg == "code"
    return status, by_code


def codes_in(module: ast.Module, classes: dict[str, tuple[int, bool]]) -> Iterator[tuple[str, int]]:
    """Every (code, exit status) that a module raises, by what its calls say.

    A code is a literal, or a constant of the module. Codes taken from another error are not new.
    """
    constants = {
        target.id: node.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and node.name in classes:
            calls, status = calls_of(node, "super().__init__"), classes[node.name][0]
            places = [(call.args[0], status) for call in calls if call.args]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            places = list(_places_of_codes(node, node.func.id, classes))
        else:
            continue
        for place, status in places:
            found = constants.get(place.id) if isinstance(place, ast.Name) else place
            if isinstance(found, ast.Constant):
                yield str(found.value), status


def _places_of_codes(
    call: ast.Call, name: str, classes: dict[str, tuple[int, bool]]
) -> Iterator[tuple[ast.expr, int]]:
    """Where in a call the code stands."""
    status, by_code = classes.get(RAISING.get(name, name), (0, False))
    named = {word.arg: word.value for word in call.keywords}
    if name in RAISING and "code" in named:
        yield named["code"], status
    elif name == "Layout" and isinstance(call.args[1], ast.Constant):
        layout = str(call.args[1].value).replace(" ", "-").lower()
        yield ast.Constant(f"{layout}-truncated"), status
    elif by_code and call.args and name != "Cursor":
        yield call.args[0], status


def calls_of(tree: ast.AST, function: str) -> Iterator[ast.Call]:
    """The calls of a function, by how it is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == function:
            yield node


def codes_of_tables() -> Iterator[tuple[str, int]]:
    """Codes that tables of the source hold, or that are made of a status."""
    unavailable, wrong = errors.Unavailable.exit_status, errors.ConfigError.exit_status
    for status in STATUSES:
        yield f"pcs-{status}", unavailable
    for status in (*SENTENCES, *ELSEWHERE):
        yield f"pccs-{status}", unavailable
    yield from (("pcs-status", unavailable), ("pccs-status", unavailable))
    for failure in Failure:
        yield failure.code, wrong if failure.is_setting else unavailable
    (said,) = [tree for path, tree in modules().items() if path.parts[-2:] == FAILURES_OF_NETWORK]
    for node in ast.walk(said):
        if isinstance(node, ast.Constant) and str(node.value).startswith("network-"):
            yield str(node.value), unavailable


FAILURES_OF_NETWORK = ("transport", "failures.py")


@cache
def raised() -> dict[str, set[int]]:
    """Code -> the exit statuses it is raised with, over the whole package."""
    classes = classes_in(list(modules().values()))
    found: dict[str, set[int]] = {}
    for tree in modules().values():
        for code, status in codes_in(tree, classes):
            found.setdefault(code, set()).add(status)
    for code, status in codes_of_tables():
        found.setdefault(code, set()).add(status)
    return found


def test_every_error_code_of_the_source_is_explained() -> None:
    """An error that a person can meet has a row, or this fails."""
    assert sorted(set(raised()) - set(ERROR_CODES)) == []


def test_no_error_code_is_explained_that_does_not_exist() -> None:
    """A row whose error is gone would explain what cannot happen."""
    assert sorted(set(ERROR_CODES) - set(raised())) == []


def test_error_codes_have_the_exit_status_of_their_class() -> None:
    """The table says the exit status with which the command really ends."""
    known = {code: statuses for code, statuses in raised().items() if code in ERROR_CODES}
    wrong = {code: s for code, s in known.items() if s != {ERROR_CODES[code].exit_status}}
    assert wrong == {}


def test_what_looks_like_a_code_is_explained() -> None:
    """A code that is handed on before it is raised is none the less known to `dcap explain`."""
    literals = {
        str(node.value)
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and LIKE_CODES.fullmatch(str(node.value))
    }
    assert [code for code in sorted(literals) if not explain(code)] == []


OF_ITS_OWN = """
class False_(CollateralError):
    exit_status = 3
    def __init__(self, finding):
        super().__init__("g-h", finding)
raise False_("other")
"""


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ('raise FormatError("a-b", "…")', {("a-b", 2)}),
        ('_C = "c-d"\nCursor(x, "n", code=_C)', {("c-d", 2)}),
        ('Layout(T, "SGX report")', {("sgx-report-truncated", 2)}),
        ('raise refused("network-x", what, place, mend)', {("network-x", 6)}),
        ('class Gone(NotFound): ...\nraise Gone("e-f", "…")', {("e-f", 6)}),
        (OF_ITS_OWN, {("g-h", 3)}),
        ("raise ConfigError(error.code, error.what)", set()),
    ],
)
def test_the_search_for_codes_finds_them(source: str, codes: set[tuple[str, int]]) -> None:
    """The search sees each way in which a code is written, so that the tests above can fail."""
    tree = ast.parse(source)
    classes = classes_in([*modules().values(), tree])
    assert set(codes_in(tree, classes)) == codes


# ── the rows ────────────────────────────────────────────────────────────────────────────────────


def test_no_code_stands_in_two_families() -> None:
    """A code has one row: a second would hide the first."""
    assert sum(len(rows) for rows in FAMILIES.values()) == len(ERROR_CODES)


@each("code", ERROR_CODES)
def test_a_row_says_what_where_from_and_how_to_mend(code: str) -> None:
    """One sentence of meaning, one to three of causes, one to three mends, each of one line."""
    row = ERROR_CODES[code]
    assert isinstance(row, Row)
    assert row.meaning.endswith((".", ")"))
    for texts, most in ((row.causes, 3), (row.mends, 3)):
        assert isinstance(texts, tuple)
        assert 1 <= len(texts) <= most
    for cause in row.causes:
        assert cause.endswith((".", "…"))
    for mend in row.mends:
        assert not mend.endswith(".")
        assert mend.count("`") % 2 == 0
    for text in (row.meaning, *row.causes, *row.mends):
        assert text == " ".join(text.split())
        assert 7 <= len(text) <= 160


COMMAND_LINE = re.compile(r"dcap ((?:[a-z]+(?:-[a-z]+)* ?)+)([^`;,]*)")


@each("code", ERROR_CODES)
def test_a_command_that_mends_can_be_typed(code: str) -> None:
    """Each `dcap …` in a mend is a command of the program, with options that it has."""
    for words, rest in COMMAND_LINE.findall("\n".join(ERROR_CODES[code].mends)):
        name, *under = words.split()
        assert name in COMMANDS
        command: click.Command = importlib.import_module(COMMANDS[name][0]).command
        if isinstance(command, click.Group):
            assert under[0] in command.list_commands(click.Context(command))
            if name == "pccs":  # its options come with dcap[server]
                continue
            found = command.get_command(click.Context(command), under[0])
            assert found is not None
            command = found
        known = {"--help", *(option for param in command.params for option in param.opts)}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known


@each("code", CHECKS)
def test_every_finding_has_usual_causes(code: str) -> None:
    """One to three sentences that say where to look first."""
    causes = CAUSES[code]
    assert isinstance(causes, tuple)
    assert 1 <= len(causes) <= 3
    for cause in causes:
        assert cause.endswith((".", "…"))
        assert cause == " ".join(cause.split())
        assert 15 <= len(cause) <= 160


def test_no_finding_has_causes_that_does_not_exist() -> None:
    """A row whose finding is gone would explain what cannot happen."""
    assert set(CAUSES) == set(CHECKS)


def test_no_sentence_stands_under_two_codes() -> None:
    """What fits two codes says nothing of either: meanings and causes are written for their own."""
    said = [
        (text, code) for code, row in ERROR_CODES.items() for text in (row.meaning, *row.causes)
    ]
    said += [(cause, code) for code, causes in CAUSES.items() for cause in causes]
    twice = {text for text, _ in said if [other for other, _ in said].count(text) > 1}
    assert twice == set()


def test_every_place_in_a_remark_has_words_without_a_file() -> None:
    """No brace of a table is left in what is told, and no words are kept for a place that is gone."""
    places = {name for row in REMARKS.values() for text in row[1:] for name in _places(text)}
    assert places == set(qcnl.PLACES)
    for code, words in qcnl.PLACES_OF.items():
        assert set(words) <= {name for text in REMARKS[code][1:] for name in _places(text)}, code


def _places(text: str) -> list[str]:
    return re.findall(r"(?<!\{)\{([a-z_]+)\}(?!\})", text)
