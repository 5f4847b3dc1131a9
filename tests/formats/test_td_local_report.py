"""TDREPORT: 1024 bytes of memory, read by the specification's table and written back the same."""

import hashlib

import msgspec
import pytest

from dcap.errors import FormatError
from dcap.formats.quote import Quote
from dcap.formats.td_local_report import SIZE, TdLocalReport
from dcap.simulator import World
from dcap.simulator.td_reports import is_genuine_td_report, make_td_report, quote_of

MACHINE = World().platform()
REPORT = make_td_report(MACHINE, b"nonce", rtmr3=b"\7" * 48, mr_owner=b"\5" * 48)
#: Where each field stands, by Intel's tables, and what the TD was made with.
PLACES = {
    "REPORTTYPE": (0, b"\x81\x00\x01\x00"),
    "CPUSVN": (16, MACHINE.cpu_svn),
    "TEE_TCB_INFO_HASH": (32, hashlib.sha384(REPORT[256:495]).digest()),
    "TEE_INFO_HASH": (80, hashlib.sha384(REPORT[512:]).digest()),
    "REPORTDATA": (128, b"nonce".ljust(64, b"\0")),
    "TEE_TCB_SVN": (264, MACHINE.tee_tcb_svn),
    "TEE_TCB_SVN2": (384, MACHINE.tee_tcb_svn_2),
    "MROWNER": (512 + 112, b"\5" * 48),
    "RTMR3": (512 + 352, b"\7" * 48),
}


@pytest.mark.parametrize("name", PLACES)
def test_each_field_stands_at_its_place(name: str) -> None:
    """The offsets are those of Intel's structures."""
    place, value = PLACES[name]
    assert REPORT[place : place + len(value)] == value


def test_what_is_read_is_written_back() -> None:
    """Reserved bytes are fields: any bytes that claim to be a TD's report come back as they were."""
    strange = b"\x81" + bytes(range(1, 256)) * 4 + b"end"
    assert len(strange) == SIZE == 1024
    assert TdLocalReport.parse(strange).to_bytes() == strange
    assert TdLocalReport.parse(REPORT).to_bytes() == REPORT


@pytest.mark.parametrize("size", [0, 584, 1023, 1025])
def test_another_size_is_refused(size: int) -> None:
    """Neither a quote's body nor a report cut off is a TDREPORT."""
    with pytest.raises(FormatError, match=f"{size} bytes: a TDREPORT has 1024") as caught:
        TdLocalReport.parse((REPORT + b"\0")[:size])
    assert caught.value.code == "td-local-report-size"


def test_a_report_of_an_enclave_is_refused() -> None:
    """The type says whose report it is: 0 is SGX's."""
    with pytest.raises(FormatError, match="type 0x00") as caught:
        TdLocalReport.parse(b"\0" + REPORT[1:])
    assert caught.value.code == "td-local-report-type"


def test_a_quote_says_what_the_report_says() -> None:
    """Its body is that of the quote which the machine makes over it, by every field."""
    td = Quote(quote_of(MACHINE, REPORT)).td
    assert td == TdLocalReport.parse(REPORT).body()
    assert td is not None
    assert (td.rtmr3, td.mr_owner) == (b"\7" * 48, b"\5" * 48)


# The simulated machine's reports


def test_a_report_is_genuine_on_its_machine_alone() -> None:
    """The key is the machine's: another of the same world does not take it."""
    assert is_genuine_td_report(MACHINE, REPORT)
    assert not is_genuine_td_report(MACHINE.world.platform("another"), REPORT)
    assert not is_genuine_td_report(World("another").platform(), REPORT)


@pytest.mark.parametrize("place", [4, 16, 40, 90, 128, 230, 264, 400, 500, 512, 700, 1000])
def test_a_report_with_a_bit_changed_is_not_genuine(place: int) -> None:
    """Whatever part it is in: under the MAC, in the MAC, under a hash, or reserved."""
    changed = bytearray(REPORT)
    changed[place] ^= 1
    assert not is_genuine_td_report(MACHINE, bytes(changed))


def test_a_report_names_the_td_and_not_its_data() -> None:
    """Its text is what one sees in a log: the measurement, no more."""
    report = TdLocalReport.parse(REPORT)
    assert repr(report) == f"<TdLocalReport of MRTD {report.td.mr_td.hex()}>"
    replaced = msgspec.structs.replace(report.mac, mac=bytes(32))
    assert len(replaced.signed) == 224
