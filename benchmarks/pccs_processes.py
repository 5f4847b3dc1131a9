"""What a process and those it made have cost so far, by `/proc`, and wrk. Two benchmarks ask it."""

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

CONNECTIONS = 32
_TICK = os.sysconf("SC_CLK_TCK")


class Row(NamedTuple):
    """One measurement."""

    requests: int
    per_second: float
    cpu_us: float
    p99: str


def processes_of(process: int) -> list[int]:
    """A process and those it made."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(one for child in children for one in processes_of(int(child)))]


def cpu_seconds(process: int) -> float:
    """User and system time of a process and those it made."""
    total = 0
    for one in processes_of(process):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def memory_mb(process: int) -> float:
    """What they occupy, shared pages counted once each time."""
    text = "".join(Path(f"/proc/{one}/status").read_text() for one in processes_of(process))
    return sum(int(kb) for kb in re.findall(r"VmRSS:\s+(\d+)", text)) / 1024


def wrk(url: str, process: int | None, seconds: float, *headers: str) -> Row:
    """One run of wrk."""
    given = [part for header in headers for part in ("-H", header)]
    before = cpu_seconds(process) if process else 0.0
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", *given, url],
        capture_output=True,
        text=True,
        check=True,
    )
    spent = cpu_seconds(process) - before if process else 0.0
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)[1])  # type: ignore[index]
    p99 = re.search(r"99%\s+([0-9.]+\w+)", done.stdout)
    if "Non-2xx" in done.stdout:
        raise SystemExit(f"{url}: answers that are not 200\n{done.stdout}")
    return Row(requests, rate, spent / max(1, requests) * 1e6, p99[1] if p99 else "?")
