"""Bundles: exact bytes in, exact bytes out; and what is no bundle is refused as what it is."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.errors import ConfigError, FormatError
from dcap.formats.collateral import Collateral
from dcap.formats.containers import bundle, conclave, recognise, text
from dcap.formats.containers.bundle import Bundle
from dcap.formats.origin import Origin
from dcap.simulator.world import World

WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORLD = World()
QUOTE = WORLD.platform().quote(b"nonce")
COLLATERAL = WORLD.collateral(WORLD.platform())
ORIGIN = Origin(piece="tcb_info", source="Intel PCS", address="https://pcs/tcb", fetched_at=WHEN)


def made(**changes: Any) -> Bundle:
    """A bundle of the world's quote."""
    whole = Bundle(
        collateral=COLLATERAL,
        recorded_at=WHEN,
        evidence=QUOTE,
        origins=(ORIGIN,),
        remarks=("kept",),
    )
    return msgspec.structs.replace(whole, **changes)


def written(**members: Any) -> bytes:
    """The bundle's JSON with members changed; `None` takes one out."""
    document = {**json.loads(made().to_bytes()), **members}
    return json.dumps({k: v for k, v in document.items() if v is not None}).encode()


def code(data: bytes) -> str:
    """The code with which a bundle is refused."""
    with pytest.raises(FormatError) as refused:
        Bundle.parse(data)
    return refused.value.code


def test_a_bundle_is_read_as_it_was_written() -> None:
    """Evidence, every piece, the instant, origins and remarks come back, to the byte."""
    assert Bundle.parse(made().to_bytes()) == made()
    assert Bundle.parse(made().to_bytes()).to_bytes() == made().to_bytes()


@pytest.mark.parametrize("evidence", [None, QUOTE, b"", QUOTE.hex().encode()])
def test_evidence_may_be_anything_or_absent(evidence: bytes | None) -> None:
    """What came is kept as it came: in its container, unreadable, or not there."""
    assert Bundle.parse(made(evidence=evidence).to_bytes()).evidence == evidence


def test_optional_pieces_may_be_absent() -> None:
    """A set without its PCK chain stays one without."""
    alone = msgspec.structs.replace(COLLATERAL, pck_certificate_chain=None)
    assert Bundle.parse(made(collateral=alone).to_bytes()).collateral == alone


@given(st.text(st.characters(codec="utf-8")), st.binary(max_size=64), st.binary(max_size=64))
def test_no_byte_of_a_piece_is_lost(chain: str, crl: bytes, evidence: bytes) -> None:
    """Texts with any letter, lists with any byte: the same after writing and reading."""
    odd = msgspec.structs.replace(
        COLLATERAL, tcb_info=chain.encode(), tcb_info_issuer_chain=chain.encode(), pck_crl=crl
    )
    whole = made(collateral=odd, evidence=evidence)
    assert Bundle.parse(whole.to_bytes()) == whole


def test_the_instant_is_written_in_utc_and_seconds() -> None:
    """Another zone and fractions of a second do not reach the file."""
    zone = timezone(timedelta(hours=9))
    late = WHEN.astimezone(zone).replace(microsecond=5)
    assert Bundle.parse(made(recorded_at=late).to_bytes()).recorded_at == WHEN


def test_a_piece_that_must_be_text_and_is_none_is_not_written() -> None:
    """Better no bundle than one that holds other bytes than were judged."""
    odd = msgspec.structs.replace(COLLATERAL, qe_identity=b"\xff")
    with pytest.raises(FormatError) as refused:
        made(collateral=odd).to_bytes()
    assert refused.value.code == "bundle"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (written(dcap_bundle=2), "bundle-number"),
        (written(dcap_bundle="1"), "json"),
        (written(dcap_bundle=None), "json"),
        (written(recorded_at="2026-01-01T12:00:00"), "json"),
        (written(recorded_at="2026-01-01T12:00:00+01:00"), "json-time"),
        (written(recorded_at=None), "json"),
        (written(evidence="not base64!"), "bundle"),
        (written(evidence=QUOTE.hex() + "="), "bundle"),
        (written(collateral=None), "json"),
        (written(collateral={}), "json"),
        (written(unknown=1), "json"),
        (written(remarks=["x"] * 300), "bundle"),
        (written(remarks=["x" * 5000]), "bundle"),
        (b"{" + made().to_bytes().strip()[1:-1] + b',"evidence":""}', "json-repeated-member"),
        (made().to_bytes()[:-5], "json"),
        (b"", "json"),
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes, expected: str) -> None:
    """One thing wrong, one code."""
    assert code(data) == expected


def test_a_time_without_a_zone_among_the_origins_is_refused() -> None:
    """An instant that may mean several is none."""
    document = json.loads(made().to_bytes())
    document["origins"][0]["fetched_at"] = "2026-01-01T12:00:00"
    assert code(json.dumps(document).encode()) == "bundle"


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_our_errors(garbage: bytes) -> None:
    """Bytes from anywhere, with the bundle's beginning before them."""
    for data in (garbage, b'{"dcap_bundle":' + garbage, b'{"dcap_bundle":1,' + garbage):
        with pytest.raises(FormatError):
            Bundle.parse(data)


def test_a_bundle_is_a_container() -> None:
    """The quote is taken out, with the collateral of the bundle and what it says of itself."""
    contained = recognise(made().to_bytes())
    assert contained.quote == QUOTE
    assert contained.wrappings == (bundle.BUNDLE,)
    assert contained.collateral == COLLATERAL
    assert contained.record is not None
    assert (contained.record.at, contained.record.origins) == (WHEN, (ORIGIN,))


def test_any_order_of_members_is_recognised() -> None:
    """JSON has no order: a bundle that was sorted is one."""
    document = json.loads(made().to_bytes())
    turned = json.dumps(dict(reversed(document.items())), indent=4).encode()
    assert recognise(turned).quote == QUOTE


def test_containers_inside_a_bundle_are_opened_and_its_own_collateral_counts() -> None:
    """What the attester sent is kept with its container; the bundle's collateral was judged by."""
    keys = {"data_signing_key": bytes(44), "encryption_key": bytes(32)}
    older = msgspec.structs.replace(COLLATERAL, pck_crl=b"\x30\x00", pck_certificate_chain=None)
    info = conclave.write_instance_info(QUOTE, older, **keys)
    contained = recognise(made(evidence=info).to_bytes())
    assert contained.wrappings == (bundle.BUNDLE, conclave.EII)
    assert contained.collateral == COLLATERAL
    assert recognise(made(evidence=text.write_hex(QUOTE)).to_bytes()).quote == QUOTE


def test_a_bundle_without_evidence_is_no_evidence() -> None:
    """A set of collateral in one file says how it is used."""
    with pytest.raises(FormatError) as refused:
        recognise(made(evidence=None).to_bytes())
    assert refused.value.code == "bundle-without-evidence"
    assert "--collateral" in refused.value.mend


def test_a_bundle_may_be_larger_than_other_evidence() -> None:
    """A revocation list of many entries fits; without bound it is not."""
    large = msgspec.structs.replace(COLLATERAL, pck_crl=bytes(2 << 20))
    assert recognise(made(collateral=large).to_bytes()).quote == QUOTE
    with pytest.raises(FormatError) as refused:
        recognise(made().to_bytes() + b" " * bundle.MAX_SIZE)
    assert refused.value.code == "evidence-too-large"


def test_a_bundle_that_could_not_be_read_is_not_written() -> None:
    """One byte beyond what is read is a configuration error of who wanted it written."""
    larger = msgspec.structs.replace(COLLATERAL, pck_crl=bytes(4 << 20))
    with pytest.raises(ConfigError) as refused:
        made(collateral=larger).to_bytes()
    assert refused.value.code == "bundle-too-large"


@pytest.mark.parametrize("text", ["x" * 60_000, "\udce9" * 5_000], ids=["long", "no text"])
def test_what_is_told_in_a_bundle_is_cut_to_what_is_read(text: str) -> None:
    """A remark that a hostile server made long, a path that is no text: the bundle is read again."""
    origin = msgspec.structs.replace(ORIGIN, source=text, address=text, piece=text)
    again = Bundle.parse(made(remarks=(text,) * 300, origins=(origin,) * 50).to_bytes())
    assert again.collateral == COLLATERAL
    assert len(again.remarks) == 128
    assert {len(remark) for remark in again.remarks} == {4096}
    assert all(remark.endswith("…") for remark in again.remarks)


def test_the_year_is_told_in_four_digits() -> None:
    """An instant of long ago is one that is read again."""
    then = datetime(1, 1, 1, tzinfo=UTC)
    (layer,) = [bundle.open_layer(made(recorded_at=then).to_bytes())]
    assert layer is not None
    assert layer.facts["recorded_at"] == "0001-01-01T00:00:00Z"


def test_every_piece_of_collateral_has_its_place() -> None:
    """The file has a member for each piece that a set can have, and no other."""
    document = json.loads(made().to_bytes())
    assert set(document["collateral"]) == set(Collateral.__struct_fields__)
