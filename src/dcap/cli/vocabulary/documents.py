"""Codes of what Intel issues and cannot be read: certificates, revocation lists, signed documents.

Here too what is no document of Intel's but read by the same readers: a SIGSTRUCT, a file of any kind.
"""

from typing import Final

from dcap.cli.vocabulary.row import COPY, FETCH, LOOK, Row, Rows

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    "pem": Row(2, "The PEM text is malformed, or its blocks are not the ones that belong there.",
        ("The first or last line of a block was not copied.",
         "Percent-encoding (%0A, %20) was not decoded, or line ends were lost in a variable.",
         "The file holds a block of another kind, such as a private key."),
        ("copy the text from -----BEGIN to -----END, both included",
         "`grep -c BEGIN FILE` counts its blocks: two for an issuer chain, three for a PCK chain")),
    "der": Row(2, "The bytes are not the DER that belongs there.",
        ("A certificate or a list was cut, or saved as text.",),
        ("`openssl asn1parse -inform der -in FILE` shows where it ends", FETCH)),
    "certificate": Row(2, "It is not a certificate of Intel's profile (X.509 v3, P-256, SHA-256).",
        ("It is a certificate of something else: a TLS server, an RSA key, another curve.",
         "A test CA made it with other algorithms than Intel's."),
        ("`openssl x509 -in FILE -noout -issuer -subject` names it", FETCH)),
    "crl": Row(2, "It is not one revocation list (X.509 v2) in DER, PEM or hex of DER.",
        ("An error page was saved where the list belongs.",
         "The PCCS served another encoding than asked: hex and DER depend on pccs_api_version."),
        ("`head -c 100 FILE`: DER begins with 0x30 0x82, PEM with -----BEGIN X509 CRL-----",
         'set "pccs_api_version": "3.1", or run `dcap qcnl write`', FETCH)),
    "pck-extensions": Row(2, "The PCK certificate's SGX extension cannot be read.",
        ("A test CA wrote the extension 1.2.840.113741.1.13.1 otherwise than Intel does.",),
        (LOOK, "give the machine's chain as Intel issued it")),
    "json": Row(2, "The document is not the JSON that belongs there.",
        ("The source answered with an error page, and it was saved.",
         "A tool rewrote the document: numbers as text, members left out."),
        ("`head -c 200 FILE`: Intel's documents begin with {", FETCH)),
    "levels-repeated": Row(2, "Two levels of one enclave or module ask for the same version.",
        ("A hand-made document of a test world; Intel's have no such levels.",),
        (FETCH,)),
    "json-time": Row(2, "A time in one of Intel's documents is not in UTC.",
        ("A tool wrote the document anew, in local time.",),
        (FETCH,)),
    "json-repeated-member": Row(2,
        "A member stands twice in one JSON object: readers would disagree.",
        ("Somebody added a second member, so that two readers would read two things.",),
        (f"do not trust it; {FETCH}",)),
    "signed-json": Row(2, "The response has no document with a signature of 128 hex digits.",
        ("The inner object was saved, without the envelope and its signature.",
         "A script took the signature as base64, or with 0x before it."),
        ('save Intel\'s whole response, with its "signature": `curl -o FILE URL`',)),
    "hex": Row(2, "It is not the right number of hex digits.",
        ("A value was shortened, or written with 0x or colons, in a hand-made document.",),
        ("count its digits; the message says how many belong there", FETCH)),
    "tcb-info": Row(2, "The TCB info does not keep to its own format.",
        ("The document is of an older or newer version of Intel's API.",
         "Members of TDX stand in a document for SGX, or are missing from one for TDX."),
        ("ask under /v4/: the TCB infos of /v3/ are of an older form", FETCH)),
    "enclave-identity": Row(2, "The enclave identity is of an unknown id or version.",
        ("The identity of another enclave was saved, or one of a newer version.",),
        (LOOK, FETCH)),
    "tcb-evaluation-numbers": Row(2,
        "The list of evaluation data numbers is of an unknown id or version.",
        ("Another answer of the service was saved in its place.",),
        ("save the answer of /sgx/certification/v4/tcbevaluationdatanumbers (TDX: /tdx/…)",)),
    "sigstruct": Row(2, "It is not one SIGSTRUCT of 1808 bytes.",
        ("The whole signed enclave was given, not its SIGSTRUCT alone.",
         "The file is the signing key or a text manifest."),
        ("give the enclave's .sig file: Gramine writes one beside the manifest",)),
    "sigstruct-truncated": Row(2, "The SIGSTRUCT ends early.",
        ("The SIGSTRUCT was taken out of the enclave at a wrong place.",),
        (COPY,)),
}
# fmt: on
