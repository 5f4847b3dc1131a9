"""A program as a reporter: it has an enclave, and makes that enclave's report for the quoting enclave.

    reporter = reporter_command("./app --report")
    report = reporter(target_info, report_data)

It is run once for each report, without a shell. On its standard input it gets 576 bytes, TARGETINFO
(512) and report data (64), and then the end; on its standard output it writes the REPORT, 432 bytes;
exit status 0. The last that it wrote to standard error is quoted where it fails. Not here: what the
report is worth (`reported`).
"""

import os
import select
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from typing import Final

from dcap.attester.attester import Reporter
from dcap.errors import AttesterError, ConfigError
from dcap.formats.local_report import REPORT_SIZE

#: Loading an enclave of some GiB takes its time.
SECONDS: Final = 60.0
#: Bytes that it may write where a report is wanted; of standard error so many are kept, the last.
MOST: Final = 64 * 1024
_CHUNK: Final = 64 * 1024
_LONGEST: Final = 200
_MEND: Final = (
    "it is given TARGETINFO (512 bytes) and report data (64) on standard input, and writes the REPORT "
    "(432 bytes) that sgx_create_report() makes of them: docs/attesting.md has an example"
)


class _FloodError(Exception):
    """The program writes, and does not end."""


def reporter_command(command: str, *, seconds: float = SECONDS) -> Reporter:
    """The program of a command line. Raises `ConfigError` (`attester-reporter-command`)."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        words, why = [], str(error)
    else:
        why = "it is empty"
    if not words:
        raise ConfigError(
            "attester-reporter-command",
            f"this is no command: {why}",
            where="--reporter",
            mend="give the program and its arguments as one argument: --reporter './app --report'",
        )
    return lambda target_info, report_data: _run(words, target_info + report_data, seconds)


def _run(words: list[str], asked: bytes, seconds: float) -> bytes:
    try:
        # S603: the command is the caller's own, and no shell reads it.
        process = subprocess.Popen(  # noqa: S603
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise _failed(words, f"the program cannot be started: {why}") from None
    try:
        report, noise = _spoken(process, asked, time.monotonic() + seconds)
    except TimeoutError:
        raise _failed(words, f"the program did not answer within {seconds:g} s") from None
    except _FloodError:
        what = f"the program wrote more than {MOST} bytes, and a REPORT has {REPORT_SIZE}"
        raise _failed(words, what) from None
    finally:
        _end(process)
    status, said = process.returncode, _said(noise)
    if status:
        how = f"died of signal {-status}" if status < 0 else f"ended with exit status {status}"
        raise _failed(words, f"the program {how}{said}")
    if len(report) != REPORT_SIZE:
        what = f"the program wrote {len(report)} bytes, and a REPORT has {REPORT_SIZE}{said}"
        raise _failed(words, what)
    return report


def _spoken(process: "subprocess.Popen[bytes]", asked: bytes, until: float) -> tuple[bytes, bytes]:
    """What it wrote to its two pipes until both ended, of the second the last; and it has ended too."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with suppress(BrokenPipeError):  # 576 bytes: a pipe takes them, whether or not they are read
        process.stdin.write(asked)
        process.stdin.flush()
    with suppress(BrokenPipeError):
        process.stdin.close()
    written = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    report, noise = written.values()
    waiting = select.poll()
    for descriptor in written:
        waiting.register(descriptor, select.POLLIN)
    open_ones = set(written)
    while open_ones:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        for descriptor, _ in waiting.poll(left * 1000):
            more = os.read(descriptor, _CHUNK)
            written[descriptor] += more
            if not more:
                waiting.unregister(descriptor)
                open_ones.remove(descriptor)
        if len(report) > MOST:
            raise _FloodError
        del noise[:-MOST]
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return bytes(report), bytes(noise)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Where it still runs, it and all that it has started; its pipes are closed in any case."""
    if process.returncode is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _said(noise: bytes) -> str:
    """The last line of what it wrote to standard error."""
    lines = noise.decode("utf-8", "replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f'; it said "{last[:_LONGEST]}"' if last else ""


def _failed(words: list[str], what: str) -> AttesterError:
    return AttesterError("attester-reporter", what, where=words[0], mend=_MEND)
