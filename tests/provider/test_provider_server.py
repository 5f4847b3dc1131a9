"""The socket: what is no message, who is slow, how many there may be, and how it ends."""

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from provider_client import HEAD, fields, message, request
from provider_site import NOBODY, Site, as_nobody, let_all_in, provider, site, until

from dcap import ConfigError
from dcap.api.http import HttpRequest, HttpResponse
from dcap.provider.place import Place
from dcap.provider.server import MOST_LINES, _Log, serve
from dcap.provider.settings import SYSTEM_SOCKET, Settings, default_socket


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A simulated Intel that no test changes."""
    with site(tmp_path_factory.mktemp("server")) as made:
        yield made


WELL = request("PING")
#: What is wrong -> the bytes, and the status that is answered before the end.
HOSTILE = {
    "magic": (message(12, [], magic=b"HTTP"), 0xE046),
    "version": (message(12, [], version=2), 0xE048),
    "call": (message(13, []), 0xE046),
    "call zero": (message(0, []), 0xE046),
    "response": (message(12 | 0x8000, []), 0xE046),
    "status": (message(12, [], status=1), 0xE046),
    "fields": (HEAD.pack(b"DCQP", 1, 12, 1, 0, 65, 0), 0xE046),
    "length": (HEAD.pack(b"DCQP", 1, 12, 1, 0, 0, 256 * 1024 + 1), 0xE046),
    "bytes left over": (HEAD.pack(b"DCQP", 1, 12, 1, 0, 0, 4) + bytes(4), 0xE046),
    "fewer fields": (HEAD.pack(b"DCQP", 1, 12, 1, 0, 2, 9) + fields([(3, b"\0")]), 0xE046),
    "twice": (message(12, [(3, b"\0"), (3, b"\0")]), 0xE046),
    "unknown": (message(12, [(99, b"\0")]), 0xE046),
    "of a response": (message(12, [(54, b"x")]), 0xE046),
    "size": (message(12, [(3, b"\0\0")]), 0xE046),
    "lying size": (HEAD.pack(b"DCQP", 1, 12, 1, 0, 1, 9) + b"\3\0\0\0\xff\xff\xff\x7f\0", 0xE046),
    "reserved": (HEAD.pack(b"DCQP", 1, 12, 1, 0, 1, 9) + b"\3\0\1\0\1\0\0\0\0", 0xE046),
    "environment": (message(12, [(1, b"no sign")]), 0xE046),
    "text": (message(3, [(23, b"\xff")]), 0xE046),
    "NUL": (message(3, [(23, b"a\0b")]), 0xE046),
    "two at once": (WELL + WELL, 0xE046),
}


def test_what_is_no_message_ends_the_connection(at: Site) -> None:
    """Each is answered with its number and nothing else, the connection closed; others go on."""
    with provider(at) as running, running.client() as honest:
        for what, (octets, status) in HOSTILE.items():
            with running.client() as client:
                client.socket.sendall(octets)
                answer = client.read()
                assert (what, answer.status, answer.out) == (what, status, {})
                assert client.ends()
        assert honest.call("PING").status == 0


def test_a_message_in_pieces_is_one(at: Site) -> None:
    """However it is cut, a message is answered once it is whole."""
    octets = request("PING", ("HOME=/x",), CALLER="t", number=3)
    with provider(at) as running, running.client() as client:
        for cut in (1, 23, 24, 25, len(octets) - 1):
            client.socket.sendall(octets[:cut])
            time.sleep(0.005)
            client.socket.sendall(octets[cut:])
            assert client.read().id == 3


def test_a_slow_client_is_let_go(at: Site) -> None:
    """A message that has begun and does not end costs the client its connection, no other's."""
    with provider(at, message_time=0.2) as running, running.client() as slow:
        slow.socket.sendall(WELL[:10])
        assert running.call("PING").status == 0
        began = time.monotonic()
        assert slow.ends()
        assert time.monotonic() - began < 10


def test_a_client_that_takes_nothing_is_let_go(at: Site) -> None:
    """Who asks and never reads is not waited for: its thread ends."""
    with provider(at, names=(at.pccs,), message_time=0.2) as running:
        assert running.call("COLLATERAL", **at.collateral()).status == 0
        with running.client() as deaf:
            deaf.socket.setblocking(False)
            octets = request("COLLATERAL", **at.collateral())
            ended = False
            for _ in range(2000):
                try:
                    deaf.socket.send(octets)
                except BlockingIOError:
                    time.sleep(0.005)
                except (BrokenPipeError, ConnectionResetError):
                    ended = True
                    break
            assert ended
        assert running.call("PING").status == 0


def test_the_longest_idle_makes_room(at: Site) -> None:
    """One more than there may be: the one that has been idle for longest is let go, and comes again."""
    with provider(at, connections=3) as running:
        clients = [running.client() for _ in range(3)]
        try:
            assert all(client.call("PING").status == 0 for client in clients)
            assert until(lambda: not any(client.busy for client in running.server._clients))
            assert running.call("PING").status == 0
            assert clients[0].ends()
            assert clients[1].call("PING").status == 0
        finally:
            for client in clients:
                client.socket.close()


def test_one_user_has_a_share_of_its_own(at: Site) -> None:
    """The bound of one user is below that of all."""
    with provider(at, of_a_user=1) as running, running.client() as first:
        assert first.call("PING").status == 0
        assert running.call("PING").status == 0
        assert first.ends()


@contextmanager
def held(at: Site) -> Iterator[threading.Event]:
    """The service answers nothing about the QvE until the event is set."""
    go = threading.Event()

    def later(request: HttpRequest) -> HttpResponse:
        if "qve/" in request.target:
            assert go.wait(20)
        return at.services(request)

    at.answer = later
    try:
        yield go
    finally:
        go.set()
        at.answer = at.services


def test_where_all_are_busy_a_caller_waits(tmp_path: Path) -> None:
    """As many as there may be are being answered: the next is answered when one of them was.

    Who hung up while it waited is not asked for any more.
    """
    with (
        site(tmp_path) as at,
        provider(at, names=(at.pccs,), connections=2) as running,
        held(at) as go,
        running.client() as one,
        running.client() as two,
    ):
        for client in (one, two):
            client.socket.sendall(request("QVE_IDENTITY"))
        assert until(lambda: sum(client.busy for client in running.server._clients) == 2)
        with running.client() as impatient:
            impatient.socket.sendall(request("QE_IDENTITY"))
        with running.client() as third:
            third.socket.sendall(WELL)
            third.socket.settimeout(0.1)
            with pytest.raises(TimeoutError):
                third.socket.recv(1)
            third.socket.settimeout(20)
            go.set()
            assert third.read().status == 0
            assert one.read().status == two.read().status == 0
        assert not [target for target in at.asked if "/qe/" in target]


def test_a_user_with_too_many_waits_for_its_own(tmp_path: Path) -> None:
    """One more than its share waits; one more than may wait is hung up on; another user is answered."""
    let_all_in(tmp_path)
    with (
        site(tmp_path) as at,
        provider(at, names=(at.pccs,), mode=0o666, of_a_user=1) as running,
        held(at) as go,
        running.client() as one,
    ):
        one.socket.sendall(request("QVE_IDENTITY"))
        assert until(lambda: any(client.busy for client in running.server._clients))
        with running.client() as second:
            second.socket.sendall(WELL)
            assert until(lambda: bool(running.server._waiting))
            with running.client() as third:
                assert third.ends()
            if os.geteuid() == 0:
                assert as_nobody(lambda: running.call("PING")).status == 0
            go.set()
            assert second.read().status == 0
            assert one.read().status == 0


def test_a_stranger_has_few_questions_at_a_time(at: Site) -> None:
    """Beyond eight that are under way another user's next waits, up to its deadline: 0xE042.

    What is ready it is given at once, and this user is not held up. A turn that is over is the next's.
    """
    let_all_in(at.folder)
    given = {**at.collateral(), "DEADLINE": 50}
    with provider(at, names=(at.pccs,), mode=0o666) as running:
        turns = running.server._answering.turns
        assert all(turns.take(NOBODY, 0) for _ in range(8))
        assert as_nobody(lambda: running.call("COLLATERAL", **given)).status == 0xE042
        assert running.call("COLLATERAL", **given).status == 0
        assert as_nobody(lambda: running.call("COLLATERAL", **given)).status == 0
        turns.give(NOBODY)
        assert as_nobody(lambda: running.call("QVE_IDENTITY", DEADLINE=30000)).status == 0


def test_the_log_is_short_and_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure is told once a minute; of many different ones the first, and that there are more."""
    log = _Log()
    for number in range(3 * MOST_LINES):
        log("again")
        log(f"line {number}")
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == ["again", "line 0", "line 1"]
    assert len(said) == MOST_LINES + 1
    assert "not told" in said[-1]


def test_many_at_once_are_answered(at: Site) -> None:
    """Eight clients with two hundred calls each: every answer is that of its own question."""
    with provider(at, names=(at.pccs,)) as running:
        whole = running.call("COLLATERAL", **at.collateral()).out

        def many(_: int) -> set[bool]:
            with running.client() as client:
                return {
                    client.call("COLLATERAL", **at.collateral()).out == whole for _ in range(200)
                }

        with ThreadPoolExecutor(8) as pool:
            assert set.union(*pool.map(many, range(8))) == {True}


def test_it_ends_when_nobody_asks_any_more(at: Site) -> None:
    """With a time for idleness it ends by itself, and the socket's name is gone; calls put it off."""
    with provider(at, idle=0.3) as running:
        for _ in range(3):
            time.sleep(0.15)
            assert running.call("PING").status == 0
        assert until(lambda: not running.path.exists())


def test_calls_under_way_are_answered_before_the_end(at: Site, tmp_path: Path) -> None:
    """Who has asked when it is told to stop still gets the answer."""
    with site(tmp_path) as slow, provider(slow, names=(slow.pccs,)) as running:
        asked: list[str] = []

        def later(request: object) -> object:
            asked.append("x")
            time.sleep(0.3)
            return slow.services(request)  # type: ignore[arg-type]

        slow.answer = later  # type: ignore[assignment]
        with running.client() as client:
            client.socket.sendall(request("QVE_IDENTITY"))
            assert until(lambda: bool(asked))
            running.server.stop()
            assert client.read().status == 0


# The place


def test_the_socket_is_for_its_user_or_for_all(at: Site) -> None:
    """0600, or 0666 where it is shared; the lock beside it is its user's."""
    for mode in (0o600, 0o666):
        with provider(at, mode=mode) as running:
            assert stat.S_IMODE(running.path.stat().st_mode) == mode
            lock = running.path.with_name("provider.sock.lock")
            assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        assert not running.path.exists()


def test_what_a_dead_one_left_is_replaced(at: Site) -> None:
    """A socket that nobody listens at is no obstacle."""
    left = at.folder / "left.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    with provider(at, path=left) as running:
        assert running.call("PING").status == 0


def test_a_second_one_is_refused_or_ends_quietly(at: Site) -> None:
    """By hand it is told that one runs; on demand it ends with 0; the first one's socket stays."""
    with provider(at) as running:
        with pytest.raises(ConfigError, match=rf"process {os.getpid()} .*provider-running"):
            serve(Settings(socket=running.path), environ={})
        assert Place.take(running.path, mode=0o600) is None
        assert running.call("PING").status == 0


@pytest.mark.parametrize("what", ["writable", "stranger's", "link", "file", "absent", "long"])
def test_a_place_that_is_not_safe_is_refused(tmp_path: Path, what: str) -> None:
    """Others can write to it, it is another's, a link, none at all, its path too long: it is said."""
    folder = tmp_path / "f"
    if what == "writable":
        folder.mkdir()
        folder.chmod(0o777)
    elif what == "stranger's":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        folder.mkdir(mode=0o700)
        os.chown(folder, NOBODY, NOBODY)
    elif what == "link":
        (tmp_path / "g").mkdir()
        folder.symlink_to(tmp_path / "g")
    elif what == "file":
        folder.write_bytes(b"")
    else:
        folder = folder / ("below" if what == "absent" else "x" * 200)
    with pytest.raises(ConfigError, match="provider-socket"):
        Place.take(folder / "provider.sock", mode=0o600)


def test_the_folder_is_made_for_its_user(tmp_path: Path) -> None:
    """The last folder is made, 0700; 0755 where the socket is shared."""
    for mode, folder_mode in ((0o600, 0o700), (0o666, 0o755)):
        path = tmp_path / f"{mode:o}" / "provider.sock"
        place = Place.take(path, mode=mode)
        assert place is not None
        assert stat.S_IMODE(path.parent.stat().st_mode) == folder_mode
        place.listener.close()
        place.leave()


def test_where_a_user_s_socket_is() -> None:
    """The variable, else the runtime folder, else a folder of the user's under /tmp."""
    environ = {"DCAP_PROVIDER_SOCKET": "/a/b", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert default_socket(environ) == Path("/a/b")
    environ.pop("DCAP_PROVIDER_SOCKET")
    assert default_socket(environ) == Path("/run/user/7/dcap/provider.sock")
    assert default_socket({}) == Path(f"/tmp/dcap-{os.geteuid()}/provider.sock")
    assert Path("/run/dcap/provider.sock") == SYSTEM_SOCKET
