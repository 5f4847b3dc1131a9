"""The pitfalls of the field that live in collateral, its chains and its statuses: one test each.

The numbers are those of the reference's table "Pitfalls = our security tests"; each test changes one
thing of an accepted truth and names the check that must see it. Those of the quote itself stand in
`test_pitfalls_quote`.
"""

import json
from datetime import timedelta

import pytest
from trial import (
    ANY,
    LOOSE,
    assert_accepted,
    assert_rejected,
    assert_vector_rejected,
    endorsed,
    judged,
    pck_ca_twin,
    tcb_signing_twin,
    twin,
)

from dcap import ConfigError, Policy
from dcap.formats.collateral import TCB_INFO
from dcap.formats.signed_json import SignedJson
from dcap.verification import Evidence, TcbStatus, check_endorsements, verify
from departures import World, components_of
from departures.documents import EVALUATION, QE_MRSIGNER
from worlds import AT, anchor_of

DAY = timedelta(days=1)
HIGH, LOW = (9,) * 16, (1,) * 16


def test_pitfall_01_qe_identity_signature_not_verified(world: World) -> None:
    """A QE identity that Intel did not sign is refused, and one that it signed is obeyed."""
    assert_accepted(judged(world))
    thief = endorsed(world, qe_identity_key=world.key("thief"))
    assert_rejected(judged(world, collateral=thief), "qe-identity-signature")
    other_qe = endorsed(world, qe_identity_mrsigner=bytes(32))
    assert_rejected(judged(world, collateral=other_qe), "qe-identity-match")
    assert_vector_rejected("neg-sgx-qeid-sig-flip", "qe-identity-signature")


def test_pitfall_04_valid_meaning_anything_but_revoked(world: World) -> None:
    """Only UpToDate passes by default; others pass one by one, Revoked never."""
    assert_accepted(judged(world))
    for status in set(TcbStatus) - {TcbStatus.UP_TO_DATE, TcbStatus.REVOKED}:
        if status.startswith("TDRelaunch"):
            continue  # no document may say it
        stale = endorsed(world, tcb_info_levels=[world.tcb_level(status)])
        assert_rejected(judged(world, collateral=stale), "tcb-status", exit_status=4)
        lenient = Policy(identity="any", accepted_tcb_statuses=(TcbStatus.UP_TO_DATE, status))
        assert_accepted(judged(world, collateral=stale, policy=lenient))
    revoked = endorsed(world, tcb_info_levels=[world.tcb_level("Revoked")])
    assert_rejected(judged(world, collateral=revoked, policy=LOOSE), "tcb-status", exit_status=4)
    with pytest.raises(ConfigError, match="policy-revoked"):
        Policy(identity="any", accepted_tcb_statuses=(TcbStatus.REVOKED,))


def test_pitfall_05_tcb_levels_assumed_sorted(world: World) -> None:
    """A document that lists its lowest level first gives the same verdict as a sorted one."""
    upside_down = world.tcb_levels()[::-1]
    shuffled = endorsed(world, tcb_info_levels=upside_down)
    assert assert_accepted(judged(world, collateral=shuffled)).tcb_status == "UpToDate"
    qe_upside_down = endorsed(world, qe_identity_levels=world.isvsvn_levels()[::-1])
    assert assert_accepted(judged(world, collateral=qe_upside_down)).tcb_status == "UpToDate"
    old = world.quote(pck=world.pck(components=components_of("OutOfDate")))
    result = assert_rejected(judged(world, old, shuffled), "tcb-status", exit_status=4)
    assert result.tcb_status == "OutOfDate"


@pytest.mark.parametrize("length", [0, 15, 17])
def test_pitfall_06_component_comparison_silently_truncated(world: World, length: int) -> None:
    """A level with other than 16 components is refused, not compared as far as it goes."""
    assert_accepted(judged(world))
    short = world.tcb_level("UpToDate", (0,) * length)
    collateral = endorsed(world, tcb_info_levels=[short])
    assert_rejected(judged(world, collateral=collateral), "tcb-info-format")
    short_tdx = world.tcb_level("UpToDate", tdx=(0,) * length)
    collateral = endorsed(world, "tdx", tcb_info_levels=[short_tdx])
    assert_rejected(judged(world, collateral=collateral, tee="tdx"), "tcb-info-format")


@pytest.mark.parametrize("name", ["tcb-info", "qe-identity"])
def test_pitfall_09_json_dates_not_enforced(world: World, name: str) -> None:
    """A document whose next update is past, or whose issue is yet to come, is not used."""
    assert_accepted(judged(world))
    piece = name.replace("-", "_")
    old = endorsed(world, **{f"{piece}_next_update": AT - DAY})
    assert_rejected(judged(world, collateral=old), f"{name}-expiry", exit_status=4)
    early = endorsed(world, **{f"{piece}_issue_date": AT + DAY})
    assert_rejected(judged(world, collateral=early), f"{name}-validity-start")
    last_moment = endorsed(world, **{f"{piece}_next_update": AT})
    assert_accepted(judged(world, collateral=last_moment))
    first_moment = endorsed(world, **{f"{piece}_issue_date": AT})
    assert_accepted(judged(world, collateral=first_moment))


def test_pitfall_09_expired_tcb_info_of_a_real_platform() -> None:
    """Genuine collateral that was good 40 days ago is expired today."""
    assert_vector_rejected(
        "neg-sgx-tcbinfo-expired",
        *("tcb-info-expiry", "qe-identity-expiry", "pck-crl-expiry"),
        exit_status=4,
    )


@pytest.mark.parametrize("half", ["SGX", "TDX"])
def test_pitfall_10_revoked_only_if_sgx_and_tdx_both_are(world: World, half: str) -> None:
    """A platform of which only the SGX half, or only the TDX half, is revoked, is revoked."""
    levels = [
        world.tcb_level("UpToDate", HIGH, tdx=HIGH),
        world.tcb_level("Revoked", LOW, tdx=LOW),
    ]
    collateral = endorsed(world, "tdx", tcb_info_levels=levels)

    def quote(sgx: tuple[int, ...], tdx: tuple[int, ...]) -> bytes:
        svn = bytes((6, 1, *tdx[2:]))
        pck = world.pck("platform", components=sgx)
        return world.quote(tee="tdx", pck=pck, body={"tee_tcb_svn": svn})

    assert_accepted(judged(world, quote(HIGH, HIGH), collateral))
    evidence = quote(LOW, HIGH) if half == "SGX" else quote(HIGH, LOW)
    result = judged(world, evidence, collateral, policy=LOOSE)
    assert_rejected(result, "tcb-status", exit_status=4)
    assert result.tcb_status == "Revoked"


def test_pitfall_11_document_type_not_bound_to_the_tee(world: World) -> None:
    """SGX documents, genuine as they are, do not vouch for a TDX quote, nor TDX ones for SGX."""
    assert_accepted(judged(world, tee="tdx"))
    sgx_info = endorsed(world, "tdx", tcb_info_tee="SGX")
    assert_rejected(judged(world, collateral=sgx_info, tee="tdx"), "tcb-info-tee")
    sgx_qe = endorsed(world, "tdx", qe_identity_id="QE")
    assert_rejected(judged(world, collateral=sgx_qe, tee="tdx"), "qe-identity-tee")
    as_sgx_qe = world.quote(tee="tdx", qe_report={"mr_signer": QE_MRSIGNER, "isv_prod_id": 1})
    assert_rejected(judged(world, as_sgx_qe, sgx_qe, tee="tdx"), "qe-identity-tee")
    assert_vector_rejected("neg-tdx-sgx-tcbinfo", "tcb-info-tee", "fmspc")
    assert_vector_rejected("neg-sgx-td-qeidentity", "qe-identity-tee")


@pytest.mark.parametrize("name", ["root-ca-crl", "pck-crl"])
def test_pitfall_12_missing_or_invalid_crl_accepted(world: World, name: str) -> None:
    """Without a CRL, or with one that is not the CA's, nothing is accepted."""
    assert_accepted(judged(world))
    piece = name.replace("-", "_")
    absent = endorsed(world, **{piece: b""})
    assert_rejected(judged(world, collateral=absent), f"{name}-format")
    forged = endorsed(world, **{f"{piece}_signer": world.key("thief")})
    assert_rejected(judged(world, collateral=forged), f"{name}-signature")
    vector = {"root-ca-crl": "neg-sgx-rootcrl-sig-flip", "pck-crl": "neg-sgx-crl-sig-flip"}[name]
    assert_vector_rejected(vector, f"{name}-signature")


def test_pitfall_14_json_reserialised_or_with_repeated_members(world: World) -> None:
    """The signature is over the bytes as sent, and no member may occur twice, signed or not."""
    truth = endorsed(world)
    sealed = SignedJson.parse(truth.tcb_info, TCB_INFO)
    spaced = json.dumps(json.loads(sealed.body)).encode()
    sorted_ = json.dumps(json.loads(sealed.body), sort_keys=True, separators=(",", ":")).encode()
    for body in (spaced, sorted_):
        changed = endorsed(world, tcb_info=body, tcb_info_signature=sealed.signature)
        assert_rejected(judged(world, collateral=changed), "tcb-info-signature")
    twice = sealed.body.replace(b'"fmspc":', b'"fmspc":"000000000000","fmspc":')
    signed_twice = endorsed(world, tcb_info=twice)
    assert_rejected(judged(world, collateral=signed_twice), "tcb-info-format")
    spaced_and_signed = endorsed(world, tcb_info=spaced)
    assert_accepted(judged(world, collateral=spaced_and_signed))
    assert_vector_rejected("neg-sgx-tcbinfo-reserialised", "tcb-info-signature")


def test_pitfall_16_self_consistent_forgery(world: World) -> None:
    """A quote that is perfect under a root of the forger's own is nothing under ours."""
    forger = World(at=AT, seed=b"forger")
    assert_accepted(judged(forger))
    ours = anchor_of(world)
    assert ours.subject == anchor_of(forger).subject
    roots = {"crl-issuer-chain-root", "tcb-info-chain-root", "qe-identity-chain-root"}
    with_its_own = judged(world, forger.quote(), endorsed(forger))
    assert_rejected(with_its_own, *roots, "pck-chain-root")
    with_ours = judged(world, forger.quote(), endorsed(world))
    assert_rejected(with_ours, "pck-chain-root", "pck-crl-coverage")


@pytest.mark.parametrize("name", ["root-ca-crl", "pck-crl"])
def test_pitfall_17_crl_issuer_or_key_taken_from_the_collateral(world: World, name: str) -> None:
    """A CRL by a CA of the same name and another key is refused; so is one without next update."""
    assert_accepted(judged(world))
    piece = name.replace("-", "_")
    impostor = World(at=AT, seed=b"impostor")
    true_issuer, false_issuer = {
        "root-ca-crl": (world.root, impostor.root),
        "pck-crl": (world.processor_ca, impostor.processor_ca),
    }[name]
    assert true_issuer.name == false_issuer.name
    plain = endorsed(world, **{piece: impostor.crl(false_issuer)})
    assert_rejected(judged(world, collateral=plain), f"{name}-issuer", f"{name}-signature")
    key_id = {"authority_key_identifier": true_issuer.key_identifier}
    disguised = endorsed(world, **{piece: impostor.crl(false_issuer, **key_id)})
    assert_rejected(judged(world, collateral=disguised), f"{name}-signature")
    endless = endorsed(world, **{f"{piece}_next_update": None})
    result = judged(world, collateral=endless)
    assert_rejected(result, f"{name}-extensions", f"{name}-expiry")
    with_its_chain = endorsed(
        world,
        pck_crl_issuer_chain=world.chain(impostor.processor_ca, impostor.root),
        pck_crl=impostor.crl(),
        root_ca_crl=impostor.crl(impostor.root),
    )
    result = judged(world, collateral=with_its_chain)
    assert_rejected(result, "crl-issuer-chain-root")


def test_pitfall_22_root_compared_by_bytes_or_by_name_and_explicit_curves(world: World) -> None:
    """Another edition of the root is the root; another key of its name is not, nor a spelt curve."""
    edition = twin(
        world, world.root, "Intel SGX Root CA",
        self_signed=True, ca=True, path_length=1, not_after=AT + 2000 * DAY,
    )  # fmt: skip
    assert edition.der != world.root.der
    chain = world.chain(world.tcb_signing, edition)
    assert_accepted(judged(world, collateral=endorsed(world, tcb_info_issuer_chain=chain)))
    namesake = World(at=AT, seed=b"namesake").root
    signer = tcb_signing_twin(world, issuer=namesake)
    chain = world.chain(signer, namesake)
    renamed = endorsed(world, tcb_info_issuer_chain=chain)
    assert_rejected(judged(world, collateral=renamed), "tcb-info-chain-root")
    other_name = twin(
        world,
        world.root,
        "Intel SGX Root CA 2",
        self_signed=True,
        ca=True,
        path_length=1,
    )
    signer = tcb_signing_twin(world, issuer=other_name)
    chain = world.chain(signer, other_name)
    renamed = endorsed(world, tcb_info_issuer_chain=chain)
    assert_rejected(judged(world, collateral=renamed), "tcb-info-chain-root")
    spelt = twin(
        world, world.root, "Intel SGX Root CA",
        self_signed=True, ca=True, path_length=1, explicit_curve=True,
    )  # fmt: skip
    chain = world.chain(world.tcb_signing, spelt)
    explicit = endorsed(world, tcb_info_issuer_chain=chain)
    assert_rejected(judged(world, collateral=explicit), "tcb-info-chain-format")


def test_pitfall_23_chain_of_another_length_or_of_other_roles(world: World) -> None:
    """The root signs no documents, a TCB signer issues no PCK, and no chain is longer or shorter."""
    assert_accepted(judged(world))
    by_root = world.chain(world.root)
    for chain in (by_root, by_root * 2, world.chain(world.tcb_signing), by_root * 3):
        collateral = endorsed(world, tcb_info_issuer_chain=chain, tcb_info_key=world.root.key)
        assert_rejected(judged(world, collateral=collateral), "tcb-info-chain-roles")
    longer = world.chain(world.tcb_signing, world.processor_ca, world.root)
    collateral = endorsed(world, tcb_info_issuer_chain=longer)
    assert_rejected(judged(world, collateral=collateral), "tcb-info-chain-roles")
    by_ca = world.chain(world.processor_ca, world.root)
    collateral = endorsed(world, tcb_info_issuer_chain=by_ca, tcb_info_key=world.processor_ca.key)
    assert_rejected(judged(world, collateral=collateral), "tcb-info-chain-roles")
    issued_by_signer = world.pck(chain=(world.tcb_signing, world.root))
    quote = world.quote(pck=issued_by_signer)
    assert_rejected(judged(world, quote), "pck-chain-roles")
    not_a_ca = pck_ca_twin(world, ca=False, path_length=None)
    quote = world.quote(pck=world.pck(chain=(not_a_ca, world.root)))
    assert_rejected(judged(world, quote), "pck-chain-roles")


@pytest.mark.parametrize("name", ["root-ca-crl", "pck-crl"])
def test_pitfall_25_expired_crl_masked_by_fresh_json(world: World, name: str) -> None:
    """One expired CRL is seen and named, however fresh everything else is."""
    assert_accepted(judged(world))
    piece = name.replace("-", "_")
    old = {f"{piece}_this_update": AT - 40 * DAY, f"{piece}_next_update": AT - DAY}
    result = judged(world, collateral=endorsed(world, **old))
    assert_rejected(result, f"{name}-expiry", exit_status=4)
    facts = result.supplemental()
    assert facts is not None
    assert (facts.earliest_expiring, facts.earliest_expiration_date) == (name, AT - DAY)


@pytest.mark.parametrize("rolled_back", ["tcb_info", "qe_identity"])
def test_pitfall_27_evaluation_number_rolled_back(world: World, rolled_back: str) -> None:
    """A minimum holds for TCB info and QE identity alike: the lower number counts."""
    policy = Policy(identity="any", minimum_evaluation_number=EVALUATION)
    assert_accepted(judged(world, policy=policy))
    collateral = endorsed(world, **{f"{rolled_back}_evaluation": EVALUATION - 1})
    result = judged(world, collateral=collateral, policy=policy)
    assert_rejected(result, "evaluation-number", exit_status=4)
    assert_accepted(judged(world, collateral=collateral, policy=ANY))


def test_pitfall_28_the_quote_step_alone(world: World) -> None:
    """Where the quote's own steps all pass under unproven collateral, there is still no proof."""
    evidence = Evidence.recognise(world.quote())
    truth = check_endorsements(endorsed(world), at=AT, anchor=anchor_of(world))
    assert verify(evidence, truth).verified is not None
    stale_crl = endorsed(world, root_ca_crl_revoked=[world.tcb_signing])
    unproven = check_endorsements(stale_crl, at=AT, anchor=anchor_of(world))
    assert unproven.endorsements is None
    check = verify(evidence, unproven)
    assert check.verified is None
    assert all(finding.ok for finding in check.findings)
    result = judged(world, collateral=stale_crl)
    assert_rejected(result, "tcb-info-signer-revocation", "qe-identity-signer-revocation")


@pytest.mark.parametrize("platform", ["ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"])
def test_pitfall_32_maximum_severity_loses_configuration_needed(
    world: World, platform: str
) -> None:
    """A platform that needs configuration, with a QE out of date, still needs configuration."""
    levels = [world.tcb_level(platform)]
    collateral = endorsed(world, tcb_info_levels=levels)
    assert judged(world, collateral=collateral).tcb_status == platform
    old_qe = judged(world, world.quote(qe_isvsvn=6), collateral)
    assert_rejected(old_qe, "tcb-status", "qe-status", exit_status=4)
    assert old_qe.tcb_status == "OutOfDateConfigurationNeeded"
