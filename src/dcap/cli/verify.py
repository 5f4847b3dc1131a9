"""`dcap verify`: evidence, collateral, policy, instant -> verdict.

The exit status is the verdict's: 0 accepted, 2 malformed, 3 false, 4 TCB or collateral policy,
5 identity, 6 no collateral.
"""

import hashlib
from pathlib import Path
from typing import Any

import click

from dcap.appraisal import Policy, Release, appraise
from dcap.appraisal.policy import ACCEPTABLE, duration, padded_report_data
from dcap.cli import arguments, output
from dcap.errors import ConfigError, NotFound
from dcap.sources.directory import read_bounded, read_collateral
from dcap.verification.status import TcbStatus

COMMAND_LINE = "command line"
_WHERE_TO_GET_IT = (
    "give --collateral DIR|FILE (or set DCAP_COLLATERAL): answers of Intel's PCS or of your PCCS, "
    "saved as README.md shows"
)
#: Flags that make up a release of their own.
_RELEASE_FLAGS = ("mrenclave", "mrsigner", "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")


@click.command("verify")
@click.argument("evidence")
@click.option(
    "--collateral",
    metavar="DIR|FILE",
    envvar="DCAP_COLLATERAL",
    help="A folder (as PCS answers were saved) or a file in dcap-qvl's JSON form.",
)
@click.option("--policy", "policy_file", metavar="FILE", help="What to accept, in TOML.")
@click.option("--at", metavar="TIME", help="Judge as of this instant: Unix seconds or RFC 3339.")
@click.option(
    "--mrenclave",
    multiple=True,
    metavar="HEX",
    help="Accept this enclave. Values of one flag are alternatives, "
    "different flags go together; with --policy they add a release.",
)
@click.option("--mrsigner", multiple=True, metavar="HEX", help="Accept enclaves of this signer.")
@click.option("--product-id", type=int, metavar="N", help="… with this product id.")
@click.option("--min-svn", type=int, metavar="N", help="… and at least this security version.")
@click.option("--mrtd", multiple=True, metavar="HEX", help="Accept this TD. Repeatable.")
@click.option("--rtmr0", multiple=True, metavar="HEX", help="… with this RTMR0 (also 1, 2, 3).")
@click.option("--rtmr1", multiple=True, metavar="HEX", hidden=True)
@click.option("--rtmr2", multiple=True, metavar="HEX", hidden=True)
@click.option("--rtmr3", multiple=True, metavar="HEX", hidden=True)
@click.option("--any-identity", is_flag=True, help="Accept whatever runs on a good platform.")
@click.option("--report-data", metavar="HEX", help="The report data you expect (zero-padded).")
@click.option(
    "--report-data-sha256-of",
    metavar="FILE",
    help="Expect SHA-256 of this file as report data, then zeros.",
)
@click.option(
    "--allow-status",
    multiple=True,
    metavar="STATUS|any",
    help="Accept this TCB status too. Repeatable.",
)
@click.option("--allow-debug", is_flag=True, help="Accept debug enclaves and TDs (insecure).")
@click.option("--min-tcb-date", metavar="DATE", help="Refuse a TCB dated before this day.")
@click.option(
    "--min-evaluation-number",
    type=int,
    metavar="N",
    help="Refuse collateral of an older evaluation data number.",
)
@click.option("--collateral-grace", metavar="DURATION", help="Accept collateral expired this long.")
@click.option("--max-collateral-age", metavar="DURATION", help="Refuse collateral older than this.")
@click.option(
    "--insecure-test-root",
    metavar="FILE",
    envvar="DCAP_INSECURE_TEST_ROOT",
    help="Trust this root instead of Intel's. For tests only.",
)
@click.option("--show-platform-id", is_flag=True, help="Show PPID and CPUSVN.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing; the exit status is the verdict.")
def command(
    evidence: str,
    *,
    collateral: str | None,
    policy_file: str | None,
    at: str | None,
    insecure_test_root: str | None,
    show_platform_id: bool,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> int:
    """Verify EVIDENCE (a file, or - for standard input) and judge it by a policy.

    EVIDENCE may be a quote (raw, hex, base64, PEM, zero-padded) or a container around one: an Open
    Enclave report or evidence (EGo), a Conclave EnclaveInstanceInfo.
    """
    policy = _policy(policy_file, flags)
    moment = arguments.instant(at)
    trust = arguments.anchor(insecure_test_root)
    data = arguments.read_input(evidence)
    try:
        given = None if collateral is None else read_collateral(Path(collateral))
        result = appraise(data, given, policy, at=moment, anchor=trust)
    except NotFound as error:
        mend = error.mend if error.code == "collateral-incomplete" else _WHERE_TO_GET_IT
        raise NotFound(error.code, error.what, where=error.where, mend=mend) from None
    if not quiet:
        value = result.to_dict(platform_ids=show_platform_id)
        text = result.explain(platform_ids=show_platform_id)
        output.emit(value, text.splitlines(), as_json=as_json)
    return result.exit_status


def _policy(policy_file: str | None, flags: dict[str, Any]) -> Policy:
    """The file's policy, tightened or loosened by each flag that was given."""
    policy = Policy()
    if policy_file is not None:
        text = read_bounded(Path(policy_file)).decode("utf-8", "replace")
        policy = Policy.from_toml(text, policy_file)
    changes = _changes(policy, flags)
    if not changes:
        return policy
    given = {field: getattr(policy, field) for field in policy.__struct_fields__}
    return Policy(**{**given, **changes})


def _changes(policy: Policy, flags: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    releases = _releases(flags)
    if releases:
        changes["releases"] = (*policy.releases, *releases)
    if flags["any_identity"]:
        changes["identity"] = "any"
    if flags["allow_status"]:
        accepted = _statuses(flags["allow_status"])
        changes["accepted_tcb_statuses"] = tuple(
            dict.fromkeys((*policy.accepted_tcb_statuses, *accepted))
        )
    if flags["allow_debug"]:
        changes["allow_debug"] = True
    changes |= _report_data(policy, flags)
    if flags["collateral_grace"] is not None:
        changes["collateral_grace_period"] = _number(flags["collateral_grace"])
    changes |= _stricter(policy, flags)
    return changes


def _stricter(policy: Policy, flags: dict[str, Any]) -> dict[str, Any]:
    """Flags that refuse more: of policy and flag the stricter counts."""
    changes: dict[str, Any] = {}
    number = flags["min_evaluation_number"]
    if number is not None:
        changes["minimum_evaluation_number"] = max(number, policy.minimum_evaluation_number or 0)
    if flags["min_tcb_date"] is not None:
        least, mine = arguments.day(flags["min_tcb_date"]), policy.minimum_tcb_instant
        changes["minimum_tcb_date"] = max(least, mine) if mine else least
    if flags["max_collateral_age"] is not None:
        age, mine_age = _number(flags["max_collateral_age"]), policy.maximum_collateral_age
        ages = [age] if mine_age is None else [age, mine_age]
        changes["maximum_collateral_age"] = min(
            ages, key=lambda a: duration(a, "--max-collateral-age")
        )
    return changes


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _releases(flags: dict[str, Any]) -> tuple[Release, ...]:
    """The flags as a release: values of one flag are alternatives, flags go together."""
    values: dict[str, Any] = {f: tuple(flags[f]) for f in _RELEASE_FLAGS if flags[f]}
    svn, product = flags["min_svn"], flags["product_id"]
    if not values:
        if svn is not None or product is not None:
            raise ConfigError(
                "flag-needs-identity",
                "--product-id and --min-svn say nothing without an identity",
                mend="give --mrsigner (or --mrenclave) too",
            )
        return ()
    return (Release(name=COMMAND_LINE, product_id=product, minimum_svn=svn, **values),)


def _statuses(given: tuple[str, ...]) -> tuple[TcbStatus, ...]:
    found: list[TcbStatus] = []
    for text in given:
        if text == "any":
            found += ACCEPTABLE
            continue
        status = next((s for s in ACCEPTABLE if s.lower() == text.lower()), None)
        if status is None:
            raise ConfigError(
                "status-unknown",
                f"{text[:40]!r} is not a status that can be accepted",
                where="--allow-status",
                mend=f"one of {', '.join(ACCEPTABLE)}, or any",
            )
        found.append(status)
    return tuple(found)


def _report_data(policy: Policy, flags: dict[str, Any]) -> dict[str, Any]:
    text, file = flags["report_data"], flags["report_data_sha256_of"]
    if text is not None and file is not None:
        raise ConfigError(
            "two-report-data", "--report-data and --report-data-sha256-of exclude each other"
        )
    if file is not None:
        text = hashlib.sha256(read_bounded(Path(file))).hexdigest()
    if text is None:
        return {}
    expected = padded_report_data(text, "--report-data")
    if policy.report_data not in (None, expected):
        raise ConfigError(
            "two-report-data",
            "the policy and --report-data expect different report data",
            mend="give them in one place",
        )
    return {"report_data": expected}
