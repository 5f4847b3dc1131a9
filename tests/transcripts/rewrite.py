"""Write the transcripts anew from what `dcap` prints today: `python tests/transcripts/rewrite.py`."""

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def rewrite() -> None:
    """Replay every session and keep what it shows."""
    sys.path[:0] = [str(HERE.parents[1] / "src"), str(HERE.parent)]
    from transcripts.desk import replay, write_world  # noqa: PLC0415 - the path is set just above

    with tempfile.TemporaryDirectory() as folder:
        desk = write_world(Path(folder))
        for session in sorted(HERE.glob("*.txt")):
            text = session.read_text(encoding="utf-8")
            session.write_text(replay(text, desk), encoding="utf-8")


if __name__ == "__main__":
    rewrite()
