"""Nothing enters a PCCS that does not prove, is not what its key says, or goes back in time."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest

from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from dcap.pccs.age import CLOCK_TOLERANCE, is_older
from dcap.pccs.causes import cause_of
from dcap.pccs.items import (
    Ca,
    CrlKey,
    EvaluationNumbersKey,
    FmspcsKey,
    IdentityKey,
    Item,
    Key,
    PckCrlKey,
    RawTcb,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.pck_proof import Claimed, prove_platform
from dcap.pccs.trust import OTHER, Early, Forged, Revoked, prove
from dcap.pccs.withdrawal import standing
from dcap.simulator.intel import PCK_CRL_URL, ROOT_CRL_URL, Revocation
from dcap.simulator.world import World
from dcap.verification.piece import EVALUATION_NUMBERS
from pccs.transfer.moved import anchor_of, claimed, collateral, item

DAY = timedelta(days=1)


@pytest.fixture
def simulated() -> World:
    """A world of two machines, which a test may change."""
    world = World("trust")
    world.platform("multi")
    world.platform("single", ca="processor")
    return world


def proven(world: World, given: Item, root_crl: bytes | None = None) -> Item:
    """The item, proven under the world's root."""
    return prove(given, at=world.at, anchor=anchor_of(world), root_crl=root_crl)


def refused(world: World, given: Item, root_crl: bytes | None = None) -> str:
    """The finding that an item is refused for."""
    with pytest.raises(Forged) as caught:
        proven(world, given, root_crl)
    assert caught.value.code == "pccs-forged"
    assert caught.value.exit_status == 3
    assert caught.value.where == given.key.text
    assert caught.value.mend
    return caught.value.finding


# Items


@pytest.mark.parametrize("of", ["an item", "a machine"])
def test_a_clock_may_be_minutes_slow(simulated: World, of: str) -> None:
    """What Intel issued just now proves; what it issues later is told apart from a forgery."""
    given, anchor = claimed(simulated.platform("multi")), anchor_of(simulated)
    listed = item(simulated, RootCrlKey())
    begins = (
        Crl.parse(listed.body).this_update
        if of == "an item"
        else max(
            own.not_before
            for _, text in given.certificates
            for own in Certificate.parse_chain(text + given.issuer_chain)
        )
    )

    def prove_at(at: datetime) -> object:
        if of == "an item":
            return prove(listed, at=at, anchor=anchor)
        return prove_platform(given, at=at, anchor=anchor)

    assert prove_at(begins - CLOCK_TOLERANCE)
    with pytest.raises(Early) as caught:
        prove_at(begins - CLOCK_TOLERANCE - timedelta(seconds=1))
    assert (caught.value.code, cause_of(caught.value)) == ("pccs-clock", "clock")
    assert caught.value.finding.endswith("-validity-start")


def test_a_forgery_of_tomorrow_is_a_forgery(simulated: World) -> None:
    """A clock excuses nothing but a date."""
    stranger = World("stranger")
    given = item(stranger, IdentityKey("QE"))
    with pytest.raises(Forged) as caught:
        prove(given, at=simulated.at - 3650 * DAY, anchor=anchor_of(simulated))
    assert not isinstance(caught.value, Early)
    assert caught.value.code == "pccs-forged"


def test_a_list_takes_away_from_who_is_kept_what_it_would_have_refused(simulated: World) -> None:
    """The certificates, and the raw TCBs that reached them; another's list takes nothing."""
    of = simulated.platform("multi")
    kept = prove_platform(claimed(of), at=simulated.at, anchor=anchor_of(simulated))
    reached = tuple(
        RawTcb(cpu_svn=one.tcbm[:32], pce_svn=one.tcbm[32:], tcbm=one.tcbm)
        for one in kept.certificates
    )
    kept = msgspec.structs.replace(kept, raw_tcbs=reached)
    assert standing(kept, revoke(simulated)) is kept
    left = standing(kept, revoke(simulated, 4))
    assert [one.components[0] for one in left.certificates] == [5, 3]
    assert [one.tcbm for one in left.raw_tcbs] == [one.tcbm for one in left.certificates]
    assert standing(kept, revoke(simulated, 3, 5)).certificates == ()
    stranger = World("stranger")
    stranger.intel.revoked["platform"] += simulated.intel.revoked["platform"]
    assert standing(kept, stranger.intel.pck_crl("platform", stranger.at)) is kept


def test_every_item_of_a_world_proves_and_says_its_age(simulated: World) -> None:
    """Dates and number come from the proven bytes; body and chain stay as they are."""
    for given in collateral(simulated, *simulated.platforms.values()):
        found = proven(simulated, given)
        assert found.issued is not None
        assert found.expires is not None
        assert found.issued <= simulated.at < found.expires
        assert found.number is not None
        assert (found.key, found.body, found.origin) == (given.key, given.body, given.origin)
        assert found.fetched_at == given.fetched_at
        is_root = isinstance(given.key, RootCrlKey | CrlKey)
        assert found.issuer_chain == (b"" if is_root else given.issuer_chain)


def test_version_3_of_the_api_has_tcb_infos_of_version_2(simulated: World) -> None:
    """They are kept under keys of their own."""
    key = TcbInfoKey("SGX", simulated.platform("multi").fmspc, 3)
    assert proven(simulated, item(simulated, key)).number == simulated.intel.standard


def test_dates_that_were_said_of_an_item_do_not_count(simulated: World) -> None:
    """Only what is signed does."""
    key = RootCrlKey()
    said = msgspec.structs.replace(
        item(simulated, key), number=99, expires=datetime.max.replace(tzinfo=simulated.at.tzinfo)
    )
    assert proven(simulated, said) == proven(simulated, item(simulated, key))


@pytest.mark.parametrize("form", [Crl.to_pem, Crl.to_hex])
@pytest.mark.parametrize("key", [RootCrlKey(), PckCrlKey("PLATFORM"), CrlKey(ROOT_CRL_URL)])
def test_lists_are_kept_in_der(simulated: World, key: Key, form: Callable[[Crl], bytes]) -> None:
    """Whatever encoding they come in."""
    given = item(simulated, key)
    other = msgspec.structs.replace(given, body=form(Crl.parse(given.body)))
    assert proven(simulated, other).body == given.body


@pytest.mark.parametrize("key", [IdentityKey("QE"), EvaluationNumbersKey("SGX"), "tcb"])
def test_what_stands_around_signed_bytes_is_not_kept(simulated: World, key: Key | str) -> None:
    """Members beside the document, blanks, text around certificates: nobody proved them."""
    of = TcbInfoKey("SGX", simulated.platform("multi").fmspc) if isinstance(key, str) else key
    if isinstance(of, EvaluationNumbersKey):
        body = simulated.intel.evaluation_numbers("SGX", simulated.at).envelope(EVALUATION_NUMBERS)
        given = msgspec.structs.replace(item(simulated, IdentityKey("QE")), key=of, body=body)
    else:
        given = item(simulated, of)
    dressed = msgspec.structs.replace(
        given,
        body=b'{ "advice": "turn the checks off", ' + given.body[1:] + b"\n",
        issuer_chain=b"Dear operator,\n" + given.issuer_chain + b"\nyours, Intel\n",
    )
    found = proven(simulated, dressed)
    assert (found.body, found.issuer_chain) == (given.body, given.issuer_chain)


def test_what_stands_around_certificates_of_a_machine_is_not_kept(simulated: World) -> None:
    """Text before a certificate and after its chain would be sent to every client."""
    given, anchor = claimed(simulated.platform("multi")), anchor_of(simulated)
    dressed = msgspec.structs.replace(
        given,
        certificates=tuple((tcbm, b"text\n" + pem) for tcbm, pem in given.certificates),
        issuer_chain=given.issuer_chain + b"more text",
    )
    assert prove_platform(dressed, at=simulated.at, anchor=anchor) == prove_platform(
        given, at=simulated.at, anchor=anchor
    )


def test_a_chain_beside_the_root_s_list_is_dropped(simulated: World) -> None:
    """Nothing is proven with it, so it is not kept."""
    given = msgspec.structs.replace(item(simulated, RootCrlKey()), issuer_chain=b"whatever")
    assert proven(simulated, given).issuer_chain == b""


def test_the_list_of_evaluation_numbers_proves(simulated: World) -> None:
    """It is signed, and has no number of its own."""
    intel = simulated.intel
    body = intel.evaluation_numbers("SGX", simulated.at).envelope(EVALUATION_NUMBERS)
    given = msgspec.structs.replace(
        item(simulated, IdentityKey("QE")), key=EvaluationNumbersKey("SGX"), body=body
    )
    assert proven(simulated, given).number is None
    other = msgspec.structs.replace(given, key=EvaluationNumbersKey("TDX"))
    assert refused(simulated, other) == OTHER


def test_the_list_of_fmspcs_is_looked_at_for_its_form_alone(simulated: World) -> None:
    """Intel does not sign it: it has no expiry, and vouches for nothing."""
    given = msgspec.structs.replace(
        item(simulated, RootCrlKey()),
        key=FmspcsKey(),
        body=b'[{"fmspc":"00A0A5000000","platform":"E3"}]',
        expires=simulated.at,
    )
    assert proven(simulated, given).expires is None
    assert refused(simulated, msgspec.structs.replace(given, body=b"[1]")) == "json"


def _other_keys(world: World) -> list[tuple[Key, Key]]:
    """What is given, and under which key."""
    multi, single = world.platform("multi").fmspc, world.platform("single").fmspc
    return [
        (TcbInfoKey("SGX", multi), TcbInfoKey("SGX", single)),
        (TcbInfoKey("SGX", multi), TcbInfoKey("TDX", multi)),
        (TcbInfoKey("TDX", multi), TcbInfoKey("SGX", multi)),
        (TcbInfoKey("SGX", multi), TcbInfoKey("SGX", multi, 3)),
        (TcbInfoKey("SGX", multi, 3), TcbInfoKey("SGX", multi)),
        (TcbInfoKey("SGX", multi), TcbInfoKey("SGX", multi, 4, None, 16)),
        (IdentityKey("QE"), IdentityKey("TD_QE")),
        (IdentityKey("QVE"), IdentityKey("QE")),
        (IdentityKey("QE"), IdentityKey("QE", 4, None, 18)),
        (PckCrlKey("PROCESSOR"), PckCrlKey("PLATFORM")),
        (PckCrlKey("PLATFORM"), CrlKey(PCK_CRL_URL.format(ca="processor"))),
    ]


@pytest.mark.parametrize("row", range(11))
def test_what_is_genuine_and_another_thing_is_refused(simulated: World, row: int) -> None:
    """FMSPC, TEE, version, number, enclave, CA: each must be what the key says."""
    given, key = _other_keys(simulated)[row]
    swapped = msgspec.structs.replace(item(simulated, given), key=key)
    assert proven(simulated, item(simulated, given)).key == given
    assert refused(simulated, swapped) == OTHER


def test_the_list_of_a_pck_ca_does_not_pass_for_the_root_s(simulated: World) -> None:
    """Under the root's key, and under the URI of the root's list."""
    body = item(simulated, PckCrlKey("PLATFORM"))
    for key in (RootCrlKey(), CrlKey(ROOT_CRL_URL)):
        swapped = msgspec.structs.replace(body, key=key)
        assert refused(simulated, swapped) == "root-ca-crl-issuer"


def test_a_pck_list_by_its_uri_needs_its_chain(simulated: World) -> None:
    """With the chain it proves; without it nothing says who issued it."""
    cas: tuple[Ca, ...] = ("PROCESSOR", "PLATFORM")
    for ca in cas:
        key = CrlKey(PCK_CRL_URL.format(ca=ca.lower()))
        given = msgspec.structs.replace(item(simulated, PckCrlKey(ca)), key=key)
        assert proven(simulated, given).issuer_chain == given.issuer_chain
        bare = msgspec.structs.replace(given, issuer_chain=b"")
        assert refused(simulated, bare) == "crl-issuer-chain-format"


@pytest.mark.parametrize(
    ("key", "finding"),
    [
        (TcbInfoKey("SGX", bytes.fromhex("90C0A5000000")), "tcb-info-chain-root"),
        (IdentityKey("QE"), "qe-identity-chain-root"),
        (PckCrlKey("PLATFORM"), "crl-issuer-chain-root"),
        (RootCrlKey(), "root-ca-crl-signature"),
    ],
)
def test_what_another_root_signed_is_refused(simulated: World, key: Key, finding: str) -> None:
    """A self-made Intel, true in itself: Intel's PCCS takes it."""
    assert refused(simulated, item(World("forger", simulated.at), key)) == finding


@pytest.mark.parametrize(
    ("key", "finding"),
    [
        (IdentityKey("QE"), "qe-identity-signature"),
        (PckCrlKey("PLATFORM"), "pck-crl-signature"),
        (RootCrlKey(), "root-ca-crl-signature"),
    ],
)
def test_one_changed_byte_is_refused(simulated: World, key: Key, finding: str) -> None:
    """Within what is signed."""
    given = item(simulated, key)
    place = given.body.index(b"2025-" if isinstance(key, IdentityKey) else b"26010") + 3
    changed = given.body[:place] + b"4" + given.body[place + 1 :]
    assert refused(simulated, msgspec.structs.replace(given, body=changed)) == finding


def test_a_revoked_signer_is_refused_where_the_root_s_list_is_at_hand(simulated: World) -> None:
    """The list is an argument."""
    serial = simulated.intel.tcb_signing.certificate.serial
    simulated.intel.revoked["root"].append(Revocation(serial, simulated.at))
    crl = simulated.intel.root_ca_crl(simulated.at)
    given = item(simulated, IdentityKey("QE"))
    assert refused(simulated, given, crl) == "qe-identity-signer-revocation"
    assert proven(simulated, given).number == simulated.intel.standard


def test_an_expired_item_proves(simulated: World) -> None:
    """What to do with it is for who serves it."""
    given = item(simulated, IdentityKey("QE"), simulated.at - 90 * DAY)
    found = proven(simulated, given)
    assert found.expires is not None
    assert found.expires < simulated.at


# Going back in time


@pytest.mark.parametrize(
    ("new", "kept", "older"),
    [
        ((17, 2), (17, 1), False),
        ((17, 1), (17, 1), False),
        ((17, 1), (17, 2), True),
        ((16, 3), (17, 1), True),
        ((18, 1), (17, 3), False),
        ((None, 1), (None, 2), True),
        ((None, 2), (None, 1), False),
        ((None, None), (None, None), False),
        ((None, 2), (17, 1), False),
    ],
)
def test_a_lower_number_or_an_earlier_issue_is_older(
    simulated: World,
    new: tuple[int | None, int | None],
    kept: tuple[int | None, int | None],
    older: bool,
) -> None:
    """The number decides; under one number the date does."""
    given = item(simulated, RootCrlKey())

    def dated(number: int | None, day: int | None) -> Item:
        issued = None if day is None else simulated.at + day * DAY
        return msgspec.structs.replace(given, number=number, issued=issued)

    assert is_older(dated(*new), dated(*kept)) is older
    assert is_older(dated(*new), None) is False


def test_yesterday_s_list_is_older_than_today_s(simulated: World) -> None:
    """Real lists of one number: the date tells."""
    today = proven(simulated, item(simulated, PckCrlKey("PLATFORM")))
    before = proven(simulated, item(simulated, PckCrlKey("PLATFORM"), simulated.at - DAY))
    assert today.number == before.number
    assert is_older(before, today)
    assert not is_older(today, before)


# Machines


def machine(world: World, given: Claimed, **lists: bytes) -> str:
    """The finding that a machine is refused for; empty where it proves."""
    try:
        prove_platform(given, at=world.at, anchor=anchor_of(world), **lists)
    except Forged as error:
        finding = error.finding
        told = str(error)
    else:
        return ""
    assert given.qe_id not in told
    return finding


@pytest.mark.parametrize("name", ["multi", "single"])
def test_a_machine_is_what_its_certificates_say(simulated: World, name: str) -> None:
    """FMSPC and CA come from them, and so do the TCBs that selection goes by."""
    of = simulated.platform(name)
    given = claimed(of)
    found = prove_platform(given, at=simulated.at, anchor=anchor_of(simulated))
    assert found.platform.fmspc == of.fmspc
    assert found.platform.ca == of.ca.upper()
    assert found.platform.encrypted_ppid == of.encrypted_ppid
    assert found.issuer_chain == given.issuer_chain
    assert tuple((one.tcbm, one.pem) for one in found.certificates) == given.certificates
    assert [one.components[0] for one in found.certificates] == [5, 4, 3]
    assert found.raw_tcbs == ()


def test_what_was_said_of_a_machine_must_be_so(simulated: World) -> None:
    """FMSPC, CA, PCE id; where nothing was said, the certificates tell."""
    given = claimed(simulated.platform("multi"))
    replace = msgspec.structs.replace
    fmspc = simulated.platform("multi").fmspc
    assert machine(simulated, replace(given, fmspc=fmspc, ca="PLATFORM")) == ""
    assert machine(simulated, replace(given, fmspc=bytes(6))) == OTHER
    assert machine(simulated, replace(given, ca="PROCESSOR")) == OTHER
    assert machine(simulated, replace(given, pce_id="0100")) == OTHER


def test_certificates_of_two_machines_are_refused(simulated: World) -> None:
    """All of one FMSPC, and each genuine: but of two PPIDs."""
    mine, other = claimed(simulated.platform("multi")), claimed(simulated.platform("another"))
    mixed = (*mine.certificates[:2], other.certificates[2])
    assert machine(simulated, msgspec.structs.replace(mine, certificates=mixed)) == OTHER


def test_a_certificate_under_the_tcb_of_another_is_refused(simulated: World) -> None:
    """Selection stores by `tcbm`: it must be the certificate's own."""
    given = claimed(simulated.platform("multi"))
    (first, one), (second, other), *rest = given.certificates
    swapped = ((first, other), (second, one), *rest)
    assert machine(simulated, msgspec.structs.replace(given, certificates=swapped)) == OTHER


def test_a_machine_without_certificates_is_none(simulated: World) -> None:
    """There is nothing to prove."""
    given = msgspec.structs.replace(claimed(simulated.platform("multi")), certificates=())
    assert machine(simulated, given) == OTHER


def test_a_forged_certificate_or_chain_is_refused(simulated: World) -> None:
    """A certificate of another world under our CA; a chain of another world; no chain."""
    given = claimed(simulated.platform("multi"))
    stranger = claimed(World("forger").platform("multi"))
    replace = msgspec.structs.replace
    mixed = replace(given, certificates=(given.certificates[0], stranger.certificates[1]))
    assert machine(simulated, mixed) == "pck-chain-signature"
    assert machine(simulated, stranger) == "pck-chain-root"
    assert machine(simulated, replace(given, issuer_chain=b"")) == "pck-chain-format"
    crossed = replace(given, issuer_chain=claimed(simulated.platform("single")).issuer_chain)
    assert machine(simulated, crossed) == "pck-chain-signature"


def revoke(world: World, *rungs: int) -> bytes:
    """Take certificates of the machine back; gives the new list of their CA."""
    for rung in rungs:
        serial = world.platform("multi").certificate(rung).certificate.serial
        world.intel.revoked["platform"].append(Revocation(serial, world.at))
    return world.intel.pck_crl("platform", world.at)


def test_a_revoked_certificate_is_left_out_of_the_set(simulated: World) -> None:
    """By its CA's list, also by one that has expired; without a list nobody knows."""
    given, anchor = claimed(simulated.platform("multi")), anchor_of(simulated)
    pck_crl = revoke(simulated, 4)
    for at in (simulated.at, simulated.at + 90 * DAY):
        found = prove_platform(given, at=at, anchor=anchor, pck_crl=pck_crl)
        assert [one.components[0] for one in found.certificates] == [5, 3]
    unknown = prove_platform(given, at=simulated.at, anchor=anchor)
    assert len(unknown.certificates) == 3


def test_a_machine_whose_certificates_are_all_revoked_is_known_without_any(
    simulated: World,
) -> None:
    """It is told apart from a forgery, and nothing of it is left to serve."""
    given = claimed(simulated.platform("multi"))
    with pytest.raises(Revoked, match="pccs-revoked") as caught:
        prove_platform(
            given,
            at=simulated.at,
            anchor=anchor_of(simulated),
            pck_crl=revoke(simulated, 3, 4, 5),
        )
    assert caught.value.finding == "pck-revocation"
    assert caught.value.holding.platform.qe_id == given.qe_id
    assert caught.value.holding.certificates == ()
    assert cause_of(caught.value) == "revoked"


def test_a_list_of_another_ca_takes_nothing_away(simulated: World) -> None:
    """The same serial numbers on the list of the other CA, or of another world's, are of others."""
    of = simulated.platform("multi")
    serials = [of.certificate(rung).certificate.serial for rung in (3, 4, 5)]
    stranger = World("stranger")
    for world, ca in ((simulated, "processor"), (stranger, "platform")):
        world.intel.revoked[ca] += [Revocation(serial, world.at) for serial in serials]
        assert machine(simulated, claimed(of), pck_crl=world.intel.pck_crl(ca, world.at)) == ""


def test_a_forged_certificate_is_refused_even_where_its_number_is_revoked(
    simulated: World,
) -> None:
    """What is left out was proven first: a list is no way around the proof."""
    given, stranger = claimed(simulated.platform("multi")), World("forger").platform("multi")
    simulated.intel.revoked["platform"].append(
        Revocation(stranger.certificate(4).certificate.serial, simulated.at)
    )
    mixed = (given.certificates[0], claimed(stranger).certificates[1])
    forged = msgspec.structs.replace(given, certificates=mixed)
    pck_crl = revoke(simulated)
    assert machine(simulated, forged, pck_crl=pck_crl) == "pck-chain-signature"


def test_certificates_of_a_revoked_ca_are_refused(simulated: World) -> None:
    """By the root's list."""
    intel = simulated.intel
    intel.revoked["root"].append(Revocation(intel.platform_ca.certificate.serial, simulated.at))
    given = claimed(simulated.platform("multi"))
    root_crl = intel.root_ca_crl(simulated.at)
    assert machine(simulated, given, root_crl=root_crl) == "pck-ca-revocation"


def test_what_identifies_a_machine_stands_in_no_text_of_its(simulated: World) -> None:
    """A claim that is printed or logged says nothing."""
    given = claimed(simulated.platform("multi"))
    assert given.qe_id not in repr(given)
    assert "PPID" not in repr(given)
