"""`deploy/`: what stands there is what the service has, and tools that are here accept it."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dcap.pccs.setting_table import PREFIX, SETTINGS
from worlds import ROOT

DEPLOY = ROOT / "deploy"
FILES = sorted(file for file in DEPLOY.rglob("*") if file.is_file())
VARIABLES = {name for row in SETTINGS for name in (row.variable, *row.variables)}
VARIABLES |= {PREFIX + "CONFIG", PREFIX + "URL"}
FLAGS = {row.flag for row in SETTINGS if row.flag}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_setting_that_is_named_is_one(file: Path) -> None:
    """Variables and flags in the files stand in the table, so that none is silently ignored."""
    text = file.read_text()
    for name in re.findall(r"\bDCAP_PCCS_[A-Z_]+\b", text):
        assert name.rstrip("_") in VARIABLES or name == "DCAP_PCCS_", name
    for flag in re.findall(r"^\s*- (--[a-z-]+)=", text, re.MULTILINE):
        assert flag in FLAGS


def test_probes_ask_what_there_is() -> None:
    """The three probes and the metrics have the paths of the service."""
    text = (DEPLOY / "kubernetes" / "pccs.yaml").read_text()
    probes = re.findall(r"path: (/healthz/\w+)", text)
    assert sorted(probes) == ["/healthz/live", "/healthz/ready", "/healthz/startup"]
    assert "prometheus.io/path: /metrics" in text


def test_manifests_are_yaml() -> None:
    """Each document can be read, and has what its kind needs."""
    yaml: Any = pytest.importorskip("yaml", reason="no PyYAML here to read the manifests with")
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "pccs.yaml").read_text()))
    assert [one["kind"] for one in documents] == ["Service", "PodDisruptionBudget", "Deployment"]
    container = documents[2]["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    mounts = {one["name"] for one in container["volumeMounts"]}
    assert mounts == {one["name"] for one in documents[2]["spec"]["template"]["spec"]["volumes"]}
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert (ROOT / "deploy" / compose["services"]["pccs"]["build"]["context"]).resolve() == ROOT


def health_check() -> str:
    """The command by which the container is asked how it does, for a shell."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", "")
    found = re.search(r"^HEALTHCHECK .*? CMD (exec .+)$", text, re.MULTILINE)
    assert found
    return found[1]


def test_the_containers_commands_exist() -> None:
    """The entry point, and the health check, are commands of `dcap` with those options."""
    text = (DEPLOY / "Containerfile").read_text()
    entry = re.search(r"^ENTRYPOINT \[(.+)\]", text, re.MULTILINE)
    assert entry
    for words in (re.findall(r'"([^"]+)"', entry[1]), shlex.split(health_check())[1:]):
        assert words[:2] == ["dcap", "pccs"]
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from dcap.cli.main import main; main()",
                "pccs",
                words[2],
                "-h",
            ],
            env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        for option in (word for word in words if word.startswith("--")):
            assert option in done.stdout
    extras = re.search(r"\.\[([a-z,]+)\]", text)
    assert extras
    project = (ROOT / "pyproject.toml").read_text()
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """It is understood line by line, and counts as well protected."""
    unit = tmp_path / "dcap-pccs.service"
    text = (DEPLOY / "dcap-pccs.service").read_text()
    unit.write_text(text.replace("/opt/dcap/bin/dcap", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert complaints == []
    graded = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    match = re.search(r"exposure level for \S+: ([0-9.]+)", graded.stdout)
    assert match, graded.stderr
    assert float(match[1]) < 2
