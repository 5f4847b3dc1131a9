"""`dcap sim up`: services that clients really ask; and what the pages and the demo show of them."""

import json
import os
import shlex
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
def up(folder: Path, *given: str, stdin: str = "", **environment: str) -> Iterator[dict[str, Any]]:
    """`dcap sim up --json` in a process of its own: its line, while it runs; it must end with 0.

    Unless clients meet a fault of the wire, it must say nothing else.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", START, "sim", "up", "--json", *given],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
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


def fetch(url: str, ca_pem: str, timeout: float = 20, **headers: str) -> bytes:
    """The body at a URL, TLS verified."""
    context = ssl.create_default_context(cafile=ca_pem)
    asked = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(asked, context=context, timeout=timeout) as answer:
        return bytes(answer.read())


def test_up_says_where_everything_is(tmp_path: Path) -> None:
    """One line of JSON; the files it names are there; TLS verifies; SIGTERM ends it well."""
    with up(tmp_path, "--port", "0") as ready:
        assert {
            *("schema", "pcs_url", "thim_url", "thim_agent_url", "registration_url"),
            *("root_crl_url", "root_pem", "tls_ca_pem", "qcnl_conf", "pid"),
        } == ready.keys()
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


def refused_up(folder: Path, *given: str, stdin: str = "") -> str:
    """What `dcap sim up` says that must not start: exit status 1."""
    done = subprocess.run(
        [sys.executable, "-c", START, "sim", "up", *given],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize("option", ["--port", "--proxy-port"])
def test_a_port_that_is_taken_is_refused(tmp_path: Path, option: str) -> None:
    """Exit status 1, with the port, where something listens already; no `environment` is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused_up(tmp_path, option, port)
    assert f"port {port}" in said
    assert "[simulator-port]" in said
    assert not (tmp_path / ".dcap-sim" / "environment").exists()


# One world, one `up`


def test_a_second_up_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    """Exit status 1 with the process that serves the world; its files and answers are untouched."""
    with up(tmp_path) as ready:
        environment = tmp_path / ".dcap-sim" / "environment"
        before = environment.read_bytes()
        said = refused_up(tmp_path)
        assert f"process {ready['pid']}" in said
        assert "[simulator-running]" in said
        assert environment.read_bytes() == before
        assert fetch(ready["root_crl_url"], ready["tls_ca_pem"])
        with up(tmp_path, "--dir", "another") as other:
            assert other["pcs_url"] != ready["pcs_url"]


def test_another_seed_is_refused_while_services_run(tmp_path: Path) -> None:
    """`reset --seed` says what to do; a reset to the same seed is seen by the running services."""
    with up(tmp_path) as ready:
        sim(tmp_path, "clock", "--advance", "1d")
        outcome = run(tmp_path, "sim", "reset", "--seed", "another")
        assert (outcome.status, "[simulator-running]" in outcome.err) == (1, True)
        assert sim(tmp_path, "clock").out == "2026-01-02T12:00:00Z\n"
        sim(tmp_path, "reset")
        crl = fetch(ready["root_crl_url"], ready["tls_ca_pem"])
        assert crl == World().intel.root_ca_crl(World().at)
    sim(tmp_path, "reset", "--seed", "another")


def test_a_killed_up_holds_nothing(tmp_path: Path) -> None:
    """After `kill -9` the next one starts, and the `environment` that is left becomes its own."""
    environment = tmp_path / ".dcap-sim" / "environment"
    with subprocess.Popen(
        [sys.executable, "-c", START, "sim", "up", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
    ) as killed:
        assert killed.stdout is not None
        old = json.loads(killed.stdout.readline())
        killed.kill()
    assert old["pcs_url"] in environment.read_text()
    with up(tmp_path) as ready:
        assert ready["pcs_url"] in environment.read_text()
    assert not environment.exists()


@pytest.mark.parametrize("given", [(), ("--proxy-port", "0")])
def test_the_environment_has_addresses_and_changes_no_trust(
    tmp_path: Path, given: tuple[str, ...]
) -> None:
    """All addresses are exported, and nothing that other programs of a job would obey."""
    with up(tmp_path, *given) as ready:
        text = (tmp_path / ".dcap-sim" / "environment").read_text()
    exported = dict(
        shlex.split(line)[1].split("=", 1) for line in text.splitlines() if line.strip()
    )
    urls = {name.upper(): value for name, value in ready.items() if name.endswith("_url")}
    files = {"QCNL_CONF_PATH": ready["qcnl_conf"], "TLS_CA_PEM": ready["tls_ca_pem"]}
    assert exported == {**urls, **files}
    assert ("PROXY_URL" in exported) == bool(given)


def test_the_agent_of_a_vm_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    """`thim_agent_url` leads to the route of a VM's own metadata service."""
    with up(tmp_path) as ready:
        machine = World().platform()
        url = (
            f"{ready['thim_agent_url']}/sgx/certification/v4/pckcert?qeid={machine.qe_id.hex()}"
            f"&cpusvn={machine.cpu_svn.hex()}&pcesvn=0d00&pceid=0000&api-version=2021-07-22-preview"
        )
        answer = fetch(url, ready["tls_ca_pem"], metadata="true")
    assert json.loads(answer)["pckCert"].startswith("-----BEGIN CERTIFICATE")


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
    assert (tmp_path / "by_name.json").read_bytes() == (
        tmp_path / "tcb_info_early.json"
    ).read_bytes()


@NEED_CURL
def test_the_page_waits_for_services_that_answer(tmp_path: Path) -> None:
    """Left from services that were killed, `environment` and log do not end the wait too early."""
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "environment").write_text("export PCS_URL=https://127.0.0.1:9\n")
    (tmp_path / "sim.log").write_text("ready        of yesterday\n")
    shop = open_shop(tmp_path, real=True)
    done = run_in_shop(shop, "sh", "-eu", "-c", named("curl-the-simulator.sh").text)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_does_not_wait_for_services_that_do_not_start(tmp_path: Path) -> None:
    """Where `dcap sim up` is refused, the script ends; who serves the world goes on."""
    shop = open_shop(tmp_path, real=True)
    with up(tmp_path, "--dir", "sim") as ready:
        done = run_in_shop(shop, "sh", "-c", named("curl-the-simulator.sh").text)
        assert done.returncode == 1
        assert "[simulator-running]" in done.stderr
        assert fetch(ready["root_crl_url"], ready["tls_ca_pem"])


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
    """docs/collateral.md's script, Intel's hosts in it, fetches what makes a verdict by the proxy."""
    with up(tmp_path, "--dir", "sim", "--proxy-port", "0"):
        script = named("fetch-collateral.sh").text
        assert "https://api.trustedservices.intel.com" in script
        (tmp_path / "fetch-collateral.sh").write_text(script)
        sim(tmp_path, "quote", "--dir", "sim", "--tee", tee, "-o", "quote.bin")
        shop = open_shop(tmp_path, real=True)
        fetched = run_in_shop(shop, "sh", "-eu", "-c", named("fetch-from-the-simulator.sh").text)
        assert fetched.returncode == 0, fetched.stderr
    root = ("--insecure-test-root", "sim/root.pem")
    given = ("--collateral", "collateral", "--any-identity", "--at", AT)
    verdict = run(tmp_path, "verify", "quote.bin", *given, *root)
    assert verdict.status == 0, verdict.screen
