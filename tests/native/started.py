"""What the library starts in the tests: a scripted process with the manners of the real one.

    python started.py FOLDER serve --on-demand --socket PATH

It writes how it was started into FOLDER, one file per start; takes a lock, or ends quietly; answers, and
ends after a while without anything to do. Not a test.
"""

import fcntl
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from scripted_process import ScriptedProcess

IDLE = 1.0


def main() -> None:
    """Tell how it was started, and serve."""
    folder, *words = sys.argv[1:]
    path = Path(words[-1])
    files = Path("/proc/self/fd")
    open_files = sorted(int(each.name) for each in files.iterdir())
    about = {
        "words": words,
        "environment": dict(os.environ),
        "open_files": [number for number in open_files if (files / str(number)).exists()],
        "null": [str((files / str(number)).readlink()) for number in (0, 1, 2)],
        "folder": str(Path.cwd()),
        "leads_session": os.getsid(0) == os.getpid(),
        "umask": os.umask(0o077),
        "blocked": _status("SigBlk"),
        "ignored": _status("SigIgn"),
    }
    (Path(folder) / f"start-{os.getpid()}.json").write_text(json.dumps(about))
    with path.with_name("lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        with ScriptedProcess(path) as process:
            (Path(folder) / "serving").touch()
            asked = -1
            while asked != len(process.requests):
                asked = len(process.requests)
                time.sleep(IDLE)
        path.unlink(missing_ok=True)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1], 16)


if __name__ == "__main__":
    main()
