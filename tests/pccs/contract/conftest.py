"""Fixtures of the contract: a service that holds everything, one that holds nothing, one of the test.

Source: `pccs-and-pcs-api.md` §1.1-1.9; `quote-provider.md` §4.2, §7.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pccs.rig import Rig

#: What is expected there says what it met instead, as a test does.
pytest.register_assert_rewrite("pccs.contract.expected")


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A store with one machine and all collateral, in LAZY."""
    rig = Rig(tmp_path_factory.mktemp("full"))
    rig.fill(rig.world.platform())
    return rig


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A store without anything."""
    return Rig(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Rig]:
    """A store of the test's own."""
    rig = Rig(tmp_path)
    yield rig
    rig.store.close()
