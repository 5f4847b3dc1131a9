"""A process of ours with foreign code in it, as its parent sees it: started, asked with a limit, ended.

    process = IsolatedProcess("dcap.qpl.plugin_process", (path, level), environ)
    body = process.exchange(b"", 10.0)                  # the first frame, which it sends by itself
    body = process.exchange(frame(call), 30.0)
    process.end()

Any failure of an exchange ends the process: nothing of it is used after that. What is printed there is
read beside the answer, bounded, and never reaches our own output. The module is run by our interpreter,
isolated (`-I`), out of this very package; its `main()` finds the arguments, then our own process id, in
`sys.argv`. Not here: its inside (`isolated_inside`), what is said (`plugin_messages`).
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from dcap.qpl.frames import whole

#: The folder that holds the package: the child is isolated, and finds this dcap and no other.
_PLACE: Final = str(Path(__file__).resolve().parents[2])
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import dcap; del sys.path[0]; "
    "from {module} import main; main()"
)
_CHUNK: Final = 65536
#: Of what it prints, so much is kept, the end of it.
MOST_NOISE: Final = 64 * 1024
MOST_LINES: Final = 200
_FAREWELL: Final = 1.5


class EndedError(Exception):
    """The process closed its pipe. `status` as `subprocess` has it, if it did end."""

    def __init__(self, status: int | None = None) -> None:
        super().__init__(status)
        self.status = status

    @property
    def how(self) -> str:
        """What it did: "died of SIGABRT"."""
        if self.status is None:
            return "closed the pipe to dcap"
        if self.status < 0:
            return f"died of {_signal(-self.status)}"
        return f"ended its process with exit status {self.status}"


class IsolatedProcess:
    """One process. Not for several threads at once. Starting raises `OSError` or `ValueError`."""

    def __init__(self, module: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._noise = bytearray()
        self._is_over = False
        self.parent = os.getpid()
        start = _START.format(module=module)
        command = [sys.executable, "-I", "-c", start, _PLACE, *arguments, str(self.parent)]
        # S603: our own interpreter, with no shell between.
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ),
            bufsize=0,
            start_new_session=True,
        )
        asks, answers, noises = self._process.stdin, self._process.stdout, self._process.stderr
        assert asks is not None
        assert answers is not None
        assert noises is not None
        self._asks, self._answers, self._noises = asks, answers, noises
        os.set_blocking(self._asks.fileno(), False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone, by itself."""
        return self._process.poll() is not None

    def noise(self) -> list[str]:
        """The lines that were printed, and not told yet."""
        lines = self._noise.decode("utf-8", "replace").splitlines()
        self._noise.clear()
        return [line for line in lines if line.strip()][-MOST_LINES:]

    def end(self, *, politely: bool = False) -> int | None:
        """End it and all that it has started, and wait for it. Its exit status, if it had ended."""
        if os.getpid() != self.parent:  # a fork of ours: the process is the other one's
            self._close()
            return None
        if self._is_over:  # its number may be another process's by now
            return self._process.returncode
        self._is_over = True
        with suppress(OSError):
            self._asks.close()
        if politely:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_FAREWELL)
        status = self._process.poll()
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close()
        return status

    def _close(self) -> None:
        for pipe in (self._asks, self._answers, self._noises):
            with suppress(OSError):
                pipe.close()

    def exchange(self, request: bytes, seconds: float) -> bytes:
        """Send a frame, or nothing, and give back the body of the frame that answers.

        Raises `TimeoutError`, `EndedError`, or `ValueError` where no frame came; the process is then
        ended.
        """
        try:
            return self._speak(request, seconds)
        except EndedError:
            raise EndedError(self._buried()) from None
        except BaseException:  # as of an interrupt: the answer would be taken for the next one's
            self.end()
            raise

    def _buried(self) -> int | None:
        """The exit status of one that closed its pipe; the last that it printed is heard."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL)
        os.set_blocking(self._noises.fileno(), False)
        with suppress(OSError):
            while self._hear():
                pass
        return self.end()

    def _speak(self, request: bytes, seconds: float) -> bytes:
        """Send a request, read one frame, and beside it whatever is printed."""
        until = time.monotonic() + seconds
        asks, answers, noises = (
            pipe.fileno() for pipe in (self._asks, self._answers, self._noises)
        )
        poll = select.poll()
        poll.register(answers, select.POLLIN)
        poll.register(noises, select.POLLIN)
        left = memoryview(request)
        if left:
            poll.register(asks, select.POLLOUT)
        found = bytearray()
        while True:
            for descriptor, _ in poll.poll(_left(until)):
                if descriptor == asks:
                    left = _written(asks, left)
                    if not left:
                        poll.unregister(asks)
                elif descriptor == noises:
                    if not self._hear():
                        poll.unregister(noises)
                else:
                    more = os.read(answers, _CHUNK)
                    if not more:
                        raise EndedError
                    found += more
            body = whole(found)
            if body is not None:
                with suppress(OSError):
                    self._hear_rest()
                return body

    def _hear(self) -> bool:
        """Read some of what was printed; whether there was any."""
        more = os.read(self._noises.fileno(), _CHUNK)
        self._noise += more
        del self._noise[:-MOST_NOISE]
        return bool(more)

    def _hear_rest(self) -> None:
        """What was printed before the answer was sent is in the pipe by now."""
        poll = select.poll()
        poll.register(self._noises.fileno(), select.POLLIN)
        while poll.poll(0) and self._hear():
            pass


def _left(until: float) -> float:
    """Milliseconds. Raises `TimeoutError` where there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left * 1000


def _written(asks: int, left: memoryview) -> memoryview:
    """What is left of a request after some of it was taken."""
    try:
        return left[os.write(asks, left) :]
    except BlockingIOError:
        return left
    except OSError:  # it reads no more; that its own pipe has ended says the rest
        return left[:0]


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
