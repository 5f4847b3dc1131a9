"""What machines are to be told of a service that keeps nothing yet: by which name, with which trust.

Not here: what the page says around it (`templates/overview.html`).
"""

import ipaddress
import socket
from urllib.parse import urlsplit

import msgspec

from dcap.pccs.setting_table import Settings


class Directions(msgspec.Struct, frozen=True, kw_only=True):
    """How machines are pointed here.

    `address` is a name and port that they can reach, once they can connect at all (`can_connect`);
    `needs_certificate` is whether they must be given the one that the service made.
    """

    address: str
    can_connect: bool
    needs_certificate: bool


def for_machines(settings: Settings, host: str) -> Directions:
    """What holds for a service of these settings, whose page was asked for under `host`."""
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname or "", parts.port
    except ValueError:
        name, port = "", None
    if not name or is_loopback(name):
        name = socket.gethostname() or "HOST"
    bracketed = f"[{name}]" if ":" in name else name
    return Directions(
        address=f"{bracketed}:{port or settings.port}",
        can_connect=not is_loopback(settings.host),
        needs_certificate=settings.tls_certificate is None,
    )


def is_loopback(name: str) -> bool:
    """Whether a name or address leads nowhere but to the machine itself."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
