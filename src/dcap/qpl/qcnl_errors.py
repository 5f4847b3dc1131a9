"""The codes of `sgx_qcnl_error_t` (0xB000 + n): why Intel's quote provider did not get an answer.

Not what a program receives: the provider turns each into a code of `quote3_errors`, and only its
log shows the one given here, which is the real reason. Mirrors Intel's
`sgx_default_qcnl_wrapper.h`; curl errors and HTTP statuses as its network layer maps them.
"""

from typing import Final, TypeAlias

# Columns: code, name, the quote3_error_t it becomes, meaning, causes, remedy, see also.
Row: TypeAlias = tuple[int, str, int, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]

READ_CONFIG: Final = (
    "`cat /etc/sgx_default_qcnl.conf` (or $QCNL_CONF_PATH): host, port and scheme of `pccs_url`, "
    "its last `/`, every comma."
)
CURL_ROOT_CRL: Final = (
    "`curl -kv https://localhost:8081/sgx/certification/v4/rootcacrl` (or your `pccs_url`)"
)
CURL_QE_IDENTITY: Final = "`curl -kv https://localhost:8081/sgx/certification/v4/qe/identity`"
PCCS_LOG: Final = "`systemctl status pccs; journalctl -u pccs -n 50` on the PCCS's host."
PROXY: Final = (
    "`env | grep -i proxy`; for a daemon `systemctl show aesmd -p Environment`. Put the PCCS's "
    "host into `no_proxy`."
)
RESTART: Final = (
    "The file is read once per process: `sudo systemctl restart aesmd` (TDX host: qgsd), or your "
    "program."
)

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[tuple[Row, ...]] = (
    (0xB001, "SGX_QCNL_UNEXPECTED_ERROR", 0xE001,
     "Something unexpected happened in the network library.",
     ("The PCCS answered 200 with an empty body.",
      "TDX: `collateral_service` contains no `/sgx/` that could be rewritten to `/tdx/`."),
     (CURL_ROOT_CRL, READ_CONFIG), ()),
    (0xB002, "SGX_QCNL_INVALID_PARAMETER", 0xE002,
     "An argument of the call is missing or out of range.",
     ("The caller of the quote provider passed ids of the wrong size or a wrong crypto suite.",),
     ("Check the arguments of the failing call.",), ()),
    (0xB003, "SGX_QCNL_NETWORK_ERROR", 0xE019,
     "The request failed, and no more precise code fits.",
     ("The PCCS, or a proxy before it, answered 403.",
      ("libcurl failed in a way that has no code of its own, for instance a malformed URL (curl "
       "error 3)."),
      ("A blank or another unescaped character stands in `custom_request_options` (params go out "
       "verbatim).")),
     (CURL_ROOT_CRL, READ_CONFIG), ("403",)),
    (0xB004, "SGX_QCNL_NETWORK_PROXY_FAIL", 0xE019,
     "The name of the proxy does not resolve (curl error 5).",
     (("`https_proxy`, `HTTPS_PROXY`, `http_proxy` or `all_proxy` names a host that does not "
       "exist here."),),
     (PROXY, "`getent hosts PROXYHOST`"), ()),
    (0xB005, "SGX_QCNL_NETWORK_HOST_FAIL", 0xE019,
     "The name of the host in the URL does not resolve (curl error 6).",
     ("The host in `pccs_url` or `collateral_service` is misspelt.",
      "DNS of the machine or container does not know it."),
     ("`getent hosts PCCSHOST`", READ_CONFIG), ()),
    (0xB006, "SGX_QCNL_NETWORK_COULDNT_CONNECT", 0xE019,
     "The connection to the PCCS, or to the proxy, was refused or not possible (curl error 7).",
     ("The PCCS does not run, or listens on 127.0.0.1 only (its default for `hosts`).",
      "Wrong host or port in `pccs_url`.",
      ("The configuration was discarded for a syntax error: https://localhost:8081 is asked "
       "instead."),
      "In a container, `localhost` is the container and not its host.",
      "A proxy variable catches localhost or the intranet."),
     (PCCS_LOG,
      ("`ss -ltn | grep 8081` on the PCCS's host; from elsewhere its `hosts` must not be "
       "127.0.0.1."),
      CURL_ROOT_CRL,
      READ_CONFIG,
      PROXY),
     ("0xB035", "0xB036")),
    (0xB007, "SGX_QCNL_NETWORK_HTTP2_ERROR", 0xE019,
     "HTTP/2 failed in its framing layer.",
     ("The server or a proxy between speaks HTTP/2 badly; a PCCS speaks HTTP/1.1.",),
     (f"{CURL_ROOT_CRL}; compare with `curl --http1.1 -kv …`",), ()),
    (0xB008, "SGX_QCNL_NETWORK_WRITE_ERROR", 0xE019,
     "What was received could not be handed on (curl error 23).",
     ("The write callback refused the data.",), (CURL_ROOT_CRL,), ()),
    (0xB009, "SGX_QCNL_NETWORK_OPERATION_TIMEDOUT", 0xE019,
     "The network timed out (curl error 28).",
     ("A firewall drops the packets, or the host is down.",
      "With retries, this is the last of `retry_times` + 1 attempts."),
     (CURL_ROOT_CRL, "`nc -vz PCCSHOST 8081`"), ()),
    (0xB00A, "SGX_QCNL_NETWORK_HTTPS_ERROR", 0xE019,
     "The TLS connection could not be made (curl error 35).",
     ("An https URL is used with an http port.",
      "Client and server have no TLS version or cipher in common."),
     ("`openssl s_client -connect localhost:8081 </dev/null`", READ_CONFIG), ("0xB033",)),
    (0xB00B, "SGX_QCNL_NETWORK_UNKNOWN_OPTION", 0xE019,
     "libcurl does not know an option that the library sets (curl error 48).",
     ("The libcurl found at run time is too old or built without that feature.",),
     ("`ldconfig -p | grep libcurl`; update libcurl4.",), ()),
    (0xB00C, "SGX_QCNL_NETWORK_INIT_ERROR", 0xE019,
     "libcurl could not be loaded or started.",
     ("Neither `libcurl.so` nor `libcurl.so.4` is installed (it is loaded only at run time).",),
     ("`ldconfig -p | grep libcurl`; `sudo apt install libcurl4`",), ()),
    (0xB00D, "SGX_QCNL_MSG_ERROR", 0xE046,
     "The answer lacks something or cannot be parsed.",
     ("A 200 without its issuer-chain header or SGX-TCBm.",
      ("A server or proxy writes headers without the blank after the colon: Intel's parser skips "
       "those.")),
     (f"{CURL_QE_IDENTITY} and look for `SGX-Enclave-Identity-Issuer-Chain`.",),
     ("0xE01A", "0x0000")),
    (0xB00E, "SGX_QCNL_OUT_OF_MEMORY", 0xE003,
     "Memory could not be allocated, or the answer is too large.",
     ("An item with its chain is over 65535 bytes; the library then aborts the process.",
      "The machine or container is short of memory."),
     (f"`free -m`; then see how long the answer is: {CURL_QE_IDENTITY}",), ()),
    (0xB00F, "SGX_QCNL_ERROR_STATUS_NO_CACHE_DATA", 0xE01B,
     ("The server answered 404. The outer code depends on the request: pckcert 0xE011, CRLs "
      "0xE01B, tcb 0xE062, QE identity 0xE061, QvE identity 0xE037."),
     ("The platform is not registered, or the PCCS was not filled with this item.",
      ("The PCCS in LAZY mode asked Intel and got anything but 200: wrong API key, throttling, "
       "outage."),
      "`pccs_url` lacks its last `/` or has a wrong path."),
     (READ_CONFIG, PCCS_LOG), ("404", "0xE011", "0xE062", "0xE061", "0xE037")),
    (0xB010, "SGX_QCNL_ERROR_STATUS_PLATFORM_UNKNOWN", 0xE047,
     "The PCCS answered 461: it does not know this platform.",
     ("The PCCS is in REQ or OFFLINE mode and has no entry for this platform.",),
     ("Register it: `sudo PCKIDRetrievalTool`; OFFLINE: import its collateral.",), ("461",)),
    (0xB011, "SGX_QCNL_ERROR_STATUS_UNEXPECTED", 0xE044,
     ("The server answered with a status that the library does not know: anything but 200, 403, "
      "404, 461, 462 and 503."),
     ("401: Intel's PCS is used as `pccs_url`, or a key is missing.",
      "3xx: redirects are not followed, as from http to https.",
      "400: a parameter is missing or malformed, for instance no encrypted PPID.",
      "429 or 5xx: the PCCS cannot reach Intel, or fails itself."),
     (f"See status and body: {CURL_ROOT_CRL}", PCCS_LOG, READ_CONFIG),
     ("400", "401", "429", "500", "502")),
    (0xB012, "SGX_QCNL_ERROR_STATUS_CERTS_UNAVAILABLE", 0xE049,
     "The PCCS answered 462: no PCK certificate for the platform's present TCB.",
     ("BIOS or microcode are older than every TCB that Intel certifies.",),
     ("Update BIOS and microcode, reboot, register again: `sudo PCKIDRetrievalTool`.",), ("462",)),
    (0xB013, "SGX_QCNL_ERROR_STATUS_SERVICE_UNAVAILABLE", 0xE040,
     ("The server answered 503, and still did after all retries: 503 is the one status that is "
      "retried."),
     ("The PCCS cannot serve now, or what stands in front of it has no live server.",
      "After a retry that succeeds, a 503 with a body spoils the answer: the bodies are joined."),
     (PCCS_LOG,
      ("Set `retry_times` and `retry_delay` in /etc/sgx_default_qcnl.conf; a 503 should have no "
       "body.")),
     ("503",)),
    (0xB030, "SGX_QCNL_INVALID_CONFIG", 0xE001,
     "The configuration file holds a value that the library cannot use.",
     (('`pccs_api_version` is neither "3.0" nor "3.1" (collateral calls then end at the root '
       "CRL)."),),
     (READ_CONFIG, RESTART), ()),
    (0xB031, "SGX_QCNL_CACHE_MISSING", 0xE001,
     "`local_cache_only` is set and the cache holds no PCK certificates for this platform.",
     (("The cache file (named QE id, `_`, PCE id) was not put into .dcap-qcnl, or is for another "
       "platform."),
      ("The process has another home than you think: the first of AZDCAP_CACHE, XDG_CACHE_HOME, "
       "HOME, TMPDIR and /tmp that has a .dcap-qcnl directory counts.")),
     ("`ls -la ~/.dcap-qcnl /tmp/.dcap-qcnl` as the user that makes the quotes.",
      'Put the file there, or set `"local_cache_only": false`.'),
     ()),
    (0xB032, "SGX_QCNL_CACHE_EXPIRED", 0xE001,
     "`local_cache_only` is set and the cache file has expired; it is deleted on use.",
     ("The file was made longer ago than its lifetime (2160 hours by default).",),
     ("Make a new cache file and put it into .dcap-qcnl.",), ()),
    (0xB033, "SGX_QCNL_ROOT_CA_UNTRUSTED", 0xE065,
     "The TLS certificate of the server is not trusted (curl error 60).",
     ("The PCCS's certificate is self-signed and `use_secure_cert` is true.",
      "The host name in `pccs_url` is not in the certificate's names."),
     (("`openssl s_client -connect localhost:8081 </dev/null | openssl x509 -noout -issuer "
       "-subject -ext subjectAltName`"),
      ("Trust it: `sudo cp pccs.crt /usr/local/share/ca-certificates/ && sudo "
       "update-ca-certificates`."),
      'On a test machine only: `"use_secure_cert": false`.',
      RESTART),
     ()),
    (0xB035, "SGX_QCNL_CONFIG_INVALID_JSON", 0xE067,
     ("The configuration begins with `{` and is not valid JSON. All of it is thrown away; the "
      "defaults apply."),
     ("A comma after the last entry, doubled, or missing.",),
     (("`grep -v '^ *//' /etc/sgx_default_qcnl.conf | python3 -m json.tool` names line and "
       "column."),
      RESTART),
     ("0xB036",)),
    (0xB036, "SGX_QCNL_CONFIG_NOT_JSON", 0x0000,
     ("The configuration does not begin with `{`, so it is taken for the legacy KEY=value format "
      "and no error is reported; a broken JSON file then silently means the defaults."),
     ("The file is in the legacy format on purpose: then all is well.",
      "It is missing, empty or unreadable.",
      ("It is JSON that begins with a blank, a newline, a comment or a byte-order mark and has "
       "an error.")),
     (("`head -c 3 /etc/sgx_default_qcnl.conf | xxd` (a byte-order mark is efbbbf; JSON should "
       "begin 7b)."),
      "`grep -v '^ *//' /etc/sgx_default_qcnl.conf | python3 -m json.tool`",
      RESTART),
     ("0xB035",)),
)
# fmt: on
