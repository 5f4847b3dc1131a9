"""Reading and writing files that somebody answers: pseudo-files of the kernel, and FIFOs in their stead.

A kernel's file answers as it is read, within a time limit of the kernel's own; a FIFO of a simulator
that was killed never does, so every wait has a deadline. Errors are the system's (`OSError`): what they
mean is the reader's business.
"""

import errno
import os
import select
import stat
import time
from pathlib import Path
from typing import Final

#: Seconds, until a FIFO that nobody reads just now is tried again.
_AGAIN: Final = 0.01


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


def write_whole(path: Path, content: bytes, until: float) -> int:
    """All of it in one write, as such files want it; how many bytes were taken.

    The kernel's file is written at once. A FIFO is waited for until somebody reads it, for which it has
    to be opened again and again. Raises `TimeoutError` where nobody does, and the file's own `OSError`.
    """
    is_fifo = stat.S_ISFIFO(path.stat().st_mode)
    flags = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | (os.O_NONBLOCK if is_fifo else 0)
    while True:
        try:
            descriptor = os.open(path, flags)
            try:
                return os.write(descriptor, content)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not is_fifo or error.errno not in (errno.ENXIO, errno.EAGAIN):
                raise
        if time.monotonic() >= until:
            raise TimeoutError("nobody reads it")
        time.sleep(_AGAIN)
