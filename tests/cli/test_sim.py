"""`dcap sim`: worlds in a directory, quotes, collateral, events, faults. Services: `test_sim_up`."""

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.api.http import HttpRequest
from dcap.api.pccs_admin import RegistrationRequest
from dcap.api.pcs import Place
from dcap.api.platform_list import read_csv
from dcap.cli import arguments
from dcap.cli.sim import COMMANDS
from dcap.cli.sim_place import write_folder
from dcap.cli.sim_quote import BODIES, CONTAINERS
from dcap.formats.containers import recognise
from dcap.formats.quote import Quote
from dcap.simulator import World
from dcap.simulator.events import EVENTS
from dcap.simulator.faults import FAULTS, ODDITIES
from dcap.simulator.wire_faults import WIRE_FAULTS
from dcap.sources.directory import read_collateral
from transcripts.desk import Outcome, run

AT = "2026-01-01T12:00:00Z"
PLACE = Place("sgx", 4, "platforms")
JSON = (("Content-Type", "application/json"),)


def sim(folder: Path, *given: str) -> Outcome:
    """`dcap sim …` that must succeed."""
    outcome = run(folder, "sim", *given)
    assert outcome.status == 0, outcome.screen
    return outcome


def verify(folder: Path, quote: str, collateral: str, *given: str) -> Outcome:
    """`dcap verify` at the world's time under the world's root."""
    at = sim(folder, "clock").out.strip()
    root = ("--insecure-test-root", ".dcap-sim/root.pem")
    return run(folder, "verify", quote, "--collateral", collateral, "--at", at, *root, *given)


def test_every_command_is_there(tmp_path: Path) -> None:
    """Each row of the table of commands has help, and is named so."""
    shown = sim(tmp_path, "--help").out
    for name in COMMANDS:
        assert name in shown
        assert f"dcap sim {name}" in sim(tmp_path, name, "--help").out


def test_a_quote_is_refused_unless_its_root_is_named(tmp_path: Path) -> None:
    """Under Intel's root simulated evidence is false; under its own, accepted and called simulated."""
    sim(tmp_path, "quote", "-o", "quote.bin")
    sim(tmp_path, "collateral", "-o", "collateral")
    common = ("--collateral", "collateral", "--any-identity", "--json")
    refused = run(tmp_path, "verify", "quote.bin", *common, "--at", AT)
    assert refused.status == 3
    assert json.loads(refused.out)["verdict"] == "rejected"
    accepted = verify(tmp_path, "quote.bin", "collateral", "--any-identity", "--json")
    assert accepted.status == 0, accepted.screen
    assert json.loads(accepted.out)["trust_root"] == "simulated"
    assert "trusting the test root" in accepted.err


SHAPES = [(tee, version, body) for (tee, version), bodies in BODIES.items() for body in bodies]


@pytest.mark.parametrize(("tee", "version", "body"), SHAPES)
def test_every_shape_of_quote_is_written(tmp_path: Path, tee: str, version: int, body: int) -> None:
    """TEE, version, body type and report data are those asked for, and the quote is accepted."""
    data = "c0ffee"
    shape = ("--tee", tee.lower(), "--version", str(version), "--body-type", str(body))
    sim(tmp_path, "quote", *shape, "--report-data", data, "-o", "quote.bin")
    sim(tmp_path, "collateral", "--tee", tee.lower(), "-o", "collateral")
    quote = Quote.parse((tmp_path / "quote.bin").read_bytes())
    assert (quote.header.version, quote.body_type) == (version, body)
    accepted = verify(tmp_path, "quote.bin", "collateral", "--any-identity", "--report-data", data)
    assert accepted.status == 0, accepted.screen


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_every_container_is_written(tmp_path: Path, container: str, tee: str) -> None:
    """What the quote is put into is recognised again, its bindings hold, and the quote is accepted."""
    outcome = run(
        tmp_path, "sim", "quote", "--tee", tee, "--container", container, "-o", "evidence"
    )
    if tee == "tdx" and container in ("oe-report", "eii"):
        assert outcome.status == 1
        assert "SGX quotes alone" in outcome.err
        return
    sim(tmp_path, "collateral", "--tee", tee, "-o", "collateral")
    names = recognise((tmp_path / "evidence").read_bytes()).wrappings
    assert bool(names) == (container != "raw")
    accepted = verify(tmp_path, "evidence", "collateral", "--any-identity")
    assert accepted.status == 0, accepted.screen


def test_custom_claims_are_bound(tmp_path: Path) -> None:
    """Claims of Open Enclave's evidence are in it, and their hash begins the report data."""
    claims = ("--claim", "key=value", "--claim", "other=")
    sim(tmp_path, "quote", "--container", "oe-evidence", *claims, "-o", "evidence")
    contained = recognise((tmp_path / "evidence").read_bytes())
    assert contained.facts["custom_claims"] == "key, other"
    (binding,) = contained.bindings
    body = Quote.parse(contained.quote).body
    assert body.report_data.startswith(binding.report_data)


@pytest.mark.parametrize("certification", [1, 2, 3, 4, 5])
def test_every_certification_is_written(tmp_path: Path, certification: int) -> None:
    """A quote that names its machine is accepted too: the folder has the machine's PCK chain."""
    sim(tmp_path, "quote", "--certification", str(certification), "-o", "quote.bin")
    sim(tmp_path, "collateral", "-o", "collateral")
    quote = Quote.parse((tmp_path / "quote.bin").read_bytes())
    assert quote.certification.type == certification
    accepted = verify(tmp_path, "quote.bin", "collateral", "--any-identity")
    assert accepted.status == 0, accepted.screen


@pytest.mark.parametrize(
    ("tee", "flags"),
    [
        ("sgx", ("--mrenclave", "ab" * 32)),
        ("sgx", ("--mrsigner", "cd" * 32, "--product-id", "7", "--svn", "3")),
        ("tdx", ("--mrtd", "ab" * 48, "--rtmr0", "01" * 48, "--rtmr3", "03" * 48)),
    ],
)
def test_the_identity_is_the_one_asked_for(
    tmp_path: Path, tee: str, flags: tuple[str, ...]
) -> None:
    """The same flags that make an enclave or TD pin it in `dcap verify`; another value does not."""
    sim(tmp_path, "quote", "--tee", tee, *flags, "-o", "quote.bin")
    sim(tmp_path, "collateral", "--tee", tee, "-o", "collateral")
    pins = ["--min-svn" if flag == "--svn" else flag for flag in flags]
    accepted = verify(tmp_path, "quote.bin", "collateral", *pins)
    assert accepted.status == 0, accepted.screen
    others = [pins[0], "00" * (len(pins[1]) // 2), *pins[2:]]
    assert verify(tmp_path, "quote.bin", "collateral", *others).status == 5


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_debug_is_seen(tmp_path: Path, tee: str) -> None:
    """A relying party meets a debug enclave or TD: refused, unless it allows them."""
    sim(tmp_path, "quote", "--tee", tee, "--debug", "-o", "quote.bin")
    sim(tmp_path, "collateral", "--tee", tee, "-o", "collateral")
    assert verify(tmp_path, "quote.bin", "collateral", "--any-identity").status == 5
    allowed = verify(tmp_path, "quote.bin", "collateral", "--any-identity", "--allow-debug")
    assert allowed.status == 0, allowed.screen


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("--tee", "tdx", "--version", "3"), "no TDX quotes of version 3"),
        (("--tee", "tdx", "--version", "4", "--body-type", "3"), "no body of type 3"),
        (("--body-type", "2"), "no body of type 2"),
        (("--mrtd", "00" * 48), "--mrtd says nothing of a SGX quote"),
        (("--tee", "tdx", "--product-id", "1"), "--product-id says nothing"),
        (("--mrenclave", "00"), "not 32 bytes of hex"),
        (("--report-data", "xyz"), "not 1 to 64 bytes"),
        (("--report-data", "00" * 65), "not 1 to 64 bytes"),
        (("--report-data", "00", "--container", "eii"), "makes the report data"),
        (("--claim", "a=b"), "oe-evidence"),
        (("--container", "oe-evidence", "--claim", "nonsense"), "NAME=TEXT"),
        (("--platform", "nobody"), "no platform 'nobody'"),
    ],
)
def test_a_quote_that_no_machine_makes_is_refused(
    tmp_path: Path, given: tuple[str, ...], why: str
) -> None:
    """Exit status 1, the reason on stderr, and no file."""
    outcome = run(tmp_path, "sim", "quote", *given, "-o", "quote.bin")
    assert outcome.status == 1
    assert why in " ".join(outcome.err.replace("│", " ").split())
    assert not (tmp_path / "quote.bin").exists()


def test_the_same_world_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two directories with the same events: quotes and collateral are equal, byte for byte."""
    made = []
    for name in ("one", "two"):
        sim(tmp_path, "event", "recovery-announced", "--dir", name)
        sim(tmp_path, "quote", "--dir", name, "-o", f"{name}.bin")
        sim(tmp_path, "collateral", "--dir", name, "--update", "early", "-o", f"{name}.d")
        files = sorted((tmp_path / f"{name}.d").iterdir())
        made.append([(tmp_path / f"{name}.bin").read_bytes(), *(f.read_bytes() for f in files)])
    assert made[0] == made[1]


def test_the_story_of_a_recovery(tmp_path: Path) -> None:
    """Good; out of date with the SVN that is short; updated, good; revoked, refused for good."""

    def told() -> Outcome:
        sim(tmp_path, "quote", "-o", "quote.bin")
        sim(tmp_path, "collateral", "-o", "collateral")
        return verify(tmp_path, "quote.bin", "collateral", "--any-identity", "--json")

    assert told().status == 0
    sim(tmp_path, "event", "recovery-announced")
    assert told().status == 0
    sim(tmp_path, "event", "recovery-promoted")
    short = told()
    assert short.status == 4
    (component,) = json.loads(short.out)["tcb"]["shortfall"]
    assert (component["have"], component["need"]) == (8, 9)
    sim(tmp_path, "event", "platform-updated")
    assert told().status == 0
    sim(tmp_path, "event", "pck-revoked")
    assert told().status == 3


def test_collateral_of_a_number(tmp_path: Path) -> None:
    """A number that is on offer can be asked for, one that was retired cannot."""
    sim(tmp_path, "event", "recovery-announced")
    sim(tmp_path, "event", "recovery-promoted")
    older = sim(tmp_path, "collateral", "--number", "17", "-o", "collateral", "--json")
    assert json.loads(older.out)["evaluation_number"] == 17
    sim(tmp_path, "event", "evaluation-number-retired", "--number", "17")
    outcome = run(tmp_path, "sim", "collateral", "--number", "17", "-o", "collateral")
    assert (outcome.status, "not on offer" in outcome.err) == (1, True)


def test_collateral_replaces_what_was_there(tmp_path: Path) -> None:
    """A folder that held the other encodings of a piece does not keep them beside the new one."""
    sim(tmp_path, "collateral", "-o", "collateral")
    (tmp_path / "collateral" / "pck_crl.der").rename(tmp_path / "collateral" / "pck_crl.pem")
    sim(tmp_path, "collateral", "-o", "collateral")
    assert not (tmp_path / "collateral" / "pck_crl.pem").exists()


EVENT_FLAGS: dict[str, tuple[str, ...]] = {
    "platform-added": (
        *("--platform", "node-1", "--ca", "platform", "--fmspc", "00906ED50000"),
        *("--without", "smt", "--without", "registered"),
    ),
    "platform-registered": ("--platform", "node-1"),
    "recovery-announced": (),
    "recovery-promoted": (),
    "evaluation-number-retired": ("--number", "17"),
    "platform-updated": ("--part", "microcode", "--no-relaunch"),
    "status-set": ("--status", "OutOfDate", "--part", "qe"),
    "platform-reregistered": ("--platform", "machine"),
    "pck-revoked": (),
    "intermediate-revoked": ("--ca", "tcb-signing"),
    "signer-rotated": (),
    "crl-reissued": (),
}


def test_every_event_is_a_command(tmp_path: Path) -> None:
    """Each event happens by its name and flags, in the order of a life, and is kept."""
    assert set(EVENT_FLAGS) == {name for name in EVENTS if not name.startswith("clock-")}
    for name, flags in EVENT_FLAGS.items():
        told = sim(tmp_path, "event", name, *flags)
        assert told.out.startswith(f"event        {name}")
    state = json.loads((tmp_path / ".dcap-sim" / "state.json").read_bytes())
    assert [event["event"] for event in state["events"][1:]] == list(EVENT_FLAGS)


def test_events_are_listed(tmp_path: Path) -> None:
    """`--list` has each event once, with what it takes; a listing makes no world."""
    listed = json.loads(sim(tmp_path, "event", "--list", "--json").out)["events"]
    assert {row["name"] for row in listed} == set(EVENT_FLAGS)
    assert all(name in sim(tmp_path, "event", "--list").out for name in EVENT_FLAGS)
    assert not (tmp_path / ".dcap-sim").exists()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((), "which event"),
        (("nonsense",), "no event 'nonsense'"),
        (("clock-set",), "dcap sim clock"),
        (("status-set",), "status"),
        (("pck-revoked", "--status", "OutOfDate"), "status"),
        (("recovery-promoted",), "no recovery is waiting"),
    ],
)
def test_events_that_cannot_be_are_refused(
    tmp_path: Path, given: tuple[str, ...], why: str
) -> None:
    """Exit status 1, with the reason; nothing is kept."""
    outcome = run(tmp_path, "sim", "event", *given)
    assert outcome.status == 1
    assert why in outcome.err
    assert len(json.loads(sim(tmp_path, "event", "--list", "--json").out)["events"]) > 0
    assert sim(tmp_path, "clock").out.strip() == AT


def test_the_clock(tmp_path: Path) -> None:
    """It stands, is advanced, turned back and set; what it prints is what `--at` reads."""
    assert sim(tmp_path, "clock").out == f"{AT}\n"
    assert sim(tmp_path, "clock", "--advance", "30d").out == "2026-01-31T12:00:00Z\n"
    assert sim(tmp_path, "clock", "--advance=-2h").out == "2026-01-31T10:00:00Z\n"
    assert sim(tmp_path, "clock", "--set", "2026-05-01T00:00:00+02:00").out == (
        "2026-04-30T22:00:00Z\n"
    )
    before = arguments.instant(None).replace(microsecond=0)
    now = arguments.instant(sim(tmp_path, "clock", "--set", "now").out.strip())
    assert before <= now <= arguments.instant(None)


@pytest.mark.parametrize(
    "given",
    [
        ("--set", "noon"),
        ("--advance", "soon"),
        ("--set", AT, "--advance", "1d"),
        ("--set", "2017-01-01"),
    ],
)
def test_a_time_that_is_none_is_refused(tmp_path: Path, given: tuple[str, ...]) -> None:
    """The clock stays where it was."""
    assert run(tmp_path, "sim", "clock", *given).status == 1
    assert sim(tmp_path, "clock").out == f"{AT}\n"


def test_collateral_expires_as_the_clock_goes(tmp_path: Path) -> None:
    """Kept collateral is refused a month later, fresh collateral of that day is not."""
    sim(tmp_path, "quote", "-o", "quote.bin")
    sim(tmp_path, "collateral", "-o", "collateral")
    sim(tmp_path, "clock", "--advance", "31d")
    assert verify(tmp_path, "quote.bin", "collateral", "--any-identity").status == 4
    sim(tmp_path, "collateral", "-o", "collateral")
    assert verify(tmp_path, "quote.bin", "collateral", "--any-identity").status == 0


def test_reset(tmp_path: Path) -> None:
    """Another seed is another root; the same seed is the same world again."""
    sim(tmp_path, "event", "pck-revoked")
    root = tmp_path / ".dcap-sim" / "root.pem"
    before = root.read_bytes()
    told = json.loads(sim(tmp_path, "reset", "--seed", "ci", "--at", "1767225600", "--json").out)
    assert (told["seed"], told["at"]) == ("ci", "2026-01-01T00:00:00Z")
    assert root.read_bytes() != before
    sim(tmp_path, "reset")
    assert root.read_bytes() == before
    assert sim(tmp_path, "clock").out == f"{AT}\n"


def test_a_fault_in_a_folder_trips_its_finding(tmp_path: Path) -> None:
    """Through the commands that the help shows: refused for the reason told; its truth is accepted."""
    told = json.loads(sim(tmp_path, "fault", "pck-revoked", "-o", "case", "--json").out)

    def judge() -> Any:
        at = (tmp_path / "case" / "at").read_text().strip()
        outcome = run(
            tmp_path,
            *("verify", "case/quote.bin", "--collateral", "case", "--at", at, "--json"),
            *("--policy", "case/policy.toml", "--insecure-test-root", ".dcap-sim/root.pem"),
        )
        return json.loads(outcome.out)

    failed = {finding["code"] for finding in judge()["findings"] if not finding["ok"]}
    assert failed == {told["finding"], *told["also"]} == {"pck-revocation"}
    sim(tmp_path, "fault", "pck-revoked", "-o", "case", "--truth")
    assert judge()["verdict"] == "accepted"


@pytest.mark.parametrize("name", [*FAULTS, *ODDITIES])
def test_every_fault_survives_the_folder(tmp_path: Path, name: str) -> None:
    """Written as files and read again, a case is the same case: nothing is mended on the way."""
    case = {**FAULTS, **ODDITIES}[name].make(World())
    write_folder(tmp_path, case.collateral)
    assert read_collateral(tmp_path) == case.collateral


def test_faults_are_listed(tmp_path: Path) -> None:
    """Faults, oddities and those of the wire, each with a sentence."""
    listed = json.loads(sim(tmp_path, "fault", "--list", "--json").out)
    assert [row["name"] for row in listed["faults"]] == list(FAULTS)
    assert [row["name"] for row in listed["oddities"]] == list(ODDITIES)
    assert [row["name"] for row in listed["wire_faults"]] == list(WIRE_FAULTS)
    assert all(row["sentence"] for rows in list(listed.values())[1:] for row in rows)
    text = sim(tmp_path, "fault", "--list").out
    assert all(name in text for name in (*FAULTS, *ODDITIES, *WIRE_FAULTS))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((), "which fault"),
        (("nonsense", "-o", "case"), "no fault"),
        (("pck-revoked",), "where to write it"),
        (("slow", "-o", "case"), "dcap sim up --wire-fault slow"),
    ],
)
def test_a_fault_that_is_none_is_refused(tmp_path: Path, given: tuple[str, ...], why: str) -> None:
    """Exit status 1, with what to do."""
    outcome = run(tmp_path, "sim", "fault", *given)
    assert (outcome.status, why in outcome.err) == (1, True), outcome.err


def test_a_machine_tells_what_identifies_it(tmp_path: Path) -> None:
    """What `dcap sim platform` prints is the machine's own, in the order of the wire."""
    told = json.loads(sim(tmp_path, "platform", "--json").out)
    machine = World().platform()
    assert bytes.fromhex(told["encrypted_ppid"]) == machine.encrypted_ppid
    assert bytes.fromhex(told["platform_manifest"]) == machine.manifest
    assert (told["pce_svn"], told["pce_id"]) == ("0D00", "0000")
    field = sim(tmp_path, "platform", "--field", "qe_id").out.strip()
    assert bytes.fromhex(field) == machine.qe_id
    sim(tmp_path, "event", "platform-added", "--platform", "single", "--ca", "processor")
    assert json.loads(sim(tmp_path, "platform", "single", "--json").out)["platform_manifest"] == ""


def test_a_machine_writes_what_registers_it(tmp_path: Path) -> None:
    """By its PPID or its manifest, as the service and Intel's tables have them; one form at a time."""
    sim(tmp_path, "event", "platform-added", "--platform", "single", "--ca", "processor")
    for name in ("machine", "single"):
        body = sim(tmp_path, "platform", name, "--registration").out.encode()
        request = HttpRequest(method="POST", target="/", headers=JSON, body=body)
        sent = RegistrationRequest.from_http(PLACE, request).platform
        (row,) = read_csv(sim(tmp_path, "platform", name, "--csv").out.encode())
        assert (sent.qe_id, sent.pce_id) == (row.qe_id, row.pce_id)
        by_manifest = name == "machine"
        assert bool(sent.platform_manifest) == bool(row.platform_manifest) == by_manifest
        assert bool(sent.enc_ppid) == (not by_manifest)
        ppid = sim(tmp_path, "platform", name, "--field", "encrypted_ppid").out.strip()
        assert row.enc_ppid == ppid
    assert run(tmp_path, "sim", "platform", "--csv", "--registration").status == 1
