"""The table of checks: every finding code there is, with its place in the procedure.

Rows are data: documentation, `dcap explain` and the tests print them. `step` orders them: 1 evidence,
2 collateral, 3 PCK chain, 4 quote, 5 policy. `kind` is what a failure means for the exit status:

    format 2 · truth 3 · tcb 4 (TCB or collateral policy) · identity 5 (identity or attributes)
    unavailable 6 (a piece that is needed to know is missing)

`qvl` names the Status of Intel's QVL for the same fault, where it has one (`verification.md` §5.1).
Once published, a code keeps its meaning.
"""

import msgspec

FORMAT = "format"
TRUTH = "truth"
TCB = "tcb"
IDENTITY = "identity"
UNAVAILABLE = "unavailable"

EXIT_STATUS = {FORMAT: 2, TRUTH: 3, TCB: 4, IDENTITY: 5, UNAVAILABLE: 6}


class Check(msgspec.Struct, frozen=True, gc=False):
    """One row: `passed` is what is said when it holds, `mend` what to do when it does not."""

    code: str
    step: str
    kind: str
    passed: str
    mend: str
    qvl: str = ""


_FORGED = "do not trust it: the bytes were altered after they were signed, or never were Intel's"
_REFETCH = "fetch the collateral again from Intel's PCS or your PCCS, all pieces in one go"
_CLOCK = "check this machine's clock, or the instant given with --at"
_MACHINE = "get a new quote from the machine"


def _chain(
    step: str, name: str, what: str, qvl: tuple[str, str, str], kind: str = UNAVAILABLE
) -> list[Check]:
    """The five checks of a certificate chain; `kind` is what it means that it cannot be read."""
    missing, untrusted, issuer = qvl
    return [
        Check(f"{name}-format", f"{step}.1", kind, f"{what}: certificates readable", _REFETCH,
              "STATUS_UNSUPPORTED_CERT_FORMAT"),
        Check(f"{name}-roles", f"{step}.2", TRUTH,
              f"{what}: exactly the certificates it must have, each in its role", _FORGED, missing),
        Check(f"{name}-root", f"{step}.3", TRUTH, f"{what}: ends in the trusted root",
              "it does not end in the root trusted here: Intel's, or the test root given; evidence of a "
              "test world needs its own root (--insecure-test-root), Intel's needs none",
              untrusted),
        Check(f"{name}-signature", f"{step}.4", TRUTH, f"{what}: every signature valid", _FORGED,
              issuer),
        Check(f"{name}-validity-start", f"{step}.5", TRUTH, f"{what}: already valid", _CLOCK),
    ]  # fmt: skip


def _crl(step: str, name: str, what: str, *, other: str = _REFETCH) -> list[Check]:
    """The five checks of a revocation list; `other` mends that it is of another issuer."""
    return [
        Check(f"{name}-format", f"{step}.1", UNAVAILABLE, f"{what}: readable", _REFETCH,
              "STATUS_SGX_CRL_UNSUPPORTED_FORMAT"),
        Check(f"{name}-issuer", f"{step}.2", TRUTH, f"{what}: issued by the CA it speaks for",
              other, "STATUS_SGX_CRL_UNKNOWN_ISSUER"),
        Check(f"{name}-extensions", f"{step}.3", TRUTH,
              f"{what}: has a next update, a number and its issuer's key id", _REFETCH,
              "STATUS_SGX_CRL_INVALID_EXTENSIONS"),
        Check(f"{name}-signature", f"{step}.4", TRUTH, f"{what}: signature valid", _FORGED,
              "STATUS_SGX_CRL_INVALID_SIGNATURE"),
        Check(f"{name}-validity-start", f"{step}.5", TRUTH, f"{what}: already issued", _CLOCK),
    ]  # fmt: skip


def _document(step: str, name: str, what: str, qvl: tuple[str, str]) -> list[Check]:
    """The three checks of a signed document."""
    return [
        Check(f"{name}-signature", f"{step}.1", TRUTH,
              f"{what}: signature over its exact bytes valid", _FORGED, qvl[0]),
        Check(f"{name}-format", f"{step}.2", UNAVAILABLE, f"{what}: readable, no member twice",
              _REFETCH,
              qvl[1]),
        Check(f"{name}-validity-start", f"{step}.3", TRUTH, f"{what}: already issued", _CLOCK),
    ]  # fmt: skip


def _expiry(number: int, name: str, what: str, qvl: str) -> Check:
    return Check(
        f"{name}-expiry", f"5.1.{number}", TCB, f"{what}: not expired",
        "fetch fresh collateral; if the source serves old data, it has not refreshed its own", qvl,
    )  # fmt: skip


_ROWS: list[Check] = [
    Check("evidence-format", "1.1", FORMAT, "evidence recognised and read to the last byte",
          "give the file as it came from the attester", "STATUS_UNSUPPORTED_QUOTE_FORMAT"),
    Check("evidence-binding", "1.2", TRUTH, "the quote's report data bind what came beside it",
          "the quote belongs to something else; get both from one answer of the attester"),
    *_chain("2.1", "crl-issuer-chain", "PCK CRL issuer chain",
            ("STATUS_SGX_INTERMEDIATE_CA_MISSING", "STATUS_SGX_PCK_CERT_CHAIN_UNTRUSTED",
             "STATUS_SGX_INTERMEDIATE_CA_INVALID_ISSUER")),
    *_crl("2.2", "root-ca-crl", "root CA CRL",
          other="a test world's list needs its own root (--insecure-test-root); else " + _REFETCH),
    *_crl("2.3", "pck-crl", "PCK CRL"),
    Check("crl-issuer-revocation", "2.4", TRUTH, "the PCK CRL's issuer is not revoked", _FORGED,
          "STATUS_SGX_INTERMEDIATE_CA_REVOKED"),
    *_chain("2.5", "tcb-info-chain", "TCB info issuer chain",
            ("STATUS_SGX_TCB_SIGNING_CERT_MISSING", "STATUS_SGX_TCB_SIGNING_CERT_CHAIN_UNTRUSTED",
             "STATUS_SGX_TCB_SIGNING_CERT_INVALID_ISSUER")),
    Check("tcb-info-signer-revocation", "2.6", TRUTH, "the TCB info's signer is not revoked",
          _REFETCH, "STATUS_SGX_TCB_SIGNING_CERT_REVOKED"),
    *_document("2.7", "tcb-info", "TCB info",
               ("STATUS_TCB_INFO_INVALID_SIGNATURE", "STATUS_SGX_TCB_INFO_INVALID")),
    *_chain("2.8", "qe-identity-chain", "QE identity issuer chain",
            ("STATUS_SGX_TCB_SIGNING_CERT_MISSING", "STATUS_SGX_TCB_SIGNING_CERT_CHAIN_UNTRUSTED",
             "STATUS_SGX_TCB_SIGNING_CERT_INVALID_ISSUER")),
    Check("qe-identity-signer-revocation", "2.9", TRUTH, "the QE identity's signer is not revoked",
          _REFETCH, "STATUS_SGX_TCB_SIGNING_CERT_REVOKED"),
    *_document("2.10", "qe-identity", "QE identity",
               ("STATUS_SGX_ENCLAVE_IDENTITY_INVALID_SIGNATURE",
                "STATUS_SGX_ENCLAVE_IDENTITY_INVALID")),
    Check("pck-chain-present", "3.0", UNAVAILABLE, "a PCK certificate chain is there",
          "the quote carries no chain (it names its platform instead): give the PCK chain with the "
          "collateral; the attester's quote provider was not working when the quote was made",
          "STATUS_SGX_PCK_MISSING"),
    *_chain("3.1", "pck-chain", "PCK certificate chain",
            ("STATUS_SGX_PCK_MISSING", "STATUS_SGX_PCK_CERT_CHAIN_UNTRUSTED",
             "STATUS_SGX_PCK_INVALID_ISSUER"), FORMAT),
    Check("pck-extensions", "3.2", TRUTH, "PCK certificate: SGX extension readable", _FORGED,
          "STATUS_SGX_PCK_INVALID_EXTENSIONS"),
    Check("pck-crl-coverage", "3.4", TRUTH, "the PCK CRL is of the PCK certificate's own CA",
          "fetch the PCK CRL of the CA that issued the certificate (processor or platform)",
          "STATUS_INVALID_PCK_CRL"),
    Check("pck-ca-revocation", "3.5", TRUTH, "the PCK certificate's CA is not revoked", _FORGED,
          "STATUS_SGX_INTERMEDIATE_CA_REVOKED"),
    Check("pck-revocation", "3.6", TRUTH, "the PCK certificate is not revoked",
          "do not trust this machine: Intel has revoked its certificate", "STATUS_PCK_REVOKED"),
    Check("qe-vendor", "4.3", TRUTH, "the quoting enclave is Intel's",
          "no verifier can vouch for quotes of another vendor's QE",
          "STATUS_UNSUPPORTED_QUOTE_FORMAT"),
    Check("tcb-info-tee", "4.10", TRUTH, "the TCB info is for the quote's TEE",
          "fetch the TCB info under /sgx/ for SGX quotes, /tdx/ for TDX quotes",
          "STATUS_TCB_INFO_MISMATCH"),
    Check("fmspc", "4.11", TRUTH, "the TCB info is for the platform's FMSPC",
          "fetch the TCB info of the FMSPC in the PCK certificate", "STATUS_TCB_INFO_MISMATCH"),
    Check("pce-id", "4.11.1", TRUTH, "the TCB info is for the platform's PCE",
          "fetch the TCB info again", "STATUS_TCB_INFO_MISMATCH"),
    Check("tdx-module", "4.12", TRUTH, "the TDX module is one that Intel names",
          "do not trust it: the module is not Intel's, or the TCB info is too old to know it",
          "STATUS_TDX_MODULE_MISMATCH"),
    Check("qe-report-signature", "4.13", TRUTH, "QE report: signed by the PCK", _FORGED,
          "STATUS_INVALID_QE_REPORT_SIGNATURE"),
    Check("qe-report-data", "4.14", TRUTH, "QE report: vouches for the attestation key", _FORGED,
          "STATUS_INVALID_QE_REPORT_DATA"),
    Check("qe-identity-tee", "4.15", TRUTH, "the QE identity is for the quote's TEE",
          "fetch the identity under /sgx/ for SGX quotes, /tdx/ for TDX quotes",
          "STATUS_QE_IDENTITY_MISMATCH"),
    Check("qe-identity-match", "4.16", TRUTH, "the QE is the one that Intel's identity describes",
          "do not trust it: another enclave made this quote", "STATUS_QE_IDENTITY_MISMATCH"),
    Check("quote-signature", "4.17", TRUTH, "quote: signed by the attestation key", _FORGED,
          "STATUS_INVALID_QUOTE_SIGNATURE"),
    Check("tcb-level", "4.18", TCB, "the platform's TCB matches a level of the TCB info",
          "raise what is too low (see the shortfall); Intel does not support this TCB",
          "STATUS_TCB_NOT_SUPPORTED"),
    Check("tdx-module-level", "4.19", TCB, "the TDX module's version matches a level",
          "update the TDX module; Intel does not support this version",
          "STATUS_TCB_NOT_SUPPORTED"),
    Check("qe-level", "4.20", TCB, "the QE's version matches a level of its identity",
          "update the machine's SGX packages; Intel does not support this QE",
          "STATUS_TCB_NOT_SUPPORTED"),
    Check("tcb-status-known", "4.21", TCB, "the status of each matched level is known",
          "update dcap: Intel uses a status that this version does not know",
          "STATUS_TCB_UNRECOGNIZED_STATUS"),
    _expiry(1, "root-ca-crl", "root CA CRL", "STATUS_SGX_CRL_EXPIRED"),
    _expiry(2, "pck-crl", "PCK CRL", "STATUS_SGX_CRL_EXPIRED"),
    _expiry(3, "crl-issuer-chain", "PCK CRL issuer chain", "STATUS_SGX_PCK_CERT_CHAIN_EXPIRED"),
    _expiry(4, "pck-chain", "PCK certificate chain", "STATUS_SGX_PCK_CERT_CHAIN_EXPIRED"),
    _expiry(5, "tcb-info-chain", "TCB info issuer chain", "STATUS_SGX_SIGNING_CERT_CHAIN_EXPIRED"),
    _expiry(6, "qe-identity-chain", "QE identity issuer chain",
            "STATUS_SGX_SIGNING_CERT_CHAIN_EXPIRED"),
    _expiry(7, "tcb-info", "TCB info", "STATUS_SGX_TCB_INFO_EXPIRED"),
    _expiry(8, "qe-identity", "QE identity", "STATUS_SGX_ENCLAVE_IDENTITY_EXPIRED"),
    Check("collateral-age", "5.2", TCB, "collateral: young enough for the policy",
          "fetch fresh collateral, or raise maximum_collateral_age in the policy"),
    Check("tcb-status", "5.3", TCB, "TCB status: accepted by the policy",
          "update the platform (see the shortfall), or accept the status in the policy"),
    Check("qe-status", "5.4", TCB, "QE status: accepted by the policy",
          "update the machine's SGX packages, or accept the status in the policy"),
    Check("advisories", "5.5", TCB, "advisories: none that the policy refuses",
          "update the platform, or accept the advisories in the policy"),
    Check("tcb-date", "5.6", TCB, "TCB date: not before the policy's minimum",
          "update the platform, or lower minimum_tcb_date in the policy"),
    Check("evaluation-number", "5.7", TCB, "evaluation data number: at least the policy's minimum",
          "fetch newer collateral (update=early, or a newer number)"),
    Check("tee-tcb-svn", "5.8", TCB, "TEE_TCB_SVN: at least the policy's minimum",
          "update the TDX module, or lower minimum_tee_tcb_svn in the policy"),
    Check("platform-dynamic", "5.9.1", TCB, "platform: not dynamic, or accepted so by the policy",
          "set allow_dynamic_platform = true in the policy, if you accept it"),
    Check("platform-cached-keys", "5.9.2", TCB, "platform: no cached keys, or accepted so by the policy",
          "set allow_cached_keys = true in the policy, if you accept it"),
    Check("platform-smt", "5.9.3", TCB, "platform: no SMT, or accepted so by the policy",
          "disable hyper-threading in the BIOS, or set allow_smt = true in the policy"),
    Check("debug", "5.10", IDENTITY, "not a debug enclave or TD",
          "build for release; a debug enclave protects nothing from its host"),
    Check("td-attributes", "5.11", IDENTITY, "TD attributes: nothing the policy refuses",
          "start the TD with other attributes, or allow them in the policy"),
    Check("seam", "5.12", IDENTITY, "SEAM: Intel's module, no attributes",
          "do not trust it: a TDX module of another signer made this report"),
    Check("service-td", "5.13", IDENTITY, "no service TD is bound",
          "set allow_service_td = true in the policy, if you accept it"),
    Check("identity-pinned", "5.14", IDENTITY, "an identity was asked for",
          'pin one (--mrenclave, --mrsigner with --product-id, --mrtd, or [[release]] in a policy), '
          'or say that any will do: --any-identity, identity = "any"'),
    Check("identity", "5.15", IDENTITY, "identity: one that the policy names",
          "compare the claims with what you built; add the release to the policy if it is yours"),
    Check("attributes", "5.16", IDENTITY, "attributes: as the policy asks",
          "compare the claims with the policy's attributes and mask"),
    Check("report-data", "5.17", IDENTITY, "report data: as expected",
          "this is not the answer to your challenge: ask for a new quote; it may be a replay"),
]  # fmt: skip

CHECKS: dict[str, Check] = {row.code: row for row in _ROWS}
