"""Device nodes under all their names, their groups, and whether the account may open them.

In a container it is another family that looks (`container`): there the host decides what arrives. Where
the machine has no SGX, or its driver is not loaded for a reason that the family `machine` has told,
nothing is said twice. Not here: how a node is read (`nodes`), a service's own rights (`daemons`).

Source: `quote-provider.md` §5.3, §6 row 11.
"""

from typing import Final

from dcap.attester.container import container_of
from dcap.doctor import nodes
from dcap.doctor.devices_ailments import AILMENTS
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remark, Remarks, Right, Skipped
from dcap.doctor.machine import drives_sgx
from dcap.doctor.nodes import Node, first_node, groups, has_sgx_driver, node
from dcap.doctor.processor import has_module, kernel, mount_options, processor
from dcap.doctor.scene import Scene
from dcap.doctor.tdx_guest import may_ask

_BY: Final = {
    "root": "as root",
    "owner": "as its owner",
    "group": "as a member of its group",
    "everyone": "as everyone may",
}
_RULE: Final = {
    "sgx_enclave": 'SUBSYSTEM=="misc", KERNEL=="sgx_enclave", MODE="0666", SYMLINK+="sgx/enclave"',
    "sgx_provision": 'SUBSYSTEM=="misc", KERNEL=="sgx_provision", GROUP="sgx_prv", MODE="0660", '
    'SYMLINK+="sgx/provision"',
    "tdx_guest": 'SUBSYSTEM=="misc", KERNEL=="tdx_guest", GROUP="tdx", MODE="0660"',
}
_RELOAD: Final = "`sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=misc`"
_DMESG = Mend("see what the driver said: `sudo dmesg | grep -i sgx`")
_AESM_SOCKET: Final = "/var/run/aesmd/aesm.socket"


def _enclave(scene: Scene) -> Remarks:
    what = "SGX devices"
    if why := _why_skipped(scene):
        yield Skipped(what, why)
        return
    enclave = first_node(scene.root, nodes.ENCLAVE)
    if enclave is None:
        yield _no_enclave(scene)
        return
    if enclave.real == nodes.ENCLAVE[1]:
        yield Finding(
            "device-old-driver",
            f"{enclave.real} is a node of its own: the DCAP driver from before Linux 5.11 is in use",
            (str(enclave), f"kernel: {kernel(scene.root).release or 'unknown'}"),
            (
                Mend(
                    "move to a kernel from 5.11 on, whose driver is built in, and remove the old "
                    "one: `sudo modprobe -r intel_sgx`, `sudo apt remove sgx-dcap-driver`, restart"
                ),
            ),
        )
    yield _judge(scene, enclave)
    provision = first_node(scene.root, nodes.PROVISION)
    yield _no_provision(enclave) if provision is None else _judge_provision(scene, provision)
    if node(scene.root, nodes.VIRTUAL) is not None:
        yield Right(f"{nodes.VIRTUAL} is there: this host can give SGX to its virtual machines")


def _why_skipped(scene: Scene) -> str:
    """Why there is nothing to look at here, or nothing left to say; empty where there is."""
    flags = processor(scene.root).flags
    if inside := container_of(scene.root, scene.environ):
        return f"this is a container ({inside.kind}): the check `container` looks at what arrived"
    if has_sgx_driver(scene.root):
        return ""
    if "sgx" not in flags:
        return "this is a trust domain" if "tdx_guest" in flags else "the processor shows no SGX"
    return "" if drives_sgx(scene) else "no driver is loaded; the findings above say why"


def _no_enclave(scene: Scene) -> Finding:
    epid = node(scene.root, nodes.EPID)
    if epid is not None:
        return Finding(
            "device-epid-driver",
            f"only {nodes.EPID} is there: the driver of the EPID time, which cannot make ECDSA quotes",
            (str(epid), *_absent(nodes.ENCLAVE)),
            (
                Mend(
                    "unload and remove it, so that the kernel's own driver (from 5.11 on) takes "
                    "over: `sudo modprobe -r isgx`, `sudo /opt/intel/sgxdriver/uninstall.sh`, restart"
                ),
            ),
        )
    release = kernel(scene.root).release
    driver = (
        f" and kernel {release} a driver" if release else " (the kernel's release is not known)"
    )
    return Finding(
        "device-enclave-absent",
        f"there is no {nodes.ENCLAVE[0]}, although the processor has SGX{driver}",
        _absent((*nodes.ENCLAVE, nodes.EPID)),
        (
            _DMESG,
            Mend(
                "make the nodes that udev should have made: `sudo udevadm trigger --action=add "
                "--subsystem-match=misc`; where that changes nothing, restart the machine"
            ),
        ),
    )


def _no_provision(enclave: Node) -> Finding:
    return Finding(
        "device-provision-absent",
        f"there is {enclave.path}, but no {nodes.PROVISION[0]}: the quoting enclaves cannot be loaded",
        (str(enclave), *_absent(nodes.PROVISION)),
        (
            Mend(
                "make the node that udev should have made: `sudo udevadm trigger --action=add "
                "--subsystem-match=misc`; where that changes nothing, restart the machine"
            ),
            _DMESG,
        ),
    )


def _judge_provision(scene: Scene, provision: Node) -> Remark:
    """As any node; but who has quotes made by AESM needs no right to it."""
    name = scene.account.name
    if provision.access(scene.account) != "none":
        return _judge(scene, provision)
    if "SGX_AESM_ADDR" in scene.environ:
        why = f"SGX_AESM_ADDR is set: AESM makes the quotes, {name} needs no right to it"
        return Skipped(provision.path, why)
    if not scene.root.look(_AESM_SOCKET).is_there:
        return _judge(scene, provision)
    return Finding(
        "device-provision-only-aesm",
        f"{name} may not open {provision.path}: quotes come from AESM only, none is made in-process",
        (str(provision), f"{_AESM_SOCKET}: there"),
        (
            Mend("have programs ask AESM (Gramine does by itself): `export SGX_AESM_ADDR=1`"),
            _membership(scene, provision),
        ),
    )


def _judge(scene: Scene, found: Node) -> Remark:
    """Whether the account may open it; if not, what is in the way."""
    name, by = scene.account.name, found.access(scene.account)
    if by != "none":
        return Right(f"{found.path}: {name} may open it, {_BY[by]}", (str(found),))
    what = f"{name} may not open {found.path}"
    if not found.group_may:
        return Finding(
            "device-no-rule",
            f"{what}: nobody but root may, for no udev rule gives it to a group",
            (str(found),),
            _rule(scene, found),
        )
    _, members = groups(scene.root).get(found.group, (0, frozenset[str]()))
    if name in members:
        return Finding(
            "device-group-not-in-effect",
            f"{what}: it is a member of {found.group} by now, but was not yet when it logged in",
            (str(found), f"/etc/group: {found.group} has {name}", _groups_of(scene)),
            (
                Mend(
                    f"log out and in again; in this shell alone: `newgrp {found.group}`. Services: "
                    "restart them"
                ),
            ),
        )
    return Finding(
        "device-not-in-group",
        f"{what}: it is not a member of {found.group}",
        (str(found), _groups_of(scene)),
        (_membership(scene, found),),
    )


def _membership(scene: Scene, found: Node) -> Mend:
    name, group = scene.account.name, found.group
    if group.isdecimal():
        return Mend(
            f"name the group and join it: `sudo groupadd -g {group} sgx_prv && sudo usermod -aG "
            f"sgx_prv {name}`, then log in again"
        )
    return Mend(
        f"join it: `sudo usermod -aG {group} {name}`, then log in again",
        ("sudo", "usermod", "-aG", group, name),
    )


def _rule(scene: Scene, found: Node) -> tuple[Mend, ...]:
    """A udev rule for the node, and the group that it needs."""
    kind = found.real.removeprefix("/dev/").replace("/", "_").replace("-", "_")
    kind = kind if kind.startswith(("sgx", "tdx")) else f"sgx_{kind}"
    rule = _RULE.get(kind, _RULE["sgx_provision"])
    group = "tdx" if kind.startswith("tdx") else "sgx_prv"
    file = f"/etc/udev/rules.d/91-{kind.replace('_', '-')}.rules"
    written = f"`echo '{rule}' | sudo tee {file}`"
    if 'MODE="0666"' in rule:
        return (Mend(f"write the rule: {written}, then {_RELOAD}"),)
    joined = f"`sudo groupadd -rf {group} && sudo usermod -aG {group} {scene.account.name}`"
    return (Mend(f"make the group: {joined}; write the rule: {written}; {_RELOAD}; log in again"),)


def _old_names(scene: Scene) -> Remarks:
    """Docker maps a path only where the host has it; old images and documents name `/dev/sgx/…`."""
    enclave = first_node(scene.root, nodes.ENCLAVE)
    if enclave is None or container_of(scene.root, scene.environ):
        yield Skipped(
            "the older names /dev/sgx/…", "there is no SGX device of this host to have them"
        )
        return
    older = (nodes.ENCLAVE[1], nodes.PROVISION[1])
    missing = [name for name in older if node(scene.root, name) is None]
    if not missing:
        yield Right("the older names are here too: /dev/sgx/enclave, /dev/sgx/provision")
        return
    yield Skipped(
        f"the older names ({', '.join(missing)})",
        "not here, and needed by old programs only; `docker run --device` has to name "
        "/dev/sgx_enclave and /dev/sgx_provision",
    )


def _executable(scene: Scene) -> Remarks:
    if first_node(scene.root, nodes.ENCLAVE) is None:
        yield Skipped("/dev without noexec", "there is no SGX device in it")
        return
    options = mount_options(scene.root, "/dev")
    if options is None:
        yield Skipped("/dev without noexec", "/proc/mounts has no /dev")
    elif "noexec" not in options:
        yield Right("/dev is mounted without noexec")
    else:
        yield Finding(
            "device-noexec",
            "/dev is mounted noexec: no enclave can be mapped executable, none starts",
            (f"/proc/mounts: /dev {','.join(sorted(options))}",),
            (
                Mend(
                    "`sudo mount -o remount,exec /dev`; to keep it, a unit that does so at each "
                    "start (`sudo systemctl edit --force --full remount-dev-exec.service`), or an "
                    "/etc/fstab line without noexec",
                    ("sudo", "mount", "-o", "remount,exec", "/dev"),
                ),
            ),
        )


def _trust_domain(scene: Scene) -> Remarks:
    what = "TDX devices"
    found = first_node(scene.root, nodes.TDX_GUEST)
    if container_of(scene.root, scene.environ):
        yield Skipped(what, "this is a container: the check `container` looks at what arrived")
    elif found is None and "tdx_guest" not in processor(scene.root).flags:
        yield Skipped(what, "this is no trust domain")
    elif found is None and not has_module(scene.root, "tdx_guest"):
        yield Skipped(what, "the module tdx_guest is not loaded; the check `tdx guest` says so")
    elif found is None:
        yield Finding(
            "device-tdx-absent",
            f"there is no {nodes.TDX_GUEST[0]}, although the module tdx_guest is loaded",
            _absent(nodes.TDX_GUEST),
            (
                Mend("see what it said: `sudo dmesg | grep -i tdx`"),
                Mend("load it anew: `sudo modprobe -r tdx_guest && sudo modprobe tdx_guest`"),
            ),
        )
    else:
        if found.real != nodes.TDX_GUEST[0]:
            yield _old_tdx(found)
        yield _judge_tdx(scene, found)


def _judge_tdx(scene: Scene, found: Node) -> Remark:
    """As any node; but configfs-tsm does without it."""
    if found.access(scene.account) != "none" or not may_ask(scene):
        return _judge(scene, found)
    name = scene.account.name
    return Finding(
        "device-tdx-only-configfs",
        f"{name} may not open {found.path}: quotes come by configfs-tsm only, not by Intel's library",
        (str(found), _groups_of(scene)),
        _rule(scene, found) if not found.group_may else (_membership(scene, found),),
    )


def _old_tdx(found: Node) -> Finding:
    return Finding(
        "device-tdx-old-name",
        f"the only TDX device is {found.path}, of a driver from before Linux 6.2: its calls are others",
        (str(found), *_absent(nodes.TDX_GUEST[:1])),
        (
            Mend(
                "move the guest to a kernel from 6.7 on (Ubuntu 24.04's has it): that has "
                "/dev/tdx_guest and configfs-tsm"
            ),
        ),
    )


def _absent(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}: not there" for name in names)


def _groups_of(scene: Scene) -> str:
    names = {gid: name for name, (gid, _) in groups(scene.root).items()}
    mine = sorted(names.get(gid, str(gid)) for gid in scene.account.groups)
    return f"groups of {scene.account.name}: {', '.join(mine) or 'none'}"


__all__ = ["AILMENTS", "CHECKS"]

CHECKS: Final[tuple[Check, ...]] = (
    Check("SGX devices", _enclave, ("attester",)),
    Check("older names", _old_names, ("attester",)),
    Check("/dev", _executable, ("attester",)),
    Check("TDX devices", _trust_domain, ("attester",)),
)
