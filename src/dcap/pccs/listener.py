"""The socket of a service: made before anything slow is loaded, so that who connects then waits.

`make_room` is for what comes in by it: each connection is an open file of the process. Not
here: who accepts (`server`).
"""

import errno
import resource
import socket
from contextlib import suppress
from typing import Final

from dcap.errors import ConfigError

BACKLOG: Final = 1024
#: Files that are no connections of clients: the database's, upstream's, the log.
SPARE_FILES: Final = 256

_ANOTHER: Final = "give another --host and --port"
_NO_SUCH: Final = "`ip address` lists the addresses of this machine: give one of them with --host"
#: By what the system says of the attempt.
_MENDS: Final = {
    errno.EADDRINUSE: "end what listens there (`ss -ltnp`), or give another --port",
    errno.EACCES: "ports below 1024 are root's: give another, or the service CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: _NO_SUCH,
    socket.EAI_NONAME: "no address has that name: give one of this machine with --host",
}


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `ConfigError` (`pccs-listen`)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with suppress(OSError):
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise ConfigError(
            "pccs-listen",
            f"{host} port {port} cannot be listened on: {why}",
            mend=_MENDS.get(error.errno or 0, _ANOTHER),
        ) from None


def make_room(connections: int) -> int:
    """Raise the limit of open files as far as needed, or as it goes; for how many there is room then."""
    wanted = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    higher = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (higher, hard))
        soft = higher
    return min(connections, max(soft - SPARE_FILES, soft // 2))
