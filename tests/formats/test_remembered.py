"""Readings that repeat are done once, within two bounds: how many are kept, and how large."""

import pytest

from dcap.errors import FormatError
from dcap.formats.remembered import LARGEST, remembered


class Reader:
    """A reader that notes what it read."""

    def __init__(self) -> None:
        self.read: list[bytes] = []

    def __call__(self, data: bytes) -> int:
        """The length of the bytes, unless they are bad."""
        self.read.append(data)
        if data == b"bad":
            raise FormatError("bad", "not read")
        return len(data)


def test_the_same_bytes_are_read_once() -> None:
    """A second reading of equal bytes is the first one's value."""
    reader = Reader()
    reading = remembered(2)(reader.__call__)

    assert [reading(b"aa"), reading(bytes(bytearray(b"aa"))), reading(b"b")] == [2, 2, 1]
    assert reader.read == [b"aa", b"b"]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_no_more_readings_are_kept_than_were_asked_for(size: int) -> None:
    """One reading too many drives out the oldest, and it alone."""
    reader = Reader()
    reading = remembered(size)(reader.__call__)
    inputs = [bytes((i,)) for i in range(size + 1)]

    for data in inputs:
        reading(data)
    del reader.read[:]
    for data in inputs[1:]:
        reading(data)
    assert reader.read == []
    reading(inputs[0])
    assert reader.read == [inputs[0]]


@pytest.mark.parametrize(("longer", "times"), [(0, 1), (1, 2)])
def test_inputs_beyond_the_largest_are_read_each_time(longer: int, times: int) -> None:
    """An input of the largest size is remembered; one byte more is read again, and keeps nothing."""
    reader = Reader()
    reading = remembered(1)(reader.__call__)
    reading(b"small")
    data = bytes(LARGEST + longer)

    assert reading(data) == reading(data) == LARGEST + longer
    assert reader.read.count(data) == times
    reading(b"small")
    assert reader.read.count(b"small") == (1 if longer else 2)


def test_failures_are_not_kept() -> None:
    """What could not be read is tried again, and fails again."""
    reader = Reader()
    reading = remembered(2)(reader.__call__)

    for _ in range(2):
        with pytest.raises(FormatError):
            reading(b"bad")
    assert reader.read == [b"bad", b"bad"]
