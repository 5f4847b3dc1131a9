"""How fast is the PCCS beside nginx that serves the same bytes from files, in one run?

    python benchmarks/pccs.py [--seconds 4] [--requests N] [--workers N]

TLS, keep-alive, 32 connections of wrk, ready answers. The two take turns, so that what else the machine
does hits both; CPU is that of the server's processes (/proc), and the number to compare. Then: new
connections (a handshake each), the time to a first answer of a first start, memory after many requests.
Machines that are in the database and not in memory: `pccs_platforms.py`.
`$INTEL_PCCS_URL` names a running PCCS of Intel's to be measured beside them (rates alone).

Needs wrk and nginx (apt-get install wrk nginx-light). Nothing is asserted.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Not beside it but in its place: this file is called as a folder of the tests is.
sys.path[:1] = [str(ROOT / "src"), str(ROOT / "tests")]

from dcap.api.http import HttpRequest
from dcap.simulator.platform import Platform
from dcap.transport import Network
from pccs.running import V4, Intel, Wire, intel

sys.path.append(str(ROOT / "benchmarks"))
from pccs_processes import memory_mb, wrk

START = "from dcap.cli.main import main; main()"


@contextmanager
def pccs(folder: Path, simulated: Intel, *given: str) -> Iterator[tuple[int, int, Path, float]]:
    """The service: its process, port, certificate, and seconds until it said that it answers."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    environ["PYTHONPYCACHEPREFIX"] = str(folder.parent / "bytecode")
    command = [sys.executable, "-c", START, "pccs", "serve", "--json", "--port", "0"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--data", str(folder), "--log-level", "warning", *simulated.flags, *given],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        said: dict[str, Any] = json.loads(process.stdout.readline())
        port = int(said["url"].rsplit(":", 1)[1])
        wire = Wire(port, Path(said["certificate"]))
        assert wire.get(f"{V4}rootcacrl").status == 200
        taken = time.perf_counter() - began
        wire.close()
        yield process.pid, port, Path(said["certificate"]), taken
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


NGINX = """
worker_processes {workers}; daemon off; master_process on; pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; server_tokens off; etag off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {certificate}; ssl_certificate_key {key};
{places}
  }}
}}
"""


@contextmanager
def nginx(
    folder: Path, answers: dict[str, Any], certificate: Path, workers: int
) -> Iterator[tuple[int, int]]:
    """Nginx with the same bytes and headers in files: its process and port."""
    folder.mkdir()
    folder.chmod(0o755)
    places = []
    for name, answer in answers.items():
        file = folder / name
        file.write_bytes(answer.body)
        headers = "".join(
            f"add_header \"{key}\" '{value}';"
            for key, value in answer.headers
            if key not in ("Content-Type", "Content-Length", "Date", "Connection", "Keep-Alive")
        )
        kind = answer.header("Content-Type")
        places.append(
            f"    location = /{name} {{ types {{}} default_type '{kind}'; {headers} alias {file}; }}"
        )
    port = free_port()
    key = certificate.with_name("tls_key.pem")
    settings = NGINX.format(
        folder=folder,
        port=port,
        certificate=certificate,
        key=key,
        places="\n".join(places),
        workers=workers,
    )
    (folder / "nginx.conf").write_text(settings)
    process = subprocess.Popen(
        ["nginx", "-c", str(folder / "nginx.conf"), "-g", "user root;"], stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(1)
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=20)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def resources(machine: Platform) -> dict[str, str]:
    """What is asked for: a name, and the path."""
    fmspc = machine.fmspc.hex().upper()
    return {
        "pckcert": f"{V4}pckcert?qeid={machine.qe_id.hex().upper()}"
        f"&encrypted_ppid={machine.encrypted_ppid.hex().upper()}"
        f"&cpusvn={machine.cpu_svn.hex().upper()}&pcesvn=0D00&pceid=0000",
        "tcb": f"{V4}tcb?fmspc={fmspc}",
        "qe_identity": f"{V4}qe/identity",
        "pckcrl": f"{V4}pckcrl?ca=platform&encoding=der",
        "rootcacrl": f"{V4}rootcacrl",
    }


def main() -> None:
    """Print a row for each resource, and what else there is."""
    given = argparse.ArgumentParser()
    given.add_argument("--seconds", type=float, default=4)
    given.add_argument("--rounds", type=int, default=3)
    given.add_argument("--requests", type=int, default=0, help="for the memory after so many")
    given.add_argument("--workers", type=int, default=1)
    flags = given.parse_args()
    for tool in ("wrk", "nginx"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: apt-get install wrk nginx-light")
    folder = Path(tempfile.mkdtemp(prefix="dcap-pccs-"))
    folder.chmod(0o755)
    try:
        with intel(folder / "intel") as simulated:
            measure(folder, simulated, flags)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, simulated: Intel, flags: argparse.Namespace) -> None:
    """The whole run."""
    machine = simulated.world.platform()
    asked = resources(machine)
    starts = []
    for number in range(5):
        with pccs(folder / f"start{number}", simulated) as (_, _, _, taken):
            starts.append(taken)
    # The very first one compiles everything: it is the installer's business, not the operator's.
    print(f"first answer of a first start: {statistics.median(starts[1:]):.2f} s (median of 4)")
    workers = ("--workers", str(flags.workers))
    with pccs(folder / "data", simulated, *workers) as (process, port, certificate, _):
        print(f"memory after the start: {memory_mb(process):.0f} MB")
        network = Network(ca=certificate, environ={})
        ask = network.handler(f"https://localhost:{port}")
        answers = {name: ask(HttpRequest(target=target)) for name, target in asked.items()}
        for name, answer in answers.items():
            assert answer.status == 200, name
        time.sleep(1)
        for target in asked.values():
            ask(HttpRequest(target=target))
        with nginx(folder / "nginx", answers, certificate, flags.workers) as (other, other_port):
            print(f"{'':<13}{'bytes':>7}  {'dcap':>26}  {'nginx':>26}  CPU")
            for name, target in asked.items():
                ours = f"https://localhost:{port}{target}"
                theirs = f"https://localhost:{other_port}/{name}"
                compare(name, len(answers[name].body), (ours, process), (theirs, other), flags)
            fresh = "Connection: close"
            ours = f"https://localhost:{port}{asked['rootcacrl']}"
            theirs = f"https://localhost:{other_port}/rootcacrl"
            compare("handshakes", 0, (ours, process), (theirs, other), flags, fresh)
        if address := os.environ.get("INTEL_PCCS_URL", ""):
            for name, target in asked.items():
                row = wrk(address.rstrip("/") + target, None, flags.seconds)
                print(f"Intel's {name:<13}{row.per_second:>10.0f}/s p99 {row.p99}")
        done = 0
        while done < flags.requests:
            for target in asked.values():
                done += wrk(f"https://localhost:{port}{target}", process, flags.seconds).requests
        print(f"memory after the runs above and {done} requests more: {memory_mb(process):.0f} MB")


def compare(
    name: str,
    size: int,
    ours: tuple[str, int],
    theirs: tuple[str, int],
    flags: argparse.Namespace,
    *headers: str,
) -> None:
    """The two take turns; the medians are printed."""
    runs = [
        (wrk(*ours, flags.seconds, *headers), wrk(*theirs, flags.seconds, *headers))
        for _ in range(flags.rounds)
    ]
    mine = [run[0] for run in runs]
    other = [run[1] for run in runs]
    cells = []
    cpu = []
    for rows in (mine, other):
        cpu.append(statistics.median(row.cpu_us for row in rows))
        rate = statistics.median(row.per_second for row in rows)
        cells.append(f"{rate:>8.0f}/s {cpu[-1]:>5.0f} µs {rows[-1].p99:>8}")
    ratio = statistics.median(
        run[0].cpu_us / run[1].cpu_us if run[1].cpu_us else 0.0 for run in runs
    )
    print(f"{name:<13}{size:>7}  {cells[0]:>26}  {cells[1]:>26}  {ratio:.2f} x", flush=True)


if __name__ == "__main__":
    print(f"{datetime.now(UTC):%Y-%m-%d}, {ssl.OPENSSL_VERSION}, Python {sys.version.split()[0]}")
    main()
