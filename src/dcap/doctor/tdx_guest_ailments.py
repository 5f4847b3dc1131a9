"""What can be wrong with a trust domain's roads to a quote: the table of the family `tdx_guest`.

Source: `quote-provider.md` §5.6, §6 row 16.
"""

from typing import Final

from dcap.doctor.finding import Ailment

_FAILED: Final = "`Failed to get the quote`, TDX_ATTEST_ERROR_QUOTE_FAILURE"
_WHY: Final = (
    "Intel's library takes vsock where a port is set, else configfs-tsm, else the device: the "
)

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="tdx-module-absent",
        severity="error",
        title="The module tdx_guest is not loaded",
        symptom=f"{_FAILED}; `/dev/tdx_guest: No such file or directory`; no tsm/report in configfs",
        causes=(
            "a minimal image without linux-modules-extra",
            "nothing loads it at the start of the guest",
        ),
        why="It makes the report of the trust domain, and brings it to the host; nothing else does.",
        mends=("`sudo modprobe tdx_guest`, and a line in /etc/modules-load.d",),
        rows=(16,),
    ),
    Ailment(
        code="tdx-kernel-old",
        severity="error",
        title="The guest's kernel has no TDX driver",
        symptom=f"{_FAILED}; no /dev/tdx_guest",
        causes=("a guest kernel before 6.2, or one with the names of Intel's early patches",),
        why="Without the driver there is no report, and so nothing that could be signed.",
        mends=("move the guest to a kernel from 6.7 on",),
        rows=(16,),
    ),
    Ailment(
        code="tdx-configfs-unmounted",
        severity="error",
        title="configfs is not mounted in the guest",
        symptom=f"{_FAILED}; `mkdir /sys/kernel/config/tsm/report/…: No such file or directory`",
        causes=("an image without systemd, or with sys-kernel-config.mount masked", "a container"),
        why="Where no vsock port is set, configfs-tsm is the road that is left.",
        mends=("`sudo mount -t configfs configfs /sys/kernel/config`",),
        rows=(16,),
    ),
    Ailment(
        code="tdx-tsm-absent",
        severity="error",
        title="configfs has no reports of trust domains",
        symptom=f"{_FAILED}; no /sys/kernel/config/tsm/report",
        causes=("a guest kernel before 6.7", "the module `tsm` or `tdx_guest` is not loaded"),
        why=_WHY + "second of these is missing here, and no port is set for the first.",
        mends=(
            "use vsock: `echo 'port=4050' | sudo tee /etc/tdx-attest.conf`",
            "or move the guest to a kernel from 6.7 on",
        ),
        rows=(16,),
    ),
    Ailment(
        code="tdx-provider-other",
        severity="error",
        title="Reports are made by another technology than TDX",
        symptom="the quote cannot be parsed; `provider` reads sev_guest or arm_cca_guest",
        causes=("the guest is no trust domain", "another module registered itself first"),
        why="What comes out of `outblob` is then no TDX quote.",
        mends=("`sudo modprobe -r sev_guest`, `sudo modprobe tdx_guest`",),
        rows=(16,),
    ),
    Ailment(
        code="tdx-report-closed",
        severity="error",
        title="The account may not ask for quotes in configfs",
        symptom="`mkdir: Permission denied` or `inblob: Permission denied` below tsm/report",
        causes=("configfs belongs to root, and nobody gave the account an entry",),
        why="Everyone who may write there can have the trust domain vouch for any 64 bytes: the "
        "kernel leaves it to root to say who may.",
        mends=(
            (
                "`sudo mkdir /sys/kernel/config/tsm/report/NAME && sudo chown -R NAME "
                "/sys/kernel/config/tsm/report/NAME`, and DCAP_TDX_QUOTE_CONFIGFS_PATH"
            ),
            "run what attests as root",
        ),
        rows=(16,),
    ),
    Ailment(
        code="tdx-attest-conf",
        severity="warning",
        title="/etc/tdx-attest.conf gives no port that is understood",
        symptom=f"{_FAILED}, although the file seems to have a port",
        causes=(
            "quotes, a unit or a word after the number",
            "`Port` or `PORT`: only `port` counts",
        ),
        why=_WHY + "first of these is silently left out.",
        mends=("`echo 'port=4050' | sudo tee /etc/tdx-attest.conf`",),
        rows=(16,),
    ),
    Ailment(
        code="tdx-no-vsock",
        severity="error",
        title="A vsock port is set, but the guest has no vsock",
        symptom=f"{_FAILED}; `socket: Address family not supported`, `connect: No such device`",
        causes=(
            "QEMU was started without a vsock device (`-device vhost-vsock-pci,guest-cid=…`)",
            "the module vmw_vsock_virtio_transport is not loaded",
        ),
        why=_WHY + "first of these has to work once a port is set.",
        mends=(
            "`sudo modprobe vmw_vsock_virtio_transport`",
            "give the guest a vsock device, or leave vsock: `sudo rm /etc/tdx-attest.conf`",
        ),
        rows=(16,),
    ),
    Ailment(
        code="tdx-port-differs",
        severity="warning",
        title="The guest asks at another vsock port than QGS usually has",
        symptom=f"{_FAILED}; `connect: Connection reset by peer`",
        causes=("guest and host were configured apart from each other",),
        why="From inside nobody can see at which port the host listens: 4050, unless /etc/qgs.conf "
        "there says another.",
        mends=("the same number in /etc/tdx-attest.conf (guest) and /etc/qgs.conf (host)",),
        rows=(16,),
    ),
    Ailment(
        code="tdx-outblob-empty",
        severity="error",
        title="The kernel gave an empty quote",
        symptom=f"{_FAILED}; `outblob` has 0 bytes",
        causes=(
            "QGS does not run on the host, or has no certificate for it (its log says which)",
            "QEMU's tdx-guest object has no `quote-generation-socket`",
            (
                "A client that is not Intel's asks by vsock with its length in little-endian order: QGS "
                "wants four bytes, the highest first (0x12000 in its log)"
            ),
        ),
        why="The hypercall reached QEMU, and came back without a quote: the host has to be mended.",
        mends=(
            "on the host: `systemctl status qgsd`, `sudo journalctl -u qgsd -n 50`",
            "or ask by vsock: `echo 'port=4050' | sudo tee /etc/tdx-attest.conf`",
        ),
        rows=(16,),
    ),
)
