"""Codes of Intel's PCS and what speaks like it: Azure's caches and the registration service.

`pcs-N` is HTTP status N of such a service. Not here: a PCCS (`pccs`).
"""

from typing import Final

from dcap.cli.vocabulary.row import CURL, Row, Rows

_AGAIN: Final = "ask again in some minutes, or name a second source: --source pcs --source azure"

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    # statuses
    "pcs-400": Row(6, "The PCS calls the request malformed.",
        ("`update` and tcbEvaluationDataNumber stand in one request; the PCS takes one of them.",
         "The manifest is of another registration server (sandbox, production) or a revoked package."),
        ("look at Error-Code and Error-Message: they stand in the message, in brackets",)),
    "pcs-401": Row(6, "The subscription key is missing or wrong.",
        ("Intel's PCS stands as pccs_url: PCK certificates want a key, which a quote provider has not.",
         "The key is of the sandbox, or was renewed in Intel's portal."),
        ("`dcap qcnl lint` says whether Intel's PCS stands where a PCCS belongs",
         "to verify alone, no key is needed: `dcap qcnl write --intel-pcs`")),
    "pcs-403": Row(6, "Something before the PCS refuses the request.",
        ("A company's proxy has no rule for api.trustedservices.intel.com.",),
        ("`curl -v https://api.trustedservices.intel.com/sgx/certification/v4/qe/identity`",)),
    "pcs-404": Row(6, "The PCS has none: unknown FMSPC, PPID or number, or not registered.",
        ("A machine of several CPU packages was never registered, so that Intel does not know its PPID.",
         "The FMSPC is of a pre-production CPU, or was typed wrongly.",
         "The evaluation number is newer than any that Intel has issued."),
        ("`dcap inspect QUOTE --field fmspc` prints the quote's; compare it",
         ("register a machine of several packages: its service mpa_registration, or through a PCCS "
          "with `sudo PCKIDRetrievalTool`"),
         "leave out --evaluation")),
    "pcs-410": Row(6, "The TCB evaluation data number is retired.",
        ("A number was pinned with --evaluation, and Intel's standard one has passed it.",),
        ("leave out --evaluation, or give a newer number",)),
    "pcs-415": Row(6, "The PCS does not take the media type of the request's body.",
        ("A script posts a platform manifest with curl's default, as a form.",),
        ("for PCK certificates: -H 'Content-Type: application/json'",
         "for registration: -H 'Content-Type: application/octet-stream'")),
    "pcs-429": Row(6, "The PCS asks to be left alone for a while.",
        ("Each machine of a fleet asks Intel itself, in place of one cache for all.",),
        ("wait as long as the message says (Retry-After)",
         "let one PCCS ask for all of them: --source https://HOST:8081/sgx/certification/v4/")),
    "pcs-500": Row(6, "The PCS had an error of its own.",
        ("A failure at Intel's or Azure's that passes by itself.",),
        (_AGAIN,)),
    "pcs-502": Row(6, "What stands before the PCS cannot reach it.",
        ("A gateway or proxy on the way has lost its own connection.",),
        ("`curl -v` the URL of the message: its Server and Via headers name who answers", _AGAIN)),
    "pcs-503": Row(6, "The PCS cannot answer now.",
        ("The service is overloaded or being maintained.",),
        (_AGAIN,)),
    "pcs-status": Row(6, "The service answered with a status that no PCS sends.",
        ("The URL leads to another kind of server, such as a web site or a storage.",),
        (CURL,)),
    # messages that cannot be read
    "pcs-response": Row(2, "The PCS's answer cannot be read.",
        ("A proxy or a cache dropped the header with the issuer chain, which is long.",
         "Something else than a PCS or a PCCS listens at the URL."),
        (CURL,)),
    "pcs-request": Row(2, "A request to the PCS is not as Intel's interface asks.",
        ("An FMSPC or another value has not the right number of hex digits.",
         "A parameter that must be there is missing, or ca is neither processor nor platform."),
        ("correct the parameter that the message names",)),
    "pcs-media-type": Row(2, "A request's body is of another media type than the interface asks.",
        ("curl's --data sends application/x-www-form-urlencoded unless it is told the type.",),
        ("add -H 'Content-Type: …' as the message says",)),
    # routes
    "pcs-route": Row(6, "The PCS has no such resource.",
        ("The version in the path is one that the service does not have.",
         "A path that only a PCCS has (rootcacrl, crl) was asked of the PCS."),
        ("write the path as /sgx/certification/v4/… or /tdx/certification/v4/…",)),
    "thim-route": Row(6, "Azure's cache has no such resource.",
        ("The path of Azure's cache was asked of its metadata service, or the reverse.",),
        ("in a VM: http://169.254.169.254/metadata/THIM/sgx/certification/v4/pckcert",
         "elsewhere: https://global.acccache.azure.net/sgx/certification/v4/")),
    "registration-route": Row(6, "The registration service has no such resource.",
        ("The path of the PCS was asked of the registration service.",),
        ("POST to /sgx/registration/v1/platform or /sgx/registration/v1/package",)),
    "registration-response": Row(2, "The registration service's answer cannot be read.",
        ("A proxy's page stands in place of the PPID.",
         "A server that is no registration service answered with 200 or 201."),
        (CURL,)),
}
# fmt: on
