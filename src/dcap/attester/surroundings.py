"""Where attesters are looked for: a file system and an environment, both arguments.

The running system is `Surroundings.here()`; a scratch root stands for any other machine, with plain
files for devices. Not here: any attester, and which is chosen (`choice`).
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dcap.qpl.discovery_root import Root


class Surroundings(msgspec.Struct, frozen=True):
    """A machine, as its files and its environment show it."""

    root: Root
    environ: Mapping[str, str]

    @classmethod
    def here(cls) -> "Surroundings":
        """The system that we run in."""
        return cls(Root(), dict(os.environ))

    def host(self, path: str) -> Path:
        """The path that opens what stands at an absolute path of the machine."""
        return self.root.host(self.root.look(path).real)
