"""`dcap verify`: every exit status, every way in, and what stands on which stream."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from departures import World
from transcripts.desk import NOW, Outcome, run, write_world

TRUSTED = ("--at", NOW, "--insecure-test-root", "root.pem")
GIVEN = ("--collateral", "collateral", *TRUSTED)
ANY = (*GIVEN, "--any-identity")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, world: World) -> Path:
    """A folder with the simulated world in files."""
    return write_world(tmp_path_factory.mktemp("desk"), world)


@pytest.fixture(scope="module")
def identity(desk: Path) -> dict[str, Any]:
    """What the genuine SGX quote claims, as `dcap verify --json` tells it."""
    return dict(json.loads(run(desk, "verify", "quote.bin", *ANY, "--json").out)["claims"])


def verify(desk: Path, *arguments: str, **more: Any) -> Outcome:
    """`dcap verify`, with what it is given."""
    return run(desk, "verify", *arguments, **more)


def verdict(outcome: Outcome) -> tuple[str, str | None]:
    """Verdict and reason of a run with --json."""
    document = json.loads(outcome.out)
    return document["verdict"], document["reason"]


# ── exit statuses ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (0, ("quote.bin", *ANY)),
        (0, ("quote.bin", *GIVEN, "--policy", "policy.toml")),
        (0, ("td.bin", "--collateral", "collateral-tdx", *TRUSTED, "--any-identity")),
        (1, ("quote.bin", *ANY, "--at", "yesterday")),
        (1, ("quote.bin", *ANY, "--policy", "absent.toml")),
        (1, ("quote.bin", *ANY, "--policy", "quote.bin")),
        (1, ("absent.bin", *ANY)),
        (2, ("cut.bin", *ANY)),
        (2, ("policy.toml", *ANY)),
        (3, ("forged.bin", *ANY)),
        (3, ("quote.bin", "--collateral", "collateral", "--at", NOW, "--any-identity")),
        (3, ("quote.bin", "--collateral", "collateral-tdx", *TRUSTED, "--any-identity")),
        (6, ("raw-ppid.bin", *ANY)),
        (4, ("old.bin", *ANY)),
        (4, ("quote.bin", *ANY, "--at", "2026-03-01T00:00:00Z")),
        (5, ("quote.bin", *GIVEN)),
        (5, ("debug.bin", *ANY)),
        (5, ("quote.bin", *GIVEN, "--mrenclave", "ab" * 32)),
        (5, ("quote.bin", *ANY, "--report-data", "01")),
        (6, ("quote.bin", *TRUSTED, "--any-identity")),
        (6, ("quote.bin", *TRUSTED, "--any-identity", "--collateral", "absent")),
    ],
)
def test_the_exit_status_is_the_verdicts(
    desk: Path, status: int, arguments: tuple[str, ...]
) -> None:
    """Each kind of outcome has its own exit status, as `dcap --help` lists them."""
    assert verify(desk, *arguments).status == status


@pytest.mark.parametrize(
    "arguments",
    [(), ("quote.bin", "--nonsense"), ("quote.bin", "td.bin"), ("quote.bin", "--min-svn", "three")],
)
def test_wrong_usage_exits_with_1_not_2(desk: Path, arguments: tuple[str, ...]) -> None:
    """Exit status 2 is for bad evidence: a mistyped flag must not look like that."""
    outcome = verify(desk, *arguments)
    assert (outcome.status, outcome.out) == (1, "")
    assert "Error" in outcome.err


# ── streams and forms ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["quote.bin", "old.bin", "cut.bin", "forged.bin"])
def test_json_is_one_object_with_a_schema(desk: Path, name: str) -> None:
    """Whatever the verdict, standard output is one JSON object of schema 1."""
    outcome = verify(desk, name, *ANY, "--json")
    document = json.loads(outcome.out)
    assert document["schema"] == 1
    assert document["exit_status"] == outcome.status
    assert document["verdict"] == ("accepted" if outcome.status == 0 else "rejected")


def test_an_error_is_json_too_where_json_was_asked_for(desk: Path) -> None:
    """Scripts get an object under `error`; people get the same on standard error."""
    outcome = verify(desk, "quote.bin", *TRUSTED, "--json")
    error = json.loads(outcome.out)
    assert error["schema"] == 1
    assert set(error["error"]) == {"code", "what", "where", "mend"}
    assert error["error"]["code"] == "offline"
    assert "[offline]" in outcome.err


def test_an_error_without_json_leaves_standard_output_empty(desk: Path) -> None:
    """What is piped on is never an error message."""
    outcome = verify(desk, "quote.bin", *TRUSTED)
    assert outcome.out == ""
    assert outcome.err.splitlines()[-2].startswith("error: ")
    assert outcome.err.splitlines()[-1].startswith("fix: ")


def test_missing_collateral_says_which_flag_gives_it(desk: Path) -> None:
    """The remedy names the flag, for both ways of missing it."""
    for arguments in ((), ("--collateral", "absent")):
        assert "--collateral" in verify(desk, "quote.bin", *TRUSTED, *arguments).err


def test_quiet_says_nothing_but_its_exit_status(desk: Path) -> None:
    """With --quiet the verdict is the exit status; errors are still told."""
    for name, status in (("quote.bin", 0), ("old.bin", 4), ("cut.bin", 2)):
        outcome = verify(desk, name, *ANY, "-q")
        assert (outcome.status, outcome.out) == (status, "")
    assert "error" in verify(desk, "quote.bin", "-q", *TRUSTED).err


@pytest.mark.parametrize("name", ["quote.bin", "quote.b64", "quote.hex"])
def test_evidence_comes_from_standard_input(desk: Path, name: str) -> None:
    """`-` is standard input, in any form that a file may have."""
    stdin = (desk / name).read_bytes()
    assert verify(desk, "-", *ANY, stdin=stdin).status == 0


def test_nothing_on_standard_input_is_malformed_evidence(desk: Path) -> None:
    """An empty pipe is called empty."""
    outcome = verify(desk, "-", *ANY)
    assert outcome.status == 2
    assert "empty" in outcome.out


def test_too_much_on_standard_input_is_refused(desk: Path) -> None:
    """A stream without an end is not read to it."""
    assert verify(desk, "-", *ANY, stdin=bytes(2 << 20)).status == 2


@pytest.mark.parametrize("setting", [{}, {"NO_COLOR": "1"}])
def test_no_colour_goes_into_a_file(desk: Path, setting: dict[str, str]) -> None:
    """Where standard output is no terminal, there is no escape in it."""
    assert "\x1b" not in verify(desk, "quote.bin", *ANY, **setting).screen


def test_platform_identifiers_only_when_asked(desk: Path) -> None:
    """PPID and CPUSVN stand in --json with --show-platform-id alone."""
    plain = json.loads(verify(desk, "quote.bin", *ANY, "--json").out)
    shown = json.loads(verify(desk, "quote.bin", *ANY, "--json", "--show-platform-id").out)
    assert not {"ppid", "cpu_svn"} & {*plain["platform"], *plain["claims"]}
    assert {"ppid", "cpu_svn"} <= set(shown["platform"])


# ── the test root ───────────────────────────────────────────────────────────────────────────────


def test_the_test_root_is_loud(desk: Path) -> None:
    """Trusting another root than Intel's is told on standard error, in the text and in JSON."""
    text, document = verify(desk, "quote.bin", *ANY), verify(desk, "quote.bin", *ANY, "--json")
    for outcome in (text, document, verify(desk, "quote.bin", *ANY, "--quiet")):
        assert outcome.err.startswith("warning: trusting the test root")
        assert "root.pem" in outcome.err
    assert "SIMULATED" in text.out
    assert json.loads(document.out)["trust_root"] == "simulated"


def test_the_test_root_of_the_environment_is_as_loud(desk: Path) -> None:
    """$DCAP_INSECURE_TEST_ROOT does what the flag does, and is as little a secret."""
    arguments = ("quote.bin", "--collateral", "collateral", "--at", NOW, "--any-identity")
    outcome = verify(desk, *arguments, DCAP_INSECURE_TEST_ROOT="root.pem")
    assert outcome.status == 0
    assert outcome.err.startswith("warning: trusting the test root")
    assert "SIMULATED" in outcome.out


def test_without_a_test_root_nothing_warns(desk: Path) -> None:
    """Under Intel's root standard error is silent, and the simulated world is refused at its root."""
    outcome = verify(desk, "quote.bin", "--collateral", "collateral", "--at", NOW)
    assert (outcome.status, outcome.err) == (3, "")
    assert "crl-issuer-chain-root" in outcome.out


@pytest.mark.parametrize("name", ["quote.bin", "policy.toml", "absent.pem"])
def test_what_is_no_root_is_a_configuration_error(desk: Path, name: str) -> None:
    """A file that holds no certificate does not weaken anything, and does not judge."""
    arguments = ("quote.bin", "--collateral", "collateral", "--at", NOW, "--any-identity")
    outcome = verify(desk, *arguments, "--insecure-test-root", name)
    assert (outcome.status, outcome.out) == (1, "")
    assert name in outcome.err


def test_collateral_of_the_environment(desk: Path) -> None:
    """$DCAP_COLLATERAL names the collateral, as the flag does."""
    outcome = verify(desk, "quote.bin", *TRUSTED, "--any-identity", DCAP_COLLATERAL="collateral")
    assert outcome.status == 0


# ── time ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "at",
    [
        "1767225600",
        "2026-01-01T00:00:00Z",
        "2026-01-01 00:00:00+00:00",
        "2026-01-01T09:00:00+09:00",
    ],
)
def test_the_instant_may_be_written_in_these_ways(desk: Path, at: str) -> None:
    """Unix seconds or RFC 3339: all of them mean the same second, and are told in UTC."""
    document = json.loads(verify(desk, "quote.bin", *ANY, "--at", at, "--json").out)
    assert (document["verdict"], document["at"]) == ("accepted", NOW)


@pytest.mark.parametrize(
    "at",
    [
        "",
        "now",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-13-01T00:00:00Z",
        "-5",
        "1e9",
        "99999999999999999999",
        "²",
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_an_instant_that_is_none_is_a_configuration_error(desk: Path, at: str) -> None:
    """What has no zone, no meaning or no place in the calendar is refused with how to write it."""
    outcome = verify(desk, "quote.bin", *ANY, f"--at={at}")
    assert (outcome.status, outcome.out) == (1, "")
    assert "[instant]" in outcome.err
    assert "RFC 3339" in outcome.err


def test_without_an_instant_it_is_now(desk: Path) -> None:
    """Collateral of the simulated world has not been issued yet, or has expired: it is not of today."""
    arguments = ("quote.bin", "--collateral", "collateral", "--any-identity", "--json")
    outcome = verify(desk, *arguments, "--insecure-test-root", "root.pem")
    assert json.loads(outcome.out)["at"] != NOW
    assert outcome.status in (3, 4)


# ── flags and policy ────────────────────────────────────────────────────────────────────────────


def test_a_policy_file_is_obeyed(desk: Path) -> None:
    """The release of the file that matched is named, and so is the policy."""
    document = json.loads(
        verify(desk, "quote.bin", *GIVEN, "--policy", "policy.toml", "--json").out
    )
    assert (document["policy"], document["release"]) == ("prod", "v1.4")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--max-collateral-age", "1h"), "collateral-age"),
        (("--max-collateral-age", "3600"), "collateral-age"),
        (("--min-tcb-date", "2025-06-01"), "tcb-date"),
        (("--min-evaluation-number", "19"), "evaluation-number"),
        (("--report-data", "ff"), "report-data"),
        (("--report-data-sha256-of", "quote.bin"), "report-data"),
    ],
)
def test_a_flag_tightens_the_policy_of_the_file(
    desk: Path, flags: tuple[str, ...], reason: str
) -> None:
    """What the file accepts, a flag beside it can refuse."""
    outcome = verify(desk, "quote.bin", *GIVEN, "--policy", "policy.toml", "--json", *flags)
    assert verdict(outcome) == ("rejected", reason)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("old.bin", ("--allow-status", "OutOfDate")),
        ("old.bin", ("--allow-status", "outofdate")),
        ("old.bin", ("--allow-status", "any")),
        ("debug.bin", ("--allow-debug",)),
    ],
)
def test_a_flag_loosens_the_policy_of_the_file(
    desk: Path, name: str, flags: tuple[str, ...]
) -> None:
    """What the file refuses, a flag that says so can accept."""
    given = (name, *GIVEN, "--policy", "policy.toml")
    assert verify(desk, *given).status in (4, 5)
    assert verify(desk, *given, *flags).status == 0


def test_collateral_grace_is_a_flag(desk: Path) -> None:
    """Collateral that expired a day ago passes with two days of grace."""
    late = ("quote.bin", *ANY, "--at", "2026-01-31T00:00:00Z")
    assert verify(desk, *late).status == 4
    assert verify(desk, *late, "--collateral-grace", "2d").status == 0


def test_a_release_of_flags_stands_beside_those_of_the_file(
    desk: Path, identity: dict[str, Any]
) -> None:
    """Flags that pin are one more accepted release, called "command line"."""
    other = tomllib.loads((desk / "policy.toml").read_text())
    assert other["release"][0]["name"] == "v1.4"
    flags = ("--mrenclave", identity["mrenclave"], "--json")
    alone = json.loads(verify(desk, "quote.bin", *GIVEN, *flags).out)
    beside = json.loads(verify(desk, "quote.bin", *GIVEN, "--policy", "policy.toml", *flags).out)
    assert (alone["verdict"], alone["release"]) == ("accepted", "command line")
    assert (beside["verdict"], beside["release"]) == ("accepted", "v1.4")


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (("--mrsigner", "MINE", "--product-id", "7", "--min-svn", "3"), 0),
        (("--mrsigner", "MINE", "--product-id", "8"), 5),
        (("--mrsigner", "MINE", "--min-svn", "4"), 5),
        (("--mrsigner", "MINE", "--mrsigner", "ab" * 32), 0),
        (("--mrsigner", "MINE", "--mrenclave", "ab" * 32), 5),
    ],
)
def test_values_of_one_flag_are_alternatives_and_flags_go_together(
    desk: Path, identity: dict[str, Any], flags: tuple[str, ...], status: int
) -> None:
    """Two signers: either; a signer and an enclave: both."""
    given = (flag.replace("MINE", identity["mrsigner"]) for flag in flags)
    assert verify(desk, "quote.bin", *GIVEN, *given).status == status


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--min-svn", "3"), "flag-needs-identity"),
        (("--product-id", "7"), "flag-needs-identity"),
        (("--rtmr0", "ab" * 48), "release-pins-nothing"),
        (("--mrenclave", "ab" * 32, "--mrtd", "ab" * 48), "release-of-two-tees"),
        (("--mrenclave", "ab" * 31), "policy-hex"),
        (("--allow-status", "Revoked"), "status-unknown"),
        (("--allow-status", "Fine"), "status-unknown"),
        (("--report-data", "00", "--report-data-sha256-of", "quote.bin"), "two-report-data"),
        (("--report-data", "nonsense"), "policy-hex"),
        (("--report-data-sha256-of", "absent"), "file-unreadable"),
        (("--min-tcb-date", "soon"), "date"),
        (("--collateral-grace", "soon"), "policy-duration"),
        (("--any-identity", "--policy", "policy.toml"), "policy-any-and-releases"),
    ],
)
def test_flags_that_cannot_be_obeyed_are_errors(
    desk: Path, flags: tuple[str, ...], code: str
) -> None:
    """Nothing is judged by half a policy: exit status 1, and the code says why."""
    outcome = verify(desk, "quote.bin", *GIVEN, *flags)
    assert (outcome.status, outcome.out) == (1, "")
    assert f"[{code}]" in outcome.err


def test_report_data_may_be_the_hash_of_a_file(desk: Path, world: World) -> None:
    """A quote over SHA-256 of a file is accepted with that file, and with no other."""
    import hashlib  # noqa: PLC0415

    digest = hashlib.sha256((desk / "policy.toml").read_bytes()).digest()
    (desk / "bound.bin").write_bytes(world.quote(report_data=digest))
    assert verify(desk, "bound.bin", *ANY, "--report-data-sha256-of", "policy.toml").status == 0
    assert verify(desk, "bound.bin", *ANY, "--report-data", digest.hex()).status == 0
    assert verify(desk, "bound.bin", *ANY, "--report-data-sha256-of", "root.pem").status == 5


def test_a_wrong_key_in_the_policy_is_told_with_its_file(desk: Path) -> None:
    """The error names the file and the key, and nothing is judged."""
    (desk / "wrong.toml").write_text("min_tcb_level = 3\n")
    outcome = verify(desk, "quote.bin", *GIVEN, "--policy", "wrong.toml")
    assert outcome.status == 1
    assert "wrong.toml" in outcome.err
    assert "min_tcb_level" in outcome.err


def test_a_huge_policy_is_a_configuration_error(desk: Path) -> None:
    """A file that is no policy by its size is the caller's mistake (1), not bad evidence (2)."""
    (desk / "huge.toml").write_bytes(b"#" * (40 << 20))
    assert verify(desk, "quote.bin", *GIVEN, "--policy", "huge.toml").status == 1


def test_collateral_in_one_file_or_in_a_folder(desk: Path) -> None:
    """dcap-qvl's JSON and a folder of PCS answers are the same collateral."""
    file = verify(desk, "quote.bin", *TRUSTED, "--any-identity", "--collateral", "collateral.json")
    assert file.out == verify(desk, "quote.bin", *ANY).out


def test_a_folder_that_lacks_a_piece_says_which(desk: Path) -> None:
    """Incomplete collateral is unavailable collateral (6); the piece and its file are named."""
    part = desk / "part"
    part.mkdir()
    for file in (desk / "collateral").iterdir():
        if not file.name.startswith("pck_crl."):
            (part / file.name).write_bytes(file.read_bytes())
    outcome = verify(desk, "quote.bin", *TRUSTED, "--collateral", "part")
    assert outcome.status == 6
    assert "pck_crl.der" in outcome.err
