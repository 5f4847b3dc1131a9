"""The report that an attester outside an enclave signs: asked of a `Reporter`, and found in the quote.

    report = report_for(reporter, target_info, report_data)      # the enclave's, for that target
    expect_over(quote, report, by=address)                       # the quote is over that report

A program that answers with an old report, or a daemon that mixes up two requests, would else be noticed
by the relying party alone, far away. Not here: report data of a quote (`bound_quote`), signatures
(`verification`).

Source: `quote-provider.md` §5.4-5.5; Intel SDM vol. 3D (EREPORT).
"""

from typing import Final

from dcap.attester.attester import Reporter
from dcap.errors import AttesterError, FormatError
from dcap.formats.local_report import LocalReport
from dcap.formats.quote import Quote

_REPORTER: Final = "reporter"
_MEND: Final = (
    "in the enclave: sgx_create_report() for the TARGETINFO and the report data it is given"
)


def no_reporter(attester: str) -> AttesterError:
    """An SGX attester outside an enclave has nobody who makes the report that it signs."""
    return AttesterError(
        "attester-no-reporter",
        f"{attester} signs the report of an enclave, and only that enclave can make it",
        where=attester,
        mend="name a program that has the enclave make it: `dcap attest --reporter COMMAND`",
    )


def report_for(reporter: Reporter, target_info: bytes, report_data: bytes) -> LocalReport:
    """The report that the reporter makes. Raises `AttesterError` (`attester-report`)."""
    octets = reporter(target_info, report_data)
    try:
        report = LocalReport.parse(octets)
    except FormatError as error:
        raise _no_report(f"what the reporter gave is no report: {error.what}") from None
    if report.body.report_data != report_data:
        raise _no_report("the reporter's report binds other report data than were asked for")
    return report


def expect_over(quote: bytes, report: LocalReport, *, by: str) -> None:
    """Raises `AttesterError` (`attester-unreported`) unless the quote is over the report's body."""
    if Quote.parse(quote).body.to_bytes() != report.signed:
        raise AttesterError(
            "attester-unreported",
            "the quote is over another report than the one that was given",
            where=by,
            mend="ask again; if it stays so, what answers there is not Intel's",
        )


def _no_report(what: str) -> AttesterError:
    return AttesterError("attester-report", what, where=_REPORTER, mend=_MEND)
