"""The family `daemons`: QGS on a host of trust domains, by unit, account, configuration and socket."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from dcap.doctor import daemons
from doctor.scratch import (
    GROUP,
    Seen,
    add_qgs,
    listening,
    say,
    scene,
    sgx_host,
    stale,
    users,
    write,
)

QGS_SOCKET = "/run/tdx-qgs/qgs.socket"


def look(root: Path) -> Seen:
    """What the family says of a machine."""
    return say(daemons.CHECKS, scene(root))


def qgs_host(tmp_path: Path) -> Path:
    """A host of trust domains without AESM."""
    return add_qgs(sgx_host(tmp_path))


def test_row_16_qgs_does_not_run(tmp_path: Path) -> None:
    """Row 16: guests get no quote where the host's qgsd is down."""
    root = qgs_host(tmp_path)
    for file in (root / "proc/800").iterdir():
        file.unlink()
    seen = look(root)
    assert seen.codes == ["qgsd-not-running"]
    assert "`sudo systemctl enable --now qgsd`" in seen.mends("qgsd-not-running")


def test_row_16_qgs_is_not_enabled(tmp_path: Path) -> None:
    """Row 16: it runs now, and will not after the next start."""
    root = qgs_host(tmp_path)
    (root / "etc/systemd/system/multi-user.target.wants/qgsd.service").unlink()
    assert look(root).codes == ["qgsd-not-enabled"]


def test_row_16_qgs_without_vsock(tmp_path: Path) -> None:
    """Row 16: a port is configured, and the host has no vsock for its guests."""
    root = qgs_host(tmp_path)
    (root / "dev/vhost-vsock").unlink()
    seen = look(root)
    assert seen.codes == ["qgsd-no-vsock"]
    assert "sudo modprobe vhost_vsock" in seen.mends("qgsd-no-vsock")


@pytest.mark.parametrize("text", ["port = 4050 # vsock\n", "port: 4050\n", "port = 99999999999\n"])
def test_row_16_a_configuration_that_qgs_does_not_take(tmp_path: Path, text: str) -> None:
    """Row 16: a line of /etc/qgs.conf that is none, with its number and what to write."""
    root = qgs_host(tmp_path)
    write(root, "/etc/qgs.conf", text)
    seen = look(root)
    assert seen.codes == ["qgsd-configuration"]
    assert "sudo tee /etc/qgs.conf" in seen.mends("qgsd-configuration")


def test_another_port_is_right_and_said_to_guests(tmp_path: Path) -> None:
    """A port that is not 4050 has to be told to the guests; the command line wins over the file."""
    root = qgs_host(tmp_path)
    write(root, "/etc/qgs.conf", "port = 4051\n")
    assert any("guests need `port=4051`" in right.what for right in look(root).rights)
    text = "[Service]\nUser=qgsd\nExecStart=/opt/intel/tdx-qgs/qgs -p=4052\n"
    write(root, "/usr/lib/systemd/system/qgsd.service", text)
    assert any("guests need `port=4052`" in right.what for right in look(root).rights)


@pytest.mark.parametrize("state", ["live", "stale", "absent"])
def test_row_16_qgs_at_a_unix_socket(tmp_path: Path, state: str) -> None:
    """Row 16: without a port QGS has a socket, which has to take connections."""
    root = qgs_host(tmp_path)
    write(root, "/etc/qgs.conf", "number_threads = 4\n")
    sockets: dict[str, AbstractContextManager[object]] = {
        "live": listening(root, QGS_SOCKET),
        "stale": stale(root, QGS_SOCKET),
        "absent": nullcontext(),
    }
    with sockets[state]:
        seen = look(root)
    assert seen.codes == ([] if state == "live" else ["qgsd-socket"])
    if state == "stale":
        assert "Connection refused" in seen.finding("qgsd-socket").evidence[0]


def test_row_16_qgss_account_may_not_open_the_devices(tmp_path: Path) -> None:
    """Rows 11 and 16: qgsd is not in sgx_prv, and so no guest gets a quote."""
    root = qgs_host(tmp_path)
    users(root, groups=f"sgx_prv:x:{GROUP}:app\n", passwd="qgsd:x:64000:64000::/x:/bin/false\n")
    write(root, "/proc/800/status", "Name:\tqgs\nUid:\t64000\t64000\t64000\t64000\n")
    seen = look(root)
    assert seen.codes == ["qgsd-no-device"]
    assert "sudo usermod -aG sgx_prv qgsd" in seen.mends("qgsd-no-device")
