"""`dcap pccs fetch` against a simulated Intel on HTTPS: all of it proven, one failure fails alone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from cli.pccs_site import Site, failing, site
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.cli.pccs_fetch import API_KEYS
from dcap.simulator.services import services
from dcap.simulator.world import World
from transcripts.desk import run

NAME = "platform_collaterals.json"


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """Both sides, and a list of three machines."""
    with site(tmp_path) as made:
        made.list(*made.rack(3))
        yield made


def paths(at: Site) -> list[str]:
    """What Intel was asked for, path by path."""
    return [request.path for request in at.asked_of_intel]


def altered(handler: Handler, part: str, old: bytes, new: bytes) -> Handler:
    """A handler in whose answers to some paths bytes are replaced."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = handler(request)
        if part not in request.target:
            return response
        return msgspec.structs.replace(response, body=response.body.replace(old, new))

    return answer


def of_machine(at: Site, number: int) -> Callable[[HttpRequest], bool]:
    """Whether a request is about a machine of the rack."""
    ppid = at.rack(number)[-1].encrypted_ppid.hex()
    return lambda request: ppid in request.target.lower()


def certified(at: Site) -> set[str]:
    """The QE ids of the machines that the file has certificates of."""
    return {entry["qe_id"].lower() for entry in at.read(NAME)["collaterals"]["pck_certs"]}


def test_everything_a_pccs_needs_is_in_the_file(at: Site) -> None:
    """Members and certificates are those of Intel's tool, documents as Intel sent them."""
    outcome = at.fetch("-t", "all")
    assert outcome.status == 0, outcome.screen
    collaterals = at.read(NAME)["collaterals"]
    assert set(collaterals) == {
        *("version", "pck_certs", "tcbinfos", "pckcacrl", "certificates", "rootcacrl"),
        *("rootcacrl_cdp", "qeidentity", "tdqeidentity", "qveidentity"),
        *("qeidentity_early", "tdqeidentity_early", "qveidentity_early"),
    }
    assert certified(at) == {machine.qe_id.hex() for machine in at.rack(3)}
    assert [entry["pce_svn"] for entry in at.read(NAME)["platforms"]] == ["0D00"] * 3
    assert set(collaterals["certificates"]["SGX-PCK-Certificate-Issuer-Chain"]) == {
        *("PROCESSOR", "PLATFORM"),
    }
    infos = {entry["fmspc"]: set(entry) - {"fmspc"} for entry in collaterals["tcbinfos"]}
    assert infos["00A0A5000000"] == {"sgx_tcbinfo", "sgx_tcbinfo_early"}
    assert "tdx_tcbinfo_early" in infos["90C0A5000000"]
    signed = next(request for request in at.asked_of_intel if "qe/identity" in request.target)
    assert collaterals["qeidentity"].encode() in {
        at.intel(request).body for request in at.asked_of_intel if request.path == signed.path
    }
    assert not list(at.folder.glob("*-progress"))


@pytest.mark.parametrize(
    ("given", "identities", "fmspcs"),
    [
        ((), {"qeidentity", "tdqeidentity", "qveidentity"}, {"00A0A5000000", "90C0A5000000"}),
        (
            ("-t", "early"),
            {"qeidentity_early", "tdqeidentity_early", "qveidentity_early"},
            {"00A0A5000000", "90C0A5000000"},
        ),
        (("-p", "E3"), {"qeidentity", "tdqeidentity", "qveidentity"}, {"00A0A5000000"}),
        (("-p", "none"), {"qeidentity", "tdqeidentity", "qveidentity"}, {"00A0A5000000"}),
        (
            ("-p", "E5"),
            {"qeidentity", "tdqeidentity", "qveidentity"},
            {"00A0A5000000", "90C0A5000000"},
        ),
    ],
)
def test_options_choose_what_is_fetched(
    at: Site, given: tuple[str, ...], identities: set[str], fmspcs: set[str]
) -> None:
    """Generations and kinds of platform, as Intel's tool has them; the machines' own always."""
    outcome = at.fetch(*given)
    assert outcome.status == 0, outcome.screen
    collaterals = at.read(NAME)["collaterals"]
    assert {name for name in collaterals if "identity" in name} == identities
    assert {entry["fmspc"] for entry in collaterals["tcbinfos"]} == fmspcs


def test_the_lists_alone_need_no_machines(at: Site) -> None:
    """-c asks for nothing of machines, and a PCCS takes the file."""
    (at.folder / "platform_list.json").unlink()
    assert at.fetch("-c").status == 0
    assert not [path for path in paths(at) if "pckcert" in path]
    assert at.read(NAME)["platforms"] == []
    outcome = at.pccs("put")
    assert outcome.status == 0, outcome.screen
    assert at.rig.ask("pckcrl?ca=processor").status == 200
    assert at.rig.ask("rootcacrl").status == 200


def test_lists_alone_and_a_list_of_machines_exclude_each_other(at: Site) -> None:
    """Intel's tool drops one of them in silence."""
    assert at.fetch("-c", "-i", "platform_list.json").status == 1


def test_a_table_of_the_retrieval_tool_is_a_list_too(at: Site) -> None:
    """CSV is read where a list of machines is."""
    (at.folder / "one.csv").write_text(row_of(at))
    assert at.fetch("-i", "one.csv").status == 0
    assert certified(at) == {at.rack(1)[0].qe_id.hex()}


# One that fails


def test_one_machine_that_fails_fails_alone(at: Site) -> None:
    """The others are in the file, which a PCCS takes; the failed one stands in a list of its own."""
    stranger = World("elsewhere").platform("stranger", ca="processor")
    at.list(*at.rack(2), stranger, *at.rack(3)[2:])
    outcome = at.fetch()
    assert outcome.status == 6, outcome.screen
    assert "entry 3 of the list" in outcome.out
    assert "[unregistered]" in outcome.out
    assert certified(at) == {machine.qe_id.hex() for machine in at.rack(3)}
    failed = at.read("failed_platforms.json")
    assert [entry["qe_id"].lower() for entry in failed] == [stranger.qe_id.hex()]
    assert at.pccs("put").status == 0
    assert all(at.holds(machine) for machine in at.rack(3))


def test_a_second_run_asks_for_the_rest_alone(at: Site) -> None:
    """What was fetched is not fetched again; once all is there, nothing is left beside the file."""
    at.intel = failing(at.intel, of_machine(at, 2), status=404)
    assert at.fetch().status == 6
    at.intel = at.rig.simulated
    at.asked_of_intel.clear()
    outcome = at.fetch()
    assert outcome.status == 0, outcome.screen
    assert len([path for path in paths(at) if path.endswith("/pckcerts")]) == 1
    assert certified(at) == {machine.qe_id.hex() for machine in at.rack(3)}
    left = {path.name for path in at.folder.iterdir()}
    assert not left & {f"{NAME}.fetch-progress", "failed_platforms.json"}


def test_what_is_remembered_is_proven_again(at: Site) -> None:
    """A file of progress that somebody altered is not believed: those machines are asked for again."""
    at.intel = failing(at.intel, of_machine(at, 2), status=404)
    assert at.fetch().status == 6
    progress = at.folder / f"{NAME}.fetch-progress"
    whole = progress.read_text()
    assert "%0AMII" in whole
    progress.write_text(whole.replace("%0AMII", "%0AMIJ"))
    at.intel = at.rig.simulated
    at.asked_of_intel.clear()
    outcome = at.fetch()
    assert outcome.status == 0, outcome.screen
    assert len([path for path in paths(at) if path.endswith("/pckcerts")]) == 3
    assert at.pccs("put").status == 0
    assert all(at.holds(machine) for machine in at.rack(3))


def test_progress_is_not_taken_for_another_list(at: Site) -> None:
    """With another list the file of before is not written over: it has machines that this one lacks."""
    at.intel = failing(at.intel, of_machine(at, 2), status=404)
    assert at.fetch().status == 6
    before = (at.folder / NAME).read_bytes()
    at.asked_of_intel.clear()
    outcome = at.fetch("-i", "failed_platforms.json")
    assert (outcome.status, "[output-exists]" in outcome.err) == (1, True)
    assert at.asked_of_intel == []
    assert (at.folder / NAME).read_bytes() == before


def test_a_machine_whose_certificate_is_forged_is_not_in_the_file(at: Site) -> None:
    """Exit status 3; the machine is told by its place, the others are there."""
    forge = altered(at.intel, "pckcerts", b"%0AMII", b"%0AMIJ")
    genuine, is_second = at.intel, of_machine(at, 2)
    at.intel = lambda request: (forge if is_second(request) else genuine)(request)
    outcome = at.fetch()
    assert outcome.status == 3, outcome.screen
    assert "entry 2 of the list" in outcome.out
    rack = at.rack(3)
    assert certified(at) == {rack[0].qe_id.hex(), rack[2].qe_id.hex()}


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("/tcb?", b'"tcbStatus":"OutOfDate"', b'"tcbStatus":"UpToDate"'),
        ("/qe/identity", b'"isvsvn":', b'"isvsvn":1'),
        ("pckcrl", b"\x30", b"\x31"),
        ("IntelSGXRootCA", b"\x30", b"\x31"),
    ],
)
def test_forged_collateral_is_never_in_the_file(
    at: Site, part: str, old: bytes, new: bytes
) -> None:
    """An altered document ends it, or is left out: what was altered is written nowhere."""
    at.intel = altered(at.intel, part, old, new)
    outcome = at.fetch()
    assert outcome.status in (3, 6), outcome.screen
    if (at.folder / NAME).exists():
        assert old not in (at.folder / NAME).read_bytes()
        assert certified(at) == set()


def test_another_root_is_not_believed(at: Site) -> None:
    """Without the test root, what the simulator signs is as false as any other forgery."""
    given = ("--url", f"{at.intel_url}/sgx/certification/v4/", "--ca", at.ca)
    crl = ("--root-crl", f"{at.intel_url}/IntelSGXRootCA.der")
    outcome = run(at.folder, "pccs", "fetch", *given, *crl)
    assert outcome.status == 3, outcome.screen
    assert not (at.folder / NAME).exists()


def test_what_has_expired_is_not_written(at: Site) -> None:
    """A list that is past its next update is of no use inside."""
    outcome = at.fetch("--at", "2027-06-01T00:00:00Z")
    assert (outcome.status, "[pccs-expired]" in outcome.err) == (6, True)
    assert not (at.folder / NAME).exists()


# What Intel says


def test_tcbs_without_a_certificate_are_listed(at: Site) -> None:
    """What Intel calls "Not available" needs no answer of a person: the TCBs stand in a file."""
    machine = at.rack(1)[0]
    machine.set_status("OutOfDate")
    at.list(machine)
    outcome = at.fetch("-t", "all")
    assert outcome.status == 0, outcome.screen
    missing = at.read("not_available.json")
    entries = [entry for entry in machine.certificates() if entry.certificate is None]
    assert {entry["cpu_svn"] + entry["pce_svn"] for entry in missing} == {e.hex for e in entries}
    assert {entry["qe_id"].lower() for entry in missing} == {machine.qe_id.hex()}
    assert at.pccs("put").status == 0


def test_a_manifest_is_posted(at: Site) -> None:
    """A machine of several packages is asked for by its manifest."""
    at.list(at.world.platform("big"))
    assert at.fetch().status == 0
    assert [r.method for r in at.asked_of_intel if r.path.endswith("/pckcerts")] == ["POST"]


def test_what_one_entry_lacks_another_has(at: Site) -> None:
    """A machine with several raw TCBs has several entries: it is asked for once, with what they know."""
    full = at.read("platform_list.json")[:1]
    bare = [{**full[0], "enc_ppid": "", "cpu_svn": "00" * 16}]
    (at.folder / "platform_list.json").write_bytes(msgspec.json.encode(bare + full))
    outcome = at.fetch()
    assert outcome.status == 0, outcome.screen
    assert len([path for path in paths(at) if path.endswith("/pckcerts")]) == 1
    assert len(at.read(NAME)["platforms"]) == 2


def test_a_machine_that_could_not_read_its_ppid_is_told_so(at: Site) -> None:
    """An encrypted PPID of zeros is never sent: Intel's answer would be a riddle."""
    records = at.read("platform_list.json")
    records[0]["enc_ppid"] = "00" * 384
    (at.folder / "platform_list.json").write_bytes(msgspec.json.encode(records))
    outcome = at.fetch()
    assert (outcome.status, "[zero-ppid]" in outcome.out) == (6, True)
    assert len(certified(at)) == 2


def test_the_key_is_sent_for_certificates_and_shown_nowhere(at: Site) -> None:
    """The subscription key comes from a file or the environment; a wrong one is named as the cause."""
    at.intel = services(at.world, api_key="the right key")
    wrong = at.fetch(DCAP_API_KEY="a wrong key")
    assert wrong.status == 6
    assert "[wrong-key]" in wrong.out
    assert "a wrong key" not in wrong.screen
    (at.folder / "key").write_text("the right key\n")
    right = at.fetch("--api-key-file", "key")
    assert right.status == 0, right.screen
    asked = {r.path for r in at.asked_of_intel if r.header("Ocp-Apim-Subscription-Key")}
    assert asked == {"/sgx/certification/v4/pckcerts"}


@pytest.mark.parametrize("name", API_KEYS[1:])
def test_the_keys_variable_may_be_the_services_or_verifys(at: Site, name: str) -> None:
    """Whoever has set it for one of dcap's commands need not set it again under another name."""
    at.intel = services(at.world, api_key="the right key")
    outcome = at.fetch(**{name: "the right key"})
    assert outcome.status == 0, outcome.screen


def test_intels_wish_to_wait_is_obeyed(at: Site) -> None:
    """429 with Retry-After is waited for, and then all machines are had."""
    big = at.world.platform("big")
    at.list(*at.rack(2), big)
    genuine, left = at.intel, [2]

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and left[0]:
            left[0] -= 1
            return HttpResponse(status=429, headers=(("Retry-After", "1"),))
        return genuine(request)

    at.intel = answer
    outcome = at.fetch()
    assert outcome.status == 0, outcome.screen
    assert len(certified(at)) == 3


def test_without_an_answer_nothing_is_left(at: Site) -> None:
    """Nobody listens: exit status 6, no file, no progress."""
    at.intel_url = "https://127.0.0.1:9"
    outcome = at.fetch("--timeout", "2")
    assert (outcome.status, "[network-refused]" in outcome.err) == (6, True)
    assert not list(at.folder.glob(f"{NAME}*"))


def test_an_fmspc_without_tcb_info_fails_its_machines_alone(at: Site) -> None:
    """No PCCS takes a machine without one; another FMSPC that Intel lists is nobody's loss."""
    at.list(*at.rack(2), at.world.platform("big"))
    at.intel = failing(
        at.intel, lambda request: "/tcb?" in request.target and "90C0A5" in request.target, 404
    )
    outcome = at.fetch()
    assert (outcome.status, "[no-tcb-info]" in outcome.out) == (6, True)
    assert len(certified(at)) == 2
    assert at.pccs("put").status == 0
    (at.folder / NAME).rename(at.folder / "first.json")
    (at.folder / f"{NAME}.fetch-progress").unlink()
    at.list(*at.rack(2))
    assert at.fetch().status == 0


def test_nothing_that_identifies_a_machine_is_shown(at: Site) -> None:
    """Neither on success nor on any failure, nor in JSON."""
    at.intel = failing(at.intel, of_machine(at, 2), status=404)
    outcomes = [at.fetch(), at.fetch("--json")]
    shown = "".join(outcome.screen for outcome in outcomes).lower()
    for machine in at.rack(3):
        assert machine.qe_id.hex() not in shown
        assert machine.encrypted_ppid.hex()[:32] not in shown


@pytest.mark.parametrize(
    "content", ["", "{}", '[{"qe_id":"00"}]', '[{"qe_id":"00","pce_id":"xx00"}]']
)
def test_a_list_that_is_none_is_refused(at: Site, content: str) -> None:
    """Before Intel is asked for anything."""
    (at.folder / "platform_list.json").write_text(content)
    outcome = at.fetch()
    assert outcome.status == (0 if not content else 2)
    assert bool(at.asked_of_intel) == (not content)


@pytest.mark.parametrize("command", ["fetch", "get", "put", "collect", "cache"])
def test_outside_and_on_a_laptop_the_service_s_libraries_are_not_needed(
    at: Site, command: str
) -> None:
    """What only talks to others runs from the core alone: no database library is imported."""
    (at.folder / "tables").mkdir()
    (at.folder / "tables" / "one.csv").write_text(row_of(at))
    if command in ("put", "cache"):
        assert at.fetch().status == 0
    reach = ["--url", at.url, "--ca", at.ca, "--token-file", "admin"]
    given = {
        "fetch": [*at.outside],
        "get": [*reach, "-o", "new.json"],
        "put": reach,
        "collect": ["-d", "tables", "-o", "new.json"],
        "cache": ["-i", NAME, *at.outside],
    }[command]
    code = "import sys; sys.modules['sqlalchemy'] = None; from dcap.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "pccs", command, *given],
        cwd=at.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def row_of(at: Site) -> str:
    """A table of one machine."""
    machine = at.rack(1)[0]
    svn = machine.cpu_svn.hex()
    return f"{machine.encrypted_ppid.hex()},0000,{svn},0d00,{machine.qe_id.hex()},\n"
