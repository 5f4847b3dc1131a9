"""One piece of collateral alone: what the whole procedure finds of it, and nothing that it would not."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from dcap.errors import ConfigError, FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.crl import Crl
from dcap.simulator.intel import Revocation
from dcap.simulator.world import World
from dcap.verification import TrustAnchor, check_endorsements
from dcap.verification.findings import Finding
from dcap.verification.piece import (
    EVALUATION_NUMBERS,
    PieceCheck,
    check_evaluation_numbers,
    check_identity,
    check_pck_certificates,
    check_pck_crl,
    check_root_crl,
    check_tcb_info,
)
from dcap.verification.signature import Signatures
from worlds import Vector, each_vector

DAY = timedelta(days=1)


@pytest.fixture
def simulated() -> World:
    """A world that a test may change."""
    return World("piece")


def anchor_of(world: World) -> TrustAnchor:
    """The world's own root."""
    return TrustAnchor.insecure_test_root(world.intel.root.certificate)


def codes(check: PieceCheck[object]) -> list[str]:
    """The codes of what failed."""
    return [finding.code for finding in check.failed]


def signers(world: World) -> bytes:
    """The chain of the signer of documents."""
    return world.intel.chain(world.intel.tcb_signing)


def tcb_info(world: World) -> bytes:
    """A TCB info as it is sent."""
    machine = world.platform()
    document = world.intel.tcb_info(
        "SGX", machine.fmspc, bytes(2), world.at, world.intel.generation()
    )
    return document.envelope(TCB_INFO)


def identity(world: World, name: str) -> bytes:
    """An identity as it is sent."""
    document = world.intel.enclave_identity(name, world.at, world.intel.generation())
    return document.envelope(ENCLAVE_IDENTITY)


# What is genuine


def test_a_tcb_info_says_what_it_is_and_until_when(simulated: World) -> None:
    """Content and the first expiry of document and chain, where nothing fails."""
    check = check_tcb_info(
        tcb_info(simulated), signers(simulated), at=simulated.at, anchor=anchor_of(simulated)
    )
    assert codes(check) == []
    assert check.content is not None
    assert check.content.fmspc == simulated.platform().fmspc
    assert check.window is not None
    assert check.window.expires == check.content.next_update
    assert check.window.issued == check.content.issue_date


@pytest.mark.parametrize("name", ["QE", "TD_QE", "QVE", "QAE"])
def test_every_identity_of_intel_proves(simulated: World, name: str) -> None:
    """Those that no verdict needs are proven as those that it does."""
    check = check_identity(
        identity(simulated, name),
        signers(simulated),
        at=simulated.at,
        anchor=anchor_of(simulated),
    )
    assert codes(check) == []
    assert check.content is not None
    assert check.content.id == name


def test_a_list_of_evaluation_numbers_proves(simulated: World) -> None:
    """It is signed by who signs TCB infos, and told of in the same words."""
    document = simulated.intel.evaluation_numbers("TDX", simulated.at)
    check = check_evaluation_numbers(
        document.envelope(EVALUATION_NUMBERS),
        signers(simulated),
        at=simulated.at,
        anchor=anchor_of(simulated),
    )
    assert codes(check) == []
    assert check.content is not None
    assert check.content.id == "TDX"


@pytest.mark.parametrize("form", [Crl.to_pem, Crl.to_hex, lambda crl: crl.der])
def test_the_root_s_list_needs_no_chain(simulated: World, form: Callable[[Crl], bytes]) -> None:
    """The anchor is its issuer, whatever encoding it comes in."""
    crl = Crl.parse(simulated.intel.root_ca_crl(simulated.at))
    check = check_root_crl(form(crl), at=simulated.at, anchor=anchor_of(simulated))
    assert codes(check) == []
    assert check.content == crl


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_a_pck_list_proves_with_its_own_chain(simulated: World, ca: str) -> None:
    """Its CA's chain comes with it."""
    intel = simulated.intel
    check = check_pck_crl(
        intel.pck_crl(ca, simulated.at),
        intel.chain(intel.pck_ca(ca)),
        at=simulated.at,
        anchor=anchor_of(simulated),
    )
    assert codes(check) == []


# What is not


def test_a_list_of_a_namesake_is_told_by_what_differs(simulated: World) -> None:
    """Of a root called as Intel's: the organization; of one named alike in all: the key."""
    at = simulated.at
    crl = simulated.intel.root_ca_crl(at)
    (issuer, *_) = check_root_crl(crl, at=at).failed
    assert issuer.message == (
        'the list is of the "Intel SGX Root CA" of "dcap simulator, not Intel", not of that of '
        '"Intel Corporation"'
    )
    assert "--insecure-test-root" in issuer.mend
    intel, other = simulated.intel, World("another").intel
    (issuer, *_) = check_pck_crl(
        intel.pck_crl("platform", at),
        other.chain(other.pck_ca("platform")),
        at=at,
        anchor=TrustAnchor.insecure_test_root(other.root.certificate),
    ).failed
    keys = [one.pck_ca("platform").certificate.subject_key_id for one in (intel, other)]
    assert None not in keys
    told = ", not ".join(key.hex()[:16] for key in keys if key)
    assert issuer.message == f'the list is of another key of "Intel SGX PCK Platform CA": {told}'


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_a_list_under_the_other_ca_is_refused(simulated: World, ca: str) -> None:
    """The chain must be that of its issuer, not merely genuine."""
    intel = simulated.intel
    other = "platform" if ca == "processor" else "processor"
    check = check_pck_crl(
        intel.pck_crl(ca, simulated.at),
        intel.chain(intel.pck_ca(other)),
        at=simulated.at,
        anchor=anchor_of(simulated),
    )
    assert codes(check) == ["pck-crl-issuer", "pck-crl-signature"]
    assert check.content is None
    assert check.window is None


def test_the_root_s_list_by_another_key_is_refused(simulated: World) -> None:
    """That it names the root, and the key's identifier that it likes, proves nothing."""
    forged = World("forger").intel.root_ca_crl(simulated.at)
    check = check_root_crl(forged, at=simulated.at, anchor=anchor_of(simulated))
    assert codes(check) == ["root-ca-crl-signature"]


def test_a_changed_document_is_refused_and_not_read(simulated: World) -> None:
    """One digit of an SVN, and the signature does not fit."""
    changed = tcb_info(simulated).replace(b'"svn":8', b'"svn":9', 1)
    check = check_tcb_info(
        changed, signers(simulated), at=simulated.at, anchor=anchor_of(simulated)
    )
    assert codes(check) == ["tcb-info-signature"]
    assert check.content is None


def test_a_document_of_another_root_is_refused(simulated: World) -> None:
    """Root pinned: a world of its own, genuine in itself."""
    other = World("forger", simulated.at)
    check = check_tcb_info(
        tcb_info(other), signers(other), at=simulated.at, anchor=anchor_of(simulated)
    )
    assert codes(check) == ["tcb-info-chain-root"]


def test_a_document_from_the_future_is_refused(simulated: World) -> None:
    """Issued after the instant at which it is looked at."""
    check = check_tcb_info(
        tcb_info(simulated),
        signers(simulated),
        at=simulated.at - DAY,
        anchor=anchor_of(simulated),
    )
    assert codes(check) == ["tcb-info-validity-start"]


def test_expiry_is_a_fact(simulated: World) -> None:
    """An expired document proves, and says when it expired."""
    later = simulated.at + 365 * DAY
    check = check_tcb_info(
        tcb_info(simulated), signers(simulated), at=later, anchor=anchor_of(simulated)
    )
    assert codes(check) == []
    assert check.window is not None
    assert check.window.expires < later


def test_a_revoked_signer_is_found_where_the_root_s_list_is_at_hand(simulated: World) -> None:
    """Without the list nothing is said of revocation; with it, the signer must not be on it."""
    signer = simulated.intel.tcb_signing.certificate
    simulated.intel.revoked["root"].append(Revocation(signer.serial, simulated.at))
    crl = Crl.parse(simulated.intel.root_ca_crl(simulated.at))
    given = tcb_info(simulated), signers(simulated)
    anchor = anchor_of(simulated)
    assert codes(check_tcb_info(*given, at=simulated.at, anchor=anchor)) == []
    with_list = check_tcb_info(*given, at=simulated.at, anchor=anchor, root_crl=crl)
    assert codes(with_list) == ["tcb-info-signer-revocation"]


def test_a_revoked_ca_cannot_issue_its_list(simulated: World) -> None:
    """The list of a CA on the root's list is worth nothing."""
    intel = simulated.intel
    serial = intel.platform_ca.certificate.serial
    intel.revoked["root"].append(Revocation(serial, simulated.at))
    check = check_pck_crl(
        intel.pck_crl("platform", simulated.at),
        intel.chain(intel.platform_ca),
        at=simulated.at,
        anchor=anchor_of(simulated),
        root_crl=Crl.parse(intel.root_ca_crl(simulated.at)),
    )
    assert codes(check) == ["crl-issuer-revocation"]


def test_an_instant_without_a_zone_is_refused(simulated: World) -> None:
    """The verifier's time is an aware one, for every kind of piece."""
    naive = simulated.at.replace(tzinfo=None)
    with pytest.raises(ConfigError) as caught:
        check_root_crl(b"", at=naive)
    assert caught.value.code == "no-instant"


@pytest.mark.parametrize("garbage", [b"", b"{}", b"\x30\x80", b"<html>", b"\xff" * 64])
def test_garbage_is_found_and_not_raised(simulated: World, garbage: bytes) -> None:
    """Whatever the bytes are, the answer is findings."""
    at, anchor = simulated.at, anchor_of(simulated)
    for check in (
        check_tcb_info(garbage, garbage, at=at, anchor=anchor),
        check_identity(garbage, garbage, at=at, anchor=anchor),
        check_evaluation_numbers(garbage, garbage, at=at, anchor=anchor),
        check_root_crl(garbage, at=at, anchor=anchor),
        check_pck_crl(garbage, garbage, at=at, anchor=anchor),
        check_pck_certificates([garbage], garbage, at=at, anchor=anchor),
    ):
        assert check.failed
        assert check.content is None


# PCK certificates


def leaves(world: World, name: str = "machine") -> list[bytes]:
    """Some certificates of a machine."""
    return [world.platform(name).certificate(rung).pem for rung in (8, 7, 6)]


def issuers(world: World, ca: str = "platform") -> bytes:
    """The chain of a PCK CA."""
    return world.intel.chain(world.intel.pck_ca(ca))


def test_certificates_say_what_they_certify(simulated: World) -> None:
    """Each with its extensions, in the order given."""
    check = check_pck_certificates(
        leaves(simulated), issuers(simulated), at=simulated.at, anchor=anchor_of(simulated)
    )
    assert codes(check) == []
    assert check.content is not None
    assert [said.components[0] for _, said in check.content] == [8, 7, 6]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_forged_certificate_among_genuine_ones_is_found(simulated: World, place: int) -> None:
    """None of them is proven then."""
    mixed = leaves(simulated)
    mixed[place] = World("forger").platform().certificate(8).pem
    check = check_pck_certificates(
        mixed, issuers(simulated), at=simulated.at, anchor=anchor_of(simulated)
    )
    assert codes(check) == ["pck-chain-signature"]
    assert check.content is None


def test_signatures_that_are_shared_remember_issuers_and_no_machine(simulated: World) -> None:
    """An import of a million machines does not fill the memory with their certificates."""
    signatures = Signatures()
    for name in ("a", "b"):
        check = check_pck_certificates(
            leaves(simulated, name),
            issuers(simulated),
            at=simulated.at,
            anchor=anchor_of(simulated),
            signatures=signatures,
        )
        assert codes(check) == []
    ca = simulated.intel.platform_ca.certificate
    assert {claim[2] for claim in signatures.proven} == {ca.tbs}


def test_a_shared_memory_vouches_for_no_other_chain(simulated: World) -> None:
    """What was proven of one chain's issuers says nothing of certificates under another."""
    signatures = Signatures()
    anchor = anchor_of(simulated)
    given = {"at": simulated.at, "anchor": anchor, "signatures": signatures}
    check_pck_certificates(leaves(simulated), issuers(simulated), **given)
    forger = World("forger")
    check = check_pck_certificates(leaves(forger), issuers(forger), **given)
    assert codes(check) == ["pck-chain-root"]


def test_revocation_is_looked_at_where_the_lists_are_at_hand(simulated: World) -> None:
    """A certificate on its CA's list, a CA on the root's list, a list of another CA."""
    intel, at, anchor = simulated.intel, simulated.at, anchor_of(simulated)
    given = leaves(simulated), issuers(simulated)
    other = Crl.parse(intel.pck_crl("processor", at))
    assert codes(check_pck_certificates(*given, at=at, anchor=anchor, pck_crl=other)) == [
        "pck-crl-coverage"
    ]
    serial = simulated.platform().certificate(7).certificate.serial
    intel.revoked["platform"].append(Revocation(serial, at))
    crl = Crl.parse(intel.pck_crl("platform", at))
    assert codes(check_pck_certificates(*given, at=at, anchor=anchor, pck_crl=crl)) == [
        "pck-revocation"
    ]
    intel.revoked["root"].append(Revocation(intel.platform_ca.certificate.serial, at))
    root = Crl.parse(intel.root_ca_crl(at))
    assert codes(check_pck_certificates(*given, at=at, anchor=anchor, root_crl=root)) == [
        "pck-ca-revocation"
    ]


def test_a_certificate_that_is_no_pck_is_refused(simulated: World) -> None:
    """A TCB signing certificate is genuine, and certifies no machine."""
    check = check_pck_certificates(
        [simulated.intel.tcb_signing.pem],
        issuers(simulated),
        at=simulated.at,
        anchor=anchor_of(simulated),
    )
    assert codes(check) == ["pck-chain-roles"]


# A piece and the set


def _of(findings: tuple[Finding, ...], *names: str) -> list[tuple[str, bool]]:
    return sorted((f.code, f.ok) for f in findings if f.code.startswith(names))


@each_vector("verifiable", "negative")
def test_a_piece_is_found_to_be_what_it_is_in_its_set(vector: Vector) -> None:
    """Over real collateral, genuine and broken: the same findings, alone and in the whole procedure."""
    if not vector.has_collateral:
        pytest.skip("no collateral lies beside it")
    collateral: Collateral = vector.collateral
    at, anchor = vector.at, vector.anchor
    whole = check_endorsements(collateral, at=at, anchor=anchor)
    root_crl = whole.authentic.root_ca_crl
    info = check_tcb_info(
        collateral.tcb_info,
        collateral.tcb_info_issuer_chain,
        at=at,
        anchor=anchor,
        root_crl=root_crl,
    )
    assert _of(info.findings, "tcb-info") == _of(whole.findings, "tcb-info")
    said = check_identity(
        collateral.qe_identity,
        collateral.qe_identity_issuer_chain,
        at=at,
        anchor=anchor,
        root_crl=root_crl,
    )
    assert _of(said.findings, "qe-identity") == _of(whole.findings, "qe-identity")
    root = check_root_crl(collateral.root_ca_crl, at=at, anchor=anchor)
    assert (root.content is not None) == (root_crl is not None)
    chain = _issuers(collateral)
    if chain is not None:
        crl = check_pck_crl(collateral.pck_crl, chain, at=at, anchor=anchor, root_crl=root_crl)
        assert (crl.content is not None) == (
            whole.authentic.pck_crl is not None
            and ("crl-issuer-revocation", False) not in _of(whole.findings, "crl-issuer")
        )


def _issuers(collateral: Collateral) -> bytes | None:
    """The chain of the list's issuer: its own, or the one above the PCK certificate."""
    if collateral.pck_crl_issuer_chain is not None:
        return collateral.pck_crl_issuer_chain
    try:
        whole = Certificate.parse_chain(collateral.pck_certificate_chain or b"")
    except FormatError:
        return None
    return b"".join(one.to_pem() for one in whole if one.is_ca)
