"""Registration: of one package and of several, direct and indirect; TCBs without a certificate.

Source: `pccs-and-pcs-api.md` §1.4, 2.1, 2.3.
"""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import Unavailable
from dcap.pccs.items import Registration
from dcap.pccs.mode import Mode
from dcap.pccs.registration import MAX_MANIFEST
from dcap.pccs.service import DONE_WITH
from dcap.simulator.events import PckRevoked, PlatformReregistered, RecoveryAnnounced
from pccs.rig import ADMIN, Rig, manifest_of, pck_line, record_of

FETCHING = [Mode.LAZY, Mode.REQ]


@pytest.mark.parametrize("mode", FETCHING)
def test_a_machine_that_is_known_is_not_fetched_again(tmp_path: Path, mode: Mode) -> None:
    """The same registration twice costs no second call."""
    rig = Rig(tmp_path, mode=mode)
    record = record_of(rig.world.platform("one", ca="processor"))
    assert rig.register(record).status == 200
    calls = len(rig.calls)
    assert rig.register(record).status == 200
    # No TDX TCB info exists for it; nothing else was missing.
    assert len(rig.calls) == calls


@pytest.mark.parametrize("mode", FETCHING)
def test_a_new_raw_tcb_is_fetched_again(tmp_path: Path, mode: Mode) -> None:
    """It was registered with another one: Intel may have a certificate for it by now."""
    rig = Rig(tmp_path, mode=mode)
    machine = rig.world.platform()
    assert rig.register(record_of(machine)).status == 200
    RecoveryAnnounced().apply(rig.world)
    machine.update()
    assert rig.register(record_of(machine)).status == 200
    assert rig.calls.count("/sgx/certification/v4/pckcerts") == 2
    response = rig.ask(pck_line(machine, with_ppid=False))
    assert response.header("SGX-TCBm") == machine.cpu_svn.hex().upper() + "0D00"


@pytest.mark.parametrize("mode", FETCHING)
def test_a_changed_manifest_is_fetched_again(tmp_path: Path, mode: Mode) -> None:
    """A package was replaced: its certificates are others, and the old manifest no longer counts."""
    rig = Rig(tmp_path, mode=mode)
    machine = rig.world.platform()
    assert rig.register(manifest_of(machine)).status == 200
    before = rig.ask(pck_line(machine, with_ppid=False))
    assert rig.register(manifest_of(machine)).status == 200
    assert rig.calls.count("/sgx/certification/v4/pckcerts") == 1
    PlatformReregistered(machine.name).apply(rig.world)
    assert rig.register(manifest_of(machine)).status == 200
    assert rig.calls.count("/sgx/certification/v4/pckcerts") == 2
    after = rig.ask(pck_line(machine, with_ppid=False))
    assert after.status == 200
    assert after.body != before.body


def test_without_a_manifest_the_earlier_one_is_adopted(tmp_path: Path) -> None:
    """A machine whose keys Intel does not keep can be fetched only so."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    machine.cached_keys = False
    assert rig.register(manifest_of(machine)).status == 200
    assert rig.register(record_of(machine)).status == 200
    assert rig.calls.count("/sgx/certification/v4/pckcerts") == 2
    kept = rig.store.platforms.get(machine.qe_id.hex().upper(), "0000")
    assert kept is not None
    assert kept.manifest == machine.manifest


@pytest.mark.parametrize("mode", FETCHING)
def test_an_adopted_manifest_that_intel_refuses_is_forgotten(tmp_path: Path, mode: Mode) -> None:
    """The machine came with its PPID: it is asked for by that, now and later."""
    rig = Rig(tmp_path, mode=mode)
    machine = rig.world.platform()
    assert rig.register(manifest_of(machine)).status == 200
    PlatformReregistered(machine.name).apply(rig.world)
    assert rig.register(record_of(machine)).status == 200
    kept = rig.store.platforms.get(machine.qe_id.hex().upper(), "0000")
    assert kept is not None
    assert (kept.manifest, kept.encrypted_ppid) == (None, machine.encrypted_ppid)
    assert rig.ask("refresh?type=certs", headers=ADMIN).status == 200


@pytest.mark.parametrize("mode", FETCHING)
def test_a_manifest_whose_certificates_are_gone_is_fetched_again(
    tmp_path: Path, mode: Mode
) -> None:
    """All were revoked; since then the machine has newer microcode, and Intel newer certificates."""
    rig = Rig(tmp_path, mode=mode)
    machine = rig.world.platform()
    machine.svn = 3
    assert rig.register(manifest_of(machine)).status == 200
    PckRevoked(machine.name).apply(rig.world)
    rig.world.advance(timedelta(hours=1))
    assert rig.ask("refresh", headers=ADMIN).status == 200
    assert rig.ask(pck_line(machine, with_ppid=False)).header("Dcap-Cause") == "revoked"
    machine.svn = 4
    calls = rig.calls.count("/sgx/certification/v4/pckcerts")
    assert rig.register(manifest_of(machine)).status == 200
    assert rig.calls.count("/sgx/certification/v4/pckcerts") == calls + 1
    assert rig.ask(pck_line(machine, with_ppid=False)).status == 200


def test_a_machine_registered_by_manifest_is_in_the_list_of_the_kept(tmp_path: Path) -> None:
    """Intel's list misses it as long as it has no raw TCB, and so does the next renewal there."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    rig.register(manifest_of(machine))
    (row,) = json.loads(rig.ask("platforms?source=[]", headers=ADMIN).body)
    assert (row["cpu_svn"], row["pce_svn"]) == ("", "")
    assert row["platform_manifest"] == machine.manifest.hex().upper()


def test_a_manifest_that_intel_refuses_is_404(tmp_path: Path) -> None:
    """The manifest is not that of the machine's package of now."""
    rig = Rig(tmp_path)
    stale = manifest_of(rig.world.platform())
    PlatformReregistered("machine").apply(rig.world)
    response = rig.register(stale)
    assert (response.status, response.header("Dcap-Cause")) == (404, "upstream-refused")


@pytest.mark.parametrize("mode", FETCHING)
def test_tcbs_without_a_certificate_stand_in_their_own_queue(tmp_path: Path, mode: Mode) -> None:
    """Intel says "Not available" for a TCB: the machine works, and `reg_na` names that TCB."""
    rig = Rig(tmp_path, mode=mode)
    machine = rig.world.platform()
    machine.svn -= 1
    assert rig.register(record_of(machine)).status == 200
    assert rig.ask(pck_line(machine, with_ppid=False)).status == 200
    response = rig.ask("platforms?source=reg_na", headers=ADMIN)
    rows = json.loads(response.body)
    assert response.header("platform-count") == str(len(rows)) == "1"
    top = rig.world.intel.generation().platform[0].components
    assert rows[0]["cpu_svn"] == top.hex().upper()
    assert rows[0]["pce_svn"] == "0D00"
    assert rows[0]["enc_ppid"] == machine.encrypted_ppid.hex()
    assert rig.ask("platforms?source=reg_na", headers=ADMIN).body == b"[]"


@pytest.mark.parametrize("mode", FETCHING)
def test_a_tcb_that_gets_its_certificate_leaves_the_queue(tmp_path: Path, mode: Mode) -> None:
    """Not before: the registration itself is crossed off, and what Intel owes it is not."""
    rig = Rig(tmp_path, mode=mode)
    machine = rig.world.platform()
    record = record_of(machine)
    machine.svn -= 1
    assert rig.register(record).status == 200
    (waits,) = rig.store.registrations.list("NOT_AVAILABLE")
    assert waits.cpu_svn == record["cpu_svn"].upper()  # type: ignore[attr-defined]
    machine.svn += 1
    assert rig.ask("refresh?type=certs", headers=ADMIN).status == 200
    assert rig.store.registrations.list("NOT_AVAILABLE") == ()
    assert rig.ask(pck_line(machine, with_ppid=False)).header("SGX-TCBm") == waits.cpu_svn + "0D00"


def test_what_intel_owes_a_machine_is_462_though_nothing_is_kept(tmp_path: Path) -> None:
    """461 would send its owner to register it once more."""
    rig = Rig(tmp_path, mode=Mode.REQ)
    machine = rig.world.platform()
    assert rig.ask(pck_line(machine)).status == 461
    rig.store.registrations.add(
        Registration(
            qe_id=machine.qe_id.hex().upper(),
            pce_id="0000",
            cpu_svn=machine.cpu_svn.hex().upper(),
            pce_svn="0D00",
            state="NOT_AVAILABLE",
            created=rig.clock(),
        )
    )
    assert rig.ask(pck_line(machine)).status == 462
    older = bytes(len(machine.cpu_svn)).hex()
    assert rig.ask(pck_line(machine, cpusvn=older)).status == 461
    assert rig.ask(pck_line(rig.world.platform("another"))).status == 461


def test_a_machine_whose_certificate_is_not_available_is_462(tmp_path: Path) -> None:
    """Its raw TCB reaches a TCB for which Intel has none, and no other."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    levels = {rung.svn for rung in rig.world.intel.generation().platform}
    machine.svn = min(levels)
    assert rig.ask(pck_line(machine)).status == 200
    # Only the certificate of a TCB above this one is kept: that of now is not yet to be had.
    holding = rig.store.platforms.holding(machine.qe_id.hex().upper(), "0000")
    assert holding is not None
    above = bytes((machine.svn + 9, *machine.cpu_svn[1:]))
    line = pck_line(machine, with_ppid=False, cpusvn=above.hex(), pcesvn="0C00")
    assert rig.ask(line).header("Dcap-Cause") == "no-certificate-for-tcb"
    rig.store.registrations.add(
        Registration(
            qe_id=machine.qe_id.hex().upper(),
            pce_id="0000",
            cpu_svn=above.hex().upper(),
            pce_svn="0C00",
            state="NOT_AVAILABLE",
            created=rig.clock(),
        )
    )
    response = rig.ask(line)
    assert (response.status, response.header("Dcap-Cause")) == (462, "certificates-unavailable")
    assert response.body == b"Certificates are not available for certain TCBs."


def test_when_the_root_list_cannot_be_had_the_machine_is_kept_all_the_same(
    tmp_path: Path,
) -> None:
    """The registration says that something is missing; the certificate can be had."""

    def without_cdn(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            if "RootCA" in request.path:
                raise Unavailable("network-refused", "no connection is made")
            return handler(request)

        return answer

    rig = Rig(tmp_path, wire=without_cdn)
    machine = rig.world.platform()
    response = rig.register(record_of(machine))
    assert (response.status, response.header("Dcap-Cause")) == (502, "upstream-unreachable")
    assert rig.ask(pck_line(machine, with_ppid=False)).status == 200


@pytest.mark.parametrize("mode", [Mode.LAZY, Mode.REQ])
def test_a_new_machine_cannot_register_with_version_3(tmp_path: Path, mode: Mode) -> None:
    """What would be fetched for it no longer exists; in REQ it waits in the queue."""
    rig = Rig(tmp_path, mode=mode)
    response = rig.register(record_of(rig.world.platform()), version=3)
    assert (response.status, response.header("Dcap-Cause")) == (410, "v3-ended")
    assert len(rig.store.registrations.list("NEW")) == (1 if mode is Mode.REQ else 0)


def test_an_all_zero_ppid_is_refused_with_its_cause(tmp_path: Path) -> None:
    """Nobody is asked about a machine that does not say which."""
    rig = Rig(tmp_path)
    response = rig.register(record_of(rig.world.platform(), enc_ppid="00" * 384))
    assert (response.status, response.header("Dcap-Cause")) == (404, "zero-ppid")
    assert rig.calls == []


def test_identifiers_stand_in_no_text(tmp_path: Path) -> None:
    """Incidents, errors and reprs name no machine."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    machine.registered = False
    rig.register(record_of(machine))
    told = repr(rig.upstream.incidents) + repr(rig.upstream.health()) + repr(rig.errors)
    for secret in (machine.qe_id, machine.encrypted_ppid, machine.manifest, machine.cpu_svn):
        assert secret.hex() not in told.lower()


def test_what_intel_owes_is_462_after_the_queue_was_read(tmp_path: Path) -> None:
    """Reading `reg_na` is not a certificate."""
    rig = Rig(tmp_path, mode=Mode.REQ)
    machine = rig.world.platform()
    rig.store.registrations.add(
        Registration(
            qe_id=machine.qe_id.hex().upper(),
            pce_id="0000",
            cpu_svn=machine.cpu_svn.hex().upper(),
            pce_svn="0D00",
            state="NOT_AVAILABLE",
            created=rig.clock(),
        )
    )
    assert len(json.loads(rig.ask("platforms?source=reg_na", headers=ADMIN).body)) == 1
    assert rig.ask("platforms?source=reg_na", headers=ADMIN).body == b"[]"
    assert rig.ask(pck_line(machine)).status == 462


@pytest.mark.parametrize("manifest", ["  ", "0g", "abc", " 00", "00" * (MAX_MANIFEST + 1)])
def test_a_manifest_that_is_none_leaves_no_row(tmp_path: Path, manifest: str) -> None:
    """Blanks, what is no hex, and what is longer than any: refused, and nobody waits with it."""
    rig = Rig(tmp_path, mode=Mode.OFFLINE)
    record = manifest_of(rig.world.platform()) | {"platform_manifest": manifest}
    response = rig.register(record)
    assert (response.status, response.header("Dcap-Cause")) == (400, "bad-request")
    assert rig.store.registrations.list() == ()


def test_a_machine_of_the_same_name_does_not_overwrite_who_waits(tmp_path: Path) -> None:
    """Both are fetched for, and it is told: then their certificates say who is who."""
    rig = Rig(tmp_path, mode=Mode.OFFLINE)
    machine, other = rig.world.platform(), rig.world.platform("other")
    record = record_of(machine)
    assert rig.register(record).status == 200
    assert rig.register(record).status == 200
    assert not rig.upstream.incidents
    assert rig.register(record | {"enc_ppid": other.encrypted_ppid.hex()}).status == 200
    assert [one.cause for one in rig.upstream.incidents] == ["other-machine"]
    rows = json.loads(rig.ask("platforms?source=reg", headers=ADMIN).body)
    ppids = {one.encrypted_ppid.hex() for one in (machine, other)}
    assert {row["enc_ppid"] for row in rows} == ppids


def test_a_full_queue_is_503(tmp_path: Path) -> None:
    """Nobody new is taken in; the machine is told to ask again."""
    rig = Rig(tmp_path, mode=Mode.OFFLINE)
    rig.store.registrations.most = 1
    assert rig.register(record_of(rig.world.platform())).status == 200
    response = rig.register(record_of(rig.world.platform("other")))
    assert (response.status, response.header("Dcap-Cause")) == (503, "queue-full")


@pytest.mark.parametrize("by", ["registration", "look-up"])
def test_who_waited_leaves_the_queue_when_the_mode_fetches(tmp_path: Path, by: str) -> None:
    """It was queued in OFFLINE; in LAZY it has its certificates, and waits for none."""
    waiting = Rig(tmp_path, mode=Mode.OFFLINE)
    machine = waiting.world.platform()
    assert waiting.register(record_of(machine)).status == 200
    rig = Rig(tmp_path, beside=waiting, store=waiting.store)
    if by == "registration":
        assert rig.register(record_of(machine)).status == 200
    else:
        assert rig.ask(pck_line(machine)).status == 200
    assert rig.store.registrations.list() == ()


def test_what_was_handed_out_is_forgotten_in_time(tmp_path: Path) -> None:
    """PPIDs and manifests of a queue that was read stay a month, and are looked for once a day."""
    rig = Rig(tmp_path, mode=Mode.OFFLINE)
    assert rig.register(record_of(rig.world.platform())).status == 200
    rig.ask("platforms?source=reg", headers=ADMIN)
    assert rig.service.tidy(rig.clock()) == 0
    assert rig.store.statistics().registrations == {"DELETED": 1}
    rig.world.advance(DONE_WITH + timedelta(seconds=1))
    assert rig.service.tidy(rig.clock()) == 1
    assert rig.store.statistics().registrations == {}
    assert rig.service.tidy(rig.clock()) == 0
