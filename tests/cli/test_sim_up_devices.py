"""`dcap sim up --aesm --qgs --gramine --configfs-tsm`: what programs of a machine get quotes from."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dcap.attester.aesm import AesmAttester
from dcap.attester.configfs_tsm import ConfigfsTsmAttester
from dcap.attester.qgs import QgsAttester
from dcap.attester.surroundings import Surroundings
from dcap.formats.quote import Quote
from dcap.qpl.discovery_root import Root
from dcap.simulator import World
from dcap.simulator.reports import make_report
from dcap.simulator.td_reports import make_td_report
from docs.test_docs import named, open_shop
from docs.test_docs import run as run_in_shop
from transcripts.desk import run
from worlds import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify and FIFOs are Linux's")
START = "from dcap.cli.main import main; main()"
NONCE = bytes(range(64))
#: Short, and relative to the folder that it runs in: a Unix socket's path has 107 bytes at most.
DEVICES = ("--aesm", "a", "--qgs", "q", "--gramine", "attestation", "--configfs-tsm", "config")


@contextmanager
def up(folder: Path, *given: str) -> Iterator[dict[str, Any]]:
    """`dcap sim up --json` in a process of its own: its line, while it runs; it must end with 0."""
    with subprocess.Popen(
        [sys.executable, "-c", START, "sim", "up", "--json", *given],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()


def surroundings(folder: Path, **environ: str) -> Surroundings:
    """A machine of which nothing is there but what is named."""
    return Surroundings(Root(folder), environ)


def test_each_of_them_gives_quotes_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The places are told, and answer attesters over their real protocols; then they are gone."""
    monkeypatch.chdir(tmp_path)  # the sockets' paths shall be short
    machine = World().platform()
    with up(tmp_path, *DEVICES) as ready:
        assert ready["aesm"] == str(tmp_path / "a")
        assert ready["qgs"] == str(tmp_path / "q")
        assert ready["gramine"] == str(tmp_path / "attestation")
        entry = Path(ready["configfs_tsm"])
        assert entry == tmp_path / "config" / "tsm" / "report" / "com.intel.dcap"
        td = ConfigfsTsmAttester(
            Surroundings(Root(), {"DCAP_TDX_QUOTE_CONFIGFS_PATH": str(entry)})
        ).quote(NONCE)
        by_service = QgsAttester(
            surroundings(tmp_path),
            address=Path("q"),
            reporter=lambda data: make_td_report(machine, data),
        ).quote(NONCE)
        by_aesm = AesmAttester(
            lambda target, data: make_report(machine, target, data), Path("a")
        ).quote(NONCE)
        (tmp_path / "attestation" / "user_report_data").write_bytes(NONCE)
        by_gramine = (tmp_path / "attestation" / "quote").read_bytes()
        text = (tmp_path / ".dcap-sim" / "environment").read_text()
    quotes = [Quote(quote) for quote in (td, by_service, by_aesm, by_gramine)]
    assert [quote.tee for quote in quotes] == ["TDX", "TDX", "SGX", "SGX"]
    assert {quote.body.report_data for quote in quotes} == {NONCE}
    assert {quote.header.user_data[:16] for quote in quotes} == {machine.qe_id}
    exported = dict(shlex.split(line)[1].split("=", 1) for line in text.splitlines())
    named = {name: path for name, path in exported.items() if name.startswith("SIM_")}
    assert named == {
        "SIM_AESM": ready["aesm"],
        "SIM_QGS": ready["qgs"],
        "SIM_GRAMINE": ready["gramine"],
        "SIM_CONFIGFS_TSM": ready["configfs_tsm"],
    }
    assert not {"SGX_AESM_ADDR", "DCAP_TDX_QUOTE_CONFIGFS_PATH"} & exported.keys()
    assert [path.name for path in tmp_path.iterdir()] == [".dcap-sim"]


def test_another_machine_answers_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--platform` says which; what `dcap sim` does to it meanwhile shows in the next quote."""
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, "sim", "event", "platform-added", "--platform", "node").status == 0
    quote_file = tmp_path / "attestation" / "quote"
    with up(tmp_path, "--gramine", "attestation", "--platform", "node"):
        before = Quote(quote_file.read_bytes())
        assert run(tmp_path, "sim", "event", "recovery-announced").status == 0
        event = ("sim", "event", "platform-updated", "--platform", "node")
        assert run(tmp_path, *event).status == 0
        after = Quote(quote_file.read_bytes())
    node = World().platform("node")
    assert before.header.user_data[:16] == after.header.user_data[:16] == node.qe_id
    assert before.enclave is not None
    assert after.enclave is not None
    assert before.enclave.cpu_svn == node.cpu_svn != after.enclave.cpu_svn


def test_the_script_of_the_page_gets_and_verifies_quotes(tmp_path: Path) -> None:
    """A shell is enough, services and all: both quotes are accepted, and bind what was written."""
    shop = open_shop(tmp_path, real=True)
    done = run_in_shop(shop, "sh", "-eu", "-c", named("quotes-of-the-simulator.sh").text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("1\n")
    assert done.stdout.count("ACCEPTED") == 2
    wanted = (tmp_path / "report_data").read_bytes()
    assert len(wanted) == 64
    quotes = [Quote((tmp_path / name).read_bytes()) for name in ("td.bin", "enclave.bin")]
    assert [(quote.tee, quote.body.report_data) for quote in quotes] == [
        ("TDX", wanted),
        ("SGX", wanted),
    ]


def test_it_says_what_is_wrong_before_it_is_ready(tmp_path: Path) -> None:
    """A machine that is not there, a place that is taken, and a machine for nothing."""
    said = run(tmp_path, "sim", "up", "--qgs", "q", "--platform", "none").screen
    assert "there is no platform 'none'" in said
    (tmp_path / "file").write_text("")
    for given, code in (
        (("--qgs", "file"), "[simulator-socket]"),
        (("--aesm", "missing/a"), "[simulator-socket]"),
        (("--gramine", "file"), "[simulator-folder]"),
        (("--configfs-tsm", "file"), "[simulator-folder]"),
        (("--platform", "machine"), "--platform says whose quotes are given: by --aesm"),
    ):
        outcome = run(tmp_path, "sim", "up", *given)
        assert (outcome.status, code in outcome.err) == (1, True), outcome.screen
        assert not (tmp_path / ".dcap-sim" / "environment").exists()


def test_a_socket_of_one_that_was_killed_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens there: no reason to refuse."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind("q")
    with up(tmp_path, "--qgs", "q") as ready:
        assert ready["qgs"] == str(tmp_path / "q")
