"""`dcap pccs`: a caching service for collateral, and what its administrator does with it.

The group alone; its commands are imported when they are called. Not here: the service (`dcap.pccs`).
"""

import click

from dcap.cli.lazy_group import LazyGroup

#: Command -> (module, attribute, what it does).
COMMANDS = {
    "serve": ("dcap.cli.pccs_serve", "serve", "Serve on https://localhost:8081 until SIGTERM."),
    "status": (
        "dcap.cli.pccs_status",
        "status",
        "What is kept, days to expiry, upstream's health.",
    ),
    "check": ("dcap.cli.pccs_status", "check", "For monitoring: exit status 0, 4 or 6."),
    "token": ("dcap.cli.pccs_token", "token", "Make, list and revoke tokens."),
    "refresh": ("dcap.cli.pccs_refresh", "refresh", "Renew collateral, or PCK certificates, now."),
    "forget": (
        "dcap.cli.pccs_forget",
        "forget",
        "Let it forget a machine, or a piece of collateral.",
    ),
    "get": ("dcap.cli.pccs_get", "get", "Fetch the list of machines from a PCCS (pccsadmin get)."),
    "put": ("dcap.cli.pccs_put", "put", "Bring fetched collateral to a PCCS (pccsadmin put)."),
    "fetch": ("dcap.cli.pccs_fetch", "fetch", "Fetch for a list of machines (pcsclient fetch)."),
    "collect": (
        "dcap.cli.pccs_collect",
        "collect",
        "Make a list of CSV files (pcsclient collect).",
    ),
    "cache": (
        "dcap.cli.pccs_cache",
        "cache",
        "Write caches of Intel's provider (pcsclient cache).",
    ),
    "import": ("dcap.cli.pccs_import", "import_", "Take over Intel's database, a file, a folder."),
    "export": ("dcap.cli.pccs_export", "export", "Write what is kept to a file or a folder."),
    "backup": ("dcap.cli.pccs_backup", "backup", "Back the store up while it is in use."),
    "restore": ("dcap.cli.pccs_backup", "restore", "Restore a backup into an empty store."),
    "config": ("dcap.cli.pccs_config", "config", "Show the settings; take Intel's over."),
}


@click.group("pccs", cls=LazyGroup, members=COMMANDS)
def command() -> None:
    """A caching service for SGX and TDX collateral, in place of Intel's PCCS.

    `dcap pccs serve` and nothing else gives a service that Intel's quote provider, Azure's client and
    Intel's tools use unchanged. Needs dcap[server].
    """
