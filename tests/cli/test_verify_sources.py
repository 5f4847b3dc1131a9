"""`dcap verify` that fetches, over real HTTPS: from simulated Intel, Azure and Alibaba, from files."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dcap.serving import serving
from dcap.simulator.events import PckRevoked, RecoveryAnnounced
from dcap.simulator.internet import Internet, internet
from dcap.simulator.services import services
from dcap.simulator.tls import tls_files
from dcap.simulator.world import World
from dcap.sources.cache_entry import read_dcap_cache
from transcripts.desk import Outcome, run


class Desk(NamedTuple):
    """A folder with quotes of a simulated machine, in an internet that is simulated too."""

    folder: Path
    world: World
    box: Internet

    def verify(self, *arguments: str, **more: str) -> Outcome:
        """`dcap verify`, in this world."""
        return self.run("verify", *arguments, "--any-identity", **more)

    def run(self, *arguments: str, **more: str) -> Outcome:
        """`dcap`, in this world."""
        environ = {
            **self.box.environment,
            "DCAP_OFFLINE": "",
            "DCAP_CACHE": str(self.folder / "cache"),
            "DCAP_INSECURE_TEST_ROOT": "root.pem",
            "DCAP_SOURCE": "pcs",
            **more,
        }
        return run(self.folder, *arguments, **environ)

    def told(self, *arguments: str, **more: str) -> dict[str, Any]:
        """The JSON of `dcap verify`."""
        return dict(json.loads(self.verify(*arguments, "--json", **more).out))

    @property
    def hosts(self) -> set[str]:
        """The hosts that were asked."""
        return {asked.host for asked in self.box.log}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """The desk; the world's clock is this machine's."""
    world = World(at=datetime.now(UTC).replace(microsecond=0))
    machine = world.platform()
    world.platform("small", ca="processor")
    (tmp_path / "root.pem").write_bytes(world.root_pem)
    for tee in ("sgx", "tdx"):
        (tmp_path / f"{tee}.bin").write_bytes(machine.quote(tee=tee.upper()))
    for certification in (1, 2, 3, 4):
        quote = machine.quote(certification=certification)
        (tmp_path / f"type{certification}.bin").write_bytes(quote)
    (tmp_path / "small.bin").write_bytes(world.platforms["small"].quote())
    (tmp_path / "cut.bin").write_bytes(machine.quote()[:-400])
    (tmp_path / "net").mkdir()
    with internet(services(world), world, tmp_path / "net") as box:
        yield Desk(tmp_path, world, box)


AZURE, ALIBABA = "azure", "alibaba:cn-hangzhou"


@pytest.mark.parametrize("source", ["pcs", AZURE, ALIBABA])
@pytest.mark.parametrize("evidence", ["sgx.bin", "tdx.bin", "small.bin", "type3.bin", "type4.bin"])
def test_evidence_is_judged_by_what_a_source_gives(desk: Desk, source: str, evidence: str) -> None:
    """SGX and TDX, both CAs, with and without a certificate in the quote, from each kind of source."""
    region = {"AZDCAP_REGION_URL": "westeurope"}
    document = desk.told(evidence, "--source", source, **region)
    assert document["verdict"] == "accepted"
    pieces = {piece["piece"] for piece in document["collateral"]["sources"]}
    beside = {"pck-certificate"} if evidence == "type3.bin" else set()
    assert pieces == {"tcb-info", "qe-identity", "pck-crl", "root-ca-crl"} | beside


@pytest.mark.parametrize(
    ("evidence", "source", "status"),
    [
        ("type1.bin", ALIBABA, 0),
        ("type2.bin", ALIBABA, 0),
        ("type1.bin", "pcs", 6),
        ("type2.bin", "pcs", 6),
    ],
)
def test_a_machine_is_completed_by_who_knows_it(
    desk: Desk, evidence: str, source: str, status: int
) -> None:
    """Types 1 and 2: a PCCS knows the QE id; Intel asks for a PPID that is not there."""
    outcome = desk.verify(evidence, "--source", source)
    assert outcome.status == status
    if status:
        assert "[source-no-pck]" in outcome.err


def test_where_each_piece_came_from_is_printed(desk: Desk) -> None:
    """Source, host, pieces and age stand in the text; the test root is as loud as ever."""
    outcome = desk.verify("sgx.bin")
    assert outcome.status == 0
    assert "from         Intel PCS (api.trustedservices.intel.com, " in outcome.out
    assert "(fetched just now)" in " ".join(outcome.out.split())
    assert outcome.err.startswith("warning: trusting the test root")


def test_a_second_run_goes_on_with_what_the_first_has_kept(desk: Desk) -> None:
    """Two commands, one fetch: the second says that its collateral was kept, and works offline."""
    assert desk.verify("tdx.bin", "-q").status == 0
    asked = len(desk.box.log)
    for flags in ((), ("--offline",)):
        document = desk.told("tdx.bin", *flags)
        assert document["verdict"] == "accepted"
        assert all(source["cached"] for source in document["collateral"]["sources"])
    assert len(desk.box.log) == asked


def test_offline_without_anything_kept_is_6(desk: Desk) -> None:
    """Nothing kept, no network: unavailable, with what to do; and nothing was asked."""
    outcome = desk.verify("sgx.bin", "--offline")
    assert (outcome.status, outcome.out) == (6, "")
    assert "[offline]" in outcome.err
    assert "--collateral" in outcome.err
    assert desk.box.log == []


def test_unreadable_evidence_costs_no_request(desk: Desk) -> None:
    """Exit status 2 without having asked anybody."""
    assert desk.verify("cut.bin").status == 2
    assert desk.box.log == []


@pytest.mark.parametrize(
    ("flags", "number", "status"),
    [
        ((), 17, 0),
        (("--early",), 18, 4),
        (("--evaluation", "18"), 18, 4),
        (("--evaluation", "17"), 17, 0),
    ],
)
def test_the_generation_is_a_flag(
    desk: Desk, flags: tuple[str, ...], number: int, status: int
) -> None:
    """A recovery is announced: the standard still accepts, what is coming does not."""
    RecoveryAnnounced().apply(desk.world)
    document = desk.told("tdx.bin", *flags)
    assert document["exit_status"] == status
    assert document["collateral"]["evaluation_number"] == number


def test_an_evaluation_number_that_there_is_none_of_is_6(desk: Desk) -> None:
    """Intel has no such generation: nothing is said of the evidence."""
    assert desk.verify("sgx.bin", "--evaluation", "99").status == 6


def test_a_number_that_a_pccs_ignores_is_not_taken_for_it(desk: Desk) -> None:
    """A source that answers with another number than was asked for is found out."""
    RecoveryAnnounced().apply(desk.world)
    outcome = desk.verify("sgx.bin", "--evaluation", "18", "--source", AZURE)
    assert outcome.status == 6


def test_early_of_the_qcnl_configuration_is_obeyed(desk: Desk) -> None:
    """tcb_update_type "early" in this machine's configuration asks for what is coming."""
    RecoveryAnnounced().apply(desk.world)
    base = "https://sgx-dcap-server.cn-hangzhou.aliyuncs.com/sgx/certification/v4/"
    conf = {"pccs_url": base, "tcb_update_type": "early"}
    (desk.folder / "qcnl.conf").write_text(json.dumps(conf))
    document = desk.told("sgx.bin", DCAP_SOURCE="", QCNL_CONF_PATH="qcnl.conf")
    assert document["exit_status"] == 4
    assert document["collateral"]["evaluation_number"] == 18


# ── a PCCS of one's own ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pccs(desk: Desk, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A PCCS on loopback whose certificate nobody knows: its URL, and its CA."""
    folder = tmp_path / "tls"
    folder.mkdir()
    certificate, key, ca = tls_files(World("elsewhere"), folder)
    with serving(services(desk.world), tls=(certificate, key)) as server:
        yield f"{server.url}/alibaba/sgx/certification/v4/", ca


def test_a_server_that_nobody_vouches_for_is_refused(desk: Desk, pccs: tuple[str, Path]) -> None:
    """Its certificate is of an unknown CA: unavailable, and the remedy names --ca."""
    outcome = desk.verify("sgx.bin", "--source", pccs[0], no_proxy="127.0.0.1")
    assert outcome.status == 6
    assert "[network-certificate]" in outcome.err
    assert "--ca" in outcome.err


def test_a_ca_file_vouches_for_a_server(desk: Desk, pccs: tuple[str, Path]) -> None:
    """With --ca the same server is asked."""
    outcome = desk.verify(
        "sgx.bin", "--source", pccs[0], "--ca", str(pccs[1]), no_proxy="127.0.0.1"
    )
    assert outcome.status == 0
    assert "PCCS https://127.0.0.1:" in outcome.out


def test_an_unchecked_server_is_spoken_about(desk: Desk, pccs: tuple[str, Path]) -> None:
    """use_secure_cert: false is obeyed, and the result says so; --ca checks all the same."""
    conf = {"pccs_url": pccs[0], "use_secure_cert": False}
    (desk.folder / "qcnl.conf").write_text(json.dumps(conf))
    given = ("sgx.bin", "--source", "qcnl:qcnl.conf")
    document = desk.told(*given, no_proxy="127.0.0.1")
    assert document["verdict"] == "accepted"
    assert any("use_secure_cert" in remark for remark in document["remarks"])
    assert "warning      use_secure_cert" in desk.verify(*given, no_proxy="127.0.0.1").out
    pinned = desk.told(*given, "--ca", str(pccs[1]), no_proxy="127.0.0.1", DCAP_CACHE="off")
    assert pinned["remarks"] == []
    wrong = desk.verify(*given, "--ca", "root.pem", no_proxy="127.0.0.1", DCAP_CACHE="off")
    assert wrong.status == 6


def test_the_next_source_is_asked_where_one_fails(desk: Desk) -> None:
    """Failover in the order of the flags; the result says who gave it and who was passed over."""
    given = ("--source", "https://127.0.0.1:1/sgx/certification/v4/", "--source", "pcs")
    document = desk.told("sgx.bin", *given, no_proxy="127.0.0.1")
    assert document["verdict"] == "accepted"
    assert {source["source"] for source in document["collateral"]["sources"]} == {"Intel PCS"}
    assert any("127.0.0.1:1" in remark for remark in document["remarks"])


def test_when_all_fail_each_is_named(desk: Desk) -> None:
    """One error with every source in order, and Intel's code for it."""
    given = ("--source", "https://127.0.0.1:1", "--source", "https://absent.invalid")
    outcome = desk.verify("sgx.bin", *given, no_proxy="127.0.0.1")
    assert outcome.status == 6
    assert outcome.err.index("127.0.0.1:1") < outcome.err.index("absent.invalid")
    assert "0xE019" in outcome.err


def test_a_source_that_lies_is_found_out_and_not_believed_again(desk: Desk) -> None:
    """Another world's collateral: exit status 3 with the finding; nothing of it is kept."""
    other = World("another", at=desk.world.at)
    other.platform()
    folder = desk.folder / "other"
    folder.mkdir()
    with internet(services(other), other, folder) as box:
        lying = Desk(desk.folder, desk.world, box)
        document = lying.told("sgx.bin")
    assert document["exit_status"] == 3
    assert "tcb-info-chain-root" in {f["code"] for f in document["findings"] if not f["ok"]}
    again = desk.told("sgx.bin")
    assert again["verdict"] == "accepted"
    assert not any(source["cached"] for source in again["collateral"]["sources"])


def test_intels_key_is_given_by_the_environment(desk: Desk) -> None:
    """Where Intel asks for a subscription key, a machine's certificate is had with it, and only so."""
    (desk.folder / "keyed").mkdir()
    with internet(services(desk.world, api_key="k3y"), desk.world, desk.folder / "keyed") as box:
        keyed = Desk(desk.folder, desk.world, box)
        without = keyed.verify("type3.bin", DCAP_CACHE="off")
        assert (without.status, "DCAP_PCS_API_KEY" in without.err) == (6, True)
        assert keyed.verify("type3.bin", DCAP_PCS_API_KEY="k3y").status == 0
        sent = [asked for asked in box.log if ("k3y" in dict(asked.headers).values())]
        assert {asked.target.partition("?")[0].rpartition("/")[2] for asked in sent} == {"pckcert"}


# ── flags that exclude each other ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--source", "nowhere"), "source-spec"),
        (("--source", "alibaba:"), "source-spec"),
        (("--early", "--evaluation", "17"), "two-generations"),
        (("--collateral", "x", "--source", "pcs"), "collateral-and-source"),
        (("--collateral", "x", "--early"), "collateral-and-source"),
        (("--collateral", "x", "--evaluation", "0"), "collateral-and-source"),
        (("--at", "recorded"), "at-recorded"),
        (("--bundle-out", "root.pem"), "output-exists"),
        (("--stale-for", "soon"), "policy-duration"),
        (("--ca", "absent.pem"), "network-ca"),
        (("--collateral", "root.pem", "--ca", "root.pem"), "flag-without-fetch"),
        (("--collateral", "root.pem", "--timeout", "3"), "flag-without-fetch"),
        (("--collateral", "root.pem", "--stale-for", "1d"), "flag-without-fetch"),
    ],
)
def test_flags_that_cannot_be_obeyed_are_errors(
    desk: Desk, flags: tuple[str, ...], code: str
) -> None:
    """Exit status 1, the code says why, and nothing was asked."""
    outcome = desk.verify("sgx.bin", *flags)
    assert (outcome.status, outcome.out) == (1, "")
    assert f"[{code}]" in outcome.err
    assert desk.box.log == []


def test_a_source_flag_wins_over_the_collateral_of_the_environment(desk: Desk) -> None:
    """$DCAP_COLLATERAL is this machine's habit; a flag is what is wanted now."""
    assert desk.verify("sgx.bin", DCAP_COLLATERAL="absent").status == 6
    assert desk.verify("sgx.bin", "--source", "pcs", DCAP_COLLATERAL="absent").status == 0


# ── bundles ─────────────────────────────────────────────────────────────────────────────────────


def test_what_was_judged_is_archived_and_judged_again(desk: Desk) -> None:
    """--bundle-out, then the same verdict from the file alone, off the network, later too."""
    assert desk.verify("type3.bin", "--bundle-out", "bundle.json").status == 0
    asked = len(desk.box.log)
    offline = {"DCAP_OFFLINE": "1", "DCAP_CACHE": "off"}
    document = desk.told("bundle.json", **offline)
    assert document["verdict"] == "accepted"
    assert document["evidence"]["containers"] == ["dcap-bundle"]
    assert {s["source"] for s in document["collateral"]["sources"]} == {"bundle: Intel PCS"}
    later = f"{desk.world.at + timedelta(days=90):%Y-%m-%dT%H:%M:%SZ}"
    expired = desk.verify("bundle.json", "--at", later, **offline)
    assert expired.status == 4
    assert "--at recorded" in expired.out
    assert desk.verify("bundle.json", "--at", "recorded", **offline).status == 0
    assert len(desk.box.log) == asked


def test_a_bundle_of_a_bundle_holds_the_evidence_alone(desk: Desk) -> None:
    """Archived again with fresh collateral, it is no deeper than before."""
    desk.verify("sgx.bin", "--bundle-out", "one.json")
    desk.verify("one.json", "--source", "pcs", "--bundle-out", "two.json")
    assert desk.told("two.json")["evidence"]["containers"] == ["dcap-bundle"]


def test_a_rejected_verdict_is_archived_too(desk: Desk) -> None:
    """What was refused is what one looks at later."""
    RecoveryAnnounced().apply(desk.world)
    assert desk.verify("sgx.bin", "--early", "--bundle-out", "bundle.json").status == 4
    assert desk.verify("bundle.json", "--offline").status == 4


def test_a_bundle_is_collateral_for_other_evidence(desk: Desk) -> None:
    """--collateral takes a bundle: its set serves every quote of that platform."""
    desk.verify("sgx.bin", "--bundle-out", "bundle.json", "-q")
    assert desk.verify("type4.bin", "--collateral", "bundle.json", "--offline").status == 0


def test_a_bundle_that_was_altered_is_refused(desk: Desk) -> None:
    """One letter of what Intel signed: exit status 3."""
    desk.verify("sgx.bin", "--bundle-out", "bundle.json", "-q")
    file = desk.folder / "bundle.json"
    file.write_bytes(file.read_bytes().replace(b"SWHardeningNeeded", b"SWhardeningNeeded", 1))
    assert desk.verify("bundle.json").status == 3


@pytest.mark.parametrize(
    "flags", [("--ca", "root.pem"), ("--timeout", "3"), ("--stale-for", "1d")], ids=" ".join
)
def test_flags_of_a_fetch_are_not_ignored_for_a_bundle(desk: Desk, flags: tuple[str, ...]) -> None:
    """Who restricts the fetch and gives a bundle is told that nothing is fetched: exit status 1."""
    desk.verify("sgx.bin", "--bundle-out", "bundle.json", "-q")
    outcome = desk.verify("bundle.json", *flags)
    assert outcome.status == 1
    assert "[flag-without-fetch]" in outcome.err
    assert flags[0] in outcome.err


@pytest.mark.parametrize("flags", [("--early",), ("--evaluation", "18"), ("--source", "pcs")])
def test_what_is_asked_for_is_fetched_for_a_bundle_too(desk: Desk, flags: tuple[str, ...]) -> None:
    """A revocation that the bundle's sender withheld counts, and the result says what was done."""
    desk.verify("sgx.bin", "--bundle-out", "bundle.json", "-q")
    RecoveryAnnounced().apply(desk.world)
    PckRevoked().apply(desk.world)
    kept = desk.told("bundle.json")
    assert kept["verdict"] == "accepted"
    assert any("may have withheld newer revocations" in remark for remark in kept["remarks"])
    document = desk.told("bundle.json", *flags, DCAP_CACHE="off")
    assert document["exit_status"] == 3
    assert any("was put aside" in remark for remark in document["remarks"])
    assert desk.verify("bundle.json", *flags, "--offline", DCAP_CACHE="off").status == 6


def test_the_instant_of_a_bundle_is_told_to_be_a_claim(desk: Desk) -> None:
    """--at recorded judges as of when the sender says: the result says whose word that is."""
    desk.verify("sgx.bin", "--bundle-out", "bundle.json", "-q")
    told = desk.told("bundle.json", "--at", "recorded")["remarks"]
    assert any("which the bundle claims (--at recorded)" in remark for remark in told)
    assert not any("--at recorded" in remark for remark in desk.told("bundle.json")["remarks"])


@pytest.mark.parametrize("year", ["0001", "2015", "2200", "9999"])
def test_an_instant_of_no_age_is_not_taken_from_a_bundle(desk: Desk, year: str) -> None:
    """What --at would refuse is refused from a bundle too, also where it is then fetched."""
    desk.verify("sgx.bin", "--bundle-out", "bundle.json", "-q")
    document = json.loads((desk.folder / "bundle.json").read_bytes())
    document["recorded_at"] = f"{year}-12-31T23:59:59Z"
    (desk.folder / "odd.json").write_text(json.dumps(document))
    for flags in ((), ("--source", "pcs")):
        outcome = desk.verify("odd.json", "--at", "recorded", *flags)
        assert (outcome.status, outcome.out) == (1, "")
        assert "[instant]" in outcome.err
    assert desk.verify("odd.json").status == 0


def test_an_instant_to_judge_at_leaves_the_cache_alone(desk: Desk) -> None:
    """--at moves the verdict, and not the age of what is kept: today's set is still there after it."""
    assert desk.verify("sgx.bin", "-q").status == 0
    for at in ("2150-01-01T00:00:00Z", "2016-01-01T00:00:00Z"):
        assert desk.verify("sgx.bin", "-q", "--at", at).status in (3, 4)
    document = desk.told("sgx.bin", "--offline")
    assert document["verdict"] == "accepted"


def test_what_is_kept_is_as_old_as_it_is(desk: Desk) -> None:
    """Judged ahead of time, what was fetched is noted as of now, and not as of then."""
    ahead = desk.world.at + timedelta(days=20)
    assert desk.verify("sgx.bin", "-q", "--at", f"{ahead:%Y-%m-%dT%H:%M:%SZ}").status == 0
    for entry in read_dcap_cache(desk.folder / "cache"):
        assert entry.stored - desk.world.at < timedelta(days=1)


def test_a_bundle_is_its_owners_alone(desk: Desk) -> None:
    """It names a machine: nobody else reads it."""
    desk.verify("sgx.bin", "--bundle-out", "bundle.json", "-q")
    assert (desk.folder / "bundle.json").stat().st_mode & 0o777 == 0o600


def test_a_name_that_lies_in_wait_is_not_written_through(desk: Desk) -> None:
    """Links made beforehand under a name that one might guess lead nowhere."""
    victim = desk.folder / "victim"
    victim.write_text("mine")
    for pid in (os.getpid(), "x"):
        (desk.folder / f".bundle.json.{pid}.tmp").symlink_to(victim)
        (desk.folder / f".set.{pid}.tmp").symlink_to(victim)
    assert desk.verify("sgx.bin", "--bundle-out", "bundle.json", "-q").status == 0
    assert desk.run("collateral", "get", "sgx.bin", "-o", "set").status == 0
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("flag", ["--source", "--collateral"])
def test_a_pipe_is_no_source(desk: Desk, flag: str) -> None:
    """A FIFO that nobody writes to is refused at once."""
    os.mkfifo(desk.folder / "pipe")
    assert desk.verify("sgx.bin", flag, "./pipe").status in (1, 6)


def test_a_configuration_that_is_missing_is_spoken_about(desk: Desk) -> None:
    """$QCNL_CONF_PATH leads nowhere: the error says that defaults were asked, and for want of what."""
    outcome = desk.verify("sgx.bin", DCAP_SOURCE="", QCNL_CONF_PATH="absent.conf", no_proxy="*")
    assert outcome.status == 6
    assert "absent.conf, the QCNL configuration, cannot be read" in outcome.err


def test_json_does_not_steer_a_terminal(desk: Desk) -> None:
    """Controls and marks of direction from a bundle are escaped, and the JSON means the same."""
    desk.verify("sgx.bin", "--bundle-out", "bundle.json", "-q")
    document = json.loads((desk.folder / "bundle.json").read_bytes())
    remark = "\x9b31m\u202e\x1b[2J\u2028 \U000e0001 gr\u00fcn"
    document["remarks"] = [remark]
    (desk.folder / "evil.json").write_text(json.dumps(document))
    out = desk.verify("evil.json", "--json").out
    assert json.loads(out)["remarks"][0] == f"recorded in the bundle: {remark}"
    assert all(line.isprintable() for line in out.splitlines())
    assert "gr\u00fcn" in out
