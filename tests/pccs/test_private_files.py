"""`dcap.pccs.private_files`: what a service keeps stays its own, whoever writes it."""

import os
from pathlib import Path

import pytest

from dcap.errors import ConfigError
from dcap.pccs.private_files import make_folder, write_private
from dcap.pccs.store.database import make_private

#: Any user that is not us.
OTHER = 12345
root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give files away")


def owner(file: Path) -> tuple[int, int, int]:
    """User, group and permissions."""
    status = file.stat()
    return status.st_uid, status.st_gid, status.st_mode & 0o777


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    """A group that was let in stays in; all the world never is."""
    file = tmp_path / "tokens.json"
    write_private(file, b"1")
    assert owner(file)[2] == 0o600
    file.chmod(0o644)
    write_private(file, b"2")
    assert (file.read_bytes(), owner(file)[2]) == (b"2", 0o640)


@root
def test_root_takes_no_file_away_from_the_service(tmp_path: Path) -> None:
    """With `sudo`, a new file belongs to whom its folder does, and another stays whose it was."""
    os.chown(tmp_path, OTHER, OTHER)
    made, database, kept = (tmp_path / name for name in ("tokens.json", "pccs.db", "tls_key.pem"))
    write_private(made, b"")
    make_private(database)
    assert owner(made) == owner(database) == (OTHER, OTHER, 0o600)
    kept.write_bytes(b"")
    os.chown(kept, OTHER + 1, OTHER + 1)
    write_private(kept, b"new")
    assert owner(kept)[:2] == (OTHER + 1, OTHER + 1)


def test_a_folder_that_is_open_to_all_is_refused(tmp_path: Path) -> None:
    """As ssh does it, with the command that mends it; one where each has only his own is not (/tmp)."""
    folder = tmp_path / "data"
    make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(ConfigError) as caught:
        make_folder(folder)
    assert (caught.value.code, "chmod o-w" in caught.value.mend) == ("pccs-data-open", True)
    folder.chmod(0o1777)
    make_folder(folder)
