"""A TDX guest's own roads to a quote: module, configfs-tsm, `/etc/tdx-attest.conf`.

Two roads lead to the host's QGS: vsock, where `/etc/tdx-attest.conf` has a port, which Intel's library
then takes first; and configfs-tsm, where the kernel asks by a hypercall. One is enough, and a finding
says which is broken. Nothing is made, and no quote is asked for. Not here: the device node (`devices`),
QGS on the host (`qgs`).

Source: `quote-provider.md` §5.6, §6 row 16; Linux, Documentation/ABI/testing/configfs-tsm.
"""

from typing import Final

from dcap.attester.configfs_tsm import CONFIG, ENTRY, PATH_VARIABLE, PROVIDER, REPORTS
from dcap.attester.container import container_of
from dcap.attester.qgs import CONFIGURATION, port_in
from dcap.doctor.accounts import WRITE, may
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remark, Remarks, Right, Skipped
from dcap.doctor.nodes import TDX_GUEST, first_node
from dcap.doctor.processor import has_module, kernel, mount_options, number_in, processor
from dcap.doctor.scene import Scene
from dcap.doctor.tdx_guest_ailments import AILMENTS
from dcap.errors import printable

USUAL_PORT: Final = 4050
_VSOCK: Final = "/dev/vsock"
_TRANSPORT: Final = "vmw_vsock_virtio_transport"
_KEYS: Final = ("port",)

_MODPROBE = Mend(
    "load it: `sudo modprobe tdx_guest`; at each start: `echo tdx_guest | sudo tee "
    "/etc/modules-load.d/tdx_guest.conf`; where there is none: `sudo apt install "
    "linux-modules-extra-$(uname -r)`",
    ("sudo", "modprobe", "tdx_guest"),
)
_MOUNT = Mend(
    f"`sudo mount -t configfs configfs {CONFIG}`; systemd does so at each start: `sudo systemctl "
    "enable sys-kernel-config.mount`",
    ("sudo", "mount", "-t", "configfs", "configfs", CONFIG),
)
_ON_HOST = Mend(
    "on the host: `systemctl status qgsd`, `sudo journalctl -u qgsd -n 50`, `dcap doctor --for "
    "attester`; QEMU's tdx-guest object needs `quote-generation-socket` for this road"
)


def _is_guest(scene: Scene) -> bool:
    flags = processor(scene.root).flags
    return "tdx_guest" in flags or first_node(scene.root, TDX_GUEST) is not None


def _module(scene: Scene) -> Remarks:
    if not _is_guest(scene):
        yield Skipped("module tdx_guest", "this is no trust domain")
        return
    running = kernel(scene.root)
    if has_module(scene.root, "tdx_guest"):
        yield Right("the module tdx_guest is loaded", (f"kernel {running.release}",))
    elif first_node(scene.root, TDX_GUEST) is not None:
        yield Right("the driver tdx_guest is there", (f"kernel {running.release}",))
    elif running.is_older(6, 2):
        yield Finding(
            "tdx-kernel-old",
            f"kernel {running.release} of this guest has no driver for TDX quotes: Linux has since 6.2",
            (f"kernel: {running.release}", f"{TDX_GUEST[0]}: not there"),
            (
                Mend(
                    "move the guest to a kernel from 6.7 on, which has configfs-tsm as well: "
                    "Ubuntu 24.04's, or `sudo apt install linux-generic-hwe-22.04`"
                ),
            ),
        )
    else:
        built = running.option("TDX_GUEST_DRIVER")
        seen = f"{running.configuration}: CONFIG_TDX_GUEST_DRIVER={built}" if built else ""
        yield Finding(
            "tdx-module-absent",
            "the module tdx_guest is not loaded: this trust domain has no way to a report or a quote",
            ("/sys/module/tdx_guest: not there", f"{TDX_GUEST[0]}: not there", *_lines(seen)),
            (_MODPROBE,),
        )


def _roads(scene: Scene) -> Remarks:
    """Vsock first, as Intel's library does; then configfs-tsm."""
    if not _is_guest(scene):
        yield Skipped("roads to a quote", "this is no trust domain")
        return
    text = scene.root.text(CONFIGURATION)
    port = port_in(text)
    yield from _vsock(scene, text, port)
    if not has_module(scene.root, "tdx_guest") and first_node(scene.root, TDX_GUEST) is None:
        yield Skipped("configfs-tsm", "the module tdx_guest is not there to answer")
        return
    problem = _configfs_problem(scene)
    if problem is None:
        yield from _entry(scene)
    elif inside := container_of(scene.root, scene.environ):
        why = f"this is a container ({inside.kind}): the check `container` says what to hand in"
        yield Skipped("configfs-tsm", why)
    elif port:
        why = f"{problem.what}; vsock port {port} is taken first, and serves without it"
        yield Skipped("configfs-tsm", why)
    else:
        yield problem


def _vsock(scene: Scene, text: str, port: int) -> Remarks:
    said = [printable(line.strip()) for line in text.splitlines() if line.strip()]
    if not said:
        yield Skipped("vsock", f"{CONFIGURATION} has no port: configfs-tsm is the road")
        return
    if not port:
        lines = [line for line in said if not line.startswith("#")]
        if not lines:
            yield Skipped("vsock", f"{CONFIGURATION} has only comments: configfs-tsm is the road")
            return
        yield Finding(
            "tdx-attest-conf",
            f"{CONFIGURATION} gives no port that Intel's library takes: vsock is not used",
            tuple(f"{CONFIGURATION}: {line}" for line in lines[:5]),
            (
                Mend(
                    f"one line, digits alone: `echo 'port={USUAL_PORT}' | sudo tee "
                    f"{CONFIGURATION}`; or, for configfs-tsm, `sudo rm {CONFIGURATION}`"
                ),
            ),
        )
        return
    if not scene.root.look(_VSOCK).is_there or not _has_transport(scene):
        yield _no_vsock(scene, port)
        return
    yield Right(f"vsock: the host is asked at port {port}", (f"{_VSOCK}: there", f"port={port}"))
    if port != USUAL_PORT:
        yield Finding(
            "tdx-port-differs",
            f"the guest asks at vsock port {port}, while QGS as it is packaged listens at {USUAL_PORT}",
            (f"{CONFIGURATION}: port={port}",),
            (
                Mend(
                    f"`echo 'port={USUAL_PORT}' | sudo tee {CONFIGURATION}`, unless /etc/qgs.conf "
                    f"on the host says `port = {port}`"
                ),
            ),
        )


def _has_transport(scene: Scene) -> bool:
    """Whether the module that carries vsock to the host is there; built in it may not be to be seen."""
    if has_module(scene.root, _TRANSPORT) or kernel(scene.root).option("VIRTIO_VSOCKETS") == "y":
        return True
    return not scene.root.look("/sys/module/vsock").is_there


def _no_vsock(scene: Scene, port: int) -> Finding:
    there = scene.root.look(_VSOCK).is_there
    return Finding(
        "tdx-no-vsock",
        f"{CONFIGURATION} has port {port}, but this guest has no vsock to the host: Intel's "
        "library tries it first, and fails",
        (
            f"{CONFIGURATION}: port={port}",
            f"{_VSOCK}: {'there' if there else 'not there'}",
            f"module {_TRANSPORT}: {'there' if has_module(scene.root, _TRANSPORT) else 'not loaded'}",
        ),
        (
            Mend(f"`sudo modprobe {_TRANSPORT}`", ("sudo", "modprobe", _TRANSPORT)),
            Mend(
                "if it stays away, the host gives none: QEMU `-device "
                "vhost-vsock-pci,guest-cid=3`, libvirt `<vsock model='virtio'><cid auto='yes'/></vsock>`"
            ),
            Mend(f"or leave vsock and use configfs-tsm: `sudo rm {CONFIGURATION}`"),
        ),
    )


def _configfs_problem(scene: Scene) -> Finding | None:
    """Why there is no folder of reports, if there is none."""
    running = kernel(scene.root)
    if scene.root.look(REPORTS).kind == "folder":
        return None
    if running.is_older(6, 7):
        return Finding(
            "tdx-tsm-absent",
            f"kernel {running.release} has no configfs-tsm, which Linux has since 6.7; and there "
            f"is no vsock port in {CONFIGURATION}",
            (f"{REPORTS}: not there", f"kernel: {running.release}"),
            (
                Mend(f"use vsock: `echo 'port={USUAL_PORT}' | sudo tee {CONFIGURATION}`"),
                Mend("or move the guest to a kernel from 6.7 on"),
            ),
        )
    if mount_options(scene.root, CONFIG, "configfs") is None:
        return Finding(
            "tdx-configfs-unmounted",
            f"configfs is not mounted at {CONFIG}: the kernel's way to a quote cannot be reached",
            ("/proc/mounts: no configfs", f"{REPORTS}: not there"),
            (_MOUNT,),
        )
    return Finding(
        "tdx-tsm-absent",
        f"configfs is mounted, but the kernel has no {REPORTS} in it: nothing answers for TDX there",
        (f"{REPORTS}: not there", f"kernel: {running.release or 'unknown'}"),
        (
            Mend("load the module anew: `sudo modprobe -r tdx_guest && sudo modprobe tdx_guest`"),
            Mend(f"or use vsock: `echo 'port={USUAL_PORT}' | sudo tee {CONFIGURATION}`"),
        ),
    )


def _entry(scene: Scene) -> Remarks:
    """The entry that would be used, as it stands; a new one is not made to look at it."""
    entry = _entry_of(scene)
    if not scene.root.look(entry).is_there:
        yield _may_make(scene, entry)
        return
    provider = printable(scene.root.text(f"{entry}/provider").strip())
    if provider and provider != PROVIDER:
        yield Finding(
            "tdx-provider-other",
            f"reports are made by {provider!r}, not by {PROVIDER!r}: that makes no TDX quote",
            (f"{entry}/provider: {provider}",),
            (
                Mend("take the other's module away: `sudo modprobe -r sev_guest arm_cca_guest`"),
                Mend("then load TDX's: `sudo modprobe tdx_guest`"),
            ),
        )
        return
    if not may_ask(scene):
        yield _closed(scene, entry)
        return
    yield Right(
        f"configfs-tsm: {entry} is there", _lines(f"provider: {provider}" if provider else "")
    )
    yield _answer(scene, entry)


def _entry_of(scene: Scene) -> str:
    return scene.environ.get(PATH_VARIABLE, f"{REPORTS}/{ENTRY}")


def _answer(scene: Scene, entry: str) -> Remark:
    """What the last question brought, where that can be seen without asking anew."""
    asked = number_in(scene.root.text(f"{entry}/generation"))
    outblob = scene.root.look(f"{entry}/outblob")
    if scene.root.is_running or outblob.kind != "file" or not asked:
        why = "that would ask for a quote: `dcap attest --report-data 00` does"
        return Skipped("what the host answers", why)
    size = len(scene.root.content(f"{entry}/outblob"))
    if size:
        return Right(f"the last quote had {size} bytes", (f"{entry}/outblob",))
    return Finding(
        "tdx-outblob-empty",
        "the kernel was asked for a quote, and gave an empty one: the host made none",
        (f"{entry}/outblob: empty", f"{entry}/generation: {asked}"),
        (
            _ON_HOST,
            Mend(f"or ask by vsock: `echo 'port={USUAL_PORT}' | sudo tee {CONFIGURATION}`"),
        ),
    )


def may_ask(scene: Scene) -> bool:
    """Whether the account may write report data in configfs, or may make an entry of its own."""
    entry = _entry_of(scene)
    return any(may(scene.root, scene.account, path, WRITE) for path in (f"{entry}/inblob", REPORTS))


def _may_make(scene: Scene, entry: str) -> Remark:
    if may(scene.root, scene.account, REPORTS, WRITE):
        return Right(f"configfs-tsm: {REPORTS} is there, {scene.account.name} may make an entry")
    return _closed(scene, entry)


def _closed(scene: Scene, entry: str) -> Finding:
    name = scene.account.name
    mine = f"{REPORTS}/{name}"
    return Finding(
        "tdx-report-closed",
        f"{name} may not ask for quotes at {entry}: by itself the kernel lets root alone",
        (f"{entry}: {'not writable' if scene.root.look(entry).is_there else 'not there'}",),
        (
            Mend(
                f"have root give an entry away, at each start: `sudo mkdir {mine} && sudo chown -R "
                f"{name} {mine}`, and `export {PATH_VARIABLE}={mine}`"
            ),
            Mend("or run what attests as root"),
        ),
    )


def _lines(line: str) -> tuple[str, ...]:
    return (line,) if line else ()


__all__ = ["AILMENTS", "CHECKS", "may_ask"]

CHECKS: Final[tuple[Check, ...]] = (
    Check("tdx guest", _module, ("attester",)),
    Check("roads to a quote", _roads, ("attester",)),
)
