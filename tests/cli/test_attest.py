"""`dcap attest`: from a machine that quotes, in whatever form, to a verifier that expects it."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcap.cli.attest import _FORMATS
from dcap.formats.certification import CertificationType
from dcap.formats.containers import open_enclave, recognise
from dcap.formats.quote import Quote
from dcap.simulator.aesm import aesm_service
from dcap.simulator.gramine import gramine
from dcap.simulator.platform import Platform
from dcap.simulator.state import WorldDirectory
from dcap.simulator.world import World
from transcripts.desk import Outcome, run
from worlds import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attesters are Linux's")
AT = "2026-01-01T12:00:00Z"
START = "from dcap.cli.main import main; main()"
JUDGED = ("--any-identity", "--at", AT, "--insecure-test-root", ".dcap-sim/root.pem")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world that `dcap sim` has in every folder."""
    return WorldDirectory(tmp_path_factory.mktemp("world")).world()


@pytest.fixture(scope="module")
def machine(world: World) -> Platform:
    """Its first machine."""
    return world.platform("machine")


@pytest.fixture
def desk(tmp_path: Path, machine: Platform) -> Iterator[Path]:
    """A folder with the world, collateral for its machine, and a Gramine enclave of it in `root`."""
    assert run(tmp_path, "sim", "collateral", "-o", "collateral").status == 0
    (tmp_path / "app.pem").write_text("a public key")
    with gramine(lambda: machine, tmp_path / "root" / "dev" / "attestation"):
        yield tmp_path


@pytest.fixture(scope="module")
def enclave(tmp_path_factory: pytest.TempPathFactory, machine: Platform) -> Iterator[Path]:
    """The same without collateral, once for all that write nothing."""
    folder = tmp_path_factory.mktemp("enclave")
    (folder / "app.pem").write_text("a public key")
    with gramine(lambda: machine, folder / "root" / "dev" / "attestation"):
        yield folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with an empty machine in `root`."""
    (tmp_path / "root").mkdir()
    return tmp_path


def attest(folder: Path, *given: str, **environment: str) -> Outcome:
    """`dcap attest` on the machine in `root`, which must succeed."""
    outcome = run(folder, "attest", "--root", "root", *given, **environment)
    assert outcome.status == 0, outcome.screen
    return outcome


def simulate(folder: Path, *given: str) -> Outcome:
    """`dcap attest --insecure-sim`, which must succeed."""
    outcome = run(folder, "attest", "--insecure-sim", *given)
    assert outcome.status == 0, outcome.screen
    return outcome


def verify(folder: Path, file: str, *given: str) -> Outcome:
    """`dcap verify` at the world's time, under its root, by saved collateral."""
    return run(folder, "verify", file, "--collateral", "collateral", *JUDGED, *given)


def report_data_in(folder: Path, file: str = "quote.bin") -> bytes:
    """What the quote in a file binds."""
    return Quote(recognise((folder / file).read_bytes()).quote).body.report_data


# ── no parameter ────────────────────────────────────────────────────────────────────────────────


def test_it_takes_no_parameter(desk: Path) -> None:
    """The machine's attester is found, the quote accepted; that nothing is bound is said."""
    outcome = attest(desk, "-o", "quote.bin")
    assert outcome.out.startswith("quote.bin: SGX quote v3 by gramine, 4800 bytes\n")
    assert "by gramine: the first that serves here (/dev/attestation: there; " in outcome.err
    assert "nothing is bound" in outcome.err
    assert report_data_in(desk) == bytes(64)
    assert verify(desk, "quote.bin").status == 0


def test_a_machine_that_offers_nothing_says_so_once(bare: Path) -> None:
    """Exit status 7, one error, and what to do; no file is left."""
    outcome = run(bare, "attest", "--root", "root", "-o", "quote.bin")
    assert outcome.status == 7
    assert outcome.out == ""
    assert outcome.err.count("error:") == 1
    assert "[attester-none]" in outcome.err
    assert "--insecure-sim" in outcome.err
    assert not (bare / "quote.bin").exists()


def test_with_json_the_error_is_an_object(bare: Path) -> None:
    """Beside what standard error says."""
    outcome = run(bare, "attest", "--root", "root", "-o", "quote.bin", "--json")
    assert outcome.status == 7
    assert json.loads(outcome.out)["error"]["code"] == "attester-none"


# ── what is bound ───────────────────────────────────────────────────────────────────────────────

APP = hashlib.sha256(b"a public key").digest()
NONCE = bytes(range(32))
WAYS = {
    "report data": (("--report-data", "c0ffee"), bytes.fromhex("c0ffee")),
    "nonce": (("--nonce", "0x" + NONCE.hex()), NONCE),
    "whole nonce": (("--nonce", NONCE.hex() * 2), NONCE * 2),
    "file": (("--bind", "app.pem"), APP),
    "file by SHA-512": (
        ("--bind", "app.pem", "--hash", "sha512"),
        hashlib.sha512(b"a public key").digest(),
    ),
    "file and nonce": (("--bind", "app.pem", "--nonce", NONCE.hex()), APP + NONCE),
    "file and short nonce": (("--bind", "app.pem", "--nonce", "07"), APP + b"\7"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_bound_is_what_verify_expects(desk: Path, way: str) -> None:
    """The flags that it prints are accepted by `dcap verify`; of another quote they are refused."""
    given, expected = WAYS[way]
    told = json.loads(attest(desk, *given, "-o", "quote.bin", "--json").out)
    assert report_data_in(desk) == expected.ljust(64, b"\0")
    assert told["report_data"] == expected.ljust(64, b"\0").hex()
    assert verify(desk, "quote.bin", *told["verify"]).status == 0
    attest(desk, "--nonce", "ff", "-o", "other.bin")
    refused = verify(desk, "other.bin", *told["verify"])
    assert refused.status == 5
    assert "report-data" in refused.out


def test_the_flags_are_printed_for_a_shell(desk: Path) -> None:
    """As they are typed, a name with a space in it too."""
    (desk / "app key.pem").write_text("a public key")
    shown = attest(desk, "--bind", "app key.pem", "-o", "quote.bin").out.splitlines()
    assert shown[1] == "bound        SHA-256 of app key.pem"
    words = shlex.split(shown[2].removeprefix("verify with"))
    assert words == ["--report-data-sha256-of", "app key.pem"]
    assert verify(desk, "quote.bin", *words).status == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--report-data", "00", "--nonce", "00"), "excludes --bind and --nonce"),
        (("--report-data", "00", "--bind", "app.pem"), "excludes --bind and --nonce"),
        (("--report-data", "00" * 65), "not 1 to 64 bytes of hex"),
        (("--nonce", "xyz"), "not 1 to 64 bytes of hex"),
        (("--nonce", ""), "not 1 to 64 bytes of hex"),
        (("--bind", "app.pem", "--nonce", "00" * 33), "not 1 to 32 bytes of hex"),
        (("--bind", "app.pem", "--hash", "sha512", "--nonce", "00"), "no nonce has room"),
        (("--bind", "missing.pem"), "missing.pem"),
        (("--claim", "a=b"), "--claim belongs to --format oe-evidence"),
        (("--format", "oe-evidence", "--claim", "a"), "is not NAME=TEXT"),
        (("--format", "oe-evidence", "--nonce", "00"), "--format oe-report"),
        (("--source", "pcs"), "--source is for --format bundle alone"),
        (("--offline",), "--offline is for --format bundle alone"),
        (("--tee", "tdx"), "--tee is for --insecure-sim alone"),
        (("--by", "gramine", "--insecure-sim"), "--by is for attesters of this machine"),
        (("--insecure-sim", "--tee", "tdx", "--format", "ego"), "oe-report holds SGX quotes alone"),
        (
            ("--insecure-sim", "--tee", "tdx", "--format", "oe-evidence", "--claim", "a=b"),
            "--claim",
        ),
        (("--insecure-sim", "--platform", "nobody"), "no platform 'nobody'"),
        (("--by", "nobody"), "no attester 'nobody'"),
        (("--reporter", "'"), "no command"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(enclave: Path, given: tuple[str, ...], said: str) -> None:
    """Exit status 1, before any quote; no file is left."""
    outcome = run(enclave, "attest", "--root", "root", "-o", "quote.bin", *given)
    assert outcome.status == 1
    assert said in " ".join(outcome.err.split())
    assert not (enclave / "quote.bin").exists()


# ── forms ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", [form for form in _FORMATS if form != "oe-evidence"])
def test_every_form_is_verified(desk: Path, form: str) -> None:
    """Whatever it is written in, the quote in it binds the nonce, and `dcap verify` reads it."""
    given = ("--nonce", "07", "--format", form, "-o", "evidence")
    if form == "bundle":
        root = ("--insecure-test-root", ".dcap-sim/root.pem")
        attest(desk, *given, "--source", "./collateral", *root)
    else:
        attest(desk, *given)
    assert report_data_in(desk, "evidence") == b"\7".ljust(64, b"\0")
    assert verify(desk, "evidence", "--report-data", "07").status == 0


def test_egos_form_is_open_enclaves_report(desk: Path) -> None:
    """Header and quote, which EGo's VerifyRemoteReport takes; a bare quote it does not."""
    attest(desk, "--format", "ego", "-o", "report")
    quote = open_enclave.LegacyReport.parse((desk / "report").read_bytes()).quote
    assert Quote(quote).body.report_data == bytes(64)


def test_open_enclaves_evidence_binds_its_claims(desk: Path) -> None:
    """The report data are the hash of the claims; others in their place are refused."""
    claims = ("--claim", "nonce=07", "--claim", "key=a public key")
    told = json.loads(
        attest(desk, "--format", "oe-evidence", *claims, "-o", "evidence", "--json").out
    )
    content = (desk / "evidence").read_bytes()
    buffer = open_enclave.Evidence.parse(content).custom_claims
    assert buffer is not None
    named = {claim.name: claim.value for claim in open_enclave.parse_custom_claims(buffer)}
    assert named == {"nonce": b"07", "key": b"a public key"}
    assert told["report_data"] == hashlib.sha256(buffer).digest().ljust(64, b"\0").hex()
    assert verify(desk, "evidence").status == 0
    (desk / "changed").write_bytes(content.replace(b"07", b"08"))
    assert verify(desk, "changed").status == 3


def test_open_enclaves_evidence_without_claims_binds_that_there_are_none(desk: Path) -> None:
    """As Open Enclave has it."""
    attest(desk, "--format", "oe-evidence", "-o", "evidence")
    assert report_data_in(desk, "evidence")[:32] == hashlib.sha256(b"").digest()
    assert verify(desk, "evidence").status == 0


# ── quotes without a certificate ────────────────────────────────────────────────────────────────


@pytest.fixture
def uncertified(bare: Path, machine: Platform) -> Path:
    """A machine whose quotes name it, and carry no certificate."""
    kind = CertificationType.PPID_RSA3072_ENCRYPTED
    files = bare / "root" / "dev" / "attestation"
    files.mkdir(parents=True)
    (files / "attestation_type").write_text("dcap")
    (files / "user_report_data").touch()
    (files / "report").touch()
    (files / "quote").write_bytes(machine.quote(certification=kind))
    assert run(bare, "sim", "collateral", "-o", "collateral").status == 0
    return bare


def test_a_quote_without_a_certificate_is_warned_of(uncertified: Path) -> None:
    """It is written as it is; what verifiers will say of it is told now."""
    outcome = attest(uncertified, "-o", "quote.bin")
    assert "warning: the quote carries no PCK certificate chain" in outcome.err
    assert "0xE01C" in outcome.err


def test_a_bundle_completes_a_quote_without_a_certificate(uncertified: Path) -> None:
    """By the source, which knows the machine; judged anywhere without one."""
    root = ("--insecure-test-root", ".dcap-sim/root.pem")
    source = ("--source", "./collateral")
    outcome = attest(uncertified, "--format", "bundle", *source, *root, "-o", "bundle.json")
    assert "0xE01C" not in outcome.err
    assert run(uncertified, "verify", "bundle.json", *JUDGED).status == 0


def test_collateral_that_cannot_be_had_is_an_error_of_its_own(desk: Path) -> None:
    """Exit status 6: the machine quotes, and nothing is written."""
    given = ("--format", "bundle", "--source", "./missing", "-o", "bundle.json")
    outcome = run(desk, "attest", "--root", "root", *given)
    assert outcome.status == 6, outcome.screen
    assert not (desk / "bundle.json").exists()


# ── which attester ──────────────────────────────────────────────────────────────────────────────


def test_the_attesters_are_listed(desk: Path) -> None:
    """In their order, which is taken, what was found and what is lacking; as JSON too."""
    shown = attest(desk, "--list").out
    assert shown.splitlines()[:3] == [
        "1  gramine      SGX  chosen",
        "   found  /dev/attestation: there",
        "   found  attestation_type: dcap",
    ]
    assert "6  aesm         SGX  no" in shown
    attesters = json.loads(attest(desk, "--list", "--json").out)["attesters"]
    assert [one["usable"] for one in attesters] == [True, *[False] * 5]
    for one in attesters:
        assert one["usable"] or (one["why_not"] and one["mend"])


REPORTER = """
import sys
from pathlib import Path
from dcap.simulator.reports import make_report
from dcap.simulator.state import WorldDirectory
machine = WorldDirectory(Path(sys.argv[1])).world().platform("machine")
asked = sys.stdin.buffer.read()
sys.stdout.buffer.write(make_report(machine, asked[:512], asked[512:], isv_svn=9))
"""


def test_a_program_makes_the_report_that_aesm_signs(machine: Platform) -> None:
    """Outside the enclave: daemon, program, and a quote over the enclave that the program has."""
    with tempfile.TemporaryDirectory(prefix="attest-") as name:  # a short one, for the socket
        folder = Path(name)
        socket = folder / "root" / "var" / "run" / "aesmd" / "aesm.socket"
        socket.parent.mkdir(parents=True)
        assert run(folder, "sim", "collateral", "-o", "collateral").status == 0
        (folder / "app.py").write_text(REPORTER)
        with aesm_service(lambda: machine, socket):
            lacking = run(folder, "attest", "--root", "root", "-o", "quote.bin")
            assert lacking.status == 7
            assert "nearest is aesm" in lacking.err
            assert "--reporter" in lacking.err
            given = ("--reporter", f"{sys.executable} app.py .dcap-sim", "--nonce", "07")
            path = str(ROOT / "src")
            outcome = attest(folder, *given, "-o", "quote.bin", PYTHONPATH=path)
        assert "by aesm: the first that serves here" in outcome.err
        enclave = Quote((folder / "quote.bin").read_bytes()).enclave
        assert enclave is not None
        assert enclave.isv_svn == 9
        assert verify(folder, "quote.bin", "--report-data", "07").status == 0


# ── a simulated machine ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_a_simulated_machine_quotes_where_it_is_loudly_asked(bare: Path, tee: str) -> None:
    """A bundle with its collateral, judged under its root alone, without anything else."""
    outcome = simulate(
        bare, "--tee", tee, "--nonce", "07", "--format", "bundle", "-o", "bundle.json"
    )
    assert "warning: a simulated machine quotes" in outcome.err
    assert "by simulator: simulated: platform machine of .dcap-sim" in outcome.err
    judged = ("--any-identity", "--at", "recorded", "--report-data", "07")
    assert run(bare, "verify", "bundle.json", *judged).status == 3
    root = ("--insecure-test-root", ".dcap-sim/root.pem")
    assert run(bare, "verify", "bundle.json", *judged, *root).status == 0


def test_a_bundle_that_is_too_old_already_is_said(bare: Path) -> None:
    """By the wall clock, at its making: the world's own clock stands still until it is moved."""
    made = ("--format", "bundle", "-o", "bundle.json")
    assert "it is refused already: expired" in simulate(bare, *made).err
    assert run(bare, "sim", "clock", "--set", "now").status == 0
    assert "refused already" not in simulate(bare, *made).err


def test_a_simulated_machine_is_one_of_its_world(bare: Path) -> None:
    """By folder and name; what happened in the world shows in its quotes."""
    event = ("event", "platform-added", "--platform", "node-1", "--dir", "there")
    assert run(bare, "sim", *event).status == 0
    simulate(bare, "--dir", "there", "--platform", "node-1", "-o", "one.bin")
    outcome = run(bare, "sim", "quote", "--dir", "there", "--platform", "node-1", "-o", "two.bin")
    assert outcome.status == 0
    assert (bare / "one.bin").read_bytes() == (bare / "two.bin").read_bytes()


# ── where it goes ───────────────────────────────────────────────────────────────────────────────


def test_it_goes_down_a_pipe_and_not_to_a_terminal(bare: Path) -> None:
    """Standard output is the default where it is a pipe; binary on a terminal is refused."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", START, "attest", "--insecure-sim"]
    piped = subprocess.run(
        command, cwd=bare, env=environment, capture_output=True, check=True, timeout=60
    )
    assert Quote(piped.stdout).body.report_data == bytes(64)
    assert b"by simulator" in piped.stderr
    ours, theirs = os.openpty()
    try:
        shown = subprocess.run(
            command,
            cwd=bare,
            env=environment,
            stdout=theirs,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert shown.returncode == 1
    assert b"[output-terminal]" in shown.stderr
    assert b"-o FILE" in shown.stderr


def test_json_has_no_place_beside_the_evidence(bare: Path) -> None:
    """On standard output one of the two is written."""
    outcome = run(bare, "attest", "--insecure-sim", "--json")
    assert outcome.status == 1
    assert "--json needs -o FILE" in json.loads(outcome.out)["error"]["what"]


def test_a_file_is_written_anew_and_a_folder_not_made(desk: Path) -> None:
    """A quote of yesterday gives way to today's; a mistyped folder does not come into being."""
    attest(desk, "--nonce", "07", "-o", "quote.bin")
    attest(desk, "--nonce", "08", "-o", "quote.bin")
    assert report_data_in(desk)[:1] == b"\x08"
    outcome = run(desk, "attest", "--root", "root", "-o", "missing/quote.bin")
    assert outcome.status == 1
    assert "[output-unwritable]" in outcome.err
