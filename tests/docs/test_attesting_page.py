"""The page on attesting: its table is the order of choice, its script runs against the simulator."""

import re
import sys
from pathlib import Path

import pytest

from dcap.attester.choice import NAMES
from dcap.cli.attest import _FORMATS
from dcap.formats.quote import Quote
from docs.test_docs import named, open_shop, run
from worlds import ROOT

PAGE = ROOT / "docs" / "attesting.md"


def test_the_table_is_the_order_of_choice() -> None:
    """Every attester has its row, with its number."""
    rows = re.findall(r"^\| (\d) \| `([a-z-]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(str(number), name) for number, name in enumerate(NAMES, 1)]


def test_every_format_has_a_row() -> None:
    """The page tells who reads each."""
    table = PAGE.read_text(encoding="utf-8").partition("| `--format` |")[2].partition("\n\n")[0]
    assert {form for form in _FORMATS if f"`{form}`" in table} == set(_FORMATS)


@pytest.mark.skipif(sys.platform != "linux", reason="the simulated files are Linux's")
def test_the_script_quotes_by_the_files_and_by_dcap(tmp_path: Path) -> None:
    """Both ways give a quote over the same 64 bytes; the simulator ends with the script."""
    shop = open_shop(tmp_path, real=False)
    done = run(shop, "sh", "-eu", "-c", named("attest-with-gramine.sh").text + "\nwait")
    assert done.returncode == 0, done.stderr
    nonce = (tmp_path / "nonce").read_bytes()
    for name in ("quote.bin", "again.bin"):
        assert Quote((tmp_path / name).read_bytes()).body.report_data == nonce
    assert not (tmp_path / "machine" / "dev" / "attestation" / "quote").exists()
