"""Whose configuration a call is answered by, and when it is read anew."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from provider_site import Running, Site, as_nobody, let_all_in, myself, provider, site

from dcap import ConfigError
from dcap.provider.callers import MOST, Callers, Trust, is_heeded
from dcap.provider.peers import Peer, peer_of
from dcap.sources.specs import AZURE_CHASSIS, CHASSIS

#: A program of this user, behind chroot or with mounts of its own: what it asks, and what it hears.
STRANGER = """
import json, os, sys
from pathlib import Path
from provider_client import Client
words, folder, *calls = json.loads(sys.argv[1])
if words == "chroot":
    os.chroot(folder)
    folder = "/"
with Client(Path(folder) / "provider.sock") as client:
    answers = [client.call(name, tuple(lines), **given) for name, lines, given in calls]
print(json.dumps([(answer.status, answer.log) for answer in answers]))
"""


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """A simulated Intel, and a PCCS of its."""
    with site(tmp_path) as made:
        yield made


def paths(at: Site) -> set[str]:
    """Under which bases the server was asked."""
    return {target.partition("/sgx/")[0].partition("/tdx/")[0] for target in at.asked}


def conf_at(at: Site, name: str) -> tuple[str, ...]:
    """A program whose PCCS lies under that name."""
    path = at.conf(f"{name}.conf", pccs_url=f"{at.url}/{name}/sgx/certification/v4/")
    return (f"QCNL_CONF_PATH={path}",)


def test_each_program_is_answered_by_its_own_file(at: Site) -> None:
    """Two programs of the process's user with two files ask two services."""
    with provider(at, names=()) as running:
        for name in ("one", "two"):
            at.asked.clear()
            running.call("QVE_IDENTITY", conf_at(at, name))
            assert paths(at) == {f"/{name}"}


def test_a_program_of_another_user_brings_nothing(at: Site) -> None:
    """Its environment is not heeded: the process's own configuration answers."""
    (at.folder / "open").mkdir()
    let_all_in(at.folder)
    own = dict([conf_at(at, "own")[0].split("=", 1)])
    its = conf_at(at, "its")
    path = at.folder / "open" / "provider.sock"
    with provider(at, environ=own, mode=0o666, path=path) as running:
        as_nobody(lambda: running.call("QVE_IDENTITY", its))
        assert paths(at) == {"/own"}
        blob = {"LABEL": "l", "BLOB": b"b"}
        assert as_nobody(lambda: running.call("WRITE_PERSISTENT", **blob)).status == 0xE045
        assert as_nobody(lambda: running.call("READ_PERSISTENT", LABEL="l")).status == 0xE045
        assert as_nobody(lambda: running.call("CLEAR_CACHE", MASK=3)).status == 0xE035
        assert running.call("WRITE_PERSISTENT", **blob).status == 0


@pytest.mark.parametrize("way", ["chroot", "mounts", "neither"])
def test_a_program_with_other_files_brings_nothing(at: Site, way: str) -> None:
    """Of the same user, but in a container: its paths and settings are not heeded, and it hears so.

    Nothing is stored for it or cleared by it either. The same program out here is heeded.
    """
    if os.geteuid() != 0 and way != "neither":
        pytest.skip("only root can change its root or its mounts")
    wrapper = ("unshare", "-m") if way == "mounts" else ()
    if wrapper and subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace is to be had here")
    own = dict([conf_at(at, "own")[0].split("=", 1)])
    its = conf_at(at, "its")
    calls = [
        ("INIT", its, {"LOG_LEVEL": 2}),
        ("QVE_IDENTITY", its, {}),
        ("READ_PERSISTENT", its, {"LABEL": "l"}),
        ("CLEAR_CACHE", its, {"MASK": 3}),
    ]
    with provider(at, environ=own) as running:
        running.call("WRITE_PERSISTENT", LABEL="l", BLOB=b"b")
        done = subprocess.run(
            [*wrapper, sys.executable, "-c", STRANGER, json.dumps([way, str(at.folder), *calls])],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            timeout=60,
            check=True,
        )
    said = json.loads(done.stdout)
    heeded = way == "neither"
    assert paths(at) == ({"/its"} if heeded else {"/own"})
    assert [status for status, _ in said] == [0, 0xE037, *((0, 0) if heeded else (0xE045, 0xE035))]
    told = [text for _, text in said[0][1]]
    assert ["container" in text for text in told] == ([] if heeded else [True])


@pytest.mark.parametrize("name", ["plugin", "plugin:/usr/lib/libdcap_quoteprov.so.1", "PLUGIN"])
def test_a_process_does_not_ask_itself(at: Site, name: str) -> None:
    """A plugin as its source would ask this process: refused at the start; of a caller, by an error."""
    trust = Trust(system=at.folder / "no-such.conf", machine=at.folder)
    for names, environ in (((name,), {}), ((), {"DCAP_SOURCE": f"pcs,{name}"})):
        with pytest.raises(ConfigError, match="provider-loop"):
            Callers(trust, names=names, environ=environ)
    with provider(at) as running:
        answer = running.call("QVE_IDENTITY", (f"DCAP_SOURCE={name}",), LOG_LEVEL=0)
        assert answer.status == 0xE001
        assert "[provider-loop]" in answer.log[0][1]
        assert at.asked == []


@pytest.mark.parametrize("how", ["alive", "ended", "reaped"])
def test_who_is_gone_is_not_taken_for_another(tmp_path: Path, how: str) -> None:
    """A client that ended may have left its number to another process: it counts as a stranger."""
    program = "import socket,sys; s=socket.socket(1); s.connect(sys.argv[1]); sys.stdin.read()"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        started = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program, str(tmp_path / "s")], stdin=subprocess.PIPE
        )
        with listener.accept()[0] as connected:
            assert started.stdin is not None
            if how != "alive":
                started.stdin.close()
                os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
            if how == "reaped":
                started.wait(timeout=20)
            assert peer_of(connected).here == (how == "alive")
        started.stdin.close()
        started.wait(timeout=20)


def test_a_private_socket_is_closed_to_other_users(at: Site) -> None:
    """Mode 0600, in a folder of its own: another user cannot even connect."""
    let_all_in(at.folder)

    def refused(running: Running) -> bool:
        try:
            running.call("PING")
        except PermissionError:
            return True
        return False

    with provider(at) as running:
        assert as_nobody(lambda: refused(running))
        assert not refused(running)


def test_a_file_is_read_anew_when_it_changes(at: Site) -> None:
    """After an edit the next call asks the new service; no restart is needed."""
    with provider(at) as running:
        environment = conf_at(at, "old")
        running.call("QVE_IDENTITY", environment)
        path = Path(environment[0].partition("=")[2])
        path.write_text(path.read_text().replace("/old/", "/newer/"))
        at.asked.clear()
        running.call("QVE_IDENTITY", environment)
        assert paths(at) == {"/newer"}


def test_a_relative_path_is_from_the_programs_folder(
    at: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`QCNL_CONF_PATH` without a leading slash is looked for where the program is."""
    conf_at(at, "near")
    monkeypatch.chdir(at.folder)
    callers = Callers(Trust(ca=at.ca), environ={})
    caller = callers.of(("QCNL_CONF_PATH=near.conf",), myself())
    assert caller.environ["QCNL_CONF_PATH"] == str(at.folder / "near.conf")


def test_what_a_process_on_demand_was_started_with_is_not_for_all(at: Site) -> None:
    """On demand, the starter's settings do not leak to other programs; its home stays."""
    own = {
        "DCAP_SOURCE": at.pccs,
        "QCNL_CONF_PATH": "/x",
        "HOME": "/h",
        "https_proxy": "p",
        "A": "b",
    }
    trust = Trust(system=at.folder / "no-such.conf", machine=at.folder)
    bare = Callers(trust, environ=own, bare=True).of((), myself())
    assert (bare.names, bare.environ) == (("pcs",), {"HOME": "/h", "A": "b"})
    full = Callers(trust, environ=own).of((), myself())
    assert (full.names, full.environ) == ((at.pccs,), own)


def test_sources_of_the_process_go_before_all(at: Site) -> None:
    """With `--source`, no program's environment names another."""
    with provider(at, names=(at.pccs,)) as running:
        running.call("QVE_IDENTITY", ("DCAP_SOURCE=https://127.0.0.1:1", *conf_at(at, "its")))
        assert paths(at) == {"/alibaba"}


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, ("pcs",)),
        ({"QCNL_CONF_PATH": "/no-such"}, ("qcnl",)),
        ({"DCAP_SOURCE": " azure , pcs,"}, ("azure", "pcs")),
        ({"DCAP_SOURCE": "", "QCNL_CONF_PATH": "/no-such"}, ("qcnl",)),
        ({"DCAP_SOURCE": "pcs,Bundled", "QCNL_CONF_PATH": "/no-such"}, ("pcs", "qcnl")),
    ],
)
def test_the_order_of_names(
    tmp_path: Path, environ: dict[str, str], names: tuple[str, ...]
) -> None:
    """`DCAP_SOURCE`, else the QCNL file, else Intel, in Azure Azure: as of every dcap command."""
    lines = tuple(f"{name}={value}" for name, value in environ.items())
    trust = Trust(system=tmp_path / "no-such.conf", machine=tmp_path)
    assert Callers(trust, environ={}).of(lines, myself()).names == names
    (tmp_path / CHASSIS).parent.mkdir(parents=True)
    (tmp_path / CHASSIS).write_text(AZURE_CHASSIS + "\n")
    in_azure = Callers(trust, environ={}).of(lines, myself()).names
    assert in_azure == (names if environ else ("azure",))


def test_only_named_variables_count(tmp_path: Path) -> None:
    """What says whom to believe, and all else, is not taken from a program."""
    callers = Callers(Trust(system=tmp_path / "no-such.conf", machine=tmp_path), environ={})
    lines = ("SSL_CERT_FILE=/x", "DCAP_CACHE=/x", "LD_PRELOAD=/x", "AZDCAP_CLIENT_ID=me")
    assert callers.of(lines, myself()).environ == {"AZDCAP_CLIENT_ID": "me"}
    assert is_heeded("no_proxy")
    assert not is_heeded("DCAP_PROVIDER_SOCKET")


def test_configurations_are_bounded(tmp_path: Path) -> None:
    """However many environments come, so many are kept; one in use is the same one again."""
    callers = Callers(Trust(system=tmp_path / "no-such.conf", machine=tmp_path), environ={})
    first = callers.of(("AZDCAP_CLIENT_ID=0",), myself())
    for number in range(MOST + 5):
        callers.of((f"AZDCAP_CLIENT_ID={number + 1}",), myself())
        assert callers.of(("AZDCAP_CLIENT_ID=0",), myself()) is first
    assert len(callers) == MOST


def test_another_user_is_told_by_the_kernel(tmp_path: Path) -> None:
    """Lines of a peer whose user is another count for nothing."""
    callers = Callers(Trust(system=tmp_path / "no-such.conf", machine=tmp_path), environ={})
    stranger = Peer(1, os.geteuid() + 1, 0, here=False)
    assert callers.of(("DCAP_SOURCE=azure",), stranger).names == ("pcs",)
