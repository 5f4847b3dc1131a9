"""Who reads an answer slowly, and who does not read: told apart by what the system has not got rid of.

Of a large answer most waits in the system's own buffer, which a client may take minutes to read: that
ours does not become smaller meanwhile says nothing. Not here: what becomes of whom (`connection`).

Source: tcp(7), `SIOCOUTQ` (`TIOCOUTQ`).
"""

import asyncio
import fcntl
import struct
import termios
from contextlib import suppress
from typing import Final

#: What who reads takes in a second, at least, in bytes.
LEAST_READ: Final = 1024
_COUNT: Final = struct.Struct("i")


def count_unsent(transport: asyncio.Transport) -> int:
    """The bytes that wait here, and in the system, for the client to take them."""
    waiting = _COUNT.pack(0)
    place = transport.get_extra_info("socket")
    if place is not None:
        with suppress(OSError, ValueError):  # it is closed already
            waiting = fcntl.ioctl(place.fileno(), termios.TIOCOUTQ, waiting)
    return transport.get_write_buffer_size() + int(_COUNT.unpack(waiting)[0])
