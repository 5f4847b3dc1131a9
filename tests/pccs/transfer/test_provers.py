"""Proofs of many machines in processes of their own, and what is left where those die."""

import os
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import msgspec
import pytest

from dcap.formats.certificate import Certificate
from dcap.pccs.pck_proof import Claimed
from dcap.pccs.transfer.provers import Proof, Provers, Terms
from dcap.pccs.trust import Forged
from dcap.simulator.platform import Platform
from dcap.simulator.world import AT, World
from dcap.verification.anchors import TrustAnchor

_LIMIT = 60.0


def terms(world: World) -> Terms:
    """Those of an import without lists."""
    anchor = TrustAnchor.insecure_test_root(Certificate.parse_chain(world.root_pem)[0])
    return Terms(
        at=AT, anchor=anchor, root_crl=None, pck_crls={"PLATFORM": None, "PROCESSOR": None}
    )


def claim(machine: Platform) -> Claimed:
    """A machine's certificates, as a file has them."""
    intel = machine.world.intel
    return Claimed(
        qe_id=machine.qe_id.hex().upper(),
        pce_id="0000",
        certificates=tuple(
            (one.hex, one.certificate.pem) for one in machine.certificates() if one.certificate
        ),
        issuer_chain=intel.chain(intel.pck_ca(machine.ca)),
    )


@pytest.fixture(scope="module")
def world() -> World:
    """A world of two machines."""
    world = World("provers", AT)
    world.platform("one")
    world.platform("two")
    return world


@pytest.fixture(scope="module")
def batch(world: World) -> list[Claimed]:
    """Both machines, and the first with the certificates of the second: a forged one."""
    one, two = claim(world.platform("one")), claim(world.platform("two"))
    mixed = msgspec.structs.replace(one, certificates=(one.certificates[0], two.certificates[0]))
    return [one, mixed, two]


def told(answers: list[Proof | Forged]) -> list[object]:
    """What can be compared."""
    return [(one.code, one.finding) if isinstance(one, Forged) else one for one in answers]


def test_processes_answer_as_this_one_does(world: World, batch: list[Claimed]) -> None:
    """What is proven elsewhere is what is proven here, forged machines and their order included."""
    with Provers(terms(world)) as here:
        expected = told(list(here.ask(batch)()))
    with Provers(terms(world), processes=1) as provers:
        first, second = provers.ask(batch), provers.ask(batch)
        assert told(list(first())) == expected
        assert told(list(second())) == expected
        assert active_children(), "the second batch was proven in a process"
    assert [type(one) for one in expected] == [Proof, tuple, Proof]


def test_where_processes_die_the_work_is_done_here(world: World, batch: list[Claimed]) -> None:
    """A killed process costs time, and no machine."""
    with Provers(terms(world), processes=1) as provers:
        list(provers.ask(batch)())
        list(provers.ask(batch)())
        for child in active_children():
            child.kill()
        answers = told(list(provers.ask(batch)()))
        again = told(list(provers.ask(batch)()))
    assert [type(one) for one in answers] == [Proof, tuple, Proof]
    assert again == answers


_PARENT = """
import time
from multiprocessing import active_children
from pccs.transfer.test_provers import claim, terms
from dcap.pccs.transfer.provers import Provers
from dcap.simulator.world import AT, World
if __name__ == "__main__":
    world = World("provers", AT)
    batch = [claim(world.platform("one"))]
    with Provers(terms(world), processes=1) as provers:
        list(provers.ask(batch)())
        list(provers.ask(batch)())
        print(*(child.pid for child in active_children()), flush=True)
        time.sleep(60)
"""


def test_processes_leave_with_an_import_that_was_killed(tmp_path: Path) -> None:
    """No process stays behind, however its parent ended."""
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environ
    ) as parent:
        assert parent.stdout is not None
        (pid,) = map(int, parent.stdout.readline().split())
        parent.kill()
    deadline = time.monotonic() + _LIMIT
    while _is_alive(pid):
        assert time.monotonic() < deadline, "the process outlived its parent"
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
