"""Fixtures: an empty store in each of the databases. One server of a kind serves a whole run."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dcap.pccs.store.store import Store
from pccs.databases import KINDS, Missing, Server, server


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Server]]:
    """The servers that were asked for, by kind: each is started once, when it is first needed."""
    with ExitStack() as running:
        started: dict[str, Server] = _Servers(running)
        yield started


class _Servers(dict[str, Server]):
    def __init__(self, running: ExitStack) -> None:
        super().__init__()
        self._running = running

    def __missing__(self, kind: str) -> Server:
        self[kind] = self._running.enter_context(server(kind))
        return self[kind]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    """A server of each kind; left out, aloud, where it cannot be had."""
    try:
        return servers[request.param]
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def url(place: Server) -> Iterator[str]:
    """A new, empty database."""
    made = place.database()
    yield made
    place.drop(made)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An open store in it."""
    with Store.open(url) as opened:
        yield opened
