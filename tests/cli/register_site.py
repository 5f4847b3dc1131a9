"""A machine's own folder, a PCCS on HTTPS that it registers with, and a simulated Intel on HTTPS.

Not a home for assertions: each test states its own.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.pccs.mode import Mode
from dcap.serving import serving
from dcap.simulator.platform import Platform
from dcap.simulator.tls import tls_files
from pccs.rig import TOKENS, Rig, record_of
from transcripts.desk import Outcome, run

COLUMNS = ("enc_ppid", "pce_id", "cpu_svn", "pce_svn", "qe_id", "platform_manifest")


class Site:
    """A folder in which `dcap register …` is run. `inside` and `intel` may be replaced by a test."""

    def __init__(self, folder: Path, mode: Mode) -> None:
        self.folder = folder
        store = folder / "store"
        store.mkdir()
        self.rig = Rig(store, mode=mode)
        self.world = self.rig.world
        self.world.at = datetime.now(UTC).replace(microsecond=0)
        self.small = self.world.platform("small", ca="processor")
        self.inside: Handler = self.rig.handler
        self.intel: Handler = self.rig.simulated
        #: Method and resource of each request to the PCCS; all of each to Intel.
        self.asked: list[str] = []
        self.asked_of_intel: list[HttpRequest] = []
        self.url = self.intel_url = self.ca = ""
        (folder / "root.pem").write_bytes(self.world.root_pem)
        (folder / "user").write_text(TOKENS["user"] + "\n")
        self.write_table(self.small)

    def answer_inside(self, request: HttpRequest) -> HttpResponse:
        """The PCCS."""
        self.asked.append(f"{request.method} {request.path.rpartition('/')[2]}")
        return self.inside(request)

    def answer_as_intel(self, request: HttpRequest) -> HttpResponse:
        """Intel."""
        self.asked_of_intel.append(request)
        return self.intel(request)

    def write_table(self, machine: Platform, **other: str) -> None:
        """The machine's pckid_retrieval.csv, where `register` finds it."""
        record = {**record_of(machine), **other}
        line = ",".join(str(record[name]) for name in COLUMNS)
        (self.folder / "pckid_retrieval.csv").write_text(line + "\n")

    def configure(self, url: str | None = None) -> None:
        """The machine's QCNL configuration."""
        base = f"{url or self.url}/sgx/certification/v4/"
        (self.folder / "qcnl.conf").write_text(json.dumps({"pccs_url": base}))

    @property
    def environment(self) -> dict[str, str]:
        """That of the machine."""
        return {
            "DCAP_OFFLINE": "",
            "DCAP_CACHE": str(self.folder / "cache"),
            "DCAP_INSECURE_TEST_ROOT": "root.pem",
            "QCNL_CONF_PATH": str(self.folder / "qcnl.conf"),
            "HOME": str(self.folder / "home"),
        }

    def register(self, command: str, *given: str, **more: Any) -> Outcome:
        """`dcap register COMMAND` on the machine; `submit` with the right token."""
        reach = () if command == "show" else ("--ca", self.ca)
        if command == "submit" and "--token-file" not in given:
            reach = (*reach, "--token-file", "user")
        return run(self.folder, "register", command, *reach, *given, **{**self.environment, **more})

    @property
    def identifiers(self) -> tuple[str, ...]:
        """What never stands on the screen."""
        machine = self.small
        parts = (machine.qe_id, machine.ppid, machine.encrypted_ppid[:16], machine.manifest[:24])
        return (*(part.hex() for part in parts), TOKENS["user"])

    def shows_none(self, outcome: Outcome) -> bool:
        """Whether nothing on the screen identifies the machine."""
        screen = outcome.screen.lower()
        return not any(part.lower() in screen for part in self.identifiers)


def ended(outcome: Outcome) -> tuple[int, str]:
    """Exit status and code."""
    told = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    return outcome.status, told[-1].rpartition("[")[2].rstrip("]") if told else ""


@contextmanager
def site(folder: Path, mode: Mode = Mode.LAZY) -> Iterator[Site]:
    """The site, while both sides answer."""
    made = Site(folder, mode)
    net = folder / "net"
    net.mkdir()
    certificate, key, ca = tls_files(made.world, net)
    made.ca = str(ca)
    with ExitStack() as stack:
        tls = (certificate, key)
        made.url = stack.enter_context(serving(made.answer_inside, tls=tls)).url
        made.intel_url = stack.enter_context(serving(made.answer_as_intel, tls=tls)).url
        stack.callback(made.rig.store.close)
        made.configure()
        yield made
