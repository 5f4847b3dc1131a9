"""Proxies, as the environment names them: which one is asked for an origin, and which origins need none.

    https_proxy  HTTPS_PROXY  http_proxy  HTTP_PROXY  all_proxy  ALL_PROXY  no_proxy  NO_PROXY

Small letters win over capitals, a proxy of the scheme over one of all, and a variable that is empty
names none. `NO_PROXY` holds, separated by commas or blanks: `*`, a host (and all below it, with or
without a leading dot), an IP address, a network (10.0.0.0/8), each also with a port.

In a CGI script `HTTP_PROXY` is a header of the client, and is left alone. A link-local address (a
cloud's host agent at 169.254.169.254) is never asked through a proxy: no other machine can reach it,
and what it is asked identifies this one. Not here: SOCKS.

Source: curl's manual, "Environment"; Go's `httpproxy`; CVE-2016-5385 ("httpoxy").
"""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from dcap.errors import ConfigError
from dcap.transport.address import PORTS, Address, bracketed


class Proxy(msgspec.Struct, frozen=True):
    """A proxy. Its text never shows `authorization` (the value of `Proxy-Authorization`)."""

    scheme: str
    host: str
    port: int
    authorization: str | None = None

    @classmethod
    def parse(cls, text: str, variable: str) -> "Proxy":
        """Read the value of a variable. Raises `ConfigError` (`network-proxy-url`) without it."""
        refused = ConfigError(
            "network-proxy-url",
            "the proxy cannot be used: it is none of http or https with a host",
            where=f"environment variable {variable}",
            mend="give it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT",
        )
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname or "", parts.port
            host.encode("ascii")
        except ValueError:
            raise refused from None
        usable = parts.scheme in PORTS and host and port != 0
        if not usable or not text.isprintable() or " " in text:
            raise refused
        return cls(
            parts.scheme,
            host,
            PORTS[parts.scheme] if port is None else port,
            None if parts.username is None else _basic(parts.username, parts.password or ""),
        )

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    def __repr__(self) -> str:
        return f"<Proxy {self}>"


class Proxies(msgspec.Struct, frozen=True):
    """The proxy of each scheme, and the rules for origins that are asked directly."""

    by_scheme: Mapping[str, Proxy]
    direct: tuple[str, ...]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Proxies":
        """Read the variables. Raises `ConfigError` (`network-proxy-url`)."""
        found: dict[str, Proxy] = {}
        for scheme in PORTS:
            for name in (f"{scheme}_proxy", "all_proxy"):
                variable, value = _variable(environ, name)
                if value:
                    found[scheme] = Proxy.parse(value, variable)
                if value is not None:
                    break
        rules = (_variable(environ, "no_proxy")[1] or "").replace(",", " ").split()
        return cls(found, tuple(rule.lower() for rule in rules))

    def proxy_for(self, address: Address) -> Proxy | None:
        """Whom to ask for an origin; None for the origin itself."""
        if is_link_local(address.host):
            return None
        if any(_matches(rule, address) for rule in self.direct):
            return None
        return self.by_scheme.get(address.scheme)


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of who asks directly."""
    return {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}


def is_link_local(host: str) -> bool:
    """Whether a host is an address that this machine's own link alone leads to."""
    try:
        return ip_address(host).is_link_local
    except ValueError:
        return False


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str | None]:
    """The name that is set, in small letters or in capitals, and its value."""
    capitals = name.upper()
    if name in environ:
        return name, environ[name].strip()
    if capitals == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
        return capitals, None
    value = environ.get(capitals)
    return capitals, None if value is None else value.strip()


def _matches(rule: str, address: Address) -> bool:
    """Whether a rule of `NO_PROXY` is about this origin."""
    if rule == "*":
        return True
    host, port = _split_port(rule)
    if port is not None and port != address.port:
        return False
    try:
        own = ip_address(address.host)
    except ValueError:
        name, domain = address.host.rstrip("."), host.strip(".")
        return bool(domain) and (name == domain or name.endswith(f".{domain}"))
    try:
        return own in ip_network(host, strict=False)
    except (ValueError, TypeError):
        return False


def _split_port(rule: str) -> tuple[str, int | None]:
    """Host and port of a rule; an IPv6 address has a port only after brackets."""
    host, colon, port = rule.rpartition(":")
    if rule.startswith("["):
        if rule.endswith("]"):
            return rule[1:-1], None
        host = host.removeprefix("[").removesuffix("]")
    elif rule.count(":") != 1:
        return rule, None
    return (host, int(port)) if colon and port.isascii() and port.isdigit() else (rule, None)


def _basic(user: str, password: str) -> str:
    """RFC 7617, with what is percent-encoded in the URL decoded."""
    from base64 import b64encode  # noqa: PLC0415 - few proxies have a password

    return "Basic " + b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)).decode(
        "ascii"
    )
