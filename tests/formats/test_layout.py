"""Fixed structures and self-describing ones: the two ways in which bytes become fields."""

import tracemalloc
from typing import Any

import msgspec
import pytest

from dcap.errors import FormatError
from dcap.formats import td_report
from dcap.formats.cursor import Cursor
from dcap.formats.layout import U8, U16, U32, U64, Layout, Octets2, Octets8
from dcap.formats.sgx_report import LAYOUT as SGX_LAYOUT
from dcap.formats.sgx_report import SgxReport
from forge import reports


class Sample(msgspec.Struct, frozen=True):
    """One field of every kind of width."""

    first: U8
    second: U16
    third: U32
    fourth: U64
    fifth: Octets2


SAMPLE = Layout(Sample, "Sample Thing")
BYTES = bytes(range(1, 18))
VALUE = Sample(0x01, 0x0302, 0x07060504, 0x0F0E0D0C0B0A0908, b"\x10\x11")

#: dcap's layout of each body, and the forge's own table of it.
BODIES: dict[str, tuple[Layout[Any], reports.Table]] = {
    "SGX report": (SGX_LAYOUT, reports.SGX_REPORT),
    "TD report 1.0": (td_report.TDX_1_0, reports.TD_REPORTS["1.0"]),
    "TD report 1.5": (td_report.TDX_1_5, reports.TD_REPORTS["1.5"]),
    "TD report 1.5ex": (td_report.TDX_1_5_EX, reports.TD_REPORTS["1.5ex"]),
}
#: ATTRIBUTES is one field of dcap and two of the forge.
SAME = {"attributes": "flags"}


def test_integers_are_little_endian_and_packed() -> None:
    """A record is read field by field, without padding, and written back to the same bytes."""
    assert SAMPLE.size == 17
    assert SAMPLE.read(BYTES) == VALUE
    assert SAMPLE.write(VALUE) == BYTES
    assert SAMPLE.offsets == {"first": 0, "second": 1, "third": 3, "fourth": 7, "fifth": 15}


def test_a_record_is_read_at_its_offset() -> None:
    """What stands before and after the record does not matter."""
    assert SAMPLE.read(b"\xff" * 5 + BYTES + b"\xff", 5) == VALUE


@pytest.mark.parametrize("missing", [1, 16, 17])
def test_missing_bytes_are_counted(missing: int) -> None:
    """A record that is cut off says how many bytes it needs and how many there are."""
    with pytest.raises(FormatError) as raised:
        SAMPLE.read(b"\0\0" + BYTES[: 17 - missing], 2)

    assert raised.value.code == "sample-thing-truncated"
    assert f"needs 17 bytes from byte 2, only {17 - missing} are there" in raised.value.what


def test_an_offset_past_the_end_is_no_negative_count() -> None:
    """A record that would start after the buffer has zero bytes there."""
    with pytest.raises(FormatError, match="only 0 are there"):
        SAMPLE.read(BYTES, 100)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"first": 256}, "a field of the Sample Thing"),
        ({"second": -1}, "a field of the Sample Thing"),
        ({"third": 1 << 32}, "a field of the Sample Thing"),
        ({"fifth": b"\0"}, "fifth of the Sample Thing has 1 bytes, needs 2"),
        ({"fifth": b"\0\0\0"}, "fifth of the Sample Thing has 3 bytes, needs 2"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(change: dict[str, Any], why: str) -> None:
    """The writer neither cuts nor pads: what does not fit is an error that names the field."""
    with pytest.raises(FormatError) as raised:
        SAMPLE.write(msgspec.structs.replace(VALUE, **change))

    assert raised.value.code == "field-does-not-fit"
    assert why in raised.value.what


@pytest.mark.parametrize("name", BODIES)
def test_bodies_have_the_offsets_of_the_spec(name: str) -> None:
    """Every field of a body stands where an independent table of the same spec has it."""
    layout, table = BODIES[name]
    theirs = {field.name.replace("_", ""): field.offset for field in table.fields}

    ours = {SAME.get(field, field.replace("_", "")): at for field, at in layout.offsets.items()}

    assert layout.size == table.size
    assert ours.items() <= theirs.items()
    assert theirs.keys() - ours.keys() <= {"xfrm"}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_write_back_every_byte(name: str) -> None:
    """Any bytes of a body, reserved ones included, are read and written back as they were."""
    layout, table = BODIES[name]
    body = bytes(i * 7 % 251 for i in range(table.size))

    assert layout.write(layout.read(body)) == body


def test_a_report_knows_its_flags() -> None:
    """DEBUG is a bit of ATTRIBUTES, FLAGS and XFRM are its two halves."""
    report = SgxReport.parse(reports.sgx_report(flags=0x0407, xfrm=0xE7))

    assert (report.debug, report.flags, report.xfrm) == (True, 0x0407, 0xE7)
    assert not SgxReport.parse(reports.sgx_report(flags=0x0405)).debug


@pytest.mark.parametrize("bit", range(8))
def test_any_bit_of_the_tud_group_is_debug(bit: int) -> None:
    """A TD with any bit of TDATTRIBUTES' first byte set is under debug."""
    body = reports.td_report(tdattributes=reports.TD_SEPT_VE_DISABLE | 1 << bit)

    assert td_report.TDX_1_0.read(body).debug
    assert not td_report.TDX_1_0.read(reports.td_report()).debug


def test_a_cursor_moves_over_all_and_closes() -> None:
    """Parts are taken in order, integers in either byte order, and nothing may be left."""
    cursor = Cursor(b"\x01\x02\x03\x04\x05\x06", "thing", code="thing-cut")

    assert cursor.take(2, "head") == b"\x01\x02"
    assert cursor.integer(2, "number") == 0x0403
    assert cursor.integer_big(2, "number") == 0x0506
    cursor.close("thing")


@pytest.mark.parametrize("size", [7, 1 << 16, 1 << 63, -1])
def test_a_cursor_never_goes_past_its_end(size: int) -> None:
    """A part that claims more bytes than there are, or fewer than none, is refused in place."""
    cursor = Cursor(b"\0" * 8, "thing", code="thing-cut", position=2)

    with pytest.raises(FormatError) as raised:
        cursor.take(size, "part")

    assert raised.value.code == "thing-cut"
    assert raised.value.where == "thing, byte 2"
    assert cursor.position == 2


def test_a_cursor_stops_at_its_own_end() -> None:
    """A cursor over part of a buffer does not see the rest."""
    cursor = Cursor(b"\0" * 8, "thing", code="thing-cut", end=4)

    with pytest.raises(FormatError):
        cursor.take(5, "part")


def test_bytes_left_over_are_refused() -> None:
    """A structure whose lengths do not add up says how many bytes are left, and where."""
    cursor = Cursor(b"\0" * 8, "thing", code="thing-cut")
    cursor.take(5, "part")

    with pytest.raises(FormatError, match="3 bytes are left over after the part") as raised:
        cursor.close("part")
    assert raised.value.where == "thing, byte 5"


def test_a_hostile_length_allocates_nothing() -> None:
    """A length of 4 GB costs a comparison, not memory."""
    cursor = Cursor(b"\xff" * 8, "thing", code="thing-cut")
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            cursor.take(cursor.integer(4, "length"), "part")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_wide_field_is_as_wide_as_it_says() -> None:
    """The annotation is the width: eight octets are eight bytes."""

    class Wide(msgspec.Struct):
        field: Octets8

    assert Layout(Wide, "wide").size == 8
