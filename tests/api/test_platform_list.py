"""Lists of machines as files: what is written is read, and nothing in them gets into an error."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.api.pccs_admin import PlatformRecord
from dcap.api.platform_list import (
    COLUMNS,
    read_csv,
    read_platform_list,
    write_csv,
    write_platform_list,
)
from dcap.errors import FormatError

QE_ID = "0123456789ABCDEF0123456789ABCDEF"
SINGLE = PlatformRecord(
    qe_id=QE_ID, pce_id="0000", cpu_svn="0A" * 16, pce_svn="0D00", enc_ppid="5C" * 384
)
MULTI = PlatformRecord(qe_id=QE_ID, pce_id="0000", platform_manifest="ab" * 50)
#: A machine that has no enclave running is named by a platform id.
NAMED = PlatformRecord(qe_id="RACK 7/NODE 3", pce_id="0000", platform_manifest="cd" * 50)


@pytest.mark.parametrize("records", [(), (SINGLE,), (SINGLE, MULTI, NAMED)])
def test_a_list_that_is_written_is_read(records: tuple[PlatformRecord, ...]) -> None:
    """Of one machine or package, and of none."""
    assert read_platform_list(write_platform_list(records)) == records


def test_a_list_has_every_member_as_intel_s_tools_write_it() -> None:
    """What is absent is an empty text; the order is Intel's."""
    (row,) = json.loads(write_platform_list([MULTI]))
    names = ["qe_id", "pce_id", "cpu_svn", "pce_svn", "enc_ppid", "platform_manifest"]
    assert list(row) == names
    assert row["enc_ppid"] == ""


def test_hex_becomes_upper_case_and_unknown_members_are_passed_over() -> None:
    """Machines are matched by their ids in upper case; Intel's tool adds the file's name."""
    row = {
        "qe_id": QE_ID.lower(),
        "pce_id": "0000",
        "cpu_svn": "0a" * 16,
        "pce_svn": "0d00",
        "enc_ppid": "5c" * 384,
        "platform_manifest": "",
        "pckid_filename": "node-1.csv",
    }
    assert read_platform_list(json.dumps([row]).encode()) == (SINGLE,)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_table_is_read_as_intel_s_tool_writes_it(start: bytes, end: bytes) -> None:
    """On Linux and on Windows, with the manifest or without its column."""
    fields = {
        "enc_ppid": "5c" * 384, "pce_id": "0000", "cpu_svn": "0a" * 16, "pce_svn": "0d00",
        "qe_id": QE_ID.lower(), "platform_manifest": "",
    }  # fmt: skip
    line = ",".join(fields[name] for name in COLUMNS).encode()
    assert read_csv(start + line + end) == (SINGLE,)
    assert read_csv(start + line.removesuffix(b",") + end) == (SINGLE,)


def test_a_table_that_is_written_is_read() -> None:
    """A machine a line, in the order of the tool's columns."""
    data = write_csv([SINGLE, MULTI])
    assert data.splitlines()[0].startswith(b"5C5C")
    assert read_csv(data) == (SINGLE, MULTI)
    assert read_csv(b"\n\n") == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("qe_id", ""),
        ("qe_id", "A" * 261),
        ("pce_id", ""),
        ("pce_id", "000G"),
        ("cpu_svn", "0A"),
        ("pce_svn", "0D"),
        ("enc_ppid", "5C" * 256),
        ("platform_manifest", "abc"),
        ("platform_manifest", "xx"),
    ],
)
def test_a_member_of_another_form_is_refused_and_not_told(name: str, value: str) -> None:
    """The error says which entry and which member."""
    row = {"qe_id": QE_ID, "pce_id": "0000", name: value}
    with pytest.raises(FormatError) as caught:
        read_platform_list(json.dumps([row]).encode())
    assert caught.value.code == "platform-list"
    assert "entry 1" in caught.value.where
    assert name in caught.value.what
    assert QE_ID not in str(caught.value)


def test_a_line_of_another_length_is_refused() -> None:
    """A table of something else."""
    with pytest.raises(FormatError) as caught:
        read_csv(b"\na,b,c\n")
    assert caught.value.code == "platform-list"
    assert "line 2" in caught.value.where


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120))
def test_garbage_is_a_format_error_or_nothing(data: bytes) -> None:
    """Only our errors leave the readers."""
    for read in (read_platform_list, read_csv):
        try:
            read(data)
        except FormatError as error:
            assert error.code in {"platform-list", "json", "json-repeated-member"}  # noqa: PT017
