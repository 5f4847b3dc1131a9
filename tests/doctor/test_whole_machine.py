"""Whole machines of each kind, all families, over the real network: where all is well, nothing is found.

Each family has its own healthy machine in its own file; here all look at one, with a PCCS that answers.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from asked_machine import BUNDLE, CONFIG, PATH, asked, need
from scratch import (
    APP,
    BOOTED,
    Seen,
    add_aesm,
    add_qgs,
    aesm_answering,
    laptop,
    say,
    sgx_host,
    tdx_guest,
    write,
)

from dcap.doctor.checks import CHECKS
from dcap.doctor.pccs_places import INTEL_FOLDER
from dcap.simulator import World
from qpl.libraries import System

Make = Callable[[Path, ExitStack, int], Path]


@pytest.fixture(scope="module")
def world() -> World:
    """One world for all of them: nothing here changes it."""
    made = World("doctor's whole machines")
    made.platform("machine")
    return made


def in_process(top: Path, _: ExitStack, __: int) -> Path:
    """An SGX host whose programs quote by themselves, with Intel's plugin."""
    root = sgx_host(top)
    _plugin(root)
    return root


def daemons(top: Path, stack: ExitStack, _: int) -> Path:
    """A host of enclaves and of trust domains: AESM and QGS run."""
    root = add_qgs(add_aesm(sgx_host(top)))
    stack.enter_context(aesm_answering(root))
    _plugin(root)
    return root


def trust_domain(top: Path, _: ExitStack, __: int) -> Path:
    """A TDX guest."""
    return tdx_guest(top)


def verifier(top: Path, _: ExitStack, __: int) -> Path:
    """A laptop that verifies."""
    return laptop(top)


def pccs(top: Path, _: ExitStack, port: int) -> Path:
    """A machine on which Intel's PCCS serves the others."""
    root = laptop(top)
    settings = {"HTTPS_PORT": port, "ApiKey": "aa" * 16, "CachingFillMode": "LAZY"}
    write(root, f"{INTEL_FOLDER}/config/default.json", json.dumps(settings))
    return root


def _plugin(root: Path) -> None:
    """Intel's plugin; the packages of the machine stay."""
    status = root / "var/lib/dpkg/status"
    others = status.read_text()
    System(root).intel(bare=True)
    status.write_text(f"{others}{status.read_text()}")


@contextmanager
def whole(
    top: Path, world: World, make: Make, *roles: str, **changes: Any
) -> Iterator[Callable[[], Seen]]:
    """The machine with its PCCS; called, it is examined as what it is."""
    with ExitStack() as stack:
        machine, server = stack.enter_context(asked(top / "asked", world))
        trusted = (machine.root / BUNDLE.lstrip("/")).read_bytes()
        machine.root = make(top, stack, int(server.url.rpartition(":")[2]))
        machine.configure(server.url + PATH)
        os.utime(machine.root / CONFIG.lstrip("/"), (BOOTED, BOOTED))
        write(machine.root, BUNDLE, trusted)
        quote = world.platform("machine").quote()
        known = {"machine": need(world), "quote": quote, "timeout": 5.0, **changes}
        scene = machine.scene(roles=frozenset(roles), **known)
        yield lambda: say(CHECKS, scene)


KINDS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "SGX in process": (in_process, ("attester", "verifier")),
    "SGX by daemons": (daemons, ("attester", "verifier")),
    "trust domain": (trust_domain, ("attester", "verifier")),
    "verifier": (verifier, ("verifier",)),
    "PCCS": (pccs, ("pccs", "verifier")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_machine_gives_no_finding(tmp_path: Path, world: World, kind: str) -> None:
    """Healthy: no family finds anything, and each role's real requests were answered."""
    make, roles = KINDS[kind]
    with whole(tmp_path, world, make, *roles) as examined:
        seen = examined()
    assert seen.findings == []
    told = [right.what for right in seen.rights]
    assert any("requests of Intel's library" in what for what in told)
    assert any("TCB of this machine is up to date" in what for what in told) == (
        "attester" in roles
    )


def test_one_change_of_a_healthy_machine_is_one_finding(tmp_path: Path, world: World) -> None:
    """The same machine without the device of provisioning: that, and nothing else, is found."""

    def without(top: Path, stack: ExitStack, port: int) -> Path:
        root = in_process(top, stack, port)
        for path in ("dev/sgx/provision", "dev/sgx_provision"):
            (root / path).unlink()
        return root

    with whole(tmp_path, world, without, "attester", "verifier") as examined:
        assert examined().codes == ["device-provision-absent"]


def test_one_cause_is_told_once(tmp_path: Path, world: World) -> None:
    """SGX_AESM_ADDR without AESM concerns two families: one of them speaks."""
    environ = {"HOME": APP.home, "SGX_AESM_ADDR": "1"}
    with whole(tmp_path, world, in_process, "attester", environ=environ) as examined:
        assert examined().codes == ["aesmd-not-installed"]
