"""Plugins that are called in tests: built once by gcc from `plugins/plugin.c`, over files of a world.

Not the plugins that only have to look right from outside (`libraries`).
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from dcap.formats.collateral import ENCLAVE_IDENTITY
from dcap.formats.crl import Crl
from dcap.simulator import Platform, World

SOURCE = Path(__file__).parent / "plugins" / "plugin.c"
INTEL, AZURE, WITHOUT_TDX = (), ("-DAZURE",), ("-DWITHOUT_TDX",)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Gone when the tests end."""
    return tempfile.TemporaryDirectory(prefix="dcap-plugins-")


@cache
def built(*flags: str, source: Path = SOURCE) -> Path:
    """The plugin with these flags; without a compiler the test is skipped, aloud."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc to build plugins with")
    path = Path(tempfile.mkdtemp(dir=_folder().name)) / "libdcap_quoteprov.so.1"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", *flags, "-o", path, source]
    subprocess.run(command, check=True)
    return path


class Files:
    """What a plugin serves, and how it misbehaves."""

    def __init__(self, folder: Path, world: World, machine: Platform) -> None:
        self.folder, self.world, self.machine = folder, world, machine
        for tee in ("SGX", "TDX"):
            (folder / tee).mkdir(parents=True)
            collateral = world.collateral(machine, tee)
            for piece in collateral.__struct_fields__:
                if piece != "pck_certificate_chain":
                    (folder / tee / piece).write_bytes(getattr(collateral, piece))
        (folder / "pck").write_bytes(machine.pck_chain())
        intel = world.intel
        identity = intel.enclave_identity("QVE", world.at, intel.generation())
        (folder / "qve_identity").write_bytes(identity.envelope(ENCLAVE_IDENTITY))
        (folder / "qve_chain").write_bytes(intel.chain(intel.tcb_signing))
        (folder / "policy").write_bytes(b"header.policy.signature")

    @property
    def environ(self) -> dict[str, str]:
        """The environment of who loads the plugin."""
        return {"PLUGIN_FILES": str(self.folder), "HOME": str(self.folder), "PATH": os.defpath}

    def misbehave(self, function: str = "", mode: str = "") -> None:
        """From now on, a function behaves so; without one all are well again."""
        (self.folder / "misbehave").write_text(f"{function} {mode}\n")

    def lists_in(self, form: str) -> None:
        """Serve the revocation lists in PEM, in hex or in DER."""
        for tee in ("SGX", "TDX"):
            for name in ("root_ca_crl", "pck_crl"):
                path = self.folder / tee / name
                crl = Crl.parse(path.read_bytes())
                forms = {"pem": crl.to_pem, "hex": crl.to_hex, "der": lambda crl=crl: crl.der}
                path.write_bytes(forms[form]())


def children() -> set[str]:
    """The processes that are ours, dead ones that nobody waited for too."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread of another test has ended
            found.update((task / "children").read_text().split())
    return found


def nothing_stays(before: tuple[set[str], int]) -> bool:
    """No process and no descriptor more than before; other tests' threads may still close theirs."""
    return comes(lambda: children() == before[0] and descriptors() <= before[1])


def descriptors() -> int:
    """How many files, pipes and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def comes(true: Callable[[], bool]) -> bool:
    """Whether something comes true within a time that is long enough on any machine."""
    until = time.monotonic() + 20
    while time.monotonic() < until and not true():
        time.sleep(0.01)
    return true()


def runs(process: int) -> bool:
    """Whether it runs: one that has ended, and that nobody has waited for yet, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
