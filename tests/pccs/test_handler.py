"""The handler's edges: what fails inside, what may not get out, and answers that nobody may mix up."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcap.api.http import HttpRequest
from dcap.errors import ConfigError, FormatError, Unavailable
from dcap.pccs.handler import pccs_handler
from dcap.pccs.items import Key
from dcap.pccs.mode import Mode
from dcap.pccs.service import ItemAnswer
from pccs.rig import ADMIN, USER, Rig, authorise, pck_line, record_of

RESOURCES = (
    *("pckcert", "pckcrl", "tcb", "rootcacrl", "crl", "qe/identity", "qve/identity"),
    *("qae/identity", "fmspcs", "tcbevaluationdatanumbers", "healthz"),
    *("platforms", "refresh", "platformcollateral", "appraisalpolicy"),
)
NAMES = (
    *("qeid", "cpusvn", "pcesvn", "pceid", "encrypted_ppid", "ca", "encoding", "fmspc", "uri"),
    *("update", "tcbEvaluationDataNumber", "type", "source", "platform", "clientid"),
    *("api-version", "keep"),
)


@pytest.mark.parametrize(
    ("error", "status", "cause"),
    [
        (Unavailable("store-unavailable", "the database is gone"), 503, "store-unavailable"),
        (Unavailable("store-full", "the disk is full"), 503, "store-unavailable"),
        (ConfigError("store-unwritable", "it cannot be written"), 500, "internal"),
        (FormatError("json", "what is kept cannot be read"), 500, "internal"),
        (RuntimeError("a bug"), 500, "internal"),
    ],
)
def test_what_fails_inside_is_reported_and_not_told(
    tmp_path: Path, error: Exception, status: int, cause: str
) -> None:
    """The caller gets a sentence (nothing at all for 503) and a word; the log gets the error."""
    rig = Rig(tmp_path)

    def fails(_key: Key, _version: int = 4) -> ItemAnswer:
        raise error

    rig.service.item = fails  # type: ignore[method-assign]
    response = rig.ask("rootcacrl")
    assert (response.status, response.header("Dcap-Cause")) == (status, cause)
    assert response.body == (b"" if status == 503 else b"Internal server error occurred.")
    assert rig.errors == [error]


def test_a_queue_that_is_read_is_always_told(tmp_path: Path) -> None:
    """304 would lose what was crossed off: the machines come, and nobody keeps a copy of them."""
    rig = Rig(tmp_path, mode=Mode.OFFLINE)
    assert rig.register(record_of(rig.world.platform())).status == 200
    for line, machines in (("platforms?keep=1", 1), ("platforms", 1), ("platforms?source=[]", 0)):
        response = rig.ask(line, headers=(*ADMIN, ("If-None-Match", "*")))
        assert (response.status, len(json.loads(response.body))) == (200, machines)
        assert response.header("Cache-Control") == "no-store"


def test_a_store_that_is_gone_is_503_and_comes_back(tmp_path: Path) -> None:
    """Without hands: the next request works again."""
    rig = Rig(tmp_path)
    assert rig.ask("rootcacrl").status == 200
    database = rig.store.database
    place = tmp_path / "pccs.db"
    database.engine.dispose()
    for name in ("pccs.db", "pccs.db-wal", "pccs.db-shm"):
        if (tmp_path / name).exists():
            (tmp_path / name).rename(tmp_path / f"away-{name}")
    place.mkdir()
    response = rig.ask("rootcacrl")
    assert response.status in (500, 503)
    place.rmdir()
    for name in ("pccs.db", "pccs.db-wal", "pccs.db-shm"):
        if (tmp_path / f"away-{name}").exists():
            (tmp_path / f"away-{name}").rename(tmp_path / name)
    assert rig.ask("rootcacrl").status == 200
    assert len(rig.calls) == 1


def test_the_roles_are_asked_with_the_header_as_it_stands(tmp_path: Path) -> None:
    """The token of each route's header, and the role that the route wants."""
    rig = Rig(tmp_path)
    asked: list[tuple[str | None, str]] = []

    def spy(token: str | None, role: str) -> bool:
        asked.append((token, role))
        return False

    handle = pccs_handler(rig.service, authorise=spy)
    headers = (("USER-TOKEN", "u"), ("Admin-Token", "a"))
    for method, line in (("POST", "platforms"), ("GET", "platforms"), ("PUT", "appraisalpolicy")):
        target = f"/sgx/certification/v4/{line}"
        handle(HttpRequest(method=method, target=target, headers=headers))
    assert asked == [("u", "user"), ("a", "admin"), ("a", "admin")]


def test_only_get_and_head_are_conditional(tmp_path: Path) -> None:
    """A registration that succeeds twice is 200 twice."""
    rig = Rig(tmp_path)
    record = record_of(rig.world.platform())
    tag = rig.register(record).header("ETag") or ""
    response = rig.ask(
        "platforms",
        method="POST",
        headers=(*USER, ("Content-Type", "application/json"), ("If-None-Match", tag)),
        body=json.dumps(record).encode(),
    )
    assert response.status == 200


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    tee=st.sampled_from(["sgx", "tdx", "SGX", "x"]),
    version=st.sampled_from(["v3", "v4", "V4", "v5"]),
    resource=st.sampled_from(RESOURCES),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]),
    query=st.lists(
        st.tuples(
            st.sampled_from(NAMES) | st.text(max_size=8),
            st.sampled_from(["platform", "00" * 16, "00" * 2, "00" * 6, "early", "reg", "17"])
            | st.text(max_size=12),
        ),
        max_size=6,
    ),
    headers=st.lists(
        st.sampled_from([*USER, *ADMIN, ("Content-Type", "application/json")]), max_size=3
    ),
    body=st.binary(max_size=40) | st.just(b'{"qe_id":"A","pce_id":"0000"}'),
)
def test_no_request_is_an_error_of_the_service(
    rig: Rig,
    tee: str,
    version: str,
    resource: str,
    method: str,
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    body: bytes,
) -> None:
    """Whatever is asked: an answer that a PCCS gives, headers that can be sent, and no bug."""
    line = "&".join(f"{name}={value}" for name, value in query)
    response = rig.handler(
        HttpRequest(
            method=method,
            target=f"/{tee}/certification/{version}/{resource}?{line}",
            headers=tuple(headers),
            body=body,
        )
    )
    assert response.status in (200, 304, 400, 401, 404, 405, 410, 413, 461, 462, 503)
    assert rig.errors == []
    for name, value in response.headers:
        assert value
        assert name.isascii()
        assert value.isprintable()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A service with one machine."""
    made = Rig(tmp_path_factory.mktemp("rig"))
    made.fill(made.world.platform())
    return made


def test_no_error_leaves_as_an_exception(rig: Rig) -> None:
    """Not even one that an authoriser raises."""

    def broken(_token: str | None, _role: str) -> bool:
        raise RuntimeError("a bug")

    seen: list[BaseException] = []
    handle = pccs_handler(rig.service, authorise=broken, report=seen.append)
    request = HttpRequest(target="/sgx/certification/v4/platforms")
    assert handle(request).status == 500
    assert len(seen) == 1
    assert pccs_handler(rig.service, authorise=authorise)(request).status == 401
    assert rig.ask(pck_line(rig.world.platform())).status == 200
