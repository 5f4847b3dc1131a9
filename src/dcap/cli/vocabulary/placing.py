"""Codes of placing our `libdcap_quoteprov.so.1` for programs (`dcap provider install`, `uninstall`)."""

from typing import Final

from dcap.cli.vocabulary.row import Row, Rows

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    "plugin-not-built": Row(1, "This installation of dcap has no built library, and none can be made.",
        ("dcap was installed from a pure wheel, or where there was no C compiler.",),
        ("`apt install gcc make`, and try again: the sources came along",
         "install a wheel for this platform")),
    "plugin-command": Row(1, "The library could not start its process by the path of this Python.",
        ("The path has blanks: the line by which it starts the process is split at them.",),
        ("use a virtual environment whose path has no blanks, like /opt/attest",)),
    "plugin-prefix": Row(1, "There is no such folder to put the library into.",
        ("The system in --root has another layout than Debian's or Fedora's.",),
        ("name with --prefix a folder in which programs look for libraries",)),
    "plugin-foreign": Row(1, "Another's plugin stands where ours would be put; nothing was changed.",
        ("Intel's package libsgx-dcap-default-qpl is installed, or Azure's az-dcap-client.",
         "Somebody put a library, or a link to one, there by hand."),
        ("`dcap provider list` shows whose it is; remove the package that is not needed",
         "--replace sets it aside, a package's by dpkg-divert; `dcap provider uninstall` restores it")),
    "plugin-record": Row(1, "The record of what was installed there cannot be read.",
        ("It was edited, or written by a later dcap.",),
        ("uninstall with the release that installed it; or remove by hand what stands beside it",)),
    "plugin-not-installed": Row(1, "Nothing of dcap's was installed in that folder.",
        ("It was installed with another --prefix or --root.",),
        ("`dcap provider list` shows which plugins there are, and where",)),
}
