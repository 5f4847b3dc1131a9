"""Containers and Kubernetes: what arrived in here of what the host has.

From inside one cannot see the host: what can be seen is what is missing, and what was configured for
the host and means another thing in here. Not here: what to give a container (`attester.container`,
`dcap container-args`), devices on a host (`devices`).

Source: `quote-provider.md` §5.3, §6 (rows 2, 11, 13, 16).
"""

import re
import shlex
import socket
import stat
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

from dcap.attester.container import (
    AESM_FOLDER,
    AESM_SOCKET,
    CACHE,
    CACHE_VARIABLES,
    CONFIGFS,
    NODES,
    OLD_NAMES,
    QCNL_FILE,
    QCNL_VARIABLE,
    REPORTS,
    TDX_FILE,
    Container,
    container_of,
    group_of,
    node_of,
)
from dcap.doctor.accounts import WRITE, may
from dcap.doctor.container_ailments import AILMENTS
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remark, Right, Skipped
from dcap.doctor.scene import Scene
from dcap.qpl.discovery_root import Place, Root
from dcap.qpl.qcnl_config import load_qcnl
from dcap.qpl.qcnl_values import Remark as Noted

__all__ = ["AILMENTS", "CHECKS"]

#: Files of a program that asks aesmd: its own part of quoting out of process.
_AESM_CLIENTS: Final = tuple(
    f"{folder}/{name}"
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
    for name in ("libsgx_quote_ex.so.1", "libsgx_uae_service.so")
)
_PLUGINS: Final = tuple(
    f"{folder}/libdcap_quoteprov.so.1"
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
)
_LOOPBACK: Final = ("localhost", "127.", "::1")
#: Folders in which Intel's provider, Azure's and dcap keep caches, in their order.
_BASES: Final = ("AZDCAP_CACHE", "XDG_CACHE_HOME", "HOME")


def look(scene: Scene) -> Iterator[Remark]:
    """All of it, where this is a container."""
    inside = container_of(scene.root, scene.environ)
    if inside is None:
        yield Skipped("container: what arrived of the host", "this is no container")
        return
    yield Right(f"this is a container ({inside.kind})", inside.signs)
    if scene.wants("attester"):
        yield from _devices(scene, inside)
        yield from _aesm(scene, inside)
    yield from _configuration(scene, inside)
    yield from _cache(scene)


CHECKS: Final[tuple[Check, ...]] = (Check("container", look, ("attester", "verifier")),)


# ── devices ─────────────────────────────────────────────────────────────────────────────────────


def _devices(scene: Scene, inside: Container) -> Iterator[Remark]:
    root = scene.root
    found = {use: node for use in NODES if (node := node_of(root, use)) is not None}
    if not found:
        yield from _no_device(root, inside)
        return
    yield Right(f"arrived: {', '.join(name for name, _ in found.values())}")
    for name, place in found.values():
        yield from _group(scene, inside, name, place)
    if "tdx" in found:
        yield from _configfs(root, inside, found["tdx"][0])
    if "enclave" not in found:
        return
    if "provision" not in found and not root.look(AESM_SOCKET).is_there:
        yield Finding(
            "container-no-provision",
            f"{found['enclave'][0]} arrived in the container, and no provisioning device: quoting in "
            "the process ends in 0xE00D or 0xE035",
            evidence=tuple(f"{name}: not there" for name in NODES["provision"]),
            mends=_given(
                inside,
                "map the second device as well: `--device /dev/sgx_provision`",
                "limits of the container: `sgx.intel.com/provision: 1`",
            ),
        )
    sgx = [found[use][0] for use in ("enclave", "provision") if use in found]
    if older := {name: new for new, name in OLD_NAMES.items() if name in sgx}:
        said = " and ".join(sgx)
        mapped = " ".join(f"--device {name}:{new}" for name, new in older.items())
        yield Finding(
            "container-device-names",
            f"the devices are here as {said}: a program that opens {' or '.join(older.values())} "
            "finds none",
            evidence=tuple(f"{new}: not there" for new in older.values()),
            mends=(Mend(f"give each node its present name: `docker run {mapped} …`"),),
        )


def _configfs(root: Root, inside: Container, name: str) -> Iterator[Remark]:
    """The kernel's own road to a quote of a trust domain, where nothing sends it over vsock."""
    if root.look(REPORTS).is_there or "port" in root.text(TDX_FILE):
        return
    yield Finding(
        "container-no-configfs",
        f"{name} arrived, and {REPORTS} did not: the kernel's way to a quote is closed in here",
        evidence=(f"{REPORTS}: not there", f"{TDX_FILE}: names no port"),
        mends=_given(
            inside,
            f"`docker run -v {CONFIGFS}:{CONFIGFS} …`",
            f"a hostPath volume of {CONFIGFS}: `dcap container-args --k8s` in the trust domain",
        ),
    )


def _no_device(root: Root, inside: Container) -> Iterator[Remark]:
    flags = set(re.findall(r"\b(?:sgx|tdx_guest)\b", root.text("/proc/cpuinfo")))
    if root.look("/proc/cpuinfo").is_there and not flags:
        why = "the processor, which is the host's, shows neither SGX nor TDX"
        yield Skipped("container: devices of the host", why)
        return
    has = " and ".join(sorted(flags)) or "what the host has cannot be read"
    yield Finding(
        "container-no-device",
        "none of the host's SGX or TDX devices arrived in this container, so that nothing can be "
        "attested in it",
        evidence=(
            *(f"{name}: not there" for names in NODES.values() for name in names),
            f"/proc/cpuinfo, which is the host's: {has}",
        ),
        mends=_given(
            inside,
            "`docker run $(dcap container-args --docker) IMAGE`, typed on the host; or by hand "
            "`--device /dev/sgx_enclave --device /dev/sgx_provision`, as `ls -l /dev/sgx*` there has it",
            "limits of the container: `sgx.intel.com/enclave: 1`, `sgx.intel.com/provision: 1`, "
            "`sgx.intel.com/epc: 10Mi` of Intel's device plugin; `dcap container-args --k8s` on a "
            "node prints all of it",
        ),
    )


def _group(scene: Scene, inside: Container, name: str, place: Place) -> Iterator[Remark]:
    group, account = group_of(scene.root, place.real), scene.account
    if group is None or may(scene.root, account, name, WRITE):
        return
    yield Finding(
        "container-group",
        f"{account.name} (uid {account.uid}) may not open {name}, which is of group {group}: groups "
        "do not come along into a container",
        evidence=(
            f"{name}: {_listed(scene.root, place)}",
            f"groups of {account.name} here: {', '.join(map(str, sorted(account.groups))) or 'none'}",
        ),
        mends=_given(
            inside,
            f"`docker run --group-add {group} …`: the number, for the name is another in here",
            f"`securityContext.supplementalGroups: [{group}]` of the pod",
        ),
    )


def _listed(root: Root, place: Place) -> str:
    try:
        about = root.host(place.real).stat()
    except OSError as error:
        return error.strerror or "not readable"
    return f"mode {stat.S_IMODE(about.st_mode):04o}, uid {about.st_uid}, gid {about.st_gid}"


def _given(inside: Container, docker: str, kubernetes: str) -> tuple[Mend, ...]:
    """What to tell the one that starts the container; the other way stands second."""
    said = (kubernetes, docker) if inside.kind == "kubernetes" else (docker, kubernetes)
    whose = ("Docker, Podman", "Kubernetes")
    other = whose[inside.kind != "kubernetes"]
    return Mend(said[0]), Mend(f"{other}: {said[1]}")


# ── what programs ask ───────────────────────────────────────────────────────────────────────────


def _aesm(scene: Scene, inside: Container) -> Iterator[Remark]:
    client = next((name for name in _AESM_CLIENTS if scene.root.look(name).is_there), "")
    address = scene.environ.get("SGX_AESM_ADDR", "")
    has_provision = node_of(scene.root, "provision") is not None
    if scene.root.look(AESM_SOCKET).is_there:
        yield Right(f"{AESM_SOCKET} arrived")
    elif address or (client and not has_provision and node_of(scene.root, "enclave")):
        asks = f"SGX_AESM_ADDR is {address!r}" if address else f"{client} is here"
        yield Finding(
            "container-no-aesm",
            f"programs in here ask aesmd for quotes, and {AESM_SOCKET} is not there",
            evidence=(asks, f"{AESM_SOCKET}: not there"),
            mends=_given(
                inside,
                f"`docker run -v {AESM_FOLDER}:{AESM_FOLDER} …`: the folder, for aesmd makes a new "
                "socket whenever it starts",
                f"a hostPath volume of {AESM_FOLDER}: `dcap container-args --k8s --out-of-proc`",
            ),
        )
    else:
        yield Skipped("container: socket of aesmd", "nothing in here asks aesmd")


def _configuration(scene: Scene, inside: Container) -> Iterator[Remark]:
    root = scene.root
    plugin = next((name for name in _PLUGINS if root.look(name).is_there), "")
    path = scene.environ.get(QCNL_VARIABLE, QCNL_FILE)
    place = root.look(path)
    if place.kind != "file":
        if not plugin:
            yield Skipped(f"container: {path}", "no quote provider of Intel's kind is in here")
            return
        yield Finding(
            "container-no-qcnl",
            f"{path} did not arrive, and {plugin} then asks https://localhost:8081, which is this "
            "container: 0xE019",
            evidence=(f"{path}: {place.kind}", f"{plugin}: there"),
            mends=_given(
                inside,
                f"`docker run -v {QCNL_FILE}:{QCNL_FILE}:ro …`",
                f"a ConfigMap, or a hostPath volume, at {QCNL_FILE}",
            ),
        )
        return
    reading = load_qcnl({}, path=root.host(place.real))
    for key, url in (
        ("pccs_url", reading.intel.pccs_url),
        ("collateral_service", reading.intel.collateral_url),
    ):
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if not host.startswith(_LOOPBACK):
            continue
        port = _port(parts)
        if not scene.offline and _listens(host, port, scene.timeout):
            yield Right(f"{key} names {host}:{port}, and something listens there in here")
            return
        if scene.offline:
            seen = "whether anything listens there was not tried (--offline)"
        else:
            seen = f"nothing listens at {host}:{port} in here"
        discarded = [each for each in reading.remarks if each.severity == "discarded"]
        if discarded:
            yield _discarded(path, host, discarded[0], seen)
            return
        yield Finding(
            "container-localhost",
            f"{key} names {host}, which in here is this container and not its host: 0xE019",
            evidence=(f"{path}: {key} {_origin(url)}", seen),
            mends=_given(
                inside,
                "name the machine of the PCCS: `dcap qcnl write --pccs https://HOST:8081`, and mount "
                "that file; or `docker run --network host …`",
                "name its Service: `dcap qcnl write --pccs https://SERVICE.NAMESPACE.svc:8081`",
            ),
        )
        return
    yield Right(f"{path} arrived, and names another machine than this one")


def _discarded(path: str, host: str, noted: Noted, seen: str) -> Finding:
    """The file does not name localhost: Intel's library asks it because it throws the file away."""
    line = f", line {noted.line}" if noted.line else ""
    return Finding(
        "container-localhost",
        f"Intel's library discards {path} and asks {host}, which in here is this container: 0xE019",
        evidence=(f"{path}{line}: {noted.what}", seen),
        mends=(Mend(f"correct that file: `dcap qcnl lint {shlex.quote(path)}` shows each line"),),
    )


def _origin(url: str) -> str:
    """Scheme, host and port of a URL: what may stand before and behind them can be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{_port(parts)}"


def _port(parts: SplitResult) -> int:
    try:
        found = parts.port
    except ValueError:
        found = None
    return found or (80 if parts.scheme == "http" else 443)


def _listens(host: str, port: int, timeout: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


# ── what can be written ─────────────────────────────────────────────────────────────────────────


def _cache(scene: Scene) -> Iterator[Remark]:
    bases = {name: scene.environ[name] for name in _BASES if scene.environ.get(name)}
    readonly = any(
        fields[1:2] == ["/"] and "ro" in fields[3].split(",")
        for line in scene.root.text("/proc/mounts").splitlines()
        if len(fields := line.split()) > 3
    )
    tried = []
    for name, path in bases.items():
        place = scene.root.look(path)
        if place.kind == "folder" and may(scene.root, scene.account, path, WRITE):
            if readonly and not _is_mounted(scene.root, place.real):
                tried.append(f"{name}={path}: on a file system that is read-only")
                continue
            yield Right(f"caches can be written: {name} is {path}")
            return
        why = "not writable" if place.is_there else "not there"
        tried.append(f"{name}={path}: {why} for {scene.account.name}")
    tried += [f"{name}: not set" for name in _BASES if name not in bases]
    yield Finding(
        "container-no-cache",
        "no folder for a cache can be written in here: certificates do not outlive a process, and "
        "libraries fall back on /tmp",
        evidence=tuple(tried),
        mends=(
            Mend(
                f"`docker run --tmpfs {CACHE}:mode=1777 "
                + " ".join(f"-e {name}={CACHE}" for name in CACHE_VARIABLES)
                + " …`, or a volume there, which outlives the container"
            ),
        ),
    )


def _is_mounted(root: Root, real: str) -> bool:
    """Whether a file system that may be written is mounted at a folder, or above it."""
    mounted = (line.split() for line in root.text("/proc/mounts").splitlines())
    return any(
        f"{real}/".startswith(f"{fields[1].rstrip('/')}/")
        for fields in mounted
        if len(fields) > 3 and fields[1] != "/" and "ro" not in fields[3].split(",")
    )
