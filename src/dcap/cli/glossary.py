"""Intel's TCB statuses, our exit statuses and advisories, for `dcap explain`: tables alone.

Not here: our error codes (`vocabulary`), finding codes (`verification.checks`) and the codes of Intel's
and Open Enclave's software (`qpl.error_codes`), which have tables of their own.

Source of the TCB statuses: Intel PCS API, "TCB Info"; QVL for the last three; `verification.md` §6.
"""

from typing import Final, TypeAlias

#: Meaning for a relying party, what brings it about (in the order met), what to do (in order).
StatusRow: TypeAlias = tuple[str, tuple[str, ...], tuple[str, ...]]

_REFETCH: Final = "fetch the collateral again from Intel's PCS or your PCCS, unchanged"
_SHOWN: Final = (
    "`dcap verify … --json` lists the shortfall: each SVN that is short and what raises it"
)
_ACCEPT: Final = "or, knowing the advisories, let the policy accept it (accepted_tcb_statuses)"

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
TCB_STATUSES: Final[dict[str, StatusRow]] = {
    "UpToDate": (
        ("Every SVN reaches Intel's newest level. Advisories may still be named; by itself that is "
         "no fault. It holds for this collateral at this instant, not for ever."),
        ("Firmware, microcode, QE and (TDX) module are as new as the collateral asks.",),
        ("nothing: the default policy accepts it",)),
    "SWHardeningNeeded": (
        ("The platform is patched, but some attacks are stopped only by software inside the enclave: "
         "your enclave must carry those mitigations."),
        ("The CPU model has an issue that no update removes.",),
        ("build the enclave with the mitigations that the advisories name",
         "then let the policy accept SWHardeningNeeded")),
    "ConfigurationNeeded": (
        ("The platform is patched, but a setting that the advisories ask to change may be as it was; "
         "the quote cannot show which."),
        ("A BIOS setting is not as an advisory wants it; hyper-threading is a usual one.",),
        ("have the operator change the setting that the advisories name", _ACCEPT)),
    "ConfigurationAndSWHardeningNeeded": (
        "Both: a setting of the platform may need a change, and the enclave must carry mitigations.",
        ("A BIOS setting is not as advised, on a CPU whose issues software must stop too.",),
        ("change the setting, build with the mitigations", _ACCEPT)),
    "OutOfDate": (
        ("Genuine, but known attacks are not patched on this machine: whoever controls it may learn "
         "what its enclaves hold."),
        ("Intel raised the level (a TCB recovery); what was UpToDate yesterday is not any more.",
         "BIOS or microcode, the QE's packages or the TDX module were not updated.",
         "Updated, but the quote still carries the PCK certificate of the old TCB."),
        (_SHOWN, "have the operator update, register again, and make a new quote",
         "or accept it for a while after its TCB date (platform_grace_period)")),
    "OutOfDateConfigurationNeeded": (
        "Out of date as above, and a setting of the platform may need a change too.",
        ("BIOS or microcode are old on a platform whose configuration counts.",
         "ConfigurationNeeded, with a QE or a TDX module that is out of date."),
        (_SHOWN, "have the operator update and change the setting, and make a new quote")),
    "TDRelaunchAdvised": (
        ("The TD was started under a TCB that is out of date; the machine has been updated since, "
         "under the running TD."),
        ("A TDX module was updated without restarting the TDs (TDX 1.5).",),
        ("relaunch the TD, and make a new quote", _ACCEPT)),
    "TDRelaunchAdvisedConfigurationNeeded": (
        "As TDRelaunchAdvised, and a setting of the platform may need a change too.",
        ("A TDX module was updated under the running TD, on a platform whose configuration counts.",),
        ("change the setting, relaunch the TD, and make a new quote", _ACCEPT)),
    "Revoked": (
        "Intel has revoked the TCB level: the platform is not trustworthy. No policy can accept it.",
        ("Firmware so old that its level was revoked, or a QE or a TDX module of which that is true.",),
        ("send it nothing secret", "update BIOS and microcode, register again, make a new quote")),
    "TCB_NOT_SUPPORTED": (
        ("The platform reaches no level at all, not even the lowest: Intel makes no statement about "
         "it. It is never accepted."),
        ("Firmware older than the oldest level of the TCB info.",
         "The TCB info is of another platform generation, or too old to know a new TDX module."),
        (_REFETCH, "update BIOS and microcode, register again, make a new quote")),
}

EXIT_STATUSES: Final[dict[int, tuple[str, str]]] = {
    0: ("Accepted: genuine, and acceptable by the policy.", "nothing"),
    1: ("Usage or configuration: a flag, a policy or a file cannot be obeyed. Nothing was judged.",
        "the message names it; dcap COMMAND --help"),
    2: ("The evidence is malformed or of a kind that is not supported.",
        "give it as the attester sent it; `dcap inspect FILE` shows what it is"),
    3: ("False: a signature, a chain, a revocation or a binding says so. Do not trust it.",
        "look at the FAIL lines; altered bytes, mixed or test collateral, or a wrong clock"),
    4: ("Genuine, but the TCB or the collateral is not what the policy accepts.",
        "update the platform (see the shortfall), fetch fresh collateral, or change the policy"),
    5: ("Genuine, but not the enclave or TD that is wanted, or none was pinned.",
        "pin what you built: --mrenclave, --mrsigner with --product-id, --mrtd, or a policy"),
    6: ("Collateral unavailable. It says nothing about the evidence.",
        "`dcap explain CODE` for the code of the message; --collateral judges by files instead"),
    7: ("This machine's environment: `dcap doctor` or `dcap provider list` found a failure.",
        "see the lines that begin with FAIL or error, and the fix of each"),
    10: ("Accepted now, but the look-ahead fails.", "update before the date that is named"),
    70: ("A bug in dcap.", "report it, with the command and the message"),
}
# fmt: on

#: An advisory's page; `{}` is its id in lower case.
ADVISORY_URL: Final = "https://www.intel.com/content/www/us/en/security-center/advisory/{}.html"
ADVISORY: Final = (
    "The id of one of Intel's security advisories: a page on a vulnerability and what is done about "
    "it. Intel names ids beside a TCB level; they concern every platform of that level. Whether one "
    "matters to your enclave stands on its page."
)
ADVISORY_REMEDY: Final = (
    "read the page; it says which products, updates and settings it is about",
    "to judge by ids, write accepted_advisories or rejected_advisories in the policy",
)
