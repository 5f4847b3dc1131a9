"""The caching fill modes, as the service shows them: what is fetched, and what is queued.

Source: `pccs-and-pcs-api.md` §2.1.
"""

from pathlib import Path
from typing import NamedTuple

import pytest

from dcap.pccs.causes import CAUSES
from dcap.pccs.mode import RULES, Mode
from pccs.rig import Rig, manifest_of, pck_line, record_of

#: A LAZY fill asks for the certificates, and four TCB infos.
FILL = ["pckcerts", *["tcb"] * 4]
COMMON = ["IntelSGXRootCA.der", *["pckcrl"] * 2, *["identity"] * 3]


class Row(NamedTuple):
    """What a mode does: statuses, what Intel is asked, how many stand in the queue."""

    unknown: int
    unknown_calls: list[str]
    registered: int
    registered_calls: list[str]
    waiting: int
    known_calls: list[str]


TABLE = {
    Mode.LAZY: Row(200, FILL, 200, FILL + COMMON, 0, COMMON),
    Mode.REQ: Row(461, [], 200, FILL + COMMON, 0, COMMON),
    Mode.OFFLINE: Row(461, [], 200, [], 1, []),
}


def asked(rig: Rig) -> list[str]:
    """The resources that Intel was asked for."""
    return sorted(path.rpartition("/")[2] for path in rig.calls)


@pytest.mark.parametrize("mode", Mode)
def test_every_mode_has_rules_whose_causes_are_known(mode: Mode) -> None:
    """The table is complete."""
    rules = RULES[mode]
    assert {rules.unknown_platform, rules.missing_item, rules.missing_v3} <= set(CAUSES)


@pytest.mark.parametrize("mode", Mode)
def test_an_unknown_machine_asks_for_its_certificate(tmp_path: Path, mode: Mode) -> None:
    """LAZY looks it up with five calls; the others know no such machine."""
    rig = Rig(tmp_path, mode=mode)
    assert rig.ask(pck_line(rig.world.platform())).status == TABLE[mode].unknown
    assert asked(rig) == sorted(TABLE[mode].unknown_calls)


@pytest.mark.parametrize("mode", Mode)
def test_a_machine_registers(tmp_path: Path, mode: Mode) -> None:
    """LAZY and REQ fetch it with all that belongs to it; OFFLINE puts it into the queue."""
    rig = Rig(tmp_path, mode=mode)
    response = rig.register(record_of(rig.world.platform()))
    assert response.status == TABLE[mode].registered
    assert asked(rig) == sorted(TABLE[mode].registered_calls)
    assert len(rig.store.registrations.list("NEW")) == TABLE[mode].waiting


@pytest.mark.parametrize("mode", Mode)
def test_a_known_machine_registers_again(tmp_path: Path, mode: Mode) -> None:
    """Only what everybody needs and is missing is fetched, and nothing at all OFFLINE."""
    lazy = Rig(tmp_path)
    machine = lazy.world.platform()
    assert lazy.ask(pck_line(machine)).status == 200
    lazy.simulated.log.clear()
    rig = Rig(tmp_path, mode=mode, beside=lazy, store=lazy.store)
    assert rig.register(record_of(machine)).status == 200
    assert asked(rig) == sorted(TABLE[mode].known_calls)
    assert not rig.store.registrations.list("NEW")


@pytest.mark.parametrize("mode", Mode)
def test_a_new_raw_tcb_of_a_known_machine_is_selected_without_a_call(
    tmp_path: Path, mode: Mode
) -> None:
    """After a step back in microcode, another of its certificates goes with it, in every mode."""
    lazy = Rig(tmp_path)
    machine = lazy.world.platform()
    first = lazy.ask(pck_line(machine))
    machine.svn -= 1
    calls = len(lazy.calls)
    rig = Rig(tmp_path, mode=mode, beside=lazy, store=lazy.store)
    line = pck_line(machine, with_ppid=False)
    second, third = rig.ask(line), rig.ask(line)
    assert second.status == third.status == 200
    assert second.body == third.body != first.body
    assert second.header("SGX-TCBm") == machine.cpu_svn.hex().upper() + "0D00"
    assert len(rig.calls) == calls


def test_in_req_a_failed_registration_stays_in_the_queue(tmp_path: Path) -> None:
    """Intel does not know the machine yet: its row waits."""
    rig = Rig(tmp_path, mode=Mode.REQ)
    machine = rig.world.platform()
    machine.registered = False
    response = rig.register(record_of(machine))
    assert (response.status, response.header("Dcap-Cause")) == (404, "unregistered")
    assert len(rig.store.registrations.list("NEW")) == 1


def test_in_req_a_manifest_is_fetched_and_leaves_the_queue(tmp_path: Path) -> None:
    """Indirect registration: by manifest, without a raw TCB, which is selected at the first request."""
    rig = Rig(tmp_path, mode=Mode.REQ)
    machine = rig.world.platform()
    assert rig.register(manifest_of(machine)).status == 200
    assert len(rig.store.registrations.list("DELETED")) == 1
    assert rig.ask(pck_line(machine, with_ppid=False)).status == 200
