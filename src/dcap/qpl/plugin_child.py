"""One process with one plugin in it, as its parent sees it: started, asked with a limit, ended.

    child = Child(path, environ, "error")
    loaded = child.start(10.0)
    answer = child.ask(Call(name="sgx_ql_get_root_ca_crl"), 30.0)
    child.end()

Any failure of a request ends the process: nothing of it is used after that. What the plugin prints is
read beside the answer, bounded, and never reaches our own output. Not here: the process itself
(`plugin_process`), when a new one is started (`plugin`).
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from dcap.errors import CollateralError
from dcap.qpl import plugin_errors as errors
from dcap.qpl.abi import Level
from dcap.qpl.plugin_messages import LENGTH, MAX_FRAME, MAX_LINES, Answer, Call, Loaded, frame

M = TypeVar("M", Answer, Loaded)

#: The folder that holds the package: the child is isolated, and finds this dcap and no other.
_PLACE: Final = str(Path(__file__).resolve().parents[2])
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import dcap; del sys.path[0]; "
    "from dcap.qpl.plugin_process import main; main()"
)
_CHUNK: Final = 65536
#: Of what it prints, so much is kept, the end of it.
MOST_NOISE: Final = 64 * 1024
_FAREWELL: Final = 1.5


class _EndedError(Exception):
    """The process closed its pipe."""


class Child:
    """One process. Not for several threads at once. Raises what `plugin_errors` makes."""

    def __init__(self, path: str, environ: Mapping[str, str], level: Level) -> None:
        self._path = path
        self._noise = bytearray()
        self.parent = os.getpid()
        command = [sys.executable, "-I", "-c", _START, _PLACE, path, level, str(self.parent)]
        try:
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
        except (OSError, ValueError) as error:
            why = f"no process can be started for it: {error}"
            raise errors.not_loaded(path, why) from None
        asks, answers, noises = self._process.stdin, self._process.stdout, self._process.stderr
        assert asks is not None
        assert answers is not None
        assert noises is not None
        self._asks, self._answers, self._noises = asks, answers, noises
        os.set_blocking(self._asks.fileno(), False)

    def start(self, seconds: float) -> Loaded:
        """Wait until the plugin is loaded."""
        loaded = self._exchange(b"", Loaded, "its loading", seconds)
        if loaded.error:
            self.end()
            raise errors.not_loaded(self._path, errors.short(loaded.error))
        return loaded

    def ask(self, call: Call, seconds: float) -> Answer:
        """One call, and its answer."""
        return self._exchange(frame(call), Answer, call.name, seconds)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone, by itself."""
        return self._process.poll() is not None

    def noise(self) -> list[str]:
        """The lines that were printed, and not told yet."""
        lines = self._noise.decode("utf-8", "replace").splitlines()
        self._noise.clear()
        return [line for line in lines if line.strip()][-MAX_LINES:]

    def end(self, *, politely: bool = False) -> int | None:
        """End it and all that it has started, and wait for it. Its exit status, if it had ended."""
        if os.getpid() != self.parent:  # a fork of ours: the process is the other one's
            self._close()
            return None
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

    def _exchange(self, request: bytes, kind: type[M], name: str, seconds: float) -> M:
        try:
            body = self._speak(request, seconds)
            return msgspec.msgpack.decode(body, type=kind)
        except TimeoutError:
            self.end()
            raise errors.too_slow(self._path, name, seconds, self._last()) from None
        except _EndedError:
            raise self._dead(name) from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.end()
            raise errors.garbage(self._path, name) from None
        except BaseException:  # as of an interrupt: the answer would be taken for the next one's
            self.end()
            raise

    def _dead(self, name: str) -> CollateralError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL)
        os.set_blocking(self._noises.fileno(), False)
        with suppress(OSError):
            while self._hear():
                pass
        return errors.died(self._path, name, self.end(), self._last())

    def _last(self) -> str:
        lines = self.noise()
        return errors.short(lines[-1]) if lines else ""

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
                        raise _EndedError
                    found += more
            body = _whole(found)
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


def _whole(found: bytearray) -> bytes | None:
    """The one frame that was sent, once it is there. Raises `ValueError` for more or larger ones."""
    if len(found) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack_from(found)
    if size > MAX_FRAME or len(found) > LENGTH.size + size:
        raise ValueError
    return bytes(found[LENGTH.size :]) if len(found) == LENGTH.size + size else None
