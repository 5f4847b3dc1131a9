"""The family `machine`: one healthy machine, one change, one finding that says why it cannot attest."""

import gzip
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from dcap.doctor import daemons, devices, machine
from dcap.doctor import tdx_guest as family_tdx_guest
from dcap.doctor.processor import kernel, processor
from dcap.qpl.discovery_root import Root
from doctor.scratch import (
    KERNEL,
    Seen,
    add_aesm,
    add_qgs,
    cpu,
    laptop,
    say,
    scene,
    sgx_host,
    tdx_guest,
    write,
)
from doctor.scratch import kernel as set_kernel

VERIFIER = frozenset({"verifier"})


def look(root: Path) -> Seen:
    """What the family says of a machine that is to attest."""
    return say(machine.CHECKS, scene(root))


def without_devices(root: Path) -> Path:
    """The machine as it is where no driver has made a node."""
    for name in ("sgx_enclave", "sgx_provision", "sgx_vepc", "sgx/enclave", "sgx/provision"):
        (root / "dev" / name).unlink()
    return root


def test_a_healthy_sgx_host_has_no_finding_and_its_facts_are_told(tmp_path: Path) -> None:
    """SGX with launch control, a kernel with a driver and enclave memory are said to be right."""
    seen = look(sgx_host(tmp_path))
    assert seen.codes == []
    told = "\n".join(right.what for right in seen.rights)
    assert "SGX with launch control: Intel(R) Xeon(R) Platinum 8360Y" in told
    assert f"kernel {KERNEL}" in told
    assert "64 MiB of enclave memory" in told


def test_a_healthy_trust_domain_has_no_finding(tmp_path: Path) -> None:
    """A trust domain is told as one, though it has no SGX."""
    seen = look(tdx_guest(tmp_path))
    assert seen.codes == []
    assert "this machine is a trust domain (TDX guest)" in [right.what for right in seen.rights]


def test_a_host_of_trust_domains_is_told_as_one(tmp_path: Path) -> None:
    """With QGS installed and KVM's parameter on, the host is right."""
    seen = look(add_qgs(add_aesm(sgx_host(tmp_path))))
    assert seen.codes == []
    assert "this host runs trust domains (TDX)" in [right.what for right in seen.rights]


def test_row_11_a_processor_without_sgx_is_one_finding_for_an_attester(tmp_path: Path) -> None:
    """Row 11: an AMD processor cannot attest; that is said once, with what may be done instead."""
    root = laptop(tmp_path)
    seen = look(root)
    assert seen.codes == ["machine-cannot-attest"]
    assert "this machine cannot attest" in seen.finding("machine-cannot-attest").what
    assert "AMD Ryzen 7 PRO 6850U" in seen.finding("machine-cannot-attest").what
    assert "`dcap doctor --for verifier`" in seen.mends("machine-cannot-attest")
    assert not machine.can_attest(scene(root))


def test_a_verifier_needs_no_sgx(tmp_path: Path) -> None:
    """The same processor is right for who only verifies."""
    seen = say(machine.CHECKS, scene(laptop(tmp_path), roles=VERIFIER))
    assert seen.codes == []
    assert [right.what for right in seen.rights] == [
        "this machine has no SGX, and needs none: verifying quotes works on any processor"
    ]


def test_an_arm_processor_is_named_as_one(tmp_path: Path) -> None:
    """A /proc/cpuinfo of another architecture is understood, not skipped."""
    root = laptop(tmp_path)
    write(
        root, "/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n\n"
    )
    assert "(ARM)" in look(root).finding("machine-cannot-attest").what


def test_a_virtual_machine_without_sgx_is_told_of_its_host(tmp_path: Path) -> None:
    """An Intel guest without the flag is missing what its host did not give it."""
    root = without_devices(sgx_host(tmp_path))
    cpu(root, "hypervisor")
    seen = look(root)
    assert seen.codes == ["machine-cannot-attest"]
    assert "virtual machine" in seen.finding("machine-cannot-attest").what
    assert "memory-backend-epc" in seen.mends("machine-cannot-attest")


def test_an_azure_machine_is_told_of_the_paravisor(tmp_path: Path) -> None:
    """A trust domain of Azure's looks like any virtual machine from inside."""
    root = without_devices(sgx_host(tmp_path))
    cpu(root, "hypervisor")
    write(root, "/sys/class/dmi/id/sys_vendor", "Microsoft Corporation\n")
    assert "paravisor" in look(root).mends("machine-cannot-attest")


def _no_flag(root: Path) -> None:
    cpu(root)


def _told_by_log(root: Path) -> None:
    cpu(root, model="Intel(R) Something")
    write(root, "/var/log/dmesg", "[    0.5] x86/cpu: SGX disabled or unsupported by BIOS.\n")


@pytest.mark.parametrize(
    ("change", "evidence"),
    [(_no_flag, "every Ice Lake-SP has it"), (_told_by_log, "(Intel(R) Something)")],
)
def test_row_11_sgx_that_the_firmware_has_off(
    tmp_path: Path, change: Callable[[Path], None], evidence: str
) -> None:
    """Row 11: an Intel server whose kernel has SGX but shows no flag has it off in the firmware."""
    root = without_devices(sgx_host(tmp_path))
    change(root)
    seen = look(root)
    assert seen.codes == ["machine-sgx-off"]
    assert evidence in seen.finding("machine-sgx-off").what
    assert "systemctl reboot --firmware-setup" in seen.mends("machine-sgx-off")


def test_what_the_kernel_logged_is_evidence(tmp_path: Path) -> None:
    """The kernel's own line about the firmware is shown."""
    root = without_devices(sgx_host(tmp_path))
    _told_by_log(root)
    evidence = look(root).finding("machine-sgx-off").evidence
    assert any("SGX disabled or unsupported by BIOS" in line for line in evidence)


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        (151, "machine-cannot-attest", "Intel left SGX out"),
        (85, "machine-sgx-off", "or the processor has none"),
    ],
)
def test_no_more_is_claimed_of_a_processor_than_is_known(
    tmp_path: Path, model: int, code: str, words: str
) -> None:
    """A 12th generation Core has no SGX; of an unknown model both possibilities are said."""
    root = without_devices(sgx_host(tmp_path))
    cpu(root)
    text = (root / "proc/cpuinfo").read_text().replace("model\t\t: 106", f"model\t\t: {model}")
    write(root, "/proc/cpuinfo", text)
    seen = look(root)
    assert seen.codes == [code]
    assert words in seen.finding(code).what


def test_row_11_launch_control_that_is_locked(tmp_path: Path) -> None:
    """Row 11: `sgx` without `sgx_lc` loads no driver, and the firmware's policy mends it."""
    root = without_devices(sgx_host(tmp_path))
    cpu(root, "sgx")
    seen = look(root)
    assert seen.codes == ["machine-launch-control-locked"]
    assert "Unlocked" in seen.mends("machine-launch-control-locked")
    assert not machine.drives_sgx(scene(root))


@pytest.mark.parametrize("flags", [(), ("sgx", "sgx_lc")])
def test_row_11_a_kernel_before_5_11(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Row 11: an older kernel has no driver, whether or not it shows the flag."""
    root = without_devices(sgx_host(tmp_path))
    cpu(root, *flags)
    set_kernel(root, "5.4.0-216-generic")
    seen = look(root)
    assert seen.codes == ["machine-kernel-old"]
    assert "5.4.0-216-generic" in seen.finding("machine-kernel-old").what
    assert "sudo apt install" in seen.mends("machine-kernel-old")


def test_an_old_kernel_with_a_driver_of_its_own_is_no_finding_here(tmp_path: Path) -> None:
    """Where an out-of-tree driver made a node, the kernel's age is the devices' affair."""
    root = without_devices(sgx_host(tmp_path))
    cpu(root)
    set_kernel(root, "5.4.0-216-generic")
    write(root, "/dev/sgx/enclave")
    assert look(root).codes == []


@pytest.mark.parametrize("flags", [(), ("sgx", "sgx_lc")])
def test_row_11_a_kernel_built_without_sgx(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Row 11: a kernel without CONFIG_X86_SGX is the cause, not the firmware."""
    root = without_devices(sgx_host(tmp_path))
    cpu(root, *flags)
    set_kernel(root, KERNEL, "# CONFIG_X86_SGX is not set")
    seen = look(root)
    assert seen.codes == ["machine-kernel-without-sgx"]
    assert seen.finding("machine-kernel-without-sgx").evidence == (
        f"/boot/config-{KERNEL}: CONFIG_X86_SGX is not set",
    )


def test_a_kernel_that_was_told_nosgx(tmp_path: Path) -> None:
    """`nosgx` hides the flag; taking it out of the parameters mends it."""
    root = without_devices(sgx_host(tmp_path))
    cpu(root)
    write(root, "/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 nosgx quiet\n")
    seen = look(root)
    assert seen.codes == ["machine-kernel-without-sgx"]
    assert "sudo update-grub" in seen.mends("machine-kernel-without-sgx")


def test_row_11_no_enclave_memory(tmp_path: Path) -> None:
    """Row 11: an EPC of 0 bytes holds no enclave; the firmware's PRMRR size mends it."""
    root = sgx_host(tmp_path)
    write(root, "/sys/devices/system/node/node0/x86/sgx_total_bytes", "0\n")
    seen = look(root)
    assert seen.codes == ["machine-no-enclave-memory"]
    assert "PRMRR" in seen.mends("machine-no-enclave-memory")


def test_memory_of_all_nodes_counts(tmp_path: Path) -> None:
    """A second socket's memory is enough where the first has none."""
    root = sgx_host(tmp_path)
    write(root, "/sys/devices/system/node/node0/x86/sgx_total_bytes", "0\n")
    write(root, "/sys/devices/system/node/node1/x86/sgx_total_bytes", "33554432\n")
    assert "32 MiB of enclave memory (EPC)" in [right.what for right in look(root).rights]


@pytest.mark.parametrize("value", ["N\n", None])
def test_row_16_qgs_on_a_host_that_runs_no_trust_domains(tmp_path: Path, value: str | None) -> None:
    """Row 16: with QGS installed, a KVM without TDX is a warning with the module's option."""
    root = add_qgs(add_aesm(sgx_host(tmp_path)))
    parameter = root / "sys/module/kvm_intel/parameters/tdx"
    parameter.unlink() if value is None else parameter.write_text(value)
    seen = look(root)
    assert seen.codes == ["machine-tdx-host-off"]
    assert "options kvm_intel tdx=1" in seen.mends("machine-tdx-host-off")


def test_a_root_without_proc_is_skipped_with_reasons(tmp_path: Path) -> None:
    """An unpacked image has no processor to look at: nothing is found wrong, nothing claimed."""
    root = sgx_host(tmp_path)
    (root / "proc/cpuinfo").unlink()
    seen = look(root)
    assert seen.codes == []
    assert "/proc/cpuinfo cannot be read" in [skipped.why for skipped in seen.skipped]


GARBAGE = (
    b"\xff\x00\x1b[31m\n=\n:" * 50,
    b"9" * 5000,
    b"port = " + b"9" * 5000 + b"\n",
    b"a b c\x1b d:e\x9b f:1:2:3:4:5:6\n" * 9,
    b"",
    None,
)


@pytest.mark.parametrize("healthy", ["host", "guest"])
def test_no_file_makes_a_check_raise(tmp_path: Path, healthy: str) -> None:
    """Whatever a file holds, or where it is a folder, all families say what they saw, printably.

    One file after the other is spoilt, in its turn by one kind of garbage (`None`: a folder).
    """
    checks = machine.CHECKS + devices.CHECKS + daemons.CHECKS + family_tdx_guest.CHECKS
    host = healthy == "host"
    root = add_qgs(add_aesm(sgx_host(tmp_path))) if host else tdx_guest(tmp_path)
    files = sorted(each for each in root.rglob("*") if each.is_file() and not each.is_symlink())
    for file, garbage in zip(files, itertools.cycle(GARBAGE), strict=False):
        aside = file.rename(tmp_path / "aside")
        file.mkdir() if garbage is None else file.write_bytes(garbage)
        seen = say(checks, scene(root))
        assert all(each.what.isprintable() for each in seen.findings)
        assert all(line.isprintable() for each in seen.findings for line in each.evidence)
        file.rmdir() if garbage is None else file.unlink()
        aside.rename(file)


def test_a_kernel_tells_its_options_packed_as_well(tmp_path: Path) -> None:
    """/proc/config.gz serves where /boot has no configuration; a damaged one is none."""
    root = sgx_host(tmp_path)
    (root / f"boot/config-{KERNEL}").unlink()
    assert kernel(Root(root)).option("X86_SGX") is None
    write(root, "/proc/config.gz", gzip.compress(b"CONFIG_X86_SGX=y\n# CONFIG_TSM is not set\n"))
    told = kernel(Root(root))
    assert (told.option("X86_SGX"), told.option("TSM"), told.option("KVM")) == ("y", "n", "n")
    write(root, "/proc/config.gz", b"no gzip at all")
    assert kernel(Root(root)).option("X86_SGX") is None


def test_the_release_is_read_from_proc_version_too(tmp_path: Path) -> None:
    """Without /proc/sys the release stands in /proc/version."""
    root = sgx_host(tmp_path)
    (root / "proc/sys/kernel/osrelease").unlink()
    assert kernel(Root(root)).version == (6, 8)
    assert processor(Root(root)).model == 106
