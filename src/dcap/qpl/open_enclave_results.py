"""Results of the Open Enclave SDK (`oe_result_t`) that attestation meets; EGo shows them too.

Not all of the enum, and without its numbers: they depend on the release, so names are the codes
here. Mirrors Open Enclave's `bits/result.h`.
"""

from typing import Final, TypeAlias

# Columns: name, meaning, causes, remedy, see also.
Row: TypeAlias = tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]

LOG: Final = (
    "Run again with `OE_LOG_LEVEL=INFO` in the environment: the log names the code of the quote "
    "provider."
)
INSPECT: Final = (
    "`dcap inspect FILE` tells what the bytes are: raw quote, report (header version 1), evidence "
    "(3)."
)
CRLS: Final = (
    '`curl -kv https://localhost:8081/sgx/certification/v4/rootcacrl`; `"pccs_api_version": "3.1"` '
    "for DER CRLs."
)
REFRESH: Final = (
    "Refresh the PCCS, `mv ~/.dcap-qcnl ~/.dcap-qcnl.old` (Azure: ~/.az-dcap-client), run again; "
    "`timedatectl` for the clock."
)

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[tuple[Row, ...]] = (
    ("OE_OK",
     "The call succeeded.",
     ("Success.",), ("Nothing to mend.",), ()),
    ("OE_FAILURE",
     "The call failed, and Open Enclave says no more.",
     ("The cause is in the log.",), (LOG,), ()),
    ("OE_UNSUPPORTED",
     "The operation or format is not supported here.",
     (("Evidence of a kind that this call does not take: EGo's VerifyRemoteReport takes no raw "
       "quote."),
      "Open Enclave parses SGX quotes of version 3 only.",
      "The platform or environment lacks what the call needs, such as SGX itself."),
     (INSPECT, "`dcap verify FILE` takes raw quotes, reports and evidence."), ()),
    ("OE_VERIFY_FAILED",
     "A cryptographic check failed: of the quote, a signature or a certificate chain.",
     ("The quote or the collateral was changed, or they do not belong together.",),
     ("`dcap verify FILE` names the step.",), ()),
    ("OE_PLATFORM_ERROR",
     "The platform below failed. EGo shows it with the provider's code: `quote3_error_t=SGX_QL_…`.",
     ("Most often the platform is not registered: SGX_QL_NO_PLATFORM_CERT_DATA.",
      "The PCCS cannot be reached: SGX_QL_NETWORK_ERROR."),
     ("`dcap explain` the `quote3_error_t` printed beside it.",
      "`ls -l /dev/sgx*; id; systemctl status aesmd; cat /etc/sgx_default_qcnl.conf`"),
     ("0xE011", "0xE019")),
    ("OE_SERVICE_UNAVAILABLE",
     "A service that the call needs is not available, such as aesmd.",
     ("SGX_AESM_ADDR is set (any value means out-of-process quoting) and aesmd does not run.",
      "In a container: the socket of aesmd is not mounted."),
     ("`systemctl status aesmd; ls -l /var/run/aesmd/aesm.socket; env | grep SGX_AESM_ADDR`",), ()),
    ("OE_REPORT_PARSE_ERROR",
     "The report or quote could not be parsed.",
     (("A raw quote was passed where a report with Open Enclave's 16-byte header is expected, or "
       "the reverse."),
      "The file was cut, or is base64 or hex text."),
     (INSPECT,), ()),
    ("OE_JSON_INFO_PARSE_ERROR",
     "TCB info or QE identity could not be parsed.",
     (("The PCCS answered with something else than the JSON asked for, or with an older version "
       "of it."),),
     ("`curl -kv https://localhost:8081/sgx/certification/v4/qe/identity`",), ()),
    ("OE_TCB_LEVEL_INVALID",
     ("The quote is genuine, but the TCB status is not UpToDate. EGo returns this error together "
      "with the filled report."),
     ("The platform is OutOfDate, or needs configuration or software hardening.",
      "Intel promoted new TCB evaluation data.",
      "The provider's cache holds older or newer collateral than yours."),
     ("`dcap verify FILE` shows the status, the advisories and which component is short.",
      ("Update BIOS and microcode, or accept the status on purpose (EGo: look at "
       "report.TCBStatus).")),
     ("0xA002", "0xA007", "0xA001")),
    ("OE_QUOTE_PROVIDER_LOAD_ERROR",
     "The quote provider `libdcap_quoteprov.so` could not be loaded.",
     ("It is not installed.",
      "Only `libdcap_quoteprov.so.1` is there: Open Enclave and EGo load the bare name.",
      "A library that it depends on is missing (on Windows: a dependent DLL)."),
     ("`ldconfig -p | grep quoteprov; ls -l /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so*`",
      ("`sudo ln -s libdcap_quoteprov.so.1 /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so`, or "
       "install the `-dev` package."),
      "`ldd /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1 | grep 'not found'`"),
     ("0xE00E",)),
    ("OE_QUOTE_PROVIDER_CALL_ERROR",
     "The quote provider was loaded and failed when called.",
     ("The PCCS was not reached, or has nothing for this platform.",
      "The wrong provider is loaded: Azure's on bare metal, Intel's on Azure, or both installed."),
     (LOG,
      ("`curl -kv https://localhost:8081/sgx/certification/v4/rootcacrl; cat "
       "/etc/sgx_default_qcnl.conf`"),
      "`ls -l /usr/lib/libdcap_quoteprov.so /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so*`"),
     ("0xE011", "0xE019", "0xE044")),
    ("OE_INVALID_REVOCATION_INFO",
     "The revocation data (CRLs, TCB info) is not valid for this enclave.",
     ("A CRL of another CA, or in an encoding that Open Enclave does not take.",
      "The data is older than the issue date demanded."),
     (CRLS, REFRESH), ()),
    ("OE_INVALID_QE_IDENTITY_INFO",
     "The QE identity is not valid.",
     ("The answer to `qe/identity` was changed, or is not a QE identity.",),
     ("`curl -kv https://localhost:8081/sgx/certification/v4/qe/identity`",), ()),
    ("OE_INVALID_ENDORSEMENT",
     "The endorsements (collateral) are not valid.",
     (("They were made for other evidence, cut, or carry a version that is not accepted (1, 3.0, "
       "3.1)."),
      "Azure's provider stamps TDX collateral 4.0."),
     (INSPECT, "Fetch the endorsements again beside the evidence."), ()),
    ("OE_VERIFY_CRL_EXPIRED",
     "A certificate revocation list has expired.",
     ("Collateral was cached past its nextUpdate.", "The clock is wrong."), (REFRESH,),
     ("0xE02E", "79")),
    ("OE_VERIFY_CRL_MISSING",
     "A certificate revocation list is missing.",
     ("The PCCS has no CRL for this CA, or it was not passed to the verifier.",), (CRLS,),
     ("0xE01B",)),
    ("OE_VERIFY_REVOKED",
     "A certificate or signature is revoked.",
     ("Intel revoked the PCK certificate, its CA or the TCB signing certificate.",),
     ("`dcap verify FILE` says which; do not trust the platform as it is.",), ("0xE031", "0xA005")),
    ("OE_VERIFY_FAILED_TO_FIND_VALIDITY_PERIOD",
     ("There is no time at which all the collateral is valid, or the time of the check lies "
      "outside."),
     ("Part of the collateral is cached and old, part is new.",
      "The time passed by the caller, or the clock, is wrong."),
     (REFRESH,), ()),
    ("OE_QUOTE_VERIFICATION_ERROR",
     "The quote could not be verified.",
     ("A step of the verification failed; the log says which.",),
     (LOG, "`dcap verify FILE` names the step."), ()),
    ("OE_QUOTE_ENCLAVE_IDENTITY_VERIFICATION_FAILED",
     "The quoting enclave is not the one that Intel's QE identity describes.",
     (("The QE identity is of another kind (QE, TD_QE), or the quote was not made by Intel's "
       "quoting enclave."),),
     ("`dcap verify FILE` names the member that differs.",), ("0xE026", "74")),
    ("OE_QUOTE_ENCLAVE_IDENTITY_UNIQUEID_MISMATCH",
     "The unique id (MRENCLAVE) of the quoting enclave is not the one expected.",
     ("The quoting enclave is of another release than the identity.",),
     ("`dcap inspect FILE` shows the QE report.",), ("0xE026",)),
)
# fmt: on
