"""Writers of one cache, killed in the middle of it. Run as a process of its own by `test_disk`.

    python kill_writers.py DIRECTORY KILLS WRITERS

Forks writers that share a directory; each renews and reads all entries without pause until it is
killed (SIGKILL), after a few milliseconds. A writer that reads anything but a whole entry, or none
where one was good, says so in a file `wrong-*` of the directory. Prints how many were killed.
"""

import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from kept_world import CountingSource, anchor_of, need_for, world_of

from dcap.sources.cache import CachedSource
from dcap.sources.disk import Disk
from dcap.sources.freshness import Freshness
from dcap.sources.kept import KeptCollateral, collateral_name, decode

#: Every answer is due for renewal at once.
RESTLESS = Freshness(refresh_after=timedelta(0))
PLAIN = ("collateral-" + "ab" * 32, "collateral-" + "cd" * 32)


def main(directory: Path, kills: int, writers: int) -> None:
    """Keep so many writers alive until so many have been killed."""
    world = world_of()
    machine = world.platform("node")
    needs = [need_for(machine, tee) for tee in ("SGX", "TDX")]
    source = CountingSource(world, machine)
    names = [collateral_name(need, anchor_of(world), source.name) for need in needs]
    disk = Disk(directory)
    for need in needs:  # good entries, which nobody may lose
        cache(source, directory).collateral(need)
    for name in PLAIN:
        disk.write(name, payload(0))
    dice = random.Random(7)
    alive: dict[int, float] = {}
    killed = 0
    while killed < kills or alive:
        while len(alive) < writers and killed + len(alive) < kills:
            pid = os.fork()
            if pid == 0:
                write(source, directory, needs, names)
                os._exit(1)
            alive[pid] = time.monotonic() + dice.uniform(0.005, 0.12)
        for pid, due in list(alive.items()):
            if time.monotonic() >= due:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                del alive[pid]
                killed += 1
        time.sleep(0.001)
    sys.stdout.write(f"{killed}\n")


def cache(source: CountingSource, directory: Path) -> CachedSource:
    """A process's own."""
    return CachedSource(
        source,
        directory=directory,
        anchor=anchor_of(source.world),
        freshness=RESTLESS,
        clock=lambda: source.world.at,
    )


def payload(number: int) -> bytes:
    """200 KB that tell if they are of one piece."""
    return number.to_bytes(4, "big") * 50_000


def write(source: CountingSource, directory: Path, needs: list[object], names: list[str]) -> None:
    """Renew and read, until the end."""
    disk = Disk(directory)
    number = os.getpid()
    try:
        while True:
            number += 1
            for need in needs:
                cache(source, directory).collateral(need)  # type: ignore[arg-type]
            for name in PLAIN:
                disk.write(name, payload(number))
            for name in PLAIN:
                read = disk.read(name)
                assert read is not None, name
                assert read == read[:4] * 50_000, name
            for name in names:
                kept = decode(disk.read(name) or b"", KeptCollateral)
                assert kept is not None, name
                assert kept.name == name
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test must hear of it
        (directory / f"wrong-{os.getpid()}").write_text(repr(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
