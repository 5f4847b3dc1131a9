"""`dcap explain`: what a code, a status or a finding means, whence it comes, and what mends it.

Looks everywhere at once: dcap's own findings, errors and exit statuses; TCB statuses and advisory
ids; remarks of `dcap qcnl lint`, problems of `dcap provider list`, findings of `dcap doctor` and causes
of a PCCS's refusals; the codes of Intel's quote provider, verifier, AESM and PCCS, of TDX and of Open
Enclave. Reads no file and asks nobody. The tables stand in `vocabulary`, `glossary`, `causes`,
`verification.checks`, `qpl.qcnl_remarks`, `qpl.discovery_remarks`, `doctor.checks`, `pccs.causes` and
`qpl.error_codes`, `formats.aesm`.
"""

import difflib
import re
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click
import msgspec

from dcap.cli import glossary, output
from dcap.cli.vocabulary import ERROR_CODES, qcnl
from dcap.errors import ConfigError

if TYPE_CHECKING:
    from dcap.verification.checks import Check

EXIT: Final = "dcap exit status"
FINDING: Final = "dcap finding"
ERROR: Final = "dcap error"
REMARK: Final = "remark of dcap qcnl lint"
PLUGIN: Final = "problem of dcap provider list"
AILMENT: Final = "finding of dcap doctor"
REFUSAL: Final = "Dcap-Cause of a PCCS"
TCB_STATUS: Final = "TCB status"
ADVISORY: Final = "Intel security advisory"
AESM: Final = "AESM error"

_SURROUNDINGS: Final = " \t\r\n`'\"()[]{}<>.,;:"
_EXIT: Final = re.compile(r"exit[ _-]*(?:status|code)?[ =:_-]*(\d{1,3})", re.IGNORECASE)
#: Words that belong to the number behind them.
_BEFORE_NUMBERS: Final = frozenset({"exit", "exit-status", "exit-code", "aesm"})
_ADVISORY: Final = re.compile(r"(?:INTEL[-_]?)?SA[-_]?(\d{5})", re.IGNORECASE)
_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d+", re.IGNORECASE)
_AESM: Final = re.compile(r"(?:aesm(?:[ _:-]*error)?[ _:-]*)?(\d{1,2})", re.IGNORECASE)
_REFUSED: Final = "pccs-"
_RESTARTED: Final = "aesmd-restarted"
_LABEL: Final = 15
_WIDTH: Final = 100


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One meaning of what was asked. The names are those of `--json`; they are stable.

    `kind` is the family or table. `causes` stand in the order in which they are met, `remedy` in the
    order in which to try it. `maps_to` is the code that the next layer up reports instead.
    """

    code: str
    name: str
    kind: str
    meaning: str
    causes: tuple[str, ...] = ()
    remedy: tuple[str, ...] = ()
    step: str | None = None
    exit_status: int | None = None
    qvl: str | None = None
    maps_to: str | None = None
    see_also: tuple[str, ...] = ()
    url: str | None = None


@click.command("explain")
@click.argument("codes", nargs=-1, required=True, metavar="CODE...")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(codes: tuple[str, ...], *, as_json: bool) -> int:
    """Explain each CODE: its meaning, usual causes and remedy.

    CODE may be a number (0xe019, 57, 404), a name (SGX_QL_NETWORK_ERROR, OE_VERIFY_REVOKED), a TCB
    status (OutOfDate), an advisory (INTEL-SA-00615), an error of AESM (AESM 42), a finding, error or
    remark of dcap (tcb-status, quote-truncated, qcnl-bom) or one of its exit statuses ("exit 4").
    """
    found = {asked: explain(asked) for asked in _joined(codes)}
    unknown = {asked: _suggestions(asked) for asked, meanings in found.items() if not meanings}
    document = {
        "codes": [
            {
                "asked": asked,
                "matches": [msgspec.to_builtins(meaning) for meaning in meanings],
                "suggestions": unknown.get(asked, []),
            }
            for asked, meanings in found.items()
        ]
    }
    if as_json or len(unknown) < len(found):
        output.emit(document, _lines(found), as_json=as_json)
    for asked, alike in unknown.items():
        output.fail(
            ConfigError(
                "code-unknown",
                f"nothing is known of {_printable(asked)!r}",
                mend=f"did you mean {', '.join(alike)}?" if alike else "",
            )
        )
    return ConfigError.exit_status if unknown else 0


def explain(asked: str) -> tuple[Explanation, ...]:
    """Every meaning that `asked` can have, our own words first; none if nothing is known of it."""
    spelling = asked.strip(_SURROUNDINGS)
    if match := _EXIT.fullmatch(spelling):
        return tuple(_exit_status(int(match[1])))
    number = int(spelling) if spelling.isascii() and spelling.isdigit() else -1
    ours = (
        *_exit_status(number),
        *_tcb_status(spelling),
        *_advisory(spelling),
        *_finding(spelling),
        *_error(spelling),
        *_remark(spelling),
        *_plugin(spelling),
        *_refusal(spelling),
    )
    return (*(ours or _ailment(spelling)), *_intel(asked), *_aesm(spelling))


def _joined(codes: tuple[str, ...]) -> list[str]:
    """`exit 4` or `AESM 42`, given as two words, is one; what is asked twice is answered once."""
    words: list[str] = []
    for code in codes:
        if words and words[-1].lower() in _BEFORE_NUMBERS and code.isdigit():
            words[-1] = f"{words[-1]} {code}"
        else:
            words.append(code)
    return list(dict.fromkeys(words))


# ── the tables ──────────────────────────────────────────────────────────────────────────────────


def _exit_status(number: int) -> Iterator[Explanation]:
    row = glossary.EXIT_STATUSES.get(number)
    if row is not None:
        yield Explanation(
            code=f"exit {number}", name="", kind=EXIT, meaning=row[0], remedy=(row[1],),
            exit_status=number,
        )  # fmt: skip


def _tcb_status(spelling: str) -> Iterator[Explanation]:
    for status, (meaning, causes, remedy) in glossary.TCB_STATUSES.items():
        if _folded(status) == _folded(spelling):
            yield Explanation(
                code=status, name="", kind=TCB_STATUS, meaning=meaning, causes=causes,
                remedy=remedy, see_also=("tcb-status",),
            )  # fmt: skip


def _advisory(spelling: str) -> Iterator[Explanation]:
    if match := _ADVISORY.fullmatch(spelling):
        name = f"INTEL-SA-{match[1]}"
        yield Explanation(
            code=name, name="", kind=ADVISORY, meaning=glossary.ADVISORY,
            remedy=glossary.ADVISORY_REMEDY, see_also=("advisories",),
            url=glossary.ADVISORY_URL.format(name.lower()),
        )  # fmt: skip


def _finding(spelling: str) -> Iterator[Explanation]:
    if _NUMBER.fullmatch(spelling):  # no finding is a number: the table need not be loaded
        return
    from dcap.verification.checks import EXIT_STATUS  # noqa: PLC0415 - it brings cryptography

    check = _checks().get(_slug(spelling))
    if check is not None:
        from dcap.cli.causes import CAUSES  # noqa: PLC0415 - a large table, for findings alone

        yield Explanation(
            code=check.code, name="", kind=FINDING,
            meaning=check.passed, causes=CAUSES.get(check.code, ()),
            remedy=(check.mend,), step=check.step, exit_status=EXIT_STATUS[check.kind],
            qvl=check.qvl or None,
        )  # fmt: skip


def _error(spelling: str) -> Iterator[Explanation]:
    row = ERROR_CODES.get(_slug(spelling))
    if row is not None:
        yield Explanation(
            code=_slug(spelling), name="", kind=ERROR, meaning=row.meaning, causes=row.causes,
            remedy=row.mends, exit_status=row.exit_status,
        )  # fmt: skip


def _remark(spelling: str) -> Iterator[Explanation]:
    """What Intel's library does with a file of which `dcap qcnl lint` says so."""
    code = _slug(spelling)
    if not code.startswith("qcnl-"):
        return
    from dcap.qpl.qcnl_remarks import REMARKS  # noqa: PLC0415 - it brings the reader of the file

    if code in REMARKS:
        severity, what, mend = REMARKS[code]
        places = {**qcnl.PLACES, **qcnl.PLACES_OF.get(code, {})}
        yield Explanation(
            code=code, name="", kind=REMARK, meaning=f"{severity}: {what.format_map(places)}",
            remedy=(mend.format_map(places),), exit_status=int(severity != "advice"),
        )  # fmt: skip


def _plugin(spelling: str) -> Iterator[Explanation]:
    """What `dcap provider list` says of the plugins of a system, where no system is at hand."""
    code = _slug(spelling)
    if not code.startswith("plugins-"):
        return
    from dcap.qpl.discovery_remarks import COMMANDS, PLACES, PROBLEMS  # noqa: PLC0415

    if code in PROBLEMS:
        what, mend = PROBLEMS[code]
        places = {**PLACES, "command": COMMANDS.get(code, "")}
        yield Explanation(
            code=code, name="", kind=PLUGIN, meaning=what.format_map(places),
            remedy=tuple(mend.format_map(places).splitlines()),
        )  # fmt: skip


def _refusal(spelling: str) -> Iterator[Explanation]:
    """Why the PCCS of dcap does not serve something: the word of its header, or our code for it."""
    from dcap.pccs.causes import CAUSES  # noqa: PLC0415 - only for who explains

    word = _slug(spelling).removeprefix(_REFUSED)
    if word in CAUSES:
        cause = CAUSES[word]
        yield Explanation(
            code=f"{_REFUSED}{word}", name="", kind=REFUSAL, meaning=cause.what,
            remedy=(cause.mend,), maps_to=str(cause.status),
        )  # fmt: skip


def _ailment(spelling: str) -> Iterator[Explanation]:
    """What `dcap doctor` finds on some machine, where no machine is at hand."""
    code = _slug(spelling)
    if "-" not in code:  # no code of the doctor's
        return
    from dcap.doctor.checks import AILMENTS  # noqa: PLC0415 - it brings all that the doctor knows

    if code in AILMENTS:
        ailment = AILMENTS[code]
        yield Explanation(
            code=code, name="", kind=AILMENT,
            meaning=f"{ailment.title}. Seen as: {ailment.symptom} {ailment.why}",
            causes=ailment.causes, remedy=(*ailment.mends, "`dcap doctor` says what it is here"),
            exit_status=7 if ailment.severity == "error" else 0,
        )  # fmt: skip


def _intel(asked: str) -> Iterator[Explanation]:
    from dcap.qpl.error_codes import explain_code  # noqa: PLC0415 - its tables are large

    for row in explain_code(asked):
        yield Explanation(
            code=row.code, name="" if row.name == row.code else row.name, kind=row.family,
            meaning=row.meaning, causes=row.causes, remedy=row.remedy, maps_to=row.maps_to,
            see_also=row.see_also,
        )  # fmt: skip


def _aesm(spelling: str) -> Iterator[Explanation]:
    """What AESM answers, by its number (42, AESM 42) or Intel's name."""
    from dcap.attester.aesm_errors import KEY_LOST, OTHER, REFUSALS  # noqa: PLC0415 - for who explains alone
    from dcap.formats.aesm import ERRORS  # noqa: PLC0415

    match = _AESM.fullmatch(spelling)
    for number, error in ERRORS.items():
        if (match and int(match[1]) == number) or _folded(error.name) == _folded(spelling):
            row = REFUSALS.get(number, OTHER)
            # Of 42 ours is the rarer case: `dcap attest` begins anew by itself, others do not.
            known = next(_ailment(_RESTARTED), None) if row is KEY_LOST else None
            yield Explanation(
                code=f"AESM {number}", name=error.name, kind=AESM, meaning=error.meaning,
                causes=known.causes if known else (),
                remedy=known.remedy if known else (row.mend,),
                see_also=(_RESTARTED if known else row.code,),
            )  # fmt: skip


def _checks() -> dict[str, "Check"]:
    from dcap.verification.checks import CHECKS  # noqa: PLC0415 - it brings cryptography

    return CHECKS


def _suggestions(asked: str) -> list[str]:
    """Up to five spellings that look like `asked`: our own words, then Intel's."""
    from dcap.qpl.error_codes import closest  # noqa: PLC0415 - its tables are large

    own = {_folded(word): word for word in (*glossary.TCB_STATUSES, *_checks(), *_own_codes())}
    alike = difflib.get_close_matches(_folded(asked.strip(_SURROUNDINGS)[:100]), own, n=3)
    return list(dict.fromkeys([*(own[word] for word in alike), *closest(asked)]))[:5]


def _own_codes() -> Iterator[str]:
    from dcap.doctor.checks import AILMENTS  # noqa: PLC0415 - only where a code is not known
    from dcap.pccs import causes  # noqa: PLC0415
    from dcap.qpl.discovery_remarks import PROBLEMS  # noqa: PLC0415
    from dcap.qpl.qcnl_remarks import REMARKS  # noqa: PLC0415

    yield from (*ERROR_CODES, *REMARKS, *PROBLEMS, *AILMENTS)
    yield from (f"{_REFUSED}{word}" for word in causes.CAUSES)


def _slug(spelling: str) -> str:
    return spelling.lower().replace("_", "-").replace(" ", "-")


def _folded(spelling: str) -> str:
    return re.sub("[-_ ]", "", spelling).lower()


# ── text ────────────────────────────────────────────────────────────────────────────────────────


def _lines(found: dict[str, tuple[Explanation, ...]]) -> Iterator[str]:
    everything = [meaning for meanings in found.values() for meaning in meanings]
    for number, meaning in enumerate(everything):
        if number:
            yield ""
        yield from _entry(meaning)
    yield from _innermost(everything)


def _entry(meaning: Explanation) -> Iterator[str]:
    title = f"{meaning.code} {meaning.name}" if meaning.name else meaning.code
    facts = [meaning.kind]
    if meaning.step is not None:
        facts.append(f"step {meaning.step}")
    if meaning.exit_status is not None and meaning.kind != EXIT:
        facts.append(f"exit status {meaning.exit_status}")
    yield f"{title}   ({', '.join(facts)})"
    yield from _rows("checks" if meaning.kind == FINDING else "means", (meaning.meaning,))
    yield from _rows("causes" if len(meaning.causes) > 1 else "cause", meaning.causes)
    yield from _rows("fix", meaning.remedy)
    if meaning.url is not None:
        yield f"  {'page':<{_LABEL - 2}}{meaning.url}"
    yield from _rows("reported as", (meaning.maps_to,) if meaning.maps_to else ())
    yield from _rows("Intel's QVL", (meaning.qvl,) if meaning.qvl else ())
    yield from _rows("see also", (", ".join(meaning.see_also),) if meaning.see_also else ())


def _rows(label: str, texts: tuple[str, ...]) -> Iterator[str]:
    """The label once; several texts are numbered, each wrapped under its own beginning."""
    for number, text in enumerate(texts, 1):
        mark = f"{number} " if len(texts) > 1 else ""
        indent = " " * (_LABEL + len(mark))
        yield from textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f"{f'  {label}':<{_LABEL}}{mark}",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        label = ""


def _innermost(found: list[Explanation]) -> Iterator[str]:
    """Where one code of several is what another was reported as, the inner one is the reason."""
    codes = {meaning.code for meaning in found}
    for meaning in found:
        if meaning.maps_to in codes:
            yield ""
            yield f"start with {meaning.code}: {meaning.maps_to} is how the next layer reports it"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:80]
