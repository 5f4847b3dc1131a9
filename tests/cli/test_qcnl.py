"""`dcap qcnl show` and `lint`, as a person runs them, on real files."""

import json
from pathlib import Path

import pytest

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


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The file that QCNL_CONF_PATH names in `dcap` below; not there yet."""
    return tmp_path / "qcnl.conf"


def qcnl(folder: Path, *arguments: str, **environment: str) -> Outcome:
    """`dcap qcnl …` with QCNL_CONF_PATH."""
    environment.setdefault("QCNL_CONF_PATH", str(folder / "qcnl.conf"))
    return run(folder, "qcnl", *arguments, **environment)


SESSION = """\
qcnl.conf:2:54: discarded: a comma stands where none belongs: Intel's library discards the whole \
file and asks https://localhost:8081 [qcnl-double-comma]
  fix: leave one comma between two settings
qcnl.conf:3:3: ignored: retry_times: the value is text, and Intel's library takes only a whole \
number without quotes: the default holds [qcnl-type]
  fix: write a whole number without quotes: 6
qcnl.conf: advice: with pccs_api_version "3.0" (the default) CRLs come as hex, which some verifiers \
refuse [qcnl-hex-crl]
  fix: set "pccs_api_version": "3.1", if the PCCS is not older than 2021
sgx_qpl_global_init returns 0xE067: SGX quotes lose their PCK certificates (0xE00E), TDX quotes fail
Intel's library does not do what the file says: 2 to mend
"""
BROKEN = '{\n  "pccs_url": "https://h:8081/sgx/certification/v4/",,\n  "retry_times": "3"\n}\n'


def test_lint_says_where_what_and_how_to_mend_it(conf: Path) -> None:
    """The whole output for one broken file, and exit status 1."""
    conf.write_text(BROKEN)
    outcome = qcnl(conf.parent, "lint", "qcnl.conf")
    assert outcome.out == SESSION
    assert outcome.status == 1


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"pccs_api_version": "3.1"}', 0),
        ('{"use_secure_cert": false}', 0),
        ('{"unknown": 1}', 1),
        ('{"pccs_url": "https://h/sgx"}', 1),
        ('{"retry_times": 1,}', 1),
    ],
)
def test_lint_ends_with_1_where_intels_library_does_not_obey(
    text: str, status: int, conf: Path
) -> None:
    """Advice alone is 0: discarded, ignored and differing are 1; standard input reads the same."""
    conf.write_text(text)
    named = qcnl(conf.parent, "lint")
    piped = run(conf.parent, "qcnl", "lint", "-", stdin=text.encode())
    assert named.status == piped.status == status


def test_lint_as_json_has_every_remark(conf: Path) -> None:
    """Code, severity, place, effect and mend."""
    conf.write_text(BROKEN)
    outcome = qcnl(conf.parent, "lint", "--json")
    document = json.loads(outcome.out)
    assert (outcome.status, document["init"], document["obeyed"]) == (1, "0xE067", False)
    assert set(document["remarks"][0]) == {
        "code", "severity", "what", "mend", "key", "line", "column"}  # fmt: skip


def test_a_named_file_that_is_missing_is_an_error(conf: Path) -> None:
    """Unlike the library's own file, it is not taken for the defaults."""
    for command in ("lint", "show"):
        outcome = qcnl(conf.parent, command, "none.conf")
        assert (outcome.status, "[file-unreadable]" in outcome.err) == (1, True)


def test_the_librarys_own_file_that_is_missing_means_the_defaults(conf: Path) -> None:
    """QCNL_CONF_PATH to nowhere: localhost, and lint says that nobody else does."""
    assert (
        "https://localhost:8081/sgx/certification/v4/  (default)" in qcnl(conf.parent, "show").out
    )
    outcome = qcnl(conf.parent, "lint")
    assert (outcome.status, "[qcnl-file-missing]" in outcome.out) == (1, True)


def test_show_has_every_value_its_origin_and_what_intels_library_uses(conf: Path) -> None:
    """Line of the file or default; where Intel's library differs, its own value below."""
    conf.write_text(BROKEN)
    lines = qcnl(conf.parent, "show").out.splitlines()
    assert lines[0] == f"file   {conf} (by QCNL_CONF_PATH)"
    at = next(number for number, line in enumerate(lines) if line.startswith("pccs_url"))
    assert lines[at].split() == ["pccs_url", "https://h:8081/sgx/certification/v4/", "(line", "2)"]
    assert lines[at + 1].endswith("Intel's library: https://localhost:8081/sgx/certification/v4/")
    assert any(line.split() == ["retry_delay", "0", "(default)"] for line in lines)
    assert any(line.split()[2:] == ["(as", "pccs_url)"] for line in lines if line)


def test_show_tells_proxies_and_the_cache(conf: Path) -> None:
    """The environment's part: proxies without passwords, the cache's folder, variables unread."""
    home = conf.parent / "home"
    (home / ".dcap-qcnl").mkdir(parents=True)
    environ = dict.fromkeys(
        ("AZDCAP_CACHE", "XDG_CACHE_HOME", "SSL_CERT_DIR", "CURL_CA_BUNDLE"), ""
    )
    outcome = qcnl(
        conf.parent,
        "show",
        HOME=str(home),
        https_proxy="http://user:hunter2@proxy:3128",
        SSL_CERT_FILE="/ca.pem",
        **environ,
    )
    assert "proxy  https_proxy=http://…@proxy:3128" in outcome.out.splitlines()
    assert f"cache  {home}/.dcap-qcnl (is there)" in outcome.out.splitlines()
    assert "[qcnl-ca-variable]" in outcome.out
    assert "hunter2" not in outcome.out


def test_show_is_loud_where_no_certificate_is_checked(conf: Path) -> None:
    """A warning on stderr, beside the value."""
    conf.write_text('{"use_secure_cert": false}')
    assert qcnl(conf.parent, "show").err.startswith("warning: use_secure_cert is false")


def test_show_hides_what_may_be_secret(conf: Path) -> None:
    """Values of headers and passwords of addresses, as text and as JSON; harmless ones are shown."""
    conf.write_text(
        OURS.replace("https://", "https://me:hunter2@").replace(
            '"X-Token"', '"metadata": "true", "X-Token"'
        )
    )
    for outcome in (qcnl(conf.parent, "show"), qcnl(conf.parent, "show", "--json")):
        assert "hunter2" not in outcome.out
        assert "(hidden)" in outcome.out
        assert "X-Token" in outcome.out
        assert "true" in outcome.out


def test_show_as_json_names_value_origin_and_intels_value(conf: Path) -> None:
    """One object for each key."""
    conf.write_text(BROKEN)
    document = json.loads(qcnl(conf.parent, "show", "--json").out)
    assert document["settings"]["retry_times"] == {
        "value": 3, "intel": 0, "from": "file", "line": 3}  # fmt: skip
    assert (document["format"], document["init"]) == ("json", "0xE067")


def test_where_nothing_is_set_lint_does_not_call_it_right(tmp_path: Path) -> None:
    """An empty file is no configuration that Intel's library obeys: it has its defaults."""
    (tmp_path / "qcnl.conf").write_text("")
    outcome = run(tmp_path, "qcnl", "lint", "qcnl.conf")
    assert outcome.status == 0
    assert "ok:" not in outcome.out
    assert "defaults" in outcome.out
