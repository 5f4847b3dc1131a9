"""`dcap attest`: a quote of this machine, by whatever it offers, in the form that its verifier reads.

Exit status 7 where the machine offers nothing, or what it offers does not answer. Not here: the
attesters (`dcap.attester`), what is bound (`attest_binding`), what the quote is worth (`dcap verify`).
"""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from dcap.attester import Description
from dcap.attester.attester import padded
from dcap.attester.choice import NAMES, Decision, decide, described
from dcap.attester.reporter_command import reporter_command
from dcap.attester.surroundings import Surroundings
from dcap.cli import output
from dcap.cli.attest_binding import HASHES, NOTHING, Binding, binding, claims_binding
from dcap.cli.collateral_source import source_options
from dcap.cli.evidence_forms import (
    FORMS,
    TEXTS,
    claims_buffer,
    expect_holds,
    put,
    write_output,
    write_stdout,
)
from dcap.errors import ConfigError
from dcap.formats.certification import CertificationType
from dcap.formats.quote import Quote
from dcap.qpl.discovery_root import Root

if TYPE_CHECKING:
    from dcap.cli.attest_simulated import SimulatedAttester

#: `ego` is Open Enclave's report: what EGo's GetRemoteReport gives, and its VerifyRemoteReport takes.
_FORMATS: Final = (*FORMS, "ego", "bundle")
_ALIASES: Final = {"ego": "oe-report"}
#: Flags that nothing but the fetch for a bundle obeys.
_OF_BUNDLES: Final = {
    "sources": "--source",
    "offline": "--offline",
    "ca_file": "--ca",
    "timeout": "--timeout",
    "early": "--early",
    "evaluation": "--evaluation",
    "stale_for": "--stale-for",
}
_OF_SIMULATION: Final = {"sim_dir": "--dir", "platform": "--platform", "tee": "--tee"}
_OF_MACHINES: Final = {"by": "--by", "reporter": "--reporter"}


@click.command("attest")
@click.option("--report-data", metavar="HEX", help="Bind these 1 to 64 bytes, padded with zeros.")
@click.option(
    "--nonce",
    metavar="HEX",
    help="Bind the verifier's challenge: as report data, or with --bind behind the hash (then 1 to 32 "
    "bytes).",
)
@click.option("--bind", "bound_file", metavar="FILE", help="Bind the hash of this file.")
@click.option(
    "--hash",
    "hash_name",
    type=click.Choice(HASHES),
    default="sha256",
    show_default=True,
    help="… by this hash.",
)
@click.option("--by", metavar="NAME", help=f"Use this attester: {', '.join(NAMES)}.")
@click.option(
    "--reporter",
    metavar="COMMAND",
    help="The program that makes its enclave's report, for dcap-ql and aesm: TARGETINFO and report "
    "data on stdin (512 + 64 bytes), REPORT on stdout (432).",
)
@click.option(
    "--list", "listed", is_flag=True, help="List the attesters of this machine, and stop."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="raw",
    show_default=True,
    help="The quote alone or as text, in Open Enclave's or EGo's form, or in a bundle with the "
    "collateral for it.",
)
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=TEXT",
    help="A custom claim of oe-evidence, which binds its claims and nothing else. Repeatable.",
)
@click.option("-o", "--output", "file", metavar="FILE", help="- is standard output, the default.")
@source_options
@click.option(
    "--insecure-test-root",
    metavar="FILE",
    envvar="DCAP_INSECURE_TEST_ROOT",
    help="For a bundle: trust this root instead of Intel's. For tests only.",
)
@click.option("--insecure-sim", is_flag=True, help="Let a simulated machine quote. For tests only.")
@click.option("--dir", "sim_dir", metavar="DIR", help="… of the world in this folder (.dcap-sim).")
@click.option("--platform", metavar="NAME", help="… that has this name (machine).")
@click.option("--tee", type=click.Choice(["sgx", "tdx"]), help="… over an enclave (sgx) or a TD.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written, or found, as JSON.")
@click.option("--root", metavar="DIR", help="Look for attesters in this root. For tests.")
def command(*, listed: bool, as_json: bool, **flags: Any) -> None:
    """Make evidence on this machine: a quote, by whatever the machine offers. Needs no parameter.

    What the quote is to bind is its verifier's affair: --nonce, --bind, --report-data; without them it
    binds nothing. Certificates and collateral need no parameter either: they come from where this
    machine's configuration says.
    """
    surroundings = Surroundings(
        Root(Path(flags["root"] or "/")),
        dict(os.environ),
    )
    reporter = None if flags["reporter"] is None else reporter_command(flags["reporter"])
    if listed:
        found = described(surroundings, reporter=reporter)
        value = {"attesters": [msgspec.structs.asdict(one) for one in found]}
        output.emit(value, _listing(found), as_json=as_json)
        return
    form = _ALIASES.get(flags["form"], flags["form"])
    _expect_together(flags, form)
    _expect_place(flags, form, as_json=as_json)
    bound = binding(flags)
    simulated = _simulated(flags)
    if simulated is None:
        decision = decide(surroundings, reporter=reporter, name=flags["by"])
    else:
        decision = Decision(attester=simulated, why=simulated.describe().found[0])
    _attest(decision, simulated, bound, form, flags, as_json=as_json)


def _attest(
    decision: Decision,
    simulated: "SimulatedAttester | None",
    bound: Binding,
    form: str,
    flags: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Quote, put it into its form, write it, and tell."""
    attester = decision.attester
    tee = attester.describe().tee
    expect_holds(form, tee, "--format")
    claims = claims_buffer(flags["claims"])
    bound = _with_claims(bound, claims, form, tee)
    click.echo(f"by {attester.name}: {decision.why}", err=True)
    if bound == NOTHING:
        click.echo("nothing is bound: the report data are zero (--nonce, --bind)", err=True)
    quote = attester.quote(padded(bound.report_data))
    parsed = Quote(quote)
    if form != "bundle":
        _warn_of_certification(parsed)
        evidence = put(quote, form, tee, claims)
    else:
        from dcap.cli.attest_bundle import bundle  # noqa: PLC0415 - slow to load, and few want it

        evidence = bundle(quote, flags, simulated)
    file = flags["file"]
    if file in (None, "-"):
        write_stdout(evidence)
        return
    write_output(Path(file), evidence)
    value = {
        "file": file,
        "format": flags["form"],
        "size": len(evidence),
        "attester": attester.name,
        "why": decision.why,
        "tee": tee,
        "version": parsed.header.version,
        "certification": parsed.certification.type,
        "report_data": parsed.body.report_data.hex(),
        "bound": bound.what,
        "verify": list(bound.expect),
    }
    output.emit(value, _told(value, bound), as_json=as_json)


def _told(value: dict[str, Any], bound: Binding) -> Iterator[str]:
    within = "" if value["format"] == "raw" else f" as {value['format']}"
    quote = f"{value['tee']} quote v{value['version']}{within} by {value['attester']}"
    yield f"{value['file']}: {quote}, {value['size']} bytes"
    yield f"bound        {bound.what}"
    if bound.expect:
        yield f"verify with  {shlex.join(bound.expect)}"


def _listing(found: tuple[Description, ...]) -> Iterator[str]:
    """Each attester, in the order in which they are taken, with what keeps it from serving."""
    first = next((one.name for one in found if one.usable), None)
    for number, one in enumerate(found, 1):
        state = "no" if not one.usable else "chosen" if one.name == first else "yes"
        yield f"{number}  {one.name:<13}{one.tee}  {state}"
        yield from (f"   found  {fact}" for fact in one.found)
        if one.why_not:
            yield f"   lacks  {one.why_not}"
        if one.mend:
            yield f"   fix    {one.mend}"


def _with_claims(bound: Binding, claims: bytes, form: str, tee: str) -> Binding:
    """What is bound where the form itself binds something: Open Enclave's evidence of an enclave."""
    if form != "oe-evidence" or tee != "SGX":
        if claims:
            raise click.UsageError("--claim belongs to --format oe-evidence of an SGX enclave")
        return bound
    if bound != NOTHING:
        raise click.UsageError(
            "oe-evidence makes the report data of its claims: bind by --claim, or use --format oe-report"
        )
    return claims_binding(claims)


def _warn_of_certification(quote: Quote) -> None:
    """Of a quote that names its machine and carries no certificate: verifiers say 0xE01C of it."""
    kind = quote.certification.type
    if kind != CertificationType.PCK_CERTIFICATE_CHAIN:
        output.warn(
            f"the quote carries no PCK certificate chain (certification data of type {kind}), and many "
            "verifiers refuse it (0xE01C): the quote provider of this machine got none; `dcap doctor` "
            "says why, --format bundle adds it"
        )


def _simulated(flags: dict[str, Any]) -> "SimulatedAttester | None":
    """The simulated machine that was loudly asked for."""
    if not flags["insecure_sim"]:
        return None
    from dcap.cli.attest_simulated import simulated  # noqa: PLC0415 - for tests alone

    output.warn("a simulated machine quotes: whoever knows its seed can make any quote of it")
    return simulated(flags["sim_dir"], flags["platform"], flags["tee"])


def _expect_together(flags: dict[str, Any], form: str) -> None:
    """Refuse what would have no effect."""
    sim = flags["insecure_sim"]
    wrong = [
        (_OF_SIMULATION, not sim, "--insecure-sim alone"),
        (_OF_MACHINES, sim, "attesters of this machine, not --insecure-sim"),
        (_OF_BUNDLES, form != "bundle", "--format bundle alone: nothing else is fetched"),
    ]
    for names, is_idle, whose in wrong:
        given = [flag for key, flag in names.items() if flags[key] not in (None, False, ())]
        if is_idle and given:
            raise click.UsageError(f"{given[0]} is for {whose}")


def _expect_place(flags: dict[str, Any], form: str, *, as_json: bool) -> None:
    """Refuse binary on a terminal, and JSON where evidence goes."""
    if flags["file"] not in (None, "-"):
        return
    if as_json:
        raise click.UsageError("the evidence goes to standard output: --json needs -o FILE")
    if form not in (*TEXTS, "bundle") and sys.stdout.isatty():
        raise ConfigError(
            "output-terminal",
            "this is a terminal, and the evidence is binary",
            where="standard output",
            mend="give -o FILE, or --format base64",
        )
