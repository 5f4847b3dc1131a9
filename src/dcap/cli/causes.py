"""Whence our own findings and errors usually come, for `dcap explain`: a table, and no judgement.

`CAUSES` has one to three causes for each finding (`verification.checks`) and each error (`glossary`),
the most frequent first. What a code means and what mends it stand there. The families of checks
(chains, lists, documents, expiries) are made by functions, as the checks are; no sentence stands
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

_ERRORS: Final[Causes] = {
    # the evidence, and what it comes in
    "evidence-unrecognised": (
        "The answer of a service was saved whole: JSON or HTML around the quote, or an error.",
        "The shell rewrote the bytes as UTF-16 (PowerShell's >).",
        "It is evidence of another kind: EPID, a local report, AMD SEV-SNP, AWS Nitro."),
    "evidence-too-large": ("A whole log, image or archive was given that holds the quote.",),
    "evidence-nested": ("A script encoded what was encoded already: base64 of hex of PEM …",),
    "evidence-several": ("Quotes of several machines were appended to one file.",),
    "conclave-magic": ("A bare quote was given where an EnclaveInstanceInfo belongs.",),
    "conclave-size": ("The EnclaveInstanceInfo was cut by a column or a log of limited length.",),
    "conclave-attestation-type": (
        "The enclave ran in mock or simulation mode, as in a developer's tests.",
        "The EnclaveInstanceInfo is of the days of EPID."),
    "open-enclave-version": (
        "The file is of an early Open Enclave, before evidence of version 3.",
        "The bytes only look like a report: something else begins so."),
    "open-enclave-format": (
        "A local report was asked for, which only the same machine can check.",
        "The endorsements were given in place of the evidence."),
    "open-enclave-size": ("The evidence was stored in a buffer or field of fixed length.",),
    "open-enclave-custom-claims": (
        "The claims were written by other software than Open Enclave, or edited.",),
    "open-enclave-report-truncated": ("Only the first bytes of the report were copied.",),
    "open-enclave-evidence-truncated": ("Only the first bytes of the evidence were copied.",),
    "open-enclave-custom-claims-truncated": ("The custom claims were cut to nearly nothing.",),
    # the quote
    "quote-version": (
        "It is an EPID quote (version 1 or 2).",
        "The bytes do not begin with the quote: a header or a length stands before it."),
    "quote-attestation-key-type": (
        "The key type was altered, or the quote is of EPID or P-384, which no verifier takes.",),
    "quote-tee-type": ("The header was altered, or its bytes are in the other byte order.",),
    "quote-body-type": (
        "A version 5 quote was made by hand with a body of another kind.",
        "A newer TDX module reports in a body that this dcap does not know."),
    "quote-truncated": (
        "A buffer that was too small cut the end off.",
        "The copy ended at a zero byte: the quote was handled as C text."),
    "quote-length": ("A length inside the quote was altered, or the file lacks bytes in its middle.",),
    "quote-too-large": ("The file holds the quote, and much that does not belong to it.",),
    "quote-trailing-bytes": (
        "A buffer was written to the end, with other bytes than zeros behind the quote.",
        "A line end or a second quote was appended."),
    "quote-certification-data": (
        "A generator wrote a version 4 or 5 quote like version 3, without its outer type 6.",
        "The type was altered: the quote's signature does not cover it."),
    "sgx-report-truncated": ("An enclave report was copied without its last bytes.",),
    "td-report-truncated": ("A TD report was copied without its last bytes.",),
    "certification-data-truncated": ("A PPID in the certification data lacks bytes.",),
    "field-does-not-fit": ("A hand-made value is longer, or a number larger, than its field.",),
    # certificates, lists, documents
    "pem": (
        "The first or last line of a block was not copied.",
        "Percent-encoding (%0A, %20) was not decoded, or line ends were lost in a variable.",
        "The file holds a block of another kind, such as a private key."),
    "der": ("A certificate or a list was cut, or saved as text.",),
    "certificate": (
        "It is a certificate of something else: a TLS server, an RSA key, another curve.",
        "A test CA made it with other algorithms than Intel's."),
    "crl": (
        "An error page was saved where the list belongs.",
        "The PCCS served another encoding than asked: hex and DER depend on pccs_api_version."),
    "json": (
        "The source answered with an error page, and it was saved.",
        "A tool rewrote the document: numbers as text, members left out."),
    "levels-repeated": ("A hand-made document of a test world; Intel's have no such levels.",),
    "json-time": ("A tool wrote the document anew, in local time.",),
    "json-repeated-member": (
        "Somebody added a second member, so that two readers would read two things.",),
    "signed-json": (
        "The inner object was saved, without the envelope and its signature.",
        "A script took the signature as base64, or with 0x before it."),
    "hex": ("A value was shortened, or written with 0x or colons, in a hand-made document.",),
    "tcb-info": (
        "The document is of an older or newer version of Intel's API.",
        "Members of TDX stand in a document for SGX, or are missing from one for TDX."),
    "enclave-identity": ("The identity of another enclave was saved, or one of a newer version.",),
    "tcb-evaluation-numbers": ("Another answer of the service was saved in its place.",),
    "sigstruct": (
        "The whole signed enclave was given, not its SIGSTRUCT alone.",
        "The file is the signing key or a text manifest."),
    "sigstruct-truncated": ("The SIGSTRUCT was taken out of the enclave at a wrong place.",),
    "file-too-large": ("The wrong file was named: an image, a log, a core dump.",),
    # collateral
    "collateral-missing": (
        "--collateral was not given: of the containers, only Conclave's brings its own.",
        "The path is misspelt, or the folder's files have other names."),
    "collateral-incomplete": (
        "Only the bodies of the answers were saved: issuer chains come in headers.",
        "The files are there under other names than those that are read."),
    "collateral-ambiguous": (
        "The folder holds two downloads: one form was renewed, the other left.",
        "One of the two forms was edited or pretty-printed."),
    "endorsements": ("The collateral failed a check of its own; the quote was not at fault.",),
    # the policy
    "policy-toml": ("A text has no quotation marks, or a bracket is not closed.",),
    "policy-key": (
        "The key is misspelt, or stands under the wrong [table].",
        "A number was written as text, or a single text where a list belongs.",
        "The policy is for a newer dcap."),
    "policy-too-large": ("The quote or a log was given as the policy.",),
    "policy-range": ("A date or another number was written where a small counter belongs.",),
    "endorsements-of-another-instant": (
        "Endorsements were kept longer than one call, and given with a later `at`.",
        "They were checked under Intel's root and used with that of a test world."),
    "release-empty-list": ("A template or script filled in no measurement.",),
    "policy-advisory": ("A CVE or a bare number was written, or the prefix INTEL-SA- left out.",),
    "output-unwritable": (
        "The disk is full.",
        "The folder does not exist, or may not be written by this user."),
    "usage": ("An option is misspelt, lacks its value, or belongs to another command.",
              "The shell split a value at a space: put it in quotation marks."),
    "internal": ("The input led to a case for which dcap has no code.",),
    "policy-duration": ("A duration has a unit other than s, m, h, d and w, or two of them.",),
    "policy-hex": (
        "MRENCLAVE was written where MRTD belongs, or the reverse: they differ in length.",
        "A digit was lost when the value was copied."),
    "policy-revoked": ("Revoked was added to make an old machine pass.",),
    "policy-no-status": ("The list was emptied in the hope that this means any status.",),
    "policy-two-graces": ("Both grace periods were set to be safe, though one rules out the other.",),
    "policy-any-and-releases": ('A policy of the first tries kept its identity = "any".',),
    "policy-release-twice": ("A release was copied and its name not changed.",),
    "release-pins-nothing": ("Only product_id and minimum versions were written.",),
    "release-of-two-tees": ("One product runs in SGX and in TDX, and was written as one release.",),
    "mask-compares-nothing": ("The mask was filled with zeros to mean: compare nothing.",),
    "mask-without-value": ("The value was taken out of the policy and its mask left.",),
    # the command line
    "no-instant": ("`at` was left out: the library never asks the clock by itself.",
                   "datetime.utcnow() or a naive datetime was given."),
    "instant": ("A local time has no zone, or milliseconds were written in place of seconds.",),
    "date": ("The day was written first (04.07.2025), or the year is missing.",),
    "test-root": ("The whole chain, the leaf or the key was given in place of the root alone.",),
    "file-unreadable": (
        "The name is misspelt, or relative to another folder.",
        "The file belongs to another user, or is a folder."),
    "flag-needs-identity": ("--mrsigner was forgotten, or its variable in a script is empty.",),
    "status-unknown": ("The status is misspelt, or is one that cannot be accepted, such as Revoked.",),
    "two-report-data": ("A script sets one of them by default, and the other was given by hand.",),
    "field-unknown": ("A field of the other TEE was asked for, such as mrenclave of a TD.",),
    "field-hidden": ("ppid or cpu_svn was asked for: they tell one machine from another.",),
    "code-unknown": (
        "Words around the code were given with it, or only part of it.",
        "The code is of software that dcap has no table of."),
    # the simulator
    "simulator-state": (
        "The state was edited by hand, or a newer dcap wrote it.",
        "The directory is of another user, or something else's."),
    "simulator-event": ("It names a platform that was not added, or needs an event before it.",),
    "simulator-port": (
        "Another `dcap sim up`, or a PCCS, listens there already.",
        "Ports below 1024 are for root."),
    # the services
    "pcs-route": (
        "The version in the path is one that the service does not have.",
        "A path that only a PCCS has (rootcacrl, crl) was asked of the PCS."),
    "pccs-route": ("pccs_url has no / at its end: /v4pckcert is then asked for.",),
    "thim-route": ("The path of Azure's cache was asked of its metadata service, or the reverse.",),
    "registration-route": ("The path of the PCS was asked of the registration service.",),
    "registration-response": (
        "A proxy's page stands in place of the answer.",
        "The service refused, and its error was read as an answer."),
    "pcs-request": (
        "An FMSPC or another value has not the right number of hex digits.",
        "A parameter that must be there is missing, or ca is neither processor nor platform."),
    "pcs-media-type": (
        "curl's --data sends application/x-www-form-urlencoded unless it is told the type.",),
    "pcs-response": (
        "A proxy or a cache dropped the header with the issuer chain, which is long.",
        "Something else than a PCS or a PCCS listens at the URL."),
}
# fmt: on

CAUSES: Final[Causes] = {**_FAMILIES, **_CHECKS, **_ERRORS}
