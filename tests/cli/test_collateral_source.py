"""What commands share that fetch and write: nothing is written over, nothing stays half-written."""

from pathlib import Path

import pytest

from dcap.cli.collateral_source import write_folder, write_whole
from dcap.errors import ConfigError


def test_a_file_that_is_there_when_all_is_written_is_not_replaced(tmp_path: Path) -> None:
    """Whoever was faster keeps what is his; nothing half-written stays."""
    path = tmp_path / "bundle.json"
    path.write_text("mine")
    with pytest.raises(ConfigError) as refused:
        write_whole(path, b"other")
    assert refused.value.code == "output-exists"
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_there_when_all_is_written_is_not_replaced(tmp_path: Path) -> None:
    """As with a file; an empty folder is filled."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    with pytest.raises(ConfigError):
        write_folder(folder, {"other": b"other"})
    assert [file.name for file in folder.iterdir()] == ["mine"]
    assert list(tmp_path.iterdir()) == [folder]
    (folder / "mine").unlink()
    write_folder(folder, {"other": b"other"})
    assert (folder / "other").read_bytes() == b"other"
