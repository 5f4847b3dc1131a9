"""What of the environment Intel's library goes by: proxies, CAs, the cache's folder."""

from pathlib import Path

import pytest

from dcap.qpl.qcnl_environment import cache_directory, environment_remarks, proxies
from qpl.qcnl_readings import (
    DEFAULTS,
)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, []),
        ({"HTTP_PROXY": "http://p:1"}, ["qcnl-proxy-upper"]),
        ({"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1"}, []),
        ({"HTTPS_PROXY": "http://p:1"}, ["qcnl-proxy-local"]),
        ({"https_proxy": "http://p:1", "no_proxy": "localhost"}, []),
        ({"all_proxy": "http://p:1", "NO_PROXY": "*"}, []),
        ({"SSL_CERT_FILE": "/ca.pem"}, ["qcnl-ca-variable"]),
        ({"CURL_CA_BUNDLE": "/ca.pem", "SSL_CERT_DIR": "/ca"}, ["qcnl-ca-variable"]),
    ],
)
def test_variables_that_have_no_effect_or_an_unwanted_one(
    environ: dict[str, str], expected: list[str]
) -> None:
    """HTTP_PROXY in capitals, CAs by variable, a proxy for localhost."""
    found = [remark.code for remark in environment_remarks(environ, DEFAULTS)]
    assert found == expected


def test_proxies_are_shown_without_their_passwords() -> None:
    """User and password of a proxy stay out of what is printed."""
    assert proxies({"https_proxy": "http://u:pw@p:1/", "HTTP_PROXY": "x"}) == {
        "https_proxy": "http://…@p:1/"
    }


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("u:pw@p:1", "…@p:1"),
        ("http://u:p/w@p:1", "http://…@p:1"),
        ("http://u:p@w@p:1", "http://…@p:1"),
        ("p:1", "p:1"),
    ],
)
def test_a_password_that_no_url_should_hold_is_hidden_too(proxy: str, shown: str) -> None:
    """A proxy needs no scheme, and people put anything into a password."""
    assert proxies({"https_proxy": proxy}) == {"https_proxy": shown}


def test_the_cache_is_the_first_that_exists_else_the_first_that_can_be_made(tmp_path: Path) -> None:
    """$AZDCAP_CACHE, $XDG_CACHE_HOME, $HOME, $TMPDIR: an existing one wins over an earlier base."""
    first, second = tmp_path / "first", tmp_path / "second"
    environ = {"AZDCAP_CACHE": str(tmp_path / "none"), "XDG_CACHE_HOME": str(first),
               "HOME": str(second)}  # fmt: skip
    first.mkdir()
    second.mkdir()
    assert cache_directory(environ) == (first / ".dcap-qcnl", False)
    (second / ".dcap-qcnl").mkdir()
    assert cache_directory(environ) == (second / ".dcap-qcnl", True)
