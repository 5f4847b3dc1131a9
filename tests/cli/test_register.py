"""`dcap register`: shown, told, fetched, kept; and nothing that identifies the machine on the screen."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.register_site import Site, ended, site
from dcap.api.http import HttpResponse
from dcap.pccs.mode import Mode
from dcap.simulator.aesm import aesm_service
from dcap.sources.environment import SYSTEM_QCNL
from pccs.rig import pck_line
from platform_registration import efivars
from transcripts.desk import Outcome, run
from worlds import ROOT


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """A machine, its PCCS, and Intel."""
    with site(tmp_path) as made:
        yield made


# show


def test_show_says_what_is_there_and_never_what_it_is(at: Site) -> None:
    """Places, members by name, which registration they are enough for."""
    outcome = at.register("show")
    assert outcome.status == 0, outcome.screen
    assert (
        "table  pckid_retrieval.csv: QE id, PCE id, CPUSVN, PCESVN, encrypted PPID" in outcome.out
    )
    assert "ok  one package" in outcome.out
    assert "no  several packages, direct: at Intel, by platform manifest; lacks" in outcome.out
    assert at.shows_none(outcome)
    assert at.shows_none(at.register("show", "--json"))


def test_identifiers_are_shown_on_request(at: Site) -> None:
    """The PPID by its digest in text, whole as JSON."""
    outcome = at.register("show", "--show-platform-id")
    assert at.small.qe_id.hex().upper() in outcome.out
    assert "384 bytes, SHA-256" in outcome.out
    value = json.loads(at.register("show", "--show-platform-id", "--json").out)
    assert value["platform"]["enc_ppid"] == at.small.encrypted_ppid.hex().upper()


@pytest.mark.parametrize("name", ["platform_list.json", "table.csv"])
def test_what_is_shown_is_written_for_others_to_read(at: Site, name: str) -> None:
    """For its owner alone; read again it is the same; and nothing is written over."""
    assert at.register("show", "-o", name).status == 0
    assert (at.folder / name).stat().st_mode & 0o777 == 0o600
    flag = "--csv" if name.endswith("csv") else "--list"
    read = at.register("show", flag, name, "--show-platform-id", "--json")
    assert json.loads(read.out)["platform"]["qe_id"] == at.small.qe_id.hex().upper()
    assert ended(at.register("show", "-o", name)) == (1, "output-exists")


def test_the_bios_is_explained(at: Site) -> None:
    """State, last error, server, and whether it may keep keys: in words, the manifest left out."""
    root = at.folder / "host"
    efivars.write(
        root,
        request=efivars.request(efivars.manifest()),
        status=efivars.status(0, 0x82),
        configuration=efivars.configuration(1),
    )
    outcome = at.register("show", "--root", str(root))
    assert "registration in progress: what the BIOS shows is to be sent" in outcome.out
    assert "0x82: the registration server could not be reached" in outcome.out
    assert "register at a PCCS" in outcome.out
    assert "no  several packages, direct: at Intel, by platform manifest; the BIOS" in outcome.out
    assert efivars.manifest().hex()[64:128] not in outcome.screen.lower()
    bios = json.loads(at.register("show", "--root", str(root), "--json").out)["bios"]
    assert (bios["complete"], bios["error_code"], bios["server_keeps_keys"]) == (False, 0x82, False)


@pytest.mark.parametrize(
    ("bits", "is_shown", "told"),
    [
        (0, True, "what the BIOS shows is to be sent"),
        (0, False, "nothing is shown: reboot"),
        (1, True, "shown until the next boot"),
        (1, False, "no longer shown; 'SGX Factory Reset'"),
    ],
)
def test_each_state_of_a_registration_has_words(
    at: Site, bits: int, is_shown: bool, told: str
) -> None:
    """What is complete, what is in progress, and what to do about it."""
    shown = {"request": efivars.request(efivars.manifest())} if is_shown else {}
    root = efivars.write(
        at.folder / "host",
        status=efivars.status(bits),
        configuration=efivars.configuration(0),
        package_info=efivars.request(bytes(9), 1),
        **shown,
    )
    outcome = at.register("show", "--root", str(root), "--csv", "pckid_retrieval.csv")
    assert told in outcome.out
    assert "may keep the machine's keys" in outcome.out
    assert "key blobs are offered" in outcome.out


def test_an_added_package_is_intels_agents_affair(at: Site) -> None:
    """It is told, and never taken for a manifest."""
    body = efivars.structure(efivars.ADD_REQUEST, bytes(179))
    root = efivars.write(at.folder / "host", request=efivars.request(body))
    outcome = at.register("show", "--root", str(root))
    assert ended(outcome) == (7, "registration-no-platform-data")
    assert "a package was added: mpa_registration tells Intel" in outcome.err


@pytest.mark.parametrize("command", ["show", "submit", "status"])
def test_a_machine_that_is_not_told_of_is_exit_status_seven(at: Site, command: str) -> None:
    """One clear error with what to do, and nobody is asked."""
    outcome = at.register(command, "--root", str(at.folder / "store"))
    assert ended(outcome) == (7, "registration-no-platform-data")
    assert "PCKIDRetrievalTool" in outcome.err
    assert at.asked == []


# submit


def test_a_machine_registers_and_keeps_its_certificate(at: Site) -> None:
    """At the PCCS that its own configuration names; said is where it lies, and until when."""
    outcome = at.register("submit")
    assert outcome.status == 0, outcome.screen
    assert at.asked == ["POST platforms", "GET pckcert"]
    assert f"registered   at the PCCS {at.url}/sgx/certification/v4/" in outcome.out
    (kept,) = (at.folder / "cache").glob("pck-*.kept")
    assert f"kept         {kept}" in outcome.out
    assert at.small.pck().certificate.not_after.strftime("%Y-%m-%d") in outcome.out
    assert at.shows_none(outcome)


def test_a_pccs_of_mode_req_fetches_while_the_machine_registers(tmp_path: Path) -> None:
    """When the registration is answered, the certificate is there."""
    with site(tmp_path, Mode.REQ) as at:
        assert at.register("submit").status == 0
        assert at.asked == ["POST platforms", "GET pckcert"]


def test_the_second_time_nobody_is_asked(at: Site) -> None:
    """With Intel and PCCS gone, it is done, and `status` says where the certificate lies."""
    first = json.loads(at.register("submit", "--json").out)
    at.asked.clear()
    at.inside = at.intel = lambda _: HttpResponse(status=500)
    again = at.register("submit", "--json")
    assert (again.status, at.asked) == (0, [])
    second = json.loads(again.out)
    assert second["registered"] is None
    assert second["certificate"] == first["certificate"]
    status = at.register("status")
    assert status.status == 0
    assert first["certificate"]["file"] in status.out
    assert "pccs-500" in status.out
    assert at.shows_none(status)


def test_another_tcb_is_another_certificate(at: Site) -> None:
    """After a microcode update the machine's table is new, and so is what is asked for."""
    at.small.svn -= 1
    at.write_table(at.small)
    assert at.register("submit").status == 0
    at.small.svn += 1
    at.write_table(at.small)
    assert at.register("submit").status == 0
    assert len(list((at.folder / "cache").glob("pck-*.kept"))) == 2


def test_again_asks_although_all_is_kept(at: Site) -> None:
    """For a PCCS that was set up anew."""
    assert at.register("submit").status == 0
    at.asked.clear()
    assert at.register("submit", "--again").status == 0
    assert "POST platforms" in at.asked


def test_a_quote_registers_its_machine(at: Site) -> None:
    """Type 3 names the machine; a table that lies about is of the same."""
    (at.folder / "pckid_retrieval.csv").unlink()
    (at.folder / "q").write_bytes(at.small.quote(certification=3))
    assert at.register("submit", "--quote", "q").status == 0
    assert "POST platforms" in at.asked


def test_a_quote_that_carries_its_certificate_needs_nothing(at: Site) -> None:
    """Type 5: it was registered by somebody. A certificate that does not prove is none."""
    (at.folder / "pckid_retrieval.csv").unlink()
    (at.folder / "q").write_bytes(at.small.quote())
    for command in ("submit", "status"):
        outcome = at.register(command, "--quote", "q")
        assert (outcome.status, at.asked) == (0, []), outcome.screen
        assert "FMSPC" in outcome.out
    outcome = at.register("status", "--quote", "q", DCAP_INSECURE_TEST_ROOT="")
    assert ended(outcome) == (6, "registration-certificate")


REPORTER = """
import sys
from dcap.simulator.reports import make_report
from dcap.simulator.world import World
asked = sys.stdin.buffer.read()
machine = World("pccs").platform("small", ca="processor")
sys.stdout.buffer.write(make_report(machine, asked[:512], asked[512:]))
"""


def test_a_machine_attests_to_register(at: Site) -> None:
    """By AESM without a quote provider: its quote names the machine, which needs no other tool."""
    (at.folder / "pckid_retrieval.csv").unlink()
    (at.folder / "reporter.py").write_text(REPORTER)
    reporter = ("--attest", "--reporter", f"{sys.executable} reporter.py")
    socket = at.folder / "aesm.socket"
    with aesm_service(lambda: at.small, socket, certification=3):
        outcome = at.register(
            "submit", *reporter, SGX_AESM_ADDR=str(socket), PYTHONPATH=str(ROOT / "src")
        )
    assert outcome.status == 0, outcome.screen
    assert at.asked == ["POST platforms", "GET pckcert"]
    assert at.shows_none(outcome)


def test_a_machine_that_cannot_attest_says_why(at: Site) -> None:
    """Exit status 7, as of `dcap attest`; --reporter alone and two quotes at once are refused."""
    assert ended(at.register("show", "--attest", "--root", str(at.folder))) == (7, "attester-none")
    assert at.register("show", "--reporter", "true").status == 1
    assert at.register("show", "--attest", "--quote", "q").status == 1


def test_the_pccs_may_be_named(at: Site) -> None:
    """By flag or variable; a machine that has no other source fetches there as well, and later too."""
    if SYSTEM_QCNL.exists():
        pytest.skip(f"{SYSTEM_QCNL} of this machine would be obeyed")

    def bare(*given: str, **more: str) -> Outcome:
        environment = {**at.environment, **more}
        del environment["QCNL_CONF_PATH"]
        return run(at.folder, "register", *given, "--ca", at.ca, **environment)

    assert ended(bare("submit")) == (1, "registration-no-pccs")
    assert bare("submit", "--to", at.url, "--token-file", "user").status == 0
    elsewhere = bare("status", "--offline")
    assert elsewhere.status == 6
    assert "none is kept here\n" in elsewhere.out
    assert "done with --to URL, give it here as well" in elsewhere.out
    (at.folder / "cache").rename(at.folder / "first")
    outcome = bare("submit", "--token-file", "user", DCAP_PCCS_URL=at.url)
    assert outcome.status == 0, outcome.screen
    at.inside = lambda _: HttpResponse(status=500)
    assert bare("status", "--to", at.url).status == 0


def test_the_token_may_come_from_the_environment(at: Site) -> None:
    """`$DCAP_USER_TOKEN`; without any, the PCCS's answer says that it wants one."""
    given = ("submit", "--ca", at.ca)
    bare = run(at.folder, "register", *given, **at.environment)
    assert ended(bare) == (1, "registration-token")
    assert "wants" in bare.err
    token = (at.folder / "user").read_text().strip()
    assert run(at.folder, "register", *given, DCAP_USER_TOKEN=token, **at.environment).status == 0


def test_a_wrong_token_is_refused_and_never_shown(at: Site) -> None:
    """Exit status 1, at once also with --watch."""
    (at.folder / "wrong").write_text("a wrong token of some length")
    outcome = at.register("submit", "--token-file", "wrong", "--watch")
    assert ended(outcome) == (1, "registration-token")
    assert "of some length" not in outcome.screen


def test_a_certificate_for_a_higher_tcb_is_not_taken(at: Site) -> None:
    """A PCCS that mistakes the machine's TCB gets nothing kept here."""
    given = at.rig.ask(pck_line(at.small))
    at.small.svn -= 1
    at.write_table(at.small)
    at.inside = lambda asked: given if asked.method == "GET" else at.rig.handler(asked)
    outcome = at.register("submit")
    assert ended(outcome) == (6, "registration-certificate")
    assert "TCB above the machine's" in outcome.err
    assert list((at.folder / "cache").glob("pck-*.kept")) == []


@pytest.mark.parametrize("to", ["configuration", "--to"])
def test_a_url_of_intels_means_intel(at: Site, to: str) -> None:
    """Intel's PCS as pccs_url, or as --to: nothing is told it, for it finds the machine by its PPID."""
    url = "https://api.trustedservices.intel.com"
    if to == "configuration":
        at.configure(url)
    given = ("--to", f"{url}/sgx/certification/v4/") if to == "--to" else ()
    pcs = f"pcs:{at.intel_url}/sgx/certification/v4/"
    outcome = at.register("submit", *given, "--source", pcs)
    assert (outcome.status, at.asked) == (0, []), outcome.screen
    assert "nothing to be sent" in outcome.out


def test_an_answer_of_a_megabyte_is_not_taken(at: Site) -> None:
    """A sentence answers a registration: whoever sends more fills no memory."""
    at.inside = lambda _: HttpResponse(status=200, body=bytes(1 << 20))
    assert ended(at.register("submit")) == (6, "network-too-large")


def test_a_token_in_the_clear_is_warned_of(at: Site) -> None:
    """Plain http shows it to whoever is on the way."""
    outcome = at.register("submit", "--to", "http://127.0.0.1:9")
    assert outcome.status == 6
    assert "warning: the URL is not https" in outcome.err


def test_a_server_that_is_not_trusted_gets_no_token(at: Site) -> None:
    """TLS is checked, whatever the configuration says of Intel's library."""
    (at.folder / "qcnl.conf").write_text(
        json.dumps({"pccs_url": f"{at.url}/sgx/certification/v4/", "use_secure_cert": False})
    )
    outcome = run(at.folder, "register", "submit", "--token-file", "user", **at.environment)
    assert ended(outcome) == (6, "network-certificate")
    assert at.asked == []


def test_a_machine_of_one_package_needs_no_registration_at_intel(at: Site) -> None:
    """Intel knows it by its PPID: its certificate is fetched, and that is all."""
    pcs = f"pcs:{at.intel_url}/sgx/certification/v4/"
    outcome = at.register("submit", "--to", "intel", "--source", pcs)
    assert outcome.status == 0, outcome.screen
    assert "nothing to be sent" in outcome.out
    assert [request.method for request in at.asked_of_intel] == ["GET"]


def test_a_machine_of_several_packages_registers_at_intel(at: Site) -> None:
    """By the manifest that the BIOS shows; its PPID, which Intel answers with, is shown nobody."""
    machine = at.world.platform("big")
    machine.registered = False
    (at.folder / "pckid_retrieval.csv").unlink()
    root = at.folder / "host"
    body = machine.manifest
    efivars.write(root, request=efivars.request(body), status=efivars.status())
    before = (root / efivars.FOLDER / efivars.FILES["status"]).read_bytes()
    outcome = at.register("submit", "--root", str(root), "--to", f"intel:{at.intel_url}")
    assert outcome.status == 0, outcome.screen
    assert machine.registered
    assert at.asked_of_intel[0].body == body
    assert machine.ppid.hex().upper() not in outcome.screen
    assert "not fetched" in outcome.out
    assert (root / efivars.FOLDER / efivars.FILES["status"]).read_bytes() == before


def test_what_intel_refuses_is_explained(at: Site) -> None:
    """The manifest of before a package was changed."""
    machine = at.world.platform("big")
    at.write_table(machine, platform_manifest=machine.manifest.hex())
    machine.package += 1
    outcome = at.register("submit", "--to", f"intel:{at.intel_url}")
    assert ended(outcome) == (6, "registration-refused-by-intel")
    assert "InvalidPlatformManifest" in outcome.err
    assert "SGX Factory Reset" in outcome.err


def test_a_pccs_that_is_down_is_exit_status_six(at: Site) -> None:
    """Once, without --watch."""
    at.inside = lambda _: HttpResponse(status=502)
    assert ended(at.register("submit")) == (6, "pccs-502")


def test_without_the_network_only_what_is_kept_counts(at: Site) -> None:
    """DCAP_OFFLINE is obeyed by all three."""
    assert ended(at.register("submit", DCAP_OFFLINE="1")) == (6, "offline")
    assert at.register("status", DCAP_OFFLINE="1").status == 6
    assert at.register("submit").status == 0
    at.asked.clear()
    assert at.register("submit", DCAP_OFFLINE="1").status == 0
    assert at.register("status", DCAP_OFFLINE="1").status == 0
    assert at.register("status", "--offline").status == 0
    assert at.asked == []


def test_where_nothing_is_kept_it_is_said(at: Site) -> None:
    """DCAP_CACHE=off: registered and fetched, and kept nowhere."""
    outcome = at.register("submit", DCAP_CACHE="off")
    assert outcome.status == 0
    assert "kept         nowhere" in outcome.out
