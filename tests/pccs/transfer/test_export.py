"""What a store keeps goes out as files, and comes in again elsewhere, byte for byte."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from dcap.formats.containers.bundle import Bundle
from dcap.pccs.items import IdentityKey, Item, Key, PckCrlKey, TcbInfoKey
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.export import collateral_sets, platform_collaterals
from dcap.pccs.transfer.platform_collaterals import import_platform_collaterals
from dcap.pccs.transfer.provider_caches import quote_provider_caches
from dcap.simulator.world import World
from dcap.sources.foreign_caches import read_intel_cache
from dcap.verification import check_endorsements
from pccs.transfer.moved import anchor_of, collateral, file_of, item, opened, record


@pytest.fixture
def simulated() -> World:
    """A world of two machines."""
    world = World("out")
    world.platform("multi").svn = 4
    world.platform("single", ca="processor").svn = 5
    return world


@pytest.fixture
def store(tmp_path: Path, simulated: World) -> Iterator[Store]:
    """A store with both machines and all their collateral."""
    with opened(tmp_path) as made:
        data = file_of(simulated, *simulated.platforms.values())
        import_platform_collaterals(made, data, at=simulated.at, anchor=anchor_of(simulated))
        yield made


def kept(store: Store) -> dict[Key, tuple[bytes, bytes]]:
    """Every item: its bytes and its chain."""
    found: dict[Key, tuple[bytes, bytes]] = {}
    for summary in store.items.summaries():
        one = store.items.get(summary.key)
        assert one is not None
        found[one.key] = one.body, one.issuer_chain
    return found


def test_a_store_moves_to_another_through_the_file(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """Machines, certificates, raw TCBs and collateral: the same in both."""
    arranged, chunks = platform_collaterals(store)
    assert arranged.left_out == ()
    data = b"".join(chunks)
    with opened(tmp_path, "another") as another:
        report = import_platform_collaterals(
            another, data, at=simulated.at, anchor=anchor_of(simulated), version=4
        )
        assert report.complete
        assert kept(another) == kept(store)
        ours, theirs = list(store.platforms.holdings()), list(another.platforms.holdings())
        assert [(h.platform, h.certificates, h.issuer_chain, h.raw_tcbs) for h in ours] == [
            (h.platform, h.certificates, h.issuer_chain, h.raw_tcbs) for h in theirs
        ]


def test_machines_of_one_fmspc_go_out_alone(tmp_path: Path, simulated: World, store: Store) -> None:
    """With the TCB infos of that FMSPC, and what everybody needs."""
    fmspc = simulated.platform("multi").fmspc
    _, chunks = platform_collaterals(store, fmspcs=[fmspc])
    with opened(tmp_path, "another") as another:
        import_platform_collaterals(
            another, b"".join(chunks), at=simulated.at, anchor=anchor_of(simulated)
        )
        assert set(another.platforms.count_by_fmspc()) == {fmspc}
        infos = {key.fmspc for key in kept(another) if isinstance(key, TcbInfoKey)}
        assert infos == {fmspc}
        assert IdentityKey("QE") in kept(another)


def test_expired_items_stay_behind_where_an_instant_is_given(
    simulated: World, store: Store
) -> None:
    """They would be refused at the other end."""
    later = simulated.at + timedelta(days=60)
    _, chunks = platform_collaterals(store, at=later)
    data = b"".join(chunks)
    assert b"sgx_tcbinfo" not in data
    assert b'"rootcacrl"' in data


def test_a_set_for_each_fmspc_and_tee_proves(simulated: World, store: Store) -> None:
    """Folders as `dcap collateral get` names them; the PCK list is of the machines' own CA."""
    sets = list(collateral_sets(store))
    assert [one.name for one in sets] == [
        "00A0A5000000-sgx",
        "90C0A5000000-sgx",
        "90C0A5000000-tdx",
    ]
    for one in sets:
        check = check_endorsements(one.collateral, at=simulated.at, anchor=anchor_of(simulated))
        assert check.endorsements is not None
        assert Bundle.parse(one.bundle()).collateral == one.collateral
    assert sets[0].collateral.pck_crl == item(simulated, PckCrlKey("PROCESSOR")).body


def test_without_machines_there_is_a_set_for_either_ca(tmp_path: Path, simulated: World) -> None:
    """Nothing says which CA the machines of an FMSPC will have."""
    key = TcbInfoKey("SGX", simulated.platform("multi").fmspc)
    with opened(tmp_path, "bare") as bare:
        items = [one for one in collateral(simulated) if not isinstance(one.key, TcbInfoKey)]
        bare.items.put(*items, item(simulated, key))
        names = [one.name for one in collateral_sets(bare)]
    assert names == ["90C0A5000000-sgx-platform", "90C0A5000000-sgx-processor"]


def test_a_set_that_lacks_a_piece_is_none(simulated: World, store: Store) -> None:
    """Half a set is of no use to a verifier."""
    store.items.delete(IdentityKey("TD_QE"))
    assert [one.name[-3:] for one in collateral_sets(store)] == ["sgx", "sgx"]


def test_entries_for_the_quote_provider_are_read_as_its_own(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """Type 4: all certificates of a machine and the TCB info to choose by, until the expiry given."""
    folder = tmp_path / ".dcap-qcnl"
    folder.mkdir()
    expires = simulated.at + timedelta(hours=2160)
    items: list[Item] = collateral(simulated, *simulated.platforms.values())
    entries = dict(
        quote_provider_caches(
            [record(machine) for machine in simulated.platforms.values()],
            store.platforms.holdings(),
            items,
            expires=expires,
        )
    )
    multi = simulated.platform("multi")
    assert f"{multi.qe_id.hex()}_0000" in entries
    for name, content in entries.items():
        (folder / name).write_bytes(content)
    read = read_intel_cache(folder)
    assert len(read) == 2
    for entry in read:
        assert entry.trouble == ""
        assert entry.expires == expires
        assert entry.content.kind == "multicerts"
        assert entry.content.about == "3 certificates"


def test_a_machine_that_was_updated_has_the_entry_of_its_present_tcb(
    simulated: World, store: Store
) -> None:
    """A list of all that is kept has it once for each TCB it had: one file, of the highest."""
    now = record(simulated.platform("multi"))
    before = type(now)(
        **{**msgspec.structs.asdict(now), "cpu_svn": "00" * 16, "platform_manifest": None}
    )
    items = collateral(simulated, simulated.platform("multi"))
    for listed in ([now, before], [before, now]):
        entries = list(
            quote_provider_caches(listed, store.platforms.holdings(), items, expires=simulated.at)
        )
        assert len(entries) == 1
        assert now.cpu_svn.encode() in entries[0][1]


def test_a_machine_without_a_raw_tcb_has_an_entry_that_names_none(
    simulated: World, store: Store
) -> None:
    """Intel's tool writes one for whichever machine looks there."""
    nameless = [record(simulated.platform("multi"))]
    (given,) = [type(one)(qe_id=one.qe_id, pce_id=one.pce_id) for one in nameless]
    items = collateral(simulated, simulated.platform("multi"))
    entries = list(
        quote_provider_caches([given], store.platforms.holdings(), items, expires=simulated.at)
    )
    assert [name for name, _ in entries] == ["0000000000000000_0000"]
    assert b"f" * 32 in entries[0][1]
