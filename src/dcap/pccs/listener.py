"""The socket of a service: made before anything slow is loaded, so that who connects then waits.

Not here: who accepts (`server`).
"""

import socket
from contextlib import suppress
from typing import Final

from dcap.errors import ConfigError

BACKLOG: Final = 1024


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
            mend="end what listens there (`ss -ltnp`), or give another --host and --port",
        ) from None
