"""A SIGSTRUCT says what an enclave will be: every field at its place, nothing about it checked."""

import contextlib
import hashlib
import struct
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.errors import FormatError
from dcap.formats.sigstruct import LAYOUT, SIZE, Sigstruct, is_sigstruct

#: Offsets of Intel's SDM, written down apart from the table under test.
OFFSETS = {
    "header": 0, "vendor": 16, "date_bcd": 20, "header2": 24, "software_defined": 40,
    "reserved1": 44, "modulus": 128, "exponent": 512, "signature": 516, "misc_select": 900,
    "misc_mask": 904, "cet_attributes": 908, "cet_attributes_mask": 909, "reserved2": 910,
    "isv_family_id": 912, "attributes": 928, "attributes_mask": 944, "mr_enclave": 960,
    "reserved3": 992, "isv_ext_prod_id": 1008, "isv_prod_id": 1024, "isv_svn": 1026,
    "reserved4": 1028, "q1": 1040, "q2": 1424,
}  # fmt: skip
MODULUS = bytes(i % 251 for i in range(384))


def by_hand(**changes: tuple[int, bytes]) -> bytes:
    """A release enclave's SIGSTRUCT of 21 November 2026, put together byte by byte."""
    parts = {
        "header": (0, bytes.fromhex("06000000e10000000000010000000000")),
        "vendor": (16, bytes.fromhex("86800000")),
        "date": (20, bytes((0x21, 0x11, 0x26, 0x20))),
        "header2": (24, bytes.fromhex("01010000600000006000000001000000")),
        "modulus": (128, MODULUS),
        "exponent": (512, struct.pack("<I", 3)),
        "signature": (516, b"\x5a" * 384),
        "attributes": (928, bytes.fromhex("04000000000000000300000000000000")),
        "attributes_mask": (944, bytes.fromhex("02000000000000000300000000000000")),
        "mr_enclave": (960, b"\xab" * 32),
        "isv_prod_id": (1024, struct.pack("<H", 7)),
        "isv_svn": (1026, struct.pack("<H", 9)),
        **changes,
    }
    memory = bytearray(1808)
    for at, value in parts.values():
        memory[at : at + len(value)] = value
    return bytes(memory)


def test_every_field_lies_where_the_manual_says() -> None:
    """The table's offsets are those of the manual, and it has 1808 bytes."""
    assert LAYOUT.offsets == OFFSETS
    assert SIZE == 1808


def test_the_identity_of_the_enclave_is_read() -> None:
    """MRENCLAVE, MRSIGNER, product id, SVN and date are those that were written."""
    found = Sigstruct.parse(by_hand())
    assert found.mr_enclave == b"\xab" * 32
    assert found.mr_signer == hashlib.sha256(MODULUS).digest()
    assert (found.isv_prod_id, found.isv_svn, found.exponent) == (7, 9, 3)
    assert found.build_date == date(2026, 11, 21)
    assert found.to_bytes() == by_hand()


@pytest.mark.parametrize(
    ("attributes", "mask", "debug", "allowed"),
    [("04", "02", False, False), ("06", "02", True, True), ("04", "00", False, True)],
)
def test_debug_is_asked_for_or_left_open(
    attributes: str, mask: str, *, debug: bool, allowed: bool
) -> None:
    """Debug mode is possible where the signer asks for it or does not mask it."""
    found = Sigstruct.parse(
        by_hand(
            attributes=(928, bytes.fromhex(attributes)), attributes_mask=(944, bytes.fromhex(mask))
        )
    )
    assert (found.debug, found.debug_allowed) == (debug, allowed)


@pytest.mark.parametrize("written", ["00000000", "21131126", "ab112620", "32122620"])
def test_a_date_that_is_none_is_none(written: str) -> None:
    """A date nobody could have written reads as no date, not as an error."""
    assert Sigstruct.parse(by_hand(date=(20, bytes.fromhex(written)))).build_date is None


@pytest.mark.parametrize("change", [(0, b"\x07"), (24, b"\x02"), (39, b"\x01")])
def test_other_constants_are_refused(change: tuple[int, bytes]) -> None:
    """A structure without the two constants of the manual is not a SIGSTRUCT."""
    with pytest.raises(FormatError) as caught:
        Sigstruct.parse(by_hand(change=change))
    assert caught.value.code == "sigstruct"
    assert not is_sigstruct(by_hand(change=change))


def test_size_is_exact() -> None:
    """One byte too few, or one too many, is refused."""
    with pytest.raises(FormatError) as short:
        Sigstruct.parse(by_hand()[:-1])
    assert short.value.code == "sigstruct-truncated"
    with pytest.raises(FormatError) as long:
        Sigstruct.parse(by_hand() + b"\0")
    assert long.value.code == "sigstruct"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=1900), st.integers(0, 1808))
def test_what_is_read_is_written_back(garbage: bytes, kept: int) -> None:
    """Anything after the constants is read and written to the same bytes, or refused by us."""
    with contextlib.suppress(FormatError):
        Sigstruct.parse(garbage)
    mixed = (by_hand()[:40] + garbage)[:kept].ljust(1808, b"\x11")
    with contextlib.suppress(FormatError):
        assert Sigstruct.parse(mixed).to_bytes() == mixed
