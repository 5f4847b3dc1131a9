"""One process of several that want the same set. Run by `test_disk`.

    python ask_once.py DIRECTORY

Its source is slow, and notes each call as a line of the file `calls` beside the directory.
"""

import sys
import time
from pathlib import Path

from kept_world import CountingSource, anchor_of, need_for, world_of

from dcap.sources.cache import CachedSource

SLOWLY = 1.0


def main(directory: Path) -> None:
    """Ask, once the others have started, too."""
    world = world_of()
    machine = world.platform("node")

    def note() -> None:
        with (directory.parent / "calls").open("a") as file:
            file.write("called\n")
        time.sleep(SLOWLY)

    source = CountingSource(world, machine, gate=note)
    anchor, need = anchor_of(world), need_for(machine)
    cache = CachedSource(source, directory=directory, anchor=anchor, clock=lambda: world.at)
    (directory.parent / f"ready-{time.monotonic_ns()}").touch()
    while not (directory.parent / "go").exists():
        time.sleep(0.005)
    cache.collateral(need)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
