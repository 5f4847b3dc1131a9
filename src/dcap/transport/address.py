"""An origin: scheme, host and port of a URL, and nothing else of it.

Not here: the path and the query, which belong to the request.

Source: RFC 3986, RFC 6454.
"""

from urllib.parse import urlsplit

import msgspec

from dcap.errors import CollateralError

PORTS = {"http": 80, "https": 443}


class Address(msgspec.Struct, frozen=True):
    """Where a connection goes. `host` is ASCII, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read an origin. Raises `CollateralError` (`network-url`), which never repeats the URL."""
        if not url.isprintable() or " " in url:
            raise _refused("the address has white space or a control character in it")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            host = host if ":" in host else host.encode("idna").decode("ascii")
        except ValueError:
            raise _refused("the address has no host and port that can be read") from None
        if parts.scheme not in PORTS:
            raise _refused("the address begins neither with https:// nor with http://")
        if "@" in parts.netloc:
            raise _refused("the address has a user name or a password in it")
        if not host or port == 0:
            raise _refused("the address has no host")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise _refused("the address goes on after host and port")
        return cls(parts.scheme, host, PORTS[parts.scheme] if port is None else port)

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        host = bracketed(self.host)
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def bracketed(host: str) -> str:
    """A host as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def _refused(what: str) -> CollateralError:
    return CollateralError(
        "network-url", what, mend="give it as https://HOST or https://HOST:PORT, without a user"
    )
