"""What of a process' environment Intel's library and its libcurl go by: proxies, CAs, the cache's place.

The environment is that of the process that loads the library: a daemon (aesmd, qgsd) has another
one than a shell. Not here: `QCNL_CONF_PATH` (`qcnl_config`), and the cache's files.

Source: `quote-provider.md` §1.5, §2.8.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from dcap.qpl.qcnl_checks import host_of, without_credentials
from dcap.qpl.qcnl_remarks import remark
from dcap.qpl.qcnl_values import QcnlConfig, Remark

#: In libcurl's order; HTTP_PROXY in capitals is left out, as libcurl leaves it out.
PROXIES: Final = (
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
)
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE")
_CACHE_VARIABLES: Final = ("AZDCAP_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR")
CACHE_NAME: Final = ".dcap-qcnl"


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that libcurl reads, without user names and passwords."""
    return {name: without_credentials(environ[name]) for name in PROXIES if environ.get(name)}


def environment_remarks(environ: Mapping[str, str], config: QcnlConfig) -> Iterator[Remark]:
    """What is set and has no effect, or one that is not wanted."""
    if environ.get("HTTP_PROXY") and not environ.get("http_proxy"):
        yield remark("qcnl-proxy-upper", key="HTTP_PROXY")
    unread = [name for name in _CA_VARIABLES if environ.get(name)]
    if unread:
        yield remark("qcnl-ca-variable", key=unread[0], names=", ".join(unread))
    for url in dict.fromkeys((config.pccs_url, config.collateral_url, config.local_pck_url)):
        name, host = _proxy_of(url, environ), _host_name(url)
        if name and _is_near(host) and not _is_exempt(host, environ):
            yield remark("qcnl-proxy-local", key=name, name=name, host=host)


def cache_directory(environ: Mapping[str, str]) -> tuple[Path | None, bool]:
    """Where Intel's library keeps its cache, and whether it is there already.

    The first of the places that has one; else the first where one can be made.
    """
    bases = [Path(environ[name]) for name in _CACHE_VARIABLES if environ.get(name)]
    bases.append(Path("/tmp"))  # noqa: S108 - Intel's own last resort
    for base in bases:
        with suppress(OSError):
            if (base / CACHE_NAME).is_dir():
                return base / CACHE_NAME, True
    for base in bases:
        with suppress(OSError):
            if base.is_dir() and os.access(base, os.W_OK | os.X_OK):
                return base / CACHE_NAME, False
    return None, False


def _proxy_of(url: str, environ: Mapping[str, str]) -> str:
    secure = url.lower().startswith("https:")
    names = ("https_proxy", "HTTPS_PROXY") if secure else ("http_proxy",)
    return next((name for name in (*names, "all_proxy", "ALL_PROXY") if environ.get(name)), "")


def _host_name(url: str) -> str:
    host = host_of(url).lower()
    return host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]


def _is_near(host: str) -> bool:
    """A host that no proxy outside can reach: this machine, its agent, a bare name of the intranet."""
    local = host in {"localhost", "::1"} or host.startswith(("127.", "169.254.", "10.", "192.168."))
    return bool(host) and (local or ("." not in host and ":" not in host))


def _is_exempt(host: str, environ: Mapping[str, str]) -> bool:
    listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [name.strip().lower().lstrip(".") for name in listed.replace(" ", ",").split(",")]
    return "*" in names or any(
        name and (host == name or host.endswith(f".{name}")) for name in names
    )
