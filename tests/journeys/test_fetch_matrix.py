"""`dcap verify` on every way, with nothing wrong and with each thing wrong that there is.

What each fault must come to stands in the table of docs/quote-provider.md, which is read here.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ways import FAULTS, LONG, MORE_WAYS, SHORT, WAYS, Desk, Way, can_happen, desk_in, run_with

from dcap.api.http import HttpRequest, HttpResponse
from dcap.simulator.wire_faults import WIRE_FAULTS
from dcap.sources.cache_entry import read_dcap_cache
from worlds import ROOT

PAGE = ROOT / "docs" / "quote-provider.md"
#: The ways whose column is the first of the two.
AS_INTEL = ("PCS", "Azure", "qcnl, PCS")
#: A set of collateral takes two requests after one another at most; the rest is a busy machine's.
ROUNDS, SLACK = 2, 10.0
#: The errors that say how many attempts there were, for they end the last one.
TOLD_ATTEMPTS = (
    "network-cut-off",
    "network-refused",
    "network-proxy",
    "pcs-503",
    "pccs-503",
)
_CELL = re.compile(r"`([a-z0-9-]+)` (.+)")


class Row(NamedTuple):
    """A row of the page: the fault, the exit status, what each kind of way says, and when."""

    exit_status: int
    intel: str
    pccs: str
    after: str

    def said(self, way: str) -> str:
        """The cell of a way: the code in backticks and the beginning of the sentence."""
        return self.intel if way in AS_INTEL or self.pccs == "the same" else self.pccs


def rows() -> dict[str, Row]:
    """The fault table of the page, by fault."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.partition("## When something fails")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {
        name.strip("`"): Row(int(status), intel, pccs, after)
        for name, _, status, intel, pccs, after in cells
    }


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One simulated internet for all tests of this file."""
    with desk_in(tmp_path_factory.mktemp("fetch")) as made:
        yield made


@pytest.mark.parametrize("evidence", ["sgx", "tdx", "type3"])
@pytest.mark.parametrize("way", [*WAYS, *MORE_WAYS])
def test_evidence_is_accepted_on_every_way(desk: Desk, way: str, evidence: str) -> None:
    """SGX, TDX, and a quote that names its machine: accepted by what is fetched over HTTPS."""
    desk.asked.clear()
    outcome = desk.verify((WAYS | MORE_WAYS)[way], f"{evidence}.bin")
    if way.endswith(" v3") and evidence == "tdx":
        assert outcome.status == 6
        assert "[source-version]" in outcome.err
        return
    assert outcome.status == 0, outcome.screen
    assert len(desk.asked) >= 4 + (evidence == "type3")


@pytest.mark.parametrize("evidence", ["sgx", "tdx"])
@pytest.mark.parametrize("form", ["directory", "bundle"])
def test_what_is_saved_is_judged_without_the_network(
    desk: Desk, tmp_path: Path, form: str, evidence: str
) -> None:
    """A folder or a bundle, fetched with `dcap collateral get`: accepted, and nobody is asked."""
    place, quote = str(tmp_path / form), f"{evidence}.bin"
    to = "--bundle" if form == "bundle" else "-o"
    got = desk.run("collateral", "get", quote, to, place, way=WAYS["PCS"])
    assert got.status == 0, got.screen
    desk.asked.clear()
    by_flag = desk.verify(Way(), quote, "--collateral", place)
    by_source = desk.verify(Way(source=place, names=False), quote, "--offline")
    outcomes = [by_flag, by_source]
    if form == "bundle":
        outcomes.append(desk.verify(Way(), place, "--offline"))
    assert [one.status for one in outcomes] == [0] * len(outcomes)
    assert desk.asked == []


def test_the_table_has_every_fault() -> None:
    """The page tells of all faults of the wire and of the places, in their order, and of no other."""
    assert tuple(rows()) == FAULTS


#: Each fault on each way that can have it; for TDX where that asks other hosts, or by other paths.
CASES = [
    *((fault, name, "sgx") for fault in FAULTS for name in WAYS if can_happen(fault, WAYS[name])),
    *((fault, name, "tdx") for fault in WIRE_FAULTS for name in ("PCS", "Azure")),
]


@pytest.mark.parametrize(("fault", "way", "tee"), CASES)
def test_a_fault_ends_as_the_table_says(
    desk: Desk, tmp_path: Path, fault: str, way: str, tee: str
) -> None:
    """Code, sentence, exit status and time are the table's; what is not proven is not kept."""
    course = run_with(desk, WAYS[way], fault, tmp_path / "cache", tee)
    row, outcome = rows()[fault], course.outcome
    assert outcome.status == row.exit_status, outcome.screen
    found = _CELL.fullmatch(row.said(way))
    assert found is not None, row
    code, sentence = found.groups()
    if row.exit_status == 6:
        assert f"error: {sentence}" in outcome.err
        assert f"[{code}]" in outcome.err
        assert outcome.out == ""
    elif row.exit_status == 3:
        assert f"FAIL  {code}: {sentence}" in outcome.out
    else:
        assert code == "accepted"
    assert course.kept == (row.exit_status == 0)
    limit = SHORT if row.after == "the limit" else LONG
    assert course.seconds < ROUNDS * limit + SLACK
    told = "in the last of" in outcome.err
    assert told == (code in TOLD_ATTEMPTS), outcome.err
    assert row.after == "attempts" or not told


#: A PCCS, and Intel's PCS behind it.
BOTH = Way(environ={"DCAP_SOURCE": "{url}/alibaba/sgx/certification/v4/,pcs"})


def _in_the_pccs(desk: Desk, fault: str) -> Callable[[HttpRequest], HttpResponse]:
    """The fault in front of the PCCS alone."""
    faulty = WIRE_FAULTS[fault](desk.genuine)

    def answer(request: HttpRequest) -> HttpResponse:
        service = faulty if request.target.startswith("/alibaba/") else desk.genuine
        return service(request)

    return answer


@pytest.mark.parametrize("fault", [f for f, row in rows().items() if f in WIRE_FAULTS and row[0]])
def test_the_next_source_is_asked(desk: Desk, tmp_path: Path, fault: str) -> None:
    """Whatever is wrong with a PCCS, Intel's PCS behind it is asked, and the result says so."""
    box = {"url": desk.wrong_url} if fault == "wrong-certificate" else {}
    desk.handler = _in_the_pccs(desk, fault)
    seconds = str(SHORT if fault == "hanging" else LONG)
    arguments = ("sgx.bin", "--json", "--timeout", seconds)
    try:
        outcome = desk.verify(BOTH, *arguments, cache=str(tmp_path), **box)
    finally:
        desk.handler = desk.genuine
    assert outcome.status == 0, outcome.screen
    told = json.loads(outcome.out)
    assert {piece["source"] for piece in told["collateral"]["sources"]} == {"Intel PCS"}
    assert any("was passed over" in remark for remark in told["remarks"])


def test_what_was_poisoned_leaves_nothing_behind(desk: Desk, tmp_path: Path) -> None:
    """After a poisoned answer the next run asks again, and keeps what is genuine then."""
    cache = tmp_path / "cache"
    poisoned = run_with(desk, WAYS["PCS"], "poisoned", cache)
    assert (poisoned.outcome.status, poisoned.kept) == (3, 0)
    assert desk.verify(WAYS["PCS"], "sgx.bin", cache=str(cache)).status == 0
    assert [entry.trouble for entry in read_dcap_cache(cache)] == [""]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "4000"])
def test_a_time_that_is_none_is_refused(desk: Desk, text: str) -> None:
    """--timeout takes seconds above zero, up to an hour."""
    desk.asked.clear()
    outcome = desk.verify(WAYS["PCS"], "sgx.bin", f"--timeout={text}")
    assert (outcome.status, desk.asked) == (1, [])
    assert "[source-timeout]" in outcome.err


def process(desk: Desk, script: str, cache: str = "off") -> subprocess.CompletedProcess[str]:
    """A program of its own at the desk."""
    around = {**desk.box.environment, "SSL_CERT_FILE": str(desk.ca)}
    own = {"DCAP_CACHE": cache, "DCAP_INSECURE_TEST_ROOT": "root.pem", "DCAP_SOURCE": "pcs"}
    path = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=desk.folder,
        env={**os.environ, **around, **own, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_process_ends_though_nobody_answers(desk: Desk) -> None:
    """The limit is the whole program's: no thread that still waits holds it back from its end."""
    arguments = ["verify", "sgx.bin", "--any-identity", "--timeout", str(SHORT)]
    desk.handler = WIRE_FAULTS["hanging"](desk.genuine)
    begun = time.monotonic()
    try:
        done = process(desk, f"from dcap.cli.main import main; main({arguments})")
    finally:
        desk.handler = desk.genuine
    assert time.monotonic() - begun < ROUNDS * SHORT + SLACK
    assert done.returncode == 6
    assert "[network-timeout]" in done.stderr


@pytest.mark.parametrize("flag", ["--collateral", "--offline"])
def test_who_asks_nobody_loads_no_network_code(desk: Desk, tmp_path: Path, flag: str) -> None:
    """A verdict by a folder, or by what is kept, is had without urllib3 and without TLS."""
    folder, cache = tmp_path / "set", tmp_path / "cache"
    assert desk.run("collateral", "get", "sgx.bin", "-o", str(folder), way=WAYS["PCS"]).status == 0
    assert desk.verify(WAYS["PCS"], "sgx.bin", "-q", cache=str(cache)).status == 0
    given = ["--collateral", str(folder)] if flag == "--collateral" else ["--source=pcs", flag]
    script = (
        "import sys, atexit; from dcap.cli.main import main;"
        "atexit.register(lambda: print({'urllib3', 'ssl'} & set(sys.modules) or 'none'));"
        f"main(['verify', 'sgx.bin', '--any-identity', '-q', *{given!r}])"
    )
    done = process(desk, script, str(cache))
    assert (done.returncode, done.stdout) == (0, "none\n"), done.stderr
