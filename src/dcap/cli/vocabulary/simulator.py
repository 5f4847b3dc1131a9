"""Codes of `dcap sim`: a simulated world that cannot be read, changed or served."""

from typing import Final

from dcap.cli.vocabulary.row import Row, Rows

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    "simulator-state": Row(1, "The directory holds no simulated world that can be read.",
        ("The state was edited by hand, or a newer dcap wrote it.",
         "The directory is of another user, or something else's."),
        ("give another --dir, or begin anew with `dcap sim reset`",)),
    "simulator-event": Row(1, "An event cannot happen in the simulated world as it is.",
        ("It names a platform that was not added, or needs an event before it.",),
        ("`dcap sim event --list` lists the events and their fields",)),
    "simulator-port": Row(1, "`dcap sim up` cannot listen on the port.",
        ("Another `dcap sim up`, or a PCCS, listens there already.",
         "Ports below 1024 are for root."),
        ("`ss -ltnp` shows who listens; give another --port, or none",)),
    "simulator-running": Row(1, "Another `dcap sim up` serves this world.",
        ("One was left running in another terminal or by a test that was stopped.",),
        ("end the process that the message names, or give another --dir",)),
}
# fmt: on
