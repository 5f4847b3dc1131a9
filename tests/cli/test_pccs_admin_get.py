"""`dcap pccs get` against a PCCS on HTTPS: no machine is lost, no token is shown."""

import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cli.pccs_site import Site, failing, site
from dcap.api.http import HttpRequest
from dcap.pccs import handler as service
from dcap.pccs.client import remote
from pccs.rig import TOKENS, record_of
from transcripts.desk import run


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """Both sides, with two machines that registered inside."""
    with site(tmp_path) as made:
        for machine in made.rack(2):
            assert made.rig.register(record_of(machine)).status == 200
        yield made


def test_the_queue_is_written_and_emptied(at: Site) -> None:
    """All that wait are in the file, for its owner alone; the next list is empty."""
    outcome = at.pccs("get")
    assert outcome.status == 0, outcome.screen
    ids = {entry["qe_id"].upper() for entry in at.read("platform_list.json")}
    assert ids == {machine.qe_id.hex().upper() for machine in at.rack(2)}
    mode = (at.folder / "platform_list.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert at.pccs("get", "-o", "second.json").status == 0
    assert at.read("second.json") == []


def test_what_is_read_is_on_disk_before_the_queue_is_emptied(at: Site) -> None:
    """Where the answer that empties the queue is lost, the file has all, and so has the queue."""
    at.inside = failing(at.inside, lambda request: "keep" not in request.target)
    outcome = at.pccs("get", "--timeout", "2")
    assert outcome.status == 6
    assert "may come again" in outcome.err
    assert len(at.read("platform_list.json")) == 2
    at.inside = at.rig.handler
    assert at.pccs("get", "-o", "again.json").status == 0
    assert len(at.read("again.json")) == 2


def test_a_machine_that_registers_between_two_reads_is_in_the_list(at: Site) -> None:
    """What came after the first read leaves the queue with the second, and is in the file."""
    late = at.world.platform("late", ca="processor")

    def answer(request: HttpRequest) -> object:
        if "keep" not in request.target:
            at.rig.register(record_of(late))
        return at.rig.handler(request)

    at.inside = answer  # type: ignore[assignment]
    assert at.pccs("get").status == 0
    assert len(at.read("platform_list.json")) == 3


def test_a_pccs_that_empties_while_it_answers_loses_nothing(at: Site) -> None:
    """Intel's does not know `keep`: its first answer empties the queue, and is all there is."""

    def like_intels(request: HttpRequest) -> object:
        bare = request.target.replace("&keep=true", "")
        return at.rig.handler(msgspec.structs.replace(request, target=bare))

    at.inside = like_intels  # type: ignore[assignment]
    assert at.pccs("get").status == 0
    assert len(at.read("platform_list.json")) == 2


def test_keep_leaves_them_in_the_queue(at: Site) -> None:
    """With --keep the same machines are there the next time."""
    assert at.pccs("get", "--keep").status == 0
    assert at.pccs("get", "-o", "again.json").status == 0
    assert at.read("again.json") == at.read("platform_list.json")


def test_a_file_that_is_there_stays_and_nothing_is_asked(at: Site) -> None:
    """The list of before may be the only one that names its machines."""
    (at.folder / "platform_list.json").write_text("[1]")
    outcome = at.pccs("get")
    assert (outcome.status, "[output-exists]" in outcome.err) == (1, True)
    assert at.asked == []
    assert (at.folder / "platform_list.json").read_text() == "[1]"


@pytest.mark.parametrize("source", ["reg_na", "[]", "[00A0A5000000]", "[FFFFFFFFFFFF]"])
def test_each_source_gives_its_machines(at: Site, source: str) -> None:
    """Cached machines by FMSPC, all of them, or those without a certificate."""
    at.list(*at.rack(2))
    assert at.fetch().status == 0
    assert at.pccs("put").status == 0
    outcome = at.pccs("get", "-s", source, "-o", "out.json")
    assert outcome.status == 0, outcome.screen
    assert len(at.read("out.json")) == {"[]": 2, "[00A0A5000000]": 2}.get(source, 0)


@pytest.mark.parametrize("source", ["all", "[00A0A5]", "00A0A5000000", "[", ""])
def test_a_source_that_is_none_is_refused(at: Site, source: str) -> None:
    """Nothing is asked, and the message says how to write it."""
    outcome = at.pccs("get", "-s", source)
    assert (outcome.status, "[pccs-source]" in outcome.err, at.asked) == (1, True, [])


def test_a_wrong_token_is_a_matter_of_the_command_line(at: Site) -> None:
    """Exit status 1, and how to mend it; neither token is shown, and no file is left."""
    (at.folder / "admin").write_text("a wrong token of some length")
    outcome = at.pccs("get")
    assert (outcome.status, "[pccs-token-refused]" in outcome.err) == (1, True)
    assert "DCAP_PCCS_TOKEN" in outcome.err
    assert "a wrong token" not in outcome.screen
    assert not (at.folder / "platform_list.json").exists()


def test_the_token_may_come_from_the_environment_or_standard_input(at: Site) -> None:
    """`$DCAP_PCCS_TOKEN` serves where no file is named, and `--token-file -` reads it from a pipe."""
    reach = ("--url", at.url, "--ca", at.ca, "--keep")
    token = TOKENS["admin"]
    by_variable = run(at.folder, "pccs", "get", *reach, DCAP_PCCS_TOKEN=token)
    by_pipe = run(
        at.folder, "pccs", "get", *reach, "--token-file", "-", "-o", "b", stdin=token.encode()
    )
    assert (by_variable.status, by_pipe.status) == (0, 0)
    assert token not in by_variable.screen + by_pipe.screen


def test_without_a_token_nothing_is_asked(at: Site) -> None:
    """Where nobody can be asked for it, the message names the two ways to give it."""
    outcome = run(at.folder, "pccs", "get", "--url", at.url, "--ca", at.ca)
    assert (outcome.status, "[pccs-token-missing]" in outcome.err, at.asked) == (1, True, [])


def test_a_server_that_is_not_trusted_gets_no_token(at: Site) -> None:
    """TLS is checked by default: nothing reaches a server of another CA."""
    outcome = run(
        at.folder, "pccs", "get", "--url", at.url, "--token-file", "admin", HOME="/nowhere"
    )
    assert (outcome.status, "[network-certificate]" in outcome.err, at.asked) == (6, True, [])


def test_not_to_check_is_said_aloud(at: Site) -> None:
    """--insecure-no-tls-check works, and warns; with --ca it is refused."""
    reach = ("--url", at.url, "--token-file", "admin", "--insecure-no-tls-check")
    outcome = run(at.folder, "pccs", "get", *reach)
    assert outcome.status == 0
    assert "not checked" in outcome.err
    assert run(at.folder, "pccs", "get", *reach, "--ca", at.ca, "-o", "b").status == 1


@pytest.mark.parametrize(
    "path", ["", "/", "/sgx/certification/v4", "/sgx/certification/v4/platforms"]
)
def test_the_url_may_be_what_intels_tool_is_given(at: Site, path: str) -> None:
    """Origin, base or resource: the same PCCS is asked."""
    given = ("--url", at.url + path, "--ca", at.ca, "--token-file", "admin")
    assert run(at.folder, "pccs", "get", *given).status == 0
    assert len(at.read("platform_list.json")) == 2


def test_a_url_that_is_no_pccs_is_refused(at: Site) -> None:
    """Before a token is read."""
    outcome = run(at.folder, "pccs", "get", "--url", at.url + "/other", "--token-file", "none")
    assert (outcome.status, "[source-url]" in outcome.err) == (1, True)


def test_client_and_service_mean_the_same_words() -> None:
    """The client repeats two names of the service's, so as not to load it."""
    assert (remote.CAUSE, remote.KEEP) == (service.CAUSE, service.KEEP)
