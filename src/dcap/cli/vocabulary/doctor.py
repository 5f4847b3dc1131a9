"""Codes of `dcap doctor` and `dcap container-args` themselves, not of what the doctor finds."""

from typing import Final

from dcap.cli.vocabulary.row import Row, Rows

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    "doctor-fix": Row(1, "`dcap doctor --fix` cannot ask, or may not mend, here.",
        ("It runs in a script or a service, where nobody could say yes.",
         "--root names another system than the running one, whose commands these would not be."),
        ("in a terminal: `dcap doctor --fix`; in a script that knows: `dcap doctor --fix --yes`",
         "`dcap doctor --json` has the commands, for who wants to run them otherwise")),
    "container-no-host-device": Row(7, "This host has no SGX or TDX device to give to a container.",
        ("It was asked in a container, or on another machine than the one that runs the container.",
         "SGX is off in the BIOS, or the kernel is older than 5.11."),
        ("`dcap doctor --for attester` on the host says which",
         "`ls -l /dev/sgx* /dev/tdx*` on the host shows the devices by all their names")),
    "container-host-name": Row(7, "A path of this host cannot be given to a container under its name.",
        ("It has white space, a colon, a comma or a quote: a shell or Docker would part it there.",
         "A link under /dev, or $QCNL_CONF_PATH, leads there."),
        ("`ls -l /dev/sgx* /etc/sgx_default_qcnl.conf` shows where they lead; give that a plain name",)),
    "container-not-inside": Row(7, "`dcap container-args --check` was asked outside of a container.",
        ("It was typed on the host: there `dcap doctor` looks at devices and groups.",),
        ("inside: `dcap container-args --check`", "on the host: `dcap doctor --for attester`")),
}
