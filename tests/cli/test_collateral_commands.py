"""`dcap collateral`: get, show, check and diff, against a simulated Intel over real HTTPS."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dcap.api.http import HttpRequest, HttpResponse
from dcap.cli.collateral import COMMANDS
from dcap.cli.collateral_source import files_of
from dcap.simulator.events import PckRevoked, RecoveryAnnounced
from dcap.simulator.internet import Internet, internet
from dcap.simulator.services import services
from dcap.simulator.world import World
from transcripts.desk import Outcome, run


class Desk(NamedTuple):
    """A folder, a world and the internet in which its services are."""

    folder: Path
    world: World
    box: Internet

    def run(self, *arguments: str, **more: str) -> Outcome:
        """`dcap collateral`, in this world."""
        environ = {
            **self.box.environment,
            "DCAP_OFFLINE": "",
            "DCAP_CACHE": str(self.folder / "cache"),
            "DCAP_INSECURE_TEST_ROOT": "root.pem",
            "DCAP_SOURCE": "pcs",
            **more,
        }
        return run(self.folder, *arguments, **environ)

    def collateral(self, *arguments: str, **more: str) -> Outcome:
        """`dcap collateral …`."""
        return self.run("collateral", *arguments, **more)

    def told(self, *arguments: str, **more: str) -> dict[str, Any]:
        """Its JSON."""
        return dict(json.loads(self.collateral(*arguments, "--json", **more).out))

    def write(self, name: str, tee: str = "SGX", **asked: Any) -> Path:
        """A folder with what Intel would answer now."""
        folder = self.folder / name
        folder.mkdir()
        whole = self.world.collateral(self.world.platform(), tee, **asked)
        for file, content in files_of(whole).items():
            (folder / file).write_bytes(content)
        return folder

    def later(self, days: int) -> str:
        """An instant so many days on."""
        return f"{self.world.at + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """The desk; the world's clock is this machine's."""
    world = World(at=datetime.now(UTC).replace(microsecond=0))
    machine = world.platform()
    (tmp_path / "root.pem").write_bytes(world.root_pem)
    for tee in ("sgx", "tdx"):
        (tmp_path / f"{tee}.bin").write_bytes(machine.quote(tee=tee.upper()))
    (tmp_path / "type3.bin").write_bytes(machine.quote(certification=3))
    (tmp_path / "net").mkdir()
    with internet(services(world), world, tmp_path / "net") as box:
        yield Desk(tmp_path, world, box)


def test_every_command_has_help(desk: Desk) -> None:
    """The group lists its commands; each of them explains itself."""
    outcome = desk.collateral("--help")
    assert all(name in outcome.out for name in COMMANDS)
    for name in COMMANDS:
        assert desk.collateral(name, "--help").status == 0


# ── get ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("evidence", ["sgx.bin", "tdx.bin", "type3.bin"])
@pytest.mark.parametrize("form", ["folder", "bundle"])
def test_what_was_got_judges_the_evidence_offline(desk: Desk, evidence: str, form: str) -> None:
    """A folder beside the evidence, or one bundle with it: accepted without a network."""
    where = ("-o", "got") if form == "folder" else ("--bundle", "got")
    assert desk.collateral("get", evidence, *where).status == 0
    given = (evidence, "--collateral", "got") if form == "folder" else ("got",)
    offline = {"DCAP_OFFLINE": "1", "DCAP_CACHE": "off"}
    assert desk.run("verify", *given, "--any-identity", **offline).status == 0


@pytest.mark.parametrize(("tee", "name"), [((), "SGX"), (("--tee", "tdx"), "TDX")])
def test_an_fmspc_needs_no_quote(desk: Desk, tee: tuple[str, ...], name: str) -> None:
    """For a kind of platform, of one TEE."""
    fmspc = desk.world.platform().fmspc.hex()
    value = desk.told("get", "--fmspc", fmspc, *tee, "-o", "got")
    assert [(one["tee"], one["fmspc"]) for one in value["sets"]] == [(name, fmspc)]
    assert desk.collateral("check", "got").status == 0


def test_both_tees_have_a_folder_each(desk: Desk) -> None:
    """Several sets: one folder in the folder for each, and verify takes the one that fits."""
    fmspc = desk.world.platform().fmspc.hex()
    assert (
        desk.collateral("get", "--fmspc", fmspc, "--tee", "sgx", "--tee", "tdx", "-o", "got").status
        == 0
    )
    assert sorted(p.name for p in (desk.folder / "got").iterdir()) == [
        f"{fmspc.upper()}-sgx",
        f"{fmspc.upper()}-tdx",
    ]
    for evidence in ("sgx.bin", "tdx.bin"):
        given = (evidence, "--collateral", "got", "--any-identity", "--offline")
        assert desk.run("verify", *given, DCAP_CACHE="off").status == 0


def test_all_fmspcs_of_intel(desk: Desk) -> None:
    """Every platform that Intel lists, each TEE it has; what there is none of is told."""
    desk.world.platform("small", ca="processor")
    value = desk.told("get", "--all-fmspcs", "-o", "got", DCAP_SOURCE="alibaba:cn-hangzhou")
    assert {(one["fmspc"], one["tee"], one["ca"]) for one in value["sets"]} == {
        ("00a0a5000000", "SGX", "processor"),
        ("90c0a5000000", "SGX", "platform"),
        ("90c0a5000000", "TDX", "platform"),
    }
    assert value["without"] == ["00A0A5000000-tdx"]
    assert desk.collateral("check", "got").status == 0


def test_only_one_kind_of_platform(desk: Desk) -> None:
    """--platform and --tee narrow it down."""
    desk.world.platform("small", ca="processor")
    value = desk.told("get", "--all-fmspcs", "--platform", "E3", "--tee", "sgx", "-o", "got")
    assert [one["fmspc"] for one in value["sets"]] == ["00a0a5000000"]


@pytest.mark.parametrize("flags", [("--early",), ("--evaluation", "18")])
def test_the_generation_is_a_flag(desk: Desk, flags: tuple[str, ...]) -> None:
    """What is announced can be got before it is standard."""
    RecoveryAnnounced().apply(desk.world)
    value = desk.told("get", "tdx.bin", *flags, "-o", "got")
    assert value["sets"][0]["evaluation_number"] == 18


def test_what_is_kept_is_not_what_is_got(desk: Desk) -> None:
    """A new fetch is a new fetch; with --offline, what was kept is saved."""
    for name in ("one", "two"):
        assert desk.collateral("get", "sgx.bin", "-o", name).status == 0
    asked = len(desk.box.log)
    assert sum(one.target.startswith("/IntelSGXRootCA") for one in desk.box.log) == 2
    assert desk.collateral("get", "sgx.bin", "--offline", "-o", "three").status == 6
    desk.run("verify", "sgx.bin", "--any-identity", "-q")
    value = desk.told("get", "sgx.bin", "--offline", "-o", "three")
    assert all(source["cached"] for source in value["sets"][0]["sources"])
    assert len(desk.box.log) == asked + 4


@pytest.mark.parametrize("target", ["-o", "--bundle"])
def test_nothing_is_written_over(desk: Desk, target: str) -> None:
    """What is there stays, to the byte; an empty folder is no matter."""
    (desk.folder / "there").mkdir()
    (desk.folder / "there" / "mine").write_text("mine")
    (desk.folder / "file").write_text("mine")
    for name in ("there", "file"):
        outcome = desk.collateral("get", "sgx.bin", target, name)
        assert outcome.status == 1
        assert "[output-exists]" in outcome.err
    assert [p.name for p in (desk.folder / "there").iterdir()] == ["mine"]
    assert (desk.folder / "file").read_text() == "mine"
    (desk.folder / "empty").mkdir()
    assert desk.collateral("get", "sgx.bin", "-o", "empty").status == 0


def test_nothing_half_written_is_left(desk: Desk) -> None:
    """Folder and bundle are whole: no temporary file lies beside them."""
    desk.collateral("get", "sgx.bin", "-o", "got")
    desk.collateral("get", "sgx.bin", "--bundle", "got.json")
    assert not [p.name for p in desk.folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("target", ["-o", "--bundle"])
def test_a_place_that_cannot_be_written_is_a_configuration_error(desk: Desk, target: str) -> None:
    """A file stands where the folder should: said, and nothing left behind."""
    outcome = desk.collateral("get", "sgx.bin", target, "root.pem/got")
    assert outcome.status == 1
    assert "[output-unwritable]" in outcome.err
    assert not [p.name for p in desk.folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("target", ["-o", "--bundle"])
def test_what_does_not_prove_is_not_written(desk: Desk, target: str) -> None:
    """Another world's collateral: exit status 3 with the findings, and no file."""
    other = World("another", at=desk.world.at)
    other.platform()
    (desk.folder / "other").mkdir()
    with internet(services(other), other, desk.folder / "other") as box:
        outcome = Desk(desk.folder, desk.world, box).collateral("get", "sgx.bin", target, "got")
    assert (outcome.status, outcome.out) == (3, "")
    assert "tcb-info-chain-root" in outcome.err
    assert not (desk.folder / "got").exists()


def test_what_has_expired_is_not_written(desk: Desk) -> None:
    """Genuine and out of date: exit status 4, and no file."""
    outcome = desk.collateral("get", "sgx.bin", "-o", "got", "--at", desk.later(60))
    assert outcome.status == 4
    assert "tcb-info-expiry" in outcome.err
    assert not (desk.folder / "got").exists()


def test_another_set_than_was_asked_for_is_not_written(desk: Desk) -> None:
    """A source that gives genuine collateral of another CA: told, and no file."""
    fmspc = desk.world.platform().fmspc.hex()
    folder = desk.write("saved")
    given = ("--fmspc", fmspc, "--pck-ca", "processor", "--source", str(folder), "-o", "got")
    outcome = desk.collateral("get", *given)
    assert outcome.status == 6
    assert "[source-other-collateral]" in outcome.err
    assert not (desk.folder / "got").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("-o", "got"), "collateral-which"),
        (("sgx.bin",), "collateral-which"),
        (("sgx.bin", "-o", "got", "--bundle", "b"), "collateral-which"),
        (("sgx.bin", "--all-fmspcs", "-o", "got"), "collateral-which"),
        (("--all-fmspcs", "--bundle", "b"), "collateral-which"),
        (("--fmspc", "00", "-o", "got"), "fmspc-hex"),
        (("--fmspc", "zz" * 6, "-o", "got"), "fmspc-hex"),
        (("--all-fmspcs", "--source", "alibaba:cn-hangzhou", "-o", "got"), "source-without-list"),
        (("sgx.bin", "--source", "nowhere", "-o", "got"), "source-spec"),
    ],
)
def test_flags_that_cannot_be_obeyed_are_errors(
    desk: Desk, arguments: tuple[str, ...], code: str
) -> None:
    """Exit status 1, and nothing was asked or written."""
    outcome = desk.collateral("get", *arguments)
    assert (outcome.status, outcome.out) == (1, "")
    assert f"[{code}]" in outcome.err
    assert desk.box.log == []
    assert not (desk.folder / "got").exists()


def test_evidence_that_is_none_is_2(desk: Desk) -> None:
    """A file that is no quote needs no collateral."""
    assert desk.collateral("get", "root.pem", "-o", "got").status == 2


# ── show ────────────────────────────────────────────────────────────────────────────────────────


def test_show_says_what_is_there_and_how_long_it_is_good(desk: Desk) -> None:
    """Documents with number and FMSPC, lists with number and entries, signers, days left."""
    PckRevoked().apply(desk.world)
    desk.write("saved", "TDX")
    value = desk.told("show", "saved", "--at", desk.later(1))
    pieces = {piece["piece"]: piece for piece in value["sets"][0]["pieces"]}
    info, crl = pieces["tcb-info"], pieces["pck-crl"]
    assert (info["id"], info["fmspc"], info["evaluation_number"]) == ("TDX", "90c0a5000000", 17)
    assert (info["signer"], info["days_left"]) == ("Intel SGX TCB Signing", 28)
    assert crl["signer"] == "Intel SGX PCK Platform CA"
    assert crl["revoked"] > 0
    assert value["verified"] is False
    text = desk.collateral("show", "saved", "--at", desk.later(90)).out
    assert "EXPIRED" in text
    assert "not verified" in text


def test_show_tells_what_a_bundle_says_of_itself(desk: Desk) -> None:
    """When it was recorded, that it holds evidence, from where its pieces came."""
    desk.collateral("get", "tdx.bin", "--bundle", "bundle.json")
    (value,) = desk.told("show", "bundle.json")["sets"]
    assert value["evidence"] is True
    assert value["recorded_at"] is not None
    assert {source["source"] for source in value["sources"]} == {"Intel PCS"}
    assert "recorded from" in desk.collateral("show", "bundle.json").out


def test_show_takes_one_document_alone(desk: Desk) -> None:
    """A TCB info or an identity by itself, in its envelope."""
    folder = desk.write("saved")
    for name, piece in (
        ("tcb_info_response.json", "tcb-info"),
        ("qe_identity_response.json", "qe-identity"),
    ):
        (value,) = desk.told("show", str(folder / name))["sets"]
        assert [one["piece"] for one in value["pieces"]] == [piece]


def test_a_piece_that_cannot_be_read_is_shown_as_such(desk: Desk) -> None:
    """The rest is shown all the same."""
    folder = desk.write("saved")
    (folder / "pck_crl.der").write_bytes(b"0\x82<html>")
    pieces = {piece["piece"]: piece for piece in desk.told("show", "saved")["sets"][0]["pieces"]}
    assert "problem" in pieces["pck-crl"]
    assert "problem" not in pieces["tcb-info"]
    assert "unreadable" in desk.collateral("show", "saved").out


@pytest.mark.parametrize("arguments", [(), ("saved", "--cache", "dcap")])
def test_show_shows_one_thing(desk: Desk, arguments: tuple[str, ...]) -> None:
    """A path or a cache."""
    outcome = desk.collateral("show", *arguments)
    assert outcome.status == 1
    assert "[collateral-which]" in outcome.err


def test_the_cache_is_shown(desk: Desk) -> None:
    """What a fetch has kept: of which platform, since when, until when."""
    desk.run("verify", "type3.bin", "--any-identity", "-q")
    (cache,) = desk.told("show", "--cache", "dcap")["caches"]
    assert {entry["kind"] for entry in cache["entries"]} == {"collateral", "pck-certificate"}
    assert not any(entry["expired"] for entry in cache["entries"])
    assert (
        "collateral, SGX 90c0a5000000 platform standard"
        in desk.collateral("show", "--cache", "dcap").out
    )
    (gone,) = desk.told("show", "--cache", "dcap", "--at", desk.later(60))["caches"]
    assert any(entry["expired"] for entry in gone["entries"])


def test_caches_that_are_not_there_are_empty(desk: Desk) -> None:
    """All three are looked for; none of them being there is no error."""
    home = desk.folder / "home"
    home.mkdir()
    places = {"HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home)}
    value = desk.told("show", "--cache", "all", **places)
    assert [cache["cache"] for cache in value["caches"]] == ["dcap", "intel", "azure"]
    assert all(cache["entries"] == [] for cache in value["caches"])


# ── check ───────────────────────────────────────────────────────────────────────────────────────


def test_check_proves_and_judges_the_age(desk: Desk) -> None:
    """Genuine and in date 0; expired 4; another root 3; a piece missing or unreadable 6."""
    folder = desk.write("saved")
    assert desk.collateral("check", "saved").status == 0
    assert desk.collateral("check", "saved", "--at", desk.later(60)).status == 4
    assert desk.collateral("check", "saved", DCAP_INSECURE_TEST_ROOT="").status == 3
    (folder / "pck_crl.der").write_bytes(b"<html>")
    assert desk.collateral("check", "saved").status == 6
    (folder / "pck_crl.der").unlink()
    assert desk.collateral("check", "saved").status == 6
    assert desk.collateral("check", "absent").status == 6


def test_check_finds_what_was_altered(desk: Desk) -> None:
    """One letter in the TCB info: the finding of its signature, and its remedy."""
    folder = desk.write("saved")
    file = folder / "tcb_info_response.json"
    file.write_bytes(file.read_bytes().replace(b"UpToDate", b"UptoDate", 1))
    value = desk.told("check", "saved")
    (found,) = value["sets"]
    assert value["exit_status"] == 3
    assert [f["code"] for f in found["findings"] if not f["ok"]] == ["tcb-info-signature"]
    text = desk.collateral("check", "saved").out
    assert "FALSE" in text
    assert "FAIL  tcb-info-signature" in text


def test_check_finds_pieces_of_two_tees(desk: Desk) -> None:
    """Genuine pieces that do not belong together: the identity is of the other TEE."""
    folder, other = desk.write("saved"), desk.write("other", "TDX")
    (folder / "qe_identity_response.json").write_bytes(
        (other / "qe_identity_response.json").read_bytes()
    )
    value = desk.told("check", "saved")
    codes = [f["code"] for f in value["sets"][0]["findings"] if not f["ok"]]
    assert (value["exit_status"], codes) == (3, ["qe-identity-tee"])


def test_check_of_several_sets_ends_with_the_gravest(desk: Desk) -> None:
    """A folder of folders: each is told, and the worst is the exit status."""
    (desk.folder / "all").mkdir()
    desk.write("all/good")
    bad = desk.write("all/bad", "TDX")
    file = bad / "tcb_info_response.json"
    file.write_bytes(file.read_bytes().replace(b"UpToDate", b"UptoDate", 1))
    value = desk.told("check", "all")
    assert [one["exit_status"] for one in value["sets"]] == [3, 0]
    assert value["exit_status"] == 3


# ── diff ────────────────────────────────────────────────────────────────────────────────────────


def test_diff_says_which_component_now_needs_what(desk: Desk) -> None:
    """Between two evaluation numbers: requirement, levels, number, under the document's name."""
    RecoveryAnnounced().apply(desk.world)
    desk.write("old", "TDX")
    desk.write("new", "TDX", update="early")
    outcome = desk.collateral("diff", "old", "new")
    assert outcome.status == 0
    assert "TCB info of TDX FMSPC 90C0A5000000" in outcome.out
    assert "SGX component 1 (BIOS, Early Microcode Update) now needs 9, before 8" in outcome.out
    value = desk.told("diff", "old", "new")
    assert value["same"] is False
    needs = [one for one in value["differences"] if one["kind"] == "requirement"]
    assert [(one["old"], one["new"]) for one in needs] == [("8", "9"), ("8", "9")]


def test_diff_of_the_same_is_none(desk: Desk) -> None:
    """A set and itself, as folder and as bundle."""
    desk.write("saved")
    assert desk.collateral("diff", "saved", "saved").out == "no difference\n"
    assert desk.told("diff", "saved", "saved")["same"] is True
    desk.collateral("get", "sgx.bin", "--bundle", "bundle.json")
    assert desk.told("diff", "saved", "bundle.json")["same"] is True


def test_diff_takes_documents_alone(desk: Desk) -> None:
    """Two TCB info files, or one and a whole set."""
    RecoveryAnnounced().apply(desk.world)
    old, new = desk.write("old"), desk.write("new", update="early")
    name = "tcb_info_response.json"
    for one, two in ((old / name, new / name), (old / name, new)):
        value = desk.told("diff", str(one), str(two))
        assert value["alone"] == []
        assert {d["kind"] for d in value["differences"]} >= {"requirement", "number", "added"}
    lonely = desk.told("diff", str(old / name), str(new / "qe_identity_response.json"))
    assert len(lonely["alone"]) == 2


def test_diff_of_another_day_is_a_renewal(desk: Desk) -> None:
    """The same generation a day later: renewed, and otherwise the same."""
    desk.write("old")
    desk.world.advance(timedelta(days=1))
    desk.write("new")
    assert "renewed, and otherwise the same" in desk.collateral("diff", "old", "new").out


def test_diff_of_what_cannot_be_read_says_which(desk: Desk) -> None:
    """Exit status 6, and the set's name."""
    desk.write("old")
    new = desk.write("new")
    (new / "pck_crl.der").write_bytes(b"0\x82<html>")
    outcome = desk.collateral("diff", "old", "new")
    assert outcome.status == 6
    assert "(new" in outcome.err


def test_diff_pairs_folders_by_their_names(desk: Desk) -> None:
    """Two folders of sets: each with its namesake; who is alone is told."""
    for side in ("old", "new"):
        (desk.folder / side).mkdir()
        desk.write(f"{side}/sgx")
        desk.write(f"{side}/tdx", "TDX")
    desk.write("new/more")
    value = desk.told("diff", "old", "new")
    assert (value["differences"], value["alone"]) == ([], ["more is only in new"])


def test_the_list_of_all_is_not_had_offline(desk: Desk) -> None:
    """No cache has Intel's list of FMSPCs: unavailable, which is what is said."""
    outcome = desk.collateral("get", "--all-fmspcs", "--offline", "-o", "all")
    assert outcome.status == 6
    assert "[offline]" in outcome.err


@pytest.mark.parametrize("fmspc", ["zz", "", "90c0a500000000"])
def test_a_list_of_all_that_cannot_be_read_is_the_sources_fault(desk: Desk, fmspc: str) -> None:
    """An entry that is no FMSPC: 6, and not a fault of the flags."""
    genuine = desk.box._handler

    def hostile(request: HttpRequest) -> HttpResponse:
        if "fmspcs" not in request.target:
            return genuine(request)
        body = json.dumps([{"fmspc": fmspc, "platform": "E5"}]).encode()
        return HttpResponse(status=200, headers=(("Content-Type", "application/json"),), body=body)

    desk.box._handler = hostile
    outcome = desk.collateral("get", "--all-fmspcs", "-o", "all")
    assert outcome.status == 6
    assert "[source-answer]" in outcome.err
