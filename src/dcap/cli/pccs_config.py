"""`dcap pccs config`: the settings as a service would read them; and Intel's file turned into ours.

Not here: what they mean (`pccs.setting_table`).
"""

from pathlib import Path
from typing import Any

import click

from dcap.cli import output
from dcap.cli.pccs_settings import settings_of, settings_options
from dcap.pccs.setting_table import SETTINGS

_SECRET = ("api_key", "user_token_hash", "admin_token_hash", "proxy", "database")


@click.command("config")
@settings_options()
@click.option(
    "--from-intel",
    "intel",
    metavar="FILE",
    help="Write TOML for what stands in Intel's config/default.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def config(*, intel: str | None, as_json: bool, **flags: Any) -> None:
    """Show the settings that `dcap pccs serve` would have, given the same flags and environment.

    With --from-intel, TOML on stdout for `dcap pccs serve --config`. Secrets are shown there, for it
    holds them, and nowhere else.
    """
    if intel is not None:
        from dcap.pccs.config_intel import settings_of_intel  # noqa: PLC0415 - few move

        text, remarks = settings_of_intel(Path(intel))
        for remark in remarks:
            output.warn(remark)
        output.emit(
            {"toml": text, "remarks": list(remarks)}, text.rstrip("\n").split("\n"), as_json=as_json
        )
        return
    settings = settings_of(flags)
    value = {}
    for row in SETTINGS:
        found = getattr(settings, row.name)
        if row.name in _SECRET and found:
            found = "(given)"
        value[row.name] = (
            list(found)
            if isinstance(found, tuple)
            else str(found)
            if isinstance(found, Path)
            else found
        )
    lines = [f"{name:<20} {_shown(one)}" for name, one in value.items()]
    output.emit({"settings": value}, lines, as_json=as_json)


def _shown(value: object) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
