"""`dcap doctor`, as a person runs it: on scratch machines, and on this one; `--fix`; `report`."""

import json
import os
import pty
import subprocess
import sys
import tarfile
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from dcap.cli.doctor_fix import mend_all
from dcap.cli.doctor_report import write_report
from dcap.cli.doctor_scene import guessed, scene_of
from dcap.cli.doctor_telling import Told, examined
from dcap.doctor.checks import AILMENTS
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Right, Skipped
from dcap.doctor.report import Part
from dcap.doctor.scene import Scene
from dcap.errors import ConfigError
from dcap.qpl.discovery_root import Root
from doctor.scratch import (
    add_aesm,
    add_qgs,
    laptop,
    packages,
    process,
    scene,
    sgx_host,
    tdx_guest,
    write,
)
from qpl.libraries import System
from transcripts.desk import Outcome, run
from worlds import ROOT

LEFT_OUT = ("--offline",)


def doctor(folder: Path, *given: str, **environment: str) -> Outcome:
    """`dcap doctor` on the machine in `folder/machine`, without a network."""
    return run(folder, "doctor", "--root", "machine", "--offline", *given, **environment)


# ── what it says ────────────────────────────────────────────────────────────────────────────────


def test_a_healthy_laptop_gives_no_finding_and_status_0(tmp_path: Path) -> None:
    """A machine that only verifies: what is right, what was passed over and why, the counts."""
    laptop(tmp_path)
    outcome = doctor(tmp_path)
    assert outcome.status == 0, outcome.screen
    first, *_, last = outcome.out.splitlines()
    assert first == f"looked at as verifier, of the system in {tmp_path}/machine (no network)"
    assert "  FAIL" not in outcome.out
    assert last.startswith("0 errors, 0 warnings, ")
    assert last.endswith("exit 0")


def test_a_healthy_server_that_attests_gives_no_finding(tmp_path: Path) -> None:
    """SGX, both devices, Intel's plugin under both names, a good configuration: all families."""
    host = System(sgx_host(tmp_path))
    host.intel(bare=True)
    pccs = (
        '{"pccs_url": "https://pccs.example:8081/sgx/certification/v4/", "use_secure_cert": true}'
    )
    write(host.top, "/etc/sgx_default_qcnl.conf", pccs)
    write(host.top, "/dev/sgx_provision", b"", 0o666)
    value = json.loads(doctor(tmp_path, "--json").out)
    assert value["roles"] == ["attester", "verifier"]
    assert [each for each in value["remarks"] if each["state"] in ("FAIL", "warn")] == []
    checked = {each["check"] for each in value["remarks"]}
    assert checked >= {"container", "quote providers"}


def test_a_finding_says_what_on_what_evidence_why_and_how_to_mend_it(tmp_path: Path) -> None:
    """One thing is wrong: its line, evidence, why, the commands, the docs; exit status 7."""
    root = laptop(tmp_path)
    write(root, "/usr/lib/x86_64-linux-gnu/libsgx_dcap_quoteverify.so.1")
    outcome = doctor(tmp_path)
    assert outcome.status == 7
    lines = outcome.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  FAIL"))
    below = "\n".join(lines[at:])
    assert "no quote provider is installed" in lines[at]
    assert "          /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1: not there" in below
    assert "        why: " in below
    assert "        fix: `sudo apt install libsgx-dcap-default-qpl`" in below
    assert "        see: docs/troubleshooting.md#plugins-none" in below
    assert lines[-1].startswith("1 error, 0 warnings, ")
    assert lines[-1].endswith("exit 7")


def test_json_is_the_whole_value(tmp_path: Path) -> None:
    """With --json: schema, roles, every remark with its state, mends as arguments, counts."""
    root = laptop(tmp_path)
    write(root, "/usr/lib/x86_64-linux-gnu/libsgx_dcap_quoteverify.so.1")
    value = json.loads(doctor(tmp_path, "--json").out)
    assert (value["schema"], value["roles"], value["offline"]) == (1, ["verifier"], True)
    (finding,) = [each for each in value["remarks"] if each["state"] == "FAIL"]
    assert finding["code"] == "plugins-none"
    assert finding["severity"] == "error"
    assert finding["why"] == AILMENTS["plugins-none"].why
    assert finding["docs"] == "docs/troubleshooting.md#plugins-none"
    assert set(finding["mends"][0]) == {"text", "command", "safe"}
    assert value["counts"]["errors"] == 1
    assert sum(value["counts"].values()) == len(value["remarks"])


def test_evidence_of_what_is_right_is_shown_when_asked(tmp_path: Path) -> None:
    """--verbose adds lines, and takes none away."""
    write(sgx_host(tmp_path), "/.dockerenv")
    short = doctor(tmp_path, "--for", "attester").out.splitlines()
    long = doctor(tmp_path, "--for", "attester", "--verbose").out.splitlines()
    assert "          /.dockerenv is there" in long
    assert "          /.dockerenv is there" not in short
    assert set(short) <= set(long)


@pytest.mark.parametrize(
    ("make", "roles"),
    [
        (laptop, {"verifier"}),
        (sgx_host, {"attester", "verifier"}),
        (tdx_guest, {"attester", "verifier"}),
        (lambda top: add_aesm(laptop(top)), {"attester", "verifier"}),
        (lambda top: add_qgs(laptop(top)), {"attester", "verifier"}),
    ],
)
def test_what_a_machine_is_to_be_is_guessed_by_what_it_has(
    tmp_path: Path, make: Any, roles: set[str]
) -> None:
    """SGX, TDX or one of their daemons makes an attester; every machine verifies."""
    assert guessed(scene(make(tmp_path))) == roles


def test_a_machine_of_which_something_is_given_attests(tmp_path: Path) -> None:
    """A quote of it, or what identifies it: who names one wants it looked at; but not against --for."""
    root = Root(laptop(tmp_path))
    assert "attester" in scene_of(root, {}, quote=b"no quote").roles
    asked = scene_of(root, {}, quote=b"no quote", roles=frozenset({"verifier"}))
    assert asked.roles == {"verifier"}


def test_a_folder_of_a_pccs_makes_a_pccs(tmp_path: Path) -> None:
    """Where one is installed, it is looked at."""
    root = laptop(tmp_path)
    write(root, "/opt/intel/sgx-dcap-pccs/config/default.json", "{}")
    assert guessed(scene(root)) == {"verifier", "pccs"}


def test_a_machine_without_sgx_that_is_to_attest(tmp_path: Path) -> None:
    """One clear error for the attester, none for the verifier."""
    laptop(tmp_path)
    assert doctor(tmp_path, "--for", "verifier").status == 0
    value = json.loads(doctor(tmp_path, "--for", "attester", "--json").out)
    assert value["counts"]["errors"] == 1, [
        each for each in value["remarks"] if each["state"] == "FAIL"
    ]


def test_this_machine_is_examined_in_under_three_seconds() -> None:
    """A new process on the running system: a true answer within the issue's bound, network and all.

    All that it asks goes to a proxy of this machine, where nobody listens; a second try is allowed, for
    the machine may be busy.
    """
    nobody = "http://127.0.0.1:9"
    outside = {"DCAP_OFFLINE": "", "https_proxy": nobody, "http_proxy": nobody}
    took = []
    while not took or (min(took) >= 3.0 and len(took) < 2):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", "from dcap.cli.main import main; main()", "doctor", "--json"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **outside},
            capture_output=True,
            timeout=60,
            check=False,
        )
        took.append(time.monotonic() - began)
    assert done.returncode in (0, 7), done.stderr
    value = json.loads(done.stdout)
    assert (value["root"], value["offline"]) == ("/", False)
    assert "verifier" in value["roles"]
    assert [each for each in value["remarks"] if "a bug of dcap" in each.get("why", "")] == []
    assert min(took) < 3.0


def test_a_check_that_breaks_down_hides_no_other(tmp_path: Path) -> None:
    """It is told as skipped, with what to report; the next one is made."""

    def broken(_: Scene) -> Any:
        yield Right("half of it")
        raise KeyError("secret detail")

    def refused(_: Scene) -> Any:
        raise ConfigError("some-code", "a file is wrong")

    checks = (Check("a", broken), Check("b", refused), Check("c", lambda _: [Right("well")]))
    done = examined(scene(laptop(tmp_path)), checks)
    assert [each.state for each in done] == ["ok", "skip", "skip", "ok"]
    assert isinstance(done[1].remark, Skipped)
    assert "KeyError" in done[1].remark.why
    assert "secret detail" not in done[1].remark.why
    assert done[2].remark == Skipped("b", "a file is wrong [some-code]")


@pytest.mark.parametrize(
    "given",
    [("report",), ("-o", "x"), ("--yes",), ("report", "-o", "x", "--fix")],
)
def test_flags_that_do_not_fit_are_refused(tmp_path: Path, given: tuple[str, ...]) -> None:
    """Exit status 1, before anything is looked at."""
    laptop(tmp_path)
    assert doctor(tmp_path, *given).status == 1


def test_no_network_is_used_where_the_environment_says_so(tmp_path: Path) -> None:
    """DCAP_OFFLINE is obeyed as by every command."""
    laptop(tmp_path)
    value = json.loads(run(tmp_path, "doctor", "--for", "verifier", "--json").out)
    assert value["offline"] is True


# ── --platform, --quote ─────────────────────────────────────────────────────────────────────────

QE_ID, PPID, MANIFEST = "a1" * 16, "5c" * 384, "8f" * 600
CSV = f"{PPID},0000,{'0d' * 16},0b00,{QE_ID},{MANIFEST}\n"


@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_identifies_the_machine_is_read_and_not_shown(tmp_path: Path, form: str) -> None:
    """The CSV of Intel's tool, or a platform list: the scene has it, no output does."""
    root = sgx_host(tmp_path)
    entry = {
        "qe_id": QE_ID,
        "pce_id": "0000",
        "cpu_svn": "0d" * 16,
        "pce_svn": "0b00",
        "enc_ppid": PPID,
    }
    file = tmp_path / f"machine.{form}"
    file.write_text(CSV if form == "csv" else json.dumps([entry]))
    made = scene_of(Root(root), {}, platform=file)
    assert made.machine is not None
    assert made.machine.qe_id.hex() == QE_ID
    outcome = doctor(tmp_path, "--platform", str(file), "--verbose")
    assert QE_ID not in outcome.screen.lower()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """What a person named has to be there."""
    laptop(tmp_path)
    outcome = doctor(tmp_path, "--platform", "nowhere.csv")
    assert (outcome.status, "[file-unreadable]" in outcome.err) == (1, True)


# ── --fix ───────────────────────────────────────────────────────────────────────────────────────


def told(*command: str, safe: bool = True) -> Told:
    """A finding whose mend is that command."""
    return Told("x", Finding("container-no-cache", "…", mends=(Mend("a mend", command, safe),)))


def test_a_safe_mend_is_run_without_a_shell_and_once(tmp_path: Path) -> None:
    """Two findings with the same command: run once, its arguments as they are."""
    odd = str(tmp_path / "a b; touch c")
    mended = mend_all([told("mkdir", odd), told("mkdir", odd)], yes=True)
    assert [(one["done"], one["command"]) for one in mended] == [(True, ["mkdir", odd])]
    assert Path(odd).is_dir()
    assert list(tmp_path.iterdir()) == [Path(odd)]


def test_what_is_not_safe_is_not_run(tmp_path: Path) -> None:
    """Such a command a person types, whatever was agreed to."""
    assert mend_all([told("touch", str(tmp_path / "x"), safe=False)], yes=True) == []
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """By its exit status, or by why it could not be run."""
    mended = mend_all([told("false"), told("/nonexistent/program")], yes=True)
    assert [one["done"] for one in mended] == [False, False]
    assert mended[0]["why"] == "exit status 1"
    assert "  $ false" in capfd.readouterr().err


def test_a_command_that_is_shown_steers_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Folders of variables stand in it: a name is shown escaped, and handed on as it is."""
    (mended,) = mend_all([told("true", "/x\x07\ny")], yes=True)
    assert mended["command"] == ["true", "/x\x07\ny"]
    assert "  $ true '/x\\x07\\ny'\n" in capfd.readouterr().err


def test_no_other_user_is_become_where_nobody_sees_it(tmp_path: Path) -> None:
    """With --yes in a script a command that begins with sudo is shown, and not run."""
    (one,) = mend_all([told("sudo", "touch", str(tmp_path / "x"))], yes=True)
    assert (one["done"], "no terminal" in one["why"]) == (False, True)
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    """--fix in a script: exit status 1, and what to give."""
    outcome = run(tmp_path, "doctor", "--fix", "--offline")
    assert (outcome.status, "[doctor-fix]" in outcome.err) == (1, True)
    assert "--yes" in outcome.err


def test_another_system_is_not_mended(tmp_path: Path) -> None:
    """Commands would change this system, not that in DIR."""
    laptop(tmp_path)
    assert "[doctor-fix]" in doctor(tmp_path, "--fix", "--yes").err


ASKING = """
import sys
from dcap.cli.doctor_fix import mend_all
from dcap.cli.doctor_telling import Told
from dcap.doctor.finding import Finding, Mend
mend = Mend("makes a folder", ("mkdir", sys.argv[1]), True)
print(mend_all([Told("x", Finding("x", "…", mends=(mend,)))], yes=False)[0]["why"] or "done")
"""


@pytest.mark.parametrize(("answer", "is_made"), [("y", True), ("n", False), ("", False)])
def test_each_mend_is_asked_for_on_the_terminal(tmp_path: Path, answer: str, is_made: bool) -> None:
    """The command is shown; y runs it, n and a bare Enter do not."""
    ours, theirs = pty.openpty()
    folder = tmp_path / "made"
    with subprocess.Popen(
        [sys.executable, "-c", ASKING, str(folder)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        text=True,
    ) as process:
        os.write(ours, f"{answer}\n".encode())
        _, err = process.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)
    assert f"  $ mkdir {folder}" in err
    assert "run it? [y/N]" in err
    assert folder.is_dir() == is_made


# ── report ──────────────────────────────────────────────────────────────────────────────────────

TOKEN = "3q2-7wAAc2VjcmV0VG9rZW5PZk91cnMxMjM"
API_KEY = "0123456789abcdef0123456789abcdef"
PASSWORD = "hunter2hunter"
PHRASE = "correct horse battery"
SECRETS = {
    "token": TOKEN,
    "API key": API_KEY,
    "password": PASSWORD,
    "passphrase": PHRASE,
    "PPID": PPID,
    "QE id": QE_ID,
    "manifest": MANIFEST,
    "hash of a token": "9e" * 64,
}


def planted(folder: Path) -> Path:
    """A machine with a secret wherever people put them."""
    root = sgx_host(folder)
    write(root, "/pckid_retrieval.csv", CSV)
    write(
        root,
        "/etc/sgx_default_qcnl.conf",
        "// key of ours "
        + API_KEY
        + '\n{"pccs_url": "https://me:'
        + PASSWORD
        + "@pccs.example:8081/"
        'sgx/certification/v4/", "custom_request_options": {"get_cert": {"headers": '
        '{"Ocp-Apim-Subscription-Key": "' + API_KEY + '", "user-token": "' + TOKEN + '"}}}}',
    )
    write(
        root,
        "/opt/intel/sgx-dcap-pccs/config/default.json",
        json.dumps(
            {"ApiKey": API_KEY, "UserTokenHash": "9e" * 64, "mysql": {"password": PASSWORD}}
        ),
    )
    write(
        root,
        "/etc/systemd/system/pccs.service",
        f"[Service]\nEnvironment=APIKEY={API_KEY} DCAP_PCCS_TOKEN={TOKEN} QE={QE_ID}\n"
        f"Environment=http_proxy=http://me:{PASSWORD}@proxy:3128\n# {TOKEN} {PPID.upper()}\n",
    )
    write(
        root, "/etc/aesmd.conf", f"# manifest: {MANIFEST}\nqpl log level = info {QE_ID.upper()}\n"
    )
    write(
        root,
        "/etc/qgs.conf",
        f"# {':'.join(QE_ID[i : i + 2] for i in range(0, 32, 2))}\nport = 4050\n",
    )
    packages(root, az_dcap_client="1.13.1")
    secret = {"DCAP_PCCS_TOKEN": TOKEN, "DCAP_NOTE": f"{PASSWORD} {QE_ID}", "DCAP_KEY": PHRASE}
    process(
        root, 700, "aesm_service", environ={**secret, "https_proxy": f"http://me:{PASSWORD}@p:1"}
    )
    write(root, "/etc/tdx-attest.conf", f"# {PHRASE}\n")
    return root


def members_of(archive: Path) -> dict[str, bytes]:
    """Every member, unpacked."""
    with tarfile.open(archive) as opened:
        return {
            one.name: found.read()
            for one in opened.getmembers()
            if (found := opened.extractfile(one)) is not None
        }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The report of a machine full of secrets."""
    planted(tmp_path)
    (tmp_path / "machine.csv").write_text(CSV)
    given = ("report", "-o", "report.tar.gz", "--platform", "machine.csv")
    outcome = doctor(tmp_path, *given)
    assert outcome.status == 0, outcome.screen
    return tmp_path / "report.tar.gz"


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_in_the_report(archive: Path, name: str) -> None:
    """Planted in files, units, comments and a platform file: in no member, packed or not, in no form."""
    secret = SECRETS[name]
    forms = {secret, secret.upper(), secret.lower()}
    raw: set[bytes] = {one.encode() for one in forms}
    if name not in ("token", "password", "passphrase"):
        value = bytes.fromhex(secret)
        raw |= {value, value[::-1], b64encode(value)}
        raw.add(":".join(secret[at : at + 2] for at in range(0, len(secret), 2)).encode())
    contents = [*members_of(archive).values(), archive.read_bytes()]
    assert [form for form in raw for content in contents if form in content] == []


def test_the_report_holds_what_is_needed_to_understand_it(archive: Path) -> None:
    """Findings, versions, packages, plugins, configurations, units: and what was not secret in them."""
    members = members_of(archive)
    names = {name.removeprefix("dcap-doctor/") for name in members}
    assert names >= {
        "README.txt",
        "findings.json",
        "versions.json",
        "plugins.json",
        "packages.txt",
        "environment.txt",
        "machine.txt",
        "configuration/etc/sgx_default_qcnl.conf",
        "units/pccs.service",
        "services/aesmd.txt",
    }
    text = {name: content.decode() for name, content in members.items()}
    assert "az-dcap-client 1.13.1" in text["dcap-doctor/packages.txt"]
    assert "pccs.example:8081" in text["dcap-doctor/configuration/etc/sgx_default_qcnl.conf"]
    assert "port = 4050" in text["dcap-doctor/configuration/etc/qgs.conf"]
    assert "/dev/sgx_provision -rw-rw----" in text["dcap-doctor/machine.txt"]
    assert json.loads(text["dcap-doctor/findings.json"])["counts"]["right"] > 0


def test_only_its_owner_may_read_it_until_he_hands_it_on(archive: Path) -> None:
    """Mode 0600; the output says what is in it, and to read it through."""
    assert archive.stat().st_mode & 0o777 == 0o600
    outcome = doctor(archive.parent, "report", "-o", "again.tar.gz", "--platform", "machine.csv")
    assert "findings.json" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("written to again.tar.gz; read it through")


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Exit status 1, with the file's name."""
    laptop(tmp_path)
    outcome = doctor(tmp_path, "report", "-o", "nowhere/report.tar.gz")
    assert (outcome.status, "[output-unwritable]" in outcome.err) == (1, True)


def test_the_archive_is_its_owners_alone_also_where_there_was_one(tmp_path: Path) -> None:
    """A file that all may read is closed before it holds anything, and what was in it is gone."""
    laptop(tmp_path)
    there = tmp_path / "report.tar.gz"
    there.write_bytes(b"x" * 200_000)
    there.chmod(0o644)
    assert doctor(tmp_path, "report", "-o", "report.tar.gz").status == 0
    assert there.stat().st_mode & 0o777 == 0o600
    assert there.stat().st_size < 200_000


def test_a_platform_file_that_nobody_writes_is_not_waited_for(tmp_path: Path) -> None:
    """A FIFO is no file: exit status 1, at once."""
    laptop(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    outcome = doctor(tmp_path, "--platform", "fifo")
    assert (outcome.status, "[file-unreadable]" in outcome.err) == (1, True)


def test_names_in_the_archive_lead_nowhere_else(tmp_path: Path) -> None:
    """A part that is named by a variable: `..` climbs out of no folder, and what steers is escaped."""
    parts = (Part("configuration/etc/../../../../\x1b[31m/evil", b"x", "odd"),)
    written = write_report(tmp_path / "a.tar.gz", parts)
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        names = archive.getnames()
    assert names == ["dcap-doctor/README.txt", "dcap-doctor/\\x1b[31m/evil"]
    assert [one["name"] for one in written["members"]] == ["README.txt", "\\x1b[31m/evil"]
