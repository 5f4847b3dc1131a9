"""An attacker who mixes true things: chains, lists, documents and quotes that do not belong together.

Every piece here is genuine, or is signed with a key that really is in the PKI, and only stands in
the wrong place. Real machines' quotes and collateral are crossed, each with each.
"""

import hashlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from trial import (
    ANY,
    LOOSE,
    assert_accepted,
    assert_rejected,
    endorsed,
    failed,
    judged,
    pck_ca_twin,
    twin,
)

from dcap import ConfigError, FormatError, Policy, Quote, TrustAnchor, appraise
from dcap.formats.certificate import Certificate
from dcap.formats.containers import conclave, open_enclave
from dcap.formats.quote import write_quote
from dcap.verification import INTEL_SGX_ROOT, Endorsements, Evidence, check_endorsements, verify
from departures import Issued, World, extension
from worlds import AT, Vector, anchor_of, need_vector, vector_names

DAY = timedelta(days=1)


# Keys that are in the PKI, in a place that is not theirs


@pytest.mark.parametrize("document", ["tcb_info", "qe_identity"])
@pytest.mark.parametrize("signer", ["root", "processor_ca", "platform_ca", "pck"])
def test_documents_are_signed_by_the_tcb_signer_alone(
    world: World, document: str, signer: str
) -> None:
    """No other key of the PKI may sign documents, whether or not its own chain comes along."""
    by: Issued = world.pck() if signer == "pck" else getattr(world, signer)
    name = document.replace("_", "-")
    forged = endorsed(world, **{f"{document}_key": by.key})
    assert_rejected(judged(world, collateral=forged), f"{name}-signature")
    chain = world.chain(by, world.root)
    with_chain = msgspec.structs.replace(forged, **{f"{document}_issuer_chain": chain})
    assert_rejected(judged(world, collateral=with_chain), f"{name}-chain-roles")


@pytest.mark.parametrize("name", ["Intel SGX TCB Signing", "Intel SGX PCK Certificate"])
def test_a_key_below_the_root_cannot_make_itself_a_ca(world: World, name: str) -> None:
    """The holder of an end certificate's key issues a PCK: no chain shape lets it in."""
    holder: Issued = world.tcb_signing if "TCB" in name else world.pck()
    mine = world.pck(chain=(holder, world.root), issuer_name=world.processor_ca.name)
    assert_rejected(judged(world, world.quote(pck=mine)), "pck-chain-roles")
    with_true_ca = world.chain(mine, world.processor_ca, world.root)
    quote = world.quote(pck=mine, cert_data=with_true_ca)
    assert_rejected(judged(world, quote), "pck-chain-signature")
    disguised = pck_ca_twin(world, issuer=holder, issuer_name=world.root.name)
    quote = world.quote(pck=world.pck(chain=(disguised, world.root)))
    assert_rejected(judged(world, quote), "pck-chain-signature")


def test_a_pck_ca_cannot_stand_for_the_other(world: World) -> None:
    """A leaf of the Processor CA beside the Platform CA's certificate hangs from neither."""
    leaf = world.pck()
    chain = world.chain(leaf, world.platform_ca, world.root)
    quote = world.quote(pck=leaf, cert_data=chain)
    assert_rejected(judged(world, quote), "pck-chain-signature", "pck-crl-coverage")
    quote = world.quote(pck=leaf, cert_data=chain)
    platform = endorsed(world, ca="platform")
    assert_rejected(judged(world, quote, platform), "pck-chain-signature")


def test_a_ca_of_the_same_name_and_another_key_is_another_ca(world: World) -> None:
    """A CA that the root certified under a name already taken does not share its CRL."""
    namesake = twin(
        world, world.certificate("namesake"), "Intel SGX PCK Processor CA", ca=True, path_length=0
    )
    pck = world.pck(chain=(namesake, world.root))
    assert_rejected(judged(world, world.quote(pck=pck)), "pck-crl-coverage")
    covered = endorsed(
        world,
        pck_crl_issuer_chain=world.chain(namesake, world.root),
        pck_crl=world.crl(namesake),
    )
    assert_accepted(judged(world, world.quote(pck=pck), covered))


# Revocation lists


CRLS: dict[str, tuple[Callable[[World], dict[str, Any]], set[str]]] = {
    "each in the other's place": (
        lambda w: {"pck_crl": w.crl(w.root), "root_ca_crl": w.crl()},
        {"pck-crl-issuer", "pck-crl-signature", "root-ca-crl-issuer", "root-ca-crl-signature"},
    ),
    "the root's for the PCK CA's": (
        lambda w: {"pck_crl": w.crl(w.root)},
        {"pck-crl-issuer", "pck-crl-signature"},
    ),
    "the other CA's": (
        lambda w: {"pck_crl": w.crl(w.platform_ca)},
        {"pck-crl-issuer", "pck-crl-signature"},
    ),
    "the other CA's, with its chain": (
        lambda w: {
            "pck_crl": w.crl(w.platform_ca),
            "pck_crl_issuer_chain": w.chain(w.platform_ca, w.root),
        },
        {"pck-crl-coverage"},
    ),
    "in the CA's name, by the TCB signer": (
        lambda w: {"pck_crl": w.crl(signer=w.tcb_signing)},
        {"pck-crl-signature"},
    ),
    "in the CA's name, by the root": (
        lambda w: {"pck_crl": w.crl(signer=w.root)},
        {"pck-crl-signature"},
    ),
    "a clean one before a revoking one": (
        lambda w: {
            "pck_crl": w.crl(encoding="pem") + w.crl(revoked=[w.pck()], encoding="pem"),
        },
        {"pck-crl-format"},
    ),
    "a clean one, then bytes": (lambda w: {"pck_crl": w.crl() + b"\0"}, {"pck-crl-format"}),
    "with an indirect issuer": (
        lambda _: {"pck_crl_extra": [extension("2.5.29.28", b"0\0", critical=True)]},
        {"pck-crl-extensions"},
    ),
    "a delta": (
        lambda _: {"pck_crl_extra": [extension("2.5.29.27", b"\x02\x01\x01", critical=True)]},
        {"pck-crl-extensions"},
    ),
    "with its number twice": (
        lambda _: {"pck_crl_extra": [extension("2.5.29.20", b"\x02\x01\x01")]},
        {"pck-crl-format"},
    ),
    "with a negative serial": (
        lambda _: {
            "pck_crl_revoked": [127],
            "pck_crl_edit": lambda tbs: tbs.replace(b"\x02\x01\x7f", b"\x02\x01\xff"),
        },
        {"pck-crl-format"},
    ),
    "of another key id": (
        lambda _: {"pck_crl_authority_key_identifier": bytes(20)},
        {"pck-crl-issuer"},
    ),
    "without a key id": (
        lambda _: {"pck_crl_with_authority_key_id": False},
        {"pck-crl-extensions"},
    ),
    "that revokes the leaf": (lambda w: {"pck_crl_revoked": [w.pck()]}, {"pck-revocation"}),
    "that revokes many, the leaf last": (
        lambda w: {"pck_crl_revoked": [*range(1, 2000), w.pck()]},
        {"pck-revocation"},
    ),
    "in which the root revokes the leaf's serial": (
        lambda w: {"root_ca_crl_revoked": [w.pck()]},
        set(),
    ),
}


@pytest.mark.parametrize("trick", CRLS)
def test_a_list_counts_for_its_issuer_and_whole(world: World, trick: str) -> None:
    """Swapped, doubled, partial or foreign lists are refused; a list speaks of its issuer's alone."""
    make, codes = CRLS[trick]
    result = judged(world, collateral=endorsed(world, **make(world)))
    if codes:
        assert_rejected(result, *codes)
    else:
        assert_accepted(result)


@pytest.mark.parametrize("encoding", ["der", "pem", "hex"])
def test_a_revocation_is_seen_in_every_encoding(world: World, encoding: str) -> None:
    """DER, PEM and hex of one list revoke the same certificate."""
    clean = endorsed(world, pck_crl=world.crl(encoding=encoding))
    assert_accepted(judged(world, collateral=clean))
    revoking = endorsed(world, pck_crl=world.crl(revoked=[world.pck()], encoding=encoding))
    assert_rejected(judged(world, collateral=revoking), "pck-revocation")


# Evidence and what comes beside it


def test_a_foreign_chain_beside_a_quote_does_not_certify_it(world: World) -> None:
    """A genuine chain of another machine, given for a quote without one, proves nothing."""
    mine, other = world.pck(ppid=b"1" * 16), world.pck(ppid=b"2" * 16)
    quote = world.quote(pck=mine, cert_type=1)
    beside = Evidence(quote=Quote.parse(quote), size=0, pck_certificate_chain=mine.chain_pem)
    assert_accepted(judged(world, beside))
    beside = Evidence(quote=Quote.parse(quote), size=0, pck_certificate_chain=other.chain_pem)
    assert_rejected(judged(world, beside), "qe-report-signature")


def test_a_chain_beside_never_replaces_the_quotes_own(world: World) -> None:
    """A quote that brings a bad chain is not saved by a good one beside it."""
    bad = world.quote(pck=world.pck(signing_key=world.key("thief")))
    good = world.pck().chain_pem
    beside = Evidence(quote=Quote.parse(bad), size=len(bad), pck_certificate_chain=good)
    collateral = msgspec.structs.replace(endorsed(world), pck_certificate_chain=good)
    assert_rejected(judged(world, beside, collateral), "pck-chain-signature")


def test_claims_beside_a_quote_are_its_own_or_refused(world: World) -> None:
    """Custom claims of Open Enclave count if the report data begin with their hash, to the last bit."""
    claims = open_enclave.write_custom_claims([open_enclave.CustomClaim("key", b"mine")])
    quote = world.quote(report_data=hashlib.sha256(claims).digest())
    evidence = open_enclave.write_evidence(quote, custom_claims=claims)
    assert_accepted(judged(world, evidence))
    for other in (claims.replace(b"mine", b"nine"), claims[:-1], claims + b"\0", b""):
        evidence = open_enclave.write_evidence(quote, custom_claims=other)
        assert_rejected(judged(world, evidence), "evidence-binding")


def test_evidence_that_brings_its_own_collateral_brings_no_root(world: World) -> None:
    """A forger's Conclave object, perfect under a root of its own, is refused under ours."""
    forger = World(at=AT, seed=b"forger")
    keys = {"data_signing_key": b"d" * 44, "encryption_key": b"e" * 32}
    for maker, anchor in ((world, anchor_of(world)), (forger, anchor_of(world))):
        bound = conclave.EnclaveInstanceInfo(
            quote=b"", collateral=endorsed(maker), **keys
        ).report_data
        info = conclave.write_instance_info(maker.quote(report_data=bound), endorsed(maker), **keys)
        result = appraise(info, None, ANY, at=AT, anchor=anchor)
        assert result.accepted == (maker is world)
    assert "pck-chain-root" in failed(result)
    assert not appraise(info, None, ANY, at=AT).accepted


def test_a_test_world_is_nothing_to_the_default_anchor(world: World) -> None:
    """Without an anchor it is Intel's; a forged world of Intel's own names fails at every root."""
    lookalike = World(at=AT, organization="Intel Corporation")
    assert Certificate.parse(lookalike.root.der).subject == INTEL_SGX_ROOT.subject
    result = appraise(lookalike.quote(), endorsed(lookalike), ANY, at=AT)
    assert_rejected(
        result,
        *("pck-chain-root", "crl-issuer-chain-root", "tcb-info-chain-root"),
        "qe-identity-chain-root",
    )
    assert result.trust_root == "intel"
    accepted = appraise(
        lookalike.quote(), endorsed(lookalike), ANY, at=AT, anchor=anchor_of(lookalike)
    )
    assert_accepted(accepted)
    assert (accepted.trust_root, accepted.to_dict()["trust_root"]) == ("simulated", "simulated")


def test_the_real_root_as_a_test_root_is_the_real_root() -> None:
    """Naming Intel's own certificate as a test root does not make its results simulated."""
    vector = need_vector("dcap-qvl-sgx-quote-f8b810")
    assert vector.anchor is INTEL_SGX_ROOT


def test_an_anchor_that_calls_itself_intels_is_not(world: World) -> None:
    """Whatever key an anchor has, only Intel's own is reported as `intel`."""
    truth = anchor_of(world)
    liar = TrustAnchor(INTEL_SGX_ROOT.subject, truth.public_key)
    result = appraise(world.quote(), endorsed(world), ANY, at=AT, anchor=liar)
    assert result.trust_root != "intel"


def test_a_map_that_answers_in_another_order_proves_nothing(world: World) -> None:
    """`run` may be any kind of map, unordered too: an answer belongs to the signature it is of."""

    def unordered(function: Callable[[Any], Any], claims: Iterable[Any]) -> list[Any]:
        return [function(claim) for claim in claims][::-1]

    for forged in (world.quote(signing_key=world.key("thief")), world.quote()):
        alone = judged(world, forged)
        collateral = endorsed(world)
        beside = appraise(forged, collateral, ANY, at=AT, anchor=anchor_of(world), run=unordered)
        assert beside.findings == alone.findings


# Policies that look strict


@pytest.mark.parametrize(
    "text",
    [
        'allow_debug = "false"\nidentity = "any"',
        "allow_debug = 0",
        'identity = "Any"',
        'accepted_tcb_statuses = "UpToDate"',
        'accepted_tcb_statuses = ["Up to date"]',
        'accepted_tcb_statuses = ["UpToDate", "Revoked"]',
        "accepted_tcb_statuses = []",
        'minimum_evaluation_number = "18"',
        'report_data = ""',
        'mrenclave = "00"',
        "[[release]]\nname = 'x'",
        "[[release]]\nname = 'x'\nmrenclave = ''",
        "[[release]]\nname = 'x'\nmrenclave = []\nproduct_id = 1",
        "[[release]]\nname = 'x'\nmrenclave = 'abcd'",
        'attributes_mask = "ffffffffffffffffffffffffffffffff"',
    ],
)
def test_a_policy_that_does_not_mean_what_it_says_is_refused(text: str) -> None:
    """A value of another type, an empty pin or a misspelt key is an error, not a weaker policy."""
    with pytest.raises(ConfigError):
        Policy.from_toml(text)


def test_no_policy_accepts_what_is_not_true(world: World) -> None:
    """The loosest policy there is refuses an unsigned quote, and an expired world."""
    forged = world.quote(signing_key=world.key("thief"))
    assert_rejected(judged(world, forged, policy=LOOSE), "quote-signature")
    late = judged(world, policy=LOOSE, at=AT + 40 * DAY)
    assert late.exit_status == 4
    early = judged(world, policy=LOOSE, at=AT - 4000 * DAY)
    assert early.exit_status == 3


# Real machines, crossed


def _proven() -> list[tuple[Vector, Quote, Endorsements]]:
    """The genuine vectors, each with its quote and its own proven collateral."""
    found = []
    for name in vector_names("verifiable"):
        vector = need_vector(name)
        quote = Evidence.recognise(vector.quote).quote
        found.append((vector, quote, check_endorsements(vector.collateral, at=vector.at).require()))
    if not found:
        pytest.skip("no vectors (set DCAP_VECTORS)")
    return found


def test_each_real_quote_with_each_real_collateral() -> None:
    """A proof is made only under collateral of the quote's own TEE and FMSPC, and made there."""
    proven = _proven()
    own = 0
    for vector, quote, mine in proven:
        for other, _, collateral in proven:
            verified = verify(Evidence.of(quote), collateral).verified
            if verified is not None:
                assert vector.manifest["tee"] == other.manifest["tee"]
                assert vector.manifest["fmspc"].lower() == other.manifest["fmspc"].lower()
                assert verified.pck.extensions.fmspc == collateral.tcb_info.fmspc
                own += collateral is mine
    supported = [v for v, _, _ in proven if v.manifest["expected"]["status"] != "TCB_NOT_SUPPORTED"]
    assert own == len(supported)


def _sections(quote: Quote) -> dict[str, Any]:
    return {
        "signed": quote.signed_bytes,
        "version": quote.header.version,
        "signature": quote.signature,
        "attestation_key": quote.attestation_key,
        "qe_report": quote.qe_report_bytes,
        "qe_report_signature": quote.qe_report_signature,
        "qe_authentication_data": quote.qe_authentication_data,
        "certification": quote.certification,
    }


PARTS = {
    "body": ("signed",),
    "body and signature": ("signed", "signature"),
    "all but QE": ("signed", "signature", "attestation_key"),
    "QE report": ("qe_report",),
    "QE report and signature": ("qe_report", "qe_report_signature"),
    "chain": ("certification",),
    "authentication data": ("qe_authentication_data",),
}


@pytest.mark.parametrize("part", PARTS)
def test_no_part_of_a_real_quote_serves_another(part: str) -> None:
    """A part of one machine's quote, put into another's under the other's collateral, breaks it."""
    proven = _proven()
    for _, donor, _ in proven[::3]:
        for _, quote, collateral in proven:
            sections = _sections(quote)
            spliced = sections | {name: _sections(donor)[name] for name in PARTS[part]}
            spliced["version"] = int.from_bytes(spliced["signed"][:2], "little")
            if spliced == sections:
                continue
            try:
                evidence = Evidence.of(Quote.parse(write_quote(**spliced)))
            except FormatError:
                continue
            if verify(evidence, collateral).verified is not None:
                same = Certificate.parse_chain(spliced["certification"].data)
                assert part == "chain"
                assert same == Certificate.parse_chain(quote.certification.data)
