"""`make demo`: verify a real, Intel-signed TDX quote, and print the verdict.

The quote and its collateral are public test data in the source archive of the PyPI project dcap-qvl
(MIT); they are fetched into `.demo/` by hash and are no part of this project. Where PyPI cannot be
reached, the same vector is taken from $DCAP_VECTORS or the folder beside the checkout.
"""

import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import urllib.request
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


def main() -> int:
    """Fetch, then run the same command that a user would."""
    if not all((DEMO / name).exists() for name in MEMBERS.values()):
        DEMO.mkdir(exist_ok=True)
        try:
            from_pypi()
        except OSError as error:
            from_vectors(error)
    dcap = Path(sys.executable).parent / "dcap"
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


def from_vectors(error: OSError) -> None:
    """The same vector from the folder of test vectors, where there is one."""
    folder = Path(os.environ.get("DCAP_VECTORS") or ROOT.parent / "shared" / "vectors") / VECTOR
    if not folder.is_dir():
        sys.exit(f"the sample could not be fetched from PyPI: {error}")
    for name in MEMBERS.values():
        padding = bytes(70) if name == "quote.bin" else b""  # as the sample in the archive has it
        (DEMO / name).write_bytes((folder / name).read_bytes() + padding)


if __name__ == "__main__":
    sys.exit(main())
