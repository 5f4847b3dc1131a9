"""`make demo`: verify a real, Intel-signed TDX quote; then tell two stories in a simulated world.

Every step is a command that a user would run, printed with its output. The real quote and its collateral
are public test data in the source archive of the PyPI project dcap-qvl (MIT); they are fetched into
`.demo/` by hash and are no part of this project. Where PyPI cannot be reached, the same vector is taken
from $DCAP_VECTORS or the folder beside the checkout. The stories play in temporary folders. In the
second the collateral is fetched, from simulated services under the names of the real ones.
"""

import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
PROJECT, ARCHIVE = "dcap-qvl", "dcap_qvl-0.7.0.tar.gz"
SHA256 = "f1c442dc494a6a3ccfff587dfa22ea3a7459c90d940a3dd20d234332a025ed03"
MEMBERS = {"sample/tdx_quote": "quote.bin", "sample/tdx_quote_collateral.json": "collateral.json"}
VECTOR = "dcap-qvl-tdx-quote-f1c850"
AT = "2025-07-04T10:16:31Z"
POLICY = """\
# Accept this TD, on a platform that is up to date.
name = "demo"
[[release]]
name = "the sample's TD"
mrtd = "{mrtd}"
"""


#: The clock of a new simulated world.
SIMULATED_AT = "2026-01-01T12:00:00Z"
_VERIFY = f"dcap verify quote.bin --collateral collateral --any-identity --at {SIMULATED_AT}"
_TRUSTING = f"{_VERIFY} --insecure-test-root .dcap-sim/root.pem"
#: What happens, the commands, and the exit status with which the last one must end.
STORY = (
    ("A simulated Intel and a machine of its making.", ("dcap sim reset",), 0),
    (
        "The machine makes a quote, and Intel says what it knows of such machines.",
        ("dcap sim quote -o quote.bin", "dcap sim collateral -o collateral"),
        0,
    ),
    ("Nobody takes it for real: its root is not Intel's.", (f"{_VERIFY} --quiet",), 3),
    ("Who asks for the test root, loudly, sees it accepted.", (_TRUSTING,), 0),
    (
        "A TCB recovery: the same quote is out of date, and the verdict says which SVN is short.",
        (
            "dcap sim event recovery-announced",
            "dcap sim event recovery-promoted",
            "dcap sim collateral -o collateral",
            _TRUSTING,
        ),
        4,
    ),
    (
        "The machine is updated and quotes anew: accepted again.",
        ("dcap sim event platform-updated", "dcap sim quote -o quote.bin", _TRUSTING),
        0,
    ),
    (
        "Intel revokes the machine: refused, for good.",
        ("dcap sim event pck-revoked", "dcap sim collateral -o collateral", _TRUSTING),
        3,
    ),
)

_GETTING = (
    "dcap collateral get quote.bin --bundle quote.bundle --insecure-test-root .dcap-sim/root.pem"
)
_FETCHING = "dcap verify quote.bin --any-identity --insecure-test-root .dcap-sim/root.pem"
_SHORT = "| grep -A 1 -e '^from' -e '^verdict'"
FETCHED = (
    (
        "Another world, at today's clock, with a machine and its quote.",
        ("dcap sim reset", "dcap sim clock --set now", "dcap sim quote -o quote.bin"),
        0,
    ),
    ("The collateral is fetched from Intel, whose place the simulator takes.", (_FETCHING,), 0),
    (
        "What was proven is kept: the next verdict needs no network.",
        (f"{_FETCHING} --offline {_SHORT}",),
        0,
    ),
    (
        "It can be carried elsewhere in one file, and judged there.",
        (
            _GETTING,
            f"{_FETCHING.replace('quote.bin', 'quote.bundle')} --offline {_SHORT}",
        ),
        0,
    ),
)


def main() -> int:
    """A real quote, then the stories. Fails where a verdict is not the one that was told."""
    dcap = Path(sys.executable).parent / "dcap"
    sys.stdout.write("A real quote, signed by Intel's keys\n\n")
    status = verify_real(dcap)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DCAP_")}
    environment["PATH"] = f"{dcap.parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    sys.stdout.write("\nA simulated world: the same verifier, another root\n")
    with tempfile.TemporaryDirectory() as folder:
        told = tell(Path(folder), environment)
    sys.stdout.write("\nFetching: Intel's services, simulated, under their own names\n")
    with tempfile.TemporaryDirectory() as folder:
        return tell_online(Path(folder), environment) or told or status


def tell_online(folder: Path, environment: dict[str, str]) -> int:
    """The second story: after its first step, in front of `dcap sim up`."""
    first, *rest = FETCHED
    kept = {"DCAP_CACHE": str(folder / "cache"), "DCAP_SOURCE": "pcs"}
    if tell(folder, environment, (first,)):
        return 1
    command = ["dcap", "sim", "up", "--proxy-port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            ready = json.loads(server.stdout.readline())
            proxies = dict.fromkeys(("https_proxy", "http_proxy"), ready["proxy_url"])
            hosts = {**proxies, "no_proxy": "", "SSL_CERT_FILE": ready["tls_ca_pem"]}
            sys.stdout.write(f"\n(in the background: {shlex.join(command[:-1])})\n")
            return tell(folder, {**environment, **kept, **hosts}, rest, begin=2)
        finally:
            server.terminate()


def tell(
    folder: Path,
    environment: dict[str, str],
    story: Sequence[tuple[str, tuple[str, ...], int]] = STORY,
    *,
    begin: int = 1,
) -> int:
    """A story in a folder, each command printed with its output. 0 where all went as told."""
    for number, (heading, commands, expected) in enumerate(story, begin):
        sys.stdout.write(f"\n{number}. {heading}\n\n")
        for command in commands:
            sys.stdout.write(f"$ {command}\n")
            sys.stdout.flush()
            status = subprocess.run(
                ["sh", "-c", command], cwd=folder, env=environment, check=False
            ).returncode
            wanted = expected if command is commands[-1] else 0
            if status:
                sys.stdout.write(f"(exit status {status})\n")
            if status != wanted:
                sys.stdout.write(f"This should have been {wanted}: please report it.\n")
                return 1
    return 0


def verify_real(dcap: Path) -> int:
    """Fetch, then run the same command that a user would."""
    if not all((DEMO / name).exists() for name in MEMBERS.values()):
        DEMO.mkdir(exist_ok=True)
        try:
            from_pypi()
        except OSError as error:
            if not from_vectors():
                sys.stdout.write(f"skipped: the sample could not be fetched from PyPI: {error}\n")
                return 1
    quote = os.path.relpath(DEMO / "quote.bin", Path.cwd())
    mrtd = subprocess.run(
        [dcap, "inspect", quote, "--field", "mrtd"], check=True, capture_output=True, text=True
    ).stdout.strip()
    (DEMO / "policy.toml").write_text(POLICY.format(mrtd=mrtd))
    arguments = ["verify", quote, "--collateral", f"{Path(quote).parent}/collateral.json"]
    arguments += ["--policy", f"{Path(quote).parent}/policy.toml", "--at", AT]
    sys.stdout.write(f"$ dcap {shlex.join(arguments)}\n")
    sys.stdout.flush()
    return subprocess.run([dcap, *arguments], check=False).returncode


def from_pypi() -> None:
    """Take the sample out of the source archive, whose hash is pinned."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    request = urllib.request.Request(f"{index}/{PROJECT}/", headers=accept)
    with urllib.request.urlopen(request, timeout=30) as answer:
        files = json.load(answer)["files"]
    url = next(file["url"] for file in files if file["filename"] == ARCHIVE)
    with urllib.request.urlopen(url, timeout=60) as answer:
        archive = answer.read()
    if hashlib.sha256(archive).hexdigest() != SHA256:
        raise OSError(f"{ARCHIVE} is not the file that was pinned")
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member, name in MEMBERS.items():
            content = members.extractfile(f"{ARCHIVE.removesuffix('.tar.gz')}/{member}")
            assert content is not None
            (DEMO / name).write_bytes(content.read())


def from_vectors() -> bool:
    """The same vector from the folder of test vectors, where there is one."""
    folder = Path(os.environ.get("DCAP_VECTORS") or ROOT.parent / "shared" / "vectors") / VECTOR
    if not folder.is_dir():
        return False
    for name in MEMBERS.values():
        padding = bytes(70) if name == "quote.bin" else b""  # as the sample in the archive has it
        (DEMO / name).write_bytes((folder / name).read_bytes() + padding)
    return True


if __name__ == "__main__":
    sys.exit(main())
