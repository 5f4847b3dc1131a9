"""The doctor on a PCCS of this machine: what is installed, what it answers, what it says of itself."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dcap.api.http import HttpRequest, HttpResponse
from dcap.doctor import pccs_service
from dcap.doctor.pccs_places import INTEL_FOLDER, places
from dcap.serving import serving
from dcap.simulator.tls import tls_files
from dcap.simulator.world import World
from doctor.scratch import Seen, laptop, process, say, scene, unit, write
from pccs.running import intel, serve

DATA = "/var/lib/dcap-pccs"
DEFAULT = f"{INTEL_FOLDER}/config/default.json"
NOW = datetime.now(UTC)


def status(**changed: Any) -> dict[str, Any]:
    """What a service that is well says of itself in /status.json."""
    item = {"key": "root-crl", "days_left": 20.0}
    upstream = {"name": "Intel PCS", "state": "closed", "failing": None}
    return {
        "mode": "LAZY",
        "kept": {"items": 1, "platforms": 1},
        "items": [item],
        "upstream": [upstream],
        "tls": {"expires": (NOW + timedelta(days=300)).isoformat()},
        **changed,
    }


def service(
    said: dict[str, Any] | None = None, *, served: int = 200, ready: int = 200, **headers: str
) -> Callable[[HttpRequest], HttpResponse]:
    """A PCCS that answers so; without `said` it is Intel's, which has no status."""
    checks = {"status": "ok", "checks": {"store": "ok" if ready == 200 else "no answer"}}

    def answer(request: HttpRequest) -> HttpResponse:
        if request.target == pccs_service.ROOT_LIST:
            return HttpResponse(status=served, headers=tuple(headers.items()), body=b"30820100")
        if said is not None and request.target == "/status.json":
            return HttpResponse(status=200, body=json.dumps(said).encode())
        if said is not None and request.target == "/healthz/ready":
            return HttpResponse(status=ready, body=json.dumps(checks).encode())
        return HttpResponse(status=404)

    return answer


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that nobody trusts, as a PCCS makes its own."""
    return tls_files(World(seed="pccs"), tmp_path_factory.mktemp("tls"))[:2]


@contextmanager
def answering(
    root: Path, tls: tuple[Path, Path], by: Callable[[HttpRequest], HttpResponse]
) -> Iterator[int]:
    """Our PCCS on that machine, listening."""
    with serving(by, tls=tls) as server:
        write(root, f"{DATA}/pccs.db")
        port = int(server.url.rpartition(":")[2])
        unit(root, "dcap-pccs", f"[Service]\nEnvironment=DCAP_PCCS_PORT={port}\n")
        process(root, 900, "dcap")
        write(root, "/proc/900/cmdline", "/opt/dcap/bin/dcap\0pccs\0serve\0")
        write(root, "/proc/900/environ", f"DCAP_PCCS_PORT={port}\0")
        yield port


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine that is to be a PCCS, and has none yet."""
    return laptop(tmp_path)


def seen(root: Path, **changes: Any) -> Seen:
    """What the family says."""
    wanted = {"roles": frozenset({"pccs"}), "timeout": 5.0, **changes}
    return say(pccs_service.CHECKS, scene(root, **wanted))


def intels(root: Path, port: int = 8081, **settings: Any) -> None:
    """Intel's PCCS, configured so, with a comment and a last comma as its own file has them."""
    whole = {"HTTPS_PORT": port, "ApiKey": "aa" * 16, "CachingFillMode": "LAZY", **settings}
    members = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in whole.items())
    write(root, DEFAULT, "{ // Intel's\n" + members + "}\n")


@pytest.fixture
def closed() -> Iterator[int]:
    """A port of this machine at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# ── healthy ─────────────────────────────────────────────────────────────────────────────────────


def test_dcaps_service_as_it_really_runs_gives_no_finding(root: Path, tmp_path: Path) -> None:
    """Healthy: `dcap pccs serve` with a simulated Intel, found by its folder and asked at its port."""
    with intel(tmp_path / "intel") as simulated, serve(tmp_path, *simulated.flags) as running:
        assert running.get(pccs_service.ROOT_LIST).status == 200
        port = str(running.said["url"]).rpartition(":")[2]
        write(root, f"{DATA}/pccs.db")
        found = seen(root, environ={"DCAP_PCCS_PORT": port})
    assert found.codes == []
    assert any("answers 200" in each.what for each in found.rights)
    assert any("pieces of collateral are kept" in each.what for each in found.rights)


def test_intels_service_gives_no_finding(root: Path, tls: tuple[Path, Path]) -> None:
    """Healthy: it has a key, asks version 4, and serves the root's list."""
    with serving(service(), tls=tls) as server:
        intels(root, int(server.url.rpartition(":")[2]))
        assert seen(root).codes == []


def test_without_the_role_nothing_is_asked(root: Path) -> None:
    """A machine that is to be no PCCS is not told that it is none."""
    assert say(pccs_service.CHECKS, scene(root)) == Seen([], [], [])


# ── not there, not answering ────────────────────────────────────────────────────────────────────


def test_no_pccs_at_all(root: Path) -> None:
    """A machine that is to be one, and has none: how to get one."""
    found = seen(root)
    assert found.codes == ["pccs-here-none"]
    assert "`dcap pccs serve`" in found.mends("pccs-here-none")


def test_row_2_nothing_listens(root: Path, closed: int) -> None:
    """Row 2: 0xE019 of clients, and nothing in the log: the service is not running."""
    intels(root, closed)
    found = seen(root)
    assert found.codes == ["pccs-here-silent"]
    assert "no process of it is seen" in found.finding("pccs-here-silent").what
    assert "`sudo systemctl start pccs`" in found.mends("pccs-here-silent")


def test_offline_it_is_not_asked(root: Path, closed: int) -> None:
    """With --offline the files are read, and no connection is made."""
    intels(root, closed)
    found = seen(root, offline=True)
    assert found.codes == []
    assert "--offline" in found.skipped[0].why


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("DCAP_PCCS_HOST=127.0.0.2 DCAP_PCCS_PORT=4", "https://127.0.0.2:4/"),
        ("DCAP_PCCS_HOST=0.0.0.0 DCAP_PCCS_PORT=1", "https://localhost:1/"),
        ("DCAP_PCCS_CONFIG=/etc/dcap/pccs.toml", "https://127.0.0.3:2/"),
        ("DCAP_PCCS_CONFIG=/etc/dcap/pccs.toml DCAP_PCCS_PORT=3", "https://127.0.0.3:3/"),
        ("DCAP_PCCS_PORT=99999", "https://localhost:99999/"),
    ],
)
def test_it_is_asked_where_its_settings_say(root: Path, settings: str, place: str) -> None:
    """By its unit's variables, else by its file; localhost where it listens everywhere."""
    write(root, "/etc/dcap/pccs.toml", 'host = "127.0.0.3"\nport = 2\n')
    unit(root, "dcap-pccs", f"[Service]\nEnvironment={settings}\n")
    said = seen(root, timeout=0.2).finding("pccs-here-silent")
    assert said.evidence[0].startswith(place)
    assert "`sudo systemctl start dcap-pccs`" in said.mends[0].text


@pytest.mark.parametrize("port", ["9" * 5000, "-1", "x"])
def test_a_port_that_is_no_number_is_the_usual_one(root: Path, port: str) -> None:
    """Also of more digits than Python reads as a number."""
    intels(root, HTTPS_PORT=port)
    assert places(scene(root, roles=frozenset({"pccs"})))[0].port == 8081


def test_a_service_that_wants_certificates_is_not_asked(root: Path) -> None:
    """With client_ca it answers nobody who has none: that is said, and is no finding."""
    unit(root, "dcap-pccs", "[Service]\nEnvironment=DCAP_PCCS_CLIENT_CA=/etc/ca.pem\n")
    found = seen(root)
    assert found.codes == []
    assert "client certificate" in found.skipped[0].why


def test_a_file_of_settings_that_cannot_be_read(root: Path) -> None:
    """Ours: a TOML that breaks, and the command that says where."""
    write(root, "/etc/dcap/pccs.toml", "port = = 2\n")
    unit(root, "dcap-pccs", "[Service]\nEnvironment=DCAP_PCCS_CONFIG=/etc/dcap/pccs.toml\n")
    found = seen(root, offline=True)
    assert found.codes == ["pccs-here-configuration"]
    assert "`dcap pccs config`" in found.mends("pccs-here-configuration")


def test_rows_1_and_5_the_roots_list_is_refused(root: Path, tls: tuple[Path, Path]) -> None:
    """Row 1, 5: clients see 0xE044: the status, the cause in words and its mend are shown."""
    refusing = service(status(), served=502, **{"Dcap-Cause": "no-upstream"})
    with answering(root, tls, refusing):
        found = seen(root)
    said = found.finding("pccs-here-refuses")
    assert said.what.endswith("HTTP 502: the service has no upstream")
    assert "Dcap-Cause: no-upstream" in said.evidence
    assert "--upstream" in said.mends[0].text


# ── what is configured ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["", None])
def test_row_5_intels_service_without_an_api_key(root: Path, key: str | None) -> None:
    """Row 5: 0xE044, 401 of Intel: the key is empty; in mode OFFLINE none is needed."""
    intels(root, ApiKey=key)
    found = seen(root, offline=True)
    assert found.codes == ["pccs-here-no-key"]
    assert DEFAULT in found.mends("pccs-here-no-key")
    intels(root, ApiKey=key, CachingFillMode="OFFLINE")
    assert seen(root, offline=True).codes == []


def test_a_key_in_the_overriding_file_counts_and_is_not_told(root: Path) -> None:
    """node-config: production.json overrides; the key itself is in nothing that is said."""
    intels(root, ApiKey="")
    secret = "0123456789abcdef" * 2
    write(root, f"{INTEL_FOLDER}/config/production.json", json.dumps({"ApiKey": secret}))
    found = seen(root, offline=True)
    assert found.codes == []
    assert secret not in str(found)


def test_row_17_intels_service_asks_version_3(root: Path) -> None:
    """Row 17: its upstream is the version that has ended: the line to write is given."""
    intels(root, uri="https://api.trustedservices.intel.com/sgx/certification/v3/")
    found = seen(root, offline=True)
    assert found.codes == ["pccs-here-v3"]
    assert "/sgx/certification/v4/" in found.mends("pccs-here-v3")


def test_a_configuration_that_cannot_be_read(root: Path) -> None:
    """Intel's ends with a trace of JavaScript: the command that says where the file breaks."""
    write(root, DEFAULT, "HTTPS_PORT = 8081\n")
    found = seen(root, offline=True)
    assert found.codes == ["pccs-here-configuration"]
    assert f"`dcap pccs config --from-intel {DEFAULT}`" in found.mends("pccs-here-configuration")


# ── what dcap's says of itself ──────────────────────────────────────────────────────────────────


def ended(days: float) -> dict[str, Any]:
    """A status whose only item ends so."""
    return status(items=[{"key": "root-crl", "days_left": days}])


FAILING = [{"name": "Intel PCS", "state": "resting", "failing": "wrong-key"}]
SOON = (NOW + timedelta(days=2)).isoformat()


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (ended(1.5), "pccs-here-expiring", "0 have ended"),
        (ended(-1), "pccs-here-expiring", "1 have ended"),
        (status(upstream=FAILING), "pccs-here-upstream", "its upstream fails"),
        (status(tls={"expires": SOON}), "pccs-here-certificate", SOON),
        (
            status(mode="OFFLINE", kept={"items": 0}, items=[], upstream=FAILING),
            "pccs-here-empty",
            "mode offline fetches nothing",
        ),
    ],
    ids=["ends soon", "has ended", "upstream", "certificate", "empty"],
)
def test_what_a_service_says_of_itself(
    root: Path, tls: tuple[Path, Path], said: dict[str, Any], code: str, words: str
) -> None:
    """Row 12, 18, 5, 3: what has ended or will, what is missing, why its upstream fails."""
    with answering(root, tls, service(said)):
        found = seen(root)
    assert found.codes == [code]
    assert words in found.finding(code).what
    assert found.mends(code)


def test_a_service_that_is_not_ready(root: Path, tls: tuple[Path, Path]) -> None:
    """Its probe says which part is not well."""
    with answering(root, tls, service(status(), ready=503)):
        found = seen(root)
    assert found.codes == ["pccs-here-not-ready"]
    assert "store: no answer" in found.finding("pccs-here-not-ready").what
