"""`dcap attest --insecure-sim`: a simulated machine behind the protocol that real attesters have.

It is never chosen by itself, and warns whenever it is used. Not here: the simulated devices and sockets,
over which the real attesters are tried (`dcap sim up`).
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from dcap.attester import Description
from dcap.cli.sim_place import DIRECTORY, machine_of
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import Collateral
from dcap.simulator.events import MACHINE
from dcap.simulator.state import WorldDirectory
from dcap.sources.need import Update
from dcap.verification.anchors import TrustAnchor

NAME: Final = "simulator"
VARIABLE: Final = "DCAP_SIM_DIR"


def simulated(directory: str | None, platform: str | None, tee: str | None) -> "SimulatedAttester":
    """As `dcap sim quote` would have it; what is left out is as there."""
    path = Path(directory or os.environ.get(VARIABLE) or DIRECTORY)
    return SimulatedAttester(path, platform or MACHINE, "TDX" if tee == "tdx" else "SGX")


class SimulatedAttester:
    """A machine of the world in a folder. Raises `ConfigError` where there is no such machine."""

    name: Final = NAME

    def __init__(self, directory: Path, platform: str, tee: Literal["SGX", "TDX"]) -> None:
        self._directory = directory
        self.world = WorldDirectory(directory).world()
        self._machine = machine_of(self.world, platform)
        self._tee = tee

    def describe(self) -> Description:
        """Nothing of this machine."""
        fact = f"simulated: platform {self._machine.name} of {self._directory}"
        return Description(name=self.name, tee=self._tee, usable=True, found=(fact,))

    def quote(self, report_data: bytes) -> bytes:
        """A quote that only the world's own root vouches for."""
        return self._machine.quote(report_data, tee=self._tee)

    def collateral(self, update: Update) -> Collateral:
        """What the simulated Intel says of the machine."""
        return self.world.collateral(self._machine, self._tee, update=update)

    @property
    def at(self) -> datetime:
        """The world's clock."""
        return self.world.at

    def anchor(self) -> TrustAnchor:
        """The world's root."""
        root = Certificate.parse_chain(self.world.root_pem)[0]
        return TrustAnchor.insecure_test_root(root)
