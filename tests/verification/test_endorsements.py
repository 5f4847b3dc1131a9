"""The proof types: made by their makers alone, good for many quotes, and never fooled by a memory."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import msgspec
import pytest
from trial import ANY, assert_accepted, assert_rejected, endorsed, failed, judged

from dcap import FormatError, VerificationError, appraise
from dcap.errors import ConfigError
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import Collateral
from dcap.verification import (
    EndorsementCheck,
    Endorsements,
    Evidence,
    VerifiedQuote,
    check_endorsements,
    verify,
)
from dcap.verification.endorsements import REMEMBERED
from dcap.verification.memory import Memory
from departures import World
from worlds import AT, anchor_of, each_vector, need_vector

DAY = timedelta(days=1)
PIECES = (
    "root_ca_crl",
    "pck_crl",
    "pck_crl_issuer_chain",
    "tcb_info_issuer_chain",
    "tcb_info",
    "qe_identity_issuer_chain",
    "qe_identity",
)
#: Every n-th byte of a piece is changed: all of them would take minutes and show the same.
STRIDE = 7


@pytest.fixture(scope="module")
def proof(world: World) -> Endorsements:
    """The world's SGX endorsements, fresh for this module."""
    return check_endorsements(endorsed(world), at=AT, anchor=anchor_of(world)).require()


def _one_byte_changes(data: bytes, stride: int = 1, mask: int = 0x01) -> Iterator[bytes]:
    for place in range(0, len(data), stride):
        yield data[:place] + bytes((data[place] ^ mask,)) + data[place + 1 :]


# Made by their makers alone


def test_endorsements_cannot_be_constructed(proof: Endorsements) -> None:
    """`Endorsements` come from `check_endorsements`; building them by hand is a TypeError."""
    for maker in (None, object(), Endorsements, check_endorsements):
        with pytest.raises(TypeError, match="check_endorsements alone"):
            Endorsements(proof.authentic, proof.findings, maker)
    with pytest.raises(TypeError):
        Endorsements()  # type: ignore[call-arg]


def test_a_verified_quote_cannot_be_constructed(world: World, proof: Endorsements) -> None:
    """A `VerifiedQuote` comes from `verify`; building it by hand is a TypeError."""
    true = verify(Evidence.recognise(world.quote()), proof).require()
    false = Evidence.recognise(world.quote(report_data=b"never signed", signature=bytes(64)))
    for maker in (None, object(), VerifiedQuote, verify):
        with pytest.raises(TypeError, match="verify alone"):
            VerifiedQuote(false, proof, true.pck, true.tcb, true.findings, maker)
    with pytest.raises(TypeError):
        VerifiedQuote()  # type: ignore[call-arg]


def test_require_without_a_proof_raises_with_every_finding(world: World) -> None:
    """Asking a failed check for its proof raises, with all the reasons."""
    false = endorsed(world, qe_identity_key=world.key("thief"), pck_crl_number=None)
    check = check_endorsements(false, at=AT, anchor=anchor_of(world))
    with pytest.raises(VerificationError) as raised:
        check.require()
    codes = {finding.code for finding in raised.value.findings}
    assert codes == {"qe-identity-signature", "pck-crl-extensions"}
    evidence = Evidence.recognise(world.quote(signing_key=world.key("thief")))
    with pytest.raises(VerificationError, match="quote-signature"):
        verify(
            evidence, check_endorsements(endorsed(world), at=AT, anchor=anchor_of(world))
        ).require()
    with pytest.raises(VerificationError, match="endorsements"):
        verify(Evidence.recognise(world.quote()), check).require()


def test_a_check_put_together_from_two_gives_no_proof(world: World) -> None:
    """One world's proof beside another's facts, in one `EndorsementCheck`, proves nothing."""
    forger = World(at=AT, seed=b"forger")
    good = check_endorsements(endorsed(world), at=AT, anchor=anchor_of(world))
    bad = check_endorsements(endorsed(forger), at=AT, anchor=anchor_of(forger))
    mixed = EndorsementCheck(good.findings, bad.authentic, good.endorsements)
    check = verify(Evidence.recognise(forger.quote()), mixed)
    assert check.verified is None
    assert not appraise(forger.quote(), mixed, ANY).accepted


def test_a_result_has_no_truth_value(world: World) -> None:
    """`if appraise(…)` raises, whichever the verdict, so that it can never fail open."""
    for result in (judged(world), judged(world, world.quote(signature=bytes(64)))):
        with pytest.raises(TypeError, match="neither true nor false"):
            bool(result)


# One proof, many quotes


def _quotes(world: World) -> list[bytes]:
    """Good and bad quotes of several platforms, enclaves and QEs."""
    platforms = [world.pck(ppid=bytes((n,)) * 16) for n in range(4)]
    good = [
        world.quote(pck=pck, qe_isvsvn=svn, report_data=bytes((n,)))
        for pck in platforms
        for svn in (8, 7)
        for n in range(3)
    ]
    thief = world.key("thief")
    bad = [
        world.quote(signing_key=thief),
        world.quote(qe_signing_key=thief),
        world.quote(qe_report_data=bytes(32)),
        world.quote(pck=world.pck(signing_key=thief)),
        world.quote(pck=world.pck(fmspc=bytes(6))),
        world.quote(pck=world.pck(components=(0,) * 16)),
        world.quote(cert_type=4),
        world.quote()[:-9],
    ]
    return [quote for pair in zip(good, bad * 3, strict=True) for quote in pair]


def test_endorsements_reused_give_the_results_of_fresh_ones(
    world: World, proof: Endorsements
) -> None:
    """Whatever came before, the findings and facts of a quote under reused endorsements are the same."""
    collateral = endorsed(world)
    for quote in _quotes(world) * 2:
        reused = appraise(quote, proof, ANY)
        fresh = judged(world, quote, collateral)
        assert reused.findings == fresh.findings
        assert reused.to_dict() == fresh.to_dict()


def test_reused_endorsements_keep_their_own_instant_and_anchor(world: World) -> None:
    """A proof is for its instant and its root; a later `at` beside it does not rejuvenate it."""
    collateral = endorsed(world)
    later = AT + 40 * DAY
    old = check_endorsements(collateral, at=later, anchor=anchor_of(world)).require()
    with pytest.raises(ConfigError, match="endorsements-of-another-instant"):
        appraise(world.quote(), old, ANY, at=AT)
    result = appraise(world.quote(), old, ANY)
    assert result.at == later
    assert_rejected(
        result, "tcb-info-expiry", "qe-identity-expiry", "pck-crl-expiry", "root-ca-crl-expiry",
        exit_status=4,
    )  # fmt: skip


# The memory


def _same_chain(quote: bytes, other: bytes) -> bool:
    """Whether two quotes differ at most in how their PCK chain is written down."""
    first, second = (Evidence.recognise(q).quote for q in (quote, other))
    first_chain, second_chain = (
        Certificate.parse_chain(q.certification.data) for q in (first, second)
    )
    return first_chain == second_chain and all(
        getattr(first, part) == getattr(second, part)
        for part in (
            *("signed_bytes", "signature", "attestation_key", "qe_report_bytes"),
            *("qe_report_signature", "qe_authentication_data"),
        )
    )


@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_no_changed_byte_of_a_quote_passes_a_warm_memory(
    world: World, proof: Endorsements, mask: int
) -> None:
    """With the truth remembered, every one-byte change of it is refused, but of PEM's white space."""
    quote = world.quote()
    assert_accepted(appraise(quote, proof, ANY))
    rewritten = 0
    for changed in _one_byte_changes(quote, mask=mask):
        result = appraise(changed, proof, ANY)
        if result.accepted:
            assert _same_chain(quote, changed)
            rewritten += 1
    assert rewritten < 100
    assert_accepted(appraise(quote, proof, ANY))


@each_vector("verifiable")
def test_no_changed_byte_of_a_real_quote_passes(vector: object) -> None:
    """The same with genuine quotes and collateral of Intel's, sparsely."""
    real = need_vector(str(vector))
    check = check_endorsements(real.collateral, at=real.at)
    quote = Evidence.recognise(real.quote).quote
    truth = verify(Evidence.of(quote), check.require())
    unsupported = real.manifest["expected"]["status"] == "TCB_NOT_SUPPORTED"
    assert (truth.verified is None) == unsupported
    for changed in _one_byte_changes(quote.to_bytes(), stride=97):
        try:
            evidence = Evidence.recognise(changed)
        except FormatError:
            continue
        if verify(evidence, check.require()).verified is not None:
            assert _same_chain(quote.to_bytes(), changed)


def test_a_remembered_qe_report_is_of_its_own_key(world: World, proof: Endorsements) -> None:
    """A QE report and signature proven under one platform's key prove nothing under another's."""
    first, second = world.pck(ppid=b"1" * 16), world.pck(ppid=b"2" * 16)
    assert_accepted(appraise(world.quote(pck=first), proof, ANY))
    transplanted = world.quote(pck=second, qe_signing_key=first.key)
    assert_rejected(appraise(transplanted, proof, ANY), "qe-report-signature")


def test_a_remembered_chain_says_nothing_of_another_fmspc(
    world: World, proof: Endorsements
) -> None:
    """A proven chain of a foreign platform is remembered as proven, and its FMSPC refused each time."""
    foreign = world.quote(pck=world.pck(fmspc=bytes(6)))
    for _ in range(3):
        assert_rejected(appraise(foreign, proof, ANY), "fmspc")


def test_a_remembered_evaluation_is_of_all_its_svns(world: World) -> None:
    """Two TDs alike at launch, under different modules now, are each evaluated for themselves."""
    collateral = endorsed(world, "tdx")
    proof = check_endorsements(collateral, at=AT, anchor=anchor_of(world)).require()
    old, new = bytes((5, 1, 8)), bytes((6, 1, 8))
    for launch, current, status in (
        (old, old, "OutOfDate"),
        (old, new, "TDRelaunchAdvised"),
        (new, old, "UpToDate"),
        (old, old, "OutOfDate"),
    ):
        body = {"tee_tcb_svn": launch, "tee_tcb_svn_2": current}
        assert appraise(world.quote(5, "tdx", body=body), proof, ANY).tcb_status == status
    without = world.quote(4, "tdx", body={"tee_tcb_svn": old})
    assert appraise(without, proof, ANY).tcb_status == "OutOfDate"


def test_the_memory_holds_at_most_its_size() -> None:
    """When full, the oldest entry leaves; what is left is still right."""
    memory: Memory[int, int] = Memory(3)
    for number in range(10):
        assert memory.keep(number, number * number) == number * number
    assert [memory.recall(number) for number in range(10)] == [None] * 7 + [49, 64, 81]
    assert len(memory._entries) == 3


def test_more_platforms_than_are_remembered(world: World) -> None:
    """More platforms than the memory holds leave it bounded and every verdict right."""
    proof = check_endorsements(endorsed(world), at=AT, anchor=anchor_of(world)).require()
    assert_accepted(appraise(world.quote(), proof, ANY))
    pck = world.pck()
    for number in range(REMEMBERED + 20):
        quote = world.quote(cert_data=pck.chain_pem + b"\n# %d\n" % number)
        assert appraise(quote, proof, ANY).accepted
    memories = (proof.authentic.pck_chains, proof.authentic.qe_reports, proof.authentic.evaluations)
    assert len(proof.authentic.pck_chains._entries) == REMEMBERED
    assert all(len(memory._entries) <= REMEMBERED for memory in memories)
    assert_accepted(appraise(world.quote(), proof, ANY))
    assert_rejected(appraise(world.quote(signature=bytes(64)), proof, ANY), "quote-signature")


def test_failures_are_not_remembered(world: World) -> None:
    """Only proofs enter the memory: a thousand forgeries leave no trace in it."""
    proof = check_endorsements(endorsed(world), at=AT, anchor=anchor_of(world)).require()
    thief = world.key("thief")
    for changes in ({"signing_key": thief}, {"not_before": AT + DAY}, {"sgx_extension_der": b"0"}):
        appraise(world.quote(pck=world.pck(**changes)), proof, ANY)
    assert len(proof.authentic.pck_chains._entries) == 0


# The pieces


@pytest.mark.parametrize("piece", PIECES)
def test_no_changed_byte_of_collateral_passes(world: World, piece: str) -> None:
    """A one-byte change of any piece of collateral leaves no proof, but where it changes nothing."""
    collateral = endorsed(world)
    truth = check_endorsements(collateral, at=AT, anchor=anchor_of(world)).require()
    data = getattr(collateral, piece)
    unharmed = 0
    for changed in _one_byte_changes(data, STRIDE):
        other = msgspec.structs.replace(collateral, **{piece: changed})
        check = check_endorsements(other, at=AT, anchor=anchor_of(world))
        if check.endorsements is not None:
            unharmed += 1
            assert check.endorsements.tcb_info == truth.tcb_info
            assert check.endorsements.qe_identity == truth.qe_identity
            for same in ("crl_issuer", "root_ca_crl", "pck_crl"):
                assert getattr(check.authentic, same) == getattr(truth.authentic, same)
    assert unharmed * 50 <= len(data)


def test_a_document_of_an_unproven_signer_is_not_even_read(world: World) -> None:
    """Under a signer of another root, nonsense and truth in a document look the same: unread."""
    forger = World(at=AT, seed=b"forger")
    chain = forger.chain(forger.tcb_signing, forger.root)
    for body in (forger.tcb_info(), b'{"version":3}'):
        changes = {"tcb_info": body, "tcb_info_signature": forger.sign_json(body)}
        collateral = endorsed(world, tcb_info_issuer_chain=chain, **changes)
        result = assert_rejected(judged(world, collateral=collateral), "tcb-info-chain-root")
        assert "tcb-info-format" not in {finding.code for finding in result.findings}


# Side by side


def _reversed_map(function: Callable, items: object) -> list[bool]:  # type: ignore[type-arg]
    """A `map` that does its work from the end, and answers in order."""
    return [function(item) for item in list(items)[::-1]][::-1]  # type: ignore[call-overload]


def test_side_by_side_gives_identical_findings(world: World) -> None:
    """With signatures checked ahead, in threads or backwards, every finding is the same."""
    forged = endorsed(world, tcb_info_key=world.key("thief"), pck_crl_signer=world.key("thief"))
    anchor = anchor_of(world)
    with ThreadPoolExecutor(4) as pool:
        for run in (pool.map, map, _reversed_map):
            for collateral in (endorsed(world), forged):
                for quote in _quotes(world)[:16]:
                    alone = appraise(quote, collateral, ANY, at=AT, anchor=anchor)
                    beside = appraise(quote, collateral, ANY, at=AT, anchor=anchor, run=run)
                    assert beside.findings == alone.findings
                    assert beside.to_dict() == alone.to_dict()


def test_threads_may_share_endorsements(world: World) -> None:
    """Eight threads with one proof, memories cold and tiny, find what one thread finds."""
    proof = check_endorsements(endorsed(world), at=AT, anchor=anchor_of(world)).require()
    for memory in ("pck_chains", "qe_reports", "evaluations"):
        setattr(proof.authentic, memory, Memory(2))
    quotes = _quotes(world) * 8
    alone = [judged(world, quote).findings for quote in _quotes(world)] * 8
    with ThreadPoolExecutor(8) as pool:
        beside = [result.findings for result in pool.map(lambda q: appraise(q, proof, ANY), quotes)]
    assert beside == alone


def test_bad_collateral_is_found_and_never_raised(world: World) -> None:
    """Garbage in every piece at once is one result, with a finding for each."""
    garbage = Collateral(**dict.fromkeys(PIECES, b"\x30\x80garbage"))
    result = judged(world, collateral=garbage)
    assert failed(result) == {
        f"{name}-format"
        for name in (
            *("root-ca-crl", "pck-crl", "crl-issuer-chain", "tcb-info-chain", "tcb-info"),
            *("qe-identity-chain", "qe-identity"),
        )
    }
    assert (result.exit_status, result.verified) == (6, None)
