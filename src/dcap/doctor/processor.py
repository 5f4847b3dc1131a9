"""Processor and kernel as `/proc`, `/sys` and `/boot` of a root show them: facts, no judgement.

    processor(root).flags        # {"sgx", "sgx_lc", …}; empty where /proc/cpuinfo cannot be read
    kernel(root).option("X86_SGX")   # "y", "m", "n", or None where no configuration is to be seen

Not here: what they mean for attestation (`machine`, `tdx_guest`).

Source: Linux, Documentation/arch/x86/{sgx,tdx}.rst, arch/x86/kernel/cpu/feat_ctl.c (when the kernel
hides the flag `sgx`), Documentation/admin-guide/kernel-parameters.txt (`nosgx`).
"""

import re
import zlib
from typing import Final

import msgspec

from dcap.errors import printable
from dcap.qpl.discovery_root import Root

#: Xeon processors of family 6 that have SGX with flexible launch control, all of their kind.
_SERVERS: Final = {
    106: "Ice Lake-SP",
    108: "Ice Lake-D",
    143: "Sapphire Rapids",
    173: "Granite Rapids",
    174: "Granite Rapids-D",
    175: "Sierra Forest",
    207: "Emerald Rapids",
}
#: Core processors of family 6 since Intel left SGX out of them.
_CLIENTS: Final = frozenset(
    {140, 141, 151, 154, 167, 170, 172, 181, 183, 186, 189, 190, 191, 197, 198}
)

_MOST_LOG: Final = 4 * 1024 * 1024
_MOST_CONFIG: Final = 4 * 1024 * 1024
_OPTION: Final = re.compile(r"^(?:CONFIG_(\w+)=(.+)|# CONFIG_(\w+) is not set)$", re.MULTILINE)
_RELEASE: Final = re.compile(r"(\d{1,6})\.(\d{1,6})")
#: Longer ones are no numbers of a kernel's.
_MOST_DIGITS: Final = 20


class Processor(msgspec.Struct, frozen=True, kw_only=True):
    """The first processor; `vendor` and `name` as it spells them ("GenuineIntel", "Intel(R) …")."""

    vendor: str = ""
    name: str = ""
    family: int = 0
    model: int = 0
    flags: frozenset[str] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether /proc/cpuinfo could be read."""
        return bool(self.vendor or self.flags)

    @property
    def is_intel(self) -> bool:
        """Whether it is Intel's: nobody else's has SGX or TDX."""
        return self.vendor == "GenuineIntel"

    @property
    def is_virtual(self) -> bool:
        """Whether this is a virtual machine."""
        return "hypervisor" in self.flags

    @property
    def server_with_sgx(self) -> str:
        """The family's name where all of it have SGX; empty where one cannot say."""
        return _SERVERS.get(self.model, "") if self.is_intel and self.family == 6 else ""

    @property
    def client_without_sgx(self) -> bool:
        """Whether it is of a generation of Core processors that have no SGX any more."""
        return self.is_intel and self.family == 6 and self.model in _CLIENTS


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """The running kernel. `configuration` is where its options were read; empty: nowhere."""

    release: str = ""
    version: tuple[int, int] = (0, 0)
    configuration: str = ""
    options: dict[str, str] = {}
    parameters: frozenset[str] = frozenset()

    def option(self, name: str) -> str | None:
        """The value of CONFIG_`name`: "n" where it is left out; None where nothing is known."""
        return self.options.get(name, "n") if self.configuration else None

    def is_older(self, major: int, minor: int) -> bool:
        """Whether it is known to be older than that."""
        return bool(self.release) and self.version < (major, minor)


def processor(root: Root) -> Processor:
    """The first processor of /proc/cpuinfo."""
    first = root.text("/proc/cpuinfo").partition("\n\n")[0]
    lines = {
        key.strip(): value.strip()
        for key, colon, value in (line.partition(":") for line in first.splitlines())
        if colon
    }
    return Processor(
        vendor=printable(lines.get("vendor_id", "ARM" if "CPU implementer" in lines else "")),
        name=printable(lines.get("model name", "")),
        family=number_in(lines.get("cpu family", "")),
        model=number_in(lines.get("model", "")),
        flags=frozenset(lines.get("flags", lines.get("Features", "")).split()),
    )


def kernel(root: Root) -> Kernel:
    """The running kernel, with the options it was built with where they are to be seen."""
    release = root.text("/proc/sys/kernel/osrelease").strip()
    if not release:
        words = root.text("/proc/version").split()
        release = words[2] if len(words) > 2 and words[:2] == ["Linux", "version"] else ""
    found = _RELEASE.match(release)
    place, text = _configuration(root, release)
    return Kernel(
        release=printable(release) if found else "",
        version=(int(found[1]), int(found[2])) if found else (0, 0),
        configuration=place,
        options={
            name or unset: value if name else "n" for name, value, unset in _OPTION.findall(text)
        },
        parameters=frozenset(root.text("/proc/cmdline").split()),
    )


def boot_log(root: Root, words: str) -> str:
    """The first line of the kernel's log that holds these words; empty where none is to be seen."""
    log = root.content("/var/log/dmesg", _MOST_LOG).decode("utf-8", "replace")
    return printable(next((line.strip() for line in log.splitlines() if words in line), ""))


def enclave_memory(root: Root) -> int | None:
    """Bytes of protected memory (EPC) of all nodes; None where the kernel does not say (< 5.17)."""
    nodes = "/sys/devices/system/node"
    sizes = [
        size
        for node in root.names(nodes)
        if (size := root.text(f"{nodes}/{node}/x86/sgx_total_bytes").strip())
    ]
    return sum(map(number_in, sizes)) if sizes else None


def has_module(root: Root, name: str) -> bool:
    """Whether a kernel module is there: loaded, or built in and visible."""
    if root.look(f"/sys/module/{name}").is_there:
        return True
    lines = root.text("/proc/modules").splitlines()
    return any(line.split(" ", 1)[0] == name for line in lines)


def mount_options(root: Root, at: str, kind: str = "") -> frozenset[str] | None:
    """The options of what is mounted last at a path (of that type, where given); None: nothing is."""
    lines = [line.split() for line in root.text("/proc/mounts").splitlines()]
    found = [
        words[3] for words in lines if len(words) >= 4 and words[1] == at and kind in ("", words[2])
    ]
    return frozenset(found[-1].split(",")) if found else None


def number_in(text: str) -> int:
    """The number that a file of the kernel's says; 0 where it says none."""
    plain = text.strip()
    return int(plain) if plain.isdecimal() and len(plain) <= _MOST_DIGITS else 0


def _configuration(root: Root, release: str) -> tuple[str, str]:
    for place in (f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        text = root.text(place) if release else ""
        if "CONFIG_" in text:
            return place, text
    unpacking = zlib.decompressobj(wbits=31)
    try:
        packed = root.content("/proc/config.gz", _MOST_CONFIG)
        text = unpacking.decompress(packed, _MOST_CONFIG).decode("utf-8", "replace")
    except zlib.error:
        return "", ""
    return ("/proc/config.gz", text) if "CONFIG_" in text else ("", "")
