"""Differences between documents: each kind of change is told once, and nothing else is."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_difference import (
    KINDS,
    Difference,
    crl_differences,
    differences,
    identity_differences,
)
from dcap.formats.tcb_info import TcbInfo, parse_wire, write_wire
from dcap.simulator.events import PckRevoked, RecoveryAnnounced
from dcap.simulator.world import World


def tcb_info(world: World, tee: str = "TDX", update: str = "standard") -> TcbInfo:
    """The TCB info of the world's machine, parsed."""
    sealed = world.collateral(world.platform(), tee, update=update).tcb_info
    return TcbInfo.parse(SignedJson.parse(sealed, TCB_INFO).body)


def identity(world: World, update: str = "standard") -> EnclaveIdentity:
    """The identity of the QE, parsed."""
    sealed = world.collateral(world.platform(), update=update).qe_identity
    return EnclaveIdentity.parse(SignedJson.parse(sealed, ENCLAVE_IDENTITY).body)


def changed(info: TcbInfo, **level: object) -> TcbInfo:
    """The same TCB info with its highest level changed."""
    wire = parse_wire(info.body)
    highest = msgspec.structs.replace(wire.tcb_levels[0], **level)
    wire = msgspec.structs.replace(wire, tcb_levels=[highest, *wire.tcb_levels[1:]])
    return TcbInfo.parse(write_wire(wire))


def kinds(found: tuple[Difference, ...]) -> list[str]:
    """The kinds, in order."""
    return [one.kind for one in found]


@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_a_document_does_not_differ_from_itself(tee: str) -> None:
    """Nothing changed, nothing is told."""
    info = tcb_info(World(), tee)
    assert differences(info, info) == ()


def test_a_renewed_document_differs_by_its_date_alone() -> None:
    """Intel renews its documents; the next day's is the same but for its dates."""
    world = World()
    before = tcb_info(world)
    world.advance(timedelta(days=1))
    (only,) = differences(before, tcb_info(world))
    assert (only.kind, only.old, only.new) == ("issued", "2026-01-01", "2026-01-02")


@pytest.mark.parametrize(
    ("tee", "needs"),
    [
        ("SGX", ["SGX component 1 (BIOS, Early Microcode Update) now needs 9, before 8"]),
        (
            "TDX",
            [
                "SGX component 1 (BIOS, Early Microcode Update) now needs 9, before 8",
                "TDX component 3 (OS/VMM, TDX Late Microcode Update) now needs 9, before 8",
            ],
        ),
    ],
)
def test_a_recovery_says_which_component_now_needs_what(tee: str, needs: list[str]) -> None:
    """Between two evaluation numbers: the component, what it needs, and what became of the level."""
    world = World()
    world.platform()
    RecoveryAnnounced().apply(world)
    found = differences(tcb_info(world, tee), tcb_info(world, tee, "early"))
    assert [one.text for one in found if one.kind == "requirement"] == needs
    assert next(one.text for one in found if one.kind == "number").endswith("now 18, before 17")
    (new,) = [one for one in found if one.kind == "added"]
    assert new.what.startswith("level SGX 9.3.")
    assert new.new is not None
    assert new.new.startswith("UpToDate")
    demoted = [one for one in found if one.kind == "status"]
    assert (demoted[0].old, demoted[0].new) == ("UpToDate", "OutOfDate")
    assert all("FMSPC 90C0A5000000" in one.of for one in found)


def test_the_way_back_takes_away_what_the_way_there_brought() -> None:
    """Old and new exchanged: what was added is removed, and the numbers change places."""
    world = World()
    world.platform()
    RecoveryAnnounced().apply(world)
    there = differences(tcb_info(world), tcb_info(world, update="early"))
    back = differences(tcb_info(world, update="early"), tcb_info(world))
    assert sorted(kinds(back)) == sorted(
        {"added": "removed"}.get(kind, kind) for kind in kinds(there)
    )


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"tcb_status": "OutOfDate"}, "status", "now OutOfDate, before UpToDate"),
        ({"tcb_date": datetime(2026, 2, 1, tzinfo=UTC)}, "date", "TCB date now 2026-02-01"),
        (
            {"advisory_ids": ["INTEL-SA-1", "INTEL-SA-2"]},
            "advisories",
            "+ INTEL-SA-1, + INTEL-SA-2",
        ),
    ],
)
def test_a_level_that_changed_is_told_by_what_changed(
    change: dict[str, object], kind: str, words: str
) -> None:
    """Status, date and advisories of a level: one change, one difference of that level."""
    info = tcb_info(World(), "SGX")
    found = [one for one in differences(info, changed(info, **change)) if one.kind != "requirement"]
    assert kinds(tuple(found)) == [kind]
    assert words in found[0].text
    assert found[0].what.startswith("level SGX 8.3.2.2.4.1.0.5, PCE 13")


def test_advisories_that_went_are_told_too() -> None:
    """Intel takes an advisory away: the text says so."""
    one = Difference(kind="advisories", of="", what="level", old="A, B", new="B, C")
    assert one.text == "level: advisories + C, - A"


def test_tdx_modules_are_compared_by_their_identity() -> None:
    """A module's level that changed is told under the module's name; one that went, as gone."""
    info = tcb_info(World())
    assert info.tdx_module_identities is not None
    first, *rest = info.tdx_module_identities
    worse = msgspec.structs.replace(first.levels[0], status="OutOfDate")
    altered = msgspec.structs.replace(first, levels=(worse, *first.levels[1:]))
    new = msgspec.structs.replace(info, tdx_module_identities=(altered,))
    texts = [one.text for one in differences(info, new)]
    assert f"TDX module {first.id}, level ISVSVN 6: now OutOfDate, before UpToDate" in texts
    assert [text for text in texts if "gone" in text] == [
        f"TDX module {module.id}: gone, was signed by Intel (zeros), {len(module.levels)} levels"
        for module in rest
    ]
    resigned = msgspec.structs.replace(first, mr_signer=bytes(47) + b"\1")
    new = msgspec.structs.replace(info, tdx_module_identities=(resigned, *rest))
    assert kinds(differences(info, new)) == ["identity"]


def test_another_fmspc_and_tee_are_told_first() -> None:
    """Two documents that are not of one platform are still compared, and it is said."""
    world = World()
    other = msgspec.structs.replace(tcb_info(world, "SGX"), fmspc=bytes(6))
    found = differences(tcb_info(world), other)
    assert [one.what for one in found[:2]] == ["TEE", "FMSPC"]


def test_an_identity_is_compared_by_signer_product_and_levels() -> None:
    """What the QE must be, and which of its versions are good."""
    old = identity(World())
    better = msgspec.structs.replace(old.levels[0], isv_svn=9)
    new = msgspec.structs.replace(
        old, mr_signer=bytes(32), isv_prod_id=2, levels=(better, *old.levels)
    )
    found = identity_differences(old, new)
    assert kinds(found) == ["identity", "identity", "requirement", "added"]
    assert found[2].text == "QE, ISVSVN now needs 9, before 8"


def test_a_revocation_list_is_compared_by_its_serials() -> None:
    """A machine is revoked: the number of the list and of its entries are told."""
    world = World()
    machine = world.platform()
    before = Crl.parse(world.collateral(machine).pck_crl)
    PckRevoked().apply(world)
    now = Crl.parse(world.collateral(machine).pck_crl)
    found = crl_differences(before, now, "PCK CRL")
    count = len(now.revoked_serials)
    assert count > 0
    assert kinds(found) == ["number", "revoked"]
    assert f"{count} certificates ({count} more, 0 no longer) revoked, before 0" in found[1].text
    assert crl_differences(now, now, "PCK CRL") == ()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_sentence(kind: str) -> None:
    """No kind lacks words, with nothing before or nothing now."""
    assert "thing" in Difference(kind=kind, of="of", what="thing").text
