"""docs/reference/pccs-settings.md: the settings of `dcap pccs serve`, of the table they are read by."""

import msgspec

from dcap.pccs.setting_table import SETTINGS, Setting, Settings
from reference_markup import Row, table

INTRODUCTION = """
# Settings of `dcap pccs serve`

A flag wins over the environment, the environment over the TOML file (`--config FILE`), the file
over the default. The name is the key in TOML; with `-` in place of `_` it is the flag, in capitals
after `DCAP_PCCS_` the variable. A key that is not here is refused. `dcap pccs config` shows what a
service would be started with, and `dcap pccs config --from-intel default.json` writes the file for
who comes from Intel's PCCS.

Sizes are bytes, or have `KB`, `MB`, `GB`; lists are separated by commas or blanks, in TOML they are
lists.

`SIGHUP` reads everything again, settings and TLS, without ending a connection; what it does not take up
(*restart* in the table) is said in the log, and stays as it was.
"""
SECRETS = """
A secret has no flag, for a command line is seen by everybody on the machine: `api_key` comes from the
environment (`APIKEY`, as containers of Intel's PCCS have it, or `DCAP_PCCS_API_KEY`) or from the file
`api_key_file`. Of tokens, hashes alone are kept: SHA-512 in hex, as in Intel's configuration.
"""


def settings_page() -> str:
    """Every setting: what it is for, and what happens when it is wrong."""
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    rows = [_row(setting, fields[setting.name]) for setting in SETTINGS]
    head = ("name", "form", "default", "Intel's", "takes effect", "what it is for")
    parts = [INTRODUCTION.strip(), table(head, rows), "## When one is wrong"]
    wrong = [(f"`{setting.name}`", setting.wrong) for setting in SETTINGS]
    parts += [table(("name", "what happens"), wrong), "## Secrets", SECRETS.strip()]
    return "\n\n".join(parts)


def _row(setting: Setting, field: msgspec.structs.FieldInfo) -> Row:
    flag = "" if setting.has_flag else " (no flag)"
    more = "".join(f", `{name}`" for name in setting.variables)
    return (
        f"`{setting.name}`{more}{flag}",
        f"`{setting.form}`",
        _default(field),
        f"`{setting.intel}`" if setting.intel else "",
        "reload" if setting.reloads else "restart",
        setting.why,
    )


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required or field.default is None or field.default == ():
        return ""
    value = field.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    if field.name in ("max_body", "hot_size"):
        return f"`{value >> 20}MB`"
    return f"`{value:g}`" if isinstance(value, float | int) else f"`{value}`"
