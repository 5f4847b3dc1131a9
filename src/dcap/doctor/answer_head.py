"""One HTTP/1.1 request over an open connection: the head of the answer, and the beginning of its body.

A tolerant reader, for it is to show what is there: what the relying party reads passes `transport`. It
ends when the time does, however the bytes drip. Not here: the connection (`probe`).

Source: RFC 9112.
"""

import re
import socket
import time
from typing import Final

from dcap.api.http import Headers, first_header

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_BODILESS: Final = re.compile(rb"HTTP/1\.[01] (?:204|304)")
_TLS_RECORD: Final = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")
_MOST_HEAD: Final = 64 * 1024
_BEGINNING: Final = 2048


def exchange(
    wire: socket.socket, request: bytes, timeout: float, *, with_body: bool = True
) -> tuple[int, Headers, bytes]:
    """Status, headers and the beginning of the body. Raises `OSError`, `ValueError` without a head."""
    end = time.monotonic() + timeout
    wire.settimeout(timeout)
    wire.sendall(request)
    got = b""
    while not _is_enough(got, with_body=with_body):
        try:
            more = _received(wire, end)
        except TimeoutError:
            if b"\r\n\r\n" in got:
                break
            raise
        if not more:
            break
        got += more
    return _read(got)


def _received(wire: socket.socket, end: float) -> bytes:
    """Some more. Raises `TimeoutError` from `end` on, though there be more."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    wire.settimeout(left)
    return wire.recv(4096)


def _is_enough(got: bytes, *, with_body: bool) -> bool:
    """Whether head and beginning of an answer are there, or it is none."""
    head, mark, body = got.partition(b"\r\n\r\n")
    if not mark:
        if len(got) > _MOST_HEAD or (len(got) > 16 and not got.startswith(b"HTTP/")):
            return True
        return _TLS_RECORD.match(got) is not None
    if not with_body or _BODILESS.match(head):
        return True
    length = re.search(rb"\r\ncontent-length: *([0-9]{1,9})", head, re.IGNORECASE)
    return len(body) >= min(_BEGINNING, int(length[1]) if length else _BEGINNING)


def _read(got: bytes) -> tuple[int, Headers, bytes]:
    status = _STATUS_LINE.match(got)
    if status is None:
        raise ValueError(
            "the other side closes the connection without an answer"
            if not got
            else "what answers there is not HTTP/1.1"
        )
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    headers = tuple((name.strip(), value.strip()) for name, _, value in pairs)
    if "chunked" in (first_header(headers, "Transfer-Encoding") or "").lower():
        body = body.partition(b"\r\n")[2]
    return int(status[1]), headers, body[:_BEGINNING]
