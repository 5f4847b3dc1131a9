"""What commands of `dcap pccs` share: the options of the settings' table, and the extra they need."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from dcap.cli import output
from dcap.errors import ConfigError
from dcap.pccs.config import CONFIG_FLAG, read_settings, unknown_variables
from dcap.pccs.setting_table import BY_NAME, DATABASE_FILE, SETTINGS, Setting, Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])
_LISTS = frozenset({"upstream"})
#: A user's password in a URL, before its @ or among its options.
_PASSWORD = re.compile(r"//[^/@]*:[^/@]+@|[?&](password|passwd|sslpassword)=", re.IGNORECASE)


def settings_options(*names: str) -> Callable[[_Command], _Command]:
    """The flags of these settings (of all that have one, where none is named), and `--config`.

    Values stay text: environment, file and flags are read by the same table.
    """
    rows = [row for row in SETTINGS if row.flag and (not names or row.name in names)]

    def add(command: _Command) -> _Command:
        for row in reversed(rows):
            command = click.option(
                row.flag,
                row.name,
                multiple=row.name in _LISTS,
                metavar=row.form,
                help=_help(row),
            )(command)
        return click.option(
            "--config",
            CONFIG_FLAG,
            metavar="FILE",
            help="Settings in TOML; flags and environment win. [env: DCAP_PCCS_CONFIG]",
        )(command)

    return add


def _help(row: Setting) -> str:
    default = f"  [default: {row.default}]" if row.default else ""
    return f"{row.why}{default} [env: {row.variable}]"


def settings_of(flags: Mapping[str, object]) -> Settings:
    """The settings, read by the table; what stands on the command line and should not is refused.

    Raises `ConfigError` (`pccs-setting`, `pccs-setting-secret` …).
    """
    for name in ("proxy", "database"):
        given = flags.get(name)
        if isinstance(given, str) and _PASSWORD.search(given):
            variable = BY_NAME[name].variable
            raise ConfigError(
                "pccs-setting-secret",
                f"a password stands in --{name}, and everybody on this machine sees a command line",
                where=f"--{name}",
                mend=f"give it as ${variable} or in the file of --config, and change the password",
            )
    for remark in unknown_variables():
        output.warn(remark)
    return read_settings(flags)


def expect_service(settings: Settings) -> None:
    """Refuse a folder in which no service has run: a store made there would be nobody's.

    Raises `ConfigError` (`store-missing`).
    """
    files = (settings.tokens_file, settings.data / DATABASE_FILE, settings.data / "tls_key.pem")
    try:
        found = any(file.exists() for file in files)
    except OSError:
        found = True  # whoever opens it says what is wrong
    if not found:
        raise ConfigError(
            "store-missing",
            "no service has run here",
            where=str(settings.data),
            mend="give its folder with --data or $DCAP_PCCS_DATA; `dcap pccs serve` makes a new one",
        )


def require_server() -> None:
    """Raises `ConfigError` (`pccs-extra`) where what the service stands on is not installed."""
    try:
        import sqlalchemy  # noqa: F401, PLC0415 - the one that everything needs
    except ImportError:
        raise ConfigError(
            "pccs-extra",
            "the service's libraries are not installed",
            mend="pip install 'dcap[server]'",
        ) from None
