"""docs/operating-a-pccs.md as an operator follows it: each of its commands, word for word.

Two folders stand for the two sides of the wall. From the inner one nothing leads out: its proxy is dead.
From the outer one Intel's real names lead to the simulator. Files are carried by copying them.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dcap.pccs.items import PckCrlKey, TcbInfoKey
from dcap.pccs.store.store import Store
from dcap.simulator.internet import Internet, internet
from dcap.simulator.platform import Platform
from dcap.simulator.services import services
from dcap.simulator.world import World
from docs.test_docs import blocks, named, open_shop
from pccs.rig import manifest_of, pck_line, record_of
from pccs.transfer.intel_store import sqlite_database
from worlds import ROOT

PAGE = ROOT / "docs" / "operating-a-pccs.md"
PCCS = "localhost:8081"
#: The first fetch is so long ago: its lists end within five days, and what is carried later is newer.
AGE = timedelta(days=25)
#: Nobody listens there.
NOWHERE = "http://127.0.0.1:9"
NAME = "platform_collaterals.json"
_EXPORT = re.compile(r"^(?:export|unset|\.) .+$", re.MULTILINE)
NEED_CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")


class Side:
    """One side of the wall: a folder, an environment, and what was started in it."""

    def __init__(self, folder: Path, port: int, environment: dict[str, str]) -> None:
        folder.mkdir()
        shop = open_shop(folder, real=False)
        self.folder = folder
        self.port = port
        self.ran: list[str] = []
        self._exported: list[str] = []
        self._groups: list[int] = []
        kept = {k: v for k, v in shop.environment.items() if not k.lower().endswith("_proxy")}
        self._environment = {
            **kept,
            "HOME": str(folder),
            "DCAP_PCCS_DATA": str(folder / "unset"),  # the page sets it
            "DCAP_PCCS_PORT": str(port),
            "DCAP_PCCS_URL": f"https://localhost:{port}",
            "DCAP_PCCS_INSECURE_TEST_ROOT": str(folder / "root.pem"),
            "DCAP_CACHE": "off",
            **environment,
        }

    def follow(self, name: str, status: int = 0) -> str:
        """Run a block of the page, and keep what it exports; what it prints on stdout."""
        self.ran.append(name)
        text = named(name).text
        told = self.run(text, status)
        self._exported += _EXPORT.findall(text)
        return told

    def run(self, script: str, status: int = 0) -> str:
        """Run a script of the page, in which the port is this test's, as if all shared one shell."""
        whole = "\n".join((*self._exported, script))
        with subprocess.Popen(
            ["sh", "-eu", "-c", whole.replace(PCCS, f"localhost:{self.port}")],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            self._groups.append(process.pid)
            out, err = process.communicate(timeout=120)
        assert process.returncode == status, f"{script}\n{out}\n{err}"
        return out

    def stop(self) -> None:
        """End what runs in the background, as an operator would."""
        for group in self._groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGTERM)
        self._groups.clear()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                    return
            time.sleep(0.1)

    def carry(self, name: str, to: "Side") -> None:
        """Carry a file to the other side."""
        shutil.copy(self.folder / name, to.folder / name)


class Wall:
    """Both sides, and the simulated Intel beyond the outer one."""

    def __init__(self, folder: Path, world: World, box: Internet) -> None:
        self.world = world
        self.box = box
        dead = dict.fromkeys(("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"), NOWHERE)
        local = {"no_proxy": "localhost,127.0.0.1", "NO_PROXY": "localhost,127.0.0.1"}
        self.inside = Side(folder / "inside", free_port(), {**dead, **local})
        self.outside = Side(folder / "outside", free_port(), {**box.environment, **local})
        for side in (self.inside, self.outside):
            (side.folder / "root.pem").write_bytes(world.root_pem)

    def register(self, record: dict[str, object]) -> None:
        """What PCKIDRetrievalTool does on a machine inside."""
        (self.inside.folder / "machine.json").write_text(json.dumps(record))
        said = self.inside.run(named("register.sh").text)
        assert said == "Operation successful."

    def quote(self, machine: Platform) -> None:
        """A quote of a machine, inside."""
        (self.inside.folder / "quote.bin").write_bytes(machine.quote())


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


#: As the page says that the simulated Intel is fetched from.
FETCH_LISTS = """dcap pccs fetch -c -o lists.json \\
    -u "$PCS_URL/sgx/certification/v4/" --ca "$TLS_CA_PEM" --insecure-test-root sim/root.pem"""


@contextmanager
def wall(folder: Path) -> Iterator[Wall]:
    """The wall; whatever was started is ended."""
    at = datetime.now(UTC).replace(microsecond=0) - AGE
    world = World("air gap", at=at)
    with ExitStack() as stack:
        net = folder / "net"
        net.mkdir()
        box = stack.enter_context(internet(services(world), world, net))
        built = Wall(folder, world, box)
        stack.callback(built.inside.stop)
        stack.callback(built.outside.stop)
        yield built


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Wall]:
    """A wall for each test."""
    with wall(tmp_path) as built:
        yield built


@NEED_CURL
def test_the_air_gapped_procedure_from_first_to_last_step(site: Wall) -> None:
    """Registration, list, fetch, put, verdict, renewal, new microcode: nothing from inside leaves."""
    world, inside, outside = site.world, site.inside, site.outside
    small, big = world.platform("small", ca="processor"), world.platform("big")
    inside.follow("air-gap/1-serve.sh")
    site.register(record_of(small))
    site.register(manifest_of(big))

    inside.follow("air-gap/2-get.sh")
    assert site.box.log == []
    inside.carry("platform_list.json", outside)
    outside.follow("air-gap/3-fetch.sh")
    outside.carry(NAME, inside)
    site.quote(small)
    inside.run(named("air-gap/4-verify.sh").text, status=6)  # not before it is put
    inside.follow("air-gap/4-put.sh")
    assert "ACCEPTED" in inside.follow("air-gap/4-verify.sh")

    # Inside some of it ends soon; outside Intel has issued anew.
    inside.follow("air-gap/5-check.sh", status=4)
    before = expiries(inside)
    world.advance(AGE)
    inside.follow("air-gap/5-get-all.sh")
    assert len(json.loads((inside.folder / "renewal_list.json").read_bytes())) == 2
    inside.carry("renewal_list.json", outside)
    outside.follow("air-gap/5-fetch-all.sh")
    outside.carry("renewal.json", inside)
    inside.follow("air-gap/5-put-all.sh")
    inside.follow("air-gap/5-check.sh")
    after = expiries(inside)
    assert {key for key in before if after[key] <= before[key]} == set()

    # Another microcode: its raw TCB is new inside, and one of the certificates there goes with it.
    small.svn -= 1
    line = pck_line(small, with_ppid=False)
    asked = f"curl -sk 'https://{PCCS}/sgx/certification/v4/{line}'"
    crossed = len(site.box.log)
    assert inside.run(asked).encode() == small.pck().pem
    assert len(site.box.log) == crossed

    outside.follow("air-gap/5-fetch-lists.sh")
    outside.carry("lists.json", inside)
    inside.follow("air-gap/5-put-lists.sh")
    inside.follow("air-gap/7-cache.sh")
    inside.follow("air-gap/7-export.sh")
    for place in ("collateral/{}-sgx", "bundles/{}-sgx.json"):
        given = f"--collateral {place.format(small.fmspc.hex().upper())} --offline"
        assert "ACCEPTED" in inside.run(f"dcap verify quote.bin --any-identity {given}")


def expiries(side: Side) -> dict[str, datetime]:
    """Until when what the service inside keeps is good; the root's list is of the year."""
    with Store.open(f"sqlite:///{side.folder}/pccs/pccs.db") as store:
        fmspc = next(iter(store.platforms.each())).platform.fmspc
        keys = (PckCrlKey("PROCESSOR"), PckCrlKey("PLATFORM"), TcbInfoKey("SGX", fmspc))
        found = {key.text: store.items.get(key) for key in keys}
    assert all(found.values())
    return {text: item.expires for text, item in found.items() if item and item.expires}


@NEED_CURL
def test_tables_gathered_by_hand_lead_to_the_same(site: Wall) -> None:
    """Machines that cannot reach the PCCS come in by their tables."""
    machine = site.world.platform("small", ca="processor")
    record = record_of(machine)
    tables = site.inside.folder / "tables"
    tables.mkdir()
    names = ("enc_ppid", "pce_id", "cpu_svn", "pce_svn", "qe_id")
    line = ",".join(str(record[name]) for name in names)
    (tables / "pckid_retrieval.csv").write_text(f"{line},\n")
    site.inside.follow("air-gap/1-serve.sh")
    site.inside.follow("air-gap/1-collect.sh")
    site.inside.carry("platform_list.json", site.outside)
    site.outside.follow("air-gap/3-fetch.sh")
    site.outside.carry(NAME, site.inside)
    site.inside.follow("air-gap/4-put.sh")
    site.quote(machine)
    assert "ACCEPTED" in site.inside.follow("air-gap/4-verify.sh")


@NEED_CURL
def test_what_is_altered_on_the_way_is_refused(site: Wall) -> None:
    """A carrier who raises a level gets nothing in: exit status 3, and the cache stays empty."""
    site.inside.follow("air-gap/1-serve.sh")
    site.register(record_of(site.world.platform("small", ca="processor")))
    site.inside.follow("air-gap/2-get.sh")
    site.inside.carry("platform_list.json", site.outside)
    site.outside.follow("air-gap/3-fetch.sh")
    text = (site.outside.folder / NAME).read_text()
    assert '"tcbStatus":"OutOfDate"' in text
    (site.inside.folder / NAME).write_text(text.replace('"OutOfDate"', '"UpToDate"'))
    site.inside.run(named("air-gap/4-put.sh").text, status=3)
    with Store.open(f"sqlite:///{site.inside.folder}/pccs/pccs.db") as store:
        assert store.statistics().items == 0


@NEED_CURL
def test_a_service_from_nothing_and_what_keeps_it(site: Wall) -> None:
    """First start, tokens, registration, clients, monitoring, backup: each works as it stands."""
    side, machine = site.outside, site.world.platform("small", ca="processor")
    crl = side.follow("first-start.sh")
    assert bytes.fromhex(crl) == site.world.intel.root_ca_crl(site.world.at)
    assert (side.folder / "admin.token").stat().st_mode & 0o777 == 0o600
    assert "user token" in (side.folder / "pccs.log").read_text()
    assert "shown this once" not in (side.folder / "pccs.log").read_text()
    listed = side.follow("token-for-a-rack.sh")
    assert "rack-7" in listed
    (side.folder / "machine.json").write_text(json.dumps(record_of(machine)))
    assert side.follow("register.sh") == "Operation successful."
    side.follow("client.sh")
    shown = side.run("dcap qcnl show sgx_default_qcnl.conf")
    assert f"https://localhost:{side.port}/sgx/certification/v4/" in shown
    shown = side.follow("monitoring.sh")
    assert "1 platform" in shown
    assert "dcap_pccs" in shown
    side.follow("backup.sh")
    with Store.open(f"sqlite:///{side.folder}/restored/pccs.db") as store:
        assert store.statistics().platforms == 1


@NEED_CURL
def test_a_service_can_be_tried_against_a_simulated_intel(tmp_path: Path) -> None:
    """As an operator does who has nothing: world, service, machine and verdict, all by the page."""
    side = Side(tmp_path / "side", free_port(), {})
    try:
        side.follow("simulated.sh")
        told = side.follow("simulated-machine.sh")
        fetched = side.run(FETCH_LISTS)
    finally:
        side.stop()
    assert told.startswith("Operation successful.")
    assert "ACCEPTED" in told
    assert "lists.json" in fetched


@NEED_CURL
def test_moving_from_intels_pccs_loses_nothing(site: Wall) -> None:
    """Settings, tokens, machines: the old token registers, the old machine has its certificate."""
    side, world = site.outside, site.world
    machine = world.platform("small", ca="processor")
    sqlite_database(side.folder / "pckcache.db", world, [machine])
    token = "an old token of Intel's installer"
    settings = {
        "HTTPS_PORT": side.port,
        "CachingFillMode": "OFFLINE",
        "UserTokenHash": sha512(token),
    }
    (side.folder / "default.json").write_text(json.dumps(settings))
    side.follow("moving.sh")
    (side.folder / "user.token").write_text(token)
    new = world.platform("new", ca="processor")
    (side.folder / "machine.json").write_text(json.dumps(record_of(new)))
    assert side.follow("register.sh") == "Operation successful."
    site.inside.folder.joinpath("quote.bin").write_bytes(machine.quote())
    site.inside.carry("quote.bin", side)
    assert "ACCEPTED" in side.follow("air-gap/4-verify.sh")


def sha512(text: str) -> str:
    """As Intel's installer has it."""
    return hashlib.sha512(text.encode()).hexdigest()


def test_every_command_of_the_page_is_run_here() -> None:
    """A block that is added to the page without a name, or without a test, is found."""
    text = Path(__file__).read_text(encoding="utf-8")
    shown = [block for block in blocks("sh", "console") if block.page == PAGE]
    assert len(shown) > 15
    for block in shown:
        assert block.file is not None, str(block)
        assert f'"{block.file}"' in text, block.file
