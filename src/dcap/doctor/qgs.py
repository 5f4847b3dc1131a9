"""QGS on a host of trust domains: unit, account, where it listens, by `/etc/qgs.conf`.

A vsock port is not asked from here: whether a guest reaches it shows in the guest (`tdx_guest`). Not
here: QGS's HOME, cache and provider (`surroundings`, `configuration`).

Source: `quote-provider.md` §5.6, §6 row 16; Intel's qgs (`server_main.cpp`, `qgsd.service`).
"""

import re
import time
from typing import Final

from dcap.attester.container import container_of
from dcap.doctor.aesm_answer import connected_to, outcome_of
from dcap.doctor.daemon_facts import DaemonFacts, daemon_facts, rights
from dcap.doctor.finding import Finding, Mend, Remarks, Right, Skipped
from dcap.doctor.scene import Scene
from dcap.errors import printable

CONFIGURATION: Final = "/etc/qgs.conf"
SOCKET: Final = "/var/run/tdx-qgs/qgs.socket"
VHOST: Final = "/dev/vhost-vsock"
USUAL_PORT: Final = 4050
_LARGEST_PORT: Final = 0xFFFFFFFF
_LINE: Final = re.compile(r"\s*(port|number_threads)\s*=\s*(\d{1,20})\s*")
_OPTION: Final = re.compile(r"\s-p=?\s*(\d{1,20})\b")

_LOG = Mend("read its log: `sudo journalctl -u qgsd -n 50`")
_RESTART = Mend(
    "restart it: `sudo systemctl restart qgsd`", ("sudo", "systemctl", "restart", "qgsd")
)


def look_at_qgs(scene: Scene) -> Remarks:
    """All that is to be said of it, where it is installed."""
    if inside := container_of(scene.root, scene.environ):
        yield Skipped("QGS", f"this is a container ({inside.kind}); QGS belongs to the host")
        return
    qgsd = daemon_facts(scene, "qgsd")
    if not qgsd.is_installed:
        yield Skipped("QGS", "not installed: only a host of trust domains needs it")
        return
    if not qgsd.is_running:
        yield Finding(
            "qgsd-not-running",
            "QGS is installed, but does not run: no trust domain of this host gets a quote",
            qgsd.evidence,
            (Mend(f"start it, now and at each start of the machine: {qgsd.start}"), _LOG),
        )
    elif qgsd.unit is not None and not qgsd.is_enabled:
        yield Finding(
            "qgsd-not-enabled",
            "QGS runs, but is not enabled: after the next start of the machine it will not be there",
            qgsd.evidence,
            (
                Mend(
                    "enable it: `sudo systemctl enable qgsd`",
                    ("sudo", "systemctl", "enable", "qgsd"),
                ),
            ),
        )
    else:
        yield Right("QGS runs", qgsd.evidence)
    yield from rights(scene, qgsd, "QGS", "qgsd-no-device", _LOG)
    yield from _configuration(scene, qgsd)


def _configuration(scene: Scene, qgsd: DaemonFacts) -> Remarks:
    text = scene.root.text(CONFIGURATION)
    wrong = [
        printable(f"{CONFIGURATION}, line {number}: {line.strip()}")
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#") and not _LINE.fullmatch(line)
    ]
    port = _port(text, qgsd)
    if wrong or port > _LARGEST_PORT:
        yield Finding(
            "qgsd-configuration",
            f"QGS does not take {CONFIGURATION}: a line is neither `port` nor `number_threads`",
            tuple(wrong) or (f"port {port}: too large",),
            (
                Mend(
                    f"`printf 'port = {USUAL_PORT}\\nnumber_threads = 4\\n' | sudo tee "
                    f"{CONFIGURATION}`, then `sudo systemctl restart qgsd`"
                ),
            ),
        )
    elif port:
        yield from _vsock(scene, port)
    else:
        yield from _socket(scene, qgsd)


def _port(text: str, qgsd: DaemonFacts) -> int:
    """The vsock port: of the command line, else of the file; 0 for none."""
    command = qgsd.unit.last("ExecStart") if qgsd.unit is not None else ""
    if given := _OPTION.search(command):
        return int(given[1])
    said = {
        found[1]: int(found[2]) for line in text.splitlines() if (found := _LINE.fullmatch(line))
    }
    return said.get("port", 0)


def _vsock(scene: Scene, port: int) -> Remarks:
    if scene.root.look(VHOST).is_there:
        usual = "" if port == USUAL_PORT else f"; guests need `port={port}` in /etc/tdx-attest.conf"
        yield Right(f"QGS listens on vsock port {port}{usual}", (f"{VHOST}: there",))
        return
    yield Finding(
        "qgsd-no-vsock",
        f"QGS is to listen on vsock port {port}, but this host has no vsock for its guests",
        (f"{VHOST}: not there",),
        (
            Mend(
                "`sudo modprobe vhost_vsock`, at each start: `echo vhost_vsock | sudo tee "
                "/etc/modules-load.d/vhost_vsock.conf`; then `sudo systemctl restart qgsd`"
            ),
            Mend(
                "give each guest a CID: QEMU `-device vhost-vsock-pci,guest-cid=3`, libvirt "
                "`<vsock model='virtio'><cid auto='yes'/></vsock>`"
            ),
        ),
    )


def _socket(scene: Scene, qgsd: DaemonFacts) -> Remarks:
    if not qgsd.is_running:
        yield Skipped(f"QGS's socket {SOCKET}", "QGS does not run")
        return
    try:
        place = scene.root.look(SOCKET)
        with connected_to(scene.root.host(place.real), time.monotonic() + scene.timeout):
            yield Right(f"QGS takes connections at {SOCKET}; {CONFIGURATION} gives no vsock port")
            return
    except OSError as error:
        said, outcome = error.strerror or str(error), outcome_of(error)
    if outcome == "denied":
        yield Skipped(f"QGS's socket {SOCKET}", f"only QEMU's account has to reach it ({said})")
        return
    yield Finding(
        "qgsd-socket",
        f"QGS runs and has no vsock port, but nobody answers at its socket {SOCKET}",
        (f"{SOCKET}: {said}", f"{CONFIGURATION}: no port", *qgsd.evidence),
        (_RESTART, _LOG),
    )
