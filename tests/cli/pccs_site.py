"""Two sides of a wall: a simulated Intel on HTTPS, and a PCCS of ours in mode OFFLINE, also on HTTPS.

Not a home for assertions: each test states its own.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.pccs.mode import Mode
from dcap.pccs.transfer.platform_collaterals import import_platform_collaterals
from dcap.serving import serving
from dcap.simulator.pcs import ROOT_CRL_PATH
from dcap.simulator.platform import Platform
from dcap.simulator.tls import tls_files
from pccs.rig import TOKENS, Rig, anchor_of, manifest_of, record_of
from transcripts.desk import Outcome, run


class Site:
    """A folder from which `dcap pccs …` is run. `intel` and `inside` may be replaced by a test."""

    def __init__(self, folder: Path, *, max_body: int = 2 * 1024 * 1024) -> None:
        self.folder = folder
        store = folder / "store"
        store.mkdir()
        self.rig = Rig(store, mode=Mode.OFFLINE, imports=self.take, max_body=max_body)
        self.rig.world.at = datetime.now(UTC).replace(microsecond=0)
        self.world = self.rig.world
        self.intel: Handler = self.rig.simulated
        self.inside: Handler = self.rig.handler
        #: What was asked: method and path of each request to the PCCS; all of each to Intel.
        self.asked: list[str] = []
        self.asked_of_intel: list[HttpRequest] = []
        self.bodies: list[bytes] = []
        self.url = self.intel_url = self.ca = ""
        (folder / "root.pem").write_bytes(self.world.root_pem)
        (folder / "admin").write_text(TOKENS["admin"] + "\n")

    def take(self, body: bytes, version: int) -> object:
        """The import of the service."""
        return import_platform_collaterals(
            self.rig.store,
            body,
            at=self.rig.clock(),
            anchor=anchor_of(self.world),
            version=4 if version == 4 else 3,
        )

    def answer_inside(self, request: HttpRequest) -> HttpResponse:
        """The PCCS."""
        self.asked.append(f"{request.method} {request.path.rpartition('/')[2]}")
        self.bodies.append(request.body)
        return self.inside(request)

    def answer_as_intel(self, request: HttpRequest) -> HttpResponse:
        """Intel."""
        self.asked_of_intel.append(request)
        return self.intel(request)

    def pccs(self, command: str, *given: str, **more: Any) -> Outcome:
        """`dcap pccs COMMAND` against the PCCS inside."""
        reach = ("--url", self.url, "--ca", self.ca, "--token-file", "admin")
        return run(self.folder, "pccs", command, *reach, *given, **more)

    def fetch(self, *given: str, command: str = "fetch", **more: Any) -> Outcome:
        """`dcap pccs fetch`, as from outside."""
        return run(self.folder, "pccs", command, *self.outside, *given, **more)

    @property
    def outside(self) -> tuple[str, ...]:
        """How the simulated Intel is reached."""
        return (
            "--url",
            f"{self.intel_url}/sgx/certification/v4/",
            "--ca",
            self.ca,
            "--root-crl",
            f"{self.intel_url}{ROOT_CRL_PATH}",
            "--insecure-test-root",
            "root.pem",
        )

    def rack(self, count: int) -> list[Platform]:
        """So many machines of one package."""
        return [self.world.platform(f"node-{n}", ca="processor") for n in range(1, count + 1)]

    def list(self, *machines: Platform, name: str = "platform_list.json") -> None:
        """Write the list of machines, those of several packages by their manifest."""
        records = [
            record_of(one) if one.ca == "processor" else manifest_of(one) for one in machines
        ]
        (self.folder / name).write_text(json.dumps(records))

    def read(self, name: str) -> Any:
        """A JSON file of the folder."""
        return json.loads((self.folder / name).read_bytes())

    def holds(self, machine: Platform) -> bool:
        """Whether the PCCS has the machine's certificates."""
        qe_id, pce_id = machine.qe_id.hex().upper(), machine.pce_id.hex().upper()
        return self.rig.store.platforms.holding(qe_id, pce_id) is not None


@contextmanager
def site(folder: Path, **given: Any) -> Iterator[Site]:
    """The site, while both sides answer."""
    made = Site(folder, **given)
    net = folder / "net"
    net.mkdir()
    certificate, key, ca = tls_files(made.world, net)
    made.ca = str(ca)
    with ExitStack() as stack:
        tls = (certificate, key)
        made.url = stack.enter_context(serving(made.answer_inside, tls=tls)).url
        made.intel_url = stack.enter_context(serving(made.answer_as_intel, tls=tls)).url
        stack.callback(made.rig.store.close)
        yield made


def failing(
    handler: Handler, when: Callable[[HttpRequest], bool], status: int = 503, times: int = 10**9
) -> Handler:
    """A handler that refuses some requests, so many times."""
    left = [times]

    def answer(request: HttpRequest) -> HttpResponse:
        if when(request) and left[0] > 0:
            left[0] -= 1
            return HttpResponse(status=status)
        return handler(request)

    return answer
