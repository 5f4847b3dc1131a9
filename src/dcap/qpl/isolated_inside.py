"""The inside of an isolated process: foreign code may abort, hang, crash or exit here, and only here.

    asked, answers = detach(parent)             # before anything foreign is loaded
    library = open_library(path)
    send(answers, message); body = receive(asked)

Requests come on standard input, answers leave by what was standard output (`frames`). Descriptor 1
becomes descriptor 2, so that whatever a library prints is noise on a pipe of its own. The process ends
with its input, or with the process that started it. Not here: which library, and what is asked of it;
limits of time (`isolated_process`).
"""

import ctypes
import os
import resource
import select
import threading
import time
from ctypes import c_char_p, c_void_p
from typing import Final, NoReturn

import msgspec

from dcap.qpl.frames import LENGTH, MAX_FRAME, frame

_RTLD_LAZY: Final = 1
_LATIN: Final = "latin-1"
#: How long the library may clean up after the last request.
_GRACE: Final = 0.5
_LOOK_AFTER: Final = 5_000


def detach(parent: int) -> tuple[int, int]:
    """Take the pipes away from whatever is loaded later: where requests come in, answers go out."""
    resource.setrlimit(
        resource.RLIMIT_CORE, (0, 0)
    )  # a core of it would hold a machine's identifiers
    asked, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=_watch, args=(asked, parent), daemon=True).start()
    return asked, answers


def open_library(path: str) -> ctypes.CDLL:
    """As most consumers load it: bound lazily, its symbols for itself alone. Raises `OSError`."""
    system = ctypes.CDLL(None)
    load, why = system.dlopen, system.dlerror  # both before: looking one up clears the error
    load.restype, load.argtypes = c_void_p, (c_char_p, ctypes.c_int)
    why.restype = c_char_p
    handle = load(os.fsencode(path), _RTLD_LAZY)
    if not handle:
        raise OSError((why() or b"no reason given").decode(_LATIN))
    return ctypes.CDLL(path, handle=handle)


def send(answers: int, message: msgspec.Struct) -> None:
    """One message."""
    ctypes.CDLL(None).fflush(None)  # what the library printed belongs to this call
    left = memoryview(frame(message))
    while left:
        left = left[os.write(answers, left) :]


def receive(asked: int) -> bytes:
    """The body of the next frame; empty at the end."""
    head = _read(asked, LENGTH.size)
    if len(head) < LENGTH.size:
        return b""
    (size,) = LENGTH.unpack(head)
    return _read(asked, size) if size <= MAX_FRAME else b""


def _read(asked: int, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := os.read(asked, size - len(found))):
        found += more
    return found


def _watch(asked: int, parent: int) -> NoReturn:
    """End where nobody is left to hear the answer, even in the midst of a call that never ends."""
    poll = select.poll()
    poll.register(asked, 0)  # the hang-up alone
    while os.getppid() == parent:
        if poll.poll(_LOOK_AFTER):
            break
    time.sleep(_GRACE)
    os._exit(0)
