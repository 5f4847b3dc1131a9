"""`dcap.pccs.assembly`: what the parts of a service tell its log."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dcap.errors import DcapError
from dcap.pccs.assembly import assembled
from dcap.pccs.request_log import RequestLog
from dcap.pccs.service import PccsService
from dcap.pccs.setting_table import Settings
from dcap.simulator.world import World
from pccs.transfer.moved import file_of


@pytest.fixture
def simulated() -> World:
    """A world of one machine."""
    world = World("assembly")
    world.platform("multi").svn = 4
    return world


@pytest.fixture
def lines() -> list[str]:
    """What stands in the log, an event a line."""
    return []


@pytest.fixture
def service(tmp_path: Path, simulated: World, lines: list[str]) -> Iterator[PccsService]:
    """A service that fetches nothing, its clock the world's."""
    root = tmp_path / "root.pem"
    root.write_bytes(simulated.root_pem)
    settings = Settings(data=tmp_path, mode="offline", insecure_test_root=root)
    with assembled(settings, RequestLog("json", write=lines.append)) as parts:
        parts.upstream.clock = lambda: simulated.at
        yield parts.service


def told(lines: list[str], event: str) -> list[dict[str, Any]]:
    """The events of a name."""
    return [found for found in map(json.loads, lines) if found["event"] == event]


def test_what_an_import_left_out_is_told_and_logged(
    service: PccsService, simulated: World, lines: list[str]
) -> None:
    """Of a file that lay about for months the lists have expired: by kind, by number, by name."""
    data = file_of(simulated, simulated.platform("multi"))
    assert service.import_collaterals(data, 4) == {}
    assert told(lines, "import left out") == []
    simulated.at += timedelta(days=365)
    left_out = service.import_collaterals(data, 4)
    (event,) = told(lines, "import left out")
    assert left_out == {event["pieces"]: event["number"]} == {"item expired": event["number"]}
    assert "identity/QE/4/STANDARD" in {one["item"] for one in told(lines, "not kept")}


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda data: data.replace(b'"OutOfDate"', b'"UpToDate"'), "pccs-forged"),
        (lambda data: data[:-99], "json"),
    ],
)
def test_why_an_import_was_refused_is_logged(
    service: PccsService,
    simulated: World,
    lines: list[str],
    spoil: Callable[[bytes], bytes],
    code: str,
) -> None:
    """With the code of what failed; no machine is named."""
    machine = simulated.platform("multi")
    with pytest.raises(DcapError):
        service.import_collaterals(spoil(file_of(simulated, machine)), 4)
    (event,) = told(lines, "import refused")
    assert event["code"] == code
    assert machine.qe_id.hex() not in "".join(lines).lower()
