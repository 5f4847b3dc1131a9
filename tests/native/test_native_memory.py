"""Memory: nothing leaked, nothing read that is not there, no half of a result where memory is short."""

import shutil
from pathlib import Path

import pytest
from native_build import Built, environment, run
from scripted_process import ScriptedProcess


@pytest.mark.parametrize("mode", ["every", "bad"])
def test_addresssanitizer_and_ubsan_find_nothing(
    built: Built, socket_path: Path, mode: str
) -> None:
    """Each export, with good and with bad arguments, under both; no allocation is left at the end."""
    program = built.program("asan_calls")
    with ScriptedProcess(socket_path):
        said = run(program, built.asan_library, "local", mode, environ=environment(socket_path))
    assert len(said) > 15


def test_addresssanitizer_finds_nothing_on_eight_threads(built: Built, socket_path: Path) -> None:
    """800 calls on eight threads, and loading and unloading, under AddressSanitizer and UBSan."""
    program = built.program("asan_endurance")
    with ScriptedProcess(socket_path):
        environ = environment(socket_path)
        (found,) = run(program, built.asan_library, "threads", "8", "800", environ=environ)
        (again,) = run(program, built.asan_library, "reopen", "5", environ=environ)
    assert (found["failed"], found["different"], again["failed"]) == (0, 0, 0)


@pytest.mark.parametrize("words", [("calls", "local", "every"), ("endurance", "threads", "2", "4")])
def test_valgrind_finds_nothing(built: Built, socket_path: Path, words: tuple[str, ...]) -> None:
    """No error, no leak, and no byte that was never written is sent or looked at."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("no valgrind here")
    wrapper = [valgrind, "-q", "--leak-check=full", "--error-exitcode=9", "--show-leak-kinds=all"]
    program, *more = words
    command = (built.program(program), built.library, *more)
    with ScriptedProcess(socket_path):
        assert run(*command, environ=environment(socket_path), wrapper=wrapper)


def test_short_of_memory_a_call_says_so_and_gives_nothing(built: Built, socket_path: Path) -> None:
    """With each allocation of a call failing in turn, the call is 0xE003 (1), or can do without it.

    There is no other code, no success without all outputs, no failure with one, and nothing is leaked.
    """
    names = ("quote_config", "collateral", "qve_identity", "root_ca_crl", "policy")
    names += ("revocation_info", "qe_identity", "write", "read", "clear_cache")
    command = (built.program("starving"), built.library, *names)
    with ScriptedProcess(socket_path):
        said = run(*command, environ=environment(socket_path))
    assert [line["call"] for line in said] == list(names)
    for line in said:
        assert (line["other"], line["half"], line["left"]) == (0, 0, 0), line
        assert line["refused"] >= 3, line
