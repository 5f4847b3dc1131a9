"""Codes of registration: what identifies a machine, and telling it to a PCCS or to Intel.

Source: `pccs-and-pcs-api.md` §1.4, §2.3, §5; `quote-provider.md` §6 rows 1 and 18.
"""

from typing import Final

from dcap.cli.vocabulary.row import Row, Rows

_TABLE: Final = "`sudo PCKIDRetrievalTool -f pckid_retrieval.csv` on the host writes its table anew"

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    # platform data
    "registration-no-platform-data": Row(7, "Nothing on this machine tells which machine it is.",
        ("PCKIDRetrievalTool was never run here, or its table lies in another folder.",
         "It is a guest: the host shows it no BIOS; in a cloud, the provider has registered the host.",
         "The CPU has no SGX, or the BIOS has it turned off."),
        (_TABLE, "dcap register show --csv FILE", "`dcap register show --quote FILE` with a quote")),
    "registration-incomplete": Row(1, "What is known of the machine is not enough to register it.",
        ("The table was written without loading an enclave (-platform_id): it has no PPID and no TCB.",
         "The BIOS no longer shows the manifest, for it was sent before.",
         "The encrypted PPID is all zeros: the user may not open /dev/sgx_provision."),
        ("`dcap register show` says what is missing for which registration", _TABLE,
         "`sudo usermod -aG sgx_prv USER`, then log in again")),
    "registration-two-machines": Row(1, "Files that were named together are of two machines.",
        ("A table was copied from the image that this machine was installed from.",),
        (_TABLE, "name the files one by one: `dcap register show --quote FILE`")),
    "registration-many-machines": Row(1, "The file holds more than one machine, or none.",
        ("The list of a whole rack was given, as `dcap pccs get` writes it.",
         "A script appends each run of PCKIDRetrievalTool to one table."),
        ("delete the table, then `sudo PCKIDRetrievalTool -f pckid_retrieval.csv`",
         "a list of many machines: dcap pccs fetch -i platform_list.json")),
    "registration-uefi": Row(2, "A UEFI variable of the BIOS is not as Intel describes it.",
        ("The BIOS is older than the variable's description, or newer than this release.",
         "A copy of the file lacks its four bytes of attributes."),
        ("update the BIOS", "`ls -l /sys/firmware/efi/efivars/Sgx*` shows names and sizes")),
    "registration-no-tcb": Row(1, "The certificate cannot be asked for: QE id or raw TCB are unknown.",
        ("Only a manifest is known, or the machine goes by a name that somebody gave it.",),
        ("`dcap register status --quote FILE` with a quote of the machine", _TABLE)),
    # telling them
    "registration-no-pccs": Row(1, "Nothing says at which PCCS this machine registers.",
        ("The machine has no /etc/sgx_default_qcnl.conf, or it is empty.",
         "QCNL_CONF_PATH is set in the daemon's unit, and not in this shell."),
        ("`dcap register submit --to https://HOST:8081`", "`dcap qcnl write --pccs https://HOST:8081`",
         "directly at Intel: `dcap register submit --to intel`")),
    "registration-token": Row(1, "The PCCS wants its user token, or refuses the one that was sent.",
        ("The admin token was given: machines register with the user token.",
         "The PCCS was set up anew, and has another token since."),
        ("dcap register submit --token-file FILE", "on the PCCS's host: `dcap pccs token new NAME`")),
    "registration-refused": Row(6, "The PCCS cannot use the platform data (HTTP 400).",
        ("The table is of another tool's version, or was edited.",
         "The manifest is longer than a PCCS keeps (65535 bytes)."),
        (_TABLE, "the PCCS's log names the member that it cannot use")),
    "registration-refused-by-intel": Row(6, "Intel's registration service refuses the machine.",
        ("The manifest is outdated: packages or firmware were changed since.",
         "Its CPUs are of the sandbox, and the manifest was sent to the production service.",
         "The BIOS lets Intel keep no keys (CachedKeysPolicyViolation)."),
        ("`dcap register show` names the server that the BIOS means",
         "reboot, and `dcap register submit --to intel --again`",
         "at a PCCS instead: `dcap register submit --to https://HOST:8081`")),
    # the certificate
    "registration-certificate": Row(6, "What was given as the machine's certificate is not its own.",
        ("The clock of this host is wrong, so that the certificate seems not to be valid.",
         "The PCCS knows another machine, or another TCB, under this QE id."),
        ("`timedatectl` shows the clock", _TABLE, "dcap register submit --again")),
    "registration-not-yet": Row(6, "The time that --watch was given is over.",
        ("The PCCS starts after this machine, or nobody has yet brought it the certificate.",),
        ("`dcap register submit --watch` without --for waits as long as it takes",
         "`dcap register status` shows what stands in the way")),
}
# fmt: on
