"""A machine that asks a PCCS over the real network: a scratch root, a world, a server.

    with asked(tmp_path, world) as (machine, server):      # all is well
        seen = say(network.CHECKS, machine.scene())

The PCCS is that of `simulator.alibaba`, which is a plain one. Not here: assertions.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import scratch

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.doctor.scene import Scene
from dcap.serving import Server, serving
from dcap.simulator import World
from dcap.simulator.alibaba import alibaba
from dcap.simulator.tcb_model import PCE_SVN
from dcap.simulator.tls import LOOPBACK, tls_files
from dcap.sources.need import MachineNeed
from dcap.verification import TrustAnchor

CONFIG = "/etc/sgx_default_qcnl.conf"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PATH = "/sgx/certification/v4/"


class Machine:
    """A scratch root with a configuration, and its scene at the world's time."""

    def __init__(self, top: Path, world: World) -> None:
        self.root = top / "machine"
        self.root.mkdir(parents=True)
        self.world = world
        self.certificates = top / "tls"
        self.certificates.mkdir()

    def configure(self, url: str, **settings: Any) -> None:
        """Write `sgx_default_qcnl.conf`."""
        whole = {"pccs_url": url, "pccs_api_version": "3.1", **settings}
        scratch.write(self.root, CONFIG, json.dumps(whole, indent=2))

    def trust(self, ca: Path) -> None:
        """Put a CA into the system's bundle."""
        scratch.write(self.root, BUNDLE, ca.read_bytes())

    def scene(self, **changes: Any) -> Scene:
        """An attester that also verifies, at the world's time."""
        given = {
            "roles": frozenset({"attester", "verifier"}),
            "clock": lambda: self.world.at,
            "anchor": TrustAnchor.insecure_test_root(self.world.intel.root.certificate),
            "environ": {"HOME": "/home/app"},
            **changes,
        }
        return scratch.scene(self.root, **given)


def closed_port() -> int:
    """A port at which nothing listens."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def need(world: World, name: str = "machine", **changes: Any) -> MachineNeed:
    """What identifies a machine of the world to a PCCS."""
    machine = world.platform(name)
    known = MachineNeed(
        qe_id=machine.qe_id,
        cpu_svn=machine.cpu_svn,
        pce_svn=PCE_SVN,
        pce_id=machine.pce_id,
        encrypted_ppid=machine.encrypted_ppid,
    )
    return msgspec.structs.replace(known, **changes)


def dated(handler: Handler, at: datetime, by: timedelta = timedelta()) -> Handler:
    """Every answer has a `Date`, as those of real servers have."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = handler(request)
        stamp = ("Date", format_datetime(at + by, usegmt=True))
        return msgspec.structs.replace(response, headers=(*response.headers, stamp))

    return answer


def instead(handler: Handler, answers: dict[str, HttpResponse | None]) -> Handler:
    """Answers by a part of the target; None means a plain 404 of a PCCS."""
    absent = HttpResponse(status=404, body=b"No cache data for this platform.")

    def answer(request: HttpRequest) -> HttpResponse:
        for part, given in answers.items():
            if part in request.target:
                return absent if given is None else given
        return handler(request)

    return answer


@contextmanager
def asked(
    top: Path,
    world: World,
    *,
    handler: Handler | None = None,
    names: tuple[str, ...] = LOOPBACK,
    trusted: bool = True,
    path: str = PATH,
    **settings: Any,
) -> Iterator[tuple[Machine, Server]]:
    """The machine and its PCCS; each argument is the one thing that may be otherwise."""
    machine = Machine(top, world)
    certificate, key, ca = tls_files(world, machine.certificates, names=names)
    if trusted:
        machine.trust(ca)
    given = dated(handler or alibaba(world), world.at)
    with serving(given, tls=(certificate, key)) as server:
        machine.configure(server.url + path, **settings)
        yield machine, server
