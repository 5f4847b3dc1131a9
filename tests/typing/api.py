"""The public API as a user's type checker sees it: checked by `mypy --strict`, never run."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, assert_type

import dcap
from dcap import (
    AttestationResult,
    Collateral,
    CollateralError,
    ConfigError,
    DcapError,
    Evidence,
    FormatError,
    NotFound,
    Policy,
    Quote,
    Rejected,
    Release,
    TrustAnchor,
    Unavailable,
    VerificationError,
    appraise,
    check_endorsements,
)
from dcap.formats.sgx_report import SgxReport
from dcap.formats.td_report import TdReport10
from dcap.sources.directory import read_collateral
from dcap.verification import Endorsements, Finding, VerifiedQuote, verify

NOW = datetime.now(UTC)


def as_in_the_readme(quote: bytes, collateral: Collateral) -> None:
    """One call, one policy, one exception."""
    policy = dcap.Policy(releases=(dcap.Release(name="v1", mrenclave="ab" * 32),))
    result = dcap.appraise(quote, collateral, policy, at=NOW)
    assert_type(result, AttestationResult)
    assert_type(result.require(), AttestationResult)
    assert_type(result.accepted, bool)
    assert_type(result.exit_status, int)
    assert_type(result.tcb_status, str | None)
    assert_type(result.claims, dict[str, Any])
    assert_type(result.not_checked, tuple[str, ...])
    assert_type(result.failures, tuple[Finding, ...])
    assert_type(result.reason, Finding | None)
    assert_type(result.to_json(platform_ids=True), str)
    assert_type(result.to_dict(), dict[str, Any])
    assert_type(result.explain(), str)
    assert_type(result.at, datetime)
    assert_type(dcap.__version__, str)


def fails_open(result: AttestationResult) -> NoReturn:
    """A result has no truth value, and the type says so."""
    bool(result)
    raise AssertionError


def every_reason(result: AttestationResult) -> list[str]:
    """What people log."""
    for finding in result.failures:
        assert_type(finding.code, str)
        assert_type(finding.ok, bool)
    return [f"{finding.code}: {finding.message}; {finding.mend}" for finding in result.failures]


def a_policy() -> Policy:
    """Every form that a setting may take."""
    assert_type(Policy.from_toml('identity = "any"'), Policy)
    Policy(minimum_tcb_date=date(2025, 5, 14))
    Policy(minimum_tcb_date=NOW - timedelta(days=90), maximum_collateral_age=3600)
    return Policy(
        name="prod",
        accepted_advisories=("INTEL-SA-00615",),
        collateral_grace_period="36h",
        releases=(
            Release(name="one", mrsigner="ab" * 32, product_id=1, minimum_svn=3),
            Release(name="several", mrenclave=("ab" * 32, "cd" * 32)),
            Release(name="td", mrtd="ab" * 48, rtmr1=("cd" * 48,)),
        ),
    )


def mistakes() -> None:
    """What a type checker must catch: these lines are errors, and stay so."""
    Policy(accept_everything=True)  # type: ignore[call-arg]
    Policy(identity="all")  # type: ignore[arg-type]
    Policy(allow_debug="no")  # type: ignore[arg-type]
    Policy(releases=Release(name="one", mrenclave="ab" * 32))  # type: ignore[arg-type]
    Release(mrenclave="ab" * 32)  # type: ignore[call-arg]
    appraise("quote.bin", None, Policy(), at=NOW)  # type: ignore[arg-type]
    Policy().allow_debug = True  # type: ignore[misc]


def one_set_of_collateral_for_many_quotes(quotes: list[bytes], folder: Path) -> int:
    """Endorsements are checked once, and serve many quotes."""
    collateral = read_collateral(folder)
    assert_type(collateral, Collateral)
    endorsements = check_endorsements(collateral, at=NOW).require()
    assert_type(endorsements, Endorsements)
    return sum(appraise(quote, endorsements, a_policy()).accepted for quote in quotes)


def step_by_step(data: bytes, endorsements: Endorsements) -> VerifiedQuote:
    """Truth apart from taste."""
    evidence = Evidence.recognise(data)
    assert_type(evidence.quote, Quote)
    proof = verify(evidence, endorsements).require()
    assert_type(proof, VerifiedQuote)
    return proof


def who_is_it(quote: Quote) -> bytes:
    """A quote's body is of one of two kinds."""
    if isinstance(quote.body, SgxReport):
        return quote.body.mr_enclave
    assert_type(quote.body.mr_td, bytes)
    body: TdReport10 = quote.body
    return body.report_data


def under_a_test_root(quote: Quote, collateral: Collateral, anchor: TrustAnchor) -> bool:
    """What is not Intel's is named, and the result says it."""
    return appraise(quote, collateral, a_policy(), at=NOW, anchor=anchor).trust_root == "intel"


def every_error(quote: bytes, collateral: Collateral) -> int:
    """One tree of errors, each with code, mend and exit status."""
    try:
        appraise(quote, collateral, at=NOW).require()
    except Rejected as error:
        assert_type(error.code, str)
        return error.exit_status
    except (NotFound, Unavailable, CollateralError) as error:
        assert_type(error.mend, str)
        return error.exit_status
    except (FormatError, VerificationError, ConfigError) as error:
        assert_type(error.what, str)
        return error.exit_status
    except DcapError:
        return 70
    return 0
