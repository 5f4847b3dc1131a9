"""The folder that behaves like configfs-tsm, as other people's programs use it: a shell's, for one."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcap.errors import ConfigError
from dcap.formats.quote import Quote
from dcap.simulator import World
from dcap.simulator.configfs_tsm import configfs_tsm
from dcap.simulator.platform import Platform

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify and FIFOs are Linux's")
MACHINE = World().platform()
NONCE = bytes(range(64))


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Path]:
    """A served `tsm/report`."""
    with configfs_tsm(lambda: MACHINE, tmp_path / "config") as folder:
        yield folder


def shell(folder: Path, script: str) -> bytes:
    """What a shell prints in that folder; it must end with 0, and soon."""
    done = subprocess.run(
        ["sh", "-euc", script], cwd=folder, capture_output=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def filled(entry: Path) -> Path:
    """The entry, once it has its files."""
    until = time.monotonic() + 10
    while not (entry / "provider").exists():
        assert time.monotonic() < until
        time.sleep(0.001)
    return entry


def open_files() -> int:
    """How many descriptors this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_shell_gets_a_quote(report: Path) -> None:
    """`head -c64 > inblob` and `cat outblob`: a quote over these bytes, in an entry of one's own."""
    (report.parent / "nonce").write_bytes(NONCE + b"more")
    script = """mkdir mine; until [ -e mine/provider ]; do sleep 0.01; done
    head -c64 ../nonce > mine/inblob; cat mine/outblob; rm ../nonce"""
    quote = Quote(shell(report, script))
    assert (quote.header.version, quote.tee, quote.body.report_data) == (4, "TDX", NONCE)


def test_dd_and_cat_may_read_in_any_pieces_as_often_as_they_like(report: Path) -> None:
    """Every opening is answered anew, whole, and ends."""
    script = """cd com.intel.dcap; dd if=/dev/zero of=inblob bs=64 count=1 2>/dev/null
    dd if=outblob bs=7 2>/dev/null; cat outblob; cat outblob outblob"""
    read = shell(report, script)
    quote = read[: len(read) // 4]
    assert read == quote * 4
    assert Quote(quote).body.report_data == bytes(64)


def test_an_entry_that_was_written_before_it_was_filled_counts(report: Path) -> None:
    """As in the kernel, where there is no such moment."""
    script = "mkdir mine; head -c64 /dev/zero > mine/inblob"
    shell(report, script)
    entry = filled(report / "mine")
    assert (entry / "generation").read_text() == "1\n"
    assert Quote((entry / "outblob").read_bytes()).body.report_data == bytes(64)


def test_generation_counts_what_was_written_and_closed(report: Path) -> None:
    """Not what was opened or read; each entry for itself."""
    entry = report / "com.intel.dcap"
    counts = [(entry / "generation").read_text()]
    for number in range(3):
        (entry / "inblob").write_bytes(bytes([number]) * 64)
        counts.append((entry / "generation").read_text())
    for _ in range(2):
        (entry / "inblob").write_bytes(NONCE)
    with (entry / "inblob").open("r+b") as file:
        counts.append((entry / "generation").read_text())
        file.write(NONCE)
        counts.append((entry / "generation").read_text())
    (entry / "outblob").read_bytes()
    counts.append((entry / "generation").read_text())
    assert counts == ["0\n", "1\n", "2\n", "3\n", "5\n", "5\n", "6\n"]
    (report / "other").mkdir()
    assert (filled(report / "other") / "generation").read_text() == "0\n"


@pytest.mark.parametrize("written", [None, b"", NONCE[:63], NONCE + b"\0"])
def test_what_is_no_report_data_gives_an_empty_quote(report: Path, written: bytes | None) -> None:
    """Where the kernel says EINVAL: 64 bytes are taken, and nothing else."""
    entry = report / "com.intel.dcap"
    if written is not None:
        (entry / "inblob").write_bytes(written)
    assert (entry / "outblob").read_bytes() == b""
    (entry / "inblob").write_bytes(NONCE)
    assert Quote((entry / "outblob").read_bytes()).body.report_data == NONCE


def test_a_removed_entry_is_forgotten_and_can_be_made_again(report: Path) -> None:
    """`rm -r` removes it; nothing of it comes back, and a new one begins at 0."""
    entry = report / "mine"
    for _ in range(3):
        entry.mkdir()
        filled(entry)
        (entry / "inblob").write_bytes(NONCE)
        assert (entry / "generation").read_text() == "1\n"
        assert shell(report, "rm -r mine; ls") == b"com.intel.dcap\n"


def test_the_machine_is_asked_at_each_quote(tmp_path: Path) -> None:
    """What happens to it meanwhile shows in the next quote."""
    world = World()
    machine = world.platform()
    with configfs_tsm(lambda: machine, tmp_path / "config") as report:
        entry = report / "com.intel.dcap"
        (entry / "inblob").write_bytes(NONCE)
        before = Quote((entry / "outblob").read_bytes())
        machine.set_status("OutOfDate")
        after = Quote((entry / "outblob").read_bytes())
    assert before.td is not None
    assert after.td is not None
    assert after.td.tee_tcb_svn == machine.tee_tcb_svn != before.td.tee_tcb_svn


def test_a_machine_that_cannot_be_read_gives_an_empty_quote(tmp_path: Path) -> None:
    """And the folder lives on."""
    answers: list[Platform] = []
    with configfs_tsm(answers.pop, tmp_path / "config") as report:
        entry = report / "com.intel.dcap"
        (entry / "inblob").write_bytes(NONCE)
        assert (entry / "outblob").read_bytes() == b""
        answers.append(MACHINE)
        assert Quote((entry / "outblob").read_bytes()).body.report_data == NONCE


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    """No thread, no descriptor, no file: also where nobody ever read, and entries were removed."""
    threads, descriptors = threading.active_count(), open_files()
    with configfs_tsm(lambda: MACHINE, tmp_path / "config") as report:
        (report / "mine").mkdir()
        filled(report / "mine")
        shell(report, "mkdir gone && rmdir gone 2>/dev/null || true")
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads
    assert open_files() == descriptors


def test_what_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    """Its FIFOs would block who opens them: the next one answers."""
    entry = tmp_path / "config" / "tsm" / "report" / "com.intel.dcap"
    entry.mkdir(parents=True)
    for name in ("outblob", "generation"):
        os.mkfifo(entry / name)
    (entry / "inblob").write_bytes(NONCE)
    with configfs_tsm(lambda: MACHINE, tmp_path / "config"):
        assert Quote((entry / "outblob").read_bytes()).body.report_data == NONCE
    assert not entry.exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """A folder that was there before is there after, with what else lies in it."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "other").write_text("kept")
    with configfs_tsm(lambda: MACHINE, tmp_path / "config"):
        pass
    assert [path.name for path in (tmp_path / "config").iterdir()] == ["other"]


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    """With the path, and what to do."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(
            ConfigError, match=r"no configfs can be simulated there: Not a dir"
        ) as caught,
        configfs_tsm(lambda: MACHINE, tmp_path / "file"),
    ):
        pass
    assert caught.value.code == "simulator-folder"
