"""Configurations to write: Intel's service, Azure, Alibaba, an own PCCS, and an old file made new.

    decided = azure()
    settings = settle(reading, decided)          # what the user set, where the profile leaves it open
    text = render(settings, "dcap qcnl write --azure")

What is written begins with `{`, so that Intel's library at least reports it when it is broken by
hand; it has no key that the library does not know. Not here: files (`qcnl_file`).

Source: `quote-provider.md` §1.3, §1.6, §2.2.
"""

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from dcap.errors import ConfigError
from dcap.qpl.qcnl_checks import OLD_API, host_of, is_intels_host, sends_key, without_credentials
from dcap.qpl.qcnl_config import read_qcnl
from dcap.qpl.qcnl_keys import KEYS
from dcap.qpl.qcnl_values import QcnlConfig, Reading

#: Key -> value as JSON holds it; `None`: the key is left out, whatever was there.
Settings: TypeAlias = dict[str, Any]

INTEL_PCS: Final = "https://api.trustedservices.intel.com/sgx/certification/v4/"
AZURE_CACHE: Final = "https://global.acccache.azure.net/sgx/certification/v4/"
AZURE_AGENT: Final = "http://169.254.169.254/metadata/THIM/sgx/certification/v4/"
ALIBABA: Final = "https://sgx-dcap-server.{}.aliyuncs.com/sgx/certification/v4/"
_PATH: Final = "sgx/certification/v4/"
#: A region's id is a name of letters, digits and hyphens: cn-hangzhou, ap-southeast-1.
_REGION: Final = re.compile(r"[a-z]{2,12}(-[a-z0-9]{1,20}){1,3}\Z")
_AZURE_OPTIONS: Final = {
    "get_cert": {
        "headers": {"metadata": "true"},
        "params": {"api-version": "2021-07-22-preview"},
    }
}
#: For a new file, beyond what a profile decides.
_RECOMMENDED: Final[Settings] = {
    "retry_times": 6,
    "retry_delay": 10,
    "pck_cache_expire_hours": 168,
    "verify_collateral_cache_expire_hours": 24,
}
_WIDTH: Final = 96


def intel_pcs() -> Settings:
    """Collateral from Intel itself, for those who verify; PCK certificates as they were."""
    return {"collateral_service": INTEL_PCS, "pccs_api_version": "3.1"}


def azure() -> Settings:
    """As Intel's sample for Azure: the host's agent, then Azure's cache; collateral from Intel."""
    return {
        "pccs_url": AZURE_CACHE,
        "use_secure_cert": True,
        "collateral_service": INTEL_PCS,
        "pccs_api_version": "3.1",
        "retry_times": 6,
        "retry_delay": 5,
        "local_pck_url": AZURE_AGENT,
        "pck_cache_expire_hours": 48,
        "verify_collateral_cache_expire_hours": 48,
        "custom_request_options": _AZURE_OPTIONS,
        "local_cache_only": None,
    }


def alibaba(region: str) -> Settings:
    """Alibaba's PCCS of a region. Raises `ConfigError` (`qcnl-region`)."""
    if not _REGION.match(region):
        raise ConfigError(
            "qcnl-region",
            f"{region[:40]!r} is no id of a region",
            where="--alibaba",
            mend="give it as in the console: cn-hangzhou, cn-beijing, ap-southeast-1 …",
        )
    return _of_pccs(ALIBABA.format(region))


def pccs(url: str, *, self_signed: bool = False) -> Settings:
    """An own PCCS. Raises `ConfigError` (`qcnl-address`)."""
    if not host_of(url) or not url.lower().startswith(("https://", "http://")):
        raise ConfigError(
            "qcnl-address",
            f"{url[:80]!r} is no address",
            where="--pccs",
            mend="give it as https://host:8081/sgx/certification/v4/",
        )
    if without_credentials(url) != url:
        raise ConfigError(
            "qcnl-address",
            "the address holds a user name or a password, which logs would show",
            where="--pccs",
            mend="take them out, with the @ behind them: a PCCS asks for neither",
        )
    path = url.partition("://")[2].partition("/")[2]
    whole = f"{url.rstrip('/')}/"
    return {
        **_of_pccs(whole if path.strip("/") else whole + _PATH),
        "use_secure_cert": not self_signed,
    }


def _of_pccs(url: str) -> Settings:
    return {
        "pccs_url": url,
        "use_secure_cert": True,
        "collateral_service": None,
        "pccs_api_version": "3.1",
        "local_cache_only": None,
    }


def migration() -> Settings:
    """Nothing but today's way of asking: the settings stay as they are."""
    return {"pccs_api_version": "3.1"}


def settle(reading: Reading, decided: Mapping[str, Any]) -> Settings:
    """Every setting to write, in order: what is decided, else what the file sets, made well."""
    kept = _kept(reading)
    if "pccs_url" in decided and kept.get("local_pck_url") == AZURE_AGENT:
        kept = {
            key: value
            for key, value in kept.items()
            if key != "local_pck_url" and (key, value) != ("custom_request_options", _AZURE_OPTIONS)
        }
    if "pccs_url" not in decided and _asks_intel_for_pck(reading.config):
        service = kept.pop("pccs_url", None)
        kept.setdefault("collateral_service", service)
    fresh = reading.format in {"absent", "empty"}
    chosen = {**(_RECOMMENDED if fresh else {}), **kept, **decided}
    return {key: chosen[key] for key in KEYS if chosen.get(key) is not None}


def kept_keys(reading: Reading, decided: Mapping[str, Any], settings: Settings) -> list[str]:
    """The keys that a file had set and that stay."""
    return [key for key in settings if key in _kept(reading) and key not in decided]


def _kept(reading: Reading) -> Settings:
    return {
        key: value
        for key, value in settings_of(reading.config).items()
        if reading.origins[key].kind == "file" and value not in (None, "", {})
    }


def _asks_intel_for_pck(config: QcnlConfig) -> bool:
    return is_intels_host(config.pccs_url) and not sends_key(config)


def settings_of(config: QcnlConfig) -> Settings:
    """A configuration as JSON holds it, its addresses of today's API."""
    get_cert = {
        name: dict(pairs)
        for name, pairs in (("headers", config.request_headers), ("params", config.request_params))
        if pairs
    }
    return {
        "pccs_url": _of_today(config.pccs_url),
        "use_secure_cert": config.use_secure_cert,
        "collateral_service": config.collateral_service and _of_today(config.collateral_service),
        "tcb_update_type": config.tcb_update_type,
        "pccs_api_version": config.pccs_api_version,
        "retry_times": config.retry_times,
        "retry_delay": config.retry_delay,
        "local_pck_url": _of_today(config.local_pck_url),
        "pck_cache_expire_hours": _number(config.pck_cache_expire_hours),
        "verify_collateral_cache_expire_hours": _number(
            config.verify_collateral_cache_expire_hours
        ),
        "custom_request_options": {"get_cert": get_cert} if get_cert else {},
        "local_cache_only": config.local_cache_only,
    }


def _of_today(url: str) -> str:
    return OLD_API.sub("/certification/v4", url)


def _number(hours: float) -> float | int:
    return int(hours) if hours == int(hours) else hours


def render(settings: Settings, command: str) -> str:
    """The file. Raises `ConfigError` (`qcnl-unclean`) where Intel's library would not obey it."""
    lines = [
        "{",
        f"  // For Intel's quote provider library; written by `{command}`.",
        "  // JSON with comments. Keys are case sensitive; one comma too many discards the whole file,",
        "  // without a word. Each process reads it once: restart aesmd and qgsd after a change.",
        "  // `dcap qcnl lint` says what Intel's library would make of it.",
    ]
    for number, (key, value) in enumerate(settings.items(), 1):
        comment = textwrap.wrap(KEYS[key].comment, _WIDTH)
        lines += ["", *(f"  // {line}" for line in comment)]
        text = json.dumps(value, indent=2).replace("\n", "\n  ")
        lines.append(f'  "{key}": {text}{"," if number < len(settings) else ""}')
    text = "\n".join([*lines, "}", ""])
    _check(text)
    return text


def _check(text: str) -> None:
    for found in read_qcnl(text.encode(), where="").remarks:
        if found.severity != "advice":
            raise ConfigError(
                "qcnl-unclean",
                f"nothing is written, for {found.key or 'the file'} would not work: {found.what}",
                where=found.key,
                mend=f"{found.mend}; or say it anew, with --pccs URL",
            )


def is_up_to_date(reading: Reading, settings: Settings) -> bool:
    """Whether the file already says all that, and Intel's library obeys it."""
    wanted = read_qcnl(json.dumps(settings).encode(), where="").intel
    return reading.format == "json" and reading.obeyed and _same(reading.intel, wanted)


def _same(one: QcnlConfig, other: QcnlConfig) -> bool:
    if one.collateral_url != other.collateral_url:
        return False
    first, second = settings_of(one), settings_of(other)
    return all(first[key] == second[key] for key in KEYS if key != "collateral_service")
