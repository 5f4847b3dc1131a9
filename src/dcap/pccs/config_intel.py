"""Intel's `config/default.json` read into our settings: for who moves over.

    text, remarks = settings_of_intel(path)     # TOML, and what was left out and why

The file is JSON with comments and, as node-config allows, a comma behind the last member. Of whatever is
worse it is said where it stands, for a setting behind it might be lost. The hashes of tokens stay valid:
clients keep their tokens. Not here: Intel's database (`transfer`).

Source: `pccs-and-pcs-api.md` §3.1.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from dcap.errors import ConfigError
from dcap.pccs.config import read_text, write_toml
from dcap.pccs.setting_table import BY_NAME, SETTINGS
from dcap.qpl.qcnl_json import parse
from dcap.qpl.qcnl_tree import Places, Value

_NAMES: Final = {setting.intel: setting.name for setting in SETTINGS if setting.intel}
#: Keys that need no setting here, and why.
_LEFT_OUT: Final = {
    "RefreshSchedule": "what expires is renewed ahead of its end, item by item; there is no schedule",
    "OPENSSL_FIPS_MODE": "run an OpenSSL in FIPS mode instead",
    "init_db": "the database is made, and upgraded, by itself",
}
#: What JSON5, as node-config reads it, allows beyond JSON. Whatever else is wrong may have cost a key.
_SLIPS: Final = frozenset({"qcnl-trailing-comma", "qcnl-quotes", "qcnl-bom"})
_FAULTS: Final = {
    "qcnl-missing-comma": "a comma is missing",
    "qcnl-double-comma": "there is a comma too many",
    "qcnl-braces": "the braces around all of it are missing",
    "qcnl-after-end": "something follows the end",
    "qcnl-hash-comment": "a comment begins with //, not with #",
}
_HASHES: Final = ("user_token_hash", "admin_token_hash")
_DATABASES: Final = ("DB_CONFIG", "sqlite", "mysql")
#: npm's levels.
_LEVELS: Final = {
    "error": "error",
    "warn": "warning",
    "info": "info",
    "http": "info",
    "verbose": "debug",
    "debug": "debug",
    "silly": "debug",
}


def settings_of_intel(file: Path) -> tuple[str, tuple[str, ...]]:
    """The settings as TOML, and remarks. Raises `ConfigError` (`pccs-intel-config`)."""
    given = _read(file)
    values: dict[str, object] = {}
    remarks: list[str] = []
    for key, value in given.items():
        name = _NAMES.get(key)
        if name is None:
            if key not in _DATABASES:
                remarks.append(f"{key}: {_LEFT_OUT.get(key, 'no such key is known')}")
            continue
        if value in ("", None):
            continue
        try:
            taken = _converted(name, value)
            BY_NAME[name].read(taken)
        except (ValueError, KeyError, TypeError, AttributeError):
            if name not in _HASHES:
                raise _unreadable(file, f"{key} has a value that is not understood") from None
            # Intel's warns, and lets nobody in by it.
            remarks.append(f"{key}: it is not 128 hex digits, and is left out")
            continue
        values[name] = taken
        remarks += _of_hosts(key, value) if name == "host" else ()
    if "/v3/" in str(values.get("upstream", "")):
        del values["upstream"]
        remarks.append("uri: version 3 of Intel's service has ended; version 4 is the default")
    remarks.append(_database(given))
    return write_toml(values, tuple(remarks)), tuple(remarks)


def _read(file: Path) -> Mapping[str, Any]:
    """The members of the file. Raises `ConfigError` (`pccs-intel-config`)."""
    text = read_text(file, "Intel's configuration").removeprefix("\ufeff")
    document = parse(text)
    for fault in document.faults:
        if fault.code not in _SLIPS:
            line, column = Places(text)(fault.at)
            what = fault.detail or _FAULTS.get(fault.code, "it is not JSON")
            raise _unreadable(
                file, f"line {line}, column {column}: {what}", "give the whole file, unchanged"
            )
    if document.root is None or document.root.kind != "object":
        raise _unreadable(file, "it holds no JSON object")
    given: Mapping[str, Any] = _plain(document.root)
    return given


def _of_hosts(key: str, value: str) -> list[str]:
    """A remark where there are several addresses."""
    first, *others = (one.strip() for one in value.split(","))
    if not others:
        return []
    return [f"{key}: {first} alone is listened on, not {', '.join(others)}; :: is every address"]


def _database(given: Mapping[str, Any]) -> str:
    """What to do about the cache that is there."""
    if given.get("DB_CONFIG", "sqlite") == "sqlite":
        options = given.get("sqlite", {}).get("options", {})
        place = options.get("storage", "pckcache.db")
        return f"DB_CONFIG: take the cache over with: dcap pccs import --intel-db {place}"
    return (
        "DB_CONFIG: take the cache over with: DCAP_PCCS_INTEL_DB=mysql://USER:PASSWORD@HOST/DATABASE "
        "dcap pccs import (in a script or file of its own: a password has no place in a shell's history)"
    )


def _upstream(uri: str) -> list[str]:
    """Another PCCS can stand there too, and cannot be told apart by its address."""
    return [uri if uri.endswith("/") else uri + "/"]


def _converted(name: str, value: Any) -> object:  # noqa: ANN401 - JSON
    convert = _CONVERT.get(name)
    return value if convert is None else convert(value)


_CONVERT: Final[Mapping[str, Callable[[Any], object]]] = {
    "mode": lambda given: given.lower(),
    "upstream": _upstream,
    "user_token_hash": lambda given: [given],
    "admin_token_hash": lambda given: [given],
    "log_level": lambda given: _LEVELS[given.lower()],
    "host": lambda given: given.split(",")[0].strip(),
}


def _plain(value: Value) -> Any:  # noqa: ANN401 - JSON
    if value.kind == "object":
        return {member.key: _plain(member.value) for member in value.members()}
    if value.kind == "array":
        return [_plain(one) for one in value.content]
    return value.content


def _unreadable(
    file: Path,
    why: str,
    mend: str = "give config/default.json (or production.json) of Intel's PCCS",
) -> ConfigError:
    return ConfigError(
        "pccs-intel-config",
        f"Intel's configuration cannot be taken over: {why}",
        where=str(file),
        mend=mend,
    )
