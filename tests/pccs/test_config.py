"""`dcap.pccs.config`, `setting_table`, `config_intel`: settings from four places, and Intel's."""

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dcap.errors import ConfigError
from dcap.pccs.config import (
    default_data,
    read_settings,
    unknown_variables,
    upstream_key,
    write_toml,
)
from dcap.pccs.config_intel import settings_of_intel
from dcap.pccs.setting_table import BY_NAME, SETTINGS, Settings

HASH = "ab" * 64
INTEL = """\
{
    "HTTPS_PORT" : 8091, // the port
    "hosts" : "0.0.0.0",
    "uri": "https://api.trustedservices.intel.com/sgx/certification/v4/",
    "ApiKey" : "secret-key",
    "proxy" : "",
    "RefreshSchedule": "0 0 1 * * *",
    "UserTokenHash" : "@",
    "AdminTokenHash" : "",
    "MaxRequestBodySize": "2MB",
    "CachingFillMode" : "REQ",
    "LogLevel" : "warn",
    "DB_CONFIG" : "sqlite",
    "sqlite" : {"options": {"storage": "pckcache.db"}},
}
""".replace("@", HASH)


def test_the_table_is_all_there_is() -> None:
    """Each setting has a row, each row a setting, and each row says why and what when it is wrong."""
    assert [row.name for row in SETTINGS] == [one.name for one in msgspec.structs.fields(Settings)]
    assert all(row.why and row.wrong and row.form for row in SETTINGS)
    names = [name for row in SETTINGS for name in (row.variable, row.flag, row.intel) if name]
    assert len(names) == len(set(names))


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    """Of four places that say something, the nearest to the person counts."""
    file = tmp_path / "pccs.toml"
    file.write_text('port = 3\nmode = "req"\n')
    flags: dict[str, Any] = {"config": str(file)}
    assert read_settings(flags, {}).port == 3
    environ = {"DCAP_PCCS_PORT": "2"}
    assert read_settings(flags, environ).port == 2
    settings = read_settings({**flags, "port": "1"}, environ)
    assert (settings.port, settings.mode, settings.threads) == (1, "req", 64)
    assert read_settings({}, {"DCAP_PCCS_CONFIG": str(file)}).mode == "req"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "x"),
        ("mode", "eager"),
        ("max_body", "2 parsecs"),
        ("max_body", "1"),
        ("workers", "0"),
        ("header_seconds", "nan"),
        ("keep_alive_seconds", "0"),
        ("user_token_hash", "abcd"),
        ("refresh", "perhaps"),
        ("log_level", "loud"),
        ("data", "a\x00b"),
        ("expired", "maybe"),
    ],
)
def test_a_value_that_is_wrong_is_refused_and_not_shown(name: str, value: str) -> None:
    """The error names the setting and where it came from; the value may be a secret."""
    variable = BY_NAME[name].variable
    with pytest.raises(ConfigError) as caught:
        read_settings({}, {variable: value})
    assert caught.value.code == "pccs-setting"
    assert caught.value.where == variable
    assert name in caught.value.what
    assert value not in caught.value.what


def test_a_key_that_is_unknown_is_refused(tmp_path: Path) -> None:
    """A misspelt key does not pass for a setting; nor does a file that is not TOML."""
    file = tmp_path / "pccs.toml"
    file.write_text("prot = 8082\n")
    with pytest.raises(ConfigError, match="prot") as caught:
        read_settings({"config": str(file)}, {})
    assert caught.value.code == "pccs-setting-unknown"
    file.write_text("port 8082\n")
    with pytest.raises(ConfigError) as caught:
        read_settings({"config": str(file)}, {})
    assert caught.value.code == "pccs-config-file"
    with pytest.raises(ConfigError) as caught:
        read_settings({"config": str(tmp_path / "none")}, {})
    assert caught.value.code == "pccs-config-file"


def test_the_container_is_started_as_intels(tmp_path: Path) -> None:
    """`APIKEY` is the key; an empty one is none, for an empty header is an error at Intel's."""
    assert upstream_key(read_settings({}, {"APIKEY": "k"})) == "k"
    assert upstream_key(read_settings({}, {"APIKEY": ""})) is None
    assert upstream_key(read_settings({}, {"APIKEY": "k", "DCAP_PCCS_API_KEY": "own"})) == "own"
    file = tmp_path / "key"
    file.write_text("of-the-file\n")
    settings = read_settings({"api_key_file": str(file)}, {"APIKEY": "k"})
    assert upstream_key(settings) == "of-the-file"
    assert "of-the-file" not in repr(settings)


def test_kubernetes_own_variable_is_not_a_port() -> None:
    """Beside a Service called dcap-pccs, DCAP_PCCS_PORT is set by Kubernetes."""
    assert read_settings({}, {"DCAP_PCCS_PORT": "tcp://10.0.0.7:8081"}).port == 8081


def test_certificate_and_key_belong_together() -> None:
    """One without the other is refused."""
    with pytest.raises(ConfigError, match="belong together"):
        read_settings({"tls_certificate": "c.pem"}, {})


def test_where_a_service_keeps_its_own() -> None:
    """As root in /var/lib; else in the user's data home, where that is absolute."""
    assert default_data({}, is_root=True) == Path("/var/lib/dcap-pccs")
    assert default_data({"HOME": "/h"}, is_root=False) == Path("/h/.local/share/dcap/pccs")
    named = {"HOME": "/h", "XDG_DATA_HOME": "/d"}
    assert default_data(named, is_root=False) == Path("/d/dcap/pccs")


def test_sizes_and_lists_as_people_write_them(tmp_path: Path) -> None:
    """`2MB` is Intel's way; lists are separated by blanks or commas, or TOML's own."""
    settings = read_settings({}, {"DCAP_PCCS_MAX_BODY": "3 mb", "DCAP_PCCS_UPSTREAM": "a, b"})
    assert settings.max_body == 3 << 20
    assert settings.upstream == ("a", "b")
    file = tmp_path / "pccs.toml"
    file.write_text('upstream = ["x", "y"]\nmax_body = 4096\nrefresh = false\n')
    settings = read_settings({"config": str(file)}, {})
    assert (settings.upstream, settings.max_body, settings.refresh) == (("x", "y"), 4096, False)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Every kind of value survives the file."""
    file = tmp_path / "pccs.toml"
    values = {
        "port": 1,
        "refresh": False,
        "upstream": ["a", 'b"\\'],
        "rate": 2.5,
        "proxy": "http://p",
    }
    file.write_text(write_toml(values, ("a remark",)))
    settings = read_settings({"config": str(file)}, {})
    assert settings.upstream == ("a", 'b"\\')
    assert (settings.port, settings.refresh, settings.rate) == (1, False, 2.5)


# Intel's


def test_intels_file_becomes_ours(tmp_path: Path) -> None:
    """What means the same is taken over; what is not needed is said; the database has a next step."""
    file = tmp_path / "default.json"
    file.write_text(INTEL)
    text, remarks = settings_of_intel(file)
    ours = tmp_path / "pccs.toml"
    ours.write_text(text)
    settings = read_settings({"config": str(ours)}, {})
    assert (settings.port, settings.host, settings.mode) == (8091, "0.0.0.0", "req")
    assert settings.user_token_hash == (HASH,)
    assert settings.admin_token_hash == ()
    assert (settings.api_key, settings.log_level) == ("secret-key", "warning")
    assert settings.max_body == 2 << 20
    assert any("import --intel-db pckcache.db" in one for one in remarks)
    assert any("RefreshSchedule" in one for one in remarks)
    assert "secret-key" not in " ".join(remarks)


def test_version_3_of_the_upstream_is_not_taken_over(tmp_path: Path) -> None:
    """Intel's version 3 has ended: the default stands in its place, and that is said."""
    file = tmp_path / "default.json"
    given = {"uri": "https://api.trustedservices.intel.com/sgx/certification/v3/"}
    file.write_text(json.dumps(given))
    text, remarks = settings_of_intel(file)
    assert "upstream" not in tomllib.loads(text)
    assert any("version 3" in one for one in remarks)


@pytest.mark.parametrize("text", ["", "[1]", '{"HTTPS_PORT": "x"}', '{"LogLevel": 3}', "\x00"])
def test_what_is_not_intels_file_is_refused(tmp_path: Path, text: str) -> None:
    """An error of ours, whatever stands in it."""
    file = tmp_path / "default.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        settings_of_intel(file)
    assert caught.value.code == "pccs-intel-config"


def test_a_wrong_value_is_told_what_is_right() -> None:
    """Bounds, digits or words: what may be written stands in the fix."""
    wrong = {"port": "x", "user_token_hash": "ab", "mode": "eager", "max_body": "1"}
    right = ("from 0 to 65535", "128 hex digits", "lazy, req, offline", "from 1KB to 1GB")
    for (name, value), said in zip(wrong.items(), right, strict=True):
        with pytest.raises(ConfigError) as caught:
            read_settings({}, {BY_NAME[name].variable: value})
        assert said in caught.value.mend


def test_every_setting_says_what_it_takes_and_what_holds_without_it() -> None:
    """Both are made of the table: no reader lacks its sentence, no default its text."""
    assert all(row.read.__doc__ for row in SETTINGS)
    shown = {row.name: row.default for row in SETTINGS}
    assert (shown["port"], shown["max_body"], shown["rate"]) == ("8081", "2MB", "200")
    assert (shown["refresh"], shown["proxy"], shown["data"]) == ("true", "", "")


def test_a_misspelt_variable_is_told() -> None:
    """With the name that was meant; those of the commands and of Kubernetes are none."""
    environ = {
        "DCAP_PCCS_PROT": "5",
        "DCAP_PCCS_TOKEN": "t",
        "DCAP_PCCS_URL": "u",
        "DCAP_PCCS_PORT": "1",
        "DCAP_PCCS_SERVICE_HOST": "10.0.0.1",
        "DCAP_PCCS_PORT_8081_TCP": "tcp://10.0.0.1:8081",
    }
    assert unknown_variables(environ) == ("$DCAP_PCCS_PROT is no setting: $DCAP_PCCS_PORT is",)


@pytest.mark.parametrize("text", ["{", INTEL[:400], INTEL.replace('"proxy" :', '"proxy"')])
def test_a_broken_file_of_intels_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    """What stands behind the fault could be lost: nothing is taken over without a word."""
    file = tmp_path / "default.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"line \d+, column \d+") as caught:
        settings_of_intel(file)
    assert caught.value.code == "pccs-intel-config"


def test_what_intels_file_says_and_ours_cannot_is_remarked(tmp_path: Path) -> None:
    """Several addresses, a hash that is none; a password is for no command line."""
    file = tmp_path / "default.json"
    given = {"hosts": "127.0.0.1,10.0.0.5", "UserTokenHash": "beef", "DB_CONFIG": "mysql"}
    file.write_text(json.dumps(given))
    text, remarks = settings_of_intel(file)
    assert tomllib.loads(text) == {"host": "127.0.0.1"}
    assert any("not 10.0.0.5" in remark for remark in remarks)
    assert any(remark.startswith("UserTokenHash:") for remark in remarks)
    assert not any("--intel-db mysql" in remark for remark in remarks)
