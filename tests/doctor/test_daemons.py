"""The family `daemons`: AESM asked over a real socket, its unit, account and packages."""

import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from dcap.doctor import daemons
from dcap.doctor.scene import Scene
from dcap.formats.aesm import GetSupportedAttKeyIdNumAnswer, Unsupported, write_response
from dcap.simulator.aesm import aesm_service
from dcap.simulator.world import World
from doctor.scratch import (
    GROUP,
    Seen,
    add_aesm,
    add_qgs,
    aesm_answering,
    laptop,
    link,
    listening,
    packages,
    process,
    say,
    scene,
    sgx_host,
    stale,
    tdx_guest,
    users,
    write,
)

SOCKET = "/run/aesmd/aesm.socket"


def look(root: Path, **changes: object) -> Seen:
    """What the family says of a machine."""
    return say(daemons.CHECKS, scene(root, **changes))


def said(error: int = 0, keys: int | None = None) -> bytes:
    """AESM's answer to how many kinds of key it has, without its head."""
    answer = GetSupportedAttKeyIdNumAnswer(error_code=error, att_key_id_num=keys)
    return write_response(answer)[4:]


def aesm_host(tmp_path: Path) -> Path:
    """An SGX host with AESM, which has no socket yet."""
    return add_aesm(sgx_host(tmp_path))


# AESM


def test_a_healthy_host_with_aesm_and_qgs_has_no_finding(tmp_path: Path) -> None:
    """A live AESM is asked and answers; QGS runs; packages are of one release each."""
    root = add_qgs(aesm_host(tmp_path))
    with aesm_answering(root):
        seen = look(root)
    assert seen.codes == []
    told = [right.what for right in seen.rights]
    assert "AESM answers: 1 kind(s) of attestation key" in told
    assert "AESM's account, aesmd, may open the SGX devices" in told
    assert "QGS listens on vsock port 4050" in told
    assert "no package of the EPID time stands beside those of DCAP" in told


def test_the_simulators_aesm_is_a_healthy_one() -> None:
    """Asked over the real protocol, the simulated AESM has its keys; an error that it gives is told."""
    with tempfile.TemporaryDirectory(prefix="aesm-") as short:
        root = add_aesm(sgx_host(Path(short)))
        node = World("doctor's aesm").platform("node-1")
        with aesm_service(lambda: node, root / SOCKET[1:]):
            assert look(root).codes == []
        with aesm_service(lambda: node, root / SOCKET[1:], failing={"getSupportedAttKeyIDNum": 2}):
            assert "AESM_NO_DEVICE_ERROR" in look(root).finding("aesmd-error").what


@pytest.mark.parametrize("machine", [sgx_host, tdx_guest, laptop])
def test_machines_without_daemons_need_none(tmp_path: Path, machine: object) -> None:
    """Quotes in-process, a trust domain, a laptop: no daemon is missed, and that is said."""
    assert callable(machine)
    seen = look(machine(tmp_path))
    assert seen.codes == []
    assert {"AESM", "QGS"} <= {skipped.what for skipped in seen.skipped}


@pytest.mark.parametrize("value", ["1", ""])
def test_row_11_aesm_is_asked_for_and_not_installed(tmp_path: Path, value: str) -> None:
    """Row 11: SGX_AESM_ADDR, even an empty one, without AESM: install it, or unset the variable."""
    root = sgx_host(tmp_path)
    seen = look(root, environ={"SGX_AESM_ADDR": value})
    assert seen.codes == ["aesmd-not-installed"]
    assert "`sudo apt install sgx-aesm-service" in seen.mends("aesmd-not-installed")
    (root / "var/lib/dpkg/status").unlink()
    (root / "var/lib/dpkg").rmdir()
    write(root, "/var/lib/rpm/rpmdb.sqlite")
    again = look(root, environ={"SGX_AESM_ADDR": value})
    assert "`sudo dnf install sgx-aesm-service" in again.mends("aesmd-not-installed")
    assert "libsgx-aesm-ecdsa-plugin" in seen.mends("aesmd-not-installed")
    assert "`unset SGX_AESM_ADDR`" in seen.mends("aesmd-not-installed")


@pytest.mark.parametrize("left_behind", [False, True])
def test_row_11_aesm_does_not_run(tmp_path: Path, left_behind: bool) -> None:
    """Row 11: installed, no process; a socket that it left behind does not hide it."""
    root = aesm_host(tmp_path)
    for file in (root / "proc/700").iterdir():
        file.unlink()
    socket = stale(root, SOCKET) if left_behind else nullcontext()
    with socket:
        seen = look(root)
    assert seen.codes == ["aesmd-not-running"]
    assert "`sudo systemctl enable --now aesmd`" in seen.mends("aesmd-not-running")
    if left_behind:
        assert "Connection refused" in seen.finding("aesmd-not-running").evidence[0]


def test_a_masked_aesm_is_unmasked_first(tmp_path: Path) -> None:
    """A unit that is linked to /dev/null does not start by enabling it."""
    root = aesm_host(tmp_path)
    for file in (root / "proc/700").iterdir():
        file.unlink()
    link(root, "/etc/systemd/system/aesmd.service", "/dev/null")
    write(root, "/dev/null")
    assert "systemctl unmask aesmd" in look(root).mends("aesmd-not-running")


def test_row_11_the_socket_is_absent_though_aesm_runs(tmp_path: Path) -> None:
    """Row 11: a process without a socket: restart it."""
    seen = look(aesm_host(tmp_path))
    assert seen.codes == ["aesmd-socket-absent"]
    assert "process 700" in seen.finding("aesmd-socket-absent").evidence
    mend = seen.finding("aesmd-socket-absent").mends[0]
    assert mend.command == ("sudo", "systemctl", "restart", "aesmd")


def test_row_11_a_stale_socket(tmp_path: Path) -> None:
    """Row 11: nobody listens where AESM's socket is, though a process runs."""
    root = aesm_host(tmp_path)
    with stale(root, SOCKET):
        seen = look(root)
    assert seen.codes == ["aesmd-socket-stale"]
    assert "mount the folder /var/run/aesmd" in seen.mends("aesmd-socket-stale")


def test_a_stale_socket_in_a_container_is_no_missing_daemon(tmp_path: Path) -> None:
    """The folder was mounted, AESM is the host's: only the socket can be spoken of."""
    root = sgx_host(tmp_path)
    write(root, "/.dockerenv")
    with stale(root, SOCKET):
        assert look(root).codes == ["aesmd-socket-stale"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may open every socket")
def test_row_11_the_socket_is_closed_to_us(tmp_path: Path) -> None:
    """Row 11: a socket whose mode keeps us out."""
    root = aesm_host(tmp_path)
    with aesm_answering(root):
        (root / "run/aesmd/aesm.socket").chmod(0)
        assert look(root).codes == ["aesmd-denied"]


def test_aesm_that_does_not_answer(tmp_path: Path) -> None:
    """It takes the connection and is silent: told after the scene's timeout, not later."""
    root = aesm_host(tmp_path)
    with aesm_answering(root, None):
        seen = look(root, timeout=0.05)
    assert seen.codes == ["aesmd-silent"]
    assert "within 0.05 s" in seen.finding("aesmd-silent").what


@pytest.mark.parametrize("answer", [b"\xff\xff\xff", b"", b"\x0a\x00"])
def test_what_answers_is_no_aesm(tmp_path: Path, answer: bytes) -> None:
    """Bytes that are no answer of AESM's are told as that."""
    root = aesm_host(tmp_path)
    with aesm_answering(root, answer):
        assert look(root).codes == ["aesmd-broken-answer"]


@pytest.mark.parametrize(
    "answer",
    [said(error=38), said(keys=0), write_response(Unsupported())[4:]],
    ids=["error 38", "no kind of key", "an unknown call"],
)
def test_row_11_aesm_without_ecdsa(tmp_path: Path, answer: bytes) -> None:
    """Row 11: error 38 because the ECDSA plugin and QE3 are missing: the mend names the packages."""
    root = aesm_host(tmp_path)
    (root / "var/lib/dpkg/status").unlink()
    packages(root, sgx_aesm_service="2.25.100.3", libsgx_aesm_pce_plugin="2.25.100.3")
    with aesm_answering(root, answer):
        seen = look(root)
    assert seen.codes == ["aesmd-no-ecdsa"]
    assert "not installed: libsgx-ae-qe3" in seen.finding("aesmd-no-ecdsa").evidence
    assert "libsgx-aesm-ecdsa-plugin" in seen.mends("aesmd-no-ecdsa")
    assert "sudo systemctl restart aesmd" in seen.mends("aesmd-no-ecdsa")


def test_packages_are_named_for_rpm_as_well(tmp_path: Path) -> None:
    """Where there is rpm and no dpkg, packages cannot be listed, and dnf installs them."""
    root = aesm_host(tmp_path)
    (root / "var/lib/dpkg/status").unlink()
    (root / "var/lib/dpkg").rmdir()
    (root / "var/lib/rpm").mkdir()
    with aesm_answering(root, said(error=38)):
        seen = look(root)
    assert seen.codes == ["aesmd-no-ecdsa"]
    assert "`sudo dnf install libsgx-aesm-ecdsa-plugin" in seen.mends("aesmd-no-ecdsa")
    assert any("rpm -qa" in skipped.why for skipped in seen.skipped)


def test_row_11_a_package_that_aesm_needs_is_missing(tmp_path: Path) -> None:
    """Row 11: AESM answers, but quotes will not come: the one package is named."""
    root = aesm_host(tmp_path)
    status = root / "var/lib/dpkg/status"
    there = "Package: libsgx-ae-qe3\nStatus: install ok installed"
    removed = "Package: libsgx-ae-qe3\nStatus: deinstall ok config-files"
    assert there in status.read_text()
    status.write_text(status.read_text().replace(there, removed))
    with aesm_answering(root):
        seen = look(root)
    assert seen.codes == ["aesmd-packages-missing"]
    assert "`sudo apt install libsgx-ae-qe3 &&" in seen.mends("aesmd-packages-missing")


def test_row_11_aesm_answers_with_an_error(tmp_path: Path) -> None:
    """Row 11: the number, Intel's name of it and what it comes to."""
    root = aesm_host(tmp_path)
    with aesm_answering(root, said(error=30)):
        seen = look(root)
    assert seen.codes == ["aesmd-error"]
    assert "error 30 (AESM_SERVICE_UNAVAILABLE)" in seen.finding("aesmd-error").what
    assert "libsgx-aesm-ecdsa-plugin" in seen.mends("aesmd-error")


def test_row_11_aesms_account_may_not_open_the_devices(tmp_path: Path) -> None:
    """Row 11: it is AESM's account that loads the quoting enclave, whoever asks."""
    root = aesm_host(tmp_path)
    users(root, groups=f"sgx_prv:x:{GROUP}:app\n", passwd="aesmd:x:64000:64000::/x:/bin/false\n")
    write(root, "/proc/700/status", "Name:\taesm_service\nUid:\t64000\t64000\t64000\t64000\n")
    with aesm_answering(root):
        seen = look(root)
    assert seen.codes == ["aesmd-no-device"]
    assert "AESM's account, aesmd, may not open /dev/sgx_provision" in seen.findings[0].what
    assert "`sudo usermod -aG sgx_prv aesmd && sudo systemctl restart aesmd`" in seen.mends(
        "aesmd-no-device"
    )
    write(
        root,
        "/etc/systemd/system/aesmd.service.d/x.conf",
        "[Service]\nSupplementaryGroups=sgx_prv\n",
    )
    with aesm_answering(root):
        assert look(root).codes == []


def test_aesm_that_runs_but_is_not_enabled(tmp_path: Path) -> None:
    """All is well until the machine restarts: a warning, which enabling mends."""
    root = aesm_host(tmp_path)
    (root / "etc/systemd/system/multi-user.target.wants/aesmd.service").unlink()
    with aesm_answering(root):
        seen = look(root)
    assert seen.codes == ["aesmd-not-enabled"]
    assert seen.findings[0].mends[0].command == ("sudo", "systemctl", "enable", "aesmd")


def test_row_20_aesm_is_younger_than_a_program_with_an_enclave(tmp_path: Path) -> None:
    """Row 20: AESM restarted under a running enclave: its next quote gets error 42."""
    root = aesm_host(tmp_path)
    for pid, seconds in ((900, 30), (901, 90)):
        process(root, pid, "loader", seconds=seconds)
        link(root, f"/proc/{pid}/fd/3", "/dev/sgx_enclave")
    with aesm_answering(root):
        seen = look(root)
    assert seen.codes == ["aesmd-restarted"]
    finding = seen.finding("aesmd-restarted")
    assert "loader (900)" in finding.what
    assert "901" not in finding.what
    assert "error 42" in finding.what
    assert "Gramine from 1.8 on" in seen.mends("aesmd-restarted")


def test_another_address_of_aesm_is_obeyed(tmp_path: Path) -> None:
    """Where SGX_AESM_ADDR names a path, AESM is asked there."""
    root = sgx_host(tmp_path)
    with listening(root, "/run/other.socket", lambda _: said(keys=1)):
        seen = look(root, environ={"SGX_AESM_ADDR": "/run/other.socket"})
    assert seen.codes == []
    assert "AESM answers: 1 kind(s) of attestation key" in [right.what for right in seen.rights]


# Packages


def test_row_19_epid_and_dcap_packages_mixed(tmp_path: Path) -> None:
    """Row 19: 0xE014 where packages of EPID stand beside those of DCAP: they are to be removed."""
    root = aesm_host(tmp_path)
    packages(root, libsgx_aesm_epid_plugin="2.25.100.3-noble1", libsgx_epid="2.25.100.3-noble1")
    with aesm_answering(root):
        seen = look(root)
    assert seen.codes == ["aesmd-epid-mixed"]
    assert "`sudo apt remove libsgx-aesm-epid-plugin libsgx-epid &&" in seen.mends(
        "aesmd-epid-mixed"
    )


def test_row_19_what_is_to_be_removed_is_not_to_be_updated(tmp_path: Path) -> None:
    """Row 19: packages of EPID are of an old release as a rule: no second mend installs them anew."""
    root = aesm_host(tmp_path)
    packages(root, libsgx_aesm_epid_plugin="2.14.100.2-focal1", libsgx_epid="2.14.100.2-focal1")
    with aesm_answering(root):
        seen = look(root)
    assert seen.codes == ["aesmd-epid-mixed"]


def test_the_launch_plugin_alone_mixes_nothing(tmp_path: Path) -> None:
    """AESM's own package brings the launch plugin along: no finding without EPID's quoting."""
    root = aesm_host(tmp_path)
    packages(root, libsgx_aesm_launch_plugin="2.25.100.3-noble1", libsgx_launch="2.25.100.3-noble1")
    with aesm_answering(root):
        assert look(root).codes == []


def test_row_19_packages_of_several_releases(tmp_path: Path) -> None:
    """Row 19: libsgx-enclave-common of another release than AESM; 1.x and 2.x side by side are right."""
    root = aesm_host(tmp_path)
    status = root / "var/lib/dpkg/status"
    before = "Package: libsgx-enclave-common\nStatus: install ok installed\nArchitecture: amd64\n"
    text = status.read_text()
    assert f"{before}Version: 2.25" in text
    status.write_text(text.replace(f"{before}Version: 2.25.100.3", f"{before}Version: 2.17.100.3"))
    with aesm_answering(root):
        seen = look(root)
    assert seen.codes == ["aesmd-releases-differ"]
    evidence = seen.finding("aesmd-releases-differ").evidence
    assert "2.17.100.3: libsgx-enclave-common" in evidence
    assert not any(line.startswith("1.22") for line in evidence)


def test_no_check_of_this_family_concerns_a_verifier(tmp_path: Path) -> None:
    """Who only verifies is told nothing of daemons."""
    root = aesm_host(tmp_path)
    at: Scene = scene(root, roles=frozenset({"verifier"}))
    seen = say(daemons.CHECKS, at)
    assert (seen.findings, seen.rights, seen.skipped) == ([], [], [])
