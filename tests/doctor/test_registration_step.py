"""Which step of a registration is missing, as the doctor tells it beside a PCCS's 404: row 1 of §6."""

from pathlib import Path

import pytest
from asked_machine import asked, instead, need
from scratch import Seen, say, write

from dcap.doctor import requests
from dcap.doctor.registration_step import missing_step
from dcap.qpl.discovery_root import Root
from dcap.simulator import World
from dcap.simulator.alibaba import alibaba
from platform_registration import efivars

AGENT = "`sudo systemctl start mpa_registration_tool`"


@pytest.fixture(scope="module")
def world() -> World:
    """One world for all of them: nothing here changes it."""
    return World("doctor's registration")


def cpu(root: Path, sockets: int, flags: str = "sgx sgx_lc") -> None:
    """/proc/cpuinfo of so many sockets with two cores each."""
    one = "processor\t: 0\nvendor_id\t: GenuineIntel\nphysical id\t: {}\nflags\t\t: {}\n\n"
    cores = (one.format(each // 2, flags) for each in range(2 * sockets))
    write(root, "/proc/cpuinfo", "".join(cores))


def unregistered(top: Path, world: World, sockets: int, **variables: bytes) -> Seen:
    """What is said of a machine with these UEFI variables, which its PCCS does not know."""
    handler = instead(alibaba(world), {"pckcert": None})
    with asked(top, world, handler=handler) as (here, _):
        cpu(here.root, sockets)
        write(here.root, f"/{efivars.FOLDER}/BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c")
        efivars.write(here.root, **variables)
        return say(requests.CHECKS, here.scene(machine=need(world)))


def test_row_1_one_socket_needs_its_pccs_alone(tmp_path: Path, world: World) -> None:
    """Row 1: of a machine of one socket Intel needs no manifest: nothing is said of one."""
    seen = unregistered(tmp_path, world, 1)
    assert seen.codes == ["pck-certificate-absent"]
    assert "dcap register submit" in seen.mends("pck-certificate-absent")
    assert "manifest" not in repr(seen.findings)
    assert "mpa_registration" not in repr(seen.findings)


def test_row_1_a_manifest_that_was_not_sent(tmp_path: Path, world: World) -> None:
    """Row 1: the BIOS shows it, and it is still to be sent: that comes before the PCCS."""
    seen = unregistered(
        tmp_path, world, 2, request=efivars.request(efivars.manifest()), status=efivars.status(0)
    )
    finding = seen.finding("pck-certificate-absent")
    assert finding.what.endswith("; its manifest was not sent to Intel yet")
    assert "/proc/cpuinfo: 2 sockets" in finding.evidence
    assert AGENT in finding.mends[0].text
    assert efivars.manifest().hex()[:64] not in repr(seen).lower()


def test_row_1_automatic_registration_is_off(tmp_path: Path, world: World) -> None:
    """Row 1: Intel may not keep the keys: the manifest goes to the PCCS, or the BIOS is set."""
    seen = unregistered(tmp_path, world, 2, configuration=efivars.configuration(flags=1))
    finding = seen.finding("pck-certificate-absent")
    assert "'SGX Auto MP Registration' is off" in finding.what
    assert "`sudo dcap register submit`" in finding.mends[0].text


def test_row_1_intel_refused_the_manifest(tmp_path: Path, world: World) -> None:
    """Row 1: the agent noted why, in one byte: its words are told."""
    seen = unregistered(tmp_path, world, 2, status=efivars.status(1, 0x82))
    finding = seen.finding("pck-certificate-absent")
    assert "could not be reached, or its proxy" in finding.what
    assert "SgxRegistrationStatus: error 0x82" in finding.evidence


def test_row_1_a_bios_that_shows_nothing(tmp_path: Path, world: World) -> None:
    """Row 1: two sockets and no variable of SGX among the others: the BIOS is to make a manifest."""
    seen = unregistered(tmp_path, world, 2)
    finding = seen.finding("pck-certificate-absent")
    assert finding.what.endswith(
        "2 sockets, and its BIOS shows no manifest that Intel could be sent"
    )
    assert "'SGX Factory Reset'" in finding.mends[0].text


def test_row_1_what_is_registered_at_intel_is_only_new_to_the_pccs(
    tmp_path: Path, world: World
) -> None:
    """Row 1: registration is complete: no step at Intel is named, and the PCCS has to be told."""
    seen = unregistered(tmp_path, world, 2, status=efivars.status(3))
    finding = seen.finding("pck-certificate-absent")
    assert finding.what.endswith("(HTTP 404, 0xE011)")
    assert "SgxRegistrationStatus: registration with Intel is complete" in finding.evidence
    assert AGENT not in seen.mends("pck-certificate-absent")


@pytest.mark.parametrize(
    ("sockets", "flags", "is_uefi"),
    [(4, "sgx hypervisor", True), (2, "sgx", False)],
    ids=["virtual machine", "container"],
)
def test_where_the_bios_cannot_be_seen_nothing_is_said_of_it(
    tmp_path: Path, sockets: int, flags: str, is_uefi: bool
) -> None:
    """A guest's sockets are none, and a container has no UEFI: the step is named as a possibility."""
    cpu(tmp_path, sockets, flags)
    if is_uefi:
        write(tmp_path, f"/{efivars.FOLDER}/BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c")
    step = missing_step(Root(tmp_path))
    assert step.why == ""
    assert [AGENT in mend.text for mend in step.mends] == [True]
