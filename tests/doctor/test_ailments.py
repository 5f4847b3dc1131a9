"""The doctor's tables against its source: every code that is found is explained, and no other is."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dcap.cli.vocabulary import ERROR_CODES
from dcap.doctor.checks import AILMENTS, CHECKS, FAMILIES
from dcap.doctor.finding import Ailment
from dcap.doctor.plugins_ailments import PLUGINS
from dcap.doctor.scene import ROLES
from dcap.qpl.discovery_remarks import PROBLEMS
from worlds import ROOT

DOCTOR = ROOT / "src" / "dcap" / "doctor"
ROWS = range(1, 21)
#: In the name of a test, or at the beginning of its sentence.
NAMING = re.compile(r"^(?:test )?rows? ([\d, and]+)", re.IGNORECASE | re.MULTILINE)


@cache
def modules() -> dict[Path, ast.Module]:
    """The whole package, parsed."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in DOCTOR.glob("*.py")}


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Each call of what goes by that name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name:
            yield node


def found_in(tree: ast.Module) -> Iterator[str]:
    """Every code that a module's findings are made with, as a literal or a constant of the module."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for call in calls(tree, "Finding"):
        code = call.args[0] if call.args else {one.arg: one.value for one in call.keywords}["code"]
        for part in ast.walk(code):
            value = constants.get(part.id) if isinstance(part, ast.Name) else part
            literal = value.value if isinstance(value, ast.Constant) else value
            if isinstance(literal, str):
                yield literal


def texts_outside_of_ailments(tree: ast.Module) -> set[str]:
    """Every literal of a module, but for those that only describe an ailment."""
    described = {
        id(node) for call in calls(tree, "Ailment") for node in ast.walk(call) if node is not call
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in described
    }


def test_every_code_of_a_finding_is_an_ailment() -> None:
    """What a check can find has a row: else nobody would know why it matters."""
    made = {code for tree in modules().values() for code in found_in(tree)}
    assert sorted(made - set(AILMENTS)) == []
    assert len(made) > 100


def test_every_ailment_can_be_found() -> None:
    """A row whose code nothing makes would explain what cannot happen.

    A code may go through a table before a finding is made of it; then the table has it.
    """
    written = {text for tree in modules().values() for text in texts_outside_of_ailments(tree)}
    assert sorted(set(AILMENTS) - written - set(PROBLEMS)) == []


def test_the_search_for_codes_can_fail() -> None:
    """It sees literals and constants, and what only an ailment names it does not count."""
    tree = ast.parse('_C = "a-b"\nFinding(_C, "x")\nFinding("c-d", "x")\nAilment(code="e-f")\n')
    assert set(found_in(tree)) == {"a-b", "c-d"}
    assert texts_outside_of_ailments(tree) == {"a-b", "c-d", "x"}


def test_no_code_stands_in_two_families_or_means_an_error() -> None:
    """One code, one meaning: among the families, and beside the codes of errors."""
    assert sum(len(family.AILMENTS) for family in FAMILIES) == len(AILMENTS)
    assert sorted(set(AILMENTS) & set(ERROR_CODES)) == []


def test_all_twenty_rows_of_the_reference_are_diagnosed() -> None:
    """Each row of §6 has at least one ailment that answers it."""
    answered = {row for ailment in AILMENTS.values() for row in ailment.rows}
    assert answered == set(ROWS)


def test_each_of_the_twenty_rows_has_a_test_that_names_it() -> None:
    """A test sets the row up, and says which: in its name (`test_row_6_…`) or its first words."""
    named: set[int] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                said = f"{node.name.replace('_', ' ')}\n{ast.get_docstring(node)}"
                for rows in NAMING.findall(said):
                    named |= {int(number) for number in re.findall(r"\d+", rows)}
    assert sorted(set(ROWS) - named) == []


@pytest.mark.parametrize("ailment", AILMENTS.values(), ids=list(AILMENTS))
def test_an_ailment_says_all_that_a_reader_needs(ailment: Ailment) -> None:
    """A title, what is seen, causes, why it matters, what to do: in sentences, commands in backticks."""
    assert ailment.severity in ("error", "warning")
    assert ailment.causes
    assert ailment.mends
    for text in (ailment.title, ailment.symptom, ailment.why, *ailment.causes, *ailment.mends):
        assert text == " ".join(text.split())
        assert len(text) > 3
        assert text.count("`") % 2 == 0


def test_every_check_has_a_name_and_a_role() -> None:
    """So that --json can be read, and nobody is asked for what he is not."""
    assert all(check.name and set(check.roles) <= set(ROLES) and check.roles for check in CHECKS)
    assert {ailment.code for ailment in PLUGINS} <= set(AILMENTS)
