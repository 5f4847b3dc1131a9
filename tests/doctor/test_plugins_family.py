"""The doctor on quote providers: rows 4 and 6 to 9 of §6, and the process behind dcap's own plugin.

Which program loads what is `qpl.discovery`'s, and tested there; here is what the doctor makes of it.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from dcap.doctor import plugins
from dcap.doctor.plugins_ailments import ALWAYS_ADVICE, PLUGINS
from dcap.doctor.scene import Scene
from dcap.qpl.discovery_problems import AZURE_TAG, DMI
from dcap.qpl.discovery_remarks import PROBLEMS
from doctor.scratch import APP, Seen, laptop, say, scene, sgx_host, stale, tdx_guest, write
from qpl.libraries import BARE, MULTI_ARCH, VERSIONED, System, foreign, plugin

BARE_PATH, VERSIONED_PATH = f"{MULTI_ARCH}/{BARE}", f"{MULTI_ARCH}/{VERSIONED}"
CHECKS = plugins.CHECKS


@pytest.fixture
def host(tmp_path: Path) -> System:
    """A server with SGX, and no plugin yet."""
    return System(sgx_host(tmp_path))


def seen(host: System, **changes: object) -> Seen:
    """What the family says of the machine."""
    return say(CHECKS, scene(host.top, **changes))


# ── healthy ─────────────────────────────────────────────────────────────────────────────────────


def test_one_plugin_under_both_names_gives_no_finding(host: System) -> None:
    """Healthy: Intel's package and its -dev link; the doctor says who loads it."""
    host.intel(bare=True)
    found = seen(host)
    assert found.codes == []
    (right,) = found.rights
    assert right.what.startswith(f"{VERSIONED_PATH}: Intel's quote provider, loaded by Conclave")


def test_a_verifier_and_a_trust_domain_need_no_plugin(tmp_path: Path) -> None:
    """Healthy: where no quoting or verifying of Intel's is, dcap does without, and says so."""
    for root, role in (
        (laptop(tmp_path / "a"), "verifier"),
        (tdx_guest(tmp_path / "b"), "attester"),
    ):
        found = say(CHECKS, scene(root, roles=frozenset({role})))
        assert found.codes == []
        assert "without one" in found.skipped[0].why


def test_azures_plugin_in_azure_gives_no_finding(host: System) -> None:
    """Healthy: the plugin belongs to the machine, its noise is off, and no aesmd complains."""
    host.azure()
    host.link(f"/usr/lib/{VERSIONED}", BARE)
    host.put(DMI, f"{AZURE_TAG}\n")
    found = seen(host, environ={"AZDCAP_DEBUG_LOG_LEVEL": "FATAL"})
    assert found.codes == []
    assert "there is no aesmd here" in [each.why for each in found.skipped]


# ── rows 4, 6: missing, or not found ────────────────────────────────────────────────────────────


def test_row_6_no_plugin_on_a_host_that_quotes(host: System) -> None:
    """Row 6, 4: "Cannot open Quote Provider Library", or 0xE01C later: none is installed."""
    found = seen(host)
    assert found.codes == ["plugins-none"]
    assert "0xE01C" in found.finding("plugins-none").what
    assert f"{VERSIONED_PATH}: not there" in found.finding("plugins-none").evidence
    assert "`sudo apt install libsgx-dcap-default-qpl`" in found.mends("plugins-none")
    assert "`dcap provider install`" in found.mends("plugins-none")


def test_row_6_no_plugin_where_packages_are_rpm_s(host: System) -> None:
    """Row 6: on Red Hat's the package has the same name, and `apt` is not there to install it."""
    shutil.rmtree(host.top / "var/lib/dpkg")
    write(host.top, "/var/lib/rpm/rpmdb.sqlite")
    assert "`sudo dnf install libsgx-dcap-default-qpl`" in seen(host).mends("plugins-none")


def test_row_6_no_plugin_for_intels_verifying_library(tmp_path: Path) -> None:
    """Row 6: 0xE00E of a verifier: Intel's verifying library is here, and no plugin."""
    host = System(laptop(tmp_path))
    host.put(f"{MULTI_ARCH}/libsgx_dcap_quoteverify.so.1", b"")
    found = seen(host, roles=frozenset({"verifier"}))
    assert "0xE00E" in found.finding("plugins-none").what


def test_row_6_only_the_versioned_name(host: System) -> None:
    """Row 6: OE_QUOTE_PROVIDER_LOAD_ERROR, for the runtime package has no bare name: a link mends it."""
    host.intel()
    found = seen(host)
    assert found.codes == ["plugins-bare-name"]
    assert "OE_QUOTE_PROVIDER_LOAD_ERROR" in found.finding("plugins-bare-name").what
    first = found.finding("plugins-bare-name").mends[0]
    assert first.text == f"`sudo ln -s {VERSIONED} {BARE_PATH}`"
    assert (first.command, first.safe) == (("sudo", "ln", "-s", VERSIONED, BARE_PATH), True)
    root = replace(APP, uid=0)
    assert seen(host, account=root).finding("plugins-bare-name").mends[0].command[0] == "ln"


def test_row_6_only_the_bare_name(host: System) -> None:
    """Row 6: 0xE00E of qgsd with Azure's package alone: it wants the versioned name."""
    host.azure()
    host.put("/etc/qgs.conf", "port = 4050\n")
    found = seen(host)
    assert "qgsd" in found.finding("plugins-versioned-name").what
    assert f"/usr/lib/{VERSIONED}`" in found.mends("plugins-versioned-name")


def test_row_6_a_library_that_it_needs_is_missing(host: System) -> None:
    """Row 6: the plugin is there and does not load, for OpenSSL 1.1 is gone: which one, by name."""
    host.put(VERSIONED_PATH, plugin("intel", needed=("libcrypto.so.1.1",)))
    found = seen(host)
    said = found.finding("plugins-dependencies")
    assert "libcrypto.so.1.1" in said.what
    assert f"{VERSIONED_PATH}: libcrypto.so.1.1 is not found" in said.evidence


def test_row_6_for_another_processor(host: System) -> None:
    """Row 6: a plugin of 32 bits leaves everybody without one."""
    host.put(VERSIONED_PATH, foreign(bits=32, machine=3))
    assert "plugins-architecture" in seen(host).codes


def test_what_removes_a_file_is_never_done_for_the_asking(host: System) -> None:
    """Two plugins: which one goes is a person's choice, and no mend of that is safe."""
    host.intel()
    host.azure()
    said = seen(host).finding("plugins-differ")
    assert said.mends
    assert not any(mend.safe or mend.command for mend in said.mends)


def test_what_hinders_nobody_is_a_warning_of_its_own(host: System) -> None:
    """A broken file beside a good one is told, and is no error: the machine works."""
    host.intel(bare=True)
    host.put(f"/usr/lib/{VERSIONED}", foreign())
    found = seen(host)
    assert found.codes == ["plugins-idle"]
    assert "it hinders nobody" in found.finding("plugins-idle").what
    assert f"`sudo rm /usr/lib/{VERSIONED}`" in found.mends("plugins-idle")


# ── rows 7 to 9: the wrong one ──────────────────────────────────────────────────────────────────


def test_row_7_two_packages_and_two_plugins_in_use(host: System) -> None:
    """Row 7: Intel's by Conclave, Azure's by Open Enclave: who loads which, and what to remove."""
    host.intel()
    host.azure()
    found = seen(host, environ={"AZDCAP_DEBUG_LOG_LEVEL": "ERROR"})
    said = found.finding("plugins-differ")
    assert "Azure's (2) by Open Enclave" in said.what
    assert "`sudo apt remove az-dcap-client`" in found.mends("plugins-differ")
    assert any("package az-dcap-client" in line for line in said.evidence)


def test_row_7_azures_plugin_on_bare_metal(host: System) -> None:
    """Row 7: 0xE019 on a machine that is not Azure's: the firmware says whose it is."""
    host.azure()
    host.put(DMI, "Dell Inc.\n")
    found = seen(host)
    assert "no virtual machine of Azure's" in found.finding("plugins-azure-elsewhere").what


def test_row_7_intels_plugin_in_azure(host: System) -> None:
    """Row 7: 0xE019 in Azure with Intel's plugin: point it at Azure."""
    host.intel(bare=True)
    host.put(DMI, f"{AZURE_TAG}\n")
    assert "`dcap qcnl write --azure`" in seen(host).mends("plugins-not-azure")


def test_row_8_the_noise_of_azures_plugin(host: System) -> None:
    """Row 8: "Could not retrieve environment variable": harmless, and off once the variable is set."""
    host.azure()
    loud = seen(host)
    assert "harmless" in loud.finding("plugins-azure-noise").what
    assert "AZDCAP_DEBUG_LOG_LEVEL" in loud.mends("plugins-azure-noise")
    quiet = seen(host, environ={"AZDCAP_DEBUG_LOG_LEVEL": "FATAL"})
    assert "plugins-azure-noise" not in quiet.codes


def test_row_9_the_logging_callback(host: System) -> None:
    """Row 9: "Failed to set logging callback" of aesmd with Azure's plugin: harmless, and said so."""
    host.azure()
    host.put("/usr/lib/systemd/system/aesmd.service", "[Service]\n")
    found = seen(host, environ={"AZDCAP_DEBUG_LOG_LEVEL": "ERROR"})
    assert "harmless" in found.finding("plugins-logging").what
    assert found.mends("plugins-logging") == "nothing need be done"


def test_every_problem_of_discovery_has_its_ailment() -> None:
    """What discovery can say, the doctor can explain; and what it only advises is no error."""
    severities = {each.code: each.severity for each in PLUGINS}
    assert set(PROBLEMS) == set(severities) - {"plugins-idle"}
    assert {code for code, found in severities.items() if found == "warning"} == {
        *ALWAYS_ADVICE,
        "plugins-idle",
    }


# ── the process behind dcap's own plugin ────────────────────────────────────────────────────────

ME = replace(APP, uid=os.getuid())


@pytest.fixture
def ours(host: System) -> System:
    """Our plugin as `dcap provider install` places it, with a program that starts the process."""
    host.put(VERSIONED_PATH, plugin("dcap"))
    host.link(BARE_PATH, VERSIONED)
    write(host.top, "/usr/bin/dcap-provider", "#!/bin/sh\n", 0o755)
    write(host.top, f"{MULTI_ARCH}/libdcap_quoteprov.command", "/usr/bin/dcap-provider\n")
    return host


def about(ours: System, **changes: object) -> Scene:
    """The scene of a user who owns the files here."""
    return replace(scene(ours.top, account=ME, environ={}), **changes)


@contextmanager
def listening_at(ours: System, path: str, *, full: bool = False) -> Iterator[None]:
    """A process that listens at a socket of the machine; `full`: it takes no connection any more."""
    file = ours.top / path.lstrip("/")
    file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        (bound := Path(short) / "s").touch()
        bound.unlink()
        server.bind(str(bound))
        server.listen(0)
        file.hardlink_to(bound)
        waiting = []
        for _ in range(2 if full else 0):
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            waiting.append(one)
            if one.connect_ex(str(bound)):
                break
        yield
        for one in waiting:
            one.close()


def test_a_process_that_answers_is_right(ours: System) -> None:
    """The user's own socket is looked at first, as the library does."""
    with listening_at(ours, f"/tmp/dcap-{ME.uid}/provider.sock"):
        found = say(CHECKS, about(ours))
    assert found.codes == []
    assert f"answers at /tmp/dcap-{ME.uid}/provider.sock" in found.rights[-1].what


def test_a_process_that_can_be_started_is_right(ours: System) -> None:
    """None runs, and the first call starts one: that is how it is meant."""
    found = say(CHECKS, about(ours))
    assert found.codes == []
    assert found.rights[-1].what.endswith("the first call starts one: /usr/bin/dcap-provider")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda file: file.unlink(), "there is no"),
        (lambda file: file.chmod(0o666), "others can write to it"),
        (
            lambda file: file.write_text("/opt/gone/python -m dcap\n"),
            "/opt/gone/python, which is not",
        ),
        (lambda file: file.write_text("dcap-provider\n"), "absolute path"),
        (lambda file: file.write_text("/etc/hostname\n"), "which is no program"),
    ],
)
def test_why_no_process_can_be_started(ours: System, change: object, why: str) -> None:
    """0xE040 of dcap's plugin: none runs, and what would start one is of no use, for this reason."""
    change(ours.top / MULTI_ARCH.lstrip("/") / "libdcap_quoteprov.command")  # type: ignore[operator]
    found = say(CHECKS, about(ours))
    assert found.codes == ["provider-not-started"]
    assert why in found.finding("provider-not-started").what
    assert "0xE040" in found.finding("provider-not-started").what
    assert "`dcap provider serve`" in found.mends("provider-not-started")


def test_a_folder_is_named_as_a_shell_takes_it(ours: System) -> None:
    """$XDG_RUNTIME_DIR may hold what a shell reads: the command that is shown is quoted."""
    (ours.top / "run/a;b/dcap").mkdir(parents=True)
    (ours.top / "run/a;b/dcap").chmod(0o755)
    found = say(CHECKS, about(ours, environ={"XDG_RUNTIME_DIR": "/run/a;b"}))
    (mend,) = found.finding("provider-place").mends
    assert mend.text == "`chmod 700 '/run/a;b/dcap'`"
    assert mend.command == ("chmod", "700", "/run/a;b/dcap")


def test_a_socket_that_a_dead_process_left_is_told(ours: System) -> None:
    """The socket alone says nothing: one that refuses counts as none."""
    (ours.top / MULTI_ARCH.lstrip("/") / "libdcap_quoteprov.command").unlink()
    with stale(ours.top, "/run/own.sock"):
        found = say(CHECKS, about(ours, environ={"DCAP_PROVIDER_SOCKET": "/run/own.sock"}))
    assert found.finding("provider-not-started").evidence[0] == (
        "/run/own.sock: a socket that a dead process left"
    )


def test_a_folder_that_others_may_enter_is_not_believed(ours: System) -> None:
    """0xE040 though a process runs: the library asks nobody in such a folder."""
    folder = ours.top / f"tmp/dcap-{ME.uid}"
    with listening_at(ours, f"/tmp/dcap-{ME.uid}/provider.sock"):
        folder.chmod(0o755)
        found = say(CHECKS, about(ours))
    assert found.codes == ["provider-place"]
    assert "mode 0755" in found.finding("provider-place").what
    (mend,) = found.finding("provider-place").mends
    assert mend.text == f"`chmod 700 /tmp/dcap-{ME.uid}`"
    assert (mend.command, mend.safe) == (("chmod", "700", f"/tmp/dcap-{ME.uid}"), True)


def test_a_process_that_takes_no_connection_is_silent(ours: System) -> None:
    """0xE042: it is there, and its queue is full: who it is can be asked."""
    path = f"/tmp/dcap-{ME.uid}/provider.sock"
    with listening_at(ours, path, full=True):
        found = say(CHECKS, about(ours, timeout=0.05))
    assert found.codes == ["provider-silent"]
    assert f"`fuser {path}`" in found.mends("provider-silent")
