"""`POST /dcap/forget`: what it takes, and what is gone after it."""

import json
from pathlib import Path

import pytest

from dcap.api.http import Headers, HttpRequest, HttpResponse
from dcap.pccs.items import RootCrlKey
from dcap.pccs.openapi import openapi
from dcap.pccs.removal import PATH, Removal
from pccs.rig import ADMIN, TOKENS, USER, Rig, pck_line, record_of


def forgotten(
    rig: Rig, body: object, *, headers: Headers = ADMIN, method: str = "POST"
) -> HttpResponse:
    """The answer to a body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return rig.handler(HttpRequest(method=method, target=PATH, headers=headers, body=data))


def test_it_is_described() -> None:
    """As a route of the administrator's, with its body."""
    operation = openapi("0")["paths"][PATH]["post"]
    assert operation["security"] == [{"admin": []}]
    known = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(known) == {"key", "qe_id", "pce_id"}


def test_a_machine_is_forgotten_whole(tmp_path: Path) -> None:
    """Its certificates and its places in the queue; the next who comes under its ids is new."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    assert rig.register(record_of(machine)).status == 200
    removal = Removal(qe_id=machine.qe_id.hex().upper())
    assert rig.handler(removal.to_http(TOKENS["admin"])).status == 200
    assert rig.store.statistics().platforms == 0
    response = rig.handler(removal.to_http(TOKENS["admin"]))
    assert (response.status, response.header("Dcap-Cause")) == (404, "not-cached")
    assert rig.ask(pck_line(machine)).status == 200


def test_an_item_is_forgotten_and_fetched_anew(tmp_path: Path) -> None:
    """Whoever asks for it next has what upstream has now."""
    rig = Rig(tmp_path)
    assert rig.ask("rootcacrl").status == 200
    calls = len(rig.calls)
    assert rig.handler(Removal(key=RootCrlKey()).to_http(TOKENS["admin"])).status == 200
    assert rig.store.items.get(RootCrlKey()) is None
    assert rig.ask("rootcacrl").status == 200
    assert len(rig.calls) == calls + 1


@pytest.mark.parametrize(
    ("body", "method", "headers", "status"),
    [
        ({"key": "root-crl"}, "POST", (), 401),
        ({"key": "root-crl"}, "POST", USER, 401),
        ({"key": "root-crl"}, "GET", ADMIN, 405),
        ({"key": "root-crl"}, "HEAD", ADMIN, 405),
        ({"key": "no such key"}, "POST", ADMIN, 400),
        ({"qe_id": ""}, "POST", ADMIN, 400),
        ({"qe_id": "A" * 261}, "POST", ADMIN, 400),
        ({"qe_id": "AB", "pce_id": "00"}, "POST", ADMIN, 400),
        (["root-crl"], "POST", ADMIN, 400),
        (b"", "POST", ADMIN, 400),
    ],
)
def test_nothing_else_is_forgotten(
    tmp_path: Path, body: object, method: str, headers: Headers, status: int
) -> None:
    """Without the admin token, by another method, or where nothing is named."""
    rig = Rig(tmp_path)
    assert rig.ask("rootcacrl").status == 200
    assert forgotten(rig, body, method=method, headers=headers).status == status
    assert rig.store.items.get(RootCrlKey()) is not None
    assert "AB" not in repr(Removal(qe_id="AB"))
