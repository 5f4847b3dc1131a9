"""The TCB of this machine and the kind of its quotes: row 4 of `quote-provider.md` §6, and each status.

Truth is an up-to-date machine whose quote carries its chain, and a PCCS that has everything.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from asked_machine import PATH, Machine, asked, closed_port, instead
from scratch import Seen, say

from dcap.api.http import Handler
from dcap.doctor import tcb
from dcap.formats.certification import CertificationType
from dcap.serving import serving
from dcap.simulator import World
from dcap.simulator.alibaba import alibaba
from dcap.simulator.events import RecoveryAnnounced
from dcap.simulator.platform import Platform


@pytest.fixture
def world() -> World:
    """A world with one machine, which is up to date."""
    made = World("doctor's tcb")
    made.platform("machine")
    return made


def judged(
    top: Path, world: World, quote: bytes | None, handler: Handler | None = None, **changes: object
) -> Seen:
    """What is said of a machine with that quote."""
    with asked(top, world, handler=handler) as (machine, _):
        given = {"roles": frozenset({"attester"}), "quote": quote, "timeout": 5.0, **changes}
        return say(tcb.CHECKS, machine.scene(**given))


def machine_of(world: World) -> Platform:
    """The one machine."""
    return world.platform("machine")


@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_a_machine_that_is_up_to_date(tmp_path: Path, world: World, tee: str) -> None:
    """No finding: the quote carries its chain, and the status is UpToDate."""
    seen = judged(tmp_path, world, machine_of(world).quote(tee=tee))
    assert seen.codes == []
    assert [right.what for right in seen.rights] == [
        "quotes of this machine carry their PCK certificate (type 5)",
        f"the TCB of this machine is up to date ({tee})",
    ]


@pytest.mark.parametrize(
    "kind",
    [
        CertificationType.PPID_CLEARTEXT,
        CertificationType.PPID_RSA2048_ENCRYPTED,
        CertificationType.PPID_RSA3072_ENCRYPTED,
    ],
)
def test_row_4_a_quote_without_a_certificate(
    tmp_path: Path, world: World, kind: CertificationType
) -> None:
    """Row 4, 0xE01C: quoting succeeded without its plugin; the type is said, and what finds out."""
    seen = judged(tmp_path, world, machine_of(world).quote(certification=kind))
    finding = seen.finding("quote-without-certificate")
    assert f"type {int(kind)}" in finding.what
    assert "0xE01C" in finding.what
    assert "dcap qcnl lint" in seen.mends("quote-without-certificate")
    assert "dcap provider list" in seen.mends("quote-without-certificate")
    assert machine_of(world).ppid.hex() not in repr(seen)


def test_row_4_is_told_offline_too(tmp_path: Path, world: World) -> None:
    """Row 4: the kind stands in the quote; only the status needs the network, and is skipped."""
    quote = machine_of(world).quote(certification=CertificationType.PPID_RSA3072_ENCRYPTED)
    seen = judged(tmp_path, world, quote, offline=True)
    assert seen.codes == ["quote-without-certificate"]
    assert [each.why for each in seen.skipped] == ["collateral is not to be fetched"]


def test_the_status_of_a_quote_without_a_certificate(tmp_path: Path, world: World) -> None:
    """Where the PCCS has the certificate, the status is told all the same."""
    quote = machine_of(world).quote(certification=CertificationType.PPID_RSA3072_ENCRYPTED)
    seen = judged(tmp_path, world, quote)
    assert [right.what for right in seen.rights] == ["the TCB of this machine is up to date (SGX)"]


@pytest.mark.parametrize(
    ("status", "code", "mend"),
    [
        ("OutOfDate", "tcb-out-of-date", "microcode"),
        ("OutOfDateConfigurationNeeded", "tcb-out-of-date", "BIOS"),
        ("ConfigurationNeeded", "tcb-configuration", "advisory"),
        ("ConfigurationAndSWHardeningNeeded", "tcb-configuration", "ISVSVN"),
        ("SWHardeningNeeded", "tcb-hardening", "ISVSVN"),
        ("Revoked", "tcb-revoked", "firmware"),
    ],
)
def test_each_status_has_its_finding(
    tmp_path: Path, world: World, status: str, code: str, mend: str
) -> None:
    """Every status but UpToDate is found, with its advisories, what is too low, and what raises it."""
    machine_of(world).set_status(status)
    seen = judged(tmp_path, world, machine_of(world).quote())
    assert seen.codes == [code]
    finding = seen.finding(code)
    assert status in finding.what
    assert "INTEL-SA-" in finding.what
    assert any("raises it" in line for line in finding.evidence)
    assert mend in seen.mends(code)


def test_a_trust_domain_that_outlived_an_update(tmp_path: Path, world: World) -> None:
    """TDRelaunchAdvised: the machine is fine, and its domain is to be started again."""
    machine_of(world).set_status("TDRelaunchAdvised")
    quote = machine_of(world).quote(tee="TDX", body_type=3)
    assert judged(tmp_path, world, quote).codes == ["td-relaunch"]


def test_a_tcb_below_every_level(tmp_path: Path, world: World) -> None:
    """A machine below all of Intel's levels has no status, and that is the finding."""
    machine_of(world).svn = 0
    assert judged(tmp_path, world, machine_of(world).quote()).codes == ["tcb-unsupported"]


def test_what_is_announced(tmp_path: Path, world: World) -> None:
    """By the early generation it is out of date: a warning, while standard says well."""
    RecoveryAnnounced().apply(world)
    seen = judged(tmp_path, world, machine_of(world).quote())
    assert seen.codes == ["tcb-early"]
    assert "OutOfDate" in seen.finding("tcb-early").what


def test_row_12_collateral_that_has_expired(tmp_path: Path, world: World) -> None:
    """Row 12: a PCCS that serves what has expired is told by the check that fails."""
    quote = machine_of(world).quote()
    world.advance(timedelta(days=-90))
    stale = alibaba(world)
    with asked(tmp_path, world, handler=stale) as (machine, _):
        later = world.at + timedelta(days=90)
        scene = machine.scene(quote=quote, clock=lambda: later, timeout=5.0)
        seen = say(tcb.CHECKS, scene)
    finding = seen.finding("quote-refused")
    assert any("-expiry" in line for line in finding.evidence)


def test_the_status_comes_from_where_collateral_does(tmp_path: Path, world: World) -> None:
    """With a `collateral_service`, that one is asked, though the machine itself only attests."""
    with (
        asked(tmp_path, world, handler=instead(alibaba(world), {"certification": None})) as (
            machine,
            certificates,
        ),
        serving(alibaba(world)) as collateral,
    ):
        machine.configure(certificates.url + PATH, collateral_service=collateral.url + PATH)
        scene = machine.scene(
            quote=machine_of(world).quote(), roles=frozenset({"attester"}), timeout=5.0
        )
        seen = say(tcb.CHECKS, scene)
    assert seen.codes == []
    assert f"by collateral of {collateral.url}{PATH}" in seen.rights[1].evidence[0]


def test_collateral_that_is_not_to_be_had(tmp_path: Path, world: World) -> None:
    """Without collateral there is no status: it is skipped, for the requests say what is missing."""
    seen = judged(
        tmp_path, world, machine_of(world).quote(), instead(alibaba(world), {"/tcb?": None})
    )
    assert seen.codes == []
    assert "has no collateral for it" in seen.skipped[0].why


def test_a_service_that_is_not_reached(tmp_path: Path, world: World) -> None:
    """Where the way is barred, the status is skipped: the network says what is wrong."""
    machine = Machine(tmp_path, world)
    machine.configure(f"https://127.0.0.1:{closed_port()}{PATH}")
    seen = say(tcb.CHECKS, machine.scene(quote=machine_of(world).quote()))
    assert seen.codes == []
    assert [each.why for each in seen.skipped] == ["no service that has collateral is reached"]


def test_without_a_quote_nothing_is_judged(tmp_path: Path, world: World) -> None:
    """The skipped check says how a quote is made."""
    seen = judged(tmp_path, world, None)
    assert (seen.codes, ["dcap attest" in each.why for each in seen.skipped]) == ([], [True])


@pytest.mark.parametrize("quote", [b"", b"not a quote", b"\x03\x00" * 300])
def test_a_quote_that_is_none(tmp_path: Path, world: World, quote: bytes) -> None:
    """Bytes that are no quote are a finding, with where they end to be one."""
    seen = judged(tmp_path, world, quote)
    assert seen.codes == ["quote-unreadable"]
    assert "dcap inspect" in seen.mends("quote-unreadable")


def test_every_code_of_the_tcb_is_in_the_table() -> None:
    """What can be found is what is documented, each once, each with its mends."""
    codes = {ailment.code for ailment in tcb.AILMENTS}
    assert len(codes) == len(tcb.AILMENTS)
    assert all(ailment.mends and ailment.causes for ailment in tcb.AILMENTS)
