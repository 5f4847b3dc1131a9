"""A forge of Intel-shaped evidence for the security tests: `World` makes and signs all of it.

It is independent on purpose: nothing here may import `dcap`. It holds no real key and trusts
nothing. Start at `World`; the submodules hold the tables and the odd pieces (`certificates` for
extension OIDs, `keys` for malleated signatures, `reports` for field names and bits, `quotes` for
the fields of a draft).
"""

from __future__ import annotations

from . import certificates, documents, keys, pck, quotes, reports
from .certificates import Extension, Issued
from .pck import Pck, Platform
from .quotes import Draft, Lengths
from .world import AT, COLLATERAL_MEMBERS, World

__all__ = [
    "AT",
    "COLLATERAL_MEMBERS",
    "Draft",
    "Extension",
    "Issued",
    "Lengths",
    "Pck",
    "Platform",
    "World",
    "certificates",
    "documents",
    "keys",
    "pck",
    "quotes",
    "reports",
]
