"""Revoked PCK certificates: where the list of their CA is at hand, they are kept for nobody.

The same rule as for imports (`transfer/test_platform_collaterals`); what a list says is tested beside
the proofs (`test_trust`).
"""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from dcap.formats.certificate import Certificate
from dcap.pccs import withdrawal
from dcap.pccs.items import PckCrlKey
from dcap.pccs.mode import Mode
from dcap.pccs.refresh import Refresher
from dcap.simulator.events import CrlReissued, IntermediateRevoked
from dcap.simulator.intel import Revocation
from dcap.simulator.platform import Platform
from pccs.rig import ADMIN, Rig, pck_line, record_of

CRL = "pckcrl?ca=platform"
CERTIFICATES = "refresh?type=certs&fmspc=all"


def serials(machine: Platform) -> list[int]:
    """Of all that Intel has issued to a machine, the highest TCB first."""
    return [issued.certificate.serial for issued in machine.issued()]


def revoke(rig: Rig, numbers: Iterable[int]) -> None:
    """Intel takes certificates back."""
    rig.world.intel.revoked["platform"] += [Revocation(one, rig.world.at) for one in numbers]


def served(body: bytes) -> int:
    """The serial number of the certificate that was served."""
    return Certificate.parse_chain(body)[0].serial


def test_what_is_revoked_is_passed_over_for_what_stands(tmp_path: Path) -> None:
    """The machine gets the highest of those left, as if Intel had none for its own TCB."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    best, *rest = serials(machine)
    revoke(rig, [best])
    assert rig.ask(CRL).status == 200
    answer = rig.ask(pck_line(machine))
    assert answer.status == 200
    assert served(answer.body) in rest
    (holding,) = rig.store.platforms.holdings()
    assert len(holding.certificates) == len(rest)
    assert [(one.cause, one.about) for one in rig.upstream.incidents] == [("revoked", "a platform")]


def test_a_machine_with_nothing_left_is_told_so(tmp_path: Path) -> None:
    """404 with the cause, from the store too; the machine is known, and asked for once."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    revoke(rig, serials(machine))
    assert rig.ask(CRL).status == 200
    for _ in range(2):
        answer = rig.ask(pck_line(machine))
        assert (answer.status, answer.header("Dcap-Cause")) == (404, "revoked")
    assert len([path for path in rig.calls if path.endswith("/pckcerts")]) == 1
    offline = Rig(tmp_path, beside=rig, store=rig.store, mode=Mode.OFFLINE)
    answer = offline.ask(pck_line(machine))
    assert (answer.status, answer.header("Dcap-Cause")) == (404, "revoked")
    listed = rig.ask("platforms?source=[]", headers=ADMIN)
    assert machine.qe_id.hex().upper().encode() in listed.body.upper()


def test_without_the_list_nobody_knows(tmp_path: Path) -> None:
    """What is not at hand is not asked for: whoever verifies has the list, and refuses."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    revoke(rig, serials(machine))
    assert rig.ask(pck_line(machine)).status == 200


def test_a_renewal_takes_away_what_was_revoked_since(tmp_path: Path) -> None:
    """After the list is renewed, renewed certificates are those that stand; none may be left."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    rig.fill(machine)
    assert rig.ask(pck_line(machine)).status == 200
    rig.world.advance(timedelta(hours=1))
    revoke(rig, serials(machine))
    assert rig.ask("refresh", headers=ADMIN).status == 200
    assert rig.ask(CERTIFICATES, headers=ADMIN).header("Dcap-Revoked") == "1"
    answer = rig.ask(pck_line(machine))
    assert (answer.status, answer.header("Dcap-Cause")) == (404, "revoked")


def test_a_machine_with_nothing_left_hurts_no_other(tmp_path: Path) -> None:
    """A renewal of all machines is one that worked; how many are left without is told."""
    rig = Rig(tmp_path)
    machine, another = rig.world.platform(), rig.world.platform("another")
    for one in (machine, another):
        rig.fill(one)
    rig.world.advance(timedelta(hours=1))
    revoke(rig, serials(machine))
    answer = rig.ask("refresh", headers=ADMIN)
    assert {answer.header(name) for name in ("Dcap-Revoked", "Dcap-Failed")} == {None}
    answer = rig.ask(CERTIFICATES, headers=ADMIN)
    told = [answer.header(name) for name in ("Dcap-Renewed", "Dcap-Revoked", "Dcap-Failed")]
    assert (answer.status, answer.body) == (200, b"Operation successful.")
    assert told == ["2", "1", None]
    another.registered = False
    answer = rig.ask(CERTIFICATES, headers=ADMIN)
    told = [answer.header(name) for name in ("Dcap-Renewed", "Dcap-Revoked", "Dcap-Failed")]
    assert (answer.status, answer.header("Dcap-Cause")) == (404, "unregistered")
    assert told == ["1", "1", "1"]


# A list that comes later


def standing(rig: Rig, machine: Platform) -> list[int]:
    """The serial numbers that are kept of a machine."""
    holding = rig.store.platforms.holding(machine.qe_id.hex().upper(), "0000")
    assert holding is not None
    return [Certificate.parse_chain(one.pem)[0].serial for one in holding.certificates]


def looked_through(rig: Rig) -> list[str]:
    """What was told of looking certificates through."""
    return [one.what for one in rig.upstream.incidents if one.about == "PCK certificates"]


def test_a_new_list_takes_away_what_is_kept(tmp_path: Path) -> None:
    """A round brings it: the next best is served, nobody else loses anything, and it is counted."""
    rig = Rig(tmp_path)
    machine, another = rig.world.platform(), rig.world.platform("another")
    for one in (machine, another):
        rig.fill(one)
    best, *rest = serials(machine)
    assert served(rig.ask(pck_line(machine)).body) == best
    revoke(rig, [best])
    rig.world.advance(timedelta(days=1))
    Refresher(rig.service, seed=b"one").once(rig.clock())
    calls = len(rig.calls)
    assert standing(rig, machine) == rest
    assert served(rig.ask(pck_line(machine, with_ppid=False)).body) == rest[0]
    assert len(rig.calls) == calls
    assert standing(rig, another) == serials(another)
    assert looked_through(rig) == ["1 of 1 machine(s) are no longer kept"]


def test_a_list_that_says_nothing_new_costs_nothing(tmp_path: Path) -> None:
    """Certificates are looked through where a list names one that the list before did not."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    revoke(rig, serials(machine)[:1])
    assert rig.ask(CRL).status == 200
    assert rig.service.machines.withdrawal.has_reminders()
    assert rig.service.machines.withdrawal.drop_revoked() == 0
    listed = rig.store.items.get(PckCrlKey("PLATFORM"))
    assert listed is not None
    CrlReissued().apply(rig.world)
    reissued = rig.world.intel.pck_crl("platform", rig.world.at)
    assert reissued != listed.body
    rig.store.items.put(replace(listed, body=reissued))
    assert not rig.service.machines.withdrawal.has_reminders()
    revoke(rig, [1])
    newer = rig.world.intel.pck_crl("platform", rig.world.at)
    rig.store.items.put(replace(listed, body=newer))
    assert rig.service.machines.withdrawal.has_reminders()


def test_a_list_that_is_carried_in_counts_too(tmp_path: Path) -> None:
    """OFFLINE, and by another process than the one that took it in, however it ended."""
    lazy = Rig(tmp_path)
    machine = lazy.world.platform()
    lazy.fill(machine)
    revoke(lazy, serials(machine))
    listed = lazy.store.items.get(PckCrlKey("PLATFORM"))
    assert listed is not None
    newer = lazy.world.intel.pck_crl("platform", lazy.world.at)
    lazy.store.items.put(replace(listed, body=newer))
    rig = Rig(tmp_path, beside=lazy, store=lazy.store, mode=Mode.OFFLINE)
    assert rig.ask(pck_line(machine)).status == 200
    Refresher(rig.service, seed=b"one").once(rig.clock())
    answer = rig.ask(pck_line(machine))
    assert (answer.status, answer.header("Dcap-Cause")) == (404, "revoked")
    assert not rig.service.machines.withdrawal.has_reminders()


def test_what_was_renewed_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    """Less is kept in place of the certificates that were looked at, not of newer ones."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    rig.fill(machine)
    (seen,) = rig.store.platforms.holdings()
    rig.store.platforms.put(seen)
    assert not rig.store.platforms.amend(replace(seen, certificates=()))
    (kept,) = rig.store.platforms.of_ca("PLATFORM")
    assert kept.certificates == seen.certificates
    assert rig.store.platforms.amend(replace(kept, certificates=()))
    assert standing(rig, machine) == []
    assert list(rig.store.platforms.of_ca("PROCESSOR")) == []


def test_the_certificates_of_a_revoked_ca_are_dropped(tmp_path: Path) -> None:
    """The root's new list names it: its machines stay known, without any; the other CA's stand."""
    rig = Rig(tmp_path)
    machine, other = rig.world.platform(), rig.world.platform("one", ca="processor")
    for one in (machine, other):
        rig.fill(one)
    refresher = Refresher(rig.service, seed=b"one")
    refresher.once(rig.clock())
    assert standing(rig, machine) == serials(machine)
    IntermediateRevoked("platform").apply(rig.world)
    rig.world.advance(timedelta(days=1))
    refresher.once(rig.clock())
    refresher.once(rig.clock())
    answer = rig.ask(pck_line(machine, with_ppid=False))
    assert (answer.status, answer.header("Dcap-Cause")) == (404, "revoked")
    assert rig.ask(pck_line(other, with_ppid=False)).status == 200
    assert len(looked_through(rig)) == 1


def test_a_machine_is_served_again_after_its_recovery(tmp_path: Path) -> None:
    """With newer microcode Intel has newer certificates: after a renewal they are served."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    machine.svn = 3
    revoke(rig, serials(machine))
    rig.ask(CRL)
    assert rig.ask(pck_line(machine)).status == 404
    machine.svn = 4
    assert rig.ask(CERTIFICATES, headers=ADMIN).status == 200
    answer = rig.ask(pck_line(machine))
    assert answer.status == 200
    assert served(answer.body) == machine.certificate(4).certificate.serial


def test_who_registers_with_nothing_left_stays_in_the_queue(tmp_path: Path) -> None:
    """Told so, and not forgotten."""
    rig = Rig(tmp_path, mode=Mode.REQ)
    machine = rig.world.platform()
    assert rig.register(record_of(rig.world.platform("another"))).status == 200
    revoke(rig, serials(machine))
    rig.world.advance(timedelta(hours=1))
    assert rig.ask("refresh", headers=ADMIN).status == 200
    answer = rig.register(record_of(machine))
    assert (answer.status, answer.header("Dcap-Cause")) == (404, "revoked")
    assert [one.state for one in rig.store.registrations.list()] == ["NEW"]


def test_a_serial_number_is_found_in_whatever_form(tmp_path: Path) -> None:
    """As Intel writes certificates it stands in the first line; in other forms it is read as well."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    rig.fill(machine)
    (holding,) = rig.store.platforms.holdings()
    revoke(rig, serials(machine)[:1])
    listed = rig.world.intel.pck_crl("platform", rig.world.at)
    for form in (bytes, lambda pem: pem.replace(b"\n", b"\r\n"), lambda pem: b"\n" + pem):
        kept = replace(
            holding,
            certificates=tuple(replace(one, pem=form(one.pem)) for one in holding.certificates),
        )
        left = withdrawal.standing(kept, listed)
        assert left.certificates == kept.certificates[1:]
