"""Write into the pages what the commands of their console blocks print now.

    python tests/docs/rewrite.py

Runs against the real quote of `make demo`, and in the simulated internet. Read the difference before you
commit it.
"""

import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from simulated_internet import shop_in_internet
from test_docs import BLOCK, INTERNET, PAGES, Shop, run, stock


def main() -> None:
    """Rewrite every page that has a console block, or those that are named."""
    named = [Path(name).resolve() for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        shop = stock(Path(folder), real=True)
        for page in named or PAGES:
            with tempfile.TemporaryDirectory(dir=folder) as home:
                rewrite(page, shop, Path(home))


def rewrite(page: Path, shop: Shop, home: Path) -> None:
    """Rewrite a page; its blocks that need a network share the folder `home`."""
    with shop_in_internet(home, shop.folder / "bin") as online:

        def shown(command: str, *, internet: bool) -> str:
            if internet:
                return online.printed(command)
            return run(shop, "sh", "-c", command).stdout

        def printed(found: re.Match[str]) -> str:
            if found[2] != "console":
                return found[0]
            internet = found[1] == INTERNET
            commands = re.findall(r"^\$ (.*)$", found[3], re.MULTILINE)
            lines = [f"$ {one}\n{shown(one, internet=internet)}" for one in commands]
            head = f"<!-- in: {INTERNET} -->\n" if internet else ""
            return f"{head}```console\n{''.join(lines)}```"

        text = page.read_text(encoding="utf-8")
        page.write_text(BLOCK.sub(printed, text), encoding="utf-8")


if __name__ == "__main__":
    main()
