"""`dcap pccs put` against a PCCS on HTTPS: in parts, again after a failure, never something forged."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cli.pccs_site import Site, failing, site
from dcap.api.http import HttpRequest
from dcap.pccs.client.parts import Parts
from dcap.pccs.items import IdentityKey, PckCrlKey, RootCrlKey, TcbInfoKey
from transcripts.desk import run

NAME = "platform_collaterals.json"
#: Holds three machines of the simulator, or the TCB infos and lists of both FMSPCs.
LIMIT = 100_000


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """Both sides, and a file fetched for eight machines of two FMSPCs."""
    with site(tmp_path) as made:
        made.list(*made.rack(7), made.world.platform("big"))
        assert made.fetch("-t", "all").status == 0
        yield made


def parts_of(at: Site) -> list[dict[str, object]]:
    """The bodies of all that was put."""
    return [json.loads(body) for body in at.bodies]


def all_kept(at: Site) -> bool:
    """Whether the PCCS has every machine, and one item of each kind."""
    keys = (
        RootCrlKey(),
        PckCrlKey("PROCESSOR"),
        PckCrlKey("PLATFORM"),
        IdentityKey("QE"),
        IdentityKey("TD_QE", update="EARLY"),
        TcbInfoKey("TDX", at.world.platform("big").fmspc, update="EARLY"),
    )
    machines = (*at.rack(7), at.world.platform("big"))
    return all(at.holds(one) for one in machines) and all(
        at.rig.store.items.get(key) is not None for key in keys
    )


def test_a_file_that_fits_goes_as_it_is(at: Site) -> None:
    """One request, its body byte for byte the file; no progress is left behind."""
    outcome = at.pccs("put")
    assert outcome.status == 0, outcome.screen
    assert at.bodies == [(at.folder / NAME).read_bytes()]
    assert all_kept(at)
    assert not list(at.folder.glob("*-progress"))


def test_a_large_file_goes_in_parts(at: Site) -> None:
    """Each part is within the limit and has the TCB info of its machines; together they are all."""
    outcome = at.pccs("put", "--max-body", str(LIMIT))
    assert outcome.status == 0, outcome.screen
    assert len(at.bodies) > 3
    assert max(map(len, at.bodies)) <= LIMIT
    for part in parts_of(at):
        collaterals = part["collaterals"]
        assert isinstance(collaterals, dict)
        assert collaterals["version"] == 4
        assert collaterals["certificates"]
        infos = {entry["fmspc"] for entry in collaterals["tcbinfos"]}
        listed = {entry["qe_id"] for entry in part["platforms"]}  # type: ignore[attr-defined]
        certified = {entry["qe_id"] for entry in collaterals["pck_certs"]}
        assert {one.upper() for one in listed} == {one.upper() for one in certified}
        assert infos or not certified
    assert all_kept(at)


def test_documents_stand_in_the_parts_byte_for_byte(at: Site) -> None:
    """Signatures are over bytes: a TCB info that went in parts is that of the file."""
    at.pccs("put", "--max-body", str(LIMIT))
    key = TcbInfoKey("SGX", at.world.platform("big").fmspc)
    kept = at.rig.store.items.get(key)
    assert kept is not None
    assert kept.body in (at.folder / NAME).read_bytes()


def test_a_smaller_limit_of_the_pccs_is_found(tmp_path: Path) -> None:
    """413 makes the parts smaller until they fit, and nothing is left out."""
    with site(tmp_path, max_body=LIMIT) as at:
        at.list(*at.rack(7), at.world.platform("big"))
        assert at.fetch("-t", "all").status == 0
        outcome = at.pccs("put")
        assert outcome.status == 0, outcome.screen
        assert all_kept(at)


def test_a_limit_below_any_piece_is_said(at: Site) -> None:
    """Where one machine alone is too large, nothing more is tried."""
    outcome = at.pccs("put", "--max-body", "4096")
    assert (outcome.status, "[put-piece-too-large]" in outcome.err) == (1, True)


def test_a_second_run_goes_on(at: Site) -> None:
    """What the first run has put is not put again; then the file of progress is gone."""
    puts = iter(range(100))
    at.inside = failing(at.inside, lambda _: next(puts) >= 2, status=500)
    first = at.pccs("put", "--max-body", str(LIMIT))
    assert first.status == 6
    sent = at.bodies[:2]
    assert (at.folder / f"{NAME}.put-progress").exists()
    at.inside = at.rig.handler
    at.bodies.clear()
    second = at.pccs("put", "--max-body", str(LIMIT))
    assert second.status == 0, second.screen
    assert not set(sent) & set(at.bodies)
    assert all_kept(at)
    assert not list(at.folder.glob("*-progress"))


def test_progress_of_another_file_counts_for_nothing(at: Site) -> None:
    """A file that was fetched anew is put from its beginning."""
    puts = iter(range(100))
    at.inside = failing(at.inside, lambda _: next(puts) >= 2, status=500)
    assert at.pccs("put", "--max-body", str(LIMIT)).status == 6
    (at.folder / NAME).write_bytes((at.folder / NAME).read_bytes() + b"\n")
    at.inside = at.rig.handler
    at.bodies.clear()
    assert at.pccs("put", "--max-body", str(LIMIT)).status == 0
    assert b'"rootcacrl"' in at.bodies[0]
    assert all_kept(at)


def test_progress_that_was_cut_off_is_read_to_its_last_whole_line(at: Site) -> None:
    """A run that was killed while it wrote leaves half a line: the part before it counts."""
    puts = iter(range(100))
    at.inside = failing(at.inside, lambda _: next(puts) >= 2, status=500)
    assert at.pccs("put", "--max-body", str(LIMIT)).status == 6
    progress = at.folder / f"{NAME}.put-progress"
    progress.write_bytes(progress.read_bytes() + b'{"done":99')
    sent = at.bodies[:2]
    at.bodies.clear()
    at.inside = at.rig.handler
    assert at.pccs("put", "--max-body", str(LIMIT)).status == 0
    assert not set(sent) & set(at.bodies)
    assert all_kept(at)


def test_a_passing_failure_is_tried_again(at: Site) -> None:
    """One 503 of a gateway does not end it: an import may be repeated."""
    at.inside = failing(at.inside, lambda _: True, times=1)
    assert at.pccs("put").status == 0
    assert all_kept(at)


@pytest.mark.parametrize("large", [False, True])
def test_what_is_forged_is_kept_nowhere(at: Site, large: bool) -> None:
    """A TCB info whose level was altered: exit status 3, and its part changes nothing."""
    data = (at.folder / NAME).read_text()
    assert data.count('"tcbStatus":"OutOfDate"')
    (at.folder / NAME).write_text(data.replace('"tcbStatus":"OutOfDate"', '"tcbStatus":"UpToDate"'))
    outcome = at.pccs("put", *(("--max-body", str(LIMIT)) if large else ()))
    assert (outcome.status, "[put-forged]" in outcome.err) == (3, True)
    assert not any(at.holds(one) for one in at.rack(7))
    assert at.rig.store.items.get(TcbInfoKey("SGX", at.rack(1)[0].fmspc)) is None


@pytest.mark.parametrize("large", [False, True])
def test_what_the_pccs_leaves_out_is_told(at: Site, large: bool) -> None:
    """The file lay about for months: Intel's 200 stands, and exit status 4 says what has expired."""
    at.world.at += timedelta(days=60)
    outcome = at.pccs("put", *(("--max-body", str(LIMIT)) if large else ()))
    assert outcome.status == 4, outcome.screen
    assert re.search(r"not kept: \d+ item expired", outcome.out)
    assert all(at.holds(one) for one in at.rack(7))


def test_why_a_file_was_refused_is_told(at: Site) -> None:
    """The service's own sentence stands in the error, not only "cannot use what was sent"."""
    whole = at.read(NAME)
    whole["collaterals"]["tcbinfos"] = []
    (at.folder / NAME).write_text(json.dumps(whole))
    outcome = at.pccs("put")
    assert (outcome.status, "[put-refused]" in outcome.err) == (2, True)
    assert "there is no SGX TCB info for the FMSPC" in outcome.err


def test_the_file_that_was_named_is_the_one_in_the_error(at: Site) -> None:
    """And no other that stands beside it."""
    (at.folder / "pccs.log").write_text("2026 info request")
    outcome = at.pccs("put", "-i", "pccs.log")
    assert "(pccs.log" in outcome.err
    assert NAME not in outcome.err


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<html>", "[json]"),
        (b"{}", "[json]"),
        (b'{"platforms":[],"collaterals":{}}', "[json]"),
        (b'{"platforms":[{"qe_id":"00","pce_id":"0000"}],"collaterals":', "[json]"),
    ],
)
def test_a_file_that_is_none_is_never_sent(at: Site, content: bytes, code: str) -> None:
    """What cannot be read is said before the PCCS is asked."""
    (at.folder / NAME).write_bytes(content)
    outcome = at.pccs("put")
    assert (outcome.status, code in outcome.err, at.asked) == (2, True, [])


def test_a_machine_without_certificates_is_never_sent(at: Site) -> None:
    """A PCCS would refuse the whole file; the message says so before."""
    whole = at.read(NAME)
    whole["collaterals"]["pck_certs"].pop()
    (at.folder / NAME).write_text(json.dumps(whole))
    outcome = at.pccs("put")
    assert (outcome.status, "have no certificates" in outcome.err, at.asked) == (2, True, [])


def test_ids_are_compared_in_any_case(at: Site) -> None:
    """A list in lower case beside certificates in upper case loses no machine in a part."""
    whole = at.read(NAME)
    for entry in whole["platforms"]:
        entry["qe_id"] = entry["qe_id"].lower()
    parts = Parts.parse(json.dumps(whole).encode())
    assert all(len(machine.records) == 1 for machine in parts.machines)


def test_nothing_that_identifies_a_machine_is_shown(at: Site) -> None:
    """Neither on success nor on failure."""
    outcomes = [at.pccs("put"), at.pccs("put", "--max-body", "4096")]
    shown = "".join(outcome.screen for outcome in outcomes).lower()
    for machine in at.rack(7):
        assert machine.qe_id.hex() not in shown
        assert machine.encrypted_ppid.hex() not in shown


def test_a_policy_is_put_and_its_id_printed(at: Site) -> None:
    """--fmspc and --default, as Intel's tool has them; the id is the only line."""
    asked: list[HttpRequest] = []
    inside = at.inside

    def answer(request: HttpRequest) -> object:
        asked.append(request)
        return inside(request)

    at.inside = answer  # type: ignore[assignment]
    policy = _policy()
    (at.folder / "policy.jwt").write_text(policy + "\n")
    outcome = at.pccs("put", "-f", "00a0a5000000", "-d", "-i", "policy.jwt")
    assert outcome.status == 0, outcome.screen
    assert len(outcome.out.strip()) == 96
    body = json.loads(asked[0].body)
    assert body == {"is_default": True, "fmspc": "00A0A5000000", "policy": policy}
    defaults = at.rig.store.policies.defaults(bytes.fromhex("00A0A5000000"))
    assert [one.policy for one in defaults] == [policy]


def test_a_policy_needs_its_fmspc(at: Site) -> None:
    """The URL of Intel's tool for policies asks for --fmspc."""
    given = ("--url", f"{at.url}/sgx/certification/v4/appraisalpolicy", "-i", "policy.jwt")
    assert run(at.folder, "pccs", "put", *given).status == 1


def _policy() -> str:
    """An appraisal policy for SGX in a JWS that nobody signed: a PCCS does not ask."""
    inner = {
        "policy_array": [{"environment": {"class_id": "3123ec35-8d38-4ea5-87a5-d6c48b567570"}}]
    }
    payload = {"policy_payload": json.dumps(inner)}
    segments = [json.dumps({"alg": "none"}).encode(), json.dumps(payload).encode(), b"signature"]
    return ".".join(urlsafe_b64encode(one).decode().rstrip("=") for one in segments)
