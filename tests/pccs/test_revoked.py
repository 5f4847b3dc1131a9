"""Revoked PCK certificates: where the list of their CA is at hand, they are kept for nobody.

The same rule as for imports (`transfer/test_platform_collaterals`); what a list says is tested beside
the proofs (`test_trust`).
"""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from dcap.formats.certificate import Certificate
from dcap.pccs.mode import Mode
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
    assert rig.ask(CERTIFICATES, headers=ADMIN).header("Dcap-Cause") == "revoked"
    answer = rig.ask(pck_line(machine))
    assert (answer.status, answer.header("Dcap-Cause")) == (404, "revoked")


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
