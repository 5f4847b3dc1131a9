"""How long to wait and how much to take: the numbers. Not here: the clock (`patience`)."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes, all above zero.

    `connect` spans name, TCP, proxy and TLS; `read` is the longest silence; `total` spans one request
    with all its attempts and the waits between them. `max_size` is of the body.
    """

    connect: float = 5.0
    read: float = 15.0
    total: float = 30.0
    max_size: int = 16 * 1024 * 1024
    attempts: int = 3

    def __post_init__(self) -> None:
        if min(self.connect, self.read, self.total, self.max_size, self.attempts) <= 0:
            raise ValueError("a limit is a number above zero")
