"""Frames of MessagePack on a pipe between us and a process of ours that has foreign code in it.

A frame is its length (four bytes, little-endian) and that many bytes. Both sides bound what they read.
Not here: what is said (`plugin_messages`), who sends (`isolated_process`, `isolated_inside`).
"""

import struct
from typing import Final

import msgspec

LENGTH: Final = struct.Struct("<I")
MAX_FRAME: Final = 32 * 1024 * 1024


def frame(message: msgspec.Struct) -> bytes:
    """A message as it is sent."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def whole(found: bytes | bytearray) -> bytes | None:
    """The one frame that was sent, once it is there. Raises `ValueError` for more or larger ones."""
    if len(found) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack_from(found)
    if size > MAX_FRAME or len(found) > LENGTH.size + size:
        raise ValueError
    return bytes(found[LENGTH.size :]) if len(found) == LENGTH.size + size else None
