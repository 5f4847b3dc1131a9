"""Where a piece of collateral came from, and when: told beside every verdict, trusted by none.

Not here: fetching (`sources`), and the instants that Intel signed (`verification.chain.Window`).
"""

from datetime import datetime

import msgspec


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The way of one piece to here.

    `piece` is a member of `Collateral`; `source` the name of who gave it ("Intel PCS"); `address` its
    URL or path, without any identifier of a machine. `cached` says that it was kept from an earlier
    fetch, `stale` that it is older than its cache should have kept it, and was used all the same.
    """

    piece: str
    source: str
    address: str
    fetched_at: datetime
    cached: bool = False
    stale: bool = False
