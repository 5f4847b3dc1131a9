"""Two verifiers that share no line of code, on the same real vectors: dcap and dcap-qvl (Rust).

Whether they accept, the TCB status and the set of advisories must be the same; where they are not,
`divergences.toml` says why. What differs in policy alone is opened here (`ANY`).
"""

from typing import Any

import pytest

from conformance.divergences import MOST, listed, reason, reasons
from dcap import Policy, Quote, appraise
from dcap.appraisal.policy import ACCEPTABLE
from dcap.formats.certificate import Certificate
from dcap.formats.pck_extensions import PckExtensions
from worlds import Vector, each_vector, vectors_path

dcap_qvl = pytest.importorskip("dcap_qvl", reason="dcap-qvl is not installed (dev group)")

ANY = Policy(
    accepted_tcb_statuses=ACCEPTABLE,
    identity="any",
    allow_debug=True,
    allow_sept_ve=True,
    allow_migratable=True,
    allow_service_td=True,
)
#: What dcap-qvl says where the divergence has this reason: another refusal is another divergence.
ITS_WORDS = {
    "tcb-info-v2": "missing field `sgxtcbcomponents`",
    "debug": "Debug mode is enabled",
    "service-td": "Invalid MR service TD",
}

#: accepted, status, advisories, and why not
Verdict = tuple[bool, str | None, frozenset[str]]


def ours(vector: Vector) -> Verdict:
    """What dcap says. A refused quote has no status worth comparing."""
    result = appraise(vector.quote, vector.collateral, ANY, at=vector.at)
    if not result.accepted or result.tcb is None:
        return False, None, frozenset()
    return True, result.tcb_status, frozenset(result.tcb.advisory_ids)


def theirs(vector: Vector, collateral: str) -> tuple[Verdict, str]:
    """What dcap-qvl says, and its words where it refuses."""
    pieces = dcap_qvl.QuoteCollateralV3.from_json(collateral)
    try:
        report: Any = dcap_qvl.verify(vector.quote, pieces, int(vector.at.timestamp()))
    except ValueError as error:
        return (False, None, frozenset()), str(error)
    return (True, report.status, frozenset(report.advisory_ids)), ""


@each_vector("verifiable", "negative")
def test_the_verdict_is_dcap_qvls(vector: Vector) -> None:
    """Both accept, with the same status and advisories, or both refuse, but for listed reasons."""
    mine = ours(vector)
    its, words = theirs(vector, (vector.path / "collateral.json").read_text())

    why = reason("dcap-qvl", vector.name)

    if why is None:
        assert mine == its, words
    else:
        assert mine != its, f"no longer diverges: take {vector.name} out of divergences.toml"
        assert ITS_WORDS.get(why, "") in words


@each_vector("verifiable")
def test_collateral_that_dcap_writes_is_read_alike(vector: Vector) -> None:
    """dcap-qvl's verdict is the same on the JSON that dcap writes as on the one it was given."""
    given = (vector.path / "collateral.json").read_text()

    assert theirs(vector, vector.collateral.to_json().decode()) == theirs(vector, given)


@each_vector("verifiable", "parse-only")
def test_the_quote_says_the_same_to_both(vector: Vector) -> None:
    """Header, body and the PCK certificate's platform are read alike by both."""
    if vector.manifest.get("parse_note"):
        pytest.skip("its chain is no PEM, or it is truncated: nothing to compare")
    quote = Quote.parse(vector.quote)

    its = dcap_qvl.parse_quote(vector.quote)

    assert its.header.version == quote.header.version
    assert its.header.user_data == quote.header.user_data
    assert its.header.qe_vendor_id == quote.header.qe_vendor_id
    assert its.is_tdx() == (quote.tee == "TDX")
    assert its.report.report_data == quote.body.report_data
    if quote.certification.is_chain:
        pck = Certificate.parse_chain(quote.certification.data)[0]
        extensions = PckExtensions.parse(pck.sgx_extension or b"")
        its_pck = its.pck_extension()
        assert its_pck.fmspc == extensions.fmspc
        assert its_pck.ppid == extensions.ppid
        assert its_pck.pce_id == extensions.pce_id
        assert its_pck.cpu_svn == extensions.cpu_svn
        assert its_pck.pce_svn == extensions.pce_svn
        assert its_pck.sgx_type == extensions.sgx_type


def test_divergences_only_shrink() -> None:
    """Every divergence has a reason, every reason is needed, and there are no more than there were."""
    used = {*listed("dcap-qvl").values(), *listed("intel-qvl").values()}

    assert used == set(reasons())
    assert all(len(sentence) > 40 for sentence in reasons().values())
    for verifier, most in MOST.items():
        assert len(listed(verifier)) <= most, verifier


def test_divergences_name_vectors_that_are_there() -> None:
    """A divergence of a vector that does not exist would never be looked at."""
    if not vectors_path().is_dir():
        pytest.skip(f"no vectors at {vectors_path()} (set DCAP_VECTORS)")

    for verifier in MOST:
        for name in listed(verifier):
            assert (vectors_path() / name / "manifest.json").is_file(), name
