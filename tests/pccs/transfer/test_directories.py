"""Folders of saved answers: every set in them taken in, under the generation that is said."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from dcap.errors import ConfigError
from dcap.formats.collateral import FILE_NAMES, Collateral
from dcap.formats.containers.bundle import Bundle
from dcap.pccs.items import (
    CrlKey,
    IdentityKey,
    Item,
    Key,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
    Update,
)
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.directories import import_directory
from dcap.pccs.transfer.report import EXPIRED, UNNAMED, UNREADABLE, Report
from dcap.simulator.intel import ROOT_CRL_URL
from dcap.simulator.world import World
from pccs.transfer.moved import anchor_of, item, opened


@pytest.fixture
def simulated() -> World:
    """A world of two machines."""
    world = World("folders")
    world.platform("multi")
    world.platform("single", ca="processor")
    return world


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with opened(tmp_path) as made:
        yield made


def collateral_of(world: World, name: str = "multi", tee: str = "SGX") -> Collateral:
    """A set without a machine's certificate."""
    whole = world.collateral(world.platform(name), tee)
    return msgspec.structs.replace(whole, pck_certificate_chain=None)


def saved(folder: Path, collateral: Collateral) -> Path:
    """A set in a folder, as `dcap collateral get` writes it."""
    folder.mkdir(parents=True)
    for piece, names in FILE_NAMES.items():
        content = getattr(collateral, piece)
        if content is not None:
            (folder / names[0]).write_bytes(content)
    return folder


def imported(store: Store, world: World, path: Path, update: Update = "STANDARD") -> Report:
    """Take it in at the world's own time."""
    return import_directory(store, path, at=world.at, anchor=anchor_of(world), update=update)


def expect(store: Store, world: World, *keys: Key) -> None:
    """Each kept, with Intel's bytes and the chain of its own."""
    for key in keys:
        given: Item = item(world, key)
        kept = store.items.get(key)
        assert kept is not None, key.text
        assert kept.body == given.body
        assert kept.issuer_chain == (b"" if isinstance(key, CrlKey) else given.issuer_chain)


def test_a_set_fills_every_key_that_it_answers(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """Documents as the standard generation and under their number; the root's list by its URI too."""
    report = imported(store, simulated, saved(tmp_path / "set", collateral_of(simulated)))
    assert report.complete
    fmspc, number = simulated.platform("multi").fmspc, simulated.intel.standard
    expect(
        store,
        simulated,
        RootCrlKey(),
        CrlKey(ROOT_CRL_URL),
        PckCrlKey("PLATFORM"),
        TcbInfoKey("SGX", fmspc),
        TcbInfoKey("SGX", fmspc, 4, None, number),
        IdentityKey("QE"),
        IdentityKey("QE", 4, None, number),
    )
    assert report.kept["item"] == 7


def test_folders_in_a_folder_are_all_taken_in(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """`dcap collateral get --all-fmspcs` makes one for each FMSPC and TEE."""
    top = tmp_path / "all"
    saved(top / "90C0A5000000-sgx", collateral_of(simulated))
    saved(top / "90C0A5000000-tdx", collateral_of(simulated, tee="TDX"))
    saved(top / "00A0A5000000-sgx", collateral_of(simulated, "single"))
    assert imported(store, simulated, top).complete
    multi, single = simulated.platform("multi").fmspc, simulated.platform("single").fmspc
    expect(store, simulated, TcbInfoKey("TDX", multi), TcbInfoKey("SGX", single))
    expect(store, simulated, PckCrlKey("PLATFORM"), PckCrlKey("PROCESSOR"), IdentityKey("TD_QE"))


def test_bundles_and_dcap_qvl_s_form_are_sets_too(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """By their path, and as files in a folder."""
    top = tmp_path / "files"
    top.mkdir()
    bundle = Bundle(collateral=collateral_of(simulated), recorded_at=simulated.at)
    (top / "bundle.json").write_bytes(bundle.to_bytes())
    (top / "qvl.json").write_bytes(collateral_of(simulated, "single").to_json())
    assert imported(store, simulated, top).complete
    expect(store, simulated, PckCrlKey("PLATFORM"), PckCrlKey("PROCESSOR"))
    with opened(tmp_path, "another") as another:
        assert imported(another, simulated, top / "bundle.json").complete
        expect(another, simulated, PckCrlKey("PLATFORM"))


def test_an_early_generation_is_kept_as_one(tmp_path: Path, simulated: World, store: Store) -> None:
    """The set does not say it; whoever saved it does."""
    report = imported(store, simulated, saved(tmp_path / "set", collateral_of(simulated)), "EARLY")
    assert report.complete
    fmspc = simulated.platform("multi").fmspc
    assert store.items.get(TcbInfoKey("SGX", fmspc)) is None
    expect(store, simulated, TcbInfoKey("SGX", fmspc, 4, "EARLY"), IdentityKey("QE", 4, "EARLY"))


def test_version_3_of_the_api_has_keys_of_its_own(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """A TCB info of version 2 goes there, and so does the identity beside it."""
    machine = simulated.platform("single")
    old = msgspec.structs.replace(
        simulated.collateral(machine, tcb_info_version=2), pck_certificate_chain=None
    )
    assert imported(store, simulated, saved(tmp_path / "set", old)).complete
    expect(store, simulated, TcbInfoKey("SGX", machine.fmspc, 3), IdentityKey("QE", 3))


def test_a_pck_chain_stays_behind(tmp_path: Path, simulated: World, store: Store) -> None:
    """Nothing says which machine's it is; the rest is taken in, its issuers standing in for a chain."""
    whole = simulated.collateral(simulated.platform("multi"))
    bare = msgspec.structs.replace(whole, pck_crl_issuer_chain=None)
    report = imported(store, simulated, saved(tmp_path / "set", bare))
    assert report.reasons == {"platform": {UNNAMED: 1}}
    expect(store, simulated, PckCrlKey("PLATFORM"))


def test_a_forged_piece_is_left_out_and_the_rest_taken_in(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """What does not prove is told, with the check that it failed."""
    forged = World("forger", simulated.at)
    mixed = msgspec.structs.replace(
        collateral_of(simulated), qe_identity=collateral_of(forged).qe_identity
    )
    report = imported(store, simulated, saved(tmp_path / "set", mixed))
    assert report.reasons == {"item": {"qe-identity-signature": 2}}
    assert store.items.get(IdentityKey("QE")) is None
    expect(store, simulated, PckCrlKey("PLATFORM"))


def test_an_expired_set_is_left_out(tmp_path: Path, simulated: World, store: Store) -> None:
    """Saved long ago."""
    path = saved(tmp_path / "set", collateral_of(simulated))
    simulated.advance(timedelta(days=200))
    report = imported(store, simulated, path)
    assert set(report.reasons["item"]) == {EXPIRED}
    assert store.items.get(IdentityKey("QE")) is None


def test_a_folder_that_lacks_a_piece_is_told(
    tmp_path: Path, simulated: World, store: Store
) -> None:
    """The others beside it are taken in."""
    top = tmp_path / "all"
    (saved(top / "a", collateral_of(simulated)) / "tcb_info_response.json").unlink()
    saved(top / "b", collateral_of(simulated, "single"))
    report = imported(store, simulated, top)
    assert [(one.name, one.reason) for one in report.left_out] == [("a", UNREADABLE)]
    expect(store, simulated, PckCrlKey("PROCESSOR"))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"dcap_bundle": 1}'])
def test_a_file_of_something_else_is_told(
    tmp_path: Path, simulated: World, store: Store, content: bytes
) -> None:
    """And nothing is kept."""
    path = tmp_path / "file.json"
    path.write_bytes(content)
    report = imported(store, simulated, path)
    assert report.reasons == {"item": {UNREADABLE: 1}}
    assert report.kept["item"] == 0


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_place_without_any_set_is_refused(
    tmp_path: Path, simulated: World, store: Store, name: str
) -> None:
    """A mistyped path is not an import of nothing."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        imported(store, simulated, tmp_path / name)
    assert caught.value.code == "import-nothing"
