"""What can be wrong with device nodes: the table of the family `devices`.

Source: `quote-provider.md` §5.3, §6 row 11.
"""

from typing import Final

from dcap.doctor.finding import Ailment

_CLOSED: Final = (
    "0xE00D, 0xE035 (a quoting enclave did not load), SGX error 0x4004 with a text about "
    "`sgx_prv`, EPERM or EACCES on /dev/sgx_provision"
)
_WHY_BOTH: Final = (
    "An enclave needs the enclave device; the quoting enclaves need the provisioning device as "
    "well, for they use the key that certifies the machine."
)

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="device-enclave-absent",
        severity="error",
        title="There is no enclave device, although there is a driver",
        symptom="`Cannot open /dev/sgx_enclave`, SGX_ERROR_NO_DEVICE (0x2006), AESM error 2 (no device)",
        causes=(
            "the driver failed as the machine started: its lines in `dmesg` say why",
            "/dev is not the kernel's (a chroot, an image), or udev did not run",
        ),
        why="Without it no enclave can be made, the quoting enclave included.",
        mends=(
            "`sudo dmesg | grep -i sgx`",
            "`sudo udevadm trigger --action=add --subsystem-match=misc`, or restart the machine",
        ),
        rows=(11,),
    ),
    Ailment(
        code="device-provision-absent",
        severity="error",
        title="There is no provisioning device",
        symptom="0xE00D, 0xE035, or SGX error 0x4004 with a text about `sgx_prv`",
        causes=(
            "one of the two devices alone was mapped, or made by hand",
            "an early out-of-tree driver, which knew no provisioning device",
        ),
        why=_WHY_BOTH,
        mends=(
            "`sudo udevadm trigger --action=add --subsystem-match=misc`, or restart the machine",
            "in a container: map both, `docker run $(dcap container-args --docker) IMAGE`",
        ),
        rows=(11,),
    ),
    Ailment(
        code="device-epid-driver",
        severity="error",
        title="Only the driver of the EPID time is loaded (/dev/isgx)",
        symptom="AESM error 38 or 2; DCAP programs find no /dev/sgx_enclave",
        causes=("Intel's out-of-tree driver `isgx` was installed for EPID attestation",),
        why="It has no provisioning device, and EPID itself ended in 2025: no ECDSA quote comes of it.",
        mends=(
            (
                "`sudo modprobe -r isgx`, `sudo /opt/intel/sgxdriver/uninstall.sh`, restart with a "
                "kernel from 5.11 on"
            ),
        ),
        rows=(11,),
    ),
    Ailment(
        code="device-old-driver",
        severity="warning",
        title="The DCAP driver from before Linux 5.11 is in use",
        symptom="/dev/sgx/enclave is a device and no link; there is no /dev/sgx_enclave; "
        "containers that map /dev/sgx_enclave do not start",
        causes=("Intel's out-of-tree DCAP driver (1.22 to 1.41) is loaded",),
        why="It is no longer kept up; newer programs and device plugins look for /dev/sgx_enclave only.",
        mends=("move to a kernel from 5.11 on and remove the driver",),
        rows=(11,),
    ),
    Ailment(
        code="device-no-rule",
        severity="error",
        title="Nobody but root may open the device",
        symptom=_CLOSED,
        causes=(
            (
                "no udev rule for it: the kernel makes nodes 0600 root, systemd's own rules know "
                "only /dev/sgx_enclave and /dev/sgx_vepc"
            ),
            "a rule was written, but udev was not reloaded",
        ),
        why=_WHY_BOTH,
        mends=(
            (
                "write a rule below /etc/udev/rules.d (the finding has it whole), then `sudo "
                "udevadm control --reload && sudo udevadm trigger --subsystem-match=misc`"
            ),
        ),
        rows=(11,),
    ),
    Ailment(
        code="device-not-in-group",
        severity="error",
        title="The account is not in the group that may open the device",
        symptom=_CLOSED,
        causes=(
            (
                "the account is not a member of `sgx_prv` (provisioning device), `sgx` (enclave "
                "device where systemd's rule gives it to that group) or `tdx`"
            ),
        ),
        why=_WHY_BOTH,
        mends=(
            "`sudo usermod -aG sgx_prv NAME`, then log in again",
            "a service: `SupplementaryGroups=sgx_prv` in its unit, then restart it",
            "a container: `--group-add` with the number of the group, `getent group sgx_prv`",
        ),
        rows=(11,),
    ),
    Ailment(
        code="device-group-not-in-effect",
        severity="error",
        title="The account joined the group after it had logged in",
        symptom=_CLOSED,
        causes=("groups are read at login: `usermod -aG` does not reach sessions that are there",),
        why="Whatever was started before goes on without the group.",
        mends=("log out and in again, or `newgrp sgx_prv` for one shell; restart services",),
        rows=(11,),
    ),
    Ailment(
        code="device-provision-only-aesm",
        severity="warning",
        title="The account can have quotes from AESM only",
        symptom="in-process: 0xE00D, 0xE035 or 0x4004; with SGX_AESM_ADDR set all is well",
        causes=(
            (
                "AESM is installed, whose account may open /dev/sgx_provision, but this account "
                "may not and SGX_AESM_ADDR is not set"
            ),
        ),
        why="Intel's library makes quotes in the process that asks, unless SGX_AESM_ADDR is set "
        "when it is loaded; Gramine always asks AESM.",
        mends=("`export SGX_AESM_ADDR=1`", "or join the group: `sudo usermod -aG sgx_prv NAME`"),
        rows=(11,),
    ),
    Ailment(
        code="device-noexec",
        severity="error",
        title="/dev is mounted noexec",
        symptom="enclaves fail to load with EPERM from `mmap` of the enclave device; 0xE00D",
        causes=(
            "an initial ramdisk mounts it so (Ubuntu 20.04 with a newer kernel)",
            "a hardening rule, in /etc/fstab or in a unit",
        ),
        why="An enclave's pages are mapped executable from the device node itself.",
        mends=("`sudo mount -o remount,exec /dev`, and again at each start",),
        rows=(11,),
    ),
    Ailment(
        code="device-tdx-absent",
        severity="error",
        title="The module tdx_guest is loaded, but made no device",
        symptom="`open /dev/tdx_guest: No such file or directory`, TDX_ATTEST_ERROR_DEVICE_FAILURE",
        causes=("udev did not run", "/dev is not the kernel's (a chroot, an image)"),
        why="The report of a trust domain is asked for at that device.",
        mends=("`sudo modprobe -r tdx_guest && sudo modprobe tdx_guest`",),
        rows=(16,),
    ),
    Ailment(
        code="device-tdx-only-configfs",
        severity="warning",
        title="The account can have quotes by configfs-tsm only",
        symptom="Intel's libtdx_attest: TDX_ATTEST_ERROR_DEVICE_FAILURE, although configfs-tsm serves",
        causes=(
            (
                "the account was given an entry in configfs, but is not in the group of /dev/tdx_guest, "
                "or no udev rule gives the device to a group"
            ),
        ),
        why="Intel's library opens the device first, whatever road the quote then takes; "
        "`dcap attest` and others that use configfs-tsm alone do without.",
        mends=("join the group of the device, or write a udev rule for it (the finding has it)",),
        rows=(16,),
    ),
    Ailment(
        code="device-tdx-old-name",
        severity="warning",
        title="The TDX device has the name of an early driver",
        symptom="only /dev/tdx-guest or /dev/tdx-attest is there; ioctl answers ENOTTY",
        causes=("a guest kernel with Intel's TDX patches from before Linux 6.2",),
        why="Programs of today call /dev/tdx_guest, with other numbers and structures.",
        mends=("move the guest to a kernel from 6.7 on",),
        rows=(16,),
    ),
)
