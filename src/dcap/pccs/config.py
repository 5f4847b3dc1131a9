"""Reading the settings of a PCCS: flags, environment, a TOML file, defaults; and writing the file.

    settings = read_settings(flags, os.environ)      # flag > environment > TOML > default

A key that the table does not have is refused. Not here: the table (`setting_table`), Intel's own file
(`config_intel`), what is done with them (`assembly`, `server`).
"""

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec

from dcap.errors import ConfigError
from dcap.pccs.setting_table import BY_NAME, PREFIX, SETTINGS, Setting, Settings

#: Flag and variable that name the TOML file itself.
CONFIG_FLAG: Final = "config"
#: Variables of the commands, beside those of the settings.
_NOT_SETTINGS: Final = frozenset(
    PREFIX + name for name in ("CONFIG", "TOKEN", "URL", "CA", "INTEL_DB")
)
#: What Kubernetes sets beside a Service that is called dcap-pccs.
_OF_KUBERNETES: Final = (PREFIX + "PORT_", PREFIX + "SERVICE_")
#: More than any file of settings has.
_MAX_FILE: Final = 1 << 20


def read_settings(flags: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of flags (by name; `None` is not given), environment and TOML file.

    Raises `ConfigError` (`pccs-setting`, `pccs-setting-unknown`, `pccs-config-file`).
    """
    chosen = flags.get(CONFIG_FLAG) or environ.get(PREFIX + "CONFIG")
    file = Path(str(chosen)) if chosen else None
    written = {} if file is None else read_toml(file)
    found: dict[str, Any] = {}
    for setting in SETTINGS:
        for where, value in _given(setting, flags, environ, written, file):
            found[setting.name] = _read(setting, value, where)
            break
    found.setdefault("data", default_data(environ))
    settings = Settings(**found)
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise ConfigError(
            "pccs-setting",
            "tls_certificate and tls_key belong together, and one of them is missing",
            mend="give both, or none",
        )
    return settings


def _given(
    setting: Setting,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    written: Mapping[str, object],
    file: Path | None,
) -> list[tuple[str, object]]:
    """Where a setting is given, the first that counts first. An empty variable gives nothing."""
    found: list[tuple[str, object]] = []
    flag = flags.get(setting.name)
    if flag is not None and flag != ():
        found.append((setting.flag, flag))
    for variable in (setting.variable, *setting.variables):
        value = environ.get(variable, "")
        # Kubernetes sets DCAP_PCCS_PORT=tcp://… beside a Service that is called dcap-pccs.
        if value.strip() and not (setting.name == "port" and value.startswith("tcp://")):
            found.append((variable, value))
    if setting.name in written:
        found.append((f"{file}: {setting.name}", written[setting.name]))
    return found


def unknown_variables(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Remarks on variables that look like settings, and are none: nobody else would notice."""
    known = {*(row.variable for row in SETTINGS), *_NOT_SETTINGS}
    found = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or name.startswith(_OF_KUBERNETES):
            continue
        near = get_close_matches(name, sorted(known), 1, 0.8)
        found.append(f"${name[:64]} is no setting{f': ${near[0]} is' if near else ''}")
    return tuple(found)


def upstream_key(settings: Settings) -> str | None:
    """The subscription key for Intel's service. Raises `ConfigError`."""
    file = settings.api_key_file
    if file is None:
        return settings.api_key or None
    key = read_text(file, "api_key_file").strip()
    if not (key.isascii() and (key.isprintable())):
        raise wrong_value("api_key_file", str(file))
    return key or None


def _read(setting: Setting, value: object, where: str) -> Any:  # noqa: ANN401 - as its row says
    try:
        return setting.read(value)
    except (ValueError, KeyError):
        raise wrong_value(setting.name, where) from None


def wrong_value(name: str, where: str) -> ConfigError:
    """A value that its row does not take. The value itself may be a secret, and is not shown."""
    return ConfigError(
        "pccs-setting",
        f"the value of {name} cannot be used",
        where=where,
        mend=f"write {BY_NAME[name].takes}; `dcap pccs serve --help` says what it is for",
    )


def read_toml(file: Path) -> dict[str, object]:
    """The keys of a file, each one of the table's. Raises `ConfigError`."""
    try:
        written = tomllib.loads(read_text(file, CONFIG_FLAG))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            "pccs-config-file", f"not TOML: {error}", where=str(file), mend="correct that line"
        ) from None
    unknown = sorted(written.keys() - BY_NAME.keys())
    if unknown:
        raise ConfigError(
            "pccs-setting-unknown",
            f"there is no setting {', '.join(unknown)[:200]}",
            where=str(file),
            mend="correct the name: `dcap pccs config` lists all of them",
        )
    return written


def read_text(file: Path, what: str) -> str:
    """A small file's text. Raises `ConfigError` (`pccs-config-file`)."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_FILE).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(
            "pccs-config-file",
            f"the file of {what} cannot be read: {why}",
            where=str(file),
            mend="check its name and permissions",
        ) from None


def default_data(environ: Mapping[str, str], *, is_root: bool | None = None) -> Path:
    """Where a service keeps its own, unless told otherwise."""
    if os.geteuid() == 0 if is_root is None else is_root:
        return Path("/var/lib/dcap-pccs")
    base = environ.get("XDG_DATA_HOME", "")
    home = Path(environ.get("HOME") or Path.home())
    return (Path(base) if base.startswith("/") else home / ".local" / "share") / "dcap" / "pccs"


def write_toml(values: Mapping[str, object], remarks: tuple[str, ...] = ()) -> str:
    """Settings as a file: each with what it is for; then what could not be taken over."""
    lines = [
        "# Settings of `dcap pccs serve --config THIS`. `dcap pccs config` shows all there are, and"
    ]
    lines += ["# `dcap pccs serve --help` what they do.", ""]
    for setting in SETTINGS:
        if setting.name in values:
            lines += [f"# {setting.why}", f"{setting.name} = {_toml(values[setting.name])}", ""]
    lines += [f"# {remark}" for remark in remarks]
    return "\n".join(lines).rstrip("\n") + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, int | float):
        return str(value)
    # A basic string of TOML is written as JSON writes one.
    return msgspec.json.encode(str(value)).decode()
