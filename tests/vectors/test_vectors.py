"""Every real vector, judged whole: what Intel's machines and Intel's documents really look like.

What is expected stands in the vectors' manifests (Intel's QVL said it); for the negative ones, in
`REASONS`: the manifest's sentence, and the findings and exit status that it must become here.
"""

import json
from collections import Counter

import pytest

from dcap import AttestationResult, FormatError, Policy, Quote, Rejected, TrustAnchor, appraise
from dcap.appraisal.policy import ACCEPTABLE
from dcap.verification import INTEL_SGX_ROOT
from worlds import Vector, each_vector, vector_names, vectors_path

#: Everything a policy can leave open, so that only truth is judged.
ANY = Policy(
    accepted_tcb_statuses=ACCEPTABLE,
    identity="any",
    allow_debug=True,
    allow_sept_ve=True,
    allow_migratable=True,
    allow_service_td=True,
)

#: The manifest's `expected` -> (every finding that must fail, exit status).
REASONS: dict[str, tuple[set[str], int]] = {
    "CRL signature invalid": ({"pck-crl-signature"}, 3),
    "FMSPC mismatch / CRL": ({"fmspc", "pck-crl-expiry"}, 3),
    "QE identity id must be QE": ({"qe-identity-tee"}, 3),
    "QE identity signature invalid": ({"qe-identity-signature"}, 3),
    "QE report data mismatch": ({"qe-report-data"}, 3),
    "QE report data mismatch / point not on curve": ({"qe-report-data", "quote-signature"}, 3),
    "QE report signature invalid": ({"qe-report-signature"}, 3),
    "TCB info is for SGX": ({"tcb-info-tee", "fmspc"}, 3),
    "TCB info signature invalid": ({"tcb-info-signature"}, 3),
    "TCB info signature invalid (whitespace matters)": ({"tcb-info-signature"}, 3),
    "collateral expired (40 days later)": (
        {"pck-crl-expiry", "tcb-info-expiry", "qe-identity-expiry"},
        4,
    ),
    "inner length mismatch": ({"quote-length"}, 2),
    "length error": ({"quote-truncated"}, 2),
    "length error, no allocation": ({"quote-truncated"}, 2),
    "policy: reject (or accept as Intel QVL does) bytes after sig data": (
        {"quote-trailing-bytes"},
        2,
    ),
    "quote signature invalid": ({"quote-signature"}, 3),
    "quote signature invalid (header is signed)": ({"quote-signature"}, 3),
    "quote signature invalid (r=s=0)": ({"quote-signature"}, 3),
    "root CRL signature invalid": ({"root-ca-crl-signature"}, 3),
    "unknown QE vendor": ({"qe-vendor", "quote-signature"}, 3),
    "unsupported attestation key type": ({"quote-attestation-key-type"}, 2),
    "unsupported version": ({"quote-version"}, 2),
}
#: "format error" is two: a v3 quote cannot be of TDX; a v4 quote read as SGX has other lengths.
FORMAT_ERRORS = {"neg-sgx-tee-swap": "quote-tee-type", "neg-tdx4-tee-swap": "quote-truncated"}

#: The one folder that the index leaves out: its root is not Intel's.
UNLISTED = {"intel-qvl-sampledata-sgx": "custom-root"}


def judge(vector: Vector, anchor: TrustAnchor = INTEL_SGX_ROOT) -> AttestationResult:
    """The vector under the most open policy, at its own instant."""
    return appraise(vector.quote, vector.collateral, ANY, at=vector.at, anchor=anchor)


@each_vector("verifiable")
def test_genuine_quote_has_the_status_that_intel_gives_it(vector: Vector) -> None:
    """A genuine quote under genuine collateral gets Intel's status, advisories and levels."""
    expected = vector.manifest["expected"]

    result = judge(vector)

    assert result.tcb_status == expected["status"]
    if expected["status"] == "TCB_NOT_SUPPORTED":
        assert (result.accepted, result.exit_status) == (False, 4)
        assert {finding.code for finding in result.failures} == {"tcb-level"}
        return
    assert result.accepted, result.failures
    assert result.exit_status == 0
    tcb = result.tcb
    assert tcb is not None
    assert sorted(tcb.advisory_ids) == sorted(expected["advisory_ids"])
    assert {"platform": tcb.platform, "qe": tcb.qe, "tdx_module": tcb.tdx_module} == expected[
        "levels"
    ]


@each_vector("verifiable")
def test_genuine_td_of_tdx_1_5_has_the_current_status_that_intel_gives_it(vector: Vector) -> None:
    """A TDX 1.5 quote is judged a second time by TEE_TCB_SVN_2, any other quote is not."""
    expected = vector.manifest["expected"]
    quote = Quote.parse(vector.quote)

    tcb = judge(vector).tcb

    if expected["status"] == "TCB_NOT_SUPPORTED":
        assert tcb is None
    elif quote.body_type < 3:
        assert tcb is not None
        assert (tcb.current, tcb.current_advisory_ids) == (None, ())
    else:
        assert tcb is not None
        assert tcb.current == expected["current_status"]
        assert sorted(tcb.current_advisory_ids) == sorted(expected["current_advisory_ids"])


@each_vector("verifiable")
def test_genuine_quote_is_refused_where_no_identity_is_pinned(vector: Vector) -> None:
    """The default policy accepts no genuine quote, however good its platform: nothing is pinned."""
    result = appraise(vector.quote, vector.collateral, at=vector.at)

    assert not result.accepted
    if result.verified is not None:
        assert "identity-pinned" in {finding.code for finding in result.failures}


@each_vector("negative")
def test_mutant_is_refused_for_its_reason(vector: Vector) -> None:
    """One mutation of a genuine vector is refused for exactly what was done to it."""
    sentence = vector.manifest["expected"]
    codes, status = REASONS.get(sentence) or ({FORMAT_ERRORS[vector.name]}, 2)

    result = judge(vector)

    assert not result.accepted
    assert {finding.code for finding in result.failures} == codes
    assert result.exit_status == status
    assert result.verified is None or status == 4


@each_vector("negative")
def test_mutant_accepts_no_road_around_its_reason(vector: Vector) -> None:
    """`require` raises for every mutant, with the same exit status as the result."""
    result = judge(vector)

    with pytest.raises(Rejected) as raised:
        result.require()
    assert raised.value.exit_status == result.exit_status
    assert raised.value.result is result


@each_vector("parse-only")
def test_quote_without_collateral_is_read_or_refused_as_noted(vector: Vector) -> None:
    """A quote that cannot be verified is read to its last byte; the one noted truncated is not."""
    manifest = vector.manifest
    if manifest.get("parse_note") == "truncated":
        with pytest.raises(FormatError) as raised:
            Quote.parse(vector.quote)
        assert raised.value.code == "quote-length"
        return

    quote = Quote.parse(vector.quote)

    assert quote.to_bytes() == vector.quote
    assert (quote.header.version, quote.header.tee_type) == (manifest["version"], manifest["tee"])
    assert quote.certification.type == manifest["cert_type"]
    assert len(quote.certification.data) == manifest["cert_len"]
    assert quote.qe_report.isv_svn == manifest["qe_isvsvn"]
    assert quote.body.report_data.hex() == manifest["report_data"]
    assert quote.body.debug == manifest["debug"]


@each_vector("custom-root")
def test_vector_of_a_test_root_is_accepted_under_it_alone(vector: Vector) -> None:
    """Intel's sample data hold under Intel's test root (simulated), and not under the real one."""
    under_its_own = judge(vector, vector.anchor)
    under_intels = judge(vector)

    assert under_its_own.accepted, under_its_own.failures
    assert under_its_own.trust_root == "simulated"
    assert under_its_own.tcb_status == vector.manifest["intel_qvl"]["status"]
    assert not under_intels.accepted
    assert under_intels.exit_status == 3
    assert {finding.code for finding in under_intels.failures} == {
        "crl-issuer-chain-root",
        "tcb-info-chain-root",
        "qe-identity-chain-root",
        "pck-chain-root",
    }


def test_every_vector_was_seen() -> None:
    """The folders tested above, by kind, are those that the index lists: none is silently missed."""
    if not vectors_path().is_dir():
        pytest.skip(f"no vectors at {vectors_path()} (set DCAP_VECTORS)")
    index = json.loads((vectors_path() / "index.json").read_bytes())
    kinds = ("verifiable", "negative", "parse-only", "custom-root")

    seen = {name: kind for kind in kinds for name in vector_names(kind)}

    assert seen == {entry["name"]: entry["kind"] for entry in index} | UNLISTED
    assert Counter(seen.values()) == Counter(entry["kind"] for entry in index) + Counter(
        UNLISTED.values()
    )
    assert set(vector_names()) == set(seen)


def test_every_reason_is_one_that_a_vector_states() -> None:
    """The table of reasons has no row that no vector needs."""
    if not vectors_path().is_dir():
        pytest.skip(f"no vectors at {vectors_path()} (set DCAP_VECTORS)")

    stated = {Vector(name).manifest["expected"] for name in vector_names("negative")}

    assert stated == {*REASONS, "format error"}
