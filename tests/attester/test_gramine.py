"""The attester of Gramine's files: against the simulated folder, and files that are not like it."""

import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcap import ConfigError, Quote
from dcap.attester.gramine import GramineAttester, has_reports, reporter
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError
from dcap.formats.local_report import LocalReport
from dcap.qpl.discovery_root import Root
from dcap.simulator import World
from dcap.simulator.gramine import gramine
from dcap.simulator.reports import is_genuine, qe_target_info

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Gramine is Linux's")
DATA = bytes(range(64))
MACHINE = World("gramine").platform("node-1")
FOLDER = "dev/attestation"
SHORT = 0.05


def attester(root: Path, *, seconds: float = 20) -> GramineAttester:
    """The attester on the machine whose files lie there."""
    return GramineAttester(Surroundings(Root(root), {}), seconds=seconds)


def refused(root: Path, *, seconds: float = 20) -> AttesterError:
    """Why there is no quote; each refusal says where, and what to do."""
    with pytest.raises(AttesterError) as caught:
        attester(root, seconds=seconds).quote(DATA)
    assert caught.value.exit_status == 7
    assert caught.value.where
    assert caught.value.mend
    return caught.value


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    """An enclave: the scratch root is `tmp_path`."""
    with gramine(lambda: MACHINE, tmp_path / FOLDER) as folder:
        yield folder


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Files that nobody answers: what a test does not write stays as it is here."""
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / "attestation_type").write_text("dcap")
    (folder / "user_report_data").write_bytes(bytes(64))
    (folder / "quote").write_bytes(MACHINE.quote(DATA))
    (folder / "report").touch()
    return folder


# ── quotes ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("files")
def test_report_data_become_a_quote_that_binds_them(tmp_path: Path) -> None:
    """One after another; fewer bytes are followed by zeros, more are refused."""
    for data in (DATA, bytes(64), b"nonce"):
        quote = Quote(attester(tmp_path).quote(data))
        assert (quote.tee, quote.body.report_data) == ("SGX", data.ljust(64, b"\0"))
    with pytest.raises(ConfigError, match="--bind FILE"):
        attester(tmp_path).quote(bytes(65))


@pytest.mark.usefixtures("files")
def test_it_is_found_and_described(tmp_path: Path) -> None:
    """What was seen, and that it serves."""
    found = GramineAttester.found(Surroundings(Root(tmp_path), {}))
    description = found.describe()
    assert (description.name, description.tee, description.usable) == ("gramine", "SGX", True)
    assert description.found == ("/dev/attestation: there", "attestation_type: dcap")
    assert Quote(found.quote(DATA)).body.report_data == DATA


def test_zeros_behind_the_quote_are_taken_off(tmp_path: Path, plain: Path) -> None:
    """A buffer is larger than what is in it."""
    (plain / "quote").write_bytes(MACHINE.quote(DATA) + bytes(100))
    assert attester(tmp_path).quote(DATA) == MACHINE.quote(DATA)


def test_the_enclave_reports_for_another_quoting_enclave(tmp_path: Path, files: Path) -> None:
    """Its own report, for the target that is named, over the report data."""
    surroundings = Surroundings(Root(tmp_path), {})
    assert has_reports(surroundings)
    report = reporter(surroundings)(qe_target_info(MACHINE), DATA)
    assert is_genuine(MACHINE, report)
    assert LocalReport.parse(report).body.report_data == DATA
    assert (files / "user_report_data").read_bytes() == DATA


# ── none ────────────────────────────────────────────────────────────────────────────────────────


def test_outside_gramine_there_is_none(tmp_path: Path) -> None:
    """No folder: it says that this is no enclave of Gramine's."""
    error = refused(tmp_path)
    assert error.code == "attester-gramine-absent"
    assert "gramine-sgx" in error.mend
    assert not has_reports(Surroundings(Root(tmp_path), {}))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("none", "no remote attestation"),
        ("epid", "Intel has retired"),
        ("maa", "'maa', and not dcap"),
    ],
)
def test_another_type_of_attestation_names_the_line_of_the_manifest(
    tmp_path: Path, plain: Path, kind: str, said: str
) -> None:
    """Each is told apart, and nothing is written."""
    (plain / "attestation_type").write_text(kind)
    error = refused(tmp_path)
    assert error.code == "attester-gramine-type"
    assert said in error.what
    assert 'sgx.remote_attestation = "dcap"' in error.mend
    assert (plain / "user_report_data").read_bytes() == bytes(64)


def test_gramine_without_sgx_is_told_as_such(tmp_path: Path) -> None:
    """`gramine-direct` has the folder, and nothing in it but keys."""
    (tmp_path / FOLDER / "keys").mkdir(parents=True)
    error = refused(tmp_path)
    assert error.code == "attester-gramine-absent"
    assert "gramine-direct" in error.what
    assert "gramine-sgx" in error.mend


def test_an_older_gramine_does_not_tell_the_type(tmp_path: Path, plain: Path) -> None:
    """There the file for the quote says it: without one there is no attestation."""
    (plain / "attestation_type").unlink()
    assert "attestation_type: not told" in attester(tmp_path).describe().found
    assert attester(tmp_path).quote(DATA) == MACHINE.quote(DATA)
    (plain / "quote").unlink()
    assert refused(tmp_path).code == "attester-gramine-type"


@pytest.mark.parametrize("name", ["user_report_data", "quote"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, plain: Path, name: str) -> None:
    """An old Gramine, or one that was built otherwise."""
    (plain / name).unlink()
    error = refused(tmp_path)
    assert error.code == "attester-gramine-file"
    assert name in error.what
    assert "ENOENT" in error.what


def test_a_file_that_refuses_tells_why(tmp_path: Path, plain: Path) -> None:
    """With the system's own word for it."""
    (plain / "quote").unlink()
    (plain / "quote").mkdir()
    error = refused(tmp_path)
    assert error.code == "attester-gramine-file"
    assert "EISDIR" in error.what


@pytest.mark.parametrize(
    ("name", "mode", "said", "mend"),
    [
        ("user_report_data", 0o444, "written: EACCES", "user"),
        ("quote", 0o000, "that is all that Gramine says", "AESM"),
    ],
)
def test_a_file_that_may_not_be_opened_tells_what_that_means(
    plain: Path, name: str, mode: int, said: str, mend: str
) -> None:
    """To be written: another user's. To be read: Gramine's word for any failure behind it."""
    before = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(plain.parents[1], root, dirs_exist_ok=True)
        for place in (root, root / "dev", root / FOLDER):
            place.chmod(0o755)
        for file in (root / FOLDER).iterdir():
            file.chmod(0o666)
        (root / FOLDER / name).chmod(mode)
        try:
            if before == 0:
                os.seteuid(65534)
            error = refused(root)
        finally:
            os.seteuid(before)
    assert error.code == "attester-gramine-file"
    assert said in error.what
    assert mend in error.mend


def test_report_data_that_are_not_taken_whole_are_noticed(tmp_path: Path, plain: Path) -> None:
    """A short write: the quote would be over half of them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32, before[1]))
    try:
        with pytest.raises(AttesterError) as caught:
            attester(tmp_path).quote(DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.code == "attester-gramine-write"
    assert "only 32 of 64 bytes" in caught.value.what
    assert (plain / "user_report_data").read_bytes() == DATA[:32]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "attester-gramine-empty"),
        (bytes(5000), "attester-empty"),
        (b"not a quote", "attester-quote"),
        (MACHINE.quote(DATA)[:-1], "attester-quote"),
        (MACHINE.quote(DATA) + b"\1", "attester-quote"),
        (MACHINE.quote(DATA, tee="TDX"), "attester-quote"),
        (MACHINE.quote(bytes(64)), "attester-binding"),
    ],
    ids=["empty", "zeros", "text", "cut off", "followed", "a TD's", "somebody else's"],
)
def test_what_is_no_quote_over_the_report_data_is_refused(
    tmp_path: Path, plain: Path, answer: bytes, code: str
) -> None:
    """Nothing but one whole quote of an enclave, over what was asked for, is handed on."""
    (plain / "quote").write_bytes(answer)
    assert refused(tmp_path).code == code


def test_a_simulator_that_is_gone_is_not_waited_for(tmp_path: Path, plain: Path) -> None:
    """Its FIFO has nobody behind it."""
    (plain / "quote").unlink()
    os.mkfifo(plain / "quote")
    error = refused(tmp_path, seconds=SHORT)
    assert error.code == "attester-gramine-silent"
    assert "dcap sim up" in error.what


def test_a_simulator_that_reads_no_more_is_not_waited_for(tmp_path: Path, plain: Path) -> None:
    """The file for report data is a FIFO too, at which a writer would wait without end."""
    (plain / "user_report_data").unlink()
    os.mkfifo(plain / "user_report_data")
    assert refused(tmp_path, seconds=SHORT).code == "attester-gramine-silent"


def test_a_report_of_another_size_is_none(tmp_path: Path, plain: Path) -> None:
    """The reporter hands on what has the size of a report alone."""
    (plain / "target_info").write_bytes(bytes(512))
    (plain / "report").write_bytes(bytes(431))
    with pytest.raises(AttesterError, match="431 bytes") as caught:
        reporter(Surroundings(Root(tmp_path), {}))(bytes(512), DATA)
    assert caught.value.code == "attester-gramine-empty"
    with pytest.raises(AttesterError, match="exactly 512"):
        reporter(Surroundings(Root(tmp_path), {}))(bytes(511), DATA)
