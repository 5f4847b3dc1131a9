"""What commands of `dcap pccs` share: the options of the settings' table, and the extra they need."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from dcap.errors import ConfigError
from dcap.pccs.config import CONFIG_FLAG
from dcap.pccs.setting_table import SETTINGS, Setting

_Command = TypeVar("_Command", bound=Callable[..., Any])
_LISTS = frozenset({"upstream"})


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
    return f"{row.why} [env: {row.variable}]"


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
