"""Write into the pages what the commands of their console blocks print now.

    python tests/docs/rewrite.py

Runs against the real quote of `make demo`. Read the difference before you commit it.
"""

import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from test_docs import BLOCK, PAGES, run, stock


def main() -> None:
    """Rewrite every page that has a console block."""
    with tempfile.TemporaryDirectory() as folder:
        shop = stock(Path(folder), real=True)

        def printed(found: re.Match[str]) -> str:
            if found[2] != "console":
                return found[0]
            commands = re.findall(r"^\$ (.*)$", found[3], re.MULTILINE)
            shown = [f"$ {one}\n{run(shop, 'sh', '-c', one).stdout}" for one in commands]
            return f"```console\n{''.join(shown)}```"

        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            page.write_text(BLOCK.sub(printed, text), encoding="utf-8")


if __name__ == "__main__":
    main()
