"""A new machine, from nothing to an accepted verdict: registered, attested, verified; then all is gone.

A simulated Intel on HTTPS, our PCCS in a process of its own, a machine that has Intel's table and its
daemon's socket, and a relying party that has neither. No step is given what another has made, but for
what really passes between them.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from dcap.attester.aesm import AesmAttester
from dcap.attester.qgs import QgsAttester
from dcap.attester.surroundings import Surroundings
from dcap.formats.quote import Quote
from dcap.qpl.discovery_root import Root
from dcap.simulator.aesm import aesm_service
from dcap.simulator.configfs_tsm import configfs_tsm
from dcap.simulator.gramine import gramine
from dcap.simulator.pcs import ROOT_CRL_PATH
from dcap.simulator.platform import Platform
from dcap.simulator.qgs import qgs_service
from dcap.simulator.reports import make_report
from dcap.simulator.td_reports import make_td_report
from docs.test_docs import blocks, named
from journeys.test_air_gap import free_port
from pccs.rig import manifest_of, record_of
from pccs.running import START, V4, Intel, Service, intel, serve, until
from transcripts.desk import Outcome, run
from worlds import ROOT

#: As the page names the PCCS.
PAGE_URL = "https://pccs.example:8081"
REPORT_DATA = b"a new machine".ljust(64, b"\0")
COLUMNS = ("enc_ppid", "pce_id", "cpu_svn", "pce_svn", "qe_id", "platform_manifest")


class Party:
    """Whoever asks the PCCS: a folder, a cache and a home of its own."""

    def __init__(self, folder: Path, name: str, port: int) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.url = f"https://localhost:{port}"
        (self.folder / "qcnl.conf").write_text(json.dumps({"pccs_url": self.url + V4}))
        self.environment = {
            "DCAP_OFFLINE": "",
            "DCAP_CACHE": str(self.folder / "cache"),
            "DCAP_INSECURE_TEST_ROOT": str(folder / "intel" / "root.pem"),
            "QCNL_CONF_PATH": str(self.folder / "qcnl.conf"),
            "HOME": str(self.folder),
        }
        self.ca = folder / "data" / "tls_certificate.pem"

    def dcap(self, *given: str) -> Outcome:
        """Run `dcap` in the folder; TLS is checked."""
        return run(self.folder, *given, "--ca", str(self.ca), **self.environment)

    def verdict(self, quote: bytes) -> Outcome:
        """What it makes of a quote, over this report data."""
        (self.folder / "quote.bin").write_bytes(quote)
        bound = ("--report-data", REPORT_DATA.hex())
        return self.dcap("verify", "quote.bin", "--any-identity", *bound)


class Machine(Party):
    """The new machine: its table lies in the folder, its token beside it."""

    def __init__(self, folder: Path, port: int, platform: Platform) -> None:
        super().__init__(folder, "machine", port)
        self.platform = platform
        own = record_of(platform) if platform.ca == "processor" else manifest_of(platform)
        record = {**record_of(platform), **own}
        line = ",".join(str(record[name]) for name in COLUMNS)
        (self.folder / "pckid_retrieval.csv").write_text(line + "\n")

    def trusted_with(self, token: str) -> None:
        """The user token, as its administrator hands it over."""
        (self.folder / "user.token").write_text(token)

    def register(self, command: str, *given: str) -> Outcome:
        """`dcap register COMMAND`."""
        return self.dcap("register", command, *given)

    def follow_page(self) -> Outcome:
        """Register as the page says, from the table on; what `show` printed."""
        tool, *lines = named("register-machine.sh").text.splitlines()
        assert tool == "sudo PCKIDRetrievalTool -f pckid_retrieval.csv"
        show, *others = (line.replace(PAGE_URL, self.url) for line in lines)
        shown = run(self.folder, *shlex.split(show)[1:], **self.environment)
        for line in others:
            outcome = self.dcap(*shlex.split(line)[1:])
            assert outcome.status == 0, outcome.screen
        return shown

    def quote(self, certification: int) -> bytes:
        """A quote by its AESM, over a report of an enclave that runs on it."""
        machine = self.platform

        def report(target_info: bytes, report_data: bytes) -> bytes:
            return make_report(machine, target_info, report_data)

        socket = self.folder / f"aesm-{certification}.socket"
        with aesm_service(lambda: machine, socket, certification=certification):
            return AesmAttester(report, socket).quote(REPORT_DATA)


class Scene:
    """Everybody. Intel may be ended, and the service started again where it was."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._intel = stack.enter_context(ExitStack())
        self._service = stack.enter_context(ExitStack())
        self.intel: Intel = self._intel.enter_context(intel(folder / "intel"))
        self.port = free_port()

    def serve(self, *given: str) -> Service:
        """The service, on the port where everybody looks for it; one before it is ended."""
        self.end_service()
        flags = (*self.intel.flags, "--port", str(self.port), *given)
        return self._service.enter_context(serve(self.folder, *flags))

    def end_service(self) -> None:
        """Nobody listens there any more."""
        self._service.close()

    def end_intel(self) -> None:
        """Intel is down."""
        self._intel.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A simulated Intel, and room for the others."""
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


@contextmanager
def watching(machine: Machine) -> Iterator["subprocess.Popen[str]"]:
    """`dcap register submit --watch`, as a unit of the machine's runs it at boot."""
    given = ("--ca", str(machine.ca), "--token-file", "user.token", "--watch", "--every", "0.2")
    with (machine.folder / "watch.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", START, "register", "submit", *given],
            cwd=machine.folder,
            env={"PYTHONPATH": str(ROOT / "src"), **machine.environment},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_from_nothing_to_an_accepted_verdict_and_on_without_intel(scene: Scene, ca: str) -> None:
    """Registered, kept, attested, accepted; then the PCCS restarts without Intel, and then ends."""
    service = scene.serve()
    machine = Machine(scene.folder, scene.port, scene.intel.world.platform("node-1", ca=ca))
    machine.trusted_with(service.token("user"))

    # 1. It registers, and its certificate is kept.
    shown = machine.follow_page()
    (page,) = (block for block in blocks("text") if block.file == "register-show.txt")
    assert shown.status == 0
    assert (shown.out.strip() == page.text) == (ca == "processor"), shown.out
    (kept,) = (machine.folder / "cache").glob("pck-*.kept")

    # 2. It attests, with a quote provider on the machine and without; 3. others accept it.
    for certification in (5, 3):
        quote = machine.quote(certification)
        assert Quote.parse(quote).certification.type == certification
        party = Party(scene.folder, f"party-{certification}", scene.port)
        verdict = party.verdict(quote)
        assert "ACCEPTED" in verdict.out, verdict.screen

    # 4. Intel is down, and the PCCS starts again: who has never asked before is answered.
    scene.end_intel()
    scene.serve()
    verdict = Party(scene.folder, "late", scene.port).verdict(machine.quote(3))
    assert "ACCEPTED" in verdict.out, verdict.screen
    assert machine.register("submit", "--again", "--token-file", "user.token").status == 0

    # 5. Nobody is left: the machine still has its certificate, and says where.
    scene.end_service()
    again = machine.register("submit")
    status = machine.register("status")
    assert (again.status, status.status) == (0, 0), again.screen + status.screen
    assert str(kept) in status.out
    assert "network-refused" in status.out


def test_by_whatever_the_machine_attests_its_service_suffices(scene: Scene) -> None:
    """Gramine, configfs-tsm and QGS, as `dcap attest` asks them: others accept each quote."""
    service = scene.serve()
    machine = Machine(scene.folder, scene.port, scene.intel.world.platform("node-3", ca="platform"))
    machine.trusted_with(service.token("user"))
    registered = machine.register("submit", "--token-file", "user.token")
    assert registered.status == 0, registered.screen
    platform, party = machine.platform, Party(scene.folder, "party", scene.port)
    enclave, domain = machine.folder / "enclave", machine.folder / "domain"
    given = ("--report-data", REPORT_DATA.hex(), "-o", "quote.bin")
    for root, simulated in (
        (enclave, gramine(lambda: platform, enclave / "dev" / "attestation")),
        (domain, configfs_tsm(lambda: platform, domain / "sys" / "kernel" / "config")),
    ):
        with simulated:
            made = run(machine.folder, "attest", "--root", root.name, *given)
        assert made.status == 0, made.screen
        verdict = party.verdict((machine.folder / "quote.bin").read_bytes())
        assert "ACCEPTED" in verdict.out, verdict.screen
    with qgs_service(lambda: platform, domain / "qgs.socket"):
        quote = QgsAttester(
            Surroundings(Root(domain), {}),
            reporter=lambda data: make_td_report(platform, data),
            address=domain / "qgs.socket",
        ).quote(REPORT_DATA)
    verdict = party.verdict(quote)
    assert "ACCEPTED" in verdict.out, verdict.screen


def test_a_machine_that_boots_before_its_cache_waits_for_it(scene: Scene) -> None:
    """No service, then one of mode OFFLINE, then its administrator brings the certificate: each is told.

    A unit with `--watch` needs nobody to run it again.
    """
    machine = Machine(
        scene.folder, scene.port, scene.intel.world.platform("node-2", ca="processor")
    )
    log = machine.folder / "watch.log"
    service = scene.serve("--mode", "OFFLINE")  # of the day before
    machine.trusted_with(service.token("user"))
    (machine.folder / "admin.token").write_text(service.token("admin"))
    scene.end_service()
    with watching(machine) as process:
        assert until(lambda: "[network-refused]" in log.read_text(), 60), log.read_text()
        scene.serve("--mode", "OFFLINE")
        assert until(lambda: "[pccs-461]" in log.read_text(), 60), log.read_text()
        bring_what_is_missing(scene, machine)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, log.read_text()
    assert "registered   at the PCCS" in log.read_text()
    told = [line for line in log.read_text().splitlines() if line.startswith("waiting")]
    assert "[network-refused]" in told[0]
    assert "[pccs-461]" in told[-1]
    assert all(one != next_ for one, next_ in pairwise(told))
    assert "kept         " in out
    scene.end_intel()
    verdict = Party(scene.folder, "party", scene.port).verdict(machine.quote(3))
    assert "ACCEPTED" in verdict.out, verdict.screen


def bring_what_is_missing(scene: Scene, machine: Machine) -> None:
    """What the administrator of a service without a way out does."""
    admin = ("--url", machine.url, "--token-file", "admin.token")
    assert machine.dcap("pccs", "get", *admin).status == 0
    source = ("--url", scene.intel.url + V4, "--root-crl", scene.intel.url + ROOT_CRL_PATH)
    fetched = run(
        machine.folder, "pccs", "fetch", *source, "--ca", str(scene.intel.ca), **machine.environment
    )
    assert fetched.status == 0, fetched.screen
    put = machine.dcap("pccs", "put", *admin)
    assert put.status == 0, put.screen
