"""`platform_collaterals.json`: everything in it proven, all of it kept, or nothing changed."""

import gc
import json
import re
from collections.abc import Callable
from datetime import timedelta
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from dcap.errors import DcapError, FormatError
from dcap.pccs.items import (
    IdentityKey,
    Key,
    PckCrlKey,
    RawTcb,
    Registration,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.arrangement import arrange
from dcap.pccs.transfer.export import platform_collaterals
from dcap.pccs.transfer.platform_collaterals import (
    PlatformCollaterals,
    _unquoted,
    import_platform_collaterals,
)
from dcap.pccs.transfer.report import (
    EXPIRED,
    NO_CHAIN,
    NO_PLACE,
    OLDER,
    OTHER_CHAIN,
    OTHER_MACHINE,
    Report,
)
from dcap.pccs.trust import Forged
from dcap.simulator.intel import Revocation
from dcap.simulator.world import World
from pccs.transfer.moved import (
    anchor_of,
    claimed,
    collateral,
    file_of,
    holding,
    item,
    opened,
    record,
)

DAY = timedelta(days=1)
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def simulated() -> World:
    """A world of two machines."""
    world = World("file")
    world.platform("multi").svn = 4
    world.platform("single", ca="processor").svn = 5
    return world


@pytest.fixture
def whole(simulated: World) -> bytes:
    """A file with both machines."""
    return file_of(simulated, *simulated.platforms.values())


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """An empty store."""
    with opened(tmp_path) as made:
        yield made


def imported(store: Store, world: World, data: bytes | memoryview, **given: Any) -> Report:
    """Import a file at the world's own time."""
    return import_platform_collaterals(store, data, at=world.at, anchor=anchor_of(world), **given)


def names_of(world: World, name: str) -> tuple[str, str]:
    """How the store names a machine."""
    machine = world.platform(name)
    return machine.qe_id.hex().upper(), machine.pce_id.hex().upper()


def changed(data: bytes, change: Change) -> bytes:
    """The file with one change, written compactly."""
    content = json.loads(data)
    change(content)
    return json.dumps(content, separators=(",", ":")).encode()


# What comes in


def test_everything_in_the_file_is_kept_byte_for_byte(
    simulated: World, whole: bytes, store: Store
) -> None:
    """Each item with the bytes that Intel signed and the chain that it came with; each certificate."""
    report = imported(store, simulated, whole, version=4)
    expected = collateral(simulated, *simulated.platforms.values())
    assert report.complete
    assert report.kept == {"item": len(expected), "platform": 2, "registration": 0, "policy": 0}
    for one in expected:
        kept = store.items.get(one.key)
        assert kept is not None
        assert kept.body == one.body
        assert kept.origin == "import"
        if not isinstance(one.key, RootCrlKey) and kept.issuer_chain:
            assert kept.issuer_chain == one.issuer_chain
    for name in simulated.platforms:
        found = store.platforms.holding(*names_of(simulated, name))
        assert found is not None
        given = claimed(simulated.platform(name))
        assert tuple((one.tcbm, one.pem) for one in found.certificates) == given.certificates
        assert found.platform.encrypted_ppid == given.encrypted_ppid


def test_a_raw_tcb_is_answered_at_once(simulated: World, whole: bytes, store: Store) -> None:
    """Selection is made at the import: the certificate of the rung that the machine has reached."""
    imported(store, simulated, whole)
    for name, rung in (("multi", 4), ("single", 5)):
        of = simulated.platform(name)
        one = record(of)
        answer = store.platforms.answer(*names_of(simulated, name), one.cpu_svn, one.pce_svn)
        assert answer is not None
        assert answer.certificate == of.certificate(rung).pem


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_that_a_tool_wrote_anew_proves(
    simulated: World,
    whole: bytes,
    store: Store,
    separators: tuple[str, str],
    indent: int | None,
) -> None:
    """Intel's tools put blanks into TCB infos; kept are the bytes that were signed."""
    again = json.dumps(json.loads(whole), separators=separators, indent=indent).encode()
    assert imported(store, simulated, again).complete
    key = TcbInfoKey("SGX", simulated.platform("multi").fmspc)
    kept = store.items.get(key)
    assert kept is not None
    assert kept.body == item(simulated, key).body


def test_a_file_of_version_3_fills_keys_of_version_3(simulated: World, store: Store) -> None:
    """Machines and lists are the same in both."""
    data = file_of(simulated, *simulated.platforms.values(), version=3)
    assert b'"SGX-TCB-Info-Issuer-Chain"' in data
    assert b'"version":4' not in data
    report = imported(store, simulated, data, version=3)
    assert report.complete
    fmspc = simulated.platform("multi").fmspc
    assert store.items.get(TcbInfoKey("SGX", fmspc, 3)) is not None
    assert store.items.get(TcbInfoKey("SGX", fmspc)) is None
    assert report.kept["platform"] == 2


def test_members_that_nobody_knows_are_passed_over(
    simulated: World, whole: bytes, store: Store
) -> None:
    """Intel's tools add some."""
    data = changed(whole, lambda content: content["platforms"][0].update(pckid_filename="a.csv"))
    assert imported(store, simulated, data).complete


def test_known_raw_tcbs_are_selected_for_again(
    simulated: World, whole: bytes, store: Store
) -> None:
    """Certificates are replaced: a raw TCB that was learnt before leads to one of the new ones."""
    imported(store, simulated, whole)
    qe_id, pce_id = names_of(simulated, "multi")
    before = store.platforms.holding(qe_id, pce_id)
    assert before is not None
    learnt = RawTcb(cpu_svn="FF" * 16, pce_svn="FFFF", tcbm=before.certificates[2].tcbm)
    assert store.platforms.remember(qe_id, pce_id, learnt, revision=before.revision)
    imported(store, simulated, whole)
    answer = store.platforms.answer(qe_id, pce_id, learnt.cpu_svn, learnt.pce_svn)
    assert answer is not None
    assert answer.certificate == simulated.platform("multi").certificate(5).pem


def test_lists_alone_are_renewed_with_the_chains_that_are_kept(
    simulated: World, whole: bytes, store: Store
) -> None:
    """Intel's `fetch -c`: no machines, no chains. Where none is kept either, the list is left out."""
    simulated.advance(DAY)
    fresh = [one for one in collateral(simulated) if isinstance(one.key, RootCrlKey | PckCrlKey)]
    bare = b"".join(
        arrange(msgspec.structs.replace(one, issuer_chain=b"") for one in fresh).write([], [])
    )
    report = imported(store, simulated, bare)
    assert report.reasons == {"item": {NO_CHAIN: 2}}
    assert store.items.get(RootCrlKey()) is not None
    simulated.advance(-DAY)
    imported(store, simulated, whole)
    simulated.advance(DAY)
    assert imported(store, simulated, bare).complete
    kept = store.items.get(PckCrlKey("PLATFORM"))
    assert kept is not None
    assert kept.body == item(simulated, PckCrlKey("PLATFORM")).body


# What is refused, whole


def _forged(part: str, world: World) -> tuple[Change, str]:
    """A change to a file, and the finding that it is refused for."""
    forger = World("forger", world.at)
    theirs = json.loads(
        file_of(forger, forger.platform("multi"), forger.platform("s", ca="processor"))
    )
    ours = "collaterals"

    def set_in(*path: Any, value: Any) -> Change:
        def change(content: dict[str, Any]) -> None:
            place = content[ours]
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = value

        return change

    collaterals = theirs[ours]
    pck = "SGX-PCK-Certificate-Issuer-Chain"
    table: dict[str, tuple[Change, str]] = {
        "root list": (set_in("rootcacrl", value=collaterals["rootcacrl"]), "root-ca-crl-signature"),
        "pck list": (
            set_in("pckcacrl", "platformCrl", value=collaterals["pckcacrl"]["platformCrl"]),
            "pck-crl-issuer",
        ),
        "identity": (set_in("qeidentity", value=collaterals["qeidentity"]), "qe-identity-signature"),
        "identities swapped": (
            lambda content: content[ours].update(qeidentity=content[ours]["qveidentity"]),
            "other",
        ),
        "tcb info": (
            lambda content: content[ours]["tcbinfos"][0]["sgx_tcbinfo"]["tcbInfo"].update(
                tcbEvaluationDataNumber=99
            ),
            "tcb-info-signature",
        ),
        "tcb infos swapped": (
            lambda content: content[ours]["tcbinfos"][1].update(
                sgx_tcbinfo=content[ours]["tcbinfos"][0]["sgx_tcbinfo"]
            ),
            "other",
        ),
        "chain": (
            set_in(
                "certificates",
                "TCB-Info-Issuer-Chain",
                value=collaterals["certificates"]["TCB-Info-Issuer-Chain"],
            ),
            "tcb-info-chain-root",
        ),
        "pck chain": (
            set_in(
                "certificates", pck, "PROCESSOR", value=collaterals["certificates"][pck]["PROCESSOR"]
            ),
            "crl-issuer-chain-root",
        ),
        "certificate": (
            set_in(
                "pck_certs", 0, "certs", 1, "cert",
                value=collaterals["pck_certs"][0]["certs"][1]["cert"],
            ),
            "pck-chain-signature",
        ),
        "tcbm": (set_in("pck_certs", 0, "certs", 1, "tcbm", value="00" * 18), "other"),
        "machine": (
            lambda content: content[ours]["pck_certs"][0]["certs"].append(
                content[ours]["pck_certs"][1]["certs"][0]
            ),
            "pck-chain-signature",
        ),
    }  # fmt: skip
    return table[part]


@pytest.mark.parametrize(
    "part",
    [
        "root list", "pck list", "identity", "identities swapped", "tcb info", "tcb infos swapped",
        "chain", "pck chain", "certificate", "tcbm", "machine",
    ],
)  # fmt: skip
def test_one_forged_thing_and_nothing_is_changed(
    simulated: World, whole: bytes, store: Store, part: str
) -> None:
    """460 in the API: whatever it is that was forged, and however much beside it is genuine."""
    change, finding = _forged(part, simulated)
    data = changed(whole, change)
    with pytest.raises(Forged) as caught:
        imported(store, simulated, data)
    assert caught.value.code == "pccs-forged"
    assert re.match(finding, caught.value.finding)
    assert store.change_number() == 0
    assert store.statistics().items == store.statistics().platforms == 0


def test_a_whole_file_of_another_intel_is_refused(simulated: World, store: Store) -> None:
    """Every chain in it ends in one root, the same one: which is all that Intel's PCCS looks at."""
    forger = World("forger", simulated.at)
    with pytest.raises(Forged):
        imported(store, simulated, file_of(forger, forger.platform()))
    assert store.change_number() == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.pop("platforms"), "json"),
        (lambda c: c["collaterals"].pop("certificates"), "json"),
        (lambda c: c["collaterals"].update(version=5), "platform-collaterals"),
        (lambda c: c["collaterals"].update(version="4"), "json"),
        (lambda c: c["collaterals"]["pck_certs"].pop(0), "platform-collaterals"),
        (lambda c: c["collaterals"]["pck_certs"][0].update(certs=[]), "platform-collaterals"),
        (lambda c: c["collaterals"]["pck_certs"][0].pop("enc_ppid"), "json"),
        (lambda c: c["collaterals"]["pck_certs"][0]["certs"][0].pop("tcb"), "json"),
        (
            lambda c: c["collaterals"]["pck_certs"][0]["certs"][0]["tcb"].update(pcesvn=65536),
            "json",
        ),
        (lambda c: c["collaterals"]["pck_certs"][0]["certs"][0].update(tcbm="0"), "json"),
        (lambda c: c["collaterals"]["tcbinfos"][0].update(fmspc="xyz"), "json"),
        (lambda c: c["collaterals"].update(tcbinfos=[]), "import-no-tcb-info"),
        (lambda c: c["collaterals"].update(rootcacrl="zz"), "crl"),
        (lambda c: c["platforms"][0].update(qe_id=""), "platform-list"),
        (lambda c: c["platforms"][0].update(pce_id="00"), "platform-list"),
        (lambda c: c["platforms"][0].update(cpu_svn="00"), "platform-list"),
        (lambda c: c["platforms"][0].update(enc_ppid="00" * 256), "platform-list"),
        (lambda c: c["platforms"][0].update(platform_manifest="0"), "platform-list"),
        (lambda c: c["platforms"][0].update(cpu_svn="00" * 16), "import-no-certificate"),
    ],
)
def test_a_file_that_does_not_fit_together_changes_nothing(
    simulated: World, whole: bytes, store: Store, change: Change, code: str
) -> None:
    """400 in the API; the error says where, and names no machine."""
    with pytest.raises(FormatError) as caught:
        imported(store, simulated, changed(whole, change))
    assert caught.value.code == code
    assert names_of(simulated, "multi")[0] not in str(caught.value)
    assert store.change_number() == 0


def _many(content: dict[str, Any]) -> None:
    """500 machines instead of one, each with one certificate: more than are proven in one batch."""
    (one,) = (c for c in content["collaterals"]["pck_certs"] if len(c["certs"]) > 1)
    content["platforms"] = []
    content["collaterals"]["pck_certs"] = [
        {**one, "certs": one["certs"][:1], "qe_id": f"{number:032X}"} for number in range(1, 501)
    ]


@pytest.mark.parametrize("processes", [0, 1])
def test_more_machines_than_a_batch_are_all_kept(
    simulated: World, store: Store, processes: int
) -> None:
    """None is lost between one batch and the next, and each is itself, in its order."""
    data = changed(file_of(simulated, simulated.platform("multi")), _many)
    assert imported(store, simulated, data, processes=processes).kept["platform"] == 500
    assert [one.platform.qe_id for one in store.platforms.each()] == [
        f"{number:032X}" for number in range(1, 501)
    ]


@pytest.mark.parametrize("place", [0, 499])
@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda machine: machine["certs"][0].update(tcbm="00" * 18), Forged),
        (lambda machine: machine.update(certs=[]), FormatError),
    ],
    ids=["forged", "malformed"],
)
def test_one_bad_machine_of_many_changes_nothing(
    simulated: World, store: Store, place: int, spoil: Change, error: type[DcapError]
) -> None:
    """Whether it is the first that is proven or the last that is read, nothing is kept."""

    def change(content: dict[str, Any]) -> None:
        _many(content)
        spoil(content["collaterals"]["pck_certs"][place])

    with pytest.raises(error):
        imported(store, simulated, changed(file_of(simulated, simulated.platform("multi")), change))
    assert store.change_number() == 0


@pytest.mark.parametrize(("own", "put_to"), [(4, 3), (3, 4)])
def test_a_file_put_to_the_address_of_another_version_is_refused(
    simulated: World, store: Store, own: Any, put_to: Any
) -> None:
    """The address says by which table the file is read."""
    data = file_of(simulated, *simulated.platforms.values(), version=own)
    with pytest.raises(FormatError) as caught:
        imported(store, simulated, data, version=put_to)
    assert caught.value.code == "platform-collaterals"


@settings(max_examples=300, deadline=None)
@example("%\r")
@example("%0A%\r\n%")
@given(st.text("%=\r\n _AaFf029+\u00e9", max_size=40))
def test_percent_encoding_is_read_as_the_library_reads_it(text: str) -> None:
    """Escapes whole and cut, of either case, line breaks, equals signs, and what is not ASCII."""
    assert _unquoted(text) == unquote_to_bytes(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_garbage_is_a_format_error(data: bytes) -> None:
    """Nothing else escapes the reader."""
    with pytest.raises(FormatError):
        PlatformCollaterals.parse(data)


# What is left out, and said


def test_an_older_item_is_left_out_and_reported(
    simulated: World, whole: bytes, store: Store
) -> None:
    """A file of yesterday does not take today's items back; its machines are taken."""
    today = World("file", simulated.at + DAY)
    for name in simulated.platforms:
        today.platform(name, ca=simulated.platform(name).ca).svn = simulated.platform(name).svn
    fresh = file_of(today, *today.platforms.values())
    imported(store, today, fresh)
    report = import_platform_collaterals(store, whole, at=today.at, anchor=anchor_of(today))
    assert set(report.reasons["item"]) == {OLDER}
    assert {one.name for one in report.left_out} >= {"identity/QE/4/STANDARD", "pck-crl/PLATFORM"}
    assert report.kept["platform"] == 2
    kept = store.items.get(IdentityKey("QE"))
    assert kept is not None
    assert kept.body == item(today, IdentityKey("QE")).body


def test_an_expired_item_is_left_out_and_reported(
    simulated: World, whole: bytes, store: Store
) -> None:
    """Machines are taken, chosen by the levels of the expired TCB info: the order is still right."""
    later = simulated.at + 100 * DAY
    report = import_platform_collaterals(store, whole, at=later, anchor=anchor_of(simulated))
    assert set(report.reasons["item"]) == {EXPIRED}
    assert store.items.get(IdentityKey("QE")) is None
    assert store.items.get(RootCrlKey()) is not None
    assert report.kept["platform"] == 2


def revoke(world: World, *rungs: int) -> None:
    """Take certificates of the machine of several packages back."""
    for rung in rungs:
        serial = world.platform("multi").certificate(rung).certificate.serial
        world.intel.revoked["platform"].append(Revocation(serial, world.at))


def test_a_revoked_certificate_is_left_out_and_reported(simulated: World, store: Store) -> None:
    """The machine's raw TCB gets the next one that it reaches; all else is imported."""
    data = file_of(simulated, *simulated.platforms.values())
    assert imported(store, simulated, data).complete
    before = store.platforms.holding(*names_of(simulated, "multi"))
    simulated.advance(DAY)
    revoke(simulated, 4)
    report = imported(store, simulated, file_of(simulated, *simulated.platforms.values()))
    assert report.reasons == {"certificate": {"revoked": 1}}
    assert report.kept["platform"] == 2
    after = store.platforms.holding(*names_of(simulated, "multi"))
    assert before is not None
    assert after is not None
    assert [one.components[0] for one in after.certificates] == [5, 3]
    assert [one.tcbm[:2] for one in before.raw_tcbs] == ["04"]
    assert [one.tcbm[:2] for one in after.raw_tcbs] == ["03"]


def test_a_machine_without_a_certificate_that_stands_is_kept_as_that(
    simulated: World, store: Store
) -> None:
    """All of them revoked: none is kept, the machine is not lost, and the rest is imported."""
    data = file_of(simulated, *simulated.platforms.values())
    imported(store, simulated, data)
    simulated.advance(DAY)
    revoke(simulated, 3, 4, 5)
    report = imported(store, simulated, file_of(simulated, *simulated.platforms.values()))
    assert report.reasons == {
        "certificate": {"revoked": 3},
        "raw-tcb": {"no-certificate-for-tcb": 1},
    }
    assert report.kept["platform"] == 2
    kept = store.platforms.holding(*names_of(simulated, "multi"))
    assert kept is not None
    assert (kept.certificates, kept.raw_tcbs) == ((), ())
    assert names_of(simulated, "multi")[0] not in repr(report)


def test_a_store_with_a_machine_without_certificates_is_exported_and_imported(
    simulated: World, store: Store, tmp_path: Path
) -> None:
    """The file has nothing of that machine, and is good."""
    revoke(simulated, 3, 4, 5)
    imported(store, simulated, file_of(simulated, *simulated.platforms.values()))
    data = b"".join(platform_collaterals(store)[1])
    (tmp_path / "other").mkdir()
    with opened(tmp_path / "other") as other:
        assert imported(other, simulated, data).kept["platform"] == 1
        assert other.platforms.get(*names_of(simulated, "single")) is not None


# Writing


def test_what_is_written_is_read_again(simulated: World, whole: bytes) -> None:
    """Reader and writer agree on every machine and item."""
    claims = PlatformCollaterals.parse(whole).claims(fetched_at=simulated.at)
    items: dict[Key, bytes] = {one.key: one.body for one in claims.items}  # type: ignore[union-attr]
    given = {one.key: one.body for one in collateral(simulated, *simulated.platforms.values())}
    assert items == given
    machines = [one.claimed for one in claims.machines]  # type: ignore[union-attr]
    assert machines == [claimed(machine) for machine in simulated.platforms.values()]


def test_a_file_that_is_mapped_into_memory_is_read_as_it_lies(
    simulated: World, whole: bytes, store: Store, tmp_path: Path
) -> None:
    """A file of gigabytes need not be read as a whole."""
    place = tmp_path / "platform_collaterals.json"
    place.write_bytes(whole)
    with place.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
        assert imported(store, simulated, memoryview(mapped)).complete
        gc.collect()


def test_what_the_file_has_no_place_for_is_told(simulated: World) -> None:
    """Items under a number, of another version, and of another signer than the newest."""
    number = simulated.intel.standard
    old = item(simulated, IdentityKey("QE"))
    simulated.intel.signer_number += 1
    simulated.advance(DAY)
    newer = [item(simulated, IdentityKey(name)) for name in ("TD_QE", "QVE")]
    numbered = item(simulated, IdentityKey("QE", 4, None, number))
    dated = [
        msgspec.structs.replace(one, issued=simulated.at - at * DAY)
        for at, one in ((1, old), (0, newer[0]), (0, newer[1]), (0, numbered))
    ]
    arranged = arrange([*dated, item(simulated, IdentityKey("QE", 3))])
    assert {(one.name, one.reason) for one in arranged.left_out} == {
        (f"identity/QE/4/{number}", NO_PLACE),
        ("identity/QE/3/STANDARD", NO_PLACE),
        ("identity/QE/4/STANDARD", OTHER_CHAIN),
    }
    content = json.loads(b"".join(arranged.write([], [])))["collaterals"]
    assert "qeidentity" not in content
    assert content["tdqeidentity"] == newer[0].body.decode()


def test_a_machine_is_asked_for_when_its_turn_comes(simulated: World) -> None:
    """A file of any size is written in pieces."""
    asked: list[str] = []

    def holdings() -> Any:
        for name, machine in simulated.platforms.items():
            asked.append(name)
            yield holding(machine)

    chunks = arrange([]).write([], holdings())
    while b"pck_certs" not in next(chunks):
        pass
    assert asked == []
    next(chunks)
    assert asked == ["multi"]


def test_only_errors_of_ours_leave_an_import(simulated: World, whole: bytes, store: Store) -> None:
    """Cut anywhere, the file is refused, and nothing has changed."""
    for size in range(0, len(whole) - 4, len(whole) // 40):
        with pytest.raises(DcapError):
            imported(store, simulated, whole[:size])
    assert store.change_number() == 0


def swapped(data: bytes) -> bytes:
    """The file with the QE ids of its two machines exchanged."""
    whole = json.loads(data)
    lists = whole["platforms"], whole["collaterals"]["pck_certs"]
    for rows in lists:
        first, second = rows
        first["qe_id"], second["qe_id"] = second["qe_id"], first["qe_id"]
    return json.dumps(whole).encode()


def test_a_file_gives_no_machine_the_certificates_of_another(
    simulated: World, whole: bytes, store: Store
) -> None:
    """Where both were registered, they are left out; whoever insists is obeyed."""
    imported(store, simulated, whole)
    names = names_of(simulated, "multi")
    before = store.platforms.holding(*names)
    assert before is not None
    assert before.platform.is_registered
    report = imported(store, simulated, swapped(whole))
    assert report.reasons["platform"] == {OTHER_MACHINE: 2}
    assert store.platforms.holding(*names) == before
    report = imported(store, simulated, swapped(whole), replace_machines=True)
    assert report.kept["platform"] == 2
    after = store.platforms.holding(*names)
    assert after is not None
    assert after.certificates[0].ppid != before.certificates[0].ppid


def test_a_machine_of_an_older_store_is_not_replaced_by_a_file(
    simulated: World, whole: bytes, store: Store
) -> None:
    """Who named it was not noted then: somebody may have registered it."""
    imported(store, simulated, whole)
    with store.database.engine.begin() as connection:
        connection.execute(text("UPDATE dcap_platforms SET is_registered = NULL"))
    report = imported(store, simulated, swapped(whole))
    assert report.reasons["platform"] == {OTHER_MACHINE: 2}


@pytest.mark.parametrize("replace_machines", [False, True])
def test_of_two_machines_under_one_qe_id_a_file_brings_neither(
    simulated: World, store: Store, replace_machines: bool
) -> None:
    """Nobody can say which of them has it, and the last does not win."""
    alone = simulated.platform("alone")
    document = json.loads(file_of(simulated, *simulated.platforms.values()))
    for rows in (document["platforms"], document["collaterals"]["pck_certs"]):
        rows[1]["qe_id"] = rows[0]["qe_id"]
    data = json.dumps(document).encode()
    report = imported(store, simulated, data, replace_machines=replace_machines)
    assert report.reasons["platform"] == {OTHER_MACHINE: 2}
    kept = [one.platform.qe_id for one in store.platforms.each()]
    assert kept == [alone.qe_id.hex().upper()]


def test_a_file_with_an_all_zero_qe_id_brings_all_others(
    simulated: World, whole: bytes, store: Store
) -> None:
    """It names no machine."""
    (name, _) = names_of(simulated, "multi")
    report = imported(
        store, simulated, re.sub(name.encode(), b"0" * 32, whole, flags=re.IGNORECASE)
    )
    assert report.reasons["platform"] == {"zero-qe-id": 1}
    assert report.kept["platform"] == 1


def test_who_waits_for_what_a_file_brings_leaves_the_queue(
    simulated: World, whole: bytes, store: Store
) -> None:
    """It was read without being emptied; whoever waits with another raw TCB goes on waiting."""
    qe_id, pce_id = names_of(simulated, "multi")
    given = record(simulated.platforms["multi"])
    waits = Registration(
        qe_id=qe_id,
        pce_id=pce_id,
        cpu_svn=given.cpu_svn.upper(),
        pce_svn=given.pce_svn.upper(),
        created=simulated.at,
    )
    other = msgspec.structs.replace(waits, cpu_svn="FF" * 16)
    for one in (waits, other):
        store.registrations.enter(one)
    imported(store, simulated, whole)
    assert store.registrations.list() == (other,)
