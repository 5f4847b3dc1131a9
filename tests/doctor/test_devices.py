"""The family `devices`: nodes under all their names, and who may open them (row 11)."""

from pathlib import Path

import msgspec
import pytest

from dcap.doctor import devices
from dcap.doctor.scene import Account
from doctor.scratch import (
    APP,
    GROUP,
    USER,
    Seen,
    add_aesm,
    aesm_answering,
    cpu,
    device,
    join,
    kernel,
    laptop,
    link,
    mounts,
    say,
    scene,
    sgx_host,
    tdx_guest,
    users,
    write,
)

#: Who is in no group of the devices; and who is root.
STRANGER = msgspec.structs.replace(APP, name="guest", groups=frozenset({USER}))
ROOT = Account(name="root", uid=0, groups=frozenset({0}), home="/root")


def look(root: Path, account: Account = APP, **environ: str) -> Seen:
    """What the family says of a machine on which that account attests."""
    return say(devices.CHECKS, scene(root, account=account, environ=environ))


def test_a_healthy_sgx_host_has_no_finding(tmp_path: Path) -> None:
    """Both devices are there, both names, and the account may open them."""
    seen = look(sgx_host(tmp_path))
    assert seen.codes == []
    told = [right.what for right in seen.rights]
    assert "/dev/sgx_enclave: app may open it, as a member of its group" in told
    assert "/dev/sgx_provision: app may open it, as a member of its group" in told
    assert "/dev is mounted without noexec" in told
    assert "/dev/sgx_vepc is there: this host can give SGX to its virtual machines" in told


def test_a_healthy_trust_domain_has_no_finding(tmp_path: Path) -> None:
    """Its one device is there, and no SGX device is missed."""
    seen = look(tdx_guest(tmp_path))
    assert seen.codes == []
    assert "/dev/tdx_guest: app may open it, as a member of its group" in [
        right.what for right in seen.rights
    ]


def test_a_machine_without_sgx_misses_no_device(tmp_path: Path) -> None:
    """That the processor has none is the family `machine`'s finding, and not said twice."""
    assert look(laptop(tmp_path)).codes == []


def test_row_11_the_account_is_not_in_the_group(tmp_path: Path) -> None:
    """Row 11: 0x4004 or 0xE035 for who is not in sgx_prv; usermod mends it."""
    seen = look(sgx_host(tmp_path), STRANGER)
    assert seen.codes == ["device-not-in-group"]
    finding = seen.finding("device-not-in-group")
    assert finding.what == "guest may not open /dev/sgx_provision: it is not a member of sgx_prv"
    assert finding.mends[0].command == ("sudo", "usermod", "-aG", "sgx_prv", "guest")
    assert "`sudo usermod -aG sgx_prv guest`, then log in again" in finding.mends[0].text
    assert not finding.mends[0].safe


def test_row_11_the_account_joined_after_it_had_logged_in(tmp_path: Path) -> None:
    """Row 11: a member by /etc/group whose session lacks the group has to log in again."""
    root = sgx_host(tmp_path)
    join(root, "sgx_prv", "guest")
    seen = look(root, STRANGER)
    assert seen.codes == ["device-group-not-in-effect"]
    assert "`newgrp sgx_prv`" in seen.mends("device-group-not-in-effect")


def test_a_group_without_a_name_is_named_first(tmp_path: Path) -> None:
    """A node of a group that /etc/group does not know: the group is made with its number."""
    root = sgx_host(tmp_path)
    users(root)
    if GROUP == 0:
        write(root, "/etc/group", "app:x:1:\n")
    seen = look(root, STRANGER)
    assert f"`sudo groupadd -g {GROUP} sgx_prv" in seen.mends("device-not-in-group")


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_row_11_no_udev_rule(tmp_path: Path, mode: int) -> None:
    """Row 11: a node that no group may open as a whole lacks its udev rule, which is written out."""
    root = sgx_host(tmp_path)
    device(root, "/dev/sgx_provision", mode)
    seen = look(root, STRANGER)
    assert seen.codes == ["device-no-rule"]
    mends = seen.mends("device-no-rule")
    assert 'KERNEL=="sgx_provision", GROUP="sgx_prv", MODE="0660"' in mends
    assert "sudo udevadm control --reload" in mends
    assert "sudo usermod -aG sgx_prv guest" in mends


def test_the_rule_of_the_enclave_device_lets_everybody_in(tmp_path: Path) -> None:
    """As Intel's does: the enclave device holds no privilege."""
    root = sgx_host(tmp_path)
    device(root, "/dev/sgx_enclave", 0o600)
    seen = look(root)
    assert seen.codes == ["device-no-rule"]
    assert 'KERNEL=="sgx_enclave", MODE="0666"' in seen.mends("device-no-rule")


def test_root_may_open_every_node(tmp_path: Path) -> None:
    """Mode bits do not bind root."""
    root = sgx_host(tmp_path)
    device(root, "/dev/sgx_provision", 0o600)
    assert look(root, ROOT).codes == []


def test_row_11_no_enclave_device(tmp_path: Path) -> None:
    """Row 11: SGX on, a kernel with a driver, and no node: the driver's lines and udev are the way."""
    root = sgx_host(tmp_path)
    for name in ("sgx_enclave", "sgx_provision", "sgx/enclave", "sgx/provision"):
        (root / "dev" / name).unlink()
    seen = look(root)
    assert seen.codes == ["device-enclave-absent"]
    assert "/dev/sgx/enclave: not there" in seen.finding("device-enclave-absent").evidence
    assert "dmesg | grep -i sgx" in seen.mends("device-enclave-absent")


def test_a_kernel_of_which_nothing_is_known_is_not_named(tmp_path: Path) -> None:
    """An unpacked image has no running kernel: nothing is said of its driver."""
    root = sgx_host(tmp_path)
    for name in ("dev/sgx_enclave", "dev/sgx_provision", "dev/sgx/enclave", "dev/sgx/provision"):
        (root / name).unlink()
    for name in ("proc/version", "proc/sys/kernel/osrelease"):
        (root / name).unlink()
    said = look(root).finding("device-enclave-absent").what
    assert said.endswith("although the processor has SGX (the kernel's release is not known)")


def test_a_driver_that_could_not_load_is_not_told_twice(tmp_path: Path) -> None:
    """Where the kernel has no driver, that is `machine`'s finding, and the absent node a consequence."""
    root = sgx_host(tmp_path)
    for name in ("sgx_enclave", "sgx_provision", "sgx/enclave", "sgx/provision"):
        (root / "dev" / name).unlink()
    kernel(root, "5.4.0-216-generic")
    assert look(root).codes == []


def test_row_11_no_provisioning_device(tmp_path: Path) -> None:
    """Row 11: the enclave device alone loads no quoting enclave; a link to nothing is none."""
    root = sgx_host(tmp_path)
    (root / "dev/sgx_provision").unlink()
    seen = look(root)
    assert seen.codes == ["device-provision-absent"]
    assert "udevadm trigger" in seen.mends("device-provision-absent")


def test_row_11_only_the_epid_driver(tmp_path: Path) -> None:
    """Row 11: /dev/isgx alone makes no ECDSA quote."""
    root = sgx_host(tmp_path)
    for name in ("sgx_enclave", "sgx_provision", "sgx/enclave", "sgx/provision"):
        (root / "dev" / name).unlink()
    device(root, "/dev/isgx", 0o666)
    seen = look(root)
    assert seen.codes == ["device-epid-driver"]
    assert "sudo modprobe -r isgx" in seen.mends("device-epid-driver")


def test_row_11_the_old_dcap_driver_serves_and_is_a_warning(tmp_path: Path) -> None:
    """Row 11: /dev/sgx/* as nodes of their own work, though containers look for other names."""
    root = sgx_host(tmp_path)
    for name in ("sgx_enclave", "sgx_provision", "sgx/enclave", "sgx/provision"):
        (root / "dev" / name).unlink()
    device(root, "/dev/sgx/enclave", 0o666)
    device(root, "/dev/sgx/provision", 0o660)
    cpu(root)
    seen = look(root)
    assert seen.codes == ["device-old-driver"]
    assert "/dev/sgx/provision: app may open it, as a member of its group" in [
        right.what for right in seen.rights
    ]


def test_older_names_that_are_missing_are_told_but_no_fault(tmp_path: Path) -> None:
    """Without the links, docker's --device has to name the nodes of today."""
    root = sgx_host(tmp_path)
    (root / "dev/sgx/enclave").unlink()
    seen = look(root)
    assert seen.codes == []
    (told,) = [each for each in seen.skipped if "/dev/sgx/enclave" in each.what]
    assert "/dev/sgx_enclave" in told.why


def test_row_11_dev_is_mounted_noexec(tmp_path: Path) -> None:
    """Row 11: with noexec on /dev no enclave can be mapped; a remount mends it."""
    root = sgx_host(tmp_path)
    mounts(root, dev="rw,nosuid,noexec,relatime")
    seen = look(root)
    assert seen.codes == ["device-noexec"]
    assert seen.finding("device-noexec").mends[0].command == (
        "sudo",
        "mount",
        "-o",
        "remount,exec",
        "/dev",
    )


def test_in_a_container_another_family_looks(tmp_path: Path) -> None:
    """What did not arrive in a container is `container`'s finding; noexec is still seen."""
    root = sgx_host(tmp_path)
    write(root, "/.dockerenv")
    (root / "dev/sgx_provision").unlink()
    mounts(root, dev="rw,noexec")
    assert look(root).codes == ["device-noexec"]


def test_who_asks_aesm_needs_no_provisioning_device(tmp_path: Path) -> None:
    """With SGX_AESM_ADDR set, quotes are AESM's, and the account's lack of rights is no finding."""
    root = add_aesm(sgx_host(tmp_path))
    with aesm_answering(root):
        assert look(root, STRANGER, SGX_AESM_ADDR="1").codes == []


def test_row_11_quotes_by_aesm_only(tmp_path: Path) -> None:
    """Row 11: AESM is here, the account may not quote itself: the variable, or the group, mends it."""
    root = add_aesm(sgx_host(tmp_path))
    with aesm_answering(root):
        seen = look(root, STRANGER)
    assert seen.codes == ["device-provision-only-aesm"]
    assert "`export SGX_AESM_ADDR=1`" in seen.mends("device-provision-only-aesm")


def test_row_16_a_module_that_made_no_device(tmp_path: Path) -> None:
    """Row 16: tdx_guest is loaded, but /dev/tdx_guest is not there."""
    root = tdx_guest(tmp_path)
    (root / "dev/tdx_guest").unlink()
    seen = look(root)
    assert seen.codes == ["device-tdx-absent"]
    assert "sudo modprobe tdx_guest" in seen.mends("device-tdx-absent")


def test_row_16_the_device_of_an_early_driver(tmp_path: Path) -> None:
    """Row 16: /dev/tdx-guest alone speaks other calls than programs of today."""
    root = tdx_guest(tmp_path)
    (root / "dev/tdx_guest").rename(root / "dev/tdx-guest")
    assert look(root).codes == ["device-tdx-old-name"]


def test_a_link_under_an_older_name_is_no_early_driver(tmp_path: Path) -> None:
    """A udev rule may give the device its older name as well."""
    root = tdx_guest(tmp_path)
    link(root, "/dev/tdx-guest", "tdx_guest")
    assert look(root).codes == []


def test_row_16_quotes_by_configfs_only(tmp_path: Path) -> None:
    """Row 16: who has an entry in configfs but no right to the device is warned of Intel's library."""
    root = tdx_guest(tmp_path)
    (root / "sys/kernel/config/tsm/report/com.intel.dcap/inblob").chmod(0o666)
    seen = look(root, STRANGER)
    assert seen.codes == ["device-tdx-only-configfs"]
    assert "sudo usermod -aG tdx guest" in seen.mends("device-tdx-only-configfs")


def test_the_tdx_device_has_its_own_group_and_rule(tmp_path: Path) -> None:
    """Who is not in tdx joins it; where no rule gives the node to a group, one is written out."""
    root = tdx_guest(tmp_path)
    (root / "sys/kernel/config/tsm/report/com.intel.dcap/inblob").chmod(0o600)
    assert "sudo usermod -aG tdx guest" in look(root, STRANGER).mends("device-not-in-group")
    device(root, "/dev/tdx_guest", 0o600)
    mends = look(root, STRANGER).mends("device-no-rule")
    assert 'KERNEL=="tdx_guest", GROUP="tdx", MODE="0660"' in mends
