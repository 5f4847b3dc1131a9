"""`dcap verify`: evidence, collateral, policy, instant -> verdict.

The exit status is the verdict's: 0 accepted, 2 malformed, 3 false, 4 TCB or collateral policy,
5 identity, 6 no collateral.
"""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from dcap.appraisal import AttestationResult, Policy, Release
from dcap.appraisal.appraiser import unreadable
from dcap.appraisal.policy import ACCEPTABLE, duration, padded_report_data
from dcap.cli import arguments, output
from dcap.cli.collateral_set import instant_text, read_sets
from dcap.cli.collateral_source import (
    configured,
    expect_no_fetch,
    expect_nothing_at,
    generation,
    source_options,
    write_whole,
)
from dcap.errors import ConfigError, FormatError, NotFound
from dcap.formats.containers.bundle import MAX_SIZE, Bundle, is_bundle
from dcap.relying_party import PUT_ASIDE, Gathered, gather, judge, own_collateral, recognise
from dcap.sources.directory import DirectorySource, read_bounded
from dcap.verification.anchors import TrustAnchor
from dcap.verification.evidence import Evidence
from dcap.verification.status import TcbStatus

COMMAND_LINE = "command line"
RECORDED = "recorded"
_WHERE_TO_GET_IT = (
    "give --collateral the folder or file that `dcap collateral get` wrote, or leave it out (and "
    "DCAP_COLLATERAL): it is then fetched"
)
#: Flags that make up a release of their own.
_RELEASE_FLAGS = ("mrenclave", "mrsigner", "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")


@click.command("verify")
@click.argument("evidence")
@click.option(
    "--collateral",
    metavar="DIR|FILE",
    envvar="DCAP_COLLATERAL",
    help="Fetch nothing: judge by this folder (as PCS answers were saved), bundle, or file in "
    "dcap-qvl's JSON form.",
)
@source_options
@click.option("--policy", "policy_file", metavar="FILE", help="What to accept, in TOML.")
@click.option(
    "--at",
    metavar="TIME",
    help="Judge as of this instant: Unix seconds, RFC 3339, or `recorded`: that which a bundle claims.",
)
@click.option(
    "--bundle-out",
    metavar="FILE",
    help="Write what was judged (evidence, collateral, instant) into one file, to be judged again.",
)
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
    bundle_out: str | None,
    insecure_test_root: str | None,
    show_platform_id: bool,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> int:
    """Verify EVIDENCE (a file, or - for standard input) and judge it by a policy.

    EVIDENCE may be a quote (raw, hex, base64, PEM, zero-padded) or a container around one: an Open
    Enclave report or evidence (EGo), a Conclave EnclaveInstanceInfo, a bundle of ours. Evidence that
    brings its own collateral is judged by that, unless --source, --early, --evaluation or --collateral
    is given; the result says so.
    """
    policy = _policy(policy_file, flags)
    generation(flags)  # refused before anything is read
    folder = _collateral_flag(collateral, flags)
    trust = arguments.anchor(insecure_test_root)
    if bundle_out is not None:
        expect_nothing_at(Path(bundle_out))
    data = arguments.read_input(evidence, MAX_SIZE)
    known = recognise(data)
    moment = _moment(at, known)
    recorded = () if at != RECORDED or moment is None else (_as_recorded(moment),)
    gathered = (
        _gather(known, folder, flags, moment, trust) if isinstance(known, Evidence) else known
    )
    if isinstance(gathered, Gathered):
        told = (*gathered.passing, *recorded)
        gathered = msgspec.structs.replace(gathered, passing=told)
    result = _judge(gathered, known, policy, moment, trust)
    if bundle_out is not None and isinstance(gathered, Gathered):
        bundle = gathered.bundle(_bare(data), result.at)
        write_whole(Path(bundle_out), bundle.to_bytes())
    if not quiet:
        value = result.to_dict(platform_ids=show_platform_id)
        text = result.explain(platform_ids=show_platform_id)
        output.emit(value, text.splitlines(), as_json=as_json)
    return result.exit_status


def _gather(
    known: Evidence,
    folder: Path | None,
    flags: dict[str, Any],
    moment: datetime | None,
    trust: TrustAnchor,
) -> Gathered | FormatError:
    """What to judge by: saved, brought by the evidence itself, or fetched."""
    try:
        update, number = generation(flags)
        if folder is not None:
            expect_no_fetch(flags, "--collateral says what to judge by")
            return _beside(known, folder, moment, trust)
        if not flags["sources"] and update is None and number is None:
            own = own_collateral(known)
            if own is not None:
                expect_no_fetch(flags, "collateral came with the evidence, which is judged by it")
                return own
        here = configured(flags, anchor=trust, at=moment)
        return gather(known, here, update=update, evaluation_number=number, at=moment, anchor=trust)
    except FormatError as error:  # the quote's own certificate cannot be read
        return error


def _judge(
    gathered: Gathered | FormatError,
    known: Evidence | FormatError,
    policy: Policy,
    moment: datetime | None,
    trust: TrustAnchor,
) -> AttestationResult:
    """The verdict; on what cannot be read, without looking at any collateral."""
    if isinstance(gathered, Gathered):
        return judge(gathered, policy, at=moment, anchor=trust)
    evidence = None if isinstance(known, FormatError) else known
    at = moment or arguments.instant(None)
    return unreadable(gathered, policy, at=at, anchor=trust, evidence=evidence)


def _moment(at: str | None, known: Evidence | FormatError) -> datetime | None:
    """The instant of --at; `None` for now, which is when the collateral is there."""
    if at != RECORDED:
        return None if at is None else arguments.instant(at)
    if isinstance(known, FormatError):
        return None
    if known.record is None:
        raise ConfigError(
            "at-recorded",
            "the evidence is no bundle: no instant was recorded with it",
            where="--at",
            mend="give the instant itself: --at 2025-07-04T10:28:44Z",
        )
    if not arguments.EARLIEST <= known.record.at < arguments.LATEST:
        raise ConfigError(
            "instant",
            f"the bundle says that it was recorded in the year {known.record.at.year}",
            where="--at recorded",
            mend="give the instant itself: --at 2025-07-04T10:28:44Z",
        )
    return known.record.at


def _as_recorded(moment: datetime) -> str:
    """What is said of an instant that nobody but the sender vouches for."""
    return (
        f"judged as of {instant_text(moment)}, which the bundle claims (--at recorded): whoever sent it "
        "chose the instant"
    )


def _collateral_flag(collateral: str | None, flags: dict[str, Any]) -> Path | None:
    """Where collateral was saved. A flag that fetches excludes --collateral, not $DCAP_COLLATERAL."""
    if collateral is None:
        return None
    if not any(flags[name] for name in ("sources", "early")) and flags["evaluation"] is None:
        return Path(collateral)
    given = click.get_current_context().get_parameter_source("collateral")
    if given is ParameterSource.ENVIRONMENT:
        return None
    raise ConfigError(
        "collateral-and-source",
        "--collateral says what to judge by, and --source, --early and --evaluation what to fetch",
        mend="give one or the other",
    )


def _beside(known: Evidence, folder: Path, moment: datetime | None, trust: TrustAnchor) -> Gathered:
    """The collateral that was saved; of several sets the one that fits."""
    try:
        sets = read_sets(folder)
        if len(sets) > 1:
            return gather(known, DirectorySource(folder), at=moment, anchor=trust)
        passing = () if known.collateral is None else (PUT_ASIDE,)
        return Gathered(evidence=known, collateral=sets[0].collateral, passing=passing)
    except NotFound as error:
        if error.code != "collateral-missing":
            raise
        raise NotFound(error.code, error.what, where=error.where, mend=_WHERE_TO_GET_IT) from None


def _bare(data: bytes) -> bytes | None:
    """The evidence alone, where it came in a bundle."""
    return Bundle.parse(data).evidence if is_bundle(data) else data


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
