"""A world in a directory: `state.json` holds seed, first instant and all that happened since.

    directory = WorldDirectory(Path(".dcap-sim"))
    directory.record(PckRevoked("node-1"))
    quote = directory.world().platform("node-1").quote(b"nonce")

A world is its events replayed in order, so that every process which reads the directory has the same
one. The file is replaced as a whole and under a lock: readers need none, and two commands at once
lose nothing. Beside it lies `root.pem`, the world's root. One process at a time serves a world
(`claim`); locks are the system's, and end with the process that holds them, however it ends. Not here:
what events do (`events`).
"""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import ConfigError
from dcap.simulator.events import Event, PlatformAdded, PlatformRegistered
from dcap.simulator.world import AT, World

SCHEMA = 1
SEED = "dcap"
STATE = "state.json"
ROOT_PEM = "root.pem"
_LOCK = ".lock"
_CLAIM = ".up.lock"
_LONGEST_PID = 20
_READABLE = 0o644
#: Some hundred thousand events: more is no world of this program's.
_MAX_SIZE = 32 * 1024 * 1024


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `state.json` says. Nothing may be missing: another seed is another world."""

    schema: int
    seed: str
    at: datetime
    events: tuple[Event, ...]

    def replay(self) -> World:
        """The world after all events. Raises `ConfigError`, where one cannot have happened."""
        world = World(self.seed, self.at)
        for event in self.events:
            event.apply(world)
        return world


class WorldDirectory:
    """The folder of one world, made with a first machine where it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def root_pem(self) -> Path:
        """The file of the world's root, for `--insecure-test-root`."""
        return self.path / ROOT_PEM

    def world(self) -> World:
        """The world as it is now."""
        return self.state().replay()

    def state(self) -> State:
        """What happened so far; a new world where there is none."""
        if not self._file.exists():
            with self._locked():
                if not self._file.exists():
                    self._write(_beginning(SEED, AT))
        return self._read()

    def record(self, *events: Event) -> World:
        """Let events happen and keep them: all, or none. Raises `ConfigError`. The world thereafter."""
        self.state()
        with self._locked():
            state = self._read()
            world = state.replay()
            for event in events:
                event.apply(world)
            self._write(msgspec.structs.replace(state, events=(*state.events, *events)))
        return world

    def reset(self, seed: str = SEED, at: datetime = AT) -> World:
        """Begin anew, with one machine and nothing that happened.

        Raises `ConfigError` (`simulator-running`) for another seed, where services of the old one run:
        their TLS certificate would be of a world that is gone.
        """
        state = _beginning(seed, at.replace(microsecond=0))
        world = state.replay()
        with nullcontext() if self._has_root_of(world) else self.claim(), self._locked():
            self._write(state)
        return world

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Be the one process that serves this world. Raises `ConfigError` (`simulator-running`)."""
        with self._opened(_CLAIM) as file:
            if not _try_lock(file.fileno()):
                raise self._running(file)
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            yield

    def handler(self, make: Callable[[World], Handler]) -> Handler:
        """A handler over the world as it is at each request, other processes' events included."""
        return _Live(self, make)

    def stamp(self) -> tuple[int, int, int]:
        """What differs once the state was replaced. Raises `ConfigError` where it is gone."""
        try:
            found = self._file.stat()
        except OSError as error:
            raise self._wrong(error.strerror or str(error)) from None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def write_file(self, name: str, content: bytes) -> Path:
        """A file beside the state, whole or not at all."""
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                Path(temporary).chmod(_READABLE)
                Path(temporary).replace(self.path / name)
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._wrong(error.strerror or str(error)) from None
        return self.path / name

    @property
    def _file(self) -> Path:
        return self.path / STATE

    def _read(self) -> State:
        try:
            with self._file.open("rb") as file:
                text = file.read(_MAX_SIZE + 1)
        except OSError as error:
            raise self._wrong(error.strerror or str(error)) from None
        if len(text) > _MAX_SIZE:
            raise self._wrong(f"more than {_MAX_SIZE} bytes")
        try:
            state = msgspec.json.decode(text, type=State)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._wrong(str(error)) from None
        if state.schema != SCHEMA:
            raise self._wrong(f"schema {state.schema}; this dcap writes {SCHEMA}")
        if state.at.tzinfo is None:
            raise self._wrong("`at` has no zone")
        return state

    def _write(self, state: State) -> None:
        text = msgspec.json.format(msgspec.json.encode(state), indent=1)
        self.write_file(ROOT_PEM, World(state.seed, state.at).root_pem)
        self.write_file(STATE, text + b"\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among the processes that write here."""
        with self._opened(_LOCK) as file:
            _lock(file.fileno())
            yield

    def _opened(self, name: str) -> BinaryIO:
        """A file to lock, made where it is missing."""
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(
                "simulator-state",
                "a file; a simulated world lies in a folder",
                where=str(self.path),
                mend="give the name of a folder as --dir",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return (self.path / name).open("a+b")
        except OSError as error:
            raise ConfigError(
                "simulator-state",
                f"no simulated world can be kept there: {error.strerror or error}",
                where=str(self.path),
                mend="give another --dir",
            ) from None

    def _has_root_of(self, world: World) -> bool:
        try:
            return self.root_pem.read_bytes() == world.root_pem
        except OSError:
            return False

    def _running(self, file: BinaryIO) -> ConfigError:
        try:
            file.seek(0)
            pid = file.read(_LONGEST_PID).decode()
        except (OSError, UnicodeDecodeError):
            pid = ""
        return ConfigError(
            "simulator-running",
            "another `dcap sim up` serves this world" + (f", process {pid}" if pid else ""),
            where=str(self.path),
            mend="stop it first, or give another --dir",
        )

    def _wrong(self, why: str) -> ConfigError:
        return ConfigError(
            "simulator-state",
            f"not the state of a simulated world: {why}",
            where=str(self._file),
            mend="give another --dir, or begin anew with `dcap sim reset`",
        )


def _beginning(seed: str, at: datetime) -> State:
    """A world of one machine, to which nothing has happened."""
    return State(schema=SCHEMA, seed=seed, at=at, events=(PlatformAdded(),))


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        """Wait for the file; closing it lets go."""
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)

    def _try_lock(descriptor: int) -> bool:
        """Take the file until it is closed, unless another process has it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        """Wait for the file; closing it lets go."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _try_lock(descriptor: int) -> bool:
        """Take the file until it is closed, unless another process has it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


class _Live:
    """A handler that is made anew when the state was replaced, and keeps what it changes itself.

    A request can change one thing: a machine may register.
    """

    def __init__(self, directory: WorldDirectory, make: Callable[[World], Handler]) -> None:
        self._directory = directory
        self._make = make
        self._lock = threading.Lock()
        self._load()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer of the world as it is now; 500, with the reason, where its state is broken."""
        try:
            with self._lock:
                if self._directory.stamp() != self._stamp:
                    self._load()
                world, handler = self._world, self._handler
            answer = handler(request)
            with self._lock:
                self._keep(world)
        except ConfigError as error:
            # Without `where`: clients need not know how this machine's folders are named.
            return HttpResponse(status=500, body=f"{error.what} [{error.code}]".encode())
        return answer

    def _load(self) -> None:
        # The stamp first: what is replaced in between is read again at the next request.
        self._stamp = self._directory.stamp()
        self._world = self._directory.world()
        self._unregistered = _unregistered(self._world)
        self._handler = self._make(self._world)

    def _keep(self, world: World) -> None:
        """Registrations outlive this process."""
        if world is not self._world:
            return
        left = _unregistered(world)
        if new := self._unregistered - left:
            self._unregistered = left
            self._directory.record(*map(PlatformRegistered, sorted(new)))


def _unregistered(world: World) -> set[str]:
    return {name for name, machine in world.platforms.items() if not machine.registered}
