"""Which attester is taken: the order, what is said of each, and what where there is none."""

import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcap import ConfigError, Quote
from dcap.attester.choice import NAMES, Surroundings, choose, decide, described
from dcap.attester.reporter_command import reporter_command
from dcap.errors import AttesterError, DcapError
from dcap.qpl.discovery_root import Root
from dcap.simulator import World
from dcap.simulator.aesm import aesm_service
from dcap.simulator.configfs_tsm import configfs_tsm
from dcap.simulator.gramine import gramine
from dcap.simulator.reports import make_report

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attesters are Linux's")
DATA = bytes(range(64))
MACHINE = World("choice").platform("node-1")


def enclave(target_info: bytes, report_data: bytes) -> bytes:
    """An enclave of the machine."""
    return make_report(MACHINE, target_info, report_data)


@pytest.fixture
def root() -> Iterator[Path]:
    """A scratch root with a short name, as a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="root-") as folder:
        yield Path(folder)


def at(root: Path, **environ: str) -> Surroundings:
    """The machine whose files lie there."""
    return Surroundings(Root(root), environ)


def put(root: Path, path: str, content: str = "") -> None:
    """A file of the root."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


def gone(root: Path, path: str) -> None:
    """A file or folder of the root is there no more."""
    (root / path).rename(root / f"{path}.gone")


def refusal(surroundings: Surroundings, name: str | None = None) -> DcapError:
    """Why none is taken."""
    with pytest.raises(DcapError) as caught:
        choose(surroundings, name=name)
    return caught.value


LIBRARY = "usr/lib/x86_64-linux-gnu/libsgx_dcap_ql.so.1"
#: What keeps each from being taken, once all are there; the order of the table is the order of choice.
WITHOUT = {
    "gramine": "dev/attestation",
    "tdx-qgs": "etc/tdx-attest.conf",
    "configfs-tsm": "sys/kernel/config/tsm",
    "tdx-guest": "dev/tdx_guest",
    "dcap-ql": LIBRARY,
    "aesm": "var/run/aesmd/aesm.socket",
}


def test_the_first_that_serves_is_taken(root: Path) -> None:
    """On a machine that has them all, each in its turn, as those before it are taken away."""
    put(root, "dev/attestation/attestation_type", "dcap")
    put(root, "dev/attestation/report")
    put(root, "dev/tdx_guest")
    put(root, "etc/tdx-attest.conf", "port=4050\n")
    put(root, "dev/sgx_enclave")
    put(root, "dev/sgx_provision")
    put(root, LIBRARY, "any")
    (root / "var/run/aesmd").mkdir(parents=True)
    surroundings = at(root)
    taken = []
    with (
        configfs_tsm(lambda: MACHINE, root / "sys/kernel/config"),
        aesm_service(lambda: MACHINE, root / "var/run/aesmd/aesm.socket"),
    ):
        for path in WITHOUT.values():
            found = described(surroundings, reporter=enclave)
            decision = decide(surroundings, reporter=enclave)
            first = next(one for one in found if one.usable)
            assert decision.attester.name == first.name
            assert first.found[0] in decision.why
            taken.append(decision.attester.name)
            gone(root, path)
        assert tuple(taken) == NAMES == tuple(WITHOUT)
        assert not any(one.usable for one in described(surroundings, reporter=enclave))
        for path in WITHOUT.values():  # what they stand on ends with them
            (root / f"{path}.gone").rename(root / path)


def test_they_are_described_in_their_order(root: Path) -> None:
    """Also where none is there: each says what it lacks, and what to do."""
    found = described(at(root))
    assert tuple(one.name for one in found) == NAMES
    assert [one.tee for one in found] == ["SGX", "TDX", "TDX", "TDX", "SGX", "SGX"]
    for one in found:
        assert not one.usable
        assert one.why_not
        assert one.mend


def test_one_that_is_named_is_taken_before_the_first(root: Path) -> None:
    """And the quote is its."""
    put(root, "dev/tdx_guest")
    put(root, "etc/tdx-attest.conf", "port=4050\n")
    with gramine(lambda: MACHINE, root / "dev/attestation"):
        assert choose(at(root)).name == "gramine"
        decision = decide(at(root), name="tdx-qgs")
        assert decision.attester.name == "tdx-qgs"
        assert "it was named" in decision.why
        quote = choose(at(root), name="gramine").quote(DATA)
    assert Quote(quote).body.report_data == DATA


def test_one_that_is_named_and_does_not_serve_says_why(root: Path) -> None:
    """Nothing else is taken in its place."""
    with gramine(lambda: MACHINE, root / "dev/attestation"):
        error = refusal(at(root), "aesm")
    assert (error.code, error.exit_status) == ("attester-unusable", 7)
    assert "AESM" in error.what
    assert error.mend


def test_a_name_that_is_none_is_told_the_names() -> None:
    """It is a mistake of the command line."""
    error = refusal(Surroundings.here(), "sgx")
    assert isinstance(error, ConfigError)
    assert error.code == "attester-name"
    assert all(name in error.mend for name in NAMES)


def test_where_there_is_none_it_is_said_once(root: Path) -> None:
    """One error: all that was looked for, and what to do on a machine that has nothing."""
    error = refusal(at(root))
    assert (error.code, error.exit_status) == ("attester-none", 7)
    assert all(name in error.what for name in NAMES)
    assert "no trace" in error.what
    for what in ("--insecure-sim", "dcap doctor", "--reporter"):
        assert what in error.mend


def test_the_nearest_miss_is_told(root: Path) -> None:
    """Of an SGX machine without Intel's library, the package; of a Gramine enclave, its manifest."""
    put(root, "dev/sgx_enclave")
    put(root, "dev/sgx_provision")
    error = refusal(at(root))
    assert "nearest is dcap-ql: Intel's quoting library" in error.what
    assert "libsgx-dcap-ql" in error.mend
    put(root, LIBRARY, "any")
    assert "only that enclave can make it" in refusal(at(root)).what
    for device in ("sgx_enclave", "sgx_provision"):
        gone(root, f"dev/{device}")
    put(root, "dev/attestation/attestation_type", "none")
    put(root, "dev/attestation/report")
    assert "nearest is gramine" in refusal(at(root)).what


def test_gramines_reports_serve_where_it_makes_no_quotes_itself(root: Path) -> None:
    """An enclave whose manifest asks for no attestation reports to AESM's quoting enclave."""
    (root / "var/run/aesmd").mkdir(parents=True)
    with (
        gramine(lambda: MACHINE, root / "dev/attestation", attestation_type="none", isv_svn=9),
        aesm_service(lambda: MACHINE, root / "var/run/aesmd/aesm.socket"),
    ):
        attester = choose(at(root))
        assert attester.name == "aesm"
        body = Quote(attester.quote(DATA)).enclave
    assert body is not None
    assert (body.report_data, body.isv_svn) == (DATA, 9)


# ── a program that reports ──────────────────────────────────────────────────────────────────────


def test_a_program_reports_by_its_pipes(tmp_path: Path) -> None:
    """It gets TARGETINFO and report data, 576 bytes, and no shell reads its arguments."""
    (tmp_path / "report").write_bytes(enclave(bytes(512), DATA))
    program = "cat >$2; cat $1"
    command = f"sh -c '{program}' sh {tmp_path}/report '{tmp_path}/$HOME'"
    assert reporter_command(command)(bytes(512), DATA) == enclave(bytes(512), DATA)
    assert (tmp_path / "$HOME").read_bytes() == bytes(512) + DATA


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-program", "cannot be started: No such file"),
        (
            "sh -c 'echo first >&2; echo no enclave >&2; exit 7'",
            'exit status 7; it said "no enclave"',
        ),
        ("sh -c 'kill -9 $$'", "died of signal 9"),
        ("head -c 431 /dev/zero", "wrote 431 bytes, and a REPORT has 432"),
        ("head -c 433 /dev/zero", "wrote 433 bytes"),
        ("true", "wrote 0 bytes"),
    ],
)
def test_a_program_that_makes_no_report_says_why(command: str, said: str) -> None:
    """Each with what is expected of it."""
    with pytest.raises(AttesterError) as caught:
        reporter_command(command)(bytes(512), DATA)
    assert caught.value.code == "attester-reporter"
    assert said in caught.value.what
    assert "432 bytes" in caught.value.mend


def test_a_program_that_hangs_is_ended() -> None:
    """With what it has started, which holds its pipes."""
    with pytest.raises(AttesterError, match=r"within 0\.1 s"):
        reporter_command("sh -c 'sleep 60 & sleep 60'", seconds=0.1)(bytes(512), DATA)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_program_that_writes_without_end_takes_no_memory(stream: str) -> None:
    """On either stream it is ended: at more than a report could be, or at the deadline."""
    tracemalloc.start()
    try:
        with pytest.raises(AttesterError) as caught:
            reporter_command(f"sh -c 'exec cat /dev/zero >&{stream}'", seconds=0.3)(
                bytes(512), DATA
            )
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "attester-reporter"
    assert most < 4 * 1024 * 1024


@pytest.mark.parametrize("command", ["", "  ", "'./app"])
def test_what_is_no_command_is_refused(command: str) -> None:
    """Before anything is looked for."""
    with pytest.raises(ConfigError) as caught:
        reporter_command(command)
    assert caught.value.code == "attester-reporter-command"
