"""DER, strictly: every other way of writing the same value is refused."""

import tracemalloc
from datetime import UTC, datetime

import pytest

from dcap.errors import FormatError
from dcap.formats import der


def time_of(tag: int, text: bytes) -> bytes:
    """A short element, put together by hand."""
    return bytes((tag, len(text))) + text


#: Integers both ways: value -> content octets.
INTEGERS = {
    0: "00",
    1: "01",
    127: "7f",
    128: "0080",
    255: "00ff",
    256: "0100",
    0xFFFF: "00ffff",
    1 << 159: "0080" + "00" * 19,
}
#: Lengths both ways: size -> what stands before the content.
HEADS = {0: "0400", 1: "0401", 127: "047f", 128: "048180", 255: "0481ff", 256: "04820100"}

MALFORMED = {
    "indefinite length": "3080020100 0000",
    "length in a longer form than needed": "3081030201 00",
    "length with a leading zero": "048200 80" + "00" * 128,
    "length of five octets": "0485 0000000001 00",
    "length of 127 octets": "04ff00",
    "length past the end": "040500",
    "length octets past the end": "0482",
    "no length": "04",
    "nothing": "",
    "another tag": "0500",
}
NOT_INTEGERS = {"empty": "", "negative": "80", "padded": "0001", "padded twice": "000080"}
NOT_BOOLEANS = {"one": "01", "empty": "", "two octets": "ffff"}
MOMENTS = {
    "170d3439313233313233353935395a": datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
    "170d3530303130313030303030305a": datetime(1950, 1, 1, tzinfo=UTC),
    "180f31393439313233313233353935395a": datetime(1949, 12, 31, 23, 59, 59, tzinfo=UTC),
    "180f32303530303130313030303030305a": datetime(2050, 1, 1, tzinfo=UTC),
    "180f39393939313233313233353935395a": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
}
NOT_MOMENTS = {
    "without seconds": time_of(0x17, b"2501010000Z"),
    "with an offset": time_of(0x17, b"250101000000+0100"),
    "with fractions": time_of(0x18, b"20250101000000.5Z"),
    "thirteenth month": time_of(0x17, b"251301000000Z"),
    "30 February": time_of(0x17, b"250230000000Z"),
    "hour 24": time_of(0x17, b"250101240000Z"),
    "year 0": time_of(0x18, b"00000101000000Z"),
    "signs for digits": time_of(0x17, b"25-101000000Z"),
    "no Z": time_of(0x17, b"2501010000000"),
    "an octet string": time_of(0x04, b"250101000000Z"),
    "nothing": b"",
}


@pytest.mark.parametrize("size", HEADS)
def test_lengths_are_minimal_both_ways(size: int) -> None:
    """An element of any size is written with the shortest length and read back."""
    content = b"\xaa" * size

    written = der.element(der.OCTET_STRING, content)

    assert written == bytes.fromhex(HEADS[size]) + content
    assert der.whole(written, der.OCTET_STRING) == (len(written) - size, len(written))


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_elements_are_refused(name: str) -> None:
    """Indefinite, non-minimal, over-long or missing lengths, and other tags, are refused."""
    data = bytes.fromhex(MALFORMED[name].replace(" ", ""))
    tag = data[0] if data and name != "another tag" else der.OCTET_STRING

    with pytest.raises(FormatError) as raised:
        der.whole(data, tag)

    assert raised.value.code == "der"


def test_an_element_ends_within_its_container() -> None:
    """An element that fits the buffer but not its container is refused."""
    data = bytes.fromhex("0404aabbccdd")

    assert der.span(data, 0, 6, der.OCTET_STRING) == (2, 6)
    with pytest.raises(FormatError, match="runs past its container"):
        der.span(data, 0, 5, der.OCTET_STRING)


def test_bytes_after_a_whole_structure_are_refused() -> None:
    """A structure that must fill its buffer does."""
    with pytest.raises(FormatError, match="1 bytes stand after the structure"):
        der.whole(bytes.fromhex("040100ff"), der.OCTET_STRING)


def test_elements_left_at_the_end_are_refused() -> None:
    """A structure that was not read to its last byte is refused, by its name."""
    der.closed(4, 4, "thing")
    with pytest.raises(FormatError, match="unexpected elements at the end of the thing"):
        der.closed(3, 4, "thing")


@pytest.mark.parametrize("value", INTEGERS)
def test_integers_are_minimal_both_ways(value: int) -> None:
    """A number has one encoding, which is written and read."""
    content = bytes.fromhex(INTEGERS[value])

    assert der.integer(value) == bytes((0x02, len(content))) + content
    assert der.integer(value, der.ENUMERATED) == bytes((0x0A, len(content))) + content
    assert der.unsigned(content, 0, len(content)) == value


@pytest.mark.parametrize("name", NOT_INTEGERS)
def test_other_integers_are_refused(name: str) -> None:
    """Empty, negative and padded integers are refused."""
    content = bytes.fromhex(NOT_INTEGERS[name])

    with pytest.raises(FormatError) as raised:
        der.unsigned(content, 0, len(content))
    assert raised.value.code == "der"


def test_booleans_have_two_forms() -> None:
    """FF is true, 00 is false."""
    assert der.boolean(b"\xff", 0, 1) is True
    assert der.boolean(b"\x00", 0, 1) is False


@pytest.mark.parametrize("name", NOT_BOOLEANS)
def test_other_booleans_are_refused(name: str) -> None:
    """BER's other truths are no DER."""
    content = bytes.fromhex(NOT_BOOLEANS[name])

    with pytest.raises(FormatError):
        der.boolean(content, 0, len(content))


@pytest.mark.parametrize("text", MOMENTS)
def test_moments_are_those_of_rfc_5280(text: str) -> None:
    """UTCTime reaches from 1950 to 2049, GeneralizedTime beyond; the next offset is handed back."""
    data = bytes.fromhex(text)

    assert der.moment(data + b"rest", 0, len(data)) == (MOMENTS[text], len(data))
    assert der.write_moment(MOMENTS[text]) == data


@pytest.mark.parametrize("name", NOT_MOMENTS)
def test_other_times_are_refused(name: str) -> None:
    """Times without seconds, with offsets, or of no calendar are refused."""
    with pytest.raises(FormatError) as raised:
        der.moment(NOT_MOMENTS[name], 0, len(NOT_MOMENTS[name]))
    assert raised.value.code == "der"


def test_a_hostile_length_allocates_nothing() -> None:
    """An element of 4 GB in a buffer of 8 bytes costs a comparison."""
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            der.whole(bytes.fromhex("0484ffffffff0000"), der.OCTET_STRING)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
