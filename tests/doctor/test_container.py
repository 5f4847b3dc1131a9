"""The doctor in a container: rows 2, 11 and 13 of §6 as they look from inside."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from dcap.attester.container import container_of
from dcap.doctor import container
from dcap.doctor.scene import Account
from dcap.qpl.discovery_root import Root
from doctor.scratch import (
    APP,
    GROUP,
    Seen,
    cpu,
    device,
    laptop,
    mounts,
    say,
    scene,
    sgx_host,
    tdx_guest,
    write,
)

QCNL = "/etc/sgx_default_qcnl.conf"
PLUGIN = "/usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1"


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """A container of Docker's to which everything was given; its HOME can be written."""
    root = sgx_host(tmp_path)
    write(root, "/.dockerenv")
    write(root, QCNL, '{"pccs_url": "https://pccs.example:8081/sgx/certification/v4/"}')
    write(root, PLUGIN, b"")
    for folder in ("home/app", "tmp"):
        (root / folder).chmod(0o777)
    return root


def seen(root: Path, **changes: object) -> Seen:
    """What the family says."""
    return say(container.CHECKS, scene(root, **changes))


STRANGER = replace(APP, groups=frozenset({APP.uid}))


def test_a_container_with_everything_gives_no_finding(inside: Path) -> None:
    """Healthy: both devices, the group's number, the configuration, a HOME."""
    found = seen(inside)
    assert found.codes == []
    assert [each.what for each in found.rights][:2] == [
        "this is a container (docker)",
        "arrived: /dev/sgx_enclave, /dev/sgx_provision",
    ]


def test_a_host_is_no_container(tmp_path: Path) -> None:
    """Healthy: none of this is asked of a host."""
    found = seen(sgx_host(tmp_path))
    assert found.codes == []
    assert found.skipped[0].why == "this is no container"


@pytest.mark.parametrize(
    ("path", "text", "environ", "kind"),
    [
        ("/.dockerenv", "", {}, "docker"),
        ("/run/.containerenv", "", {}, "podman"),
        ("/proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice\n", {}, "kubernetes"),
        ("/proc/1/cgroup", "5:cpu:/docker/1f2e\n", {}, "docker"),
        ("/etc/hostname", "", {"container": "podman"}, "podman"),
        ("/etc/hostname", "", {"container": "lxc"}, "container"),
        ("/.dockerenv", "", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
    ],
)
def test_each_sign_tells_whose_container_it_is(
    tmp_path: Path, path: str, text: str, environ: dict[str, str], kind: str
) -> None:
    """Docker, Podman, Kubernetes: by the file, the control group or the variable that each leaves."""
    write(tmp_path, path, text)
    found = container_of(Root(tmp_path), environ)
    assert found is not None
    assert found.kind == kind


# ── row 11: devices ─────────────────────────────────────────────────────────────────────────────


def without_devices(root: Path) -> None:
    """No --device was given."""
    for name in ("sgx/enclave", "sgx/provision", "sgx_enclave", "sgx_provision"):
        (root / "dev" / name).unlink()


def test_row_11_no_device_was_mapped(inside: Path) -> None:
    """Row 11: 0xE03F in the container alone: the processor has SGX, and no node is here."""
    without_devices(inside)
    found = seen(inside)
    said = found.finding("container-no-device")
    assert "/proc/cpuinfo, which is the host's: sgx" in said.evidence
    assert said.mends[0].text.startswith("`docker run $(dcap container-args --docker) IMAGE`")
    assert "--device /dev/sgx_enclave --device /dev/sgx_provision" in said.mends[0].text


def test_row_11_no_device_in_kubernetes(inside: Path) -> None:
    """Row 11: in a pod the mend is the resources of Intel's device plugin."""
    without_devices(inside)
    found = seen(inside, environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOME": APP.home})
    first = found.finding("container-no-device").mends[0].text
    assert "`sgx.intel.com/enclave: 1`" in first
    assert "`sgx.intel.com/provision: 1`" in first
    assert "sgx.intel.com/epc" in first


def test_a_container_of_a_host_without_sgx_misses_no_device(inside: Path) -> None:
    """What the host does not have cannot be mapped: that is said elsewhere, once."""
    without_devices(inside)
    cpu(inside)
    assert seen(inside).codes == []


def test_row_11_only_one_of_two_devices(inside: Path) -> None:
    """Row 11: 0xE00D, 0xE035: the enclave's device alone was mapped."""
    for name in ("sgx/provision", "sgx_provision"):
        (inside / "dev" / name).unlink()
    found = seen(inside)
    assert found.codes == ["container-no-provision"]
    assert "0xE00D" in found.finding("container-no-provision").what
    assert "`--device /dev/sgx_provision`" in found.mends("container-no-provision")


def test_row_11_names_of_the_older_driver(inside: Path) -> None:
    """Row 11: the nodes are here as /dev/sgx/…, and programs open /dev/sgx_…: map both."""
    without_devices(inside)
    device(inside, "/dev/sgx/enclave", 0o666)
    device(inside, "/dev/sgx/provision", 0o660)
    found = seen(inside)
    assert found.codes == ["container-device-names"]
    mend = found.mends("container-device-names")
    assert "--device /dev/sgx/enclave:/dev/sgx_enclave" in mend
    assert "--device /dev/sgx/provision:/dev/sgx_provision" in mend


def test_row_11_the_group_goes_by_its_number(inside: Path) -> None:
    """Row 11: SGX error 0x4004: the user is not in the node's group, whose number is the mend."""
    found = seen(inside, account=STRANGER)
    said = found.finding("container-group")
    assert said.what.startswith(f"app (uid {APP.uid}) may not open /dev/sgx_provision")
    assert f"`docker run --group-add {GROUP} …`" in said.mends[0].text
    assert f"/dev/sgx_provision: mode 0660, uid {os.getuid()}, gid {GROUP}" in said.evidence


def test_row_16_configfs_of_a_trust_domain_is_not_mounted(tmp_path: Path) -> None:
    """Row 16: "Failed to get the quote" in a container of a trust domain: the device alone arrived."""
    root = tdx_guest(tmp_path)
    write(root, "/.dockerenv")
    assert "container-no-configfs" not in seen(root).codes
    (root / "sys/kernel/config/tsm").rename(root / "gone")
    said = seen(root).finding("container-no-configfs")
    assert "-v /sys/kernel/config:/sys/kernel/config" in said.mends[0].text
    write(root, "/etc/tdx-attest.conf", "port=4050\n")
    assert "container-no-configfs" not in seen(root).codes


def test_root_in_a_container_needs_no_group(inside: Path) -> None:
    """Root opens what it is given."""
    root = Account(name="root", uid=0, groups=frozenset(), home="/root")
    assert "container-group" not in seen(inside, account=root).codes


def test_row_11_the_socket_of_aesmd_is_not_mounted(inside: Path) -> None:
    """Row 11: SGX_AESM_ADDR asks for aesmd, and its folder is not here."""
    found = seen(inside, environ={"HOME": APP.home, "SGX_AESM_ADDR": "1"})
    assert found.codes == ["container-no-aesm"]
    assert "`docker run -v /var/run/aesmd:/var/run/aesmd …`" in found.mends("container-no-aesm")


def test_a_mounted_socket_is_right_without_the_second_device(inside: Path) -> None:
    """Out of process, aesmd has the provisioning device."""
    for name in ("sgx/provision", "sgx_provision"):
        (inside / "dev" / name).unlink()
    write(inside, "/run/aesmd/aesm.socket")
    assert seen(inside, environ={"HOME": APP.home, "SGX_AESM_ADDR": "1"}).codes == []


# ── row 2: localhost ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def closed() -> Iterator[int]:
    """A port of this machine at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_row_2_localhost_is_the_container(inside: Path, closed: int) -> None:
    """Row 2: 0xE019 in the container: the host's file names localhost, and here nothing listens."""
    url = f"https://127.0.0.1:{closed}"
    write(inside, QCNL, f'{{"pccs_url": "{url}/sgx/certification/v4/?key=SECRET"}}')
    found = seen(inside)
    said = found.finding("container-localhost")
    assert said.evidence == (
        f"{QCNL}: pccs_url {url}",
        f"nothing listens at 127.0.0.1:{closed} in here",
    )
    assert "`docker run --network host …`" in said.mends[0].text
    assert "SECRET" not in str(said)


def test_row_2_a_discarded_file_is_not_said_to_name_localhost(inside: Path) -> None:
    """Row 2: one comma too many, and localhost is asked: the file and its line are what to correct."""
    write(inside, QCNL, '{"pccs_url": "https://pccs.example:8081/sgx/certification/v4/",}')
    said = seen(inside, offline=True).finding("container-localhost")
    assert said.what.startswith(f"Intel's library discards {QCNL} and asks localhost")
    assert said.evidence[0].startswith(f"{QCNL}, line 1: a comma")
    assert f"`dcap qcnl lint {QCNL}`" in said.mends[0].text


def test_a_pccs_beside_it_is_right(inside: Path) -> None:
    """In a pod, or with the host's network, localhost is where the PCCS is: it listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        write(inside, QCNL, f'{{"pccs_url": "https://127.0.0.1:{port}/sgx/certification/v4/"}}')
        assert seen(inside).codes == []


def test_offline_nothing_is_tried(inside: Path, closed: int) -> None:
    """With --offline the finding says that it did not look."""
    write(inside, QCNL, f'{{"pccs_url": "https://127.0.0.1:{closed}/sgx/certification/v4/"}}')
    said = seen(inside, offline=True).finding("container-localhost")
    assert "not tried" in said.evidence[1]


def test_row_2_no_configuration_arrived(inside: Path) -> None:
    """Row 2: 0xE019: the plugin is here without its file, and asks the container's own localhost."""
    (inside / QCNL.lstrip("/")).unlink()
    found = seen(inside)
    assert found.codes == ["container-no-qcnl"]
    assert f"`docker run -v {QCNL}:{QCNL}:ro …`" in found.mends("container-no-qcnl")
    (inside / PLUGIN.lstrip("/")).unlink()
    assert seen(inside).codes == []


# ── row 13: caches ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("home", ["", "/nonexistent", "/root"])
def test_row_13_nothing_to_write_a_cache_to(inside: Path, home: str) -> None:
    """Row 13: HOME is unset, gone, or another's, and no variable names a folder: a tmpfs does."""
    (inside / "root").mkdir(mode=0o700)
    found = seen(inside, environ={"HOME": home} if home else {}, account=STRANGER)
    said = found.finding("container-no-cache")
    assert any(line.startswith("HOME") for line in said.evidence)
    assert "--tmpfs /var/cache/dcap:mode=1777" in said.mends[0].text
    assert "-e AZDCAP_CACHE=/var/cache/dcap" in said.mends[0].text


def test_row_13_a_read_only_file_system(inside: Path) -> None:
    """Row 13: with --read-only a HOME cannot be written, whatever its mode; a mounted folder can."""
    mounts(inside)
    text = (inside / "proc/mounts").read_text().replace("/ ext4 rw", "/ overlay ro")
    write(inside, "/proc/mounts", text)
    assert "container-no-cache" in seen(inside).codes
    (inside / "var/cache/dcap").mkdir(parents=True)
    (inside / "var/cache/dcap").chmod(0o1777)
    write(inside, "/proc/mounts", text + "tmpfs /var/cache/dcap tmpfs rw 0 0\n")
    assert seen(inside, environ={"AZDCAP_CACHE": "/var/cache/dcap"}).codes == []


def test_a_verifier_in_a_container_is_asked_for_no_device(tmp_path: Path) -> None:
    """A relying party in a container needs a network and a cache, and no device."""
    root = laptop(tmp_path)
    write(root, "/.dockerenv")
    (root / "home/app").chmod(0o777)
    assert seen(root, roles=frozenset({"verifier"})).codes == []
