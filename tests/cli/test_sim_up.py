"""`dcap sim up`: services that clients really ask; and what the pages and the demo show of them."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dcap import Policy, TrustAnchor, appraise
from dcap.formats.certificate import Certificate
from dcap.simulator import World
from docs.test_docs import DEMO, named, open_shop
from docs.test_docs import run as run_in_shop
from transcripts.desk import Outcome, run
from worlds import ROOT

START = "from dcap.cli.main import main; main()"
AT = "2026-01-01T12:00:00Z"
NEED_CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")


def sim(folder: Path, *given: str) -> Outcome:
    """`dcap sim …` that must succeed."""
    outcome = run(folder, "sim", *given)
    assert outcome.status == 0, outcome.screen
    return outcome


@contextmanager
def up(folder: Path, *given: str) -> Iterator[dict[str, Any]]:
    """`dcap sim up --json` in a process of its own: its line, while it runs; it must end with 0.

    Unless clients meet a fault of the wire, it must say nothing else.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", START, "sim", "up", "--json", *given],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=10)[1]
        yield json.loads(line)
        process.send_signal(signal.SIGTERM)
        rest, complaints = process.communicate(timeout=20)
        assert (process.returncode, rest) == (0, ""), complaints
        assert "--wire-fault" in given or not complaints
    finally:
        process.kill()
        process.communicate(timeout=20)


def fetch(url: str, ca_pem: str, timeout: float = 20) -> bytes:
    """The body at a URL, TLS verified."""
    context = ssl.create_default_context(cafile=ca_pem)
    with urllib.request.urlopen(url, context=context, timeout=timeout) as answer:
        return bytes(answer.read())


def test_up_says_where_everything_is(tmp_path: Path) -> None:
    """One line of JSON; the files it names are there; TLS verifies; SIGTERM ends it well."""
    with up(tmp_path, "--port", "0") as ready:
        assert {
            *("pcs_url", "thim_url", "registration_url", "root_crl_url"),
            *("root_pem", "tls_ca_pem", "qcnl_conf", "pid"),
        } <= ready.keys()
        root = Certificate.parse_chain(Path(ready["root_pem"]).read_bytes())[0]
        assert root == World().intel.root.certificate
        crl = fetch(ready["root_crl_url"], ready["tls_ca_pem"])
        assert crl == World().intel.root_ca_crl(World().at)
        for path in ("pcs_url", "thim_url"):
            url = f"{ready[path]}/sgx/certification/v4/qe/identity"
            assert b'"enclaveIdentity"' in fetch(url, ready["tls_ca_pem"])


def test_qcnl_conf_leads_to_a_pccs(tmp_path: Path) -> None:
    """What Intel's library would ask of the configured URL (API 3.1) is answered."""
    with up(tmp_path) as ready:
        conf = json.loads(Path(ready["qcnl_conf"]).read_bytes())
        assert conf["pccs_api_version"] == "3.1"
        base = conf["collateral_service"]
        assert base == conf["pccs_url"]
        assert base.endswith("/sgx/certification/v4/")
        machine = World().platform()
        asked = (
            f"pckcert?qeid={machine.qe_id.hex().upper()}"
            f"&encrypted_ppid={machine.encrypted_ppid.hex().upper()}"
            f"&cpusvn={machine.cpu_svn.hex().upper()}&pcesvn=0D00&pceid=0000"
        )
        assert fetch(base + asked, ready["tls_ca_pem"]).startswith(b"-----BEGIN CERTIFICATE")
        tdx = base.replace("/sgx/", "/tdx/", 1)
        for url in (
            f"{base}pckcrl?ca=platform&encoding=der",
            f"{tdx}tcb?fmspc={machine.fmspc.hex().upper()}&update=standard",
            f"{tdx}qe/identity?update=standard",
            f"{base}crl?uri=https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
        ):
            assert fetch(url, ready["tls_ca_pem"])


def test_running_services_see_what_happens(tmp_path: Path) -> None:
    """An event of another process shows in the next answer; so does a clock that was moved."""
    with up(tmp_path) as ready:
        url = f"{ready['pcs_url']}/sgx/certification/v4/tcb?fmspc=90C0A5000000"

        def asked() -> tuple[int, str]:
            body = json.loads(fetch(url, ready["tls_ca_pem"]))["tcbInfo"]
            return body["tcbEvaluationDataNumber"], body["issueDate"]

        assert asked() == (17, "2026-01-01T00:00:00Z")
        sim(tmp_path, "event", "recovery-announced")
        sim(tmp_path, "event", "recovery-promoted")
        sim(tmp_path, "clock", "--advance", "1d")
        assert asked() == (18, "2026-01-02T00:00:00Z")


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    """Exit status 1, with the port, where something listens already."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", START, "sim", "up", "--port", port],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "[simulator-port]" in done.stderr


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unavailable", "503"),
        ("wrong-certificate", "CERTIFICATE_VERIFY_FAILED"),
        ("hanging", "timed out"),
    ],
)
def test_services_answer_wrongly_when_told(tmp_path: Path, fault: str, error: str) -> None:
    """A fault of the wire meets the client; the services end as well as without it."""
    with up(tmp_path, "--wire-fault", fault) as ready, pytest.raises(OSError, match=error):
        fetch(ready["root_crl_url"], ready["tls_ca_pem"], timeout=2)


def test_a_quote_goes_through_a_pipe(tmp_path: Path) -> None:
    """`-o -` writes the quote and nothing else to standard output."""
    done = subprocess.run(
        [sys.executable, "-c", START, "sim", "quote", "-o", "-"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        timeout=60,
        check=True,
    )
    world = World()
    assert done.stdout == world.platform().quote()
    assert done.stderr == b""
    accepted = appraise(
        done.stdout,
        world.collateral(world.platform()),
        Policy(identity="any"),
        at=world.at,
        anchor=TrustAnchor.insecure_test_root(world.intel.root.certificate),
    )
    assert accepted.accepted


# What the pages show


@NEED_CURL
def test_the_curl_lines_of_the_page_run(tmp_path: Path) -> None:
    """The page's script, services and all, runs as it stands and fetches what the world has."""
    shop = open_shop(tmp_path, real=True)
    script = named("curl-the-simulator.sh").text
    done = run_in_shop(shop, "sh", "-eu", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("-----BEGIN CERTIFICATE-----") == 1
    world = World()
    collateral = world.collateral(world.platform())
    assert (tmp_path / "root_ca_crl.der").read_bytes() == collateral.root_ca_crl
    assert (tmp_path / "pck_crl.der").read_bytes() == collateral.pck_crl
    assert (tmp_path / "tcb_info.json").read_bytes() == collateral.tcb_info
    assert len(json.loads((tmp_path / "pckcerts.json").read_bytes())) > 1
    early = json.loads((tmp_path / "tcb_info_early.json").read_bytes())["tcbInfo"]
    assert early["tcbEvaluationDataNumber"] == 18


def test_the_story_of_the_demo_goes_as_told(tmp_path: Path, capfd: Any) -> None:
    """The second half of `make demo`: each verdict has the exit status that the story says."""
    shop = open_shop(tmp_path, real=True)
    assert DEMO.tell(tmp_path, shop.environment) == 0
    told = capfd.readouterr().out
    assert "SGX component 1: have 8, need 9" in told
    assert told.count("ACCEPTED") == 2
    assert told.count("REJECTED") == 2


def test_a_story_that_goes_otherwise_fails(tmp_path: Path, capfd: Any) -> None:
    """Where everything is accepted, even what is not Intel's, the demo stops and says so."""
    credulous = tmp_path / "dcap"
    credulous.write_text("#!/bin/sh\nexit 0\n")
    credulous.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert DEMO.tell(tmp_path, {"PATH": path}) == 1
    assert "This should have been 3" in capfd.readouterr().out


@NEED_CURL
@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_the_script_that_asks_intel_can_ask_the_simulator(tmp_path: Path, tee: str) -> None:
    """docs/collateral.md's script, its two hosts replaced, fetches what makes a verdict."""
    with up(tmp_path, "--dir", "sim") as ready:
        script = named("fetch-collateral.sh").text
        for host in ("api", "certificates"):
            script = script.replace(f"https://{host}.trustedservices.intel.com", ready["pcs_url"])
        (tmp_path / "fetch-collateral.sh").write_text(script)
        sim(tmp_path, "quote", "--dir", "sim", "--tee", tee, "-o", "quote.bin")
        shop = open_shop(tmp_path, real=True)
        shop.environment["CURL_CA_BUNDLE"] = ready["tls_ca_pem"]
        fetched = run_in_shop(shop, "sh", "fetch-collateral.sh", "quote.bin", "collateral")
        assert fetched.returncode == 0, fetched.stderr
    root = ("--insecure-test-root", "sim/root.pem")
    given = ("--collateral", "collateral", "--any-identity", "--at", AT)
    verdict = run(tmp_path, "verify", "quote.bin", *given, *root)
    assert verdict.status == 0, verdict.screen
