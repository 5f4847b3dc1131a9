"""`dcap.pccs.openapi`: the document and the service are of the same tables."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcap.api.pccs import PCCS_ROUTES
from dcap.api.pccs_admin import ADMIN_ROUTES
from dcap.pccs.openapi import openapi
from pccs.rig import ADMIN, USER, Rig

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi("0")))


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path, operation."""
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


CONTRACT = [row for row in operations() if "/certification/" in row[1]]


def test_every_route_stands_in_it() -> None:
    """Each resource in each version, and each of the administrator's."""
    there = {(method, path) for method, path, _ in operations()}
    for route in PCCS_ROUTES:
        for version in range(route.since, 5):
            path = f"/{route.tee}/certification/v{version}/{route.resource}"
            assert ("GET", path) in there
    for method, resource in ADMIN_ROUTES:
        assert (method, f"/sgx/certification/v4/{resource}") in there


def test_operations_are_told_apart() -> None:
    """Each has an id of its own, and every parameter a schema."""
    ids = [operation["operationId"] for _, _, operation in CONTRACT]
    assert len(ids) == len(set(ids))
    for _, _, operation in CONTRACT:
        for parameter in operation["parameters"]:
            assert parameter["in"] == "query"
            assert parameter["schema"]


@pytest.mark.parametrize(("method", "path", "operation"), CONTRACT, ids=lambda row: str(row)[:60])
def test_the_service_has_what_the_document_says(
    tmp_path: Path, method: str, path: str, operation: dict[str, Any]
) -> None:
    """Asked without parameters, it answers with a status that stands there, and never 5xx."""
    rig = Rig(tmp_path)
    _, tee, _, version, resource = path.split("/", 4)
    answer = rig.ask(
        resource, tee=tee, version=int(version[1:]), method=method, headers=(*USER, *ADMIN)
    )
    assert b"Cannot" not in answer.body
    assert answer.status < 500
    assert str(answer.status) in operation["responses"]
    required = [one["name"] for one in operation["parameters"] if one["required"]]
    if required:
        assert answer.status == 400


def test_patterns_are_patterns() -> None:
    """Each can be read, and is anchored."""
    for pattern in re.findall(r'"pattern": "([^"]+)"', json.dumps(DOCUMENT)):
        assert pattern.startswith("^")
        assert re.compile(pattern)
