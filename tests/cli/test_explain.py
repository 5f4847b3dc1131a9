"""`dcap explain`: every code there is has an explanation, however it is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.cli import glossary
from dcap.cli.causes import CAUSES as CAUSES_OF_FINDINGS
from dcap.cli.explain import (
    ADVISORY,
    AESM,
    AILMENT,
    ERROR,
    EXIT,
    FINDING,
    PLUGIN,
    REFUSAL,
    REMARK,
    TCB_STATUS,
    Explanation,
    explain,
)
from dcap.cli.main import INTERNAL_ERROR
from dcap.cli.vocabulary import ERROR_CODES
from dcap.doctor.checks import AILMENTS
from dcap.formats.aesm import ERRORS as AESM_ERRORS
from dcap.pccs.causes import CAUSES as REFUSALS
from dcap.qpl.discovery_remarks import PROBLEMS
from dcap.qpl.error_codes import all_codes
from dcap.qpl.qcnl_config import read_qcnl
from dcap.qpl.qcnl_remarks import REMARKS
from dcap.verification import TcbStatus
from dcap.verification.checks import CHECKS, EXIT_STATUS
from rows import each
from transcripts.desk import Outcome, run


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


# ── causes ──────────────────────────────────────────────────────────────────────────────────────


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
        ("network-certificate", "self-signed"),
        ("network-refused", "does not run"),
        ("pccs-404", "registered"),
        ("pcs-401", "pccs_url"),
        ("need-no-pck", "type 3"),
        ("source-answer", "sign-in page"),
        ("pccs-500", "SQLite was locked"),
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
    causes = explain(code)[0].causes
    assert len(causes) > 1
    assert tuple(match["causes"]) == causes
    assert "causes " + " ".join(f"{n} {c}" for n, c in enumerate(causes, 1)) in text


# ── what is explained ───────────────────────────────────────────────────────────────────────────


@each("code", CHECKS)
def test_every_finding_is_explained(code: str) -> None:
    """What it checks, at which step, exit status, usual causes, remedy, Intel's name for it."""
    check, meaning = CHECKS[code], of(FINDING, code)
    assert (meaning.meaning, meaning.remedy) == (check.passed, (check.mend,))
    assert (meaning.step, meaning.exit_status) == (check.step, EXIT_STATUS[check.kind])
    assert meaning.qvl == (check.qvl or None)
    assert meaning.causes == CAUSES_OF_FINDINGS[code]


@each("code", ERROR_CODES)
def test_every_error_is_explained(code: str) -> None:
    """What happened, the exit status, the usual causes, the remedy."""
    meaning = of(ERROR, code)
    told = (meaning.exit_status, meaning.meaning, meaning.causes, meaning.remedy)
    assert told == ERROR_CODES[code]


@each("code", REMARKS)
def test_every_remark_on_a_qcnl_configuration_is_explained(code: str) -> None:
    """What Intel's library does with the file, how to mend it, and whether lint fails for it."""
    severity, _, mend = REMARKS[code]
    meaning = of(REMARK, code)
    assert meaning.meaning.startswith(f"{severity}: ")
    assert meaning.exit_status == (0 if severity == "advice" else 1)
    assert mend in meaning.remedy or "{" in mend
    for text in (meaning.meaning, *meaning.remedy):
        assert text == " ".join(text.split())


@pytest.mark.parametrize(
    "text",
    [b'\xef\xbb\xbf{"pccs_url": "https://a/sgx/certification/v4/"}', b'{"retry_times": "3",}'],
    ids=["BOM", "comma"],
)
def test_what_lint_says_of_a_file_can_be_asked_for(text: bytes) -> None:
    """Each code that stands behind a remark leads to the same severity and mend."""
    remarks = read_qcnl(text, where="file").remarks
    assert remarks
    for remark in remarks:
        meaning = of(REMARK, f"[{remark.code}]")
        assert meaning.meaning.startswith(remark.severity)


@pytest.mark.parametrize("before", ["", "pccs-"], ids=["header", "code"])
@each("word", REFUSALS)
def test_every_cause_of_a_pccs_is_explained(word: str, before: str) -> None:
    """As the header Dcap-Cause has it, or as an error's code: why, how to mend, and the status."""
    meaning = of(REFUSAL, before + word)
    cause = REFUSALS[word]
    assert meaning.code == f"pccs-{word}"
    assert (meaning.meaning, meaning.remedy) == (cause.what, (cause.mend,))
    assert meaning.maps_to == str(cause.status)


@each("code", AILMENTS)
def test_every_finding_of_the_doctor_is_explained(code: str) -> None:
    """Its code leads to what it means, its causes and what mends it."""
    meanings = explain(code)
    assert meanings
    for meaning in meanings:
        assert meaning.meaning
        assert meaning.remedy
    assert meanings[0].kind == (PLUGIN if code in PROBLEMS else AILMENT)


@each("number", AESM_ERRORS)
def test_every_error_of_aesm_is_explained(number: int) -> None:
    """By its number, as Gramine's log has it, and by Intel's name: the same, with what to do."""
    meaning = of(AESM, f"AESM {number}")
    assert (meaning.name, meaning.meaning) == AESM_ERRORS[number]
    assert meaning.remedy
    assert meaning in explain(str(number))
    assert meaning in explain(meaning.name)


def test_an_attestation_key_that_aesm_lost_is_the_restarts(shell: Any) -> None:
    """Row 20: "AESM service returned error 42": the program that asks is to be restarted."""
    outcome = shell("AESM", "42")
    assert outcome.status == 0
    assert "restart the program" in outcome.out
    assert "see also     aesmd-restarted" in outcome.out


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


@each("row", all_codes(), named=lambda row: f"{row.family} {row.code}")
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
    used = {*EXIT_STATUS.values(), *(row.exit_status for row in ERROR_CODES.values()), 0}
    assert used | {INTERNAL_ERROR} <= set(glossary.EXIT_STATUSES)


def test_a_bare_number_is_everything_it_can_be() -> None:
    """4 is an exit status of ours, a status of Intel's QVL and an error of AESM: all are told."""
    assert [meaning.kind for meaning in explain("4")] == [EXIT, "QVL Status", AESM]


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


def test_a_refusal_is_what_its_status_hides(shell: Any) -> None:
    """Of a status and its Dcap-Cause, the cause is where to begin."""
    assert shell("404", "not-cached").out.splitlines()[-1].startswith("start with pccs-not-cached:")


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
        ("netwrk-timeout", "network-timeout"),
        ("qcnl-slsh", "qcnl-slash"),
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
