"""The HTTP statuses of a PCCS, and what a quote provider makes of them.

Not general HTTP: the meaning in quotation marks is the body that Intel's PCCS (1.23 to 1.27)
sends with the status, the causes are its own. Mirrors the status table of Intel's PCCS and the
mapping of statuses in its quote provider's network layer.
"""

from typing import Final, TypeAlias

# Columns: status, the sgx_qcnl_error_t it becomes, meaning, causes, remedy, see also.
Row: TypeAlias = tuple[int, int | None, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]

PCCS_LOG: Final = (
    "`journalctl -u pccs -n 50`: one line a request, with the status and what Intel answered."
)
READ_CONFIG: Final = (
    "`cat /etc/sgx_default_qcnl.conf`: host, `/v4/` and the last `/` of `pccs_url`."
)

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[tuple[Row, ...]] = (
    (200, None,
     ("The PCCS has it and serves it. The quote provider still needs body, issuer-chain header "
      "and, for pckcert, SGX-TCBm."),
     ("Success. Intel's PCCS never looks at nextUpdate: a 200 may carry collateral long expired.",),
     ("`curl -kv …` shows the headers; `dcap verify` judges the dates.",), ()),
    (400, 0xB011,
     '"Invalid request parameters."',
     ("A parameter is missing, of the wrong length or not hex.",
      "LAZY mode, unknown platform, and the `pckcert` request carries no encrypted PPID.",
      "Registration: the JSON breaks the schema, such as `cpu_svn` sent as an empty string.",
      'Refresh: PCCS 1.27 takes exactly one FMSPC with type=certs, neither "all" nor a list.'),
     (PCCS_LOG, "`curl -kv` the URL in that line and read the body."), ()),
    (401, 0xB011,
     '"Authentication failed."',
     ("`user-token` (POST /platforms) or `admin-token` (the admin's routes) is missing or wrong.",
      "The token's hash in the PCCS's configuration is empty or not 128 hex characters.",
      "Intel's PCS itself is used as `pccs_url`: `pckcert` there wants a subscription key."),
     (("`echo -n TOKEN | sha512sum` must equal UserTokenHash or AdminTokenHash in "
       "config/default.json."),
      READ_CONFIG),
     ()),
    (403, 0xB003,
     "Forbidden. Intel's PCCS has no such answer: something else answered.",
     (("A proxy or gateway between provider and PCCS refuses, or `pccs_url` points at another "
       "server."),),
     ("`env | grep -i proxy`: put the PCCS's host into `no_proxy`.", READ_CONFIG), ()),
    (404, 0xB00F,
     '"No cache data for this platform." (an HTML page "Cannot GET …" instead means a wrong path).',
     ("REQ or OFFLINE: the item was never put into the cache.",
      ("LAZY: Intel answered anything but 200; unknown platform, bad key, throttling and outage "
       "all become 404."),
      "The host is not registered (several sockets), or the encrypted PPID is all zeros.",
      "No PCK certificate fits the platform's TCB.",
      ("The path is wrong: no last `/` in `pccs_url`, /tdx/ under v3, or a PCCS whose `uri` is "
       "not v4.")),
     (PCCS_LOG, READ_CONFIG, "Register the platform: `sudo PCKIDRetrievalTool`."),
     ("0xE011", "0xE01B", "0xE061", "0xE062", "0xE037")),
    (410, 0xB011,
     "The item was asked under /v3/, and Intel's API version 3 is gone (ended 2026-04-30).",
     ("`pccs_url` or `collateral_service` still says /v3/, and the PCCS does not hold the item.",
      "Intel's PCS answers 410 to a TCB evaluation data number that is retired."),
     (("Write /v4/ into `pccs_url` and `collateral_service` in /etc/sgx_default_qcnl.conf, "
       "restart the daemon."),),
     ()),
    (413, 0xB011,
     '"Content too large."',
     ("An import is above MaxRequestBodySize (2MB, about 70 platforms).",),
     (("Raise MaxRequestBodySize in the PCCS's configuration, or import fewer platforms at a "
       "time."),),
     ()),
    (429, 0xB011,
     ("Too many requests. Intel's PCS throttles with it (Retry-After); Intel's PCCS turns it "
      "into 404."),
     (("Many hosts ask Intel at once, or many misses of one platform (the PCCS does not join "
       "them)."),),
     (f"Wait for Retry-After, then fill the cache host by host; {PCCS_LOG}",), ("404",)),
    (460, 0xB011,
     "\"The integrity of the data can't be verified.\"",
     ("Import: the root certificates at the end of the issuer chains are not the same text.",),
     ("Fetch the collateral again in one run of one tool, and import that file unchanged.",), ()),
    (461, 0xB010,
     '"The platform was not found in the cache."',
     ("REQ or OFFLINE mode, and this pair of QE id and PCE id is unknown.",),
     ("Register it: `sudo PCKIDRetrievalTool`; OFFLINE: export, fetch outside, import.",),
     ("0xE047",)),
    (462, 0xB012,
     '"Certificates are not available for certain TCBs."',
     ("Intel's PCCS defines this status and never sends it (1.23, 1.27); another server does.",
      "Intel certifies no TCB as low as the platform's: BIOS or microcode are too old."),
     ("Update BIOS and microcode, reboot, register again.",), ("0xE049",)),
    (500, 0xB011,
     '"Internal server error occurred."',
     ('Many hosts start at once: SQLite is locked ("SQLITE_BUSY: database is locked").',
      "REQ mode in PCCS 1.27, and Intel has no certificate for one of the platform's TCBs.",
      "Intel's server for the root CA CRL cannot be reached from the PCCS."),
     (PCCS_LOG, "Start hosts one after the other, or give the PCCS a MySQL database (DB_CONFIG)."),
     ()),
    (502, 0xB011,
     '"Unable to retrieve the collateral from the Intel SGX PCS."',
     ("The PCCS cannot reach Intel: no route, no DNS, or a proxy that it was not told of.",),
     (("On the PCCS's host: `curl -v "
       "https://api.trustedservices.intel.com/sgx/certification/v4/qe/identity`"),
      "Set `proxy` in the PCCS's config/default.json, then `sudo systemctl restart pccs`."),
     ()),
    (503, 0xB013,
     '"Server is currently unable to process the request."',
     ("A refresh was asked in OFFLINE mode, or Intel did not give what it needed.",
      "On other routes it comes from what stands in front of the PCCS."),
     (PCCS_LOG, "OFFLINE: do not refresh; import new collateral instead."), ("0xE040",)),
)
# fmt: on
