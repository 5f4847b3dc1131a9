"""What can be wrong with processor, firmware and kernel: the table of the family `machine`.

Source: `quote-provider.md` §5.3, §6; Linux, Documentation/arch/x86/sgx.rst, tdx.rst.
"""

from typing import Final

from dcap.doctor.finding import Ailment

_NO_DEVICE = (
    "no /dev/sgx_enclave, no /dev/sgx/enclave; 0xE03F, SGX_ERROR_NO_DEVICE (0x2006), AESM error 2 "
    "(no device); Gramine: `Cannot open /dev/sgx/enclave`"
)
_FIRMWARE = (
    "`sudo systemctl reboot --firmware-setup`, then look again: `grep -c sgx_lc /proc/cpuinfo`"
)

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="machine-cannot-attest",
        severity="error",
        title="This machine has neither SGX nor TDX",
        symptom=_NO_DEVICE,
        causes=(
            "the processor is AMD's or ARM's",
            "a Core processor from the 11th generation on: Intel left SGX out of them",
            "a virtual machine whose host gives it no SGX, and which is no trust domain",
        ),
        why="A quote is signed by keys that only such hardware holds; no software makes up for it. "
        "Verifying quotes, serving collateral and the simulator need none of it.",
        mends=(
            "say that the machine only verifies: `dcap doctor --for verifier`",
            "attest on a Xeon from the 3rd generation on, or in a cloud's size with SGX or TDX",
            "develop against a simulated machine: `dcap sim up`",
        ),
        rows=(11,),
    ),
    Ailment(
        code="machine-sgx-off",
        severity="error",
        title="SGX is switched off in the firmware",
        symptom=f"{_NO_DEVICE}; `sgx` missing in /proc/cpuinfo; kernel: `x86/cpu: SGX disabled by BIOS`",
        causes=(
            "SGX is Disabled or Software Controlled in the firmware's setup (most are delivered so)",
            (
                "Xeon: memory encryption (TME) is off, memory slots are filled unevenly, or "
                "UMA-based clustering is on: the firmware then refuses to switch SGX on"
            ),
            "the processor has no SGX: from outside the two look alike",
        ),
        why="The kernel then hides SGX and loads no driver.",
        mends=(f"switch SGX on in the firmware's setup (Xeon: TME first): {_FIRMWARE}",),
        rows=(11,),
    ),
    Ailment(
        code="machine-launch-control-locked",
        severity="error",
        title="SGX is on, but its launch control is locked",
        symptom=f"{_NO_DEVICE}; `sgx` but no `sgx_lc` in /proc/cpuinfo; kernel: `x86/cpu: SGX "
        "Launch Control is locked. Disable SGX driver.`",
        causes=(
            "the firmware's SGX Launch Control Policy is Locked or Intel Locked",
            (
                "a processor before flexible launch control (Core before the 8th generation): it "
                "only ever served EPID, which Intel ended in 2025"
            ),
        ),
        why="Linux drives SGX only where it may choose who launches enclaves; so does DCAP.",
        mends=(
            f"set the SGX Launch Control Policy to Unlocked in the firmware's setup: {_FIRMWARE}",
        ),
        rows=(11,),
    ),
    Ailment(
        code="machine-kernel-old",
        severity="error",
        title="The kernel has no SGX driver yet",
        symptom=_NO_DEVICE,
        causes=("Linux has had a driver for SGX since 5.11; this kernel is older",),
        why="The drivers of Intel's own, for older kernels, are no longer kept up.",
        mends=(
            "install a kernel from 5.11 on and restart (Ubuntu: `sudo apt install linux-generic`)",
        ),
        rows=(11,),
    ),
    Ailment(
        code="machine-kernel-without-sgx",
        severity="error",
        title="The kernel leaves SGX out",
        symptom=f"{_NO_DEVICE}; `# CONFIG_X86_SGX is not set`, or `nosgx` in /proc/cmdline",
        causes=("the kernel was built without CONFIG_X86_SGX", "it was started with `nosgx`"),
        why="It then shows neither the flag nor the devices, whatever the firmware says.",
        mends=(
            "boot a distribution's own kernel, or build one with CONFIG_X86_SGX=y",
            "take `nosgx` out of GRUB_CMDLINE_LINUX in /etc/default/grub, `sudo update-grub`, restart",
        ),
        rows=(11,),
    ),
    Ailment(
        code="machine-no-enclave-memory",
        severity="error",
        title="The firmware reserves no memory for enclaves",
        symptom="kernel: `sgx: There are zero EPC sections.`; SGX_ERROR_OUT_OF_EPC (0x2005), "
        "0xE012; no /dev/sgx_enclave",
        causes=(
            "PRMRR size (SGX reserved memory) is 0 in the firmware's setup",
            "a virtual machine whose host gives it no EPC section",
        ),
        why="Enclaves, the quoting enclave among them, live in that memory and nowhere else.",
        mends=(
            "set the PRMRR size above 0 in the firmware's setup, or give the guest an EPC section",
        ),
        rows=(11,),
    ),
    Ailment(
        code="machine-tdx-host-off",
        severity="warning",
        title="QGS is installed, but this host's KVM runs no trust domains",
        symptom="QEMU: `vm-type tdx not supported by KVM`; guests get no /dev/tdx_guest; "
        "/sys/module/kvm_intel/parameters/tdx says N",
        causes=(
            "kvm_intel was loaded without `tdx=1`",
            "TDX or TME-MT is off in the firmware, or the TDX module is missing there",
            "the kernel cannot host trust domains (Linux does since 6.16; Ubuntu's own since 24.04)",
        ),
        why="QGS signs the reports of trust domains of this host: without them it has nothing to sign.",
        mends=(
            "`echo 'options kvm_intel tdx=1' | sudo tee /etc/modprobe.d/tdx.conf`, restart",
            "see why the kernel refuses: `sudo dmesg | grep -i -e virt/tdx -e seam`",
        ),
        rows=(16,),
    ),
)
