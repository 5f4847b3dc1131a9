"""A store stands on one root: a service of another does not start on it."""

from pathlib import Path

import pytest

from dcap.errors import ConfigError
from dcap.pccs.store.store import Store
from dcap.pccs.trust_root import hold_to
from dcap.simulator.world import World
from dcap.verification import INTEL_SGX_ROOT
from pccs.rig import Rig, anchor_of


def test_the_first_start_writes_the_root_down(tmp_path: Path) -> None:
    """The same root may start again; another may not, though nothing is kept yet."""
    anchor = anchor_of(World("one"))
    with Store.open(f"sqlite:///{tmp_path}/pccs.db") as store:
        hold_to(store, anchor)
        hold_to(store, anchor)
        for other in (INTEL_SGX_ROOT, anchor_of(World("another"))):
            with pytest.raises(ConfigError, match="store-root"):
                hold_to(store, other)


def test_a_store_from_before_is_told_by_its_chains(tmp_path: Path) -> None:
    """Nothing was written down: simulated collateral is not taken for Intel's, and goes on as it was."""
    rig = Rig(tmp_path)
    assert rig.ask("pckcrl?ca=platform").status == 200
    with pytest.raises(ConfigError, match="insecure-test-root"):
        hold_to(rig.store, INTEL_SGX_ROOT)
    hold_to(rig.store, anchor_of(rig.world))
