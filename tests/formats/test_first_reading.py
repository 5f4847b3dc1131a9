"""A cold start with threads: many are the first to read a kind of document, and the process lives."""

import subprocess
import sys
from pathlib import Path

import pytest

from dcap.formats.collateral import TCB_INFO
from dcap.formats.signed_json import SignedJson
from dcap.simulator.world import World

#: Threads that change places at every step, and all read the first TCB info of the process.
_SCRIPT = """
import sys, threading
from pathlib import Path
from dcap.formats.tcb_info import TcbInfo
body = Path(sys.argv[1]).read_bytes()
sys.setswitchinterval(1e-6)
gate, read = threading.Barrier(48), []
def first():
    gate.wait()
    read.append(TcbInfo.parse(body))
threads = [threading.Thread(target=first) for _ in range(48)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(read) == 48
"""


@pytest.mark.parametrize("attempt", range(6))
def test_many_threads_read_their_first_tcb_info(tmp_path: Path, attempt: int) -> None:
    """Without the tables that are built at import, one of two such processes ends in a crash."""
    world = World("pccs")
    envelope = world.collateral(world.platform()).tcb_info
    body = tmp_path / "tcb_info.json"
    body.write_bytes(SignedJson.parse(envelope, TCB_INFO).body)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(body)], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
