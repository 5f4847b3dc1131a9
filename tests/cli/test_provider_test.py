"""`dcap provider test`, as a person runs it, on plugins of the tests' own."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from dcap.qpl import discovery
from dcap.simulator import World
from qpl.calling_plugins import Files, built
from transcripts.desk import NOW, Outcome, run
from worlds import AT

WELL = """\
plugin       PLUGIN
             Intel's, 18 functions
about        FMSPC 90C0A5000000, platform CA, a machine that was named
calls
  ok    loading                          0x0000  TIME
  ok    quote config                     0x0000  TIME     3,747 bytes
          cert_data_chain              3,747  Intel SGX PCK Certificate < Intel SGX PCK Platform CA \
< Intel SGX Root CA
  ok    SGX collateral                   0x0000  TIME    11,674 bytes
          version                          4  3.1, lists in DER
          root_ca_crl                    301  DER, number 1, issued 2026-01-01, next 2027-01-31, \
0 revoked
          pck_crl                        308  DER, number 1, issued 2026-01-01, next 2026-01-31, \
0 revoked
          tcb_info_issuer_chain        1,938  Intel SGX TCB Signing < Intel SGX Root CA
          tcb_info                     4,143  SGX, evaluation data 17, issued 2026-01-01 (0 d old), \
next 2026-01-31
          qe_identity_issuer_chain     1,938  Intel SGX TCB Signing < Intel SGX Root CA
          qe_identity                  1,092  QE, evaluation data 17, issued 2026-01-01 (0 d old), \
next 2026-01-31
          pck_crl_issuer_chain         1,950  Intel SGX PCK Platform CA < Intel SGX Root CA
  ok    SGX collateral, with parameters  0x0000  TIME    11,674 bytes
          the same as above
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What the plugins serve, a quote, and the root."""
    world = World(at=AT)
    found = Files(tmp_path_factory.mktemp("plugin"), world, world.platform())
    (found.folder / "quote").write_bytes(found.machine.quote())
    (found.folder / "root.pem").write_bytes(world.root_pem)
    return found


@pytest.fixture(autouse=True)
def _environment(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.misbehave()
    monkeypatch.setenv("PLUGIN_FILES", str(files.folder))
    for name in ("QCNL_CONF_PATH", "https_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def _run(line: str) -> Outcome:
    return run(Path(), *shlex.split(line)[1:], **os.environ)


def _test(files: Files, *more: str, at: str = NOW, plugin: Path | None = None) -> Outcome:
    root, quote = files.folder / "root.pem", files.folder / "quote"
    named = f"--quote {quote}" if "--fmspc" not in more else ""
    line = f"dcap provider test {plugin or built()} {named} --at {at} --insecure-test-root {root}"
    return _run(f"{line} {' '.join(more)}")


def _calls(outcome: Outcome) -> dict[str, dict[str, object]]:
    return {call["call"]: call for call in json.loads(outcome.out)["calls"]}


def test_all_is_well(files: Files) -> None:
    """Each call with its code, time and size, and each piece with what it says of itself."""
    outcome = _test(files)
    told = re.sub(r" +[\d.]+ ms", "  TIME", outcome.out).replace(str(built()), "PLUGIN")
    assert (outcome.status, told[: len(WELL)]) == (0, WELL)
    rows = re.findall(r"^  (\S+) +(\S.*?) +0x0000", told, re.MULTILINE)
    assert [name for word, name in rows if word == "ok"][4:] == [
        *("TDX collateral", "TDX collateral, with parameters"),
        *("QvE identity", "root CA CRL", "platform policy"),
    ]


def test_something_false(files: Files) -> None:
    """A set that does not prove: exit 3, with the check that failed; the rest is still told."""
    path = files.folder / "SGX" / "tcb_info"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"pceId":"0000"', b'"pceId":"0001"'))
    try:
        outcome = _test(files, "--json")
    finally:
        path.write_bytes(content)
    calls = _calls(outcome)
    assert (outcome.status, calls["SGX collateral"]["status"]) == (3, "false")
    assert "[tcb-info-signature]" in str(calls["SGX collateral"]["why"])
    assert calls["TDX collateral"]["status"] == "ok"


def test_something_expired(files: Files) -> None:
    """What is genuine and too old: exit 4, with its day."""
    outcome = _test(files, "--json", at="2026-03-01T00:00:00Z")
    call = _calls(outcome)["SGX collateral"]
    assert (outcome.status, call["why"]) == (4, "genuine, and expired on 2026-01-31")


def test_something_that_kills(files: Files) -> None:
    """A call that aborts is one row, with the code of a program's view; the next call is well."""
    files.misbehave("sgx_ql_get_quote_verification_collateral", "abort")
    outcome = _test(files)
    assert outcome.status == 6
    assert "  FAIL  SGX collateral                   0xE040" in outcome.out
    assert "died of SIGABRT in sgx_ql_get_quote_verification_collateral" in outcome.out
    assert "  ok    SGX collateral, with parameters" in outcome.out
    assert "\nfix     a program that had loaded it" in outcome.out


def test_a_machine_that_nobody_named(files: Files) -> None:
    """Without a machine, that there is no certificate is expected, and does not count."""
    outcome = _test(files, "--fmspc", files.machine.fmspc.hex(), "--ca", "platform", "--json")
    call = _calls(outcome)["quote config"]
    assert (outcome.status, call["status"], call["code"]) == (0, "none", "0xE011")
    assert "expected: no machine was named" in str(call["why"])


def test_a_version_that_says_otherwise(files: Files) -> None:
    """Lists that are not in the form of the version are named: who heeds the version fails."""
    files.lists_in("hex")
    try:
        outcome = _test(files, "--json")
    finally:
        files.lists_in("der")
    (version, *_) = _calls(outcome)["SGX collateral"]["pieces"]  # type: ignore[misc]
    assert version["what"] == "3.1, lists in DER, which these are not: programs that heed it fail"
    assert outcome.status == 0


def test_a_start_that_fails(files: Files) -> None:
    """A configuration that Intel's library discards shows at once, with the way to mend it."""
    files.misbehave("sgx_qpl_global_init", "0xE067")
    outcome = _test(files, "--json")
    call = _calls(outcome)["loading"]
    assert (outcome.status, call["status"], call["code"]) == (6, "failed", "0xE067")
    assert "SGX_QL_CONFIG_INVALID_JSON" in str(call["why"])


def test_one_like_azures(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only Intel's has is no failure; Azure's variables are told with their effect, no secret."""
    monkeypatch.setenv("AZDCAP_DEBUG_LOG_LEVEL", "FATAL")
    monkeypatch.setenv("https_proxy", "http://user:word@proxy:1")
    files.lists_in("pem")
    try:
        outcome = _test(files, "--environment", plugin=built("-DAZURE"))
    finally:
        files.lists_in("der")
    assert outcome.status == 0
    assert "Azure's, 16 functions" in outcome.out
    assert "1.0, lists in PEM\n" in outcome.out
    assert "  -     platform policy                  0xE00E" in outcome.out
    assert "  AZDCAP_DEBUG_LOG_LEVEL            FATAL\n" in outcome.out
    assert len(re.findall(r"^  AZDCAP_", outcome.out, re.MULTILINE)) == 14
    assert "http://…@proxy:1" in outcome.out
    assert "word" not in outcome.screen


def test_its_log(files: Files) -> None:
    """What the plugin says is shown on stderr where it is asked for, and nowhere else."""
    files.misbehave("sgx_ql_get_root_ca_crl", "log")
    line = "plugin error: [QPL] GET https://h/pckcert?… failed: 500"
    assert line in _test(files, "--log", "--clear-cache").err
    assert line not in _test(files).screen


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ("/nonexistent.so", "file-unreadable"),
        ("--qcnl /nonexistent.conf", "file-unreadable"),
        ("--qe-id 00", "plugin-machine"),
        ("--fmspc 00", "fmspc-hex"),
    ],
)
def test_what_is_mistyped(flags: str, code: str) -> None:
    """A wrong path or number is refused before anything is loaded."""
    outcome = _run(f"dcap provider test {flags}")
    assert (outcome.status, f"[{code}]" in outcome.err) == (1, True)


def test_without_a_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where none is installed, dcap's own client is asked, by the configuration that is given."""
    monkeypatch.setattr(discovery, "conclave_choice", lambda: None)
    configuration = tmp_path / "qcnl.conf"
    configuration.write_text('{"pccs_url": "https://localhost:1/sgx/certification/v4/"}')
    monkeypatch.setenv("DCAP_OFFLINE", "0")
    outcome = _run(f"dcap provider test --qcnl {configuration} --timeout 5")
    assert outcome.status == 6
    assert outcome.out.startswith("plugin       none installed: dcap's own client is asked\n")
    assert "  FAIL  SGX collateral  0xE019" in outcome.out
    assert "[network-refused]" in outcome.out
