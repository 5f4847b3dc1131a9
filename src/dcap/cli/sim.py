"""`dcap sim`: a simulated Intel, simulated machines, and their world in a directory.

The group alone; its commands are imported when they are called. What they share stands in
`sim_place`. Nothing here is trusted by `dcap verify` unless `--insecure-test-root` says so.
"""

import click

from dcap.cli.lazy_group import LazyGroup

#: Command -> (module, attribute, what it does).
COMMANDS = {
    "up": ("dcap.cli.sim_up", "up", "Serve the simulated Intel on loopback HTTPS."),
    "quote": ("dcap.cli.sim_quote", "quote", "Write a quote of a simulated machine."),
    "collateral": ("dcap.cli.sim_quote", "collateral", "Write the collateral of the moment."),
    "platform": ("dcap.cli.sim_platform", "platform", "Show what identifies a simulated machine."),
    "event": ("dcap.cli.sim_event", "event", "Let something happen: a recovery, a revocation …"),
    "clock": ("dcap.cli.sim_event", "clock", "Show or move the world's clock."),
    "reset": ("dcap.cli.sim_event", "reset", "Begin anew, with nothing that happened."),
    "fault": ("dcap.cli.sim_fault", "fault", "Write a quote and collateral with one thing wrong."),
}


@click.group("sim", cls=LazyGroup, members=COMMANDS)
def command() -> None:
    """A simulated Intel and simulated SGX and TDX machines, for tests.

    Quotes, certificates and collateral are real bytes under a root of the world's own. Verify them with
    `dcap verify --insecure-test-root DIR/root.pem --at "$(dcap sim clock)"`; without the first, they
    are refused. The same seed and the same events give the same bytes.
    """
