"""A folder in which the console blocks of a page run that need a network: Intel, Azure, Alibaba, a PCCS.

    <!-- in: internet -->
    ```console

The hosts are the simulator's, under their real names; the PCCS is on localhost, with a certificate that
it has signed itself. What a person would not see with the real ones is taken out of what is printed: the
words on the test root, the proxy, the port, the name of the folder.
"""

import hashlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dcap.serving import serving
from dcap.simulator.alibaba import alibaba
from dcap.simulator.internet import Internet, internet
from dcap.simulator.services import services
from dcap.simulator.world import World
from transport.shown_certificates import write_self_signed

#: What the quotes of the pages are quotes of.
MRENCLAVE = hashlib.sha256(b"my enclave").digest()
MRTD = hashlib.sha384(b"my trust domain").digest()
PCCS = "localhost:8081"
HOME = "/home/you"
_EXPORT = re.compile(r"export (\w+)=(\S*)")
_UNSET = re.compile(r"unset (\w+)")
#: What of this machine's environment would show.
_FOREIGN = re.compile(r"(DCAP|QCNL|AZDCAP|XDG|SSL_CERT|CURL_CA)_.*|TMPDIR|.*_(proxy|PROXY)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:Z| UTC))?")
_SIMULATED = re.compile(
    r"^(?:warning: trusting the test root.*|trust root .*)\n|, through the proxy 127\.0\.0\.1:\d+",
    re.MULTILINE,
)


class InternetShop:
    """The folder, what is exported in it, and the internet around it."""

    def __init__(self, folder: Path, box: Internet, port: int, programs: Path) -> None:
        self.folder = folder
        self.box = box
        self._pccs = f"localhost:{port}"
        self._exported: dict[str, str] = {}
        kept = {k: v for k, v in os.environ.items() if not _FOREIGN.fullmatch(k)}
        self._environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PATH": f"{programs}{os.pathsep}{kept['PATH']}",
            "HOME": str(folder),
        }
        self._around = {
            **box.environment,
            "no_proxy": "localhost",
            "DCAP_INSECURE_TEST_ROOT": str(folder / ".root.pem"),
        }

    def printed(self, command: str) -> str:
        """What a command prints, on both streams, as the page has it."""
        if exported := _EXPORT.fullmatch(command):
            self._exported[exported[1]] = exported[2]
            return ""
        if forgotten := _UNSET.fullmatch(command):
            del self._exported[forgotten[1]]
            return ""
        # Intel's library knows nothing of the proxy, and `dcap qcnl` would speak of it.
        around = {} if " qcnl " in command else self._around
        text = self._run("sh", "-c", command.replace(PCCS, self._pccs), around=around)
        return text.replace(self._pccs, PCCS).replace(str(self.folder), HOME)

    def printed_by_python(self, code: str) -> str:
        """What a program prints, to which the root of the simulated Intel is handed."""
        assert code.count("from_environment()") == 1
        assert code.count("source=source)") == 1
        code = code.replace("from_environment()", "from_environment(anchor=anchor)")
        code = code.replace("source=source)", "source=source, anchor=anchor)")
        return self._run(sys.executable, "-W", "error", "-c", _ANCHOR + code, around=self._around)

    def _run(self, *command: str, around: dict[str, str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self._environment, **around, **self._exported},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        return _SIMULATED.sub("", done.stdout)


_ANCHOR = """
import dcap
from dcap.formats.certificate import Certificate
with open(".root.pem", "rb") as file:
    anchor = dcap.TrustAnchor.insecure_test_root(Certificate.parse_chain(file.read())[0])
"""


def undated(text: str) -> str:
    """Without the days and instants, of which each run has its own."""
    text = re.sub(r"\b\d+ days left", "… days left", text)
    return re.sub(r"  +", "  ", _DATE.sub("…", text)).strip()


def asks_nobody(command: str) -> bool:
    """Whether a command promises not to use the network."""
    words = shlex.split(command, comments=True)
    return "--offline" in words or "--collateral" in words or "qcnl" in words


@contextmanager
def shop_in_internet(folder: Path, programs: Path) -> Iterator[InternetShop]:
    """The folder with two quotes, for as long as the block runs; `dcap` is in `programs`."""
    world = World("pages", at=datetime.now(UTC).replace(microsecond=0))
    machine = world.platform()
    (folder / ".root.pem").write_bytes(world.root_pem)
    (folder / "quote.bin").write_bytes(machine.quote(mr_enclave=MRENCLAVE))
    (folder / "td.bin").write_bytes(machine.quote(tee="TDX", mr_td=MRTD))
    net = folder / ".net"
    net.mkdir()
    server = write_self_signed(folder / ".pccs")
    (folder / "pccs.pem").write_bytes(server[0].read_bytes())
    with (
        internet(services(world), world, net) as box,
        serving(alibaba(world), tls=server) as pccs,
    ):
        yield InternetShop(folder, box, pccs.port, programs)
