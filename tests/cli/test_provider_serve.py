"""`dcap provider serve`: its flags become the settings of the process, as those of the module do."""

import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from dcap.cli.provider_serve import command
from dcap.provider import server
from dcap.provider.__main__ import settings_of
from dcap.provider.settings import Settings

FLAGS = [
    *("--socket", "/s", "--source", "pcs", "--source", "azure", "--ca", "/c", "--no-cache"),
    *("--shared", "--on-demand", "--idle", "7"),
]


def test_both_ways_to_start_it_mean_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same flags, by `dcap provider` and by `python -m dcap.provider`, are the same settings."""
    taken: list[Settings] = []
    monkeypatch.setattr(server, "serve", lambda settings, **_: taken.append(settings) or 0)
    for flags in ([], FLAGS):
        result = CliRunner().invoke(command, flags, standalone_mode=False)
        assert result.return_value == 0
        assert taken.pop() == settings_of(["serve", *flags])
    assert settings_of(["serve", *FLAGS]) == Settings(
        socket=Path("/s"),
        on_demand=True,
        idle=7,
        shared=True,
        sources=("pcs", "azure"),
        ca=Path("/c"),
        cache=False,
    )


def test_it_says_where_it_serves(tmp_path: Path) -> None:
    """Once it answers, it says where, and ends well when nobody asks."""
    path = tmp_path / "provider.sock"
    assert threading.current_thread() is threading.main_thread()
    result = CliRunner().invoke(command, ["--socket", str(path), "--idle", "0.1"])
    assert (result.exit_code, result.output) == (0, f"serving      {path}\n")
    assert not path.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["provider.sock.lock"]
