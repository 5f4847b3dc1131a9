"""The family `tdx_guest`: row 16 in all its causes, one change of a healthy trust domain each."""

from pathlib import Path

import msgspec
import pytest

from dcap.doctor import devices, tdx_guest
from doctor.scratch import (
    APP,
    USER,
    Seen,
    device,
    kernel,
    laptop,
    mounts,
    say,
    scene,
    sgx_host,
    write,
)
from doctor.scratch import tdx_guest as trust_domain

ENTRY = "sys/kernel/config/tsm/report/com.intel.dcap"
REPORTS = "sys/kernel/config/tsm/report"
CONF = "/etc/tdx-attest.conf"
STRANGER = msgspec.structs.replace(APP, name="guest", groups=frozenset({USER}))


def look(root: Path, **changes: object) -> Seen:
    """What the family says of a machine."""
    return say(tdx_guest.CHECKS, scene(root, **changes))


def with_vsock(root: Path, port: int = 4050) -> Path:
    """The trust domain with a port, a vsock device and its transport."""
    write(root, CONF, f"port={port}\n")
    device(root, "/dev/vsock", 0o666)
    (root / "sys/module/vmw_vsock_virtio_transport").mkdir(parents=True)
    return root


def without_reports(root: Path) -> Path:
    """The trust domain without the kernel's folder of reports."""
    for file in (root / ENTRY).iterdir():
        file.unlink()
    for folder in (ENTRY, REPORTS, "sys/kernel/config/tsm"):
        (root / folder).rmdir()
    return root


def test_a_healthy_trust_domain_has_no_finding(tmp_path: Path) -> None:
    """The module, the entry and its provider are right; no quote is asked for."""
    seen = look(trust_domain(tmp_path))
    assert seen.codes == []
    told = [right.what for right in seen.rights]
    assert "the module tdx_guest is loaded" in told
    assert "configfs-tsm: /sys/kernel/config/tsm/report/com.intel.dcap is there" in told
    assert any("would ask for a quote" in skipped.why for skipped in seen.skipped)


def test_a_healthy_trust_domain_with_vsock_has_no_finding(tmp_path: Path) -> None:
    """A port, a device and a transport are right."""
    seen = look(with_vsock(trust_domain(tmp_path)))
    assert seen.codes == []
    assert "vsock: the host is asked at port 4050" in [right.what for right in seen.rights]


@pytest.mark.parametrize("machine", [sgx_host, laptop])
def test_other_machines_are_skipped(tmp_path: Path, machine: object) -> None:
    """What is no trust domain has none of its roads, and no finding."""
    assert callable(machine)
    seen = look(machine(tmp_path))
    assert (seen.codes, seen.rights) == ([], [])
    assert {skipped.why for skipped in seen.skipped} == {"this is no trust domain"}


def test_row_16_the_module_is_absent(tmp_path: Path) -> None:
    """Row 16: no tdx_guest: one finding with modprobe, none of the absent device or configfs."""
    root = without_reports(trust_domain(tmp_path))
    (root / "sys/module/tdx_guest").rmdir()
    (root / "dev/tdx_guest").unlink()
    seen = say((*devices.CHECKS, *tdx_guest.CHECKS), scene(root))
    assert seen.codes == ["tdx-module-absent"]
    assert seen.findings[0].mends[0].command == ("sudo", "modprobe", "tdx_guest")
    assert any("CONFIG_TDX_GUEST_DRIVER=m" in line for line in seen.findings[0].evidence)


def test_row_16_a_driver_that_is_built_in_is_there(tmp_path: Path) -> None:
    """Row 16: a built-in driver shows no module; its device tells of it."""
    root = trust_domain(tmp_path)
    (root / "sys/module/tdx_guest").rmdir()
    assert look(root).codes == []


def test_row_16_a_guest_kernel_without_a_driver(tmp_path: Path) -> None:
    """Row 16: before 6.2 there is no module that could be loaded."""
    root = without_reports(trust_domain(tmp_path))
    (root / "sys/module/tdx_guest").rmdir()
    (root / "dev/tdx_guest").unlink()
    kernel(root, "5.15.0-119-generic")
    seen = look(root)
    assert seen.codes == ["tdx-kernel-old"]
    assert "6.7" in seen.mends("tdx-kernel-old")


def test_row_16_configfs_is_not_mounted(tmp_path: Path) -> None:
    """Row 16: without configfs the reports cannot be reached; mount mends it."""
    root = without_reports(trust_domain(tmp_path))
    mounts(root)
    seen = look(root)
    assert seen.codes == ["tdx-configfs-unmounted"]
    assert (
        "`sudo mount -t configfs configfs /sys/kernel/config`"
        in seen.finding("tdx-configfs-unmounted").mends[0].text
    )


def test_in_a_container_configfs_is_another_checks_affair(tmp_path: Path) -> None:
    """Nothing is mounted from inside: the check `container` says what the host hands in."""
    root = without_reports(trust_domain(tmp_path))
    mounts(root)
    (root / ".dockerenv").write_text("")
    assert look(root).codes == []


@pytest.mark.parametrize(
    ("release", "words"),
    [("6.8.0-45-generic", "nothing answers for TDX there"), ("6.5.0-35-generic", "since 6.7")],
)
def test_row_16_configfs_without_reports(tmp_path: Path, release: str, words: str) -> None:
    """Row 16: a mounted configfs in which the kernel has no tsm/report; vsock is the other road."""
    root = without_reports(trust_domain(tmp_path))
    kernel(root, release)
    seen = look(root)
    assert seen.codes == ["tdx-tsm-absent"]
    assert words in seen.finding("tdx-tsm-absent").what
    assert "`echo 'port=4050' | sudo tee /etc/tdx-attest.conf`" in seen.mends("tdx-tsm-absent")


def test_a_port_that_serves_makes_configfs_needless(tmp_path: Path) -> None:
    """With vsock in order, a missing configfs is told as no fault."""
    root = without_reports(with_vsock(trust_domain(tmp_path)))
    seen = look(root)
    assert seen.codes == []
    assert any("vsock port 4050 is taken first" in skipped.why for skipped in seen.skipped)


@pytest.mark.parametrize("provider", ["sev_guest", "arm_cca_guest"])
def test_row_16_another_provider(tmp_path: Path, provider: str) -> None:
    """Row 16: reports that another technology makes are no TDX quotes."""
    root = trust_domain(tmp_path)
    write(root, f"/{ENTRY}/provider", f"{provider}\n")
    seen = look(root)
    assert seen.codes == ["tdx-provider-other"]
    assert repr(provider) in seen.finding("tdx-provider-other").what


def test_row_16_a_port_without_a_vsock_device(tmp_path: Path) -> None:
    """Row 16: the guest's configuration has a port, and QEMU gave it no vsock."""
    root = with_vsock(trust_domain(tmp_path))
    (root / "dev/vsock").unlink()
    seen = look(root)
    assert seen.codes == ["tdx-no-vsock"]
    assert "/dev/vsock: not there" in seen.finding("tdx-no-vsock").evidence
    assert "vhost-vsock-pci" in seen.mends("tdx-no-vsock")
    assert "`sudo rm /etc/tdx-attest.conf`" in seen.mends("tdx-no-vsock")


def test_row_16_a_port_without_the_transport(tmp_path: Path) -> None:
    """Row 16: /dev/vsock is there, but the module that carries it to the host is not loaded."""
    root = with_vsock(trust_domain(tmp_path))
    (root / "sys/module/vmw_vsock_virtio_transport").rmdir()
    (root / "sys/module/vsock").mkdir()
    seen = look(root)
    assert seen.codes == ["tdx-no-vsock"]
    first = seen.finding("tdx-no-vsock").mends[0]
    assert first.command == ("sudo", "modprobe", "vmw_vsock_virtio_transport")


def test_row_16_another_port_than_the_hosts(tmp_path: Path) -> None:
    """Row 16: a port that is not 4050 is a warning: only the host knows."""
    seen = look(with_vsock(trust_domain(tmp_path), 4051))
    assert seen.codes == ["tdx-port-differs"]
    assert "`port = 4051`" in seen.mends("tdx-port-differs")


@pytest.mark.parametrize("text", ["port=4050 # QGS\n", "Port=4050\n", "port=vsock\n"])
def test_row_16_a_configuration_without_a_port_that_counts(tmp_path: Path, text: str) -> None:
    """Row 16: Intel's library leaves out a line it does not understand, and says nothing."""
    root = trust_domain(tmp_path)
    write(root, CONF, text)
    seen = look(root)
    assert seen.codes == ["tdx-attest-conf"]
    assert text.strip() in seen.finding("tdx-attest-conf").evidence[0]


def test_a_configuration_of_comments_alone_is_none(tmp_path: Path) -> None:
    """As Intel ships it."""
    root = trust_domain(tmp_path)
    write(root, CONF, "# To get the quote by vsock, uncomment:\n# port=4050\n")
    assert look(root).codes == []


@pytest.mark.parametrize(("size", "codes"), [(0, ["tdx-outblob-empty"]), (8000, [])])
def test_row_16_an_empty_outblob(tmp_path: Path, size: int, codes: list[str]) -> None:
    """Row 16: the kernel was asked and gave nothing: the host's QGS has to be mended."""
    root = trust_domain(tmp_path)
    write(root, f"/{ENTRY}/generation", "1\n")
    write(root, f"/{ENTRY}/outblob", b"\x04" * size)
    seen = look(root)
    assert seen.codes == codes
    if codes:
        assert "journalctl -u qgsd" in seen.mends("tdx-outblob-empty")


def test_an_entry_that_was_never_asked_has_no_empty_answer(tmp_path: Path) -> None:
    """Generation 0: an empty outblob means nothing yet."""
    root = trust_domain(tmp_path)
    write(root, f"/{ENTRY}/outblob", b"")
    assert look(root).codes == []


@pytest.mark.parametrize("there", [True, False])
def test_row_16_the_account_may_not_ask(tmp_path: Path, there: bool) -> None:
    """Row 16: configfs is root's: an entry is given away, or the program runs as root."""
    root = trust_domain(tmp_path)
    if not there:
        for file in (root / ENTRY).iterdir():
            file.unlink()
        (root / ENTRY).rmdir()
    seen = look(root, account=STRANGER)
    assert seen.codes == ["tdx-report-closed"]
    mends = seen.mends("tdx-report-closed")
    assert "chown -R guest /sys/kernel/config/tsm/report/guest" in mends
    assert "DCAP_TDX_QUOTE_CONFIGFS_PATH=/sys/kernel/config/tsm/report/guest" in mends


def test_an_entry_of_the_accounts_own_is_looked_at(tmp_path: Path) -> None:
    """DCAP_TDX_QUOTE_CONFIGFS_PATH names another entry, which has to be open to the account."""
    root = trust_domain(tmp_path)
    write(root, f"/{REPORTS}/mine/provider", "tdx_guest\n")
    write(root, f"/{REPORTS}/mine/inblob", b"", 0o666)
    environ = {"DCAP_TDX_QUOTE_CONFIGFS_PATH": f"/{REPORTS}/mine"}
    assert look(root, account=STRANGER, environ=environ).codes == []
