"""A server with AESM running and a good `qcnl.conf`, of which doctor's tests change one line."""

import os
import re
from pathlib import Path

from dcap.doctor import configuration
from doctor.scratch import BOOTED, Seen, add_aesm, say, scene, sgx_host, write

CONF = "/etc/sgx_default_qcnl.conf"
PCCS = "https://pccs.example:8081/sgx/certification/v4/"
GOOD = f"""{{
  // our own
  "pccs_url": "{PCCS}",
  "use_secure_cert": true,
  "pccs_api_version": "3.1",
  "retry_times": 6,
  "retry_delay": 10
}}
"""
RESTART = "sudo systemctl restart aesmd"
CHECKS = configuration.CHECKS


def configured_host(tmp_path: Path) -> Path:
    """A server with AESM running and a configuration that is older than it."""
    root = add_aesm(sgx_host(tmp_path))
    qcnl(root, GOOD)
    return root


def qcnl(root: Path, text: str | bytes, *, path: str = CONF, seconds: int = 0) -> Path:
    """A configuration, changed so many seconds after the machine's start."""
    file = write(root, path, text)
    os.utime(file, (BOOTED + seconds, BOOTED + seconds))
    return file


def look(root: Path, **changes: object) -> Seen:
    """What the family says of a machine."""
    return say(CHECKS, scene(root, **changes))


def with_line(line: str) -> str:
    """The good file with one of its settings, of the same key, written otherwise."""
    key = re.match(r'\s*("\w+")', line)
    assert key
    return re.sub(rf"^\s*{key[1]}.*?(,?)$", rf"  {line}\1", GOOD, flags=re.MULTILINE)
