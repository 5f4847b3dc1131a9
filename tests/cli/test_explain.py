"""`dcap explain`: every code there is has an explanation, however it is written."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcap import errors
from dcap.cli import glossary
from dcap.cli.causes import CAUSES
from dcap.cli.explain import ADVISORY, ERROR, EXIT, FINDING, TCB_STATUS, Explanation, explain
from dcap.cli.main import INTERNAL_ERROR
from dcap.qpl.error_codes import all_codes
from dcap.verification import TcbStatus
from dcap.verification.checks import CHECKS, EXIT_STATUS
from transcripts.desk import Outcome, run
from worlds import ROOT

SOURCES = ROOT / "src" / "dcap"
#: What is raised under a code that is written where it is raised.
RAISED = {
    "FormatError",
    "ConfigError",
    "DcapError",
    "NotFound",
    "Unavailable",
    "CollateralError",
    "VerificationError",
}


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """`dcap explain` with some words."""

    def explained(*words: str) -> Outcome:
        return run(tmp_path, "explain", *words)

    return explained


def of(kind: str, spelling: str) -> Explanation:
    """The one meaning of that kind."""
    (meaning,) = [meaning for meaning in explain(spelling) if meaning.kind == kind]
    return meaning


# ── our error codes: the table against the sources ──────────────────────────────────────────────


def codes_in(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Every (code, error class) that a module raises, by what its calls say.

    A code is a literal, or a constant of the module; a `Cursor` and a `Layout` raise `FormatError`
    under the code, or the name, that they are given. Codes taken from another error are not new.
    """
    constants = {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def text(node: ast.expr) -> str | None:
        if isinstance(node, ast.Constant):
            return str(node.value)
        return constants.get(node.id) if isinstance(node, ast.Name) else None

    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        name = node.func.id
        if name in RAISED and node.args and (code := text(node.args[0])):
            yield code, name
        elif name == "Layout" and any(word.arg == "code" for word in node.keywords):
            yield next(text(word.value) or "" for word in node.keywords), "FormatError"
        elif name == "Layout" and (layout := text(node.args[1])):
            yield f"{layout.replace(' ', '-').lower()}-truncated", "FormatError"
        elif name == "Cursor":
            code = next(text(word.value) for word in node.keywords if word.arg == "code")
            assert code, ast.unparse(node)
            yield code, "FormatError"


def codes_of_the_sources() -> dict[str, set[str]]:
    """Code -> the classes it is raised as, over the whole package."""
    found: dict[str, set[str]] = {}
    for path in SOURCES.rglob("*.py"):
        for code, name in codes_in(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(code, set()).add(name)
    return found


def test_every_error_code_of_the_sources_is_explained() -> None:
    """An error that a person can meet has a row in the table, or this fails."""
    assert set(codes_of_the_sources()) - set(glossary.ERROR_CODES) == set()


def test_no_error_code_is_explained_that_does_not_exist() -> None:
    """A row whose error is gone would explain what cannot happen."""
    assert set(glossary.ERROR_CODES) - set(codes_of_the_sources()) == set()


def test_error_codes_have_the_exit_status_of_their_class() -> None:
    """The table says the exit status with which the command really ends."""
    wrong = {
        code: (glossary.ERROR_CODES[code][0], sorted(classes))
        for code, classes in codes_of_the_sources().items()
        if code in glossary.ERROR_CODES
        and {getattr(errors, name).exit_status for name in classes}
        != {glossary.ERROR_CODES[code][0]}
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ('raise FormatError("a-b", "…")', {("a-b", "FormatError")}),
        ('_C = "c-d"\nCursor(x, "n", code=_C)', {("c-d", "FormatError")}),
        ('Layout(T, "SGX report")', {("sgx-report-truncated", "FormatError")}),
        ("raise ConfigError(error.code, error.what)", set()),
    ],
)
def test_the_search_for_codes_finds_them(source: str, codes: set[tuple[str, str]]) -> None:
    """The search sees each way in which a code is written, so that the tests above can fail."""
    assert set(codes_in(ast.parse(source))) == codes


# ── causes: the table against findings and errors ───────────────────────────────────────────────


@pytest.mark.parametrize("code", list(dict.fromkeys((*CHECKS, *glossary.ERROR_CODES))))
def test_every_finding_and_every_error_has_usual_causes(code: str) -> None:
    """One to three sentences that say where to look first."""
    causes = CAUSES[code]
    assert isinstance(causes, tuple)
    assert 1 <= len(causes) <= 3
    for cause in causes:
        assert cause.endswith((".", "…"))
        assert cause == " ".join(cause.split())
        assert 15 <= len(cause) <= 160


def test_no_code_has_causes_that_does_not_exist() -> None:
    """A row whose finding or error is gone would explain what cannot happen."""
    assert set(CAUSES) - set(CHECKS) - set(codes_of_the_sources()) == set()


def test_no_sentence_is_the_cause_of_two_codes() -> None:
    """A cause that fits two codes says nothing of either: each is written for its own."""
    rows = [(cause, code) for code, causes in CAUSES.items() for cause in causes]
    assert len({cause for cause, _ in rows}) == len(rows)


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("tcb-info-signature", "re-serialised"),
        ("fmspc", "another machine"),
        ("tcb-status", "TCB recovery"),
        ("report-data", "nonce"),
        ("identity", "rebuilt"),
        ("pck-chain-present", "0xE01C"),
        ("pck-crl-coverage", "other CA"),
        ("collateral-incomplete", "headers"),
    ],
)
def test_the_usual_cause_is_told_first(code: str, first: str) -> None:
    """What the threads of users show to be the reason most often stands before the rest."""
    assert first in explain(code)[0].causes[0]


@pytest.mark.parametrize("code", ["tcb-info-signature", "collateral-incomplete"])
def test_causes_are_printed_and_in_json(shell: Any, code: str) -> None:
    """As numbered lines for people, as a list for scripts: all of them, in their order."""
    text = " ".join(shell(code).out.split())
    (match,) = json.loads(shell(code, "--json").out)["codes"][0]["matches"]
    assert tuple(match["causes"]) == CAUSES[code]
    assert "causes " + " ".join(f"{n} {c}" for n, c in enumerate(CAUSES[code], 1)) in text


# ── what is explained ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", list(CHECKS))
def test_every_finding_is_explained(code: str) -> None:
    """What it checks, at which step, exit status, usual causes, remedy, Intel's name for it."""
    check, meaning = CHECKS[code], of(FINDING, code)
    assert (meaning.meaning, meaning.remedy) == (check.passed, (check.mend,))
    assert (meaning.step, meaning.exit_status) == (check.step, EXIT_STATUS[check.kind])
    assert meaning.qvl == (check.qvl or None)
    assert meaning.causes == CAUSES[code]


@pytest.mark.parametrize("code", list(glossary.ERROR_CODES))
def test_every_error_is_explained(code: str) -> None:
    """What happened, the exit status, the usual causes, the remedy."""
    meaning = of(ERROR, code)
    assert (meaning.exit_status, meaning.meaning, *meaning.remedy) == glossary.ERROR_CODES[code]
    assert meaning.meaning.endswith((".", ")"))
    assert meaning.causes == CAUSES[code]


def test_every_tcb_status_is_explained() -> None:
    """Every word of Intel's for where a platform stands, and the one for nowhere."""
    assert set(glossary.TCB_STATUSES) == {*TcbStatus, "TCB_NOT_SUPPORTED"}


@pytest.mark.parametrize("status", list(glossary.TCB_STATUSES))
@pytest.mark.parametrize("spell", [str, str.lower, str.upper], ids=["as is", "lower", "upper"])
def test_a_tcb_status_is_found_in_any_case(status: str, spell: Any) -> None:
    """OutOfDate, outofdate, OUTOFDATE: meaning, cause and remedy."""
    meaning = of(TCB_STATUS, spell(status))
    assert meaning.code == status
    assert meaning.meaning
    assert meaning.causes
    assert meaning.remedy


@pytest.mark.parametrize("spelling", ["OUT_OF_DATE", "out-of-date", "Out of Date"])
def test_a_tcb_status_is_found_with_its_words_apart(spelling: str) -> None:
    """As other tools write it."""
    assert of(TCB_STATUS, spelling).code == "OutOfDate"


@pytest.mark.parametrize("row", all_codes(), ids=lambda row: f"{row.family} {row.code}")
def test_every_code_of_intel_and_open_enclave_is_explained(row: Any) -> None:
    """What the tables know is found by its name, whole: nothing is lost on the way."""
    found = [meaning for meaning in explain(row.name) if meaning.kind == row.family]
    assert (row.code, row.meaning, row.causes, row.remedy, row.maps_to) in [
        (m.code, m.meaning, m.causes, m.remedy, m.maps_to) for m in found
    ]


@pytest.mark.parametrize(
    "spelling",
    ["exit 4", "exit status 4", "exit code 4", "exit4", "EXIT=4", "exit-status 4", "exit: 4"],
)
def test_an_exit_status_is_found(spelling: str) -> None:
    """However people write it, and nothing else with it."""
    (meaning,) = explain(spelling)
    assert (meaning.kind, meaning.exit_status) == (EXIT, 4)


def test_every_exit_status_is_explained() -> None:
    """Those of findings and errors, success, and our own bug."""
    used = {*EXIT_STATUS.values(), *(row[0] for row in glossary.ERROR_CODES.values()), 0}
    assert used | {INTERNAL_ERROR} <= set(glossary.EXIT_STATUSES)


def test_a_bare_number_is_everything_it_can_be() -> None:
    """4 is an exit status of ours and a status of Intel's QVL: both are told."""
    assert [meaning.kind for meaning in explain("4")] == [EXIT, "QVL Status"]


@pytest.mark.parametrize(
    "spelling",
    ["INTEL-SA-00615", "intel-sa-00615", "SA-00615", "INTEL_SA_00615", "[INTEL-SA-00615]"],
)
def test_an_advisory_is_a_page_of_intels(spelling: str) -> None:
    """Whatever the number: what an id is, and where its page stands."""
    meaning = of(ADVISORY, spelling)
    assert meaning.code == "INTEL-SA-00615"
    assert meaning.url == (
        "https://www.intel.com/content/www/us/en/security-center/advisory/intel-sa-00615.html"
    )


@pytest.mark.parametrize("spelling", ["SA-615", "INTEL-SA-006155", "SA-", "CVE-2022-0001"])
def test_what_is_no_advisory_id_is_not_made_one(spelling: str) -> None:
    """No page is named that cannot be."""
    assert ADVISORY not in [meaning.kind for meaning in explain(spelling)]


@pytest.mark.parametrize("spelling", ["[tcb-status]", "tcb-status:", "TCB_STATUS", "`tcb-status`"])
def test_a_finding_is_found_as_it_is_copied(spelling: str) -> None:
    """Out of a message, with what stands around it."""
    assert of(FINDING, spelling).code == "tcb-status"


def test_a_code_of_both_kinds_is_told_as_both() -> None:
    """`pck-extensions` is a finding and an error: their exit statuses differ."""
    assert [m.exit_status for m in explain("pck-extensions")] == [3, 2]


@pytest.mark.parametrize(
    "spelling", ["", " ", "\0", "nonsense", "exit 3141", "-1", "0x", "9" * 500]
)
def test_what_is_unknown_has_no_meaning(spelling: str) -> None:
    """Nothing is made up."""
    assert explain(spelling) == ()


# ── what is printed ─────────────────────────────────────────────────────────────────────────────


def test_the_text_is_aligned_and_narrow(shell: Any) -> None:
    """Labels stand in one column, texts in another; no line but an address is wider than 100."""
    out = shell("0xe019", "OutOfDate", "INTEL-SA-00615", "tcb-status", "exit", "4").out
    lines = [line for line in out.splitlines() if line and "https://" not in line]
    assert max(map(len, lines)) <= 100
    labels = [line for line in lines if line.startswith("  ") and line[2] != " "]
    assert {line[14] for line in labels} == {" "}
    assert " " not in {line[15] for line in labels}


def test_several_codes_are_told_in_the_order_asked(shell: Any) -> None:
    """One paragraph each, separated by an empty line."""
    out = shell("0xb006", "tcb-status", "exit 4").out
    titles = [paragraph.split(maxsplit=1)[0] for paragraph in out.split("\n\n")]
    assert titles == ["0xB006", "tcb-status", "exit"]


@pytest.mark.parametrize("words", [("0xe019", "0xb006"), ("0xb006", "0xe019")])
def test_of_two_codes_of_one_log_the_inner_is_named(shell: Any, words: tuple[str, ...]) -> None:
    """The provider hides the reason behind 0xE019: the last line says where to begin."""
    assert shell(*words).out.splitlines()[-1].startswith("start with 0xB006:")


def test_one_code_alone_needs_no_hint(shell: Any) -> None:
    """Nothing is said of codes that were not asked."""
    assert "start with" not in shell("0xb006").out


def test_a_code_asked_twice_is_told_once(shell: Any) -> None:
    """Logs repeat themselves."""
    assert shell("0xe019", "0xe019").out == shell("0xe019").out


def test_json_has_every_match_under_stable_names(shell: Any) -> None:
    """Schema 1: what was asked, its matches, suggestions."""
    document = json.loads(shell("OutOfDate", "404", "--json").out)
    assert document["schema"] == 1
    assert [entry["asked"] for entry in document["codes"]] == ["OutOfDate", "404"]
    assert [match["kind"] for match in document["codes"][0]["matches"]] == [
        TCB_STATUS,
        "sgx_ql_qv_result_t",
    ]
    assert set(document["codes"][1]) == {"asked", "matches", "suggestions"}
    assert set(document["codes"][1]["matches"][0]) == set(Explanation.__struct_fields__)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("OutOfDat", "OutOfDate"),
        ("identty-pinned", "identity-pinned"),
        ("colateral-missing", "collateral-missing"),
        ("SGX_QL_NETWORK_EROR", "SGX_QL_NETWORK_ERROR"),
        ("0xe0199", "0xE019"),
    ],
)
def test_an_unknown_code_is_an_error_with_suggestions(shell: Any, asked: str, meant: str) -> None:
    """Exit status 1, nothing on standard output, and what it might have been."""
    outcome = shell(asked)
    assert (outcome.status, outcome.out) == (1, "")
    assert "[code-unknown]" in outcome.err
    assert meant in outcome.err


def test_a_known_code_beside_an_unknown_one_is_told(shell: Any) -> None:
    """The known is explained, the unknown is an error: exit status 1."""
    outcome = shell("0xe019", "nonsense")
    assert outcome.status == 1
    assert outcome.out.startswith("0xE019")
    assert "nonsense" in outcome.err


def test_json_of_an_unknown_code_is_one_document(shell: Any) -> None:
    """Scripts find an empty list and the suggestions; people the error beside it."""
    outcome = shell("OutOfDat", "--json")
    (entry,) = json.loads(outcome.out)["codes"]
    assert (entry["matches"], entry["suggestions"][0]) == ([], "OutOfDate")
    assert (outcome.status, "[code-unknown]" in outcome.err) == (1, True)


def test_what_was_asked_cannot_steer_a_terminal(shell: Any) -> None:
    """A code pasted from a hostile log is shown without its control characters."""
    assert "\x1b" not in shell("\x1b[2Jnonsense").screen


def test_nothing_asked_is_wrong_usage(shell: Any) -> None:
    """Without a code there is nothing to explain."""
    assert shell().status == 1
