"""Codes of collateral: none, half of it, twice of it, or unproven; and of `dcap collateral`."""

from typing import Final

from dcap.cli.vocabulary.row import FETCH, Row, Rows

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    "collateral-missing": Row(6, "There is no collateral to judge the evidence by.",
        ("The path of --collateral is misspelt, or the folder's files have other names.",
         "--source names a host without https://, which is then taken for a path.",
         "`appraise` was called without collateral: of the containers, only few bring their own."),
        (("give --collateral a folder or a file: Intel's TCB info, QE identity, two CRLs, their "
          "chains"),
         FETCH)),
    "collateral-incomplete": Row(6, "Pieces of collateral are missing; the message names them.",
        ("Only the bodies of the answers were saved: issuer chains come in headers.",
         "The files are there under other names than those that are read."),
        ("put them beside the others under the names that the message gives", FETCH)),
    "collateral-ambiguous": Row(2, "One piece of collateral is there twice, and the two disagree.",
        ("The folder holds two downloads: one form was renewed, the other left.",
         "One of the two forms was edited or pretty-printed."),
        ("`dcap collateral check DIR` after one of the two is moved away tells which is Intel's",)),
    "endorsements": Row(3, "The collateral was not proven, so nothing could be proven by it.",
        ("The collateral failed a check of its own; the quote was not at fault.",),
        ("`dcap collateral check DIR` names the check that failed", FETCH)),
    "endorsements-of-another-instant": Row(1,
        "Endorsements were used with another instant or root.",
        ("Endorsements were kept longer than one call, and given with a later `at`.",
         "They were checked under Intel's root and used with that of a test world."),
        ("call check_endorsements again, with the same `at` and `anchor`",)),
    # dcap collateral
    "collateral-which": Row(1, "It is not clear what is to be fetched, shown or written.",
        ("Neither evidence nor --fmspc nor --all-fmspcs was given, or two of them.",
         "A place for the result was not given, or a folder and a bundle at once."),
        ("`dcap collateral get --help`: one of EVIDENCE, --fmspc, --all-fmspcs; -o or --bundle",)),
    "bundle-too-large": Row(1, "A bundle would be larger than dcap itself reads, and is not written.",
        ("The evidence stands in a container with much beside the quote.",
         "A revocation list of tens of thousands of entries is in the collateral."),
        ("save the collateral alone: `dcap collateral get QUOTE -o DIR`",)),
    "fmspc-hex": Row(1, "--fmspc is not 12 hex digits.",
        ("It was copied with 0x, blanks or quotes, or it is the PCE id or the PPID.",),
        ("`dcap inspect QUOTE --field fmspc` prints a quote's",)),
    "source-without-list": Row(1, "--all-fmspcs was asked of a source that does not list FMSPCs.",
        ("--source names a PCCS, Azure, a folder or several of them: only Intel's PCS has the list.",),
        ("give --source pcs alone, or leave it out",)),
}
# fmt: on
