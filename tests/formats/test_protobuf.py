"""Protobuf's wire format: what is written is read, by its specification, and nothing doubtful is."""

from typing import Annotated

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap import FormatError
from dcap.formats.protobuf import MOST_32, MOST_64, MOST_FIELDS, Field, Message


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One field of each kind; the first is required."""

    number: Annotated[int, Field(1)]
    octets: Annotated[bytes | None, Field(2)] = None
    flag: Annotated[bool | None, Field(3)] = None
    large: Annotated[int | None, Field(100, MOST_64)] = None


SAMPLE = Message(Sample, "Sample")
SAMPLES = st.builds(
    Sample,
    number=st.integers(0, MOST_32),
    octets=st.none() | st.binary(max_size=300),
    flag=st.none() | st.booleans(),
    large=st.none() | st.integers(0, MOST_64),
)


@given(SAMPLES)
@settings(max_examples=100, deadline=None, database=None)
def test_what_is_written_is_read(sample: Sample) -> None:
    """Every message reads back as what was written."""
    assert SAMPLE.read(SAMPLE.write(sample)) == sample


@pytest.mark.parametrize(
    ("sample", "octets"),
    [
        (Sample(number=150), "089601"),
        (Sample(number=0, octets=b"testing"), "0800120774657374696e67"),
        (Sample(number=1, flag=True), "08011801"),
        (Sample(number=MOST_32, large=MOST_64), "08ffffffff0fa006ffffffffffffffffff01"),
    ],
)
def test_bytes_are_those_of_the_specification(sample: Sample, octets: str) -> None:
    """The specification's own examples, and the widest numbers, are written as it has them."""
    assert SAMPLE.write(sample).hex() == octets
    assert SAMPLE.read(bytes.fromhex(octets)) == sample


@pytest.mark.parametrize(
    "unknown",
    ["2807", "290102030405060708", "2a03616263", "2d01020304", "fa010100"],
    ids=["varint", "fixed64", "bytes", "fixed32", "high number"],
)
def test_fields_that_are_not_in_the_table_are_passed_over(unknown: str) -> None:
    """A field of a later release, of whatever wire type, changes nothing."""
    around = bytes.fromhex(f"{unknown}0805{unknown}1801")

    assert SAMPLE.read(around) == Sample(number=5, flag=True)


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        ("08", "cut off"),
        ("0896", "cut off"),
        ("08ffffffffffffffffffff01", "too long"),
        ("08ffffffffffffffffff7f", "too long"),
        ("0880808080808080808002", "too long"),
        ("ffffffffffff01", "too long"),
        ("0801120561", "claims 5 bytes, 1 are left"),
        ("080112ffffffffffffffffff01", "claims 18446744073709551615 bytes, 0 are left"),
        ("08012d0102", "claims 4 bytes, 2 are left"),
        ("080129010203", "claims 8 bytes, 3 are left"),
        ("08011b1c", "wire type 3"),
        ("08011f", "wire type 7"),
        ("0001", "no field 0"),
        ("08010801", "number stands twice"),
        ("0a0101", "number has the wire type of another kind"),
        ("0d01000000", "number has the wire type of another kind"),
        ("08011101000000000000ff", "octets has the wire type of another kind"),
        ("08011001", "octets has the wire type of another kind"),
        ("088080808010", "number is larger than its type"),
        ("1801", "it lacks number"),
        ("", "it lacks number"),
        ("0801" + "2807" * MOST_FIELDS, f"more than {MOST_FIELDS} fields"),
    ],
)
def test_doubtful_bytes_are_refused(octets: str, said: str) -> None:
    """What is cut off, too large, of another kind or there twice is refused, with what is wrong."""
    with pytest.raises(FormatError) as refused:
        SAMPLE.read(bytes.fromhex(octets))

    assert refused.value.code == "protobuf-malformed"
    assert said in refused.value.what
    assert refused.value.where.startswith("Sample, byte ")


@pytest.mark.parametrize("number", [-1, MOST_32 + 1])
def test_a_number_out_of_range_is_not_written(number: int) -> None:
    """What its reader would refuse is not sent."""
    with pytest.raises(FormatError, match="number is not in its type's range"):
        SAMPLE.write(Sample(number=number))
