"""The entry point: help, versions, what it loads, and what a shell sees of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import dcap
from dcap.cli import main as entry
from dcap.cli import output
from dcap.cli.main import COMMANDS
from departures import World
from transcripts.desk import NOW, run, write_world
from worlds import ROOT

START = "from dcap.cli.main import main; main()"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, world: World) -> Path:
    """A folder with the simulated world in files."""
    return write_world(tmp_path_factory.mktemp("desk"), world)


def environment(**more: str) -> dict[str, str]:
    """The environment of a fresh process that finds the package in this checkout."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DCAP_")}
    return {
        **ours,
        "PYTHONPATH": str(ROOT / "src"),
        "DCAP_OFFLINE": "1",
        "DCAP_CACHE": "off",
        **more,
    }


def shell(desk: Path, *arguments: str, stdin: bytes = b"", **more: str) -> tuple[int, str, str]:
    """`dcap` in a process of its own: exit status, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-c", START, *arguments],
        input=stdin,
        capture_output=True,
        cwd=desk,
        env=environment(**more),
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_help_lists_every_command_and_the_exit_statuses(tmp_path: Path) -> None:
    """`dcap --help` is where people learn what there is."""
    outcome = run(tmp_path, "--help")
    assert outcome.status == 0
    assert all(name in outcome.out for name in COMMANDS)
    assert "Exit status: 0 accepted" in outcome.out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_and_its_name(tmp_path: Path, name: str) -> None:
    """Each row of the table of commands is a click command of that name."""
    command = entry.cli.get_command(click.Context(entry.cli), name)
    assert command is not None
    assert command.name == name
    assert run(tmp_path, name, "--help").status == 0


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    """`dcap --version` tells it, even where the package was not installed but only found."""
    outcome = run(tmp_path, "--version")
    assert outcome.status == 0
    assert dcap.__version__ in outcome.out


@pytest.mark.parametrize("arguments", [("nonsense",), ("--nonsense",), ("verify",)])
def test_wrong_usage_exits_with_1(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Click's own status, 2, is taken here: it says that evidence is malformed."""
    outcome = run(tmp_path, *arguments)
    assert (outcome.status, outcome.out) == (1, "")


def test_a_process_of_its_own_tells_the_verdict(desk: Path) -> None:
    """Through a shell: evidence on standard input, JSON on standard output, warning on error."""
    arguments = ("--collateral", "collateral", "--at", NOW, "--any-identity", "--json")
    status, out, err = shell(
        desk,
        "verify",
        "-",
        *arguments,
        stdin=(desk / "quote.bin").read_bytes(),
        DCAP_INSECURE_TEST_ROOT="root.pem",
    )
    assert (status, json.loads(out)["verdict"]) == (0, "accepted")
    assert err.startswith("warning: trusting the test root")


def test_a_process_of_its_own_tells_an_error(desk: Path) -> None:
    """Errors are sentences, never tracebacks."""
    status, out, err = shell(desk, "verify", "quote.bin", "--at", NOW)
    assert (status, out) == (6, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [("verify", "quote.bin", "--collateral", "collateral", "--at", NOW), ("explain", "0xe019")],
)
def test_a_reader_that_goes_away_is_no_traceback(desk: Path, arguments: tuple[str, ...]) -> None:
    """`dcap … | head -1`: the pipe breaks, and that is all (128 + SIGPIPE)."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", START, *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            cwd=desk,
            env=environment(),
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.stderr.decode() == ""
    assert done.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_an_error_not_a_traceback(desk: Path) -> None:
    """A verdict that could not be written is not reported as given."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", START, "explain", "0xe019", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=desk,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr


def test_what_escapes_everything_is_a_bug_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody turned into ours exits with 70, told as ours to mend."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(entry.cli, "main", broken)
    outcome = run(tmp_path, "explain", "0xe019")
    assert outcome.status == entry.INTERNAL_ERROR
    assert "ZeroDivisionError" in outcome.err
    assert outcome.out == ""


def test_an_interrupt_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C exits with 130, as shells expect."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry.cli, "main", interrupted)
    assert run(tmp_path, "explain", "0xe019").status == 130


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (("--help",), ("cryptography", "dcap.verification", "dcap.qpl.error_codes")),
        (("explain", "0xe019"), ("cryptography", "dcap.verification", "dcap.appraisal")),
        (("explain", "exit 4"), ("cryptography", "dcap.verification", "dcap.qpl.error_codes")),
    ],
)
def test_a_command_loads_only_what_it_needs(
    desk: Path, arguments: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    """Cold start counts: what a command has no use for is not imported."""
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: sys.stderr.write(repr([m for m in {absent!r} "
        "if m in sys.modules])))\n" + START
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        cwd=desk,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "[]")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals on this system")
@pytest.mark.parametrize(("setting", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_and_obeys_no_color(
    desk: Path, setting: dict[str, str], *, coloured: bool
) -> None:
    """On a terminal the verdict has a colour, unless $NO_COLOR is set."""
    ours, theirs = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", START, "verify", "cut.bin", "--at", NOW],
            stdout=theirs,
            stderr=subprocess.PIPE,
            cwd=desk,
            env={
                k: v for k, v in environment(**setting).items() if k in setting or k != "NO_COLOR"
            },
            timeout=60,
            check=False,
        )
        seen = os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert b"REJECTED" in seen
    assert (b"\x1b[" in seen) is coloured


def test_a_warning_steers_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Names of files stand in warnings: one line, its control characters escaped."""
    output.warn("/dev/a\x07\nb")
    assert capfd.readouterr().err == "warning: /dev/a\\x07\\nb\n"
