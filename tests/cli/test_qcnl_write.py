"""`dcap qcnl write`: every mode over every kind of file, and nothing lost on the way."""

import json
import os
import resource
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dcap.qpl.qcnl_config import read_qcnl
from dcap.qpl.qcnl_profiles import AZURE_AGENT, AZURE_CACHE, INTEL_PCS
from transcripts.desk import Outcome, run

PCCS = "https://pccs.example:8081/sgx/certification/v4/"
OURS = f"""{{
  // our own words
  "pccs_url": "{PCCS}",
  "pccs_api_version": "3.1",
  "tcb_update_type": "early",
  "retry_times": 2,
  "custom_request_options": {{"get_cert": {{"headers": {{"X-Token": "hunter2"}}}}}}
}}
"""
LEGACY = """# ours
PCCS_URL=https://pccs.example:8081/sgx/certification/v3
USE_SECURE_CERT=FALSE
RETRY_TIMES=4
"""
#: Name -> the flags of each way to have collateral.
MODES = {
    "intel": ("--intel-pcs",),
    "azure": ("--azure",),
    "alibaba": ("--alibaba", "cn-hangzhou"),
    "pccs": ("--pccs", PCCS),
    "self-signed": ("--pccs", PCCS, "--self-signed"),
    "both": ("--pccs", PCCS, "--intel-pcs"),
}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The file that QCNL_CONF_PATH names in `dcap` below; not there yet."""
    return tmp_path / "qcnl.conf"


def qcnl(folder: Path, *arguments: str, **environment: str) -> Outcome:
    """`dcap qcnl …` with QCNL_CONF_PATH."""
    environment.setdefault("QCNL_CONF_PATH", str(folder / "qcnl.conf"))
    return run(folder, "qcnl", *arguments, **environment)


def strict_json(text: str) -> Any:
    """A file without its lines of comment, read by a strict parser."""
    lines = [line for line in text.splitlines() if not line.strip().startswith("//")]
    return json.loads("\n".join(lines))


# ── write ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("before", [None, OURS, LEGACY, "", '{"retry_times": "2",}', "<html>"])
@pytest.mark.parametrize("mode", list(MODES))
def test_what_is_written_is_clean_json_that_intels_library_obeys(
    mode: str, before: str | None, conf: Path
) -> None:
    """Every mode, over every file: strict JSON, `{` first, lint clean, 3.1, and each address whole."""
    if before is not None:
        conf.write_text(before)
    outcome = qcnl(conf.parent, "write", *MODES[mode])
    assert outcome.status == 0, outcome.err
    text = conf.read_text()
    settings = strict_json(text)
    assert text.startswith("{")
    assert settings["pccs_api_version"] == "3.1"
    assert all(
        settings[key].endswith("/v4/") for key in settings if key.endswith(("url", "service"))
    )
    lint = qcnl(conf.parent, "lint")
    assert (lint.status, lint.out.splitlines()[-1]) == (
        0, "ok: Intel's library does what the file says")  # fmt: skip
    reading = read_qcnl(text.encode(), where="")
    assert reading.config == reading.intel
    assert ("restart aesmd qgsd" in outcome.out) != outcome.out.startswith("up to date")


@pytest.mark.parametrize("before", [None, OURS, LEGACY])
@pytest.mark.parametrize("mode", list(MODES))
def test_a_second_time_there_is_nothing_to_do(mode: str, before: str | None, conf: Path) -> None:
    """What is up to date is not touched: no new time, no backup."""
    if before is not None:
        conf.write_text(before)
    qcnl(conf.parent, "write", *MODES[mode])
    files = {path: path.stat().st_mtime_ns for path in conf.parent.iterdir()}
    outcome = qcnl(conf.parent, "write", *MODES[mode])
    assert outcome.status == 0
    assert outcome.out.startswith("up to date: ")
    assert {path: path.stat().st_mtime_ns for path in conf.parent.iterdir()} == files


def test_a_file_that_says_the_same_in_its_own_words_is_left_alone(conf: Path) -> None:
    """Up to date is what the settings are, not how they are written."""
    text = f'{{"pccs_url":"{PCCS}", /* mine */ "pccs_api_version":"3.1"}}'
    conf.write_text(text)
    assert qcnl(conf.parent, "write", "--pccs", PCCS).out.startswith("up to date")
    assert conf.read_text() == text


def test_what_the_user_set_stays_and_what_the_mode_decides_changes(conf: Path) -> None:
    """The update type, retries and headers stay; the old file stands beside, with its comments."""
    conf.write_text(OURS)
    outcome = qcnl(conf.parent, "write", "--alibaba", "ap-southeast-1")
    assert strict_json(conf.read_text()) == {
        "pccs_url": "https://sgx-dcap-server.ap-southeast-1.aliyuncs.com/sgx/certification/v4/",
        "use_secure_cert": True,
        "tcb_update_type": "early",
        "pccs_api_version": "3.1",
        "retry_times": 2,
        "custom_request_options": {"get_cert": {"headers": {"X-Token": "hunter2"}}},
    }
    assert (conf.parent / "qcnl.conf.bak").read_text() == OURS
    assert "tcb_update_type, retry_times, custom_request_options" in outcome.out


def test_the_profile_of_azure_is_intels_sample(conf: Path) -> None:
    """The host's agent first, then acccache; collateral from Intel; both caches two days."""
    qcnl(conf.parent, "write", "--azure")
    assert strict_json(conf.read_text()) == {
        "pccs_url": AZURE_CACHE,
        "use_secure_cert": True,
        "collateral_service": INTEL_PCS,
        "pccs_api_version": "3.1",
        "retry_times": 6,
        "retry_delay": 5,
        "local_pck_url": AZURE_AGENT,
        "pck_cache_expire_hours": 48,
        "verify_collateral_cache_expire_hours": 48,
        "custom_request_options": {
            "get_cert": {
                "headers": {"metadata": "true"},
                "params": {"api-version": "2021-07-22-preview"},
            }
        },
    }


def test_a_machine_that_leaves_azure_does_not_ask_its_agent_any_more(conf: Path) -> None:
    """Another place for PCK certificates takes Azure's address and options out."""
    qcnl(conf.parent, "write", "--azure")
    qcnl(conf.parent, "write", "--pccs", PCCS)
    settings = strict_json(conf.read_text())
    assert settings["pccs_url"] == PCCS
    assert {"local_pck_url", "custom_request_options", "collateral_service"} & set(
        settings
    ) == set()


def test_intels_service_leaves_the_pccs_as_it_was(conf: Path) -> None:
    """To verify, only collateral_service is needed; without a PCCS a note says what is missing."""
    conf.write_text(OURS)
    qcnl(conf.parent, "write", "--intel-pcs")
    settings = strict_json(conf.read_text())
    assert (settings["pccs_url"], settings["collateral_service"]) == (PCCS, INTEL_PCS)
    conf.unlink()
    outcome = qcnl(conf.parent, "write", "--intel-pcs")
    assert "pccs_url" not in strict_json(conf.read_text())
    assert "can verify" in outcome.out


def test_intels_service_as_pccs_url_becomes_the_collateral_service(conf: Path) -> None:
    """A usual mistake: Intel gives no PCK certificates without a key."""
    conf.write_text(f'{{"pccs_url": "{INTEL_PCS}"}}')
    assert qcnl(conf.parent, "write", "--migrate").status == 0
    settings = strict_json(conf.read_text())
    assert settings == {"collateral_service": INTEL_PCS, "pccs_api_version": "3.1"}


def test_an_old_file_becomes_todays(conf: Path) -> None:
    """KEY=value, v3 and a missing slash become JSON, v4 and a slash; the settings stay, loudly."""
    conf.write_text(LEGACY)
    outcome = qcnl(conf.parent, "write", "--migrate")
    assert strict_json(conf.read_text()) == {
        "pccs_url": PCCS,
        "use_secure_cert": False,
        "pccs_api_version": "3.1",
        "retry_times": 4,
    }
    assert outcome.err.startswith("warning: use_secure_cert is false")


def test_a_file_can_be_migrated_from_elsewhere(conf: Path) -> None:
    """--from reads one file and --output writes another, which may be stdout."""
    (conf.parent / "old.conf").write_text(LEGACY)
    outcome = qcnl(conf.parent, "write", "--migrate", "--from", "old.conf", "--output", "-")
    assert strict_json(outcome.out)["pccs_url"] == PCCS
    assert not conf.exists()
    assert (conf.parent / "old.conf").read_text() == LEGACY
    qcnl(conf.parent, "write", "--migrate", "--from", "old.conf")
    assert conf.read_text() == outcome.out


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("https://h:8081", "https://h:8081/sgx/certification/v4/"),
        ("https://h:8081/", "https://h:8081/sgx/certification/v4/"),
        ("https://h/sgx/certification/v4", "https://h/sgx/certification/v4/"),
        ("http://h/a/sgx/certification/v4/", "http://h/a/sgx/certification/v4/"),
    ],
)
def test_the_address_of_a_pccs_is_made_whole(url: str, whole: str, conf: Path) -> None:
    """A host alone gets the path, and every address its last slash."""
    assert qcnl(conf.parent, "write", "--pccs", url).status == 0
    assert strict_json(conf.read_text())["pccs_url"] == whole


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--pccs", "pccs.example"), "qcnl-address"),
        (("--pccs", "ftp://h/sgx/"), "qcnl-address"),
        (("--pccs", "https://user:word@h:8081/sgx/certification/v4/"), "qcnl-address"),
        (("--pccs", "https://h/other/"), "qcnl-unclean"),
        (("--pccs", "https://h/sgx/certification/v3/"), "qcnl-unclean"),
        (("--pccs", "https://h/sgx/\n,x/"), "qcnl-unclean"),
        (("--alibaba", "x.evil.example/"), "qcnl-region"),
        (("--alibaba", ""), "qcnl-region"),
        (("--migrate",), "qcnl-nothing-to-migrate"),
        (("--azure", "--from", "none.conf"), "file-unreadable"),
        (("--pccs", PCCS, "--ca", "none.pem"), "file-unreadable"),
    ],
)
def test_what_would_not_work_is_not_written(
    arguments: tuple[str, ...], code: str, conf: Path
) -> None:
    """Each refusal has its code and exit status 1, and leaves no file behind."""
    outcome = qcnl(conf.parent, "write", *arguments)
    assert outcome.status == 1
    assert f"[{code}]" in outcome.err
    assert list(conf.parent.iterdir()) == []


def test_a_setting_that_nobody_can_mend_is_refused_and_the_file_stays(conf: Path) -> None:
    """A kept address without a host: the message names the key and what to give."""
    text = '{"pccs_url": "localhost"}'
    conf.write_text(text)
    outcome = qcnl(conf.parent, "write", "--intel-pcs")
    assert (outcome.status, "[qcnl-unclean]" in outcome.err, "--pccs URL" in outcome.err) == (
        1, True, True)  # fmt: skip
    assert conf.read_text() == text


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--azure", "--intel-pcs"),
        ("--azure", "--migrate"),
        ("--azure", "--self-signed"),
        ("--ca", "x"),
        ("--pccs", PCCS, "--self-signed", "--ca", "x"),
    ],
)
def test_modes_that_exclude_each_other_are_a_usage_error(
    arguments: tuple[str, ...], conf: Path
) -> None:
    """Exit status 1, and nothing is written."""
    assert qcnl(conf.parent, "write", *arguments).status == 1
    assert not conf.exists()


def test_a_dry_run_shows_the_difference_without_secrets_and_writes_nothing(conf: Path) -> None:
    """A unified difference; values of headers are hidden."""
    conf.write_text(OURS)
    outcome = qcnl(conf.parent, "write", "--intel-pcs", "--dry-run")
    assert f'+  "collateral_service": "{INTEL_PCS}",' in outcome.out.splitlines()
    assert "nothing was written" in outcome.out
    assert "hunter2" not in outcome.out
    assert "X-Token" in outcome.out
    assert [path.name for path in conf.parent.iterdir()] == ["qcnl.conf"]
    assert conf.read_text() == OURS


def test_no_backup_is_ever_overwritten(conf: Path) -> None:
    """.bak, .bak.1, .bak.2 …: each old file is still there."""
    texts = [f'{{"pccs_url": "https://h{number}/sgx/"}}' for number in range(3)]
    for text in texts:
        conf.write_text(text)
        qcnl(conf.parent, "write", "--azure")
    names = ("qcnl.conf.bak", "qcnl.conf.bak.1", "qcnl.conf.bak.2")
    assert [(conf.parent / name).read_text() for name in names] == texts


def test_the_mode_of_the_file_stays(conf: Path) -> None:
    """Who could read the file can read the new one and the backup, and nobody else."""
    conf.write_text(OURS)
    conf.chmod(0o640)
    qcnl(conf.parent, "write", "--azure")
    for path in (conf, conf.with_name("qcnl.conf.bak")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    conf.unlink()
    qcnl(conf.parent, "write", "--azure")
    assert stat.S_IMODE(conf.stat().st_mode) == 0o644


def test_the_owner_of_the_file_stays(conf: Path) -> None:
    """A daemon's file stays the daemon's, though root writes it."""
    conf.write_text(OURS)
    if os.geteuid() == 0:
        os.chown(conf, 12345, 54321)
    owner = conf.stat().st_uid, conf.stat().st_gid
    assert qcnl(conf.parent, "write", "--azure").status == 0
    for path in (conf, conf.with_name("qcnl.conf.bak")):
        assert (path.stat().st_uid, path.stat().st_gid) == owner


def test_a_symbolic_link_is_not_written_through(conf: Path) -> None:
    """Intel's library would not read through it; link and file stay."""
    real = conf.with_name("real.conf")
    real.write_text(OURS)
    conf.symlink_to(real)
    outcome = qcnl(conf.parent, "write", "--azure")
    assert (outcome.status, "[qcnl-target]" in outcome.err) == (1, True)
    assert conf.is_symlink()
    assert real.read_text() == OURS


def test_a_folder_that_is_missing_is_named(conf: Path) -> None:
    """Nothing is made around the file."""
    outcome = qcnl(conf.parent, "write", "--azure", "--output", "none/qcnl.conf")
    assert (outcome.status, "[output-unwritable]" in outcome.err) == (1, True)
    outcome = qcnl(conf.parent, "write", "--azure", "--output", ".")
    assert (outcome.status, "[qcnl-target]" in outcome.err) == (1, True)


def test_a_file_that_cannot_be_replaced_stays_as_it_is(conf: Path) -> None:
    """A disk without room: the old file whole, no half one beside it."""
    conf.write_text(OURS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        outcome = qcnl(conf.parent, "write", "--azure")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (outcome.status, "[output-unwritable]" in outcome.err) == (1, True)
    assert "nothing was changed" in outcome.err
    assert conf.read_text() == OURS
    assert [path.name for path in conf.parent.iterdir()] == ["qcnl.conf"]


def test_the_systems_file_is_meant_where_no_variable_is_set(tmp_path: Path) -> None:
    """Without QCNL_CONF_PATH and --output, the file is the system's (not written here)."""
    variables = {name: value for name, value in os.environ.items() if name != "QCNL_CONF_PATH"}
    outcome = subprocess.run(
        [sys.executable, "-c", "from dcap.cli.main import main; main()", "qcnl", "write", "--azure",
         "--dry-run"],
        env=variables | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert "/etc/sgx_default_qcnl.conf" in outcome.stdout + outcome.stderr


def test_writing_tells_its_result_as_json(conf: Path) -> None:
    """File, whether it changed, backup, and what stayed."""
    conf.write_text(OURS)
    first = json.loads(qcnl(conf.parent, "write", "--azure", "--json").out)
    second = json.loads(qcnl(conf.parent, "write", "--azure", "--json").out)
    assert (first["changed"], first["up_to_date"], first["kept"]) == (
        True, False, ["tcb_update_type"])  # fmt: skip
    assert first["backup"] == f"{conf}.bak"
    assert (second["changed"], second["up_to_date"], second["backup"]) == (False, True, None)
    assert "hunter2" not in json.dumps((first, second))


# ── a CA ────────────────────────────────────────────────────────────────────────────────────────


def certificate(days: int = 10) -> x509.Certificate:
    """A self-issued CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "our CA")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=20))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_a_ca_is_put_into_the_systems_store_by_the_steps_that_are_printed(
    encoding: serialization.Encoding, conf: Path
) -> None:
    """Intel's library has no key for a CA: certificates stay checked, and the steps are exact."""
    ca = conf.with_name("our ca.pem")
    ca.write_bytes(certificate().public_bytes(encoding))
    outcome = qcnl(conf.parent, "write", "--pccs", PCCS, "--ca", ca.name)
    assert outcome.status == 0
    assert strict_json(conf.read_text())["use_secure_cert"] is True
    lines = [line.strip() for line in outcome.out.splitlines()]
    step = (
        "install -m 644 'our ca.pem' '/usr/local/share/ca-certificates/our ca.crt'"
        if encoding is serialization.Encoding.PEM
        else "openssl x509 -inform der -in 'our ca.pem' -out "
        "'/usr/local/share/ca-certificates/our ca.crt'"
    )
    assert lines[lines.index(step) + 1] == "update-ca-certificates"


@pytest.mark.parametrize("kind", ["garbage", "two", "expired", "empty"])
def test_a_file_that_is_no_ca_is_refused(kind: str, conf: Path) -> None:
    """One certificate, in date, and nothing else."""
    pem = certificate().public_bytes(serialization.Encoding.PEM)
    content = {
        "garbage": b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
        "two": pem + pem,
        "expired": certificate(-1).public_bytes(serialization.Encoding.PEM),
        "empty": b"",
    }[kind]
    conf.with_name("ca.pem").write_bytes(content)
    outcome = qcnl(conf.parent, "write", "--pccs", PCCS, "--ca", "ca.pem")
    assert (outcome.status, "[qcnl-ca]" in outcome.err) == (1, True)
    assert not conf.exists()
