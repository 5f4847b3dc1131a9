"""The clock against those of servers: each is off by one amount, and one thing is said."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from asked_machine import PATH, asked, dated
from scratch import link, say, write

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.doctor import clock, network
from dcap.doctor.scene import Scene
from dcap.serving import serving
from dcap.simulator import World
from dcap.simulator.alibaba import alibaba
from dcap.simulator.tls import tls_files


@pytest.fixture(scope="module")
def world() -> World:
    """One world for all of them: nothing here changes it."""
    return World("doctor's clock")


def ahead(scene: Scene, **by: int) -> Scene:
    """The same machine, its clock ahead."""
    now = scene.clock()
    return msgspec.structs.replace(scene, clock=lambda: now + timedelta(**by))


def test_a_clock_that_agrees_is_right(tmp_path: Path, world: World) -> None:
    """Within a minute there is no finding; what was compared is shown."""
    with asked(tmp_path, world) as (machine, _):
        seen = say(clock.CHECKS, ahead(machine.scene(), seconds=40))
    assert seen.codes == []
    assert (
        "127.0.0.1 says 2026-01-01 12:00:00, here it is 2026-01-01 12:00:40"
        in seen.rights[0].evidence
    )


@pytest.mark.parametrize(
    ("by", "code", "amount"),
    [
        ({"seconds": 90}, "clock-off", "90 seconds behind"),
        ({"minutes": -5}, "clock-off", "5 minutes ahead"),
        ({"hours": -3}, "clock-wrong", "3 hours ahead"),
        ({"days": 400}, "clock-wrong", "400 days behind"),
    ],
)
def test_a_clock_that_is_off(
    tmp_path: Path, world: World, by: dict[str, int], code: str, amount: str
) -> None:
    """More than a minute is a warning, more than ten an error; it is said who may be wrong."""
    with asked(tmp_path, world) as (machine, _):
        seen = say(clock.CHECKS, ahead(machine.scene(), **by))
    finding = seen.finding(code)
    assert amount in finding.what
    assert "no other server was asked" in finding.what
    assert "timedatectl set-ntp true" in seen.mends(code)
    severity = {each.code: each.severity for each in clock.AILMENTS}[code]
    assert severity == ("warning" if code == "clock-off" else "error")


def test_what_sets_the_clock_is_evidence(tmp_path: Path, world: World) -> None:
    """Whether a time service is enabled, or has set the clock, is said beside it."""
    with asked(tmp_path, world) as (machine, _):

        def last() -> str:
            return say(clock.CHECKS, machine.scene()).rights[0].evidence[-1]

        assert "no time service is enabled" in last()
        wants = "/etc/systemd/system/multi-user.target.wants/chrony.service"
        link(machine.root, wants, "/usr/lib/systemd/system/chrony.service")
        assert last() == "enabled, to set the clock: chrony"
        write(machine.root, "/run/systemd/timesync/synchronized")
        assert "has set the clock" in last()


def test_a_clock_that_was_never_set(tmp_path: Path, world: World) -> None:
    """A year before 2024 needs no server to be known as wrong."""
    with asked(tmp_path, world) as (machine, _):
        scene = machine.scene(clock=lambda: datetime(1970, 1, 1, tzinfo=UTC), offline=True)
        assert say(clock.CHECKS, scene).codes == ["clock-unset"]


def test_of_two_servers_the_one_that_differs_is_wrong(tmp_path: Path, world: World) -> None:
    """Where another server agrees with this machine, it is the PCCS whose clock is wrong."""
    with asked(tmp_path, world) as (machine, right):
        files = tls_files(world, machine.certificates)[:2]
        behind = dated(alibaba(world), world.at, timedelta(days=-2))
        with serving(behind, tls=files) as wrong:
            url = wrong.url.replace("127.0.0.1", "localhost") + PATH
            machine.configure(url, collateral_service=right.url + PATH)
            seen = say(clock.CHECKS, machine.scene())
    assert seen.codes == ["server-clock-wrong"]
    assert "the clock of localhost is 2 days behind" in seen.findings[0].what


def test_an_answer_from_a_cache_is_as_old_as_it_says(tmp_path: Path, world: World) -> None:
    """`Age` is counted to `Date`: what was kept for an hour is no clock an hour behind."""
    truth = dated(alibaba(world), world.at, timedelta(hours=-1))

    def kept(request: HttpRequest) -> HttpResponse:
        response = truth(request)
        return msgspec.structs.replace(response, headers=(*response.headers, ("Age", "3600")))

    with asked(tmp_path, world) as (machine, _), serving(kept) as server:
        machine.configure(server.url + PATH)
        assert say(clock.CHECKS, machine.scene()).codes == []


def dateless(_: HttpRequest) -> HttpResponse:
    """An answer without a date, and then one that is none."""
    return HttpResponse(status=404)


def garbled(_: HttpRequest) -> HttpResponse:
    """A date that is none."""
    return HttpResponse(status=404, headers=(("Date", "yesterday, 25:61"),))


@pytest.mark.parametrize("handler", [dateless, garbled])
def test_without_a_date_nothing_is_said(tmp_path: Path, world: World, handler: Handler) -> None:
    """A server that does not say what time it is leaves the clock unjudged."""
    with asked(tmp_path, world) as (machine, _), serving(handler) as server:
        machine.configure(server.url + PATH)
        seen = say(clock.CHECKS, machine.scene())
    assert (seen.codes, len(seen.skipped)) == ([], 1)


def test_the_clock_shares_the_walks_of_the_network(tmp_path: Path, world: World) -> None:
    """Both families look at one answer: the server is asked once."""
    count: list[str] = []
    truth = dated(alibaba(world), world.at)

    def counting(request: HttpRequest) -> HttpResponse:
        count.append(request.path)
        return truth(request)

    with asked(tmp_path, world) as (machine, _), serving(counting) as server:
        machine.configure(server.url + PATH)
        scene = machine.scene()
        assert say((*clock.CHECKS, *network.CHECKS), scene).codes == []
    assert len(count) == 1
