"""The contract, what is not there: which status and which cause, by mode and version.

Source: `pccs-and-pcs-api.md` §1.1-1.9; `quote-provider.md` §4.2, §7.
"""

import pytest

from dcap.api.http import HttpRequest
from dcap.pccs.mode import Mode
from pccs.contract.expected import (
    BAD,
    GONE,
    KNOWN,
    MISS,
    OK,
    ROOT_URI,
    SENTENCE_TYPE,
    UNKNOWN,
    expect_refused,
    expect_usual,
    in_mode,
)
from pccs.rig import Rig, pck_line

ITEMS = (
    ("pckcrl?ca=processor", "sgx"),
    ("pckcrl?ca=platform&encoding=der", "sgx"),
    (f"tcb?fmspc={KNOWN}", "sgx"),
    (f"tcb?fmspc={KNOWN}&update=early", "tdx"),
    ("qe/identity", "sgx"),
    ("qe/identity", "tdx"),
    ("qve/identity", "sgx"),
    ("rootcacrl", "sgx"),
    (f"crl?uri={ROOT_URI}", "sgx"),
)


@pytest.mark.parametrize("mode", [Mode.REQ, Mode.OFFLINE])
@pytest.mark.parametrize(("line", "tee"), ITEMS)
def test_a_miss_outside_lazy_is_404(empty: Rig, mode: Mode, line: str, tee: str) -> None:
    """REQ and OFFLINE fetch nothing for who asks, and say so."""
    before = len(empty.calls)
    expect_refused(in_mode(empty, mode).ask(line, tee=tee), MISS, "not-cached")
    assert len(empty.calls) == before


@pytest.mark.parametrize(("line", "tee"), ITEMS)
def test_a_miss_in_lazy_is_fetched_once(fresh: Rig, line: str, tee: str) -> None:
    """LAZY fetches, keeps and answers; the second answer is the first one's bytes."""
    first = fresh.ask(line, tee=tee)
    assert first.status == OK
    calls = len(fresh.calls)
    assert calls == 1
    second = fresh.ask(line, tee=tee)
    assert (second.status, second.body) == (OK, first.body)
    assert len(fresh.calls) == calls


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("line", [line for line, tee in ITEMS if tee == "sgx"])
def test_a_miss_of_version_3(empty: Rig, mode: Mode, line: str) -> None:
    """Version 3 has ended: 410 in LAZY, and 404 where nothing would be fetched anyhow."""
    before = len(empty.calls)
    response = in_mode(empty, mode).ask(line, version=3)
    expect_usual(response, 3)
    lazy = mode is Mode.LAZY
    expect_refused(response, GONE if lazy else MISS, "v3-ended" if lazy else "not-cached")
    assert len(empty.calls) == before


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("mode", [Mode.REQ, Mode.OFFLINE])
def test_an_unknown_machine_outside_lazy_is_461(empty: Rig, mode: Mode, version: int) -> None:
    """It has to be registered first."""
    line = pck_line(empty.world.platform("stranger"))
    expect_refused(in_mode(empty, mode).ask(line, version=version), 461, "unknown-platform")


def test_an_unknown_machine_of_version_3_is_410(empty: Rig) -> None:
    """In LAZY it would have to be fetched, from a version that has ended."""
    line = pck_line(empty.world.platform("stranger"))
    expect_refused(empty.ask(line, version=3), GONE, "v3-ended")


def test_an_unknown_machine_without_ppid_is_400(empty: Rig) -> None:
    """Nothing else leads to its certificates."""
    line = pck_line(empty.world.platform("stranger"), with_ppid=False)
    expect_refused(empty.ask(line), BAD, "no-ppid")


def test_an_all_zero_ppid_is_404(empty: Rig) -> None:
    """A machine that cannot read its PPID sends zeros; nobody is asked about it."""
    before = len(empty.calls)
    line = pck_line(empty.world.platform("stranger"), encrypted_ppid="0" * 768)
    expect_refused(empty.ask(line), MISS, "zero-ppid")
    assert len(empty.calls) == before


def test_a_machine_that_intel_does_not_know_is_404(fresh: Rig) -> None:
    """A machine of several packages that never registered: the cause says so."""
    machine = fresh.world.platform("unregistered")
    machine.registered = False
    expect_refused(fresh.ask(pck_line(machine)), MISS, "unregistered")


def test_an_unknown_fmspc_is_404(fresh: Rig) -> None:
    """Intel has none: the same status as ever, and its cause."""
    expect_refused(fresh.ask(f"tcb?fmspc={UNKNOWN}"), MISS, "no-such-item")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("GET", "/sgx/certification/v2/rootcacrl"),
        ("GET", "/sgx/certification/v4pckcert"),
        ("GET", "/sgx/certification/v4/pckcerts"),
        ("GET", "/tdx/certification/v3/tcb"),
        ("GET", "/tdx/certification/v4/pckcrl?ca=platform"),
        ("GET", "/tdx/certification/v4/qve/identity"),
        ("GET", "/tdx/certification/v4/platforms"),
        ("GET", "/sgx/certification/v3/qae/identity"),
        ("POST", "/sgx/certification/v4/rootcacrl"),
        ("DELETE", "/sgx/certification/v4/platforms"),
        ("GET", "/sgx/certification/v4/platformcollateral"),
        ("GET", "/<script>alert(1)</script>"),
    ],
)
def test_no_such_route_is_the_page_of_express(full: Rig, method: str, target: str) -> None:
    """404 with "Cannot GET …" as HTML, by which clients tell it from a missing item."""
    response = full.handler(HttpRequest(method=method, target=target))
    assert response.status == MISS
    assert response.header("Content-Type") == SENTENCE_TYPE
    assert response.header("Content-Security-Policy") == "default-src 'none'"
    assert response.header("X-Content-Type-Options") == "nosniff"
    assert f"<pre>Cannot {method} ".encode() in response.body
    assert b"<script>" not in response.body
