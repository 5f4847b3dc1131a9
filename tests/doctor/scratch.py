"""Machines set up by hand below a folder: what doctor's tests change one thing of.

    root = sgx_host(tmp_path)                        # quotes are made in-process; all is well
    with aesm_answering(add_aesm(root)): ...         # the same with a live AESM
    (root / "dev/sgx_provision").unlink()            # one change
    seen = say(devices.CHECKS, scene(root))          # one consequence: seen.codes, seen.finding(code)

Devices are plain files: checks look at mode, owner and group, and judge by `scene.account`. All files
belong to who runs the tests, so the account of the scene is another one that shares only the group.
Not here: what a check thinks of any of it.
"""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dcap.doctor.examination import Check, examine
from dcap.doctor.finding import Finding, Right, Skipped
from dcap.doctor.scene import Account, Scene
from dcap.qpl.discovery_root import Root

KERNEL = "6.8.0-45-generic"
BOOTED = 1_767_225_600  # 2026-01-01T00:00:00Z, /proc/stat's btime
TICKS = os.sysconf("SC_CLK_TCK")

#: The group of every file here is the tests' own; `sgx_prv` is its name in the scratch machine.
GROUP = os.getgid()
USER = os.getuid() + 1000
APP = Account(name="app", uid=USER, groups=frozenset({USER, GROUP}), home="/home/app")

XEON = "Intel(R) Xeon(R) Platinum 8360Y CPU @ 2.40GHz"
FLAGS = "fpu vme de pse tsc msr pae mce cx8 apic sse sse2 ht syscall nx lm aes avx2"


def write(root: Path, path: str, text: str | bytes = "", mode: int = 0o644) -> Path:
    """A file of the machine, its folders made; `path` as the machine itself names it."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    return file


def link(root: Path, path: str, target: str) -> Path:
    """A symbolic link of the machine."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.symlink_to(target)
    return file


def device(root: Path, path: str, mode: int) -> Path:
    """A device node, as a plain file of that mode."""
    return write(root, path, b"", mode)


def cpu(root: Path, *flags: str, vendor: str = "GenuineIntel", model: str = XEON) -> None:
    """/proc/cpuinfo of two processors; `flags` come after those that every one has."""
    one = (
        f"vendor_id\t: {vendor}\ncpu family\t: 6\nmodel\t\t: 106\nmodel name\t: {model}\n"
        f"flags\t\t: {FLAGS} {' '.join(flags)}\n\n"
    )
    write(root, "/proc/cpuinfo", f"processor\t: 0\n{one}processor\t: 1\n{one}")


def kernel(root: Path, release: str = KERNEL, *options: str) -> None:
    """The running kernel, and the options it was built with (none: SGX and TDX are built in)."""
    write(root, "/proc/version", f"Linux version {release} (buildd@lcy02) (gcc 13.2.0) #45 SMP\n")
    write(root, "/proc/sys/kernel/osrelease", f"{release}\n")
    built = options or ("CONFIG_X86_SGX=y", "CONFIG_X86_SGX_KVM=y", "CONFIG_TDX_GUEST_DRIVER=m")
    write(root, f"/boot/config-{release}", "CONFIG_X86_64=y\n" + "\n".join(built) + "\n")


def mounts(root: Path, *more: str, dev: str = "rw,nosuid,relatime") -> None:
    """/proc/mounts: the usual ones, and more lines."""
    usual = ("sysfs /sys sysfs rw 0 0", "proc /proc proc rw 0 0", f"udev /dev devtmpfs {dev} 0 0")
    write(root, "/proc/mounts", "\n".join((*usual, "/dev/vda1 / ext4 rw 0 0", *more)) + "\n")


def users(root: Path, *, groups: str = "", passwd: str = "") -> None:
    """/etc/passwd and /etc/group; `groups` and `passwd` are more lines."""
    write(
        root,
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\n"
        f"{APP.name}:x:{APP.uid}:{APP.uid}::{APP.home}:/bin/bash\n{passwd}",
    )
    write(root, "/etc/group", f"{groups}root:x:0:\napp:x:{APP.uid}:\n")
    home = root / APP.home.lstrip("/")
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o775)


def join(root: Path, group: str, user: str) -> None:
    """Make a user a member of a group that has members already."""
    lines = (root / "etc/group").read_text().splitlines()
    joined = [f"{each},{user}" if each.startswith(f"{group}:") else each for each in lines]
    write(root, "/etc/group", "\n".join(joined) + "\n")


def packages(root: Path, **versions: str) -> None:
    """Packages that dpkg has installed, more than before (`_` stands for `-`), by version."""
    file = root / "var/lib/dpkg/status"
    before = file.read_text() if file.exists() else ""
    new = "".join(
        f"Package: {name.replace('_', '-')}\nStatus: install ok installed\n"
        f"Architecture: amd64\nVersion: {version}\n\n"
        for name, version in versions.items()
    )
    write(root, "/var/lib/dpkg/status", before + new)


def process(
    root: Path,
    pid: int,
    comm: str,
    *,
    uid: int = 0,
    seconds: int = 60,
    environ: Mapping[str, str] | None = None,
) -> None:
    """A running process, started so many seconds after the machine."""
    rest = f"S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {seconds * TICKS} 0 0"
    write(root, f"/proc/{pid}/comm", f"{comm}\n")
    write(root, f"/proc/{pid}/cmdline", f"{comm}\0")
    write(root, f"/proc/{pid}/stat", f"{pid} ({comm}) {rest}\n")
    write(root, f"/proc/{pid}/status", f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    lines = "".join(f"{key}={value}\0" for key, value in (environ or {}).items())
    write(root, f"/proc/{pid}/environ", lines)


def unit(root: Path, name: str, text: str, *, enabled: bool = True) -> None:
    """A systemd unit as a package installs it."""
    write(root, f"/usr/lib/systemd/system/{name}.service", text)
    if enabled:
        wants = f"/etc/systemd/system/multi-user.target.wants/{name}.service"
        link(root, wants, f"/usr/lib/systemd/system/{name}.service")


def _machine(top: Path) -> Path:
    root = top / "machine"
    root.mkdir(parents=True)
    kernel(root)
    mounts(root)
    users(root)
    write(root, "/proc/stat", f"cpu  1 1 1 1\nbtime {BOOTED}\n")
    write(root, "/etc/os-release", 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04"\n')
    write(root, "/etc/hostname", "machine\n")
    write(root, "/etc/resolv.conf", "nameserver 127.0.0.53\n")
    (root / "run").mkdir()
    link(root, "/var/run", "/run")
    (root / "tmp").mkdir(mode=0o1777)
    return root


def sgx_host(top: Path) -> Path:
    """A server with SGX on which programs make quotes in their own process. All is well."""
    root = _machine(top)
    cpu(root, "sgx", "sgx_lc")
    users(root, groups=f"sgx_prv:x:{GROUP}:app\nsgx:x:{GROUP + 1}:\n")
    device(root, "/dev/sgx_enclave", 0o666)
    device(root, "/dev/sgx_provision", 0o660)
    device(root, "/dev/sgx_vepc", 0o600)
    link(root, "/dev/sgx/enclave", "../sgx_enclave")
    link(root, "/dev/sgx/provision", "../sgx_provision")
    write(root, "/sys/devices/system/node/node0/x86/sgx_total_bytes", "67108864\n")
    write(root, "/etc/udev/rules.d/91-sgx-provision.rules", 'KERNEL=="sgx_provision"\n')
    packages(
        root,
        libsgx_dcap_ql="1.22.100.3-noble1",
        libsgx_dcap_default_qpl="1.22.100.3-noble1",
        libsgx_pce_logic="1.22.100.3-noble1",
        libsgx_qe3_logic="1.22.100.3-noble1",
        libsgx_ae_pce="2.25.100.3-noble1",
        libsgx_ae_qe3="1.22.100.3-noble1",
        libsgx_enclave_common="2.25.100.3-noble1",
        libsgx_urts="2.25.100.3-noble1",
    )
    return root


def tdx_guest(top: Path) -> Path:
    """A trust domain that gets quotes by configfs-tsm. All is well."""
    root = _machine(top)
    cpu(root, "hypervisor", "tdx_guest")
    mounts(root, "configfs /sys/kernel/config configfs rw,nosuid,relatime 0 0")
    users(root, groups=f"tdx:x:{GROUP}:app\n")
    device(root, "/dev/tdx_guest", 0o660)
    (root / "sys/module/tdx_guest").mkdir(parents=True)
    entry = "/sys/kernel/config/tsm/report/com.intel.dcap"
    write(root, f"{entry}/provider", "tdx_guest\n")
    write(root, f"{entry}/generation", "0\n")
    write(root, f"{entry}/inblob", b"", 0o660)
    return root


def laptop(top: Path) -> Path:
    """A laptop without SGX that only verifies. All is well."""
    root = _machine(top)
    cpu(root, vendor="AuthenticAMD", model="AMD Ryzen 7 PRO 6850U")
    return root


def scene(root: Path, **changes: Any) -> Scene:
    """The scene of that root: an ordinary user's, who attests; any field may be given."""
    whole = Scene(
        root=Root(root),
        environ={"HOME": APP.home, "PATH": "/usr/bin:/bin", "USER": APP.name},
        account=APP,
        roles=frozenset({"attester"}),
        clock=lambda: datetime.now(UTC),
    )
    return msgspec.structs.replace(whole, **changes)


def add_aesm(root: Path) -> Path:
    """AESM as Intel packages it, running; its socket comes with `aesm_answering`."""
    home = "/var/opt/aesmd"
    account = f"aesmd:x:{USER + 1}:{USER + 1}:aesmd:{home}:/usr/sbin/nologin\n"
    with (root / "etc/passwd").open("a") as file:
        file.write(account)
    join(root, "sgx_prv", "aesmd")
    (root / home.lstrip("/")).mkdir(parents=True)
    (root / home.lstrip("/")).chmod(0o775)
    (root / "run/aesmd").mkdir(exist_ok=True)
    unit(
        root,
        "aesmd",
        "[Unit]\nDescription=Intel(R) Architectural Enclave Service Manager\n\n[Service]\n"
        "Type=forking\nUser=aesmd\nInaccessiblePaths=/home\n"
        "ExecStart=/opt/intel/sgx-aesm-service/aesm/aesm_service\n\n"
        "[Install]\nWantedBy=multi-user.target\n",
    )
    process(root, 700, "aesm_service", uid=USER + 1, environ={"HOME": home})
    packages(
        root,
        sgx_aesm_service="2.25.100.3-noble1",
        libsgx_aesm_ecdsa_plugin="2.25.100.3-noble1",
        libsgx_aesm_pce_plugin="2.25.100.3-noble1",
        libsgx_aesm_quote_ex_plugin="2.25.100.3-noble1",
        libsgx_ae_id_enclave="1.22.100.3-noble1",
    )
    return root


def add_qgs(root: Path) -> Path:
    """QGS on a host of trust domains, running; on vsock port 4050."""
    home = "/var/opt/qgsd"
    with (root / "etc/passwd").open("a") as file:
        file.write(f"qgsd:x:{USER + 2}:{USER + 2}:qgsd:{home}:/usr/sbin/nologin\n")
    join(root, "sgx_prv", "qgsd")
    (root / home.lstrip("/")).mkdir(parents=True)
    (root / home.lstrip("/")).chmod(0o775)
    write(root, "/etc/qgs.conf", "port = 4050\nnumber_threads = 4\n")
    unit(
        root,
        "qgsd",
        "[Unit]\nDescription=Intel(R) TD Quoting Generation Service\n\n[Service]\nUser=qgsd\n"
        "InaccessibleDirectories=/home\nExecStart=/opt/intel/tdx-qgs/qgs\n\n"
        "[Install]\nWantedBy=multi-user.target\n",
    )
    process(root, 800, "qgs", uid=USER + 2, environ={"HOME": home})
    packages(
        root,
        tdx_qgs="1.22.100.3-noble1",
        libsgx_tdx_logic="1.22.100.3-noble1",
        libsgx_ae_tdqe="1.22.100.3-noble1",
    )
    device(root, "/dev/vhost-vsock", 0o660)
    write(root, "/sys/module/kvm_intel/parameters/tdx", "Y\n")
    return root


#: AESM's answer to getSupportedAttKeyIDNum: Response.getSupportedAttKeyIDNumRes (21) {error 0, one key}.
ONE_KEY = bytes.fromhex("aa010408001001")


@contextmanager
def listening(
    root: Path, path: str, answer: Callable[[bytes], bytes | None] | None = None
) -> Iterator[Path]:
    """A Unix stream socket of the machine; each connection gets one answer (None: silence).

    Without `answer` nothing is ever accepted. Framed as AESM frames: 4 bytes little-endian, then the
    message, both ways.
    """
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(file.parent, os.O_PATH | os.O_DIRECTORY)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # By way of the folder's descriptor: a path of the machine may be too long for a socket.
    server.bind(f"/proc/self/fd/{folder}/{file.name}")
    file.chmod(0o666)
    server.listen()
    silent: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            if not _answered(peer, answer):
                silent.append(peer)

    thread = threading.Thread(target=serve, daemon=True)
    if answer is not None:
        thread.start()
    try:
        yield root
    finally:
        server.shutdown(socket.SHUT_RDWR)
        if answer is not None:
            thread.join(5)
        for each in (server, *silent):
            each.close()
        os.close(folder)
        file.unlink(missing_ok=True)


def _answered(peer: socket.socket, answer: Callable[[bytes], bytes | None] | None) -> bool:
    peer.settimeout(5)
    head = peer.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        peer.close()
        return True
    (size,) = struct.unpack("<I", head)
    said = answer(peer.recv(size, socket.MSG_WAITALL)) if answer else None
    if said is None:
        return False
    peer.sendall(struct.pack("<I", len(said)) + said)
    peer.close()
    return True


def aesm_answering(root: Path, answer: bytes | None = ONE_KEY) -> Any:
    """A live AESM at its socket that says the same to everything (None: nothing)."""
    return listening(root, "/run/aesmd/aesm.socket", lambda _: answer)


@contextmanager
def stale(root: Path, path: str) -> Iterator[Path]:
    """A socket file whose process is gone: connecting is refused."""
    with listening(root, path):
        (file := root / path.lstrip("/")).rename(aside := file.with_name("aside"))
    aside.rename(file)
    yield root


class Seen(NamedTuple):
    """What checks said of a scene."""

    findings: list[Finding]
    rights: list[Right]
    skipped: list[Skipped]

    @property
    def codes(self) -> list[str]:
        """The codes of the findings, in order."""
        return [each.code for each in self.findings]

    def finding(self, code: str) -> Finding:
        """The one finding of that code."""
        (only,) = [each for each in self.findings if each.code == code]
        return only

    def mends(self, code: str) -> str:
        """The texts of that finding's mends, a line each."""
        return "\n".join(each.text for each in self.finding(code).mends)


def say(checks: Iterable[Check], at: Scene) -> Seen:
    """All that checks say of a scene, sorted by kind."""
    remarks = [remark for _, remark in examine(at, checks)]
    return Seen(
        [each for each in remarks if isinstance(each, Finding)],
        [each for each in remarks if isinstance(each, Right)],
        [each for each in remarks if isinstance(each, Skipped)],
    )
