"""The simulated `/dev/attestation`: the files that Gramine's users read, for `cat` and any program."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcap import AttestationResult, Policy, Quote, appraise
from dcap.formats.local_report import LocalReport, TargetInfo
from dcap.formats.quote import Body
from dcap.simulator.answering_file import MOST, answering_file
from dcap.simulator.gramine import gramine
from dcap.simulator.reports import is_genuine, qe_target_info
from dcap.simulator.world import World
from dcap.verification import TrustAnchor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Gramine is Linux's")
DATA = bytes(range(64))
ENCLAVE = b"\x07" * 32
WORLD = World("gramine")
MACHINE = WORLD.platform("node-1")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    """The folder, behind which an enclave of the machine stands."""
    with gramine(lambda: MACHINE, tmp_path / "dev" / "attestation", mr_enclave=ENCLAVE) as folder:
        yield folder


def shell(folder: Path, line: str) -> bytes:
    """What a line of shell prints, run in the folder."""
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, check=True, timeout=60)
    return done.stdout


def enclave_of(quote: bytes) -> Body:
    """What a quote says of its enclave."""
    return Quote(quote).body


def waiting() -> list[str]:
    """The threads of files that answer."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("answers ")]


def judged(quote: bytes) -> AttestationResult:
    """What a verifier that trusts the simulated root makes of a quote."""
    anchor = TrustAnchor.insecure_test_root(WORLD.intel.root.certificate)
    collateral = WORLD.collateral(MACHINE)
    return appraise(quote, collateral, Policy(identity="any"), at=WORLD.at, anchor=anchor)


def test_a_shell_writes_report_data_and_reads_an_accepted_quote(files: Path) -> None:
    """`dd` and `cat` are all that it takes, as in Gramine; the quote binds what was written."""
    (files.parent / "data").write_bytes(DATA)
    quote = shell(files, "dd if=../data of=user_report_data bs=64 2>/dev/null; cat quote")
    enclave = Quote(quote).enclave
    assert enclave is not None
    assert (enclave.report_data, enclave.mr_enclave) == (DATA, ENCLAVE)
    assert judged(quote).accepted


def test_each_opening_gets_one_whole_answer(files: Path) -> None:
    """By several programs one after another, and by one that reads the beginning alone."""
    whole = shell(
        files, "head -c 100 quote >../head; dd if=quote bs=1 2>/dev/null >../slow; cat quote"
    )
    assert (files.parent / "slow").read_bytes() == whole
    assert (files.parent / "head").read_bytes() == whole[:100]


def test_the_type_of_attestation_is_told(files: Path) -> None:
    """Without a line end, as Gramine has it; before anything was written the report data are zero."""
    assert (files / "attestation_type").read_bytes() == b"dcap"
    assert enclave_of((files / "quote").read_bytes()).report_data == bytes(64)


@pytest.mark.parametrize("kind", ["none", "epid"])
def test_without_dcap_attestation_there_is_no_quote(tmp_path: Path, kind: str) -> None:
    """The file is missing, and the report for another enclave of the machine is there all the same."""
    with gramine(lambda: MACHINE, tmp_path, attestation_type=kind) as folder:
        assert not (folder / "quote").exists()
        assert len((folder / "report").read_bytes()) == 432


@pytest.mark.parametrize("size", [0, 32, 64, 65])
def test_report_data_are_taken_as_gramine_takes_them(files: Path, size: int) -> None:
    """Fewer than 64 bytes are followed by zeros, of more the first 64 count."""
    written = (DATA + b"more")[:size]
    (files / "user_report_data").write_bytes(written)
    assert enclave_of((files / "quote").read_bytes()).report_data == written[:64].ljust(64, b"\0")


def test_the_report_is_for_whom_target_info_names(files: Path) -> None:
    """For the machine's QE it is genuine; for another enclave it is not the QE's to take."""
    (files / "user_report_data").write_bytes(DATA)
    (files / "target_info").write_bytes(qe_target_info(MACHINE))
    report = (files / "report").read_bytes()
    assert is_genuine(MACHINE, report)
    body = LocalReport.parse(report).body
    assert (body.report_data, body.mr_enclave) == (DATA, ENCLAVE)
    (files / "target_info").write_bytes((files / "my_target_info").read_bytes())
    assert not is_genuine(MACHINE, (files / "report").read_bytes())


def test_the_enclave_names_itself(files: Path) -> None:
    """`my_target_info` is what others need for a report to this enclave."""
    mine = TargetInfo.parse((files / "my_target_info").read_bytes())
    assert mine.mr_enclave == ENCLAVE


def test_the_machine_is_as_it_is_when_the_file_is_read(tmp_path: Path) -> None:
    """An update between two quotes shows in the second."""
    machine = World("changing").platform("node-1")
    with gramine(lambda: machine, tmp_path) as folder:
        before = enclave_of((folder / "quote").read_bytes())
        machine.set_status("OutOfDate")
        after = enclave_of((folder / "quote").read_bytes())
    assert before.to_bytes() != after.to_bytes()


def test_it_ends_without_a_trace(tmp_path: Path) -> None:
    """No file, no thread; whether or not anybody ever read."""
    with gramine(lambda: MACHINE, tmp_path / "read") as folder:
        assert len(waiting()) == 3
        assert len((folder / "quote").read_bytes()) > 1000
        with gramine(lambda: MACHINE, tmp_path / "unread"):
            pass
    assert [file for folder in tmp_path.iterdir() for file in folder.iterdir()] == []
    assert not waiting()


# ── a file that answers ─────────────────────────────────────────────────────────────────────────


def test_each_answer_is_made_when_it_is_read(tmp_path: Path) -> None:
    """Nothing is made ahead, and each reader gets its own."""
    made: list[int] = []

    def answer() -> bytes:
        made.append(len(made))
        return str(len(made)).encode()

    with answering_file(tmp_path / "counted", answer) as file:
        assert made == []
        assert [file.read_bytes() for _ in range(3)] == [b"1", b"2", b"3"]
    assert not file.exists()


@pytest.mark.parametrize("size", [MOST, MOST + 1])
def test_an_answer_that_no_pipe_holds_is_empty(tmp_path: Path, size: int) -> None:
    """64 KiB are written whole; more would have to wait for the reader."""
    with answering_file(tmp_path / "large", lambda: bytes(size)) as file:
        assert len(file.read_bytes()) == (size if size <= MOST else 0)


def test_an_answer_that_cannot_be_made_is_empty_and_the_next_one_whole(tmp_path: Path) -> None:
    """Whatever is raised, the file lives on."""
    answers: Iterator[bytes] = iter([b"whole"])

    def answer() -> bytes:
        if (tmp_path / "broken").exists():
            raise RuntimeError
        return next(answers)

    (tmp_path / "broken").touch()
    with answering_file(tmp_path / "file", answer) as file:
        assert file.read_bytes() == b""
        (tmp_path / "broken").unlink()
        assert file.read_bytes() == b"whole"


def test_a_reader_that_goes_away_hurts_nobody(tmp_path: Path) -> None:
    """It opens the file, reads nothing, and the next one is served."""
    with answering_file(tmp_path / "file", lambda: b"whole") as file:
        os.close(os.open(file, os.O_RDONLY | os.O_NONBLOCK))
        assert file.read_bytes() == b"whole"


def test_it_ends_where_its_folder_was_removed(tmp_path: Path) -> None:
    """Read before or not."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with answering_file(folder / "read", lambda: b"x") as read:
        assert read.read_bytes() == b"x"
        with answering_file(folder / "unread", lambda: b"x"):
            shutil.rmtree(folder)
    assert not waiting()
