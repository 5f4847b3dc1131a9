"""The service over PostgreSQL: two replicas of one store, and a database that goes and comes back."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pccs.databases import Missing, Server, server
from pccs.running import V4, Intel, intel, serve, until

ROOT_CRL = f"{V4}rootcacrl"


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Intel]:
    """The simulated Intel, its clock two days behind: what comes a day later is no future."""
    with intel(tmp_path / "intel") as running:
        running.world.at -= timedelta(days=2)
        yield running


@pytest.fixture
def postgresql() -> Iterator[Server]:
    """A server of the test's own, or skipped where there is none."""
    try:
        with server("postgresql") as running:
            yield running
    except Missing as missing:
        pytest.skip(str(missing))


def test_replicas_share_what_one_of_them_fetched(
    tmp_path: Path, simulated: Intel, postgresql: Server
) -> None:
    """Upstream is asked once for both; what one renews, the other serves within a second."""
    environ = {"DCAP_PCCS_DATABASE": postgresql.database()}
    with (
        serve(tmp_path, *simulated.flags, environ=environ, name="one") as one,
        serve(tmp_path, *simulated.flags, environ=environ, name="two") as two,
    ):
        target = f"{V4}qve/identity"
        before = len(simulated.calls)
        assert one.get(target).body == two.get(target).body
        assert [path for path in simulated.calls[before:] if "qve" in path] == [target]
        old = two.get(target).body
        simulated.world.at += timedelta(days=1)  # it is issued anew each day
        token = f"admin-token: {one.token('admin')}"
        assert one.get(f"{V4}refresh", token, method="POST").status == 200
        fresh = one.get(target).body
        assert fresh != old
        assert until(lambda: two.get(target).body == fresh, 1.5)


def test_ready_answers_outlive_the_database(
    tmp_path: Path, simulated: Intel, postgresql: Server
) -> None:
    """While it is gone: what is ready is served, the rest is 503 without a body; then all is well."""
    environ = {"DCAP_PCCS_DATABASE": postgresql.database()}
    with serve(tmp_path, *simulated.flags, environ=environ) as service:
        wire = service.wire()
        whole = wire.get(ROOT_CRL).body
        assert until(lambda: b"ready_answers 1" in wire.get("/metrics").body)
        wire.get(ROOT_CRL)
        postgresql.stop()
        try:
            assert until(lambda: wire.get("/healthz/ready").status == 503, 20)
            answer = wire.get(ROOT_CRL)
            assert (answer.status, answer.body) == (200, whole)
            refused = wire.get(f"{V4}qe/identity")
            assert (refused.status, refused.body) == (503, b"")
            assert refused.field("Dcap-Cause") == "store-unavailable"
            assert wire.get("/healthz/live").status == 200
            assert b"dcap_pccs_store_up 0" in wire.get("/metrics").body
        finally:
            postgresql.start()
        assert until(lambda: wire.get("/healthz/ready").status == 200, 30)
        assert wire.get(f"{V4}qe/identity").status == 200
        assert json.loads(wire.get("/status.json").body)["kept"]["items"] >= 2
