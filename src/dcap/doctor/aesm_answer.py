"""What AESM's socket answers to the smallest question there is: how many kinds of key it has.

    answer = ask_aesm(root.host("/run/aesmd/aesm.socket"), timeout=1.0)

The question makes no quote, no key, and needs no network. Every way in which there is no answer is an
outcome of its own. Not here: what a daemon's error means (`formats.aesm`), quoting (`attester.aesm`).

Source: `quote-provider.md` §5.4.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from dcap.errors import FormatError
from dcap.formats.aesm import (
    HEAD_SIZE,
    GetSupportedAttKeyIdNum,
    GetSupportedAttKeyIdNumAnswer,
    Unsupported,
    message_size,
    read_response,
    write_request,
)

#: "answered", be it with an error; "refused": nobody listens; "broken": it hung up, or is no AESM.
Outcome: TypeAlias = Literal["answered", "absent", "refused", "denied", "silent", "broken"]

_MICROSECONDS: Final = 1_000_000
_RETRY: Final = 0.01
_LONGEST_NAME: Final = 107


class AesmAnswer(msgspec.Struct, frozen=True):
    """`keys` and `error` are what AESM said, `knows_ecdsa` is false where it does not know the call."""

    outcome: Outcome
    said: str = ""
    keys: int = 0
    error: int = 0
    knows_ecdsa: bool = True


def ask_aesm(path: Path, timeout: float) -> AesmAnswer:
    """The answer of whoever listens at a path, within so many seconds."""
    request = write_request(GetSupportedAttKeyIdNum(timeout=int(timeout * _MICROSECONDS)))
    until = time.monotonic() + timeout
    try:
        with connected_to(path, until) as connected:
            connected.sendall(request)
            head = _receive(connected, HEAD_SIZE, until)
            response = read_response(head + _receive(connected, message_size(head), until))
    except TimeoutError:
        return AesmAnswer("silent", f"no answer within {timeout:g} s")
    except (FormatError, EOFError) as error:
        return AesmAnswer("broken", error.what if isinstance(error, FormatError) else str(error))
    except OSError as error:
        return AesmAnswer(outcome_of(error), error.strerror or str(error))
    if isinstance(response, Unsupported):
        return AesmAnswer("answered", error=response.error_code or 0, knows_ecdsa=False)
    if not isinstance(response, GetSupportedAttKeyIdNumAnswer):
        return AesmAnswer("broken", "it answered another call than the one that was made")
    return AesmAnswer("answered", keys=response.att_key_id_num or 0, error=response.error_code)


def outcome_of(error: OSError) -> Outcome:
    """What it comes to where there is no connection, or no longer."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "absent"
    if isinstance(error, PermissionError):
        return "denied"
    return "refused" if isinstance(error, ConnectionRefusedError) else "broken"


@contextmanager
def connected_to(path: Path, until: float) -> Iterator[socket.socket]:
    """A connection to a Unix socket, however long its path is.

    The name of a socket has 107 bytes at most: a longer one is named by its folder's descriptor.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = len(os.fsencode(path)) <= _LONGEST_NAME
        name = str(path) if short else f"/proc/self/fd/{folder}/{path.name}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
            while True:
                connected.settimeout(_left(until))
                try:
                    connected.connect(name)
                except BlockingIOError:  # its queue is full, which the kernel does not wait for
                    time.sleep(_RETRY)
                else:
                    break
            yield connected
    finally:
        os.close(folder)


def _receive(connected: socket.socket, size: int, until: float) -> bytes:
    octets = b""
    while len(octets) < size:
        connected.settimeout(_left(until))
        more = connected.recv(size - len(octets))
        if not more:
            message = f"it hung up, {len(octets)} bytes into {size}"
            raise EOFError(message)
        octets += more
    return octets


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
