"""Fixtures for all tests: one simulated world, made once. And no test asks a cloud it may run in."""

import errno
import sys

import pytest

from departures import World
from worlds import AT


def _stay_here(event: str, arguments: tuple[object, ...]) -> None:
    """Where a link-local address is connected to, nobody is there: tests may run in a cloud's VM."""
    if event != "socket.connect":
        return
    address = arguments[1]
    if isinstance(address, tuple) and str(address[0]).startswith(("169.254.", "fe80:")):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")


sys.addaudithook(_stay_here)


@pytest.fixture(scope="session")
def world() -> World:
    """A simulated world under a test root, good at `worlds.AT`."""
    return World(at=AT)
