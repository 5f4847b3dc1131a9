"""Revocation lists of Intel's profile, in their three encodings, and every other shape refused."""

import tracemalloc
from collections.abc import Callable
from datetime import timedelta

import pytest

from dcap.errors import FormatError
from dcap.formats import der, pem
from dcap.formats.crl import MAX_SIZE, Crl, to_der
from departures import World, extension
from worlds import AT

SERIALS = (1, 127, 128, 1 << 159)
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "DER": lambda data: data,
    "PEM": lambda data: pem.encode(data, "X509 CRL"),
    "PEM, CRLF and a NUL": lambda data: (
        pem.encode(data, "X509 CRL").replace(b"\n", b"\r\n") + b"\0"
    ),
    "hex": lambda data: data.hex().encode(),
    "hex in upper case": lambda data: data.hex().upper().encode(),
    "hex with a newline and a NUL": lambda data: data.hex().encode() + b"\n\0",
}


def refusal(data: bytes) -> FormatError:
    """The error with which a list is refused."""
    with pytest.raises(FormatError) as raised:
        Crl.parse(data)
    return raised.value


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_list_says_what_it_is_in_every_encoding(world: World, encoding: str) -> None:
    """A list reads alike as DER, PEM and hex of DER, with every field as it was put in."""
    data = world.crl(world.platform_ca, revoked=SERIALS, number=77)

    read = Crl.parse(ENCODINGS[encoding](data))

    assert read.der == to_der(ENCODINGS[encoding](data)) == data
    assert read.revoked == set(SERIALS)
    assert read.crl_number == 77
    assert read.issuer == world.platform_ca.name
    assert read.issuer_common_name == "Intel SGX PCK Platform CA"
    assert read.authority_key_id == world.platform_ca.key_identifier
    assert read.this_update == AT - timedelta(days=1)
    assert read.next_update == AT + timedelta(days=29)
    assert not read.unknown_critical
    assert Crl.parse(read.to_pem()) == read


def test_an_empty_list_revokes_nothing(world: World) -> None:
    """A list without entries has no list at all, and is read."""
    assert Crl.parse(world.crl()).revoked == frozenset()


def test_what_a_list_lacks_is_none(world: World) -> None:
    """A list without next update, number and key id is read: refusing it is the verifier's."""
    bare = world.crl(number=None, next_update=None, with_authority_key_id=False, revoked=[5])

    read = Crl.parse(bare)

    assert read.next_update is read.crl_number is read.authority_key_id is None
    assert read.revoked == {5}


@pytest.mark.parametrize("critical", [False, True])
def test_unknown_critical_extensions_are_noted(world: World, critical: bool) -> None:
    """An extension that is not of the profile matters where it is critical."""
    extra = [extension("1.2.3.4", b"\x05\x00", critical=critical)]

    assert Crl.parse(world.crl(extra=extra)).unknown_critical == critical


def test_an_extension_occurs_once(world: World) -> None:
    """A list with an extension twice is refused."""
    extra = [extension("1.2.3.4", b"\x05\x00")] * 2

    assert refusal(world.crl(extra=extra)).code == "crl"


def test_a_crl_number_has_at_most_20_octets(world: World) -> None:
    """RFC 5280 bounds the number; one of thousands of digits would only be a burden."""
    assert Crl.parse(world.crl(number=(1 << 159) - 1)).crl_number == (1 << 159) - 1
    assert refusal(world.crl(number=1 << (8 * 4000))).code == "crl"


def test_every_truncation_is_refused(world: World) -> None:
    """A list cut anywhere, or with a byte after it, is refused."""
    data = world.crl(revoked=SERIALS)

    for size in range(len(data)):
        assert refusal(data[:size]).code in ("crl", "der", "certificate")
    assert "1 bytes stand after" in refusal(data + b"\0").what


def test_every_flip_is_read_or_refused(world: World) -> None:
    """No flipped byte makes anything else than a list or our error come out."""
    data = world.crl(revoked=SERIALS)

    for at in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            changed = data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]
            try:
                read = Crl.parse(changed)
            except FormatError:
                continue
            assert read.der == changed
            assert isinstance(read.issuer_common_name, str)


NOT_LISTS: dict[str, bytes] = {
    "nothing": b"",
    "an error page": b"<html>Service Unavailable</html>",
    "odd hex": b"308",
    "hex of nothing much": b"00ff",
    "NULs": b"\0" * 100,
    "a certificate's label": pem.encode(b"\x30\x00", "CERTIFICATE"),
    "two lists": pem.encode(b"\x30\x00", "X509 CRL") * 2,
    "an empty sequence": b"\x30\x00",
    "an indefinite sequence": b"\x30\x80\x00\x00",
    "hex in hex": b"33303832",
}


@pytest.mark.parametrize("name", NOT_LISTS)
def test_what_is_no_list_is_refused(name: str) -> None:
    """What is neither DER, nor PEM, nor hex of a list is refused."""
    assert refusal(NOT_LISTS[name]).code in ("crl", "der", "pem")


def test_a_list_is_of_version_2(world: World) -> None:
    """A version 1 list has no extensions and is refused."""
    data = world.crl()
    body = data.index(b"\x02\x01\x01\x30")

    assert refusal(data[:body] + b"\x02\x01\x00\x30" + data[body + 4 :]).code == "crl"


def test_an_entry_is_a_sequence_that_starts_with_a_number(world: World) -> None:
    """An entry without a serial number, or with a negative one, is refused."""
    data = world.crl(revoked=[5])
    at = data.index(b"\x02\x01\x05")

    assert refusal(data[:at] + b"\x02\x01\x85" + data[at + 3 :]).code == "der"
    assert refusal(data[:at] + b"\x04\x01\x05" + data[at + 3 :]).code == "der"


def test_a_list_has_a_largest_size() -> None:
    """More than 4 MB is refused before anything is read."""
    assert "the limit is" in refusal(b"\x30" * (MAX_SIZE + 1)).what


def test_a_large_list_is_read(world: World) -> None:
    """Ten thousand revoked certificates are read, each of them."""
    data = world.crl(revoked=range(1, 10_001))

    assert Crl.parse(data).revoked == frozenset(range(1, 10_001))


def test_a_hostile_length_allocates_nothing() -> None:
    """A list that claims to be 4 GB long costs a comparison."""
    tracemalloc.start()
    try:
        assert refusal(b"\x30\x84\xff\xff\xff\xff" + der.sequence(b"")).code in ("der", "crl")
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
