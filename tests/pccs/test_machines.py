"""Machines: whose certificates are kept under a QE id, what is remembered of them, and when they end.

Source: `pccs-and-pcs-api.md` §2.1, 2.4.
"""

import sqlite3
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.pccs.items import Holding, TcbInfoKey
from dcap.pccs.mode import Mode
from dcap.pccs.service import UNASKED, Expired
from dcap.pccs.store.platforms import MAX_RAW_TCBS
from dcap.simulator.events import RecoveryAnnounced
from dcap.simulator.platform import Platform
from pccs.rig import ADMIN, BASE, Rig, manifest_of, pck_line, record_of

PCKCERTS = "/sgx/certification/v4/pckcerts"


def kept(rig: Rig, machine: Platform) -> Holding:
    """What is kept under a machine's ids."""
    found = rig.store.platforms.holding(machine.qe_id.hex().upper(), "0000")
    assert found is not None
    return found


def as_another(machine: Platform, own: Platform) -> dict[str, object]:
    """A registration under one machine's QE id with another's PPID, and a raw TCB that is new."""
    newer = bytes((own.cpu_svn[0] + 1, *own.cpu_svn[1:]))
    return record_of(own, qe_id=machine.qe_id.hex(), cpu_svn=newer.hex())


def causes(rig: Rig) -> list[str]:
    """What was reported."""
    return [one.cause for one in rig.upstream.incidents]


@pytest.mark.parametrize("by", ["ppid", "manifest"])
def test_a_registered_machine_is_not_replaced_by_another(tmp_path: Path, by: str) -> None:
    """Whoever has a user token and names its QE id is refused and told of; what was kept is served."""
    rig = Rig(tmp_path)
    machine, other = rig.world.platform(), rig.world.platform("other")
    assert rig.register(record_of(machine)).status == 200
    before = kept(rig, machine)
    record = as_another(machine, other)
    if by == "manifest":
        record = manifest_of(other) | {"qe_id": machine.qe_id.hex()}
    response = rig.register(record)
    assert (response.status, response.header("Dcap-Cause")) == (404, "other-machine")
    assert kept(rig, machine) == before
    assert causes(rig).count("other-machine") == 1
    assert rig.ask(pck_line(machine)).status == 200


def test_a_machine_that_is_forgotten_can_be_another(tmp_path: Path) -> None:
    """The administrator says so; after that the QE id is free."""
    rig = Rig(tmp_path)
    machine, other = rig.world.platform(), rig.world.platform("other")
    assert rig.register(record_of(machine)).status == 200
    assert rig.register(as_another(machine, other)).status == 404
    assert rig.service.forget_machine(machine.qe_id.hex(), "0000")
    assert rig.register(as_another(machine, other)).status == 200
    assert kept(rig, machine).certificates[0].ppid == other.ppid


def test_a_registration_wins_over_what_anybody_had_looked_up(tmp_path: Path) -> None:
    """Without a token one can be the first under a QE id, and not for good."""
    rig = Rig(tmp_path)
    machine, attacker = rig.world.platform(), rig.world.platform("attacker")
    line = pck_line(machine, encrypted_ppid=attacker.encrypted_ppid.hex())
    assert rig.ask(line).status == 200
    assert kept(rig, machine).certificates[0].ppid == attacker.ppid
    assert rig.register(record_of(machine)).status == 200
    assert kept(rig, machine).certificates[0].ppid == machine.ppid
    assert "other-machine" in causes(rig)
    # From now on it is registered: nobody takes its place.
    assert rig.register(as_another(machine, attacker)).status == 404


def test_a_machine_of_an_older_store_is_not_replaced_by_another(tmp_path: Path) -> None:
    """Who named it was not noted then: it stays, and its own registration vouches for it."""
    rig = Rig(tmp_path)
    machine, other = rig.world.platform(), rig.world.platform("other")
    assert rig.register(record_of(machine)).status == 200
    with rig.store.database.engine.begin() as connection:
        connection.execute(text("UPDATE dcap_platforms SET is_registered = NULL"))
    response = rig.register(as_another(machine, other))
    assert (response.status, response.header("Dcap-Cause")) == (404, "other-machine")
    assert kept(rig, machine).certificates[0].ppid == machine.ppid
    assert rig.ask("refresh?type=certs", headers=ADMIN).status == 200
    assert kept(rig, machine).platform.is_registered is None
    assert rig.register(record_of(machine)).status == 200
    assert kept(rig, machine).platform.is_registered is True


def test_machines_that_were_looked_up_and_ask_no_more_are_forgotten(tmp_path: Path) -> None:
    """Who registered stays, who asks stays, and all do where nobody would be looked up again."""
    rig = Rig(tmp_path)
    names = ("registered", "asks", "gone")
    registered, asks, gone = (rig.world.platform(name) for name in names)
    assert rig.register(record_of(registered)).status == 200
    assert all(rig.ask(pck_line(one)).status == 200 for one in (registered, asks, gone))
    rig.service.sightings.write()
    rig.world.advance(UNASKED)
    assert rig.ask(pck_line(asks)).status == 200
    rig.service.sightings.write()
    rig.world.advance(timedelta(hours=1))
    offline = Rig(tmp_path, mode=Mode.OFFLINE, beside=rig, store=rig.store)
    assert offline.service.tidy(rig.clock()) == 0
    assert rig.service.tidy(rig.clock()) == 1
    left = {one.platform.qe_id for one in rig.store.platforms.each()}
    assert left == {one.qe_id.hex().upper() for one in (registered, asks)}


def test_a_machine_that_got_no_certificate_was_seen_too(tmp_path: Path) -> None:
    """What is kept of it for one request of anybody's does not stay for good."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    line = pck_line(machine, cpusvn="00" * 16, pcesvn="0000")
    assert rig.ask(line).header("Dcap-Cause") == "no-certificate-for-tcb"
    assert kept(rig, machine).platform.last_seen is not None


@pytest.mark.parametrize("mode", list(Mode))
def test_an_all_zero_qe_id_names_no_machine(tmp_path: Path, mode: Mode) -> None:
    """All that could not read theirs would be one machine: nothing is fetched, kept or queued."""
    rig = Rig(tmp_path, mode=mode)
    machine = rig.world.platform()
    zero = "00" * 16
    answers = rig.ask(pck_line(machine, qeid=zero)), rig.register(record_of(machine, qe_id=zero))
    for response in answers:
        assert (response.status, response.header("Dcap-Cause")) == (404, "zero-qe-id")
    assert rig.calls == []
    assert list(rig.store.platforms.each()) == []
    assert rig.store.registrations.list() == ()


def test_a_machine_that_looked_itself_up_registers_without_another_call(tmp_path: Path) -> None:
    """It comes with the very PPID that was looked up: then its row is vouched for."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    assert rig.ask(pck_line(machine)).status == 200
    assert not kept(rig, machine).platform.is_registered
    assert rig.register(record_of(machine)).status == 200
    assert kept(rig, machine).platform.is_registered
    assert rig.calls.count(PCKCERTS) == 1


def test_a_renewal_keeps_who_named_the_machine(tmp_path: Path) -> None:
    """`refresh?type=certs` replaces certificates, and nothing else."""
    rig = Rig(tmp_path)
    machine, looked_up = rig.world.platform(), rig.world.platform("looked up")
    assert rig.register(record_of(machine)).status == 200
    assert rig.ask(pck_line(looked_up)).status == 200
    assert rig.ask("refresh?type=certs", headers=ADMIN).status == 200
    assert kept(rig, machine).platform.is_registered
    assert not kept(rig, looked_up).platform.is_registered


def test_invented_raw_tcbs_fill_nothing(tmp_path: Path) -> None:
    """Each is answered; of one machine only so many are remembered, and that of a registration is."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    assert rig.register(record_of(machine)).status == 200
    for number in range(MAX_RAW_TCBS + 3):
        invented = bytes((*machine.cpu_svn[:15], 100 + number)).hex()
        assert rig.ask(pck_line(machine, with_ppid=False, cpusvn=invented)).status == 200
    assert len(kept(rig, machine).raw_tcbs) == MAX_RAW_TCBS
    last = bytes((*machine.cpu_svn[:15], 99)).hex().upper()
    assert rig.register(record_of(machine, cpu_svn=last)).status == 200
    reports = [one.cpu_svn for one in kept(rig, machine).raw_tcbs]
    assert len(reports) == MAX_RAW_TCBS
    assert last in reports


@pytest.mark.parametrize(("mode", "status"), [(Mode.LAZY, 200), (Mode.REQ, 404)])
def test_a_new_raw_tcb_has_the_tcb_info_fetched(tmp_path: Path, mode: Mode, status: int) -> None:
    """What certificates are selected with is missing: where the mode fetches collateral, it is had."""
    rig = Rig(tmp_path, mode=mode)
    machine = rig.world.platform()
    assert rig.register(record_of(machine)).status == 200
    fmspc = kept(rig, machine).platform.fmspc
    rig.store.items.delete(*(TcbInfoKey("SGX", fmspc, 4, one) for one in ("STANDARD", "EARLY")))
    newer = bytes((machine.cpu_svn[0] + 1, *machine.cpu_svn[1:])).hex()
    response = rig.ask(pck_line(machine, with_ppid=False, cpusvn=newer))
    assert response.status == status
    assert response.header("Dcap-Cause") == (None if status == 200 else "no-tcb-info")


def test_what_intel_owes_is_asked_for_at_the_next_registration(tmp_path: Path) -> None:
    """The lower certificate is served meanwhile, and not taken for the last word."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    record, line = record_of(machine), pck_line(machine, with_ppid=False)
    machine.svn -= 1
    assert rig.register(record).status == 200
    lower = rig.ask(line)
    assert lower.status == 200
    machine.svn += 1
    assert rig.register(record).status == 200
    assert rig.calls.count(PCKCERTS) == 2
    assert rig.ask(line).header("SGX-TCBm") != lower.header("SGX-TCBm")
    assert rig.register(record).status == 200
    assert rig.calls.count(PCKCERTS) == 2


def test_head_looks_up_nothing(tmp_path: Path) -> None:
    """It is answered from what is kept; where that is nothing it says so, and nothing is then kept."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    for line in (pck_line(machine), "rootcacrl", "pckcrl?ca=platform"):
        response = rig.ask(line, method="HEAD")
        assert (response.status, response.header("Dcap-Cause")) == (404, "not-cached")
    assert rig.calls == []
    assert rig.ask(pck_line(machine)).status == 200
    newer = bytes((machine.cpu_svn[0] + 1, *machine.cpu_svn[1:])).hex()
    before = rig.store.change_number()
    assert rig.ask(pck_line(machine, cpusvn=newer), method="HEAD").status == 200
    assert rig.store.change_number() == before


def expire(rig: Rig, machine: Platform, *, after: timedelta) -> None:
    """Let a machine's certificates end soon, by going to just before that."""
    ends = kept(rig, machine).platform.expires
    assert ends is not None
    rig.world.advance(ends - rig.world.at + after)


def test_a_certificate_is_kept_by_clients_no_longer_than_it_holds(tmp_path: Path) -> None:
    """Its last hour is its last hour in every cache; the end is known to the store."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    assert rig.ask(pck_line(machine)).header("Cache-Control") == "max-age=86400"
    assert rig.store.platforms.first_expiry() == kept(rig, machine).platform.expires
    expire(rig, machine, after=-timedelta(hours=1))
    assert rig.ask(pck_line(machine)).header("Cache-Control") == "max-age=3600"


@pytest.mark.parametrize("mode", [Mode.REQ, Mode.OFFLINE])
def test_an_expired_certificate_is_refused_or_stale(tmp_path: Path, mode: Mode) -> None:
    """As other collateral that has expired and cannot be renewed."""
    rig = Rig(tmp_path, mode=mode)
    machine = rig.world.platform()
    rig.fill(machine)
    expire(rig, machine, after=timedelta(seconds=1))
    response = rig.ask(pck_line(machine))
    assert (response.status, response.header("Dcap-Cause")) == (404, "expired")
    serving = Rig(tmp_path, mode=mode, beside=rig, store=rig.store, expired=Expired.SERVE)
    response = serving.ask(pck_line(machine))
    assert (response.status, response.header("Cache-Control")) == (200, "max-age=0")
    assert "Stale" in (response.header("Warning") or "")


def test_another_cache_cannot_look_up_a_manifest(tmp_path: Path) -> None:
    """It has no certificates by manifest: the cause says who has, and nobody is asked in vain."""
    intel = Rig(tmp_path)
    cache = Rig(
        tmp_path,
        beside=intel,
        store=intel.store,
        suppliers=[intel.supplier("pccs+" + BASE)],
    )
    machine = intel.world.platform()
    response = cache.register(manifest_of(machine))
    assert (response.status, response.header("Dcap-Cause")) == (404, "manifest-needs-pcs")
    assert intel.calls == []


def test_a_tcb_recovery_is_the_same_machine(tmp_path: Path) -> None:
    """New microcode, new certificates, the same PPID: nothing is reported."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    assert rig.register(record_of(machine)).status == 200
    RecoveryAnnounced().apply(rig.world)
    machine.update()
    assert rig.register(record_of(machine)).status == 200
    assert "other-machine" not in causes(rig)


@pytest.mark.parametrize("answered", ["pckcerts", "tcb"])
def test_a_store_that_fails_while_intel_answers_is_no_forgery(
    tmp_path: Path, answered: str
) -> None:
    """What cannot be proven for want of what is kept is 503; nobody upstream is blamed for it."""
    database = tmp_path / "pccs.db"

    def failing(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            if request.path.endswith(answered):
                rename("dcap_items", "away")
            return handler(request)

        return answer

    def rename(old: str, new: str) -> None:
        connection = sqlite3.connect(database)
        with suppress(sqlite3.OperationalError):  # it is away already
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.close()

    rig = Rig(tmp_path, wire=failing)
    machine = rig.world.platform()
    response = rig.ask(pck_line(machine))
    assert (response.status, response.header("Dcap-Cause")) == (503, "store-unavailable")
    assert "forged" not in causes(rig)
    rename("away", "dcap_items")
    assert all(one.causes.get("forged", 0) == 0 for one in rig.upstream.health())
