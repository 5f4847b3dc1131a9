"""A result in words: what a person reads after `dcap verify`.

Facts first, then the checks (those that failed in full, those that passed by group), what was not
checked, the verdict, and what to do. Not here: colour and printing (`cli.output`).
"""

import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from dcap.appraisal.open_questions import NOT_REACHED
from dcap.errors import printable
from dcap.formats.origin import Origin
from dcap.verification.checks import CHECKS
from dcap.verification.findings import Finding, is_genuine

if TYPE_CHECKING:
    from dcap.appraisal.result import AttestationResult

#: After which failures it helps to see what is short; told once.
_SHORTFALL_AFTER = {"tcb-level", "tdx-module-level", "qe-level", "tcb-status", "qe-status"}
#: How the name of a source begins that a bundle only says it had.
IN_BUNDLE = "bundle: "
_A_MINUTE = timedelta(minutes=1)
_LONG_AGO = 60
_LABEL = 13
_WIDTH = 110

#: Passed checks are told by group: (what is said, the steps it stands for).
_GROUPS = (
    ("quote signature, QE report and QE identity", ("4.13", "4.14", "4.15", "4.16", "4.17")),
    ("PCK chain to the trusted root, certificate and CA not revoked", ("3.",)),
    ("TCB info, QE identity and two CRLs: chains, signatures, none from the future", ("2.",)),
    ("TCB info is for this TEE, FMSPC and PCE", ("4.10", "4.11")),
    ("TDX module is Intel's", ("4.12",)),
    ("collateral not expired", ("5.1.",)),
)
_SINGLE = ("tcb-status", "identity", "report-data", "evidence-binding", "collateral-age")


def lines(result: "AttestationResult", *, platform_ids: bool = False) -> Iterator[str]:
    """The result, line by line."""
    yield from _facts(result)
    if platform_ids and result.pck is not None:
        extensions = result.pck.extensions
        yield _row(
            "platform id", f"PPID {extensions.ppid.hex()}   CPUSVN {extensions.cpu_svn.hex()}"
        )
    yield "checks"
    yield from _passed(result)
    short = _SHORTFALL_AFTER & {finding.code for finding in result.failures}
    for finding in result.failures:
        yield from _failed(finding)
        if finding.code == next((f.code for f in result.failures if f.code in short), ""):
            yield from _shortfall(result)
    yield from _open(result)
    if result.accepted:
        yield _row("verdict", f"ACCEPTED  at {result.at:%Y-%m-%dT%H:%M:%SZ}")
        return
    reason = result.reason
    code = reason.code if reason else "rejected"
    yield _row("verdict", f"REJECTED  {code}  (exit {result.exit_status})")
    mends = [reason, *result.failures] if reason else result.failures
    for mend in dict.fromkeys(finding.mend for finding in mends if finding.mend):
        yield from _wrapped("fix", mend)


def _open(result: "AttestationResult") -> Iterator[str]:
    """What was not checked: because nobody asked, or because something failed before."""
    for item in result.not_checked:
        if NOT_REACHED not in item:
            yield from _wrapped("not checked", item)
    unreached = [item.partition(":")[0] for item in result.not_checked if NOT_REACHED in item]
    if unreached:
        text = f"because of what failed above: {', '.join(unreached)}"
        yield from _wrapped("not reached", text)


def _facts(result: "AttestationResult") -> Iterator[str]:
    evidence = result.evidence
    if evidence is None:
        yield _row("evidence", "not readable")
        return
    yield _row("evidence", f"{evidence.format}, ECDSA-P256, {evidence.size} bytes")
    if result.verified is None and not is_genuine(result.findings):
        yield _row("", "not proven genuine: what follows is only what it claims")
    yield from _identity(result.claims)
    yield from _platform(result)
    if result.trust_root != "intel":
        yield _row("trust root", f"{result.trust_root.upper()}: a test root, not Intel's")


def _identity(claims: Mapping[str, Any]) -> Iterator[str]:
    """What runs, and what it bound to itself."""
    debug = "yes" if claims["debug"] else "no"
    if "mrenclave" in claims:
        yield _row("enclave", f"MRENCLAVE {claims['mrenclave']}")
        yield _row("", f"MRSIGNER  {claims['mrsigner']}")
        yield _row("", f"product {claims['product_id']}   svn {claims['svn']}   debug {debug}")
    else:
        yield _row("TD", f"MRTD  {claims['mrtd']}")
        for index in range(4):
            yield _row("", f"RTMR{index} {claims[f'rtmr{index}']}")
        yield _row("", f"debug {debug}   TEE_TCB_SVN {claims['tee_tcb_svn']}")
    first, second = claims["report_data"][:64], claims["report_data"][64:]
    if any(bytes.fromhex(second)):
        yield _row("report data", first)
        yield _row("", second)
    else:
        yield _row("report data", f"{first} (then zeros)")


def _platform(result: "AttestationResult") -> Iterator[str]:
    """Where it runs, how good that is, and by which collateral."""
    if result.pck is not None:
        facts = [f"FMSPC {result.pck.extensions.fmspc.hex().upper()}"]
        facts.append(result.pck.chain[1].common_name.removeprefix("Intel SGX "))
        supplemental = result.supplemental()
        if supplemental is not None:
            facts.append(f"evaluation data {supplemental.tcb_eval_ref_num}")
        yield _row("platform", "   ".join(facts))
    if result.tcb is not None and result.verified is not None:
        yield from _tcb(result)
    elif result.tcb_status is not None and is_genuine(result.findings):
        yield _row("TCB", f"{result.tcb_status}: below every level that Intel supports")
    supplemental = result.supplemental()
    if supplemental is not None:
        expiry = supplemental.earliest_expiration_date
        yield _row(
            "collateral",
            f"newest issued {supplemental.latest_issue_date:%Y-%m-%d}, "
            f"first to expire: {supplemental.earliest_expiring} on {expiry:%Y-%m-%d %H:%M} UTC",
        )
    yield from _origins(result)
    for remark in result.remarks:
        yield from _wrapped("warning", printable(remark))


def _origins(result: "AttestationResult") -> Iterator[str]:
    """From where the collateral came: the pieces of one source and age on one line."""
    groups: dict[tuple[str, str], list[Origin]] = {}
    for origin in result.origins:
        groups.setdefault((origin.source, _age(origin, result)), []).append(origin)
    for (source, age), members in groups.items():
        pieces = [origin.piece for origin in members]
        told = [p for p in pieces if p.removesuffix("_issuer_chain") not in {*pieces} - {p}]
        hosts = dict.fromkeys(_host(origin.address) for origin in members)
        where = ", ".join(host for host in hosts if host and host not in source)
        names = ", ".join(piece.replace("_", "-") for piece in told)
        told_by = f"{source} ({where})" if where else source
        yield from _wrapped("from", printable(f"{told_by}: {names} ({age})"))


def _host(address: str) -> str:
    """The host of a URL, or a path as it stands."""
    scheme, found, rest = address.partition("://")
    return rest.partition("/")[0] if found and scheme in ("http", "https") else address


def _age(origin: Origin, result: "AttestationResult") -> str:
    """When a piece was fetched, as seen from the instant of the verdict."""
    age = result.at - origin.fetched_at
    hours, minutes = age // timedelta(hours=1), age // timedelta(minutes=1)
    if origin.source.startswith(IN_BUNDLE) or age < -_A_MINUTE or age.days >= _LONG_AGO:
        # `strftime` writes the year 1 as "1".
        fetched = origin.fetched_at.astimezone(UTC).replace(tzinfo=None)
        when = f"{fetched.isoformat(timespec='seconds')}Z"
    elif age < _A_MINUTE:
        when = "just now"
    elif hours:
        when = f"{age.days} days ago" if age.days > 1 else f"{hours} h ago"
    else:
        when = f"{minutes} min ago"
    kept = ", kept" if origin.cached else ""
    return f"fetched {when}{kept}{', STALE' if origin.stale else ''}"


def _tcb(result: "AttestationResult") -> Iterator[str]:
    tcb = result.tcb
    assert tcb is not None
    parts = [f"platform {tcb.platform}", f"QE {tcb.qe}"]
    if tcb.tdx_module is not None:
        parts.append(f"TDX module {tcb.tdx_module}")
    yield _row("TCB", f"{tcb.status}   ({', '.join(parts)})   TCB date {tcb.date:%Y-%m-%d}")
    if tcb.current is not None and tcb.current != tcb.launch:
        yield _row("", f"at launch {tcb.launch}, now {tcb.current}")
    if tcb.advisory_ids:
        yield from _wrapped("", f"advisories {', '.join(tcb.advisory_ids)}")


def _passed(result: "AttestationResult") -> Iterator[str]:
    """A group is told as good only where all of it ran, and passed."""
    unreached = [item.partition(":")[0] for item in result.not_checked if NOT_REACHED in item]
    bad = [finding.step for finding in result.failures]
    bad += [CHECKS[code].step for code in unreached]
    bad += [f.step for f in result.findings if f.code.endswith("-expiry") and _worded(f)]
    ran = {finding.step for finding in result.findings if finding.ok}
    for text, steps in _GROUPS:
        if any(_among(step, steps) for step in ran) and not any(_among(s, steps) for s in bad):
            yield f"  ok    {text}"
    for finding in result.findings:
        if finding.ok and (finding.code in _SINGLE or _worded(finding)):
            yield f"  ok    {finding.message}"


def _worded(finding: Finding) -> bool:
    """Whether a finding says more than that its check passed."""
    return finding.code in CHECKS and finding.message != CHECKS[finding.code].passed


def _among(step: str, steps: tuple[str, ...]) -> bool:
    return any(
        step == one or step.startswith(one if one.endswith(".") else one + ".") for one in steps
    )


def _failed(finding: Finding) -> Iterator[str]:
    text = f"{finding.code}: {finding.message}"
    first, *rest = textwrap.wrap(
        text, _WIDTH - 8, break_long_words=False, break_on_hyphens=False
    ) or [""]
    yield f"  FAIL  {first}"
    for line in rest:
        yield f"        {line}"


def _shortfall(result: "AttestationResult") -> Iterator[str]:
    for short in result.shortfall:
        yield (
            f"          {short.component}: have {short.have}, need {short.need}"
            f"   -> {short.raised_by}"
        )


def _row(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}"


def _wrapped(label: str, text: str) -> Iterator[str]:
    for line in textwrap.wrap(
        text, _WIDTH - _LABEL, break_long_words=False, break_on_hyphens=False
    ):
        yield _row(label, line)
        label = ""
