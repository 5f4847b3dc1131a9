"""The keys under which a PCCS keeps things, and what its values say of themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.errors import FormatError
from dcap.pccs.items import (
    CrlKey,
    EvaluationNumbersKey,
    FmspcsKey,
    IdentityKey,
    Key,
    PckCertificate,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
    read_key,
)
from dcap.simulator.world import World
from pccs.store.samples import holding, qe_id, registration

GENERATIONS = st.one_of(
    st.tuples(st.sampled_from(("STANDARD", "EARLY")), st.none()),
    st.tuples(st.none(), st.integers(0, 10**6)),
)
KEYS = st.one_of(
    st.builds(PckCrlKey, st.sampled_from(("PROCESSOR", "PLATFORM"))),
    st.just(RootCrlKey()),
    st.builds(CrlKey, st.text(min_size=1, max_size=2048)),
    st.builds(
        lambda tee, fmspc, version, generation: TcbInfoKey(tee, fmspc, version, *generation),
        st.sampled_from(("SGX", "TDX")),
        st.binary(min_size=6, max_size=6),
        st.sampled_from((3, 4)),
        GENERATIONS,
    ),
    st.builds(
        lambda name, version, generation: IdentityKey(name, version, *generation),
        st.sampled_from(("QE", "TD_QE", "QVE", "QAE")),
        st.sampled_from((3, 4)),
        GENERATIONS,
    ),
    st.builds(EvaluationNumbersKey, st.sampled_from(("SGX", "TDX"))),
    st.just(FmspcsKey()),
)


@given(KEYS)
def test_a_key_is_its_text(key: Key) -> None:
    """Every key is read back from its text."""
    assert read_key(key.text) == key


@given(KEYS, KEYS)
def test_two_keys_have_two_texts(one: Key, other: Key) -> None:
    """Keys that differ have texts that differ."""
    assert (one.text == other.text) == (one == other)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    """A text is the text of the key that it is read as, or an error of ours."""
    try:
        key = read_key(text)
    except FormatError:
        return
    assert key.text == text


def test_the_texts_are_stable() -> None:
    """They are the rows of databases that are in use: none may change."""
    fmspc = bytes.fromhex("00906ED50000")
    assert [
        key.text
        for key in (
            PckCrlKey("PROCESSOR"),
            RootCrlKey(),
            CrlKey("https://a/b?c"),
            TcbInfoKey("SGX", fmspc),
            TcbInfoKey("TDX", fmspc, 4, None, 17),
            IdentityKey("TD_QE", 3, "EARLY"),
            EvaluationNumbersKey("SGX"),
            FmspcsKey(),
        )
    ] == [
        "pck-crl/PROCESSOR",
        "root-crl",
        "crl/https://a/b?c",
        "tcb/SGX/4/00906ED50000/STANDARD",
        "tcb/TDX/4/00906ED50000/17",
        "identity/TD_QE/3/EARLY",
        "evaluation-numbers/SGX",
        "fmspcs",
    ]


def test_a_generation_is_named_once() -> None:
    """A key names its generation by `update` or by number: both, or neither, is refused."""
    for update, number in (("EARLY", 17), (None, None)):
        with pytest.raises(FormatError, match="item-key"):
            IdentityKey("QE", 4, update, number)


def test_a_certificate_says_what_it_is_for() -> None:
    """The components and the PCESVN are those of the certificate's extension."""
    machine = World("items").platform("a")
    entry = next(one for one in machine.certificates() if one.certificate)
    read = PckCertificate.read(entry.hex, entry.certificate.pem)
    assert read.tcb == (entry.cpu_svn, entry.pce_svn)
    assert read.pem == entry.certificate.pem
    with pytest.raises(FormatError):
        PckCertificate.read(entry.hex, machine.world.root_pem)


def test_no_identifier_is_shown() -> None:
    """The texts of values hold no identifier of a machine."""
    kept = holding(5)
    for value in (kept, kept.platform, kept.certificates[0], kept.raw_tcbs[0], registration(5)):
        for secret in (qe_id(5), "0A0A", "manifest", "machine 5"):
            assert secret not in repr(value)
