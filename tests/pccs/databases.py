"""Databases for tests: SQLite, and servers of PostgreSQL and MariaDB that the tests start themselves.

    with server("postgresql") as started:
        url = started.database()          # a new, empty one
        started.stop(); started.start()   # gone, and back

A server listens on loopback, in a folder of its own that goes with it. `$DCAP_TEST_POSTGRES` and
`$DCAP_TEST_MARIADB` name a server to use instead (a URL of a user who may create databases); that one
is not stopped. Where there is neither, `Missing` says what to install.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

KINDS = ("sqlite", "postgresql", "mariadb")
START_SECONDS = 60
_VARIABLES = {"postgresql": "DCAP_TEST_POSTGRES", "mariadb": "DCAP_TEST_MARIADB"}
_DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}
_PACKAGES = {"postgresql": "postgresql", "mariadb": "mariadb-server"}


class Missing(Exception):  # noqa: N818 - what it is
    """There is no such server here; the text says how to have one."""


class Server:
    """A server that makes databases. `can_stop` says whether it is ours."""

    can_stop = False

    def __init__(self, url: str) -> None:
        self.url = url

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"dcap_{uuid.uuid4().hex}"
        self._administer(f"CREATE DATABASE {name}")
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Forget a database."""
        force = " WITH (FORCE)" if url.startswith("postgresql") else ""
        self._administer(f"DROP DATABASE IF EXISTS {make_url(url).database}{force}")

    def _administer(self, statement: str) -> None:
        url = make_url(self.url)
        engine = create_engine(
            url.set(drivername=_DRIVERS["mariadb" if "mysql" in url.drivername else "postgresql"]),
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def start(self) -> None:
        """Start it."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it at once, as a crash would."""
        raise NotImplementedError


class Files(Server):
    """SQLite: a file a database."""

    def __init__(self, folder: Path) -> None:
        super().__init__("sqlite://")
        self.folder = folder

    def database(self) -> str:
        """The URL of a file that is not there yet."""
        return f"sqlite:///{self.folder}/{uuid.uuid4().hex}.db"

    def drop(self, url: str) -> None:
        """Remove the file."""
        for end in ("", "-wal", "-shm"):
            Path(str(make_url(url).database) + end).unlink(missing_ok=True)


class _Own(Server):
    """A server of the tests': a process in a folder."""

    can_stop = True

    def __init__(self, folder: Path, url: str, command: list[str], user: str | None) -> None:
        super().__init__(url)
        self._folder = folder
        self._command = command
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=self._folder, **_as(self._user)
            )
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self._administer("SELECT 1")
            except SQLAlchemyError:
                if time.monotonic() > end or self._process.poll() is not None:
                    log_text = (self._folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"the server does not start:\n{log_text}") from None
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                # PostgreSQL's "immediate" stop takes its children along; MariaDB is one process.
                self._process.send_signal(signal.SIGQUIT if self._is_postgresql else signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def _is_postgresql(self) -> bool:
        return self.url.startswith("postgresql")


@contextmanager
def server(kind: str) -> Iterator[Server]:
    """A server of a kind, for as long as the block runs. Raises `Missing`."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="dcap-") as folder:
            yield Files(Path(folder))
        return
    named = os.environ.get(_VARIABLES[kind])
    if named:
        yield Server(make_url(named).set(drivername=_DRIVERS[kind]).render_as_string(False))
        return
    folder = Path(tempfile.mkdtemp(prefix="dcap-"))
    try:
        started = (_postgresql if kind == "postgresql" else _mariadb)(folder)
        try:
            started.start()
            yield started
        finally:
            started.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgresql(folder: Path) -> Server:
    """A PostgreSQL that does not wait for the disk: it loses only what a test loses with it."""
    initdb, postgres = _binary("initdb", "postgresql"), _binary("postgres", "postgresql")
    user, port, cluster = _user("postgres", folder), _free_port(), folder / "cluster"
    options = ("-U", "dcap", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale")
    _copy(_new_files((initdb, *options), "--pgdata=", user), cluster)
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "shared_buffers": "16MB",
        "max_connections": 200,
    }
    given = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    url = f"{_DRIVERS['postgresql']}://dcap@127.0.0.1:{port}/postgres"
    return _Own(folder, url, [postgres, "-D", str(cluster), *given], user)


def _mariadb(folder: Path) -> Server:
    """A MariaDB that does not wait for the disk."""
    install, mariadbd = _binary("mariadb-install-db", "mariadb"), _binary("mariadbd", "mariadb")
    user, port, files = _user("mysql", folder), _free_port(), folder / "files"
    options = ("--auth-root-authentication-method=normal", "--skip-test-db")
    _copy(_new_files((install, "--no-defaults", *options), "--datadir=", user), files)
    command = [
        mariadbd,
        "--no-defaults",
        f"--datadir={files}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={folder}/socket",
        f"--pid-file={folder}/pid",
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-buffer-pool-size=32M",
        "--max-connections=200",
    ]
    return _Own(folder, f"{_DRIVERS['mariadb']}://root@127.0.0.1:{port}/mysql", command, user)


@cache
def _new_files(command: tuple[str, ...], option: str, user: str | None) -> Path:
    """The files of a server that never ran, which `command` makes in the folder of `option`.

    Made once a process, and copied from there: that takes a fifth of the time.
    """
    folder = Path(tempfile.mkdtemp(prefix="dcap-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _give(folder, user)
    _run([*command, f"{option}{folder}/new"], user)
    return folder / "new"


def _copy(files: Path, place: Path) -> None:
    """A copy, whose owners are those of the files."""
    subprocess.run(["cp", "-a", files, place], check=True)


def _binary(name: str, kind: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if found is None and packaged:
        found = str(packaged[-1])
    if found is None:
        raise Missing(
            f"{name} is not installed: apt-get install {_PACKAGES[kind]}, "
            f"or name a server in ${_VARIABLES[kind]}"
        )
    return found


def _user(preferred: str, folder: Path) -> str | None:
    """Whom the server runs as, and whose its folder is: the servers refuse to be root."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    root = os.geteuid() == 0
    user = (preferred if preferred in known else "nobody") if root else None
    _give(folder, user)
    return user


def _give(folder: Path, user: str | None) -> None:
    folder.chmod(0o755)
    if user is not None:
        shutil.chown(folder, user)


def _as(user: str | None) -> dict[str, object]:
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _run(command: list[object], user: str | None) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, check=False, cwd="/", **_as(user))
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {(done.stdout + done.stderr).decode(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
