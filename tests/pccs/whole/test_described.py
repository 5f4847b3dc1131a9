"""What `/openapi.json` describes, tried out by schemathesis at a running service: never a 5xx.

Requests that follow the description and requests that break it, with the administrator's token. Where
schemathesis is not installed, this is left out.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from pccs.running import intel, serve

#: Per operation and phase; the suite has a few seconds for it.
EXAMPLES = 4
START = "from schemathesis.cli import schemathesis; schemathesis()"


@pytest.mark.skipif(not find_spec("schemathesis"), reason="schemathesis is not installed")
def test_nothing_that_is_described_ends_in_an_error_of_the_service(tmp_path: Path) -> None:
    """Whatever is asked, the answer is one of the contract's, and the service still stands."""
    with (
        intel(tmp_path / "intel") as simulated,
        serve(tmp_path, *simulated.flags, "--rate", "0") as service,
    ):
        url = f"https://localhost:{service.port}"
        command = (
            *("run", f"{url}/openapi.json", "--tls-verify", str(service.certificate)),
            *("--header", f"admin-token: {service.token('admin')}"),
            *("--header", f"user-token: {service.token('user')}"),
            *("--checks", "not_a_server_error", "--mode", "all", "--continue-on-failure"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
            *("--seed", "5", "--request-timeout", "20"),
            # One thread: with more, Python 3.11's ast.parse may fail within Hypothesis.
            *("--no-color", "--workers", "1"),
        )
        done = subprocess.run(
            [sys.executable, "-c", START, *command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert service.get("/healthz/ready").status == 200
        assert "code=internal" not in service.log
