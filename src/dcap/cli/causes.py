"""Whence our findings usually come, for `dcap explain`: a table, and no judgement.

`CAUSES` has one to three causes for each finding (`verification.checks`), the most frequent first. What
a finding means and what mends it stand there; errors have their causes in `vocabulary`. The families of
checks (chains, lists, documents, expiries) are made by functions, as the checks are; no sentence stands
under two codes. Nothing here says what happened: a cause is where to look.

Sources: `verification.md` §3-§9; the threads of `users-and-interop.md` §1; `quote-provider.md` §0, §6.
"""

from typing import Final, TypeAlias

Causes: TypeAlias = dict[str, tuple[str, ...]]


def _chain(name: str, what: str, members: str) -> Causes:
    """The five checks of an issuer chain that comes in a header of the service's answer."""
    return {
        f"{name}-format": (
            f"The {what} was saved as its header has it: percent-encoded, not PEM.",
            f"Nothing, or an error page, was saved as the {what}.",
            f"The {what} was cut where it was copied.",
        ),
        f"{name}-roles": (
            f"The {what} is incomplete: it must be {members}, and nothing else.",
            f"The chain of another answer was saved as the {what}.",
        ),
        **_chain_proof(name, what),
    }


def _chain_proof(name: str, what: str) -> Causes:
    return {
        f"{name}-root": (
            f"The {what} is of a simulated world, whose root was not given (--insecure-test-root).",
            f"A test root was trusted in place of Intel's, and the {what} is Intel's.",
            f"The {what} was forged: it ends in a root of the forger's own.",
        ),
        f"{name}-signature": (
            f"Certificates of two worlds, of the same names, were mixed in the {what}.",
            f"A certificate of the {what} was altered or forged.",
        ),
        f"{name}-validity-start": (
            f"This machine's clock is slow, so that the {what} seems to begin in the future.",
            f"--at is earlier than the youngest certificate of the {what}.",
        ),
    }


def _crl(name: str, what: str, *issuer: str) -> Causes:
    """The five checks of a revocation list."""
    return {
        f"{name}-format": (
            f"Nothing, or an error page, was saved as the {what}.",
            f"The {what} is DER that was copied as text, which alters its bytes.",
        ),
        f"{name}-issuer": issuer,
        f"{name}-extensions": (
            f"A test CA made the {what}, without a next update, a number or a key id.",
            f"The {what} was forged so that it never expires.",
        ),
        f"{name}-signature": (
            f"The {what} is of another test world, whose CA has the same name and another key.",
            f"The {what} was altered: an entry taken out, or its next update put off.",
        ),
        f"{name}-validity-start": (
            f"This machine's clock is slow, and the {what} was issued a short while ago.",
            f"--at is earlier than the {what}: an old verdict needs the list of its day.",
        ),
    }


def _document(name: str, what: str) -> Causes:
    """The three checks of a signed document."""
    return {
        f"{name}-signature": (
            f"A tool re-serialised or re-indented the {what}: the signature is over the bytes as sent.",
            f"The signature beside the {what} is of another document, or of an older answer.",
            f"The body of the {what} was altered.",
        ),
        f"{name}-format": (
            f"An error page, or half an answer, was saved as the {what}.",
            f"The {what} was saved without the envelope that holds its signature.",
            f"The {what} is of a version newer than this dcap.",
        ),
        f"{name}-validity-start": (
            f"This machine's clock is slow, and the {what} was issued a short while ago.",
            f"--at is earlier than the {what}: an old verdict needs the document of its day.",
        ),
    }


def _expiry(name: str, what: str, cause: str) -> Causes:
    """Expiry: why this piece in particular, then what can befall each."""
    return {
        f"{name}-expiry": (
            cause,
            f"Evidence of the past is judged as of now: without --at, the {what} of its day is over.",
            f"This machine's clock is fast, beyond the end of the {what}.",
        )
    }


def _renewed(name: str, what: str) -> Causes:
    """Expiry of what Intel issues anew at least monthly."""
    return _expiry(
        name, what,
        f"The {what} was kept past its next update: in a file, a PCCS or the provider's cache, which "
        "never asks for that date.",
    )  # fmt: skip


# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
_FAMILIES: Final[Causes] = {
    **_chain("crl-issuer-chain", "PCK CRL issuer chain", "the PCK CA and the root"),
    **_chain("tcb-info-chain", "TCB info issuer chain", "the TCB signing certificate and the root"),
    **_chain("qe-identity-chain", "QE identity issuer chain",
             "the TCB signing certificate and the root"),
    **_chain_proof("pck-chain", "PCK certificate chain"),
    **_crl("root-ca-crl", "root CA CRL",
           "The PCK CRL was saved in place of the root CA's.",
           "The root CA CRL is Intel's and the chains are of a simulated world, or the reverse."),
    **_crl("pck-crl", "PCK CRL",
           "The PCK CRL is of one CA (processor, platform), its issuer chain of the other.",
           "The root CA's list was saved in place of the PCK CRL."),
    **_document("tcb-info", "TCB info"),
    **_document("qe-identity", "QE identity"),
    **_renewed("tcb-info", "TCB info"),
    **_renewed("qe-identity", "QE identity"),
    **_renewed("pck-crl", "PCK CRL"),
    **_expiry("root-ca-crl", "root CA CRL",
              "The root CA CRL lives longest of the lists, so that nobody fetched it anew."),
    **_expiry("crl-issuer-chain", "PCK CRL issuer chain",
              "The PCK CRL issuer chain was kept when the list beside it was renewed."),
    **_expiry("pck-chain", "PCK certificate chain",
              "The machine's provider keeps an old PCK certificate in its cache, or in its PCCS."),
    **_expiry("tcb-info-chain", "TCB info issuer chain",
              "It is an old copy: the TCB signing certificate of 2018 ended in 2025."),
    **_expiry("qe-identity-chain", "QE identity issuer chain",
              "Only the QE identity was renewed, and its old issuer chain was kept beside it."),
}

_CHECKS: Final[Causes] = {
    # evidence and collateral
    "evidence-format": (
        "A log, a terminal or a text editor cut the quote or changed its bytes.",
        "It is no quote: a report that was never quoted, a certificate, or a service's error."),
    "evidence-binding": (
        "The enclave restarted: the keys or claims are of one run, the quote is of another.",
        "The claims beside the quote were edited or written anew after it was made.",
        "Somebody put a genuine quote beside claims of their own."),
    "crl-issuer-revocation": (
        "Intel revoked the CA that signs the PCK CRL, and this collateral is of before.",),
    "tcb-info-signer-revocation": (
        "The TCB info is an old copy: it is signed under a certificate that Intel has revoked.",),
    "qe-identity-signer-revocation": (
        "The QE identity is an old copy, signed under a certificate that Intel has revoked.",),
    # the PCK chain
    "pck-chain-present": (
        ("The quote provider failed when the quote was made, often by a broken configuration: it "
         "carries an encrypted PPID (0xE01C)."),
        "The quote is for a service that looks the PCK certificate up by itself."),
    "pck-chain-format": (
        "The chain in the quote was damaged: the quote's signature does not cover it.",
        "The chain given beside the quote was saved as a header has it: percent-encoded."),
    "pck-chain-roles": (
        "The quote or the file holds the PCK certificate alone, without its issuers.",
        "The chain given beside the quote is that of a TLS server or of the TCB signer."),
    "pck-extensions": (
        "A test world made the PCK certificate with SGX extensions that are not Intel's.",
        "The extensions were altered; the certificate's signature fails too, then."),
    "pck-crl-coverage": (
        ("The CRL of the other CA was fetched: servers of several sockets are under the platform CA, "
         "others under the processor CA."),
        "The collateral is of another machine."),
    "pck-ca-revocation": (
        "Intel revoked the CA that issued the PCK certificate, with all that it had issued.",),
    "pck-revocation": (
        "Intel revoked this machine's certificate: its keys are, or may be, known to others.",
        "The revocation is new: an older PCK CRL did not name the certificate yet."),
    # the quote and its collateral
    "qe-vendor": (
        "A mock or a quote generator of a test suite made the quote.",
        "The bytes are shifted: what stands at the vendor's place is something else."),
    "tcb-info-tee": ("The TCB info was fetched under /sgx/ for a TDX quote, or the reverse.",),
    "fmspc": (
        "The collateral is of another machine, or of another generation of CPU.",
        "The fleet has several FMSPCs, and one folder of collateral serves all of it.",
        "The machine in the cloud moved to other hardware."),
    "pce-id": ("The TCB info is of a test world: those of Intel seen so far are for PCE 0000.",),
    "tdx-module": (
        "The TCB info is older than the TDX module and does not name its major version.",
        "The host runs a TDX module that Intel has not signed for production."),
    "qe-report-signature": (
        "The PCK chain is of another machine, or of another TCB of the same one.",
        "The QE report is of another quote.",
        "The quote was forged: it is sound in itself, but no PCK vouches for it."),
    "qe-report-data": (
        "The attestation key in the quote was replaced by the forger's own.",
        "The QE authentication data were cut or altered."),
    "qe-identity-tee": ("The identity of the QE was fetched for a TDX quote, or TD_QE's for SGX.",),
    "qe-identity-match": (
        "The quoting enclave was built and signed by somebody else than Intel.",
        "A quoting enclave in debug mode made the quote."),
    "quote-signature": (
        "The body was edited after signing, for example its report data.",
        "Parts of two quotes were put together."),
    # TCB levels
    "tcb-level": (
        "BIOS and microcode are older than the lowest level that Intel names.",
        "The TDX module or its loader was set back to an older version.",
        "The machine is a pre-production CPU."),
    "tdx-module-level": ("The host loads a TDX module older than Intel's oldest level for it.",),
    "qe-level": ("The quoting enclave is of SGX packages that were not updated for years.",),
    "tcb-status-known": (
        "Intel introduced a new status after this dcap was released.",
        "The status of a test world's document is misspelt."),
    "collateral-age": (
        "The PCCS or the folder is refreshed less often than the policy asks.",
        "The policy's limit is shorter than the interval at which Intel issues documents."),
    "tcb-status": (
        "BIOS or microcode were not updated after a TCB recovery.",
        ("The collateral is newer than last week's: Intel raised the levels, and the machine did not "
         "change."),
        ("The CPU model always has SWHardeningNeeded or ConfigurationNeeded, and the policy accepts "
         "UpToDate alone.")),
    "qe-status": (
        "The host's SGX packages, and the quoting enclave with them, were not updated.",
        "On a cloud: the provider has not rolled out Intel's newest quoting enclave yet."),
    "advisories": (
        "A TCB recovery brought an advisory that the policy does not know yet.",
        "Intel names it beside UpToDate: it concerns software or a setting, not an old TCB.",
        "accepted_advisories lists the ids of one CPU model, and the quote is of another."),
    "tcb-date": (
        "The platform matches a level of an earlier TCB recovery than the policy asks.",
        "The quoting enclave or the TDX module is older than the platform: the earliest date counts."),
    "evaluation-number": (
        "The source serves the standard number, while the policy names the early one.",
        "A cache still has collateral from before Intel's newest number.",
        "TCB info and QE identity are of two numbers: the lower one counts."),
    "tee-tcb-svn": (
        "The TDX module or the SEAM loader was not updated on this host.",
        "The policy's minimum was copied from a newer host: every byte is compared by itself."),
    "platform-dynamic": (
        "The platform was registered so that CPU packages can be added to it later.",
        "A processor CA issued the certificate: it does not say, and silence is not accepted."),
    "platform-cached-keys": (
        "The platform was registered so that Intel's service keeps its platform keys.",
        "The certificate is of the processor CA and says nothing of cached keys."),
    "platform-smt": (
        "Hyper-threading is on in the BIOS of the machine.",
        "The certificate is of the processor CA and says nothing of SMT."),
    # identity and attributes
    "debug": (
        "The enclave was signed with debug allowed (EGo: 'debug', Gramine: sgx.debug).",
        "The TD was started with debugging on.",
        "A development build was deployed in production's place."),
    "td-attributes": (
        "The hypervisor started the TD without SEPT_VE_DISABLE.",
        "The TD was started as one that can migrate."),
    "seam": (
        "A TDX module of development, or of another signer, runs on the host.",
        "The report was made up: Intel's modules have zeros there."),
    "service-td": (
        "The host bound a service TD, such as a migration TD, when it started this one.",),
    "identity-pinned": (
        "The first try: no --mrenclave, --mrsigner or --mrtd, and no release in a policy.",
        "The policy file that holds the releases was not given."),
    "identity": (
        "The enclave or image was rebuilt: any change of code or toolchain gives another value.",
        ("SGX: a debug build in place of the release, or MRSIGNER of another key, such as the test "
         "key of a developer."),
        "TDX: other RTMRs after an update of firmware, kernel or command line."),
    "attributes": (
        "The CPU or hypervisor turned on a feature that the policy's mask compares (XFRM, XFAM).",
        "The value was copied from a debug build, or in the other byte order."),
    "report-data": (
        "A nonce of another session: the quote was made for an earlier challenge, or is replayed.",
        "Another encoding was hashed: PEM in place of DER, hex text in place of bytes.",
        "A hash of 32 bytes stands padded otherwise than with zeros at its end."),
}
# fmt: on

CAUSES: Final[Causes] = {**_FAMILIES, **_CHECKS}
