"""What a new operator of `dcap pccs` meets: a wrong folder, a wrong flag, a service that is not well.

No service runs here: each test needs a folder, a plain value or one answer.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dcap.api.http import HttpRequest, HttpResponse
from dcap.cli.pccs_status import check, failures, status
from dcap.pccs.auth import Tokens
from dcap.serving import serving
from dcap.simulator.tls import tls_files
from dcap.simulator.world import World
from transcripts.desk import Outcome, run
from worlds import ROOT


def pccs(folder: Path, *given: str, **environment: str) -> Outcome:
    """`dcap pccs …` in a folder."""
    return run(folder, "pccs", *given, **environment)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a service that has run, with one token of each role."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    Tokens(folder / "tokens.json").make_missing(at=datetime.now(UTC), show=lambda *_: None)
    return folder


# A folder in which no service has run


@pytest.mark.parametrize(
    "given",
    [("token", "list"), ("token", "new", "x"), ("token", "revoke", "x"), ("export", "out")],
)
def test_no_store_is_made_where_one_is_looked_for(tmp_path: Path, given: tuple[str, ...]) -> None:
    """A misspelt --data is told, and nothing stands there afterwards."""
    outcome = pccs(tmp_path, *given, "--data", "typo")
    assert (outcome.status, "[store-missing]" in outcome.err) == (1, True), outcome.screen
    assert "--data" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [("nope.json",), ("--intel-db", "nope.db")])
def test_no_store_is_made_for_what_is_not_there(tmp_path: Path, given: tuple[str, ...]) -> None:
    """An import of nothing fails before it makes anything."""
    assert pccs(tmp_path, "import", *given, "--data", "data").status == 1
    assert list(tmp_path.iterdir()) == []


def test_a_new_token_says_which_service_it_is_for(data: Path) -> None:
    """On stderr, so that stdout is the token alone."""
    outcome = pccs(data.parent, "token", "new", "rack-7", "--data", "data")
    assert str(data) in outcome.err
    assert len(outcome.out.split()) == 1


def test_the_last_admin_token_is_not_revoked_without_a_word(data: Path) -> None:
    """It is done, and told what to do; a user token may go."""
    assert "warning" not in pccs(data.parent, "token", "revoke", "user", "--data", "data").err
    outcome = pccs(data.parent, "token", "revoke", "admin", "--data", "data")
    assert (outcome.status, "no admin token is left" in outcome.err) == (0, True)


# Flags and variables


@pytest.mark.parametrize(
    "given",
    [
        ("--proxy", "http://user:hidden-pw@proxy:3128"),
        ("--database", "postgresql://dcap:hidden-pw@db/pccs"),
        ("--database", "postgresql://db/pccs?password=hidden-pw"),
    ],
)
def test_a_password_on_the_command_line_is_refused(tmp_path: Path, given: tuple[str, ...]) -> None:
    """`ps` has shown it to everybody: it is not repeated, and the way that is private is named."""
    outcome = pccs(tmp_path, "config", *given)
    assert (outcome.status, "[pccs-setting-secret]" in outcome.err) == (1, True)
    assert "hidden-pw" not in outcome.screen
    variable = "DCAP_PCCS_" + given[0][2:].upper()
    assert variable in outcome.err
    assert pccs(tmp_path, "config", **{variable: given[1]}).status == 0


def test_a_misspelt_variable_is_warned_of(tmp_path: Path) -> None:
    """The command goes on: the variable may be another program's."""
    outcome = pccs(tmp_path, "config", DCAP_PCCS_PROT="5")
    assert (outcome.status, "$DCAP_PCCS_PORT is" in outcome.err) == (0, True)


@pytest.mark.parametrize("given", [("--upstream", "foo"), ("--database", "sqlite:///tokens.json")])
def test_a_start_that_fails_makes_no_tokens(data: Path, given: tuple[str, ...]) -> None:
    """The setting is named; tokens come last, for they are shown once."""
    (data / "tokens.json").write_bytes(b'{"schema":1,"tokens":[]}')
    (data / "tls_key.pem").unlink(missing_ok=True)
    done = pccs(data, "serve", "--data", ".", "--port", "0", *given)
    assert done.status != 0
    assert "shown this once" not in done.screen
    assert Tokens(data / "tokens.json").all() == ()
    if given[0] == "--upstream":
        assert "(upstream" in done.err


def test_a_key_without_its_certificate_says_what_to_remove(data: Path) -> None:
    """A key that is of no use alone: a pair is made once it is gone."""
    (data / "tls_key.pem").write_text("no key")
    done = pccs(data, "serve", "--data", ".", "--port", "0")
    assert (done.status, "[pccs-tls]" in done.err) == (1, True)
    assert "remove tls_key.pem" in done.err


def test_a_terminal_of_eight_bits_is_written_to(tmp_path: Path) -> None:
    """Letters that it lacks are ? there; it is no bug of ours."""
    done = subprocess.run(
        [sys.executable, "-c", "from dcap.cli.main import main; main()", "pccs", "config"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONIOENCODING": "latin-1",
            "DCAP_PCCS_DATA": "/srv/\u20ac",
        },
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"/srv/?" in done.stdout


# Status and check


def now(**changed: Any) -> dict[str, Any]:
    """What a service that is well says of itself."""
    upstream = {"name": "Intel PCS", "state": "closed", "fetched": 3, "causes": {}, "failing": None}
    return {
        "version": "0",
        "mode": "LAZY",
        "store": "sqlite",
        "trust_root": "intel",
        "kept": {"items": 1, "platforms": 1},
        "queue": {"NEW": 0, "NOT_AVAILABLE": 0},
        "answers": {"ready": 0, "computed": 10, "hit_ratio": 0.0},
        "upstream": [upstream],
        "items": [],
        "incidents": [],
        "tls": {"expires": "2100-01-01T00:00:00Z", "sha256": "ab"},
        **changed,
    }


def upstream(**changed: Any) -> dict[str, Any]:
    """A status whose only upstream is not as it should be."""
    return now(upstream=[{**now()["upstream"][0], **changed}])


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (now(), None),
        (upstream(state="throttled"), None),
        (upstream(state="resting"), "rests after failures"),
        (upstream(failing="wrong-key"), "subscription key [wrong-key]"),
        (upstream(failing="upstream-unreachable"), "cannot be reached"),
        ({**upstream(state="resting"), "mode": "OFFLINE"}, None),
        (now(mode="OFFLINE", kept={"items": 0, "platforms": 0}), "dcap pccs put"),
        (now(mode="REQ", kept={"items": 0, "platforms": 0}), "register a machine"),
        (now(kept={"items": 0, "platforms": 0}), None),
    ],
)
def test_what_cannot_serve_is_not_well(said: Mapping[str, Any], problem: str | None) -> None:
    """An upstream at fault, or a store that is empty where nothing is fetched on demand."""
    found = list(failures(said))
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def test_who_only_looks_does_not_wait_for_minutes() -> None:
    """A service that hangs after its handshake is told within seconds."""
    for command in (check, status):
        waits = {option.name: option.default for option in command.params}["timeout"]
        assert 0 < waits <= 10


class Peer:
    """Who answers for a service. `ready` is its word; `said` its status."""

    def __init__(self) -> None:
        self.said, self.ready = now(), HttpResponse(status=200)
        self.url, self.ca = "", ""

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Its two pages, and 503 for what it is told to do."""
        if request.path == "/status.json":
            return HttpResponse(status=200, body=json.dumps(self.said).encode())
        if request.path == "/healthz/ready":
            return self.ready
        return HttpResponse(status=503, headers=(("Dcap-Cause", "offline"),))

    def asked(self, folder: Path, *given: str, **environment: str) -> Outcome:
        """`dcap pccs …` of it."""
        return pccs(folder, *given, "--url", self.url, "--ca", self.ca, **environment)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """The peer of the module, on HTTPS."""
    made = Peer()
    certificate, key, ca = tls_files(World("peer"), tmp_path_factory.mktemp("tls"))
    with serving(made.answer, tls=(certificate, key)) as server:
        made.url, made.ca = server.url, str(ca)
        yield made


@pytest.fixture
def peer(listening: Peer) -> Peer:
    """The same, well again."""
    listening.said, listening.ready = now(), HttpResponse(status=200)
    return listening


def test_a_service_that_is_not_ready_is_6(peer: Peer, tmp_path: Path) -> None:
    """By its own word, in its own words; beside what expires it is what counts."""
    assert peer.asked(tmp_path, "check").status == 0
    checks = {"store": "ok", "tokens": "there is no admin token"}
    peer.ready = HttpResponse(status=503, body=json.dumps({"checks": checks}).encode())
    outcome = peer.asked(tmp_path, "check", "--tls-days", "99999")
    assert outcome.status == 6
    assert "FAIL not ready: there is no admin token" in outcome.out
    assert "TLS certificate ends" in outcome.out


def test_status_is_in_words(peer: Peer, tmp_path: Path) -> None:
    """Singular where it is one; what an upstream does, and that the root is none of Intel's."""
    peer.said = now(trust_root="simulated")
    shown = peer.asked(tmp_path, "status").out
    assert "1 item, 1 platform\n" in shown
    assert "0 from memory, 10 worked out" in shown
    assert "Intel PCS: in use, 3 fetched" in shown
    assert "TEST ROOT" in shown
    peer.said = now(mode="OFFLINE")
    shown = peer.asked(tmp_path, "status").out
    assert "Intel PCS: not asked" in shown
    assert "TEST ROOT" not in shown


def test_a_refresh_of_what_fetches_nothing_says_so(peer: Peer, tmp_path: Path) -> None:
    """Asking again helps nobody: collateral is carried in."""
    outcome = peer.asked(tmp_path, "refresh", DCAP_PCCS_TOKEN="t" * 30)
    assert outcome.status == 6
    assert "OFFLINE" in outcome.err
    assert "dcap pccs put" in outcome.err
    assert "ask again" not in outcome.err


def test_a_service_that_is_not_trusted_or_asked_in_plain_says_what_helps(
    peer: Peer, tmp_path: Path
) -> None:
    """Its own certificate, which has a name; or the letter that is missing in the URL."""
    untrusted = pccs(tmp_path, "check", "--url", peer.url)
    assert (untrusted.status, "tls_certificate.pem" in untrusted.err) == (6, True)
    plain = pccs(tmp_path, "check", "--url", peer.url.replace("https:", "http:"))
    assert (plain.status, "write https://" in plain.err) == (6, True), plain.screen
