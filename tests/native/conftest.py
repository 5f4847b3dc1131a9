"""Fixtures of the native library's tests: what is compiled, and a place for a socket."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from native_build import Built, built_in


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The library and the programs, compiled once for all workers."""
    base = tmp_path_factory.getbasetemp()
    return built_in((base.parent if base.name.startswith("popen-") else base) / "native")


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A path short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="dcap-") as folder:
        yield Path(folder) / "s"
