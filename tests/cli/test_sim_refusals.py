"""`dcap sim`: what is refused, with the word that helps, and without a trace."""

from pathlib import Path

import pytest

from transcripts.desk import run


def test_a_time_that_is_refused_is_shown_as_it_was_given(tmp_path: Path) -> None:
    """The minus is part of what was typed, and so of the message."""
    outcome = run(tmp_path, "sim", "clock", "--advance=-99999d")
    assert (outcome.status, "'-99999d' is not a duration" in outcome.err) == (1, True)


def test_a_seed_is_not_empty(tmp_path: Path) -> None:
    """An empty seed is a variable that was not set: refused, and no world is made."""
    outcome = run(tmp_path, "sim", "reset", "--seed", "")
    assert (outcome.status, "--seed" in outcome.err) == (1, True)
    assert not (tmp_path / ".dcap-sim").exists()


@pytest.mark.parametrize(
    "given",
    [
        ("quote", "-o", "missing/quote.bin"),
        ("collateral", "-o", "missing/collateral"),
        ("fault", "pck-revoked", "-o", "missing/case"),
    ],
)
def test_folders_above_an_output_are_not_made(tmp_path: Path, given: tuple[str, ...]) -> None:
    """A mistyped path is refused with a word how to mend it; nothing is made."""
    outcome = run(tmp_path, "sim", *given)
    assert (outcome.status, "[output-unwritable]" in outcome.err) == (1, True)
    assert "fix: make" in outcome.err
    assert not (tmp_path / "missing").exists()


def test_a_file_is_no_world(tmp_path: Path) -> None:
    """`--dir FILE` says that it is a file, and leaves it as it is."""
    (tmp_path / "file").write_text("precious")
    outcome = run(tmp_path, "sim", "clock", "--dir", "file")
    assert (outcome.status, "a file; a simulated world lies in a folder" in outcome.err) == (
        1,
        True,
    )
    assert (tmp_path / "file").read_text() == "precious"
