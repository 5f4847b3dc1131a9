"""How much one address may ask for: a bucket of tokens for each, refilled at a steady rate.

`Shared` is such a bucket beside one for all addresses together. Ready answers cost nothing and are not
counted. Addresses of IPv6 are counted by their /64. Not here: what is under way at once (`turns`),
whose address it is behind a proxy (`forwarded`).
"""

import ipaddress
import threading
from collections import OrderedDict
from typing import Final

#: How many addresses are told apart.
MAX_ADDRESSES: Final = 10_000


class Rates:
    """The buckets. `per_second` 0 means no limit. Used by one thread at a time."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(max(1, burst))
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def takes(self, address: str, now: float, cost: float = 1) -> bool:
        """Whether an address may ask once more, which is counted."""
        if not self._per_second:
            return True
        name = network_of(address)
        tokens, since = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        enough = tokens >= cost
        self._buckets[name] = (tokens - cost if enough else tokens, now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return enough


class Shared:
    """A bucket for each address, and one for all of them, `addresses` times as large. For any thread."""

    def __init__(self, per_second: float, burst: int, addresses: int) -> None:
        self._each = Rates(per_second, burst)
        self._all = Rates(per_second * addresses, burst * addresses)
        self._lock = threading.Lock()

    def takes(self, address: str, now: float, cost: float = 1) -> bool:
        """Whether both have it."""
        with self._lock:
            return self._each.takes(address, now, cost) and self._all.takes("", now, cost)


def network_of(address: str) -> str:
    """What counts as one client."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
