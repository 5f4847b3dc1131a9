"""The doctor on who reads which `qcnl.conf`: rows 2 and 14 of §6, files not read, or not read anew."""

from pathlib import Path

import pytest

from dcap.doctor.scene import Scene
from doctor.configured_host import (
    CHECKS,
    CONF,
    GOOD,
    RESTART,
    configured_host,
    look,
    qcnl,
    with_line,
)
from doctor.scratch import APP, laptop, link, process, say, scene, unit, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server with AESM running and a configuration that is older than it."""
    return configured_host(tmp_path)


def test_row_14_a_daemon_that_started_before_the_last_edit(root: Path) -> None:
    """Edits have no effect: the file is younger than aesmd, which reads it once."""
    qcnl(root, GOOD, seconds=3600)
    finding = look(root).finding("configuration-not-reread")
    assert "after aesmd had started" in finding.what
    assert f"{CONF} changed 2026-01-01 01:00:00 UTC" in finding.evidence
    assert "aesmd started 2026-01-01 00:01:00 UTC" in finding.evidence
    assert finding.mends[0].text.startswith(f"`{RESTART}`")
    process(root, 700, "aesm_service", uid=APP.uid + 1, seconds=7200)
    assert look(root).codes == []


def test_row_14_a_program_that_started_before_the_last_edit(root: Path) -> None:
    """A program that maps Intel's library has read the file as well, and is named with its number."""
    qcnl(root, GOOD, seconds=100)
    process(root, 700, "aesm_service", uid=APP.uid + 1, seconds=200)
    process(root, 900, "attestd", uid=APP.uid)
    assert look(root).codes == []
    write(root, "/proc/900/maps", "7f00 r-xp 0 0:0 1 /usr/lib/libdcap_quoteprov.so.1.14\n")
    finding = look(root).finding("configuration-not-reread")
    assert "after attestd (900) had started" in finding.what
    assert finding.mends[0].text.startswith("restart attestd (900)")


def test_row_14_shell_and_daemon_read_different_files(root: Path) -> None:
    """Edits have no effect: QCNL_CONF_PATH is set in the shell, and aesmd does not see it."""
    other = f"{APP.home}/qcnl.conf"
    qcnl(root, GOOD.replace("pccs.example", "other.example"), path=other)
    environ = {"HOME": APP.home, "QCNL_CONF_PATH": other}
    finding = look(root, environ=environ).finding("configuration-two-files")
    assert f"this shell reads {other}, aesmd reads {CONF}" in finding.what
    assert any("other.example" in line for line in finding.evidence)
    assert "unset QCNL_CONF_PATH" in finding.mends[0].text
    qcnl(root, GOOD, path=other)
    seen = look(root, environ=environ)
    assert seen.codes == []
    assert any("both say the same" in right.what for right in seen.rights)


def test_a_shell_without_any_file_is_not_compared(root: Path) -> None:
    """Only aesmd is configured, by its unit: what the shell would read is nobody's edit."""
    (root / CONF.lstrip("/")).unlink()
    qcnl(root, GOOD, path="/etc/aesmd-qcnl.conf")
    environ = {"QCNL_CONF_PATH": "/etc/aesmd-qcnl.conf"}
    process(root, 700, "aesm_service", uid=APP.uid + 1, environ=environ)
    assert look(root).codes == []


def test_a_pccs_reads_no_configuration_of_the_library(root: Path) -> None:
    """QCNL_CONF_PATH in the environment of a service that never reads the file is nothing."""
    process(root, 901, "dcap", environ={"QCNL_CONF_PATH": "/etc/none.conf"})
    write(root, "/proc/901/cmdline", "/opt/dcap/bin/dcap\0pccs\0serve\0")
    assert look(root).codes == []


def test_the_command_names_the_file_where_the_shell_would_mean_another(root: Path) -> None:
    """With QCNL_CONF_PATH in the shell, `dcap qcnl write` alone would write that one."""
    qcnl(root, GOOD.replace("10\n", "10,\n"))
    qcnl(root, GOOD, path=f"{APP.home}/qcnl.conf")
    seen = look(root, environ={"QCNL_CONF_PATH": f"{APP.home}/qcnl.conf"})
    assert seen.finding("configuration-discarded").mends[0].command[-2:] == ("--output", CONF)


def test_row_14_another_file_was_edited(root: Path) -> None:
    """Edits have no effect: network_setting.conf names the PCCS, qcnl.conf still localhost."""
    tool = "/opt/intel/sgx-pck-id-retrieval-tool/network_setting.conf"
    write(root, tool, "PCCS_URL=https://pccs.example:8081/sgx/certification/v4/platforms\n")
    assert look(root).codes == []
    qcnl(root, with_line('"pccs_url": "https://localhost:8081/sgx/certification/v4/"'))
    finding = look(root).finding("configuration-other-file")
    assert tool in finding.what
    assert "`sudo dcap qcnl write --pccs https://pccs.example:8081/`" in finding.mends[0].text
    write(root, tool, "PCCS_URL=https://localhost:8081/sgx/certification/v4/platforms\n")
    assert look(root).codes == []


def test_row_14_the_pccs_was_given_another_port(root: Path) -> None:
    """0xE019: default.json of the PCCS says another port than qcnl.conf asks."""
    qcnl(root, with_line('"pccs_url": "https://localhost:8081/sgx/certification/v4/"'))
    default = "/opt/intel/sgx-dcap-pccs/config/default.json"
    write(root, default, '{"HTTPS_PORT" : 8081, "hosts" : "127.0.0.1"}')
    assert look(root).codes == []
    write(root, default, '{"HTTPS_PORT" : 9081, "hosts" : "127.0.0.1"}')
    assert "--pccs https://localhost:9081/" in look(root).mends("configuration-other-file")


def test_row_14_a_variable_that_names_nothing(root: Path) -> None:
    """0xE019: QCNL_CONF_PATH has no fall back; the unit of a daemon may set it too."""
    write(
        root,
        "/etc/systemd/system/aesmd.service.d/conf.conf",
        "[Service]\nEnvironment=QCNL_CONF_PATH=/etc/none.conf\n",
    )
    assert look(root).codes == []  # the process runs, and its own environment counts
    process(
        root, 700, "aesm_service", uid=APP.uid + 1, environ={"QCNL_CONF_PATH": "/etc/none.conf"}
    )
    finding = look(root).finding("configuration-unread")
    assert "aesmd cannot read its configuration /etc/none.conf" in finding.what
    assert "aesmd: there is no such file" in finding.evidence
    assert "systemctl edit aesmd" in finding.mends[0].text
    seen = look(root, environ={"QCNL_CONF_PATH": ""})
    assert any("is set, and empty" in line for each in seen.findings for line in each.evidence)


def test_row_2_a_folder_in_the_place_of_the_file(root: Path) -> None:
    """0xE019 in a container: docker made a folder of a file that was not there on the host."""
    (root / CONF.lstrip("/")).unlink()
    (root / CONF.lstrip("/")).mkdir()
    finding = look(root).finding("configuration-unread")
    assert "this shell: it is a folder" in finding.evidence
    assert f"sudo rmdir {CONF}" in finding.mends[0].text


def test_row_2_a_file_that_the_daemon_may_not_read(root: Path) -> None:
    """0xE019: the mode keeps aesmd out, the library says nothing."""
    (root / CONF.lstrip("/")).chmod(0o600)
    finding = look(root).finding("configuration-unread")
    assert "aesmd: aesmd may not read it" in finding.evidence
    assert f"sudo chmod a+r {CONF}" in finding.mends[0].text


def test_row_14_a_unit_that_hides_the_file(root: Path) -> None:
    """A configuration in /home, which aesmd's unit hides from it: the shell alone reads it."""
    path = f"{APP.home}/qcnl.conf"
    qcnl(root, GOOD, path=path)
    home = {"HOME": "/var/opt/aesmd", "QCNL_CONF_PATH": path}
    process(root, 700, "aesm_service", uid=APP.uid + 1, environ=home)
    finding = look(root, environ={"QCNL_CONF_PATH": path}).finding("configuration-unread")
    assert "aesmd: its unit hides that folder from it" in finding.evidence
    assert finding.what.startswith("aesmd cannot")


def test_row_2_a_link_is_not_followed_by_new_releases(root: Path) -> None:
    """0xE019 after an upgrade: JSON behind a symbolic link, followed inside the root alone."""
    (root / CONF.lstrip("/")).unlink()
    qcnl(root, GOOD, path="/etc/qcnl/real.conf")
    link(root, CONF, "/etc/qcnl/real.conf")
    finding = look(root).finding("configuration-symlink")
    assert f"--remove-destination /etc/qcnl/real.conf {CONF}" in finding.mends[0].text


def test_a_daemon_that_is_not_running_is_judged_by_its_unit(tmp_path: Path) -> None:
    """Without a process, the unit and its drop-ins say what it will read."""
    root = laptop(tmp_path)
    unit(root, "qgsd", "[Service]\nUser=root\nEnvironment=A=1 'QCNL_CONF_PATH=/etc/q x.conf'\n")
    qcnl(root, GOOD.replace("10\n", "10,\n"), path="/etc/q x.conf")
    finding = look(root).finding("configuration-discarded")
    assert "read by qgsd" in finding.evidence
    assert "--output '/etc/q x.conf'" in finding.mends[0].text


def test_a_daemon_of_which_nothing_is_known_is_skipped_and_said(root: Path) -> None:
    """An environment that cannot be read, and no unit: which file it reads is not known."""
    (root / "usr/lib/systemd/system/aesmd.service").unlink()
    (root / "proc/700/environ").unlink()
    (root / "proc/700/environ").mkdir()
    (skipped,) = look(root).skipped
    assert skipped.what == "which configuration aesmd reads"
    assert "/proc/700/environ cannot be read" in skipped.why


def test_a_laptop_that_verifies_without_intel_s_library_needs_no_file(tmp_path: Path) -> None:
    """No library, no file: that is said, and is no finding."""
    at: Scene = scene(laptop(tmp_path), roles=frozenset({"verifier"}))
    seen = say(CHECKS, at)
    assert seen.codes == []
    assert [each.what for each in seen.skipped] == ["configuration of Intel's library"]


def test_a_link_to_nothing_is_told_with_how_it_is_replaced(root: Path) -> None:
    """0xE019: the target of the link has gone; `dcap qcnl write` writes through no link."""
    (root / CONF.lstrip("/")).unlink()
    link(root, CONF, "/run/secrets/qcnl.conf")
    finding = look(root).finding("configuration-unread")
    assert "aesmd: it is a link to nothing" in finding.evidence
    assert finding.mends[0].text.startswith(f"`sudo rm {CONF} && sudo dcap qcnl write")
