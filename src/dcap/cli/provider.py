"""`dcap provider`: the quote provider library, `libdcap_quoteprov.so`: which one, try it, install ours.

The group alone; its commands are imported when they are called. Not here: the library's configuration
(`qcnl`), and the Python process's own entry (`python -m dcap.provider`).
"""

import click

from dcap.cli.lazy_group import LazyGroup

#: Command -> (module, [attribute,] what it does). Without attribute it is named `command`.
COMMANDS = {
    "list": (
        "dcap.cli.provider_list",
        "Which plugins are installed, and which program loads which.",
    ),
    "test": ("dcap.cli.provider_test", "Ask a plugin everything, and show what it answers."),
    "serve": ("dcap.cli.provider_serve", "The process behind dcap's own plugin."),
    "install": ("dcap.cli.provider_install", "install", "Put dcap's own plugin in place."),
    "uninstall": (
        "dcap.cli.provider_install",
        "uninstall",
        "Take it away, and undo what it changed.",
    ),
}


@click.group("provider", cls=LazyGroup, members=COMMANDS)
def command() -> None:
    """The quote provider library, libdcap_quoteprov.so, a plugin of SGX and TDX software.

    Intel's quoting and verifying libraries, Open Enclave, EGo and Conclave get certificates and
    collateral through it, each by its own rule of where it is looked for.
    """
