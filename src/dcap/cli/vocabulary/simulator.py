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
    "simulator-socket": Row(1, "The simulator cannot open the Unix socket that was named.",
        ("Its folder is not there, or another process listens at it.",
         "The path is too long: a Unix socket's has 107 bytes at most."),
        ("name a short path in a folder that is there: `dcap sim up --aesm /tmp/aesm.socket`",
         "`ss -lxp` shows who listens there")),
    "simulator-folder": Row(1, "The simulator cannot make the folder of pseudo-files that was named.",
        ("A file stands there, or the folder is another user's.",
         "The file system has no FIFOs, or the system is no Linux."),
        ("name a folder of your own, on a Linux file system; it may be missing",)),
}
# fmt: on
