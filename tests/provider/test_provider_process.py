"""The process as the library and systemd start it, and the whole of it before a real PCCS."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from provider_client import Client
from provider_site import Site, site, until

from dcap.simulator.platform import Platform
from native.native_build import built_in, run
from native.native_build import environment as native_environment
from pccs.running import V4, Service, intel, serve
from worlds import ROOT

#: What systemd does between fork and exec.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "dcap.provider", "serve"])
"""


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """A simulated Intel, and a PCCS of its."""
    with site(tmp_path) as made:
        yield made


def environment(folder: Path, **more: str) -> dict[str, str]:
    """That of a process in these tests."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(ROOT / "src"), **more}


@contextmanager
def process(folder: Path, *arguments: str, **more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m dcap.provider serve`, for as long as the block runs."""
    command = [sys.executable, "-m", "dcap.provider", "serve", *arguments]
    log = folder / "process.log"
    with log.open("wb") as said:
        started = subprocess.Popen(
            command, env=environment(folder, **more), stdout=said, stderr=subprocess.STDOUT
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait(timeout=20)


def connected(path: Path) -> Client:
    """A client, once somebody answers."""
    found: list[Client] = []

    def attempt() -> bool:
        try:
            found.append(Client(path))
        except OSError:
            return False
        return True

    assert until(attempt, 20)
    return found[0]


def test_two_starts_make_one_process(at: Site) -> None:
    """On demand, both at once: one answers, as the program's file says; the other ends with 0."""
    path = at.folder / "provider.sock"
    flags = ("--on-demand", "--socket", str(path), "--ca", str(at.ca))
    trust = ("--insecure-test-root", str(at.root))
    with process(at.folder, *flags, *trust) as one, process(at.folder, *flags, *trust) as other:
        with connected(path) as client:
            lines = (f"QCNL_CONF_PATH={at.conf()}", f"HOME={at.folder}")
            assert client.call("COLLATERAL", lines, **at.collateral()).status == 0
        assert until(lambda: (one.poll() is None) != (other.poll() is None))
        left = one if one.poll() is None else other
        assert [started.returncode for started in (one, other) if started is not left] == [0]
        left.send_signal(signal.SIGTERM)
        assert left.wait(timeout=20) == 0
    assert not path.exists()
    assert (at.folder / "process.log").read_bytes() == b""


def test_systemd_hands_over_its_socket(at: Site) -> None:
    """With LISTEN_FDS it answers there, says READY=1, and leaves the socket's name to systemd."""
    path, told = at.folder / "unit.sock", at.folder / "notify"
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        listener.bind(str(path))
        listener.listen()
        notified.bind(str(told))
        notified.settimeout(20)
        number = listener.fileno()
        started = subprocess.Popen(
            [sys.executable, "-c", HAND_OVER, str(number)],
            env=environment(at.folder, LISTEN_FDS="1", NOTIFY_SOCKET=str(told)),
            pass_fds=(number,),
        )
        try:
            assert notified.recv(100) == b"READY=1"
            with Client(path) as client:
                assert client.call("PING").status == 0
            started.send_signal(signal.SIGTERM)
            assert notified.recv(100) == b"STOPPING=1"
            assert started.wait(timeout=20) == 0
        finally:
            started.kill()
            started.wait(timeout=20)
    assert path.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--idle", "0"), 2, "--idle"),
        (("--no-such",), 2, "--no-such"),
        (("--insecure-test-root", "/no-such", "--socket", "p.sock"), 1, "[test-root]"),
    ],
)
def test_wrong_flags_are_told(
    tmp_path: Path, arguments: tuple[str, ...], status: int, told: str
) -> None:
    """What cannot be obeyed ends it at once, with a line that says what."""
    found = subprocess.run(
        [sys.executable, "-m", "dcap.provider", "serve", *arguments],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == status
    assert told in found.stderr.decode()


class Through(NamedTuple):
    """`dcap provider serve` before `dcap pccs serve` before a simulated Intel."""

    path: Path
    machine: Platform
    service: Service

    def body(self, line: str) -> bytes:
        """What the PCCS itself says."""
        return self.service.get(V4 + line).body


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Through]:
    """The whole way, for the tests below."""
    folder = tmp_path_factory.mktemp("through")
    path = folder / "provider.sock"
    with intel(folder / "intel") as simulated, serve(folder, *simulated.flags) as service:
        flags = ("--socket", str(path), "--ca", str(service.certificate))
        flags += ("--source", f"https://localhost:{service.port}{V4}")
        trust = ("--insecure-test-root", str(simulated.root))
        with process(folder, *flags, *trust), connected(path):
            yield Through(path, simulated.world.platform("node"), service)


def test_the_whole_way_through_a_pccs(through: Through) -> None:
    """What the process hands out are the PCCS's own bytes."""
    with connected(through.path) as client:
        answer = client.call("COLLATERAL", TEE=0, FMSPC=through.machine.fmspc, CA="platform")
        qve = client.call("QVE_IDENTITY")
    served = {
        "TCB_INFO": through.body(f"tcb?fmspc={through.machine.fmspc.hex()}"),
        "QE_IDENTITY": through.body("qe/identity"),
        "PCK_CRL": through.body("pckcrl?ca=platform&encoding=der"),
        "ROOT_CA_CRL": bytes.fromhex(through.body("rootcacrl").decode()),
    }
    assert {name: answer.out[name] for name in served} == served
    assert qve.out["QVE_IDENTITY"] == through.body("qve/identity")


@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_c_program_gets_the_pccs_s_bytes(
    through: Through, tmp_path_factory: pytest.TempPathFactory, scope: str
) -> None:
    """Each export of the library, with good arguments: the PCCS's bytes, each ended by a NUL."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if base.name.startswith("popen-") else base
    built = built_in(base / "native")
    fmspc, machine = through.machine.fmspc.hex(), through.machine
    svn = machine.certificates()[0].pce_svn.to_bytes(2, "little")
    ppid = machine.encrypted_ppid or b""
    environ = native_environment(
        through.path,
        TEST_FMSPC=fmspc,
        TEST_PLATFORM=(machine.qe_id + machine.cpu_svn + svn + machine.pce_id + ppid).hex(),
    )
    command = (built.program("calls"), built.library, scope, "every")
    said: dict[str, dict[str, Any]] = {}
    for line in run(*command, environ=environ):
        said.setdefault(line["call"], line)

    def ended(line: str) -> str:
        return (through.body(line) + b"\0").hex()

    root = (bytes.fromhex(through.body("rootcacrl").decode()) + b"\0").hex()
    for call, ca in (("collateral", "platform"), ("collateral_with", "processor")):
        found = said[call]
        assert found["tcb_info"] == ended(f"tcb?fmspc={fmspc}")
        assert found["qe_identity"] == ended("qe/identity")
        assert found["pck_crl"] == ended(f"pckcrl?ca={ca}&encoding=der")
        assert found["root_ca_crl"] == root
    tdx = said["tdx_collateral"]["tcb_info"]
    assert (
        tdx == (through.service.get(f"/tdx/certification/v4/tcb?fmspc={fmspc}").body + b"\0").hex()
    )
    assert said["qve_identity"]["identity"] == ended("qve/identity")
    assert said["root_ca_crl"]["crl"] == root
    assert said["quote_config"]["cert_data"].startswith(b"-----BEGIN CERTIFICATE-----".hex())
    codes = {call: line["code"] for call, line in said.items() if line.get("code")}
    assert codes == {"policy": 0xE01B}
