"""Codes of what is carried to and from a PCCS: lists, files of collateral, Intel's database, puts.

Source: `pccs-and-pcs-api.md` §1.4-1.6, §3.2, §4.
"""

from typing import Final

from dcap.cli.vocabulary.row import Row, Rows

_FETCH: Final = "fetch it anew: dcap pccs fetch -i platform_list.json -o platform_collaterals.json"

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    # files
    "platform-list": Row(2, "It is no list of machines, as the PCCS or PCKIDRetrievalTool writes one.",
        ("A spreadsheet rewrote the CSV: semicolons, blanks, long hex as a number.",
         "The PCCS's answer was a page of a proxy, and it was saved as the list."),
        ("`head -c 300 FILE`: JSON with qe_id and pce_id, or hex fields with commas between",
         "ask for it again: `dcap pccs get`, or PCKIDRetrievalTool on the machine")),
    "platform-collaterals": Row(2, "It is no file of collateral of pcsclient's, or not all of it.",
        ("The list of machines grew after the file was fetched: some have no certificates in it.",
         "It was fetched with -c (lists alone), or edited by hand.",
         "The file was cut off on the medium that carries it inside."),
        ("`sha256sum FILE` on both sides of the gap", _FETCH)),
    "collect-nothing": Row(1, "There are no tables of machines (*.csv) in the folder.",
        ("PCKIDRetrievalTool was never run, or sent its table to a PCCS instead of writing a file.",),
        ("`sudo PCKIDRetrievalTool` on each machine writes pckid_retrieval.csv: gather them all",)),
    "import-nothing": Row(1, "There is no saved collateral in the folder.",
        ("The folder above or below the sets was named.",),
        ("`ls DIR`: give a folder that `dcap collateral get -o DIR` wrote, or one of such folders",)),
    "import-no-tcb-info": Row(2, "The file has a machine, and no SGX TCB info for its FMSPC.",
        ("Only TDX was fetched: PCK certificates are chosen by the SGX TCB info, of TDs too.",
         "The machine's FMSPC is new, and the TCB infos are of an older fetch."),
        (_FETCH,)),
    "import-no-certificate": Row(2, "The raw TCB of a machine reaches none of its certificates.",
        ("Its BIOS or microcode was set back below every level that Intel has certified.",
         "The list gives pce_svn in the wrong byte order: 13 is 0D00."),
        ("update the machine, then `sudo PCKIDRetrievalTool` on it, and fetch again",)),
    # out of it
    "export-nothing": Row(6, "The store keeps no whole set of collateral that could be written.",
        ("The service was never asked for an FMSPC, or --data names the folder of another service.",),
        ("`dcap pccs status` shows what is kept; `dcap pccs refresh` renews it",)),
    "cache-name": Row(2, "The QE id of a machine cannot be the name of a cache file.",
        ("The table is of the mode without an enclave, where a platform id stands as qe_id.",),
        ("run `sudo PCKIDRetrievalTool` with its enclave: a QE id has 32 hex digits",)),
    "cache-one-name": Row(1, "Several machines of unknown TCB would have one cache file.",
        ("Without cpu_svn in the list, the file is named 0000000000000000_0000 for every machine.",),
        ("dcap pccs cache --sub-dir gives each machine a folder",)),
    # Intel's database
    "intel-database": Row(1, "It is no database of Intel's PCCS.",
        ("The path is that of another file, or of an installation that was never started.",
         "The URL names the server, and not its database."),
        ("`ls -l /opt/intel/sgx-dcap-pccs/pckcache.db`", "mysql://USER:PASSWORD@HOST/pckcache")),
    "intel-database-unreadable": Row(6, "The database of Intel's PCCS cannot be read.",
        ("Intel's PCCS writes it at this moment, in a mode where readers wait.",
         "A copy was made without its journal, or the user may not read it."),
        ("`sudo systemctl stop pccs`, then import", "`sqlite3 FILE 'pragma integrity_check'`")),
    # to a PCCS
    "pccs-source": Row(1, "Which machines are to be listed is none of reg, reg_na and FMSPCs.",
        ("The shell took the brackets away, or the FMSPCs have blanks between them.",),
        ('write it in quotation marks: -s reg, -s "[]" or -s "[00906EA10000,90C06F000000]"',)),
    "pccs-token-missing": Row(1, "The command needs the PCCS's admin token, or a key, and has none.",
        ("sudo or a container dropped the variable from the environment.",),
        ("--token-file FILE, or `export DCAP_PCCS_TOKEN=…`",)),
    "pccs-token-unusable": Row(1, "The token or key cannot be sent: it is not one line of ASCII.",
        ("The file is another one: a hash file, a key in PEM, a text in UTF-16.",),
        ("`xxd FILE | head -2` shows what the file holds",)),
    "pccs-token-refused": Row(1, "The PCCS refuses the token that the command gave.",
        ("The user token was given, which registers machines and nothing else.",
         "The PCCS was set up anew, and made new tokens."),
        ("give the admin token: --token-file FILE, or $DCAP_PCCS_TOKEN",
         "on its host: `dcap pccs token list`, `dcap pccs token new`")),
    "put-too-large": Row(1, "The PCCS takes no body of that size.",
        ("Intel's PCCS takes 2 MB, and a proxy before it perhaps 1 MB.",),
        ("--max-body 1MB here, or MaxRequestBodySize there",)),
    "put-piece-too-large": Row(1, "One piece of the file is larger than what the PCCS takes at once.",
        ("The TCB infos of all FMSPCs are one piece: a fetch of every platform has hundreds.",),
        ("raise MaxRequestBodySize (Intel's) or --max-body (dcap's) there, and --max-body here",)),
    "put-forged": Row(3, "The PCCS could not prove what was put, and has kept nothing of it.",
        ("A tool between fetch and put rewrote the JSON, which Intel has signed as it was.",
         "The PCCS trusts a simulated world, and the file is Intel's, or the reverse."),
        ("`dcap pccs import FILE` on a test store names the failed check", _FETCH)),
    "put-refused": Row(2, "The PCCS cannot use what was sent (HTTP 400).",
        ("The file is of version 3 of the API, or of a tool of another release.",
         "qe_id in the certificates is written otherwise than in the platforms."),
        ("`journalctl -u pccs -n 50` on its host says what it misses", _FETCH)),
}
# fmt: on
