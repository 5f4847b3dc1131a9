"""`dcap collateral`: get what a verdict needs, look at it, prove it, and see what changed.

The group alone; its commands are imported when they are called. Not here: judging evidence (`verify`).
"""

import click

from dcap.cli.lazy_group import LazyGroup

#: Command -> (module, what it does). The module holds a click command named `command`.
COMMANDS = {
    "get": ("dcap.cli.collateral_get", "Fetch, prove and save: a folder, or one bundle file."),
    "show": ("dcap.cli.collateral_show", "What a set says: signers, dates, numbers; caches too."),
    "check": ("dcap.cli.collateral_check", "Prove a set and judge its age, without evidence."),
    "diff": ("dcap.cli.collateral_diff", "What changed between two sets, level by level."),
}


@click.group("collateral", cls=LazyGroup, members=COMMANDS)
def command() -> None:
    """What Intel signs about its platforms, and a verdict needs beside the evidence.

    TCB info, QE identity, two revocation lists and their chains. Where it comes from: `--source`,
    `DCAP_SOURCE`, this machine's QCNL configuration, or Intel's PCS, in this order.
    """
