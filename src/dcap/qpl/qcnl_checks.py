"""Whether the values of a configuration make sense: what they do that nobody expects, and mended ones.

`checks` remarks on what the file says; `mended` is what dcap uses instead where the meaning is plain.
Not here: syntax and types (`qcnl_json`, `qcnl_members`, `qcnl_legacy`).

Source: `quote-provider.md` §0, §1.3, §2.2, §6.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from dcap.qpl.qcnl_remarks import remark
from dcap.qpl.qcnl_values import MAX_HOURS, QcnlConfig, Remark

PCS_HOST: Final = "trustedservices.intel.com"
VERSIONS: Final = ("3.0", "3.1")
#: More attempts than this many seconds' worth are worth a word.
_PATIENCE: Final = 60
_RETRIES: Final = 6
_MOST_SHOWN: Final = 10**9

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(.*)", re.DOTALL)
OLD_API: Final = re.compile(r"/certification/(v[123])(?=/|$)")
_LOCAL: Final = re.compile(
    r"(localhost|127(\.[0-9]+){3}|\[::1\]|169\.254(\.[0-9]+){2})(:[0-9]*)?\Z", re.IGNORECASE
)
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\"<>\\^`{|}#]|[^\x00-\x7f]")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HEADER_UNSAFE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_KEY_HEADER: Final = "ocp-apim-subscription-key"
#: Headers and parameters whose values may be shown; others may be secrets.
HARMLESS: Final = {"metadata", "api-version"}
HIDDEN: Final = "(hidden)"
_URLS: Final = ("pccs_url", "collateral_service", "local_pck_url")
_HOURS: Final = ("pck_cache_expire_hours", "verify_collateral_cache_expire_hours")


def is_intel_pcs(url: str) -> bool:
    """Whether Intel's library takes the address for Intel's own service."""
    return PCS_HOST in url


def host_of(url: str) -> str:
    """Host and port of an address, without user and password; "" where it has none."""
    match = _URL.match(url)
    return match[2].rpartition("@")[2] if match else ""


def without_credentials(url: str) -> str:
    """An address that may be shown."""
    match = _URL.match(url)
    if match is None or "@" not in match[2]:
        # A proxy needs no scheme, and a password may hold `/`: what stands before the last "@".
        head, sign, rest = url.rpartition("@")
        scheme, mark, _ = head.partition("://")
        return f"{scheme + mark if mark else ''}…@{rest}" if sign else url
    return f"{match[1]}://…@{match[2].rpartition('@')[2]}{match[3]}{match[4]}"


def without_secrets(text: str, config: QcnlConfig) -> str:
    """`text` without what may be secret in a configuration: values that are sent, passwords."""
    secrets = {
        value
        for name, value in (*config.request_headers, *config.request_params)
        if name.lower() not in HARMLESS and value
    }
    for url in (config.pccs_url, config.collateral_url, config.local_pck_url):
        match = _URL.match(url)
        if match is not None and "@" in match[2]:
            secrets.add(match[2].rpartition("@")[0])
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def checks(config: QcnlConfig, places: Mapping[str, tuple[int, int]]) -> Iterator[Remark]:
    """Every remark on the values that a file sets; `places` has its keys."""
    for key in _URLS:
        url = getattr(config, key)
        if key in places and isinstance(url, str):
            for code, detail in _url_faults(key, url):
                yield remark(code, places[key], key=key, detail=detail, version=detail)
    yield from _service_faults(config, places)
    yield from _retry_faults(config, places)
    yield from _cache_faults(config, places)
    if not config.use_secure_cert:
        yield remark("qcnl-tls-off", places.get("use_secure_cert", (0, 0)), key="use_secure_cert")
    yield from _option_faults(config, places.get("custom_request_options", (0, 0)))


def _url_faults(key: str, url: str) -> Iterator[tuple[str, str]]:
    if not url:
        if key != "local_pck_url":
            yield "qcnl-address", "the address is empty"
        return
    if bad := re.search(r"[\x00-\x20\x7f]", url):
        yield "qcnl-address", f"the address holds {bad[0]!r}"
        return
    match = _URL.match(url)
    if match is None:
        yield "qcnl-scheme", ""
    elif match[1].lower() not in {"https", "http"} or not host_of(url):
        yield "qcnl-address", "it is no address of a web server"
    elif match[4]:
        yield "qcnl-address", "no path can follow the ? or # in it"
    else:
        yield from _whole_url_faults(url, match)


def _whole_url_faults(url: str, match: re.Match[str]) -> Iterator[tuple[str, str]]:
    if not url.endswith("/"):
        yield "qcnl-slash", ""
    if "@" in match[2]:
        yield "qcnl-credentials", ""
    if match[1].lower() == "http" and not _LOCAL.match(host_of(url)):
        yield "qcnl-plain-http", ""
    if old := OLD_API.search(url):
        yield "qcnl-old-api", old[1]


def _cache_faults(config: QcnlConfig, places: Mapping[str, tuple[int, int]]) -> Iterator[Remark]:
    for key in _HOURS:
        hours = getattr(config, key)
        place = places.get(key, (0, 0))
        if hours > MAX_HOURS:
            yield remark("qcnl-hours-cap", place, key=key)
        elif hours < 0:
            yield remark("qcnl-hours-negative", place, key=key)
    if config.local_cache_only:
        key = "local_cache_only"
        yield remark("qcnl-cache-only", places.get(key, (0, 0)), key=key)


def _option_faults(config: QcnlConfig, place: tuple[int, int]) -> Iterator[Remark]:
    for name, value in config.request_params:
        if unsafe := _UNSAFE.search(name + value):
            yield remark("qcnl-option-unsafe", place, key=name, name=name, what=repr(unsafe[0]))
    for name, value in config.request_headers:
        if not _HEADER_NAME.match(name) or _HEADER_UNSAFE.search(value):
            yield remark("qcnl-header-unsafe", place, key=name, name=name)


def _service_faults(config: QcnlConfig, places: Mapping[str, tuple[int, int]]) -> Iterator[Remark]:
    collateral, version = config.collateral_url, config.pccs_api_version
    key = "pccs_url" if config.collateral_service is None else "collateral_service"
    place = places.get(key, (0, 0))
    if collateral and "/sgx/" not in collateral and "://" in collateral:
        yield remark("qcnl-tdx-path", place, key=key)
    named = places.get("pccs_api_version", (0, 0))
    if version not in VERSIONS:
        yield remark("qcnl-api-version", named, key="pccs_api_version", value=repr(version))
    elif is_intel_pcs(collateral) and version != "3.1":
        yield remark("qcnl-pcs-stamp", place, key=key)
    elif version != "3.1":
        yield remark("qcnl-hex-crl", named, key="pccs_api_version")
    if is_intel_pcs(collateral) and not is_intels_host(collateral):
        yield remark("qcnl-pcs-mode", place, key=key)
    if is_intels_host(config.pccs_url) and not sends_key(config):
        yield remark("qcnl-pcs-pck", places.get("pccs_url", (0, 0)), key="pccs_url")


def is_intels_host(url: str) -> bool:
    """Whether the address really is one of Intel's."""
    host = host_of(url).lower().partition(":")[0]
    return host == PCS_HOST or host.endswith(f".{PCS_HOST}")


def sends_key(config: QcnlConfig) -> bool:
    """Whether requests for PCK certificates carry a subscription key of Intel's."""
    return any(name.lower() == _KEY_HEADER for name, _ in config.request_headers)


def _retry_faults(config: QcnlConfig, places: Mapping[str, tuple[int, int]]) -> Iterator[Remark]:
    times, delay = config.retry_times, config.retry_delay
    if times < 0:
        yield remark("qcnl-retry-forever", places.get("retry_times", (0, 0)), key="retry_times")
    if delay < 0:
        yield remark("qcnl-delay-forever", places.get("retry_delay", (0, 0)), key="retry_delay")
    if times > 0 and delay >= 0:
        seconds = times * delay if delay else 2 ** min(times, 32) - 1
        if seconds > _PATIENCE:
            place = places.get("retry_times", (0, 0))
            about = min(seconds, _MOST_SHOWN)
            yield remark("qcnl-retry-long", place, key="retry_times", seconds=about)
    if times == 0 and delay > 0:
        yield remark("qcnl-retry-idle", places.get("retry_delay", (0, 0)), key="retry_delay")


# ── mending ─────────────────────────────────────────────────────────────────────────────────────


def capped(config: QcnlConfig) -> QcnlConfig:
    """As Intel's library caps it."""
    return replace(
        config,
        pck_cache_expire_hours=min(config.pck_cache_expire_hours, float(MAX_HOURS)),
        verify_collateral_cache_expire_hours=min(
            config.verify_collateral_cache_expire_hours, float(MAX_HOURS)
        ),
    )


def mended(config: QcnlConfig) -> QcnlConfig:
    """The configuration as it was meant, fit to be used."""
    return replace(
        config,
        pccs_url=_whole(config.pccs_url) or QcnlConfig().pccs_url,
        collateral_service=_whole(config.collateral_service or "") or None,
        local_pck_url=_whole(config.local_pck_url),
        pccs_api_version=config.pccs_api_version if config.pccs_api_version in VERSIONS else "3.1",
        retry_times=config.retry_times if config.retry_times >= 0 else _RETRIES,
        retry_delay=max(config.retry_delay, 0),
        pck_cache_expire_hours=_hours(config.pck_cache_expire_hours),
        verify_collateral_cache_expire_hours=_hours(config.verify_collateral_cache_expire_hours),
        request_headers=tuple(
            (name, value)
            for name, value in config.request_headers
            if _HEADER_NAME.match(name) and not _HEADER_UNSAFE.search(value)
        ),
        request_params=tuple(
            (_escaped(name), _escaped(value)) for name, value in config.request_params if name
        ),
    )


def _whole(url: str) -> str:
    """An address with its last `/`."""
    url = url.strip()
    if not url or url.endswith("/") or "?" in url or "#" in url:
        return url
    return f"{url}/"


def _hours(hours: float) -> float:
    return min(max(hours, 0.0), float(MAX_HOURS))


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)
