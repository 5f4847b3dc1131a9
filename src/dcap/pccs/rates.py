"""How much one address may ask for: a bucket of tokens for each, refilled at a steady rate.

Ready answers cost nothing and are not counted. Addresses of IPv6 are counted by their /64. Not here:
limits on what is under way at once (`server`).
"""

import ipaddress
from collections import OrderedDict
from typing import Final

#: How many addresses are told apart.
MAX_ADDRESSES: Final = 10_000


class Rates:
    """The buckets. `per_second` 0 means no limit. Used by one thread."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(max(1, burst))
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def takes(self, address: str, now: float) -> bool:
        """Whether an address may ask once more, which is counted."""
        if not self._per_second:
            return True
        name = network_of(address)
        tokens, since = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        enough = tokens >= 1
        self._buckets[name] = (tokens - 1 if enough else tokens, now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return enough


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
