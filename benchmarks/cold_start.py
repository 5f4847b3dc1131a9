"""How long does `dcap verify` take from a cold start, beside `import cryptography.x509`?

Whole processes in turn; medians and their ratio. Target: at most 2 x. Compiled modules are in place
for both, as after an installation (the first run of each is not counted, and writes them).
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from departures import World
from worlds import AT, Vector, collateral_of, vector_names

RUNS = 21
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
REAL = "dcap-qvl-tdx-quote-f1c850"


def main() -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        extra: list[str] = []
        if REAL in vector_names():
            vector = Vector(REAL)
            quote, collateral, at = vector.quote, vector.collateral.to_json(), vector.at
        else:
            world = World(at=AT)
            quote, at = world.quote(), AT
            collateral = collateral_of(world.collateral()).to_json()
            (place / "root.pem").write_bytes(world.root.pem)
            extra = ["--insecure-test-root", str(place / "root.pem")]
        (place / "quote.bin").write_bytes(quote)
        (place / "collateral.json").write_bytes(collateral)
        dcap = str(Path(sys.executable).parent / "dcap")
        verify = [dcap, "verify", str(place / "quote.bin"), "--any-identity", *extra]
        verify += ["--collateral", str(place / "collateral.json"), "--at", str(int(at.timestamp()))]
        bare = [sys.executable, "-c", "import cryptography.x509"]
        ours, theirs = [], []
        took(bare), took(verify)
        for _ in range(RUNS):
            theirs.append(took(bare))
            ours.append(took(verify))
    mine, floor = statistics.median(ours), statistics.median(theirs)
    print(f"cold start: dcap verify {mine * 1e3:.0f} ms, import cryptography.x509 ", end="")
    print(f"{floor * 1e3:.0f} ms: {mine / floor:.2f} x")


def took(command: list[str]) -> float:
    """Wall seconds of one process, which must succeed."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
