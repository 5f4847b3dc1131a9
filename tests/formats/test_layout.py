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
from departures.quotes import a_td, an_enclave


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

#: Intel's own tables of the bodies, copied from the specifications by hand, in Intel's names:
#: (offset, size, name). They are here so that a field that `formats` misplaces is misplaced alone.
#: Source: Intel SDM vol. 3D (REPORT); TDX module ABI (TDREPORT); TDX DCAP Quoting Library API.
_SGX_REPORT = (
    (0, 16, "CPUSVN"), (16, 4, "MISCSELECT"), (20, 12, "RESERVED1"), (32, 16, "ISVEXTPRODID"),
    (48, 16, "ATTRIBUTES"), (64, 32, "MRENCLAVE"), (96, 32, "RESERVED2"), (128, 32, "MRSIGNER"),
    (160, 32, "RESERVED3"), (192, 64, "CONFIGID"), (256, 2, "ISVPRODID"), (258, 2, "ISVSVN"),
    (260, 2, "CONFIGSVN"), (262, 42, "RESERVED4"), (304, 16, "ISVFAMILYID"), (320, 64, "REPORTDATA"),
)  # fmt: skip
_TD_REPORT_10 = (
    (0, 16, "TEE_TCB_SVN"), (16, 48, "MRSEAM"), (64, 48, "MRSIGNERSEAM"), (112, 8, "SEAMATTRIBUTES"),
    (120, 8, "TDATTRIBUTES"), (128, 8, "XFAM"), (136, 48, "MRTD"), (184, 48, "MRCONFIGID"),
    (232, 48, "MROWNER"), (280, 48, "MROWNERCONFIG"), (328, 48, "RTMR0"), (376, 48, "RTMR1"),
    (424, 48, "RTMR2"), (472, 48, "RTMR3"), (520, 64, "REPORTDATA"),
)  # fmt: skip
_TD_REPORT_15 = (*_TD_REPORT_10, (584, 16, "TEE_TCB_SVN_2"), (600, 48, "MRSERVICETD"))
_TD_REPORT_15_EX = (
    *_TD_REPORT_15, (648, 1, "VMID"), (649, 32, "TD_ID"), (681, 48, "DEVINFO"),
    (729, 48, "INIT_SERVTD_HASH"), (777, 8, "INIT_SERVTD_ATTR"), (785, 16, "INIT_CPUSVN"),
    (801, 16, "INIT_TEE_TCB_SVN"), (817, 12, "INIT_TEE_FMSPC"), (829, 48, "CUR_SERVTD_HASH"),
    (877, 8, "CUR_SERVTD_ATTR"),
)  # fmt: skip
Rows = tuple[tuple[int, int, str], ...]
BODIES: dict[str, tuple[Layout[Any], Rows, int]] = {
    "SGX report": (SGX_LAYOUT, _SGX_REPORT, 384),
    "TD report 1.0": (td_report.TDX_1_0, _TD_REPORT_10, 584),
    "TD report 1.5": (td_report.TDX_1_5, _TD_REPORT_15, 648),
    "TD report 1.5ex": (td_report.TDX_1_5_EX, _TD_REPORT_15_EX, 885),
}


def plain(name: str) -> str:
    """A field's name without case and underscores."""
    return name.replace("_", "").upper()


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
    """Every field of a body stands where Intel's table has it, and is as wide."""
    layout, table, size = BODIES[name]
    theirs = [(at, width, plain(field)) for at, width, field in table]

    ours = [(at, layout.widths[field], plain(field)) for field, at in layout.offsets.items()]

    assert ours == theirs
    assert layout.size == size == sum(width for _, width, _ in table)


@pytest.mark.parametrize("name", BODIES)
def test_bodies_write_back_every_byte(name: str) -> None:
    """Any bytes of a body, reserved ones included, are read and written back as they were."""
    layout, _, size = BODIES[name]
    body = bytes(i * 7 % 251 for i in range(size))

    assert layout.write(layout.read(body)) == body


def test_a_report_knows_its_flags() -> None:
    """DEBUG is a bit of ATTRIBUTES, FLAGS and XFRM are its two halves."""
    report = SgxReport.parse(an_enclave(attributes=0x0407 | 0xE7 << 64))

    assert (report.debug, report.flags, report.xfrm) == (True, 0x0407, 0xE7)
    assert not SgxReport.parse(an_enclave(attributes=0x0405)).debug


@pytest.mark.parametrize("bit", range(8))
def test_any_bit_of_the_tud_group_is_debug(bit: int) -> None:
    """A TD with any bit of TDATTRIBUTES' first byte set is under debug."""
    body = a_td(td_attributes=1 << 28 | 1 << bit)

    assert td_report.TDX_1_0.read(body).debug
    assert not td_report.TDX_1_0.read(a_td()).debug


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
