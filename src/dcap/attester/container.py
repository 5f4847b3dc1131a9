"""Containers as values: whether we are in one, and what one needs of its host to make quotes.

    inside = container_of(root, environ)         # how one can tell, or None
    needs = needs_of(root, environ)              # device nodes, groups, mounts, variables

Docker gives a container no device, group, socket or file that it was not told of: each has to be named.
A node is named by its real path (links resolved), for a path that the host does not have cannot be
mapped; groups by number, for the container has other names for them. Not here: how that is written for
Docker, Podman, Compose, Kubernetes (`cli.container_args`), and what did not arrive (`doctor.container`).

Source: `quote-provider.md` §2.8, §4.1, §5.3, §5.6, §6 (rows 2, 11, 13).
"""

import stat
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from dcap.qpl.discovery_root import Place, Root

Kind: TypeAlias = Literal["docker", "podman", "kubernetes", "container"]
Use: TypeAlias = Literal["enclave", "provision", "tdx"]

#: Every name under which drivers have offered each device, the present one first.
NODES: Final[Mapping[Use, tuple[str, ...]]] = {
    "enclave": ("/dev/sgx_enclave", "/dev/sgx/enclave"),
    "provision": ("/dev/sgx_provision", "/dev/sgx/provision"),
    "tdx": ("/dev/tdx_guest", "/dev/tdx-guest"),
}
#: The names that older programs and older images open.
OLD_NAMES: Final[Mapping[str, str]] = {
    "/dev/sgx_enclave": "/dev/sgx/enclave",
    "/dev/sgx_provision": "/dev/sgx/provision",
}
AESM_FOLDER: Final = "/var/run/aesmd"
AESM_SOCKET: Final = f"{AESM_FOLDER}/aesm.socket"
QCNL_FILE: Final = "/etc/sgx_default_qcnl.conf"
QCNL_VARIABLE: Final = "QCNL_CONF_PATH"
TDX_FILE: Final = "/etc/tdx-attest.conf"
CONFIGFS: Final = "/sys/kernel/config"
REPORTS: Final = f"{CONFIGFS}/tsm/report"
#: Where caches lie in a container: neither client nor dcap then depends on HOME.
CACHE: Final = "/var/cache/dcap"
CACHE_VARIABLES: Final = ("AZDCAP_CACHE", "XDG_CACHE_HOME")
LOG_LEVEL: Final = "AZDCAP_DEBUG_LOG_LEVEL"

_AZURE_TAG: Final = "7783-7084-3265-9085-8269-3286-77"
_DMI: Final = "/sys/class/dmi/id/chassis_asset_tag"
_TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a folder
#: What stands in a cgroup's path -> whose container it is.
_GROUPS: Final[tuple[tuple[str, Kind], ...]] = (
    ("kubepods", "kubernetes"),
    ("libpod", "podman"),
    ("docker", "docker"),
    ("containerd", "container"),
    ("/lxc", "container"),
)


class Container(msgspec.Struct, frozen=True):
    """The container that we are in, and by what one can tell."""

    kind: Kind
    signs: tuple[str, ...]


class Device(msgspec.Struct, frozen=True):
    """A device node of the host, and under which name a container is to have it."""

    use: Use
    host: str
    inside: str


class Mount(msgspec.Struct, frozen=True):
    """A folder or file of the host that a container is to have at the same or another place."""

    host: str
    inside: str
    readonly: bool = True
    folder: bool = True


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a container needs of this host. `remarks` are what no argument can do for it."""

    devices: tuple[Device, ...] = ()
    groups: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def is_served(self) -> bool:
        """Whether the host has anything that makes quotes."""
        return bool(self.devices)


def container_of(root: Root, environ: Mapping[str, str]) -> Container | None:
    """The container that this root is, if it is one."""
    found: list[tuple[Kind, str]] = []
    if "KUBERNETES_SERVICE_HOST" in environ:
        found.append(("kubernetes", "KUBERNETES_SERVICE_HOST is set"))
    if root.look(_TOKEN).is_there:
        found.append(("kubernetes", f"{_TOKEN} is there"))
    if root.look("/run/.containerenv").is_there:
        found.append(("podman", "/run/.containerenv is there"))
    if root.look("/.dockerenv").is_there:
        found.append(("docker", "/.dockerenv is there"))
    if named := environ.get("container", ""):  # of systemd, LXC and Podman; in lower case
        found.append(("podman" if named == "podman" else "container", f"container={named}"))
    if root.is_running or not found:
        found += _by_cgroup(root)
    if not found:
        return None
    return Container(found[0][0], tuple(dict.fromkeys(sign for _, sign in found)))


def _by_cgroup(root: Root) -> list[tuple[Kind, str]]:
    """By the path of the first process' control group: none is left to see under cgroup v2."""
    for line in root.text("/proc/1/cgroup").splitlines():
        for word, kind in _GROUPS:
            if word in line:
                return [(kind, f"/proc/1/cgroup says {word.strip('/')}")]
    return []


def node_of(root: Root, use: Use) -> tuple[str, Place] | None:
    """The name under which a device is there, and the node that the name leads to."""
    for name in NODES[use]:
        place = root.look(name)
        if place.is_there:
            return name, place
    return None


def group_of(root: Root, real: str) -> int | None:
    """The group that a program has to be in to open a node; `None` where any may."""
    try:
        about = root.host(real).stat()
    except OSError:
        return None
    if about.st_mode & (stat.S_IROTH | stat.S_IWOTH) == stat.S_IROTH | stat.S_IWOTH:
        return None
    return about.st_gid


def needs_of(
    root: Root, environ: Mapping[str, str], *, out_of_proc: bool = False, old_names: bool = False
) -> Needs:
    """What a container needs of this host.

    Out of process, the quoting enclaves are aesmd's: its socket comes in, and the provisioning device
    stays out. With `old_names` nodes appear under the older names as well.
    """
    remarks: list[str] = []
    devices: list[Device] = []
    groups: list[int] = []
    uses: tuple[Use, ...] = ("enclave",) if out_of_proc else ("enclave", "provision")
    for use in (*uses, "tdx"):
        found = node_of(root, use)
        if found is None:
            continue
        devices.append(Device(use, found[1].real, found[1].real))
        older = OLD_NAMES.get(found[1].real)
        if old_names and older:
            devices.append(Device(use, found[1].real, older))
        group = group_of(root, found[1].real)
        if group == 0:
            remarks.append(f"{found[1].real} is root's alone: only root in the container opens it")
        elif group is not None:
            groups.append(group)
    present = {device.use for device in devices}
    if "enclave" in present and "provision" not in present and not out_of_proc:
        remarks.append(
            "there is no provisioning device: no quote can be made in the process (--out-of-proc?)"
        )
    mounts = [*_sockets(root, remarks, out_of_proc=out_of_proc)]
    mounts += _configurations(root, environ, remarks)
    if "tdx" in present:
        mounts += _trust_domain(root, remarks)
    return Needs(
        devices=tuple(devices),
        groups=tuple(dict.fromkeys(groups)),
        mounts=tuple(mounts),
        environment=_environment(root, out_of_proc=out_of_proc and "enclave" in present),
        remarks=tuple(remarks),
    )


def _sockets(root: Root, remarks: list[str], *, out_of_proc: bool) -> list[Mount]:
    """The folder and not the socket: aesmd makes a new one whenever it starts."""
    if not out_of_proc:
        return []
    if not root.look(AESM_SOCKET).is_there:
        remarks.append(f"{AESM_SOCKET} is not there: `sudo systemctl start aesmd` on the host")
    return [Mount(root.look(AESM_FOLDER).real, AESM_FOLDER)]


def _configurations(root: Root, environ: Mapping[str, str], remarks: list[str]) -> list[Mount]:
    path = environ.get(QCNL_VARIABLE) or QCNL_FILE
    place = root.look(path)
    if place.kind != "file":
        return []
    if _names_this_machine(root.text(path)):
        remarks.append(
            f"{path} names localhost, which in a container is the container itself: "
            "--network host, or the host's own name in pccs_url"
        )
    return [Mount(place.real, QCNL_FILE, folder=False)]


def _names_this_machine(text: str) -> bool:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith(("//", "#")))
    named = ("//localhost", "//127.", "//[::1]")
    return any(name in line.lower() for line in lines for name in named)


def _trust_domain(root: Root, remarks: list[str]) -> list[Mount]:
    mounts = []
    if root.look(REPORTS).is_there:
        mounts.append(Mount(CONFIGFS, CONFIGFS, readonly=False))
    place = root.look(TDX_FILE)
    if place.kind == "file" and "port" in root.text(TDX_FILE):
        mounts.append(Mount(place.real, TDX_FILE, folder=False))
        remarks.append(
            f"{TDX_FILE} sends quotes over vsock, which Docker's seccomp profile refuses since 23.0: "
            "leave the port out of the container's file, so that configfs-tsm is taken, or allow "
            "AF_VSOCK in a profile of your own"
        )
    return mounts


def _environment(root: Root, *, out_of_proc: bool) -> tuple[tuple[str, str], ...]:
    found = [(name, CACHE) for name in CACHE_VARIABLES]
    if out_of_proc:
        found.append(("SGX_AESM_ADDR", "1"))
    if root.text(_DMI).strip() == _AZURE_TAG:
        found.append((LOG_LEVEL, "FATAL"))
    return tuple(found)
