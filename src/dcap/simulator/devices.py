"""What programs on an SGX or TDX machine get quotes from, simulated: the table of sockets and folders.

    with DEVICES["aesm"].serve(machine, path) as place:
        ...                                  # `place` is what a client is told

`machine` gives the machine as it is at each request. A table: the command line makes an option of each
row (`dcap sim up --aesm PATH`), the documentation a line. Not here: how each of them answers.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from dcap.errors import ConfigError
from dcap.simulator.aesm import aesm_service
from dcap.simulator.configfs_tsm import ENTRY, configfs_tsm
from dcap.simulator.gramine import gramine
from dcap.simulator.platform import Platform
from dcap.simulator.qgs import qgs_service
from dcap.simulator.state import WorldDirectory

Machine: TypeAlias = Callable[[], Platform]
Serve: TypeAlias = Callable[[Machine, Path], AbstractContextManager[object]]


class Device(msgspec.Struct, frozen=True):
    """One way to a quote. `serve` takes the path that somebody names, and cleans up when it ends.

    `within` leads from that path to what a client is told.
    """

    flag: str
    metavar: str
    help: str
    serve: Serve
    within: str = ""

    def place(self, path: Path) -> Path:
        """What a client is told, absolute."""
        return path.resolve() / self.within


@contextmanager
def _gramine(machine: Machine, directory: Path) -> Iterator[Path]:
    """The files, and the folder gone with them where it was made here."""
    made = not directory.exists()
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(gramine(machine, directory))
        except OSError as error:
            raise ConfigError(
                "simulator-folder",
                f"no folder of Gramine's can be simulated there: {error.strerror or error}",
                where=str(directory),
                mend="give a folder of your own, on a Linux file system",
            ) from None
        yield folder
    if made:
        with suppress(OSError):  # something else lies there
            directory.rmdir()


#: Name, as the ready line has it -> the device.
DEVICES: Final[Mapping[str, Device]] = {
    "aesm": Device(
        "--aesm", "PATH", "Be Intel's AESM at this Unix socket: quotes of enclaves.", aesm_service
    ),
    "qgs": Device(
        "--qgs",
        "PATH",
        "Be Intel's Quote Generation Service at this Unix socket: quotes of TDs.",
        qgs_service,
    ),
    "gramine": Device(
        "--gramine", "DIR", "Be the /dev/attestation of an enclave under Gramine there.", _gramine
    ),
    "configfs_tsm": Device(
        "--configfs-tsm",
        "DIR",
        "Be a TD's /sys/kernel/config there: DIR/tsm/report.",
        configfs_tsm,
        f"tsm/report/{ENTRY}",
    ),
}


def machine_of_directory(
    directory: WorldDirectory, named: Callable[[WorldDirectory], Platform]
) -> Machine:
    """The machine that `named` finds, read again once the world was changed, by whatever process."""
    kept: list[tuple[object, Platform]] = []

    def machine() -> Platform:
        stamp = directory.stamp()
        if not kept or kept[0][0] != stamp:
            kept[:] = [(stamp, named(directory))]
        return kept[0][1]

    return machine
