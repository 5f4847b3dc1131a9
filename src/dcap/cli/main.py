"""`dcap`: the entry point. Commands are imported when they are called, so that each starts fast."""

import io
import os
import sys
from typing import NoReturn

import click

from dcap import __version__
from dcap.cli import output
from dcap.cli.lazy_group import LazyGroup
from dcap.errors import ConfigError, DcapError

#: Command -> (module, what it does). The module holds a click command named `command`.
COMMANDS = {
    "verify": ("dcap.cli.verify", "Verify evidence against collateral and a policy."),
    "attest": ("dcap.cli.attest", "Make a quote on this machine, by whatever it offers."),
    "inspect": ("dcap.cli.inspect", "Show what a quote, certificate, CRL … says; trusts nothing."),
    "collateral": ("dcap.cli.collateral", "Get, show, prove and compare what Intel signs."),
    "explain": ("dcap.cli.explain", "Explain a code, status or finding, and how to mend it."),
    "qcnl": ("dcap.cli.qcnl", "The configuration of Intel's quote provider: show, lint, write."),
    "provider": (
        "dcap.cli.provider",
        "The plugin libdcap_quoteprov.so: which one, try it, install.",
    ),
    "pccs": ("dcap.cli.pccs", "A caching service for collateral, in place of Intel's PCCS."),
    "register": ("dcap.cli.register", "Register this machine, and keep its PCK certificate."),
    "doctor": ("dcap.cli.doctor", "Examine this machine: what is wrong, why, what mends it."),
    "container-args": (
        "dcap.cli.container_args",
        "What a container needs of this host: devices, groups, mounts.",
    ),
    "sim": ("dcap.cli.sim", "A simulated Intel and simulated machines, for tests."),
}
INTERNAL_ERROR = 70


@click.group(
    cls=LazyGroup, members=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="dcap")
def cli() -> None:
    """Remote attestation for Intel SGX and TDX.

    Exit status: 0 accepted; 1 usage or configuration; 2 evidence malformed; 3 cryptographic failure;
    4 genuine, but TCB or collateral policy says no; 5 genuine, but not the identity wanted (or none
    was pinned); 6 collateral unavailable; 7 this machine's environment; 70 a bug of ours.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the house's codes."""
    given = sys.argv[1:] if arguments is None else arguments
    # A terminal of eight bits lacks letters of ours: it shows ? for them, and what is said is said.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
    try:
        sys.exit(cli.main(given, prog_name="dcap", standalone_mode=False))
    except click.ClickException as error:
        if "--json" in given:
            usage = ConfigError("usage", error.format_message(), mend="see --help of the command")
            output.fail(usage, as_json=True)
        else:
            error.show()
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except DcapError as error:
        output.fail(error, as_json="--json" in given)
        sys.exit(error.exit_status)
    except Exception as error:
        if os.environ.get("DCAP_DEBUG"):
            raise
        output.fail(
            DcapError(
                "internal",
                f"a bug of dcap: {type(error).__name__}: {error}",
                mend="please report it, with what DCAP_DEBUG=1 prints",
            ),
            as_json="--json" in given,
        )
        sys.exit(INTERNAL_ERROR)
