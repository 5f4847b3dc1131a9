"""No mutant of genuine evidence or collateral is accepted, crashes the verifier, or makes it hang.

A mutant may be accepted only where every byte that a verdict stands on is a genuine one's: what was
changed is white space of PEM, the case of hex, or the order of a chain.
"""

import json
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap import AttestationResult, Policy, Quote, appraise
from dcap.appraisal.policy import ACCEPTABLE
from dcap.formats import pem
from dcap.formats.collateral import Collateral
from departures import World
from properties.mutation import (
    CERTIFICATE,
    Mutation,
    Subject,
    a_subject,
    mutate,
    mutate_certificate,
    some_mutations,
    subjects,
    verified_of_piece,
    verified_of_quote,
    with_chain,
)
from worlds import AT, anchor_of, collateral_of

ANY = Policy(
    accepted_tcb_statuses=ACCEPTABLE,
    identity="any",
    allow_debug=True,
    allow_sept_ve=True,
    allow_migratable=True,
    allow_service_td=True,
)
PIECES = Collateral.__struct_fields__
CHAINS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
#: CPU seconds for one judgement; a sound one takes a hundredth of it.
LONGEST = 2.0
SETTINGS = settings(max_examples=800, deadline=None, database=None)

which = st.integers(0, 2)


def judge(subject: Subject, quote: bytes, collateral: Collateral) -> AttestationResult:
    """The verdict, within bounded time, with everything that a command would print of it."""
    started = time.process_time()
    result = appraise(quote, collateral, ANY, at=subject.at, anchor=subject.anchor)
    result.explain()
    result.to_json()
    assert time.process_time() - started < LONGEST
    assert result.accepted == (result.exit_status == 0)
    return result


def test_subjects_are_accepted() -> None:
    """What the mutants are made of is genuine: each subject is accepted as it stands."""
    for subject in subjects():
        result = judge(subject, subject.quote, subject.collateral)

        assert result.accepted, (subject.name, result.failures)


@given(a_subject, a_subject, some_mutations)
@SETTINGS
def test_no_mutant_of_a_quote_is_accepted(
    subject: Subject, other: Subject, mutations: list[Mutation]
) -> None:
    """A quote of which any verified byte has changed is refused."""
    mutant = mutate(subject.quote, mutations, other.quote)

    result = judge(subject, mutant, subject.collateral)

    if result.accepted:
        assert result.evidence is not None
        genuine = {verified_of_quote(s.quote) for s in (subject, other)}
        assert verified_of_quote(result.evidence.quote.to_bytes()) in genuine


@given(a_subject, which, some_mutations)
@SETTINGS
def test_no_quote_with_a_mutant_in_its_chain_is_accepted(
    subject: Subject, place: int, mutations: list[Mutation]
) -> None:
    """A quote with a changed certificate, in sound PEM and with sound lengths, is refused."""
    quote = Quote.parse(subject.quote)
    chain = mutate_certificate(quote.certification.data, place, mutations)
    mutant = with_chain(quote, chain)

    result = judge(subject, mutant, subject.collateral)

    if result.accepted:
        assert verified_of_quote(mutant) == verified_of_quote(subject.quote)


@given(a_subject, a_subject, st.sampled_from(PIECES[:7]), some_mutations)
@SETTINGS
def test_no_mutant_of_collateral_is_accepted(
    subject: Subject, other: Subject, piece: str, mutations: list[Mutation]
) -> None:
    """A quote under collateral of which any verified byte has changed is refused."""
    sound, spliced = getattr(subject.collateral, piece), getattr(other.collateral, piece)
    mutant = mutate(sound, mutations, spliced)

    result = judge(
        subject, subject.quote, msgspec.structs.replace(subject.collateral, **{piece: mutant})
    )

    if result.accepted:
        genuine = [verified_of_piece(piece, data) for data in (sound, spliced)]
        assert verified_of_piece(piece, mutant) in genuine


@given(a_subject, st.sampled_from(CHAINS), which, some_mutations)
@SETTINGS
def test_no_collateral_with_a_mutant_in_a_chain_is_accepted(
    subject: Subject, piece: str, place: int, mutations: list[Mutation]
) -> None:
    """Collateral with a changed certificate, in sound PEM, is refused."""
    sound = getattr(subject.collateral, piece)
    mutant = mutate_certificate(sound, place, mutations)

    result = judge(
        subject, subject.quote, msgspec.structs.replace(subject.collateral, **{piece: mutant})
    )

    if result.accepted:
        assert verified_of_piece(piece, mutant) == verified_of_piece(piece, sound)


@given(a_subject, a_subject, st.lists(st.sampled_from(PIECES[:7]), unique=True, min_size=1))
@SETTINGS
def test_exchanged_collateral_is_accepted_only_where_it_fits(
    subject: Subject, other: Subject, pieces: list[str]
) -> None:
    """Whole pieces taken from other genuine sets never make a status that their set does not."""
    changes = {piece: getattr(other.collateral, piece) for piece in pieces}

    result = judge(subject, subject.quote, msgspec.structs.replace(subject.collateral, **changes))

    if result.accepted:
        assert result.verified is not None
        documents = result.verified.endorsements
        pck = result.verified.pck.extensions
        assert documents.tcb_info.fmspc == pck.fmspc
        assert documents.tcb_info.id == result.verified.quote.tee
        assert documents.qe_identity.id == ("QE" if documents.tcb_info.id == "SGX" else "TD_QE")
        assert all(window.issued <= subject.at <= window.expires for window in documents.windows)


@pytest.mark.parametrize("value", [0x00, 0x7F, 0x80, 0xFF])
@pytest.mark.parametrize("piece", ["quote", "pck_crl_issuer_chain", "pck_crl", "root_ca_crl"])
def test_no_length_of_der_makes_the_verifier_crash(piece: str, value: int) -> None:
    """Every length octet of every certificate and list, set to an odd value, makes a refusal."""
    subject = subjects()[0]
    quote = Quote.parse(subject.quote)
    sound = quote.certification.data if piece == "quote" else getattr(subject.collateral, piece)
    ders = [sound] if piece.endswith("_crl") else list(pem.blocks(sound, CERTIFICATE))

    for number, der in enumerate(ders):
        for at in length_octets(der):
            mutant = der[:at] + bytes((value,)) + der[at + 1 :]
            if mutant == der:
                continue
            if piece.endswith("_crl"):
                changed = mutant
            else:
                changed = b"".join(
                    pem.encode(mutant if i == number else d, CERTIFICATE)
                    for i, d in enumerate(ders)
                )
            if piece == "quote":
                result = judge(subject, with_chain(quote, changed), subject.collateral)
            else:
                replaced = msgspec.structs.replace(subject.collateral, **{piece: changed})
                result = judge(subject, subject.quote, replaced)
            assert not result.accepted


def length_octets(der: bytes, start: int = 0, end: int | None = None) -> list[int]:
    """Where the first length octet of every element of well-formed DER stands."""
    found = []
    at = start
    while at < (len(der) if end is None else end):
        tag, size, content = der[at], der[at + 1], at + 2
        if size & 0x80:
            content += size & 0x7F
            size = int.from_bytes(der[at + 2 : content], "big")
        found.append(at + 1)
        if tag & 0x20:
            found += length_octets(der, content, content + size)
        at = content + size
    return found


#: Collateral that its signer signed, and that no verifier should stumble over.
ODD: dict[str, dict[str, Any]] = {
    "an issue date without a zone": {"tcb_info_issue_date": "2025-12-31T00:00:00"},
    "a next update without a zone": {"qe_identity_next_update": "2026-01-30T00:00:00"},
    "a next update after the end of time": {"tcb_info_next_update": "9999-12-31T23:59:59-10:00"},
    "an issue date before all time": {"tcb_info_issue_date": "0001-01-01T00:00:00+10:00"},
    "a CRL number of 32,000 bits": {"pck_crl_number": 1 << 32_000},
    "a CRL without an end": {"pck_crl_next_update": None},
    "a CRL up to the year 9999": {"pck_crl_next_update": datetime(9999, 12, 31, tzinfo=UTC)},
    "a serial number of 32,000 bits revoked": {"pck_crl_revoked": [1 << 32_000]},
    "a status nobody knows": {"tcb_info_edit": lambda d: d["tcbLevels"][0].update(tcbStatus="?")},
    "no QE levels": {"qe_identity_levels": []},
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("grace", [0, "7d"])
def test_odd_collateral_of_the_signer_is_judged(name: str, grace: int | str) -> None:
    """What Intel could sign by mistake makes a result, whatever it is, and never a crash."""
    world = World(at=AT)
    policy = Policy(identity="any", collateral_grace_period=grace)
    collateral = collateral_of(world.collateral(**ODD[name]))

    for later in (0, 1, 365, 365 * 1000):
        at = AT + timedelta(days=later)
        result = appraise(world.quote(), collateral, policy, at=at, anchor=anchor_of(world))

        result.explain()
        assert json.loads(result.to_json())["verdict"] == result.verdict
        assert not (result.accepted and later > 40)


@given(a_subject, some_mutations)
@settings(max_examples=100, deadline=None, database=None)
def test_a_mutant_costs_bounded_memory(subject: Subject, mutations: list[Mutation]) -> None:
    """Judging a mutant never takes more than 8 MB, whatever its lengths say."""
    mutant = mutate(subject.quote, mutations)
    tracemalloc.start()
    try:
        judge(subject, mutant, subject.collateral)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
