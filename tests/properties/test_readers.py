"""Whatever the bytes, a reader gives a value or a `DcapError`: nothing else escapes (house rule 3)."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap import ConfigError, DcapError, Evidence, FormatError, NotFound, Policy, Quote, appraise
from dcap.appraisal.claims import claims_of
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import FILE_NAMES, Collateral
from dcap.formats.containers import recognise
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_evaluation_numbers import TcbEvaluationNumbers
from dcap.formats.tcb_info import TcbInfo
from dcap.verification import check_endorsements
from departures import World
from properties.mutation import (
    Mutation,
    Subject,
    a_subject,
    mutate,
    some_mutations,
    subjects,
)
from worlds import AT, anchor_of

SETTINGS = settings(max_examples=300, deadline=None, database=None)
LONGEST = 1.0
WORLD = World(at=AT)
PCK = WORLD.pck(ca="platform")

NUMBERS = (
    b'{"id":"SGX","version":1,"issueDate":"2025-01-01T00:00:00Z","nextUpdate":'
    b'"2025-02-01T00:00:00Z","tcbEvalNumbers":[{"tcbEvaluationDataNumber":18,'
    b'"tcbRecoveryEventDate":"2025-01-01T00:00:00Z","tcbDate":"2025-01-01T00:00:00Z"}]}'
)
#: Every reader, and sound input for it.
READERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "quote": (Quote.parse, WORLD.quote(5, "tdx")),
    "evidence": (Evidence.recognise, WORLD.quote(4, "tdx")),
    "container": (recognise, WORLD.quote().hex().encode()),
    "certificate": (Certificate.parse, PCK.der),
    "chain": (Certificate.parse_chain, PCK.chain_pem),
    "SGX extension": (PckExtensions.parse, PCK.platform.to_der()),
    "CRL": (Crl.parse, WORLD.crl(revoked=[1, 2, 3])),
    "CRL in PEM": (Crl.parse, WORLD.crl(revoked=[1, 2, 3], encoding="pem")),
    "TCB info": (TcbInfo.parse, WORLD.tcb_info("TDX")),
    "TCB info v2": (TcbInfo.parse, WORLD.tcb_info("SGX", version=2)),
    "identity": (EnclaveIdentity.parse, WORLD.qe_identity()),
    "evaluation numbers": (
        TcbEvaluationNumbers.parse,
        NUMBERS,
    ),
    "response": (
        lambda data: SignedJson.parse(data, "tcbInfo"),
        subjects()[0].collateral.tcb_info,
    ),
    "collateral JSON": (Collateral.from_json, subjects()[0].collateral.to_json()),
}
each_reader = pytest.mark.parametrize("name", READERS)


def attempt(read: Callable[[bytes], object], data: bytes) -> object:
    """What the reader makes of the bytes, or its `FormatError`, within bounded time."""
    started = time.process_time()
    outcome: object
    try:
        outcome = read(data)
    except FormatError as error:
        outcome = error
    assert time.process_time() - started < LONGEST
    if isinstance(outcome, FormatError):
        assert outcome.code
        assert outcome.code in str(outcome)
    return outcome


@each_reader
def test_sound_input_is_read(name: str) -> None:
    """What the mutants are made of is sound."""
    read, sound = READERS[name]

    assert not isinstance(attempt(read, sound), DcapError)


@each_reader
@given(mutations=some_mutations)
@SETTINGS
def test_mutants_are_read_or_refused(name: str, mutations: list[Mutation]) -> None:
    """Every reader gives a value or a `FormatError` for any mutant of sound input."""
    read, sound = READERS[name]

    attempt(read, mutate(sound, mutations, sound[::-1]))


@each_reader
@given(data=st.binary(max_size=2000))
@settings(max_examples=60, deadline=None, database=None)
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    """Every reader gives a value or a `FormatError` for any bytes at all."""
    attempt(READERS[name][0], data)


@given(a_subject, some_mutations)
@SETTINGS
def test_what_is_read_of_a_mutant_is_written_back(
    subject: Subject, mutations: list[Mutation]
) -> None:
    """A mutant that reads as a quote writes back to its bytes, and its claims can be listed."""
    mutant = mutate(subject.quote, mutations)

    quote = attempt(Quote.parse, mutant)

    if isinstance(quote, Quote):
        assert quote.to_bytes() == mutant
        assert claims_of(quote, platform_ids=True)["report_data"] == quote.body.report_data.hex()


ALL_FILES = sorted({name for names in FILE_NAMES.values() for name in names})


@given(
    a_subject,
    st.dictionaries(st.sampled_from([*ALL_FILES, "collateral.json"]), st.binary(max_size=300)),
    st.sets(st.sampled_from(ALL_FILES)),
    some_mutations,
)
@SETTINGS
def test_any_folder_is_read_or_refused(
    subject: Subject, stray: dict[str, bytes], missing: set[str], mutations: list[Mutation]
) -> None:
    """A folder of missing, strange or mutated files is collateral, `FormatError` or `NotFound`."""
    files = {
        names[0]: mutate(data, mutations) if len(missing) % 2 else data
        for piece, names in FILE_NAMES.items()
        if (data := getattr(subject.collateral, piece)) is not None
    }
    files = {name: data for name, data in files.items() if name not in missing} | stray

    try:
        collateral = Collateral.from_files(files)
    except (FormatError, NotFound):
        return
    check = check_endorsements(collateral, at=AT, anchor=anchor_of(WORLD))
    assert (check.endorsements is None) == any(not f.ok for f in check.findings)


a_value = st.one_of(
    st.text(max_size=40).map(lambda text: '"' + text.replace("\\", "").replace('"', "") + '"'),
    st.integers(-(10**25), 10**25).map(str),
    st.floats().map(str),
    st.booleans().map(lambda flag: str(flag).lower()),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.dates().map(lambda day: day.isoformat()),
    st.times().map(lambda moment: moment.isoformat()),
    st.sampled_from(
        [
            '"999999w"',
            '"7d"',
            '["UpToDate"]',
            '["Revoked"]',
            "[]",
            "{}",
            "[[]]",
            "9" * 5000,
            "1e400",
            "[" * 2000,
            '"' + "00" * 32 + '"',
        ]
    ),
)
a_key = st.sampled_from([*Policy.__struct_fields__, "release", "unknown", '"quoted key"', "a.b"])


@given(st.lists(st.tuples(a_key, a_value), max_size=4), st.lists(st.tuples(a_key, a_value)))
@SETTINGS
def test_any_policy_text_is_a_policy_or_refused(
    pairs: list[tuple[str, str]], release: list[tuple[str, str]]
) -> None:
    """Any text is a policy or a `ConfigError` that says what is wrong with it."""
    refused: ConfigError | None = None
    lines = [f"{key} = {value}" for key, value in pairs]
    if release:
        lines += ["[[release]]", *(f"{key} = {value}" for key, value in release[:3])]
    try:
        Policy.from_toml("\n".join(lines))
    except ConfigError as error:
        refused = error
    if refused is not None:
        assert refused.code
        assert refused.where


@pytest.mark.parametrize("grace", ["collateral_grace_period", "platform_grace_period"])
def test_the_longest_grace_is_no_trouble(grace: str) -> None:
    """The longest grace period is judged like any other."""
    subject = subjects()[0]
    policy = Policy.from_toml(f'identity = "any"\n{grace} = "1040w"')

    result = appraise(subject.quote, subject.collateral, policy, at=AT, anchor=subject.anchor)

    assert result.accepted
