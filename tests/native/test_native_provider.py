"""From a C program to the service and back: the library, the real process, a PCCS over HTTPS.

What the caller gets is, to the byte, what the service served; verified on the way, as the process does.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from native_build import NATIVE, Built, environment, run

from dcap.api.http import HttpRequest, HttpResponse
from dcap.serving import serving
from dcap.simulator.services import services
from dcap.simulator.tls import tls_files
from dcap.simulator.world import World

SRC = NATIVE.parents[2]
V4 = "/alibaba/sgx/certification/v4/"


class Service:
    """A PCCS of a simulated Intel; it keeps what it served."""

    def __init__(self, folder: Path) -> None:
        self.world = World("native")
        self.world.at = datetime.now(UTC).replace(microsecond=0)
        self.machine = self.world.platform("node")
        self._answer = services(self.world)
        self.served: dict[str, HttpResponse] = {}
        *self.tls, self.ca = tls_files(self.world, folder)
        self.root = folder / "root.pem"
        self.root.write_bytes(self.world.root_pem)

    def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer, and keep the answer by its path."""
        response = self._answer(request)
        self.served[request.target.partition("?")[0]] = response
        return response

    def body(self, path: str) -> bytes:
        """What was served there."""
        return self.served[path].body

    def chain(self, path: str, header: str) -> bytes:
        """The issuer chain that was served beside it."""
        (found,) = (value for name, value in self.served[path].headers if name.lower() == header)
        return unquote_to_bytes(found)

    @property
    def platform(self) -> str:
        """The machine as `calls` takes it."""
        machine = self.machine
        svn = machine.certificates()[0].pce_svn.to_bytes(2, "little")
        little = int.from_bytes(machine.pce_id, "little").to_bytes(2, "little")
        assert machine.encrypted_ppid is not None
        return (machine.qe_id + machine.cpu_svn + svn + little + machine.encrypted_ppid).hex()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Service, dict[str, str]]]:
    """A service, and the environment of a host whose QCNL configuration names it."""
    made = Service(tmp_path)
    certificate, key = made.tls
    with serving(made.handle, tls=(certificate, key)) as server:
        conf = tmp_path / "qcnl.conf"
        conf.write_text(f'{{"pccs_url": "{server.url}{V4}", "pccs_api_version": "3.1"}}')
        yield (
            made,
            {
                "QCNL_CONF_PATH": str(conf),
                "HOME": str(tmp_path),
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                "TEST_FMSPC": made.machine.fmspc.hex(),
                "TEST_PLATFORM": made.platform,
            },
        )


def _flags(service: Service) -> list[str]:
    return ["--ca", str(service.ca), "--insecure-test-root", str(service.root)]


@contextlib.contextmanager
def _process(service: Service, path: Path, home: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "dcap.provider", "serve", "--socket", str(path)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(SRC)}
    process = subprocess.Popen([*command, *_flags(service)], env=environ)
    try:
        until = time.monotonic() + 30
        while not path.exists() and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _ended(data: bytes) -> str:
    return (data + b"\0").hex()


def _expect(service: Service, line: dict[str, Any]) -> None:
    """The whole set, as it was served."""
    tcb, identity = V4 + "tcb", V4 + "qe/identity"
    assert line == {
        "call": "collateral",
        "code": 0,
        "clean": False,
        "version": 0x10003,
        "tee": 0,
        "pck_crl": _ended(service.body(V4 + "pckcrl")),
        "pck_crl_issuer_chain": _ended(service.chain(V4 + "pckcrl", "sgx-pck-crl-issuer-chain")),
        "root_ca_crl": _ended(service.body(V4 + "crl")),
        "tcb_info": _ended(service.body(tcb)),
        "tcb_info_issuer_chain": _ended(_tcb_chain(service)),
        "qe_identity": _ended(service.body(identity)),
        "qe_identity_issuer_chain": _ended(
            service.chain(identity, "sgx-enclave-identity-issuer-chain")
        ),
    }


def _tcb_chain(service: Service) -> bytes:
    names = {name.lower() for name, _ in service.served[V4 + "tcb"].headers}
    name = "tcb-info-issuer-chain"
    return service.chain(V4 + "tcb", name if name in names else f"sgx-{name}")


def test_a_c_program_gets_what_the_service_served(
    built: Built, service: tuple[Service, dict[str, str]], socket_path: Path, tmp_path: Path
) -> None:
    """Collateral, certificate chain, QvE identity, root CRL, byte for byte; errors with their codes."""
    at, host = service
    calls = ("init", "quote_config", "collateral", "qve_identity", "root_ca_crl", "qe_identity")
    calls += ("revocation_info",)
    words = [word for call in calls for word in (call, "1")]
    command = (built.program("calls"), built.library, "local", "ask")
    with _process(at, socket_path, tmp_path):
        environ = environment(socket_path, **host)
        found = {line["call"]: line for line in run(*command, *words, environ=environ)}
        assert [found[call]["code"] for call in calls] == [0] * len(calls)
        _expect(at, found["collateral"])
        leaf = at.body(V4 + "pckcert")
        chain = at.chain(V4 + "pckcert", "sgx-pck-certificate-issuer-chain")
        headers = at.served[V4 + "pckcert"].headers
        (tcbm,) = (value for name, value in headers if name.lower() == "sgx-tcbm")
        config = found["quote_config"]
        assert config["cert_data"] == _ended(leaf + chain)
        svn = config["pce_svn"].to_bytes(2, "little").hex()
        assert (config["cpu_svn"] + svn).lower() == tcbm.lower()
        assert found["root_ca_crl"]["crl"] == _ended(at.body(V4 + "crl"))
        assert found["qve_identity"]["identity"] == _ended(at.body(V4 + "qve/identity"))
        assert found["qe_identity"]["identity"] == at.body(V4 + "qe/identity").hex()
        revocation = found["revocation_info"]
        assert revocation["tcb_info"] == at.body(V4 + "tcb").hex()
        pems = [bytes.fromhex(revocation[name]) for name in ("crl_0", "crl_1")]
        assert [pem.startswith(b"-----BEGIN X509 CRL-----") for pem in pems] == [True, True]
        assert pems[0] != pems[1]
        unknown = environ | {"TEST_FMSPC": "ffffffffffff", "TEST_PLATFORM": "11" * 420}
        said = run(*command, "quote_config", "1", "collateral", "1", environ=unknown)
        assert [line["code"] for line in said] == [0xE011, 0xE062]
        assert all(line["clean"] for line in said)
        blob = run(*command, "read", "1", "write", "1", "read", "1", environ=environ)
        assert [line["code"] for line in blob][1:] == [0, 0]
        assert blob[0]["code"] != 0
        assert blob[2]["blob"] == "0100020003"


def test_the_real_process_is_started_on_demand(
    built: Built, service: tuple[Service, dict[str, str]], tmp_path: Path
) -> None:
    """With nobody there the first call starts it, waits for it, and gets its collateral."""
    at, host = service
    command = tmp_path / "provider"
    flags = " ".join(_flags(at))
    record = tmp_path / "pid"
    command.write_text(
        f"#!/bin/sh\necho $$ > {record}\nPYTHONPATH={SRC} exec {sys.executable} -m dcap.provider "
        f'"$@" {flags}\n'
    )
    command.chmod(0o755)
    library = tmp_path / "lib" / built.library.name
    library.parent.mkdir()
    library.write_bytes(built.library.read_bytes())
    (library.parent / "libdcap_quoteprov.command").write_text(f"{command}\n")
    with tempfile.TemporaryDirectory(prefix="dcap-") as runtime:
        environ = environment(**host) | {"XDG_RUNTIME_DIR": runtime}
        words = ("ask", "collateral", "2")
        try:
            said = run(built.program("calls"), library, "local", *words, environ=environ)
            assert [line["code"] for line in said] == [0, 0]
            _expect(at, said[0])
        finally:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(record.read_text()), signal.SIGTERM)
                _await_end(Path(runtime) / "dcap" / "provider.sock")


def _await_end(path: Path) -> None:
    until = time.monotonic() + 10
    while path.exists() and time.monotonic() < until:
        time.sleep(0.02)
