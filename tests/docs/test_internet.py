"""The console blocks that need a network print what their page shows, against the simulated one."""

from pathlib import Path

import pytest
from simulated_internet import asks_nobody, shop_in_internet, undated
from test_docs import DEMO, INTERNET, Block, blocks, open_shop, sessions

from dcap.sources.environment import SYSTEM_QCNL
from worlds import ROOT

_FOUND = [block for block in blocks("console", "python") if block.file == INTERNET]
PAGES = sorted({block.page for block in _FOUND})


def of_page(page: Path) -> list[Block]:
    """The blocks of a page, which share one folder, from top to bottom."""
    return [block for block in _FOUND if block.page == page]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    """Each command, run after those above it, prints the lines below it; offline ones ask nobody.

    A program accepts the quote.
    """
    if SYSTEM_QCNL.exists():
        pytest.skip(f"{SYSTEM_QCNL} of this machine would be obeyed")
    programs = Path(open_shop(tmp_path, real=True).environment["PATH"].partition(":")[0])
    folder = tmp_path / "you"
    folder.mkdir()
    with shop_in_internet(folder, programs) as shop:
        for block in of_page(page):
            if block.language == "python":
                assert shop.printed_by_python(block.text) == "accepted\n", f"{block}"
                continue
            for command, shown in sessions(block):
                asked = len(shop.box.log)
                assert undated(shop.printed(command)) == undated(shown), f"{block}: {command}"
                assert len(shop.box.log) == asked or not asks_nobody(command), command


def test_the_second_story_of_the_demo_goes_as_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The last part of `make demo`: fetched, kept, carried elsewhere; accepted each time."""
    shop = open_shop(tmp_path, real=True)
    assert DEMO.tell_online(tmp_path, shop.environment) == 0
    told = capfd.readouterr().out
    assert told.count("ACCEPTED") == 3
    assert "(fetched just now, kept)" in " ".join(told.split())
