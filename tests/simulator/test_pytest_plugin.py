"""The fixtures for other people's tests: run by a pytest of their own, as those people run it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from docs.test_docs import blocks
from worlds import ROOT

PLUGIN = "dcap.simulator.pytest_plugin"


def run_pytest(folder: Path, *given: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, with this plugin and no other."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTHONPATH": str(ROOT / "src"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    arguments = ("-q", "-W", "error", "--strict-markers", "-p", "no:cacheprovider")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, *arguments, *given],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def outcome(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What pytest makes of one file."""
    (folder / "test_file.py").write_text(text)
    return run_pytest(folder, "test_file.py")


def test_the_package_announces_the_plugin() -> None:
    """Whoever installs dcap has the fixtures: the entry point names this module."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"dcap": PLUGIN}
    assert project["optional-dependencies"]["sim"] == []


def test_the_example_of_the_page_passes(tmp_path: Path) -> None:
    """The tests that docs/simulator.md shows are tests, and pass as they stand."""
    (block,) = (block for block in blocks("py") if block.file == "test_attestation.py")
    (tmp_path / block.file).write_text(block.text)
    done = run_pytest(tmp_path, block.file)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_every_fixture_is_listed_with_what_it_is(tmp_path: Path) -> None:
    """`pytest --fixtures` shows each fixture of the page's table, and its docstring."""
    page = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    shown = run_pytest(tmp_path, "--fixtures").stdout
    for name in ("dcap_world", "dcap_platform", "dcap_collateral", "dcap_root", "dcap_pcs"):
        assert f"| `{name}` |" in page
        assert f"{name} -- " in shown


def test_pytest_starts_without_anything_heavy(tmp_path: Path) -> None:
    """A test that uses no fixture of ours does not pay for them: neither cryptography nor formats."""
    done = outcome(
        tmp_path,
        "import sys\n"
        "def test_nothing_heavy():\n"
        "    heavy = {'cryptography', 'msgspec', 'http.server', 'ssl', 'dcap.formats',\n"
        "             'dcap.simulator.world', 'dcap.verification'}\n"
        "    assert 'dcap.simulator.pytest_plugin' in sys.modules\n"
        "    assert heavy & set(sys.modules) == set()\n",
    )
    assert done.returncode == 0, done.stdout


def test_worlds_are_fresh_and_the_same(tmp_path: Path) -> None:
    """What one test does to its world does not reach the next, and both begin with the same bytes."""
    done = outcome(
        tmp_path,
        "import pytest\n"
        "seen = []\n"
        "@pytest.mark.parametrize('number', [1, 2])\n"
        "def test_fresh(dcap_world, dcap_platform, dcap_collateral, number):\n"
        "    seen.append((dcap_platform.quote(), dcap_collateral('tdx')))\n"
        "    dcap_platform.set_status('Revoked')\n"
        "    dcap_world.intel.signer_number += 1\n"
        "    assert seen[0] == seen[-1]\n",
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_marker_chooses_seed_and_instant(tmp_path: Path) -> None:
    """Another seed is another root; another instant is the world's clock."""
    done = outcome(
        tmp_path,
        "from datetime import UTC, datetime\n"
        "import pytest\n"
        "AT = datetime(2027, 5, 1, tzinfo=UTC)\n"
        "@pytest.mark.dcap_world(seed='mine', at=AT)\n"
        "def test_mine(dcap_world, dcap_root):\n"
        "    from dcap.simulator import World\n"
        "    assert (dcap_world.seed, dcap_world.at) == (b'mine', AT)\n"
        "    assert dcap_root != World().intel.root.certificate\n"
        "    assert dcap_root == World('mine').intel.root.certificate\n",
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("given", ["'mine'", "sead='mine'"])
def test_a_marker_that_is_misspelt_fails_the_test(tmp_path: Path, given: str) -> None:
    """An argument that the marker has not is told, not ignored."""
    done = outcome(
        tmp_path,
        f"import pytest\n@pytest.mark.dcap_world({given})\ndef test_mine(dcap_world):\n    pass\n",
    )
    assert done.returncode == 1
    assert "the marker takes seed and at alone" in done.stdout


def test_services_follow_the_world(tmp_path: Path) -> None:
    """What a test lets happen shows in the next answer of `dcap_pcs`."""
    done = outcome(
        tmp_path,
        "import json, ssl, urllib.request\n"
        "from dcap.simulator.events import RecoveryAnnounced, RecoveryPromoted\n"
        "def test_follow(dcap_pcs, dcap_world, dcap_platform):\n"
        "    context = ssl.create_default_context(cafile=dcap_pcs.ca_pem)\n"
        "    url = f'{dcap_pcs.url}/sgx/certification/v4/tcb?fmspc={dcap_platform.fmspc.hex()}'\n"
        "    def number():\n"
        "        with urllib.request.urlopen(url, context=context, timeout=20) as answer:\n"
        "            return json.load(answer)['tcbInfo']['tcbEvaluationDataNumber']\n"
        "    assert number() == 17\n"
        "    for event in (RecoveryAnnounced(), RecoveryPromoted()):\n"
        "        event.apply(dcap_world)\n"
        "    assert number() == 18\n",
    )
    assert done.returncode == 0, done.stdout
