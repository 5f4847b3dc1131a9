"""The doctor on `qcnl.conf`: rows 1, 2, 4, 14, 15 and 17 of §6, as shell and daemons really read it.

What is wrong with a file's text is `qpl.qcnl_config`'s, and tested there; here is what the doctor makes
of it.
"""

from pathlib import Path

import pytest
from click.testing import CliRunner

from dcap.cli.qcnl import command as qcnl_command
from dcap.qpl.qcnl_config import read_qcnl
from doctor.configured_host import CONF, GOOD, PCCS, RESTART, configured_host, look, qcnl, with_line
from doctor.scratch import (
    APP,
    add_qgs,
    write,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server with AESM running and a configuration that is older than it."""
    return configured_host(tmp_path)


def test_a_good_configuration_is_no_finding_and_its_addresses_are_told(root: Path) -> None:
    """A file that Intel's library obeys: what it asks, and who reads it."""
    seen = look(root)
    assert seen.codes == []
    (right,) = [each for each in seen.rights if CONF in each.what and "does what" in each.what]
    assert f"it asks {PCCS}" in right.what
    assert "read by this shell and aesmd" in right.evidence


# ── rows 2 and 4: the whole file is thrown away ─────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said", "init"),
    [
        (
            GOOD.replace("10\n", "10,\n"),
            ":7:20: a comma stands before the closing bracket",
            "0xE067",
        ),
        (GOOD.replace("true,", "true,\n  ,"), "a comma stands where none belongs", "0xE067"),
        ("\n" + GOOD.replace("10\n", "10,\n"), "a comma stands before", "reports no error"),
        ("\ufeff" + GOOD, "a byte order mark", "reports no error"),
        (GOOD.replace("  //", "  #"), "a comment begins with #", "0xE067"),
        (
            with_line('"retry_times": 6, "tcb_update_type": "newest"'),
            "neither standard nor",
            "0xE001",
        ),
    ],
    ids=["trailing", "double", "silent", "bom", "hash", "update-type"],
)
def test_row_2_and_4_a_discarded_file_means_localhost(
    root: Path, text: str, said: str, init: str
) -> None:
    """0xE019 with an empty PCCS log, or 0xE067: one error of syntax, and the defaults hold."""
    qcnl(root, text)
    seen = look(root)
    finding = seen.finding("configuration-discarded")
    assert "asks https://localhost:8081/sgx/certification/v4/ instead of " + PCCS in finding.what
    assert init in finding.what
    assert any(said in line and line.startswith(CONF) for line in finding.evidence)
    assert "dcap qcnl write --migrate" in finding.mends[0].text
    assert RESTART in seen.mends("configuration-discarded")
    assert not any("does what" in right.what for right in seen.rights)


def test_the_mend_of_a_discarded_file_makes_it_one_that_is_obeyed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of the mend, run: the file says what it was to say, and the old one is kept."""
    file = qcnl(root, GOOD.replace("10\n", "10,\n"))
    monkeypatch.setenv("QCNL_CONF_PATH", str(file))
    (mend,) = [each for each in look(root).finding("configuration-discarded").mends if each.command]
    words = mend.command[mend.command.index("dcap") + 1 :]
    assert CliRunner().invoke(qcnl_command, words[1:]).exit_code == 0
    assert read_qcnl(file.read_bytes(), where="").intel.pccs_url == PCCS
    assert file.with_name(f"{file.name}.bak").read_text().endswith("10,\n}\n")


def test_a_mend_is_safe_only_where_it_needs_no_other_account_and_weakens_nothing(
    root: Path,
) -> None:
    """An own file is safe to rewrite; root's is not, nor one that would switch a check off."""
    mine = f"{APP.home}/qcnl.conf"
    environ = {"HOME": APP.home, "QCNL_CONF_PATH": mine}
    broken = GOOD.replace("10\n", "10,\n")

    def safe(text: str, path: str) -> bool:
        qcnl(root, text, path=path).chmod(0o664)
        seen = look(root, environ=environ if path == mine else {"HOME": APP.home})
        (found,) = [each for each in seen.findings if each.code == "configuration-discarded"]
        (mend,) = [each for each in found.mends if each.command]
        assert (mend.command[0] == "sudo") is (path == CONF)
        assert mend.command[-1] == (mine if path == mine else "--migrate")
        return mend.safe

    assert not safe(broken, CONF)
    write(root, CONF, GOOD)
    assert safe(broken, mine)
    assert not safe(broken.replace("true", "false"), mine)


def test_row_2_a_file_of_lines_among_json_is_shown_line_by_line(root: Path) -> None:
    """Legacy KEY=value lines in a JSON file are named, and the file is discarded."""
    qcnl(
        root, GOOD.replace('  "retry_delay": 10\n', '  "retry_delay": 10\n  PCCS_URL=https://x/\n')
    )
    evidence = look(root).finding("configuration-discarded").evidence
    assert any(":8:" in line and "KEY=value" in line for line in evidence)


def test_row_2_no_file_at_all_means_localhost_where_intel_s_library_is(root: Path) -> None:
    """0xE019: the library is installed, and nobody has written a configuration."""
    (root / CONF.lstrip("/")).unlink()
    assert look(root).codes == []
    write(root, "/usr/lib/x86_64-linux-gnu/libsgx_default_qcnl_wrapper.so.1")
    seen = look(root)
    assert seen.codes == ["configuration-absent"]
    assert "https://localhost:8081" in seen.findings[0].what
    assert "dcap qcnl write --pccs" in seen.mends("configuration-absent")
    assert "--intel-pcs" in look(root, roles=frozenset({"verifier"})).findings[0].mends[0].text


def test_on_azure_the_mend_names_azure(root: Path) -> None:
    """What to write follows from where the machine is."""
    qcnl(root, "")
    write(root, "/usr/lib/x86_64-linux-gnu/libsgx_default_qcnl_wrapper.so.1")
    write(root, "/sys/class/dmi/id/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n")
    assert "--azure" in look(root).mends("configuration-absent")


# ── row 1, 5, 15, 17 ────────────────────────────────────────────────────────────────────────────


def test_row_1_an_address_without_its_last_slash(root: Path) -> None:
    """0xE011 on a registered machine: …/v4pckcert is asked, and answered 404."""
    qcnl(root, with_line(f'"pccs_url": "{PCCS[:-1]}"'))
    finding = look(root).finding("configuration-slash")
    assert finding.what == f"pccs_url in {CONF} does not end in /"
    assert any("0xE011" in line for line in finding.evidence)
    assert any(mend.command[-3:] == ("qcnl", "write", "--migrate") for mend in finding.mends)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('"retry_times": -1', "configuration-retry-forever"),
        ('"retry_delay": -1', "configuration-retry-forever"),
        ('"retry_delay": 11', "configuration-retry-long"),
        ('"retry_times": 60', "configuration-retry-long"),
        ('"retry_delay": 10', None),
    ],
)
def test_row_15_a_hang_that_is_configured(root: Path, line: str, code: str | None) -> None:
    """A long hang: more than 60 s of attempts, or a negative number, which means for ever."""
    qcnl(root, with_line(line))
    assert look(root).codes == ([] if code is None else [code])


def test_row_15_says_for_how_long(root: Path) -> None:
    """The seconds are attempts times delay."""
    qcnl(root, with_line('"retry_delay": 60'))
    assert "wait 360 s" in look(root).finding("configuration-retry-long").what


def test_row_17_an_address_of_api_3_where_tdx_is(root: Path) -> None:
    """0xE062 and 0xE061 on verification: /v3/ has no TDX. Without TDX it is only a warning."""
    qcnl(root, GOOD.replace("/v4/", "/v3/"))
    assert look(root).codes == ["configuration-api-old"]
    finding = look(add_qgs(root)).finding("configuration-api-retired")
    assert "pccs_url" in finding.what
    assert "API v3, which has no TDX" in finding.what
    assert any("--migrate" in mend.text for mend in finding.mends)


def test_row_17_intel_s_own_api_3_is_gone_for_everybody(root: Path) -> None:
    """Intel's service has ended v3: an error without TDX as well."""
    intels = "https://api.trustedservices.intel.com/sgx/certification/v3/"
    qcnl(root, with_line(f'"pccs_url": "{PCCS}", "collateral_service": "{intels}"'))
    assert "has ended" in look(root).finding("configuration-api-retired").what


def test_row_5_intel_s_own_service_gives_no_certificates(root: Path) -> None:
    """0xE044 while quoting: Intel's PCS as pccs_url. For who only verifies it is well."""
    intels = "https://api.trustedservices.intel.com/sgx/certification/v4/"
    qcnl(root, with_line(f'"pccs_url": "{intels}"'))
    seen = look(root)
    assert seen.codes == ["configuration-intel-pccs-url"]
    assert "--intel-pcs" in seen.mends("configuration-intel-pccs-url")
    assert look(root, roles=frozenset({"verifier"})).codes == []


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ('"use_secure_cert": "false"', "configuration-ignored", "use_secure_cert"),
        ('"PCCS_URL": 1, "retry_times": 6', None, ""),
        ('"use_secure_cert": false', "configuration-tls-off", "use_secure_cert is false"),
        ('"pccs_url": "pccs.example:8081/v4/"', "configuration-address", "pccs_url"),
        ('"pccs_api_version": "4"', "configuration-address", "pccs_api_version"),
    ],
)
def test_settings_without_effect_or_with_another(
    root: Path, line: str, code: str | None, said: str
) -> None:
    """A wrong type, an unchecked server, an address of nothing: each is told by its own code."""
    if code is None:
        qcnl(root, GOOD.replace('"pccs_url"', '"PCCS_URL"'))
        finding = look(root).finding("configuration-ignored")
        assert "and so asks https://localhost:8081" in finding.what
        return
    qcnl(root, with_line(line))
    seen = look(root)
    assert seen.codes == [code]
    assert said in seen.findings[0].what
    assert "asks" not in seen.findings[0].what
    assert any(RESTART in mend.text for mend in seen.findings[0].mends)


def test_row_17_collateral_of_tdx_needs_sgx_in_its_address(root: Path) -> None:
    """0xE001 for TDX: the library makes /tdx/ of /sgx/. Where there is no TDX it is a warning."""
    qcnl(root, with_line(f'"pccs_url": "{PCCS}", "collateral_service": "https://c.example/v4/"'))
    assert look(root).codes == ["configuration-differs"]
    assert "collateral_service" in look(add_qgs(root)).finding("configuration-address").what


def test_a_password_in_an_address_is_never_shown(root: Path) -> None:
    """Addresses appear in findings and rights without user and password."""
    address = PCCS.replace("://", "://me:secret@")
    for text in (with_line(f'"pccs_url": "{address}"'), f'{{"pccs_url": "{address}",}}'):
        qcnl(root, text)
        assert "secret" not in repr(look(root))


def test_a_secret_in_a_broken_file_is_never_shown(root: Path) -> None:
    """A subscription key among the request options stays out of every finding."""
    key = "Ocp-Apim-Subscription-Key"
    options = f'"custom_request_options": {{"get_cert": {{"headers": {{"{key}": "hush"}}}}}}'
    for end in ("}", ",}", "} hush"):
        qcnl(root, GOOD.rstrip("}\n") + f",\n{options}{end}")
        assert "hush" not in repr(look(root))


def test_of_a_file_with_many_faults_the_worst_comes_first(root: Path) -> None:
    """All of it is told, to be mended in one go; that it is thrown away is told first."""
    text = GOOD.replace("v4/", "v3").replace("true", '"true"').replace("10\n", "10,\n")
    qcnl(root, text)
    seen = look(root)
    assert seen.codes == [
        "configuration-discarded",
        "configuration-ignored",
        "configuration-slash",
        "configuration-api-old",
    ]
    assert "localhost" not in seen.finding("configuration-ignored").what
