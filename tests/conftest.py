"""Fixtures for all tests: one simulated world, made once. And no test asks a cloud it may run in."""

import errno
import gc
import os
import sys
from pathlib import Path

import pytest

from dcap.sources import environment
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

# Tests may run in a VM of Azure's, where nobody's default would be Intel.
environment.MACHINE = Path("/nonexistent")

# Bytecode is kept even where the environment says otherwise, as it does in many containers: hundreds of
# processes that tests start would each compile the package for itself, and each run all the tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Thirteen thousand tests stay to the end: the collector of garbage need not look at them again.

    And it looks less often: of a tenth of the suite's time that it took, more than half is saved.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session")
def world() -> World:
    """A simulated world under a test root, good at `worlds.AT`."""
    return World(at=AT)
