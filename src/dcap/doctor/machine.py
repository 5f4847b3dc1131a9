"""Processor, firmware, kernel: whether this machine has SGX or TDX, and whether it is switched on.

Only who attests needs any of it: a verifier runs on any processor. A machine that cannot attest gets one
finding that says why, and the checks of devices and daemons then have nothing to look for. Not here: the
facts (`processor`), the device nodes (`devices`), a trust domain's own roads (`tdx_guest`).

Source: `quote-provider.md` §5.3, §6 row 11; Linux, arch/x86/kernel/cpu/feat_ctl.c: without SGX in
firmware, without CONFIG_X86_SGX or with `nosgx` the kernel hides the flag; with the launch control
locked it shows `sgx` but not `sgx_lc`, and loads no driver.
"""

from typing import Final

from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remarks, Right, Skipped
from dcap.doctor.machine_ailments import AILMENTS
from dcap.doctor.nodes import has_sgx_driver
from dcap.doctor.processor import (
    Kernel,
    Processor,
    boot_log,
    enclave_memory,
    has_module,
    kernel,
    processor,
)
from dcap.doctor.scene import Scene
from dcap.errors import printable

_NO_EPC: Final = "zero EPC sections"
_MEBIBYTE: Final = 1024 * 1024
_TDX_PARAMETER: Final = "/sys/module/kvm_intel/parameters/tdx"

_ELSEWHERE = Mend(
    "attest on a machine that has it: a Xeon from the 3rd generation on, or in the cloud a size "
    "with SGX (Azure: DCsv3) or TDX (Google: c3 with `--confidential-compute-type=TDX`)"
)
_VERIFY = Mend(
    "if this machine only verifies, say so: `dcap doctor --for verifier`; that needs no SGX"
)
_FIRMWARE = Mend(
    "switch SGX on in the firmware's setup (`sudo systemctl reboot --firmware-setup`; Xeon: memory "
    "encryption, TME, first), then look again: `grep -c sgx_lc /proc/cpuinfo`"
)
_GUEST_WITH_SGX = Mend(
    "if the host is yours, give the guest SGX: QEMU `-cpu host,+sgx-provisionkey -object "
    "memory-backend-epc,id=mem1,size=64M,prealloc=on "
    "-M sgx-epc.0.memdev=mem1,sgx-epc.0.node=0`"
)
_REBUILD = Mend(
    "boot a distribution's own kernel (Ubuntu's, Debian's, RHEL 9's and SUSE's have "
    "CONFIG_X86_SGX), or build one with CONFIG_X86_SGX=y"
)
_ALLOW = Mend(
    "take `nosgx` out of GRUB_CMDLINE_LINUX in /etc/default/grub, then `sudo update-grub` and restart"
)


def can_attest(scene: Scene) -> bool:
    """Whether there is SGX or a trust domain at all; if not, one finding of this family says why."""
    flags = processor(scene.root).flags
    return bool(flags & {"sgx", "tdx_guest"}) or has_sgx_driver(scene.root)


def drives_sgx(scene: Scene) -> bool:
    """Whether the kernel should have made the SGX devices; if not, a finding of this family says why."""
    flags, running = processor(scene.root).flags, kernel(scene.root)
    return (
        {"sgx", "sgx_lc"} <= flags
        and not running.is_older(5, 11)
        and running.option("X86_SGX") != "n"
        and enclave_memory(scene.root) != 0
        and not boot_log(scene.root, _NO_EPC)
    )


def _processor(scene: Scene) -> Remarks:
    chip, running = processor(scene.root), kernel(scene.root)
    if not chip.is_known:
        yield Skipped("processor", "/proc/cpuinfo cannot be read")
        return
    if "tdx_guest" in chip.flags:
        yield Right("this machine is a trust domain (TDX guest)", ("/proc/cpuinfo: tdx_guest",))
        return
    if "sgx" in chip.flags:
        yield from _launch_control(scene, chip)
        return
    if has_sgx_driver(scene.root):
        yield Skipped("SGX in the processor", f"kernel {running.release} does not show it")
        return
    yield _why_not(scene, chip, running)


def _launch_control(scene: Scene, chip: Processor) -> Remarks:
    if "sgx_lc" in chip.flags:
        yield Right(
            f"SGX with launch control: {chip.name or chip.vendor}", ("/proc/cpuinfo: sgx sgx_lc",)
        )
        return
    if has_sgx_driver(scene.root):
        yield Skipped("launch control", "a driver is loaded that does without")
        return
    line = boot_log(scene.root, "Launch Control is locked")
    evidence = ("/proc/cpuinfo: sgx, but not sgx_lc", *_lines(line))
    yield Finding(
        "machine-launch-control-locked",
        "SGX is on, but its launch control is locked: the kernel's driver does not load",
        evidence,
        (
            Mend(
                "set the firmware's SGX Launch Control Policy to Unlocked "
                "(`sudo systemctl reboot --firmware-setup`)"
            ),
            _ELSEWHERE,
        ),
    )


def _why_not(scene: Scene, chip: Processor, running: Kernel) -> Finding:
    """The one finding of a machine without SGX and TDX, as exactly as can be known."""
    name = chip.name or chip.vendor or "unknown"
    seen = (f"/proc/cpuinfo: {name}", "no flag sgx, none tdx_guest")
    cannot = "this machine cannot attest: "
    if not chip.is_intel:
        what = f"{cannot}its processor has neither SGX nor TDX ({name})"
        return Finding("machine-cannot-attest", what, seen, (_VERIFY, _ELSEWHERE))
    if chip.client_without_sgx:
        what = f"{cannot}Intel left SGX out of its processor's generation ({name})"
        return Finding("machine-cannot-attest", what, seen, (_VERIFY, _ELSEWHERE))
    if hidden := _hidden_by_kernel(running):
        return hidden
    if chip.is_virtual:
        return Finding(
            "machine-cannot-attest",
            f"{cannot}its host gives this virtual machine neither SGX nor TDX",
            (*seen, "/proc/cpuinfo: hypervisor"),
            (_VERIFY, _GUEST_WITH_SGX, *_of_azure(scene), _ELSEWHERE),
        )
    if line := boot_log(scene.root, "SGX disabled"):
        what = f"SGX is switched off in the firmware ({name})"
        logged = f"/var/log/dmesg: {line}"
        return Finding("machine-sgx-off", what, (*seen, logged), (_FIRMWARE, _VERIFY, _ELSEWHERE))
    if chip.server_with_sgx:
        what = f"SGX is switched off in the firmware: every {chip.server_with_sgx} has it ({name})"
    else:
        what = f"SGX is switched off in the firmware, or the processor has none ({name})"
    return Finding("machine-sgx-off", what, seen, (_FIRMWARE, _VERIFY, _ELSEWHERE))


def _hidden_by_kernel(running: Kernel) -> Finding | None:
    """Whether it is the kernel that shows no SGX, whatever processor and firmware have."""
    if running.is_older(5, 11):
        return _old(running)
    if running.option("X86_SGX") == "n":
        return _without_sgx(running)
    if "nosgx" not in running.parameters:
        return None
    what = "the kernel was told to leave SGX alone"
    return Finding("machine-kernel-without-sgx", what, ("/proc/cmdline: nosgx",), (_ALLOW,))


def _of_azure(scene: Scene) -> tuple[Mend, ...]:
    """Azure's trust domains do not show that they are some."""
    if not scene.root.text("/sys/class/dmi/id/sys_vendor").startswith("Microsoft"):
        return ()
    return (
        Mend(
            "Azure's machines with TDX (DCesv5, ECesv5) hide it behind a paravisor: their quotes "
            "come from the vTPM and `http://169.254.169.254/acc/tdquote`, which dcap does not ask"
        ),
    )


def _kernel(scene: Scene) -> Remarks:
    chip, running = processor(scene.root), kernel(scene.root)
    if not chip.flags & {"sgx", "tdx_guest"} and not has_sgx_driver(scene.root):
        yield Skipped("kernel", "there is neither SGX nor TDX for it to drive")
    elif not running.release:
        yield Skipped("kernel", "/proc/sys/kernel/osrelease and /proc/version cannot be read")
    elif "tdx_guest" in chip.flags:
        yield Right(f"kernel {running.release}")
    elif running.is_older(5, 11) and not has_sgx_driver(scene.root):
        yield _old(running)
    elif running.option("X86_SGX") == "n" and not has_sgx_driver(scene.root):
        yield _without_sgx(running)
    else:
        known = running.option("X86_SGX")
        seen = f"{running.configuration}: CONFIG_X86_SGX={known}" if known else ""
        yield Right(f"kernel {running.release}", _lines(seen))


def _memory(scene: Scene) -> Remarks:
    if "sgx" not in processor(scene.root).flags:
        yield Skipped("enclave memory", "the processor shows no SGX")
        return
    size = enclave_memory(scene.root)
    line = boot_log(scene.root, _NO_EPC)
    if size or (size is None and not line):
        whole = f"{(size or 0) // _MEBIBYTE} MiB of enclave memory (EPC)"
        yield (
            Right(whole) if size else Skipped("enclave memory", "the kernel does not tell its size")
        )
        return
    seen = _lines(line) or ("/sys/devices/system/node/node*/x86/sgx_total_bytes: 0",)
    yield Finding(
        "machine-no-enclave-memory",
        "SGX is on, but the firmware reserves no memory for enclaves (EPC size 0)",
        seen,
        (
            Mend(
                "in the firmware's setup (`sudo systemctl reboot --firmware-setup`) set the SGX "
                "memory (PRMRR size) above 0; on Xeon also fill the memory slots evenly, and "
                "switch UMA-based clustering off"
            ),
        ),
    )


def _trust_domains(scene: Scene) -> Remarks:
    if "tdx_guest" in processor(scene.root).flags:
        yield Skipped("trust domains as a host", "this is a trust domain itself")
        return
    value = printable(scene.root.text(_TDX_PARAMETER).strip())
    wanted = (
        scene.root.look("/opt/intel/tdx-qgs").is_there or scene.root.look("/etc/qgs.conf").is_there
    )
    if value in ("Y", "1"):
        yield Right("this host runs trust domains (TDX)", (f"{_TDX_PARAMETER}: {value}",))
    elif not wanted:
        yield Skipped("trust domains as a host", "no QGS is installed here, nothing asks for TDX")
    else:
        seen = f"{_TDX_PARAMETER}: {value}" if value else f"{_TDX_PARAMETER}: absent"
        line = boot_log(scene.root, "virt/tdx")
        loaded = has_module(scene.root, "kvm_intel")
        yield Finding(
            "machine-tdx-host-off",
            "QGS is installed to serve trust domains, but this host's KVM does not run any: TDX is off",
            (seen, *_lines(line)),
            (
                Mend(
                    "load KVM with TDX: `echo 'options kvm_intel tdx=1' | sudo tee "
                    "/etc/modprobe.d/tdx.conf` (built in: `kvm_intel.tdx=1` among the kernel's "
                    "parameters), and restart"
                ),
                Mend("see why the kernel refuses: `sudo dmesg | grep -i -e virt/tdx -e seam`"),
                *(() if loaded else (Mend("load KVM: `sudo modprobe kvm_intel`"),)),
            ),
        )


def _not_needed(scene: Scene) -> Remarks:
    """To say aloud that a verifier needs nothing of all this."""
    if not scene.wants("attester"):
        here = "has SGX or TDX" if can_attest(scene) else "has no SGX, and needs none"
        yield Right(f"this machine {here}: verifying quotes works on any processor")


def _old(running: Kernel) -> Finding:
    return Finding(
        "machine-kernel-old",
        f"kernel {running.release} has no SGX driver: Linux has one since 5.11",
        (f"kernel: {running.release}",),
        (
            Mend(
                "install a newer kernel, on Ubuntu 20.04 for instance `sudo apt install "
                "linux-generic-hwe-20.04`, and restart"
            ),
        ),
    )


def _without_sgx(running: Kernel) -> Finding:
    return Finding(
        "machine-kernel-without-sgx",
        f"kernel {running.release} was built without SGX",
        (f"{running.configuration}: CONFIG_X86_SGX is not set",),
        (_REBUILD,),
    )


def _lines(line: str) -> tuple[str, ...]:
    return (line,) if line else ()


__all__ = ["AILMENTS", "CHECKS", "can_attest", "drives_sgx"]

CHECKS: Final[tuple[Check, ...]] = (
    Check("processor", _processor, ("attester",)),
    Check("kernel", _kernel, ("attester",)),
    Check("enclave memory", _memory, ("attester",)),
    Check("TDX host", _trust_domains, ("attester",)),
    Check("hardware", _not_needed, ("verifier",)),
)
