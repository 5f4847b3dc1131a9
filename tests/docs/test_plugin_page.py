"""What the page on plugins shows is what happens, and the units in `deploy/` are what the library wants.

The page's scripts run as they stand, before a simulated Intel.
"""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_docs import Block, blocks, named, open_shop, run

from dcap.errors import ConfigError
from dcap.provider.__main__ import settings_of
from dcap.provider.library import library
from dcap.provider.settings import SYSTEM_SOCKET
from dcap.qpl import quote3_errors
from dcap.sources.azure_config import VARIABLES
from dcap.sources.environment import SYSTEM_QCNL
from worlds import ROOT

PAGE = ROOT / "docs" / "quote-provider.md"
UNITS = {name: ROOT / "deploy" / f"dcap-provider.{name}" for name in ("service", "socket")}


class Unit(configparser.ConfigParser):
    """A unit of systemd: names as they are written, and the last of two counts."""

    def __init__(self, name: str) -> None:
        super().__init__(interpolation=None, strict=False, delimiters=("=",))
        self.read(UNITS[name])

    def optionxform(self, optionstr: str) -> str:
        """Names keep their case."""
        return optionstr


def of_page(*languages: str) -> list[Block]:
    """The page's blocks in these languages."""
    return [block for block in blocks(*languages) if block.page == PAGE]


def test_the_plugin_is_tried_as_the_page_shows(tmp_path: Path) -> None:
    """Installed into a folder, loaded by a program, without a process and with one, and taken away.

    All that the page shows is printed, but for the sizes, which are those of the day's signatures.
    """
    try:
        library()
    except ConfigError as error:
        pytest.skip(f"no library, and none can be made here: {error.what}")
    shop = open_shop(tmp_path, real=True)
    shop.environment["HOME"] = str(tmp_path)
    (program,) = (block for block in of_page("py") if block.file == "ask.py")
    (tmp_path / "ask.py").write_text(program.text)
    done = run(shop, "sh", "-eu", "-c", named("try-the-plugin.sh").text)
    assert done.returncode == 0, done.stdout + done.stderr
    (shown,) = (block.text for block in of_page("text") if block.text.startswith("placed "))

    def sizeless(text: str) -> str:
        return re.sub(r" +\d+ bytes", " … bytes", text).strip()

    assert sizeless(done.stdout) == sizeless(shown)
    assert sizeless(shown) != shown.strip()
    assert list((tmp_path / "image/usr/lib").iterdir()) == []


def test_the_sessions_can_be_followed_by_hand(tmp_path: Path) -> None:
    """The page's lines make an internet in which quotes are accepted, by Intel and by Azure.

    The lines that name the simulated root are those that the page says it leaves out.
    """
    if SYSTEM_QCNL.exists():
        pytest.skip(f"{SYSTEM_QCNL} of this machine would be obeyed")
    (pinned,) = (block for block in of_page("console") if block.text.startswith("$ export MREN"))
    script = [
        pinned.text.replace("$ export", "export"),
        named("internet-by-hand.sh").text,
        "dcap verify quote.bin --mrenclave $MRENCLAVE",
        "AZDCAP_REGION_URL=westeurope dcap verify td.bin --source azure --mrtd $MRTD -q",
    ]
    shop = open_shop(tmp_path, real=True)
    shop.environment["HOME"] = str(tmp_path)
    done = run(shop, "sh", "-eu", "-c", "\n".join(script))
    assert done.returncode == 0, done.stdout + done.stderr
    (more,) = (block.text for block in of_page("text") if block.text.startswith("warning: trust"))
    printed = (done.stdout + done.stderr).replace(f"{tmp_path}/", "")
    for line in more.splitlines():
        assert line in printed.splitlines()


def test_the_page_has_every_variable_of_azures_client() -> None:
    """Each with its default."""
    row = re.compile(r"\| `(AZDCAP_\w+)` \| `?([^|`]*)`? \|$", re.MULTILINE)
    rows = {name: default.strip() for name, default in row.findall(PAGE.read_text())}
    assert rows == {variable.name: variable.default for variable in VARIABLES}


def test_every_code_on_the_page_is_one_of_intels() -> None:
    """Each number that a program may receive stands in the table that `dcap explain` reads."""
    known = {row[0] for row in quote3_errors.ROWS}
    found = {int(code, 16) for code in re.findall(r"\b0xE0[0-9A-F]{2}\b", PAGE.read_text())}
    assert 0xE040 in found
    assert found <= known


def test_the_units_are_what_the_library_believes() -> None:
    """The socket lies where it looks, in root's folder, for every user; the process takes it over.

    A RuntimeDirectory= would make the folder the process's own, and remove the socket with it; other
    users would all be one to the process under PrivateUsers=.
    """
    socket, service = Unit("socket")["Socket"], Unit("service")["Service"]
    assert socket["ListenStream"] == str(SYSTEM_SOCKET)
    assert (socket["DirectoryMode"], socket["SocketMode"]) == ("0755", "0666")
    assert "SocketUser" not in socket
    assert "RuntimeDirectory" not in service
    assert "PrivateUsers" not in service
    program, *words = service["ExecStart"].split()
    assert (program, words[0]) == ("/opt/dcap/bin/dcap", "provider")
    assert settings_of(words[1:]).socket == SYSTEM_SOCKET
    assert service["Environment"] == f"DCAP_CACHE=/var/cache/{service['CacheDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """They are understood line by line, and the service counts as well protected."""
    for unit in UNITS.values():
        text = unit.read_text().replace("/opt/dcap/bin/dcap", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in UNITS.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "dcap-provider" in line] == []
    graded = subprocess.run(
        [*command[:1], "security", "--offline=true", str(tmp_path / UNITS["service"].name)],
        capture_output=True,
        text=True,
        check=False,
    )
    match = re.search(r"exposure level for \S+: ([0-9.]+)", graded.stdout)
    assert match, graded.stderr
    assert float(match[1]) < 2
