"""A provider on a real socket, before a simulated Intel on HTTPS. Not a home for assertions."""

import ctypes
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from provider_client import Client

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.provider.answering import Answering
from dcap.provider.callers import Callers, Trust
from dcap.provider.connections import Server
from dcap.provider.peers import Peer
from dcap.provider.persistent import Persistent
from dcap.provider.place import Place
from dcap.provider.provider import Provider
from dcap.serving import serving
from dcap.simulator.services import services
from dcap.simulator.tls import tls_files
from dcap.simulator.world import World
from dcap.verification import TrustAnchor

V4 = "/sgx/certification/v4/"
NOBODY = 65534
#: setresuid of one thread alone: the library's own would change all of them.
SETRESUID = {"x86_64": 117, "aarch64": 147}.get(platform.machine())
T = TypeVar("T")


class Site:
    """The world, its HTTPS server, and whoever asks it. `answer` may be replaced, `clock` moved.

    `asked` holds what was asked, with its query.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World("provider")
        self.world.at = datetime.now(UTC).replace(microsecond=0)
        self.machine = self.world.platform("node")
        self.services = services(self.world)
        self.answer: Handler = self.services
        self.asked: list[str] = []
        self.url = ""
        certificate, key, self.ca = tls_files(self.world, folder)
        self.tls = (certificate, key)
        self.root = folder / "root.pem"
        self.root.write_bytes(self.world.root_pem)
        self.anchor = TrustAnchor.insecure_test_root(self.world.intel.root.certificate)

    def handle(self, request: HttpRequest) -> HttpResponse:
        """What the server answers now."""
        self.asked.append(request.target)
        return self.answer(request)

    @property
    def pccs(self) -> str:
        """The base of a plain PCCS."""
        return f"{self.url}/alibaba{V4}"

    def conf(self, name: str = "qcnl.conf", **settings: Any) -> Path:
        """A QCNL configuration for that PCCS."""
        path = self.folder / name
        path.write_text(json.dumps({"pccs_url": self.pccs, **settings}))
        return path

    def collateral(self, tee: int = 0) -> dict[str, bytes | str | int]:
        """What a request for collateral gives."""
        return {"TEE": tee, "FMSPC": self.machine.fmspc, "CA": "platform"}

    def quote_config(self) -> dict[str, bytes | str | int]:
        """What a request for the machine's certificate gives."""
        return {
            "QE_ID": self.machine.qe_id,
            "CPU_SVN": self.machine.cpu_svn,
            "PCE_SVN": self.machine.certificates()[0].pce_svn,
            "PCE_ID": int.from_bytes(self.machine.pce_id, "little"),
            "ENCRYPTED_PPID": self.machine.encrypted_ppid,
        }


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """The server answers for as long as the block runs."""
    made = Site(folder)
    with serving(made.handle, tls=made.tls) as server:
        made.url = server.url
        yield made


def let_all_in(folder: Path) -> None:
    """Other users may go down to a test's folder, whatever lies above it."""
    for each in (folder, *folder.parents):
        mode = each.stat().st_mode & 0o7777
        if mode & 0o005 != 0o005:
            each.chmod(mode | 0o055)


def as_nobody(act: Callable[[], T]) -> T:
    """What a thread of another user's comes to; skips, saying so, where there can be none."""
    if os.geteuid() != 0 or SETRESUID is None:
        pytest.skip("only root can become another user")
    found: list[T] = []

    def other() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.syscall(SETRESUID, NOBODY, NOBODY, NOBODY) == 0
        found.append(act())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(timeout=30)
    (result,) = found
    return result


class Running:
    """A provider in this process, on its own threads; `path` is its socket."""

    def __init__(self, path: Path, callers: Callers, reports: list[str], server: Server) -> None:
        self.path = path
        self.callers = callers
        self.reports = reports
        self.server = server

    def client(self) -> Client:
        """A connection."""
        return Client(self.path)

    def call(self, name: str, environment: tuple[str, ...] = (), **given: Any) -> Any:
        """One call, on a connection of its own."""
        with self.client() as client:
            return client.call(name, environment, **given)


@contextmanager
def provider(
    at: Site,
    *,
    names: tuple[str, ...] = (),
    environ: dict[str, str] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    bare: bool = False,
    mode: int = 0o600,
    path: Path | None = None,
    anchor: TrustAnchor | None = None,
    ca: Path | None = None,
    **limits: Any,
) -> Iterator[Running]:
    """It answers for as long as the block runs, and ends in time."""
    path = path or at.folder / "provider.sock"
    home = at.folder / "home"
    trust = Trust(
        anchor=anchor or at.anchor,
        ca=ca or at.ca,
        clock=clock,
        system=at.folder / "no-such.conf",
        machine=at.folder,
    )
    own = {"HOME": str(home), **(environ or {})}
    callers = Callers(trust, names=names, environ=own, bare=bare)
    reports: list[str] = []
    made = Provider(callers, Persistent(home / "state"), clock=clock, report=reports.append)
    place = Place.take(path, mode=mode)
    assert place is not None
    server = Server(place.listener, Answering(made), leave=place.leave, **limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Running(path, callers, reports, server)
    finally:
        server.stop()
        thread.join(timeout=20)
        place.leave()
    assert not thread.is_alive()


def until(true: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether something becomes true in time."""
    last = time.monotonic() + seconds
    while not true():
        if time.monotonic() > last:
            return False
        time.sleep(0.01)
    return True


def myself() -> Peer:
    """This process, as the kernel would tell it."""
    return Peer(os.getpid(), os.geteuid(), os.getegid(), here=True)


def down(request: HttpRequest) -> HttpResponse:
    """A service that fails."""
    return HttpResponse(status=500)
