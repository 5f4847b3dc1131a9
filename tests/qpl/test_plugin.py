"""Any plugin is used, and survived: every call, every way to misbehave, and nothing left behind."""

import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcap.errors import CollateralError, NotFound, Unavailable
from dcap.formats.crl import Crl
from dcap.qpl.plugin import Machine, Plugin, PluginLimits
from dcap.qpl.plugin_errors import redact
from dcap.simulator import World
from qpl.calling_plugins import (
    Files,
    built,
    children,
    comes,
    descriptors,
    nothing_stays,
    runs,
)
from worlds import AT

URL = "https://certificates.trustedservices.intel.com/intelsgxpckprocessor.crl"
SECRET = "00112233445566778899AABBCCDDEEFF"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What the plugins serve."""
    world = World(at=AT)
    return Files(tmp_path_factory.mktemp("plugin"), world, world.platform())


@pytest.fixture(autouse=True)
def _well(files: Files) -> None:
    files.misbehave()


@pytest.fixture(scope="module")
def plugin(files: Files) -> Iterator[Plugin]:
    """One like Intel's, in one process as long as it lives; nobody listens."""
    with Plugin(built(), environ=files.environ, limits=PluginLimits(call=20)) as plugin:
        yield plugin


def _fails(plugin: Plugin) -> CollateralError:
    with pytest.raises(CollateralError) as caught:
        plugin.root_ca_crl()
    return caught.value


# ── every call ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parameter", [None, b"", b"tenant \0 7"])
@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_a_set(plugin: Plugin, files: Files, tee: str, parameter: bytes | None) -> None:
    """Every piece is what the plugin served, byte for byte, without the NUL that was counted."""
    found = plugin.collateral(tee, files.machine.fmspc, "platform", parameter=parameter)  # type: ignore[arg-type]
    assert found.version == 0x0001_0003
    assert found.pieces == {
        piece: (files.folder / tee / piece).read_bytes() for piece in found.pieces
    }


def test_the_other_calls(plugin: Plugin, files: Files) -> None:
    """Certificate, QvE identity, root list, policy: each gives what lies in the plugin's files."""
    machine = Machine(
        qe_id=b"q" * 16, cpu_svn=bytes(range(16)), pce_svn=0x0D0C, encrypted_ppid=b"p" * 384
    )
    config = plugin.quote_config(machine)
    assert config.chain == files.machine.pck_chain()
    assert (config.cpu_svn, config.pce_svn) == (bytes(range(16)), 0x0D0C)
    identity = plugin.qve_identity()
    assert identity.identity == (files.folder / "qve_identity").read_bytes()
    assert identity.issuer_chain == (files.folder / "qve_chain").read_bytes()
    assert plugin.root_ca_crl() == (files.folder / "SGX" / "root_ca_crl").read_bytes()
    assert plugin.policy(files.machine.fmspc) == b"header.policy.signature"
    plugin.clear_cache()
    with pytest.raises(CollateralError, match="0xE002"):
        plugin.clear_cache(8)


@pytest.mark.parametrize("form", ["pem", "hex", "der"])
def test_a_list_in_any_form(files: Files, plugin: Plugin, form: str) -> None:
    """A list loses the NUL behind it and nothing else, whatever it is written in."""
    files.lists_in(form)
    try:
        found = plugin.collateral("SGX", files.machine.fmspc, "platform").pieces["pck_crl"]
        assert found == (files.folder / "SGX" / "pck_crl").read_bytes()
        assert Crl.parse(found).crl_number == 1
    finally:
        files.lists_in("der")


def test_a_list_that_ends_in_a_zero(files: Files, plugin: Plugin) -> None:
    """Of a list in DER, a last byte of zero is the list's own: its head says how long it is."""
    path = files.folder / "SGX" / "root_ca_crl"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + b"\0")
        assert plugin.root_ca_crl() == whole[:-1] + b"\0"
    finally:
        path.write_bytes(whole)


def test_one_like_azures(files: Files, capfd: pytest.CaptureFixture[str]) -> None:
    """Its older functions work, its QvE without content is no success, and what it prints is heard."""
    heard: list[tuple[str, str]] = []
    with Plugin(
        built("-DAZURE"),
        environ=files.environ,
        hear=lambda level, text: heard.append((level, text)),
    ) as azure:
        assert azure.kind == "azure"
        assert azure.about.logger == "sgx_ql_set_logging_function"
        assert azure.about.init is None
        found = azure.revocation_info(files.machine.fmspc, [URL, URL])
        assert found.tcb_info == (files.folder / "SGX" / "tcb_info").read_bytes()
        assert [Crl.parse(crl).crl_number for crl, _ in found.crls] == [1, 1]
        expected = (files.folder / "SGX" / "qe_identity").read_bytes()
        assert azure.qe_identity_info().identity == expected
        files.misbehave("sgx_ql_get_qve_identity", "empty")
        with pytest.raises(CollateralError) as caught:
            azure.qve_identity()
        assert caught.value.code == "plugin-null"
        with pytest.raises(CollateralError, match=r"returned 4 \(no data found\)"):
            azure.revocation_info(files.machine.fmspc, ["ftp://host/x"])
    assert [text for _, text in heard if "AZDCAP_DEBUG_LOG_LEVEL" in text]
    assert capfd.readouterr() == ("", "")


# ── every way to misbehave ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("mode", "code", "says"),
    [
        ("abort", "plugin-died", "SIGABRT"),
        ("segv", "plugin-died", "SIGSEGV"),
        ("exit", "plugin-died", "exit status 0"),
        ("closes", "plugin-died", "in sgx_ql_get_root_ca_crl"),
        ("garbage", "plugin-output", "wrote into the pipe"),
        ("null", "plugin-null", "no crl"),
        ("0xE019", "plugin-code", "0xE019 SGX_QL_NETWORK_ERROR"),
        ("0xDEAD", "plugin-code", "0xdead, which is no code"),
    ],
)
def test_it_misbehaves(files: Files, plugin: Plugin, mode: str, code: str, says: str) -> None:
    """Each way is an error of its own, with Intel's number; and the next call is well again."""
    files.misbehave("sgx_ql_get_root_ca_crl", mode)
    error = _fails(plugin)
    assert (error.code, says in error.what) == (code, True)
    assert error.where == plugin.path
    assert isinstance(error.__dict__["quote3_error"], int)
    files.misbehave()
    assert plugin.root_ca_crl()


def test_it_hangs(files: Files) -> None:
    """A call that does not return is an error in time; its process and what it started are gone."""
    limits = PluginLimits(call=0.2)
    with Plugin(built(), environ=files.environ, limits=limits) as plugin:
        plugin.root_ca_crl()
        before = children()
        files.misbehave("sgx_ql_get_root_ca_crl", "forks")
        started = time.monotonic()
        error = _fails(plugin)
        assert time.monotonic() - started < 10
        assert (error.code, error.__dict__["quote3_error"]) == ("plugin-timeout", 0xE042)
        assert isinstance(error, Unavailable)
        assert len(children()) == len(before) - 1
        assert comes(lambda: not runs(int((files.folder / "forked").read_text())))


@pytest.mark.parametrize(
    ("mode", "code", "says"),
    [
        ("null", "plugin-null", "no root_ca_crl"),
        ("no-output", "plugin-null", "no collateral"),
        ("empty", "plugin-null", "no qe_identity_issuer_chain"),
        ("absurd", "plugin-output", "4294967280 for tcb_info"),
        ("version", "plugin-output", "version 0x9"),
        ("tee", "plugin-output", "tee_type 0x7"),
        ("0xE061", "plugin-code", "0xE061"),
    ],
)
def test_a_set_that_is_none(files: Files, plugin: Plugin, mode: str, code: str, says: str) -> None:
    """Success with nothing, an absurd size or an unknown number is an error, not a set."""
    files.misbehave("sgx_ql_get_quote_verification_collateral", mode)
    with pytest.raises(CollateralError) as caught:
        plugin.collateral("SGX", files.machine.fmspc, "platform")
    assert (caught.value.code, says in caught.value.what) == (code, True)


@pytest.mark.parametrize(
    ("mode", "code"),
    [("null", "plugin-null"), ("absurd", "plugin-output"), ("version", "plugin-output")],
)
def test_a_certificate_that_is_none(files: Files, plugin: Plugin, mode: str, code: str) -> None:
    """The same of a quote configuration."""
    files.misbehave("sgx_ql_get_quote_config", mode)
    with pytest.raises(CollateralError) as caught:
        plugin.quote_config(Machine(qe_id=b"q" * 16))
    assert caught.value.code == code


def test_a_lack_is_told_from_silence(files: Files, plugin: Plugin) -> None:
    """Codes that say "none" are `NotFound`, those that say "nobody answered" are `Unavailable`."""
    with pytest.raises(NotFound, match=r'0xE011.*it said "') as caught:
        plugin.quote_config(Machine())
    assert caught.value.__dict__["quote3_error"] == 0xE011
    for mode, kind in (("0xE01B", NotFound), ("0xE044", Unavailable), ("0xE001", CollateralError)):
        files.misbehave("sgx_ql_get_root_ca_crl", mode)
        assert type(_fails(plugin)) is kind


def test_functions_that_are_not_there(files: Files) -> None:
    """A plugin without TDX says so; what it has works."""
    with Plugin(built("-DWITHOUT_TDX"), environ=files.environ) as plugin:
        with pytest.raises(NotFound, match="no collateral for TDX") as caught:
            plugin.collateral("TDX", files.machine.fmspc, "platform")
        assert caught.value.code == "plugin-symbol"
        assert plugin.root_ca_crl()


@pytest.mark.parametrize("content", [b"", b"\x7fELF junk", b"#!/bin/sh\n"])
def test_what_is_no_library(tmp_path: Path, content: bytes) -> None:
    """A file that the loader refuses is an error with the loader's reason, and no process stays."""
    path = tmp_path / "libdcap_quoteprov.so.1"
    path.write_bytes(content)
    before = children()
    with pytest.raises(Unavailable) as caught:
        Plugin(path, environ={}).root_ca_crl()
    assert caught.value.code == "plugin-load"
    assert comes(lambda: children() == before)


# ── what it says ────────────────────────────────────────────────────────────────────────────────


def test_it_is_silent_unless_somebody_listens(
    files: Files,
    plugin: Plugin,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What it prints reaches neither of our streams; Python's logger has it where it is asked for."""
    files.misbehave("sgx_ql_get_root_ca_crl", "chatty")
    with caplog.at_level(logging.INFO, "dcap.plugin"):
        plugin.root_ca_crl()
    assert sorted(caplog.messages) == ["to stderr", "to stdout"]
    files.misbehave("sgx_ql_get_root_ca_crl", "flood")
    assert plugin.root_ca_crl()
    assert capfd.readouterr() == ("", "")


def test_its_log_is_heard_without_identifiers(
    files: Files, plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    """A line of its log has its level, and no query, no long number, no certificate."""
    files.misbehave("sgx_ql_get_root_ca_crl", "log")
    with caplog.at_level(logging.ERROR, "dcap.plugin"):
        plugin.root_ca_crl()
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("ERROR", "[QPL] GET https://h/pckcert?… failed: 500")
    ]
    told = redact(
        f"id {SECRET} of\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n."
    )
    assert told == "id … of (certificates) ."
    assert SECRET not in repr(Machine(qe_id=bytes.fromhex(SECRET)))


# ── its process ─────────────────────────────────────────────────────────────────────────────────


def test_all_is_freed_and_nothing_stays(files: Files) -> None:
    """After a hundred calls, failures too, the plugin counts no output that was not given back."""
    before = children(), descriptors()
    plugin = Plugin(built(), environ=files.environ)
    for _ in range(25):
        plugin.collateral("SGX", files.machine.fmspc, "platform")
        plugin.quote_config(Machine(qe_id=b"q" * 16))
        plugin.qve_identity()
        plugin.policy(files.machine.fmspc)
    for mode in ("null", "absurd", "version", "empty", "no-output"):
        files.misbehave("sgx_ql_get_quote_verification_collateral", mode)
        with pytest.raises(CollateralError):
            plugin.collateral("SGX", files.machine.fmspc, "platform")
    plugin.close()
    assert (files.folder / "unfreed").read_text() == "0"
    assert nothing_stays(before)


def test_one_that_is_forgotten_takes_its_process_along(files: Files) -> None:
    """Nobody closed it, and still no process and no descriptor stays."""
    gc.collect()  # what other tests forgot
    before = children(), descriptors()
    plugin = Plugin(built(), environ=files.environ)
    plugin.root_ca_crl()
    assert children() != before[0]
    del plugin
    gc.collect()
    assert nothing_stays(before)


def test_threads_share_it(plugin: Plugin, files: Files) -> None:
    """Many threads at once get each its own answer, by one process."""
    found: dict[int, int] = {}

    def ask(number: int) -> None:
        config = plugin.quote_config(Machine(qe_id=b"q" * 16, pce_svn=number))
        found[number] = config.pce_svn

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: number for number in range(32)}


def test_who_waits_too_long_is_told(files: Files) -> None:
    """While one call hangs, another thread's turn does not come: an error, not a wait without end."""
    limits = PluginLimits(call=0.6, turn=0.02)
    with Plugin(built(), environ=files.environ, limits=limits) as plugin:
        plugin.root_ca_crl()
        files.misbehave("sgx_ql_get_root_ca_crl", "hang")
        first: list[str] = []
        thread = threading.Thread(target=lambda: first.append(_fails(plugin).code))
        thread.start()
        while not plugin._lock.locked():
            time.sleep(0.001)
        assert _fails(plugin).code == "plugin-busy"
        thread.join()
        assert first == ["plugin-timeout"]


def test_it_ends_with_the_process_that_started_it(files: Files) -> None:
    """A parent that is killed in the midst of a call leaves no plugin's process behind."""
    files.misbehave("sgx_ql_get_root_ca_crl", "hang")
    script = (
        "import sys, threading, time; from pathlib import Path; from dcap.qpl.plugin import Plugin\n"
        "plugin = Plugin(Path(sys.argv[1])); plugin.about\n"
        "threading.Thread(target=plugin.root_ca_crl, daemon=True).start(); time.sleep(0.2)\n"
        "print(plugin._held[0]._process.pid, flush=True); time.sleep(60)\n"
    )
    environ = {**os.environ, **files.environ}
    with subprocess.Popen(
        [sys.executable, "-c", script, built()], stdout=subprocess.PIPE, env=environ, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    assert comes(lambda: not runs(child))


def test_a_fork_has_a_process_of_its_own(plugin: Plugin) -> None:
    """After a fork, in the midst of another thread's call, each asks its own, and ends no other."""
    plugin.root_ca_crl()
    mine = plugin._held[0]._process.pid
    plugin._lock.acquire()  # as a thread holds it, which the child will not have
    child = os.fork()
    if child == 0:
        try:
            plugin.limits = PluginLimits(turn=1)
            plugin.root_ca_crl()
            other = plugin._held[0]._process.pid
            plugin.close()
            os._exit(0 if other != mine else 2)
        finally:
            os._exit(1)
    plugin._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert plugin.root_ca_crl()
    assert plugin._held[0]._process.pid == mine
