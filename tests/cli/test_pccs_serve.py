"""`dcap pccs serve` and what its operator does beside it: first start, status, tokens, backups."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dcap.api.http import HttpRequest, HttpResponse
from dcap.cli.pccs_status import problems
from dcap.errors import DcapError
from dcap.pccs.assembly import prepare
from dcap.pccs.auth import Tokens
from dcap.pccs.setting_table import Settings
from pccs.running import START, V4, Intel, Service, intel, serve
from pccs.test_deploy import health_check
from transcripts.desk import Outcome, run
from worlds import ROOT

ROOT_CRL = f"{V4}rootcacrl"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's service and its Intel keep their files."""
    return tmp_path_factory.mktemp("pccs")


@pytest.fixture(scope="module")
def simulated(folder: Path) -> Iterator[Intel]:
    """The simulated Intel of the module."""
    with intel(folder / "intel") as running:
        yield running


@pytest.fixture(scope="module")
def service(folder: Path, simulated: Intel) -> Iterator[Service]:
    """A service that no test stops or changes."""
    with serve(folder, *simulated.flags) as running:
        assert running.get(ROOT_CRL).status == 200
        assert running.get(f"{V4}qe/identity").status == 200
        yield running


def pccs(service: Service, *given: str, **more: Any) -> Outcome:
    """`dcap pccs …`, in the folder of the service."""
    data = service.certificate.parent
    return run(data.parent, "pccs", *given, **more)


def at(service: Service) -> tuple[str, ...]:
    """Where the service is."""
    return "--url", str(service.said["url"]), "--data", str(service.certificate.parent)


def refused(*given: str, **environ: str) -> str:
    """What `dcap pccs serve` says that must not start: exit status 1."""
    done = subprocess.run(
        [sys.executable, "-c", START, "pccs", "serve", "--port", "0", *given],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    return done.stderr


# The first start


def test_the_first_start_makes_everything(service: Service) -> None:
    """One line says where it is; certificate, key, tokens and database are there, for their owner."""
    assert service.said.keys() == {
        *("schema", "url", "pccs_url", "certificate", "data", "mode", "upstream", "pid")
    }
    data = service.certificate.parent
    for name in ("tls_key.pem", "tokens.json", "pccs.db"):
        assert (data / name).stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700
    assert service.log.count("shown this once") == 2
    for role in ("user", "admin"):
        assert service.token(role).encode() not in (data / "tokens.json").read_bytes()
    assert "whoever holds its key" in service.log


def test_the_second_start_shows_no_token(tmp_path: Path, simulated: Intel) -> None:
    """Nor does it make another certificate; what was cached is served though upstream is gone."""
    with serve(tmp_path, *simulated.flags) as first:
        token = first.token("admin")
        before = first.certificate.read_bytes()
        body = first.get(ROOT_CRL).body
    flags = ("--insecure-test-root", str(simulated.root), "--upstream", f"https://127.0.0.1:9{V4}")
    with serve(tmp_path, *flags) as second:
        assert "shown this once" not in second.log
        assert second.certificate.read_bytes() == before
        assert second.get(ROOT_CRL).body == body
        answer = second.get(f"{V4}platforms?keep=1", f"admin-token: {token}")
        assert answer.status == 200


def test_a_port_that_is_taken_is_refused(service: Service, tmp_path: Path) -> None:
    """Exit status 1 with the port; nothing is made."""
    said = refused("--data", str(tmp_path / "data"), "--port", str(service.port))
    assert "[pccs-listen]" in said
    assert str(service.port) in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (("--mode", "eager"), "pccs-setting"),
        (("--config", "none.toml"), "pccs-config-file"),
        (("--database", "oracle://x"), "store-url"),
        (("--api-key-file", "none"), "pccs-config-file"),
        (("--upstream", "ftp://x"), "source-url"),
        (("--upstream-ca", "none.pem"), "network-ca"),
        (("--insecure-test-root", "none.pem"), "test-root"),
        (("--tls-certificate", "none.pem", "--tls-key", "none.pem"), "pccs-tls"),
        (("--host", "192.0.2.1"), "pccs-listen"),
    ],
)
def test_what_cannot_be_obeyed_does_not_start(
    tmp_path: Path, given: tuple[str, ...], code: str
) -> None:
    """One wrong setting, exit status 1, its code."""
    assert f"[{code}]" in refused("--data", str(tmp_path / "data"), *given)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "file").write_text("")
    assert "[pccs-data]" in refused("--data", str(tmp_path / "file" / "data"))


def test_tokens_go_to_files_that_are_not_written_over(tmp_path: Path) -> None:
    """One that is there stays, and the start fails; neither is shown, and what counts is in a file."""
    (tmp_path / "admin.token").write_text("of before")
    data = tmp_path / "data"
    said = refused("--data", str(data), "--tokens-to", str(tmp_path))
    assert "[output-exists]" in said
    assert "shown this once" not in said
    assert (tmp_path / "admin.token").read_text() == "of before"
    written = tmp_path / "user.token"
    assert written.stat().st_mode & 0o777 == 0o600
    kept = Tokens(data / "tokens.json")
    assert kept.check(written.read_text().strip(), "user")
    assert not kept.has("admin")


def test_no_token_is_made_before_the_database_answers(tmp_path: Path) -> None:
    """A first start over a damaged one shows none, and keeps none."""
    shown: list[str] = []
    settings = Settings(data=tmp_path)
    (tmp_path / "pccs.db").write_bytes(b"no database" * 1000)
    with pytest.raises(DcapError, match="database"):
        prepare(settings, at=datetime.now(UTC), show=lambda role, _: shown.append(role))
    assert (shown, settings.tokens_file.exists()) == ([], False)


def test_the_containers_health_check_finds_the_service(service: Service, tmp_path: Path) -> None:
    """On its own port, whatever certificate it shows; where nobody listens it fails."""
    dcap = tmp_path / "dcap"
    dcap.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{START}" "$@"\n')
    dcap.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")}
    for port, status in ((service.port, 0), (1, 6)):
        done = subprocess.run(
            ["sh", "-c", health_check()],
            env={**environ, "DCAP_PCCS_PORT": str(port), "DCAP_PCCS_DATA": str(tmp_path)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr


def test_help_loads_nothing_of_the_server() -> None:
    """`dcap --help` and `dcap pccs --help` import neither SQLAlchemy nor the server."""
    code = (
        "import sys; from dcap.cli.main import cli;\n"
        "for given in (['--help'], ['pccs', '--help']):\n"
        "    cli.main(given, standalone_mode=False)\n"
        "loaded = {'sqlalchemy', 'starlette', 'asyncio'} & sys.modules.keys()\n"
        "sys.exit(repr(loaded) if loaded else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout


# Status and check


def test_status_shows_what_is_kept(service: Service) -> None:
    """Items with the days that are left, upstream, ready answers; as text and as JSON."""
    shown = pccs(service, "status", *at(service))
    assert shown.status == 0, shown.screen
    assert "root-crl" in shown.out
    assert "days" in shown.out
    assert "seen       0 platforms within a day, 0 within 30 days" in shown.out
    found = json.loads(pccs(service, "status", *at(service), "--json").out)
    assert found["items"][-1]["key"] == "root-crl"
    assert found["mode"] == "LAZY"


def test_check_is_content_with_a_service_that_is_well(service: Service) -> None:
    """Exit status 0, one line."""
    outcome = pccs(service, "check", *at(service))
    assert (outcome.status, outcome.out[:2]) == (0, "ok"), outcome.screen


def test_check_says_what_ends_soon(service: Service) -> None:
    """Exit status 4 with the item, where it ends before the days that were asked for."""
    outcome = pccs(service, "check", *at(service), "--days", "40")
    assert outcome.status == 4
    assert "identity/QE/4/STANDARD ends in" in outcome.out
    assert "root-crl" not in outcome.out
    outcome = pccs(service, "check", *at(service), "--tls-days", "4000", "--json")
    assert outcome.status == 4
    assert "TLS certificate" in json.loads(outcome.out)["problems"][0]


def test_what_has_expired_is_a_problem() -> None:
    """An item beyond its end is named with its date."""
    now = {
        "items": [{"key": "root-crl", "days_left": -1.0, "expires": "2026-01-01T00:00:00Z"}],
        "tls": {"expires": "2100-01-01T00:00:00Z"},
    }
    assert list(problems(now, days=0, tls_days=0)) == [
        "root-crl has expired (2026-01-01T00:00:00Z)"
    ]


def test_nobody_there_is_6(service: Service) -> None:
    """Exit status 6 where nothing answers, or something that is not ours."""
    given = ("--url", "https://localhost:9", "--data", str(service.certificate.parent))
    assert pccs(service, "check", *given).status == 6
    assert pccs(service, "status", *given).status == 6


@pytest.mark.parametrize("command", ["status", "check", "refresh"])
def test_what_is_no_url_is_told(service: Service, command: str) -> None:
    """Exit status 1 before anything is asked; it is no bug of ours."""
    outcome = pccs(service, command, "--url", "https://[")
    assert (outcome.status, "source-url" in outcome.screen) == (1, True), outcome.screen


# Tokens


def test_tokens_are_made_listed_and_revoked_while_it_runs(service: Service) -> None:
    """A new admin token works at once, is listed by its name alone, and ends when it is revoked."""
    data = ("--data", str(service.certificate.parent))
    made = pccs(service, "token", "new", "rack-7", "--role", "admin", *data)
    token = made.out.strip()
    target = f"{V4}platforms?keep=1"
    assert service.get(target, f"admin-token: {token}").status == 200
    listed = pccs(service, "token", "list", *data)
    assert "rack-7" in listed.out
    assert token not in listed.out
    assert pccs(service, "token", "revoke", "rack-7", *data).status == 0
    assert service.get(target, f"admin-token: {token}").status == 401
    again = pccs(service, "token", "revoke", "rack-7", *data)
    assert (again.status, "[pccs-token]" in again.err) == (1, True)


def test_a_weak_token_of_ones_own_is_refused(service: Service, tmp_path: Path) -> None:
    """From a file; it is not repeated in what is said."""
    own = tmp_path / "own"
    own.write_text("Winter2026!\n")
    data = ("--data", str(service.certificate.parent))
    outcome = pccs(service, "token", "new", "mine", "--from-file", str(own), *data)
    assert outcome.status == 1
    assert "Winter2026" not in outcome.screen


# Refresh, backup, restore


def test_refresh_renews_what_is_kept(service: Service, simulated: Intel) -> None:
    """Upstream is asked again; a token that is wrong is exit status 1."""
    before = simulated.calls.count("/IntelSGXRootCA.der")
    token = service.certificate.parent / "admin"
    token.write_text(service.token("admin"))
    outcome = pccs(service, "refresh", *at(service), "--token-file", str(token))
    assert outcome.status == 0, outcome.screen
    assert re.fullmatch(r"renewed: [1-9]\d* items\n", outcome.out)
    assert simulated.calls.count("/IntelSGXRootCA.der") == before + 1
    token.write_text(service.token("user"))
    outcome = pccs(service, "refresh", *at(service), "--token-file", str(token))
    assert (outcome.status, "[pccs-token-refused]" in outcome.err) == (1, True)


def test_forget_takes_a_machine_or_an_item(service: Service, tmp_path: Path) -> None:
    """The machine comes from a file and is not shown; what is not there, or a wrong token, is told."""
    token = tmp_path / "admin"
    token.write_text(service.token("admin"))
    given = *at(service), "--token-file", str(token)
    outcome = pccs(service, "forget", "root-crl", *given)
    assert (outcome.status, outcome.out) == (0, "forgotten: root-crl\n"), outcome.screen
    machine = tmp_path / "machine.json"
    machine.write_text('{"qe_id": "ABCDEF0123456789ABCDEF0123456789", "cpu_svn": "00"}')
    outcome = pccs(service, "forget", "--machine", str(machine), *given)
    assert (outcome.status, "ABCDEF" in outcome.screen) == (6, False), outcome.screen
    machine.write_text("[]")
    outcome = pccs(service, "forget", "--machine", str(machine), *given)
    assert (outcome.status, "[forget-machine]" in outcome.err) == (2, True)
    token.write_text(service.token("user"))
    outcome = pccs(service, "forget", "root-crl", *given)
    assert (outcome.status, "[pccs-token-refused]" in outcome.err) == (1, True)


def test_refresh_tells_what_failed(tmp_path: Path) -> None:
    """Upstream is gone: exit status 6, how many, and the cause."""
    with intel(tmp_path / "intel") as running, serve(tmp_path, *running.flags) as service:
        service.get(ROOT_CRL)
        token = tmp_path / "admin"
        token.write_text(service.token("admin"))
        running.answer = _gone
        outcome = pccs(service, "refresh", *at(service), "--token-file", str(token))
    assert outcome.status == 6, outcome.screen
    assert "1 could not be renewed" in outcome.err


def _gone(request: HttpRequest) -> HttpResponse:
    """A server that fails over whatever is asked."""
    raise ConnectionError(request.path)


def test_a_backup_is_restored_elsewhere(service: Service, simulated: Intel) -> None:
    """While it runs; the new service serves from it alone. A second restore is refused."""
    data = service.certificate.parent
    archive = data.parent / "backup"
    crl = service.get(ROOT_CRL).body
    outcome = pccs(service, "backup", str(archive), "--data", str(data), "--json")
    assert outcome.status == 0, outcome.screen
    assert json.loads(outcome.out)["records"] >= 1
    assert archive.stat().st_mode & 0o777 == 0o600
    root = ("--insecure-test-root", str(simulated.root))
    other = ("--data", str(data.parent / "other"))
    refused = pccs(service, "restore", str(archive), *other)
    assert (refused.status, "[pccs-forged]" in refused.err) == (3, True), refused.screen
    restored = pccs(service, "restore", str(archive), *other, *root)
    assert restored.status == 0, restored.screen
    assert "records restored" in restored.out
    again = pccs(service, "restore", str(archive), *other, *root)
    assert (again.status, "[store-not-empty]" in again.err) == (1, True)
    stranger = pccs(service, "serve", *other, "--port", "0", "--mode", "offline")
    assert (stranger.status, "[store-root]" in stranger.err) == (1, True), stranger.screen
    with serve(data.parent, "--mode", "offline", *root, name="other") as second:
        assert second.get(ROOT_CRL).body == crl
    kept = pccs(service, "backup", str(archive), "--sqlite", "--data", str(data))
    assert (kept.status, "[backup-exists]" in kept.err) == (1, True)
    copied = pccs(service, "backup", str(archive), "--sqlite", "--force", "--data", str(data))
    assert copied.status == 0, copied.screen
    assert archive.read_bytes()[:15] == b"SQLite format 3"


def test_a_backup_of_nothing_is_none(tmp_path: Path) -> None:
    """The folder was misspelt: it is said, and neither folder nor file is made."""
    outcome = run(tmp_path, "pccs", "backup", "x", "--data", "typo")
    assert (outcome.status, "[store-missing]" in outcome.err) == (1, True), outcome.screen
    assert list(tmp_path.iterdir()) == []


# Settings


def test_settings_are_shown_without_their_secrets(tmp_path: Path) -> None:
    """As a service would have them; a key is only said to be given."""
    given = ("--port", "9", "--data", "d")
    outcome = run(tmp_path, "pccs", "config", *given, "--json", APIKEY="secret-key")
    found = json.loads(outcome.out)["settings"]
    assert (found["port"], found["api_key"]) == (9, "(given)")
    assert "secret-key" not in outcome.screen


def test_intels_configuration_becomes_a_file_that_is_read(tmp_path: Path) -> None:
    """TOML on stdout, remarks on stderr; what was written there is what is read."""
    (tmp_path / "default.json").write_text(
        '{"HTTPS_PORT": 8099, /* a port */ "CachingFillMode": "OFFLINE", "init_db": false}'
    )
    outcome = run(tmp_path, "pccs", "config", "--from-intel", "default.json")
    assert outcome.status == 0
    assert tomllib.loads(outcome.out)["mode"] == "offline"
    assert "init_db" in outcome.err
    (tmp_path / "pccs.toml").write_text(outcome.out)
    shown = run(tmp_path, "pccs", "config", "--config", "pccs.toml", "--json")
    assert json.loads(shown.out)["settings"]["port"] == 8099


# An upstream that ages


def test_collateral_that_expires_is_seen_by_check(tmp_path: Path) -> None:
    """Intel's clock is a month behind: what is fetched ends soon, and monitoring says so."""
    with intel(tmp_path / "intel") as running:
        running.world.at -= timedelta(days=28)
        with serve(tmp_path, *running.flags) as service:
            assert service.get(f"{V4}qe/identity").status == 200
            outcome = pccs(service, "check", *at(service))
        assert outcome.status == 4
        assert "identity/QE/4/STANDARD ends in" in outcome.out
