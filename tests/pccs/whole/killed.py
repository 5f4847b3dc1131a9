"""Services that are killed, and what is asked of their store afterwards.

Not a home for assertions of what a test is about: each test states its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dcap.pccs.items import Holding
from dcap.pccs.store.store import Store
from pccs.running import START, Service
from worlds import ROOT

#: How many kills in all; the tests share them out. A hundred take some five minutes.
KILLS = int(os.environ.get("DCAP_KILLS", "6"))
START_SECONDS = 60.0


def launch(
    command: Sequence[str],
    log: Path,
    *,
    environ: Mapping[str, str] | None = None,
    stdout: int = subprocess.DEVNULL,
) -> "subprocess.Popen[str]":
    """`dcap` in a process of its own."""
    with log.open("a") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", START, *command],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **(environ or {})},
            stdout=stdout,
            stderr=errors,
            text=True,
        )


@contextmanager
def doomed(
    folder: Path, *given: str, environ: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """`dcap pccs serve` over the folder of those that were killed before; at the end it is killed.

    Each life is written to the same log. It must begin by itself.
    """
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    flags = ("--json", "--port", "0", "--data", str(folder / "data"))
    process = launch(
        ["pccs", "serve", *flags, *given], log, environ=environ, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        service = Service(process, json.loads(line), log)
        yield service
        process.kill()
        service.hang_up()
    finally:
        process.kill()
        process.wait(timeout=20)
        process.stdout.close()


def kept(url: str) -> dict[str, Holding]:
    """Every machine of a store, by its QE id."""
    with Store.open(url) as store:
        return {holding.platform.qe_id: holding for holding in store.platforms.holdings()}


def is_whole(holding: Holding, certificates: int) -> bool:
    """Whether a machine has all its certificates and what its raw TCBs reach is among them."""
    tcbms = {one.tcbm for one in holding.certificates}
    reached = {raw.tcbm for raw in holding.raw_tcbs}
    return len(tcbms) == certificates and bool(reached) and reached <= tcbms
