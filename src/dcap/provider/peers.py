"""Who is at the other end of a connection, as the kernel says, and whether its files are ours.

    peer = peer_of(connected)
    peer.here                  # its paths mean what they mean here

A program in a container, or behind chroot, may have this process's user and yet be a stranger: its
`/etc/my.conf` is another file, and whoever is root in there is not asked to choose files and folders out
here. So its mount namespace and its root are compared with ours. Where they cannot be seen (no `/proc`,
or a program that hides from its own user, as one that gave up privileges does) they count as others.

Not here: what a stranger may not do (`callers`, `provider`).
"""

import errno
import os
import select
import socket
import struct
from contextlib import suppress
from typing import Final, NamedTuple

_CREDENTIALS = struct.Struct("3i")
#: `SO_PEERPIDFD` (Linux 6.5): a handle that no later process with the same number has.
_PEER_HANDLE: Final = 77

#: What a program of this user's is told that is not `here`.
NOT_HEEDED: Final = (
    "this program's environment does not count, the process's own configuration answers: the program is "
    "in a container, behind chroot, or hides from its own user, so its files are not known here"
)


class Peer(NamedTuple):
    """Process, user and group; `here`: a process of this user that sees the same files."""

    pid: int
    uid: int
    gid: int
    here: bool

    @property
    def is_known(self) -> bool:
        """Whether it is this user, or root: one that could do whatever this process does."""
        return self.uid in (0, os.geteuid())


def peer_of(connected: socket.socket) -> Peer:
    """The client of a connection."""
    packed = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(packed)
    here = uid == os.geteuid() and sees_our_files(pid) and not _has_ended(connected)
    return Peer(pid, uid, gid, here)


def sees_our_files(pid: int) -> bool:
    """Whether a process has our mounts and our root."""
    try:
        return all(
            os.path.samestat(os.stat(f"/proc/{pid}/{what}"), os.stat(f"/proc/self/{what}"))  # noqa: PTH116
            for what in ("ns/mnt", "root")
        )
    except OSError:
        return False


def _has_ended(connected: socket.socket) -> bool:
    """Whether who connected is gone, and its number perhaps another's; an old kernel cannot tell."""
    try:
        handle = connected.getsockopt(socket.SOL_SOCKET, _PEER_HANDLE)
    except OSError as error:
        return error.errno != errno.ENOPROTOOPT
    ended = select.poll()
    ended.register(handle, select.POLLIN)
    try:
        return bool(ended.poll(0))
    finally:
        with suppress(OSError):
            os.close(handle)
