"""The words of dcap and of Intel's documents, for `dcap explain`: tables, and nothing that looks up.

Here stand our error codes (`DcapError.code`), the TCB statuses as a relying party meets them, and our
exit statuses. Not here: finding codes (`verification.checks`) and the codes of Intel's and Open
Enclave's software (`qpl.error_codes`), which have tables of their own.

Source of the TCB statuses: Intel PCS API, "TCB Info"; QVL for the last three; `verification.md` §6.
"""

from typing import Final, TypeAlias

#: Exit status, meaning, how to mend it.
ErrorRow: TypeAlias = tuple[int, str, str]
#: Meaning for a relying party, what brings it about (in the order met), what to do (in order).
StatusRow: TypeAlias = tuple[str, tuple[str, ...], tuple[str, ...]]

_COPY: Final = "get the whole file: a copy was probably cut off, or a length altered"
_REFETCH: Final = "fetch the collateral again from Intel's PCS or your PCCS, unchanged"
_SEE_POLICY: Final = "correct the policy; the message names the key"
_RECOGNISED: Final = (
    "give the evidence as the attester sent it; `dcap inspect FILE` shows what it is"
)
_SHOWN: Final = (
    "`dcap verify … --json` lists the shortfall: each SVN that is short and what raises it"
)
_ACCEPT: Final = "or, knowing the advisories, let the policy accept it (accepted_tcb_statuses)"

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ERROR_CODES: Final[dict[str, ErrorRow]] = {
    # the evidence, and what it comes in
    "evidence-unrecognised": (2, "The input is no SGX or TDX quote, in no container known here.",
        _RECOGNISED),
    "evidence-too-large": (2, "The input is far larger than any quote with what comes beside it.",
        "give the quote alone"),
    "evidence-nested": (2, "The quote is wrapped more often than any attester wraps one.",
        "take the outer layers (PEM, base64, hex) off first"),
    "evidence-several": (2, "Several quotes stand where one belongs.", "give one at a time"),
    "conclave-magic": (2, "It does not begin as a Conclave EnclaveInstanceInfo does.", _RECOGNISED),
    "conclave-size": (2, "The lengths in the EnclaveInstanceInfo do not add up.", _COPY),
    "conclave-attestation-type": (2, "The EnclaveInstanceInfo is of EPID, a mock or unknown.",
        "run the enclave in release or debug mode on a machine with DCAP"),
    "open-enclave-version": (2, "The Open Enclave report or evidence is of an unknown version.",
        "make it with a present Open Enclave or EGo"),
    "open-enclave-format": (2, "The Open Enclave structure holds no quote that can be read here.",
        "ask for remote evidence in the sgx_ecdsa or tdx format, not for a local report"),
    "open-enclave-size": (2, "The lengths in the Open Enclave structure do not add up.", _COPY),
    "open-enclave-custom-claims": (2, "The custom claims beside the quote cannot be read.", _COPY),
    "open-enclave-report-truncated": (2, "The Open Enclave report ends within its header.", _COPY),
    "open-enclave-evidence-truncated": (2, "The evidence ends within its header.", _COPY),
    "open-enclave-custom-claims-truncated": (2, "The claims end within their header.", _COPY),
    # the quote
    "quote-version": (2, "The quote's version is none of 3, 4 and 5.",
        "check that it is a DCAP quote: an EPID quote (version 1 or 2) is not"),
    "quote-attestation-key-type": (2, "The attestation key is not of ECDSA P-256.",
        "no verifier accepts another kind; have the platform's quoting enclave make the quote"),
    "quote-tee-type": (2, "The TEE type is not SGX (0) or TDX (0x81), or not possible in the version.",
        _COPY),
    "quote-body-type": (2, "A version 5 quote's body type, its size and the TEE type disagree.", _COPY),
    "quote-truncated": (2, "A part of the quote claims more bytes than are there, or leaves some over.",
        _COPY),
    "quote-length": (2, "The certification data do not end where the quote ends.", _COPY),
    "quote-too-large": (2, "It is larger than any quote.", "give the quote alone"),
    "quote-trailing-bytes": (2, "Bytes that nothing signs stand after the quote.",
        "cut the file after the quote, if you know why they are there"),
    "quote-certification-data": (2, "The certification data are of a type that cannot stand there.",
        "get the quote again, unchanged, so that it carries its PCK chain (type 5)"),
    "sgx-report-truncated": (2, "The quote ends within its enclave report.", _COPY),
    "td-report-truncated": (2, "The quote ends within its TD report.", _COPY),
    "certification-data-truncated": (2, "The quote ends within its certification data.", _COPY),
    "field-does-not-fit": (2, "A value does not fit its field: the structure cannot be written.",
        "shorten the value; the message names the field"),
    # certificates, lists, documents
    "pem": (2, "The PEM text is malformed, or its blocks are not the ones that belong there.",
        "copy the text from -----BEGIN to -----END, both included"),
    "der": (2, "The bytes are not the DER that belongs there.", _REFETCH),
    "certificate": (2, "It is not a certificate of Intel's profile (X.509 v3, P-256, SHA-256).",
        _REFETCH),
    "crl": (2, "It is not one revocation list (X.509 v2) in DER, PEM or hex of DER.", _REFETCH),
    "pck-extensions": (2, "The PCK certificate's SGX extension cannot be read.", _REFETCH),
    "json": (2, "The document is not the JSON that belongs there.", _REFETCH),
    "levels-repeated": (2, "Two levels of one enclave or module ask for the same version.", _REFETCH),
    "json-time": (2, "A time in one of Intel's documents is not in UTC.", _REFETCH),
    "json-repeated-member": (2, "A member stands twice in one JSON object: readers would disagree.",
        "do not trust it; " + _REFETCH),
    "signed-json": (2, "The response has no document with a signature of 128 hex digits.",
        "save Intel's whole response, with its \"signature\""),
    "hex": (2, "It is not the right number of hex digits.", _REFETCH),
    "tcb-info": (2, "The TCB info does not keep to its own format.", _REFETCH),
    "enclave-identity": (2, "The enclave identity is of an unknown id or version.", _REFETCH),
    "tcb-evaluation-numbers": (2, "The list of evaluation data numbers is of an unknown id or version.",
        _REFETCH),
    "sigstruct": (2, "It is not one SIGSTRUCT of 1808 bytes.", "give the enclave's .sig file"),
    "sigstruct-truncated": (2, "The SIGSTRUCT ends early.", _COPY),
    "file-too-large": (1, "The file is larger than anything of its kind.", "check which file it is"),
    # collateral
    "collateral-missing": (6, "There is no collateral to judge the evidence by.",
        "give --collateral a folder or a file: Intel's TCB info, QE identity, two CRLs, their chains"),
    "collateral-incomplete": (6, "Pieces of collateral are missing; the message names them.",
        "put them beside the others under the names that the message gives"),
    "collateral-ambiguous": (2, "One piece of collateral is there twice, and the two disagree.",
        "keep the one that came from Intel, unchanged"),
    # verification
    "endorsements": (3, "The collateral was not proven, so nothing could be proven by it.",
        "see the findings of the collateral's check"),
    # the policy
    "policy-toml": (1, "The policy file is not valid TOML.", "the message names line and column"),
    "policy-key": (1, "The policy has an unknown key, or a value of the wrong type.",
        "correct the key; nothing unknown is skipped, because a skipped key is a check not made"),
    "policy-too-large": (1, "The policy file is larger than any policy.", "check which file it is"),
    "pcs-route": (6, "The PCS has no such resource.", "see its routes: /sgx/certification/v4/…"),
    "pccs-route": (6, "The PCCS has no such resource.", "let pccs_url end in /sgx/certification/v4/"),
    "thim-route": (6, "Azure's cache has no such resource.", "see the routes of acccache and THIM"),
    "registration-route": (6, "The registration service has no such resource.",
        "see its routes: /sgx/registration/v1/platform"),
    "registration-response": (2, "The registration service's answer cannot be read.", _REFETCH),
    "pcs-request": (2, "A request to the PCS is not as Intel's interface asks.",
        "the message names the parameter"),
    "pcs-media-type": (2, "A request's body is of another media type than the interface asks.",
        "set Content-Type as the message says"),
    "pcs-response": (2, "The PCS's answer cannot be read.", _REFETCH),
    "policy-range": (1, "A number in the policy is outside what can occur.",
        "give the number that is in the claims"),
    "endorsements-of-another-instant": (1, "Endorsements were used with another instant or root.",
        "check the collateral again with that `at` and `anchor`"),
    "release-empty-list": (1, "A list of measurements in a release is empty.",
        "give its values, or leave the key out"),
    "policy-advisory": (1, "An advisory id in the policy is not in Intel's spelling.",
        "write it as Intel does: INTEL-SA-00615"),
    "output-unwritable": (1, "The result could not be written.", "make room, or write elsewhere"),
    "usage": (1, "The command line could not be understood.", "see --help of the command"),
    "internal": (70, "A bug of dcap.", "report it, with what DCAP_DEBUG=1 prints"),
    "policy-duration": (1, "A duration cannot be read.",
        'write seconds, or a number with s, m, h, d or w: "36h", "7d"'),
    "policy-hex": (1, "A value is not hex of the right length.",
        "MRENCLAVE and MRSIGNER have 64 digits; MRTD and RTMRs 96"),
    "policy-revoked": (1, "The policy accepts Revoked, which cannot be accepted.", "take it out"),
    "policy-no-status": (1, "accepted_tcb_statuses is empty: nothing could pass.", "name UpToDate"),
    "policy-two-graces": (1, "collateral and platform grace periods exclude each other.",
        "choose one: with old collateral, how long a platform is out of date cannot be known"),
    "policy-any-and-releases": (1, 'identity = "any" stands beside releases.', "take one away"),
    "policy-release-twice": (1, "Two releases have the same name.", "rename one"),
    "release-pins-nothing": (1, "A release names neither mrenclave, mrsigner nor mrtd.",
        "pin one of them; `dcap inspect QUOTE --field mrenclave` prints a quote's"),
    "release-of-two-tees": (1, "A release names an SGX and a TDX identity; no quote is both.",
        "make two releases of it"),
    "mask-compares-nothing": (1, "A mask is zero: nothing would be compared.",
        "set every bit that is to be compared in the mask"),
    "mask-without-value": (1, "A mask has no value to compare under it.", "give the value too"),
    # the command line
    "no-instant": (1, "No trusted time was given to `appraise`, or one without a zone.",
        "pass at=datetime.now(UTC)"),
    "instant": (1, "The instant of --at cannot be read.",
        "write Unix seconds, or RFC 3339 with a zone: 2025-07-04T10:28:44Z"),
    "date": (1, "The date cannot be read.", "write it as 2025-07-04"),
    "test-root": (1, "The file of --insecure-test-root holds no root certificate.",
        "give one certificate, PEM or DER"),
    "file-unreadable": (1, "A file that was named cannot be read.", "check its name and permissions"),
    "flag-needs-identity": (1, "--product-id and --min-svn say nothing without an identity.",
        "give --mrsigner (or --mrenclave) too"),
    "status-unknown": (1, "--allow-status names no TCB status that can be accepted.",
        "write one as Intel does, such as SWHardeningNeeded, or any"),
    "two-report-data": (1, "--report-data and --report-data-sha256-of exclude each other.",
        "give one of them"),
    "field-unknown": (1, "What was inspected has no such field.", "the message lists the fields"),
    "field-hidden": (1, "The field identifies the machine and is not shown unasked.",
        "add --show-platform-id"),
    "code-unknown": (1, "`dcap explain` knows nothing of that spelling.",
        "give the code or name alone, as it stands in the log"),
    # the simulator
    "simulator-state": (1, "The directory holds no simulated world that can be read.",
        "give another --dir, or begin anew with `dcap sim reset`"),
    "simulator-event": (1, "An event cannot happen in the simulated world as it is.",
        "the message says what is missing; `dcap sim event --list` lists the events"),
    "simulator-port": (1, "`dcap sim up` cannot listen on the port.", "give another --port, or none"),
}

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
        "give --collateral; if a source serves it, see whether it answers"),
    7: ("This machine's environment: `dcap doctor` found a failure.", "see the FAIL lines"),
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
