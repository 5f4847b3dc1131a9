"""`dcap provider install` and `uninstall`, as a person runs them, on scratch roots."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dcap
from dcap.cli import provider_install
from dcap.provider.install import ASIDE, BARE, COMMAND, RECORD, VERSIONED
from dcap.qpl.discovery_root import Root
from qpl.libraries import DCAP, MULTI_ARCH, System, library, plugin
from transcripts.desk import Outcome, run
from worlds import ROOT

INSTALLED = f"""\
placed    {MULTI_ARCH}/{VERSIONED}
placed    {MULTI_ARCH}/{COMMAND}
placed    {MULTI_ARCH}/{BARE}
loaded by
  Conclave                                   dcap's
  Open Enclave, EGo                          dcap's
  Intel's SGX quoting: in-process, aesmd     dcap's
  Intel's TDX quoting: qgsd                  dcap's
  Intel's verifying (QVL), Gramine's RA-TLS  dcap's
  Intel's samples                            dcap's
"""
UNINSTALLED = f"""\
removed   {MULTI_ARCH}/{VERSIONED}
removed   {MULTI_ARCH}/{COMMAND}
removed   {MULTI_ARCH}/{BARE}
"""
WHERE = ("--prefix", MULTI_ARCH)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A root with a folder of libraries; what is placed is a library that looks like ours."""
    built = library(DCAP, soname=VERSIONED)
    monkeypatch.setattr(provider_install, "library", lambda: built)
    root = System(tmp_path / "root")
    (root.top / MULTI_ARCH.lstrip("/")).mkdir(parents=True)
    return root


def provider(system: System, *words: str) -> Outcome:
    """`dcap provider … --root`."""
    command, *more = words
    given = ("--root", str(system.top), *more)
    return run(system.top, "provider", command, *given, AZDCAP_DEBUG_LOG_LEVEL="FATAL")


def held(system: System) -> dict[str, bytes]:
    """What is in the folder of libraries: name -> content, or where a link points."""
    return {
        path.name: os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in (system.top / MULTI_ARCH.lstrip("/")).iterdir()
    }


def test_every_program_loads_what_was_installed(system: System) -> None:
    """The whole output of each command: placed, loaded by all, seen by list, removed; status 0."""
    installed = provider(system, "install", *WHERE)
    assert (installed.status, installed.out) == (0, INSTALLED)
    listed = provider(system, "list", "--json")
    assert listed.status == 0
    found = json.loads(listed.out)
    assert {choice["kind"] for choice in found["consumers"]} == {"dcap"}
    assert found["problems"] == []
    removed = provider(system, "uninstall", *WHERE)
    assert (removed.status, removed.out) == (0, UNINSTALLED)
    assert held(system) == {}
    assert "plugins  none" in provider(system, "list").out


def test_the_process_is_started_by_this_python(system: System) -> None:
    """What the library starts is this interpreter's `dcap.provider`, whatever its environment."""
    provider(system, "install", *WHERE)
    assert held(system)[COMMAND] == f"{sys.executable} -I -m dcap.provider\n".encode()


def test_a_dry_run_says_what_would_be_done(system: System) -> None:
    """The same lines, and nothing is there; nor is anything removed by a dry run."""
    outcome = provider(system, "install", *WHERE, "--dry-run")
    told = INSTALLED.partition("loaded by")[0]
    assert outcome.out == f"nothing is changed; it would be:\n{told}"
    assert (outcome.status, held(system)) == (0, {})
    provider(system, "install", *WHERE)
    before = held(system)
    assert provider(system, "uninstall", *WHERE, "--dry-run").out.endswith(UNINSTALLED)
    assert held(system) == before


def test_without_the_bare_name_open_enclave_has_none(system: System) -> None:
    """--no-bare-name leaves the link out, and says who then loads nothing."""
    outcome = provider(system, "install", *WHERE, "--no-bare-name")
    assert BARE not in held(system)
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert "Open Enclave, EGo none" in lines
    assert "Intel's verifying (QVL), Gramine's RA-TLS dcap's" in lines


def test_json_is_one_object(system: System) -> None:
    """What was done, as values, with the schema's number."""
    value = json.loads(provider(system, "install", *WHERE, "--json").out)
    assert (value["schema"], value["prefix"], value["dry_run"]) == (1, MULTI_ARCH, False)
    assert [(one["what"], Path(one["path"]).name) for one in value["changes"]] == [
        ("placed", VERSIONED),
        ("placed", COMMAND),
        ("placed", BARE),
    ]


def test_anothers_plugin_is_named_and_left(system: System) -> None:
    """Intel's package is in place: status 1, its name, both ways out, and not a byte is changed."""
    system.intel()
    before = held(system)
    outcome = provider(system, "install", *WHERE)
    assert outcome.status == 1
    assert "(package libsgx-dcap-default-qpl)" in outcome.err
    assert "[plugin-foreign]" in outcome.err
    assert "fix: `apt remove libsgx-dcap-default-qpl`, or --replace" in outcome.err
    assert held(system) == before
    refused = json.loads(provider(system, "install", *WHERE, "--json").out)
    assert refused["error"]["code"] == "plugin-foreign"


def test_replacing_sets_aside_until_uninstall(system: System) -> None:
    """--replace: all load ours; the other's lies beside, where nobody looks, and comes back."""
    system.put(f"{MULTI_ARCH}/{VERSIONED}", plugin("intel"))
    outcome = provider(system, "install", *WHERE, "--replace")
    assert outcome.status == 0
    assert f"set aside {MULTI_ARCH}/{VERSIONED}  (now {ASIDE}{VERSIONED})\n" in outcome.out
    assert outcome.out.count("  dcap's\n") == 6
    assert held(system)[f"{ASIDE}{VERSIONED}"] == plugin("intel")
    assert json.loads(provider(system, "list", "--json").out)["problems"] == []
    restored = provider(system, "uninstall", *WHERE)
    assert f"restored  {MULTI_ARCH}/{VERSIONED}\n" in restored.out
    assert held(system) == {VERSIONED: plugin("intel")}


def test_another_plugin_that_is_found_first_is_told(system: System) -> None:
    """Ours in a later folder: it says by path who does not load it."""
    system.intel(bare=True)
    outcome = provider(system, "install", "--prefix", "/usr/lib")
    assert outcome.status == 0
    assert f"not dcap's: {MULTI_ARCH}/{VERSIONED}" in outcome.out
    assert "  dcap's" not in outcome.out


def test_nothing_to_uninstall_is_an_error(system: System) -> None:
    """Status 1, and where to look."""
    outcome = provider(system, "uninstall", *WHERE)
    assert outcome.status == 1
    assert "[plugin-not-installed]" in outcome.err
    assert "`dcap provider list`" in outcome.err


def test_a_changed_file_is_left_and_told(system: System) -> None:
    """What somebody put in the place of ours since is not removed."""
    provider(system, "install", *WHERE)
    system.put(f"{MULTI_ARCH}/{VERSIONED}", b"somebody's")
    outcome = provider(system, "uninstall", *WHERE)
    assert f"left      {MULTI_ARCH}/{VERSIONED}  (it is no longer what was placed)" in outcome.out
    assert held(system) == {VERSIONED: b"somebody's"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is warned")
def test_root_is_warned_of_a_python_that_others_can_change(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write beside the interpreter runs code in the process; root's own is not warned of."""
    folder = tmp_path / "venv"
    folder.mkdir(mode=0o755)
    python = folder / "python"
    python.symlink_to("/bin/sh")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(dcap, "__file__", str(python))  # wherever the tests' own checkout lies
    assert "is not root's alone" not in provider(system, "install", *WHERE).err
    os.chown(folder, 65534, 65534)
    assert "is not root's alone" in provider(system, "install", *WHERE).err


def test_the_real_library_goes_into_place(tmp_path: Path) -> None:
    """The command in a process of its own, with the library that is in the sources or made of them."""
    if not shutil.which("cc") or not shutil.which("make"):
        pytest.skip("no C compiler and make here: there is no library to place")
    (tmp_path / "usr/lib").mkdir(parents=True)
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from dcap.cli.main import main; main()"),
            *("provider", "install", "--root", str(tmp_path), "--prefix", "/usr/lib", "--json"),
        ],
        env={"PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert [one["what"] for one in json.loads(done.stdout)["changes"]] == ["placed"] * 3
    placed = tmp_path / "usr/lib" / VERSIONED
    assert placed.read_bytes().startswith(b"\x7fELF")
    assert placed.stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "usr/lib" / RECORD).is_file()


def test_whose_python_others_cannot_run_is_told(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs of other users could not start the process; in an image it has to be there at all."""
    python = tmp_path / "venv" / "python"
    python.parent.mkdir(mode=0o700)
    python.symlink_to("/bin/sh")
    monkeypatch.setattr(sys, "executable", str(python))
    assert "has to be there in the image too" in provider(system, "install", *WHERE).err
    monkeypatch.setattr(Root, "is_running", True)
    monkeypatch.setattr(provider_install, "_ldconfig", print)
    assert "not everybody may run" in provider(system, "install", *WHERE).err
