"""Reports between the enclaves of a simulated machine: genuine where a CPU would say so, else not."""

import pytest

from dcap import FormatError
from dcap.formats.local_report import LocalReport, TargetInfo
from dcap.simulator.reports import is_genuine, make_report, qe_target_info
from dcap.simulator.world import World

WORLD = World("reports")
MACHINE = WORLD.platform("node-1")
REPORT = make_report(MACHINE, qe_target_info(MACHINE), b"data", isv_prod_id=77)


def test_a_report_tells_of_its_enclave() -> None:
    """It has the report data, the fields that were given, and the machine's TCB."""
    body = LocalReport.parse(REPORT).body

    assert body.report_data == b"data" + bytes(60)
    assert body.isv_prod_id == 77
    assert body.cpu_svn == MACHINE.cpu_svn
    assert is_genuine(MACHINE, REPORT)


@pytest.mark.parametrize("place", [0, 320, 383, 384, 415, 416, 431])
def test_no_bit_of_it_may_change(place: int) -> None:
    """Body, key number and MAC: each stands under the MAC."""
    changed = bytearray(REPORT)
    changed[place] ^= 0x80

    assert not is_genuine(MACHINE, bytes(changed))


def test_it_is_for_one_target_on_one_machine() -> None:
    """A report for another enclave, of another machine or another world is not this QE's."""
    target = qe_target_info(MACHINE)
    other = TargetInfo.parse(target[:-1] + b"\1").to_bytes()

    assert not is_genuine(MACHINE, make_report(MACHINE, other, b"data"))
    assert not is_genuine(WORLD.platform("node-2"), REPORT)
    assert not is_genuine(World("another").platform("node-1"), REPORT)


def test_a_new_quoting_enclave_takes_no_report_for_the_old() -> None:
    """After an update of the QE its target is another one."""
    node = World("updated").platform("node-1")
    report = make_report(node, qe_target_info(node), b"data")
    node.qe_svn += 1

    assert not is_genuine(node, report)
    assert is_genuine(node, make_report(node, qe_target_info(node), b"data"))


def test_what_is_no_report_is_not_genuine() -> None:
    """Bytes of another size are no report; a target of another size is refused."""
    assert not is_genuine(MACHINE, REPORT[:-1])
    with pytest.raises(FormatError, match="local-report-size"):
        make_report(MACHINE, bytes(511), b"data")
