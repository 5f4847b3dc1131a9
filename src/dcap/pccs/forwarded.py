"""Whose request it is where proxies stand between: the nearest address that is no proxy of ours.

    proxies = Proxies(("10.0.0.0/8",))
    proxies.client_of("10.0.0.7", request.headers)     # of `X-Forwarded-For`

Each proxy adds whom it heard the request from, so the header is read from its end, and only as far as
those who wrote it are trusted: what stands before that is the client's own invention. Where no proxy is
trusted the header is not looked at. Not here: RFC 7239's `Forwarded`, which is not read, and TLS
certificates of clients, which a proxy that ends TLS does not pass on.
"""

import ipaddress
from collections.abc import Sequence
from itertools import islice
from typing import TypeAlias

from dcap.api.http import Headers

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
#: More proxies than stand in a row; what follows is not read.
MAX_HOPS = 32


class Proxies:
    """The networks whose word counts."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(one) for one in networks)

    def client_of(self, peer: str, headers: Headers) -> str:
        """The address of the client, where a proxy of ours is connected; else that of the peer."""
        if not self._networks:
            return peer
        nearest = peer
        for hop in (peer, *islice(_hops(headers), MAX_HOPS)):
            address = read_address(hop)
            if address is None:
                return nearest
            nearest = str(address)
            if not self._trusts(address):
                return nearest
        return nearest

    def has(self, peer: str) -> bool:
        """Whether a peer is one of them: its connections are those of many clients."""
        address = read_address(peer)
        return address is not None and self._trusts(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _hops(headers: Headers) -> list[str]:
    """The entries of all headers of that name, the last one first."""
    values = [value for name, value in headers if name.lower() == "x-forwarded-for"]
    return [hop.strip() for hop in ",".join(values).split(",") if hop.strip()][::-1]


def read_address(text: str) -> Address | None:
    """An address, also with a port, as some proxies write it; IPv4 within IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
