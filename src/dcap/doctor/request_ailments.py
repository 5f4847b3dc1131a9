"""What can be wrong with the answers of a service, as the documentation tells it. A table alone.

Source: `quote-provider.md` §0, §1.6, §2.2-2.5, §6 rows 1, 5, 10, 15, 17, 18; `pccs-and-pcs-api.md` §1.9,
§2.1.
"""

from typing import Final

from dcap.doctor.finding import Ailment

_NO_QUOTE: Final = (
    "The machine makes no quote, or (SGX) one that names the machine instead of carrying its "
    "certificate, which verifiers refuse with 0xE01C."
)
_NO_VERDICT: Final = (
    "Whoever verifies by this service cannot: nothing stands in for what is missing."
)
_LOG: Final = "`journalctl -u pccs -n 50` on the PCCS's host: why it answered so."
_RESTART: Final = "Then restart what reads the file: `sudo systemctl restart aesmd` (or `qgsd`)."

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="request-missing-slash",
        severity="error",
        title="The address does not end in a slash",
        symptom="0xE011 SGX_QL_NO_PLATFORM_CERT_DATA, exactly as for a machine nobody registered.",
        causes=(
            "`…/v4` was written for `…/v4/`: Intel's library appends, and asks for `…/v4pckcert`.",
        ),
        why=_NO_QUOTE,
        mends=("End `pccs_url` (`collateral_service`) in `/`.", _RESTART),
        rows=(1,),
    ),
    Ailment(
        code="request-wrong-path",
        severity="error",
        title="The server has no such path",
        symptom='0xE011 or 0xE01B; the body says "Cannot GET …" instead of a PCCS\'s sentence.',
        causes=(
            "The path in the address is not that of a PCCS's API.",
            "The port is that of another web server.",
        ),
        why=_NO_QUOTE,
        mends=("Let the address end in `/sgx/certification/v4/`.", _RESTART),
        rows=(1,),
    ),
    Ailment(
        code="pck-certificate-absent",
        severity="error",
        title="The PCCS has no certificate for this machine",
        symptom=(
            '0xE011, "[QPL] No certificate data for this platform"; the PCCS logs "No cache data '
            'for this platform".'
        ),
        causes=(
            (
                "The machine was never registered: several sockets need their manifest at Intel, and "
                "the firmware's automatic registration may be off."
            ),
            (
                "The encrypted PPID in the request is all zeros (a host that could not read its own, "
                "qgsd among them), so that the PCCS cannot ask Intel."
            ),
            (
                "The PCCS itself was refused: a wrong API key, throttling and an outage of Intel's all "
                "become 404."
            ),
            "Intel certifies no TCB that fits the machine's.",
        ),
        why=_NO_QUOTE,
        mends=(
            "Register it: `dcap register submit`, or on the host `sudo PCKIDRetrievalTool`.",
            (
                "Several sockets: `sudo systemctl start mpa_registration_tool`, and see its log, first. "
                "The doctor says which step is missing where UEFI variables can be read."
            ),
            _LOG,
        ),
        rows=(1,),
    ),
    Ailment(
        code="machine-unknown",
        severity="error",
        title="The PCCS asks nobody, and does not know this machine",
        symptom="0xE047 SGX_QL_PLATFORM_UNKNOWN (HTTP 461).",
        causes=(
            "It runs in REQ or OFFLINE mode and the machine was not registered with it.",
            "OFFLINE: its list was not carried to Intel and back yet.",
        ),
        why=(
            f"{_NO_QUOTE} LAZY fetches on demand, REQ when a machine is registered, OFFLINE never: "
            "there an administrator brings the certificates."
        ),
        mends=(
            "Register it: `dcap register submit`, or `sudo PCKIDRetrievalTool`.",
            "OFFLINE, where Intel can be reached: `dcap pccs get`, `dcap pccs fetch`, `dcap pccs put`.",
        ),
        rows=(18,),
    ),
    Ailment(
        code="machine-tcb-uncertified",
        severity="error",
        title="There is no certificate for this machine's TCB",
        symptom="0xE049 SGX_QL_CERTS_UNAVAILABLE (HTTP 462).",
        causes=(
            "Microcode or BIOS are older than all that Intel certifies, or went back to an older one.",
            "Intel has not made the certificates yet (its answer was “Not available”).",
        ),
        why=_NO_QUOTE,
        mends=(
            "Update BIOS and microcode, reboot, and register again: `dcap register submit`.",
            "Ask the PCCS's administrator to refresh the machine's certificates: `dcap pccs refresh`.",
        ),
        rows=(18,),
    ),
    Ailment(
        code="pcs-for-machines",
        severity="error",
        title="Intel's own service stands where a PCCS belongs",
        symptom="0xE044 SGX_QL_UNKNOWN_MESSAGE_RESPONSE at quoting, while verifying works.",
        causes=(
            (
                "`pccs_url` was set to Intel's PCS, whose `pckcert` wants a subscription key and knows "
                "no `qeid`."
            ),
        ),
        why=_NO_QUOTE + " Collateral alone may come from Intel.",
        mends=(
            (
                "`sudo dcap qcnl write --intel-pcs --pccs https://HOST:8081/sgx/certification/v4/`: "
                "quotes by a PCCS, collateral from Intel."
            ),
            _RESTART,
        ),
        rows=(5,),
    ),
    Ailment(
        code="request-refused",
        severity="error",
        title="The service refuses the request",
        symptom="0xE044 SGX_QL_UNKNOWN_MESSAGE_RESPONSE (in the log 0xB011), 0xE019 for a 403.",
        causes=(
            "400: a PCCS that does not know the machine needs its encrypted PPID to ask Intel.",
            "401, 403: it is no PCCS, wants a key, or something before it refuses.",
            "429: too many ask at once. 3xx: it leads on, which is not followed.",
        ),
        why="To Intel's library all of them are one code; what the service said is in its log alone.",
        mends=(_LOG, "`env | grep -i proxy`: let no proxy stand before the PCCS."),
        rows=(5,),
    ),
    Ailment(
        code="service-failing",
        severity="error",
        title="The service has an error of its own",
        symptom="0xE044 (in the log 0xB011) for 500 and 502, 0xE040 for 503.",
        causes=(
            "502: the PCCS does not reach Intel.",
            "500: its database is locked (many machines start at once) or gone.",
            "503: it is overloaded, or what stands before it has no server to ask.",
        ),
        why=(
            "Intel's library tries again after 503 alone, and then puts the bodies of both answers one "
            "behind the other: a 503 with a body spoils what comes next."
        ),
        mends=(
            _LOG,
            (
                "On the PCCS's host: `curl -v https://api.trustedservices.intel.com/sgx/certification/"
                "v4/qe/identity`."
            ),
        ),
        rows=(5,),
    ),
    Ailment(
        code="request-unanswered",
        severity="error",
        title="A request gets no whole answer",
        symptom="0xE019, or a program that hangs.",
        causes=(
            "The PCCS waits for Intel: its own limits are minutes.",
            "The connection is cut in the middle of the answer.",
        ),
        why="Intel's library sets no limit of its own on the wait for an answer.",
        mends=(_LOG, "Give the PCCS a way to Intel, or let it answer from what it keeps."),
        rows=(15,),
    ),
    Ailment(
        code="answer-unusable",
        severity="error",
        title="The service answers 200 with something else",
        symptom="0xE001, 0xE01A, or success with an empty certificate or list.",
        causes=(
            "A proxy strips headers that it does not know: the issuer chains and SGX-TCBm.",
            "The body is empty, is in another encoding, or is a page.",
        ),
        why=(
            "Intel's library takes a 200 without its header for success, and hands on nothing: the "
            "program fails later and elsewhere."
        ),
        mends=("Ask the service directly: `no_proxy`.", "`curl -kv URL` shows the headers.", _LOG),
        rows=(5, 10),
    ),
    Ailment(
        code="answer-too-large",
        severity="error",
        title="An answer is larger than Intel's library can carry",
        symptom="The program dies: SIGABRT, std::logic_error.",
        causes=("Document and chain together exceed 65535 bytes; sizes travel in 16 bits.",),
        why="It is not an error that is returned: the process that loaded the library ends.",
        mends=("Have the service send the documents as Intel does, without white space.",),
        rows=(10,),
    ),
    Ailment(
        code="collateral-absent",
        severity="error",
        title="The service lacks collateral",
        symptom="0xE01B (CRL), 0xE062 (TCB info), 0xE061 (QE identity) at verifying.",
        causes=(
            "REQ or OFFLINE: it was never brought there.",
            "LAZY: Intel refused the PCCS, or was away.",
        ),
        why=_NO_VERDICT,
        mends=(
            "`dcap pccs refresh`, or (OFFLINE) `dcap pccs put -i FILE` with fresh collateral.",
            "To verify only: `sudo dcap qcnl write --intel-pcs`.",
            _LOG,
        ),
        rows=(17,),
    ),
    Ailment(
        code="fmspc-unknown",
        severity="error",
        title="There is no TCB info for this kind of machine",
        symptom="0xE062 SGX_QL_TCBINFO_NOT_FOUND at verifying, whatever the PCCS does.",
        causes=(
            "The processor is a pre-production part (engineering sample), which Intel does not list.",
            "The PCCS is in REQ or OFFLINE mode, and no machine of that kind was registered with it.",
        ),
        why=_NO_VERDICT,
        mends=(
            "`dcap collateral get --fmspc FMSPC --source pcs` asks Intel itself.",
            "Register the machine: `dcap register submit`.",
        ),
        rows=(17,),
    ),
    Ailment(
        code="tdx-collateral-absent",
        severity="warning",
        title="The service has collateral for SGX and none for TDX",
        symptom="0xE062 or 0xE061 for quotes of trust domains, while those of enclaves verify.",
        causes=(
            "The PCCS is older than TDX, or has `/tdx/certification/v4/` not at all.",
            "The address says /v3/, and the API has TDX since v4 alone.",
            "A proxy before the PCCS passes `/sgx/` on, and `/tdx/` not.",
            "The processor has no TDX.",
        ),
        why="A quote of a trust domain cannot be verified by this service.",
        mends=(
            "Write /v4/: `sudo dcap qcnl write --migrate`.",
            "Update the PCCS, and let what stands before it pass `/tdx/` too.",
        ),
        rows=(17,),
    ),
    Ailment(
        code="api-retired",
        severity="error",
        title="The address is of an API that has ended",
        symptom="0xE044 (HTTP 410), or 0xE062 for TDX.",
        causes=("/v3/ stands in the address; Intel ended that version on 2026-04-30.",),
        why="What the PCCS still holds of v3 expires within a month, and TDX was never there.",
        mends=("`sudo dcap qcnl write --migrate` writes /v4/.", _RESTART),
        rows=(17,),
    ),
    Ailment(
        code="crl-encoding",
        severity="error",
        title="Revocation lists come in an encoding nobody asked for",
        symptom="0xE038 SGX_QL_CRL_UNSUPPORTED_FORMAT, CertificateException, “CRL parse”.",
        causes=(
            "`pccs_api_version` does not go with the service: 3.0 is hex, 3.1 and Intel's own DER.",
            "A cache that was written by somebody else sends PEM or base64.",
        ),
        why="Intel's library hands on the bytes as they come, under the version of its configuration.",
        mends=(
            'Set `"pccs_api_version": "3.1"`; mend the service where it sends neither.',
            _RESTART,
        ),
        rows=(10,),
    ),
    Ailment(
        code="crl-hex",
        severity="warning",
        title="Revocation lists come as hex",
        symptom="CertificateException (Conclave, Java), “CRL parse” (others): 0xE038.",
        causes=('`pccs_api_version` is "3.0", which is what holds where it is left out.',),
        why="Intel's verifier reads hex; Java, OpenSSL and what uses them read DER and PEM alone.",
        mends=(
            'Set `"pccs_api_version": "3.1"` (it has nothing to do with /v4/ in addresses).',
            _RESTART,
        ),
        rows=(10,),
    ),
    Ailment(
        code="crl-stamp",
        severity="warning",
        title="Revocation lists are stamped hex and come as DER",
        symptom="0xE038, or a program that reads garbage.",
        causes=(
            'Collateral is asked of Intel\'s own service without `"pccs_api_version": "3.1"`.',
        ),
        why="Intel's verifier looks at the bytes; who trusts the version in the structure fails.",
        mends=('Set `"pccs_api_version": "3.1"`.', _RESTART),
        rows=(10,),
    ),
    Ailment(
        code="served-expired",
        severity="error",
        title="A service hands out collateral that has ended",
        symptom="0xE02C, 0xE02E, 0xE030, or an expired verdict of any verifier.",
        causes=(
            "The service was not renewed: its own way to Intel fails, or it is of mode OFFLINE.",
            "Azure's cache serves an older baseline on purpose, whose `nextUpdate` may have passed.",
            "This machine's clock is ahead.",
        ),
        why="Intel's client hands it on; verifiers refuse it, whatever the machine is like.",
        mends=(
            "`dcap pccs refresh --url URL`; in OFFLINE mode bring it what is new: `dcap pccs put`.",
            "To judge by Intel's newest: `dcap verify --source pcs`.",
        ),
        rows=(12,),
    ),
)
