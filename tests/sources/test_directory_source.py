"""Collateral on the disk as a source: a folder, a folder of folders, a bundle, and what is not there."""

import os
from pathlib import Path

import pytest
from upstream import machine_need, need, recovering, without_pck

from dcap import CollateralError, NotFound
from dcap.errors import Unavailable
from dcap.formats.collateral import Collateral
from dcap.formats.containers.bundle import Bundle
from dcap.simulator import World
from dcap.sources.directory import DirectorySource

FILES = {
    "root_ca_crl": "root_ca_crl.der",
    "pck_crl": "pck_crl.der",
    "tcb_info_issuer_chain": "tcb_info_issuer_chain.pem",
    "tcb_info": "tcb_info_response.json",
    "qe_identity_issuer_chain": "qe_identity_issuer_chain.pem",
    "qe_identity": "qe_identity_response.json",
    "pck_crl_issuer_chain": "pck_crl_issuer_chain.pem",
    "pck_certificate_chain": "pck_chain.pem",
}


@pytest.fixture(scope="module")
def intel() -> World:
    """A world with two machines and an announced recovery."""
    return recovering()


def save(collateral: Collateral, folder: Path) -> None:
    """Write a set as a person would, one file a piece."""
    folder.mkdir(parents=True, exist_ok=True)
    for piece, name in FILES.items():
        if getattr(collateral, piece) is not None:
            (folder / name).write_bytes(getattr(collateral, piece))


def test_a_folder(intel: World, tmp_path: Path) -> None:
    """The set in it, each piece with the folder as its address."""
    machine = intel.platform("node")
    save(intel.collateral(machine, "TDX"), tmp_path)
    fetched = DirectorySource(tmp_path).collateral(need(machine, "TDX"))
    assert fetched.collateral == intel.collateral(machine, "TDX")
    assert {told.address for told in fetched.origins} == {str(tmp_path)}


def test_when_it_was_written_counts(intel: World, tmp_path: Path) -> None:
    """The age of a saved set is that of its newest file, not of the moment it is read."""
    machine = intel.platform("node")
    save(intel.collateral(machine), tmp_path)
    for number, file in enumerate(sorted(tmp_path.iterdir())):
        os.utime(file, (1_700_000_000 - number,) * 2)
    fetched = DirectorySource(tmp_path).collateral(need(machine))
    assert {told.fetched_at.timestamp() for told in fetched.origins} == {1_700_000_000.0}


def test_folders_for_several_machines(intel: World, tmp_path: Path) -> None:
    """Among the folders of a folder, the one that fits the need is taken."""
    save(intel.collateral(intel.platform("single")), tmp_path / "one")
    save(intel.collateral(intel.platform("node")), tmp_path / "two")
    save(intel.collateral(intel.platform("node"), "TDX"), tmp_path / "three")
    save(intel.collateral(intel.platform("node"), update="early"), tmp_path / "four")
    (tmp_path / "empty").mkdir()
    source = DirectorySource(tmp_path)
    for name, tee in (("single", "SGX"), ("node", "TDX")):
        machine = intel.platform(name)
        fetched = source.collateral(need(machine, tee))
        assert fetched.collateral == intel.collateral(machine, tee)
    node = intel.platform("node")
    early = source.collateral(need(node, number=18)).collateral
    assert early == intel.collateral(node, update="early")


@pytest.mark.parametrize(("tee", "number"), [("TDX", None), ("SGX", 18)])
def test_collateral_of_another_need(
    intel: World, tmp_path: Path, tee: str, number: int | None
) -> None:
    """A set of another TEE or number is not handed out: it is told what lies there."""
    machine = intel.platform("node")
    save(intel.collateral(machine), tmp_path)
    with pytest.raises(NotFound, match="number 17") as caught:
        DirectorySource(tmp_path).collateral(need(machine, tee, number=number))
    assert caught.value.code == "source-other-collateral"


def test_collateral_of_another_platform(intel: World, tmp_path: Path) -> None:
    """A set for another FMSPC is not handed out."""
    save(intel.collateral(intel.platform("single")), tmp_path)
    with pytest.raises(NotFound) as caught:
        DirectorySource(tmp_path).collateral(need(intel.platform("node")))
    assert caught.value.code == "source-other-collateral"


def test_a_bundle(intel: World, tmp_path: Path) -> None:
    """A bundle is a set in one file, exact bytes."""
    machine = intel.platform("node")
    whole = without_pck(intel.collateral(machine))
    path = tmp_path / "bundle.json"
    path.write_bytes(Bundle(collateral=whole, recorded_at=intel.at).to_bytes())
    assert DirectorySource(path).collateral(need(machine)).collateral == whole


def test_a_pck_chain_beside_it(intel: World, tmp_path: Path) -> None:
    """The chain in the folder, and the TCB that it is for."""
    machine = intel.platform("node")
    save(intel.collateral(machine), tmp_path)
    found = DirectorySource(tmp_path).pck_certificate(machine_need(machine))
    assert found.chain == machine.pck_chain()
    assert found.tcbm[:16] == machine.cpu_svn
    with pytest.raises(NotFound) as caught:
        DirectorySource(tmp_path).pck_certificate(machine_need(machine, pce_id=b"\x07\x00"))
    assert caught.value.code == "source-no-pck"


def test_no_pck_chain(intel: World, tmp_path: Path) -> None:
    """Collateral alone holds no certificate of a machine."""
    machine = intel.platform("node")
    save(without_pck(intel.collateral(machine)), tmp_path)
    with pytest.raises(NotFound) as caught:
        DirectorySource(tmp_path).pck_certificate(machine_need(machine))
    assert caught.value.code == "source-no-pck"


def test_nothing_there(intel: World, tmp_path: Path) -> None:
    """A missing path, an empty folder, an incomplete set: there is none."""
    machine = intel.platform("node")
    save(intel.collateral(machine), tmp_path / "part")
    (tmp_path / "part" / "pck_crl.der").unlink()
    (tmp_path / "empty").mkdir()
    codes = []
    for path in (tmp_path / "missing", tmp_path / "empty", tmp_path / "part"):
        with pytest.raises(NotFound) as caught:
            DirectorySource(path).collateral(need(machine))
        codes.append(caught.value.code)
    assert codes == ["collateral-missing", "collateral-missing", "collateral-incomplete"]


@pytest.mark.parametrize("text", [b"{}", b"<html>", b'{"tcbInfo":'])
def test_a_document_that_cannot_be_read(intel: World, tmp_path: Path, text: bytes) -> None:
    """Garbage in a file says nothing of the evidence: a `CollateralError` naming the place."""
    machine = intel.platform("node")
    save(intel.collateral(machine), tmp_path)
    (tmp_path / "tcb_info_response.json").write_bytes(text)
    with pytest.raises(CollateralError) as caught:
        DirectorySource(tmp_path).collateral(need(machine))
    assert caught.value.exit_status == 6
    assert str(tmp_path) in caught.value.where


def test_a_file_that_is_too_large(intel: World, tmp_path: Path) -> None:
    """What cannot be read from the disk is a source that does not answer, not a wrong flag."""
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(Unavailable) as caught:
        DirectorySource(path).collateral(need(intel.platform("node")))
    assert caught.value.code == "source-unreadable"


def test_of_several_chains_the_one_that_is_accepted(intel: World, tmp_path: Path) -> None:
    """Two machines of one kind: the chain that fits the quote is given; where none does, the first."""
    first, second = intel.platform("node"), intel.platform("second")
    for name, machine in (("a", first), ("b", second)):
        save(intel.collateral(machine), tmp_path / name)
    source = DirectorySource(tmp_path)
    asked = machine_need(second)
    found = source.pck_certificate(asked, accept=lambda it: it.chain == second.pck_chain())
    assert found.chain == second.pck_chain()
    assert source.pck_certificate(asked, accept=lambda _: False).chain == first.pck_chain()


@pytest.mark.parametrize("place", ["pipe", "folder/pck_crl.der"])
def test_a_pipe_is_not_waited_for(intel: World, tmp_path: Path, place: str) -> None:
    """A FIFO that nobody writes to would be read for ever: it is no file of collateral."""
    save(intel.collateral(intel.platform("node")), tmp_path / "folder")
    pipe = tmp_path / place
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    path = pipe if place == "pipe" else pipe.parent
    with pytest.raises(CollateralError) as refused:
        DirectorySource(path).collateral(need(intel.platform("node")))
    assert refused.value.exit_status == 6
