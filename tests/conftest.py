"""Fixtures for all tests: one forged world, made once."""

import pytest

from forge import World
from worlds import AT


@pytest.fixture(scope="session")
def world() -> World:
    """A genuine Intel-shaped world under a test root, good at `worlds.AT`."""
    return World(at=AT)
