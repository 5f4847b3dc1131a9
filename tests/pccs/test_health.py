"""`dcap.pccs.health`: what probes, Prometheus and people are told of a service."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from dcap.pccs import health
from dcap.pccs.assembly import Parts, prepare, tokens_of
from dcap.pccs.config import read_settings
from dcap.pccs.items import CrlKey, IdentityKey, RootCrlKey
from dcap.pccs.metrics import Counted, Counters, write_figures
from dcap.pccs.refresh import Refresher
from dcap.pccs.upstream import PROVIDER_LIMIT
from pccs.rig import Rig, pck_line

HOT = health.Hot(answers=2, size=3)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A service over a simulated Intel."""
    (tmp_path / "store").mkdir()
    return Rig(tmp_path / "store")


def parts_of(rig: Rig, folder: Path) -> Parts:
    """The rig's parts, as a running service has them."""
    settings = read_settings({"data": str(folder / "data")}, {})
    prepare(settings, at=rig.clock(), show=lambda _role, _token: None)
    return Parts(
        settings=settings,
        store=rig.store,
        upstream=rig.upstream,
        service=rig.service,
        handle=rig.handler,
        refresher=Refresher(rig.service, seed=b""),
        tokens=tokens_of(settings),
    )


def test_what_ends_first_stands_first(rig: Rig, tmp_path: Path) -> None:
    """Each item with the days that are left, by the service's own clock."""
    rig.ask("rootcacrl")
    rig.ask("qe/identity")
    rig.world.at += timedelta(days=1)
    found = health.status(parts_of(rig, tmp_path), Counters(), HOT, version="0")
    assert [item["key"] for item in found["items"]] == ["identity/QE/4/STANDARD", "root-crl"]
    days = [item["days_left"] for item in found["items"]]
    assert days == sorted(days)
    assert 0 < days[0] < 30
    assert found["kept"]["items"] == 2
    assert found["upstream"][0]["state"] == "closed"
    assert found["upstream"][0]["fetched"] == 2


def test_what_nobody_can_renew_is_not_told_of(rig: Rig, tmp_path: Path) -> None:
    """Expired items of a number or of version 3, and a list that is had by its own name: no alarm."""
    identity, listed = rig.upstream.item(IdentityKey("QE")), rig.upstream.item(RootCrlKey())
    keys = (IdentityKey("QE", 4, None, 3), IdentityKey("QE", 3))
    rig.store.items.put(
        *(replace(identity, key=key, expires=rig.clock()) for key in keys),
        replace(listed, key=CrlKey("https://certificates.example/IntelSGXRootCA.der")),
    )
    found = health.status(parts_of(rig, tmp_path), Counters(), HOT, version="0")
    assert {one["key"] for one in found["items"]} == {"identity/QE/4/STANDARD", "root-crl"}
    assert found["kept"]["items"] == 5


def test_what_cannot_be_served_well_is_told_of(rig: Rig, tmp_path: Path) -> None:
    """An item of the future, and one so large that Intel's quote provider aborts over it."""
    identity, listed = rig.upstream.item(IdentityKey("QE")), rig.upstream.item(RootCrlKey())
    rig.store.items.put(
        replace(identity, body=bytes(PROVIDER_LIMIT - len(identity.issuer_chain))),
        replace(listed, issued=rig.clock() + timedelta(days=1)),
    )
    found = health.status(parts_of(rig, tmp_path), Counters(), HOT, version="0")
    told = {one["key"]: (one["early"], one["oversized"]) for one in found["items"]}
    assert told == {"identity/QE/4/STANDARD": (False, True), "root-crl": (True, False)}


def test_the_ratio_of_ready_answers(rig: Rig, tmp_path: Path) -> None:
    """None before anything was asked, then the share."""
    parts, counters = parts_of(rig, tmp_path), Counters()
    assert health.status(parts, counters, HOT, version="0")["answers"]["hit_ratio"] is None
    counters.add(Counted.HOT, 3)
    counters.add(Counted.COMPUTED)
    assert health.status(parts, counters, HOT, version="0")["answers"]["hit_ratio"] == 0.75


def test_no_machine_is_named(rig: Rig, tmp_path: Path) -> None:
    """With machines kept and waiting, neither status nor metrics have anything of them."""
    machine = rig.world.platform()
    rig.fill(machine)
    found = health.status(parts_of(rig, tmp_path), Counters(), HOT, version="0")
    text = json.dumps(found) + write_figures(health.figures(found)).decode()
    assert found["kept"]["platforms"] == 1
    for secret in (machine.qe_id, machine.encrypted_ppid[:32], machine.cpu_svn):
        assert secret.hex().upper() not in text.upper()


def test_machines_that_asked_are_counted(rig: Rig, tmp_path: Path) -> None:
    """Those of the last day and of the last thirty; who has only registered is neither."""
    rig.fill(rig.world.platform())
    parts = parts_of(rig, tmp_path)

    def counted() -> dict[str, int]:
        rig.service.sightings.write()
        seen: dict[str, int] = health.status(parts, Counters(), HOT, version="0")["kept"]["seen"]
        return seen

    assert counted() == {"day": 0, "month": 0}
    assert rig.ask(pck_line(rig.world.platform())).status == 200
    assert counted() == {"day": 1, "month": 1}
    rig.world.at += timedelta(days=2)
    assert counted() == {"day": 0, "month": 1}


def test_gauges_say_when_things_end(rig: Rig, tmp_path: Path) -> None:
    """An item's end as seconds since 1970, the TLS certificate's too."""
    rig.ask("rootcacrl")
    found = health.status(parts_of(rig, tmp_path), Counters(), HOT, version="0")
    text = write_figures(health.figures(found)).decode()
    line = next(one for one in text.splitlines() if 'item="root-crl"' in one)
    ends = rig.store.items.summaries()[0].expires
    assert ends is not None
    assert float(line.rpartition(" ")[2]) == ends.timestamp()
    assert "dcap_pccs_tls_expires_timestamp_seconds" in text
    assert "dcap_pccs_store_up 1" in text


def test_a_file_of_tokens_that_is_damaged_is_the_reason_that_is_told() -> None:
    """Not that there are none: what helps is another thing. While some still hold, it is ready."""
    well = {"store_answers": True, "stopping": False, "tokens_fault": "the file is damaged"}
    assert health.checks(**well, has_tokens=False)["tokens"] == "the file is damaged"
    assert health.checks(**well, has_tokens=True)["tokens"] == "ok"


def test_without_a_store_that_alone_is_told() -> None:
    """The gauge of the database is 0, and nothing else is made up."""
    text = write_figures(health.figures(None)).decode()
    assert "dcap_pccs_store_up 0" in text
    assert "item" not in text


@pytest.mark.parametrize("wrong", ["store_answers", "has_tokens", "stopping", "all_early"])
def test_one_thing_that_is_not_well_makes_it_not_ready(wrong: str) -> None:
    """503, with what is wrong; 200 where nothing is."""
    well = {"store_answers": True, "has_tokens": True, "stopping": False, "all_early": False}
    assert health.probe(health.checks(**well))[0] == 200
    status, body = health.probe(health.checks(**{**well, wrong: not well[wrong]}))
    assert status == 503
    assert list(json.loads(body)["checks"].values()).count("ok") == 3
