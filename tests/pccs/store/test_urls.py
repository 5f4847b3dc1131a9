"""The URL of a database: which are understood, and what is said of the others."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from dcap.errors import ConfigError, Unavailable
from dcap.pccs.store.database import Database, turn_to_wal
from dcap.pccs.store.store import Store


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("sqlite:////var/lib/dcap/pccs.db", "sqlite"),
        ("postgres://u:p@h/n", "postgresql"),
        ("postgresql://u:p@h:5/n?sslmode=verify-full", "postgresql"),
        ("mysql://u:p@h/n", "mysql"),
        ("mariadb://u:p@h/n", "mysql"),
    ],
)
def test_the_names_people_use_are_understood(url: str, dialect: str) -> None:
    """The database's name is enough: nobody has to know a driver's."""
    assert Database.at(url).dialect == dialect


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pccs.db",
        "oracle://u:secret@h/n",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:secret@h",
        "mysql://u:secret@h:notaport/n",
        "\0",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    """The error shows what a URL looks like, and nothing of the one that was given."""
    with pytest.raises(ConfigError, match="store-url") as caught:
        Database.at(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_passwords_stay_out_of_errors(kind: str) -> None:
    """A server that does not answer is named by host and database alone."""
    url = f"{kind}://someone:secret@127.0.0.1:1/name?application_name=secret"
    if kind == "mysql":
        url = url.partition("?")[0] + "?ssl_key=secret"
    with pytest.raises((Unavailable, ConfigError)) as caught:
        Store.open(url)
    assert "127.0.0.1:1/name" in str(caught.value)
    assert "secret" not in f"{caught.value}{caught.value!r}"
    assert "someone" not in f"{caught.value}{caught.value!r}"


def test_a_new_file_is_its_owners(tmp_path: Path) -> None:
    """What SQLite makes, its log too, nobody else can read: it identifies machines."""
    before = os.umask(0)
    try:
        with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
            store.prune()
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_a_place_without_wal_is_refused() -> None:
    """Where SQLite cannot keep its log beside the file (here, in memory), the error says so."""
    refused = pytest.raises(ConfigError, match="store-file-system")
    with closing(sqlite3.connect(":memory:")) as memory, refused:
        turn_to_wal(memory.cursor())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says which file cannot be made."""
    with pytest.raises(ConfigError, match="no such folder") as caught:
        Store.open(f"sqlite:///{tmp_path}/no such folder/store.db")
    assert caught.value.code == "store-unwritable"
