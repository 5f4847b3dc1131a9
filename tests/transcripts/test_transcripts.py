"""Sessions at a terminal, written down verbatim in the .txt files beside this one, still go so.

After a wanted change of the output, `python tests/transcripts/rewrite.py` writes them anew, and the
difference is for a person to read.
"""

from pathlib import Path

import pytest

from departures import World
from transcripts.desk import PROMPT, replay, write_world

SESSIONS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, world: World) -> Path:
    """A folder with the simulated world in files."""
    return write_world(tmp_path_factory.mktemp("desk"), world)


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.stem)
def test_a_session_goes_as_it_is_written(session: Path, desk: Path) -> None:
    """Every command prints what the transcript shows, to the letter, and nothing else."""
    text = session.read_text(encoding="utf-8")
    assert replay(text, desk) == text


def test_there_is_a_session_for_each_thing_people_meet() -> None:
    """Accepted, rejected in its kinds, unreadable, without collateral, explained."""
    assert {path.stem for path in SESSIONS} >= {
        "accepted",
        "explain",
        "identity-not-pinned",
        "malformed",
        "no-collateral",
        "tcb-out-of-date",
    }


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.stem)
def test_every_session_shows_its_exit_status(session: Path) -> None:
    """The exit status is part of what a transcript teaches."""
    assert f"{PROMPT}echo $?" in session.read_text(encoding="utf-8").splitlines()


def test_a_session_that_has_changed_is_noticed(desk: Path) -> None:
    """A transcript that shows another output, or another exit status, does not replay to itself."""
    true = replay("$ dcap explain nonsense-code\n$ echo $?\n", desk)
    assert true.endswith("$ echo $?\n1\n")
    for false in (true.replace("$?\n1", "$?\n0"), true.replace("error", "errors")):
        assert replay(false, desk) == true != false
