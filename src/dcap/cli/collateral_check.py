"""`dcap collateral check`: is a set of collateral genuine, and in date? Judged without evidence.

The exit status is the gravest finding's: 3 false, 4 expired, 6 a piece is missing or unreadable.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from dcap.cli import arguments, output
from dcap.cli.collateral_set import CollateralSet, instant_text, read_sets
from dcap.verification.anchors import TrustAnchor
from dcap.verification.checks import CHECKS, EXIT_STATUS
from dcap.verification.endorsements import check_endorsements
from dcap.verification.findings import Finding, Ledger
from dcap.verification.qe_identity import IDENTITY_OF_TEE


@click.command("check")
@click.argument("path")
@click.option("--at", metavar="TIME", help="Judge as of this instant: Unix seconds or RFC 3339.")
@click.option(
    "--insecure-test-root",
    metavar="FILE",
    envvar="DCAP_INSECURE_TEST_ROOT",
    help="Trust this root instead of Intel's. For tests only.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(path: str, *, at: str | None, insecure_test_root: str | None, as_json: bool) -> int:
    """Prove the set at PATH (a folder, a bundle, dcap-qvl's JSON) and judge whether it is in date.

    Exit status: 0 genuine and in date; 3 false; 4 genuine, and expired; 6 missing or unreadable.
    """
    moment = arguments.instant(at)
    anchor = arguments.anchor(insecure_test_root)
    values = [_judge(found, moment, anchor) for found in read_sets(Path(path))]
    status = min((value["exit_status"] for value in values if value["exit_status"]), default=0)
    lines = [line for value in values for line in _lines(value)]
    output.emit(
        {
            "sets": values,
            "exit_status": status,
            "at": instant_text(moment),
            "trust_root": anchor.name,
        },
        lines,
        as_json=as_json,
    )
    return status


def findings_of(
    found: CollateralSet, at: datetime, anchor: TrustAnchor
) -> tuple[tuple[Finding, ...], int]:
    """All findings of steps 2 and 5.1 on a whole set, and their exit status."""
    check = check_endorsements(found.collateral, at=at, anchor=anchor)
    ledger = Ledger()
    authentic = check.authentic
    info, identity = authentic.tcb_info, authentic.qe_identity
    if info is not None and identity is not None:
        ledger.check(
            "qe-identity-tee",
            identity.id == IDENTITY_OF_TEE[info.id],
            f"the TCB info is of {info.id}, the identity of {identity.id}",
        )
    for window in authentic.windows:
        ledger.check(
            f"{window.name}-expiry",
            at <= window.expires,
            f"expired at {instant_text(window.expires)}, before {instant_text(at)}",
        )
    findings = (*check.findings, *ledger.findings)
    failed = [CHECKS[finding.code].kind for finding in findings if not finding.ok]
    return findings, min((EXIT_STATUS[kind] for kind in failed), default=0)


def _judge(found: CollateralSet, at: datetime, anchor: TrustAnchor) -> dict[str, Any]:
    findings, status = findings_of(found, at, anchor)
    return {
        "name": found.name,
        "exit_status": status,
        "findings": [
            {
                "code": finding.code,
                "step": finding.step,
                "ok": finding.ok,
                "message": finding.message,
                "mend": finding.mend,
            }
            for finding in findings
        ],
    }


_VERDICTS = {0: "genuine and in date", 3: "FALSE", 4: "genuine, and expired", 6: "unreadable"}


def _lines(value: dict[str, Any]) -> Iterator[str]:
    status = value["exit_status"]
    yield f"{value['name']}   {_VERDICTS[status]}" + (f"  (exit {status})" if status else "")
    failed = [finding for finding in value["findings"] if not finding["ok"]]
    passed = len(value["findings"]) - len(failed)
    yield f"  ok    {passed} checks: signatures, chains, revocation lists, dates"
    for finding in failed:
        yield f"  FAIL  {finding['code']}: {finding['message']}"
    for mend in dict.fromkeys(finding["mend"] for finding in failed):
        yield f"fix     {mend}"
