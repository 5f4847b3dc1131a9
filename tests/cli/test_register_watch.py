"""`dcap register status` and `--watch`: what is here and what is not yet, and how a wait ends."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.register_site import Site, ended, site
from dcap.api.http import HttpRequest, HttpResponse
from dcap.pccs.mode import Mode
from pccs.rig import pck_line
from pccs.running import START, until
from platform_registration import efivars
from worlds import ROOT


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """A machine, its PCCS, and Intel."""
    with site(tmp_path) as made:
        yield made


# status


def test_status_of_a_new_machine_says_what_the_source_says(at: Site) -> None:
    """Before: it can be had in mode LAZY. With a source that has none: exit status 6."""
    outcome = at.register("status")
    assert outcome.status == 0
    assert "`dcap register submit` keeps it here" in outcome.out
    at.inside = lambda _: HttpResponse(status=461)
    outcome = at.register("status")
    assert outcome.status == 6
    assert "certificate  none" in outcome.out
    assert "pccs-461" in outcome.out


def test_status_needs_the_raw_tcb(at: Site) -> None:
    """A manifest alone names no certificate."""
    root = at.folder / "host"
    efivars.write(root, request=efivars.request(efivars.manifest()))
    outcome = at.register("status", "--root", str(root))
    assert ended(outcome) == (1, "registration-no-tcb")


# watch


def test_watch_waits_for_a_cache_that_has_it_not_yet(tmp_path: Path) -> None:
    """Mode OFFLINE: registered at once; the certificate comes when its administrator has brought it."""
    with site(tmp_path, Mode.OFFLINE) as at:
        left = [503, 503]

        def answer(request: HttpRequest) -> HttpResponse:
            if left:
                return HttpResponse(status=left.pop())
            if request.method == "GET" and at.asked.count("GET pckcert") == 3:
                at.rig.fill(at.small)
            return at.rig.handler(request)

        at.inside = answer
        outcome = at.register("submit", "--watch", "--every", "0.01", "--for", "60")
        assert outcome.status == 0, outcome.screen
        assert [line.partition(":")[0].split()[0] for line in outcome.err.splitlines()] == [
            "warning", "waiting", "registered", "waiting",
        ]  # fmt: skip
        assert "[pccs-503]" in outcome.err
        assert "has the machine in its queue" in outcome.err
        assert at.asked == [*["POST platforms"] * 3, *["GET pckcert"] * 3]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_without_watch_a_queue_is_exit_status_six(tmp_path: Path) -> None:
    """It is registered; what is missing is the administrator's to bring, and the message says how."""
    with site(tmp_path, Mode.OFFLINE) as at:
        outcome = at.register("submit")
        assert ended(outcome) == (6, "pccs-461")
        assert "dcap pccs get" in outcome.err
        assert "--watch" in outcome.err
        answer = at.rig.ask(pck_line(at.small))
        assert answer.status == 461


def test_watch_gives_up_when_its_time_is_over(at: Site) -> None:
    """Exit status 6, with the last obstacle."""
    at.inside = lambda _: HttpResponse(status=503)
    outcome = at.register("submit", "--watch", "--every", "0.01", "--for", "0.05")
    assert ended(outcome)[0] == 6
    assert "[registration-not-yet]" in outcome.err


def test_its_numbers_go_with_watch(at: Site) -> None:
    """Alone they would have no effect."""
    assert at.register("submit", "--every", "5").status == 1
    assert at.asked == []


@pytest.mark.skipif(shutil.which("sh") is None, reason="no processes to be signalled")
def test_sigterm_ends_a_watch_at_once(at: Site) -> None:
    """A unit or container that is stopped is not waited for, whatever the interval."""
    at.inside = lambda _: HttpResponse(status=503)
    log = at.folder / "log"
    command = [sys.executable, "-c", START, "register", "submit", "--watch", "--every", "600"]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "--ca", at.ca],
            cwd=at.folder,
            env={**os.environ, **at.environment, "PYTHONPATH": str(ROOT / "src")},
            stderr=errors,
        )
    try:
        assert until(lambda: "waiting: " in log.read_text(), 60), log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert log.read_text().endswith("stopped\n")
