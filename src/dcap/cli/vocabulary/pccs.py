"""Codes of a PCCS that is asked: `pccs-N` is its HTTP status N.

What Intel's own quote provider makes of the status stands in `qpl.pccs_statuses`; why the PCCS of dcap
refuses, in `pccs.causes`. Source: `pccs-and-pcs-api.md` §1.9, §2.1, §6.
"""

from typing import Final

from dcap.cli.vocabulary.row import CURL, Row, Rows

_LOG: Final = "`journalctl -u pccs -n 50` on its host: one line a request, with what Intel answered"
_CAUSE: Final = "a PCCS of dcap's says why in the header Dcap-Cause: `curl -kv URL`"

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    "pccs-400": Row(6, '"Invalid request parameters.": the PCCS calls the request invalid.',
        ("The machine is unknown there, and the request has no encrypted PPID to ask Intel with.",
         "The PCCS is asked in the dialect of Azure or of another version of its API."),
        (_LOG, "register the machine first: `sudo PCKIDRetrievalTool`")),
    "pccs-401": Row(6, '"Authentication failed.": the PCCS wants a token, or another one.',
        ("POST /platforms needs the user token, the other routes of its operator the admin token.",
         "The token's hash in the PCCS's configuration is empty or of another token."),
        ("`echo -n TOKEN | sha512sum` must be UserTokenHash or AdminTokenHash",)),
    "pccs-403": Row(6, "Something before the PCCS refuses: no PCCS says 403.",
        ("The proxy of the company catches a request to the intranet.",),
        ("`env | grep -i _proxy`; put the PCCS's host into no_proxy",)),
    "pccs-404": Row(6, '"No cache data for this platform.", or the path is wrong.',
        ("Nobody registered the machine or imported its collateral there (REQ, OFFLINE).",
         "Intel's PCCS turns whatever Intel refused into 404: a wrong key, throttling, an outage.",
         "The URL lacks its last / or its /v4/, so that another path was asked."),
        (_CAUSE, _LOG, "let the URL end in /sgx/certification/v4/; `dcap qcnl lint` looks")),
    "pccs-410": Row(6, "The PCCS was asked under /v3/, which Intel has ended.",
        ("pccs_url was written for /v3/ and never changed; what is not kept cannot be had any more.",),
        ("`dcap qcnl write --migrate` writes /v4/",)),
    "pccs-413": Row(6, '"Content too large.": the import is beyond the PCCS\'s limit.',
        ("One file for more than about 70 machines: Intel's limit is 2 MB, a machine has 23 KB.",),
        ("`dcap pccs put` splits the file; or raise MaxRequestBodySize in config/default.json",)),
    "pccs-429": Row(6, "Whoever answers for the PCCS asks to be left alone for a while.",
        ("A gateway before the PCCS limits the rate: a rack boots, and all ask at once.",),
        ("wait as long as Retry-After says; raise the gateway's limit",)),
    "pccs-460": Row(6, "The PCCS found that the root certificates of an import differ.",
        ("The file was put together from two fetches, or from Intel's sandbox and production.",),
        ("fetch all of it anew in one run, and import the file as it is",)),
    "pccs-461": Row(6, "The PCCS does not know the platform.",
        ("It fetches nothing by itself (REQ, OFFLINE), and the machine was never registered.",),
        ("register it, on the machine: `sudo PCKIDRetrievalTool`",
         "OFFLINE: `dcap pccs get`, outside `dcap pccs fetch`, then `dcap pccs put`")),
    "pccs-462": Row(6, "Intel has the platform, but no certificate for its TCB.",
        ("BIOS or microcode were set back, so that the TCB is lower than every certificate's.",),
        ("update BIOS and microcode, reboot, then `sudo PCKIDRetrievalTool`",)),
    "pccs-500": Row(6, '"Internal server error occurred.": the PCCS had an error of its own.',
        ("Ten or more new machines asked Intel's PCCS at once, and its SQLite was locked.",
         "REQ mode of Intel's 1.27, and a machine that Intel has no certificate for."),
        (_LOG, "ask again, one machine after another")),
    "pccs-502": Row(6, "The PCCS cannot reach Intel.",
        ("The host of the PCCS has no way out, or its proxy is not in its configuration.",),
        ("on its host: `curl -v https://api.trustedservices.intel.com/sgx/certification/v4/qe/identity`",
         'set "proxy" in config/default.json')),
    "pccs-503": Row(6, "The PCCS cannot answer now.",
        ("A refresh was asked of a PCCS in OFFLINE mode, or failed on one item.",
         "It is overloaded, or has just been started."),
        (_CAUSE, _LOG)),
    "pccs-status": Row(6, "The answer has a status that no PCCS sends.",
        ("Another service listens at the port, or a load balancer speaks for the PCCS.",),
        (CURL,)),
    "pccs-route": Row(6, "The PCCS has no such resource.",
        ("pccs_url has no / at its end: /v4pckcert is then asked for.",),
        ("let pccs_url end in /sgx/certification/v4/",)),
}
# fmt: on
