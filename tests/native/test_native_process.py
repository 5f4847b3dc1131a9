"""Where the library finds its process, whom it believes, how it starts one; what its host notices."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scripted_process as sp
from native_build import HERE, Built, environment, run
from scripted_process import ScriptedProcess, good

NONE = 0xE040
IS_ROOT = os.geteuid() == 0
STRANGER = 12345
#: What Python itself ignores (SIGPIPE, SIGXFSZ), and the two signals that belong to the C library.
PYTHONS = 1 << 12 | 1 << 24 | 1 << 31 | 1 << 32
needs_root = pytest.mark.skipif(not IS_ROOT, reason="root alone can be another user for a while")


@pytest.fixture
def runtime() -> Iterator[Path]:
    """An XDG_RUNTIME_DIR with the provider's folder."""
    with tempfile.TemporaryDirectory(prefix="dcap-") as folder:
        (Path(folder) / "dcap").mkdir(mode=0o700)
        yield Path(folder)


def _codes(built: Built, environ: dict[str, str], *calls: str) -> list[int]:
    words = [word for call in calls or ("policy",) for word in (call, "1")]
    program = built.program("calls")
    return [
        line["code"]
        for line in run(program, built.library, "local", "ask", *words, environ=environ)
    ]


def test_without_a_process_the_caller_hears_it_at_once(built: Built) -> None:
    """Nobody there, nothing to start: 0xE040 (3 for Azure's older functions), within 50 ms.

    Only initialising succeeds: an error there makes Intel's quoting fall back silently (§1.2).
    """
    environ = environment()
    assert _codes(built, environ, "quote_config", "collateral", "qe_identity") == [NONE, NONE, 3]
    assert _codes(built, environ, "init", "cleanup") == [0, 0]
    times = [
        run(built.program("endurance"), built.library, "wait", environ=environ)[0]["ms"]
        for _ in range(3)
    ]
    assert min(times) < 50


def test_why_there_is_none_is_logged(built: Built, runtime: Path) -> None:
    """Who listens hears each place and what is wrong there, and what starts a process."""
    said = run(
        built.program("calls"),
        built.library,
        "local",
        "log",
        "callback_error",
        environ=environment(XDG_RUNTIME_DIR=str(runtime)),
    )
    assert [line["call"] for line in said] == ["callback", "root_ca_crl"]
    assert said[0]["text"] == (
        f"[dcap] No provider process ({runtime}/dcap/provider.sock: nothing there; "
        "/nonexistent-dcap/provider.sock: nothing there). `dcap provider serve` starts one."
    )


def test_the_users_own_process_is_asked(built: Built, runtime: Path) -> None:
    """At $XDG_RUNTIME_DIR/dcap/provider.sock, where no socket is named."""
    with ScriptedProcess(runtime / "dcap" / "provider.sock"):
        assert _codes(built, environment(XDG_RUNTIME_DIR=str(runtime))) == [0]


@pytest.mark.parametrize("fault", ["group may enter", "all may write", "link"])
def test_a_folder_that_is_not_the_users_alone_is_not_looked_into(
    built: Built, runtime: Path, fault: str
) -> None:
    """Whoever can write the folder can put a process of his own there: it is not asked."""
    folder = runtime / "dcap"
    with ScriptedProcess(folder / "provider.sock") as process:
        if fault == "link":
            folder.rename(runtime / "real")
            folder.symlink_to(runtime / "real")
        else:
            folder.chmod(0o710 if fault == "group may enter" else 0o777)
        assert _codes(built, environment(XDG_RUNTIME_DIR=str(runtime))) == [NONE]
        assert process.connections == 0
        process.path = folder / "provider.sock"


@pytest.mark.parametrize("named", ["/nonexistent/s", "relative", "", "/" + "x" * 200])
def test_a_socket_that_is_named_is_the_only_one(built: Built, runtime: Path, named: str) -> None:
    """With $DCAP_PROVIDER_SOCKET no other process is asked, even where that names nothing."""
    with ScriptedProcess(runtime / "dcap" / "provider.sock") as process:
        environ = environment(XDG_RUNTIME_DIR=str(runtime), DCAP_PROVIDER_SOCKET=named)
        assert _codes(built, environ) == [NONE]
        assert process.connections == 0


@needs_root
def test_a_strangers_process_is_told_nothing(built: Built, socket_path: Path) -> None:
    """A process of another user that is not root is hung up on before a word is said."""
    process = ScriptedProcess(socket_path)
    socket_path.parent.chmod(0o777)
    os.seteuid(STRANGER)  # the kernel keeps who called listen()
    try:
        process.__enter__()
    finally:
        os.seteuid(0)
    with contextlib.ExitStack() as stack:
        stack.push(process)
        assert _codes(built, environment(socket_path)) == [NONE]
        assert process.requests == []


@needs_root
def test_roots_process_is_believed_but_not_told_the_environment(
    built: Built, socket_path: Path
) -> None:
    """Another user's process would not heed a caller's environment, so it is not told any."""
    with ScriptedProcess(socket_path) as process, _for_strangers(built) as copy:
        socket_path.parent.chmod(0o755)
        socket_path.chmod(0o666)
        assert _as_stranger(copy, environment(socket_path)) == [0]
        assert process.requests[0].environment == []
        assert set(process.requests[0].fields) == {sp.DEADLINE, sp.CALLER, sp.FMSPC}


@needs_root
def test_a_setuid_host_heeds_no_environment(built: Built, socket_path: Path) -> None:
    """Whoever runs a setuid program cannot choose whom it believes."""
    with ScriptedProcess(socket_path) as process, _for_strangers(built) as copy:
        socket_path.parent.chmod(0o755)
        socket_path.chmod(0o666)
        (copy / "calls").chmod(0o4755)
        if os.statvfs(copy).f_flag & os.ST_NOSUID:
            pytest.skip("the temporary folder's file system has no setuid programs")
        assert _as_stranger(copy, environment(socket_path)) == [NONE]
        assert process.connections == 0


@contextlib.contextmanager
def _for_strangers(built: Built) -> Iterator[Path]:
    """Copies that another user can run."""
    with tempfile.TemporaryDirectory(prefix="dcap-") as folder:
        Path(folder).chmod(0o755)
        for file in (built.program("calls"), built.library):
            shutil.copy(file, folder)
        yield Path(folder)


def _as_stranger(folder: Path, environ: dict[str, str]) -> list[int]:
    done = subprocess.run(
        [folder / "calls", folder / "libdcap_quoteprov.so.1", "local", "ask", "policy", "1"],
        env=environ,
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        capture_output=True,
        check=True,
    )
    return [json.loads(line)["code"] for line in done.stdout.decode().splitlines()]


# Starting on demand


class Installed:
    """The library as it is installed: in a folder of its own, with the command beside it."""

    def __init__(self, built: Built, folder: Path, runtime: Path) -> None:
        self.folder = folder
        self.library = folder / built.library.name
        self.command = folder / "libdcap_quoteprov.command"
        self.environ = environment(XDG_RUNTIME_DIR=str(runtime))
        shutil.copy(built.library, self.library)
        (runtime / "dcap").rmdir()  # the library makes it
        words = (sys.executable, "-I", "-S", str(HERE / "started.py"), str(folder))
        self.command.write_text(" ".join(words) + "\n# the rest of the file says nothing\n")
        self.command.chmod(0o644)

    @property
    def starts(self) -> list[dict[str, Any]]:
        """How each process was started, of those that got so far."""
        return [json.loads(path.read_text()) for path in self.folder.glob("start-*.json")]


@pytest.fixture
def installed(built: Built, tmp_path: Path, runtime: Path) -> Installed:
    """The library in a folder of its own."""
    return Installed(built, tmp_path, runtime)


def test_a_process_is_started_and_the_host_notices_nothing(
    built: Built, installed: Installed, runtime: Path
) -> None:
    """The first call starts the process and succeeds; the host has no child, no signal, no file more.

    The process leads its own session, has /dev/null and no other file, no blocked or ignored signal, a
    private umask, and an environment without the host's own.
    """
    link = installed.folder / "elsewhere" / "libdcap_quoteprov.so"
    link.parent.mkdir()
    link.symlink_to(installed.library)  # the command lies beside the real file
    more = {"LD_BIND_NOW": "1", "PYTHONPATH": "/x", "SECRET": "y", "QCNL_CONF_PATH": "/c"}
    (found,) = run(built.program("endurance"), link, "wait", environ=installed.environ | more)
    assert (found["code"], found["children"], found["signals"]) == (0, False, 0)
    assert found["files"] == 1  # the idle connection
    (start,) = installed.starts
    assert start["words"] == ["serve", "--on-demand", "--socket", f"{runtime}/dcap/provider.sock"]
    assert (runtime / "dcap").stat().st_mode & 0o777 == 0o700
    assert start["null"] == ["/dev/null"] * 3
    assert start["open_files"] == [0, 1, 2]
    assert start["folder"] == "/"
    assert start["leads_session"]
    assert (start["umask"], start["blocked"], start["ignored"] & ~PYTHONS) == (63, 0, 0)
    assert {name for name in start["environment"] if name != "LC_CTYPE"} == {
        "HOME",
        "PATH",
        "QCNL_CONF_PATH",
        "XDG_RUNTIME_DIR",
    }


def test_threads_and_hosts_that_start_at_once_start_one(built: Built, installed: Installed) -> None:
    """Two hosts of eight threads each begin at once: every call succeeds, one process serves."""
    command = [built.program("endurance"), installed.library, "threads", "8", "80"]
    hosts = [
        subprocess.Popen(command, env=installed.environ, stdout=subprocess.PIPE) for _ in range(2)
    ]
    for host in hosts:
        said, _ = host.communicate(timeout=60)
        found = json.loads(said)
        assert (found["calls"], found["failed"], found["different"]) == (80, 0, 0)
    assert 1 <= len(installed.starts) <= 2


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("absent", "there is no libdcap_quoteprov.command beside the library"),
        ("writable", "libdcap_quoteprov.command is not root's or yours, or others can write it"),
        ("relative", "libdcap_quoteprov.command does not begin with an absolute path"),
        ("empty", "libdcap_quoteprov.command does not begin with an absolute path"),
        ("link", "there is no libdcap_quoteprov.command beside the library"),
    ],
)
def test_a_command_that_others_may_have_written_is_not_run(
    built: Built, installed: Installed, fault: str, why: str
) -> None:
    """Absent, writable by others, no absolute path, or a link: nothing is started, and it is said."""
    if fault == "absent":
        installed.command.unlink()
    elif fault == "writable":
        installed.command.chmod(0o666)
    elif fault == "link":
        installed.command.rename(installed.folder / "real")
        installed.command.symlink_to(installed.folder / "real")
    else:
        installed.command.write_text("" if fault == "empty" else "python3 started.py\n")
    said = run(
        built.program("calls"),
        installed.library,
        "local",
        "log",
        "callback_info",
        environ=installed.environ,
    )
    assert said[0]["text"] == f"[dcap] No provider process is started: {why}."
    assert said[-1]["code"] == NONE
    assert installed.starts == []


def test_where_a_stranger_has_the_folder_nothing_is_started(
    built: Built, installed: Installed, runtime: Path
) -> None:
    """A folder that is not the user's alone is no place for a process: none is started in vain."""
    (runtime / "dcap").mkdir(mode=0o755)
    said = run(
        built.program("calls"),
        installed.library,
        "local",
        "log",
        "callback_info",
        environ=installed.environ,
    )
    assert said[0]["text"].startswith(
        "[dcap] No provider process is started: the folder is not yours"
    )
    assert said[-1]["code"] == NONE
    assert installed.starts == []


@pytest.mark.parametrize("command", ["/bin/false", "/nonexistent/python -m x"])
def test_a_start_in_vain_is_soon_over_and_not_repeated(
    built: Built, installed: Installed, command: str
) -> None:
    """A command that ends at once, or is not there, costs one short wait; the next calls none."""
    installed.command.write_text(command + "\n")
    before = time.monotonic()
    words = ("ask", "policy", "100")
    said = run(
        built.program("calls"), installed.library, "local", *words, environ=installed.environ
    )
    assert {line["code"] for line in said} == {NONE}
    assert time.monotonic() - before < 10


def test_a_named_socket_starts_nothing(
    built: Built, installed: Installed, socket_path: Path
) -> None:
    """$DCAP_PROVIDER_SOCKET is that process or none: none is started in its place."""
    environ = installed.environ | {"DCAP_PROVIDER_SOCKET": str(socket_path)}
    (found,) = run(built.program("endurance"), installed.library, "wait", environ=environ)
    assert found["code"] == NONE
    assert installed.starts == []


# The host's life


@pytest.fixture
def process(socket_path: Path) -> Iterator[ScriptedProcess]:
    """A good process."""
    with ScriptedProcess(socket_path, good) as process:
        yield process


def _endure(built: Built, process: ScriptedProcess, *words: str) -> dict[str, Any]:
    (found,) = run(
        built.program("endurance"), built.library, *words, environ=environment(process.path)
    )
    return found


def test_intels_verification_library_finds_its_order_of_calls(
    built: Built, process: ScriptedProcess
) -> None:
    """Init, collateral, QvE identity, root CRL, each freed, cleanup: all 0, all ending with a NUL."""
    assert _endure(built, process, "verify") == {
        "codes": [0, 0, 0, 0],
        "ends": [0, 0, 0, 0],
        "same_crl": True,
        "freed": [0, 0, 0, 0],
    }
    assert [each.call for each in process.requests] == [
        sp.INIT,
        sp.COLLATERAL,
        sp.QVE_IDENTITY,
        sp.ROOT_CA_CRL,
    ]
    assert process.connections == 1


def test_a_forked_child_has_a_connection_of_its_own(built: Built, process: ScriptedProcess) -> None:
    """Parent and child get whole answers; the child closes what it inherited, the parent keeps it."""
    found = _endure(built, process, "fork")
    assert found == {"parent": [0, 0], "same": True, "child": 0}
    assert [each.connection for each in process.requests] == [0, 1, 0]


def test_loaded_and_unloaded_fifty_times_nothing_is_left(
    built: Built, process: ScriptedProcess
) -> None:
    """dlopen, a call, dlclose: no file stays open, as the destructor closes the idle connections."""
    found = _endure(built, process, "reopen", "50")
    assert (found["failed"], found["files_before"]) == (0, found["files_after"])
    assert found["grown_kb"] < 1024
    assert process.connections == 50


def test_signals_are_the_hosts_own(built: Built, process: ScriptedProcess) -> None:
    """Under an alarm every millisecond all calls succeed; no disposition and no mask has changed."""
    assert _endure(built, process, "signals") == {"failed": 0, "changed": 0, "alarmed": True}


def test_twenty_thousand_calls_on_eight_threads_are_alike(
    built: Built, process: ScriptedProcess
) -> None:
    """Every answer is the same to the byte; memory does not grow; eight connections stay at most."""
    found = _endure(built, process, "threads", "8", "20000")
    assert (found["calls"], found["failed"], found["different"]) == (20000, 0, 0)
    assert found["grown_kb"] <= 1024
    assert 1 <= found["files_after"] - found["files_before"] <= 8  # the idle connections
    assert process.connections < 100
