"""The values of `sgx_ql_qv_result_t` (0x0000, 0xA000 + n): Intel's verdict on a quote.

Not error codes of calls (`quote3_errors`): a non-terminal result comes with a successful call and
still asks for a decision. Mirrors Intel's `sgx_qve_header.h`; each SGX_QL_QV_RESULT_ name has a
TEE_QV_RESULT_ twin of the same value. On a terminal error the result is forced to 0xA006.
"""

from typing import Final, TypeAlias

# Columns: code, name, the TCB status text it stands for, meaning, causes, remedy, see also.
Row: TypeAlias = tuple[int, str, str | None, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]

ADVISORIES: Final = "`dcap verify quote.bin` lists the advisories and the component that is short."

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[tuple[Row, ...]] = (
    (0x0000, "SGX_QL_QV_RESULT_OK", "UpToDate",
     "Verified: signatures, chains and CRLs hold, and the TCB is up to date.",
     (("Success. It says nothing of expired collateral (a flag of its own) or of which enclave "
       "it is."),),
     ("Nothing to mend. Identity and expiry are judged too by `dcap verify quote.bin`.",), ()),
    (0xA001, "SGX_QL_QV_RESULT_CONFIG_NEEDED", "ConfigurationNeeded",
     "Genuine and patched, but the platform's configuration needs a change. Non-terminal.",
     ("A BIOS setting is not as Intel's advisories want it.",),
     (ADVISORIES,
      "Change the setting, or let your policy accept ConfigurationNeeded for these advisories."),
     ("47", "0xE033")),
    (0xA002, "SGX_QL_QV_RESULT_OUT_OF_DATE", "OutOfDate",
     ("Genuine, but platform, TDX module or quoting enclave are older than Intel's TCB info "
      "asks. Non-terminal."),
     ("Intel promoted new TCB evaluation data: what was UpToDate yesterday is not any more.",
      "BIOS or microcode were not updated; TDX: the module was not.",
      ("Updated, but the quote still carries the old PCK certificate: the TCB counts as in the "
       "certificate."),
      "The quoting enclave is old."),
     (ADVISORIES,
      ("Update BIOS, microcode and (TDX) the module, reboot, register the platform again, make a "
       "new quote.")),
     ("45", "0xE027")),
    (0xA003, "SGX_QL_QV_RESULT_OUT_OF_DATE_CONFIG_NEEDED", "OutOfDateConfigurationNeeded",
     "Genuine, but out of date, and the configuration needs a change too. Non-terminal.",
     ("BIOS or microcode are old, and a setting is not as Intel's advisories want it.",
      "ConfigurationNeeded platform with a quoting enclave or TDX module that is out of date."),
     (ADVISORIES, "Update, change the setting, register again, make a new quote."),
     ("48", "0xE028")),
    (0xA004, "SGX_QL_QV_RESULT_INVALID_SIGNATURE", None,
     "A signature does not hold. Terminal: nothing in the quote may be believed.",
     ("The quote was changed, cut or re-encoded on the way.",
      "The collateral was changed after signing (JSON re-serialised)."),
     (("`dcap verify quote.bin` says which signature; fetch quote and collateral again byte for "
       "byte."),),
     ("57", "55", "21", "0xE068")),
    (0xA005, "SGX_QL_QV_RESULT_REVOKED", "Revoked",
     "A key, a certificate or the TCB level is revoked. Terminal.",
     ("The PCK certificate, its CA or the TCB signing certificate is on a CRL.",
      "The TCB level is so old that Intel revoked it."),
     ("`dcap verify quote.bin` says which of them; do not trust the platform as it is.",
      "For a revoked TCB level: update BIOS and microcode, register again, make a new quote."),
     ("43", "46", "0xE031", "0xE032")),
    (0xA006, "SGX_QL_QV_RESULT_UNSPECIFIED", None,
     "Verification failed at an input; every terminal error forces this result. Terminal.",
     (("Quote, certificate chain, CRL, TCB info or QE identity could not be read or do not "
       "belong together."),
      "No collateral was found: the function's return code (0xE0..) is the one to read."),
     ("Read the return code printed beside it, and `dcap explain` that one.",
      "`dcap verify quote.bin` names every step that failed."),
     ("0xE034", "0xE01C", "0xE022")),
    (0xA007, "SGX_QL_QV_RESULT_SW_HARDENING_NEEDED", "SWHardeningNeeded",
     ("Genuine and up to date; the enclave's software must carry the hardening that advisories "
      "ask for. Non-terminal."),
     ("Some platforms say this for good: no update removes it (Azure's did for long).",),
     (ADVISORIES,
      "Build the enclave with those mitigations, then let your policy accept SWHardeningNeeded."),
     ("82", "0xE03C")),
    (0xA008, "SGX_QL_QV_RESULT_CONFIG_AND_SW_HARDENING_NEEDED", "ConfigurationAndSWHardeningNeeded",
     "Genuine and up to date; configuration and software hardening are both needed. Non-terminal.",
     ("A BIOS setting is not as advised, and the enclave must carry mitigations.",),
     (ADVISORIES,
      "Change the setting and build with the mitigations, or let your policy accept the status."),
     ("83", "0xE03D")),
    (0xA009, "SGX_QL_QV_RESULT_TD_RELAUNCH_ADVISED", "TDRelaunchAdvised",
     ("The TD was launched under an out-of-date TDX module; the module now loaded is up to date. "
      "Non-terminal."),
     (("The TDX module was updated while the TD was running (TEE_TCB_SVN old, TEE_TCB_SVN_2 "
       "current)."),),
     ("Relaunch the TD, or let your policy accept TDRelaunchAdvised.",), ("87",)),
    (0xA00A, "SGX_QL_QV_RESULT_TD_RELAUNCH_ADVISED_CONFIG_NEEDED",
     "TDRelaunchAdvisedConfigurationNeeded",
     ("The TD was launched under an out-of-date TDX module, since updated; configuration is "
      "needed too. Non-terminal."),
     (("The module was updated while the TD was running, and launch or present level needs "
       "configuration."),),
     (ADVISORIES, "Change the setting, relaunch the TD, or let your policy accept the status."),
     ("88",)),
    (0xA0FF, "SGX_QL_QV_RESULT_MAX", None,
     "The upper bound of the range. It is a marker, not a result.",
     ("Seen only where a program prints a number that it did not set.",),
     ("Look at the function's return code and at the code printed before it.",), ()),
)
# fmt: on
