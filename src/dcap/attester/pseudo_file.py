"""Reading a file that somebody answers: the kernel's pseudo-files, and the FIFOs that stand in for them.

A kernel's file answers as it is read, within a time limit of the kernel's own; a FIFO of a simulator
that was killed never does, so every wait has a deadline. Errors are the system's (`OSError`): what they
mean is the reader's business.
"""

import os
import select
import time
from pathlib import Path


def read_answer(path: Path, until: float, most: int) -> bytes:
    """The file to its end, at most `most` bytes. `until` is an instant of `time.monotonic()`.

    Raises `TimeoutError` where nobody answers, and the file's own `OSError`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        content = bytearray()
        while len(content) < most:
            left = max(0.0, until - time.monotonic())
            if not waiting.poll(left * 1000):
                raise TimeoutError("nobody answers")
            more = os.read(descriptor, most - len(content))
            if not more:
                break
            content += more
    finally:
        os.close(descriptor)
    return bytes(content)
