"""Collateral in every form people hold it: PCS's files, bodies with signatures, dcap-qvl's JSON."""

import json
from typing import Any

import pytest

from dcap.errors import FormatError, NotFound
from dcap.formats import pem
from dcap.formats.collateral import ENCLAVE_IDENTITY, FILE_NAMES, TCB_INFO, Collateral
from dcap.formats.signed_json import SignedJson
from departures import World
from worlds import collateral_of


@pytest.fixture(scope="module")
def collateral(world: World) -> Collateral:
    """A whole, genuine set."""
    return collateral_of(world.collateral())


def responses(collateral: Collateral) -> dict[str, bytes]:
    """The set as files of PCS responses."""
    assert collateral.pck_crl_issuer_chain is not None
    return {
        "tcb_info_response.json": collateral.tcb_info,
        "tcb_info_issuer_chain.pem": collateral.tcb_info_issuer_chain,
        "qe_identity_response.json": collateral.qe_identity,
        "qe_identity_issuer_chain.pem": collateral.qe_identity_issuer_chain,
        "pck_crl.der": collateral.pck_crl,
        "root_ca_crl.der": collateral.root_ca_crl,
        "pck_crl_issuer_chain.pem": collateral.pck_crl_issuer_chain,
    }


def bodies(collateral: Collateral) -> dict[str, bytes]:
    """The set as files, documents apart from their signatures."""
    files = responses(collateral)
    for name, member in (("tcb_info", TCB_INFO), ("qe_identity", ENCLAVE_IDENTITY)):
        sealed = SignedJson.parse(files.pop(f"{name}_response.json"), member)
        files[f"{name}.json"] = sealed.body
        files[f"{name}_signature.hex"] = sealed.signature.hex().encode() + b"\n"
    return files


def test_responses_and_bodies_are_one_set(collateral: Collateral) -> None:
    """Responses, bodies with signatures, and both together give the same collateral."""
    assert Collateral.from_files(responses(collateral)) == collateral
    assert Collateral.from_files(bodies(collateral)) == collateral
    assert Collateral.from_files(responses(collateral) | bodies(collateral)) == collateral


@pytest.mark.parametrize("piece", ["tcb_info", "qe_identity"])
def test_a_response_under_the_bodys_name_is_read(collateral: Collateral, piece: str) -> None:
    """A file `tcb_info.json` without a signature beside it is the whole response."""
    files = responses(collateral)
    files[f"{piece}.json"] = files.pop(f"{piece}_response.json")

    assert Collateral.from_files(files) == collateral


@pytest.mark.parametrize("name", ["der", "pem", "hex", ""])
@pytest.mark.parametrize("piece", ["pck_crl", "root_ca_crl"])
def test_revocation_lists_have_four_names(collateral: Collateral, piece: str, name: str) -> None:
    """A CRL is read under any of its file names, and handed on as it is."""
    files = responses(collateral)
    data = files.pop(f"{piece}.der")
    files[f"{piece}.{name}".rstrip(".")] = data

    assert getattr(Collateral.from_files(files), piece) == data


@pytest.mark.parametrize("piece", ["tcb_info", "qe_identity"])
@pytest.mark.parametrize("what", ["body", "signature"])
def test_two_forms_that_disagree_are_ambiguous(
    collateral: Collateral, piece: str, what: str
) -> None:
    """A response, and a body with its signature, that do not say the same are refused."""
    files = responses(collateral) | bodies(collateral)
    if what == "body":
        files[f"{piece}.json"] = files[f"{piece}.json"].replace(b'"version"', b' "version"')
    else:
        files[f"{piece}_signature.hex"] = b"00" * 64

    with pytest.raises(FormatError) as raised:
        Collateral.from_files(files)

    assert raised.value.code == "collateral-ambiguous"
    assert raised.value.where == piece


@pytest.mark.parametrize("signature", [b"", b"00", b"zz" * 64, b"\xff" * 128])
def test_a_signature_file_is_128_hex_digits(collateral: Collateral, signature: bytes) -> None:
    """A signature file with anything else in it is refused."""
    files = bodies(collateral) | {"tcb_info_signature.hex": signature}

    with pytest.raises(FormatError) as raised:
        Collateral.from_files(files)
    assert raised.value.code == "signed-json"


REQUIRED = [
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "qe_identity_issuer_chain",
    "qe_identity",
]


@pytest.mark.parametrize("piece", REQUIRED)
def test_a_missing_piece_is_named(collateral: Collateral, piece: str) -> None:
    """A folder without one piece is refused, naming it and the files it is read from."""
    files = {k: v for k, v in responses(collateral).items() if k not in FILE_NAMES[piece]}

    with pytest.raises(NotFound) as raised:
        Collateral.from_files(files)

    assert raised.value.code == "collateral-incomplete"
    assert raised.value.what == f"the collateral lacks {piece}"
    assert all(name in raised.value.mend for name in FILE_NAMES[piece])


def test_all_missing_pieces_are_named_at_once() -> None:
    """An empty folder lacks everything, and says so in one go."""
    with pytest.raises(NotFound) as raised:
        Collateral.from_files({})

    assert all(piece in raised.value.what for piece in [*REQUIRED, "pck_crl_issuer_chain"])


def test_the_pck_chain_stands_in_for_the_crl_issuers(world: World, collateral: Collateral) -> None:
    """Without a CRL issuer chain a PCK chain will do; without either, the former is missing."""
    files = responses(collateral)
    del files["pck_crl_issuer_chain.pem"]

    with pytest.raises(NotFound, match="lacks pck_crl_issuer_chain"):
        Collateral.from_files(files)
    read = Collateral.from_files(files | {"pck_chain.pem": world.pck().chain_pem})

    assert read.pck_crl_issuer_chain is None
    assert read.pck_certificate_chain == world.pck().chain_pem


def test_json_of_dcap_qvl_both_ways(world: World, collateral: Collateral) -> None:
    """The JSON form writes and reads back to the same set, with and without a PCK chain."""
    for chain in (None, world.pck().chain_pem):
        whole = collateral_of(
            world.collateral(), **({"pck_certificate_chain": chain} if chain else {})
        )

        read = Collateral.from_json(whole.to_json())

        assert SignedJson.parse(read.tcb_info, TCB_INFO) == SignedJson.parse(
            whole.tcb_info, TCB_INFO
        )
        assert read.to_json() == whole.to_json()
        assert read.pck_certificate_chain == chain
        assert read.tcb_info_issuer_chain == whole.tcb_info_issuer_chain
        assert bytes.fromhex(read.pck_crl.decode()) == whole.pck_crl


def test_json_has_dcap_qvls_members(collateral: Collateral) -> None:
    """Members, their order and their forms (hex, text) are dcap-qvl's."""
    form = json.loads(collateral.to_json())

    assert list(form) == [
        "pck_crl_issuer_chain",
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "tcb_info_signature",
        "qe_identity_issuer_chain",
        "qe_identity",
        "qe_identity_signature",
    ]
    assert form["pck_crl"] == collateral.pck_crl.hex()
    assert json.loads(form["tcb_info"])["id"] == "SGX"


def test_a_json_file_alone_is_a_folder(collateral: Collateral) -> None:
    """A folder with nothing but `collateral.json` is read from it; other files go before it."""
    bundle = collateral.to_json()

    assert Collateral.from_files({"collateral.json": bundle}).to_json() == bundle
    assert (
        Collateral.from_files(responses(collateral) | {"collateral.json": b"rubbish"}) == collateral
    )


def form(collateral: Collateral, **changes: Any) -> bytes:
    """The JSON form with members replaced, or left out (`None`)."""
    members = json.loads(collateral.to_json()) | changes
    return json.dumps({k: v for k, v in members.items() if v is not None}).encode()


@pytest.mark.parametrize(
    "member",
    ["root_ca_crl", "pck_crl", "tcb_info", "tcb_info_signature", "qe_identity_issuer_chain"],
)
def test_a_json_without_a_member_is_refused(collateral: Collateral, member: str) -> None:
    """The JSON form has all its members, and names the one that is missing."""
    with pytest.raises(FormatError, match=member) as raised:
        Collateral.from_json(form(collateral, **{member: None}))
    assert raised.value.code == "json"


def test_a_json_with_a_member_twice_is_refused(collateral: Collateral) -> None:
    """A JSON form that has a member twice, however spelled, is refused."""
    text = collateral.to_json()

    for again in (b'"pck_crl":"00"', b'"pck\\u005fcrl":"00"'):
        with pytest.raises(FormatError) as raised:
            Collateral.from_json(text[:-1] + b"," + again + b"}")
        assert raised.value.code == "json-repeated-member"


def test_unknown_members_of_the_json_are_let_be(collateral: Collateral) -> None:
    """Other tools may add members."""
    assert Collateral.from_json(form(collateral, tool="x")).to_json() == collateral.to_json()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tcb_info_signature": "00"}, "signed-json"),
        ({"qe_identity_signature": "é" * 128}, "signed-json"),
        ({"tcb_info": 1}, "json"),
        ({"pck_crl": None}, "json"),
    ],
)
def test_one_flaw_refuses_the_json(collateral: Collateral, change: Any, code: str) -> None:
    """A member of another type, or a signature of another size, is refused."""
    with pytest.raises(FormatError) as raised:
        Collateral.from_json(form(collateral, **change))
    assert raised.value.code == code


def test_a_response_that_cannot_be_read_is_not_written(
    world: World, collateral: Collateral
) -> None:
    """Writing the JSON form needs readable responses and lists; what is wrong is said."""
    broken: list[dict[str, bytes]] = [
        {"tcb_info": b"{}"},
        {"qe_identity": b"<html>"},
        {"pck_crl": b"rubbish"},
    ]
    for change in broken:
        members = {name: getattr(collateral, name) for name in collateral.__struct_fields__}
        with pytest.raises(FormatError):
            Collateral(**{**members, **change}).to_json()


def test_crls_are_written_in_hex_whatever_they_came_in(
    world: World, collateral: Collateral
) -> None:
    """DER, PEM and hex of a CRL make the same JSON form."""
    der = collateral.pck_crl
    members = {name: getattr(collateral, name) for name in collateral.__struct_fields__}
    forms = {
        Collateral(**{**members, "pck_crl": data}).to_json()
        for data in (der, pem.encode(der, "X509 CRL"), der.hex().encode())
    }

    assert forms == {collateral.to_json()}
