"""`dcap register`: tell a PCCS or Intel which machine this is, and keep its certificate.

The group alone; its commands are imported when they are called. Not here: quotes (`attest`), the service
that machines register with (`pccs`).
"""

import click

from dcap.cli.lazy_group import LazyGroup

#: Command -> (module, attribute, what it does).
COMMANDS = {
    "show": (
        "dcap.cli.register_show",
        "show",
        "What identifies this machine, and where it stands.",
    ),
    "submit": (
        "dcap.cli.register_submit",
        "submit",
        "Register; fetch the certificate, and keep it.",
    ),
    "status": (
        "dcap.cli.register_status",
        "status",
        "Whether the certificate is here, and in date.",
    ),
}


@click.group("register", cls=LazyGroup, members=COMMANDS)
def command() -> None:
    """Register this machine, so that its quotes can be verified: once, and again after its firmware.

    In place of PCKIDRetrievalTool's upload and of mpa_registration. Platform data are read from that
    tool's table, a list, a quote, or the BIOS (UEFI variables), which is never written to. What
    identifies the machine is never shown, unless it is asked for.
    """
